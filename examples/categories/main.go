// Categories tells how gradient-based learning is made of lenses: maps that go forward with values and back with
// changes. It checks the laws that make reverse mode what it is on the ops of the library, builds a training step by
// composing a model, a loss, a learning rate and an optimiser, shows that it is the step the library makes, and then
// runs the same definition on bits, where it learns Boolean circuits.
//
//	go run ./examples/categories
//
// It ends with exit status 1 if anything it claims does not hold.
package main

import (
	_ "embed"
	"flag"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/rules"
)

//go:embed lens.go
var lensSource string

func main() {
	if err := tell(os.Args[1:], os.Stdout); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "categories:", err)
		}
		os.Exit(1)
	}
}

func tell(args []string, terminal io.Writer) error {
	f := flag.NewFlagSet("categories", flag.ContinueOnError)
	out := f.String("out", ".", "folder for categories.html and categories.ipynb")
	seed := f.Uint64("seed", 1, "seed of the points, the split, the initialisation and the order of examples")
	epochs := f.Int("epochs", 15, "epochs on the digits")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return graph.Fail("categories", "arguments", "flags only", f.Args())
	}
	if *epochs < 2 {
		return graph.Fail("categories", "-epochs", "at least 2", *epochs)
	}
	page, err := notebook.New("Learning as composition of lenses", notebook.Options{Dir: *out, Name: "categories", Terminal: terminal})
	if err != nil {
		return err
	}
	defer page.Close()
	page.Text("A **lens** from $A$ to $B$ is a pair of maps: forward $a \\mapsto b$, and back $(a, b') \\mapsto a'$, which " +
		"carries a change of the result to a change of the argument. G. Cruttwell, B. Gavranović, N. Ghani, P. Wilson and " +
		"F. Zanasi (2021, arXiv 2103.01931) show that model, loss, learning rate and optimiser are all lenses, and that a " +
		"step of training is their composition. Here it is in Go:")
	page.Source(lensSource, "Lens", "Lens.Then", "Lens.Beside", "Learner", "Learner.Step")
	for _, part := range []func() error{
		func() error { return tellLaws(page, *seed) },
		func() error { return tellNumbers(page) },
		func() error { return tellDigits(page, *seed, *epochs) },
		func() error { return tellBits(page) },
	} {
		if err := part(); err != nil {
			return err
		}
	}
	return page.Close()
}

func tellLaws(page *notebook.Page, seed uint64) error {
	page.Heading("The laws of reverse mode")
	page.Text("Back, for a smooth map, is the reverse derivative $R[f](a, b) = J_f(a)^{\\top} b$. R. Cockett and others (2019, " +
		"arXiv 1910.07065) list seven laws that say exactly which operators $R$ may be called reverse mode. They also show " +
		"that forward mode comes for free: differentiate $R[f]$ backwards once more, and $D[f](a, v) = J_f(a) v$ is the " +
		"second part of $R[R[f]]((a, 0), v)$. The table has the largest error of all laws at twenty random points, and what " +
		"$D$ costs both ways, in evaluations of the op.")
	const points = 20
	t := notebook.Table{Header: []string{"op", "largest error", "of the law", "D by reverse twice", "D by forward mode"}}
	var worst, double, native float64
	for _, o := range ops {
		var most float64
		var where string
		for p := range uint64(points) {
			e, law, err := o.deviation(seed*points + p)
			if err != nil {
				return err
			}
			if !(e <= most) {
				most, where = e, law
			}
		}
		d, n, err := o.costs()
		if err != nil {
			return err
		}
		worst, double, native = max(worst, most), double+d/float64(len(ops)), native+n/float64(len(ops))
		if where == "" {
			where = "-" // all hold to the last bit
		}
		t.Rows = append(t.Rows, []string{o.name, fmt.Sprintf("%.1e", most), where, fmt.Sprintf("%.1f", d), fmt.Sprintf("%.1f", n)})
	}
	page.Table(t)
	page.Check("every op satisfies every law to 1e-9", worst <= 1e-9, fmt.Sprintf("largest error %.1e", worst))
	page.Text("Run as it is written, reverse mode twice would cost twice as much as forward mode. Compiled it hardly does: " +
		"the first way back is linear in $b = 0$, and what the second does not need of it is never computed.")
	page.Check("the compiler makes reverse mode twice nearly as cheap as forward mode", double <= 1.25*native,
		fmt.Sprintf("%.1f against %.1f evaluations on average", double, native))
	e, law, err := forgetful().deviation(seed)
	if err != nil {
		return err
	}
	page.Check("a softmax whose reverse rule forgets the sum over the row is found out", e > 1e-3, fmt.Sprintf("error %.2g of %q", e, law))
	return nil
}

// tellNumbers checks steps small enough to do by hand.
func tellNumbers(page *notebook.Page) error {
	page.Heading("A step by hand")
	page.Text("One layer $\\sigma(W x + b)$ with the squared error, and the update lenses on $p^2/2$ from $p = 1$: three steps " +
		"with learning rate 0.1.")
	values, err := layerByHand()
	if err != nil {
		return err
	}
	var worst float64
	for i, want := range handValues {
		for j, v := range want {
			worst = max(worst, math.Abs(values[i].At(j)-v))
		}
	}
	page.Check("output, loss, changes and new parameters are those done by hand", worst < 1e-6, fmt.Sprintf("largest error %.1e", worst))
	t := notebook.Table{Header: []string{"update lens", "p after three steps", "by hand"}}
	worst = 0
	for i, o := range Optimizers(0.1) {
		p, err := onParabola(o, 3)
		if err != nil {
			return err
		}
		worst = max(worst, math.Abs(p-parabolaByHand[i]))
		t.Rows = append(t.Rows, []string{o.Name, fmt.Sprintf("%.7f", p), fmt.Sprintf("%.7f", parabolaByHand[i])})
	}
	page.Table(t)
	page.Check("every optimiser is its update lens", worst < 1e-6, fmt.Sprintf("largest error %.1e", worst))
	return nil
}

// handValues are output, loss, change of W, change of b, change of x, W and b after a step of layerByHand.
var handValues = [][]float64{
	{0.052154, 0.689974}, {0.6872388}, {-0.046855, -0.093711, 0.147592, 0.295184}, {0.026941, 0.130609},
	{1.004686, -1.990629, 0.485241, 0.220482}, {0.104686, -0.214759},
}

// layerByHand makes one step of gradient descent, rate 0.1, of a layer of two units; the cap of the first four values
// is 1, so that they are gradients.
func layerByHand() ([]*graph.Array, error) {
	return compute(func(s *graph.Scope) []Node {
		list := func(shape []int, v ...float64) Node { return graph.Literal(s.Const(0), graph.ArrayOf(v, shape...)) }
		w, b := list([]int{2, 2}, 1, -2, 0.5, 0.25), list([]int{2}, 0.1, -0.2)
		x, y := list([]int{2}, 1, 2), list([]int{2}, 1, 0)
		layer := Model[Node]{2, Smooth(3, 1, func(a []Node) []Node { return []Node{graph.Add(graph.MatMul(a[0], a[2]), a[1])} })}
		model := layer.Then(Pointwise(graph.Sigmoid))
		descent := Optimizers(0.1)[0]
		up := Learner[Node]{model, SquaredError(), Rate(-1), descent.Lens(2)}
		down := Learner[Node]{model, SquaredError(), Rate(0.1), descent.Lens(2)}
		_, raised, dx, loss := up.Step(nil, []Node{w, b}, []Node{x}, []Node{y})
		_, after, _, _ := down.Step(nil, []Node{w, b}, []Node{x}, []Node{y})
		return []Node{model.Forward([]Node{w, b, x})[0], loss[0], graph.Sub(raised[0], w), dx[0], after[0], after[1]}
	})
}

var parabolaByHand = []float64{0.729, 0.486, 0.51759, 0.7804562, 0.7015863}

// onParabola is the parameter after steps on p²/2 from 1: as stored, before the update lens's way forward.
func onParabola(o Optimizer, steps int) (float64, error) {
	values, err := compute(func(s *graph.Scope) []Node {
		half := Smooth(2, 1, func(a []Node) []Node { return []Node{graph.Scale(graph.Square(a[1]), 0.5)} })
		model := Model[Node]{1, Smooth(1, 1, func(a []Node) []Node { return a })}
		l := Learner[Node]{model, half, Rate(o.Cap), o.Lens(1)}
		params := []Node{s.Const(1)}
		var state []Node
		for range o.Slots {
			state = append(state, s.Const(0))
		}
		for range steps {
			state, params, _, _ = l.Step(state, params, nil, []Node{s.Const(0)})
		}
		return params
	})
	if err != nil {
		return 0, err
	}
	return values[0].Scalar(), nil
}

func tellDigits(page *notebook.Page, seed uint64, epochs int) error {
	page.Heading("Handwritten digits")
	page.Text("The model is `Dense().Then(Pointwise(Sigmoid)).Then(Dense())`, 64 to 32 to 10. A whole step, from state and " +
		"parameters to state and parameters, is one graph, compiled once. Beside it runs the library's own backpropagation " +
		"with its own optimiser, from the same start on the same batches, for fifty steps.")
	train, test, err := data.Digits().Split(seed, 0.2)
	if err != nil {
		return err
	}
	t := notebook.Table{Header: []string{"update lens", "from backpropagation after 50 steps", "test accuracy"}}
	plot := notebook.Plot{Title: "Loss on the training digits", X: "epoch", Y: "cross-entropy", LogY: true}
	var furthest, best float64
	worst := 1.0
	for _, rate := range []struct {
		index int
		eps   float64
	}{{0, 0.5}, {1, 0.1}, {2, 0.1}, {3, 0.05}, {4, 0.01}} {
		o := Optimizers(rate.eps)[rate.index]
		distance, losses, accuracy, err := digits(page, o, rate.eps, train, test, seed, epochs)
		if err != nil {
			return errors.Wrap(err, o.Name)
		}
		furthest, best, worst = max(furthest, distance), max(best, accuracy), min(worst, accuracy)
		t.Rows = append(t.Rows, []string{o.Name, fmt.Sprintf("%.1e", distance), fmt.Sprintf("%.1f %%", 100*accuracy)})
		plot.Lines = append(plot.Lines, notebook.Line{Name: o.Name, Y: losses})
	}
	page.Table(t)
	page.Plot(plot)
	page.Check("the composed step is backpropagation: parameters after 50 steps agree to 1e-9", furthest <= 1e-9, fmt.Sprintf("%.1e apart", furthest))
	if epochs >= 15 {
		page.Check("every update lens learns the digits to 93 %, the best to 95 %", worst >= 0.93 && best >= 0.95, fmt.Sprintf("%.1f %% to %.1f %%", 100*worst, 100*best))
	}
	return nil
}

// digits trains with one update lens: how far its parameters are from the library's after fifty steps, the mean loss of
// each epoch, and the accuracy on the test set.
func digits(page *notebook.Page, o Optimizer, eps float64, train, test *data.Set, seed uint64, epochs int) (distance float64, losses []float64, accuracy float64, err error) {
	const together = 50
	library, err := backprop(counterpart(o, eps), train, seed)
	if err != nil {
		return 0, nil, 0, err
	}
	r, err := newRun(o, library.Params())
	if err != nil {
		return 0, nil, 0, err
	}
	b := rules.NewBatch(library.Spec())
	order := make([]int, train.Len())
	bar := page.Progress(o.Name, epochs*(train.Len()/batch))
	defer bar.Done()
	step := 0
	for epoch := range epochs {
		data.Shuffle(order, seed, uint64(epoch))
		var sum float64
		for at := 0; at+batch <= len(order); at += batch {
			if err := b.Fill(train, order[at:at+batch], 0); err != nil {
				return 0, nil, 0, err
			}
			loss, err := r.train(b)
			if err != nil {
				return 0, nil, 0, err
			}
			if step++; step <= together {
				if _, err := library.Step(b); err != nil {
					return 0, nil, 0, err
				}
			}
			if step == together {
				if distance, err = apart(r, library.Params()); err != nil {
					return 0, nil, 0, err
				}
			}
			sum += loss
			bar.Set(step, fmt.Sprintf("epoch %d loss %.3f", epoch+1, loss))
		}
		losses = append(losses, sum/float64(len(order)/batch))
	}
	accuracy, err = r.accuracy(test)
	return distance, losses, accuracy, err
}

// apart is the largest difference of the parameters a run's model uses from those of a store, of equal order.
func apart(r *run, params *graph.Params) (most float64, err error) {
	used, err := r.used()
	if err != nil {
		return 0, err
	}
	i := 0
	for p := range params.All() {
		for j := range p.Value.Size() {
			most = max(most, math.Abs(p.Value.At(j)-used[i].At(j)))
		}
		i++
	}
	return most, nil
}

func tellBits(page *notebook.Page) error {
	page.Heading("The same on bits")
	page.Text("Nothing in `Learner.Step` asks for real numbers. Over the integers modulo 2 addition is XOR, multiplication is " +
		"AND, and polynomials have formal derivatives with the same chain rule. A circuit with a bit for each row of its " +
		"truth table, $f(\\theta, x) = \\sum_k \\theta_k \\prod_i (x_i + k_i + 1)$, learns by *reverse derivative ascent*: it " +
		"sees each row once.")
	x2, x1 := Polynomial{{2}}, Polynomial{{1}}
	same := x2.at([]bool{true}) == x1.at([]bool{true}) && x2.at([]bool{false}) == x1.at([]bool{false})
	page.Check("x² and x are one function but have the derivatives 0 and 1", same && len(x2.derivative(0)) == 0 && x1.derivative(0).at([]bool{false}),
		fmt.Sprintf("%d and %d terms", len(x2.derivative(0)), len(x1.derivative(0))))
	two, learned := LookUp(2), 0
	for function := range 16 {
		truth := bitsOf(function, 4)
		for start := range 16 {
			after, right := sweep(two, 2, bitsOf(start, 4), func(x []bool) bool { return truth[index(x)] })
			if right == 4 && table(after) == table(truth) {
				learned++
			}
		}
	}
	page.Check("all 16 functions of two bits are learned in one sweep from all 16 starts", learned == 256, fmt.Sprintf("%d of 256", learned))
	t := notebook.Table{Header: []string{"function of six bits", "rows right after one sweep"}}
	six := LookUp(6)
	exact := true
	for _, f := range []struct {
		name  string
		truth func(x []bool) bool
	}{
		{"parity", func(x []bool) bool { return ones(x)%2 == 1 }},
		{"majority", func(x []bool) bool { return ones(x) > 3 }},
		{"first and last", func(x []bool) bool { return x[0] && x[5] }},
	} {
		_, right := sweep(six, 6, make([]bool, six.Params), f.truth)
		t.Rows = append(t.Rows, []string{f.name, fmt.Sprintf("%d of 64", right)})
		exact = exact && right == 64
	}
	page.Table(t)
	page.Check("six bits: every row is right after one sweep", exact, "parity, majority and conjunction")
	return nil
}

// index is the number whose lowest bits are x.
func index(x []bool) (k int) {
	for i, b := range x {
		if b {
			k |= 1 << i
		}
	}
	return k
}

func ones(x []bool) (n int) {
	for _, b := range x {
		if b {
			n++
		}
	}
	return n
}
