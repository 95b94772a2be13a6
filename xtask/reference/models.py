"""Numbers behind the tests of longtail-models, from PyTorch and torchvision.

    python xtask/reference/models.py numbers crates/models/tests/data
    python xtask/reference/models.py first  # for the unit test of weight_init.rs
    python xtask/reference/models.py save ARCH OUT.pth      # a torchvision model and, printed, its logits
    python xtask/reference/models.py check ARCH IN.safetensors  # loads strictly, prints the logits
    python xtask/reference/models.py save-detector ARCH OUT.pth  # a detector and its detections
    python xtask/reference/models.py check-detector ARCH IN.safetensors  # loads strictly, detections

`numbers` writes cifar_resnet20.json and heads.json (in float64) and torchvision_resnet18.json and
torchvision_resnet50.json (in float32, 24 values of each map). Weights and images come from a
formula that the tests repeat, so no weight file is kept:
value(name, i) = mix(i * 0x9E3779B9 + crc32(name)) / 2^31 - 1, mix = the 32-bit murmur3 finaliser.
"""

import json
import math
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

LABELS = [3, 0]


def value(name, *shape):
    count = math.prod(shape)
    h = (np.arange(count, dtype=np.uint64) * 0x9E3779B9 + zlib.crc32(name.encode())) & 0xFFFFFFFF
    h ^= h >> 16
    h = (h * 0x85EBCA6B) & 0xFFFFFFFF
    h ^= h >> 13
    h = (h * 0xC2B2AE35) & 0xFFFFFFFF
    h ^= h >> 16
    return torch.from_numpy((h.astype(np.float64) / 2**31 - 1).astype(np.float32)).reshape(shape)


def fill(model, last):
    """Batch norms named `last` end a residual branch and get a small weight."""
    state = model.state_dict()
    for key, tensor in state.items():
        if key.endswith("num_batches_tracked"):
            continue
        v = value(key, *tensor.shape)
        if key.endswith("running_var"):
            state[key] = 1 + 0.1 * v.abs()
        elif key.endswith(("running_mean", "bias")):
            state[key] = 0.1 * v
        elif tensor.dim() == 1:
            state[key] = (0.3 if key.split(".")[-2] == last else 1.0) + 0.1 * v
        else:
            state[key] = v * math.sqrt(6 / (tensor.numel() / tensor.shape[0]))
    model.load_state_dict(state)
    return model


def sample(tensor, count=64):
    flat = tensor.detach().double().flatten()
    every = max(1, flat.numel() // count)
    values = flat[::every][:count]
    return {"shape": list(tensor.shape), "every": every, "values": values.tolist()}


class CifarBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.added = stride, outputs - inputs

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.added:
            before = self.added // 2
            x = x[:, :, :: self.stride, :: self.stride]
            x = F.pad(x, (0, 0, 0, 0, before, self.added - before))
        return F.relu(x + y)


class CifarResNet(nn.Module):
    def __init__(self, blocks, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        stage = lambda i, o, s: nn.Sequential(
            CifarBlock(i, o, s), *[CifarBlock(o, o, 1) for _ in range(blocks - 1)]
        )
        self.layer1, self.layer2, self.layer3 = stage(16, 16, 1), stage(16, 32, 2), stage(32, 64, 2)
        self.linear = nn.Linear(64, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def cifar():
    model = fill(CifarResNet(3, 10), "bn2").double()
    # Of images 1 to 1000 the one whose ReLU inputs keep furthest from 0, where rounding flips gradients.
    images = value("image:9", 2, 3, 16, 16).double().requires_grad_()
    model.eval()
    logits = model(images)
    model.train()
    loss = F.cross_entropy(model(images), torch.tensor(LABELS))
    loss.backward()
    gradients = {k: sample(p.grad) for k, p in model.named_parameters()}
    buffers = {k: sample(b) for k, b in model.named_buffers() if "running" in k}
    return {
        "torch": torch.__version__,
        "num_parameters": sum(p.numel() for p in model.parameters()),
        "labels": LABELS,
        "logits": logits.flatten().tolist(),
        "loss": loss.item(),
        "image_gradient": sample(images.grad),
        "gradients": gradients,
        "buffers_after_one_step": buffers,
    }


def heads():
    """Each head as its source writes it; the loss is the sum of logits * value("probe")."""
    norm = lambda t: torch.norm(t, 2, 1, keepdim=True)

    def multi_head(x, w, b):
        parts = 2
        split = lambda t: torch.split(t, t.shape[1] // parts, dim=1)
        x = torch.cat([p / norm(p) for p in split(x)], 1)
        w = torch.cat([p / (norm(p) + 1 / 32) for p in split(w)], 1)
        return (x * 16 / parts) @ w.t()

    cases = {
        "linear": lambda x, w, b: F.linear(x, w, b),
        "ldam": lambda x, w, b: 30 * F.linear(F.normalize(x), F.normalize(w)),
        "class_balanced_distillation": lambda x, w, b: 20 * F.linear(F.normalize(x), F.normalize(w)),
        "mmdetection": lambda x, w, b: F.linear(
            x / (norm(x) + 1e-6) * 20, w / (norm(w) + 1e-6), b
        ),
        "oltr": lambda x, w, b: 16 * F.linear(norm(x) / (1 + norm(x)) * (x / norm(x)), w / norm(w)),
        "softmax_equalization": lambda x, w, b: 30 * F.cosine_similarity(x[:, None], w[None], dim=2),
        "multi_head": multi_head,
        "tau_0": lambda x, w, b: F.linear(x, w),
        "tau_0.7": lambda x, w, b: F.linear(x, w / norm(w) ** 0.7),
        "tau_1": lambda x, w, b: F.linear(x, w / norm(w)),
    }
    found = {}
    for name, head in cases.items():
        x, w, b = [value(n, *s).double().requires_grad_() for n, s in
                   [("features", (5, 8)), ("weight", (7, 8)), ("bias", (7,))]]
        logits = head(x, w, b)
        (logits * value("probe", 5, 7)).sum().backward()
        found[name] = {
            "logits": logits.flatten().tolist(),
            "features": x.grad.flatten().tolist(),
            "weight": w.grad.flatten().tolist(),
            "bias": None if b.grad is None else b.grad.tolist(),
        }
    return found


def first_weight(seed, path):
    """First uniform value of the stream of one parameter: ChaCha8 on a key of seed and name."""
    mask = 0xFFFFFFFF

    def fnv1a(data):
        h = 0xCBF29CE484222325
        for byte in data:
            h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
        return h

    name = path.encode()
    key = struct.pack("<QQQQ", seed, fnv1a(name), fnv1a(name[::-1]), 0)
    start = list(struct.unpack("<4I", b"expand 32-byte k") + struct.unpack("<8I", key)) + [0] * 4
    state = start[:]

    def quarter(a, b, c, d):
        for x, y, z, turn in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)]:
            state[x] = (state[x] + state[y]) & mask
            mixed = state[z] ^ state[x]
            state[z] = ((mixed << turn) | (mixed >> (32 - turn))) & mask

    for _ in range(4):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    words = [(s + t) & mask for s, t in zip(state, start)]
    unit = ((words[0] | words[1] << 32) >> 11) / 2**53
    return np.float32(2 * unit - 1)


def torchvision_model(arch, classes):
    return getattr(torchvision.models, arch)(weights=None, num_classes=classes)


def brief(tensor):
    flat = tensor.detach().double().flatten()
    return sample(tensor, 24) | {"mean": flat.mean().item(), "abs_mean": flat.abs().mean().item()}


def torchvision_features(arch, last, seed, height, width):
    model = fill(torchvision_model(arch, 10), last).eval()
    image = ((value(f"image:{seed}", 3 * height * width) + 1) / 2).reshape(1, 3, height, width)
    with torch.no_grad():
        x = model.maxpool(model.relu(model.bn1(model.conv1(image))))
        features = {"stem": brief(x)}
        for i in range(1, 5):
            x = getattr(model, f"layer{i}")(x)
            features[f"c{i + 1}"] = brief(x)
        logits = model(image)[0].tolist()
    about = {"model": arch, "seed": seed, "height": height, "width": width}
    return about | {"features": features, "logits": logits}


def show_logits(model):
    model.eval()
    with torch.no_grad():
        print(json.dumps(model.double()(value("image:1", 2, 3, 64, 96).double()).flatten().tolist()))


# Gain of the layers whose outputs must stay small, so that scores differ and boxes stay near.
GAINS = {
    "rpn.head.cls_logits.weight": 0.1,
    "rpn.head.bbox_pred.weight": 0.05,
    "roi_heads.box_predictor.cls_score.weight": 0.03,
    "roi_heads.box_predictor.bbox_pred.weight": 0.1,
    "head.classification_head.cls_logits.weight": 0.02,
    "head.regression_head.bbox_reg.weight": 0.05,
}


def detector(arch, classes):
    size = dict(min_size=128, max_size=160)
    kind = torchvision.models.detection
    if arch.startswith("retinanet"):
        limits = dict(score_thresh=0.0, detections_per_img=30)
    else:
        limits = dict(box_score_thresh=0.0, box_detections_per_img=30, rpn_post_nms_top_n_test=100)
    make = getattr(kind, arch)
    return make(weights=None, weights_backbone=None, num_classes=classes, **size, **limits)


def show_detections(model):
    """In float64: the image of value("image:1"), 128 high and 160 wide."""
    model.eval()
    image = (value("image:1", 3, 128, 160) + 1) / 2
    with torch.no_grad():
        found = model.double()([image.double()])[0]
    masks = found.get("masks")
    print(json.dumps({
        "height": 128, "width": 160, "seed": 1, "padded": [1, 3, 128, 160],
        "detections": {
            "boxes": found["boxes"].tolist(),
            "labels": found["labels"].tolist(),
            "scores": found["scores"].tolist(),
            "masks": None if masks is None else masks.shape[0],
        },
    }))


def read_safetensors(path):
    raw = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    kinds = {"F32": torch.float32, "I64": torch.int64}
    state = {}
    for name, entry in json.loads(raw[8 : 8 + length]).items():
        if name == "__metadata__":
            continue
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        tensor = torch.frombuffer(bytearray(raw[start:end]), dtype=kinds[entry["dtype"]])
        state[name] = tensor.reshape(entry["shape"])
    return state


def main():
    match sys.argv[1:]:
        case ["numbers", folder]:
            resnet = torchvision_features
            found = {
                "cifar_resnet20": cifar(),
                "heads": heads(),
                "torchvision_resnet18": resnet("resnet18", "bn2", 1, 128, 160),
                "torchvision_resnet50": resnet("resnet50", "bn3", 1, 128, 160),
            }
            for name, content in found.items():
                Path(folder, name + ".json").write_text(json.dumps(content))
        case ["first"]:
            print([first_weight(seed, "conv1.weight") for seed in (0, 1)])
        case ["save", arch, path]:
            torch.manual_seed(0)
            model = torchvision_model(arch, 13)
            model.train()  # moves the running statistics off their first values
            model(torch.randn(4, 3, 64, 64))
            torch.save(model.state_dict(), path)
            show_logits(model)
        case ["check", "cifar-resnet20", path]:
            model = CifarResNet(3, 10)
            model.load_state_dict(read_safetensors(path), strict=True)
            show_logits(model)
        case ["check", arch, path]:
            state = read_safetensors(path)
            model = torchvision_model(arch, state["fc.weight"].shape[0])
            model.load_state_dict(state, strict=True)
            show_logits(model)
        case ["save-detector", arch, path]:
            model = fill(detector(arch, 13), "bn3")
            state = model.state_dict()
            for name, gain in GAINS.items():
                if name in state:
                    state[name] *= gain
            torch.save(state, path)
            show_detections(model)
        case ["check-detector", arch, path]:
            state = read_safetensors(path)
            model = detector(arch, 13)
            model.load_state_dict(state, strict=True)
            show_detections(model)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
