package notebook

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"image/png"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/yuin/goldmark"
)

const smallSVG = `<svg xmlns="http://www.w3.org/2000/svg" width="30" height="10"><text x="1" y="9">a</text></svg>`

const program = `package main

import "fmt"

// model is a doc comment.
func model() { fmt.Println("<a & b>", 'x', 12) }

type net[T any] struct{ w T }

// Forward has a generic receiver.
func (n *net[T]) Forward() {}

var first, second = 1, 2
`

// tell uses every kind of call once, with text in all the places where text goes.
func tell(p *Page, text string) {
	p.Heading(text)
	p.Text(text)
	p.Text("A formula $" + text + "$ and\n\n$$" + text + "$$\n\n- `" + text + "`\n- [" + text + "](https://example.org)\n\n| a |\n|--:|\n| " + text + " |\n")
	p.Source(text)
	p.Table(Table{Title: text, Header: []string{text, "n"}, Rows: [][]string{{text, "1"}}})
	p.Plot(Plot{Title: text, X: text, Y: text, Lines: []Line{{Name: text, Y: []float64{1, 3, 2}}}, Points: []Points{{Name: text, Y: []float64{2, 1}}}})
	p.Plot(Plot{Title: text, Y: text, Bars: []Bar{{text, 2, 0.5}, {"b", -1, 0}}})
	p.Images(Images{Title: text, Items: []Image{{Label: text, Shape: [3]int{1, 1, 2}, Pixels: []float32{0, 1}}}})
	p.Drawing(text, smallSVG)
	b := p.Progress(text, 2)
	b.Set(2, text)
	b.Done()
	p.Check(text, true, text)
}

func newPage(t *testing.T, dir string, terminal io.Writer) *Page {
	t.Helper()
	p, err := New("Two rules", Options{Dir: dir, Name: "page", Terminal: terminal})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// element is what the tests look at in a page: a start tag and the text directly in it.
type element struct {
	name     string
	attr     map[string]string
	text     string
	children int
}

// elements reads an HTML page whose tags must be balanced.
func elements(t *testing.T, page string) []element {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(page))
	d.Strict, d.AutoClose, d.Entity = false, []string{"meta", "link", "img", "br", "hr"}, xml.HTMLEntity
	var all []element
	var open []int
	for {
		token, err := d.Token()
		if err == io.EOF {
			if len(open) > 0 {
				t.Fatalf("<%s> is not closed", all[open[len(open)-1]].name)
			}
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			e := element{name: token.Name.Local, attr: map[string]string{}}
			for _, a := range token.Attr {
				e.attr[a.Name.Local] = a.Value
			}
			if len(open) > 0 {
				all[open[len(open)-1]].children++
			}
			open = append(open, len(all))
			all = append(all, e)
		case xml.EndElement:
			if len(open) == 0 || all[open[len(open)-1]].name != token.Name.Local {
				t.Fatalf("</%s> closes nothing", token.Name.Local)
			}
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 {
				all[open[len(open)-1]].text += string(token)
			}
		}
	}
}

func count(all []element, name string) (n int) {
	for _, e := range all {
		if e.name == name {
			n++
		}
	}
	return n
}

var schema = sync.OnceValues(func() (*jsonschema.Schema, error) {
	return jsonschema.NewCompiler().Compile("testdata/nbformat.v4.5.schema.json")
})

type notebookJSON struct {
	Cells []struct {
		ID      string
		Type    string `json:"cell_type"`
		Source  string
		Outputs []struct{ Data map[string]string }
	}
}

// validate checks a notebook with Jupyter's schema and what the schema cannot say: identifiers occur once.
func validate(t *testing.T, notebook string) notebookJSON {
	t.Helper()
	s, err := schema()
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(notebook))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(value); err != nil {
		t.Fatal(err)
	}
	var n notebookJSON
	if err := json.Unmarshal([]byte(notebook), &n); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, c := range n.Cells {
		if seen[c.ID] {
			t.Errorf("cell identifier %q occurs twice", c.ID)
		}
		seen[c.ID] = true
	}
	return n
}

func TestSchemaRejects(t *testing.T) {
	s, err := schema()
	if err != nil {
		t.Fatal(err)
	}
	p := newPage(t, t.TempDir(), nil)
	p.Source("x := 1")
	good := string(p.notebook())
	for _, change := range [][2]string{
		{`"id":"cell-1",`, ""}, {`"outputs":[]`, `"outputs":[{}]`}, {`"nbformat": 4,`, ""}, {`"markdown"`, `"text"`}, {`"execution_count":null,`, ""},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		if bad == good {
			t.Fatalf("%s is not in the notebook", change[0])
		}
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(bad))
		if err != nil {
			t.Fatal(err)
		}
		if s.Validate(value) == nil {
			t.Errorf("the schema accepts a notebook with %s in place of %s", change[1], change[0])
		}
	}
}

func TestViews(t *testing.T) {
	dir := t.TempDir()
	var terminal bytes.Buffer
	p := newPage(t, dir, &terminal)
	tell(p, "alpha")
	p.Heading("beta")
	p.Heading("gamma")
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}

	all := elements(t, read(t, filepath.Join(dir, "page.html")))
	for name, want := range map[string]int{"h1": 1, "h2": 3, "nav": 1, "table": 2, "svg": 2, "math": 2, "img": 2, "pre": 1, "figure": 4, "script": 0} {
		if got := count(all, name); got != want {
			t.Errorf("page has %d <%s>, want %d", got, name, want)
		}
	}
	ids := map[string]bool{}
	for _, e := range all {
		if id := e.attr["id"]; id != "" {
			if ids[id] {
				t.Errorf("id %q occurs twice", id)
			}
			ids[id] = true
		}
	}
	for _, e := range all {
		if target := e.attr["href"]; strings.HasPrefix(target, "#") && !ids[target[1:]] {
			t.Errorf("link to missing %s", target)
		}
	}

	n := validate(t, read(t, filepath.Join(dir, "page.ipynb")))
	types := ""
	mimes := map[string]int{}
	for _, c := range n.Cells {
		types += c.Type[:1]
		for _, o := range c.Outputs {
			for mime, data := range o.Data {
				mimes[mime]++
				if mime == "image/png" {
					raw, err := base64.StdEncoding.DecodeString(data)
					if err != nil {
						t.Fatal(err)
					}
					if _, err := png.Decode(bytes.NewReader(raw)); err != nil {
						t.Error(err)
					}
				}
			}
		}
	}
	// title, heading, two texts, the source with all outputs, two headings
	if want := "mmmmcmm"; types != want {
		t.Errorf("cells %s, want %s", types, want)
	}
	for mime, want := range map[string]int{"image/png": 3, "image/svg+xml": 1, "text/html": 2, "text/plain": 6} {
		if mimes[mime] != want {
			t.Errorf("notebook has %d outputs of %s, want %d", mimes[mime], mime, want)
		}
	}

	for _, want := range []string{
		"Two rules\n═════════\n", "\nalpha\n─────\n", "\nalpha  n\n─────  ─\nalpha  1\n", "alpha: 2 of 2 in ", ", alpha\n", "✓ alpha: alpha\n", "page.html",
	} {
		if !strings.Contains(terminal.String(), want) {
			t.Errorf("terminal lacks %q:\n%s", want, terminal.String())
		}
	}
}

var hostile = "<script>alert(1)</script> \"'&amp; <img src=x onerror=y> | ` \\ $x$ *b* # \x1b[31m\x00\x07\u009b \xff\xfe ]]> --> </style></title> javascript:alert(1) [l](javascript:alert(1)) ![p](https://example.org/p.png) <https://example.org> é 数"

// TestHostileText checks that no text becomes markup, and that nothing on the page is loaded from elsewhere.
func TestHostileText(t *testing.T) {
	dir := t.TempDir()
	var terminal bytes.Buffer
	p, err := New(hostile, Options{Dir: dir, Name: "page", Terminal: &terminal})
	if err != nil {
		t.Fatal(err)
	}
	tell(p, hostile)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	page, notebook := read(t, filepath.Join(dir, "page.html")), read(t, filepath.Join(dir, "page.ipynb"))
	allowed := map[string]bool{}
	for _, name := range strings.Fields(`html head meta link title style body header h1 h2 nav ol ul li a main p div pre code em strong table caption
		thead tbody tr th td figure figcaption svg g path rect text img span math mrow mi mn mo mtext mspace msub msup`) {
		allowed[name] = true
	}
	for _, e := range elements(t, page) {
		if !allowed[e.name] {
			t.Errorf("unexpected <%s>", e.name)
		}
		for name, value := range e.attr {
			switch {
			case strings.HasPrefix(name, "on"):
				t.Errorf("<%s> has the handler %s", e.name, name)
			case name == "src" && !strings.HasPrefix(value, "data:image/"):
				t.Errorf("<%s> loads %s", e.name, value)
			case name == "href" && e.name == "link" && value != "data:,":
				t.Errorf("the page loads %s", value)
			case name == "href" && e.name == "a" && value != "" && !strings.HasPrefix(value, "#") && !strings.HasPrefix(value, "https://example.org"):
				t.Errorf("link to %q", value)
			}
		}
		if e.name == "h1" || e.name == "h2" || e.name == "th" && e.text != "n" && e.text != "a" {
			if e.text != oneLine(hostile) {
				t.Errorf("<%s> shows %q, want %q", e.name, e.text, oneLine(hostile))
			}
		}
	}
	validate(t, notebook)
	for name, s := range map[string]string{"terminal": terminal.String(), "page": page, "notebook": notebook} {
		for _, r := range s {
			if unicode.IsControl(r) && r != '\n' && !(r == '\t' && name == "page") {
				t.Fatalf("%s holds the control character %q", name, r)
			}
		}
		if strings.Contains(s, `\u001b`) || strings.Contains(s, `\u0000`) {
			t.Fatalf("%s holds an escaped control character", name)
		}
	}
}

// TestEscapeMarkdown checks with an untouched goldmark that escaped text comes out as it went in.
func TestEscapeMarkdown(t *testing.T) {
	for _, s := range []string{oneLine(hostile), "1. no list", "- no list", "a_b_c", "**x**", "&copy;", "a  b", "+ x", "= y", "---"} {
		var b bytes.Buffer
		if err := goldmark.Convert([]byte("## "+escapeMarkdown(s)), &b); err != nil {
			t.Fatal(err)
		}
		all := elements(t, b.String())
		if len(all) != 1 || all[0].name != "h2" || all[0].text != strings.Join(strings.Fields(s), " ") && all[0].text != s {
			t.Errorf("%q is shown as %s", s, b.String())
		}
	}
}

func TestDeterministic(t *testing.T) {
	var files [2]string
	for i := range files {
		dir := t.TempDir()
		p := newPage(t, dir, nil)
		tell(p, "x")
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		files[i] = read(t, filepath.Join(dir, "page.html")) + read(t, filepath.Join(dir, "page.ipynb"))
	}
	if files[0] != files[1] {
		t.Error("the same calls gave different bytes")
	}
}

func TestChecks(t *testing.T) {
	p := newPage(t, t.TempDir(), nil)
	p.Check("good", true, "1")
	if err := p.Err(); err != nil {
		t.Fatal(err)
	}
	p.Check("97 %", false, "95 %")
	p.Check("98 %", false, "94 %")
	want := "2 of 3 checks failed: 97 % (got 95 %); 98 % (got 94 %)"
	for _, err := range []error{p.Err(), p.Close(), p.Close(), p.Err()} {
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if !strings.Contains(read(t, p.htmlPath), "2 of 3 checks failed</p>") {
		t.Error("the page does not say that checks failed")
	}
}

func TestMistakes(t *testing.T) {
	for _, c := range []struct {
		call func(p *Page)
		want string
	}{
		{func(p *Page) { p.Table(Table{Title: "t", Header: []string{"a"}, Rows: [][]string{{"1"}, {"1", "2"}}}) }, `table: "t": row 1 has 2 cells, wanted 1`},
		{func(p *Page) {
			p.Plot(Plot{Title: "t", Lines: []Line{{Name: "l", X: []float64{1}, Y: []float64{1, 2}}}})
		}, `line "l": wanted X, Y and Band of one length, got 1, 2 and 0`},
		{func(p *Page) { p.Plot(Plot{Lines: []Line{{Y: []float64{1, 2}, Band: []float64{1}}}}) }, "got 2, 2 and 1"},
		{func(p *Page) { p.Plot(Plot{Points: []Points{{X: []float64{}, Y: []float64{1, 2}}}}) }, "got 0 and 2"},
		{func(p *Page) { p.Plot(Plot{Bars: []Bar{{}}, LogY: true}) }, "wanted bars alone"},
		{func(p *Page) { p.Images(Images{Items: []Image{{Shape: [3]int{2, 1, 1}, Pixels: make([]float32, 2)}}}) }, "got [2 1 1]"},
		{func(p *Page) { p.Images(Images{Items: []Image{{Shape: [3]int{1, 0, 1}}}}) }, "got [1 0 1]"},
		{func(p *Page) { p.Images(Images{Items: []Image{{Shape: [3]int{1, 2, 2}, Pixels: make([]float32, 3)}}}) }, "wanted 4 pixels for shape [1 2 2], got 3"},
		{func(p *Page) { p.Drawing("d", "<svg") }, `drawing: "d"`},
		{func(p *Page) { p.Drawing("d", "<p></p>") }, "wanted the root element svg, got \"p"},
		{func(p *Page) { p.Source(program, "nothing") }, `no declaration of "nothing"`},
		{func(p *Page) { p.Source("func {", "f") }, "wanted a Go file"},
		{func(p *Page) { p.Close(); p.Text("late") }, "text: page is closed"},
	} {
		p := newPage(t, t.TempDir(), nil)
		c.call(p)
		p.Heading("after") // a later good call does not hide the mistake
		if err := p.Close(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

func TestNew(t *testing.T) {
	dir := t.TempDir()
	p, err := New("Größe: 3 × 4", Options{Dir: filepath.Join(dir, "a", "b")})
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "a", "b", "größe-3-4.html"); p.htmlPath != want {
		t.Errorf("page at %s, want %s", p.htmlPath, want)
	}
	for _, name := range []string{"../x", "a/b", `a\b`, "..", "."} {
		if _, err := New("t", Options{Dir: dir, Name: name}); err == nil {
			t.Errorf("name %q was accepted", name)
		}
	}
	if _, err := New("!", Options{Dir: dir}); err == nil {
		t.Error("a title without letters gave a name")
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := New("t", Options{Dir: file}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file as folder gave %v", err)
	}
}

func TestFolderGoesAway(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	p := newPage(t, dir, nil)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	p.Text("x")
	if err := p.Err(); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "page.html")) {
		t.Errorf("got %v, want an error that names the file", err)
	}
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("the folder came back, but Close says %v", err)
	}
	if !strings.Contains(read(t, p.htmlPath), "<p>x</p>") {
		t.Error("what was written meanwhile is lost")
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// TestKilled kills a program at different moments of its writing; the files must be whole and hold its first pieces.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("NOTEBOOK_WRITE_TO"); dir != "" {
		p := newPage(t, dir, nil)
		for i := 0; ; i++ {
			p.Text(fmt.Sprintf("piece %d %s", i, strings.Repeat("x", 20000)))
		}
	}
	for round := range 12 {
		dir := t.TempDir()
		c := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		c.Env = append(os.Environ(), "NOTEBOOK_WRITE_TO="+dir)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "page.ipynb")
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if _, err := os.Stat(path); err == nil {
				break
			}
		}
		time.Sleep(time.Duration(round) * 3700 * time.Microsecond)
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		c.Wait()
		page := read(t, filepath.Join(dir, "page.html"))
		pieces := 0
		for _, e := range elements(t, page) {
			if e.name == "p" && strings.HasPrefix(e.text, "piece ") {
				if !strings.HasPrefix(e.text, fmt.Sprintf("piece %d x", pieces)) {
					t.Errorf("piece %d is %q", pieces, e.text[:12])
				}
				pieces++
			}
		}
		if !strings.Contains(page, "Unfinished") {
			t.Error("the page does not say that it is unfinished")
		}
		if cells := len(validate(t, read(t, path)).Cells) - 1; cells != pieces && cells != pieces-1 {
			t.Errorf("page has %d pieces, notebook %d", pieces, cells)
		}
	}
}

func TestConcurrent(t *testing.T) {
	p := newPage(t, t.TempDir(), io.Discard)
	var group sync.WaitGroup
	for range 4 {
		group.Add(1)
		go func() {
			defer group.Done()
			for range 5 {
				p.Text("a")
				p.Check("b", true, "c")
			}
		}()
	}
	group.Wait()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	page := read(t, p.htmlPath)
	if got := strings.Count(page, "<p>a</p>"); got != 20 {
		t.Errorf("%d texts, want 20", got)
	}
	if !strings.Contains(page, "20 of 20 checks hold") {
		t.Error("not all checks are counted")
	}
}

func TestImages(t *testing.T) {
	nan := float32(math.NaN())
	p := newPage(t, t.TempDir(), nil)
	p.Images(Images{Low: -1, High: 1, Columns: 2, Items: []Image{
		{Shape: [3]int{1, 2, 3}, Pixels: []float32{-1, 0, 1, -9, 9, nan}},
		{Label: "rgb", Shape: [3]int{3, 1, 2}, Pixels: []float32{1, -1, -1, 1, 0, -1}},
	}})
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	type rgb [3]uint32
	grey := func(v uint32) rgb { return rgb{v, v, v} }
	want := [][][]rgb{
		{{grey(0), grey(128), grey(255)}, {grey(0), grey(255), {255, 0, 0}}},
		{{{255, 0, 128}, {0, 255, 0}}},
	}
	k := 0
	for _, e := range elements(t, read(t, p.htmlPath)) {
		if e.name != "img" {
			continue
		}
		raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(e.attr["src"], "data:image/png;base64,"))
		if err != nil {
			t.Fatal(err)
		}
		m, err := png.Decode(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		for y, row := range want[k] {
			for x, w := range row {
				r, g, b, _ := m.At(x, y).RGBA()
				if got := (rgb{r >> 8, g >> 8, b >> 8}); got != w {
					t.Errorf("image %d at row %d, column %d: %v, want %v", k, y, x, got, w)
				}
			}
		}
		if size := m.Bounds().Size(); size.X != len(want[k][0]) || size.Y != len(want[k]) {
			t.Errorf("image %d has size %v", k, size)
		}
		k++
	}
	if k != 2 {
		t.Errorf("%d images, want 2", k)
	}
}

func TestSource(t *testing.T) {
	for _, c := range []struct {
		names []string
		want  string
	}{
		{nil, strings.TrimSpace(program)},
		{[]string{"model"}, "// model is a doc comment.\nfunc model() { fmt.Println(\"<a & b>\", 'x', 12) }"},
		{[]string{"net.Forward", "net"}, "// Forward has a generic receiver.\nfunc (n *net[T]) Forward() {}\n\ntype net[T any] struct{ w T }"},
		{[]string{"second"}, "var first, second = 1, 2"},
	} {
		p := newPage(t, t.TempDir(), nil)
		p.Source(program, c.names...)
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		cells := validate(t, string(p.notebook())).Cells
		if got := cells[len(cells)-1].Source; got != c.want {
			t.Errorf("%v: got %q, want %q", c.names, got, c.want)
		}
		shown, inside := "", false
		d := xml.NewDecoder(strings.NewReader(p.body.String()))
		for {
			token, err := d.Token()
			if err != nil {
				break
			}
			switch token := token.(type) {
			case xml.StartElement:
				inside = inside || token.Name.Local == "code"
			case xml.CharData:
				if inside {
					shown += string(token)
				}
			}
		}
		if strings.TrimSpace(shown) != c.want {
			t.Errorf("%v: page shows %q", c.names, shown)
		}
	}
	marked := highlight(`x := "s" // c`)
	if want := `x := <span class="string">&#34;s&#34;</span> <span class="comment">// c</span>`; marked != want {
		t.Errorf("got %s, want %s", marked, want)
	}
}

func TestTable(t *testing.T) {
	var terminal bytes.Buffer
	p := newPage(t, t.TempDir(), &terminal)
	terminal.Reset()
	p.Table(Table{Header: []string{"rule", "accuracy", "change", "note"}, Rows: [][]string{
		{"backprop", "97.4 %", "+0.5", "1 of 2"}, {"数字", "9.81 %", "–", "good"}, {"x", "NaN", "−12", ""},
	}})
	want := `
rule      accuracy  change  note
────────  ────────  ──────  ──────
backprop    97.4 %    +0.5  1 of 2
数字        9.81 %       –  good
x              NaN     −12
`
	if terminal.String() != want {
		t.Errorf("got\n%s\nwant\n%s", terminal.String(), want)
	}
	var aligned []string
	for _, e := range elements(t, "<html>"+p.body.String()+"</html>") {
		if e.name == "th" {
			aligned = append(aligned, e.attr["style"])
		}
	}
	if got, want := strings.Join(aligned, " "), "text-align:left text-align:right text-align:right text-align:left"; got != want {
		t.Errorf("columns %s, want %s", got, want)
	}
}

func TestTerminalMarkdown(t *testing.T) {
	long := strings.TrimSpace(strings.Repeat("word ", 20))
	for _, c := range []struct{ in, want string }{
		{long, strings.TrimSpace(strings.Repeat("word ", 16)) + "\n" + strings.TrimSpace(strings.Repeat("word ", 4)) + "\n"},
		{"*a* **b** `c` [d](https://e.org) &amp; \\*", "a b `c` d (https://e.org) & *\n"},
		{"- a\n- b\n  - c\n", "• a\n• b\n  • c\n"},
		{"3. a\n4. b\n", "3. a\n4. b\n"},
		{"# T\n\ntext\nmore\n", "T\n\ntext more\n"},
		{"> q\n", "│ q\n"},
		{"```\ncode  x\n```\n", "    code  x\n"},
		{"$x^2$ costs $5 or $6", "x² costs $5 or $6\n"},
		{"$$\na_i\n$$\nnext", "    aᵢ\n\nnext\n"},
		{"|a|b|\n|--|--:|\n|x|1|\n|yy|12|\n", "a    b\n──  ──\nx    1\nyy  12\n"},
		{"<b>raw</b> a < b", "<b>raw</b> a < b\n"},
		{"two  \nlines", "two\nlines\n"},
	} {
		term := newTerminal(io.Discard)
		source := []byte(c.in)
		if got := term.markdown(parseMarkdown(source), source); got != c.want {
			t.Errorf("%q: got %q, want %q", c.in, got, c.want)
		}
	}
}

func TestRawStringsAreDedented(t *testing.T) {
	p := newPage(t, t.TempDir(), nil)
	p.Text(`
		A paragraph.

		- item
			- inner
	`)
	if all := elements(t, "<html>"+p.body.String()+"</html>"); count(all, "pre") != 0 || count(all, "ul") != 2 {
		t.Errorf("got %s", p.body.String())
	}
}

func FuzzText(f *testing.F) {
	for _, s := range []string{hostile, "$a$ $$b$$", "$$\n\\frac{1}{2}\n$$", "- $$\n  x\n", "> $$a\n\n$$", "|a|\n|-|\n|$x|y$|", "![$x$](y)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		source := []byte(dedent(clean(s)))
		document := parseMarkdown(source)
		rendered, err := renderMarkdown(document, source)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range elements(t, "<html>"+rendered+"</html>") {
			if e.name == "script" || e.name == "img" || e.name == "style" {
				t.Errorf("%q makes <%s>", s, e.name)
			}
		}
		term := newTerminal(io.Discard)
		if plain := term.markdown(document, source); clean(plain) != plain {
			t.Errorf("%q makes control characters in the terminal: %q", s, plain)
		}
	})
}
