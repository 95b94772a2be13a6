"""The gradient of Meta Sampler's rates through one step of SGD.

Three ways that share no formula: the whole step as a PyTorch graph, central finite differences of
the whole step, and the closed form. The script fails if they differ by more than 1e-6 of the largest
value. Draws and their relaxation are those of the authors: a Gumbel softmax over all images.

Usage: python meta_sampler.py OUT/meta_sampler.json   (torch 2.x, float64, CPU)
"""

import json
import sys

import torch

torch.manual_seed(0)
F64 = torch.float64
COUNTS = [5, 3, 2, 1]
NUM_FEATURES, SLOTS, META_ROWS = 3, 7, 8
LR = 0.4


def randn(*shape):
    return torch.randn(*shape, dtype=F64)


labels = torch.tensor([c for c, count in enumerate(COUNTS) for _ in range(count)])
counts = torch.tensor(COUNTS, dtype=F64)
features = randn(len(labels), NUM_FEATURES)
exponentials = torch.distributions.Exponential(torch.tensor(1.0, dtype=F64)).sample(
    (SLOTS, len(labels))
)
psi0 = 0.5 * randn(len(COUNTS))
weight, bias = 0.3 * randn(len(COUNTS), NUM_FEATURES), 0.3 * randn(len(COUNTS))
velocity = 0.2 * randn(len(COUNTS), NUM_FEATURES), 0.2 * randn(len(COUNTS))
meta_features = randn(META_ROWS, NUM_FEATURES)
meta_labels = torch.arange(META_ROWS) % len(COUNTS)


def soft_draw(psi):
    """Gumbel softmax over all images, temperature 1, with g = -ln E."""
    logits = torch.nn.functional.logsigmoid(psi)[labels] - exponentials.log()
    return torch.softmax(logits, 1)


drawn = soft_draw(psi0).argmax(1)
drawn_at_start = soft_draw(psi0)[torch.arange(SLOTS), drawn]


def balanced_losses(theta):
    logits = features[drawn] @ theta[0].T + theta[1] + counts.log()
    return torch.nn.functional.cross_entropy(logits, labels[drawn], reduction="none")


def step(theta, gradient, momentum, weight_decay, nesterov):
    """torch.optim.SGD, dampening 0, written out so that it stays in the graph."""
    moved = []
    for value, g, v in zip(theta, gradient, velocity):
        g = g + weight_decay * value
        v = momentum * v + g
        moved.append(value - LR * (g + momentum * v if nesterov else v))
    return moved


def meta_loss(psi, config):
    """Of psi: hard draws are fixed, the straight-through factors follow psi."""
    factors = soft_draw(psi)[torch.arange(SLOTS), drawn] - drawn_at_start.detach() + 1
    theta = [weight.clone().requires_grad_(), bias.clone().requires_grad_()]
    loss = (balanced_losses(theta) * factors).mean()
    gradient = torch.autograd.grad(loss, theta, create_graph=True)
    moved = step(theta, gradient, *config)
    logits = meta_features @ moved[0].T + moved[1]
    return torch.nn.functional.cross_entropy(logits, meta_labels), moved


def by_graph(config):
    psi = psi0.clone().requires_grad_()
    loss, moved = meta_loss(psi, config)
    return torch.autograd.grad(loss, psi)[0], loss, moved


def by_differences(config, h=1e-5):
    gradient = torch.zeros_like(psi0)
    for c in range(len(COUNTS)):
        shift = torch.zeros_like(psi0)
        shift[c] = h
        after, before = meta_loss(psi0 + shift, config)[0], meta_loss(psi0 - shift, config)[0]
        gradient[c] = (after - before).detach() / (2 * h)
    return gradient


def closed_form(config, moved):
    momentum, _, nesterov = config
    rows = features[drawn]
    logits = rows @ weight.T + bias + counts.log()
    delta = torch.softmax(logits, 1) - torch.eye(len(COUNTS), dtype=F64)[labels[drawn]]
    meta = torch.softmax(meta_features @ moved[0].T + moved[1], 1)
    meta = (meta - torch.eye(len(COUNTS), dtype=F64)[meta_labels]) / META_ROWS
    alignment = (delta * (rows @ (meta.T @ meta_features).T + meta.sum(0))).sum(1)
    soft = soft_draw(psi0)
    gradient = []
    for c in range(len(COUNTS)):
        mass = soft[:, labels == c].sum(1)
        own = (labels[drawn] == c).to(F64)
        total = (alignment * drawn_at_start * (own - mass)).sum()
        reach = LR * (1 + momentum if nesterov else 1)
        gradient.append(-reach / SLOTS * (1 - torch.sigmoid(psi0[c])) * total)
    return torch.stack(gradient)


def compare(name, found, expected, tolerance):
    error = ((found - expected).abs().max() / expected.abs().max()).item()
    assert error < tolerance, f"{name}: {error}"


cases = []
for config in [(0.0, 0.0, False), (0.9, 5e-4, False), (0.9, 0.05, True)]:
    gradient, loss, moved = by_graph(config)
    compare("finite differences", by_differences(config), gradient, 1e-6)
    compare("closed form", closed_form(config, [m.detach() for m in moved]), gradient, 1e-9)
    psi = torch.nn.Parameter(psi0.clone())
    adam = torch.optim.Adam([psi], lr=0.01)
    for _ in range(3):
        psi.grad = gradient.clone()
        adam.step()
    cases.append(
        {
            "momentum": config[0],
            "weight_decay": config[1],
            "nesterov": config[2],
            "moved_weight": moved[0].flatten().tolist(),
            "moved_bias": moved[1].tolist(),
            "meta_loss": loss.item(),
            "gradient": gradient.tolist(),
            "psi_after_three_steps_of_adam": psi.tolist(),
        }
    )

soft = soft_draw(psi0)
numbers = {
    "lr": LR,
    "counts": COUNTS,
    "features": features.tolist(),
    "exponentials": exponentials.tolist(),
    "psi": psi0.tolist(),
    "weight": weight.flatten().tolist(),
    "bias": bias.tolist(),
    "velocity_weight": velocity[0].flatten().tolist(),
    "velocity_bias": velocity[1].tolist(),
    "meta_features": meta_features.flatten().tolist(),
    "meta_labels": meta_labels.tolist(),
    "drawn": drawn.tolist(),
    "relaxed": drawn_at_start.tolist(),
    "mass": [
        [soft[b, labels == c].sum().item() for c in range(len(COUNTS))] for b in range(SLOTS)
    ],
    "cases": cases,
}
with open(sys.argv[1], "w") as file:
    json.dump(numbers, file, indent=1)
    file.write("\n")
