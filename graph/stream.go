package graph

// A Stream is a named sequence of random numbers that is new at each step: the one that Scope.Normal and
// Scope.Rademacher draw from under that name in a program with the same seed. Code outside of programs regenerates any
// part of it instead of storing it, as rules that perturb parameters do.
type Stream struct{ seed, name uint64 }

// NewStream is the stream called name of the given seed.
func NewStream(seed uint64, name string) Stream { return Stream{seed, hashName(name)} }

// FillNormal writes the standard normal numbers first, first+1, ... of a step into dst. first must be a multiple of
// 128. Float32 numbers have the same bits on every machine.
func FillNormal[T Float](s Stream, step uint64, first int, dst []T) {
	st := newStream(s.seed, s.name, step)
	switch d := any(dst).(type) {
	case []float32:
		fillNormal32(st, first, d)
	case []float64:
		fillNormal(st, first, d)
	}
}

// FillRademacher writes numbers -1 and 1 of equal probability, else as FillNormal.
func FillRademacher[T Float](s Stream, step uint64, first int, dst []T) {
	fillRademacher(newStream(s.seed, s.name, step), first, dst)
}
