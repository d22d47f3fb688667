package notebook_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/harpe-ml/harpe/examples/notebook"
)

// A whole page. The example leaves out Close's line with the names of the files, which are in a folder of its own.
func Example() {
	dir, err := os.MkdirTemp("", "notebook")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	page, err := notebook.New("Two rules", notebook.Options{Dir: dir, Name: "rules", Terminal: os.Stdout})
	if err != nil {
		log.Fatal(err)
	}
	page.Heading("Training")
	page.Text(`
		Both rules minimise $L(\theta) = -\frac{1}{N} \sum_{i=1}^N \log p_\theta(y_i \mid x_i)$
		on the **same** model.
	`)
	page.Plot(notebook.Plot{
		Title: "Learning curves", X: "epoch", Y: "loss",
		Lines: []notebook.Line{
			{Name: "backprop", Y: []float64{2.3, 1.1, 0.5, 0.2, 0.1}},
			{Name: "mono-forward", Y: []float64{2.3, 1.4, 0.8, 0.4, 0.3}},
		},
	})
	page.Table(notebook.Table{
		Header: []string{"rule", "accuracy", "seconds"},
		Rows:   [][]string{{"backprop", "97.4 %", "4.2"}, {"mono-forward", "96.9 %", "12.0"}},
	})
	page.Check("backprop reaches 97 %", true, "97.4 %")
	if err := page.Err(); err != nil {
		log.Fatal(err)
	}

	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range files {
		fmt.Println(filepath.Base(f))
	}
	// Output:
	// Two rules
	// ═════════
	//
	// Training
	// ────────
	//
	// Both rules minimise L(θ) = −1/N ∑ᵢ₌₁ᴺ log p_θ(yᵢ|xᵢ) on the same model.
	//
	// Learning curves (loss against epoch)
	//   backprop      █▄▂▁▁  2.3 → 0.1
	//   mono-forward  █▅▃▂▁  2.3 → 0.3
	//
	// rule          accuracy  seconds
	// ────────────  ────────  ───────
	// backprop        97.4 %      4.2
	// mono-forward    96.9 %     12.0
	//
	// ✓ backprop reaches 97 %: 97.4 %
	// rules.html
	// rules.ipynb
}
