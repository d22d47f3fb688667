package notebook

import (
	"html"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/pkg/errors"
)

// formula translates LaTeX into MathML and into Unicode text on one line. LaTeX that cannot be read (an open brace, a
// missing argument, too deep a nesting, more than maxFormula bytes) is returned as it is, as code.
func formula(latex string, display bool) (mathML, plain string) {
	p := &latexParser{src: latex, display: display}
	var content term
	err := errors.New("too long")
	if len(latex) <= maxFormula {
		content, err = p.sequence("")
	}
	if err != nil {
		return "<code>" + html.EscapeString(strings.TrimSpace(latex)) + "</code>", strings.TrimSpace(latex)
	}
	block := ""
	if display {
		block = ` display="block"`
	}
	return "<math" + block + ">" + content.row() + "</math>", strings.TrimSpace(content.plain)
}

// term is a part of a formula in both notations.
type term struct {
	mathML, plain string
	parts         int  // how many MathML elements mathML holds
	limits        bool // in a displayed formula, scripts stand below and above
	function      bool // a function's name, which is set apart from its argument
}

// row is the term as exactly one MathML element.
func (t term) row() string {
	if t.parts == 1 {
		return t.mathML
	}
	return "<mrow>" + t.mathML + "</mrow>"
}

// compact is the plain text without blanks.
func (t term) compact() string { return strings.ReplaceAll(t.plain, " ", "") }

// factor is the plain text, in parentheses if it has several parts.
func (t term) factor() string {
	if s := strings.TrimSpace(t.plain); !strings.ContainsAny(s, " +-−/·") {
		return s
	}
	return "(" + strings.TrimSpace(t.plain) + ")"
}

const (
	maxFormula      = 4096 // bytes
	maxFormulaDepth = 50
)

type latexParser struct {
	src     string
	pos     int
	depth   int
	display bool
	font    string // the alphabet of letters, "" for the usual italics
}

// peek is the next token: a command with its backslash, or one character; "" at the end.
func (p *latexParser) peek() string {
	rest := p.src[p.pos:]
	if rest == "" {
		return ""
	}
	if rest[0] != '\\' {
		_, n := utf8.DecodeRuneInString(rest)
		return rest[:n]
	}
	n := 1
	for n < len(rest) && (rest[n] >= 'a' && rest[n] <= 'z' || rest[n] >= 'A' && rest[n] <= 'Z') {
		n++
	}
	if n == 1 && len(rest) > 1 {
		_, size := utf8.DecodeRuneInString(rest[1:])
		n += size
	}
	return rest[:n]
}

func (p *latexParser) next() string {
	t := p.peek()
	p.pos += len(t)
	return t
}

func (p *latexParser) skipBlanks() {
	for p.pos < len(p.src) && strings.IndexByte(" \t\r\n", p.src[p.pos]) >= 0 {
		p.pos++
	}
}

// sequence parses until the closing token, which it consumes; "" is the end of the source. Cells and rows of an
// environment end at & and \\ as well, which stay.
func (p *latexParser) sequence(closing string) (term, error) {
	var all term
	afterFunction := false
	for {
		p.skipBlanks()
		token := p.peek()
		switch {
		case token == closing:
			p.next()
			return all, nil
		case closing == `\end` && (token == "&" || token == `\\`):
			return all, nil
		case token == "" || token == "}" || token == "&" || token == `\right` || token == `\end`:
			return all, errors.Errorf("unexpected %q", token)
		}
		t, err := p.scripted()
		if err != nil {
			return all, err
		}
		if afterFunction && !strings.Contains("([|,.;)]", token) && !strings.HasPrefix(t.plain, " ") && token != `\left` {
			t.mathML, t.parts = `<mspace width="0.17em"></mspace>`+t.mathML, t.parts+1
		}
		afterFunction = t.function
		all.mathML += t.mathML
		all.parts += t.parts
		all.plain = join(all.plain, t.plain)
	}
}

// join puts plain texts next to each other. An operator has blanks around it, except where it is a sign; a word, such
// as log, is set apart from a letter.
func join(a, b string) string {
	last, _ := utf8.DecodeLastRuneInString(strings.TrimRight(a, " "))
	first, _ := utf8.DecodeRuneInString(b)
	if sign := strings.TrimSpace(b); b != sign && (a == "" || strings.ContainsRune("([{,;|=<>≤≥≈+−·×→", last)) &&
		strings.Contains("+−±∓", sign) && sign != "" {
		return a + sign
	}
	if strings.HasSuffix(a, " ") {
		return a + strings.TrimLeft(b, " ")
	}
	if ambiguous.MatchString(a[max(0, len(a)-40):]) && (unicode.IsLetter(first) || unicode.IsDigit(first)) || strings.ContainsRune("∑∏∫∮⋃⋂", first) && last != utf8.RuneError {
		return a + " " + b
	}
	if endsInWord(a) && (unicode.IsLetter(first) || unicode.IsDigit(first)) || startsWithWord(b) && (unicode.IsLetter(last) || unicode.IsDigit(last)) {
		return a + " " + b
	}
	return a + b
}

// ambiguous matches what must not grow: a subscript without small characters, such as h_ℓ, and a fraction.
var ambiguous = regexp.MustCompile(`(_[\pL\pN]+|/[^ ]+)$`)

func startsWithWord(s string) bool {
	n := 0
	for n < len(s) && s[n] >= 'a' && s[n] <= 'z' {
		n++
	}
	return n >= 2
}

func endsInWord(s string) bool {
	n := len(s)
	for n > 0 && s[n-1] >= 'a' && s[n-1] <= 'z' {
		n--
	}
	return len(s)-n >= 2
}

// scripted parses an atom with its sub- and superscripts.
func (p *latexParser) scripted() (term, error) {
	var base term
	if t := p.peek(); t != "^" && t != "_" && t != "'" {
		var err error
		if base, err = p.atom(); err != nil {
			return base, err
		}
	}
	var sub, sup term
	for {
		p.skipBlanks()
		switch p.peek() {
		case "'":
			p.next()
			sup = term{mathML: sup.mathML + "<mo>′</mo>", plain: sup.plain + "′", parts: sup.parts + 1}
		case "^", "_":
			script := &sup
			if p.next() == "_" {
				script = &sub
			}
			t, err := p.argument()
			if err != nil {
				return base, err
			}
			*script = term{mathML: script.mathML + t.mathML, plain: script.plain + t.plain, parts: script.parts + t.parts}
		case `\limits`:
			p.next()
			base.limits = true
		case `\nolimits`:
			p.next()
			base.limits = false
		default:
			return base.withScripts(sub, sup, p.display), nil
		}
	}
}

func (t term) withScripts(sub, sup term, display bool) term {
	if sub.parts == 0 && sup.parts == 0 {
		return t
	}
	below, above, both := "msub", "msup", "msubsup"
	if t.limits && display {
		below, above, both = "munder", "mover", "munderover"
	}
	tag, scripts := both, sub.row()+sup.row()
	if sup.parts == 0 {
		tag, scripts = below, sub.row()
	} else if sub.parts == 0 {
		tag, scripts = above, sup.row()
	}
	plain := strings.TrimRight(t.plain, " ")
	if sub.parts > 0 {
		plain += script(sub.compact(), subscripts, "_")
	}
	if sup.parts > 0 {
		plain += script(sup.compact(), superscripts, "^")
	}
	if t.limits {
		plain += " "
	}
	return term{mathML: "<" + tag + ">" + t.row() + scripts + "</" + tag + ">", plain: plain, parts: 1, function: t.function}
}

// script writes s in the small characters of a table, or after a mark where one is missing.
func script(s string, small map[rune]rune, mark string) string {
	var b strings.Builder
	for _, r := range s {
		c, ok := small[r]
		if !ok {
			if utf8.RuneCountInString(s) == 1 || strings.IndexFunc(s, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) < 0 {
				return mark + s
			}
			return mark + "(" + s + ")"
		}
		b.WriteRune(c)
	}
	return b.String()
}

// argument is a group in braces, or one atom; of a number its first digit.
func (p *latexParser) argument() (term, error) {
	p.skipBlanks()
	switch t := p.peek(); {
	case t == "", t == "^", t == "_", t == "'":
		return term{}, errors.Errorf("wanted an argument, got %q", t)
	case t[0] >= '0' && t[0] <= '9':
		return p.number(p.next()), nil
	}
	return p.atom()
}

// rawArgument is the text of a group in braces, for \text and the like.
func (p *latexParser) rawArgument() (string, error) {
	p.skipBlanks()
	if p.peek() != "{" {
		return p.next(), nil
	}
	p.next()
	start, depth := p.pos, 1
	for {
		switch end := p.pos; p.next() {
		case "":
			return "", errors.New("unexpected end")
		case "{":
			depth++
		case "}":
			if depth--; depth == 0 {
				return strings.NewReplacer(`\_`, "_", `\%`, "%", `\&`, "&", `\#`, "#", `\$`, "$", `\ `, " ", `~`, " ", `\,`, " ", `\-`, "").Replace(p.src[start:end]), nil
			}
		}
	}
}

// atom parses one character, command or group.
func (p *latexParser) atom() (term, error) {
	if p.depth++; p.depth > maxFormulaDepth {
		return term{}, errors.New("nested too deeply")
	}
	defer func() { p.depth-- }()
	p.skipBlanks()
	token := p.next()
	switch token {
	case "{":
		t, err := p.sequence("}")
		t.mathML, t.parts = t.row(), 1
		return t, err
	case "", "}", "&":
		return term{}, errors.Errorf("unexpected %q", token)
	}
	if token[0] == '\\' && len(token) > 1 {
		return p.command(token[1:])
	}
	r, _ := utf8.DecodeRuneInString(token)
	switch {
	case unicode.IsDigit(r):
		return p.numeral(token), nil
	case unicode.IsLetter(r):
		return p.letter(r), nil
	}
	return operator(token), nil
}

// numeral takes the digits and decimal points that follow.
func (p *latexParser) numeral(s string) term {
	for {
		t := p.peek()
		if t == "" || !(t[0] >= '0' && t[0] <= '9') &&
			!(t == "." && p.pos+1 < len(p.src) && p.src[p.pos+1] >= '0' && p.src[p.pos+1] <= '9') {
			break
		}
		s += p.next()
	}
	return p.number(s)
}

func (p *latexParser) number(s string) term {
	shown := strings.Map(func(r rune) rune { return styled(r, p.font) }, s)
	return term{mathML: "<mn>" + shown + "</mn>", plain: shown, parts: 1}
}

func (p *latexParser) letter(r rune) term {
	s := styled(r, p.font)
	variant := ""
	if s == r && p.font == "upright" {
		variant = ` mathvariant="normal"`
	}
	return term{mathML: "<mi" + variant + ">" + string(s) + "</mi>", plain: string(s), parts: 1}
}

// operator is a character that is neither letter nor digit.
func operator(s string) term {
	switch s {
	case "-":
		s = "−"
	case "*":
		s = "∗"
	}
	plain := s
	switch {
	case strings.Contains("+−=<>±∓×·÷∗≤≥≠≈≡∼∝∈∉⊂⊆→←↔⇒⇐⇔↦≪≫∘⊙⊗⊕∪∩≺⪯≻⪰≜≔∧∨", s):
		plain = " " + s + " "
	case s == ",", s == ";":
		plain = s + " "
	case s == "~":
		return space("0.25em")
	}
	attribute := ""
	if strings.Contains("()[]{}|∥⟨⟩⌊⌋⌈⌉/", s) {
		attribute = ` stretchy="false"`
	}
	return term{mathML: "<mo" + attribute + ">" + html.EscapeString(s) + "</mo>", plain: plain, parts: 1}
}

func space(width string) term {
	return term{mathML: `<mspace width="` + width + `"></mspace>`, plain: " ", parts: 1}
}

// word is upright text of several letters, such as a function's name.
func word(tag, s string) term {
	variant := ""
	if tag == "mi" && utf8.RuneCountInString(s) == 1 {
		variant = ` mathvariant="normal"`
	}
	return term{mathML: "<" + tag + variant + ">" + html.EscapeString(s) + "</" + tag + ">", plain: s, parts: 1}
}

// command parses what follows a backslash.
func (p *latexParser) command(name string) (term, error) {
	if font, ok := alphabets[name]; ok {
		return p.withFont(font)
	}
	if accent, ok := accents[name]; ok {
		return p.accent(accent)
	}
	if s, ok := symbols[name]; ok {
		return p.symbol(s), nil
	}
	if s, ok := largeOperators[name]; ok {
		t := operator(s)
		t.plain, t.limits = s, name != "int" && name != "oint" && name != "iint"
		return t, nil
	}
	if width, ok := spaces[name]; ok {
		return space(width), nil
	}
	if limits, ok := functions[name]; ok {
		t := word("mi", name)
		t.limits, t.function = limits, true
		return t, nil
	}
	switch name {
	case "frac", "dfrac", "tfrac", "binom":
		return p.fraction(name)
	case "sqrt":
		return p.root()
	case "text", "textrm", "textbf", "textit", "mbox":
		s, err := p.rawArgument()
		return word("mtext", strings.ReplaceAll(s, " ", "\u00A0")).withPlain(s), err
	case "mathrm", "operatorname", "mathsf", "mathtt", "mathit":
		return p.upright(name)
	case "left":
		return p.fenced()
	case "big", "Big", "bigg", "Bigg", "bigl", "bigr", "Bigl", "Bigr", "biggl", "biggr", "displaystyle", "textstyle", "middle":
		return p.skipTo()
	case "begin":
		return p.environment()
	case "{", "}", "%", "#", "$", "&", "_":
		return operator(name), nil
	case "|":
		return operator("∥"), nil
	case "right", "end", "\\":
		return term{}, errors.Errorf("unexpected \\%s", name)
	}
	return word("mtext", `\`+name), nil
}

func (t term) withPlain(s string) term {
	t.plain = s
	return t
}

// skipTo ignores a command of size: what follows stands for itself.
func (p *latexParser) skipTo() (term, error) {
	p.skipBlanks()
	if t := p.peek(); t == "" || t == "}" || t == "&" {
		return term{}, nil
	}
	return p.atom()
}

func (p *latexParser) symbol(s string) term {
	r, n := utf8.DecodeRuneInString(s)
	if n == len(s) && unicode.IsLetter(r) {
		return p.letter(r)
	}
	if strings.Contains("∞∂∇∅ℏℓ⊤⊥…⋯⋮⋱†", s) {
		return term{mathML: "<mi>" + s + "</mi>", plain: s, parts: 1}
	}
	return operator(s)
}

func (p *latexParser) withFont(font string) (term, error) {
	old := p.font
	p.font = font
	t, err := p.argument()
	p.font = old
	return t, err
}

// upright is \mathrm and its like: letters make one upright word, anything else is a formula in upright letters.
func (p *latexParser) upright(name string) (term, error) {
	limits := name == "operatorname" && p.peek() == "*"
	if limits {
		p.next()
	}
	start := p.pos
	s, err := p.rawArgument()
	if err != nil {
		return term{}, err
	}
	plainWord := strings.IndexFunc(s, func(r rune) bool { return !unicode.IsLetter(r) && r != ' ' && r != '-' && !unicode.IsDigit(r) }) < 0
	if plainWord && s != "" {
		t := word("mi", s)
		t.limits, t.function = limits, name == "operatorname"
		return t, nil
	}
	p.pos = start
	return p.withFont("upright")
}

// accent is a mark above or below its argument.
type accent struct {
	mark, tag string
	combining string // for plain text
}

func (p *latexParser) accent(a accent) (term, error) {
	t, err := p.argument()
	if err != nil {
		return t, err
	}
	plain := t.compact()
	if utf8.RuneCountInString(plain) == 1 {
		plain += a.combining
	} else {
		plain = "(" + plain + ")" + a.combining
	}
	stretch := ""
	if a.tag == "mover" && !strings.Contains("‾⏞", a.mark) {
		stretch = ` stretchy="false"`
	}
	attribute := ` accent="true"`
	if a.tag == "munder" {
		attribute = ` accentunder="true"`
	}
	return term{mathML: "<" + a.tag + attribute + ">" + t.row() + "<mo" + stretch + ">" + a.mark + "</mo></" + a.tag + ">", plain: plain, parts: 1}, nil
}

func (p *latexParser) fraction(name string) (term, error) {
	above, err := p.argument()
	if err != nil {
		return above, err
	}
	below, err := p.argument()
	if err != nil {
		return below, err
	}
	if name == "binom" {
		return term{mathML: `<mrow><mo>(</mo><mfrac linethickness="0">` + above.row() + below.row() + `</mfrac><mo>)</mo></mrow>`,
			plain: "C(" + above.plain + ", " + below.plain + ")", parts: 1}, nil
	}
	return term{mathML: "<mfrac>" + above.row() + below.row() + "</mfrac>", plain: above.factor() + "/" + below.factor(), parts: 1}, nil
}

func (p *latexParser) root() (term, error) {
	var degree term
	p.skipBlanks()
	if p.peek() == "[" {
		p.next()
		var err error
		if degree, err = p.sequence("]"); err != nil {
			return degree, err
		}
	}
	t, err := p.argument()
	if err != nil {
		return t, err
	}
	if degree.parts > 0 {
		return term{mathML: "<mroot>" + t.row() + degree.row() + "</mroot>", plain: script(degree.compact(), superscripts, "^") + "√" + t.factor(), parts: 1}, nil
	}
	return term{mathML: "<msqrt>" + t.row() + "</msqrt>", plain: "√" + t.factor(), parts: 1}, nil
}

// fenced is \left( ... \right).
func (p *latexParser) fenced() (term, error) {
	opening := p.delimiter()
	t, err := p.sequence(`\right`)
	if err != nil {
		return t, err
	}
	closing := p.delimiter()
	fence := func(s string) string { return `<mo fence="true" stretchy="true">` + html.EscapeString(s) + "</mo>" }
	return term{mathML: "<mrow>" + fence(opening) + t.mathML + fence(closing) + "</mrow>",
		plain: opening + strings.TrimSpace(t.plain) + closing, parts: 1}, nil
}

// delimiter is the token after \left or \right, "" for a point.
func (p *latexParser) delimiter() string {
	p.skipBlanks()
	t := p.next()
	switch t {
	case ".", "":
		return ""
	case `\{`, `\}`:
		return t[1:]
	case `\|`:
		return "∥"
	}
	if s, ok := symbols[strings.TrimPrefix(t, `\`)]; ok && t[0] == '\\' {
		return s
	}
	return t
}

// environment is \begin{matrix} ... \end{matrix} and its like.
func (p *latexParser) environment() (term, error) {
	name, err := p.rawArgument()
	if err != nil {
		return term{}, err
	}
	fences, ok := environments[strings.TrimSuffix(name, "*")]
	if !ok {
		return term{}, errors.Errorf("unknown environment %q", name)
	}
	rows, plain := "", ""
	for more := true; more; {
		row, plainRow := "", ""
		for {
			t, err := p.sequence(`\end`)
			if err != nil {
				return t, err
			}
			row += "<mtd>" + t.mathML + "</mtd>"
			plainRow += strings.TrimSpace(t.plain) + "  "
			separator := p.peek()
			if more = separator == "&" || separator == `\\`; !more { // the end was consumed
				break
			}
			if p.next() == `\\` {
				break
			}
		}
		if row != "<mtd></mtd>" {
			rows += "<mtr>" + row + "</mtr>"
			plain += strings.TrimSpace(plainRow) + "; "
		}
	}
	if end, err := p.rawArgument(); err != nil || end != name {
		return term{}, errors.Errorf("\\begin{%s} ended by \\end{%s}", name, end)
	}
	fence := func(s string) string {
		if s == "" {
			return ""
		}
		return "<mo>" + s + "</mo>"
	}
	return term{mathML: "<mrow>" + fence(fences.opening) + `<mtable` + fences.class + ">" + rows + "</mtable>" + fence(fences.closing) + "</mrow>",
		plain: fences.opening + strings.TrimSuffix(plain, "; ") + fences.closing, parts: 1}, nil
}
