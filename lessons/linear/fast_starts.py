"""
Does a fast start make a good end?
==================================

**The question.** Of many settings, one learns fastest at the start. Is it the one to keep?

**What the notes say.** How fast a network learns at the start tells little about how good it will be once training is
over (1.22).

**What is measured.** One network with a hidden layer, 27 settings: nine rates, each constant, with exponential decay,
and with a cosine. The same first weights and batches for all. The loss on letters of typefaces that training does not
see, after 5 % of the steps and at the end. A setting that diverged has an infinite loss.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import numpy as np
from matplotlib import pyplot as plt
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dlnotes import data, lesson
from dlnotes.deep import MLP
from dlnotes.evidence import difference, ratio
from dlnotes.lesson import answer, claim, limit
from dlnotes.linear import SGD, cosine_decay, cross_entropy, exponential_decay
from dlnotes.measuring import Measured, grid
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
    train: int = 2_000  # training examples
    validation: int = 1_000  # examples that are judged by: for letters, of typefaces that training never saw
    steps: int = 600  # steps of each training; the start is the first 5 %
    batch_size: int = 32  # examples a step
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
FASTEST = 9  # how many of the settings count as fast starters: a third

# %%
# One seed
# --------
# The nine rates of a schedule are trained side by side.


def trial(config: Config, seed: int) -> Measured:
    parts = data.load(config.data, seed, train=config.train, validation=config.validation, test=0, side=14)
    train, unseen, _ = parts.to(config.device)
    measured: Measured = {}
    for name, schedule in SCHEDULES.items():
        widths = [196, config.hidden, 10]
        models = [MLP(widths, generator=stream(seed, "weights")).to(config.device) for _ in RATES]
        groups = [{"params": model.parameters(), "lr": lr} for model, lr in zip(models, RATES, strict=True)]
        optimizer = SGD(groups, lr=1.0)
        batches = Minibatches(train, config.batch_size, stream(seed, "batches"))
        sweep = Sweep(models, cross_entropy, optimizer, batches, scheduler=schedule(optimizer, config.steps))
        for moment, steps in (("early", config.steps // 20), ("final", config.steps)):
            deque(islice(sweep, steps - sweep.steps), maxlen=0)
            measured[f"{name}/{moment}"] = [
                math.inf if lost else evaluate(model, unseen, cross_entropy)
                for model, lost in zip(models, sweep.diverged, strict=True)
            ]
    early, final = (
        np.concatenate([measured[f"{name}/{moment}"] for name in SCHEDULES]) for moment in ("early", "final")
    )
    measured["final loss of the fastest starter"] = float(final[early.argmin()])
    measured["best final loss"] = float(final.min())
    return measured


# %%
# What we expect
# --------------

# fmt: off
PREDICTIONS = [
    claim("1.22", "fastest starter",
          "The fastest starter of 27 settings ends with over a tenth more loss on unseen {data} than the best.",
          lambda t: ratio(t["final loss of the fastest starter"], t["best final loss"], margin=1.1),
          arms=("final loss of the fastest starter", "best final loss")),
    claim("1.22", "fastest nine",
          "Early and final loss of the nine fastest starters have a rank correlation (Spearman's) below one half.",
          lambda t: difference(0.5 - ranked_alike(*of_the_fastest(*joined(t))), margin=0.0),
          of="one half minus the rank correlation", because='one half divides "tells little" from "tells"'),
    limit("1.22", "whole range",
          "Early and final loss of all 27 settings have a rank correlation above one half.",
          lambda t: difference(ranked_alike(*joined(t)) - 0.5, margin=0.0),
          of="rank correlation minus one half",
          because="the start shows which settings are hopeless, and methods that stop bad runs early live on that "
                  '(Li et al., "Hyperband", 2018)'),
]

ANSWERS = [
    answer("1.22", "The fastest starter of 27 is no good choice: it ends with {fastest starter:more} more loss than "
           "the best. Yet over all 27 a start shows which are hopeless; whether it ranks the nine fastest stays "
           "open.",
           given={"fastest starter": "supported", "fastest nine": "inconclusive", "whole range": "supported"}),
]
# fmt: on


def joined(trials):
    """Early and final losses of all settings, (seeds, 27) each; infinite where training diverged."""
    return tuple(
        np.nan_to_num(np.concatenate([trials[f"{name}/{moment}"] for name in SCHEDULES], 1), nan=np.inf)
        for moment in ("early", "final")
    )


def of_the_fastest(early, final):
    """The losses of the fastest starters of each seed."""
    fast = early.argsort(1)[:, :FASTEST]
    return np.take_along_axis(early, fast, 1), np.take_along_axis(final, fast, 1)


def ranked_alike(early, final):
    """Spearman's rank correlation of each seed."""
    from scipy.stats import spearmanr

    return np.array([spearmanr(one, other).statistic for one, other in zip(early, final, strict=True)])


# %%
# What to look at
# ---------------
# Each dot is a setting in a seed. The bulk rises from left to right: who has learned nothing early ends badly. But at
# the left end, where the choice is made, the lowest dots are not those furthest to the left.


def figure(trials):
    drawing, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    for place, (name, marker) in enumerate(zip(SCHEDULES, "os^", strict=True)):
        early, final = trials[f"{name}/early"], trials[f"{name}/final"]
        left.plot(early.flatten(), final.flatten(), marker, color=f"C{place}", markersize=3, alpha=0.5, label=name)
        right.plot(RATES, np.nanmean(early, 0), f"{marker}:", color=f"C{place}")
        right.plot(RATES, np.nanmean(final, 0), f"{marker}-", color=f"C{place}", label=name)
        right.plot(RATES, final.T, "-", color=f"C{place}", linewidth=0.3, alpha=0.4)
    start = trials.config.steps // 20
    left.set_title(f"27 settings, {len(trials.seeds)} seeds")
    left.set_xlabel(f"loss on unseen {trials.config.data} after {start} steps (nats)")
    left.set_ylabel(f"the same after {trials.config.steps} steps (nats)")
    left.legend()
    right.plot([], [], "k:", label=f"after {start} steps")
    right.set_xscale("log")
    right.set_title("The same by rate: means, and each seed at the end")
    right.set_xlabel("first learning rate")
    right.set_ylabel(f"loss on unseen {trials.config.data} (nats)")
    right.legend()
    for axes in (left, right):
        axes.set_ylim(0, 3)
    left.set_xlim(right=3)
    return drawing


# %%
# Run it
# ------

if __name__ == "__main__":
    lesson.main("fast_starts")
