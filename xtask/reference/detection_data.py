"""Numbers behind the tests of detection sets in crates/data, from json, pycocotools and numpy.

    python xtask/reference/detection_data.py masks crates/data/tests/data/masks.json
    python xtask/reference/detection_data.py coco100 PATH_TO_COCO100
    python xtask/reference/detection_data.py repeat-factors

`masks` writes a COCO file of polygons and run lengths; each annotation has an extra field with
pycocotools' run lengths as text. `coco100` prints counts and masks of 100 COCO images and of their LVIS
form. `repeat-factors` prints the factors and expected lengths of a small set.
"""

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO


def coco100(root):
    for name in ["instances_train", "instances_val", "lvis_train", "lvis_val"]:
        data = json.loads((root / "annotations" / f"{name}.json").read_text())
        annotations = data["annotations"]
        crowds = sum(a.get("iscrowd", 0) for a in annotations)
        ids = sorted(c["id"] for c in data["categories"])
        label = {id: i for i, id in enumerate(ids)}
        targets = [a for a in annotations if not a.get("iscrowd", 0)]
        instances = Counter(label[a["category_id"]] for a in targets)
        images = Counter(label[c] for _, c in {(a["image_id"], a["category_id"]) for a in targets})
        print(name, len(data["images"]), len(annotations), "crowds", crowds)
        print("  classes", len(ids), "empty images",
              len(data["images"]) - len({a["image_id"] for a in targets}))
        print("  instances", [instances[i] for i in range(len(ids))])
        print("  images", [images[i] for i in range(len(ids))])
        print("  negative", sum(len(i.get("neg_category_ids", [])) for i in data["images"]),
              "not exhaustive", sum(len(i.get("not_exhaustive_category_ids", [])) for i in data["images"]))
        print("  points", sum(len(p) // 2 for a in annotations
                              if isinstance(a["segmentation"], list) for p in a["segmentation"]))
        coco = COCO(root / "annotations" / f"{name}.json")
        total, weighted, polygons = 0, 0, 0
        for a in annotations:
            mask = coco.annToMask(a)
            ys, xs = np.nonzero(mask)
            total += int(mask.sum())
            weighted += int((ys * 3 + xs * 7 + 1).sum()) % 1_000_003
            polygons += isinstance(a["segmentation"], list) and len(a["segmentation"])
        print("  mask pixels", total, "checksum", weighted, "polygons", polygons)
        for a in annotations[:3]:
            print("  annotation", a["id"], int(coco.annToMask(a).sum()))


def run_lengths(mask):
    """Lengths of the runs down the columns, zeros first."""
    flat = mask.flatten(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    borders = np.concatenate([[0], ends, [flat.size]])
    runs = np.diff(borders).tolist()
    return [0] + runs if flat[0] else runs


def masks(path):
    rng = np.random.default_rng(5)
    sizes = {1: (40, 60), 2: (97, 131), 3: (700, 900)}
    segmentations = []
    for image, (height, width) in sizes.items():
        def points(count, digits, reach=0.1):
            xy = rng.uniform(-reach, 1 + reach, (count, 2)) * [width, height]
            return np.round(xy, digits).flatten().tolist()

        segmentations += [(image, [points(count, digits)])
                          for count in ([3, 4, 7, 12] if image < 3 else [4, 9]) for digits in [0, 1, 2, 17]]
        segmentations += [(image, [points(5, 2), points(3, 1), points(6, 2)])]
        angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
        radius = 0.4 * (1 + 0.2 * np.cos(7 * angles)) * min(height, width)
        circle = np.stack([width / 2 + radius * np.cos(angles), height / 2 + radius * np.sin(angles)], 1)
        segmentations += [(image, [np.round(circle, 2).flatten().tolist()])]
        # Just beside the thresholds of the rasteriser, where 32 bits are too few.
        steps = rng.integers(0, min(height, width) * 5, (6, 2)) / 5 + 0.1
        segmentations += [(image, [np.nextafter(steps, towards).flatten().tolist()])
                          for towards in [-1, 1e6]]
        segmentations += [(image, [[1.5, 1.5, 1.5, 1.5, 1.5, 1.5]])]
        if image == 1:
            noise = rng.random((height, width)) < 0.02
            blob = np.zeros((height, width), bool)
            blob[5:20, 10:30] = True
            for mask in [noise, blob, np.zeros_like(blob), np.ones_like(blob)]:
                runs = run_lengths(mask)
                segmentations += [(image, {"size": [height, width], "counts": runs})]
                text = mask_utils.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
                segmentations += [(image, {"size": [height, width], "counts": text.decode()})]
    annotations = []
    for id, (image, segmentation) in enumerate(segmentations, 1):
        height, width = sizes[image]
        if isinstance(segmentation, list):
            rle = mask_utils.merge(mask_utils.frPyObjects(segmentation, height, width))
        elif isinstance(segmentation["counts"], list):
            rle = mask_utils.frPyObjects(segmentation, height, width)
        else:
            rle = segmentation
        annotations.append({
            "id": id, "image_id": image, "category_id": 3, "bbox": [0, 0, width, height],
            "segmentation": segmentation, "expected": rle["counts"] if isinstance(rle["counts"], str) else rle["counts"].decode(),
        })
    images = [{"id": id, "height": h, "width": w, "file_name": f"{id}.png"}
              for id, (h, w) in sizes.items()]
    data = {"images": images, "annotations": annotations, "categories": [{"id": 3, "name": "a"}]}
    Path(path).write_text(json.dumps(data, separators=(",", ":")))


def repeat_factors():
    """The set of the sampler's tests: 61 images, see crates/data/src/detection/sampler/order.rs."""
    images = [[0] * (2 if i % 2 == 0 else 1) if i < 50 else [] for i in range(61)]
    for i in range(5):
        images[i] += [1, 1, 1]
    images[7] += [2]
    by_image = np.zeros(3)
    by_instance = np.zeros(3)
    for labels in images:
        np.add.at(by_instance, labels, 1)
        by_image[list(set(labels))] += 1
    by_image, by_instance = by_image / len(images), by_instance / by_instance.sum()
    cases = [("image", by_image, 0.3, 0.5), ("instance", by_instance, 0.3, 0.5),
             ("both", np.sqrt(by_image * by_instance), 0.3, 0.5), ("1 / f", by_image, 1, 1)]
    for name, frequency, threshold, exponent in cases:
        of_class = np.maximum(1, (threshold / frequency) ** exponent)
        factors = [max([1.0] + [of_class[c] for c in labels]) for labels in images]
        print(name, [float(factors[i]) for i in [0, 7, 9, 50]], float(np.sum(factors)))


if __name__ == "__main__":
    commands = {"masks": masks, "coco100": coco100, "repeat-factors": repeat_factors}
    commands[sys.argv[1]](*map(Path, sys.argv[2:]))
