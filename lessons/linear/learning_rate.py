"""
How do I choose a learning rate?
================================

A step of gradient descent goes against the gradient, and the learning rate α says how far. How small must steps be? The
notes answer that there is no obvious way to know (row 1.19), and advise to plot the loss against the number of steps,
and to study the curve (1.21). Is it so hard? And what does the curve tell?

Take the simplest loss, h w² / 2, whose curvature is h. Its gradient is h w, and a step multiplies w by 1 - α h. From
w = 8, for h = 1: ::

    α = 0.01     8    7.92    7.84    7.76   …     too low: patience
    α = 0.5      8    4       2       1      …     good
    α = 1        8    0                            the best
    α = 1.9      8   -7.2     6.48   -5.83   …     too high: it leaps from side to side, and still arrives
    α = 2.1      8   -8.8     9.68  -10.65   …     far too high: it flies away

With h = 100 all of these rates are 100 times smaller. So the best rate is 1/h, and nobody tells us h: it depends on the
data, on their units, on the network. A real loss has many curvatures at once, and a gradient from a few examples is
noisy, so no single h would settle it.

But the five rows differ, and so should their loss curves. At a rate too low the curve still falls at the end, at a good
one it falls and flattens, at one too high it shoots up. We read such curves by a rule that sees what a person sees in a
plot, and nothing else. A curve is *unstable* if it rises to 1.1 times its start, or beyond all numbers. It is *slow* if
the second half of the steps brings over a tenth of the whole fall. Otherwise it looks *good*.
"""

import math
from dataclasses import dataclass
from itertools import islice

import numpy as np
from matplotlib import pyplot as plt
from torch import nn

from dlnotes import data, lesson
from dlnotes.deep import MLP
from dlnotes.evidence import difference, not_better, proportion, ratio
from dlnotes.lesson import answer, claim, limit, reference_line, strips
from dlnotes.linear import SGD, LogisticClassifier, cross_entropy, standardize
from dlnotes.measuring import Measured
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep
from dlnotes.training import Minibatches, evaluate

# %%
# The experiment
# --------------
# Each *seed* draws images, first weights and batches for four trainings that look alike: a linear classifier; the same
# on inputs of mean 0 and variance 1; the first again, with batches of 8 instead of 128; and a network with a hidden
# layer. Each is run with 24 learning rates, a factor of 2 apart, and nothing else differs. We take the loss on 1,000
# training images at the end, in nats, the unit of cross-entropy (to guess among ten classes costs ln 10 = 2.3), and
# read the curve of the losses of its batches, each point a mean of 20 steps. The best rate is the one with the lowest
# loss at the end.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, mnist, not_mnist
    train: int = 3_000  # training images
    steps: int = 300  # steps of each training
    window: int = 20  # steps that are averaged to a point of a curve
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.train < 1_000 or self.window < 1 or self.steps < 12 * self.window:
            raise ValueError("train must be 1,000 or more, window 1 or more, and steps 12 windows or more")


QUICK = Config(train=1_000, steps=12, window=1)
SEEDS = range(12)
RATES = tuple(2.0**power for power in range(-16, 8))
Curves = tuple[list[np.ndarray], np.ndarray, list[float]]  # of each rate the curve, the loss before it, and at the end
TASKS = ("linear", "normalised inputs", "batches of 8", "network")


def trial(config: Config, seed: int) -> Measured:
    examples = data.load(config.data, seed, train=config.train, test=0, side=14).train.to(config.device)
    measured: Measured = {}
    for task in TASKS:
        curves, starts, ends = trained(config, seed, task, examples)
        readings = [reading(curve, start) for curve, start in zip(curves, starts, strict=True)]
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
    return measured


def trained(config: Config, seed: int, task: str, examples: data.Examples) -> Curves:
    """What training makes of a task, at all rates side by side."""
    images = standardize(examples.inputs)[0] if task == "normalised inputs" else examples.inputs
    batch_size = 8 if task == "batches of 8" else 128
    models = [model_of(task, seed).to(config.device) for _ in RATES]
    groups = [{"params": model.parameters(), "lr": lr} for model, lr in zip(models, RATES, strict=True)]
    batches = Minibatches((images, examples.targets), batch_size, stream(seed, "batches"))
    sweep = Sweep(models, cross_entropy, SGD(groups, lr=1.0), batches)
    losses = np.array([step.losses for step in islice(sweep, config.steps)]).T  # (rates, steps)
    few, fates = (images[:1_000], examples.targets[:1_000]), zip(models, sweep.diverged, strict=True)
    ends = [math.inf if lost else evaluate(model, few, cross_entropy) for model, lost in fates]
    return [smooth(one, config.window) for one in losses], losses[:, 0], ends


def model_of(task: str, seed: int) -> nn.Module:
    return MLP([196, 64, 10], generator=stream(seed, "weights")) if task == "network" else LogisticClassifier(196, 10)


def smooth(losses: np.ndarray, window: int) -> np.ndarray:
    """The mean of each window of steps, and nan from the first loss that is not finite on."""
    return losses[: len(losses) // window * window].reshape(-1, window).mean(1)


def reading(curve: np.ndarray, start: float) -> str:
    """What the points of a curve say about its rate; ``start`` is the loss before any update."""
    if not np.isfinite(curve).all() or curve.max() > 1.1 * start:
        return "unstable"
    second_half = curve[len(curve) // 2] - curve[-1]
    return "slow" if second_half > (start - curve[-1]) / 10 else "good"


def at(values: list[float], place: int) -> float:
    """The value at a place of the grid of rates, or nan beyond its ends: a best rate there says nothing."""
    return values[place] if 0 <= place < len(values) else math.nan


# %%
# What we expect
# --------------
# Written before the run. A *claim* is what the notes say, a *limit* is where we expect a rate to be known or a curve to
# mislead. The *margin*, the smallest difference that matters, stands in each sentence.


def best_rates(trials):
    return np.array([trials[f"{task}/best rate"] for task in TASKS])  # (tasks, seeds)


def over_the_best(trials, what):
    """The loss at another rate over the loss at the best one, (tasks, seeds)."""
    losses, best = (np.array([trials[f"{task}/{one}"] for task in TASKS]) for one in (what, "loss at the best"))
    return losses / best


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
          lambda t: ratio(best_rates(t).max(0), best_rates(t).min(0), margin=10.0), of="largest over smallest rate"),
    claim("1.19", "wrong rate", "A rate 8 times too low or too high ends with over a tenth more loss on {data}, "
          "even in the training where that costs least.",
          lambda t: ratio(over_the_best(t, "loss at an eighth or eightfold").min(0), np.ones(len(t.seeds)), margin=1.1),
          of="loss over the best loss"),
    limit("1.19", "reused rate", "The rate that was best on another draw of {data} ends below twice the best loss.",
          lambda t: not_better(ratio(reused(t), np.ones(len(t.seeds)), margin=2.0)), of="loss over the best loss",
          because="curvature and noise of the gradients hardly change from draw to draw"),
    claim("1.21", "far too low", "Over four in five curves of a rate a thousand times too low look slow, on {data}.",
          lambda t: difference(share(t, "a thousandth looks slow"), margin=0.8), of="share of curves"),
    claim("1.21", "too high", "Over four in five curves of a rate 8 times too high look unstable, on {data}.",
          lambda t: difference(share(t, "eightfold looks unstable"), margin=0.8), of="share of curves"),
    limit("1.21", "false alarm", "The best rate of a linear classifier of {data} looks unstable in over half of draws.",
          lambda t: proportion(int(t["linear/the best looks unstable"].sum()), len(t.seeds), above=0.5),
          of="share of draws", because="a loss with a single valley recovers from a leap at the start"),
    limit("1.21", "false comfort", "The worst rate that looks good on normalised {data} ends with over twice the loss "
          "of the best.",
          lambda t: ratio(t["normalised inputs/loss at the worst that looks good"],
                          t["normalised inputs/loss at the best"], margin=2.0),
          of="loss over the best loss", because="after a fast fall the rest is small beside it"),
]

ANSWERS = [
    answer("1.19", "A rate 8 times off ends with {wrong rate:.1f} times the best loss or more. Whether similar "
           "trainings need rates ten times apart is open on {data}; on notMNIST and Fashion-MNIST they do not.",
           given={"wrong rate": "supported", "between trainings": "inconclusive",
                  "not_mnist/between trainings": "refuted", "fashion_mnist/between trainings": "refuted"}),
    answer("1.21", "A rate 1,000 times too low looks slow, one 8 times too high unstable. In between curves mislead: "
           "one that looks good can leave {false comfort} times the best loss. Not seen on other images.",
           given={"far too low": "supported", "too high": "supported", "false alarm": "supported",
                  "false comfort": "supported", "not_mnist/false comfort": "inconclusive",
                  "fashion_mnist/false comfort": "inconclusive"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left the loss curves of one linear classifier, from a rate a thousand times too low to one 8 times too high,
# and how the rule reads them. The best one leaps at the start, and so looks unstable. In the middle a thin line is a
# seed and a colour a training: the loss at each rate, with a mark at the best. The valleys lie apart, and the walls to
# their right are steep. On the right what a choice costs, a dot a seed, a bar their mean: a rate 8 times too low or too
# high, whichever costs less, and the worst rate whose curve looks good.


def figure(trials):
    config, (drawing, (left, middle, right)) = trials.config, plt.subplots(1, 3, figsize=(14, 4))
    examples = data.load(config.data, trials.seeds[0], train=config.train, test=0, side=14).train.to(config.device)
    curves, starts, ends = trained(config, trials.seeds[0], "linear", examples)
    best, colors = int(np.argmin(ends)), {"slow": "C0", "good": "C4", "unstable": "C2"}
    for shift, dashes in ((-10, ":"), (-6, "-."), (-3, "--"), (0, "-"), (3, (0, (1, 1)))):
        if 0 <= best + shift < len(RATES):
            curve, start = curves[best + shift], starts[best + shift]
            name = "the best" if not shift else f"best × {2**shift}" if shift > 0 else f"best / {2**-shift:,}"
            read, steps = reading(curve, start), [0, *((np.arange(len(curve)) + 0.5) * config.window)]
            left.plot(steps, [start, *curve], color=colors[read], linestyle=dashes, label=f"{name}: {read}")
    left.set(title="Loss curves of a linear classifier", xlabel="step", ylabel="loss (nats)", yscale="log")
    for place, (task, marker) in enumerate(zip(TASKS, "osD^", strict=True)):
        losses = np.where(np.isfinite(trials[f"{task}/losses"]), trials[f"{task}/losses"], np.nan)
        middle.plot(RATES, losses.T, color=f"C{place}", linewidth=0.4, alpha=0.4)
        middle.plot(trials[f"{task}/best rate"], np.nanmin(losses, 1), marker, color=f"C{place}", alpha=0.7, label=task)
    middle.set(title="Loss at the end", xlabel="rate", ylabel="nats", xscale="log", yscale="log", ylim=(None, 10))
    for aside, color, what in ((-0.15, "C0", "an eighth or eightfold"), (0.15, "C4", "the worst that looks good")):
        costs = over_the_best(trials, f"loss at {what}")
        groups = {task.replace(" ", "\n", 1): cost[np.isfinite(cost)] for task, cost in zip(TASKS, costs, strict=True)}
        strips(right, groups, color=color, label=what, shift=aside, width=0.2, geometric=True)
    reference_line(right, 1, "the best")
    right.set(title="Loss at another rate, over the loss at the best", yscale="log")
    for axes in (left, middle, right):
        axes.legend()
    return drawing


# %%
# Try it yourself
# ---------------
# Train twice as long. Will the best rates be larger, smaller or the same? And what of the loss at the worst rate that
# looks good? `python -m lessons run learning_rate --set steps=600 --seeds 1`

if __name__ == "__main__":
    lesson.main("learning_rate")
