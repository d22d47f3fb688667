package graph

import (
	"os"
	"path"
	"slices"
	"strings"

	"github.com/pkg/errors"
)

// Torch is how PyTorch calls and stores the tensors of a graph's model, to exchange them through files in the
// safetensors format. Made by Graph.Torch.
type Torch struct {
	Tensors []TorchTensor // in the order of the store
}

// A TorchTensor is one tensor in both worlds.
type TorchTensor struct {
	Param      *Param
	Name       string // in PyTorch's state_dict
	Transposed bool   // PyTorch holds it as [out, in], Harpe as [in, out]
}

// tracked is a counter of PyTorch's batch normalisation that Harpe has no use for.
const tracked = "num_batches_tracked"

// Torch matches the model's tensors with PyTorch's. Modules are the names of the PyTorch modules that have parameters,
// one for each of the model's layers that have some, in the order in which the layers are applied: "0", "2", "4" for
// nn.Sequential(Linear, ReLU, Linear, ReLU, Linear). A name that ends in "_" is joined without a dot: the two layers of
// SelfAttention are "attn.in_proj_" and "attn.out_proj" of nn.MultiheadAttention. Without any names, a module is called
// as the layer, with dots: "block1.dense1". Inside a layer the names are the same in both, and so are the shapes, except that the weight of a
// Dense layer, [in, out], is the transpose of nn.Linear's, [out, in]. It is an error if the numbers of layers differ or a
// weight is used in both ways. The graph must be the model's; what derivatives add to it does not matter.
func (g *Graph) Torch(modules ...string) (*Torch, error) {
	names := map[string]string{} // of modules, by layer
	var layers []string
	t := &Torch{}
	for q := range g.Params.All() {
		if g.params[q.Name] == nil {
			continue
		}
		layer := path.Dir(q.Name)
		if _, known := names[layer]; !known {
			names[layer] = strings.ReplaceAll(layer, "/", ".")
			if i := len(layers); i < len(modules) {
				names[layer] = modules[i]
			}
			layers = append(layers, layer)
		}
		transposed, err := g.isLinear(g.params[q.Name])
		if err != nil {
			return nil, err
		}
		name := path.Base(q.Name)
		switch m := names[layer]; {
		case strings.HasSuffix(m, "_"):
			name = m + name
		case m != "." && m != "":
			name = m + "." + name
		}
		t.Tensors = append(t.Tensors, TorchTensor{q, name, transposed})
	}
	if len(modules) > 0 && len(modules) != len(layers) {
		return nil, fail("torch", "modules", strings.Join(layers, ", "), strings.Join(modules, ", "))
	}
	return t, nil
}

// isLinear says whether a parameter is the weight of products x·w.
func (g *Graph) isLinear(w *Node) (bool, error) {
	as := map[bool]bool{}
	for _, n := range g.AllNodes() {
		in, ok := n.Op().(*instance)
		if !ok || in.reverse {
			continue
		}
		for i, x := range in.operands {
			if x == w {
				a, product := in.prim.Attrs.(matMulAttrs)
				as[product && len(ShapeOf(w)) == 2 && i == 1 && !a.TransB] = true
			}
		}
	}
	if as[true] && as[false] {
		return false, fail("torch", g.Param(w).Name, "the weight of products x·w, or of other ops", "both")
	}
	return as[true], nil
}

// Load reads the values from a file that PyTorch wrote: save_file(model.state_dict(), path) of safetensors.torch. The
// file must hold the model's tensors with their types, and no others but batch normalisation's num_batches_tracked; if
// it does not, the error names the tensor and nothing is changed.
func (t *Torch) Load(path string) error {
	present := map[string]bool{}
	f, err := os.Open(path)
	if err != nil {
		return errors.Wrap(err, "load")
	}
	h := headerReader{visit: func(e tensorEntry) error { present[e.name] = true; return nil }}
	err = h.read(f)
	f.Close()
	if err != nil {
		return errors.Wrapf(err, "load %s", path)
	}
	store, err := t.store(func(name string) bool { return present[name] })
	if err != nil {
		return err
	}
	if _, err := LoadAll(path, store); err != nil {
		return err
	}
	for _, q := range t.Tensors {
		from := store.Get(q.Name).Value
		if q.Transposed {
			from = matrixTransposed(from)
		}
		if err := q.Param.Value.CopyFrom(from); err != nil {
			return err
		}
	}
	return nil
}

// Save writes a file for PyTorch: model.load_state_dict(load_file(path)) of safetensors.torch.
func (t *Torch) Save(path string) error {
	store, err := t.store(func(string) bool { return true })
	if err != nil {
		return err
	}
	for _, q := range t.Tensors {
		from := q.Param.Value
		if q.Transposed {
			from = matrixTransposed(from)
		}
		if err := store.Get(q.Name).Value.CopyFrom(from); err != nil {
			return err
		}
	}
	return SaveAll(path, map[string]string{"format": "pt"}, store)
}

// store has PyTorch's tensors, and of the counters those that are wanted.
func (t *Torch) store(counter func(name string) bool) (*Params, error) {
	store := &Params{}
	for _, q := range t.Tensors {
		shape := slices.Clone(q.Param.Value.Shape)
		if q.Transposed {
			slices.Reverse(shape)
		}
		if err := store.Add(&Param{Name: q.Name, Value: NewArray(q.Param.Value.DType, shape...), State: q.Param.State}); err != nil {
			return nil, errors.Wrapf(err, "torch: %s", q.Param.Name)
		}
		if module, ok := strings.CutSuffix(q.Name, "running_mean"); ok && counter(module+tracked) {
			if err := store.Add(&Param{Name: module + tracked, Value: NewArray(Int), State: true}); err != nil {
				return nil, errors.Wrap(err, "torch")
			}
		}
	}
	return store, nil
}

// matrixTransposed is the transpose of a matrix.
func matrixTransposed(a *Array) *Array {
	m, n := a.Shape[0], a.Shape[1]
	b := NewArray(a.DType, n, m)
	for i := range m {
		for j := range n {
			b.Set(j*m+i, a.At(i*n+j))
		}
	}
	return b
}
