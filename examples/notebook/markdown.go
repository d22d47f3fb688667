package notebook

import (
	"bytes"
	"fmt"
	"html"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	extast "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer"
	htmlrenderer "github.com/yuin/goldmark/renderer/html"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// markdown is CommonMark without raw HTML, with tables, strikethrough and formulas.
var markdown = goldmark.New(
	goldmark.WithParser(parser.NewParser(
		parser.WithBlockParsers(
			util.Prioritized(displayParser{}, 50),
			util.Prioritized(parser.NewSetextHeadingParser(), 100),
			util.Prioritized(parser.NewThematicBreakParser(), 200),
			util.Prioritized(parser.NewListParser(), 300),
			util.Prioritized(parser.NewListItemParser(), 400),
			util.Prioritized(parser.NewCodeBlockParser(), 500),
			util.Prioritized(parser.NewATXHeadingParser(), 600),
			util.Prioritized(parser.NewFencedCodeBlockParser(), 700),
			util.Prioritized(parser.NewBlockquoteParser(), 800),
			util.Prioritized(parser.NewParagraphParser(), 1000),
		),
		parser.WithInlineParsers(
			util.Prioritized(inlineParser{}, 50),
			util.Prioritized(parser.NewCodeSpanParser(), 100),
			util.Prioritized(parser.NewLinkParser(), 200),
			util.Prioritized(parser.NewAutoLinkParser(), 300),
			util.Prioritized(parser.NewEmphasisParser(), 500),
		),
		parser.WithParagraphTransformers(parser.DefaultParagraphTransformers()...),
	)),
	goldmark.WithExtensions(extension.Table, extension.Strikethrough),
	goldmark.WithRendererOptions(renderer.WithNodeRenderers(util.Prioritized(htmlNodes{}, 50))),
)

func parseMarkdown(source []byte) ast.Node { return markdown.Parser().Parse(text.NewReader(source)) }

func renderMarkdown(document ast.Node, source []byte) (string, error) {
	var b bytes.Buffer
	err := markdown.Renderer().Render(&b, source, document)
	return b.String(), err
}

var (
	inlineKind  = ast.NewNodeKind("Formula")
	displayKind = ast.NewNodeKind("DisplayFormula")
)

// inlineFormula is $...$ or, displayed, $$...$$ in a paragraph.
type inlineFormula struct {
	ast.BaseInline
	latex   string
	display bool
}

func (*inlineFormula) Kind() ast.NodeKind         { return inlineKind }
func (f *inlineFormula) Dump(src []byte, lvl int) { ast.DumpHelper(f, src, lvl, nil, nil) }

// displayFormula is a block that begins and ends with $$.
type displayFormula struct {
	ast.BaseBlock
	latex  strings.Builder
	closed bool
}

func (*displayFormula) Kind() ast.NodeKind         { return displayKind }
func (*displayFormula) IsRaw() bool                { return true }
func (f *displayFormula) Dump(src []byte, lvl int) { ast.DumpHelper(f, src, lvl, nil, nil) }

type inlineParser struct{}

func (inlineParser) Trigger() []byte { return []byte{'$'} }

// Parse finds the end of a formula, maybe on a later line of the paragraph. As in Pandoc, $ opens one only before
// something else than a blank, and closes it only after one and not before a digit: "between $5 and $6" is no formula.
func (inlineParser) Parse(_ ast.Node, block text.Reader, _ parser.Context) ast.Node {
	line, segment := block.PeekLine()
	fence := "$"
	if bytes.HasPrefix(line, []byte("$$")) {
		fence = "$$"
	}
	startLine, start := block.Position()
	block.Advance(len(fence))
	var latex strings.Builder
	for {
		line, segment = block.PeekLine()
		if line == nil || latex.Len() == 0 && len(line) > 0 && util.IsSpace(line[0]) && fence == "$" {
			block.SetPosition(startLine, start)
			return nil
		}
		if end := formulaEnd(line, fence); end >= 0 {
			latex.Write(line[:end])
			block.Advance(end + len(fence))
			return &inlineFormula{latex: latex.String(), display: fence == "$$"}
		}
		latex.Write(segment.Value(block.Source()))
		block.AdvanceLine()
	}
}

// formulaEnd is where the closing fence stands in a line, -1 if it does not.
func formulaEnd(line []byte, fence string) int {
	for i := 0; i < len(line); i++ {
		switch {
		case line[i] == '\\':
			i++
		case !bytes.HasPrefix(line[i:], []byte(fence)):
		case fence == "$$":
			return i
		case i == 0 || util.IsSpace(line[i-1]) || i+1 < len(line) && (util.IsNumeric(line[i+1]) || line[i+1] == '$'):
		default:
			return i
		}
	}
	return -1
}

type displayParser struct{}

func (displayParser) Trigger() []byte { return []byte{'$'} }

func (displayParser) Open(_ ast.Node, reader text.Reader, _ parser.Context) (ast.Node, parser.State) {
	line, segment := reader.PeekLine()
	line = bytes.TrimSpace(line)
	if !bytes.HasPrefix(line, []byte("$$")) {
		return nil, parser.NoChildren
	}
	if i := bytes.Index(line[2:], []byte("$$")); i >= 0 && i+4 < len(line) {
		return nil, parser.NoChildren // more follows on the line: it belongs to a paragraph
	}
	f := &displayFormula{}
	f.take(line[2:])
	reader.Advance(segment.Len() - 1)
	return f, parser.NoChildren
}

func (displayParser) Continue(node ast.Node, reader text.Reader, _ parser.Context) parser.State {
	f := node.(*displayFormula)
	if f.closed {
		return parser.Close
	}
	line, segment := reader.PeekLine()
	f.take(line)
	reader.Advance(segment.Len() - 1)
	return parser.Continue | parser.NoChildren
}

func (f *displayFormula) take(line []byte) {
	line = bytes.TrimSpace(line)
	if bytes.HasSuffix(line, []byte("$$")) {
		line, f.closed = line[:len(line)-2], true
	}
	f.latex.Write(line)
	f.latex.WriteByte('\n')
}

func (displayParser) Close(ast.Node, text.Reader, parser.Context) {}
func (displayParser) CanInterruptParagraph() bool                 { return true }
func (displayParser) CanAcceptIndentedLine() bool                 { return false }

// htmlNodes renders what differs from goldmark's own rendering.
type htmlNodes struct{}

func (htmlNodes) RegisterFuncs(r renderer.NodeRendererFuncRegisterer) {
	leaf := func(f func(w util.BufWriter, source []byte, n ast.Node)) renderer.NodeRendererFunc {
		return func(w util.BufWriter, source []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
			if entering {
				f(w, source, n)
			}
			return ast.WalkSkipChildren, nil
		}
	}
	r.Register(inlineKind, leaf(func(w util.BufWriter, _ []byte, n ast.Node) {
		f := n.(*inlineFormula)
		ml, _ := formula(f.latex, f.display)
		w.WriteString(ml)
	}))
	r.Register(displayKind, leaf(func(w util.BufWriter, _ []byte, n ast.Node) {
		ml, _ := formula(n.(*displayFormula).latex.String(), true)
		w.WriteString("<div class=\"formula\">" + ml + "</div>\n")
	}))
	// The page refers to nothing outside itself, so a picture becomes a link to it.
	r.Register(ast.KindImage, leaf(func(w util.BufWriter, source []byte, n ast.Node) {
		label := html.EscapeString((&terminal{}).inline(n, source))
		target := n.(*ast.Image).Destination
		if htmlrenderer.IsDangerousURL(target) {
			w.WriteString(label)
			return
		}
		fmt.Fprintf(w, `<a href="%s">%s</a>`, util.EscapeHTML(util.URLEscape(target, true)), label)
	}))
	// The page's title is h1 and its sections are h2.
	r.Register(ast.KindHeading, func(w util.BufWriter, _ []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
		level := min(6, max(3, n.(*ast.Heading).Level))
		if entering {
			fmt.Fprintf(w, "<h%d>", level)
		} else {
			fmt.Fprintf(w, "</h%d>\n", level)
		}
		return ast.WalkContinue, nil
	})
}

// markdown is a document as the terminal shows it.
func (t *terminal) markdown(document ast.Node, source []byte) string {
	return t.blocks(document, source, t.width, "\n")
}

// blocks renders the children of a block, set apart by separator.
func (t *terminal) blocks(parent ast.Node, source []byte, width int, separator string) string {
	var parts []string
	for n := parent.FirstChild(); n != nil; n = n.NextSibling() {
		parts = append(parts, t.block(n, source, width))
	}
	return strings.Join(parts, separator)
}

func (t *terminal) block(n ast.Node, source []byte, width int) string {
	switch n := n.(type) {
	case *ast.Heading:
		return t.bold(t.inline(n, source)) + "\n"
	case *ast.List:
		return t.list(n, source, width)
	case *ast.Blockquote:
		return indent(t.blocks(n, source, width-2, "\n"), t.faint("│ "), t.faint("│ "))
	case *ast.CodeBlock, *ast.FencedCodeBlock:
		return indent(string(n.Lines().Value(source)), "    ", "    ")
	case *ast.ThematicBreak:
		return strings.Repeat("─", width/2) + "\n"
	case *displayFormula:
		_, plain := formula(n.latex.String(), true)
		return indent(plain+"\n", "    ", "    ")
	case *extast.Table:
		return t.markdownTable(n, source)
	}
	return wrap(t.inline(n, source), width, "", "")
}

func (t *terminal) list(n *ast.List, source []byte, width int) string {
	separator := "\n"
	if n.IsTight {
		separator = ""
	}
	var parts []string
	number := n.Start
	for item := n.FirstChild(); item != nil; item = item.NextSibling() {
		mark := "• "
		if n.IsOrdered() {
			mark = fmt.Sprintf("%d. ", number)
			number++
		}
		body := t.blocks(item, source, width-textWidth(mark), separator)
		parts = append(parts, indent(body, mark, strings.Repeat(" ", textWidth(mark))))
	}
	return strings.Join(parts, separator)
}

func (t *terminal) markdownTable(n *extast.Table, source []byte) string {
	var rows [][]string
	for r := n.FirstChild(); r != nil; r = r.NextSibling() {
		var row []string
		for c := r.FirstChild(); c != nil; c = c.NextSibling() {
			row = append(row, t.inline(c, source))
		}
		rows = append(rows, row)
	}
	right := make([]bool, len(n.Alignments))
	for i, a := range n.Alignments {
		right[i] = a == extast.AlignRight
	}
	return t.grid(rows[0], rows[1:], right)
}

// inline is the text in a block.
func (t *terminal) inline(parent ast.Node, source []byte) string {
	var b strings.Builder
	for n := parent.FirstChild(); n != nil; n = n.NextSibling() {
		switch n := n.(type) {
		case *ast.Text:
			b.Write(util.UnescapePunctuations(util.ResolveEntityNames(util.ResolveNumericReferences(n.Segment.Value(source)))))
			if n.HardLineBreak() {
				b.WriteByte('\n')
			} else if n.SoftLineBreak() {
				b.WriteByte(' ')
			}
		case *ast.String:
			b.Write(n.Value)
		case *ast.CodeSpan:
			b.WriteString(t.code(codeText(n, source)))
		case *ast.Emphasis:
			b.WriteString(t.emphasis(n, source))
		case *ast.Link:
			b.WriteString(t.inline(n, source) + " (" + string(n.Destination) + ")")
		case *ast.Image:
			b.WriteString(t.inline(n, source) + " (" + string(n.Destination) + ")")
		case *ast.AutoLink:
			b.Write(n.URL(source))
		case *inlineFormula:
			_, plain := formula(n.latex, n.display)
			b.WriteString(plain)
		default:
			b.WriteString(t.inline(n, source))
		}
	}
	return b.String()
}

// codeText is what stands in a code span, on one line.
func codeText(span *ast.CodeSpan, source []byte) string {
	var b strings.Builder
	for n := span.FirstChild(); n != nil; n = n.NextSibling() {
		b.Write(n.(*ast.Text).Value(source))
	}
	return strings.ReplaceAll(b.String(), "\n", " ")
}

// emphasis styles word by word, since wrap may break the line at any blank.
func (t *terminal) emphasis(n *ast.Emphasis, source []byte) string {
	code := "3"
	if n.Level == 2 {
		code = "1"
	}
	words := strings.Fields(t.inline(n, source))
	for i, w := range words {
		words[i] = t.style(code, w)
	}
	return strings.Join(words, " ")
}

// indent puts first before the first line of s and rest before the others.
func indent(s, first, rest string) string {
	lines := strings.Split(strings.TrimSuffix(s, "\n"), "\n")
	for i := range lines {
		if i == 0 {
			lines[i] = first + lines[i]
		} else if lines[i] != "" || strings.TrimSpace(rest) != "" {
			lines[i] = rest + lines[i]
		}
	}
	return strings.Join(lines, "\n") + "\n"
}
