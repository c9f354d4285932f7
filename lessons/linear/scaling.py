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

**The smallest difference that matters.** Shifted and stretched: twice the steps. As drawn: a tenth of them. Newton's
method: ten times the rounding that the condition number of its equations explains.

**What would refute it.** Shifted or stretched images need less than twice the steps of standardised ones, or images as
drawn no tenth more. Predicted limits, from theory: the *same* factor c for all inputs does no harm, since weights that
learn at 1/c² of the rate then take steps that are 1/c as long, which is the same scores at each step (the bias keeps
its rate). And a method that measures the curvature has no use for scaling: Newton's step is the same in all affine
coordinates, so that its predictions on the shifted and on the stretched images are those on the images as drawn.

**Time.** `python -m lessons` says what it took.
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
from dlnotes.evidence import claim, identity, limit, ratio
from dlnotes.linear import SGD, LogisticClassifier, cross_entropy
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
TUNED = {
    "letters/as drawn": 4.0,
    "letters/mean zero": 16.0,
    "letters/shifted": 0.25,
    "letters/stretched": 0.00390625,
    "letters/standardised": 1.0,
    "fashion_mnist/as drawn": 1.0,
    "fashion_mnist/mean zero": 4.0,
    "fashion_mnist/shifted": 0.125,
    "fashion_mnist/stretched": 0.000976562,
    "fashion_mnist/standardised": 0.25,
    "not_mnist/as drawn": 1.0,
    "not_mnist/mean zero": 4.0,
    "not_mnist/shifted": 0.125,
    "not_mnist/stretched": 0.000976562,
    "not_mnist/standardised": 0.5,
}

# %%
# One seed
# --------
# The same images, first weights (zeros) and batches for all arms; they differ in the numbers that stand for a pixel,
# and in the rate that is best for each.


def trial(config: Config, seed: int) -> dict[str, float | list[float]]:
    inputs, labels = small_images(config, seed)
    measured: dict[str, float | list[float]] = {}
    for arm, scaled in arms(inputs, seed).items():
        (losses,) = descend(config, seed, Examples(scaled, labels), rates=[TUNED[f"{config.data}/{arm}"]])
        measured[f"{arm}/steps"] = steps_until(TARGETS[config.data], losses)
        measured[f"{arm}/curve"] = [losses[step] for step in shown(config)]
        measured[f"{arm}/largest eigenvalue over the median"] = spread(scaled)
    return measured | identities(inputs[:2_000].cpu().double(), labels[:2_000].cpu(), seed)


def small_images(config: Config, seed: int) -> Examples:
    """Training images of 14 x 14 pixels, (N, 196), and their labels."""
    examples = data.load(config.data, seed, train=config.train, test=0).train.to(config.device)
    return Examples(avg_pool2d(examples.inputs, 2).flatten(1), examples.targets)


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
        if all(min(curve) <= TARGETS[config.data] for curve in curves):
            break
    return [curve + [math.nan] * (config.steps + 1 - len(curve)) for curve in curves]


def watched(sweep: Sweep, examples: Examples) -> Iterator[list[float]]:
    few = [tensor[:1_000] for tensor in examples]
    yield [evaluate(model, few, cross_entropy) for model in sweep.models]
    for _ in sweep:
        yield [evaluate(model, few, cross_entropy) for model in sweep.models]


def steps_until(target: float, losses: list[float]) -> float:
    """After how many steps the loss is first at or below the target; nan where it never is."""
    return next((float(step) for step, loss in enumerate(losses) if loss <= target), math.nan)


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


def identities(inputs: Tensor, labels: Tensor, seed: int) -> dict[str, float | list[float]]:
    fine, first_five = arms(inputs, seed), (labels < 5).double()
    coarse = arms(avg_pool2d(inputs.unflatten(1, (14, 14)), 2).flatten(1), seed)
    predictions, _ = newton(coarse["as drawn"], first_five)
    measured: dict[str, float | list[float]] = {
        "common factor: scores far apart": far(
            sgd_scores(inputs, labels, 1, seed), sgd_scores(inputs, labels, 255, seed)
        )
    }
    for arm in ("shifted", "stretched"):
        others, condition = newton(coarse[arm], first_five)
        rounding = torch.finfo(others.dtype).eps * condition
        measured[f"{arm}: standardised far apart"] = far(linear.standardize(fine[arm])[0], fine["standardised"])
        measured[f"{arm}: Newton's predictions far apart"] = far(others, predictions) / rounding
    return measured


def sgd_scores(inputs: Tensor, labels: Tensor, factor: float, seed: int) -> Tensor:
    """All scores after 100 steps with the inputs times a factor, and the weights' rate divided by its square."""
    model = LogisticClassifier(inputs.shape[1], 10, dtype=torch.float64)
    groups: list[dict[str, Any]] = [{"params": [model.weight], "lr": 0.5 / factor**2}, {"params": [model.bias]}]
    optimizer = SGD(groups, lr=0.5)
    batches = Minibatches((inputs * factor, labels), 128, stream(seed, "batches"))
    for _ in islice(Trainer(model, cross_entropy, optimizer, batches), 100):
        pass
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


def far(one: Tensor, other: Tensor) -> float:
    return (one - other).abs().amax().item()


# %%
# Choosing the rates
# ------------------
# The same candidates for each arm, scored by what is judged: the number of steps.


def tune(config: Config, seed: int) -> dict[str, float | list[float]]:
    inputs, labels = small_images(config, seed)
    scores: dict[str, float | list[float]] = {}
    for arm, scaled in arms(inputs, seed).items():
        curves = descend(config, seed, Examples(scaled, labels), rates=list(RATES))
        for rate, losses in zip(RATES, curves, strict=True):
            scores[f"{config.data}/{arm}/{rate:.6g}"] = steps_until(TARGETS[config.data], losses)
    return scores


# %%
# What settles it
# ---------------
# Where the arm that is predicted to be slower does not arrive in time, the steps that it had stand in: it needs more.


def findings(trials):
    where, target = trials.config.data, TARGETS[trials.config.data]
    return [
        claim(
            "1.10",
            f"a linear classifier on {where} shifted by 1 needs over twice the steps to a loss of {target} that it "
            "needs on standardised ones, at best rates",
            slower(trials, "shifted", margin=2.0),
            of="steps shifted over steps standardised",
        ),
        claim(
            "1.10",
            f"so it does on {where} whose pixels have units of their own, within a factor of 100",
            slower(trials, "stretched", margin=2.0),
            of="steps stretched over steps standardised",
        ),
        claim(
            "1.10",
            f"and on {where} as drawn, from 0 to 1, over a tenth more",
            slower(trials, "as drawn", margin=1.1),
            of="steps as drawn over steps standardised",
        ),
        claim(
            "1.10",
            "standardising undoes the shift and the units: the inputs are those standardised as drawn",
            identity(both(trials, "standardised far apart"), tolerance=1e-9),
        ),
        limit(
            "1.10",
            f"a factor common to all inputs does no harm: with the pixels of {where} 255 times as large, and weights "
            "that learn at 1/255² of the rate, the scores after 100 steps of SGD are the same",
            identity(trials["common factor: scores far apart"], tolerance=1e-9),
        ),
        limit(
            "1.10",
            f"Newton's method has no use for scaling: its predictions on {where} shifted and stretched are at each "
            "step those on the images as drawn",
            identity(both(trials, "Newton's predictions far apart"), tolerance=10.0),
            of="distance, in units of rounding times the condition number",
        ),
    ]


def slower(trials, arm, *, margin):
    needed = np.nan_to_num(trials[f"{arm}/steps"], nan=trials.config.steps)
    return ratio(needed, trials["standardised/steps"], margin=margin)


def both(trials, what):
    return np.maximum(trials[f"shifted: {what}"], trials[f"stretched: {what}"])


# %%
# What to look at
# ---------------
# On the left, each line is a seed: the same images in other numbers, until the loss is at the target. On the right,
# each dot is a seed: the farther the largest eigenvalue lies above the others, the more steps. A shift makes one
# direction steep, that of all weights up together; units make some pixels steep. For the images as drawn, whose pixels
# are all in one unit, taking the mean off is nearly all of the remedy.


def figure(trials):
    drawing, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    steps, target = np.array(shown(trials.config)), TARGETS[trials.config.data]
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
