"""A run of longtail as ONNX, by way of PyTorch.

    longtail weights export runs/birds --out birds.safetensors
    python scripts/export_onnx.py runs/birds birds.safetensors birds.onnx [--size 480x640] [--check]

The run becomes torchvision's model (scripts/torchvision_load.py says which runs can), and that is
exported. A classifier takes normalised images, `[batch, 3, height, width]`, and gives logits. A
detector takes one image, `[3, height, width]` with values from 0 to 1, resized already, and gives
boxes, labels, scores and perhaps masks; of a two-stage detector, label 0 is background. --check runs
both on an image and compares. Needs torch, torchvision, safetensors, onnx, and onnxruntime to check.
"""

import argparse
import sys
import warnings

import torch

from torchvision_load import load_run


class Detector(torch.nn.Module):
    """One image in, a tuple out."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, image):
        found = self.model([image])[0]
        return tuple(found[name] for name in ("boxes", "labels", "scores", "masks") if name in found)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("run")
    parser.add_argument("weights")
    parser.add_argument("out")
    parser.add_argument("--size", default=None, help="height and width of the images, as in 480x640")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    model, recipe, _ = load_run(args.run, args.weights)
    model = model.float().eval()
    is_detection = recipe.get("task") == "detection"
    height, width = map(int, (args.size or ("480x640" if is_detection else "224x224")).split("x"))
    torch.manual_seed(0)
    if is_detection:
        model.transform.min_size, model.transform.max_size = (min(height, width),), max(height, width)
        model, example = Detector(model).eval(), torch.rand(3, height, width)
        inputs, outputs = ["image"], ["boxes", "labels", "scores", "masks"]
        with torch.no_grad():
            outputs = outputs[: len(model(example))]
        axes = {name: {0: "detections"} for name in outputs}
    else:
        example = torch.randn(1, 3, height, width)
        inputs, outputs = ["images"], ["logits"]
        axes = {"images": {0: "batch"}, "logits": {0: "batch"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (example,), args.out, input_names=inputs, output_names=outputs,
            dynamic_axes=axes, opset_version=17, dynamo=False,
        )
    print(args.out)
    if not args.check:
        return
    import onnxruntime

    session = onnxruntime.InferenceSession(args.out, providers=["CPUExecutionProvider"])
    found = session.run(None, {inputs[0]: example.numpy()})
    with torch.no_grad():
        wanted = model(example) if is_detection else (model(example),)
    for name, theirs, ours in zip(outputs, found, wanted):
        ours = ours.numpy()
        if theirs.shape != ours.shape:
            sys.exit(f"{name}: {theirs.shape} in ONNX Runtime, {ours.shape} in PyTorch")
        gap = float(abs(theirs.astype(float) - ours.astype(float)).max()) if ours.size else 0.0
        print(f"{name}: {list(ours.shape)}, largest difference {gap:.1e}")
        if gap > (1e-2 if name == "boxes" else 1e-3):
            sys.exit(f"{name} differ")


if __name__ == "__main__":
    main()
