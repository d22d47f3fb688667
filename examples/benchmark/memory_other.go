//go:build !linux

package main

// peakResident is 0: not known here.
func peakResident() int { return 0 }
