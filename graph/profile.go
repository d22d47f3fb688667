package graph

import (
	"context"
	"fmt"
	"runtime/pprof"
	"slices"
	"strings"
	"time"
)

// Profile is the time of a program's instructions, each the shortest of several runs, summed over those of one op and
// equal types, longest first.
type Profile struct {
	Runs  int
	Total time.Duration // of one run
	Ops   []OpTime
}

// OpTime is the part of one kind of instruction in a run.
type OpTime struct {
	Op    string // the primitive's name with the types of result and operands
	Count int    // instructions a run
	Time  time.Duration
	Flops int // floating-point operations a run
}

// Profile runs the program and measures every instruction. Under a CPU profile (runtime/pprof) the samples carry the
// label "op". Random ops draw what they draw at the program's step; states are updated at every run.
func (p *Program) Profile(runs int) (*Profile, error) {
	if runs < 1 {
		return nil, fail("profile", "runs", "at least 1", runs)
	}
	p.allocateInputs()
	kinds := map[string]*OpTime{}
	at := make([]*OpTime, len(p.instructions))
	shortest := make([]time.Duration, len(p.instructions))
	labels := make([]context.Context, len(p.instructions))
	for i := range p.instructions {
		in := &p.instructions[i]
		name := fmt.Sprintf("%s %v", in.prim.Name, in.out.Type)
		for _, a := range in.in {
			name += fmt.Sprintf(" %v", a.Shape)
		}
		if kinds[name] == nil {
			kinds[name] = &OpTime{Op: name}
		}
		at[i] = kinds[name]
		at[i].Count++
		at[i].Flops += in.op.flops()
		labels[i] = pprof.WithLabels(context.Background(), pprof.Labels("op", in.prim.Name))
	}
	defer pprof.SetGoroutineLabels(context.Background())
	result := &Profile{Runs: runs}
	for run := range runs {
		for i := range p.instructions {
			in := &p.instructions[i]
			pprof.SetGoroutineLabels(labels[i])
			start := time.Now()
			if err := in.kernel(in.out, in.in); err != nil {
				return nil, p.failed(in, err)
			}
			if d := time.Since(start); run == 0 || d < shortest[i] {
				shortest[i] = d
			}
		}
	}
	for i, d := range shortest {
		at[i].Time += d
	}
	for _, o := range kinds {
		result.Total += o.Time
		result.Ops = append(result.Ops, *o)
	}
	slices.SortFunc(result.Ops, func(a, b OpTime) int {
		if a.Time != b.Time {
			return int(b.Time - a.Time)
		}
		return strings.Compare(a.Op, b.Op)
	})
	return result, nil
}

// String is a table of time in microseconds, share, instructions and GFLOP/s of each kind.
func (p *Profile) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%10s %6s %5s %8s  op\n", "us", "%", "count", "GFLOP/s")
	for _, o := range p.Ops {
		s := o.Time.Seconds()
		rate := 0.0
		if s > 0 {
			rate = float64(o.Flops) / s / 1e9
		}
		fmt.Fprintf(&b, "%10.1f %6.1f %5d %8.1f  %s\n", s*1e6, 100*s/max(p.Total.Seconds(), 1e-9), o.Count, rate, o.Op)
	}
	fmt.Fprintf(&b, "%10.1f us in all, each the shortest of %d runs\n", p.Total.Seconds()*1e6, p.Runs)
	return b.String()
}
