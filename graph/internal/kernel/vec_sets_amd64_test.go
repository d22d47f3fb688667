//go:build amd64 && !purego

package kernel

// vectorSets are those of this machine; nil is portable Go.
func vectorSets() []*vectorSet {
	switch bestVectors() {
	case &vecAVX512:
		return []*vectorSet{&vecAVX512, &vecAVX2, nil}
	case &vecAVX2:
		return []*vectorSet{&vecAVX2, nil}
	}
	return []*vectorSet{nil}
}
