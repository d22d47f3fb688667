"""Exchanges weights and results with Harpe: torch_exchange.py FOLDER.

For each model NAME, reads NAME.harpe.safetensors (weights) and NAME.input.safetensors ("x"), and writes the output of
those weights to NAME.harpe-output.safetensors ("y"); then writes weights of its own to NAME.torch.safetensors and their
output to NAME.torch-output.safetensors. Exit status 77: there is no PyTorch. Reader and writer are made after the
safetensors format's description, so that no package is needed for them."""
import json
import struct
import sys

try:
    import torch
    from torch import nn
except ImportError as e:
    print(e)
    sys.exit(77)

DTYPES = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64}


def read(path):
    with open(path, "rb") as f:
        (length,) = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(length))
        data = bytearray(f.read())
    tensors = {}
    for name, t in header.items():
        if name != "__metadata__":
            begin, end = t["data_offsets"]
            tensors[name] = torch.frombuffer(data[begin:end], dtype=DTYPES[t["dtype"]]).reshape(t["shape"])
    return tensors


def write(path, tensors):
    names = {v: k for k, v in DTYPES.items()}
    header, parts, at = {}, [], 0
    for name, t in tensors.items():
        b = t.detach().contiguous().numpy().tobytes()
        header[name] = {"dtype": names[t.dtype], "shape": list(t.shape), "data_offsets": [at, at + len(b)]}
        parts.append(b)
        at += len(b)
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(parts))


class CNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.hidden = nn.Linear(6 * 4 * 4, 16)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        return self.head(torch.relu(self.hidden(self.features(x).flatten(1))))


class BasicBlock(nn.Module):
    def __init__(self, before, after, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.downsample = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    """torchvision's resnet18 with the stem for small images."""

    def __init__(self, width, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        stages = []
        before = width
        for i in range(4):
            after = width * 2**i
            stages.append(nn.Sequential(BasicBlock(before, after, 1 if i == 0 else 2), BasicBlock(after, after, 1)))
            before = after
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.fc = nn.Linear(before, classes)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.norm = nn.LayerNorm(6)
        self.lstm = nn.LSTM(6, 5, num_layers=2, batch_first=True)
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.lstm(self.norm(self.embedding(x)))[0][:, -1])


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, x):
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        return x + self.attn(x, x, x, attn_mask=future, need_weights=False)[0]


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1)
        self.norm = nn.GroupNorm(2, 4)

    def forward(self, x):
        return self.norm(self.up(x))


MODELS = {
    "mlp": lambda: nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 10)),
    "cnn": CNN,
    "resnet18": lambda: ResNet18(16, 10),
    "recurrent": Recurrent,
    "attention": Attention,
    "generator": Generator,
}

torch.set_num_threads(1)
folder = sys.argv[1]
for seed, (name, make) in enumerate(MODELS.items()):
    path = f"{folder}/{name}."
    x = read(path + "input.safetensors")["x"]
    model = make().eval()
    model.load_state_dict(read(path + "harpe.safetensors"), strict=True)
    write(path + "harpe-output.safetensors", {"y": model(x)})

    torch.manual_seed(seed)
    model = make()
    if x.is_floating_point():
        model.train()(torch.randn_like(x))  # running statistics of their own
    model.eval()
    with torch.no_grad():
        for p in model.parameters():  # scales and shifts that are not 1 and 0
            if p.dim() == 1:
                p += 0.1 * torch.randn_like(p)
    write(path + "torch.safetensors", model.state_dict())
    write(path + "torch-output.safetensors", {"y": model(x)})
