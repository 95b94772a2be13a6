"""Reference values of the losses in float64: PyTorch autograd over the published formulas.

`python losses.py crates/losses/tests/data/losses_more.json` writes what losses_basic.py lacks:
background, ignored rows, several labels a row, class weights, statistics over steps, scores.
A case holds the configuration as a recipe spells it, the counts, and steps taken one after another
on one loss: inputs, loss and gradient, and the statistics after the step.
"""

import json
import math
import sys

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
generator = torch.Generator().manual_seed(7)
R, C = 9, 7
IMAGES = 400
IMAGE_COUNTS = [300, 0, 120, 5, 40, 1, 17]
INSTANCE_COUNTS = [900, 0, 150, 5, 61, 2, 17]
n = torch.tensor(INSTANCE_COUNTS).clamp(min=1).double()
images = torch.tensor(IMAGE_COUNTS).double()
cases = []


def draw_logits(columns, scale=2.0):
    return (torch.randn(R, columns, generator=generator) * scale).float().double()


def draw_labels(num_labels):
    labels = torch.randint(0, num_labels, (R,), generator=generator)
    labels[0], labels[1] = num_labels - 1, 3
    return labels


def draw_targets():
    targets = (torch.rand(R, C, generator=generator) < 0.25).double()
    targets[0] = 0  # a row without a positive
    targets[1, 2] = targets[1, 3] = 1
    return targets


IGNORE = torch.tensor([False, False, True, False, False, True, False, False, True])


def encode(labels, columns):
    return (labels[:, None] == torch.arange(columns)[None, :]).double()


def bce(logits, targets):
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def numbers(tensor):
    return [float(f"{value:.9g}") for value in tensor.reshape(-1).tolist()]


def step(loss_of, logits, labels=None, targets=None, ignore=None, state=None, scores=None):
    """loss_of(logits) gives one value per row, or a scalar."""
    z = logits.clone().requires_grad_(True)
    loss = loss_of(z)
    if loss.dim() == 1:
        keep = torch.ones(R, dtype=torch.bool) if ignore is None else ~ignore
        loss = (loss * keep).sum() / keep.sum()
    loss.backward()
    entry = {"logits": numbers(logits), "loss": loss.item(), "grad": numbers(z.grad)}
    if labels is not None:
        entry["labels"] = labels.tolist()
    if targets is not None:
        entry["targets"] = targets.reshape(-1).int().tolist()
    if ignore is not None:
        entry["ignore"] = ignore.tolist()
    if state is not None:
        entry["state"] = {name: numbers(values) for name, values in state.items()}
    if scores is not None:
        entry["scores"] = numbers(scores(logits))
    return entry


def case(name, config, steps, **more):
    cases.append({"name": name, "config": config, "steps": steps, **more})


def single(name, config, rows_loss, columns, num_labels=C, ignore=None, scores=None, **more):
    logits, labels = draw_logits(columns), draw_labels(num_labels)
    entry = step(lambda z: rows_loss(z, labels), logits, labels=labels, ignore=ignore, scores=scores)
    case(name, config, [entry], **more)


def multi(name, config, rows_loss, columns=C, ignore=None):
    logits, targets = draw_logits(columns), draw_targets()
    entry = step(lambda z: rows_loss(z, targets), logits, targets=targets, ignore=ignore)
    case(name, config, [entry])


def ce(z, labels):
    return F.cross_entropy(z, labels, reduction="none")


# --- sigmoid methods: a row loss from targets, and the row's being foreground
is_tail = (images < 0.05 * IMAGES).double()
share = n / n.sum()
exact_shift = torch.log(share / (1 - share)) + math.log(C - 1)
f = images.clamp(1, IMAGES - 1) / IMAGES
released_shift = torch.log(f / (1 - f))
alphas = torch.tensor([0.1, 0.2, 0.3, 0.5, 0.6, 0.75, 0.9])


def eql(z, y):
    foreground = (y.sum(1, keepdim=True) > 0).double()
    return (bce(z, y) * (1 - foreground * is_tail * (1 - y))).sum(1)


def released(z, y):
    foreground = (y.sum(1, keepdim=True) > 0).double()
    return bce(z + foreground * released_shift, y).sum(1)


def focal(z, y, gamma, alpha):
    p = torch.sigmoid(z)
    pt = p * y + (1 - p) * (1 - y)
    at = alpha * y + (1 - alpha) * (1 - y)
    return (at * (1 - pt) ** gamma * bce(z, y)).sum(1)


sigmoid_methods = {
    "binary-cross-entropy": ({}, lambda z, y: bce(z, y).sum(1)),
    "eql": ({"tail": {"image-frequency-below": 0.05}}, eql),
    "balanced-sigmoid exact": ({"form": "exact"}, lambda z, y: bce(z + exact_shift, y).sum(1)),
    "balanced-sigmoid released": ({"form": "released"}, released),
    "focal": ({"gamma": 1.5, "alpha": alphas.tolist()}, lambda z, y: focal(z, y, 1.5, alphas)),
}
for name, (settings, rows_loss) in sigmoid_methods.items():
    config = {"method": name.split()[0], **settings}
    from_labels = lambda z, labels, rows_loss=rows_loss: rows_loss(z, encode(labels, C))
    single(name, config, from_labels, C, C + 1, scores=torch.sigmoid)
    single(name + ", ignored rows", config, from_labels, C, C + 1, ignore=IGNORE)
    multi(name + ", multi-label", config, rows_loss)
    multi(name + ", multi-label, ignored rows", config, rows_loss, ignore=IGNORE)

# --- class-balanced, beta 0.99; background rows weigh 1
cb = (1 - 0.99) / (1 - 0.99**n)
cb = cb * C / cb.sum()
cb_labels = torch.cat([cb, torch.ones(1)])
single("class-balanced softmax", {"method": "class-balanced", "beta": 0.99},
       lambda z, y: cb[y] * ce(z, y), C, ignore=IGNORE, scores=lambda z: F.softmax(z, 1))
single("class-balanced sigmoid", {"method": "class-balanced", "beta": 0.99, "form": "sigmoid"},
       lambda z, y: cb_labels[y] * bce(z, encode(y, C)).sum(1), C, C + 1)
single("class-balanced focal", {"method": "class-balanced", "beta": 0.99, "form": {"focal": 0.5}},
       lambda z, y: cb_labels[y] * 2 * focal(z, encode(y, C), 0.5, 0.5), C, C + 1)


def multi_weight(y):
    return torch.where(y.sum(1) > 0, (y * cb).sum(1) / y.sum(1).clamp(min=1), torch.ones(R))


multi("class-balanced sigmoid, multi-label",
      {"method": "class-balanced", "beta": 0.99, "form": "sigmoid"},
      lambda z, y: multi_weight(y) * bce(z, y).sum(1))

# --- softmax methods
single("cross-entropy, ignored rows", {"method": "cross-entropy"}, ce, C, ignore=IGNORE)
single("cross-entropy, background", {"method": "cross-entropy", "background": True}, ce, C + 1,
       C + 1, scores=lambda z: F.softmax(z, 1)[:, :C])
single("balanced-softmax", {"method": "balanced-softmax"}, lambda z, y: ce(z + n.log(), y), C,
       ignore=IGNORE, scores=lambda z: F.softmax(z, 1))
keep = torch.cat([n, n.mean()[None]])
single("balanced-softmax, background kept", {"method": "balanced-softmax", "background": "keep"},
       lambda z, y: ce(z + keep.log(), y), C + 1, C + 1, scores=lambda z: F.softmax(z, 1)[:, :C])
counted = torch.cat([n, torch.tensor([40.0])])
single("balanced-softmax, background counted",
       {"method": "balanced-softmax", "background": {"count": 40.0}},
       lambda z, y: ce(z + counted.log(), y), C + 1, C + 1)


def with_objectness(z, labels, class_shift):
    foreground = labels < C
    rows = ce(z[:, C:], (~foreground).long())
    classes = torch.zeros(R)
    classes[foreground] = ce((z[:, :C] + class_shift)[foreground], labels[foreground])
    return rows + classes


def objectness_scores(z):
    return F.softmax(z[:, :C], 1) * F.softmax(z[:, C:], 1)[:, :1]


for ignore in (None, IGNORE):
    single("balanced-softmax, background excluded" + ("" if ignore is None else ", ignored rows"),
           {"method": "balanced-softmax", "background": "exclude"},
           lambda z, y: with_objectness(z, y, n.log()), C + 2, C + 1, ignore=ignore,
           scores=objectness_scores)
prior = n / n.sum()
single("logit-adjustment", {"method": "logit-adjustment", "tau": 1.5},
       lambda z, y: ce(z + 1.5 * prior.log(), y), C, scores=lambda z: F.softmax(z, 1))
single("logit-adjustment, post-hoc", {"method": "logit-adjustment", "form": "post-hoc"}, ce, C,
       scores=lambda z: F.softmax(z - prior.log(), 1))

# --- LDAM, and deferred re-weighting: PyTorch's weighted mean
margins = 1 / n.sqrt().sqrt()
margins = margins * 0.5 / margins.max()
drw = (1 - 0.9999) / (1 - 0.9999**n)
drw = drw * C / drw.sum()


def ldam(z, y, weight=None, keep=slice(None), reduction="none"):
    lowered = 30 * (z - margins * encode(y, C))
    return F.cross_entropy(lowered[keep], y[keep], weight=weight, reduction=reduction)


def draw_cosines():
    return (torch.rand(R, C, generator=generator) * 2 - 1).float().double()


def weighted(name, config, mean_loss, logits, num_labels=C):
    for ignore in (None, IGNORE):
        labels = draw_labels(num_labels)
        kept = slice(None) if ignore is None else ~ignore
        entry = step(lambda z: mean_loss(z, labels, kept), logits, labels=labels, ignore=ignore)
        more = "" if ignore is None else ", ignored rows"
        case(name + more, config, [entry], class_weights=drw.tolist())


labels, logits = draw_labels(C), draw_cosines()
case("ldam", {"method": "ldam"},
     [step(lambda z: ldam(z, labels), logits, labels=labels, scores=lambda z: F.softmax(30 * z, 1))])
weighted("ldam, re-weighted", {"method": "ldam"},
         lambda z, y, kept: ldam(z, y, drw, kept, "mean"), draw_cosines())
weighted("cross-entropy, re-weighted", {"method": "cross-entropy"},
         lambda z, y, kept: F.cross_entropy(z[kept], y[kept], weight=drw), draw_logits(C))
weighted("balanced-softmax, re-weighted, background kept",
         {"method": "balanced-softmax", "background": "keep"},
         lambda z, y, kept: F.cross_entropy((z + keep.log())[kept], y[kept],
                                            weight=torch.cat([drw, torch.ones(1)])),
         draw_logits(C + 1), C + 1)


# --- EQL v2: five steps, the last one with ignored rows; then several labels a row
def eqlv2(name, draw, ignores, gamma=12.0, mu=0.8, alpha=4.0):
    positive, negative, ratio, steps = torch.zeros(C), torch.zeros(C), torch.full((C,), 100.0), []
    for ignore in ignores:
        logits = draw_logits(C + 1)
        labels, targets = draw()
        y = encode(labels, C + 1) if targets is None else torch.cat(
            [targets, (targets.sum(1, keepdim=True) == 0).double()], 1)
        v = torch.cat([1 / (1 + torch.exp(-gamma * (ratio - mu))), torch.ones(1)])
        w = (1 + alpha * (1 - v)) * y + v * (1 - y)
        kept = torch.ones(R) if ignore is None else (~ignore).double()
        size = (torch.sigmoid(logits) - y).abs() * w * kept[:, None]
        positive = positive + (size * y).sum(0)[:C]
        negative = negative + (size * (1 - y)).sum(0)[:C]
        ratio = positive / (negative + 1e-10)
        state = {"positive": positive, "negative": negative, "ratio": ratio}
        steps.append(step(lambda z: (bce(z, y) * w).sum(1), logits, labels, targets, ignore, state,
                          lambda z: torch.sigmoid(z[:, :C]) * (1 - torch.sigmoid(z[:, C:]))))
    case(name, {"method": "eql-v2"}, steps)


eqlv2("eql-v2", lambda: (draw_labels(C + 1), None), [None, None, None, None, IGNORE])
eqlv2("eql-v2, classification", lambda: (draw_labels(C), None), [None, None])
eqlv2("eql-v2, multi-label", lambda: (None, draw_targets()), [None, IGNORE])


# --- Seesaw: three steps of detection, then classification
def seesaw(name, objectness, ignores, p=0.8, q=2.0, epsilon=0.01):
    counts, steps = torch.zeros(C), []
    for ignore in ignores:
        labels = draw_labels(C + 1 if objectness else C)
        logits = draw_logits(C + 2 if objectness else C)
        kept = torch.ones(R) if ignore is None else (~ignore).double()
        counts = counts + (encode(labels, C) * kept[:, None]).sum(0)
        seen = counts.clamp(min=1)
        of_class = labels.clamp(max=C - 1)
        mitigation = torch.clamp(seen[None, :] / seen[of_class][:, None], max=1.0) ** p
        scores = F.softmax(logits[:, :C], 1)
        ratio = scores / scores[torch.arange(R), of_class][:, None].clamp(min=epsilon)
        compensation = torch.where(ratio > 1, ratio**q, torch.ones_like(ratio))
        shift = (mitigation * compensation).log() * (1 - encode(of_class, C))
        if objectness:
            rows_loss = lambda z: with_objectness(z, labels, shift)
        else:
            rows_loss = lambda z: ce(z + shift, labels)
        state = {"label_counts": counts}
        scores_of = objectness_scores if objectness else lambda z: F.softmax(z, 1)
        steps.append(step(rows_loss, logits, labels, None, ignore, state, scores_of))
    case(name, {"method": "seesaw", "objectness": objectness}, steps)


seesaw("seesaw", True, [None, IGNORE, None])
seesaw("seesaw, classification", False, [None, IGNORE])

with open(sys.argv[1], "w") as file:
    counts = {"image_counts": IMAGE_COUNTS, "instance_counts": INSTANCE_COUNTS, "num_images": IMAGES}
    lines = ",\n".join(json.dumps(entry) for entry in cases)
    file.write(f'{{"rows": {R}, "classes": {C}, "counts": {json.dumps(counts)}, "cases": [\n{lines}\n]}}\n')
print(len(cases), "cases")
