"""Distillation and contrast with a label queue: values and gradients in float64.

KD by torch.nn.functional.kl_div, features by cosine_similarity, contrast row by row from the
formula; gradients by autograd. Closed forms of the gradients are compared too.

Usage: python distillation.py OUT/distillation.json   (torch 2.x, float64, CPU)
"""

import json
import sys

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
generator = torch.Generator().manual_seed(11)


def randn(*shape, scale=1.0):
    return (torch.randn(*shape, generator=generator) * scale).float().double()


def unit(rows):
    return rows / rows.norm(dim=1, keepdim=True)


def numbers(tensor):
    return [float(f"{value:.9g}") for value in tensor.reshape(-1).tolist()]


def case(inputs, loss_of, closed=None):
    """`inputs[0]` gets the gradient."""
    first = inputs[0].clone().requires_grad_()
    loss = loss_of(first, *inputs[1:])
    (gradient,) = torch.autograd.grad(loss, first)
    if closed is not None:
        assert (closed - gradient).abs().max() < 1e-12
    return {
        "shapes": [list(i.shape) for i in inputs],
        "inputs": [numbers(i) for i in inputs],
        "loss": loss.item(),
        "gradient": numbers(gradient),
    }


# Scores: logits of very different size.
R, C = 7, 5
student, teacher = randn(R, C, scale=3.0), randn(R, C, scale=5.0)
teacher[0] = 60 * torch.arange(C)


def kd(s, t, temperature):
    return temperature**2 * F.kl_div(
        F.log_softmax(s / temperature, 1), F.softmax(t / temperature, 1), reduction="batchmean"
    )


out = {}
for temperature in (1.0, 2.0):
    closed = temperature * (F.softmax(student / temperature, 1) - F.softmax(teacher / temperature, 1))
    out[f"kd_{temperature:.0f}"] = case(
        [student, teacher], lambda s, t: kd(s, t, temperature), closed / R
    )

# Features, not of length 1.
s, t = randn(R, 6, scale=2.0), randn(R, 6)
cosines = F.cosine_similarity(s, t)[:, None]
closed = -(unit(t) - cosines * unit(s)) / s.norm(dim=1, keepdim=True) / R
out["features"] = case([s, t], lambda s, t: (1 - F.cosine_similarity(s, t)).mean(), closed)

# Contrast: rows of length 1 after rounding to single precision, some of whose class are in the queue.
K, D, T = 9, 4, 0.2
queries, keys, queue = (unit(randn(n, D)).float().double() for n in (R, R, K))
labels = torch.tensor([0, 1, 2, 2, 0, 4, 1])
queue_labels = torch.tensor([0, 0, 1, 3, 2, 5, 5, 0, 4])


def contrast(q, k, n):
    total = 0.0
    for r in range(R):
        positive = torch.exp(q[r] @ k[r] / T)
        others = sum(torch.exp(q[r] @ n[i] / T) for i in range(K) if queue_labels[i] != labels[r])
        total = total - torch.log(positive / (positive + others))
    return total / R


out["contrast"] = case([queries, keys, queue], contrast)
out["contrast"]["labels"] = labels.tolist()
out["contrast"]["queue_labels"] = queue_labels.tolist()

# Class-Balanced Distillation as a whole: two teachers, alpha 0.4, beta 100, cosine classifier.
teachers = [randn(R, 3), randn(R, 3, scale=0.3)]
student = randn(R, 6).relu() + 0.1
weight = randn(C, 6)
y = torch.tensor([0, 1, 2, 3, 4, 1, 0])
alpha, beta, scale = 0.4, 100.0, 20.0


def whole(s, w, first, second):
    together = unit(torch.cat([unit(first), unit(second)], 1))
    logits = scale * unit(s) @ unit(w).T
    features = (1 - F.cosine_similarity(s, together)).mean()
    return (1 - alpha) * F.cross_entropy(logits, y) + alpha * beta * features


out["class_balanced"] = case([student, weight, *teachers], whole)
out["class_balanced"]["labels"] = y.tolist()
with open(sys.argv[1], "w") as file:
    json.dump(out, file, indent=1)
    file.write("\n")
