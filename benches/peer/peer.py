"""PyTorch twin of longtail-bench: the same operations on the same inputs, in eager PyTorch.

    peer.py THREADS cpu|cuda|mps|gpu FOLDER

Says its versions, then answers one JSON line for each on stdin: `{"start": WORK, "pass": PASS}`
makes the inputs and runs once, `{"calls": N}` runs N times more. The losses are written as in
their authors' released code, or as in mmdet or torchvision, with loops over classes replaced by
tensor operations where the authors have some.
"""

import json
import math
import os
import platform
import sys
import time

answers = os.fdopen(os.dup(1), "w")
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # where libraries print


def answer(kind, value):
    print(json.dumps({kind: value}), file=answers, flush=True)


try:
    import torch
    import torchvision
    from torch.nn import functional as F
except ImportError as error:
    answer("failed", f"cannot be used: {error}")
    sys.exit()

threads, device_name, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3]
torch.set_num_threads(threads)
torch.manual_seed(0)
if device_name == "gpu":
    is_there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    device_name = next((name for name, there in is_there.items() if there), "cpu")
device = torch.device(device_name)


def synchronize():
    if device.type == "cuda":
        torch.cuda.synchronize()
    elif device.type == "mps":
        torch.mps.synchronize()


def noise(index, seed):
    """Uniform in [0, 1): the finalizer of MurmurHash3, as in noise.rs."""
    low = 0xFFFFFFFF
    x = index ^ ((seed * 0x9E3779B9) & low)
    x = ((x ^ (x >> 16)) * 0x85EBCA6B) & low
    x = ((x ^ (x >> 13)) * 0xC2B2AE35) & low
    x = x ^ (x >> 16)
    return (x >> 8).double() / (1 << 24)


def tensor(shape, seed, low, high, is_leaf=False):
    count, chunk = math.prod(shape), 1 << 22
    values = torch.empty(count)
    for start in range(0, count, chunk):
        index = torch.arange(start, min(start + chunk, count))
        values[start : start + chunk] = low + (high - low) * noise(index, seed).float()
    return values.view(shape).to(device).requires_grad_(is_leaf)


class Loss:
    """Forward, backward, and the statistics of the batch."""

    def __init__(self, work, backward):
        self.rows, self.classes = work["rows"], work["classes"]
        self.logits = tensor([self.rows, work["columns"]], 1, -4.0, 2.0, is_leaf=True)
        index = torch.arange(self.rows)
        labels = (noise(index, 3) * self.classes).long().clamp(max=self.classes - 1)
        if work["labels"] > self.classes:
            labels[noise(index, 2) < 0.75] = self.classes
        self.labels = labels.to(device)
        steps = max(self.classes - 1, 1)
        counts = [math.floor(1e4 * 1e-3 ** (j / steps) + 0.5) for j in range(self.classes)]
        self.counts = torch.tensor(counts, dtype=torch.float64).to(device)
        self.frequency = self.counts / 100_000
        self.forward = getattr(self, work["method"].replace("-", "_"))
        getattr(self, "init_" + work["method"].replace("-", "_"), lambda: None)()

    def run(self):
        self.forward().backward()
        self.logits.grad = None

    def check(self):
        states = {k: v.clone() for k, v in vars(self).items() if k.startswith("state_")}
        loss = self.forward().item()
        vars(self).update(states)
        return loss

    def expand_label(self):
        target = self.logits.new_zeros(self.rows, max(self.logits.shape[1], self.classes + 1))
        target[torch.arange(self.rows, device=device), self.labels] = 1
        return target[:, : self.logits.shape[1]]

    def bce(self, logits, target):
        return F.binary_cross_entropy_with_logits(logits, target, reduction="none")

    def cross_entropy(self):
        return F.cross_entropy(self.logits, self.labels)

    def binary_cross_entropy(self):
        target = self.expand_label()
        loss = F.binary_cross_entropy_with_logits(self.logits, target, reduction="sum")
        return loss / self.rows

    def focal(self):
        target = self.expand_label()
        loss = torchvision.ops.sigmoid_focal_loss(self.logits, target, 0.25, 2.0, reduction="sum")
        return loss / self.rows

    def init_class_balanced(self):
        weights = (1 - 0.9999) / (1 - 0.9999**self.counts)
        self.weights = (weights * self.classes / weights.sum()).float()

    def class_balanced(self):
        loss = F.cross_entropy(self.logits, self.labels, reduction="none")
        return (loss * self.weights[self.labels]).mean()

    def init_eql(self):
        self.is_tail = (self.frequency < 1.77e-3).float()

    def eql(self):
        rows, columns = self.logits.shape
        target = self.expand_label()
        exclude = (self.labels != self.classes).float().view(rows, 1).expand(rows, columns)
        threshold = self.is_tail.view(1, columns).expand(rows, columns)
        weight = 1 - exclude * threshold * (1 - target)
        return torch.sum(self.bce(self.logits, target) * weight) / rows

    def init_seql(self):
        self.is_tail = (self.frequency < 4.3e-4).float()

    def seql(self):
        rows, columns = self.logits.shape
        target = self.expand_label()
        drop = (torch.rand(rows, columns, device=device) < 0.9).float()
        weight = 1 - drop * self.is_tail.view(1, columns) * (1 - target)
        return F.cross_entropy(self.logits * weight + -1e7 * (1 - weight), self.labels)

    def init_eql_v2(self):
        self.state_positive = torch.zeros(self.classes, device=device)
        self.state_negative = torch.zeros(self.classes, device=device)
        self.state_ratio = torch.full((self.classes,), 100.0, device=device)

    def eql_v2(self):
        rows, columns = self.logits.shape
        target = self.expand_label()
        negative = torch.cat([torch.sigmoid(12 * (self.state_ratio - 0.8)), target.new_ones(1)])
        positive = 1 + 4 * (1 - negative)
        negative = negative.view(1, -1).expand(rows, columns)
        positive = positive.view(1, -1).expand(rows, columns)
        weight = positive * target + negative * (1 - target)
        loss = torch.sum(self.bce(self.logits, target) * weight) / rows
        self.collect_gradient(self.logits.detach(), target.detach(), weight.detach())
        return loss

    def collect_gradient(self, logits, target, weight):
        prob = torch.sigmoid(logits)
        grad = torch.abs(target * (prob - 1) + (1 - target) * prob)
        self.state_positive = self.state_positive + (grad * target * weight).sum(0)[:-1]
        self.state_negative = self.state_negative + (grad * (1 - target) * weight).sum(0)[:-1]
        self.state_ratio = self.state_positive / (self.state_negative + 1e-10)

    def balanced_softmax(self):
        counts = self.counts.float().unsqueeze(0).expand(self.rows, -1)
        return F.cross_entropy(self.logits + counts.log(), self.labels)

    def init_balanced_sigmoid(self):
        f = self.counts / self.counts.sum()
        self.shift = ((f / (1 - f)).log() + math.log(self.classes - 1)).float()

    def balanced_sigmoid(self):
        logits = self.logits + self.shift.unsqueeze(0)
        loss = F.binary_cross_entropy_with_logits(logits, self.expand_label(), reduction="sum")
        return loss / self.rows

    def init_logit_adjustment(self):
        self.adjustment = (self.counts / self.counts.sum() + 1e-12).log().float()

    def logit_adjustment(self):
        return F.cross_entropy(self.logits + self.adjustment, self.labels)

    def init_ldam(self):
        margins = 1 / self.counts.sqrt().sqrt()
        self.margins = (margins * (0.5 / margins.max())).float()

    def ldam(self):
        index = torch.zeros_like(self.logits, dtype=torch.bool)
        index.scatter_(1, self.labels.view(-1, 1), True)
        margins = torch.matmul(self.margins[None, :], index.float().transpose(0, 1)).view(-1, 1)
        logits = torch.where(index, self.logits - margins, self.logits)
        return F.cross_entropy(30 * logits, self.labels)

    def init_seesaw(self):
        self.state_seen = torch.zeros(self.classes, device=device)

    def seesaw(self):
        classes, is_positive = self.classes, self.labels < self.classes
        labels = self.labels[is_positive]
        self.state_seen = self.state_seen + torch.bincount(labels, minlength=classes)
        logits, objectness = self.logits[is_positive, :classes], self.logits[:, classes:]
        one_hot = F.one_hot(labels, classes)
        seen = self.state_seen.clamp(min=1)
        ratio = seen[None, :] / seen[labels][:, None]
        index = (ratio < 1.0).float()
        factors = ratio.pow(0.8) * index + (1 - index)
        scores = F.softmax(logits.detach(), dim=1)
        own = scores[torch.arange(len(scores), device=device), labels]
        ratio = scores / own[:, None].clamp(min=1e-2)
        index = (ratio > 1.0).float()
        factors = factors * (ratio.pow(2.0) * index + (1 - index))
        logits = logits + factors.log() * (1 - one_hot)
        of_classes = F.cross_entropy(logits, labels, reduction="none")
        is_background = (self.labels == classes).long()
        of_objectness = F.cross_entropy(objectness, is_background, reduction="none")
        return of_classes.sum() / self.rows + of_objectness.sum() / self.rows

    def init_equalized_softmax(self):
        self.state_gradients = torch.zeros(self.classes, device=device)
        self.one_hot = F.one_hot(self.labels, self.classes)

        def collect(gradient):
            self.state_gradients = self.state_gradients + (gradient.abs() * self.one_hot).sum(0)

        self.logits.register_hook(collect)

    def equalized_softmax(self):
        self.one_hot = F.one_hot(self.labels, self.classes)
        seen = self.state_gradients.clamp(min=1e-4)
        factor = (seen[None, :] / seen[:, None])[self.labels]
        logits = self.logits + factor.log() * (1 - self.one_hot)
        return F.cross_entropy(logits, self.labels)

    def init_loce(self):
        self.state_scores = torch.full((self.classes + 1,), 0.01, device=device)

    def loce(self):
        """Every row is an object; the mean scores by tensor operations instead of a loop."""
        scores = self.logits.detach().softmax(1).gather(1, self.labels[:, None])[:, 0]
        ones = torch.ones_like(scores)
        zeros = torch.zeros_like(self.state_scores)
        count = zeros.scatter_add(0, self.labels, ones)
        mean = zeros.scatter_add(0, self.labels, scores) / count.clamp(min=1)
        kept = 0.9**count
        moved = kept * self.state_scores + (1 - kept) * mean
        self.state_scores = torch.cat([moved[:-1], moved.new_tensor([0.01])])
        one_hot = torch.zeros_like(self.logits).scatter_(1, self.labels[:, None], 1)
        logits = self.logits - self.logits.max(axis=-1)[0].detach()[:, None]
        numerator = self.state_scores.unsqueeze(0) * torch.exp(logits)
        probability = numerator / numerator.sum(-1, keepdim=True)
        return -(probability * one_hot).sum(1).log().mean()

    def init_bags(self):
        """The columns stand group by group, as in the released head: slices, not choices."""
        group = torch.bucketize(self.counts, self.counts.new_tensor([10, 100, 1000]), right=True)
        self.groups, start = [], 0
        for index in range(4):
            members = (group == index).nonzero(as_tuple=True)[0]
            if len(members) == 0:
                continue
            targets = torch.full((self.classes + 1,), len(members), device=device)
            targets[members] = torch.arange(len(members), device=device)
            self.groups.append((start, len(members), targets))
            start += len(members) + 1

    def bags(self):
        loss = 0
        for start, size, targets in self.groups:
            targets = targets[self.labels]
            own = targets < size
            weight = own.float()
            others = (~own).nonzero(as_tuple=True)[0]
            wanted = int(own.sum() * 8)
            if wanted >= len(others) and wanted > 0:
                weight = torch.ones_like(weight)
            elif wanted > 0:
                weight[others[torch.randperm(len(others), device=device)[:wanted]]] = 1
            rows = F.cross_entropy(
                self.logits.narrow(1, start, size + 1), targets, reduction="none"
            )
            loss = loss + (rows * weight).sum() / weight.sum().clamp(min=1)
        is_background = (self.labels == self.classes).long()
        return loss + F.cross_entropy(self.logits[:, -2:], is_background)

    def init_efl(self):
        self.init_eql_v2()
        self.state_ratio = torch.ones(self.classes, device=device)

        def collect(gradient):
            gradient, target = gradient.abs(), self.expand_label()
            self.state_positive = self.state_positive + (gradient * target).sum(0)
            self.state_negative = self.state_negative + (gradient * (1 - target)).sum(0)
            ratio = self.state_positive / (self.state_negative + 1e-10)
            self.state_ratio = ratio.clamp(min=0, max=1)

        self.logits.register_hook(collect)

    def efl(self):
        target, pred = self.expand_label(), torch.sigmoid(self.logits)
        pred_t = pred * target + (1 - pred) * (1 - target)
        exponent = (2 + 8 * (1 - self.state_ratio)).view(1, -1).expand_as(pred)
        loss = self.bce(self.logits, target) * torch.pow(1 - pred_t, exponent) * (exponent / 2)
        alpha = 0.25 * target + 0.75 * (1 - target)
        return (alpha * loss).sum() / self.rows

    init_eqfl = init_efl

    def eqfl(self):
        """Every box fits its object."""
        target, pred = self.expand_label(), torch.sigmoid(self.logits)
        exponent = (2 + 8 * (1 - self.state_ratio)).view(1, -1).expand_as(pred)
        focus = torch.pow((target - pred).abs(), exponent) * (exponent / 2)
        return (self.bce(self.logits, target) * focus).sum() / self.rows

    def init_acsl(self):
        counts = torch.cat([self.counts, self.counts.new_tensor([1e9])])
        self.is_frequent = (counts > 100).float()
        self.is_rare = (counts <= 10).float()
        self.is_common = 1 - self.is_frequent - self.is_rare

    def acsl(self):
        target = self.expand_label()
        weight = (torch.sigmoid(self.logits.detach()) >= 0.7).float()
        is_background = self.labels == self.classes
        background = is_background.nonzero(as_tuple=True)[0]

        def some(share):
            order = torch.randperm(len(background), device=device)
            chosen = torch.zeros(self.rows, 1, device=device)
            chosen[background[order[: int(share * len(background))]]] = 1
            return chosen

        of_background = self.is_frequent + some(0.1) * self.is_common + some(0.01) * self.is_rare
        weight = torch.where(is_background[:, None], of_background, weight)
        weight[torch.arange(self.rows, device=device), self.labels] = 1
        return torch.sum(self.bce(self.logits, target) * weight) / self.rows

    init_drop_loss = init_eql

    def drop_loss(self):
        rows, columns = self.logits.shape
        target = self.expand_label()
        exclude = (self.labels != self.classes).float().view(rows, 1).expand(rows, columns)
        threshold = self.is_tail.view(1, columns).expand(rows, columns)
        foreground = self.labels[self.labels != self.classes]
        share = self.is_tail[foreground].sum() / len(foreground)
        drop = (torch.rand(rows, columns, device=device) > share).float()
        weight = 1 - (exclude + (1 - exclude) * drop) * threshold * (1 - target)
        return torch.sum(self.bce(self.logits, target) * weight) / rows

    def init_federated(self):
        weights = torch.cat([self.counts.clamp(min=1) ** 0.5, self.counts.new_zeros(1)])
        self.class_weights = weights.float()

    def federated(self):
        rows, columns = self.logits.shape
        target = self.expand_label()
        appeared = torch.unique(self.labels)
        if len(appeared) < 50:
            weights = self.class_weights.clone()
            weights[appeared] = 0
            wanted = min(50 - len(appeared), int((weights > 0).sum()))
            more = torch.multinomial(weights, wanted, replacement=False)
            appeared = torch.cat([appeared, more])
        mask = self.logits.new_zeros(self.classes + 1)
        mask[appeared] = 1
        weight = mask[:columns].view(1, columns).expand(rows, columns)
        return torch.sum(self.bce(self.logits, target) * weight) / rows

    def ghm_c(self):
        target = self.expand_label()
        valid = torch.ones_like(target) > 0
        weight = torch.zeros_like(self.logits)
        g = torch.abs(self.logits.sigmoid().detach() - target)
        total, filled = max(valid.float().sum().item(), 1.0), 0
        for i in range(10):
            upper = 1 + 1e-6 if i == 9 else (i + 1) / 10
            inside = (g >= i / 10) & (g < upper) & valid
            count = inside.sum().item()
            if count > 0:
                weight[inside] = total / count
                filled += 1
        loss = self.bce(self.logits, target) * (weight / filled)
        return loss.sum() / total


class RoiAlign:
    """torchvision's operation for each level, the boxes already sorted by level."""

    def __init__(self, work, backward):
        batch, image, self.backward = work["batch"], work["image"], backward
        sizes = [-(-image // stride) for stride in (4, 8, 16, 32)]
        shapes = [[batch, work["channels"], size, size] for size in sizes]
        self.maps = [tensor(s, i, -1.0, 1.0, backward) for i, s in enumerate(shapes)]
        per_image = work["rois"] // batch
        index = torch.arange(per_image * batch)

        def side(seed):
            return 16.0 * (0.05 * image) ** noise(index, seed)

        width, height = side(11), side(12)
        x, y = noise(index, 13) * (image - width), noise(index, 14) * (image - height)
        boxes = torch.stack([index // per_image, x, y, x + width, y + height], 1).float()
        areas = (boxes[:, 3] - boxes[:, 1]) * (boxes[:, 4] - boxes[:, 2])
        levels = (4 + (areas.sqrt() / 224).log2() + 1e-6).floor().clamp(2, 5) - 2
        self.boxes = [boxes[levels == level].to(device) for level in range(4)]

    def forward(self):
        align = torchvision.ops.roi_align
        pairs = enumerate(zip(self.maps, self.boxes))
        return [align(m, b, 7, 1 / (4 << level), 2, False) for level, (m, b) in pairs]

    def run(self):
        if not self.backward:
            with torch.no_grad():
                self.forward()
            return
        pooled = self.forward()
        torch.autograd.backward(pooled, [torch.ones_like(p) for p in pooled])
        for m in self.maps:
            m.grad = None

    def check(self):
        pooled = self.forward()
        if not self.backward:
            return torch.cat(pooled).abs().mean().item()
        torch.autograd.backward(pooled, [torch.ones_like(p) for p in pooled])
        value = self.maps[0].grad.abs().mean().item()
        for m in self.maps:
            m.grad = None
        return value


class Nms:
    def __init__(self, work, backward):
        index = torch.arange(work["boxes"])
        thing = index // 10
        x, y = (600 * noise(thing, seed).float() for seed in (21, 22))
        width, height = (16 + 160 * noise(thing, seed).float() for seed in (23, 24))
        dx, dy, dw, dh = (16 * (noise(index, seed).float() - 0.5) for seed in range(25, 29))
        x, y, width, height = x + 20 + dx, y + 20 + dy, width + dw, height + dh
        self.boxes = torch.stack([x, y, x + width, y + height], 1).to(device)
        self.scores = noise(index, 20).float().to(device)
        self.groups = (thing % work["groups"]).to(device)

    def run(self):
        return torchvision.ops.batched_nms(self.boxes, self.scores, self.groups, 0.5)

    def check(self):
        return len(self.run())


class Conv:
    def __init__(self, work, backward):
        batch, channels, out = work["batch"], work["in_channels"], work["out_channels"]
        size, kernel, self.stride = work["size"], work["kernel"], work["stride"]
        self.backward, self.padding = backward, kernel // 2
        limit = 1 / math.sqrt(channels * kernel * kernel)
        self.x = tensor([batch, channels, size, size], 31, -1.0, 1.0, backward and channels != 3)
        self.weight = tensor([out, channels, kernel, kernel], 32, -limit, limit, backward)
        self.bias = tensor([out], 33, -limit, limit, backward) if work["bias"] else None

    def forward(self):
        return F.conv2d(self.x, self.weight, self.bias, self.stride, self.padding)

    def free(self):
        for leaf in (self.x, self.weight, self.bias):
            if leaf is not None:
                leaf.grad = None

    def run(self):
        if not self.backward:
            with torch.no_grad():
                self.forward()
            return
        output = self.forward()
        output.backward(torch.ones_like(output))
        self.free()

    def check(self):
        output = self.forward()
        if not self.backward:
            return output.abs().mean().item()
        output.backward(torch.ones_like(output))
        value = self.weight.grad.abs().mean().item()
        self.free()
        return value


class Backbone:
    def __init__(self, work, backward):
        self.backward = backward
        if work["network"] == "resnet50":
            self.model = torchvision.models.resnet50(weights=None)
        else:
            fpn = torchvision.models.detection.backbone_utils.resnet_fpn_backbone
            self.model = fpn(backbone_name="resnet50", weights=None, trainable_layers=3)
        self.model.eval().to(device)  # the norms of the second are frozen in any mode
        self.images = tensor([work["batch"], 3, work["size"], work["size"]], 41, -2.0, 2.0)

    def forward(self):
        output = self.model(self.images)
        return sum(o.sum() for o in (output.values() if isinstance(output, dict) else [output]))

    def run(self):
        if not self.backward:
            with torch.no_grad():
                self.forward()
            return
        self.forward().backward()
        for parameter in self.model.parameters():
            parameter.grad = None

    def check(self):
        return None


class Loader:
    """An epoch of the folders that the other side wrote, with one process for each thread."""

    def __init__(self, work, backward):
        from torchvision import transforms as T
        from torchvision.datasets import ImageFolder

        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        crop = [T.RandomResizedCrop(224), T.RandomHorizontalFlip()]
        transform = T.Compose(crop + [T.ToTensor(), T.Normalize(mean, std)])
        dataset = ImageFolder(os.path.join(folder, "photos"), transform)
        keep = {"num_workers": threads, "persistent_workers": True}
        self.loader = torch.utils.data.DataLoader(dataset, 64, shuffle=True, **keep)

    def run(self):
        return sum(len(labels) for _, labels in self.loader)

    def check(self):
        return self.run()


class Evaluation:
    def __init__(self, work, backward):
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        self.classes = COCO, COCOeval

    def run(self):
        coco, evaluator = self.classes
        truth = coco(os.path.join(folder, "annotations.json"))
        found = truth.loadRes(os.path.join(folder, "detections.json"))
        evaluation = evaluator(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        return evaluation.stats[0]

    def check(self):
        return self.run()


OPERATIONS = {
    "loss": Loss,
    "roi-align": RoiAlign,
    "nms": Nms,
    "conv": Conv,
    "backbone": Backbone,
    "loader": Loader,
    "evaluation": Evaluation,
}


def status_bytes(field):
    with open("/proc/self/status") as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))


class MemoryWatch:
    def __init__(self):
        self.before = None
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
        elif device.type == "cpu" and sys.platform == "linux":
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")
            self.before = status_bytes("VmRSS:")

    def peak(self):
        if self.before is None:
            return None
        is_cuda = device.type == "cuda"
        after = torch.cuda.max_memory_allocated() if is_cuda else status_bytes("VmHWM:")
        return max(after - self.before, 0)


def timed(operation):
    start = time.perf_counter()
    operation.run()
    synchronize()
    return 1e3 * (time.perf_counter() - start)


is_cuda = device.type == "cuda"
answer(
    "versions",
    {
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "python": platform.python_version(),
        "device": device.type,
        "device_name": torch.cuda.get_device_name() if is_cuda else platform.processor() or "CPU",
    },
)
operation = None
for line in sys.stdin:
    request = json.loads(line)
    try:
        if "start" in request:
            operation = None
            work = request["start"]
            operation = OPERATIONS[work["operation"]](work, request["pass"] == "forward-backward")
            synchronize()
            memory = MemoryWatch()
            cold = timed(operation)
            peak = memory.peak()
            check = operation.check()
            answer("started", {"cold_ms": cold, "check": check, "peak_bytes": peak})
        else:
            answer("times", [timed(operation) for _ in range(request["calls"])])
    except Exception as error:  # told, so that the other cases go on
        operation = None
        answer("failed", f"{type(error).__name__}: {error}")
