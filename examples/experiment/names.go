package experiment

import (
	"iter"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules/optim"
)

// plain is a name as names are compared: case, hyphens and underscores do not count.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r == ' ' {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
}

// snake is a Go name in lower case with underscores between its words: LabelSmoothing is label_smoothing, LRMax lr_max.
func snake(name string) string { return separated(name, '_') }

func separated(name string, by rune) string {
	r := []rune(name)
	var out []rune
	for i, c := range r {
		if i > 0 && unicode.IsUpper(c) && (unicode.IsLower(r[i-1]) || i+1 < len(r) && unicode.IsLower(r[i+1])) {
			out = append(out, by)
		}
		out = append(out, unicode.ToLower(c))
	}
	return string(out)
}

// words are the names of constants or functions as files have them: with hyphens.
func words[V any](m map[string]V) (list []string) {
	for name := range m {
		list = append(list, separated(name, '-'))
	}
	slices.Sort(list)
	return list
}

func keys[V any](m map[string]V) iter.Seq[string] { return maps.Keys(m) }

// nearest is the name with the fewest edits (V. Levenshtein 1966) from this one, the first of several.
func nearest(name string, names []string) string {
	best, least := "", -1
	for _, n := range names {
		if e := edits(plain(name), plain(n)); least < 0 || e < least {
			best, least = n, e
		}
	}
	return best
}

// edits is how many letters have to be inserted, removed or changed to turn a into b; of long names only the first 64
// letters count.
func edits(a, b string) int {
	x, y := []rune(a), []rune(b)
	x, y = x[:min(len(x), 64)], y[:min(len(y), 64)]
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i, c := range x {
		diagonal := row[0]
		row[0] = i + 1
		for j, e := range y {
			change := diagonal
			if c != e {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(y)]
}

// kindOf says in words what a value of a type looks like in a file.
func kindOf(t reflect.Type) string {
	if names, ok := constants[t]; ok {
		return "one of " + strings.Join(words(names), ", ")
	}
	if names, ok := functions[t]; ok {
		return "one of " + strings.Join(words(names), ", ")
	}
	switch t {
	case reflect.TypeFor[layers.Layer]():
		return "a layer or model, or a list of layers"
	case reflect.TypeFor[optim.Optimizer]():
		return "an optimizer"
	case reflect.TypeFor[optim.Schedule]():
		return "a schedule"
	case reflect.TypeFor[objectives.Objective]():
		return "an objective"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return kindOf(t.Elem())
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	case reflect.Int32:
		return "a character"
	case reflect.Float64:
		return "a number"
	case reflect.String:
		return "text"
	case reflect.Slice, reflect.Array:
		return "a list, of each " + kindOf(t.Elem())
	case reflect.Map:
		return "names, each with " + kindOf(t.Elem())
	}
	return "keys and values"
}
