package models

import "fmt"

// TorchModules are the names that the modules of torchvision's resnet18 have, for graph.Graph.Torch.
func (m ResNet18) TorchModules() []string {
	names := []string{"conv1", "bn1"}
	for stage := range 4 {
		for block := range 2 {
			prefix := fmt.Sprintf("layer%d.%d.", stage+1, block)
			for _, name := range []string{"conv1", "bn1", "conv2", "bn2"} {
				names = append(names, prefix+name)
			}
			if stage > 0 && block == 0 {
				names = append(names, prefix+"downsample.0", prefix+"downsample.1")
			}
		}
	}
	return append(names, "fc")
}
