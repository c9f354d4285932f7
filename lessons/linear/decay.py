"""
Does a learning rate that decays end lower?
===========================================

**The question.** SGD never comes to rest at a constant rate: it dances around the minimum, in a circle that the rate
makes. Does it help to let the rate fall?

**What the notes say.** Training goes better when its steps shrink more and more as it proceeds (1.20).

**What is measured.** A linear classifier on normalised letters with an L2 penalty, so that a minimum exists; L-BFGS
finds it to many digits. Then 600 steps of SGD with batches of 32: how far above the minimum does the loss end, over all
training letters and with the penalty? At a constant rate, and with four schedules that each end at a hundredth of their
first rate (the cosine at 0): inverse time, exponential, in steps, cosine. Each has its own best first rate, from one
grid. Then two cases in which the arms differ in the schedule alone, each at the best constant rate: 100 steps with all
letters at each, where the gradient has no noise; and SGD with a decay to a hundredth that takes only the first tenth of
the steps.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice, repeat

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from dlnotes import data, lesson
from dlnotes.evidence import ratio
from dlnotes.lesson import answer, claim, limit
from dlnotes.linear import (
    SGD,
    LogisticClassifier,
    cosine_decay,
    cross_entropy,
    exponential_decay,
    inverse_time_decay,
    standardize,
    step_decay,
)
from dlnotes.measuring import Measured, Tuned, grid
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep
from dlnotes.training import Minibatches

# %%
# Settings
# --------


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 2_000  # training examples
    steps: int = 600  # steps of SGD
    descent_steps: int = 100  # steps with all examples
    batch_size: int = 32  # examples a step of SGD
    weight_decay: float = 1e-3  # strength of the L2 penalty
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.steps % 20 or self.descent_steps % 20 or min(self.steps, self.descent_steps) < 20:
            raise ValueError("steps and descent_steps must be multiples of 20: the loss is looked at 20 times")
        if self.train < 100 or self.weight_decay <= 0:
            raise ValueError("train must be 100 or more, and weight_decay larger than 0")


QUICK = Config(train=200, steps=20, descent_steps=20)
SEEDS = range(12)

# Of a schedule: what makes a scheduler of an optimizer and the number of steps.
SCHEDULES: dict[str, Callable[[Optimizer, int], LRScheduler]] = {
    "constant": lambda optimizer, steps: exponential_decay(optimizer, 1.0),
    "inverse time": lambda optimizer, steps: inverse_time_decay(optimizer, 99.0, steps),
    "exponential": lambda optimizer, steps: exponential_decay(optimizer, 0.01, steps),
    "steps": lambda optimizer, steps: step_decay(optimizer, 0.1, max(steps // 3, 1)),
    "cosine": lambda optimizer, steps: cosine_decay(optimizer, steps),
}


def too_early(optimizer: Optimizer, steps: int) -> LRScheduler:
    """Down to a hundredth in a tenth of the steps, and held there."""
    return LambdaLR(optimizer, lambda step: 0.01 ** min(10 * step / steps, 1))


GRADIENTS = ("batches", "all")

# %%
# The first rate of each arm: the best of 15 on four seeds that no verdict sees. ``python -m lessons tune decay``
# chooses them; the scores of all candidates are in ``results/tuning``. The winners are the same for all data sets: the
# inputs are normalised.

RATES = grid(2**-4, 2**10)
TUNING_SEEDS = range(1_000, 1_004)

# %%
# One seed
# --------
# The same letters, the same start at zero and, for each kind of gradient, the same batches. With batches, each arm has
# the first rate that is best for it; with all letters, all have that of the constant arm.


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    problem = Problem(config, seed)
    measured: Measured = {"loss at the minimum": problem.least}
    for kind in GRADIENTS:
        for name, schedule in SCHEDULES.items():
            arm = name if kind == "batches" else "constant"
            (excess,) = problem.train(kind, schedule, [tuned[f"{kind}/{arm}"]])
            measured[f"{kind}/{name}/above the minimum"] = excess[-1]
            measured[f"{kind}/{name}/curve"] = excess
    (excess,) = problem.train("batches", too_early, [tuned["batches/constant"]])
    measured["batches/too early/above the minimum"] = excess[-1]
    measured["batches/too early/curve"] = excess
    return measured


class Problem:
    """A classifier's loss with its penalty over all training letters, in double precision, and where it is least."""

    def __init__(self, config: Config, seed: int) -> None:
        loaded = data.load(config.data, seed, train=config.train, test=0, side=14, flat=True)
        inputs, labels = loaded.train.to(config.device)
        (normal,) = standardize(inputs.double())
        self.config, self.seed = config, seed
        self.inputs, self.labels = normal / 14, labels  # 196 numbers of variance 1/196: examples of length 1
        self.least = self.minimum()

    def classifier(self) -> LogisticClassifier:
        """All weights at zero."""
        return LogisticClassifier(196, 10, dtype=torch.float64).to(self.config.device)

    def loss(self, model: nn.Module) -> Tensor:
        """Mean cross-entropy plus half of the penalty's strength times the squared weights (biases included)."""
        squares = torch.stack([parameter.square().sum() for parameter in model.parameters()]).sum()
        return cross_entropy(model(self.inputs), self.labels) + self.config.weight_decay / 2 * squares

    def minimum(self) -> float:
        """The least loss, by L-BFGS."""
        model = self.classifier()
        optimizer = torch.optim.LBFGS(
            model.parameters(),
            max_iter=2_000,
            tolerance_grad=1e-10,
            tolerance_change=0.0,
            history_size=50,
            line_search_fn="strong_wolfe",
        )

        def forward_and_backward() -> float:
            optimizer.zero_grad()
            loss = self.loss(model)
            loss.backward()
            return loss.item()

        optimizer.step(forward_and_backward)
        return self.loss(model).item()

    def train(
        self, kind: str, schedule: Callable[[Optimizer, int], LRScheduler], rates: list[float]
    ) -> list[list[float]]:
        """How far above the minimum the loss is, at twenty moments, for each first rate."""
        models = [self.classifier() for _ in rates]
        steps = self.config.steps if kind == "batches" else self.config.descent_steps
        groups = [{"params": model.parameters(), "lr": lr} for model, lr in zip(models, rates, strict=True)]
        optimizer = SGD(groups, lr=1.0, weight_decay=self.config.weight_decay)
        examples = self.inputs, self.labels
        few = Minibatches(examples, self.config.batch_size, stream(self.seed, "batches"))
        batches = few if kind == "batches" else repeat(examples)
        sweep = Sweep(models, cross_entropy, optimizer, batches, scheduler=schedule(optimizer, steps))
        curves: list[list[float]] = [[] for _ in models]
        for _ in moments(steps):
            deque(islice(sweep, steps // 20), maxlen=0)
            with torch.no_grad():
                for curve, model, lost in zip(curves, models, sweep.diverged, strict=True):
                    curve.append(math.nan if lost else self.loss(model).item() - self.least)
        return curves


def moments(steps: int) -> list[int]:
    """The steps after which the loss is looked at; the last one is the end."""
    return [steps // 20 * (place + 1) for place in range(20)]


# %%
# Choosing the rates
# ------------------
# The same candidates for each arm, scored by what is judged. With all letters only the constant arm chooses.


def tune(config: Config, seed: int) -> Measured:
    problem = Problem(config, seed)
    return {
        f"{config.data}/{kind}/{name}/{lr:g}": curve[-1]
        for kind in GRADIENTS
        for name, schedule in SCHEDULES.items()
        if kind == "batches" or name == "constant"
        for lr, curve in zip(RATES, problem.train(kind, schedule, list(RATES)), strict=True)
    }


# %%
# What we expect
# --------------
# Written before the run. Each helper judges one schedule; a tenth is the smallest difference that matters.

NEARER = "distance at the constant rate over distance with decay"
FURTHER = "distance with decay over distance at the constant rate"
NO_FLOOR = "noise makes the floor of a constant rate; without it, a lower rate is slower in the flat directions"


def nearer(trials, name):
    constant, decayed = (trials[f"batches/{arm}/above the minimum"] for arm in ("constant", name))
    return ratio(constant, decayed, margin=1.1)


def slowed(trials, name):
    constant, decayed = (trials[f"all/{arm}/above the minimum"] for arm in ("constant", name))
    return ratio(decayed, constant, margin=1.1)


# fmt: off
PREDICTIONS = [
    claim("1.20", "inverse time", "{steps} steps of SGD on {data} end over a tenth nearer to the minimum with "
          "inverse-time decay than at the best constant rate.",
          lambda t: nearer(t, "inverse time"), arms=("constant", "inverse time"), of=NEARER),
    claim("1.20", "exponential", "{steps} steps of SGD on {data} end over a tenth nearer to the minimum with "
          "exponential decay than at the best constant rate.",
          lambda t: nearer(t, "exponential"), arms=("constant", "exponential"), of=NEARER),
    claim("1.20", "in steps", "{steps} steps of SGD on {data} end over a tenth nearer to the minimum with decay in "
          "steps than at the best constant rate.",
          lambda t: nearer(t, "steps"), arms=("constant", "steps"), of=NEARER),
    claim("1.20", "cosine", "{steps} steps of SGD on {data} end over a tenth nearer to the minimum with cosine decay "
          "than at the best constant rate.",
          lambda t: nearer(t, "cosine"), arms=("constant", "cosine"), of=NEARER),
    limit("1.20", "noiseless inverse time", "{descent_steps} steps from the best constant rate, with all examples at "
          "each, end over a tenth further away with inverse-time decay.",
          lambda t: slowed(t, "inverse time"), arms=("inverse time", "constant"), of=FURTHER, because=NO_FLOOR),
    limit("1.20", "noiseless exponential", "{descent_steps} steps from the best constant rate, with all examples at "
          "each, end over a tenth further away with exponential decay.",
          lambda t: slowed(t, "exponential"), arms=("exponential", "constant"), of=FURTHER, because=NO_FLOOR),
    limit("1.20", "noiseless steps", "{descent_steps} steps from the best constant rate, with all examples at each, "
          "end over a tenth further away with decay in steps.",
          lambda t: slowed(t, "steps"), arms=("steps", "constant"), of=FURTHER, because=NO_FLOOR),
    limit("1.20", "noiseless cosine", "{descent_steps} steps from the best constant rate, with all examples at each, "
          "end over a tenth further away with cosine decay.",
          lambda t: slowed(t, "cosine"), arms=("cosine", "constant"), of=FURTHER, because=NO_FLOOR),
    limit("1.20", "too early", "A decay that is over after a tenth of the steps ends more than twice as far from the "
          "minimum as no decay.",
          lambda t: ratio(t["batches/too early/above the minimum"], t["batches/constant/above the minimum"],
                          margin=2.0), arms=("too early", "constant"),
          of="distance with early decay over distance at the constant rate",
          because="the rates have to sum up to a long way (Robbins and Monro, 1951)"),
]

ANSWERS = [
    answer("1.20", "With noisy gradients, yes: every schedule ends nearer to the minimum than the best constant "
           "rate, from {inverse time} times (inverse time) to {cosine} times (cosine). Without noise decay only "
           "slows training down, and one that is over after a tenth of the steps ends {too early} times as far away.",
           given={"inverse time": "supported", "exponential": "supported", "in steps": "supported",
                  "cosine": "supported", "noiseless cosine": "supported", "too early": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left, each arm has its best first rate. A constant one has to be low, so that its floor is low, and is slow for
# it; a rate that decays can begin high. On the right all have the same first rate, there is no noise and no floor, and
# each decay only slows descent down.


def figure(trials):
    drawing, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
    for panel, kind, title in zip(axes, GRADIENTS, ("SGD", "All examples at each step"), strict=True):
        arms = (*SCHEDULES, "too early") if kind == "batches" else tuple(SCHEDULES)
        steps = moments(trials.config.steps if kind == "batches" else trials.config.descent_steps)
        for place, (name, marker) in enumerate(zip(arms, "osD^vx", strict=False)):
            curves = np.maximum(trials[f"{kind}/{name}/curve"], 1e-9)
            panel.plot(steps, curves.T, color=f"C{place}", linewidth=0.4, alpha=0.3)
            mean = np.exp(np.log(curves).mean(0))
            panel.plot(steps, mean, marker=marker, markersize=4, color=f"C{place}", label=name)
        panel.set_yscale("log")
        panel.set_title(f"{title} ({trials.config.data})")
        panel.set_xlabel("step")
    axes[0].set_ylabel("loss above the minimum (nats)")
    axes[0].legend(ncols=2)
    return drawing


# %%
# Run it
# ------

if __name__ == "__main__":
    lesson.main("decay")
