"""PyTorch twin of `benches/src/bin/conv`: one request per line, answers with milliseconds.

Requests: `conv BATCH IN OUT SIZE KERNEL STRIDE`, `norm BATCH CHANNELS SIZE`, `relu ...`,
`add_relu ...`, `resnet20 BATCH`, each followed by the number of repetitions.
"""

import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

torch.set_num_threads(int(sys.argv[1]))
torch.manual_seed(0)


def conv(batch, channels, out, size, kernel, stride):
    x = torch.randn(batch, channels, size, size, requires_grad=channels != 3)
    weight = torch.randn(out, channels, kernel, kernel, requires_grad=True)
    return lambda: F.conv2d(x, weight, stride=stride, padding=kernel // 2), [x, weight]


def norm(batch, channels, size):
    x = torch.randn(batch, channels, size, size, requires_grad=True)
    weight, bias = (torch.ones(channels, requires_grad=True) for _ in range(2))
    return lambda: F.batch_norm(x, None, None, weight, bias, training=True), [x, weight, bias]


def relu(batch, channels, size):
    x = torch.randn(batch, channels, size, size, requires_grad=True)
    return lambda: F.relu(x), [x]


def add_relu(batch, channels, size):
    a, b = (torch.randn(batch, channels, size, size, requires_grad=True) for _ in range(2))
    return lambda: F.relu(a + b), [a, b]


class Block(nn.Module):
    def __init__(self, channels, out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(out), nn.BatchNorm2d(out)
        self.project = None
        if channels != out:
            self.project = nn.Conv2d(channels, out, 1, stride, bias=False)

    def forward(self, x):
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        y = self.norm2(self.conv2(y))
        return F.relu(y + (x if self.project is None else self.project(x)), inplace=True)


def resnet20(batch):
    widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
    blocks = [Block(a, b, 1 if a == b else 2) for a, b in zip(widths, widths[1:])]
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10, bias=False)]
    model = nn.Sequential(*stem, *blocks, *head).train()
    x = torch.randn(batch, 3, 32, 32)
    return lambda: model(x).square().mean(), list(model.parameters())


BUILD = {f.__name__: f for f in (conv, norm, relu, add_relu, resnet20)}
built = {}

for line in sys.stdin:
    *key, repetitions = line.split()
    key = tuple(key)
    if key not in built:
        built[key] = BUILD[key[0]](*map(int, key[1:]))
    forward, leaves = built[key]
    times = []
    for _ in range(int(repetitions)):
        start = time.perf_counter()
        output = forward()
        middle = time.perf_counter()
        output.backward(torch.ones_like(output))
        end = time.perf_counter()
        times += [middle - start, end - start]
        for leaf in leaves:
            leaf.grad = None
    print(*(t * 1e3 for t in times), flush=True)
