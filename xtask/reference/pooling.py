"""Reference values in float64 of the causal-norm classifier and of pooling by shared regions.

`python pooling.py crates/models/tests/data/pooling.json`. Causal norm follows the released code of
Tang et al. (2020) in PyTorch. The pooling is longtail's own design: its definition is written out in
loops over images and regions, and PyTorch differentiates it.
"""

import json
import sys

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
generator = torch.Generator().manual_seed(5)


def draw(*shape):
    return torch.randn(*shape, generator=generator).float().double()


def numbers(tensor):
    return [float(f"{value:.9g}") for value in tensor.reshape(-1).tolist()]


# --- causal norm: three batches of training, then a test batch
HEADS, TAU, GAMMA, MU = 2, 16.0, 1 / 32, 0.9
weight = draw(7, 8).requires_grad_(True)
embed = torch.zeros(8)
training = []


def parts(x):
    return torch.split(x, 8 // HEADS, dim=1)


def training_logits(x):
    normed_x = torch.cat([p / torch.norm(p, 2, 1, keepdim=True) for p in parts(x)], 1)
    normed_w = torch.cat([p / (torch.norm(p, 2, 1, keepdim=True) + GAMMA) for p in parts(weight)], 1)
    return torch.mm(normed_x * (TAU / HEADS), normed_w.t()), normed_x, normed_w


for _ in range(3):
    features, probe = draw(5, 8).abs().requires_grad_(True), draw(5, 7)
    embed = MU * embed + features.detach().mean(0)
    logits, _, _ = training_logits(features)
    weight.grad = None
    (logits * probe).sum().backward()
    training.append({"features": numbers(features), "probe": numbers(probe),
                     "logits": numbers(logits), "features_grad": numbers(features.grad),
                     "weight_grad": numbers(weight.grad)})


def test_logits(x, alpha):
    _, normed_x, normed_w = training_logits(x)
    normed_c = torch.cat([p / torch.norm(p, 2, 1, keepdim=True) for p in parts(embed.view(1, -1))], 1)
    output = 0
    for nx, nc, nw in zip(parts(normed_x), parts(normed_c), parts(normed_w)):
        cosine = (nx * nc).sum(-1, keepdim=True) / torch.norm(nx, 2, 1, keepdim=True)
        cosine = cosine / torch.norm(nc, 2, 1, keepdim=True)
        output = output + torch.mm((nx - cosine * alpha * nc) * (TAU / HEADS), nw.t())
    return output


features = draw(4, 8).abs()
test = {"features": numbers(features)}
for alpha in (0.0, 1.5, 3.0):
    test[f"logits_{alpha}"] = numbers(test_logits(features, alpha))
causal = {"weight": numbers(weight), "mean": numbers(embed * (1 - MU)), "training": training,
          "test": test}

# --- pooling: 6 images of 3 x 2 regions, 5 channels, 4 classes
LABELS = [0, 1, 0, 2, 1, 0]
maps, class_weights, probe = draw(6, 5, 3, 2), draw(4, 5), draw(6, 5)
pooling = {"labels": LABELS, "maps": numbers(maps), "class_weights": numbers(class_weights),
           "probe": numbers(probe), "cases": []}


def regions_of(maps, image):
    return [maps[image, :, y, x] for y in range(3) for x in range(2)]


def cosine(a, b):
    return (a * b).sum() / (a.norm() * b.norm())


def class_map(maps, weights, image, label):
    return torch.stack([cosine(weights[label], f).clamp(min=0) for f in regions_of(maps, image)])


def shared(maps, image, partners):
    others = [(image + step) % 6 for step in range(1, 6)]
    others = [other for other in others if LABELS[other] == LABELS[image]][:partners]
    if not others:
        return None
    evidence = []
    for f in regions_of(maps, image):
        evidence.append(max(cosine(f, g).item() for other in others for g in regions_of(maps, other)))
    return torch.tensor(evidence)


def pooled(maps, image, evidence, temperature, strength):
    a = F.softmax(evidence.detach() / temperature, 0)
    weighted = sum(w * f for w, f in zip(a, regions_of(maps, image)))
    return strength * weighted + (1 - strength) * maps[image].mean((1, 2))


for partners, temperature, strength, agreement in ((1, 0.2, 0.5, 0.0), (4, 0.1, 1.0, 0.7),
                                                   (2, 0.5, 0.0, 0.3)):
    z, w = maps.clone().requires_grad_(True), class_weights.clone().requires_grad_(True)
    features, terms = [], []
    for image, label in enumerate(LABELS):
        own = class_map(z, w, image, label)
        evidence = shared(z, image, partners)
        features.append(pooled(z, image, own if evidence is None else evidence, temperature, strength))
        if evidence is not None:
            target = F.softmax(evidence / temperature, 0)
            terms.append((target * (target.log() - F.log_softmax(own / temperature, 0))).sum())
    features = torch.stack(features)
    extra = agreement * torch.stack(terms).mean()
    ((features * probe).sum() + extra).backward()
    unlabeled = []
    for image in range(6):
        guess = int((class_weights @ maps[image].mean((1, 2))).argmax())
        own = class_map(maps, class_weights, image, guess)
        unlabeled.append(pooled(maps, image, own, temperature, strength))
    pooling["cases"].append({
        "config": {"partners": partners, "temperature": temperature, "strength": strength,
                   "agreement": agreement},
        "features": numbers(features), "agreement": extra.item(), "maps_grad": numbers(z.grad),
        "weights_grad": numbers(w.grad if w.grad is not None else torch.zeros(4, 5)),
        "unlabeled": numbers(torch.stack(unlabeled)),
    })

with open(sys.argv[1], "w") as file:
    json.dump({"causal_norm": causal, "pooling": pooling}, file)
    file.write("\n")
