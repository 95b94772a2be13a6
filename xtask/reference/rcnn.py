"""Numbers behind crates/models/tests/torchvision_rcnn.rs: torchvision's Mask R-CNN on a batch.

    python xtask/reference/rcnn.py crates/models/tests/data/mask_rcnn_batch.json

ResNet-18, a pyramid of 32 channels and narrow heads; weights and images by the formula of models.py
(with small last layers, GAINS there). Two images of different sizes, the second without an object.
Batch norms use their running statistics in the training pass too. Every anchor and region is in the
losses, so nothing is random. In float32, as torchvision's roi_align on the CPU wants it.
"""

import json
import sys

import torch
import torchvision
from models import GAINS, fill, sample, value
from torch import nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

NUM_COLUMNS = 6  # background and 5 classes
SIZES = [(64, 96), (50, 70)]
BOXES = [[4.0, 6.0, 30.0, 40.0], [40.0, 10.0, 64.0, 45.0], [42.0, 12.0, 60.0, 50.0]]
LABELS = [1, 5, 2]


def build():
    body = torchvision.models.resnet18(weights=None)
    layers = {f"layer{i + 1}": str(i) for i in range(4)}
    backbone = BackboneWithFPN(body, layers, [64, 128, 256, 512], 32)
    model = MaskRCNN(
        backbone,
        rpn_anchor_generator=AnchorGenerator(
            tuple((s,) for s in (8, 16, 32, 48, 64)), ((0.5, 1.0, 2.0),) * 5
        ),
        box_head=TwoMLPHead(32 * 49, 48),
        box_predictor=FastRCNNPredictor(48, NUM_COLUMNS),
        mask_head=MaskRCNNHeads(32, (24, 24), 1),
        mask_predictor=MaskRCNNPredictor(24, 24, NUM_COLUMNS),
        rpn_pre_nms_top_n_train=150,
        rpn_pre_nms_top_n_test=120,
        rpn_post_nms_top_n_train=100,
        rpn_post_nms_top_n_test=80,
        rpn_batch_size_per_image=10**6,
        box_batch_size_per_image=10**6,
        box_score_thresh=0.0,
        box_detections_per_img=40,
    )
    model.transform.resize = lambda image, target=None: (image, target)
    state = fill(model, "bn2").state_dict()
    for name, gain in GAINS.items():
        if name in state:
            state[name] *= gain  # in place: these are the model's tensors
    return model


def ellipse(box, height, width):
    x1, y1, x2, y2 = box
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    dy = (ys + 0.5 - (y1 + y2) / 2) / ((y2 - y1) / 2)
    dx = (xs + 0.5 - (x1 + x2) / 2) / ((x2 - x1) / 2)
    return (dy**2 + dx**2 <= 1).to(torch.uint8)


def brief(tensor):
    flat = tensor.double().flatten()
    means = {"mean": flat.mean().item(), "abs_mean": flat.abs().mean().item()}
    return sample(tensor, 24) | means


def main():
    model = build()
    images = [(value(f"image:{i}", 3, h, w) + 1) / 2 for i, (h, w) in enumerate(SIZES)]
    model.eval()
    with torch.no_grad():
        batch, _ = model.transform(images)
        levels = model.backbone(batch.tensors)
        detections = model(images)
    model.train()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
    (h, w), (h2, w2) = SIZES
    empty = {
        "boxes": torch.zeros(0, 4),
        "labels": torch.zeros(0, dtype=torch.int64),
        "masks": torch.zeros(0, h2, w2, dtype=torch.uint8),
    }
    objects = {
        "boxes": torch.tensor(BOXES),
        "labels": torch.tensor(LABELS),
        "masks": torch.stack([ellipse(b, h, w) for b in BOXES]),
    }
    losses = model(images, [objects, empty])
    sum(losses.values()).backward()
    found = {
        "torchvision": torchvision.__version__,
        "sizes": SIZES,
        "fpn": {name: brief(level) for name, level in levels.items()},
        "targets": {"boxes": BOXES, "labels": LABELS},
        "detections": [
            {
                "boxes": d["boxes"].tolist(),
                "labels": d["labels"].tolist(),
                "scores": d["scores"].tolist(),
                "mask_means": d["masks"].mean((1, 2, 3)).tolist(),
            }
            for d in detections
        ],
        "losses": {k: v.item() for k, v in losses.items()},
        "grad_norms": {k: p.grad.norm().item() for k, p in model.named_parameters() if p.grad is not None},
    }
    with open(sys.argv[1], "w") as file:
        json.dump(found, file)
    for d in found["detections"]:
        scores = d["scores"]
        gaps = [a - b for a, b in zip(scores, scores[1:])]
        print(len(scores), scores[:3], scores[-1:], "smallest gap", min(gaps, default=None))
    print(found["losses"], len(found["grad_norms"]), min(found["grad_norms"].values()))


if __name__ == "__main__":
    main()
