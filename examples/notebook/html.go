package notebook

import (
	"bytes"
	_ "embed"
	"fmt"
	"html"
	"strings"
)

//go:embed page.css
var stylesheet string

// htmlFile is the whole HTML page as it is now.
func (p *Page) htmlFile() []byte {
	var b bytes.Buffer
	title := html.EscapeString(p.title)
	b.WriteString("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n" +
		"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n" +
		"<meta name=\"color-scheme\" content=\"light dark\">\n" +
		"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n" +
		"<link rel=\"icon\" href=\"data:,\">\n" +
		"<title>" + title + "</title>\n<style>\n" + stylesheet + "</style>\n</head>\n<body>\n<header>\n<h1>" + title + "</h1>\n" +
		p.status() + "</header>\n")
	if len(p.sections) >= 3 {
		b.WriteString("<nav aria-label=\"Contents\">\n<ol>\n")
		for i, s := range p.sections {
			fmt.Fprintf(&b, "<li><a href=\"#section-%d\">%s</a></li>\n", i+1, html.EscapeString(s))
		}
		b.WriteString("</ol>\n</nav>\n")
	}
	b.WriteString("<main>\n")
	b.WriteString(p.body.String())
	b.WriteString("</main>\n</body>\n</html>\n")
	return b.Bytes()
}

// status is the line under the title: whether the page is finished and what its checks say.
func (p *Page) status() string {
	var b strings.Builder
	if !p.closed {
		b.WriteString("<p class=\"status unfinished\">Unfinished: still running, or stopped</p>\n")
	}
	switch {
	case len(p.failed) > 0:
		fmt.Fprintf(&b, "<p class=\"status failed\">✗ %d of %d checks failed</p>\n", len(p.failed), p.checks)
	case p.checks > 0:
		fmt.Fprintf(&b, "<p class=\"status ok\">✓ %d of %[1]d checks hold</p>\n", p.checks)
	}
	return b.String()
}
