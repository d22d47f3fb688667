package models

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
)

// Summary is what a model is made of, layer by layer, for one size of input.
type Summary struct {
	Rows  []SummaryRow
	Total SummaryRow // of the rows

	ForwardBytes int // memory that a compiled evaluation plans for values, at its fullest moment
	StepBytes    int // the same of values and gradients together in a step of backpropagation
}

// SummaryRow is one layer, or one op between layers.
type SummaryRow struct {
	Name         string
	Out          graph.Type // of the (first) result
	Trained      int        // numbers that are trained, each counted where it is first read
	State        int        // numbers that are not
	MultiplyAdds int        // of products and convolutions
	Flops        int        // all floating-point operations; a multiply-add is two
	Bytes        int        // of the results that others read: activations
}

// Summarize applies a model to an input of the given type, the batch's axis included, and counts: parameters from the
// store, operations from the instructions of the compiled evaluation. It runs nothing.
func Summarize(model layers.Layer, input graph.Type) (*Summary, error) {
	dtype := graph.Float32
	if input.DType == graph.Float64 {
		dtype = graph.Float64
	}
	params := &graph.Params{DType: dtype}
	var y *graph.Node
	g, err := graph.Build(params, func(s *graph.Scope) { y = model.Apply(s, s.Input("input", input.DType, input.Shape...)) })
	if err != nil {
		return nil, err
	}
	parts, err := g.Parts(graph.DetailLayers, y)
	if err != nil {
		return nil, err
	}
	s := &Summary{Total: SummaryRow{Name: "total", Out: graph.TypeOf(y)}}
	counted := map[*graph.Param]bool{}
	for _, p := range parts {
		r := SummaryRow{Name: p.Name, Out: p.Out[0], MultiplyAdds: p.MultiplyAdds, Flops: p.Flops}
		if len(p.Ops) == 0 {
			s.Rows = append(s.Rows, r) // the input
			continue
		}
		for _, t := range p.Out {
			r.Bytes += t.Bytes()
		}
		for _, q := range p.Params {
			switch {
			case counted[q]:
			case q.State:
				r.State += q.Value.Size()
			default:
				r.Trained += q.Value.Size()
			}
			counted[q] = true
		}
		s.Rows = append(s.Rows, r)
		s.Total.Trained += r.Trained
		s.Total.State += r.State
		s.Total.MultiplyAdds += r.MultiplyAdds
		s.Total.Flops += r.Flops
		s.Total.Bytes += r.Bytes
	}
	program, err := g.Compile(y)
	if err != nil {
		return nil, err
	}
	s.ForwardBytes = program.Stats().PeakBytes
	s.StepBytes, err = stepBytes(model, input, params)
	return s, err
}

// stepBytes is the memory of a forward and a backward pass.
func stepBytes(model layers.Layer, input graph.Type, params *graph.Params) (int, error) {
	var outputs []*graph.Node
	g, err := graph.Build(params, func(s *graph.Scope) {
		loss := graph.Sum(graph.Square(model.Apply(s.ForTraining(), s.Input("input", input.DType, input.Shape...))))
		outputs = append(graph.Grad(loss, s.Graph().Trainable(loss)...), loss)
	})
	if err != nil {
		return 0, err
	}
	program, err := g.Compile(append(outputs, g.Updates()...)...)
	if err != nil {
		return 0, err
	}
	return program.Stats().PeakBytes, nil
}

// ByBlock is the summary with a row for each block; what stands outside blocks keeps its row.
func (s *Summary) ByBlock() *Summary {
	short := *s
	short.Rows = nil
	for _, r := range s.Rows {
		block, _, inside := strings.Cut(r.Name, "/")
		last := len(short.Rows) - 1
		if !inside || last < 0 || short.Rows[last].Name != block {
			r.Name = block
			short.Rows = append(short.Rows, r)
			continue
		}
		sum := &short.Rows[last]
		sum.Out = r.Out
		sum.Trained += r.Trained
		sum.State += r.State
		sum.MultiplyAdds += r.MultiplyAdds
		sum.Flops += r.Flops
		sum.Bytes += r.Bytes
	}
	return &short
}

// SummaryHeader names the columns of Cells.
var SummaryHeader = []string{"layer", "output", "parameters", "states", "multiply-adds", "FLOPs", "activation bytes"}

// Cells is the table, a row for each layer and the total, with SummaryHeader above it.
func (s *Summary) Cells() (rows [][]string) {
	for _, r := range append(s.Rows[:len(s.Rows):len(s.Rows)], s.Total) {
		shape := strings.Trim(strings.ReplaceAll(fmt.Sprint(r.Out.Shape), " ", "×"), "[]")
		rows = append(rows, []string{
			r.Name, shape, thousands(r.Trained), thousands(r.State), thousands(r.MultiplyAdds), thousands(r.Flops), thousands(r.Bytes),
		})
	}
	return rows
}

// String is the table as text, with what memory it takes.
func (s *Summary) String() string {
	rows := append([][]string{SummaryHeader}, s.Cells()...)
	width := make([]int, len(SummaryHeader))
	for _, r := range rows {
		for i, c := range r {
			width[i] = max(width[i], len([]rune(c)))
		}
	}
	rule := ""
	for i, w := range width {
		rule += strings.Repeat("─", w)
		if i < len(width)-1 {
			rule += "──"
		}
	}
	var b strings.Builder
	for i, r := range rows {
		if i == 1 || i == len(rows)-1 {
			b.WriteString(rule + "\n")
		}
		line := ""
		for j, c := range r {
			pad := strings.Repeat(" ", width[j]-len([]rune(c)))
			if j < 2 {
				line += c + pad + "  "
			} else {
				line += pad + c + "  "
			}
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	fmt.Fprintf(&b, "%s\nmemory for values: %s in evaluation, %s in a step of backpropagation, at the fullest moment\n",
		rule, size(s.ForwardBytes), size(s.StepBytes))
	return b.String()
}

// thousands is a number with commas.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// size is a number of bytes.
func size(n int) string {
	switch {
	case n >= 10_000_000:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	case n >= 10_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%d bytes", n)
}
