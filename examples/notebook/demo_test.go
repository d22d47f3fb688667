package notebook

import (
	"math"
	"os"
	"testing"
	"time"
	_ "embed"
)

//go:embed source.go
var self string

func TestDemo(t *testing.T) {
	p, err := New("First light: one model, four rules", Options{Dir: os.Getenv("DEMO"), Name: "demo", Terminal: os.Stdout})
	if err != nil { t.Fatal(err) }
	p.Text("One network is trained on the 1,797 UCI digits by **four rules**; only one line changes between them. See [Baydin et al., 2022](https://arxiv.org/abs/2202.08587) and `rules.ByName`.\n\n- backprop minimises $L(\\theta)=-\\frac1N\\sum_{i=1}^{N}\\log p_\\theta(y_i\\mid x_i)$,\n- mono-forward gives each layer $\\ell$ its own loss $L_\\ell$ with $G_\\ell = h_\\ell M_\\ell^{\\top}$,\n- forward gradient uses $\\hat g = (\\nabla f\\cdot v)\\,v$ with $v\\sim\\mathcal N(0, I)$.\n\nThe estimate is unbiased:\n\n$$\\mathbb{E}_{v}\\left[(\\nabla f(\\theta)\\cdot v)\\,v\\right] = \\nabla f(\\theta), \\qquad \\sqrt{\\hat{v}_t}+\\epsilon, \\qquad \\operatorname*{argmax}_{k} z_k$$\n\n$$\n\\begin{aligned} \\mathbf{m}_{t+1} &= \\beta_1 \\mathbf m_t + (1-\\beta_1) g_t \\\\ \\theta_{t+1} &= \\theta_t - \\eta\\,\\frac{\\hat m_t}{\\sqrt{\\hat v_t}+\\epsilon} \\end{aligned}\n$$\n\nAnd $$f(x)=\\begin{cases} x & x>0 \\\\ 0 & \\text{otherwise} \\end{cases}$$ too. Costs $5 and $6.\n\n| a | b |\n|---|--:|\n| x | 12 |\n\n> a quote\n\n```go\nx := 1\n```\n")
	p.Heading("The model")
	p.Source(self, "funcName")
	p.Heading("Training")
	for _, r := range []string{"backprop", "mono-forward"} {
		b := p.Progress(r, 40)
		for i := range 40 {
			time.Sleep(5*time.Millisecond)
			b.Set(i+1, "loss 0.12")
		}
		b.Done()
	}
	curve := func(k float64) (y []float64) {
		for i := range 30 { y = append(y, 2.3*math.Exp(-k*float64(i))+0.03+0.02*math.Sin(float64(i)*k*9)) }
		return
	}
	band := make([]float64, 30); for i := range band { band[i] = 0.05+0.1*math.Exp(-float64(i)/5) }
	p.Plot(Plot{Title: "Learning curves", X: "epoch", Y: "training loss", Lines: []Line{{Name: "backprop", Y: curve(.4)}, {Name: "mono-forward", Y: curve(.25), Band: band}, {Name: "forward-forward", Y: curve(.15)}, {Name: "forward gradient", Y: curve(.08)}}})
	p.Plot(Plot{Title: "The same, logarithmic", X: "epoch", Y: "training loss", LogY: true, Lines: []Line{{Name: "backprop", Y: curve(.4)}, {Name: "with gap", Y: append(curve(.2)[:10], append([]float64{math.NaN(), math.Inf(1), 0}, curve(.2)[13:]...)...)}}})
	var px, py []float64
	for i := range 200 { px = append(px, math.Sin(float64(i))); py = append(py, math.Cos(float64(i)*1.3)*.7+px[i]) }
	p.Plot(Plot{Title: "Points", X: "x", Y: "y", Points: []Points{{Name: "a", X: px, Y: py}}})
	p.Table(Table{Title: "Results", Header: []string{"rule", "test accuracy", "seconds", "memory"}, Rows: [][]string{{"backprop", "97.4 %", "4.21", "1.2 MB"}, {"mono-forward", "96.9 %", "12.03", "0.4 MB"}, {"forward-forward", "96.1 %", "9.80", "0.4 MB"}}})
	p.Plot(Plot{Title: "Test accuracy", Y: "accuracy", Bars: []Bar{{"backprop", .974, .004}, {"mono-forward", .969, .003}, {"forward gradient <b>", .81, 0}}})
	p.Heading("Mistakes")
	var im []Image
	for k := range 12 {
		px := make([]float32, 64)
		for i := range px { px[i] = float32(math.Abs(math.Sin(float64(i*(k+1))*.3))) }
		im = append(im, Image{Label: "4 → 9", Shape: [3]int{1, 8, 8}, Pixels: px})
	}
	p.Images(Images{Title: "Misread digits", Items: im})
	p.Drawing("Graph", `<svg xmlns="http://www.w3.org/2000/svg" width="300" height="80"><rect x="5" y="5" width="80" height="40" fill="none" stroke="black"/><text x="20" y="30">dense1</text></svg>`)
	p.Heading("Checks")
	p.Check("backprop reaches 97 %", true, "97.4 %")
	p.Check("mono-forward reaches 96.5 %", true, "96.9 %")
	if os.Getenv("FAIL") != "" { p.Check("forward gradient improves steadily over all epochs", false, "0.81 → 0.80 in epoch 7") }
	t.Log(p.Close())
}
