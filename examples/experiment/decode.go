package experiment

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pkg/errors"
	"go.yaml.in/yaml/v3"

	"github.com/harpe-ml/harpe/graph"
	"github.com/harpe-ml/harpe/layers"
	"github.com/harpe-ml/harpe/objectives"
	"github.com/harpe-ml/harpe/rules"
	"github.com/harpe-ml/harpe/rules/optim"
)

// Limits of a file, so that a hostile one costs little.
const (
	mostBytes = 1 << 18
	mostNodes = 20_000
	mostDepth = 40
	mostInt   = 1 << 20 // any whole number but a seed
	mostSeeds = 1000
)

// parse is the tree of a file.
func parse(file string, text []byte) (root *yaml.Node, err error) {
	if len(text) > mostBytes {
		return nil, errors.Errorf("%s: want at most %d bytes, got %d", file, mostBytes, len(text))
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, errors.Errorf("%s: %s", file, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(document.Content) == 0 {
		return nil, errors.Errorf("%s: want keys and values, got nothing", file)
	}
	left := mostNodes
	return document.Content[0], decoder{file: file}.check(document.Content[0], mostDepth, &left)
}

// check refuses trees that are large, deep or refer to themselves, and keys that stand twice. It spells out nothing as
// null, so that the tree can be written again.
func (d decoder) check(n *yaml.Node, depth int, left *int) error {
	if *left--; *left < 0 || depth == 0 {
		return d.fail(n, "too much: want at most %d keys and values, nested at most %d deep", mostNodes, mostDepth)
	}
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		return d.fail(n, "anchors and aliases have no meaning here")
	}
	if null(n) {
		n.Value, n.Style = "null", 0
	}
	seen := map[string]bool{}
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			if c.Kind != yaml.ScalarNode {
				return d.fail(c, "a key has to be a word")
			}
			if seen[plain(c.Value)] {
				return d.fail(c, "%q stands here twice", c.Value)
			}
			seen[plain(c.Value)] = true
		}
		if err := d.check(c, depth-1, left); err != nil {
			return err
		}
	}
	return nil
}

// A decoder turns trees into values of Go types by their fields.
type decoder struct {
	file string
	// What words stand for: "classes", "5 epochs" and "total".
	classes, perEpoch, epochs int
}

func (d decoder) fail(n *yaml.Node, format string, args ...any) error {
	return errors.Errorf("%s:%d: %s", d.file, n.Line, fmt.Sprintf(format, args...))
}

// want says what was wanted in place of n.
func (d decoder) want(n *yaml.Node, what, wanted string) error {
	got := strconv.Quote(n.Value)
	switch {
	case n.Kind == yaml.MappingNode:
		got = "keys and values"
	case n.Kind == yaml.SequenceNode:
		got = fmt.Sprintf("a list of %d", len(n.Content))
	case null(n):
		got = "nothing"
	}
	return d.fail(n, "%s: want %s, got %s", what, wanted, got)
}

// unknown says which of the names comes nearest to the one that n has.
func (d decoder) unknown(n *yaml.Node, kind, name string, names []string) error {
	slices.Sort(names)
	if len(names) == 0 {
		return d.fail(n, "%s: there is no %q, and nothing to set", kind, name)
	}
	return d.fail(n, "%s: there is no %q; did you mean %q? There are: %s", kind, name, nearest(name, names), strings.Join(names, ", "))
}

func null(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// decode sets v, which is called what, from n. What n does not say keeps its value.
func (d decoder) decode(n *yaml.Node, v reflect.Value, what string) error {
	if names, ok := constants[v.Type()]; ok {
		return d.constant(n, v, what, names)
	}
	if names, ok := functions[v.Type()]; ok {
		return d.function(n, v, what, names)
	}
	switch p := v.Addr().Interface().(type) {
	case *objectives.Objective:
		return d.objective(n, p)
	case *[]entry:
		return d.entries(n, p)
	case *seedList:
		return d.seeds(n, p)
	case *graph.DType:
		return d.dtype(n, p)
	case *Data:
		if n.Kind == yaml.ScalarNode && !null(n) {
			p.Name = n.Value
			return nil
		}
	}
	switch v.Kind() {
	case reflect.Interface:
		return d.choose(n, v, what)
	case reflect.Struct:
		return d.fields(n, v, what)
	case reflect.Slice, reflect.Array:
		return d.list(n, v, what)
	case reflect.Map:
		return d.table(n, v, what)
	case reflect.Pointer:
		p := reflect.New(v.Type().Elem())
		if err := d.decode(n, p.Elem(), what); err != nil {
			return err
		}
		v.Set(p)
		return nil
	case reflect.Bool, reflect.Int, reflect.Int32, reflect.Float64, reflect.String:
		return d.scalar(n, v, what)
	}
	return d.fail(n, "%s: only Go code can set this", what)
}

func (d decoder) scalar(n *yaml.Node, v reflect.Value, what string) error {
	if n.Kind != yaml.ScalarNode || null(n) {
		return d.want(n, what, kindOf(v.Type()))
	}
	switch v.Kind() {
	case reflect.Bool:
		if n.Value != "true" && n.Value != "false" {
			return d.want(n, what, kindOf(v.Type()))
		}
		v.SetBool(n.Value == "true")
	case reflect.String:
		v.SetString(n.Value)
	case reflect.Int32: // a character
		r := []rune(n.Value)
		if len(r) != 1 {
			return d.want(n, what, kindOf(v.Type()))
		}
		v.SetInt(int64(r[0]))
	case reflect.Int:
		i, ok := d.whole(n.Value)
		if !ok || i > mostInt || i < -mostInt {
			return d.want(n, what, fmt.Sprintf("%s of at most %d", kindOf(v.Type()), mostInt))
		}
		v.SetInt(int64(i))
	default:
		f, err := strconv.ParseFloat(n.Value, 64)
		if n.Value == "zero" {
			f, err = optim.Zero, nil
		}
		if err != nil || math.IsNaN(f) {
			return d.want(n, what, kindOf(v.Type()))
		}
		v.SetFloat(f)
	}
	return nil
}

// whole is a whole number or what a word stands for.
func (d decoder) whole(text string) (i int, ok bool) {
	switch number, unit, _ := strings.Cut(text, " "); {
	case text == "classes":
		return d.classes, true
	case text == "total":
		return d.epochs * d.perEpoch, true
	case unit == "epochs" || unit == "epoch":
		i, err := strconv.Atoi(number)
		return i * d.perEpoch, err == nil && i <= mostInt && i*d.perEpoch <= mostInt
	}
	i, err := strconv.Atoi(text)
	return i, err == nil
}

func (d decoder) constant(n *yaml.Node, v reflect.Value, what string, names map[string]int) error {
	if n.Kind != yaml.ScalarNode || null(n) {
		return d.want(n, what, "one of "+strings.Join(words(names), ", "))
	}
	for name, value := range names {
		if plain(name) == plain(n.Value) {
			v.SetInt(int64(value))
			return nil
		}
	}
	return d.unknown(n, what, n.Value, words(names))
}

// function sets a function by its name, or by the name of the function that makes it and its arguments.
func (d decoder) function(n *yaml.Node, v reflect.Value, what string, names map[string]any) error {
	name, options, err := d.named(n, what)
	if err != nil {
		return err
	}
	for known, f := range names {
		if plain(known) != plain(name.Value) {
			continue
		}
		f := reflect.ValueOf(f)
		if f.Type().ConvertibleTo(v.Type()) {
			if options != nil {
				return d.want(options, known, "no arguments")
			}
			v.Set(f.Convert(v.Type()))
			return nil
		}
		args, err := d.arguments(name, options, f.Type(), known)
		if err == nil {
			v.Set(f.Call(args)[0])
		}
		return err
	}
	return d.unknown(name, what, name.Value, words(names))
}

func (d decoder) arguments(name, options *yaml.Node, f reflect.Type, what string) (args []reflect.Value, err error) {
	var nodes []*yaml.Node
	if options != nil && options.Kind == yaml.SequenceNode {
		nodes = options.Content
	} else if options != nil {
		nodes = []*yaml.Node{options}
	}
	if n := f.NumIn(); len(nodes) != n && !(f.IsVariadic() && len(nodes) >= n-1) {
		return nil, d.fail(name, "%s: want %d arguments, such as {%s: [8, 2]}, got %d", what, n, name.Value, len(nodes))
	}
	for i, n := range nodes {
		t := f.In(min(i, f.NumIn()-1))
		if f.IsVariadic() && i >= f.NumIn()-1 {
			t = t.Elem()
		}
		a := reflect.New(t).Elem()
		if err := d.decode(n, a, what); err != nil {
			return nil, err
		}
		args = append(args, a)
	}
	return args, nil
}

// named splits "name" and {name: options}. Options that say nothing are nil.
func (d decoder) named(n *yaml.Node, what string) (name, options *yaml.Node, err error) {
	switch {
	case n.Kind == yaml.ScalarNode && !null(n):
		return n, nil, nil
	case n.Kind == yaml.MappingNode && len(n.Content) == 2:
		if options = n.Content[1]; null(options) {
			options = nil
		}
		return n.Content[0], options, nil
	}
	return nil, nil, d.want(n, what, "a name, or a name with its options as in {name: {key: value}}")
}

// choose sets an interface: an optimiser, a schedule, a layer or a rule.
func (d decoder) choose(n *yaml.Node, v reflect.Value, what string) error {
	if n.Kind == yaml.SequenceNode && v.Type() == reflect.TypeFor[layers.Layer]() {
		q := reflect.New(reflect.TypeFor[layers.Sequential]()).Elem()
		if err := d.list(n, q, what); err != nil {
			return err
		}
		v.Set(q)
		return nil
	}
	known := choices(v.Type())
	name, options, err := d.named(n, what)
	if err != nil {
		return err
	}
	for _, c := range known {
		if plain(c.name) != plain(name.Value) {
			continue
		}
		p := reflect.New(reflect.TypeOf(c.value)).Elem()
		p.Set(reflect.ValueOf(c.value))
		if options != nil {
			if err := d.decode(options, p, c.name); err != nil {
				return err
			}
		}
		v.Set(p)
		return nil
	}
	var names []string
	for _, c := range known {
		names = append(names, c.name)
	}
	return d.unknown(name, what, name.Value, names)
}

// A choice is a type with its name in files, and its defaults.
type choice struct {
	name  string
	value any
}

// choices are what an interface may hold; none for interfaces that files cannot set.
func choices(t reflect.Type) (list []choice) {
	switch t {
	case reflect.TypeFor[optim.Optimizer]():
		for _, name := range optim.Names() {
			o, _ := optim.ByName(name, 0)
			list = append(list, choice{name, o})
		}
	case reflect.TypeFor[rules.Rule]():
		for _, name := range rules.Names() {
			r, _ := rules.ByName(name)
			list = append(list, choice{name, r})
		}
	case reflect.TypeFor[optim.Schedule]():
		for _, s := range scheduleTypes {
			list = append(list, choice{strings.ToLower(reflect.TypeOf(s).Name()), s})
		}
	case reflect.TypeFor[layers.Layer]():
		for _, l := range layerTypes {
			list = append(list, choice{strings.ToLower(reflect.TypeOf(l).Name()), l})
		}
	}
	return list
}

// objectiveChoices are the registered objectives, whose value is nil unless there is a type with their options, and the
// types that are not registered.
func objectiveChoices() (list []choice) {
	types := map[string]any{}
	for _, o := range objectiveTypes {
		types[plain(strings.TrimSuffix(reflect.TypeOf(o).Name(), "Options"))] = o
	}
	for _, name := range objectives.Names() {
		list = append(list, choice{name, types[plain(name)]})
		delete(types, plain(name))
	}
	for _, name := range slices.Sorted(keys(types)) {
		list = append(list, choice{name, types[name]})
	}
	return list
}

func (d decoder) objective(n *yaml.Node, v *objectives.Objective) error {
	name, options, err := d.named(n, "objective")
	if err != nil {
		return err
	}
	var names []string
	for _, c := range objectiveChoices() {
		names = append(names, c.name)
		if plain(c.name) != plain(name.Value) {
			continue
		}
		if options == nil {
			if *v, err = objectives.ByName(c.name); err == nil {
				return nil
			}
		}
		if c.value == nil {
			return d.want(options, c.name, "no options")
		}
		p := reflect.New(reflect.TypeOf(c.value))
		if options != nil {
			if err := d.decode(options, p.Elem(), c.name); err != nil {
				return err
			}
		}
		*v = p.Interface().(interface {
			Loss(output, target *graph.Node) *graph.Node
		}).Loss
		return nil
	}
	return d.unknown(name, "objective", name.Value, names)
}

func (d decoder) list(n *yaml.Node, v reflect.Value, what string) error {
	if v.Kind() == reflect.Array {
		if n.Kind == yaml.ScalarNode { // one value for all
			for i := range v.Len() {
				if err := d.decode(n, v.Index(i), what); err != nil {
					return err
				}
			}
			return nil
		}
		if n.Kind != yaml.SequenceNode || len(n.Content) != v.Len() {
			return d.want(n, what, fmt.Sprintf("a value or a list of %d", v.Len()))
		}
	} else {
		if n.Kind != yaml.SequenceNode {
			return d.want(n, what, kindOf(v.Type()))
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	}
	for i, c := range n.Content {
		if err := d.decode(c, v.Index(i), what); err != nil {
			return err
		}
	}
	return nil
}

// table sets a map whose keys are names as they stand.
func (d decoder) table(n *yaml.Node, v reflect.Value, what string) error {
	if n.Kind != yaml.MappingNode {
		return d.want(n, what, kindOf(v.Type()))
	}
	v.Set(reflect.MakeMap(v.Type()))
	for i := 0; i < len(n.Content); i += 2 {
		e := reflect.New(v.Type().Elem()).Elem()
		if err := d.decode(n.Content[i+1], e, what+" "+n.Content[i].Value); err != nil {
			return err
		}
		v.SetMapIndex(reflect.ValueOf(n.Content[i].Value).Convert(v.Type().Key()), e)
	}
	return nil
}

// fields sets those fields of a struct that a mapping names.
func (d decoder) fields(n *yaml.Node, v reflect.Value, what string) error {
	if null(n) {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		return d.want(n, what, "keys and values")
	}
	known := fieldsOf(v.Type())
	for i := 0; i < len(n.Content); i += 2 {
		key := n.Content[i]
		at := slices.IndexFunc(known, func(f reflect.StructField) bool { return plain(f.Name) == plain(key.Value) })
		if at < 0 {
			var names []string
			for _, f := range known {
				names = append(names, snake(f.Name))
			}
			return d.unknown(key, what, key.Value, names)
		}
		if err := d.decode(n.Content[i+1], v.FieldByIndex(known[at].Index), snake(known[at].Name)); err != nil {
			return err
		}
	}
	return nil
}

// fieldsOf are the fields that a file can set.
func fieldsOf(t reflect.Type) (list []reflect.StructField) {
	for _, f := range reflect.VisibleFields(t) {
		if f.IsExported() && !f.Anonymous && settable(f.Type) {
			list = append(list, f)
		}
	}
	return list
}

func settable(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Interface:
		return len(choices(t)) > 0
	case reflect.Func:
		return t == reflect.TypeFor[objectives.Objective]() || functions[t] != nil
	case reflect.Slice, reflect.Array:
		return settable(t.Elem())
	case reflect.Pointer:
		return t.Elem().Kind() == reflect.Struct && t != reflect.TypeFor[*graph.Array]()
	case reflect.Map:
		return t.Key().Kind() == reflect.String && settable(t.Elem())
	case reflect.Struct, reflect.Bool, reflect.Int, reflect.Int32, reflect.Float64, reflect.String, reflect.Uint64:
		return true
	}
	return false
}
