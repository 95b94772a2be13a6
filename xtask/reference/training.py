"""Numbers for the tests of longtail-training: learning rates, optimizer steps, clipping.

Usage: python training.py   (torch 2.x, float64, CPU)
"""

import math

import torch


def rates(scheduler_of, lr, iterations, wanted):
    parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.SGD([parameter], lr)
    scheduler = scheduler_of(optimizer)
    found = []
    for i in range(iterations):
        if i in wanted:
            found.append((i, optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return found


def show(name, pairs):
    print(name + ": " + ", ".join(f"({i}, {value!r})" for i, value in pairs))


show(
    "cosine, 200 warm-up of 1440, lr 0.1",
    rates(
        lambda o: torch.optim.lr_scheduler.LambdaLR(
            o, lambda i: min(1, (i + 1) / 200) * 0.5 * (1 + math.cos(math.pi * i / 1440))
        ),
        0.1,
        1440,
        [0, 1, 100, 199, 200, 720, 1439],
    ),
)
show(
    "multi-step, drops at 30 and 80, lr 0.1",
    rates(
        lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [30, 80], 0.1),
        0.1,
        100,
        [0, 29, 30, 79, 80, 99],
    ),
)


def start():
    """A weight [2, 3] and a bias [3] with simple values."""
    weight = torch.tensor([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]], dtype=torch.float64)
    bias = torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64)
    return torch.nn.Parameter(weight), torch.nn.Parameter(bias)


def inputs():
    x = torch.tensor(
        [[1.0, 2.0], [-1.0, 0.5], [0.3, -0.7], [2.0, 1.0]], dtype=torch.float64
    )
    y = torch.tensor([0, 1, 2, 1])
    return x, y


def train(optimizer_of, clip=None, halves=False):
    """5 steps of cross-entropy of x W + b."""
    weight, bias = start()
    optimizer = optimizer_of(weight, bias)
    x, y = inputs()
    for _ in range(5):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(x @ weight + bias, y).backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_([weight, bias], clip)
        optimizer.step()
    return weight.detach().flatten().tolist(), bias.detach().tolist()


def show_step(name, result):
    weight, bias = result
    print(f"{name}: weight {[round(v, 9) for v in weight]} bias {[round(v, 9) for v in bias]}")


sgd = dict(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01)
show_step("sgd nesterov", train(lambda w, b: torch.optim.SGD([w, b], **sgd)))
show_step(
    "sgd nesterov, no decay on bias",
    train(lambda w, b: torch.optim.SGD([{"params": [w]}, {"params": [b], "weight_decay": 0}], **sgd)),
)
show_step("sgd momentum", train(lambda w, b: torch.optim.SGD([w, b], lr=0.1, momentum=0.9)))
show_step("sgd plain, clip 0.1", train(lambda w, b: torch.optim.SGD([w, b], lr=0.1), clip=0.1))
show_step("adamw", train(lambda w, b: torch.optim.AdamW([w, b], lr=0.01, weight_decay=0.1)))

weight, bias = start()
x, y = inputs()
torch.nn.functional.cross_entropy(x @ weight + bias, y).backward()
print("norm of the first gradient:", torch.nn.utils.get_total_norm([weight.grad, bias.grad]).item())
