package objectives

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/pkg/errors"
)

// An Entry is one line of the table of objectives. All texts are one line; those of the table are short.
type Entry struct {
	Name      string    // what ByName calls it: "cross-entropy"
	Objective Objective // with its usual settings; nil if it needs more than an output and a target, or an import
	Import    string    // path of the package that has it, if it is not this one
	Summary   string    // what it is, for help texts
	Formula   string    // of one example, in the notation of the package comment
	Paper     string    // authors, year, arXiv number
	Use       string    // when to use it
}

var registry = map[string]Entry{}

// Register adds entries to the table; files do it in their init function. A name that is taken and an empty field
// panic.
func Register(entries ...Entry) {
	for _, e := range entries {
		if registry[e.Name].Name != "" {
			panic(errors.Errorf("objectives: there is already an objective %q", e.Name))
		}
		for _, text := range []string{e.Name, e.Summary, e.Formula, e.Paper, e.Use} {
			if text == "" || strings.ContainsAny(text, "\n\t") {
				panic(errors.Errorf("objectives: %q: want one line in each field, got %q", e.Name, text))
			}
		}
		registry[e.Name] = e
	}
}

// Provide gives a registered entry of another package its objective; that package does it in its init functions. An
// entry that is not there, or has one, panics.
func Provide(name string, f Objective) {
	e := registry[name]
	if e.Import == "" || e.Objective != nil || f == nil {
		panic(errors.Errorf("objectives: no entry %q of another package that wants an objective", name))
	}
	e.Objective = f
	registry[name] = e
}

// Entries lists all that is registered, in alphabetical order, those of packages that are not imported among them.
func Entries() []Entry {
	var all []Entry
	for _, e := range registry {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Names lists what ByName takes, in alphabetical order: that of packages that are imported.
func Names() []string {
	var names []string
	for _, e := range Entries() {
		if e.Objective != nil {
			names = append(names, e.Name)
		}
	}
	return names
}

// ByName is the objective of that name with its usual settings, for flags and experiment files: "cross-entropy", "mse",
// ... An unknown name is an error that lists the known ones. An objective that needs more than an output and a target, and
// one of a package that is not imported, are errors that say so.
func ByName(name string) (Objective, error) {
	e, ok := registry[name]
	switch {
	case !ok:
		return nil, errors.Errorf("objectives: no objective %q; there are %s", name, strings.Join(Names(), ", "))
	case e.Objective == nil && e.Import != "":
		return nil, errors.Errorf("objectives: %q is in the package %s, which must be imported: %s", name, e.Import, e.Summary)
	case e.Objective == nil:
		return nil, errors.Errorf("objectives: %q needs more than an output and a target: %s", name, e.Summary)
	}
	return e.Objective, nil
}

// Describe is the table of all entries: name and, in brackets, package if it is not this one, formula, paper and when to
// use it, a line each.
func Describe() string {
	rows := [][]string{{"name", "formula", "paper", "when to use it"}}
	for _, e := range Entries() {
		name := e.Name
		if e.Import != "" {
			name += " (" + path.Base(e.Import) + ")"
		}
		rows = append(rows, []string{name, e.Formula, e.Paper, e.Use})
	}
	width := make([]int, len(rows[0]))
	for _, r := range rows {
		for i, text := range r {
			width[i] = max(width[i], utf8.RuneCountInString(text))
		}
	}
	var b strings.Builder
	for _, r := range rows {
		for i, text := range r[:len(r)-1] {
			fmt.Fprintf(&b, "%-*s  ", width[i], text)
		}
		fmt.Fprintln(&b, r[len(r)-1])
	}
	return b.String()
}
