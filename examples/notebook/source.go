package notebook

import (
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"html"
	"strings"

	"github.com/pkg/errors"
)

// Source shows Go source: the whole text, or of a whole file only the named top-level declarations (functions, types,
// variables, constants; a method as "Type.Method"), with their comments. In the notebook it is a code cell, and what
// the page shows next are its outputs; the terminal leaves it out. A program shows itself with
//
//	//go:embed main.go
//	var program string
//
// and page.Source(program, "model"). A name that is not there is a mistake that [Page.Err] reports.
func (p *Page) Source(source string, names ...string) {
	source = clean(source)
	p.add("source", func() error {
		if len(names) > 0 {
			var err error
			if source, err = declarations(source, names); err != nil {
				return err
			}
		}
		source = dedent(source)
		p.body.WriteString("<pre class=\"source\"><code>" + highlight(source) + "</code></pre>\n")
		p.codeCell(source)
		return nil
	})
}

// declarations cuts the named top-level declarations out of a Go file.
func declarations(source string, names []string) (string, error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, "", source, parser.ParseComments)
	if err != nil {
		return "", errors.Wrap(err, "wanted a Go file")
	}
	found := map[string]string{}
	for _, d := range file.Decls {
		start, end := d.Pos(), d.End()
		var doc *ast.CommentGroup
		var declared []string
		switch d := d.(type) {
		case *ast.FuncDecl:
			doc, declared = d.Doc, []string{funcName(d)}
		case *ast.GenDecl:
			doc, declared = d.Doc, genNames(d)
		}
		if doc != nil {
			start = doc.Pos()
		}
		for _, name := range declared {
			found[name] = source[files.Position(start).Offset:files.Position(end).Offset]
		}
	}
	parts := make([]string, len(names))
	for i, name := range names {
		text, ok := found[name]
		if !ok {
			return "", errors.Errorf("no declaration of %q in the file", name)
		}
		parts[i] = text
	}
	return strings.Join(parts, "\n\n"), nil
}

func funcName(d *ast.FuncDecl) string {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return d.Name.Name
	}
	receiver := d.Recv.List[0].Type
	for {
		switch t := receiver.(type) {
		case *ast.StarExpr:
			receiver = t.X
		case *ast.IndexExpr:
			receiver = t.X
		case *ast.IndexListExpr:
			receiver = t.X
		case *ast.Ident:
			return t.Name + "." + d.Name.Name
		default:
			return d.Name.Name
		}
	}
}

func genNames(d *ast.GenDecl) []string {
	var names []string
	for _, s := range d.Specs {
		switch s := s.(type) {
		case *ast.TypeSpec:
			names = append(names, s.Name.Name)
		case *ast.ValueSpec:
			for _, n := range s.Names {
				names = append(names, n.Name)
			}
		}
	}
	return names
}

// highlight is Go source in HTML with its keywords, literals and comments marked.
func highlight(source string) string {
	files := token.NewFileSet()
	file := files.AddFile("", -1, len(source))
	var s scanner.Scanner
	s.Init(file, []byte(source), func(token.Position, string) {}, scanner.ScanComments)
	var b strings.Builder
	done := 0
	for {
		pos, t, literal := s.Scan()
		if t == token.EOF {
			break
		}
		class := ""
		switch {
		case t == token.COMMENT:
			class = "comment"
		case t == token.STRING || t == token.CHAR:
			class = "string"
		case t == token.INT || t == token.FLOAT || t == token.IMAG:
			class = "number"
		case t.IsKeyword():
			class = "keyword"
		}
		start := file.Offset(pos)
		end := start + len(literal)
		if class == "" || start < done || end > len(source) {
			continue
		}
		b.WriteString(html.EscapeString(source[done:start]) + `<span class="` + class + `">` + html.EscapeString(source[start:end]) + "</span>")
		done = end
	}
	b.WriteString(html.EscapeString(source[done:]))
	return b.String()
}
