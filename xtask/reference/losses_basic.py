"""Reference values of the losses in float64: PyTorch autograd over the published formulas.

`python losses_basic.py FILE` computes every loss of crates/losses/tests/data/losses_11x23.json again
from the inputs that the file holds, prints the largest difference from the stored values, and fails
if it is above 1e-9.
"""

import json
import sys

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
data = json.load(open(sys.argv[1]))
R, C, losses = data["n"], data["c"], data["losses"]
logits = torch.tensor(data["logits"]).view(R, C)
image_counts = torch.tensor(data["image_counts"]).double()
n = image_counts.clamp(min=1)
det, cls = torch.tensor(data["targets_det"]), torch.tensor(data["targets_cls"])


def bce(z, targets):
    return F.binary_cross_entropy_with_logits(z, targets, reduction="none")


def encode(labels, columns):
    return (labels[:, None] == torch.arange(columns)[None, :]).double()


y = encode(det, C)
foreground = (det < C).double()[:, None]
is_tail = (image_counts < data["lambda"] * data["num_images"]).double()


def eql(z):
    return (bce(z, y) * (1 - foreground * is_tail * (1 - y))).sum() / R


def seql(z):
    beta = torch.tensor(losses["eql_softmax_given_mask"]["beta"]).view(R, C)
    masked = (beta * is_tail * (1 - encode(cls, C))) == 1
    return F.cross_entropy(z.masked_fill(masked, -torch.inf), cls)


def focal(z):
    p = torch.sigmoid(z)
    pt = p * y + (1 - p) * (1 - y)
    return ((0.25 * y + 0.75 * (1 - y)) * (1 - pt) ** 2 * bce(z, y)).sum()


def class_balanced(z):
    beta = losses["class_balanced_ce"]["beta"]
    weights = (1 - beta) / (1 - beta**n)
    return (F.cross_entropy(z, cls, reduction="none") * (weights * C / weights.sum())[cls]).mean()


def ldam(z):
    margins = 0.5 * (n.min() / n) ** 0.25
    return F.cross_entropy(30 * (z - margins * encode(cls, C)), cls)


def eqlv2(z):
    entry = losses["eqlv2_one_step"]
    ratio = torch.tensor(entry["pos_before"]) / (torch.tensor(entry["neg_before"]) + 1e-10)
    v = torch.cat([torch.sigmoid(12 * (ratio - 0.8)), torch.ones(1)])
    targets = encode(det, C + 1)
    return (bce(z, targets) * ((1 + 4 * (1 - v)) * targets + v * (1 - targets))).sum() / R


def seesaw(z):
    counts = torch.tensor(losses["seesaw_classes"]["cumulative_counts"])
    labels = det[det < C]
    mitigation = torch.clamp(counts[None, :] / counts[labels][:, None], max=1) ** 0.8
    scores = F.softmax(z.detach(), 1)
    ratio = scores / scores.gather(1, labels[:, None]).clamp(min=0.01)
    shift = (mitigation * ratio.clamp(min=1) ** 2).log() * (1 - encode(labels, C))
    return F.cross_entropy(z + shift, labels, reduction="sum") / R


f = n / data["num_images"]
formulas = {
    "eql_sigmoid": eql,
    "bce_sigmoid": lambda z: bce(z, y).sum() / R,
    "eql_softmax_given_mask": seql,
    "balanced_softmax": lambda z: F.cross_entropy(z + n.log(), cls),
    "cross_entropy": lambda z: F.cross_entropy(z, cls),
    "sigmoid_focal_sum": focal,
    "class_balanced_ce": class_balanced,
    "ldam": ldam,
    "logit_adjusted_tau1": lambda z: F.cross_entropy(z + (n / n.sum()).log(), cls),
    "eqlv2_one_step": eqlv2,
    "seesaw_classes": seesaw,
    "balanced_sigmoid_released": lambda z: bce(z + foreground * torch.log(f / (1 - f)), y).sum() / R,
}
assert formulas.keys() == losses.keys()
for name, formula in formulas.items():
    entry = losses[name]
    z = {"seesaw_classes": logits[det < C]}.get(name, logits)
    if "logits" in entry:
        z = torch.tensor(entry["logits"]).view(R, C + 1)
    z = z.clone().requires_grad_(True)
    loss = formula(z)
    loss.backward()
    stored = torch.tensor(entry["grad"])
    loss_error = abs(loss.item() - entry["loss"])
    gradient_error = (z.grad.reshape(-1) - stored).abs().max().item()
    print(f"{name:26} loss {loss_error:.1e} gradient {gradient_error:.1e}")
    assert loss_error <= 1e-9 * max(1, abs(entry["loss"])) and gradient_error <= 1e-9, name
