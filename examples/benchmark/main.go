// Benchmark times training steps and inference of fixed models, one JSON object a line:
//
//	{"peer":"harpe","job":"mlp","threads":2,"step_ms":9.1,"peak_mb":40.2}
//
// where step_ms is the median of a step and peak_mb the growth of the process's peak resident memory from before the
// model was built to the end. Each job and number of threads runs in a process of its own.
//
//	go run ./examples/benchmark                      # a table of all jobs
//	go run ./examples/benchmark -jobs mlp,cnn -json
//	go run ./examples/benchmark -jobs mlp -profile   # and where the time goes
//	go run ./examples/benchmark -jobs mlp -against gorgonia
//	go run ./examples/benchmark -doublings           # how cost grows with batch, width, depth and nodes
//
// With -against gorgonia the same nodes, with the same kernels, are computed by Gorgonia's own TapeMachine: one op at a
// time in memory of its own, without the optimiser's update. The jobs are defined in jobs.go; -help lists them.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pkg/errors"

	"github.com/harpe-ml/harpe/graph"
)

type options struct {
	jobs, threads []string
	seconds       float64
	against       string
	json, profile bool
	doublings     bool
	child         bool
}

// A line is the result of one job.
type line struct {
	Peer    string  `json:"peer"`
	Job     string  `json:"job"`
	Threads int     `json:"threads"`
	StepMS  float64 `json:"step_ms"`
	PeakMB  float64 `json:"peak_mb"`
}

func main() {
	o, err := parse(os.Args[1:])
	if err == nil {
		err = run(o)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "benchmark:", err)
	}
	if err != nil {
		os.Exit(1)
	}
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("benchmark", flag.ContinueOnError)
	text := "jobs, with commas:"
	for _, j := range jobs {
		text += "\n" + j.name + ": " + j.text
	}
	list := f.String("jobs", strings.Join(names(), ","), text)
	threads := f.String("threads", strconv.Itoa(runtime.GOMAXPROCS(0)), "numbers of threads, with commas")
	f.Float64Var(&o.seconds, "seconds", 3, "how long to measure a job")
	f.StringVar(&o.against, "against", "", "gorgonia: time Gorgonia's TapeMachine on the same nodes as well")
	f.BoolVar(&o.json, "json", false, "JSON lines instead of a table")
	f.BoolVar(&o.profile, "profile", false, "show the time of each op")
	f.BoolVar(&o.doublings, "doublings", false, "show how cost grows when a size doubles, instead of jobs; -seconds is for each size")
	f.BoolVar(&o.child, "child", false, "measure one job in this process")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.jobs, o.threads = strings.Split(*list, ","), strings.Split(*threads, ",")
	for _, name := range o.jobs {
		if _, err := byName(name); err != nil {
			return o, err
		}
	}
	for _, n := range o.threads {
		if k, err := strconv.Atoi(n); err != nil || k < 1 {
			return o, graph.Fail("benchmark", "-threads", "numbers of at least 1", n)
		}
	}
	switch {
	case f.NArg() > 0:
		return o, graph.Fail("benchmark", "arguments", "flags only", f.Args())
	case o.against != "" && o.against != "gorgonia":
		return o, graph.Fail("benchmark", "-against", "gorgonia", o.against)
	case o.seconds < 0:
		return o, graph.Fail("benchmark", "-seconds", "at least 0", o.seconds)
	}
	return o, nil
}

func run(o options) error {
	if o.child {
		return child(o)
	}
	if o.doublings {
		return showDoublings(o)
	}
	if !o.json {
		fmt.Printf("%-10s%-22s%8s%12s%12s\n", "peer", "job", "threads", "step ms", "peak MB")
	}
	for _, j := range o.jobs {
		for _, n := range o.threads {
			for _, peer := range []string{"", o.against}[:1+min(len(o.against), 1)] {
				if err := spawn(o, j, n, peer); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// spawn measures a job in a process of its own.
func spawn(o options, job, threads, peer string) error {
	self, err := os.Executable()
	if err != nil {
		return errors.Wrap(err, "executable")
	}
	args := []string{"-child", "-jobs", job, "-threads", threads, "-seconds", fmt.Sprint(o.seconds), "-against", peer}
	for name, on := range map[string]bool{"-json": o.json, "-profile": o.profile && peer == ""} {
		if on {
			args = append(args, name)
		}
	}
	c := exec.Command(self, args...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.Env = append(os.Environ(), "GOMAXPROCS="+threads)
	return errors.Wrap(c.Run(), job)
}

func child(o options) error {
	before := peakResident()
	j, err := byName(o.jobs[0])
	if err != nil {
		return err
	}
	t, err := j.build()
	if err != nil {
		return err
	}
	peer, step := "harpe", t.step
	if o.against != "" {
		// One step gives the programs their inputs.
		if err := t.step(); err != nil {
			return err
		}
		var references []*graph.Reference
		for _, p := range t.programs {
			r, err := p.Reference()
			if err != nil {
				return err
			}
			defer r.Close()
			references = append(references, r)
		}
		peer, step = o.against, func() error {
			for _, r := range references {
				if _, err := r.Run(); err != nil {
					return err
				}
			}
			return nil
		}
	}
	ms, err := median(step, o.seconds)
	if err != nil {
		return err
	}
	r := line{peer, j.name, runtime.GOMAXPROCS(0), ms, float64(peakResident()-before) / (1 << 20)}
	if o.json {
		err = json.NewEncoder(os.Stdout).Encode(r)
	} else {
		fmt.Printf("%-10s%-22s%8d%12.3f%12.1f\n", r.Peer, r.Job, r.Threads, r.StepMS, r.PeakMB)
	}
	if err != nil || !o.profile {
		return err
	}
	for _, p := range t.programs {
		times, err := p.Profile(20)
		if err != nil {
			return err
		}
		fmt.Println(times)
	}
	return nil
}

// median is the median time of a step in milliseconds, of at least three after three to warm up.
func median(step func() error, seconds float64) (float64, error) {
	for range 3 {
		if err := step(); err != nil {
			return 0, err
		}
	}
	var times []time.Duration
	for begin := time.Now(); time.Since(begin).Seconds() < seconds || len(times) < 3; {
		at := time.Now()
		if err := step(); err != nil {
			return 0, err
		}
		times = append(times, time.Since(at))
	}
	slices.Sort(times)
	return float64(times[len(times)/2].Nanoseconds()) / 1e6, nil
}
