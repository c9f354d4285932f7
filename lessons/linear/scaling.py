"""
Inputs of zero mean and equal variance
======================================

**The question.** Inputs come in whatever unit and with whatever zero they were measured in. What does a learner gain
when each of them is brought to mean 0 and variance 1 first?

**What the notes say.** The inputs are usually normalised before training, so that each has mean zero and all have the
same variance (1.10).

**What is measured.** The same images of 14 x 14 pixels, three times over: as drawn, from 0 (paper) to 1 (ink); shifted,
from 1 to 2; and stretched, each pixel in a unit of its own, 1 to 100 times as large. All three hold the same
information, and standardised by the training examples' means and deviations they are the same numbers up to rounding. A
linear classifier is trained on each, and on the standardised ones, by SGD with batches of 128, each at its own best
rate from the same grid (of the stretched, the best for other draws of the units): how many steps it takes until the
loss over 1,000 training examples is at a target. A fifth arm has the mean taken off and the variances left alone, to
show which of the two does it. As the explanation, the eigenvalues of XᵀX / N with a column of ones for the bias: the
loss curves along each direction in proportion to them. How far the largest lies above the median says by how much a
rate that is safe for the fastest direction is too small for an ordinary one. (The usual number, largest over smallest,
depends on pixels that are hardly ever inked.)
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from dlnotes import data, lesson, linear
from dlnotes.data import Examples
from dlnotes.evidence import at_least, identity, ratio
from dlnotes.lesson import answer, claim, limit
from dlnotes.linear import SGD, LogisticClassifier, cross_entropy
from dlnotes.measuring import Measured, Tuned, largest_error, steps_until, train_for
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep
from dlnotes.training import Minibatches, Trainer, evaluate

# %%
# Settings
# --------


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 4_000  # training examples
    batch_size: int = 128  # examples a step
    steps: int = 1_000  # steps of each classifier
    device: str = "cpu"  # of the classifiers

    def __post_init__(self) -> None:
        if self.train < 1_000 or self.steps < 2:
            raise ValueError("train must be 1,000 or more, and steps 2 or more")

    @property
    def target(self) -> float:
        """The training loss to reach, in nats."""
        return TARGETS[self.data]


QUICK = Config(train=1_000, steps=20)
SEEDS = range(12)
DATA = ("letters", "fashion_mnist", "not_mnist")

ARMS = ("as drawn", "mean zero", "shifted", "stretched", "standardised")
TARGETS = {"letters": 0.5, "fashion_mnist": 0.8, "not_mnist": 0.5}  # the training loss to reach, in nats

# %%
# The rate of each arm: the best of 18 on four seeds that no verdict sees. ``python -m lessons tune scaling`` chooses
# them; the scores of all candidates are in ``results/tuning``.

RATES = tuple(2.0**power for power in range(-11, 7))
TUNING_SEEDS = range(1_000, 1_004)

# %%
# One seed
# --------
# The same images, first weights (zeros) and batches for all arms; they differ in the numbers that stand for a pixel,
# and in the rate that is best for each.


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    loaded = data.load(config.data, seed, train=config.train, test=0, side=14, flat=True)
    inputs, labels = loaded.train.to(config.device)
    measured: Measured = {}
    for arm, scaled in arms(inputs, seed).items():
        (losses,) = descend(config, seed, Examples(scaled, labels), rates=[tuned[arm]])
        measured[f"{arm}/steps"] = steps_until(config.target, losses)
        measured[f"{arm}/curve"] = [losses[step] for step in shown(config)]
        measured[f"{arm}/largest eigenvalue over the median"] = spread(scaled)
    return measured | identities(inputs[:2_000].cpu().double(), labels[:2_000].cpu(), seed)


def arms(inputs: Tensor, seed: int) -> dict[str, Tensor]:
    """The same images in the numbers of each arm."""
    units = 100 ** torch.rand(inputs.shape[1], generator=stream(seed, "units"), dtype=torch.float64)
    return {
        "as drawn": inputs,
        "mean zero": inputs - inputs.mean(0),
        "shifted": inputs + 1,
        "stretched": inputs * units.to(inputs),
        "standardised": linear.standardize(inputs)[0],
    }


def descend(config: Config, seed: int, examples: Examples, *, rates: list[float]) -> list[list[float]]:
    """For each rate, the loss over the first 1,000 training examples, at the start and after each step.

    It ends where all rates have arrived at the target; the losses of the steps that were not made are nan.
    """
    models = [LogisticClassifier(examples.inputs.shape[1], 10).to(config.device) for _ in rates]
    groups = [{"params": model.parameters(), "lr": rate} for model, rate in zip(models, rates, strict=True)]
    batches = Minibatches(examples, config.batch_size, stream(seed, "batches"))
    sweep = Sweep(models, cross_entropy, SGD(groups, lr=1.0), batches)
    curves: list[list[float]] = [[] for _ in rates]
    for losses in islice(watched(sweep, examples), config.steps + 1):
        for curve, loss in zip(curves, losses, strict=True):
            curve.append(loss)
        if all(min(curve) <= config.target for curve in curves):
            break
    return [curve + [math.nan] * (config.steps + 1 - len(curve)) for curve in curves]


def watched(sweep: Sweep, examples: Examples) -> Iterator[list[float]]:
    few = [tensor[:1_000] for tensor in examples]
    yield [evaluate(model, few, cross_entropy) for model in sweep.models]
    for _ in sweep:
        yield [evaluate(model, few, cross_entropy) for model in sweep.models]


def shown(config: Config) -> list[int]:
    """The steps that the figure shows, evenly on a logarithmic axis: 1, 2, … and the last."""
    return sorted({round(step) for step in np.geomspace(1, config.steps, 50)})


def spread(inputs: Tensor) -> float:
    """The largest eigenvalue of XᵀX / N over the median one, with a column of ones for the bias."""
    rows = pad(inputs.cpu().double(), (0, 1), value=1.0)
    eigenvalues = torch.linalg.eigvalsh(rows.T @ rows / len(rows))
    return (eigenvalues[-1] / eigenvalues.median()).item()


# %%
# What is the same in any numbers
# -------------------------------
# In double precision. Newton's method has images of 7 x 7 pixels and one question, whether the class is one of the
# first five: no plane answers it without a mistake, so that the loss has one lowest point.


def identities(inputs: Tensor, labels: Tensor, seed: int) -> Measured:
    fine, first_five = arms(inputs, seed), (labels < 5).double()
    coarse = arms(avg_pool2d(inputs.unflatten(1, (14, 14)), 2).flatten(1), seed)
    predictions, _ = newton(coarse["as drawn"], first_five)
    measured: Measured = {
        "common factor: scores far apart": largest_error(
            sgd_scores(inputs, labels, 1, seed), sgd_scores(inputs, labels, 255, seed)
        )
    }
    for arm in ("shifted", "stretched"):
        others, condition = newton(coarse[arm], first_five)
        rounding = torch.finfo(others.dtype).eps * condition
        measured[f"{arm}: standardised far apart"] = largest_error(
            linear.standardize(fine[arm])[0], fine["standardised"]
        )
        measured[f"{arm}: Newton's predictions far apart"] = largest_error(others, predictions) / rounding
    return measured


def sgd_scores(inputs: Tensor, labels: Tensor, factor: float, seed: int) -> Tensor:
    """All scores after 100 steps with the inputs times a factor, and the weights' rate divided by its square."""
    model = LogisticClassifier(inputs.shape[1], 10, dtype=torch.float64)
    groups: list[dict[str, Any]] = [{"params": [model.weight], "lr": 0.5 / factor**2}, {"params": [model.bias]}]
    optimizer = SGD(groups, lr=0.5)
    batches = Minibatches((inputs * factor, labels), 128, stream(seed, "batches"))
    train_for(Trainer(model, cross_entropy, optimizer, batches), 100)
    return model(inputs * factor).detach()


def newton(inputs: Tensor, answers: Tensor) -> tuple[Tensor, float]:
    """The predictions after each of 8 steps of Newton's method, (8, N), and the worst condition number on the way."""
    rows, condition = pad(inputs, (0, 1), value=1.0), 0.0
    w, predictions = torch.zeros_like(rows[0]), [torch.full_like(answers, 0.5)]
    for _ in range(8):
        p = predictions[-1]
        curvature = (rows * (p * (1 - p))[:, None]).T @ rows
        w = w - torch.linalg.solve(curvature, rows.T @ (p - answers))
        condition = max(condition, torch.linalg.cond(curvature).item())
        predictions.append((rows @ w).sigmoid())
    return torch.stack(predictions[1:]), condition


# %%
# Choosing the rates
# ------------------
# The same candidates for each arm, scored by what is judged: the number of steps.


def tune(config: Config, seed: int) -> Measured:
    loaded = data.load(config.data, seed, train=config.train, test=0, side=14, flat=True)
    inputs, labels = loaded.train.to(config.device)
    scores: Measured = {}
    for arm, scaled in arms(inputs, seed).items():
        curves = descend(config, seed, Examples(scaled, labels), rates=list(RATES))
        for rate, losses in zip(RATES, curves, strict=True):
            scores[f"{config.data}/{arm}/{rate:.6g}"] = steps_until(config.target, losses)
    return scores


# %%
# What we expect
# --------------
# Written before the run. Where the arm that is predicted to be slower does not arrive in time, the steps that it had
# stand in: it needs more.


def slower(trials, arm, *, margin):
    needed = at_least(trials[f"{arm}/steps"], budget=trials.config.steps)
    return ratio(needed, trials["standardised/steps"], margin=margin)


def both(trials, what):
    return np.maximum(trials[f"shifted: {what}"], trials[f"stretched: {what}"])


# fmt: off
PREDICTIONS = [
    claim("1.10", "shifted", "A linear classifier on {data} shifted by 1 needs over twice the steps to a loss of "
          "{target} that it needs on standardised ones, at best rates.",
          lambda t: slower(t, "shifted", margin=2.0), arms=("standardised", "shifted"),
          of="steps shifted over steps standardised"),
    claim("1.10", "stretched", "A linear classifier on {data} whose pixels have units of their own, within a factor of "
          "100, needs over twice the steps that it needs on standardised ones.",
          lambda t: slower(t, "stretched", margin=2.0), arms=("standardised", "stretched"),
          of="steps stretched over steps standardised"),
    claim("1.10", "as drawn", "A linear classifier on {data} as drawn, from 0 to 1, needs over a tenth more steps than "
          "on standardised ones.",
          lambda t: slower(t, "as drawn", margin=1.1), arms=("standardised", "as drawn"),
          of="steps as drawn over steps standardised"),
    claim("1.10", "undone", "Standardising undoes the shift and the units: the inputs are those standardised as drawn.",
          lambda t: identity(both(t, "standardised far apart"), tolerance=1e-9)),
    limit("1.10", "common factor", "A factor of 255 common to all pixels of {data} leaves the scores after 100 steps "
          "of SGD the same, where the weights learn at 1/255² of the rate.",
          lambda t: identity(t["common factor: scores far apart"], tolerance=1e-9),
          because="weights at 1/c² of the rate take steps that are 1/c as long"),
    limit("1.10", "Newton", "Newton's predictions on {data} shifted and stretched are at each step those on the images "
          "as drawn, within ten times the rounding that its equations explain.",
          lambda t: identity(both(t, "Newton's predictions far apart"), tolerance=10.0),
          of="distance, in units of rounding times the condition number",
          because="a method that measures the curvature takes the same step in all affine coordinates"),
]

ANSWERS = [
    answer("1.10", "Gradient descent needs it. On {data} shifted by 1 it takes {shifted} times the steps, with "
           "pixels in units of their own {stretched} times, as drawn {as drawn} times. A factor common to all inputs "
           "does no harm, and Newton's method does not care.",
           given={"shifted": "supported", "stretched": "supported", "as drawn": "supported",
                  "common factor": "supported", "Newton": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left, each line is a seed: the same images in other numbers, until the loss is at the target. On the right,
# each dot is a seed: the farther the largest eigenvalue lies above the others, the more steps. A shift makes one
# direction steep, that of all weights up together; units make some pixels steep. For the images as drawn, whose pixels
# are all in one unit, taking the mean off is nearly all of the remedy.


def figure(trials):
    drawing, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    steps, target = np.array(shown(trials.config)), trials.config.target
    for place, arm in enumerate(ARMS):
        color, marker = f"C{place}", "osD^v"[place]
        arrived = trials[f"{arm}/steps"]
        for curve, end in zip(trials[f"{arm}/curve"], arrived, strict=True):
            before = steps < np.nan_to_num(end, nan=np.inf)
            left.plot([*steps[before], end], [*curve[before], target], color=color, linewidth=0.6, alpha=0.5)
            left.plot(end, target, marker, color=color, alpha=0.6)
        spreads = trials[f"{arm}/largest eigenvalue over the median"]
        needed = np.nan_to_num(arrived, nan=trials.config.steps)
        right.plot(spreads, needed, marker, color=color, alpha=0.6, label=arm)
    left.axhline(target, color="0.4", linestyle=":", label="the target")
    left.set_xscale("log")
    left.set_yscale("log")
    left.set_title(f"A linear classifier on {trials.config.data}, each arm at its best rate")
    left.set_xlabel("step")
    left.set_ylabel("training loss (nats)")
    left.legend()

    right.axhline(trials.config.steps, color="0.4", linestyle=":", label="the budget")
    right.set_xscale("log")
    right.set_yscale("log")
    right.set_title(f"Steps to a training loss of {target}")
    right.set_xlabel("largest eigenvalue of XᵀX / N over the median")
    right.set_ylabel("steps")
    right.legend()
    return drawing


# %%
# Run it
# ------

if __name__ == "__main__":
    lesson.main("scaling")
