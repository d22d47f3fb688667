package experiment

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/models"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

// example is the file of the package comment.
const example = `
name: digits
data: {name: digits, shape: [1, 8, 8], test: 0.2}
model:
  - block: [{conv2d: {filters: 16, padding: 1, activation: relu}}, maxpool2d]
  - flatten
  - dense: {units: classes}
objective: {cross-entropy: {label_smoothing: 0.1}}
optimizer: {adam: {lr: 2e-3}}
schedule: {cosine: {steps: total}}
rules:
  - backprop
  - mono-forward: {readout: sum-layers}
  - forward-forward: {as: long, epochs: 20, optimizer: sgd}
epochs: 10
seeds: 3
`

func mustParse(t *testing.T, text string) *Experiment {
	t.Helper()
	e, err := Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// The example says what these Go values say.
func TestExample(t *testing.T) {
	root, err := parse("test.yaml", []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	got, err := decoder{file: "test.yaml", classes: 10, perEpoch: 44, epochs: 5}.describe(root)
	if err != nil {
		t.Fatal(err)
	}
	want := &description{
		Name: "digits",
		Data: Data{Name: "digits", Shape: []int{1, 8, 8}, Test: 0.2},
		Model: layers.Sequential{
			layers.Block{layers.Conv2D{Filters: 16, Padding: layers.Both(1), Activation: layers.ReLU{}}, layers.MaxPool2D{}},
			layers.Flatten{},
			layers.Dense{Units: 10},
		},
		Optimizer: optim.Adam{LR: 2e-3},
		Schedule:  optim.Cosine{Steps: 220},
		Epochs:    10, Batch: 32, Seeds: seedList{1, 2, 3},
	}
	list := []entry{
		{as: "backprop", rule: rules.Backprop{}},
		{as: "mono-forward", rule: rules.MonoForward{Readout: rules.SumLayers}},
		{as: "long", epochs: 20, rule: rules.ForwardForward{Optimizer: optim.SGD{}}},
	}
	for i, e := range got.Rules {
		e.node = nil
		if !reflect.DeepEqual(e, list[i]) {
			t.Errorf("rule %d: want %+v, got %+v", i, list[i], e)
		}
	}
	if loss(t, got.Objective) != loss(t, objectives.CrossEntropyOptions{LabelSmoothing: 0.1}.Loss) {
		t.Error("the objective is another one")
	}
	got.Rules, got.Objective = nil, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("want %+v, got %+v", want, got)
	}
}

// loss is an objective's value for two logits.
func loss(t *testing.T, o objectives.Objective) float64 {
	t.Helper()
	var y *graph.Node
	g, err := graph.Build(nil, func(s *graph.Scope) {
		x := graph.Literal(s.Input("like", graph.Float64, 1), graph.ArrayOf([]float64{1, 3, 2, 0}, 2, 2))
		y = o(x, s.Input("y", graph.Int, 2))
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Compile(y)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	return p.Array(y).Scalar()
}

// A sample is a value as text and in Go.
type sample struct {
	text  string
	value any
}

// samples are values for a field of a type, with every constant by name.
func samples(t reflect.Type) (list []sample) {
	for name, v := range constants[t] {
		list = append(list, sample{separated(name, '-'), reflect.ValueOf(v).Convert(t).Interface()}, sample{name, reflect.ValueOf(v).Convert(t).Interface()})
	}
	if len(list) > 0 {
		return list
	}
	switch t {
	case reflect.TypeFor[optim.Optimizer]():
		return []sample{{"adam", optim.Adam{}}, {"{sgd: {lr: 0.5, momentum: 0.25}}", optim.SGD{LR: 0.5, Momentum: 0.25}}, {"Nesterov", optim.SGD{Momentum: 0.9, Nesterov: true}}}
	case reflect.TypeFor[optim.Schedule]():
		return []sample{{"{cosine: {steps: 3 epochs}}", optim.Cosine{Steps: 12}}, {"{step-decay: {every: 5}}", optim.StepDecay{Every: 5}}}
	case reflect.TypeFor[layers.Layer]():
		return []sample{{"relu", layers.ReLU{}}, {"[tanh, {dense: {units: 7}}]", layers.Sequential{layers.Tanh{}, layers.Dense{Units: 7}}}}
	}
	switch t.Kind() {
	case reflect.Bool:
		return []sample{{"true", true}}
	case reflect.Int:
		return []sample{{"3", 3}, {"classes", 10}, {"total", 20}, {"-2", -2}}
	case reflect.Float64:
		return []sample{{"0.25", 0.25}, {"1e-3", 1e-3}, {"7", 7.0}, {"zero", optim.Zero}, {"-1", -1.0}}
	case reflect.String:
		return []sample{{"abc", "abc"}, {"'12'", "12"}}
	case reflect.Slice:
		for _, s := range samples(t.Elem()) {
			v := reflect.MakeSlice(t, 1, 1)
			v.Index(0).Set(reflect.ValueOf(s.value))
			list = append(list, sample{"[" + s.text + "]", v.Interface()})
		}
	case reflect.Map:
		for _, s := range samples(t.Elem()) {
			v := reflect.MakeMap(t)
			v.SetMapIndex(reflect.ValueOf("Any-name"), reflect.ValueOf(s.value))
			list = append(list, sample{"{Any-name: " + s.text + "}", v.Interface()})
		}
	case reflect.Array:
		for _, s := range samples(t.Elem()) {
			v := reflect.New(t).Elem()
			for i := range v.Len() {
				v.Index(i).Set(reflect.ValueOf(s.value))
			}
			list = append(list, sample{s.text, v.Interface()})
		}
	case reflect.Pointer:
		if t == reflect.TypeFor[*graph.Array]() {
			return nil
		}
		for _, s := range samples(t.Elem()) {
			v := reflect.New(t.Elem())
			v.Elem().Set(reflect.ValueOf(s.value))
			list = append(list, sample{s.text, v.Interface()})
		}
	case reflect.Struct:
		for i := range t.NumField() {
			if !t.Field(i).IsExported() {
				continue
			}
			for _, s := range samples(t.Field(i).Type) {
				v := reflect.New(t).Elem()
				v.Field(i).Set(reflect.ValueOf(s.value))
				list = append(list, sample{fmt.Sprintf("{%s: %s}", snake(t.Field(i).Name), s.text), v.Interface()})
			}
		}
	}
	return list
}

// Every exported field of every rule, optimiser, schedule, layer, model and objective can be set, and gets the value
// that Go code would give it; but for arrays and for interfaces that are there to be implemented by Go code.
func TestEveryOption(t *testing.T) {
	d := decoder{file: "test.yaml", classes: 10, perEpoch: 4, epochs: 5}
	kinds := map[string][]choice{
		"rule": choices(reflect.TypeFor[rules.Rule]()), "optimizer": choices(reflect.TypeFor[optim.Optimizer]()),
		"schedule": choices(reflect.TypeFor[optim.Schedule]()), "layer": choices(reflect.TypeFor[layers.Layer]()), "objective": objectiveChoices(),
	}
	tested := 0
	for kind, list := range kinds {
		for _, c := range list {
			if c.value == nil || reflect.TypeOf(c.value).Kind() != reflect.Struct {
				continue
			}
			typ := reflect.TypeOf(c.value)
			for i := range typ.NumField() {
				f := typ.Field(i)
				if !f.IsExported() || functions[f.Type] != nil || f.Type == reflect.TypeFor[objectives.Objective]() {
					continue
				}
				of := samples(f.Type)
				if len(of) == 0 && (f.Type == reflect.TypeFor[*graph.Array]() || f.Type.Kind() == reflect.Interface) {
					continue
				}
				if len(of) == 0 {
					t.Errorf("%s %s: %s cannot be set", kind, c.name, f.Name)
				}
				for _, s := range of {
					want := reflect.New(typ).Elem()
					want.Set(reflect.ValueOf(c.value))
					want.Field(i).Set(reflect.ValueOf(s.value))
					root, err := parse("test.yaml", []byte(fmt.Sprintf("{%s: %s}", snake(f.Name), s.text)))
					if err != nil {
						t.Fatal(err)
					}
					got := reflect.New(typ).Elem()
					got.Set(reflect.ValueOf(c.value))
					if err := d.decode(root, got, c.name); err != nil {
						t.Errorf("%s %s: %s: %v", kind, c.name, s.text, err)
					} else if !reflect.DeepEqual(got.Interface(), want.Interface()) {
						t.Errorf("%s %s: %s: want %+v, got %+v", kind, c.name, s.text, want, got)
					}
					tested++
				}
			}
		}
	}
	if tested < 500 {
		t.Errorf("only %d values were tried", tested)
	}
}

// No rule has a field that the keys of an entry hide.
func TestReservedKeys(t *testing.T) {
	for _, c := range choices(reflect.TypeFor[rules.Rule]()) {
		for _, f := range fieldsOf(reflect.TypeOf(c.value)) {
			if plain(f.Name) == "as" || plain(f.Name) == "epochs" {
				t.Errorf("%s has a field %s", c.name, f.Name)
			}
		}
	}
}

// Functions, by name and by what makes them, and objectives within objectives.
func TestFunctions(t *testing.T) {
	d := decoder{file: "test.yaml", classes: 10, perEpoch: 4, epochs: 5}
	decode := func(text string, v any) {
		t.Helper()
		root, err := parse("test.yaml", []byte(text))
		if err == nil {
			err = d.decode(root, reflect.ValueOf(v).Elem(), "test")
		}
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	for text, want := range map[string]layers.Init{"he": layers.He, "{normal: 0.5}": layers.Normal(0.5), "LeCun": layers.LeCun} {
		var l layers.Dense
		decode("{units: 2, init: "+text+"}", &l)
		if got, want := weights(t, l), weights(t, layers.Dense{Units: 2, Init: want}); !slices.Equal(got, want) {
			t.Errorf("init %s: want %v, got %v", text, want, got)
		}
	}
	var guess rules.ForwardGuess
	decode("{auxiliary: {aux-mlp: [8, 4]}}", &guess)
	if got, want := fmt.Sprintf("%+v", guess.Auxiliary(3)), fmt.Sprintf("%+v", rules.AuxMLP(8, 4)(3)); got != want {
		t.Errorf("auxiliary: want %s, got %s", want, got)
	}
	for text, want := range map[string]objectives.Objective{
		"cross-entropy": objectives.CrossEntropy, "{focal: {gamma: 3}}": objectives.FocalOptions{Gamma: 3}.Loss,
		"{spectral-decoupling: {lambda: 2, objective: {focal: {gamma: 3}}}}": objectives.SpectralDecouplingOptions{Lambda: 2, Objective: objectives.FocalOptions{Gamma: 3}.Loss}.Loss,
		"{cross-entropy: {class_weights: [1, 3]}}":                           objectives.CrossEntropyOptions{ClassWeights: []float64{1, 3}}.Loss,
		"nce-agce": mustObjective(t, "nce-agce"),
	} {
		var o objectives.Objective
		decode(text, &o)
		if got, want := loss(t, o), loss(t, want); got != want {
			t.Errorf("%s: want %v, got %v", text, want, got)
		}
	}
}

// weights are the initial weights of a layer for three features.
func weights(t *testing.T, l layers.Layer) []float32 {
	t.Helper()
	params := &graph.Params{Seed: 1}
	if _, err := graph.Build(params, func(s *graph.Scope) { l.Apply(s, s.Input("x", graph.Float32, 1, 3)) }); err != nil {
		t.Fatal(err)
	}
	return params.Get("dense1/weight").Value.Float32s()
}

func mustObjective(t *testing.T, name string) objectives.Objective {
	o, err := objectives.ByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// Mistakes are named with file and line and, where there is one, the nearest valid name.
func TestMistakes(t *testing.T) {
	const good = "data: digits\nmodel: mlp\n"
	for text, want := range map[string][]string{
		"":                                       {"test.yaml", "nothing"},
		"- 1":                                    {"test.yaml:1", "keys and values", "a list of 1"},
		"model: mlp":                             {"test.yaml:1", "data"},
		"data: digits":                           {"test.yaml:1", "model"},
		"data: digts\nmodel: mlp":                {"test.yaml:1", "digits"},
		good + "epoch: 3":                        {"test.yaml:3", `"epoch"`, `"epochs"`},
		good + "epochs: 3\nEpochs: 4":            {"test.yaml:4", "twice"},
		good + "epochs: many":                    {"test.yaml:3", "epochs", "many"},
		good + "epochs: 99999999":                {"test.yaml:3", "epochs", "1048576"},
		good + "epochs: 0":                       {"test.yaml:3", "epochs", "at least 1"},
		good + "rules: [backprob]":               {"test.yaml:3", `"backprob"`, `"backprop"`},
		good + "rules: [backprop, backprop]":     {"test.yaml:3", "two", "as"},
		good + "rules: []":                       {"test.yaml:3", "rules"},
		good + "rules: [{backprop: {as: ../x}}]": {"test.yaml:3", "as", "../x"},
		good + "rules:\n- mono-forward:\n    order: sequental":                      {"test.yaml:5", `"sequental"`, `"sequential"`},
		good + "optimizer: {adam: {lrr: 1}}":                                        {"test.yaml:3", `"lrr"`, `"lr"`},
		good + "optimizer: {adam: {lr: nan}}":                                       {"test.yaml:3", "lr", "nan"},
		good + "optimizer: {adam: 3}":                                               {"test.yaml:3", "adam", "keys and values"},
		good + "optimizer: [adam]":                                                  {"test.yaml:3", "optimizer", "a name"},
		good + "schedule: {cosin: {steps: 3}}":                                      {"test.yaml:3", `"cosine"`},
		good + "objective: cross_entropie":                                          {"test.yaml:3", `"cross-entropy"`},
		good + "objective: {nce-agce: {a: 1}}":                                      {"test.yaml:3", "nce-agce", "no options"},
		good + "seeds: 0":                                                           {"test.yaml:3", "seeds"},
		good + "seeds: [1, 1]":                                                      {"test.yaml:3", "seeds", "different"},
		good + "seeds: 1000000000":                                                  {"test.yaml:3", "1000"},
		good + "dtype: float16":                                                     {"test.yaml:3", "float32"},
		good + "best: true":                                                         {"validation"},
		good + "best: yes":                                                          {"test.yaml:3", "true or false", "yes"},
		good + "name: a/b":                                                          {"test.yaml:3", "name"},
		good + "keep: &a 3\nevery: *a":                                              {"test.yaml:3", "anchors"},
		good + "[":                                                                  {"test.yaml"},
		"data: {name: digits, tests: 0.1}\nmodel: mlp":                              {"test.yaml:1", `"test"`},
		"data: {name: digits, test: 1.5}\nmodel: mlp":                               {"test.yaml:1", "test"},
		"data: {name: digits, normalize: pixel}\nmodel: mlp":                        {"test.yaml:1", "channel"},
		"data: digits\nmodel:\n  - dense: {units: 3}\n  - dens: {units: 4}":         {"test.yaml:4", `"dens"`, `"dense"`},
		"data: digits\nmodel: {dense: {units: 3, init: {normal: [1, 2, 3]}}}":       {"test.yaml:2", "1 arguments", "3"},
		good + strings.Repeat("[", 5000):                                            {"test.yaml"},
		good + "rules: [" + strings.Repeat("[", 60) + strings.Repeat("]", 60) + "]": {"test.yaml:3", "40 deep"},
		good + "seeds: [" + strings.Repeat("1,", 30_000) + "1]":                     {"test.yaml:3", "20000"},
		good + strings.Repeat("#", 300_000):                                         {"test.yaml", "262144"},
	} {
		_, err := Parse("test.yaml", []byte(text))
		if err == nil {
			t.Errorf("%.200s: no error", text)
			continue
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%.200s: want %q in the error %q", text, w, err)
			}
		}
	}
}

// JSON says the same as YAML.
func TestJSON(t *testing.T) {
	a := mustParse(t, "data: {name: digits, test: 0.25}\nmodel: {mlp: {hidden: [64, 32]}}\nrules: [backprop]\nbest: false")
	b := mustParse(t, "{\"data\": {\"name\": \"digits\", \"test\": 0.25},\n\t\"model\": {\"mlp\": {\"hidden\": [64, 32]}},\n\t\"rules\": [\"backprop\"], \"best\": false}")
	if a.Describe(0, 1) != b.Describe(0, 1) {
		t.Error("the runs are not the same")
	}
}

// A run has the trainer that Go code would make: the same bits.
func TestRun(t *testing.T) {
	e := mustParse(t, `
data: {name: iris, test: 0.3, validation: 0.2, normalize: feature, take: 60}
model: {mlp: {hidden: [5]}}
optimizer: {adam: {lr: 0.02}}
rules: [backprop, {backprop: {as: own, optimizer: sgd, epochs: 2}}, smb]
schedule: {cosine: {steps: 2 epochs}}
clip: {norm: 1}
epochs: 3
batch: 16
seeds: [7]
patience: 2
`)
	all := data.Iris()
	train, test, err := all.Split(7, 0.3)
	if err != nil {
		t.Fatal(err)
	}
	train, validation, err := train.Split(^uint64(7), 0.2)
	if err != nil {
		t.Fatal(err)
	}
	train = train.Take(60)
	n := data.PerFeature(train)
	for _, s := range []**data.Set{&train, &test, &validation} {
		if *s, err = n.Apply(*s); err != nil {
			t.Fatal(err)
		}
	}
	options := optim.Options{Schedule: optim.Cosine{Steps: 6}, Clip: optim.Clip{Norm: 1}}
	for i, want := range []struct {
		rule   rules.Rule
		epochs int
	}{
		{rules.Backprop{Optimizer: optim.Adam{LR: 0.02}, Options: options}, 3}, {rules.Backprop{Optimizer: optim.SGD{}, Options: options}, 2}, {rules.SMB{}, 3},
	} {
		r, err := e.Run(i, 7)
		if err != nil {
			t.Fatal(err)
		}
		if r.Config.Epochs != want.epochs || r.Config.Patience != 2 || !reflect.DeepEqual(r.Config.Validation, rules.Data(validation)) || !reflect.DeepEqual(r.Test, test) {
			t.Errorf("%s: config %+v", e.Rules[i], r.Config)
		}
		twin, err := want.rule.Trainer(models.MLP{Hidden: []int{5}, Classes: 3}, objectives.CrossEntropy, rules.SpecOf(train, 16, 7))
		if err != nil {
			t.Fatal(err)
		}
		for _, tr := range []struct {
			rules.Trainer
			data rules.Data
		}{{r.Trainer, r.Train}, {twin, train}} {
			if _, err := rules.Fit(t.Context(), tr.Trainer, tr.data, r.Config); err != nil {
				t.Fatal(err)
			}
		}
		for p := range twin.Params().All() {
			q := r.Trainer.Params().Get(p.Name)
			if q == nil || !slices.Equal(p.Value.Float32s(), q.Value.Float32s()) {
				t.Errorf("%s: %s is not the same", e.Rules[i], p.Name)
			}
		}
	}
}

// Regression: the mean squared error is the objective, and the model has an output for each target.
func TestRegression(t *testing.T) {
	r, err := mustParse(t, "data: {name: diabetes, normalize: feature}\nmodel: {mlp: {hidden: [4]}}\ndtype: float64").Run(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if w := r.Trainer.Params().Get("dense2/weight").Value; w.Shape[1] != 1 || w.DType != graph.Float64 {
		t.Errorf("the last weight is %v", w)
	}
}

// What makes other bits makes another description; what does not, not.
func TestDescribe(t *testing.T) {
	e := mustParse(t, example)
	same := func(key, value string) bool {
		t.Helper()
		w, err := e.With(key, value)
		if err != nil {
			t.Fatal(err)
		}
		return w.Describe(1, 1) == e.Describe(1, 1)
	}
	for _, c := range [][2]string{{"seeds", "9"}, {"name", "other"}, {"rules.backprop.optimizer", "sgd"}, {"histograms", "true"}, {"epochs", "10"}, {"keep", "2"}} {
		if !same(c[0], c[1]) {
			t.Errorf("%s: %s changes the run", c[0], c[1])
		}
	}
	for _, c := range [][2]string{{"epochs", "11"}, {"batch", "16"}, {"rules.mono-forward.order", "sequential"}, {"rules.1.mono-forward.order", "sequential"},
		{"optimizer.adam.lr", "1e-3"}, {"model.2.dense.no_bias", "true"}, {"data.test", "0.3"}, {"clip.norm", "1"}, {"objective", "mae"}} {
		if same(c[0], c[1]) {
			t.Errorf("%s: %s does not change the run", c[0], c[1])
		}
	}
	if e.Describe(1, 1) == e.Describe(1, 2) || e.Describe(1, 1) == e.Describe(0, 1) {
		t.Error("seed and rule do not change the run")
	}
	if text, err := e.Text(); err != nil || mustParse(t, text).Describe(1, 1) != e.Describe(1, 1) {
		t.Errorf("the text is another experiment: %v", err)
	}
	named, err := e.With("rules.backprop.options.clip.norm", "2")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := named.Text(); err != nil || mustParse(t, text).Describe(0, 1) != named.Describe(0, 1) {
		t.Errorf("the text of a changed one is another experiment: %v: %s", err, text)
	}
	for _, key := range []string{"rules.9.x", "rules.smb.lr", "epochs.x"} {
		if _, err := e.With(key, "1"); err == nil {
			t.Errorf("%s: no error", key)
		}
	}
	chosen, err := e.Choose([]string{"long", "smb"})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(chosen.Rules, []string{"long", "smb"}) || chosen.Describe(0, 1) != e.Describe(2, 1) {
		t.Errorf("chosen: %v", chosen.Rules)
	}
}

// Distances known from the literature, and names.
func TestNames(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"kitten", "sitting", 3}, {"saturday", "sunday", 3}, {"", "abc", 3}, {"same", "same", 0}, {"flaw", "lawn", 2}} {
		if got := edits(c.a, c.b); got != c.want {
			t.Errorf("%s, %s: want %d, got %d", c.a, c.b, c.want, got)
		}
	}
	for name, want := range map[string]string{"LabelSmoothing": "label_smoothing", "LR": "lr", "LRMax": "lr_max", "NoBias": "no_bias", "BatchesPerEpoch": "batches_per_epoch"} {
		if got := snake(name); got != want {
			t.Errorf("%s: want %s, got %s", name, want, got)
		}
	}
}

// There is help on every name that the general help lists.
func TestHelp(t *testing.T) {
	all, err := Help("")
	if err != nil {
		t.Fatal(err)
	}
	_, lists, _ := strings.Cut(all, "\n\n")
	n := 0
	for _, line := range strings.Split(lists[:strings.Index(lists, "\ndata:")], "\n") {
		if strings.HasSuffix(line, ":") {
			continue
		}
		for _, name := range strings.FieldsFunc(line, func(r rune) bool { return r == ',' || r == ' ' }) {
			if text, err := Help(name); err != nil || !strings.HasPrefix(text, name) {
				t.Errorf("%s: %q, %v", name, text, err)
			}
			n++
		}
	}
	if n < 100 {
		t.Errorf("%d names", n)
	}
	for topic, want := range map[string]string{"focal": "gamma: a number", "mono-forward": "order: one of", "data": "validation: a number", "SGD": "momentum"} {
		if text, err := Help(topic); err != nil || !strings.Contains(text, want) {
			t.Errorf("%s: %q, %v", topic, text, err)
		}
	}
	if _, err := Help("adm"); err == nil || !strings.Contains(err.Error(), `"adam"`) {
		t.Errorf("want the nearest name, got %v", err)
	}
}

// Whatever a file holds, it is refused or is an experiment that can be written and read again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte("{\"data\": \"digits\", \"model\": \"mlp\", \"rules\": [{\"forward-guess\": {\"auxiliary\": {\"aux-cnn\": [4, 1]}}}]}"))
	f.Add([]byte("data: {file: x.csv, csv: {comma: ';', header: true}}\nmodel: [relu]\nseeds: [3, 9]\nclip: {norm: 3}\nschedule: {warmup: {steps: 3 epochs, then: {onecycle: {steps: total}}}}"))
	f.Add([]byte("data: digits\nmodel: {residual: {body: [{dense: {units: 64, init: {normal: .1}}}]}}\nobjective: {combination: [{weight: 2, objective: mae}]}"))
	f.Add([]byte("data: digits\nmodel: {residual}\noptimizer: {adam: ~}\nrules: [{backprop: }]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := Parse("fuzz.yaml", text)
		if err != nil {
			return
		}
		again, err := e.Text()
		if err != nil {
			t.Fatal(err)
		}
		twin, err := Parse("fuzz.yaml", []byte(again))
		if err != nil {
			t.Fatalf("%v: %s", err, again)
		}
		if !slices.Equal(e.Rules, twin.Rules) || !slices.Equal(e.Seeds, twin.Seeds) || e.Describe(0, 1) != twin.Describe(0, 1) {
			t.Errorf("another experiment: %s", again)
		}
	})
}
