"""Average precision behind the tests of crates/eval, from pycocotools and lvis-api.

    python xtask/reference/detection.py crates/eval/tests/data/detection

Writes one file per case: annotations, detections as rows, and what the reference makes of them for
boxes, for masks that come with boxes and for masks alone. All numbers are multiples of 1/4 (boxes)
and 1/64 (scores), so that they are the same in single precision and many scores are equal.
"""

import contextlib
import copy
import io
import json
import os
import sys
import tempfile

import numpy as np

np.float = float  # lvis 0.5.3 was written for an older numpy

import pycocotools.mask as mask_utils  # noqa: E402
from lvis import LVIS, LVISEval, LVISResults  # noqa: E402
from pycocotools.coco import COCO  # noqa: E402
from pycocotools.cocoeval import COCOeval  # noqa: E402

FOLDER = sys.argv[1]


def mean(values):
    values = values[values > -1]
    return float(values.mean()) if values.size else None


def coco(gt, dt, iou_type):
    truth = COCO()
    truth.dataset = copy.deepcopy(gt)
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(copy.deepcopy(dt)), iou_type)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    names = "AP AP50 AP75 APs APm APl AR1 AR10 AR ARs ARm ARl".split()
    return names, evaluation.stats, evaluation.params.catIds, precision


def lvis(gt, dt, iou_type):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(gt, file)
        file.flush()
        truth = LVIS(file.name)
    evaluation = LVISEval(truth, LVISResults(truth, copy.deepcopy(dt)), iou_type)
    evaluation.run()
    names = "AP AP50 AP75 APs APm APl APr APc APf AR ARs ARm ARl".split()
    values = list(evaluation.results.values())
    return names, values, evaluation.params.cat_ids, evaluation.eval["precision"][:, :, :, 0]


def expected(benchmark, gt, dt, iou_type):
    with contextlib.redirect_stdout(io.StringIO()):
        names, values, ids, precision = benchmark(gt, dt, iou_type)
    metrics = {name: None if value < 0 else float(value) for name, value in zip(names, values)}
    classes = {str(id): mean(precision[:, :, place]) for place, id in enumerate(ids)}
    return {"metrics": metrics, "classes": classes}


def ellipse(height, width, box):
    x, y, w, h = box
    rows, columns = np.mgrid[0:height, 0:width] + 0.5
    inside = ((columns - x - w / 2) / (w / 2)) ** 2 + ((rows - y - h / 2) / (h / 2)) ** 2 <= 1
    code = mask_utils.encode(np.asfortranarray(inside.astype(np.uint8)))
    return {"size": [height, width], "counts": code["counts"].decode()}


def uncompressed(code):
    pixels = mask_utils.decode(code).ravel(order="F")
    changes = np.flatnonzero(np.diff(pixels)) + 1
    counts = np.diff(np.concatenate([[0], changes, [pixels.size]])).tolist()
    return {"size": code["size"], "counts": counts if pixels[0] == 0 else [0] + counts}


def quarter(value):
    return round(float(value) * 4) / 4


def sample_box(rng, height, width):
    side = rng.choice([14, 30, 60, 110])
    w = quarter(np.clip(side * rng.uniform(0.6, 1.6), 4, width - 1))
    h = quarter(np.clip(side * rng.uniform(0.6, 1.6), 4, height - 1))
    return [quarter(rng.uniform(0, width - w)), quarter(rng.uniform(0, height - h)), w, h]


def jitter(rng, box, height, width):
    x, y, w, h = box
    scale = rng.choice([0.0, 0.03, 0.1, 0.25])
    x, y = x + rng.normal(0, scale * w), y + rng.normal(0, scale * h)
    w, h = w * np.exp(rng.normal(0, scale)), h * np.exp(rng.normal(0, scale))
    x, y = np.clip(x, 0, width - 4), np.clip(y, 0, height - 4)
    return [quarter(v) for v in (x, y, np.clip(w, 3, width - x), np.clip(h, 3, height - y))]


def scene(seed, num_images, is_lvis):
    """Annotations with masks, and detections: a list of (box, mask) results."""
    rng = np.random.default_rng(seed)
    class_ids = [90, 3, 7, 44, 12, 71, 5, 28]  # neither dense nor sorted
    annotated = class_ids[:-1]  # 28 has no object
    images, annotations, detections = [], [], []
    for index in range(num_images):
        height, width = [(150, 170), (128, 200)][index % 2]
        image = {"id": [900, 17, 4000000000, 3][index % 4] + 10 * index, "height": height, "width": width}
        present = []
        num_objects = 0 if index == 3 else rng.integers(3, 8)  # the fourth image is empty
        for _ in range(num_objects):
            box, category = sample_box(rng, height, width), int(rng.choice(annotated))
            kind, code = rng.integers(0, 4), ellipse(height, width, box)
            x, y, w, h = box
            if kind == 0:
                segmentation = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            elif kind == 1:  # of two parts
                segmentation = [
                    [x, y, x + w / 2, y, x, y + h],
                    [x + w, y + h, x + w, y + h / 2, x + w / 2, y + h],
                ]
            else:
                segmentation = code if kind == 2 else uncompressed(code)
            annotation = {
                "id": len(annotations) * 3 + 1,
                "image_id": image["id"],
                "category_id": category,
                "bbox": box,
                "area": quarter(w * h * rng.uniform(0.5, 1.0)),
                "segmentation": segmentation,
                "iscrowd": int(rng.random() < 0.2),
            }
            if is_lvis and rng.random() < 0.1:
                annotation["ignore"] = 1
            if is_lvis and rng.random() < 0.06:
                annotation["area"] = 0
            annotations.append(annotation)
            present.append((box, category))
        for box, category in present:
            if category == 5:  # objects that nothing finds
                continue
            for _ in range(rng.integers(0, 4)):
                label = category if rng.random() < 0.8 else int(rng.choice(class_ids))
                detections.append((image, label, jitter(rng, box, height, width), rng.integers(20, 65)))
        for _ in range(rng.integers(0, 5)):
            label = int(rng.choice([id for id in class_ids if id != 5]))
            detections.append((image, label, sample_box(rng, height, width), rng.integers(1, 45)))
        if is_lvis:
            absent = [id for id in class_ids if id not in {c for _, c in present}]
            image["neg_category_ids"] = [id for id in absent if rng.random() < 0.4]
            here = sorted({c for _, c in present})
            image["not_exhaustive_category_ids"] = [id for id in here if rng.random() < 0.3]
        images.append(image)
    rng.shuffle(detections)
    detections = [d for d in detections if d[0]["id"] != images[-1]["id"]]  # nothing in the last
    dt = [
        {
            "image_id": image["id"],
            "category_id": label,
            "bbox": box,
            "score": int(score) / 64,
            "segmentation": ellipse(image["height"], image["width"], box),
        }
        for image, label, box, score in detections
    ]
    if is_lvis:
        dt[5]["bbox"] = dt[5]["bbox"][:2] + [0.0, 0.0]  # left out, and the mask with it
        empty = np.zeros(dt[9]["segmentation"]["size"], np.uint8, order="F")
        dt[9]["segmentation"]["counts"] = mask_utils.encode(empty)["counts"].decode()
    categories = [{"id": id, "name": f"class {id}"} for id in class_ids]
    if is_lvis:
        for category, frequency in zip(categories, "ffccrrrf"):
            category["frequency"] = frequency
    return {"images": images, "annotations": annotations, "categories": categories}, dt


def crowded(is_lvis):
    """More than 300 detections an image, by a formula that the test repeats."""
    state = 12345

    def draw(below):
        nonlocal state
        state = (1103515245 * state + 12345) % 2**31
        return (state >> 16) % below

    images = [{"id": id, "height": 300, "width": 300} for id in (8, 2, 5)]
    categories = [{"id": id, "name": f"class {id}"} for id in (1, 2, 3)]
    if is_lvis:
        for image in images:
            image.update(neg_category_ids=[3], not_exhaustive_category_ids=[])
        for category, frequency in zip(categories, "fcr"):
            category["frequency"] = frequency
    annotations, dt = [], []
    for image in images:
        for _ in range(20):
            box = [float(draw(240)), float(draw(240)), float(16 + draw(44)), float(16 + draw(44))]
            annotation = {"id": len(annotations) + 1, "image_id": image["id"], "iscrowd": 0}
            annotation.update(category_id=1 + draw(2), bbox=box, area=box[2] * box[3])
            annotations.append(annotation)
            for _ in range(20):
                near = [value + (draw(17) - 8) / 2 for value in box]
                found = {"image_id": image["id"], "category_id": annotation["category_id"]}
                if draw(8) == 0:
                    found["category_id"] = 1 + draw(3)
                found.update(bbox=near, score=draw(64) / 64)
                dt.append(found)
    return {"images": images, "annotations": annotations, "categories": categories}, dt


def without(dt, key):
    return [{k: v for k, v in d.items() if k != key} for d in dt]


def row(d):
    return [d["image_id"], d["category_id"], *d["bbox"], d["score"], d["segmentation"]["counts"]]


def write(name, case):
    with open(os.path.join(FOLDER, f"{name}.json"), "w") as file:
        json.dump(case, file, separators=(",", ":"))
        file.write("\n")


def main():
    for name, benchmark, seed, num_images in [("coco", coco, 1, 16), ("lvis", lvis, 2, 20)]:
        gt, dt = scene(seed, num_images, benchmark is lvis)
        boxes, masks = without(dt, "segmentation"), without(dt, "bbox")
        write(
            name,
            {
                "annotations": gt,
                "detections": [row(d) for d in dt],
                "boxes": expected(benchmark, gt, boxes, "bbox"),
                "masks_with_boxes": expected(benchmark, gt, dt, "segm"),
                "masks": expected(benchmark, gt, masks, "segm"),
            },
        )
    crowd = {}
    for name, benchmark in [("coco", coco), ("lvis", lvis)]:
        gt, dt = crowded(benchmark is lvis)
        crowd[name] = expected(benchmark, gt, dt, "bbox")
        crowd[name]["sum_of_scores"] = sum(d["score"] for d in dt)
    write("crowded", crowd)


main()
