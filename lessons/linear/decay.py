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

**The smallest difference that matters.** A tenth of the distance to the minimum.

**What would refute it.** A schedule that ends no tenth nearer to the minimum than the best constant rate does.
Predicted limits, from the theory of stochastic approximation (Robbins and Monro, 1951): the floor that a constant rate
leaves is made by noise. Without noise, descent at a rate below two over the curvature gets nearer in every direction.
What is left at the end lies in the flat ones, in which a lower rate is slower: each decay from the same rate ends at
least a tenth further away. And the rates have to sum up to a long way: a rate that has decayed before the minimum is
near hardly moves from there, and ends more than twice as far away.

**Time.** `python -m lessons` says what it took.
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
from dlnotes.evidence import claim, limit, ratio
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
DATA = ("letters", "fashion_mnist", "not_mnist")

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


DECAYS = tuple(name for name in SCHEDULES if name != "constant")
GRADIENTS = ("batches", "all")

# %%
# The first rate of each arm: the best of 15 on four seeds that no verdict sees. ``python -m lessons tune decay``
# chooses them; the scores of all candidates are in ``results/tuning``. The winners are the same for all data sets: the
# inputs are normalised.

RATES = tuple(2.0**power for power in range(-4, 11))
TUNING_SEEDS = range(1_000, 1_004)
TUNED = {
    "letters/batches/constant": 2.0,
    "letters/batches/inverse time": 128.0,
    "letters/batches/exponential": 16.0,
    "letters/batches/steps": 8.0,
    "letters/batches/cosine": 8.0,
    "letters/all/constant": 16.0,
    "fashion_mnist/batches/constant": 2.0,
    "fashion_mnist/batches/inverse time": 128.0,
    "fashion_mnist/batches/exponential": 16.0,
    "fashion_mnist/batches/steps": 8.0,
    "fashion_mnist/batches/cosine": 8.0,
    "fashion_mnist/all/constant": 16.0,
    "not_mnist/batches/constant": 2.0,
    "not_mnist/batches/inverse time": 128.0,
    "not_mnist/batches/exponential": 16.0,
    "not_mnist/batches/steps": 8.0,
    "not_mnist/batches/cosine": 8.0,
    "not_mnist/all/constant": 16.0,
}

# %%
# One seed
# --------
# The same letters, the same start at zero and, for each kind of gradient, the same batches. With batches, each arm has
# the first rate that is best for it; with all letters, all have that of the constant arm.


def trial(config: Config, seed: int) -> dict[str, float | list[float]]:
    problem = Problem(config, seed)
    measured: dict[str, float | list[float]] = {"loss at the minimum": problem.least}
    for kind in GRADIENTS:
        for name, schedule in SCHEDULES.items():
            arm = name if kind == "batches" else "constant"
            (excess,) = problem.train(kind, schedule, [TUNED[f"{config.data}/{kind}/{arm}"]])
            measured[f"{kind}/{name}/above the minimum"] = excess[-1]
            measured[f"{kind}/{name}/curve"] = excess
    (excess,) = problem.train("batches", too_early, [TUNED[f"{config.data}/batches/constant"]])
    measured["batches/too early/above the minimum"] = excess[-1]
    measured["batches/too early/curve"] = excess
    return measured


class Problem:
    """A classifier's loss with its penalty over all training letters, in double precision, and where it is least."""

    def __init__(self, config: Config, seed: int) -> None:
        inputs, labels = data.load(config.data, seed, train=config.train, test=0).train.to(config.device)
        (normal,) = standardize(nn.functional.avg_pool2d(inputs, 2).double())
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


def tune(config: Config, seed: int) -> dict[str, float | list[float]]:
    problem = Problem(config, seed)
    return {
        f"{config.data}/{kind}/{name}/{lr:g}": curve[-1]
        for kind in GRADIENTS
        for name, schedule in SCHEDULES.items()
        if kind == "batches" or name == "constant"
        for lr, curve in zip(RATES, problem.train(kind, schedule, list(RATES)), strict=True)
    }


# %%
# What settles it
# ---------------


def findings(trials):
    where, steps, descent_steps = trials.config.data, trials.config.steps, trials.config.descent_steps
    end = {name: trials[f"batches/{name}/above the minimum"] for name in (*SCHEDULES, "too early")}
    without_noise = {name: trials[f"all/{name}/above the minimum"] for name in SCHEDULES}
    return [
        *[
            claim(
                "1.20",
                f"{steps} steps of SGD on {where} end over a tenth nearer to the minimum with decay ({name}) than at "
                "the best constant rate",
                ratio(end["constant"], end[name], margin=1.1),
                of="distance at the constant rate over distance with decay",
            )
            for name in DECAYS
        ],
        *[
            limit(
                "1.20",
                f"{descent_steps} steps with all examples at each, from the best constant rate, end over a tenth "
                f"further away with decay ({name})",
                ratio(without_noise[name], without_noise["constant"], margin=1.1),
                of="distance with decay over distance at the constant rate",
            )
            for name in DECAYS
        ],
        limit(
            "1.20",
            "a decay that is over after a tenth of the steps ends more than twice as far away as no decay",
            ratio(end["too early"], end["constant"], margin=2.0),
            of="distance with early decay over distance at the constant rate",
        ),
    ]


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
