"""The numbers of a report beside those of pycocotools or lvis-api on the same files.

    longtail evaluate runs/birds --results results --out again
    python scripts/check_results.py birds_val.json results/bbox.json again/report.json
    python scripts/check_results.py birds_val.json results/segm.json again/masks/report.json

`report.json` says whose rules were followed and what was compared. Ends with 0 if every number agrees
within --tolerance. Needs pycocotools, and lvis for LVIS's rules. Annotations in another form are
first written by `longtail data convert`.
"""

import argparse
import contextlib
import io
import json
import sys
from pathlib import Path

COCO = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR", "ARs", "ARm", "ARl"]
LVIS = ["AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf"]


def with_defaults(annotations):
    """Fields that pycocotools reads and other writers may leave out; the numbers do not change."""
    dataset = json.loads(Path(annotations).read_text())
    dataset.setdefault("info", {})
    for one in dataset["annotations"]:
        one.setdefault("iscrowd", 0)
        one.setdefault("area", one["bbox"][2] * one["bbox"][3])
    return dataset


def coco(annotations, results, iou):
    from pycocotools.coco import COCO as Annotations
    from pycocotools.cocoeval import COCOeval

    truth = Annotations()
    truth.dataset = with_defaults(annotations)
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(str(results)), iou)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return dict(zip(COCO, evaluation.stats.tolist()))


def lvis(annotations, results, iou):
    import numpy as np
    from lvis import LVIS as Annotations, LVISEval, LVISResults

    np.float = float  # lvis 0.5.3 names a type that numpy no longer has
    truth = Annotations(str(annotations))
    evaluation = LVISEval(truth, LVISResults(truth, str(results)), iou)
    evaluation.run()
    return {name: float(evaluation.results[name]) for name in LVIS}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("annotations")
    parser.add_argument("results")
    parser.add_argument("report")
    parser.add_argument("--tolerance", type=float, default=1e-9)
    args = parser.parse_args()
    report = json.loads(Path(args.report).read_text())
    protocol = report["protocol"]
    iou = {"boxes": "bbox", "masks": "segm"}[protocol["overlap"]]
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = {"coco": coco, "lvis": lvis}[protocol["benchmark"]](args.annotations, args.results, iou)
    ours, worst = report["metrics"], 0.0
    for name, value in theirs.items():
        if value < 0:  # nothing to measure
            if name in ours:
                sys.exit(f"{name} is {ours[name]} here and was not measured there")
            continue
        if name not in ours:
            sys.exit(f"{name} is {value} there and was not measured here")
        gap = abs(ours[name] - value)
        worst = max(worst, gap)
        print(f"{name:5} here {ours[name]:.12f}, there {value:.12f}")
    print(f"{protocol['benchmark']}, {iou}: largest difference {worst:.1e}")
    if not worst <= args.tolerance:
        sys.exit("the numbers differ")


if __name__ == "__main__":
    main()
