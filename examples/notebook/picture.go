package notebook

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"html"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"strings"

	"github.com/pkg/errors"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// Images is a grid of small pictures, such as digits or weights.
type Images struct {
	Title     string
	Items     []Image
	Columns   int     // 0 means as many as fit
	Low, High float32 // shown as black and as white; both 0 means 0 and 1
}

// Image is one picture of the layout that data sets and convolutions have. Values beyond the range are shown as its
// end, NaN as red.
type Image struct {
	Label  string
	Shape  [3]int    // channels (1: grey, 3: red, green, blue), height, width
	Pixels []float32 // [channels, height, width], row-major
}

// maxImageSide is the largest height or width of an image.
const maxImageSide = 1 << 12

// Images adds a grid of pictures. An image whose shape and pixels do not agree is a mistake that [Page.Err] reports.
func (p *Page) Images(g Images) {
	p.add("images", func() error {
		g.Title = oneLine(g.Title)
		if g.Low == 0 && g.High == 0 {
			g.High = 1
		}
		pictures, err := g.pictures()
		if err != nil {
			return err
		}
		sheet, width, height, err := g.sheet(pictures)
		if err != nil {
			return err
		}
		fragment, err := g.html(pictures)
		if err != nil {
			return err
		}
		p.body.WriteString(fragment)
		summary := g.summary()
		p.outputCell(bundle{"image/png": base64.StdEncoding.EncodeToString(sheet), "text/plain": summary},
			map[string]any{"image/png": map[string]any{"width": width, "height": height}})
		p.term.print("\n" + wrap(summary, p.term.width, "", ""))
		return nil
	})
}

func (g Images) pictures() ([]*image.NRGBA, error) {
	pictures := make([]*image.NRGBA, len(g.Items))
	for i, m := range g.Items {
		c, h, w := m.Shape[0], m.Shape[1], m.Shape[2]
		if c != 1 && c != 3 || h < 1 || w < 1 || h > maxImageSide || w > maxImageSide {
			return nil, errors.Errorf("%q: image %d: wanted shape [1 or 3, height, width] with sides from 1 to %d, got %v", g.Title, i, maxImageSide, m.Shape)
		}
		if len(m.Pixels) != c*h*w {
			return nil, errors.Errorf("%q: image %d: wanted %d pixels for shape %v, got %d", g.Title, i, c*h*w, m.Shape, len(m.Pixels))
		}
		pictures[i] = g.picture(m)
	}
	return pictures, nil
}

func (g Images) picture(m Image) *image.NRGBA {
	c, h, w := m.Shape[0], m.Shape[1], m.Shape[2]
	picture := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := range h * w {
		red := m.Pixels[i]
		green, blue := red, red
		if c == 3 {
			green, blue = m.Pixels[h*w+i], m.Pixels[2*h*w+i]
		}
		shade := color.NRGBA{g.level(red), g.level(green), g.level(blue), 255}
		if red != red || green != green || blue != blue {
			shade = color.NRGBA{R: 255, A: 255}
		}
		picture.SetNRGBA(i%w, i/w, shade)
	}
	return picture
}

func (g Images) level(v float32) uint8 {
	x := (float64(v) - float64(g.Low)) / (float64(g.High) - float64(g.Low))
	return uint8(math.Round(255 * min(max(x, 0), 1)))
}

func (g Images) columns() int {
	if g.Columns > 0 {
		return g.Columns
	}
	return 10
}

// html is the grid with each picture enlarged by the browser, with hard edges.
func (g Images) html(pictures []*image.NRGBA) (string, error) {
	var b strings.Builder
	b.WriteString("<figure class=\"images\">\n")
	if g.Title != "" {
		b.WriteString("<figcaption>" + html.EscapeString(g.Title) + "</figcaption>\n")
	}
	columns := ""
	if g.Columns > 0 {
		columns = fmt.Sprintf(` style="grid-template-columns:repeat(%d,minmax(0,5.5rem))"`, g.Columns)
	}
	b.WriteString("<div class=\"grid\"" + columns + ">\n")
	for i, m := range pictures {
		var data bytes.Buffer
		if err := png.Encode(&data, m); err != nil {
			return "", err
		}
		label := html.EscapeString(oneLine(g.Items[i].Label))
		b.WriteString(`<div><img alt="` + label + `" src="data:image/png;base64,` + base64.StdEncoding.EncodeToString(data.Bytes()) + `">`)
		if label != "" {
			b.WriteString("<span>" + label + "</span>")
		}
		b.WriteString("</div>\n")
	}
	b.WriteString("</div>\n</figure>\n")
	return b.String(), nil
}

// sheet is the grid as one PNG for the notebook, with its size in points.
func (g Images) sheet(pictures []*image.NRGBA) (data []byte, width, height int, err error) {
	defer recovered(&err)
	const dpi, scale, gap, text = 144, 2, 6, 14
	columns := max(1, min(g.columns(), len(pictures)))
	rows := max(1, (len(pictures)+columns-1)/columns)
	side := min(64, max(8, 700/columns))
	labels := 0
	for _, m := range g.Items {
		if m.Label != "" {
			labels = text
		}
	}
	width, height = columns*(side+gap)+gap, rows*(side+labels+gap)+gap
	canvas := vgimg.NewWith(vgimg.UseWH(vg.Length(width), vg.Length(height)), vgimg.UseDPI(dpi), vgimg.UseBackgroundColor(color.White))
	c := draw.New(canvas)
	style := draw.TextStyle{Color: ink, Font: textFont(10, 0), XAlign: draw.XCenter, YAlign: draw.YTop, Handler: plot.DefaultTextHandler}
	for i, m := range pictures {
		x := gap + i%columns*(side+gap)
		y := height - gap - (i/columns)*(side+labels+gap) // the top of the picture
		enlarged := enlarge(m, side*scale)
		c.DrawImage(vg.Rectangle{Min: vg.Point{X: vg.Length(x), Y: vg.Length(y - side)}, Max: vg.Point{X: vg.Length(x + side), Y: vg.Length(y)}}, enlarged)
		if label := oneLine(g.Items[i].Label); label != "" {
			c.FillText(style, vg.Point{X: vg.Length(x) + vg.Length(side)/2, Y: vg.Length(y-side) - 1}, label)
		}
	}
	var b bytes.Buffer
	_, err = vgimg.PngCanvas{Canvas: canvas}.WriteTo(&b)
	return b.Bytes(), width, height, err
}

// enlarge fits a picture into a white square of a side in pixels, with hard edges.
func enlarge(m *image.NRGBA, side int) *image.NRGBA {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	longest := max(w, h)
	big := image.NewNRGBA(image.Rect(0, 0, side, side))
	for y := range side {
		for x := range side {
			sx, sy := x*longest/side-(longest-w)/2, y*longest/side-(longest-h)/2
			if sx >= 0 && sx < w && sy >= 0 && sy < h {
				big.SetNRGBA(x, y, m.NRGBAAt(sx, sy))
			} else {
				big.SetNRGBA(x, y, color.NRGBA{255, 255, 255, 255})
			}
		}
	}
	return big
}

func (g Images) summary() string {
	var labels []string
	for _, m := range g.Items {
		if m.Label != "" {
			labels = append(labels, oneLine(m.Label))
		}
	}
	title := g.Title
	if title == "" {
		title = "Images"
	}
	s := fmt.Sprintf("%s: %d images", title, len(g.Items))
	if len(labels) > 0 {
		s += " (" + strings.Join(labels, ", ") + ")"
	}
	return s
}

// Drawing adds a picture in SVG, such as the drawing of a graph, on white paper. Nothing in it is executed or loaded.
// What is not a well-formed SVG document is a mistake that [Page.Err] reports.
func (p *Page) Drawing(title, svg string) {
	title, svg = oneLine(title), clean(svg)
	p.add("drawing", func() error {
		if err := checkSVG(svg); err != nil {
			return errors.Wrapf(err, "%q", title)
		}
		p.body.WriteString("<figure class=\"drawing\">\n<figcaption>" + html.EscapeString(title) + "</figcaption>\n" +
			`<div class="scroll"><img alt="` + html.EscapeString(title) + `" src="data:image/svg+xml;base64,` +
			base64.StdEncoding.EncodeToString([]byte(svg)) + "\"></div>\n</figure>\n")
		p.outputCell(bundle{"image/svg+xml": svg, "text/plain": "Drawing: " + title}, nil)
		p.term.print("\nDrawing: " + title + "\n")
		return nil
	})
}

func checkSVG(svg string) error {
	d := xml.NewDecoder(strings.NewReader(svg))
	root := ""
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if start, ok := token.(xml.StartElement); ok && root == "" {
			root = start.Name.Local
			if start.Name.Space != "http://www.w3.org/2000/svg" {
				root += " without SVG's namespace"
			}
		}
	}
	if root != "svg" {
		return errors.Errorf("wanted the root element svg, got %q", root)
	}
	return nil
}
