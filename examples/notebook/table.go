package notebook

import (
	"html"
	"regexp"
	"strings"

	"github.com/pkg/errors"
)

// Table is a table of plain text. A column whose cells all begin like numbers stands on the right.
type Table struct {
	Title  string // above the table; may be empty
	Header []string
	Rows   [][]string // each as long as Header
}

// Table adds a table.
func (p *Page) Table(t Table) {
	p.add("table", func() error {
		if err := t.check(); err != nil {
			return err
		}
		t = t.clean()
		right := t.numeric()
		fragment := t.html(right)
		plain := p.term.grid(t.Header, t.Rows, right)
		p.body.WriteString("<div class=\"scroll\">\n" + fragment + "</div>\n")
		if t.Title != "" {
			plain = t.Title + "\n" + plain
		}
		p.term.print("\n" + plain)
		p.outputCell(bundle{"text/html": fragment, "text/plain": styling.ReplaceAllString(plain, "")}, nil)
		return nil
	})
}

func (t Table) check() error {
	for i, row := range t.Rows {
		if len(row) != len(t.Header) {
			return errors.Errorf("%q: row %d has %d cells, wanted %d as in the header", t.Title, i, len(row), len(t.Header))
		}
	}
	return nil
}

// clean is a copy without control characters and line breaks.
func (t Table) clean() Table {
	line := func(cells []string) []string {
		out := make([]string, len(cells))
		for i, c := range cells {
			out[i] = oneLine(c)
		}
		return out
	}
	c := Table{Title: oneLine(t.Title), Header: line(t.Header)}
	for _, row := range t.Rows {
		c.Rows = append(c.Rows, line(row))
	}
	return c
}

var number = regexp.MustCompile(`^[+\-−±≈<>≤≥~]*([0-9.]|NaN|Inf|∞)`)

// numeric says of each column whether all its cells, but empty ones and dashes, begin like a number.
func (t Table) numeric() []bool {
	numeric := make([]bool, len(t.Header))
	for c := range numeric {
		numbers, others := 0, 0
		for _, row := range t.Rows {
			switch {
			case number.MatchString(row[c]):
				numbers++
			case strings.Trim(row[c], "-–—") != "":
				others++
			}
		}
		numeric[c] = numbers > 0 && others == 0
	}
	return numeric
}

func (t Table) html(right []bool) string {
	var b strings.Builder
	row := func(tag string, cells []string) {
		b.WriteString("<tr>")
		for i, c := range cells {
			align := "left"
			if right[i] {
				align = "right"
			}
			b.WriteString("<" + tag + ` style="text-align:` + align + `">` + html.EscapeString(c) + "</" + tag + ">")
		}
		b.WriteString("</tr>\n")
	}
	b.WriteString("<table>\n")
	if t.Title != "" {
		b.WriteString("<caption>" + html.EscapeString(t.Title) + "</caption>\n")
	}
	b.WriteString("<thead>\n")
	row("th", t.Header)
	b.WriteString("</thead>\n<tbody>\n")
	for _, cells := range t.Rows {
		row("td", cells)
	}
	b.WriteString("</tbody>\n</table>\n")
	return b.String()
}

// grid is a table for the terminal, its columns two blanks apart.
func (t *terminal) grid(header []string, rows [][]string, right []bool) string {
	widths := make([]int, len(header))
	for _, row := range append([][]string{header}, rows...) {
		for i, c := range row {
			widths[i] = max(widths[i], textWidth(c))
		}
	}
	var b strings.Builder
	line := func(cells []string, style func(string) string) {
		parts := make([]string, len(cells))
		for i, c := range cells {
			parts[i] = pad(style(c), widths[i], right[i])
		}
		b.WriteString(strings.TrimRight(strings.Join(parts, "  "), " ") + "\n")
	}
	line(header, t.bold)
	rules := make([]string, len(widths))
	for i, w := range widths {
		rules[i] = strings.Repeat("─", w)
	}
	line(rules, t.faint)
	for _, row := range rows {
		line(row, func(s string) string { return s })
	}
	return b.String()
}
