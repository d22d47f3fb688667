package adapt

import (
	"math"
	"testing"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

// corruptions change an image of 8x8 pixels in 0..1, the more the larger the severity in (0, 1]; noise is standard
// normal, one for each pixel.
var corruptions = []func(x, noise []float64, severity float64) []float64{
	func(x, noise []float64, severity float64) []float64 { // noise
		return pixels(func(r, c int) float64 { return x[8*r+c] + 0.5*severity*noise[8*r+c] })
	},
	func(x, _ []float64, severity float64) []float64 { // blur
		return pixels(func(r, c int) float64 {
			sum := 0.0
			for i := -1; i <= 1; i++ {
				for j := -1; j <= 1; j++ {
					sum += at(x, float64(r+i), float64(c+j)) / 9
				}
			}
			return (1-severity)*x[8*r+c] + severity*sum
		})
	},
	func(x, _ []float64, severity float64) []float64 { // contrast and brightness
		return pixels(func(r, c int) float64 { return (1-0.8*severity)*x[8*r+c] + 0.8*severity })
	},
	func(x, _ []float64, severity float64) []float64 { // shift
		return pixels(func(r, c int) float64 { return at(x, float64(r), float64(c)-1.2*severity) })
	},
	func(x, _ []float64, severity float64) []float64 { // rotation
		sin, cos := math.Sincos(35 * math.Pi / 180 * severity)
		return pixels(func(r, c int) float64 {
			y, x0 := float64(r)-3.5, float64(c)-3.5
			return at(x, 3.5+cos*y-sin*x0, 3.5+sin*y+cos*x0)
		})
	},
}

func pixels(f func(r, c int) float64) []float64 {
	y := make([]float64, 64)
	for i := range y {
		y[i] = f(i/8, i%8)
	}
	return y
}

// at is the image between its pixels, 0 outside.
func at(x []float64, r, c float64) float64 {
	sum, r0, c0 := 0.0, math.Floor(r), math.Floor(c)
	for i := range 2 {
		for j := range 2 {
			row, col := r0+float64(i), c0+float64(j)
			if row >= 0 && row < 8 && col >= 0 && col < 8 {
				sum += x[8*int(row)+int(col)] * (1 - math.Abs(r-row)) * (1 - math.Abs(c-col))
			}
		}
	}
	return sum
}

// batchOf is a corrupted batch of examples of the set.
func batchOf(set *data.Set, rows []int, kind int, severity float64, key uint64) (x *graph.Array, labels []int) {
	x = graph.NewArray(graph.Float32, len(rows), 64)
	random := graph.Rand(1, "corruption", key)
	in, image, noise := make([]float32, 64), make([]float64, 64), make([]float64, 64)
	for b, i := range rows {
		labels = append(labels, set.Read(i, 0, in, nil))
		for j, v := range in {
			image[j], noise[j] = float64(v), random.NormFloat64()
		}
		for j, v := range corruptions[kind](image, noise, severity) {
			x.Set(64*b+j, v)
		}
	}
	return x, labels
}

// mistakes of scores [batch, 10].
func mistakes(scores *graph.Array, labels []int) (n float64) {
	for b, y := range labels {
		for j := range 10 {
			if j != y && scores.At(10*b+j) >= scores.At(10*b+y) {
				n++
				break
			}
		}
	}
	return n
}

// On streams of digits that drift through five corruptions, in five orders, statistics of the batch make fewer mistakes
// than those of the training, a mean teacher of cross-entropy fewer, and the robust one fewest.
func TestDriftingDigits(t *testing.T) {
	if testing.Short() {
		t.Skip("an experiment")
	}
	const size = 100
	digits := data.Digits()
	var trainRows, testRows []int
	for i := range digits.Len() {
		if i%3 == 0 {
			testRows = append(testRows, i)
		} else {
			trainRows = append(trainRows, i)
		}
	}
	train, err := digits.Subset(trainRows)
	if err != nil {
		t.Fatal(err)
	}
	model := layers.Sequential{
		layers.Block{layers.Dense{Units: 64}, layers.BatchNorm{}, layers.ReLU{}},
		layers.Block{layers.Dense{Units: 32}, layers.BatchNorm{}, layers.ReLU{}},
		layers.Dense{Units: 10},
	}
	spec := rules.SpecOf(train, size, 1)
	trainer, err := rules.Backprop{Optimizer: optim.Adam{LR: 5e-3}}.Trainer(model, objectives.CrossEntropy, spec)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rules.Fit(t.Context(), trainer, train, rules.Config{Epochs: 20}); err != nil {
		t.Fatal(err)
	}
	// Without adaptation, and with the batch's statistics alone.
	evaluate := func(training bool) func(x *graph.Array) *graph.Array {
		var in, out *graph.Node
		g, err := graph.Build(trainer.Params(), func(s *graph.Scope) {
			if training {
				s = s.ForTraining()
			}
			in = s.Input("x", graph.Float32, size, 64)
			out = model.Apply(s, in)
		})
		if err != nil {
			t.Fatal(err)
		}
		p, err := g.Compile(out)
		if err != nil {
			t.Fatal(err)
		}
		return func(x *graph.Array) *graph.Array {
			if err := p.Bind(in, x); err != nil {
				t.Fatal(err)
			}
			if err := p.Run(); err != nil {
				t.Fatal(err)
			}
			return p.Array(out)
		}
	}
	fixed, statistics := evaluate(false), evaluate(true)
	adapting := func(r RobustMeanTeacher) func(x *graph.Array) *graph.Array {
		m, err := r.Start(model, trainer.Params(), spec, train)
		if err == nil {
			err = m.WarmUp(2 * train.Len() / size)
		}
		if err != nil {
			t.Fatal(err)
		}
		return func(x *graph.Array) *graph.Array {
			scores, _, err := m.Step(x)
			if err != nil {
				t.Fatal(err)
			}
			return scores
		}
	}
	const momentum = 0.99
	var wrong [4]float64
	seen := 0.0
	for order := range 5 {
		ways := []func(x *graph.Array) *graph.Array{fixed, statistics,
			adapting(RobustMeanTeacher{Alpha: 1e-300, Contrast: -1, Replay: -1, Momentum: momentum}),
			adapting(RobustMeanTeacher{Momentum: momentum})}
		kinds := graph.Rand(2, "order", uint64(order)).Perm(len(corruptions))
		for stage, kind := range kinds {
			for level := range 5 {
				key := uint64((order*5+stage)*5 + level)
				rows := append([]int{}, testRows...)
				graph.Rand(3, "rows", key).Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
				for i := 0; i+size <= len(rows); i += size {
					x, labels := batchOf(digits, rows[i:i+size], kind, float64(level+1)/5, key*100+uint64(i))
					for k, way := range ways {
						wrong[k] += mistakes(way(x), labels)
					}
					seen += size
				}
			}
		}
	}
	for k := range wrong {
		wrong[k] /= seen
	}
	t.Logf("error without adaptation %.3f, of batch statistics %.3f, of a mean teacher %.3f, of the robust one %.3f", wrong[0], wrong[1], wrong[2], wrong[3])
	for k := range wrong[:3] {
		if !(wrong[k] > wrong[k+1]) {
			t.Errorf("want falling errors, got %v", wrong)
		}
	}
}
