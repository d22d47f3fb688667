package width

import (
	"fmt"
	"math"

	"github.com/pkg/errors"
	"gonum.org/v1/gonum/mat"

	"github.com/harpe-ml/harpe/graph"
)

// Transformer is the sizes that the scalings of E. Dinan, S. Yaida, S. Zhang 2023 (arXiv 2304.02034) depend on. With
// weights of Variance and learning rates multiplied by Rate, preactivations are of order one and so is what a step of
// gradient descent or of AdamW changes of the function, whatever the width.
type Transformer struct {
	Units      int     // n, the width of the residual stream
	Multiplier int     // M: the perceptrons' hidden layers have M·n units; 0 means 4
	Patch      int     // inputs of a patch of an image; 0 for words
	Outputs    int     // of the head
	S          float64 // 0 for the neural-tangent scaling, 1 for the maximal update; anything between interpolates
}

// Group is a kind of a transformer's parameters.
type Group int

// The groups: vectors (embeddings of words and places, and biases and gains within the blocks), the embedding of
// patches, the four matrices of attention (queries, keys, values, output), the two of the perceptrons (Up of n·M·n, Down
// of M·n·n numbers), and the head's.
const (
	Vectors Group = iota
	Patches
	Attention
	Up
	Down
	Head
	HeadBias
)

// inputs is what a unit of a group's weights sees.
func (t Transformer) inputs(g Group) float64 {
	n, m := float64(t.Units), float64(t.Multiplier)
	if m == 0 {
		m = 4
	}
	switch g {
	case Patches:
		return float64(t.Patch)
	case Attention, Up, Head:
		return n
	case Down:
		return m * n
	}
	return 1
}

// Variance is that of the initial numbers of a group, for constants C of 1 (eq. 1.25-1.45): 1/inputs for weights, of the
// head n^-S times that, 1 for embeddings. Biases and the head's bias start at 0 whatever it says.
func (t Transformer) Variance(g Group) float64 {
	v := 1 / t.inputs(g)
	if g == Head {
		v *= math.Pow(float64(t.Units), -t.S)
	}
	return v
}

// Rate is what a group's learning rate is multiplied with: 1/inputs under a Gradient optimiser, and under AdamW that times
// the size of a gradient's element, 1/sqrt(n), for Up 1/sqrt(M·n) and for the head 1/sqrt(Outputs) (eq. 1.82-1.84); all but
// the head's times n^S, under AdamW n^(S/2).
func (t Transformer) Rate(g Group, f Family) float64 {
	n := float64(t.Units)
	rate := 1 / t.inputs(g)
	head := g == Head || g == HeadBias
	if f == Gradient {
		if !head {
			rate *= math.Pow(n, t.S)
		}
		return rate
	}
	switch {
	case head:
		return rate / math.Sqrt(float64(t.Outputs))
	case g == Up:
		rate /= math.Sqrt(t.inputs(Down))
	default:
		rate /= math.Sqrt(n)
	}
	return rate * math.Pow(n, t.S/2)
}

// Rates is the learning rates of a model's parameters, for optim.Options; group says which group each belongs to.
func (t Transformer) Rates(params *graph.Params, f Family, group func(name string) (Group, error)) (map[string]float64, error) {
	rates := map[string]float64{}
	for p := range params.All() {
		if p.State {
			continue
		}
		g, err := group(p.Name)
		if err != nil {
			return nil, errors.Wrap(err, "width: "+p.Name)
		}
		rate := t.Rate(g, f)
		if !(rate > 0) || math.IsInf(rate, 1) {
			return nil, graph.Fail("width", p.Name, "sizes that give a positive rate", fmt.Sprintf("%v of group %d for %+v", rate, g, t))
		}
		rates[p.Name] = rate
	}
	return rates, nil
}

// A Kernel is the covariance of one coordinate of the residual stream between pairs of tokens, in the limit of infinite
// width: [tokens, tokens], the same for every coordinate (arXiv 2304.02034, section 1.2). Its methods are the layers.
type Kernel [][]float64

// each makes a kernel of the same size.
func (k Kernel) each(f func(i, j int) float64) Kernel {
	next := make(Kernel, len(k))
	for i := range k {
		next[i] = make([]float64, len(k))
		for j := range k {
			next[i][j] = f(i, j)
		}
	}
	return next
}

// Normalized is the kernel after layer normalisation: G_ij/sqrt((G_ii + eps)(G_jj + eps)).
func (k Kernel) Normalized(eps float64) Kernel {
	return k.each(func(i, j int) float64 { return k[i][j] / math.Sqrt((k[i][i]+eps)*(k[j][j]+eps)) })
}

// MLP is the kernel after a block with a normalised perceptron of one hidden layer, with the variances up/n and down/(M·n)
// of its weights:
//
//	G + down·⟨σ(u)σ(v)⟩, (u, v) normal with the covariances up·F, F normalised.
//
// A nil activation is ReLU, in closed form (Y. Cho, L. Saul 2009); others are integrated by Gauss-Hermite quadrature.
func (k Kernel) MLP(up, down float64, activation func(float64) float64) Kernel {
	f := k.Normalized(1e-5)
	return k.each(func(i, j int) float64 {
		a, b, c := up*f[i][i], up*f[j][j], up*f[i][j]
		return k[i][j] + down*moment(a, b, c, activation)
	})
}

// moment is ⟨σ(u)σ(v)⟩ for variances a, b and covariance c.
func moment(a, b, c float64, activation func(float64) float64) float64 {
	cos := min(max(c/math.Sqrt(a*b), -1), 1)
	if activation == nil {
		angle := math.Acos(cos)
		return math.Sqrt(a*b) / (2 * math.Pi) * (math.Sin(angle) + (math.Pi-angle)*cos)
	}
	x, w := hermite()
	sum := 0.0
	for i, y := range x {
		for j, z := range x {
			v := cos*y + math.Sqrt(1-cos*cos)*z
			sum += w[i] * w[j] * activation(math.Sqrt(a)*y) * activation(math.Sqrt(b)*v)
		}
	}
	return sum
}

// hermite is the nodes and weights of 40-point quadrature for the standard normal distribution: the eigenvalues of the
// Jacobi matrix of its polynomials, and the squares of the eigenvectors' first entries (G. Golub, J. Welsch 1969).
func hermite() (x, w []float64) {
	const n = 40
	jacobi := mat.NewSymDense(n, nil)
	for i := 1; i < n; i++ {
		jacobi.SetSym(i-1, i, math.Sqrt(float64(i)))
	}
	var e mat.EigenSym
	e.Factorize(jacobi, true)
	var v mat.Dense
	e.VectorsTo(&v)
	w = make([]float64, n)
	for i := range w {
		w[i] = v.At(0, i) * v.At(0, i)
	}
	return e.Values(nil), w
}

// Attention is the kernel after a block of normalised multi-head attention, with the variances query/n, key/n, value/n and
// out/n of its weights:
//
//	G + out·value·Σ_{k,l} ⟨Ω_ik Ω_jl⟩ F_kl,
//
// with the softmax Ω of logits whose covariance is query·key·F_ij·F_kl, averaged over samples drawn with the seed. A
// kernel that has no square root is an error.
func (k Kernel) Attention(query, key, value, out float64, samples int, seed uint64) (Kernel, error) {
	n := len(k)
	f := k.Normalized(1e-5)
	s := mat.NewSymDense(n, nil)
	for i := range n {
		for j := range i + 1 {
			s.SetSym(i, j, f[i][j])
		}
	}
	var e mat.EigenSym
	if !e.Factorize(s, true) {
		return nil, errors.New("width: attention: the kernel has no eigenvalues")
	}
	var vectors, root mat.Dense
	e.VectorsTo(&vectors)
	values := mat.NewDiagDense(n, nil)
	for i, v := range e.Values(nil) {
		if v < -1e-6*float64(n) {
			return nil, graph.Fail("width: attention", "kernel", "a positive semidefinite matrix", fmt.Sprintf("an eigenvalue %v", v))
		}
		values.SetDiag(i, math.Sqrt(max(v, 0)))
	}
	root.Mul(&vectors, values)
	random := graph.Rand(seed, "width/attention", 0)
	z, logits := mat.NewDense(n, n, nil), mat.NewDense(n, n, nil)
	sum := k.each(func(int, int) float64 { return 0 })
	for range samples {
		for i := range n {
			for j := range n {
				z.Set(i, j, math.Sqrt(query*key)*random.NormFloat64())
			}
		}
		logits.Product(&root, z, root.T())
		for i := range n {
			row := logits.RawRowView(i)
			softmax(row)
		}
		for i := range n {
			for j := range n {
				total := 0.0
				for a := range n {
					inner := 0.0
					for b := range n {
						inner += logits.At(j, b) * f[a][b]
					}
					total += logits.At(i, a) * inner
				}
				sum[i][j] += total / float64(samples)
			}
		}
	}
	return k.each(func(i, j int) float64 { return k[i][j] + out*value*sum[i][j] }), nil
}

func softmax(row []float64) {
	largest, sum := math.Inf(-1), 0.0
	for _, v := range row {
		largest = max(largest, v)
	}
	for i, v := range row {
		row[i] = math.Exp(v - largest)
		sum += row[i]
	}
	for i := range row {
		row[i] /= sum
	}
}
