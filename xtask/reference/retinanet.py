"""Numbers behind crates/models/tests/retinanet.rs: torchvision's RetinaNet on a batch.

    python xtask/reference/retinanet.py crates/models/tests/data/retinanet_batch.json

ResNet-18, a pyramid of 32 channels; weights and images by the formula of models.py (with small last
layers, GAINS there). Two images of different sizes. Batch norms use their running statistics in the
training pass too. torchvision divides each image's losses by its own number of positive anchors and
averages over the images; ours divides the sums of the batch by the positives of the batch, so the
losses of the images are put together again here that way. In float32.
"""

import json
import sys

import torch
import torchvision
from models import GAINS, fill, value
from torch import nn
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

NUM_CLASSES = 5
SIZES = [(64, 96), (50, 70)]
OBJECTS = [
    ([[4.0, 6.0, 30.0, 40.0], [40.0, 10.0, 64.0, 45.0], [42.0, 12.0, 60.0, 50.0]], [0, 4, 1]),
    ([[20.0, 20.0, 33.0, 31.0]], [2]),
]


def build():
    body = torchvision.models.resnet18(weights=None)
    layers = {f"layer{i + 2}": str(i) for i in range(3)}
    backbone = BackboneWithFPN(body, layers, [128, 256, 512], 32, extra_blocks=LastLevelP6P7(32, 32))
    sizes = tuple((s, s * 1.5) for s in (8.0, 16.0, 32.0, 48.0, 64.0))
    model = RetinaNet(
        backbone,
        NUM_CLASSES,
        anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 5),
        score_thresh=0.0,
        topk_candidates=60,
        detections_per_img=40,
    )
    model.transform.resize = lambda image, target=None: (image, target)  # _skip_resize trains only
    state = fill(model, "bn2").state_dict()
    for name, gain in GAINS.items():
        if name in state:
            state[name] *= gain  # in place: these are the model's tensors
    return model


def over_the_batch(head):
    """The head's losses with the normaliser of the batch, and the number of positives per image."""
    single = head.compute_loss
    counts = []

    def compute_loss(targets, outputs, anchors, matched):
        counts.extend(int((m >= 0).sum()) for m in matched)
        total = {}
        for i, count in enumerate(counts):
            one = {k: v[i : i + 1] for k, v in outputs.items()}
            for name, loss in single(targets[i : i + 1], one, anchors[i : i + 1], matched[i : i + 1]).items():
                total[name] = total.get(name, 0) + loss * max(1, count) / max(1, sum(counts))
        return total

    head.compute_loss = compute_loss
    return counts


def main():
    model = build()
    images = [(value(f"image:{i}", 3, h, w) + 1) / 2 for i, (h, w) in enumerate(SIZES)]
    model.eval()
    with torch.no_grad():
        detections = model(images)
    model.train()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
    counts = over_the_batch(model.head)
    losses = model(
        images, [{"boxes": torch.tensor(b), "labels": torch.tensor(l)} for b, l in OBJECTS]
    )
    sum(losses.values()).backward()
    found = {
        "torchvision": torchvision.__version__,
        "images": [
            {
                "seed": i, "height": h, "width": w, "padded": [1, 3, 64, 96],
                "targets": {"boxes": OBJECTS[i][0], "labels": OBJECTS[i][1]},
                "detections": {k: detections[i][k].tolist() for k in ("boxes", "labels", "scores")},
            }
            for i, (h, w) in enumerate(SIZES)
        ],
        "num_positives": counts,
        "losses": {k: v.item() for k, v in losses.items()},
        "grad_norms": {k: p.grad.norm().item() for k, p in model.named_parameters() if p.grad is not None},
    }
    with open(sys.argv[1], "w") as file:
        json.dump(found, file)
    for d in detections:
        gaps = (d["scores"][:-1] - d["scores"][1:]).min().item()
        print(len(d["scores"]), d["scores"][:3].tolist(), d["scores"][-1].item(), "smallest gap", gaps)
    print(found["losses"], counts, len(found["grad_norms"]), min(found["grad_norms"].values()))


if __name__ == "__main__":
    main()
