"""The page's classifier in PyTorch: classifier.py WEIGHTS FOLDER.

Computes the logits of FOLDER/images.npy with WEIGHTS to FOLDER/logits.npy; then, with weights of its own, which go to
FOLDER/torch.safetensors, to FOLDER/torch_logits.npy. Exit status 77: PyTorch or NumPy is missing."""
import json
import struct
import sys

try:
    import numpy
    import torch
    from torch import nn
except ImportError as e:
    print(e)
    sys.exit(77)


def load_file(path):
    """As safetensors.torch.load_file, for float32."""
    with open(path, "rb") as f:
        header = json.loads(f.read(*struct.unpack("<Q", f.read(8))))
        data = bytearray(f.read())
    header.pop("__metadata__", None)
    return {
        name: torch.frombuffer(data[slice(*t["data_offsets"])], dtype=torch.float32).reshape(t["shape"])
        for name, t in header.items()
    }


def save_file(tensors, path):
    """As safetensors.torch.save_file, for float32."""
    header, data = {}, b""
    for name, t in tensors.items():
        end = len(data) + 4 * t.numel()
        header[name] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [len(data), end]}
        data += t.detach().numpy().tobytes()
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.hidden = nn.Linear(16 * 2 * 2, 32)
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        return self.head(torch.relu(self.hidden(self.features(x).flatten(1))))


weights, folder = sys.argv[1:]
images = torch.from_numpy(numpy.load(folder + "/images.npy"))
model = Classifier()
save_file(model.state_dict(), folder + "/torch.safetensors")
with torch.no_grad():
    numpy.save(folder + "/torch_logits.npy", model(images).numpy())
    model.load_state_dict(load_file(weights))
    numpy.save(folder + "/logits.npy", model(images).numpy())
