// Interop looks inside a model and takes it elsewhere: it draws the model and what a local rule cuts of it, counts what
// each layer costs, and hands the trained weights to PyTorch, NumPy and an ONNX runtime and back.
//
//	go run ./examples/interop
//	go run ./examples/interop -out /tmp/interop -epochs 20
//
// What needs PyTorch or Node is left out where they are not installed, and the page says so. It ends with exit status 1
// if something it claims does not hold.
package main

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"slices"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/examples/notebook"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

//go:embed main.go
var program string

type options struct {
	out    string
	epochs int
	seed   uint64
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "interop:", err)
		}
		os.Exit(1)
	}
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("interop", flag.ContinueOnError)
	f.StringVar(&o.out, "out", "out", "folder for the page and the files")
	f.IntVar(&o.epochs, "epochs", 10, "epochs of training")
	f.Uint64Var(&o.seed, "seed", 1, "seed of the split and the initialisation")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, graph.Fail("interop", "arguments", "flags only", f.Args())
	}
	if o.epochs < 1 {
		return o, graph.Fail("interop", "-epochs", "at least 1", o.epochs)
	}
	return o, nil
}

// model is the classifier of the page.
var model = models.CNN{Channels: []int{8, 16}, Hidden: []int{32}, Classes: 10}

// A story is the page with what its sections share.
type story struct {
	options
	*notebook.Page
	params *graph.Params
	g      *graph.Graph // the trained model on the test examples
	x, y   *graph.Node
	images *graph.Array
	labels []int
	logits *graph.Array
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	page, err := notebook.New("Looking inside, and going elsewhere", notebook.Options{Dir: o.out, Name: "interop", Terminal: os.Stdout})
	if err != nil {
		return err
	}
	defer page.Close()
	s := &story{options: o, Page: page}
	for _, section := range []func(context.Context) error{s.train, s.draw, s.count, s.torch, s.numpy, s.onnx} {
		if err := section(ctx); err != nil {
			return err
		}
	}
	return page.Close()
}

// train makes the model that the page is about, by a rule that cuts it.
func (s *story) train(ctx context.Context) error {
	digits := data.Digits()
	digits.Shape = []int{1, 8, 8}
	train, test, err := digits.Split(s.seed, 0.2)
	if err != nil {
		return err
	}
	trainer, err := rules.MonoForward{Optimizer: optim.Adam{LR: 2e-3}}.Trainer(model, objectives.CrossEntropy, rules.SpecOf(train, 32, s.seed))
	if err != nil {
		return err
	}
	bar := s.Progress("mono-forward", s.epochs)
	history, err := rules.Fit(ctx, trainer, train, rules.Config{Epochs: s.epochs, Validation: test, OnEpoch: func(r rules.Record) error {
		bar.Set(r.Epoch, fmt.Sprintf("accuracy %.1f %%", 100*r.Accuracy))
		return nil
	}})
	bar.Done()
	if err != nil {
		return err
	}
	s.Text(fmt.Sprintf("The model is a small convolutional network. Mono-forward trained it for %d epochs on %d handwritten digits; "+
		"it reads %.1f %% of the other %d rightly.", s.epochs, train.Len(), 100*history.Last().Accuracy, test.Len()))
	s.params = trainer.Params()
	s.images = graph.ArrayOf(test.X, slices.Concat([]int{test.Len()}, test.Shape)...)
	s.labels = test.Labels
	s.g, err = graph.Build(s.params, func(sc *graph.Scope) {
		s.x = sc.Input("x", graph.Float32, s.images.Shape...)
		s.y = model.Apply(sc, s.x)
	})
	if err != nil {
		return err
	}
	s.logits, err = s.predict(s.params)
	return err
}

// predict computes the logits of the test examples with the parameters of a store.
func (s *story) predict(params *graph.Params) (*graph.Array, error) {
	var x, y *graph.Node
	g, err := graph.Build(params, func(sc *graph.Scope) {
		x = sc.Input("x", graph.Float32, s.images.Shape...)
		y = model.Apply(sc, x)
	})
	if err != nil {
		return nil, err
	}
	p, err := g.Compile(y)
	if err != nil {
		return nil, err
	}
	if err := p.Bind(x, s.images); err != nil {
		return nil, err
	}
	return p.Array(y), p.Run()
}

// draw shows the graph, what the rule cut, and a bigger block.
func (s *story) draw(context.Context) error {
	s.Heading("What the graph looks like")
	s.Text("Boxes are ops, with elementwise ones joined to the op they follow; frames are blocks and layers. Constants are folded " +
		"away, parameters stand in the box that reads them, and the arrows say what flows.")
	s.Source(program, "drawing", "drawCut")
	drawing, err := drawing(s.g, s.y)
	if err != nil {
		return err
	}
	s.Drawing("The classifier", drawing.SVG())
	cut, pieces, err := drawCut(s.g, s.x, s.y)
	if err != nil {
		return err
	}
	s.Drawing("What mono-forward trains apart: no derivative crosses a dashed line", cut.SVG())
	s.Check("the rule trains each stage and each dense layer apart", pieces == 4, fmt.Sprintf("%d pieces", pieces))

	var y *graph.Node
	g, err := graph.Build(nil, func(sc *graph.Scope) {
		y = layers.Block{
			layers.Residual{Body: layers.Sequential{layers.LayerNorm{}, layers.SelfAttention{Heads: 4, Causal: true}}},
			layers.Residual{Body: layers.Sequential{layers.LayerNorm{}, layers.Dense{Units: 256, Activation: layers.GELU{}}, layers.Dense{Units: 64}}},
		}.Apply(sc, sc.Input("x", graph.Float32, 8, 32, 64))
	})
	if err != nil {
		return err
	}
	block, err := g.Draw(graph.DrawOptions{Detail: graph.DetailLayers}, y)
	if err != nil {
		return err
	}
	s.Drawing("A block of a transformer, a box for each layer", block.SVG())
	path := filepath.Join(s.out, "digits.dot")
	if err := os.WriteFile(path, []byte(drawing.DOT()), 0o666); err != nil {
		return err
	}
	s.Text("The first one is also in `digits.dot`, for Graphviz.")
	return nil
}

func drawing(g *graph.Graph, y *graph.Node) (*graph.Drawing, error) {
	return g.Draw(graph.DrawOptions{}, y)
}

func drawCut(g *graph.Graph, x, y *graph.Node) (*graph.Drawing, int, error) {
	pieces, err := g.Cut(x, y)
	if err != nil {
		return nil, 0, err
	}
	d, err := g.Draw(graph.DrawOptions{Cut: pieces}, y)
	return d, len(pieces), err
}

// count shows what each layer has and costs.
func (s *story) count(context.Context) error {
	s.Heading("What it is made of")
	summary, err := models.Summarize(model, graph.Type{DType: graph.Float32, Shape: []int{1, 1, 8, 8}})
	if err != nil {
		return err
	}
	s.Table(notebook.Table{Title: "The classifier, for one digit", Header: models.SummaryHeader, Rows: summary.Cells()})
	resnet, err := models.Summarize(models.ResNet18{Classes: 10}, graph.Type{DType: graph.Float32, Shape: []int{1, 3, 32, 32}})
	if err != nil {
		return err
	}
	s.Table(notebook.Table{Title: "ResNet-18 for small images, for one picture of 32×32, by blocks", Header: models.SummaryHeader, Rows: resnet.ByBlock().Cells()})
	s.Check("ResNet-18 has the 11,173,962 parameters that its table gives", resnet.Total.Trained == 11173962, fmt.Sprint(resnet.Total.Trained))
	byHand := 8*64*9 + 16*16*8*9 + 64*32 + 32*10 // outputs times taps
	s.Check("the classifier's multiply-adds are those of its formulas", summary.Total.MultiplyAdds == byHand, fmt.Sprint(summary.Total.MultiplyAdds))
	return nil
}

// difference is the largest one of two results, relative to the largest element.
func difference(a, b *graph.Array) float64 {
	if a.Size() != b.Size() {
		return math.Inf(1)
	}
	worst, largest := 0.0, 0.0
	for i := range a.Size() {
		worst = math.Max(worst, math.Abs(a.At(i)-b.At(i)))
		largest = math.Max(largest, math.Abs(a.At(i)))
	}
	return worst / largest
}

func (s *story) agree(what string, got *graph.Array) {
	d := difference(s.logits, got)
	s.Check(what+" computes the same logits, to 1e-5 of the largest", d <= 1e-5, fmt.Sprintf("largest difference %.1e", d))
}
