//go:build !amd64 || purego

package kernel

func bestSet32() *kernelSet { return portableSet[float32]() }

func bestSet64() *kernelSet { return portableSet[float64]() }
