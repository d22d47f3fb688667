// Package notebook lets a program tell its story once and shows it three times: in the terminal, as one
// self-contained HTML file, and as a Jupyter notebook (nbformat 4.5) that opens with its outputs.
//
//	page, err := notebook.New("Two rules", notebook.Options{Dir: "out", Terminal: os.Stdout})
//	...
//	page.Heading("Training")
//	page.Text("Both rules minimise $L(\\theta)$ on the *same* model.")
//	bar := page.Progress("backprop", steps)
//	for i := range steps {
//		bar.Set(i+1, "loss 0.12")
//	}
//	bar.Done()
//	page.Plot(notebook.Plot{X: "epoch", Y: "loss", Lines: []notebook.Line{{Name: "backprop", Y: losses}}})
//	page.Check("backprop reaches 97 %", accuracy >= 0.97, "97.4 %")
//	return page.Close()
//
// Both files are replaced, each in one step, after every call, so a program that is stopped or killed leaves a
// readable page of what it did until then; the HTML page says that it is unfinished. The HTML file refers to nothing
// outside itself, runs no script, follows the reader's light or dark theme and prints. The same calls give the same
// bytes. The files contain no control characters and no markup but the package's own, whatever the texts hold.
//
// The calls of a page return no error: [Page.Err] and [Page.Close] return the first one, or what failed of the checks,
// so a program ends with Close's error as its exit status. A page may be used by several goroutines.
//
// # Markdown
//
// [Page.Text] takes CommonMark with tables and strikethrough; raw HTML is shown as text, a picture as a link. Formulas
// stand in $...$ (in the line) or $$...$$ (displayed). The HTML page has them as MathML, the terminal as Unicode. The
// LaTeX understood: letters, digits and operators; ^ _ and primes; \frac \tfrac \dfrac \binom \sqrt; \hat \bar \tilde
// \vec \dot \ddot \overline \underline; \mathbf \boldsymbol \bm \mathbb \mathcal \mathrm \mathsf \text \operatorname;
// \left \right \big and its sizes; Greek letters; the usual relations, arrows, operators and function names; the
// environments aligned, matrix, pmatrix, bmatrix, vmatrix and cases. Any other command is shown by its name.
package notebook

import (
	"html"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"github.com/pkg/errors"
)

// Options says where a page goes.
type Options struct {
	Dir      string    // the folder of the files, made if missing; empty means the current one
	Name     string    // the files' name without extension; empty means the title in lower case with hyphens
	Terminal io.Writer // the terminal view, usually os.Stdout; nil means none
}

// Page is a story being told. Each of its methods adds one piece to every view.
type Page struct {
	mu             sync.Mutex
	title          string
	htmlPath, path string // the HTML page and the notebook
	term           terminal
	body           strings.Builder // the pieces of the HTML page
	sections       []string        // the headings so far
	cells          []cell          // of the notebook
	checks         int
	failed         []string // the failed checks
	closed         bool
	useErr         error // the first mistake of the caller
	saveErr        error // of the last writing
}

// New starts a page with a title and writes its files, Dir/Name.html and Dir/Name.ipynb; those of an earlier run are
// replaced. The error says which folder or file could not be written.
func New(title string, o Options) (*Page, error) {
	title = oneLine(title)
	if o.Name == "" {
		o.Name = slug(title)
	}
	if o.Name == "" || o.Name[0] == '.' || strings.ContainsAny(o.Name, `/\`) {
		return nil, errors.Errorf("notebook: Name: wanted a file name without a folder, got %q", o.Name)
	}
	if err := os.MkdirAll(filepath.Clean(o.Dir), 0o777); err != nil {
		return nil, errors.Wrap(err, "notebook: folder of the page")
	}
	base := filepath.Join(o.Dir, o.Name)
	p := &Page{title: title, htmlPath: base + ".html", path: base + ".ipynb", term: newTerminal(o.Terminal)}
	p.markdownCell("# " + escapeMarkdown(title))
	p.term.print(p.term.bold(title) + "\n" + strings.Repeat("═", textWidth(title)) + "\n")
	p.save(false)
	return p, p.saveErr
}

// Heading starts a section. The text is plain, not Markdown.
func (p *Page) Heading(text string) {
	text = oneLine(text)
	p.add("heading", func() error {
		p.sections = append(p.sections, text)
		p.body.WriteString("<h2 id=\"section-" + strconv.Itoa(len(p.sections)) + "\">" + html.EscapeString(text) + "</h2>\n")
		p.markdownCell("## " + escapeMarkdown(text))
		p.term.print("\n" + p.term.bold(text) + "\n" + strings.Repeat("─", textWidth(text)) + "\n")
		return nil
	})
}

// Text adds Markdown with formulas; the package comment says what of it is understood.
func (p *Page) Text(markdown string) {
	markdown = dedent(clean(markdown))
	p.add("text", func() error {
		source := []byte(markdown)
		document := parseMarkdown(source)
		p.term.print("\n" + p.term.markdown(document, source))
		rendered, err := renderMarkdown(document, source)
		p.body.WriteString(rendered)
		p.markdownCell(markdown)
		return err
	})
}

// Check records what the program expected, whether it holds, and what was found instead or as well. A failed check
// makes [Page.Err] and [Page.Close] return an error.
func (p *Page) Check(expected string, ok bool, got string) {
	expected, got = oneLine(expected), oneLine(got)
	p.add("check", func() error {
		p.checks++
		mark, class := "✓", "ok"
		if !ok {
			mark, class = "✗", "failed"
			p.failed = append(p.failed, expected+" (got "+got+")")
		}
		fragment := `<p class="check ` + class + `"><span class="mark">` + mark + "</span> " + html.EscapeString(expected) +
			` <span class="got">` + html.EscapeString(got) + "</span></p>\n"
		p.body.WriteString(fragment)
		line := mark + " " + expected + ": " + got
		p.outputCell(bundle{"text/html": fragment, "text/plain": line}, nil)
		p.term.line(p.term.verdict(ok, mark) + line[len(mark):])
		return nil
	})
}

// Err is the first mistake in the use of the page, else the failure of the last writing, else a list of the failed
// checks, else nil.
func (p *Page) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.firstError()
}

func (p *Page) firstError() error {
	switch {
	case p.useErr != nil:
		return p.useErr
	case p.saveErr != nil:
		return p.saveErr
	case len(p.failed) > 0:
		return errors.Errorf("%d of %d checks failed: %s", len(p.failed), p.checks, strings.Join(p.failed, "; "))
	}
	return nil
}

// Close finishes the page, brings its files to the disk, says in the terminal where they are, and returns [Page.Err].
func (p *Page) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return p.firstError()
	}
	p.closed = true
	p.term.stopBars()
	p.save(true)
	if p.saveErr == nil {
		p.term.print("\npage: " + oneLine(p.htmlPath) + "  notebook: " + oneLine(p.path) + "\n")
	}
	return p.firstError()
}

// add makes one piece of the page and writes the files.
func (p *Page) add(kind string, piece func() error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := errors.New("page is closed")
	if !p.closed {
		if err = piece(); err == nil {
			p.save(false)
			return
		}
	}
	if p.useErr == nil {
		p.useErr = errors.Wrap(err, "notebook: "+kind)
	}
}

// clean returns s as valid UTF-8 without control characters but newline and tab.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// oneLine is clean text without line breaks.
func oneLine(s string) string { return strings.Join(strings.Fields(clean(s)), " ") }

// slug is a file name made of a title.
func slug(title string) string {
	words := strings.FieldsFunc(strings.ToLower(title), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	return strings.Join(words, "-")
}

// dedent takes away the indentation that all lines share, so that a raw string may follow the program's indentation.
func dedent(s string) string {
	lines := strings.Split(strings.Trim(s, "\n"), "\n")
	shared := -1
	for _, l := range lines {
		if text := strings.TrimLeft(l, " \t"); text != "" {
			if indent := len(l) - len(text); shared < 0 || indent < shared {
				shared = indent
			}
		}
	}
	for i, l := range lines {
		lines[i] = l[min(max(shared, 0), len(l)):]
	}
	return strings.Join(lines, "\n")
}
