"""A run of longtail in PyTorch: loads its exported weights into torchvision's model.

    longtail weights export runs/birds --out birds.safetensors
    longtail predict --run runs/birds --json --min-score 0 heron.png > heron.json
    python scripts/torchvision_load.py runs/birds birds.safetensors heron.png heron.json

builds the model that runs/birds/recipe.toml describes, fills it with the weights, and compares what
it says about the image with what longtail said. It ends with 0 if scores agree within --tolerance
and boxes within a hundred times as much, in pixels. Without heron.json it prints what it finds.

Covered: ResNet and ResNeXt classifiers; Faster and Mask R-CNN, RetinaNet with linear classifiers,
softmax or sigmoid losses. Not covered, because torchvision has no such model: CIFAR ResNets, Cascade
R-CNN, other heads, losses with columns of their own. Use a PNG image: decoders of JPEG round
differently. Needs torch, torchvision, safetensors, Pillow and Python 3.11.

As a module: `model, recipe, names = load_run(run, weights)`.
"""

import argparse
import functools
import json
import sys
import tomllib
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torchvision.models.detection import FasterRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection import faster_rcnn, mask_rcnn, retinanet, rpn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops import MultiScaleRoIAlign, batched_nms, boxes as box_ops
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

# Losses whose test-time scores are the softmax of their logits, or the sigmoid of each.
SOFTMAX = {"cross-entropy", "balanced-softmax", "ldam"}
SIGMOID = {
    "binary-cross-entropy", "balanced-sigmoid", "eql", "focal", "federated", "drop-loss"
}

# What the presets of transforms subtract and divide by.
NORMALIZE = {
    "imagenet": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    "cifar": {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2023, 0.1994, 0.2010]},
}


def refuse(what):
    sys.exit(f"torchvision_load.py: {what}")


def norm_layer(config):
    if config is None:
        return None
    epsilon = config.get("epsilon", 1e-5)
    if config["kind"] == "group":
        return lambda channels: nn.GroupNorm(config.get("groups", 32), channels, eps=epsilon)
    return functools.partial(nn.BatchNorm2d, eps=epsilon)


def architecture(name):
    """`resnet50`, `resnext50-32x4d` as torchvision writes them."""
    return name.replace("-", "_")


def fill(model, state):
    missing, unexpected = model.load_state_dict(state, strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        refuse(f"missing in the file: {missing[:5]}; one too many: {list(unexpected)[:5]}")
    return model.eval()


def classifier(recipe, state, num_classes):
    name = architecture(recipe["model"]["backbone"])
    if not hasattr(torchvision.models, name):
        refuse(f"torchvision has no {name}")
    if state["fc.weight"].shape[0] != num_classes or recipe["loss"]["method"] not in SOFTMAX | SIGMOID:
        refuse(f"the head of {recipe['loss']['method']} is no plain layer of {num_classes} classes")
    return fill(getattr(torchvision.models, name)(weights=None, num_classes=num_classes), state)


def backbone(config, extra):
    body = config["backbone"]
    if body["base_width"] != 64:
        refuse(f"torchvision's ResNets are 64 channels wide, this one has {body['base_width']}")
    make = getattr(torchvision.models, architecture(body["architecture"]))
    resnet = make(weights=None, norm_layer=norm_layer(body["norm"]))
    first = 1 if extra == "pool" else 2
    layers = range(first, 5)
    inside = resnet.inplanes // 8
    channels = config["fpn"]["channels"]
    blocks = {
        "pool": LastLevelMaxPool,
        "p3-p7": lambda: LastLevelP6P7(channels, channels),
        "p3-p7-from-c5": lambda: LastLevelP6P7(resnet.inplanes, channels),
    }[extra]()
    return BackboneWithFPN(
        resnet,
        {f"layer{layer}": str(index) for index, layer in enumerate(layers)},
        [inside * 2 ** (layer - 1) for layer in layers],
        channels,
        blocks,
        norm_layer(config["fpn"].get("norm")),
    )


def anchors(sizes, ratios):
    return AnchorGenerator(tuple(map(tuple, sizes)), (tuple(ratios),) * len(sizes))


def with_background(state, num_classes):
    """Where the loss has no column for background, one in front: torchvision counts from it."""
    padded = dict(state)
    parts = [("cls_score", 1), ("bbox_pred", 4), ("mask_fcn_logits", 1)]
    for name, tensor in state.items():
        rows = next((rows for part, rows in parts if f"_predictor.{part}." in name), None)
        if rows is None:
            continue
        if tensor.shape[0] == rows:  # one for all classes
            padded[name] = tensor.repeat(num_classes + 1, *[1] * (tensor.dim() - 1))
        elif tensor.shape[0] == rows * num_classes:
            padded[name] = torch.cat([torch.zeros_like(tensor[:rows]), tensor])
    return padded


def sigmoid_detections(heads, logits, offsets, proposals, sizes):
    """RoIHeads.postprocess_detections with a sigmoid per class instead of a softmax over all."""
    counts = [len(boxes) for boxes in proposals]
    boxes = heads.box_coder.decode(offsets, proposals).split(counts)
    scores = logits.sigmoid().split(counts)
    found = []
    for boxes, scores, size in zip(boxes, scores, sizes):
        boxes = box_ops.clip_boxes_to_image(boxes, size)[:, 1:].reshape(-1, 4)
        labels = torch.arange(1, scores.shape[1]).expand(len(scores), -1).reshape(-1)
        scores = scores[:, 1:].reshape(-1)
        keep = (scores > heads.score_thresh).nonzero().squeeze(1)
        keep = keep[box_ops.remove_small_boxes(boxes[keep], 1e-2)]
        kept = batched_nms(boxes[keep], scores[keep], labels[keep], heads.nms_thresh)
        keep = keep[kept[: heads.detections_per_img]]
        found.append((boxes[keep], scores[keep], labels[keep]))
    return tuple(map(list, zip(*found)))


def rcnn(config, method, state, num_classes):
    head, targets, detection = config["box_head"], config["box_targets"], config["detection"]
    mask = config.get("mask_head")
    if head["classifier"]["kind"] != "linear" or head["aligned"] or (mask and mask["aligned"]):
        refuse("torchvision's box heads have a linear classifier and no aligned pooling")
    has_background = state["roi_heads.box_predictor.cls_score.weight"].shape[0] == num_classes + 1
    if method not in (SOFTMAX if has_background else SIGMOID):
        refuse(f"scores of {method} are not covered")
    state = with_background(state, num_classes)
    body = backbone(config, "pool")
    channels, pooled, layers = config["fpn"]["channels"], head["pooled_size"], head["layers"]
    levels = ["0", "1", "2", "3"]
    if layers["kind"] == "two-fc":
        box_head = faster_rcnn.TwoMLPHead(channels * pooled**2, layers["width"])
    else:
        shape = (channels, pooled, pooled)
        convs = [layers["channels"]] * layers["num_convs"]
        norm = norm_layer(layers.get("norm"))
        box_head = faster_rcnn.FastRCNNConvFCHead(shape, convs, [layers["width"]], norm)
    proposals = config["rpn"]
    generator = anchors(proposals["anchor_sizes"], proposals["aspect_ratios"])
    num_anchors = generator.num_anchors_per_location()[0]
    parts = dict(
        rpn_anchor_generator=generator,
        rpn_head=rpn.RPNHead(channels, num_anchors, proposals["num_convs"]),
        rpn_pre_nms_top_n_test=proposals["test"]["before_nms"],
        rpn_post_nms_top_n_test=proposals["test"]["after_nms"],
        rpn_nms_thresh=proposals["nms_threshold"],
        rpn_score_thresh=proposals["min_score"],
        box_roi_pool=MultiScaleRoIAlign(levels, pooled, head["sampling_ratio"]),
        box_head=box_head,
        box_predictor=faster_rcnn.FastRCNNPredictor(layers["width"], num_classes + 1),
        box_score_thresh=detection["score_threshold"],
        box_nms_thresh=detection["nms_threshold"],
        box_detections_per_img=detection["max_per_image"],
        bbox_reg_weights=tuple(targets["weights"]),
    )
    make = FasterRCNN
    if config["kind"] == "mask-rcnn":
        make, width = MaskRCNN, mask["channels"]
        norm = norm_layer(mask.get("norm"))
        parts |= dict(
            mask_roi_pool=MultiScaleRoIAlign(levels, mask["pooled_size"], mask["sampling_ratio"]),
            mask_head=mask_rcnn.MaskRCNNHeads(channels, [width] * mask["num_convs"], 1, norm),
            mask_predictor=mask_rcnn.MaskRCNNPredictor(width, width, num_classes + 1),
        )
    model = fill(make(body, None, **parts), state)
    if not has_background:
        heads = model.roi_heads
        heads.postprocess_detections = functools.partial(sigmoid_detections, heads)
    return model


def retina(config, method, state, num_classes):
    if method not in SIGMOID:
        refuse(f"scores of {method} are not covered")
    levels = config["fpn"].get("levels", "p3-p7")
    body = backbone(config, levels)
    generator = anchors(config["anchor_sizes"], config["aspect_ratios"])
    num_anchors = generator.num_anchors_per_location()[0]
    norm = norm_layer(config["head"].get("norm"))
    head = retinanet.RetinaNetHead(config["fpn"]["channels"], num_anchors, num_classes, norm)
    detection = config["detection"]
    model = RetinaNet(
        body, num_classes, anchor_generator=generator, head=head,
        score_thresh=detection["score_threshold"], nms_thresh=detection["nms_threshold"],
        detections_per_img=detection["max_per_image"],
        topk_candidates=detection.get("candidates_per_level", 1000),
    )
    return fill(model, state)


def load_run(run, weights):
    """The model of a finished run, its recipe, and the names of its classes in label order."""
    run = Path(run)
    recipe = tomllib.loads((run / "recipe.toml").read_text())
    names = [c["name"] for c in json.loads((run / "report.json").read_text())["classes"]]
    state = load_file(weights)
    if "calibration" in recipe or "stage_two" in recipe:
        refuse("runs with a calibration or a second stage are not covered")
    if recipe.get("task") != "detection":
        return classifier(recipe, state, len(names)), recipe, names
    config, method = recipe["model"], recipe["loss"]["method"]
    make = {"faster-rcnn": rcnn, "mask-rcnn": rcnn, "retinanet": retina}.get(config["kind"])
    if make is None:
        refuse(f"torchvision has no {config['kind']}")
    model = make(config, method, state, len(names))
    model.transform.size_divisible = recipe["batches"]["padding"].get("multiple", 32)
    preprocess = recipe["transforms"]["preprocess"]
    model.transform.image_mean, model.transform.image_std = preprocess["mean"], preprocess["std"]
    return model, recipe, names


def resized(image, rule):
    """Resized as in the recipe."""
    if rule["rule"] == "none":
        return image
    width, height = image.size
    scale = min(rule["min"] / min(width, height), rule["max"] / max(width, height))
    size = [max(1, int(side * scale + 0.5)) for side in (width, height)]
    return image.resize(size, Image.Resampling.BILINEAR)


def tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).double() / 255


def classify(model, recipe, names, image):
    """Scores by name, as `longtail predict` gives them."""
    transforms = recipe["transforms"]
    if transforms.get("test") is not None:
        refuse("transforms.test is not covered: use a preset")
    if transforms["preset"].startswith("imagenet"):
        width, height = image.size
        short = 256 / min(width, height)
        image = image.resize([int(side * short) for side in (width, height)], Image.Resampling.BILINEAR)
        left, top = (round((side - 224) / 2) for side in image.size)
        image = image.crop((left, top, left + 224, top + 224))
    usual = NORMALIZE["imagenet" if transforms["preset"].startswith("imagenet") else "cifar"]
    normalize = transforms.get("normalize", usual)
    mean, std = (torch.tensor(normalize[name]).double() for name in ("mean", "std"))
    pixels = (tensor(image) - mean[:, None, None]) / std[:, None, None]
    with torch.no_grad():
        logits = model.double()(pixels[None])[0]
    is_softmax = recipe["loss"]["method"] in SOFTMAX
    scores = logits.softmax(0) if is_softmax else logits.sigmoid()
    return dict(zip(names, scores.tolist()))


def detect(model, recipe, names, image):
    """Detections as dicts with class, score, box [x1, y1, x2, y2] in pixels of the image, mask."""
    preprocess = recipe["transforms"]["preprocess"]
    small = resized(image, preprocess["resize"])
    pixels = tensor(small)
    if preprocess["channel_order"] == "bgr":
        pixels = pixels.flip(0)
    model.transform.min_size, model.transform.max_size = (min(small.size),), max(small.size)
    with torch.no_grad():
        found = model.double()([pixels])[0]
    first = 0 if isinstance(model, RetinaNet) else 1
    scale = torch.tensor([image.width / small.width, image.height / small.height] * 2)
    return [
        {
            "class": names[int(label) - first],
            "score": float(score),
            "box": (box * scale).tolist(),
            "mask": found["masks"][index, 0].numpy() >= 0.5 if "masks" in found else None,
        }
        for index, (box, score, label) in enumerate(zip(found["boxes"], found["scores"], found["labels"]))
    ]


def mask_of(runs):
    """Run lengths down the columns, as in COCO."""
    values = np.arange(len(runs["counts"])) % 2 == 1
    height, width = runs["size"]
    return np.repeat(values, runs["counts"]).reshape(width, height).T


def compare_detections(theirs, ours, tolerance):
    """Each detection of one side with the nearest of its class on the other."""
    free = list(theirs)
    worst_score = worst_box = 0.0
    pixels = differing = 0
    for one in ours:
        x, y, width, height = one["bbox"]
        box = np.array([x, y, x + width, y + height])
        near = [t for t in free if t["class"] == one["class"]]
        gap = lambda t: max(abs(box - t["box"]).max(), 100 * abs(t["score"] - one["score"]))
        best = min(near, key=gap, default=None)
        if best is None:
            print(f"no counterpart: {one['class']} {one['score']} {one['bbox']}")
            return False
        free = [t for t in free if t is not best]
        worst_score = max(worst_score, abs(best["score"] - one["score"]))
        worst_box = max(worst_box, abs(box - best["box"]).max())
        if one.get("segmentation") and best["mask"] is not None:
            mask = mask_of(one["segmentation"])
            if mask.shape == best["mask"].shape:
                pixels += int((mask | best["mask"]).sum())
                differing += int((mask ^ best["mask"]).sum())
    print(f"{len(ours)} detections here, {len(theirs)} in torchvision")
    print(f"largest difference of a score {worst_score:.2e}, of a border {worst_box:.2e} px")
    if pixels:
        print(f"masks: {differing} of {pixels} pixels differ")
    is_good = len(ours) == len(theirs) and worst_score <= tolerance and worst_box <= 100 * tolerance
    return is_good and differing <= 0.01 * pixels


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("run")
    parser.add_argument("weights")
    parser.add_argument("image")
    parser.add_argument("predictions", nargs="?")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    args = parser.parse_args()
    model, recipe, names = load_run(args.run, args.weights)
    image = Image.open(args.image).convert("RGB")
    is_detection = recipe.get("task") == "detection"
    found = (detect if is_detection else classify)(model, recipe, names, image)
    if args.predictions is None:
        for one in found if is_detection else sorted(found.items(), key=lambda pair: -pair[1])[:5]:
            print(one)
        return
    ours = json.loads(Path(args.predictions).read_text())[0]
    if is_detection:
        is_good = compare_detections(found, ours["detections"], args.tolerance)
    else:
        gaps = [abs(found[one["name"]] - one["score"]) for one in ours["classes"]]
        print(f"{len(gaps)} scores, largest difference {max(gaps):.2e}")
        is_good = max(gaps) <= args.tolerance
    if not is_good:
        sys.exit("the outputs differ")


if __name__ == "__main__":
    main()
