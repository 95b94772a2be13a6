"""PyTorch twin of `cargo run --release -p longtail-bench --bin loader`: same files, same transforms.

    loader.py cifar|imagenet FOLDER WORKERS SECONDS REPEATS

FOLDER is read like torchvision's ImageFolder. Prints images per second of one stretch of at least
SECONDS, without the start of the workers (they stay alive between epochs) and the first epoch.
"""

import sys
import time

import torch
from torch.utils.data import ConcatDataset, DataLoader
from torchvision import transforms as T
from torchvision.datasets import ImageFolder

kind, folder, workers, seconds, repeats = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
torch.set_num_threads(1)

if kind == "cifar":
    mean, std, batch = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010), 128
    transforms = [T.RandomCrop(32, padding=4), T.RandomHorizontalFlip()]
else:
    mean, std, batch = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 64
    transforms = [T.RandomResizedCrop(224), T.RandomHorizontalFlip()]
transform = T.Compose(transforms + [T.ToTensor(), T.Normalize(mean, std)])
dataset = ImageFolder(folder, transform)
dataset = ConcatDataset([dataset] * repeats)
loader = DataLoader(
    dataset, batch, shuffle=True, num_workers=workers, persistent_workers=workers > 0
)

for _ in loader:
    pass
images, checksum, start = 0, 0.0, time.perf_counter()
while time.perf_counter() - start < seconds:
    for x, y in loader:
        images += len(y)
        checksum += float(x[0, 0, 0, 0])
print(images / (time.perf_counter() - start))
