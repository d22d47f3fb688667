package notebook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// bundle holds one output in several MIME types; a viewer shows the richest it knows.
type bundle map[string]string

// cell is one cell of the notebook and its JSON.
type cell struct {
	code    bool
	source  string
	outputs []json.RawMessage
	json    []byte
}

type markdownJSON struct {
	ID       string         `json:"id"`
	Type     string         `json:"cell_type"`
	Metadata map[string]any `json:"metadata"`
	Source   string         `json:"source"`
}

type codeJSON struct {
	markdownJSON
	ExecutionCount *int              `json:"execution_count"`
	Outputs        []json.RawMessage `json:"outputs"`
}

type outputJSON struct {
	Type     string         `json:"output_type"`
	Data     bundle         `json:"data"`
	Metadata map[string]any `json:"metadata"`
}

func (p *Page) markdownCell(source string) { p.addCell(cell{source: source}) }

// codeCell adds a cell of Go source; the outputs that follow become its outputs.
func (p *Page) codeCell(source string) { p.addCell(cell{code: true, source: source}) }

// outputCell adds an output to the code cell before it, or to a new one without source.
func (p *Page) outputCell(data bundle, metadata map[string]any) {
	if !p.cells[len(p.cells)-1].code {
		p.codeCell("")
	}
	if metadata == nil {
		metadata = map[string]any{}
	}
	c := &p.cells[len(p.cells)-1]
	c.outputs = append(c.outputs, encode(outputJSON{"display_data", data, metadata}))
	c.encode(len(p.cells))
}

func (p *Page) addCell(c cell) {
	p.cells = append(p.cells, c)
	p.cells[len(p.cells)-1].encode(len(p.cells))
}

func (c *cell) encode(number int) {
	m := markdownJSON{ID: fmt.Sprintf("cell-%d", number), Type: "markdown", Metadata: map[string]any{}, Source: c.source}
	if !c.code {
		c.json = encode(m)
		return
	}
	m.Type = "code"
	if c.source == "" {
		m.Metadata["jupyter"] = map[string]any{"source_hidden": true}
	}
	c.json = encode(codeJSON{markdownJSON: m, Outputs: append([]json.RawMessage{}, c.outputs...)})
}

// encode is v in JSON. Nothing that the package encodes can fail to be.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

// notebook is the whole .ipynb file, one line a cell.
func (p *Page) notebook() []byte {
	var b bytes.Buffer
	b.WriteString("{\"cells\": [\n")
	for i, c := range p.cells {
		if i > 0 {
			b.WriteString(",\n")
		}
		b.Write(c.json)
	}
	b.WriteString("\n],\n\"metadata\": ")
	b.Write(encode(map[string]any{
		"title":         p.title,
		"language_info": map[string]any{"name": "go", "file_extension": ".go", "mimetype": "text/x-go"},
	}))
	b.WriteString(",\n\"nbformat\": 4,\n\"nbformat_minor\": 5}\n")
	return b.Bytes()
}

// escapeMarkdown makes Markdown that shows a line of plain text as it is.
func escapeMarkdown(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch r {
		case '<':
			b.WriteString("&lt;")
			continue
		case '&':
			b.WriteString("&amp;")
			continue
		}
		if strings.ContainsRune("\\`*_{}[]()#$>|~!", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
