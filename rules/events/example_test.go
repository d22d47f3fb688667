package events_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/rules/events"
)

// A log of two steps, for tensorboard --logdir runs.
func ExampleOpen() {
	runs, err := os.MkdirTemp("", "runs")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(runs)
	log, err := events.Open(filepath.Join(runs, "backprop"), 0)
	if err != nil {
		panic(err)
	}
	for step := 1; step <= 2; step++ {
		if err := log.Scalar("train/loss", step, 1/float64(step)); err != nil {
			panic(err)
		}
		if err := log.Histogram("weight", step, graph.ArrayOf([]float64{-1, 0, 2}, 3)); err != nil {
			panic(err)
		}
	}
	if err := log.Close(); err != nil {
		panic(err)
	}
	files, err := filepath.Glob(filepath.Join(runs, "*", events.FileName))
	if err != nil {
		panic(err)
	}
	fmt.Println(len(files), "log")
	// Output: 1 log
}
