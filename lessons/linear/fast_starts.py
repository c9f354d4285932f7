"""
Does a fast start make a good end?
==================================

You train the same network with a dozen settings (learning rates, say), look at the losses after a minute, and stop all
but the lowest. It is tempting, and the notes warn of it: how fast a network learns at the start tells little about how
good it will be once training is over (row 1.22).

Why should it not tell? Take the simplest loss there is, w² / 2, whose gradient is w, and add noise of variance 1 to the
gradient, as if each step saw a few examples only. A step with the learning rate α is w ← w - α (w + noise), so that on
average w² becomes (1 - α)² w² + α². The first part shrinks what is left of the start; the second is what noise adds
each time. From w = 3, the mean loss of two rates is: ::

    step          0       1       2       3       5       8       9      10      20    …   for ever
    α = 0.8     4.50    0.50    0.34    0.33    0.33    0.33    0.33    0.33    0.33         0.33
    α = 0.15    4.50    3.26    2.37    1.72    0.92    0.37    0.28    0.21    0.05         0.04

The large rate wins the first eight steps, and never gets any further. The small one is eight times better in the end.
The curves cross, and nothing in the first steps says so.

Yet a setting that learns nothing at the start may well learn nothing at all. So the start could tell the hopeless from
the rest, and still not say which of the rest is best. We ask for both.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import pyplot as plt
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dlnotes import data, lesson
from dlnotes.deep import MLP
from dlnotes.evidence import difference, ratio
from dlnotes.lesson import answer, claim, limit, reference_line, strips
from dlnotes.linear import SGD, cosine_decay, cross_entropy, exponential_decay
from dlnotes.measuring import Measured, grid, train_for
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep
from dlnotes.training import Minibatches, evaluate

# %%
# The experiment
# --------------
# Each *seed* draws images, first weights and batches (the images of each step). A network with one hidden layer (units
# between image and classes) is trained with 27 settings: nine learning rates, each kept constant, decaying
# exponentially to a hundredth, or falling to zero along half a cosine wave. All else is the same. We measure the loss
# on unseen images, in nats (the unit of natural logarithms), after 5 % of the steps and at the end. A training that
# diverged (its loss grew beyond all numbers) counts with an infinite loss.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, mnist, not_mnist
    train: int = 2_000  # training images
    validation: int = 1_000  # unseen images: for letters, of typefaces that training never saw
    steps: int = 600  # steps of each training; the start is the first 5 %
    batch_size: int = 32  # images a step
    hidden: int = 64  # hidden units
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.steps < 20:
            raise ValueError("steps must be 20 or more")


QUICK = Config(train=200, validation=100, steps=20)
SEEDS = range(12)
RATES = grid(2**-6, 4)
SCHEDULES: dict[str, Callable[[Optimizer, int], LRScheduler]] = {
    "constant": lambda optimizer, steps: exponential_decay(optimizer, 1.0),
    "exponential": lambda optimizer, steps: exponential_decay(optimizer, 0.01, steps),
    "cosine": lambda optimizer, steps: cosine_decay(optimizer, steps),
}
FASTEST = 9  # how many of the 27 settings count as fast starters


def trial(config: Config, seed: int) -> Measured:
    measured: Measured = {}
    for name in SCHEDULES:
        early, final = losses_after((config.steps // 20, config.steps), config, seed, name, RATES)
        measured |= {f"{name}/early": early, f"{name}/final": final}
    starts, ends = (np.concatenate([measured[f"{name}/{when}"] for name in SCHEDULES]) for when in ("early", "final"))
    measured["final loss of the fastest starter"] = float(ends[starts.argmin()])
    measured["best final loss"] = float(ends.min())
    return measured


def losses_after(
    steps: Sequence[int], config: Config, seed: int, schedule: str, rates: Sequence[float]
) -> list[list[float]]:
    """The losses on unseen images after so many steps, a list with one for each rate; they train side by side."""
    parts = data.load(config.data, seed, train=config.train, validation=config.validation, test=0, side=14)
    train, unseen, _ = parts.to(config.device)
    models = [MLP([196, config.hidden, 10], generator=stream(seed, "weights")).to(config.device) for _ in rates]
    groups = [{"params": model.parameters(), "lr": rate} for model, rate in zip(models, rates, strict=True)]
    optimizer = SGD(groups, lr=1.0)
    batches = Minibatches(train, config.batch_size, stream(seed, "batches"))
    sweep = Sweep(models, cross_entropy, optimizer, batches, scheduler=SCHEDULES[schedule](optimizer, config.steps))
    found = []
    for step in steps:
        train_for(sweep, step - sweep.steps)
        losses = (evaluate(model, unseen, cross_entropy) for model in models)
        found.append([math.inf if lost else loss for loss, lost in zip(losses, sweep.diverged, strict=True)])
    return found


# %%
# What we expect
# --------------
# Written before the run. A *claim* is what the notes say in one way of measuring it, a *limit* a way in which we expect
# the start to tell a lot. For the fastest starter the *margin*, the smallest difference that matters, is a tenth. We
# measure how well two orders agree by their rank correlation (Spearman's): 1 for the same order, 0 for no relation, -1
# for the reverse. One half divides "tells little" from "tells".

# fmt: off
PREDICTIONS = [
    claim("1.22", "fastest starter",
          "The fastest starter of 27 settings ends with over a tenth more loss on unseen {data} than the best.",
          lambda t: ratio(t["final loss of the fastest starter"], t["best final loss"], margin=1.1),
          arms=("final loss of the fastest starter", "best final loss")),
    claim("1.22", "fastest nine",
          "Early and final loss of the nine fastest starters on {data} have a rank correlation below one half.",
          lambda t: difference(0.5 - rank_correlations(*of_the_fastest(*all_settings(t))), margin=0.0),
          of="one half minus the rank correlation"),
    limit("1.22", "whole range", "Early and final loss of all 27 settings have a rank correlation above one half.",
          lambda t: difference(rank_correlations(*all_settings(t)) - 0.5, margin=0.0),
          of="rank correlation minus one half",
          because='methods that stop bad runs early rely on it (Li et al., "Hyperband", 2018)'),
]

ANSWERS = [
    answer("1.22", "Of 27 settings the fastest starter ends with {fastest starter:more} more loss than the best. The "
           "start shows hopeless ones; whether it ranks the fastest nine is open. On notMNIST the starter is fine.",
           given={"fastest starter": "supported", "fastest nine": "inconclusive", "whole range": "supported",
                  "not_mnist/fastest starter": "refuted"}),
]
# fmt: on


def all_settings(trials):
    """Early and final losses of all settings, (seeds, 27) each; infinite where training diverged."""
    return tuple(
        np.nan_to_num(np.concatenate([trials[f"{name}/{when}"] for name in SCHEDULES], axis=1), nan=np.inf)
        for when in ("early", "final")
    )


def of_the_fastest(early, final):
    """The losses of the fastest starters of each seed."""
    fast = early.argsort(1)[:, :FASTEST]
    return np.take_along_axis(early, fast, 1), np.take_along_axis(final, fast, 1)


def rank_correlations(early, final):
    """Spearman's rank correlation of each seed."""
    from scipy.stats import spearmanr

    return np.array([spearmanr(one, other).statistic for one, other in zip(early, final, strict=True)])


# %%
# What to look at
# ---------------
# On the left whole curves of one seed, for the setting that is fastest after 5 % of the steps (dotted line), the one
# that is best in the end, and the slowest: the first two cross. In the middle a dot for each setting and seed. The bulk
# rises: a setting that has learned nothing early ends badly. But at the left, where one would choose, the cloud is
# nearly flat: dots with much the same start end far apart. On the right a dot a seed, a bar their mean: the rank
# correlation of early and final loss, of all settings and of the nine fastest.


def figure(trials):
    drawing, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4), width_ratios=[5, 4, 3])
    config, (early, final) = trials.config, all_settings(trials)
    start, places = config.steps // 20, np.unique(np.linspace(0, config.steps, 41).round().astype(int))
    chosen = {"fastest": early[0].argmin(), "best": final[0].argmin(), "slowest": early[0].argmax()}
    for color, (name, setting) in zip(("C1", "C0", "C4"), chosen.items(), strict=True):
        schedule, rate = list(SCHEDULES)[setting // len(RATES)], RATES[setting % len(RATES)]
        losses = losses_after(places.tolist(), config, trials.seeds[0], schedule, [rate])
        left.plot(places, losses, color=color, label=f"{name}: rate {rate:g}, {schedule}")
    left.axvline(start, color="0.4", linestyle=":")
    left.set(title="Three settings from start to end", xlabel="step", ylabel="loss on unseen images (nats)")
    for place, (name, marker) in enumerate(zip(SCHEDULES, "os^", strict=True)):
        dots = trials[f"{name}/early"].flatten(), trials[f"{name}/final"].flatten()
        middle.plot(*dots, marker, color=f"C{place}", markersize=3, alpha=0.5, label=name)
    middle.set(title=f"{early.shape[1]} settings, {len(early)} seeds", xlim=(0.9, 3), ylim=(0.2, 3), xscale="log")
    middle.set_xticks([1, 1.5, 2, 3], ["1", "1.5", "2", "3"])
    middle.set(xlabel=f"loss after {start} steps (nats)", ylabel=f"loss after {config.steps} steps (nats)")
    fast = of_the_fastest(early, final)
    strips(right, {"all 27": rank_correlations(early, final), "fastest nine": rank_correlations(*fast)})
    reference_line(right, 0.5, "one half")
    right.set(title="Do start and end rank alike?", ylabel="rank correlation", ylim=(-0.1, 1))
    for axes in (left, middle):
        axes.set_yscale("log")
        axes.set_yticks([0.2, 0.3, 0.5, 1, 2, 3], ["0.2", "0.3", "0.5", "1", "2", "3"])
        axes.minorticks_off()
        axes.legend()
    return drawing


# %%
# Try it yourself
# ---------------
# Train four times as long; the start is then four times as long, too. Will the fastest starter still fall behind, and
# by more or by less? `python -m lessons run fast_starts --set steps=2400 --seeds 1`

if __name__ == "__main__":
    lesson.main("fast_starts")
