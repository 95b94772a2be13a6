"""The gradient of Meta Reweighter's rates through one step of SGD.

Three ways that share no formula: the whole step as a PyTorch graph, central finite differences of
the whole step, and the closed form. The script fails if they differ by more than 1e-6 of the largest
value. The weights are written as in the authors' module: a matrix of targets times a vector.

Usage: python meta_reweighter.py OUT/meta_reweighter.json   (torch 2.x, float64, CPU)
"""

import json
import sys

import torch

torch.manual_seed(1)
F64 = torch.float64
NUM_CLASSES, NUM_FEATURES, ROWS, META_ROWS = 4, 3, 9, 6
LR, MOMENTUM, WEIGHT_DECAY = 0.3, 0.9, 0.01
IMAGE_COUNTS, NUM_IMAGES = [80, 30, 9, 2], 100  # frequencies of Balanced Sigmoid


def randn(*shape):
    return torch.randn(*shape, dtype=F64)


frequency = torch.tensor(IMAGE_COUNTS, dtype=F64) / NUM_IMAGES
shift = (frequency / (1 - frequency)).log()
labels = torch.tensor([0, 4, 0, 1, 4, 2, 0, 4, 1])  # 4 is background; class 3 has no row
meta_labels = torch.tensor([3, 4, 1, 2, 0, 4])
rows, meta_rows = randn(ROWS, NUM_FEATURES), randn(META_ROWS, NUM_FEATURES)
psi0 = 0.5 * randn(NUM_CLASSES)
weight, bias = 0.3 * randn(NUM_CLASSES, NUM_FEATURES), 0.3 * randn(NUM_CLASSES) - 1
velocity = 0.2 * randn(NUM_CLASSES, NUM_FEATURES), 0.2 * randn(NUM_CLASSES)


def targets_of(labels):
    return torch.nn.functional.one_hot(labels, NUM_CLASSES + 1)[:, :NUM_CLASSES].to(F64)


def row_losses(theta, rows, labels, is_shifted):
    """Sigmoid cross-entropy summed over classes; foreground rows may be shifted."""
    logits = rows @ theta[0].T + theta[1]
    targets = targets_of(labels)
    if is_shifted:
        logits = logits + targets.sum(1, keepdim=True) * shift
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return loss.sum(1)


def weights_of(psi):
    """The authors' module on foreground rows; background rows weigh 1."""
    targets = targets_of(labels)
    weighted = targets @ torch.sigmoid(psi)
    scaled = weighted / weighted.sum() * targets.sum()
    return scaled + (1 - targets.sum(1))


def meta_loss(psi, is_shifted, nesterov):
    theta = [weight.clone().requires_grad_(), bias.clone().requires_grad_()]
    loss = (row_losses(theta, rows, labels, True) * weights_of(psi)).sum() / ROWS
    gradient = torch.autograd.grad(loss, theta, create_graph=True)
    moved = []
    for value, g, v in zip(theta, gradient, velocity):
        g = g + WEIGHT_DECAY * value
        v = MOMENTUM * v + g
        moved.append(value - LR * (g + MOMENTUM * v if nesterov else v))
    return row_losses(moved, meta_rows, meta_labels, is_shifted).sum() / META_ROWS, moved


def by_graph(*config):
    psi = psi0.clone().requires_grad_()
    loss, moved = meta_loss(psi, *config)
    return torch.autograd.grad(loss, psi)[0], loss, moved


def by_differences(*config, h=1e-5):
    gradient = torch.zeros_like(psi0)
    for c in range(NUM_CLASSES):
        change = torch.zeros_like(psi0)
        change[c] = h
        after, before = meta_loss(psi0 + change, *config)[0], meta_loss(psi0 - change, *config)[0]
        gradient[c] = (after - before).detach() / (2 * h)
    return gradient


def gradient_by_logits(theta, rows, labels, is_shifted):
    logits = rows @ theta[0].T + theta[1]
    targets = targets_of(labels)
    if is_shifted:
        logits = logits + targets.sum(1, keepdim=True) * shift
    return torch.sigmoid(logits) - targets


def closed_form(moved, is_shifted, nesterov):
    delta = gradient_by_logits([weight, bias], rows, labels, True)
    meta = gradient_by_logits(moved, meta_rows, meta_labels, is_shifted) / META_ROWS
    alignment = (delta * (rows @ (meta.T @ meta_rows).T + meta.sum(0))).sum(1)
    rates, targets = torch.sigmoid(psi0), targets_of(labels)
    of_row = targets @ rates
    total, num_foreground = of_row.sum(), targets.sum()
    sums = targets.T @ alignment - targets.sum(0) / total * (of_row * alignment).sum()
    reach = LR * (1 + MOMENTUM if nesterov else 1)
    return -reach / ROWS * num_foreground / total * rates * (1 - rates) * sums


def compare(name, found, expected, tolerance):
    error = ((found - expected).abs().max() / expected.abs().max()).item()
    assert error < tolerance, f"{name}: {error}"


cases = []
for config in [(False, False), (True, False), (False, True)]:
    gradient, loss, moved = by_graph(*config)
    compare("finite differences", by_differences(*config), gradient, 1e-6)
    compare("closed form", closed_form([m.detach() for m in moved], *config), gradient, 1e-9)
    cases.append(
        {
            "is_shifted": config[0],
            "nesterov": config[1],
            "moved_weight": moved[0].flatten().tolist(),
            "moved_bias": moved[1].tolist(),
            "meta_loss": loss.item(),
            "gradient": gradient.tolist(),
        }
    )

numbers = {
    "lr": LR,
    "momentum": MOMENTUM,
    "weight_decay": WEIGHT_DECAY,
    "image_counts": IMAGE_COUNTS,
    "num_images": NUM_IMAGES,
    "rows": rows.flatten().tolist(),
    "labels": labels.tolist(),
    "meta_rows": meta_rows.flatten().tolist(),
    "meta_labels": meta_labels.tolist(),
    "psi": psi0.tolist(),
    "weight": weight.flatten().tolist(),
    "bias": bias.tolist(),
    "velocity_weight": velocity[0].flatten().tolist(),
    "velocity_bias": velocity[1].tolist(),
    "row_weights": weights_of(psi0).tolist(),
    "cases": cases,
}
with open(sys.argv[1], "w") as file:
    json.dump(numbers, file, indent=1)
    file.write("\n")
