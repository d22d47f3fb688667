package kernel

import "unsafe"

type float interface{ float32 | float64 }

// portableSet is plain Go: 4x4 tiles.
func portableSet[T float]() *kernelSet {
	var zero T
	s := &kernelSet{name: "go", size: int(unsafe.Sizeof(zero)), lanes: 4, mr: 4, nr: 4}
	s.micro = []microFunc{microGo1[T], microGo2[T], microGo3[T], microGo4[T]}
	s.row = s.micro[:1]
	s.dot = dotGo[T]
	s.copyA, s.copyB = copyGo[T], copyGo[T]
	s.trans, s.transPart = transGo[T], transGo[T]
	s.pieces = piecesGo[T]
	s.stencil = stencilGo[T]
	return s
}

func microGo1[T float](k int, a unsafe.Pointer, rsa, csa int, b unsafe.Pointer, ldb int, c unsafe.Pointer, ldc int, bias unsafe.Pointer, tail, flags int) {
	edgeGo[T](1, k, a, rsa, csa, b, ldb, c, ldc, bias, tail, flags)
}

func microGo2[T float](k int, a unsafe.Pointer, rsa, csa int, b unsafe.Pointer, ldb int, c unsafe.Pointer, ldc int, bias unsafe.Pointer, tail, flags int) {
	edgeGo[T](2, k, a, rsa, csa, b, ldb, c, ldc, bias, tail, flags)
}

func microGo3[T float](k int, a unsafe.Pointer, rsa, csa int, b unsafe.Pointer, ldb int, c unsafe.Pointer, ldc int, bias unsafe.Pointer, tail, flags int) {
	edgeGo[T](3, k, a, rsa, csa, b, ldb, c, ldc, bias, tail, flags)
}

// edgeGo computes a tile of any size, element by element.
func edgeGo[T float](rows, k int, a unsafe.Pointer, rsa, csa int, b unsafe.Pointer, ldb int, c unsafe.Pointer, ldc int, bias unsafe.Pointer, cols, flags int) {
	size := int(unsafe.Sizeof(T(0)))
	for i := range rows {
		for j := range cols {
			var sum T
			for p := range k {
				sum += *(*T)(unsafe.Add(a, i*rsa+p*csa)) * *(*T)(unsafe.Add(b, p*ldb+j*size))
			}
			finishGo((*T)(unsafe.Add(c, i*ldc+j*size)), sum, bias, i, j, flags)
		}
	}
}

func finishGo[T float](c *T, sum T, bias unsafe.Pointer, i, j, flags int) {
	if flags&flagAdd != 0 {
		sum += *c
	}
	if flags&flagBias != 0 {
		sum += *(*T)(unsafe.Add(bias, j*int(unsafe.Sizeof(sum))))
	}
	if flags&flagRowBias != 0 {
		sum += *(*T)(unsafe.Add(bias, i*int(unsafe.Sizeof(sum))))
	}
	if flags&flagReLU != 0 && sum <= 0 {
		sum = 0
	}
	*c = sum
}

// microGo4 keeps the sixteen sums of a full tile in registers.
func microGo4[T float](k int, a unsafe.Pointer, rsa, csa int, b unsafe.Pointer, ldb int, c unsafe.Pointer, ldc int, bias unsafe.Pointer, tail, flags int) {
	if tail < 4 {
		edgeGo[T](4, k, a, rsa, csa, b, ldb, c, ldc, bias, tail, flags)
		return
	}
	var sum [4][4]T
	for i := 0; i < 4; i += 2 {
		var s00, s01, s02, s03, s10, s11, s12, s13 T
		for p := range k {
			a0 := *(*T)(unsafe.Add(a, i*rsa+p*csa))
			a1 := *(*T)(unsafe.Add(a, (i+1)*rsa+p*csa))
			row := (*[4]T)(unsafe.Add(b, p*ldb))
			b0, b1, b2, b3 := row[0], row[1], row[2], row[3]
			s00 += a0 * b0
			s01 += a0 * b1
			s02 += a0 * b2
			s03 += a0 * b3
			s10 += a1 * b0
			s11 += a1 * b1
			s12 += a1 * b2
			s13 += a1 * b3
		}
		sum[i] = [4]T{s00, s01, s02, s03}
		sum[i+1] = [4]T{s10, s11, s12, s13}
	}
	for i := range 4 {
		row := (*[4]T)(unsafe.Add(c, i*ldc))
		for j := range 4 {
			finishGo(&row[j], sum[i][j], bias, i, j, flags)
		}
	}
}

func copyGo[T float](dst unsafe.Pointer, ldd int, src unsafe.Pointer, lds int, count, cols int) {
	for p := range count {
		d := (*[4]T)(unsafe.Add(dst, p*ldd))
		copy(d[:], unsafe.Slice((*T)(unsafe.Add(src, p*lds)), cols))
	}
}

func transGo[T float](dst unsafe.Pointer, ldd int, src unsafe.Pointer, lds int, rows, count int) {
	size := int(unsafe.Sizeof(T(0)))
	for p := range count {
		d := (*[4]T)(unsafe.Add(dst, p*ldd))
		for i := range rows {
			d[i] = *(*T)(unsafe.Add(src, i*lds+p*size))
		}
	}
}

func dotGo[T float](k, lines int, a unsafe.Pointer, stepA int, b unsafe.Pointer, ldb, stepB int, c, bias unsafe.Pointer, rows, flags int) {
	out := unsafe.Slice((*T)(c), rows)
	for i := range out {
		var sum T
		for l := range lines {
			x := unsafe.Slice((*T)(unsafe.Add(a, l*stepA)), k)
			for p, v := range unsafe.Slice((*T)(unsafe.Add(b, i*ldb+l*stepB)), k) {
				sum += v * x[p]
			}
		}
		finishGo(&out[i], sum, bias, 0, i, flags)
	}
}

func stencilGo[T float](dst unsafe.Pointer, ldd int, src unsafe.Pointer, lds, rows, width int, offsets, weights unsafe.Pointer, taps int, bias unsafe.Pointer, flags int) {
	at := unsafe.Slice((*int)(offsets), taps)
	w := unsafe.Slice((*T)(weights), taps)
	for y := range rows {
		out := unsafe.Slice((*T)(unsafe.Add(dst, y*ldd)), width)
		clear(out)
		for t, v := range w {
			for x, in := range unsafe.Slice((*T)(unsafe.Add(src, y*lds+at[t])), width) {
				out[x] += v * in
			}
		}
		for x := range out {
			finishGo(&out[x], out[x], bias, 0, 0, flags)
		}
	}
}

func piecesGo[T float](dst unsafe.Pointer, ldd int, src unsafe.Pointer, offset, lds, count, from, to, width int) {
	size := int(unsafe.Sizeof(T(0)))
	for p := range count {
		d := unsafe.Slice((*T)(unsafe.Add(dst, p*ldd)), width)
		clear(d)
		if from < to {
			copy(d[from:to], unsafe.Slice((*T)(unsafe.Add(src, p*lds+offset+from*size)), to-from))
		}
	}
}
