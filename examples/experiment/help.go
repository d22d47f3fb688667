package experiment

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/harpe-ml/harpe/examples/data"
	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

// Help says what a file can hold. About "" it lists the keys of a file and all names; about one of the names, such as
// "adam" or "mono-forward", its options. An unknown topic is an error with the nearest name.
func Help(topic string) (string, error) {
	kinds := []struct {
		name string
		list []choice
	}{
		{"rules", choices(reflect.TypeFor[rules.Rule]())}, {"optimizers", choices(reflect.TypeFor[optim.Optimizer]())},
		{"schedules", choices(reflect.TypeFor[optim.Schedule]())}, {"objectives", objectiveChoices()},
		{"models and layers", choices(reflect.TypeFor[layers.Layer]())},
	}
	if topic == "" {
		var b strings.Builder
		b.WriteString("keys of a file:\n" + options(reflect.TypeFor[description]()))
		for _, k := range kinds {
			fmt.Fprintf(&b, "\n%s:\n", k.name)
			b.WriteString(wrap(names(k.list)))
		}
		b.WriteString("\ndata:\n" + wrap(data.Names()))
		return b.String(), nil
	}
	all := []string{"data"}
	if plain(topic) == "data" {
		return "data: a name, or\n" + options(reflect.TypeFor[Data]()), nil
	}
	for _, k := range kinds {
		all = append(all, names(k.list)...)
		for _, c := range k.list {
			if plain(c.name) != plain(topic) {
				continue
			}
			text := c.name + ", one of the " + k.name + "\n"
			if k.name == "objectives" {
				for _, e := range objectives.Entries() {
					if e.Name == c.name {
						text += fmt.Sprintf("%s: %s\n%s; for %s\n", e.Summary, e.Formula, e.Paper, e.Use)
					}
				}
			}
			if k.name == "rules" {
				text += "  as: text, the name of these runs\n  epochs: a whole number, in place of the experiment's\n"
			}
			if c.value != nil {
				t := reflect.TypeOf(c.value)
				text += options(t)
				text += fmt.Sprintf("What they mean: go doc %s.%s\n", t.PkgPath(), t.Name())
			}
			return text, nil
		}
	}
	return "", fmt.Errorf("there is no %q to tell about; did you mean %q?", topic, nearest(topic, all))
}

func names(list []choice) (all []string) {
	for _, c := range list {
		all = append(all, c.name)
	}
	return all
}

// options lists the keys that stand for the fields of a struct.
func options(t reflect.Type) string {
	if t.Kind() != reflect.Struct {
		return "  " + kindOf(t) + "\n"
	}
	var b strings.Builder
	for _, f := range fieldsOf(t) {
		kind := kindOf(f.Type)
		switch f.Type {
		case reflect.TypeFor[[]entry]():
			kind = "a list of rules, each with its options"
		case reflect.TypeFor[seedList]():
			kind = "a number, or a list of whole numbers"
		}
		if f.Type == reflect.TypeFor[graph.DType]() {
			kind = "float32 or float64"
		}
		if f.Type.Kind() == reflect.Struct && kind == "keys and values" {
			var inner []string
			for _, g := range fieldsOf(f.Type) {
				inner = append(inner, snake(g.Name))
			}
			kind = "{" + strings.Join(inner, ": , ") + ": }"
		}
		fmt.Fprintf(&b, "  %s: %s\n", snake(f.Name), kind)
	}
	return b.String()
}

// wrap breaks a list into lines.
func wrap(list []string) string {
	var b strings.Builder
	width := 0
	for i, name := range slices.Sorted(slices.Values(list)) {
		if i > 0 {
			b.WriteString(",")
			width++
		}
		if width+len(name) > 96 || i == 0 {
			if i > 0 {
				b.WriteString("\n")
			}
			b.WriteString(" ")
			width = 1
		}
		b.WriteString(" " + name)
		width += 1 + len(name)
	}
	return b.String() + "\n"
}
