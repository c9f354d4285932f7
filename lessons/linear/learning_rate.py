"""
How hard is it to choose a learning rate?
=========================================

**The question.** Steps must be small; but how small, and can one see it?

**What the notes say.** There is no obvious way to know how small the steps should be (1.19). To tune the rate, plot
the loss against the number of steps and study the curve (1.21).

**What is measured.** Four trainings that look alike, on the same letters: a linear classifier, the same on normalised
inputs, the same with batches of 8 in the place of 128, and a network with one hidden layer. Each with 24 rates, a
factor of 2 apart, with the same first weights and the same batches: the mean loss over 1,000 training letters after 300
steps. The best rate of a training is the one where that loss is lowest.
*The curve* is the loss of each step, averaged over windows of 20 steps. It is read by a rule that sees nothing else, as
a person would read it: training is **unstable** if a window is above 1.1 times the loss that it began with, or is no
number; **slow** if the second half of the steps still brings more than a tenth of the whole fall; and **good**
otherwise.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import numpy as np
from matplotlib import pyplot as plt
from torch import Tensor, nn

from dlnotes import data, lesson
from dlnotes.deep import MLP
from dlnotes.evidence import difference, not_better, proportion, ratio
from dlnotes.lesson import answer, claim, limit
from dlnotes.linear import SGD, LogisticClassifier, cross_entropy, standardize
from dlnotes.measuring import Measured
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep
from dlnotes.training import Minibatches, evaluate

# %%
# Settings
# --------


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, mnist, not_mnist
    train: int = 3_000  # training examples
    steps: int = 300  # steps of each training
    window: int = 20  # steps that are averaged to a point of a curve
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.train < 1_000 or self.window < 1 or self.steps < 12 * self.window:
            raise ValueError("train must be 1,000 or more, window 1 or more, and steps 12 windows or more")


QUICK = Config(train=1_000, steps=12, window=1)
SEEDS = range(12)
RATES = tuple(2.0**power for power in range(-16, 8))
TASKS = ("linear", "normalised inputs", "batches of 8", "network")
SHOWN = (1 / 64, 1.0, 64.0)  # the rates whose curves the figure shows

# %%
# One seed
# --------
# What differs from task to task is the model, the inputs or the batch; what differs within one is the rate alone. The
# models of a task are trained side by side, on the same batches.


def trial(config: Config, seed: int) -> Measured:
    loaded = data.load(config.data, seed, train=config.train, test=0, side=14)  # as large as this question needs
    small, labels = loaded.train.to(config.device)
    (normal,) = standardize(small)
    tasks: dict[str, tuple[Callable[[], nn.Module], Tensor, int]] = {
        "linear": (lambda: LogisticClassifier(196, 10), small, 128),
        "normalised inputs": (lambda: LogisticClassifier(196, 10), normal, 128),
        "batches of 8": (lambda: LogisticClassifier(196, 10), small, 8),
        "network": (lambda: MLP([196, 64, 10], generator=stream(seed, "weights")), small, 128),
    }
    measured: Measured = {}
    for task, (make, pictures, batch_size) in tasks.items():
        models = [make().to(config.device) for _ in RATES]
        groups = [{"params": model.parameters(), "lr": lr} for model, lr in zip(models, RATES, strict=True)]
        batches = Minibatches((pictures, labels), batch_size, stream(seed, "batches"))
        sweep = Sweep(models, cross_entropy, SGD(groups, lr=1.0), batches)
        losses = np.array([step.losses for step in islice(sweep, config.steps)]).T  # (rates, steps)
        ends = [
            math.inf if lost else evaluate(model, (pictures[:1_000], labels[:1_000]), cross_entropy)
            for model, lost in zip(models, sweep.diverged, strict=True)
        ]
        curves = [smooth(curve, config.window) for curve in losses]
        readings = [reading(curve, start) for curve, start in zip(curves, losses[:, 0], strict=True)]
        slow, unstable = ([float(read == word) for read in readings] for word in ("slow", "unstable"))
        best = int(np.argmin(ends))
        good = [end for end, read in zip(ends, readings, strict=True) if read == "good"]
        measured[f"{task}/best rate"] = RATES[best]
        measured[f"{task}/loss at the best"] = ends[best]
        measured[f"{task}/loss at an eighth or eightfold"] = float(np.minimum(at(ends, best - 3), at(ends, best + 3)))
        measured[f"{task}/loss at the worst that looks good"] = max(good, default=math.nan)
        measured[f"{task}/a thousandth looks slow"] = at(slow, best - 10)
        measured[f"{task}/the best looks unstable"] = unstable[best]
        measured[f"{task}/eightfold looks unstable"] = at(unstable, best + 3)
        measured[f"{task}/losses"] = ends
        for lr in SHOWN if task == TASKS[0] else ():
            measured[f"{task}/curve at {lr:g}"] = curves[RATES.index(lr)].tolist()
    return measured


def at(values: list[float], place: int) -> float:
    """What stands at a place of the grid, or nan beyond its ends: a best rate there says nothing."""
    return values[place] if 0 <= place < len(values) else math.nan


def smooth(losses: np.ndarray, window: int) -> np.ndarray:
    """The mean of each window of steps, and nan from the first loss that is not finite on."""
    return losses[: len(losses) // window * window].reshape(-1, window).mean(1)


# %%
# Reading a curve
# ---------------
# All that a reader of a plot has is the points of the curve: not how others did, nor the loss over other letters.


def reading(curve: np.ndarray, start: float) -> str:
    """What the curve of a rate says about it; ``start`` is the loss of the first step, before any update."""
    if not np.isfinite(curve).all() or curve.max() > 1.1 * start:
        return "unstable"
    second_half = curve[len(curve) // 2] - curve[-1]
    return "slow" if second_half > (start - curve[-1]) / 10 else "good"


# %%
# What we expect
# --------------
# Written before the run. Each number is one of a seed: the most extreme of its four trainings, or their mean.


def between(trials):
    rates = np.array([trials[f"{task}/best rate"] for task in TASKS])  # (tasks, seeds)
    return ratio(rates.max(0), rates.min(0), margin=10.0)


def wrong(trials):
    """The loss at the better of an eighth and eightfold the best rate, over the best: where it costs least."""
    losses, best = (
        np.array([trials[f"{task}/{what}"] for task in TASKS])
        for what in ("loss at an eighth or eightfold", "loss at the best")
    )
    return (losses / best).min(0)


def share(trials, what):
    return np.mean([trials[f"{task}/{what}"] for task in TASKS], axis=0)


def reused(trials):
    """The loss at the rate that was best for the seed before, over the seed's own best: the mean of the four tasks."""
    ratios = []
    for task in TASKS:
        losses, best = trials[f"{task}/losses"], trials[f"{task}/best rate"]
        places = [RATES.index(rate) for rate in np.roll(best, 1)]
        ratios.append(losses[np.arange(len(losses)), places] / losses.min(1, where=np.isfinite(losses), initial=np.inf))
    return np.exp(np.log(ratios).mean(0))


# fmt: off
PREDICTIONS = [
    claim("1.19", "between trainings", "The best rates of four trainings on {data} that look alike differ by more than "
          "a factor of ten.",
          between, of="largest over smallest best rate"),
    claim("1.19", "wrong rate", "A rate that is wrong by a factor of 8 ends with over a tenth more loss, where that "
          "costs least.",
          lambda t: ratio(wrong(t), np.ones(len(t.seeds)), margin=1.1), of="loss over the best loss"),
    limit("1.19", "reused rate", "The best rate of another draw of the {data} ends with less than twice the best loss.",
          lambda t: not_better(ratio(reused(t), np.ones(len(t.seeds)), margin=2.0)), of="loss over the best loss",
          because="curvature and noise of the gradients hardly change from draw to draw"),
    claim("1.21", "far too low", "Over four in five curves of a rate a thousand times too low look slow, on {data}.",
          lambda t: difference(share(t, "a thousandth looks slow"), margin=0.8), of="share of curves"),
    claim("1.21", "too high", "Over four in five curves of a rate 8 times too high look unstable, on {data}.",
          lambda t: difference(share(t, "eightfold looks unstable"), margin=0.8), of="share of curves"),
    limit("1.21", "false alarm", "The best rate of the linear classifier looks unstable in over half of the draws.",
          lambda t: proportion(int(t["linear/the best looks unstable"].sum()), len(t.seeds), above=0.5),
          of="share of draws", because="a leap at the start is not the end of a loss that is convex"),
    limit("1.21", "false comfort", "The worst rate that looks good on normalised inputs ends with over twice the loss "
          "of the best.",
          lambda t: ratio(t["normalised inputs/loss at the worst that looks good"],
                          t["normalised inputs/loss at the best"], margin=2.0),
          of="loss over the best loss", because="after a fast fall little is left to see"),
]

ANSWERS = [
    answer("1.19", "The rate matters: wrong by a factor of 8, it costs {wrong rate:more} more loss even where that "
           "costs least. Whether trainings that look alike want rates over ten times apart stays open ({between "
           "trainings} times were found); the best rate of another draw of the images does nearly as well.",
           given={"wrong rate": "supported", "between trainings": "inconclusive", "reused rate": "supported"}),
    answer("1.21", "The far ends show: a rate a thousand times too low looks slow, one 8 times too high unstable. In "
           "between the curve misleads: the best rate of a linear classifier looks unstable, and one that looks good "
           "can end with {false comfort} times the best loss.",
           given={"far too low": "supported", "too high": "supported", "false alarm": "supported",
                  "false comfort": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left, each valley is a task and each dot the best rate of a seed: the valleys lie apart, and the walls to their
# right are steep. On the right, what a person sees who plots the loss: too low a rate is patient, too high a one
# leaps. The one that leaps ends lower here than its start promises.


def figure(trials):
    drawing, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    for place, (task, marker) in enumerate(zip(TASKS, "osD^", strict=True)):
        losses = np.where(np.isfinite(trials[f"{task}/losses"]), trials[f"{task}/losses"], np.nan)
        left.plot(RATES, losses.T, color=f"C{place}", linewidth=0.4, alpha=0.4)
        best = trials[f"{task}/best rate"]
        left.plot(best, np.nanmin(losses, 1), marker, color=f"C{place}", alpha=0.7, label=task)
    left.set(xscale="log", yscale="log", ylim=(None, 10))
    left.set_xticks([0.001, 0.01, 0.1, 1, 10, 100], ["0.001", "0.01", "0.1", "1", "10", "100"])
    left.set_title(f"After {trials.config.steps} steps on {trials.config.data}: four trainings")
    left.set_xlabel("learning rate")
    left.set_ylabel("mean cross-entropy (nats)")
    left.legend(title="at the best rate of each seed")

    for place, (lr, dashes) in enumerate(zip(SHOWN, (":", "-", "--"), strict=True)):
        fraction = f"1/{1 / lr:g}" if lr < 1 else f"{lr:g}"
        curves = trials[f"{TASKS[0]}/curve at {lr:g}"]
        steps = (np.arange(curves.shape[1]) + 0.5) * trials.config.window
        right.plot(steps, curves.T, color=f"C{place}", linewidth=0.4, alpha=0.4)
        right.plot(steps, np.nanmean(curves, 0), dashes, color=f"C{place}", label=f"rate {fraction}")
    right.axhline(math.log(10), color="0.4", linestyle=":", label="ln 10, the start")
    right.set_yscale("log")
    right.set_title("The curves of three rates (linear classifier)")
    right.set_xlabel("step")
    right.set_ylabel(f"mean loss of {trials.config.window} steps (nats)")
    right.legend()
    return drawing


# %%
# Run it
# ------

if __name__ == "__main__":
    lesson.main("learning_rate")
