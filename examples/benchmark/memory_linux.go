package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// peakResident is the most memory the process ever had resident, in bytes.
func peakResident() int {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0
	}
	defer f.Close()
	kB := 0
	for s := bufio.NewScanner(f); s.Scan(); {
		if line, ok := strings.CutPrefix(s.Text(), "VmHWM:"); ok {
			fmt.Sscan(line, &kB)
		}
	}
	return kB << 10
}
