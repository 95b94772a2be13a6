"""Reference values of the later sigmoid losses in float64: PyTorch autograd over the published
formulas. Equalized Focal Loss, its form with qualities, ACSL, DropLoss, federated loss, GHM-C.

`python losses_sigmoid.py crates/losses/tests/data/losses_sigmoid.json` writes cases as losses.py
does: configuration, counts, and steps taken one after another on one loss. What a loss draws at
random is drawn again here, from the same counters by the definitions of the generators.
"""

import json
import math
import struct
import sys

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
generator = torch.Generator().manual_seed(17)
R, C = 11, 23
INSTANCES = [5000, 1800, 1200, 900, 640, 410, 260, 130, 99, 70, 45, 28, 17, 11, 10, 9, 7, 5, 3, 2, 1,
             0, 12]
IMAGES = [2000, 1000, 800, 700, 500, 300, 200, 100, 90, 60, 40, 25, 15, 10, 9, 8, 6, 5, 3, 2, 1, 0, 9]
NUM_IMAGES = 6000
images = torch.tensor(IMAGES)
IGNORE = torch.arange(R) % 4 == 2
cases = []


def draw_logits(columns, scale=2.0):
    return (torch.randn(R, columns, generator=generator) * scale).float().double()


def draw_labels(num_labels, num_background=3):
    labels = torch.randint(0, C, (R,), generator=generator)
    if num_labels > C:
        labels[-num_background:] = C
    return labels


def draw_targets():
    targets = (torch.rand(R, C, generator=generator) < 0.1).double()
    targets[3] = 0  # rows without a positive
    targets[8] = 0
    return targets


def encode(labels, columns):
    return (labels[:, None] == torch.arange(columns)[None, :]).double()


def bce(logits, targets):
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def numbers(tensor):
    return [float(f"{value:.8g}") for value in tensor.reshape(-1).tolist()]


def kept_of(ignore):
    return torch.ones(R) if ignore is None else (~ignore).double()


class Step:
    """Inputs of a step; `finish` takes the loss of every row and writes the case's entry."""

    def __init__(self, columns, num_labels=C + 1, is_multi=False, ignore=None, count=None):
        self.z = draw_logits(columns).requires_grad_(True)
        self.ignore, self.count, self.kept = ignore, count, kept_of(ignore)
        self.labels = None if is_multi else draw_labels(num_labels)
        self.targets = draw_targets() if is_multi else None
        self.divisor = self.kept.sum().item() if count is None else count
        self.y = self.targets if is_multi else encode(self.labels, C)
        self.foreground = (self.y.sum(1, keepdim=True) > 0).double()

    def finish(self, rows, state=None, scores=None, **more):
        loss = (rows * self.kept).sum() / self.divisor
        loss.backward()
        entry = {"logits": numbers(self.z.detach()), "loss": loss.item(), "grad": numbers(self.z.grad)}
        if self.labels is not None:
            entry["labels"] = self.labels.tolist()
        else:
            entry["targets"] = self.targets.reshape(-1).int().tolist()
        if self.ignore is not None:
            entry["ignore"] = self.ignore.tolist()
        if self.count is not None:
            entry["count"] = self.count
        if state is not None:
            entry["state"] = {name: numbers(values) for name, values in state.items()}
        if scores is not None:
            entry["scores"] = numbers(scores(self.z.detach()))
        entry.update(more)
        return entry


def case(name, config, steps):
    cases.append({"name": name, "config": config, "steps": steps})


# --- draws by a counter: SplitMix64 makes two words of seed and draw, lowbias32 mixes row and column
M32, M64 = (1 << 32) - 1, (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


def scramble(word):
    word = ((word ^ word >> 30) * 0xBF58476D1CE4E5B9) & M64
    word = ((word ^ word >> 27) * 0x94D049BB133111EB) & M64
    return word ^ word >> 31


def mix(word):
    word = ((word ^ word >> 16) * 0x7FEB352D) & M32
    word = ((word ^ word >> 15) * 0x846CA68B) & M32
    return word ^ word >> 16


def uniform(seed, draw, row, column):
    word = scramble((seed + GOLDEN) & M64)
    word = scramble(word ^ draw * GOLDEN & M64)
    of_row = mix((row + (word >> 32)) & M32)
    of_column = mix(((column ^ 0x9E3779B9) + (word & M32)) & M32)
    return (mix(of_row ^ of_column) >> 8) / (1 << 24)


# --- EFL: what autograd leaves at the input of the loss goes into the statistics
def equalized_focal(name, config, settings, alpha=0.25, gamma=2.0, scale=8.0):
    positive, negative, ratio, steps = torch.zeros(C), torch.zeros(C), torch.ones(C), []
    for options in settings:
        s = Step(C, **options)
        exponent = gamma + scale * (1 - ratio)
        p = torch.sigmoid(s.z)
        pt = p * s.y + (1 - p) * (1 - s.y)
        at = alpha * s.y + (1 - alpha) * (1 - s.y)
        rows = (exponent / gamma * at * (1 - pt) ** exponent * bce(s.z, s.y)).sum(1)
        entry = s.finish(rows, {}, torch.sigmoid)
        size = s.z.grad.abs()
        positive, negative = positive + (size * s.y).sum(0), negative + (size * (1 - s.y)).sum(0)
        ratio = (positive / (negative + 1e-10)).clamp(0, 1)
        state = {"positive": positive, "negative": negative, "ratio": ratio}
        entry["state"] = {key: numbers(values) for key, values in state.items()}
        steps.append(entry)
    case(name, config, steps)


plain = [{"count": 4.0}, {"count": 7.0}, {"count": 2.0, "ignore": IGNORE}, {}, {"ignore": IGNORE}]
equalized_focal("efl", {"method": "efl"}, plain)
equalized_focal("efl, other settings", {"method": "efl", "alpha": 0.4, "gamma": 1.5, "scale": 4.0},
                plain[:3], 0.4, 1.5, 4.0)
equalized_focal("efl, multi-label", {"method": "efl"}, [{"is_multi": True},
                                                         {"is_multi": True, "ignore": IGNORE}])


# --- EQFL: the target at the label is the quality of the row, or 1
def quality_focal(name, config, settings, qualities, gamma=2.0, scale=8.0):
    positive, negative, ratio, steps = torch.zeros(C), torch.zeros(C), torch.ones(C), []
    for options in settings:
        s = Step(C, **options)
        quality = torch.rand(R, generator=generator).float().double()
        quality[0], quality[1] = 1.0, 0.0
        y = s.y * quality[:, None] if qualities else s.y
        exponent = gamma + scale * (1 - ratio)
        rows = (exponent / gamma * (y - torch.sigmoid(s.z)).abs() ** exponent * bce(s.z, y)).sum(1)
        more = {"qualities": numbers(quality)} if qualities else {}
        entry = s.finish(rows, {}, torch.sigmoid, **more)
        size = s.z.grad.abs()
        positive, negative = positive + (size * s.y).sum(0), negative + (size * (1 - s.y)).sum(0)
        ratio = (positive / (negative + 1e-10)).clamp(0, 1)
        state = {"positive": positive, "negative": negative, "ratio": ratio}
        entry["state"] = {key: numbers(values) for key, values in state.items()}
        steps.append(entry)
    case(name, config, steps)


quality_focal("eqfl", {"method": "eqfl"}, plain, True)
quality_focal("eqfl, without qualities", {"method": "eqfl", "scale": 4.0}, plain[:3], False, 2.0, 4.0)
quality_focal("eqfl, multi-label", {"method": "eqfl"}, [{"is_multi": True}] * 2, False)

# --- ACSL: one number a row decides whether it pushes common and rare classes down
share = torch.where(images > 100, 1.0, torch.where(images > 10, 0.5, 0.25))
share = torch.cat([share, torch.ones(1)])


def suppression(name, settings, seed, threshold=0.3):
    steps = []
    for draw, options in enumerate(settings):
        s = Step(C + 1, **options)
        y = torch.cat([s.y, 1 - s.foreground], 1)
        number = torch.tensor([uniform(seed, draw, row, 0) for row in range(R)])
        high = (torch.sigmoid(s.z.detach()) >= threshold).double()
        of_background = (number[:, None] < share[None, :]).double()
        w = s.foreground * high + (1 - s.foreground) * of_background
        w = torch.maximum(w, y)
        steps.append(s.finish((w * bce(s.z, y)).sum(1),
                              scores=lambda z: torch.sigmoid(z[:, :C])))
    case(name, {"method": "acsl", "threshold": threshold, "common_share": 0.5, "rare_share": 0.25,
                "seed": seed}, steps)


suppression("acsl", [{}] * 4 + [{"ignore": IGNORE}], 5)
suppression("acsl, multi-label", [{"is_multi": True}, {"is_multi": True, "ignore": IGNORE}], 0)
suppression("acsl, classification", [{"num_labels": C}], 1)

# --- DropLoss: one number for every entry of a background row
is_tail = (images < 0.02 * NUM_IMAGES).double()


def drop_loss(name, settings, seed):
    steps = []
    for draw, options in enumerate(settings):
        s = Step(C, **options)
        positives = (s.y * s.kept[:, None]).sum()
        rho = (s.y * is_tail * s.kept[:, None]).sum() / positives  # NaN without a positive
        number = torch.tensor([[uniform(seed, draw, r, j) for j in range(C)] for r in range(R)])
        dropped = (number > rho).double()
        out = s.foreground + (1 - s.foreground) * dropped
        w = 1 - out * is_tail * (1 - s.y)
        steps.append(s.finish((w * bce(s.z, s.y)).sum(1), scores=torch.sigmoid))
    case(name, {"method": "drop-loss", "tail": {"image-frequency-below": 0.02}, "seed": seed}, steps)


drop_loss("drop-loss", [{}] * 4 + [{"ignore": IGNORE}], 9)
drop_loss("drop-loss, multi-label", [{"is_multi": True}, {"is_multi": True, "ignore": IGNORE}], 0)


# --- federated loss: the order of classes by exponential waiting times from ChaCha8
def chacha8(key, counter):
    state = list(struct.unpack("<4I", b"expand 32-byte k")) + list(struct.unpack("<8I", key))
    state += [counter, 0, 0, 0]
    x = list(state)

    def quarter(a, b, c, d):
        for p, q, r, shift in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            x[p] = (x[p] + x[q]) & M32
            word = x[r] ^ x[p]
            x[r] = (word << shift | word >> (32 - shift)) & M32

    for _ in range(4):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return [(a + b) & M32 for a, b in zip(x, state)]


def class_order(seed, draw, weights, stream=10):
    key = struct.pack("<4Q", seed, stream, draw, 0)
    words = [word for block in range(len(weights) // 8 + 1) for word in chacha8(key, block)]
    units = [(words[2 * j] | words[2 * j + 1] << 32) >> 11 for j in range(len(weights))]
    times = [-math.log1p(-unit / (1 << 53)) / weight for unit, weight in zip(units, weights)]
    return sorted(range(len(weights)), key=times.__getitem__)


def federated(name, config, settings, columns=C, softmax=False, num_sampled=14, seed=3):
    steps = []
    for draw, options in enumerate(settings):
        s = Step(columns, **options)
        present = {j for j in range(C) if (s.y[:, j] * s.kept).sum() > 0}
        has_background = bool(((1 - s.foreground[:, 0]) * s.kept).sum() > 0)
        places = num_sampled - len(present) - has_background
        weights = [max(count, 1) ** 0.5 for count in IMAGES]
        others = [j for j in class_order(seed, draw, weights) if j not in present]
        sampled = torch.zeros(C)
        sampled[sorted(present | set(others[: max(places, 0)]))] = 1
        if softmax:
            mask = torch.cat([sampled, torch.ones(columns - C)]) == 0
            log_p = F.log_softmax(s.z.masked_fill(mask, -1e9), 1)  # finite in ignored rows
            rows = -log_p.gather(1, s.labels[:, None])[:, 0]
            scores = lambda z: F.softmax(z, 1)[:, :C]
        else:
            rows, scores = (bce(s.z, s.y) * sampled).sum(1), torch.sigmoid
        steps.append(s.finish(rows, scores=scores))
    case(name, {"method": "federated", "sampled_classes": num_sampled, "seed": seed, **config}, steps)


federated("federated", {}, [{}] * 4 + [{"ignore": IGNORE}])
federated("federated, more classes in the batch", {}, [{}], num_sampled=2)
federated("federated, multi-label", {}, [{"is_multi": True, "ignore": IGNORE}], num_sampled=22)
federated("federated softmax", {"form": "softmax"},
          [{"num_labels": C}, {"num_labels": C, "ignore": IGNORE}], softmax=True)
federated("federated softmax, background", {"form": "softmax-with-background"},
          [{}, {"ignore": IGNORE}], columns=C + 1, softmax=True)


# --- GHM-C, bin by bin as released
def harmonized(name, config, settings, bins=10, momentum=0.0):
    average, steps = torch.zeros(bins), []
    edges = [i / bins for i in range(bins + 1)]
    edges[-1] += 1e-6
    for options in settings:
        s = Step(C, **options)
        valid = (s.kept[:, None] > 0).expand(R, C)
        total = max(valid.double().sum().item(), 1.0)
        g = (torch.sigmoid(s.z.detach()) - s.y).abs()
        w, filled = torch.zeros(R, C), 0
        for i in range(bins):
            inside = (g >= edges[i]) & (g < edges[i + 1]) & valid
            count = inside.sum().item()
            if count > 0:
                average[i] = momentum * average[i] + (1 - momentum) * count
                w[inside] = total / average[i]
                filled += 1
        # Each row by the number of classes: the divisor of Step is the number of rows.
        rows = (w / filled * bce(s.z, s.y)).sum(1) / C
        state = {"error_counts": average.clone()} if momentum > 0 else None
        steps.append(s.finish(rows, state, torch.sigmoid))
    case(name, {"method": "ghm-c", **config}, steps)


harmonized("ghm-c", {}, [{}, {"ignore": IGNORE}])
harmonized("ghm-c, momentum", {"bins": 30, "momentum": 0.75}, [{}] * 4 + [{"ignore": IGNORE}], 30, 0.75)
harmonized("ghm-c, multi-label", {"bins": 3}, [{"is_multi": True, "ignore": IGNORE}], 3)

with open(sys.argv[1], "w") as file:
    counts = {"image_counts": IMAGES, "instance_counts": INSTANCES, "num_images": NUM_IMAGES}
    lines = ",\n".join(json.dumps(entry) for entry in cases)
    file.write(f'{{"rows": {R}, "classes": {C}, "counts": {json.dumps(counts)}, "cases": [\n{lines}\n]}}\n')
print(len(cases), "cases")
