"""
Do inputs need to be normalised?
================================

The same child is 1.2 metres tall, or 120 centimetres. The same pixel is 1, or 255. What is measured changes neither
with its unit nor with its zero. Does learning? The course notes say that inputs are usually normalised before training
(row 1.10): brought to mean zero, and all to the same variance.

The smallest linear model, w x + b, shows why. With squared errors its loss is a *bowl*, a quadratic function of w and
b. The inputs alone say how it curves, by a matrix H with the rows (mean x², mean x) and (mean x, 1). Its largest
eigenvalue is the steepest curvature, its smallest the flattest, and κ (kappa) is their ratio.

Gradient descent has one learning rate α for all directions. A step multiplies what is still to go along a direction of
curvature h by 1 - α h. A steep direction wants a small α, or it flies out of the bowl; a flat one wants a large α, or
it creeps. The best compromise is α = 2 / (steepest + flattest). Take two examples, in three kinds of numbers: ::

    inputs         mean x²    mean x    steepest    flattest     κ     best α    steps until a tenth is left to go
    -1 and 1          1          0          1           1         1     1           1
     1 and 3          5          2          5.83        0.17     34     0.33       40
    -10 and 10      100          0        100           1       100     0.02      116

A shift by 2 has made one direction steep, that of w and b up together; a unit ten times as small made w steep, not b.
Subtract the mean, divide by the deviation (the root of the variance), and both are the first line again. Newton's
method, which divides by the curvature, should need none of it. Nor should a unit matter if w has a rate of its own.
"""

import math
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from dlnotes import data, lesson
from dlnotes.evidence import at_least, identity, ratio
from dlnotes.lesson import answer, claim, curves, limit, reference_line
from dlnotes.linear import SGD, LogisticClassifier, cross_entropy, standardize
from dlnotes.measuring import Measured, Tuned, grid, largest_error, steps_until, train_for
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep
from dlnotes.training import Minibatches, Trainer, evaluate

# %%
# The experiment
# --------------
# Each *seed* draws images, a unit for each pixel, and batches. The *arms* are the same images in other numbers: as
# drawn, from 0 (paper) to 1 (ink); shifted, from 1 to 2; stretched, each pixel in a unit of its own, 1 to 100 times as
# large; standardised, with mean 0 and variance 1; and, for the figure alone, with mean zero. A linear classifier starts
# from zeros in each, at the rate that was best there on other seeds. We count steps until its loss on 1,000 training
# images is down to a target, in nats: to guess among ten classes costs ln 10 = 2.3 nats.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 4_000  # training images
    batch_size: int = 128  # images a step
    steps: int = 1_000  # most steps of each classifier
    device: str = "cpu"  # of the classifiers


QUICK = Config(train=1_000, steps=20)
SEEDS = range(12)
TARGETS = {"letters": 0.5, "fashion_mnist": 0.8, "not_mnist": 0.5}  # the training loss to reach, in nats
DATA = tuple(TARGETS)
ARMS = ("as drawn", "mean zero", "shifted", "stretched", "standardised")
SHOWN = sorted({round(step) for step in np.geomspace(1, 1_000, 50)})  # the steps that the figure shows: 1, 2, …


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    images = data.load(config.data, seed, train=config.train, test=0, side=14, flat=True).train
    inputs, labels = images.to(config.device)
    measured: Measured = {}
    for arm, scaled in arms(inputs, seed).items():
        (losses,) = losses_at([tuned[arm]], config, seed, data.Examples(scaled, labels))
        measured[f"{arm}/steps"] = steps_until(TARGETS[config.data], losses)
        measured[f"{arm}/curve"] = [losses[step] for step in SHOWN if step <= config.steps]
        measured[f"{arm}/largest eigenvalue over the median"] = spread(scaled)
    inputs, labels = inputs[:2_000].cpu().double(), labels[:2_000].cpu()
    scores = [sgd_scores(inputs, labels, factor, seed) for factor in (1, 255)]
    measured["factor of 255/error of the scores"] = largest_error(*scores)
    fine, coarse = arms(inputs, seed), arms(avg_pool2d(inputs.unflatten(1, (14, 14)), 2).flatten(1), seed)
    is_early = (labels < 5).double()  # one of the first five classes? No plane can tell: the loss has a lowest point
    expected, _ = newton(coarse["as drawn"], is_early)
    for arm in ("shifted", "stretched"):
        measured[f"{arm}/error once standardised"] = largest_error(standardize(fine[arm])[0], fine["standardised"])
        predictions, rounding = newton(coarse[arm], is_early)
        measured[f"{arm}/error of Newton over rounding"] = largest_error(predictions, expected) / rounding
    return measured


def arms(inputs: Tensor, seed: int) -> dict[str, Tensor]:
    units = 100 ** torch.rand(inputs.shape[1], generator=stream(seed, "units"), dtype=torch.float64)
    return {
        "as drawn": inputs,
        "mean zero": inputs - inputs.mean(0),
        "shifted": inputs + 1,
        "stretched": inputs * units.to(inputs),
        "standardised": standardize(inputs)[0],
    }


def losses_at(rates: list[float], config: Config, seed: int, examples: data.Examples) -> list[list[float]]:
    """For each rate the loss at the start and after each step; nan once all rates have been down to the target."""
    models = [LogisticClassifier(examples.inputs.shape[1], 10).to(config.device) for _ in rates]
    groups = [{"params": model.parameters(), "lr": rate} for model, rate in zip(models, rates, strict=True)]
    batches = Minibatches(examples, config.batch_size, stream(seed, "batches"))
    few = [tensor[:1_000] for tensor in examples]
    found = [[evaluate(model, few, cross_entropy)] for model in models]
    for _ in islice(Sweep(models, cross_entropy, SGD(groups, lr=1.0), batches), config.steps):
        for losses, model in zip(found, models, strict=True):
            losses.append(evaluate(model, few, cross_entropy))
        if all(min(losses) <= TARGETS[config.data] for losses in found):
            break
    return [losses + [math.nan] * (config.steps + 1 - len(losses)) for losses in found]


def spread(inputs: Tensor) -> float:
    """The largest eigenvalue of H over the median one."""
    rows = pad(inputs.cpu().double(), (0, 1), value=1.0)  # the bias's own input
    eigenvalues = torch.linalg.eigvalsh(rows.T @ rows / len(rows))
    return (eigenvalues[-1] / eigenvalues.median()).item()


def sgd_scores(inputs: Tensor, labels: Tensor, factor: float, seed: int) -> Tensor:
    """All scores after 100 steps with the inputs times a factor, and the weights' rate divided by its square."""
    model = LogisticClassifier(inputs.shape[1], 10, dtype=torch.float64)
    optimizer = SGD([{"params": [model.weight], "lr": 0.5 / factor**2}, {"params": [model.bias], "lr": 0.5}], lr=1.0)
    batches = Minibatches((inputs * factor, labels), 128, stream(seed, "batches"))
    train_for(Trainer(model, cross_entropy, optimizer, batches), 100)
    return model(inputs * factor).detach()


def newton(inputs: Tensor, targets: Tensor) -> tuple[Tensor, float]:
    """The predictions after each of 8 steps of Newton's method, (8, N), and the rounding that its equations explain."""
    rows, condition = pad(inputs, (0, 1), value=1.0), 0.0
    w, predictions = torch.zeros_like(rows[0]), [torch.full_like(targets, 0.5)]
    for _ in range(8):
        p = predictions[-1]
        curvature = (rows * (p * (1 - p))[:, None]).T @ rows
        w = w - torch.linalg.solve(curvature, rows.T @ (p - targets))
        condition = max(condition, torch.linalg.cond(curvature).item())
        predictions.append((rows @ w).sigmoid())
    return torch.stack(predictions[1:]), torch.finfo(rows.dtype).eps * condition


# The rates are chosen by `python -m lessons tune scaling`: of the same 18 for each arm, by the number of steps.
TUNING = dict.fromkeys(ARMS, grid(2**-11, 64))
TUNING_SEEDS = range(1_000, 1_004)


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    images = data.load(config.data, seed, train=config.train, test=0, side=14, flat=True).train
    inputs, labels = images.to(config.device)
    found = losses_at(list(candidates), config, seed, data.Examples(arms(inputs, seed)[arm], labels))
    return [steps_until(TARGETS[config.data], losses) for losses in found]


# %%
# What we expect
# --------------
# Written before the run. A *claim* is what the notes say, a *limit* where we expect no difference. The *margin*, the
# smallest difference that matters, is a factor of 2, and 10 % for images as drawn. Arms that never arrive need more.


def slower(t, arm, *, margin):
    return ratio(at_least(t[f"{arm}/steps"], budget=t.config.steps), t["standardised/steps"], margin=margin)


def worse(t, what):
    return np.maximum(t[f"shifted/{what}"], t[f"stretched/{what}"])


# fmt: off
PREDICTIONS = [
    claim("1.10", "shifted", "Shifted by 1, {data} cost a linear classifier over twice the steps of standardised ones.",
          lambda t: slower(t, "shifted", margin=2.0), arms=("standardised", "shifted")),
    claim("1.10", "stretched", "With a unit for each pixel, up to 100 times as large, {data} cost a linear classifier "
          "over twice the steps of standardised ones.",
          lambda t: slower(t, "stretched", margin=2.0), arms=("standardised", "stretched")),
    claim("1.10", "as drawn", "As drawn, {data} cost a linear classifier over 10 % more steps than standardised ones.",
          lambda t: slower(t, "as drawn", margin=1.1), arms=("standardised", "as drawn")),
    claim("1.10", "undone", "Standardising undoes a shift and units: {data} become those standardised as drawn.",
          lambda t: identity(worse(t, "error once standardised"), tolerance=1e-9)),
    limit("1.10", "common factor", "SGD on {data} with all pixels 255 times as large gives the same scores after 100 "
          "steps, if the weights' rate is divided by 255².",
          lambda t: identity(t["factor of 255/error of the scores"], tolerance=1e-9)),
    limit("1.10", "Newton", "At each step Newton's method predicts the same on {data} as drawn, shifted and stretched, "
          "within ten times the rounding of its equations.",
          lambda t: identity(worse(t, "error of Newton over rounding"), tolerance=10.0), of="error over rounding"),
]

ANSWERS = [
    answer("1.10", "Gradient descent needs it, Newton's method does not. Shifted {data} cost SGD {shifted} times the "
           "steps of normalised ones, in mixed units {stretched} times, as drawn {as drawn} times.",
           given={"shifted": "supported", "stretched": "supported", "as drawn": "supported", "Newton": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left two bowls from above, the first two lines of the table, and the steps down. In the round one a single step
# arrives; in the shifted one the path zigzags across the steep direction, then creeps along the flat one. In the middle
# the loss, a thin line a seed and a mark where it arrives: unless the mean is zero, it climbs first. On the right why:
# a dot a seed, with H made of all pixels. The farther the steepest curvature lies above an ordinary one (the median),
# the more steps. For images as drawn, whose pixels share a unit, subtracting the mean is nearly all of the remedy.


def figure(trials):
    drawing, (above, middle, right) = plt.subplots(1, 3, figsize=(14, 4))
    w, b = np.meshgrid(np.linspace(-2.4, 2.4, 80), np.linspace(-1, 3.2, 80))
    for color, inputs, rate in (("C4", (-1, 1), 1.0), ("C2", (1, 3), 0.3)):
        loss, path = sum((w * x + b) ** 2 for x in inputs) / 4, [np.array([0.5, 2.2])]
        above.contour(w, b, loss, [0.1, 0.5, 1.2], colors=color, linewidths=0.8, alpha=0.5)
        for _ in range(40):
            path.append(path[-1] - rate * sum(path[-1] @ (x, 1) * np.array([x, 1]) for x in inputs) / 2)
        above.plot(*np.transpose(path), "o-", color=color, markersize=4, label=f"inputs {inputs[0]} and {inputs[1]}")
    above.set(title="Two bowls from above", xlabel="w, from the lowest point", ylabel="b, from there", aspect="equal")

    target, budget = TARGETS[trials.config.data], trials.config.steps
    for place, (arm, marker) in enumerate(zip(ARMS, "osD^v", strict=True)):
        color, arrived = f"C{place}", trials[f"{arm}/steps"]
        curves(middle, SHOWN, trials[f"{arm}/curve"], label=arm, color=color, geometric=True)
        middle.plot(arrived, np.full(len(arrived), target), marker, color=color, alpha=0.6)
        over = trials[f"{arm}/largest eigenvalue over the median"]
        right.plot(over, np.nan_to_num(arrived, nan=budget), marker, color=color, alpha=0.6, label=arm)
    middle.set(title="Loss at each arm's best rate", xlabel="step", ylabel="training loss (nats)")
    right.set(title="Steps to the target", xlabel="steepest curvature over the median", ylabel="steps")
    for axes, value, name in ((middle, target, "target"), (right, budget, "budget")):
        axes.set(xscale="log", yscale="log")
        reference_line(axes, value, name)
    above.legend()
    right.legend()
    return drawing


# %%
# Try it yourself
# ---------------
# A step sees 128 images. Are shifted images slow because so few are noisy? Guess how many steps they need where each
# step sees all 4,000: `python -m lessons run scaling --set batch_size=4000 --seeds 1`.

if __name__ == "__main__":
    lesson.main("scaling")
