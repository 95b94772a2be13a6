"""Small images and numbers behind the tests of crates/data, from PIL, torchvision and torch.

    python xtask/reference/data.py crates/data/tests/data

Writes transforms.json (one source image, and what each operation makes of it) and decode.json
with the image files it speaks of. Pixels are hexadecimal, [height, width, 3]. Also prints what
random_resized_crop.rs states about torchvision's get_params.
"""

import json
import math
import os
import sys

import numpy as np
import torch
from PIL import Image
from torchvision import transforms as T
from torchvision.transforms import functional as F
from torchvision.transforms.autoaugment import AutoAugment, RandAugment, _apply_op
from torchvision.transforms.functional import InterpolationMode

FOLDER = sys.argv[1]


def picture(width, height, seed):
    """Smooth colours, two edges and some noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(float)
    red = 128 + 90 * np.sin(x / 4) + 20 * (y > height / 2)
    green = 40 + 150 * y / height + 30 * (x > width / 3)
    blue = 200 - 120 * x / width
    image = np.stack([red, green, blue], -1) + rng.normal(0, 12, (height, width, 3))
    return Image.fromarray(image.clip(0, 255).astype(np.uint8))


def raw(image):
    image = image.convert("RGB")
    return {"width": image.width, "height": image.height, "pixels": np.asarray(image).tobytes().hex()}


def augment_ops(image):
    policies = AutoAugment()
    cases = []
    for op in RandAugment()._augmentation_space(31, (1, 1)).keys() | {"Invert"}:
        for bins, bin, sign in [(31, 9, 1), (31, 9, -1), (10, 8, 1)]:
            height, width = image.height, image.width
            magnitudes, signed = policies._augmentation_space(bins, (height, width)).get(op, (torch.tensor(0.0), False))
            if sign < 0 and not signed:
                continue
            value = sign * (float(magnitudes[bin]) if magnitudes.ndim else 0.0)
            result = _apply_op(image, op, value, InterpolationMode.NEAREST, None)
            cases.append({"op": op, "bins": bins, "bin": bin, "sign": sign, "magnitude": value, **raw(result)})
            if magnitudes.ndim == 0:
                break
    return sorted(cases, key=lambda case: (case["op"], case["bins"], case["bin"], case["sign"]))


def color_ops(image):
    functions = {
        "brightness": F.adjust_brightness,
        "contrast": F.adjust_contrast,
        "saturation": F.adjust_saturation,
        "hue": F.adjust_hue,
    }
    factors = {"hue": [-0.4, -0.1, 0.23]}
    return [
        {"op": name, "factor": factor, **raw(function(image, factor))}
        for name, function in functions.items()
        for factor in factors.get(name, [0.6, 1.37])
    ]


def resizes(image):
    cases = []
    for width, height in [(12, 10), (31, 9), (40, 33)]:
        cases.append({"op": "resize", "size": [width, height], **raw(F.resize(image, [height, width]))})
    for size in [11, 27]:
        cases.append({"op": "shorter", "size": [size, 0], **raw(F.resize(image, size))})
    for size in [17, 13, 8]:
        cases.append({"op": "center", "size": [size, 0], **raw(F.center_crop(image, size))})
    top, left, height, width = 3, 5, 11, 13
    box = {"box": [left, top, width, height]}
    for size in [7, 30]:
        result = F.resized_crop(image, top, left, height, width, [size, size])
        cases.append({"op": "box", "size": [size, 0], **box, **raw(result)})
    return cases


def normalized(image):
    mean, std = [0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]
    tensor = F.normalize(F.to_tensor(image), mean, std)
    return tensor.flatten().tolist()


def decodes():
    image = picture(31, 23, 7)
    smooth = picture(12, 9, 7).resize((31, 23), Image.BICUBIC)
    alpha = Image.fromarray((np.mgrid[0:23, 0:31][1] * 8).astype(np.uint8))
    rgba = image.copy()
    rgba.putalpha(alpha)
    sixteen = Image.fromarray((np.asarray(image.convert("L")).astype(np.uint16) << 8) + 77)
    files = {
        "rgb444.jpg": (smooth, {"quality": 92, "subsampling": 0}),
        "rgb420.jpg": (smooth, {"quality": 92, "subsampling": 2}),
        "progressive.jpg": (smooth, {"quality": 92, "progressive": True}),
        "grey.jpg": (smooth.convert("L"), {"quality": 92}),
        "cmyk.jpg": (smooth.convert("CMYK"), {"quality": 92}),
        "rgb.png": (image, {}),
        "rgba.png": (rgba, {}),
        "grey.png": (image.convert("L"), {}),
        "palette.png": (image.quantize(16), {}),
        "grey16.png": (sixteen, {}),
    }
    cases = []
    for name, (picture_, options) in files.items():
        path = os.path.join(FOLDER, name)
        picture_.save(path, **options)
        decoded = Image.open(path)
        if name == "grey16.png":  # PIL would clip; the high byte is what is meant
            decoded = Image.fromarray((np.asarray(decoded) >> 8).astype(np.uint8))
        cases.append({"file": name, **raw(decoded)})
    return cases


def main():
    os.makedirs(FOLDER, exist_ok=True)
    image = picture(21, 17, 1)
    cases = {
        "source": raw(image),
        "augment": augment_ops(image),
        "color": color_ops(image),
        "resize": resizes(image),
        "normalized": normalized(image),
    }
    for name, value in [("transforms.json", cases), ("decode.json", decodes())]:
        with open(os.path.join(FOLDER, name), "w") as file:
            json.dump(value, file)
            file.write("\n")

    torch.manual_seed(0)
    draw = lambda w, h: T.RandomResizedCrop.get_params(Image.new("RGB", (w, h)), (0.08, 1.0), (3 / 4, 4 / 3))
    areas = [math.prod(draw(640, 480)[2:]) / (640 * 480) for _ in range(20_000)]
    print("mean area on 640 x 480:", sum(areas) / len(areas))
    print("fallbacks (top, left, height, width):", draw(1000, 10), draw(10, 1000))


main()
