"""Numbers behind crates/eval/tests/reference.rs, from scikit-learn and NumPy.

    python xtask/reference/eval.py > crates/eval/tests/data/eval.json

Needs numpy and scikit-learn. The calibration error follows the loop of Guo et al. (ICML 2017):
15 bins (lower, upper], weighted by the share of examples.
"""

import json
import sys

import numpy as np
from sklearn import metrics

MANY_ABOVE, FEW_BELOW, NUM_BINS = 100, 20, 15


def calibration(confidence, correct):
    bounds = np.arange(NUM_BINS + 1) / NUM_BINS
    error, maximum = 0.0, 0.0
    for lower, upper in zip(bounds[:-1], bounds[1:]):
        inside = (confidence > lower) & (confidence <= upper)
        if inside.any():
            gap = abs(correct[inside].mean() - confidence[inside].mean())
            error += inside.mean() * gap
            maximum = max(maximum, gap)
    return {"expected_error": error, "maximum_error": maximum, "mean_confidence": confidence.mean()}


def case(name, scores, labels, train_images, rounded=False):
    num_classes = len(train_images)
    scores = scores.astype(np.float32)
    # Of equal scores the lowest class comes first: a stable sort of the negated scores.
    ranked = np.argsort(-scores, axis=1, kind="stable")
    predicted = ranked[:, 0]
    present = sorted(set(labels.tolist()))
    recall = metrics.recall_score(labels, predicted, labels=present, average=None)
    accuracy = dict(zip(present, recall.tolist()))

    def group(belongs):
        values = [accuracy[j] for j in present if belongs(train_images[j])]
        return float(np.mean(values)) if values else None

    scale = {"labels": present, "average": "macro", "zero_division": 0}
    top5 = None
    if num_classes > 5:
        top5 = float(np.mean([label in row[:5] for label, row in zip(labels, ranked)]))
        if not rounded:  # without ties scikit-learn must agree
            other = metrics.top_k_accuracy_score(labels, scores, k=5, labels=range(num_classes))
            assert abs(top5 - other) < 1e-12
    confidence = scores.max(axis=1).astype(np.float64)
    return {
        "name": name,
        "scores": [[float(format(s, ".9g")) for s in row] for row in scores],
        "labels": labels.tolist(),
        "train_images": train_images,
        "micro_accuracy": metrics.accuracy_score(labels, predicted),
        "macro_accuracy": metrics.balanced_accuracy_score(labels, predicted),
        "macro_precision": metrics.precision_score(labels, predicted, **scale),
        "macro_f1": metrics.f1_score(labels, predicted, **scale),
        "top5_accuracy": top5,
        "accuracy": [accuracy.get(j) for j in range(num_classes)],
        "many": group(lambda n: n > MANY_ABOVE),
        "medium": group(lambda n: FEW_BELOW <= n <= MANY_ABOVE),
        "few": group(lambda n: n < FEW_BELOW),
        "confusion": metrics.confusion_matrix(
            labels, predicted, labels=range(num_classes)
        ).tolist(),
        "calibration": calibration(confidence, predicted == labels),
    }


def main():
    rng = np.random.default_rng(0)
    train_images = [500, 200, 101, 100, 20, 19, 5, 0]
    labels = rng.choice(8, size=160, p=[0.3, 0.2, 0.1, 0.1, 0.1, 0.15, 0.05, 0.0])
    logits = rng.normal(size=(160, 8)) + 1.5 * np.eye(8)[labels]
    logits[:, 6] -= 9.0  # class 6 has examples and is never predicted
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    cases = [case("softmax", scores, labels, train_images)]

    labels = rng.integers(0, 6, size=80)
    scores = np.round(rng.random((80, 6)) * 3) / 4  # many equal scores
    cases.append(case("equal scores", scores, labels, [400, 300, 200, 90, 80, 70], rounded=True))

    labels = rng.integers(0, 3, size=40)
    cases.append(case("three classes", rng.random((40, 3)), labels, [10, 15, 1000]))
    json.dump(cases, sys.stdout)
    print()


main()
