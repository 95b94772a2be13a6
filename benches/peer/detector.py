"""torchvision twin of `longtail bench --suite detector`.

    detector.py FOLDER prepare          writes the weights and images that both sides use
    detector.py FOLDER serve            answers `training` and `inference`, one a line, with the
                                        milliseconds of every stage as JSON
    detector.py FOLDER memory CASE      runs a few steps of a case; prints the peak memory of the
                                        process and what it held before the detector, in bytes

FOLDER/case.json names sizes, thread count and objects. The stages call torchvision's own parts in
the order of its `forward`, without the transform, as images are already of their size.
"""

import json
import resource
import sys
import time
from pathlib import Path

import torch
import torchvision
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import (
    fastrcnn_loss,
    maskrcnn_inference,
    maskrcnn_loss,
    paste_masks_in_image,
)
from torchvision.models.detection.rpn import concat_box_prediction_layers
from torchvision.ops.misc import FrozenBatchNorm2d

folder, what = Path(sys.argv[1]), sys.argv[2]
case = json.loads((folder / "case.json").read_text())
size, images_per_batch = case["size"], len(case["objects"])
torch.set_num_threads(case["threads"])
device = case["device"]
if device == "gpu":
    device = "cuda" if torch.cuda.is_available() else "mps"
held_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def build():
    torch.manual_seed(0)
    body = getattr(torchvision.models, case["body"])(weights=None, norm_layer=FrozenBatchNorm2d)
    backbone = _resnet_fpn_extractor(body, 3)
    return MaskRCNN(
        backbone,
        num_classes=case["classes"] + 1,
        min_size=size,
        max_size=size,
        box_score_thresh=case["score_threshold"],
        box_detections_per_img=case["detections"],
    )


def prepare():
    """Random weights that keep activations in range and give scores of all sizes."""
    model = build()
    state = model.state_dict()
    for name, value in state.items():
        if name.endswith("bn2.weight" if case["body"] == "resnet18" else "bn3.weight"):
            value.fill_(0.3)
        elif name.endswith("rpn.head.cls_logits.weight"):
            value.mul_(5)
        elif name.endswith("box_predictor.cls_score.weight"):
            value.mul_(case["score_gain"])
    torch.save(state, folder / "weights.pth")
    images = torch.randn(images_per_batch, 3, size // 8, size // 8)
    images = torch.nn.functional.interpolate(images, size=(size, size), mode="bilinear")
    (folder / "images.f32").write_bytes(images.contiguous().numpy().tobytes())


def mask(box):
    """The ellipse in a box."""
    ys, xs = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    x1, y1, x2, y2 = box
    dx, dy = (xs - (x1 + x2) / 2) / ((x2 - x1) / 2), (ys - (y1 + y2) / 2) / ((y2 - y1) / 2)
    return (dx * dx + dy * dy <= 1).to(torch.uint8)


def target(objects):
    fields = {
        "boxes": torch.tensor([o["box"] for o in objects], dtype=torch.float32),
        "labels": torch.tensor([o["label"] + 1 for o in objects]),
        "masks": torch.stack([mask(o["box"]) for o in objects]),
    }
    return {name: field.to(device) for name, field in fields.items()}


def synchronize():
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()


class Clock:
    def __init__(self):
        synchronize()
        self.stages, self.last = {}, time.perf_counter()

    def __call__(self, stage):
        synchronize()
        now = time.perf_counter()
        self.stages[stage] = self.stages.get(stage, 0.0) + (now - self.last) * 1e3
        self.last = now


model = build()
if what == "prepare":
    prepare()
    sys.exit()
model.load_state_dict(torch.load(folder / "weights.pth"))
model.to(device)
pixels = torch.frombuffer(bytearray((folder / "images.f32").read_bytes()), dtype=torch.float32)
pixels = pixels.reshape(images_per_batch, 3, size, size).to(device)
sizes = [(size, size)] * images_per_batch
targets = [target(objects) for objects in case["objects"]]
trained = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.SGD(trained, lr=1e-6, momentum=0.9, weight_decay=1e-4)


def pyramid(clock):
    maps = model.backbone.body(pixels)
    clock("backbone")
    features = model.backbone.fpn(maps)
    clock("fpn")
    return features


def propose(features, clock):
    rpn = model.rpn
    levels = list(features.values())
    logits, offsets = rpn.head(levels)
    counts = [level[0].numel() for level in logits]
    logits, offsets = concat_box_prediction_layers(logits, offsets)
    clock("rpn head")
    anchors = rpn.anchor_generator(ImageList(pixels, sizes), levels)
    decoded = rpn.box_coder.decode(offsets.detach(), anchors).view(images_per_batch, -1, 4)
    proposals, _ = rpn.filter_proposals(decoded, logits, sizes, counts)
    return logits, offsets, anchors, proposals


def training(clock):
    rpn, heads = model.rpn, model.roi_heads
    features = pyramid(clock)
    logits, offsets, anchors, proposals = propose(features, clock)
    rois, matched, labels, box_targets = heads.select_training_samples(proposals, targets)
    clock("proposals")
    pooled = heads.box_roi_pool(features, rois, sizes)
    clock("roi align")
    class_logits, box_offsets = heads.box_predictor(heads.box_head(pooled))
    clock("box head")
    positives = [torch.where(label > 0)[0] for label in labels]
    mask_rois = [roi[index] for roi, index in zip(rois, positives)]
    mask_matched = [index[positive] for index, positive in zip(matched, positives)]
    pooled = heads.mask_roi_pool(features, mask_rois, sizes)
    clock("roi align")
    mask_logits = heads.mask_predictor(heads.mask_head(pooled))
    clock("mask head")
    anchor_labels, matched_boxes = rpn.assign_targets_to_anchors(anchors, targets)
    anchor_targets = rpn.box_coder.encode(matched_boxes, anchors)
    losses = [*rpn.compute_loss(logits, offsets, anchor_labels, anchor_targets)]
    losses += fastrcnn_loss(class_logits, box_offsets, labels, box_targets)
    masks, gt_labels = ([t[key] for t in targets] for key in ("masks", "labels"))
    losses.append(maskrcnn_loss(mask_logits, mask_rois, masks, gt_labels, mask_matched))
    total = sum(losses)
    clock("losses")
    del features, pooled, class_logits, box_offsets, mask_logits, logits, offsets
    total.backward()
    clock("backward")
    optimizer.step()
    optimizer.zero_grad()
    clock("optimizer")
    return {"loss": total.item(), "rois": sum(map(len, rois)), "positives": sum(map(len, mask_rois))}


def inference(clock):
    heads = model.roi_heads
    with torch.inference_mode():
        features = pyramid(clock)
        *_, proposals = propose(features, clock)
        clock("proposals")
        pooled = heads.box_roi_pool(features, proposals, sizes)
        clock("roi align")
        class_logits, box_offsets = heads.box_predictor(heads.box_head(pooled))
        clock("box head")
        boxes, scores, labels = heads.postprocess_detections(
            class_logits, box_offsets, proposals, sizes
        )
        clock("detections")
        pooled = heads.mask_roi_pool(features, boxes, sizes)
        clock("roi align")
        logits = heads.mask_predictor(heads.mask_head(pooled))
        probabilities = maskrcnn_inference(logits, labels)
        clock("mask head")
        for mask_of, box in zip(probabilities, boxes):
            paste_masks_in_image(mask_of, box, (size, size)) > 0.5
        clock("masks drawn")
    return {
        "loss": sum(score.sum().item() for score in scores),
        "rois": sum(map(len, proposals)),
        "positives": sum(map(len, boxes)),
    }


def run(name):
    model.train(name == "training")
    clock = Clock()
    facts = {"training": training, "inference": inference}[name](clock)
    return {"stages": clock.stages, "facts": facts}


if what == "memory":
    for _ in range(4):
        run(sys.argv[3])
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, held_before)
else:
    for line in sys.stdin:
        print(json.dumps(run(line.strip())), flush=True)
