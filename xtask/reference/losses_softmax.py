"""Reference values of the later softmax losses in float64: PyTorch autograd over the published
formulas. Softmax-EQL of the later paper, Balanced Group Softmax, the equilibrium loss of LOCE, and
calibrations of scores after training.

`python losses_softmax.py crates/losses/tests/data/losses_softmax.json` writes cases as losses.py
does: configuration, counts, and steps taken one after another on one loss.
"""

import json
import sys

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
generator = torch.Generator().manual_seed(11)
R, C = 11, 23
INSTANCES = [5000, 1800, 1200, 900, 640, 410, 260, 130, 99, 70, 45, 28, 17, 11, 10, 9, 7, 5, 3, 2, 1,
             0, 12]
IMAGES = [2000, 1000, 800, 700, 500, 300, 200, 100, 90, 60, 40, 25, 15, 10, 9, 8, 6, 5, 3, 2, 1, 0, 9]
n = torch.tensor(INSTANCES).clamp(min=1).double()
IGNORE = torch.arange(R) % 4 == 2
cases = []


def draw_logits(columns, scale=2.0):
    return (torch.randn(R, columns, generator=generator) * scale).float().double()


def draw_labels(num_labels):
    labels = torch.randint(0, num_labels, (R,), generator=generator)
    labels[0], labels[1] = num_labels - 1, 3
    return labels


def numbers(tensor):
    return [float(f"{value:.8g}") for value in tensor.reshape(-1).tolist()]


def step(loss, z, labels, ignore=None, shares=None, state=None, scores=None):
    loss.backward()
    entry = {"logits": numbers(z.detach()), "loss": loss.item(), "grad": numbers(z.grad),
             "labels": labels.tolist()}
    if ignore is not None:
        entry["ignore"] = ignore.tolist()
    if shares is not None:
        entry["shares"] = numbers(shares)
    if state is not None:
        entry["state"] = {name: numbers(values) for name, values in state.items()}
    if scores is not None:
        entry["scores"] = numbers(scores(z.detach()))
    return entry


def case(name, config, steps, **more):
    cases.append({"name": name, "config": config, "steps": steps, **more})


def kept_of(ignore):
    return torch.ones(R, dtype=torch.bool) if ignore is None else ~ignore


# --- Softmax-EQL: the released factor matrix, and the gradient that autograd leaves at the input
def factor_logits(z, labels, g, tau):
    matrix = g[None, :].clamp(min=1e-4) / g[:, None].clamp(min=1e-4)
    factor = matrix[labels].pow(tau)
    return z + factor.log() * (1 - F.one_hot(labels, C))


def share_logits(z, labels, g, tau):
    share = g / g.sum() if g.sum() > 0 else g
    return z + (share.pow(tau) + 1e-9).log()


def equalized_softmax(name, form, tau, ignores):
    g, steps = torch.zeros(C), []
    shifted = {"factor": factor_logits, "share": share_logits}[form]
    for ignore in ignores:
        labels, kept = draw_labels(C), kept_of(ignore)
        z = draw_logits(C).requires_grad_(True)
        loss = F.cross_entropy(shifted(z, labels, g, tau)[kept], labels[kept])
        gradient = torch.autograd.grad(loss, z, retain_graph=True)[0]
        g = g + (gradient.abs() * F.one_hot(labels, C)).sum(0)
        steps.append(step(loss, z, labels, ignore, state={"positive": g}))
    case(name, {"method": "equalized-softmax", "form": form, "tau": tau}, steps)


five = [None, None, IGNORE, None, None]
equalized_softmax("equalized-softmax", "factor", 1.0, five)
equalized_softmax("equalized-softmax, tau 0.7", "factor", 0.7, five)
equalized_softmax("equalized-softmax, share", "share", 1.0, five)
equalized_softmax("equalized-softmax, share, tau 1.5", "share", 1.5, five)


# --- LOCE: objects of one or several rows, scores before the loss, in the order of the released code
def equilibrium(name, background, objects_of, ignores, alpha=0.9, first=0.01):
    s, steps = torch.full((C,), first), []
    columns = C + 1 if background else C
    for ignore in ignores:
        labels, kept = draw_labels(columns), kept_of(ignore)
        objects = objects_of(labels)
        z = draw_logits(columns).requires_grad_(True)
        p, s = F.softmax(z.detach(), 1), s.clone()
        shares = torch.ones(R)
        means = {}
        for which in set(objects.tolist()):
            rows = (objects == which) & kept
            shares[objects == which] = 1 / (objects == which).sum()
            label = int(labels[objects == which][0])
            if rows.any() and label < C:
                means.setdefault(label, []).append(p[rows, label].mean())
        for label, of_class in means.items():
            remains = alpha ** len(of_class)
            s[label] = remains * s[label] + (1 - remains) * torch.stack(of_class).mean()
        prior = torch.cat([s, torch.tensor([first])]) if background else s
        numerator = prior * torch.exp(z - z.detach().max(1, keepdim=True)[0])
        probability = (numerator / numerator.sum(1, keepdim=True))[torch.arange(R), labels]
        loss = -probability[kept].log().mean()
        steps.append(step(loss, z, labels, ignore, shares, {"mean_scores": s},
                          (lambda z: F.softmax(z, 1)[:, :C]) if len(steps) == 4 else None))
    case(name, {"method": "loce", "background": background}, steps)


def by_row(labels):
    return torch.arange(R)


def by_class(labels):
    """All rows of a class show one object."""
    return labels


def by_pairs(labels):
    """Rows of a class in the same half of the batch show one object."""
    return labels * 2 + (torch.arange(R) >= R // 2)


equilibrium("loce", True, by_row, five)
equilibrium("loce, classification", False, by_row, five)
equilibrium("loce, one object a class", True, by_class, [None] * 5)
equilibrium("loce, objects of several rows", True, by_pairs, [None] * 5)


# --- BAGS with all other rows or none, so that nothing is drawn
def bags(name, bounds, ratio, background, ignore=None, rows_of=None):
    group_of = [sum(count >= bound for bound in bounds) for count in INSTANCES]
    groups = len(bounds) + 1
    labels = draw_labels(C + 1 if background else C)
    if rows_of is not None:
        labels = torch.tensor([j for j in range(C) if group_of[j] in rows_of] * R)[:R]
    kept = kept_of(ignore)
    z = draw_logits(C + groups + (2 if background else 0)).requires_grad_(True)
    loss = torch.zeros(())
    for group in range(groups):
        members = [j for j in range(C) if group_of[j] == group]
        if not members:
            continue
        targets = torch.full((C + 1,), len(members))
        for place, j in enumerate(members):
            targets[j] = place
        targets = targets[labels]
        own = (targets < len(members)) & kept
        others = (targets == len(members)) & kept
        if not own.any():
            continue
        counted = own if int(own.sum() * ratio) == 0 else own | others
        assert int(own.sum() * ratio) == 0 or int(own.sum() * ratio) >= others.sum()
        pieces = z[:, members + [C + group]]
        loss = loss + F.cross_entropy(pieces[counted], targets[counted])
    if background:
        loss = loss + F.cross_entropy(z[kept, -2:], (labels[kept] == C).long())

    def scores(z):
        p = torch.zeros(R, C)
        for group in range(groups):
            members = [j for j in range(C) if group_of[j] == group]
            if members:
                p[:, members] = F.softmax(z[:, members + [C + group]], 1)[:, :-1]
        return p * F.softmax(z[:, -2:], 1)[:, :1] if background else p

    config = {"method": "bags", "bounds": bounds, "others_ratio": ratio, "background": background}
    case(name, config, [step(loss, z, labels, ignore, scores=scores)])


for ignore, more in ((None, ""), (IGNORE, ", ignored rows")):
    bags("bags, all others" + more, [10, 100, 1000], 100.0, True, ignore)
    bags("bags, no others" + more, [10, 100, 1000], 0.0, True, ignore)
bags("bags, classification", [10, 100, 1000], 100.0, False)
bags("bags, one group", [], 8.0, True)
bags("bags, an empty group", [10, 100, 100000], 100.0, True)
bags("bags, rows of one group alone", [10, 100, 1000], 8.0, True, rows_of=[2])


# --- calibrations: loss and gradient are those of the loss, the scores are corrected
def calibrated(name, config, calibration, columns, rows_loss, scores):
    labels = draw_labels(C)
    z = draw_logits(columns).requires_grad_(True)
    case(name, config, [step(rows_loss(z, labels), z, labels, scores=scores)],
         calibration=calibration)


def norcal(z, gamma, background):
    weights = n.pow(-gamma)
    if background:
        weights = torch.cat([weights, torch.ones(1)])
    p = weights * torch.exp(z)
    return (p / p.sum(1, keepdim=True))[:, :C]


def objectness_loss(z, y):
    return F.cross_entropy(z[:, C:], torch.zeros(R, dtype=torch.long)) + F.cross_entropy(
        z[:, :C] + n.log(), y)


calibrated("norcal", {"method": "cross-entropy"}, {"method": "norcal", "gamma": 0.6}, C,
           F.cross_entropy, lambda z: norcal(z, 0.6, False))
calibrated("norcal, background", {"method": "cross-entropy", "background": True},
           {"method": "norcal", "gamma": 0.6}, C + 1, F.cross_entropy,
           lambda z: norcal(z, 0.6, True))
calibrated("norcal, objectness", {"method": "balanced-softmax", "background": "exclude"},
           {"method": "norcal", "gamma": 0.3}, C + 2, objectness_loss,
           lambda z: norcal(z[:, :C], 0.3, False) * F.softmax(z[:, C:], 1)[:, :1])
prior = n / n.sum()
calibrated("adjusted logits", {"method": "cross-entropy"},
           {"method": "logit-adjustment", "tau": 1.5}, C, F.cross_entropy,
           lambda z: F.softmax(z - 1.5 * prior.log(), 1))
relative = torch.cat([(n / n.mean()).log(), torch.zeros(1)])
calibrated("adjusted logits, background", {"method": "cross-entropy", "background": True},
           {"method": "logit-adjustment"}, C + 1, F.cross_entropy,
           lambda z: F.softmax(z - relative, 1)[:, :C])
margins = 1 / n.sqrt().sqrt()
margins = margins * 0.5 / margins.max()
calibrated("norcal, ldam", {"method": "ldam", "scale": 3.0}, {"method": "norcal", "gamma": 0.4}, C,
           lambda z, y: F.cross_entropy(3 * (z - margins * F.one_hot(y, C)), y),
           lambda z: norcal(3 * z, 0.4, False))

with open(sys.argv[1], "w") as file:
    counts = {"image_counts": IMAGES, "instance_counts": INSTANCES, "num_images": 6000}
    lines = ",\n".join(json.dumps(entry) for entry in cases)
    file.write(f'{{"rows": {R}, "classes": {C}, "counts": {json.dumps(counts)}, "cases": [\n{lines}\n]}}\n')
print(len(cases), "cases")
