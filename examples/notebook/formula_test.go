package notebook

import (
	"strings"
	"testing"
)

func TestFormula(t *testing.T) {
	const x, two = "<mi>x</mi>", "<mn>2</mn>"
	for _, c := range []struct{ latex, mathML, plain string }{
		{"x", x, "x"},
		{"x^2", "<msup>" + x + two + "</msup>", "x²"},
		{"x_{i+1}", "<msub>" + x + "<mrow><mi>i</mi><mo>+</mo><mn>1</mn></mrow></msub>", "xᵢ₊₁"},
		{"x_i^2", "<msubsup>" + x + "<mi>i</mi>" + two + "</msubsup>", "xᵢ²"},
		{"x^2_i", "<msubsup>" + x + "<mi>i</mi>" + two + "</msubsup>", "xᵢ²"},
		{"x'", "<msup>" + x + "<mo>′</mo></msup>", "x′"},
		{"x_{\\text{in}}", "<msub>" + x + "<mtext>in</mtext></msub>", "xᵢₙ"},
		{"x_q", "<msub>" + x + "<mi>q</mi></msub>", "x_q"},
		{"3.14x", "<mrow><mn>3.14</mn>" + x + "</mrow>", "3.14x"},
		{"-x - 2", "<mrow><mo>−</mo>" + x + "<mo>−</mo>" + two + "</mrow>", "−x − 2"},
		{"a<b", "<mrow><mi>a</mi><mo>&lt;</mo><mi>b</mi></mrow>", "a < b"},
		{"\\frac{x}{2}", "<mfrac>" + x + two + "</mfrac>", "x/2"},
		{"\\frac12", "<mfrac><mn>1</mn>" + two + "</mfrac>", "1/2"},
		{"\\frac{x+1}{2}", "<mfrac><mrow>" + x + "<mo>+</mo><mn>1</mn></mrow>" + two + "</mfrac>", "(x + 1)/2"},
		{"\\frac12x", "<mrow><mfrac><mn>1</mn>" + two + "</mfrac>" + x + "</mrow>", "1/2 x"},
		{"h_\\ell x", "<mrow><msub><mi>h</mi><mi>ℓ</mi></msub>" + x + "</mrow>", "h_ℓ x"},
		{"\\sqrt{x}", "<msqrt>" + x + "</msqrt>", "√x"},
		{"\\sqrt[3]{x}", "<mroot>" + x + "<mn>3</mn></mroot>", "³√x"},
		{"\\hat{x}", `<mover accent="true">` + x + `<mo stretchy="false">^</mo></mover>`, "x\u0302"},
		{"\\theta \\in \\mathbb{R}^n", "<mrow><mi>θ</mi><mo>∈</mo><msup><mi>ℝ</mi><mi>n</mi></msup></mrow>", "θ ∈ ℝⁿ"},
		{"\\mathbf{W}\\mathcal{L}", "<mrow><mi>𝐖</mi><mi>ℒ</mi></mrow>", "𝐖ℒ"},
		{"\\boldsymbol{\\theta}_1", "<msub><mi>𝛉</mi><mn>1</mn></msub>", "𝛉₁"},
		{"\\mathrm{KL}", "<mi>KL</mi>", "KL"},
		{"\\mathrm{d}x", `<mrow><mi mathvariant="normal">d</mi>` + x + "</mrow>", "dx"},
		{"\\log x", `<mrow><mi>log</mi><mspace width="0.17em"></mspace>` + x + "</mrow>", "log x"},
		{"\\log(x)", `<mrow><mi>log</mi><mo stretchy="false">(</mo>` + x + `<mo stretchy="false">)</mo></mrow>`, "log(x)"},
		{"2\\log x", `<mrow>` + two + `<mi>log</mi><mspace width="0.17em"></mspace>` + x + "</mrow>", "2 log x"},
		{"\\left(x\\right.", `<mrow><mo fence="true" stretchy="true">(</mo>` + x + `<mo fence="true" stretchy="true"></mo></mrow>`, "(x"},
		{"\\{x\\}", `<mrow><mo stretchy="false">{</mo>` + x + `<mo stretchy="false">}</mo></mrow>`, "{x}"},
		{"\\unknown x", "<mrow><mtext>\\unknown</mtext>" + x + "</mrow>", "\\unknown x"},
		{"\\binom{n}{k}", `<mrow><mo>(</mo><mfrac linethickness="0"><mi>n</mi><mi>k</mi></mfrac><mo>)</mo></mrow>`, "C(n, k)"},
		{"\\begin{bmatrix}1&2\\\\3&4\\end{bmatrix}", "<mrow><mo>[</mo><mtable><mtr><mtd><mn>1</mn></mtd><mtd>" + two +
			"</mtd></mtr><mtr><mtd><mn>3</mn></mtd><mtd><mn>4</mn></mtd></mtr></mtable><mo>]</mo></mrow>", "[1  2; 3  4]"},
	} {
		mathML, plain := formula(c.latex, false)
		if want := "<math>" + c.mathML + "</math>"; mathML != want || plain != c.plain {
			t.Errorf("%s:\ngot  %s  %q\nwant %s  %q", c.latex, mathML, plain, want, c.plain)
		}
	}
}

func TestDisplayedFormula(t *testing.T) {
	got, plain := formula(`\sum_{i=1}^n x_i + \int_0^1`, true)
	want := `<math display="block"><mrow><munderover><mo>∑</mo><mrow><mi>i</mi><mo>=</mo><mn>1</mn></mrow><mi>n</mi></munderover>` +
		`<msub><mi>x</mi><mi>i</mi></msub><mo>+</mo><msubsup><mo>∫</mo><mn>0</mn><mn>1</mn></msubsup></mrow></math>`
	if got != want || plain != "∑ᵢ₌₁ⁿ xᵢ + ∫₀¹" {
		t.Errorf("got  %s  %q\nwant %s", got, plain, want)
	}
	if inline, _ := formula(`\sum_{i=1}^n x_i`, false); strings.Contains(inline, "munder") {
		t.Errorf("a formula in the line has its limits above and below: %s", inline)
	}
	if got, _ := formula(`\operatorname*{argmax}_k z`, true); !strings.Contains(got, "<munder><mi>argmax</mi><mi>k</mi></munder>") {
		t.Errorf("got %s", got)
	}
}

// TestUnreadableFormula checks that what is no formula is shown as it was written.
func TestUnreadableFormula(t *testing.T) {
	for _, latex := range []string{"{", "}", "x^", "x_", "\\frac{1}", "\\sqrt[2", "\\left(", "\\right)", "\\begin{pmatrix}1", "\\begin{pmatrix}1\\end{bmatrix}",
		"\\begin{nothing}\\end{nothing}", "a & b", "\\text{", "\\hat", "\\mathbf", "\\\\", strings.Repeat("{", 10000) + strings.Repeat("}", 10000), strings.Repeat("\\hat", 900), strings.Repeat("{", 900) + strings.Repeat("}", 900), strings.Repeat("x", 5000)} {
		mathML, plain := formula(latex, false)
		if mathML != "<code>"+strings.ReplaceAll(latex, "&", "&amp;")+"</code>" || plain != latex {
			t.Errorf("%.40s: got %.80s, %.40q", latex, mathML, plain)
		}
	}
}

// TestVocabulary checks that each documented command makes MathML without its name showing through.
func TestVocabulary(t *testing.T) {
	var commands []string
	for name := range symbols {
		commands = append(commands, name)
	}
	for name := range largeOperators {
		commands = append(commands, name)
	}
	for name := range spaces {
		commands = append(commands, name)
	}
	for name := range accents {
		commands = append(commands, name+"{x}")
	}
	for name := range alphabets {
		commands = append(commands, name+"{x}")
	}
	for name := range environments {
		commands = append(commands, "begin{"+name+"} a & b \\\\ c & d \\\\ \\end{"+name+"}")
	}
	commands = append(commands, "big(", "Bigl[", "tfrac12", "dfrac12", "operatorname{f}", "mathsf{x}", "mathrm{x_1}", "|", "{", "%", "sum\\limits_i", "int\\nolimits_0")
	for _, name := range commands {
		mathML, _ := formula(`\`+name, true)
		if strings.Contains(mathML, `\`) || strings.HasPrefix(mathML, "<code>") {
			t.Errorf("\\%s: %s", name, mathML)
		}
		elements(t, mathML)
	}
}

func FuzzFormula(f *testing.F) {
	for _, s := range []string{`\frac{a}{b}_i^2`, `\begin{cases} a & b \\ c \end{cases}`, `\left\{ \mathbf{x} \right|`, "a'_b'^c", `\sqrt[\hat x]{\text{<&>}}`, "<script>"} {
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, s string, display bool) {
		mathML, _ := formula(clean(s), display)
		for _, e := range elements(t, mathML) {
			if !strings.HasPrefix(e.name, "m") && e.name != "code" {
				t.Errorf("%q makes <%s>", s, e.name)
			}
			wanted := map[string]int{"mfrac": 2, "msub": 2, "msup": 2, "msubsup": 3, "munder": 2, "mover": 2, "munderover": 3, "mroot": 2}[e.name]
			if wanted > 0 && e.children != wanted {
				t.Errorf("%q: <%s> has %d children, want %d", s, e.name, e.children, wanted)
			}
		}
	})
}
