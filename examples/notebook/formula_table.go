package notebook

import "strings"

// The vocabulary of formulas.

var symbols = names(`
alpha α beta β gamma γ delta δ epsilon ϵ varepsilon ε zeta ζ eta η theta θ vartheta ϑ iota ι kappa κ lambda λ mu μ nu ν
xi ξ omicron ο pi π varpi ϖ rho ρ varrho ϱ sigma σ varsigma ς tau τ upsilon υ phi ϕ varphi φ chi χ psi ψ omega ω
Gamma Γ Delta Δ Theta Θ Lambda Λ Xi Ξ Pi Π Sigma Σ Upsilon Υ Phi Φ Psi Ψ Omega Ω
ell ℓ hbar ℏ Re ℜ Im ℑ aleph ℵ partial ∂ nabla ∇ infty ∞ emptyset ∅ varnothing ∅ top ⊤ bot ⊥ dagger † prime ′
ldots … dots … cdots ⋯ vdots ⋮ ddots ⋱
pm ± mp ∓ times × cdot · div ÷ ast ∗ star ⋆ circ ∘ bullet • odot ⊙ otimes ⊗ oplus ⊕ ominus ⊖ cup ∪ cap ∩
setminus ∖ wedge ∧ land ∧ vee ∨ lor ∨ neg ¬ lnot ¬
le ≤ leq ≤ leqslant ≤ ge ≥ geq ≥ geqslant ≥ ne ≠ neq ≠ approx ≈ equiv ≡ sim ∼ simeq ≃ cong ≅ propto ∝ ll ≪ gg ≫
prec ≺ preceq ⪯ succ ≻ succeq ⪰ triangleq ≜ coloneqq ≔ lt < gt >
in ∈ notin ∉ ni ∋ subset ⊂ subseteq ⊆ supset ⊃ supseteq ⊇ forall ∀ exists ∃ mid | vert | Vert ∥ parallel ∥ perp ⊥
to → rightarrow → leftarrow ← gets ← leftrightarrow ↔ Rightarrow ⇒ implies ⇒ Leftarrow ⇐ Leftrightarrow ⇔ iff ⇔
mapsto ↦ longrightarrow ⟶ uparrow ↑ downarrow ↓ rightsquigarrow ⇝
langle ⟨ rangle ⟩ lfloor ⌊ rfloor ⌋ lceil ⌈ rceil ⌉ lbrace { rbrace } lbrack [ rbrack ] lvert | rvert | lVert ∥ rVert ∥
colon : angle ∠ triangle △ square □ checkmark ✓ degree ° `)

var largeOperators = names(`sum ∑ prod ∏ coprod ∐ int ∫ iint ∬ oint ∮ bigcup ⋃ bigcap ⋂ bigoplus ⨁ bigotimes ⨂ bigodot ⨀
bigwedge ⋀ bigvee ⋁`)

// functions have upright names; true: limits stand below them in a displayed formula.
var functions = map[string]bool{
	"log": false, "ln": false, "lg": false, "exp": false, "sin": false, "cos": false, "tan": false, "cot": false,
	"sinh": false, "cosh": false, "tanh": false, "coth": false, "arcsin": false, "arccos": false, "arctan": false,
	"arg": false, "deg": false, "dim": false, "ker": false, "hom": false, "det": true, "gcd": true, "Pr": true,
	"lim": true, "limsup": true, "liminf": true, "max": true, "min": true, "sup": true, "inf": true,
	"argmax": true, "argmin": true, "tr": false, "diag": false, "softmax": false, "sign": false, "KL": false,
}

var spaces = map[string]string{
	",": "0.17em", ":": "0.22em", ">": "0.22em", ";": "0.28em", " ": "0.25em", "!": "-0.17em",
	"quad": "1em", "qquad": "2em", "enspace": "0.5em", "thinspace": "0.17em",
}

var alphabets = map[string]string{
	"mathbf": "bold", "boldsymbol": "bold", "bm": "bold", "mathbb": "double", "mathcal": "script", "mathscr": "script",
	"mathfrak": "fraktur",
}

var accents = map[string]accent{
	"hat": {"^", "mover", "\u0302"}, "widehat": {"^", "mover", "\u0302"},
	"tilde": {"~", "mover", "\u0303"}, "widetilde": {"~", "mover", "\u0303"},
	"bar": {"‾", "mover", "\u0304"}, "overline": {"‾", "mover", "\u0304"},
	"vec": {"→", "mover", "\u20D7"}, "dot": {"˙", "mover", "\u0307"}, "ddot": {"¨", "mover", "\u0308"},
	"check": {"ˇ", "mover", "\u030C"}, "breve": {"˘", "mover", "\u0306"},
	"underline": {"_", "munder", "\u0332"},
}

// environments are tables between fences; class says how their columns stand.
var environments = map[string]struct{ opening, closing, class string }{
	"matrix":   {"", "", ""},
	"pmatrix":  {"(", ")", ""},
	"bmatrix":  {"[", "]", ""},
	"vmatrix":  {"|", "|", ""},
	"cases":    {"{", "", ` class="left"`},
	"aligned":  {"", "", ` class="aligned"`},
	"align":    {"", "", ` class="aligned"`},
	"split":    {"", "", ` class="aligned"`},
	"gathered": {"", "", ""},
}

func names(list string) map[string]string {
	fields := strings.Fields(list)
	m := make(map[string]string, len(fields)/2)
	for i := 0; i < len(fields); i += 2 {
		m[fields[i]] = fields[i+1]
	}
	return m
}

// styled is a letter or digit of an alphabet, from Unicode's block of mathematical letters; itself where there is none.
func styled(r rune, alphabet string) rune {
	a, ok := unicodeAlphabets[alphabet]
	if !ok {
		return r
	}
	if s, ok := a.exceptions[r]; ok {
		return s
	}
	switch {
	case r >= 'A' && r <= 'Z':
		return a.upper + r - 'A'
	case r >= 'a' && r <= 'z':
		return a.lower + r - 'a'
	case r >= '0' && r <= '9' && a.digit != 0:
		return a.digit + r - '0'
	case r >= 'Α' && r <= 'Ω' && a.greek != 0:
		return a.greek + r - 'Α'
	case r >= 'α' && r <= 'ω' && a.greek != 0:
		return a.greek + 26 + r - 'α'
	}
	return r
}

var unicodeAlphabets = map[string]struct {
	upper, lower, digit, greek rune
	exceptions                 map[rune]rune
}{
	"bold": {upper: 0x1D400, lower: 0x1D41A, digit: 0x1D7CE, greek: 0x1D6A8,
		exceptions: map[rune]rune{'∇': 0x1D6C1, 'ϵ': 0x1D6DC, 'ϕ': 0x1D6DF}},
	"double": {upper: 0x1D538, lower: 0x1D552, digit: 0x1D7D8,
		exceptions: map[rune]rune{'C': 'ℂ', 'H': 'ℍ', 'N': 'ℕ', 'P': 'ℙ', 'Q': 'ℚ', 'R': 'ℝ', 'Z': 'ℤ'}},
	"script": {upper: 0x1D49C, lower: 0x1D4B6,
		exceptions: map[rune]rune{'B': 'ℬ', 'E': 'ℰ', 'F': 'ℱ', 'H': 'ℋ', 'I': 'ℐ', 'L': 'ℒ', 'M': 'ℳ', 'R': 'ℛ', 'e': 'ℯ', 'g': 'ℊ', 'o': 'ℴ'}},
	"fraktur": {upper: 0x1D504, lower: 0x1D51E,
		exceptions: map[rune]rune{'C': 'ℭ', 'H': 'ℌ', 'I': 'ℑ', 'R': 'ℜ', 'Z': 'ℨ'}},
}

var superscripts = small("0123456789+−=()abcdefghijklmnoprstuvwxyzABDEGHIJKLMNOPRTUVW⊤′∗", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻᴬᴮᴰᴱᴳᴴᴵᴶᴷᴸᴹᴺᴼᴾᴿᵀᵁⱽᵂᵀ′*")

var subscripts = small("0123456789+−=()aehijklmnoprstuvxβγρφχ", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓᵦᵧᵨᵩᵪ")

func small(from, to string) map[rune]rune {
	m, target := map[rune]rune{}, []rune(to)
	for i, r := range []rune(from) {
		m[r] = target[i]
	}
	return m
}
