package main

// A Polynomial is a sum of monomials over the integers modulo 2: addition is XOR, multiplication AND. A monomial holds
// the exponent of each variable. x² and x are the same function but not the same polynomial: their derivatives are 0
// and 1.
type Polynomial [][]int

// at is the value at x.
func (p Polynomial) at(x []bool) bool {
	var sum bool
	for _, m := range p {
		term := true
		for i, e := range m {
			term = term && (e == 0 || x[i])
		}
		sum = sum != term
	}
	return sum
}

// derivative is the formal partial derivative by variable i: of x^e it is e·x^(e-1), and e counts modulo 2.
func (p Polynomial) derivative(i int) (d Polynomial) {
	for _, m := range p {
		if m[i]%2 == 1 {
			n := append([]int(nil), m...)
			n[i]--
			d = append(d, n)
		}
	}
	return d
}

// Bits is the lens of a polynomial: back it multiplies the change of the result with each partial derivative.
func Bits(in int, p Polynomial) Lens[bool] {
	partial := make([]Polynomial, in)
	for i := range partial {
		partial[i] = p.derivative(i)
	}
	return Lens[bool]{in, 1,
		func(a []bool) []bool { return []bool{p.at(a)} },
		func(a, db []bool) []bool {
			da := make([]bool, in)
			for i, d := range partial {
				da[i] = d.at(a) && db[0]
			}
			return da
		},
	}
}

// LookUp is the circuit of n inputs with a parameter for each row of its truth table: the sum over rows k of
// theta_k·prod_i (x_i + k_i + 1), multiplied out.
func LookUp(n int) Model[bool] {
	rows := 1 << n
	var p Polynomial
	for k := range rows {
		// x_i + k_i + 1 is x_i where k_i is 1, and x_i + 1 where it is 0: each such place adds x_i or 1.
		for pick := range rows {
			if pick&k != k {
				continue
			}
			m := make([]int, rows+n)
			m[k] = 1
			for i := range n {
				m[rows+i] = pick >> i & 1
			}
			p = append(p, m)
		}
	}
	return Model[bool]{rows, Bits(rows+n, p)}
}

// Boolean is the learner of a circuit: the loss is the XOR of target and result, the cap hands it back as its own
// change, and the update adds (XORs) the change to the parameters. This is reverse derivative ascent.
func Boolean(m Model[bool]) Learner[bool] {
	xor := func(a []bool) []bool { return []bool{a[0] != a[1]} }
	update := func(p, dp []bool) []bool {
		q := make([]bool, len(p))
		for i := range p {
			q[i] = p[i] != dp[i]
		}
		return q
	}
	return Learner[bool]{
		Model:  m,
		Loss:   Lens[bool]{2, 1, xor, func(_, dl []bool) []bool { return []bool{dl[0], dl[0]} }},
		Cap:    func(loss []bool) []bool { return loss },
		Update: Lens[bool]{m.Params, m.Params, func(p []bool) []bool { return p }, update},
	}
}

// bitsOf is the n lowest bits of k, the lowest first.
func bitsOf(k, n int) []bool {
	x := make([]bool, n)
	for i := range x {
		x[i] = k>>i&1 == 1
	}
	return x
}

// sweep shows a circuit every row of a truth table once and returns its parameters and how many rows it then has right.
func sweep(m Model[bool], n int, params []bool, table func(x []bool) bool) (after []bool, right int) {
	l := Boolean(m)
	for k := range 1 << n {
		x := bitsOf(k, n)
		_, params, _, _ = l.Step(nil, params, x, []bool{table(x)})
	}
	for k := range 1 << n {
		x := bitsOf(k, n)
		if m.Forward(join(params, x))[0] == table(x) {
			right++
		}
	}
	return params, right
}

// table prints parameters as a row of bits.
func table(p []bool) string {
	s := ""
	for _, b := range p {
		if b {
			s += "1"
		} else {
			s += "0"
		}
	}
	return s
}
