//go:build !amd64 || purego

package kernel

func bestVectors() *vectorSet { return nil }
