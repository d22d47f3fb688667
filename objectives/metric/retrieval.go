package metric

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/harpe-ml/harpe/graph"
)

// Retrieval measures how well examples find others of their class: each example in turn asks for its neighbours among all
// others, in order of Euclidean distance (of unit vectors this is the order of cosines). An example whose class has no
// other member does not ask.
type Retrieval struct {
	order  [][]int // of each asking example, the others by distance
	asks   []int   // the asking examples
	labels []int
	others []int // how many others an asking example's class has
}

// NewRetrieval sorts the neighbours of embeddings [n, features] with their labels; of equal distances the lower number
// comes first. It takes memory for n² numbers.
func NewRetrieval(embeddings *graph.Array, labels []int) (*Retrieval, error) {
	x, d, err := rows("retrieval", embeddings, len(labels))
	if err != nil {
		return nil, err
	}
	r := &Retrieval{labels: labels}
	count := map[int]int{}
	for _, l := range labels {
		count[l]++
	}
	distance := make([]float64, len(labels))
	for i, l := range labels {
		if count[l] < 2 {
			continue
		}
		order := make([]int, 0, len(labels)-1)
		for j := range labels {
			distance[j] = squaredDistance(x[i*d:(i+1)*d], x[j*d:(j+1)*d])
			if j != i {
				order = append(order, j)
			}
		}
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(distance[a], distance[b]) })
		r.order, r.asks, r.others = append(r.order, order), append(r.asks, i), append(r.others, count[l]-1)
	}
	return r, nil
}

// RecallAt is the part of the examples that find one of their class among the k nearest.
func (r *Retrieval) RecallAt(k int) float64 {
	return r.average(func(i int, hit func(int) bool) float64 {
		for j := range min(k, len(r.order[i])) {
			if hit(j) {
				return 1
			}
		}
		return 0
	})
}

// RPrecision is the part of an example's R nearest that are of its class, R being how many others that class has.
func (r *Retrieval) RPrecision() float64 {
	return r.average(func(i int, hit func(int) bool) float64 {
		hits := 0
		for j := range r.others[i] {
			if hit(j) {
				hits++
			}
		}
		return float64(hits) / float64(r.others[i])
	})
}

// MAPAtR is the mean average precision at R: 1/R Σ_{j ≤ R} P(j), P(j) being the precision among the j nearest if number j
// is of the class and 0 if not (K. Musgrave et al. 2020, arXiv 2003.08505, eq. 1).
func (r *Retrieval) MAPAtR() float64 {
	return r.average(func(i int, hit func(int) bool) float64 {
		hits, sum := 0, 0.0
		for j := range r.others[i] {
			if hit(j) {
				hits++
				sum += float64(hits) / float64(j+1)
			}
		}
		return sum / float64(r.others[i])
	})
}

// average is the mean of f over the asking examples; 0 if there are none.
func (r *Retrieval) average(f func(i int, hit func(int) bool) float64) float64 {
	sum := 0.0
	for i, query := range r.asks {
		sum += f(i, func(j int) bool { return r.labels[r.order[i][j]] == r.labels[query] })
	}
	return sum / math.Max(float64(len(r.asks)), 1)
}

// NMI is the normalised mutual information of two labellings of the same examples, 2 I(a; b)/(H(a) + H(b)), in [0, 1]; 1 if
// both have one class only.
func NMI(a, b []int) (float64, error) {
	if len(a) != len(b) {
		return 0, graph.Fail("nmi", "b", fmt.Sprintf("%d labels", len(a)), len(b))
	}
	n := float64(len(a))
	pa, pb, both := map[int]float64{}, map[int]float64{}, map[[2]int]float64{}
	for i := range a {
		pa[a[i]] += 1 / n
		pb[b[i]] += 1 / n
		both[[2]int{a[i], b[i]}] += 1 / n
	}
	entropy := func(p map[int]float64) float64 {
		h := 0.0
		for _, k := range sortedKeys(p) {
			h -= p[k] * math.Log(p[k])
		}
		return h
	}
	if len(pa) <= 1 && len(pb) <= 1 {
		return 1, nil
	}
	mutual := 0.0
	for _, i := range sortedKeys(pa) {
		for _, j := range sortedKeys(pb) {
			if p := both[[2]int{i, j}]; p > 0 {
				mutual += p * math.Log(p/(pa[i]*pb[j]))
			}
		}
	}
	return math.Min(math.Max(2*mutual/(entropy(pa)+entropy(pb)), 0), 1), nil
}

// sortedKeys makes sums over a map repeat bit for bit.
func sortedKeys(m map[int]float64) []int {
	var keys []int
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// HungarianAccuracy is the part of the examples whose cluster is matched with their label, under the one-to-one matching
// of clusters and labels that makes it largest.
func HungarianAccuracy(clusters, labels []int) (float64, error) {
	if len(clusters) != len(labels) {
		return 0, graph.Fail("hungarian_accuracy", "labels", fmt.Sprintf("%d", len(clusters)), len(labels))
	}
	number := func(values []int) (of map[int]int) {
		of = map[int]int{}
		for _, v := range values {
			if _, ok := of[v]; !ok {
				of[v] = len(of)
			}
		}
		return of
	}
	c, l := number(clusters), number(labels)
	n := max(len(c), len(l))
	cost := make([][]float64, n)
	for i := range cost {
		cost[i] = make([]float64, n)
	}
	for i := range clusters {
		cost[c[clusters[i]]][l[labels[i]]]--
	}
	hits := 0.0
	for i, j := range Assign(cost) {
		hits -= cost[i][j]
	}
	return hits / math.Max(float64(len(labels)), 1), nil
}

// Assign is the column of each row in the one-to-one assignment of lowest total cost, for a square matrix of finite
// costs: the Hungarian method with potentials, in n³ steps (H. Kuhn 1955; R. Jonker, A. Volgenant 1987).
func Assign(cost [][]float64) []int {
	n := len(cost)
	u, v := make([]float64, n+1), make([]float64, n+1)
	rowOf, way := make([]int, n+1), make([]int, n+1) // of columns 1..n; 0 is none
	for i := 1; i <= n; i++ {
		rowOf[0] = i
		least, done := make([]float64, n+1), make([]bool, n+1)
		for j := range least {
			least[j] = math.Inf(1)
		}
		at := 0
		for rowOf[at] != 0 {
			done[at] = true
			row, delta, next := rowOf[at], math.Inf(1), 0
			for j := 1; j <= n; j++ {
				if done[j] {
					continue
				}
				if reduced := cost[row-1][j-1] - u[row] - v[j]; reduced < least[j] {
					least[j], way[j] = reduced, at
				}
				if least[j] < delta {
					delta, next = least[j], j
				}
			}
			for j := range n + 1 {
				if done[j] {
					u[rowOf[j]] += delta
					v[j] -= delta
				} else {
					least[j] -= delta
				}
			}
			at = next
		}
		for at != 0 {
			rowOf[at] = rowOf[way[at]]
			at = way[at]
		}
	}
	columns := make([]int, n)
	for j := 1; j <= n; j++ {
		columns[rowOf[j]-1] = j - 1
	}
	return columns
}

// KMeans is the cluster of each row of x [n, features]: Lloyd's iteration until nothing changes, at most 100 times, from
// centers drawn by D. Arthur, S. Vassilvitskii 2007 (k-means++); the best of 10 starts.
func KMeans(x *graph.Array, k int, seed uint64) ([]int, error) {
	if len(x.Shape) != 2 || k < 1 || k > x.Shape[0] {
		return nil, graph.Fail("kmeans", "k", "1 to the number of rows of x [n, features]", fmt.Sprintf("%d for %v", k, x.Type))
	}
	data, d, err := rows("kmeans", x, x.Shape[0])
	if err != nil {
		return nil, err
	}
	var best []int
	lowest := math.Inf(1)
	for start := range 10 {
		if clusters, cost := lloyd(data, d, firstCenters(data, d, k, seed, uint64(start))); cost < lowest {
			best, lowest = clusters, cost
		}
	}
	return best, nil
}

// firstCenters draws k rows, each with probability proportional to the squared distance from those before.
func firstCenters(x []float64, d, k int, seed, start uint64) []float64 {
	random := graph.Rand(seed, "kmeans", start)
	n := len(x) / d
	first := random.IntN(n)
	centers := append([]float64(nil), x[first*d:(first+1)*d]...)
	far := make([]float64, n)
	for i := range far {
		far[i] = math.Inf(1)
	}
	for len(centers) < k*d {
		newest, sum := centers[len(centers)-d:], 0.0
		for i := range far {
			far[i] = math.Min(far[i], squaredDistance(x[i*d:(i+1)*d], newest))
			sum += far[i]
		}
		draw, next := random.Float64()*sum, n-1
		for i, f := range far {
			if draw -= f; draw < 0 {
				next = i
				break
			}
		}
		centers = append(centers, x[next*d:(next+1)*d]...)
	}
	return centers
}

// lloyd moves centers to the means of their clusters.
func lloyd(x []float64, d int, centers []float64) (clusters []int, cost float64) {
	n, k := len(x)/d, len(centers)/d
	clusters = make([]int, n)
	for range 100 {
		changed := false
		cost = 0
		for i := range n {
			best, least := 0, math.Inf(1)
			for c := range k {
				if s := squaredDistance(x[i*d:(i+1)*d], centers[c*d:(c+1)*d]); s < least {
					best, least = c, s
				}
			}
			changed = changed || clusters[i] != best
			clusters[i] = best
			cost += least
		}
		sums, counts := make([]float64, k*d), make([]float64, k)
		for i, c := range clusters {
			counts[c]++
			for j := range d {
				sums[c*d+j] += x[i*d+j]
			}
		}
		for c := range k {
			for j := range d {
				if counts[c] > 0 {
					centers[c*d+j] = sums[c*d+j] / counts[c]
				}
			}
		}
		if !changed {
			break
		}
	}
	return clusters, cost
}

// Perplexity is the conditional neighbour probabilities of SNE for data x [n, features], [n, n] in x's type: Gaussians
// whose widths are found by bisection so that each row has the entropy log(perplexity) (G. Hinton, S. Roweis 2002; L. van
// der Maaten, G. Hinton 2008). Feed them to WeightNeighbors.
func Perplexity(x *graph.Array, perplexity float64) (*graph.Array, error) {
	if len(x.Shape) != 2 {
		return nil, graph.Fail("perplexity", "x", "[n, features]", x.Type)
	}
	n := x.Shape[0]
	data, d, err := rows("perplexity", x, n)
	if err != nil {
		return nil, err
	}
	if !(perplexity > 1 && perplexity < float64(n-1)) {
		return nil, graph.Fail("perplexity", "perplexity", fmt.Sprintf("above 1 and below %d, the other points", n-1), perplexity)
	}
	p := graph.NewArray(x.DType, n, n)
	squared, row := make([]float64, n), make([]float64, n)
	for i := range n {
		nearest := math.Inf(1)
		for j := range n {
			squared[j] = squaredDistance(data[i*d:(i+1)*d], data[j*d:(j+1)*d])
			if j != i {
				nearest = math.Min(nearest, squared[j])
			}
		}
		// The entropy falls as beta = 1/2σ² grows.
		low, high := 0.0, math.Inf(1)
		for beta, step := 1.0, 0; step < 200; step++ {
			if h := gaussianRow(row, squared, nearest, beta, i); h > math.Log(perplexity) {
				low = beta
			} else {
				high = beta
			}
			if math.IsInf(high, 1) {
				beta *= 2
			} else {
				beta = (low + high) / 2
			}
			if high-low <= 1e-15*high {
				break
			}
		}
		for j, v := range row {
			p.Set(i*n+j, v)
		}
	}
	return p, nil
}

// gaussianRow fills row with the softmax of -beta·squared without element i, and gives its entropy.
func gaussianRow(row, squared []float64, nearest, beta float64, i int) float64 {
	sum, mean := 0.0, 0.0
	for j := range row {
		row[j] = 0
		if j != i {
			row[j] = math.Exp(-beta * (squared[j] - nearest))
		}
		sum += row[j]
		mean += row[j] * (squared[j] - nearest)
	}
	for j := range row {
		row[j] /= sum
	}
	return math.Log(sum) + beta*mean/sum
}

// rows is an array of n rows as float64, and their width.
func rows(op string, x *graph.Array, n int) (data []float64, width int, err error) {
	if len(x.Shape) != 2 || !x.IsFloat() || x.Shape[0] != n || x.Shape[1] < 1 {
		return nil, 0, graph.Fail(op, "array", fmt.Sprintf("[%d, features] of a floating-point type", n), x.Type)
	}
	data = make([]float64, x.Size())
	for i := range data {
		data[i] = x.At(i)
	}
	return data, x.Shape[1], nil
}

func squaredDistance(x, y []float64) float64 {
	s := 0.0
	for i, v := range x {
		s += (v - y[i]) * (v - y[i])
	}
	return s
}
