"""Numbers behind the tests of crates/ops, from torchvision.

    python xtask/reference/ops.py crates/ops/tests/data/torchvision.json
"""

import json
import sys

import torch
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, BoxCoder, Matcher
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import _default_anchorgen as retinanet_anchors
from torchvision.models.detection.roi_heads import paste_masks_in_image, project_masks_on_boxes
from torchvision.ops import MultiScaleRoIAlign, box_area, box_iou, clip_boxes_to_image
from torchvision.ops import batched_nms, generalized_box_iou, generalized_box_iou_loss, nms, roi_align
from torchvision.ops.poolers import LevelMapper

generator = torch.Generator().manual_seed(20)


def uniform(*shape, low=0.0, high=1.0):
    return torch.rand(*shape, generator=generator) * (high - low) + low


def boxes(count, extent, largest):
    corner = uniform(count, 2, high=extent)
    return torch.cat([corner, corner + uniform(count, 2, low=1.0, high=largest)], 1)


def plain(tensor):
    """Nested lists with as many digits as f32 has."""
    if isinstance(tensor, torch.Tensor):
        return plain(tensor.tolist())
    if isinstance(tensor, (list, tuple)):
        return [plain(value) for value in tensor]
    return float(f"{tensor:.8g}") if isinstance(tensor, float) else tensor


def wave(*shape):
    """Features that the tests compute for themselves."""
    count = torch.Size(shape).numel()
    index = torch.arange(count, dtype=torch.float64)
    return torch.sin(index * 0.7 + torch.cos(index * 0.13) * 3).float().reshape(shape)


def anchors():
    images = ImageList(torch.zeros(1, 3, 33, 50), [(33, 50)])
    sizes = [[5, 7], [3, 4], [2, 2], [1, 1], [1, 1]]
    maps = [torch.zeros(1, 1, *size) for size in sizes]
    faster_rcnn = AnchorGenerator(((32,), (64,), (128,), (256,), (512,)), ((0.5, 1.0, 2.0),) * 5)
    return {
        "image_size": [33, 50],
        "feature_sizes": sizes,
        "faster_rcnn": plain(faster_rcnn(images, maps)[0]),
        "retinanet": plain(retinanet_anchors()(images, maps)[0]),
    }


def coder():
    proposals, gt = boxes(12, 100, 60), boxes(12, 100, 60)
    deltas = uniform(12, 4, low=-2.0, high=2.0)
    deltas[0, 2:] = torch.tensor([50.0, 7.0])
    coder = BoxCoder((10.0, 10.0, 5.0, 5.0))
    tracked = [value.clone().requires_grad_() for value in (proposals, gt, deltas)]
    codes = coder.encode_single(tracked[1], tracked[0])
    weight = wave(12, 4)
    (codes * weight).sum().backward()
    encode_grads = [plain(tracked[0].grad), plain(tracked[1].grad)]
    tracked[0].grad = None
    decoded = coder.decode_single(tracked[2] * 5, tracked[0])
    (decoded * weight).sum().backward()
    return {
        "proposals": plain(proposals),
        "gt": plain(gt),
        "codes": plain(codes),
        "encode_gradients": encode_grads,
        "deltas": plain(deltas * 5),
        "decoded": plain(decoded),
        "decode_gradients": [plain(tracked[2].grad / 5), plain(tracked[0].grad)],
    }


def matcher():
    gt, candidates = boxes(6, 80, 50), boxes(80, 80, 50)
    gt[5] = gt[4]
    candidates[3], candidates[4] = gt[0], gt[4]
    quality = box_iou(gt, candidates)
    cases = []
    for high, low, allow in [(0.7, 0.3, True), (0.5, 0.4, True), (0.5, 0.5, False), (0.4, 0.1, False)]:
        matches = Matcher(high, low, allow_low_quality_matches=allow)(quality)
        cases.append({"high": high, "low": low, "allow_low_quality": allow, "matches": matches.tolist()})
    return {"gt": plain(gt), "boxes": plain(candidates), "cases": cases}


def sampler():
    cases = []
    for positives, negatives in [(0, 400), (10, 400), (200, 400), (200, 60), (0, 0)]:
        labels = torch.cat([torch.ones(positives), torch.zeros(negatives), -torch.ones(30)])
        drawn = BalancedPositiveNegativeSampler(256, 0.5)([labels])
        cases.append([positives, negatives, int(drawn[0][0].sum()), int(drawn[1][0].sum())])
    return cases


def suppression():
    candidates, scores = boxes(120, 60, 50), uniform(120)
    groups = torch.randint(0, 4, (120,), generator=generator)
    return {
        "boxes": plain(candidates),
        "scores": plain(scores),
        "groups": groups.tolist(),
        "nms": {str(t): nms(candidates, scores, t).tolist() for t in (0.3, 0.5, 0.7)},
        "batched": {str(t): batched_nms(candidates, scores, groups, t).tolist() for t in (0.3, 0.5, 0.7)},
    }


def with_gradients(function, *inputs):
    inputs = [value.clone().requires_grad_() for value in inputs]
    output = function(*inputs)
    (output * wave(*output.shape)).sum().backward()
    return {"output": plain(output), "gradients": [plain(value.grad) for value in inputs]}


def overlaps():
    first, second, paired = boxes(5, 40, 40), boxes(7, 40, 40), boxes(5, 40, 40)
    paired[0] = first[0] + 1.5
    return {
        "first": plain(first),
        "second": plain(second),
        "paired": plain(paired),
        "area": with_gradients(box_area, first),
        "clip": with_gradients(lambda b: clip_boxes_to_image(b, (30, 45)), first),
        "iou": with_gradients(box_iou, first, second),
        "giou": with_gradients(generalized_box_iou, first, second),
        "giou_loss": with_gradients(generalized_box_iou_loss, first, paired),
    }


def pooling():
    shapes = [(2, 2, 12, 16), (2, 2, 6, 8)]
    scales = [0.25, 0.125]
    rois = [  # image, level, box in an image of 48 x 64
        [0, 0, 3.0, 5.0, 22.5, 19.0],
        [1, 0, 30.0, 10.0, 61.0, 47.0],
        [1, 1, 4.2, 1.1, 60.3, 40.7],
        [0, 1, -20.0, -15.0, 30.0, 25.0],
        [0, 0, 50.0, 40.0, 90.0, 70.0],
        [1, 0, 200.0, 200.0, 260.0, 240.0],
        [0, 0, 8.0, 8.0, 9.0, 9.0],
        [1, 1, 10.0, 10.0, 10.0, 10.0],
        [0, 1, 0.0, 0.0, 64.0, 48.0],
    ]
    cases = []
    for aligned in (False, True):
        for ratio in (-1, 2, 3):
            maps = [wave(*shape).requires_grad_() for shape in shapes]
            output = torch.zeros(len(rois), 2, 3, 4)
            for level, (features, scale) in enumerate(zip(maps, scales)):
                rows = [row for row, roi in enumerate(rois) if roi[1] == level]
                table = torch.tensor([[rois[row][0], *rois[row][2:]] for row in rows])
                output[rows] = roi_align(features, table, (3, 4), scale, ratio, aligned)
            (output * wave(*output.shape)).sum().backward()
            cases.append({
                "aligned": aligned,
                "sampling_ratio": ratio,
                "output": plain(output.detach().flatten()),
                "gradients": [plain(features.grad.flatten()) for features in maps] if ratio < 3 else None,
            })
    return {"shapes": shapes, "scales": scales, "rois": rois, "cases": cases}


def pyramid():
    sides = torch.tensor([0.0, 1.0, 100.0, 111.9, 112.0, 223.9, 224.0, 447.9, 448.0, 900.0, 5000.0])
    squares = torch.stack([sides * 0 + 3, sides * 0 + 3, sides + 3, sides + 3], 1)
    maps = {str(level): wave(2, 1, 32 >> level, 32 >> level) for level in range(4)}
    rois = [
        torch.tensor([[2.0, 4.0, 50.0, 60.0], [0.0, 0.0, 127.0, 300.0], [1.0, 1.0, 2.0, 2.0]]),
        torch.tensor([[0.0, 0.0, 128.0, 128.0], [-300.0, -300.0, 300.0, 300.0], [5.0, 9.0, 120.0, 16.0]]),
    ]
    output = MultiScaleRoIAlign(list(maps), 7, 2)(maps, rois, [(128, 128), (100, 128)])
    return {
        "squares": plain(squares),
        "levels": LevelMapper(2, 5)([squares]).tolist(),
        "rois": plain(rois),
        "output": plain(output.flatten()),
    }


def masks():
    height, width = 40, 48
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([
        (x - 20) ** 2 + (y - 18) ** 2 < 150,
        (x + y) % 7 < 4,
        (x > 30) & (y > 25),  # up to the lower right corner
    ]).to(torch.uint8)
    rois = torch.tensor([
        [6.3, 5.2, 34.9, 31.0],
        [0.0, 0.0, 48.0, 40.0],
        [30.5, 20.0, 48.0, 40.0],
        [-10.0, -5.0, 70.0, 60.0],
        [12.0, 12.0, 13.0, 13.0],
        [3.0, 7.0, 3.0, 7.0],
    ])
    matched = torch.tensor([0, 1, 2, 2, 0, 1])
    targets = project_masks_on_boxes(pixels, rois, matched, 7)
    probabilities = torch.sigmoid(wave(len(rois), 1, 7, 7) * 4 + 1)
    pasted = paste_masks_in_image(probabilities, rois, (height, width))[:, 0] > 0.5
    text = lambda values: "".join(str(int(value)) for value in values.flatten())
    return {
        "size": [height, width],
        "pixels": [text(mask) for mask in pixels],
        "rois": plain(rois),
        "matched": matched.tolist(),
        "targets": plain(targets.flatten()),
        "pasted": [text(mask) for mask in pasted],
    }


if __name__ == "__main__":
    parts = [anchors, coder, matcher, sampler, suppression, overlaps, pooling, pyramid, masks]
    with open(sys.argv[1], "w") as file:
        json.dump({part.__name__: part() for part in parts}, file, separators=(",", ":"))
        file.write("\n")
