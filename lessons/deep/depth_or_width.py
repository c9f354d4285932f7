"""
Depth or width
==============

**The question.** There are parameters to spend. Are they better spent on more layers, or on wider ones?

**What the notes say.** With the same number of parameters, a deeper network usually performs better than a wider one
(2.02).

**What is measured.** The error on unseen examples of networks with 1, 2, 3, 5 and 8 hidden layers of ReLU, all with the
same number of parameters (within 2 %) and the same number of steps of SGD with momentum 0.9. Each depth has its own
best rate for each target, from the same grid, and the rate falls to zero along half a cosine wave. The deeper network
of the notes is the one with 3 hidden layers, the wider one that with a single layer. There are three targets:

- *nested*: a tree over eight numbers, uniform from -1 to 1. Two neighbours a, b become 1 - abs(a + b); the four results
  are paired in the same way, and then the two that are left. A network with three small hidden layers can compute it.
- *additive*: the same kink, side by side instead of nested: the sum of 1 - 2 abs(x) over the eight numbers.
- *images* of 14 x 14 pixels: for letters, tested on typefaces that training never saw.

The error of the first two is the share of the target's variance that is left; that of images is the share of mistakes.
A network that is worse than a constant answer counts as one that gives it; one whose loss overflows stops there.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor
from torch.nn.functional import mse_loss

from dlnotes import data, lesson, linear
from dlnotes.data import Examples
from dlnotes.deep import MLP, count_parameters, widths_for_budget
from dlnotes.evidence import difference, not_better
from dlnotes.lesson import answer, claim, limit
from dlnotes.linear import SGD, cross_entropy
from dlnotes.measuring import Measured, Tuned, grid, train_for
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep
from dlnotes.training import DivergedError, Minibatches, Trainer, accuracy, evaluate

# %%
# Settings
# --------


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    parameters_of_functions: int = 4_000  # of each network that learns one of the two functions
    parameters_of_images: int = 16_000  # of each network that learns images
    train: int = 4_000  # training examples of each target
    validation: int = 1_000  # examples that rates are chosen by
    test: int = 2_000  # examples to judge by
    steps: int = 1_000  # steps of each network
    batch_size: int = 64  # examples a step
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.steps < 1 or min(self.train, self.validation, self.test) < 2:
            raise ValueError("steps must be 1 or more, and there must be two examples of each kind or more")


QUICK = Config(train=200, validation=100, test=100, steps=8)
SEEDS = range(12)

DEPTHS = (1, 2, 3, 5, 8)  # hidden layers
WIDE, DEEP, DEEPEST = 1, 3, 8
TARGETS = ("nested", "additive", "images")

# %%
# The rate of each depth, for each target, is the best of 9 on four seeds that no verdict sees. ``python -m lessons tune
# depth_or_width`` chooses them; the scores of all candidates are in ``results/tuning``.

RATES = grid(2**-8, 1)
TUNING_SEEDS = range(1_000, 1_004)

# %%
# The targets
# -----------


def nested(inputs: Tensor) -> Tensor:
    """The tree of 1 - |a + b| over the numbers of each row, (N, a power of two); returns (N, 1)."""
    while inputs.shape[1] > 1:
        inputs = 1 - (inputs[:, ::2] + inputs[:, 1::2]).abs()
    return inputs


def additive(inputs: Tensor) -> Tensor:
    """The sum of 1 - 2 |x| over the numbers of each row, (N, D); returns (N, 1)."""
    return (1 - 2 * inputs.abs()).sum(1, keepdim=True)


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"nested": nested, "additive": additive}


class Task(NamedTuple):
    """What a target asks of a network."""

    train: Examples
    held_out: Examples  # to choose by, or to judge by
    parameters: int
    outputs: int
    loss: Callable[[Tensor, Tensor], Tensor]
    error: Callable[[MLP, Examples], float]
    constant: float  # the error of the best constant answer


def task_of(config: Config, target: str, seed: int, *, judged: bool) -> Task:
    """The task with the test examples, where it is judged; else with those that rates are chosen by."""
    if target == "images":
        return images(config, seed, judged=judged)
    train = sample(FUNCTIONS[target], config.train, seed, "train")
    held_out = (
        sample(FUNCTIONS[target], config.test, seed, "test")
        if judged
        else sample(FUNCTIONS[target], config.validation, seed, "validation")
    )
    # Both parts are measured in the units of the training examples.
    mean, deviation = train.targets.mean(), train.targets.std(correction=0)
    train, held_out = (
        Examples(inputs, (targets - mean) / deviation).to(config.device) for inputs, targets in (train, held_out)
    )
    return Task(train, held_out, config.parameters_of_functions, 1, mse_loss, variance_left, 1.0)


def sample(function: Callable[[Tensor], Tensor], count: int, seed: int, part: str) -> Examples:
    """Eight numbers a row, uniform from -1 to 1, and what the function makes of them."""
    inputs = 2 * torch.rand(count, 8, generator=stream(seed, f"numbers to {part}")) - 1
    return Examples(inputs, function(inputs))


def images(config: Config, seed: int, *, judged: bool) -> Task:
    counts = {"train": config.train, "validation": config.validation, "test": config.test}
    train, validation, test = data.load(config.data, seed, **counts, side=14, flat=True).to(config.device)
    held_out = test if judged else validation
    return Task(train, held_out, config.parameters_of_images, 10, cross_entropy, mistakes, 0.9)


def variance_left(model: MLP, examples: Examples) -> float:
    """The mean squared error, over the variance of the targets."""
    return evaluate(model, examples, mse_loss) / examples.targets.var(correction=0).item()


def mistakes(model: MLP, examples: Examples) -> float:
    return 1 - accuracy(model, examples)


# %%
# One seed
# --------
# For each target the same examples and batches at all depths; the networks differ in their shape, and in the rate that
# is best for it.


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    measured: Measured = {}
    for target in TARGETS:
        task = task_of(config, target, seed, judged=True)
        for depth in DEPTHS:
            model = network(task, depth, seed)
            learn(config, task, model, seed, rate=tuned[f"{target}/{depth}"])
            measured[f"{target}/{depth}/error"] = at_most_constant(task, model, task.held_out)
            measured[f"{target}/{depth}/training error"] = at_most_constant(task, model, task.train)
    return measured


def network(task: Task, depth: int, seed: int) -> MLP:
    """A network with so many hidden layers and the number of parameters that all depths have, within 2 %."""
    inputs = task.train.inputs.shape[1]
    widths = widths_for_budget(task.parameters, depth, inputs=inputs, outputs=task.outputs)
    model = MLP(widths, generator=stream(seed, "weights"))
    if not math.isclose(count_parameters(model), task.parameters, rel_tol=0.02):
        raise ValueError(f"the widths {widths} have {count_parameters(model)} parameters, not {task.parameters}")
    return model.to(task.train.inputs.device)


def learn(config: Config, task: Task, model: MLP, seed: int, *, rate: float) -> None:
    """Train one network; where its loss overflows it stays as it is then."""
    optimizer = SGD(model.parameters(), lr=rate, momentum=0.9)
    scheduler = linear.cosine_decay(optimizer, config.steps)
    trainer = Trainer(model, task.loss, optimizer, batches(config, task, seed), scheduler=scheduler)
    with suppress(DivergedError):
        train_for(trainer, config.steps)


def batches(config: Config, task: Task, seed: int) -> Iterator[tuple[Tensor, ...]]:
    return Minibatches(task.train, config.batch_size, stream(seed, "batches"))


def at_most_constant(task: Task, model: MLP, examples: Examples) -> float:
    """The error of a network, or that of a constant answer where it is no better or not a number."""
    return min(task.constant, task.error(model, examples))  # in this order, nan is not smaller


# %%
# Choosing the rates
# ------------------
# The same candidates for each depth, side by side, scored by the error on validation examples.


def tune(config: Config, seed: int) -> Measured:
    scores: Measured = {}
    for target in TARGETS:
        task = task_of(config, target, seed, judged=False)
        for depth in DEPTHS:
            models = [network(task, depth, seed) for _ in RATES]
            learn_side_by_side(config, task, models, seed, rates=RATES)
            for rate, model in zip(RATES, models, strict=True):
                scores[f"{target}/{depth}/{rate:.6g}"] = at_most_constant(task, model, task.held_out)
    return scores


def learn_side_by_side(config: Config, task: Task, models: Sequence[MLP], seed: int, *, rates: Sequence[float]) -> None:
    groups = [{"params": model.parameters(), "lr": rate} for model, rate in zip(models, rates, strict=True)]
    optimizer = SGD(groups, lr=1.0, momentum=0.9)
    scheduler = linear.cosine_decay(optimizer, config.steps)
    for _ in islice(
        Sweep(models, task.loss, optimizer, batches(config, task, seed), scheduler=scheduler), config.steps
    ):
        pass


# %%
# What we expect
# --------------

POINT = 0.01  # the smallest difference that matters: 1 % of the variance, or 1 image in 100


def lower(trials, target, better, worse):
    return trials[f"{target}/{worse}/error"] - trials[f"{target}/{better}/error"]


# fmt: off
PREDICTIONS = [
    claim("2.02", "nested target", "On a nested target, a tree of 1 - |a + b| over eight numbers, a network with 3 "
          "hidden layers leaves less of the variance than one as large with 1, by over 1 point.",
          lambda t: difference(lower(t, "nested", DEEP, WIDE), margin=POINT), arms=("3", "1"),
          of="share of variance left with 1 hidden layer minus that with 3"),
    claim("2.02", "images", "On unseen {data} a network with 3 hidden layers makes fewer mistakes than one as large "
          "with 1, by over 1 point.",
          lambda t: difference(lower(t, "images", DEEP, WIDE), margin=POINT), arms=("3", "1"),
          of="share of mistakes with 1 hidden layer minus that with 3"),
    limit("2.02", "additive target", "On an additive target, a sum of 1 - 2 |x| over eight numbers, 3 hidden layers "
          "are not better than 1 by a point.",
          lambda t: not_better(difference(lower(t, "additive", DEEP, WIDE), margin=POINT)), arms=("3", "1"),
          of="share of variance left with 1 hidden layer minus that with 3",
          because="depth helps where the target is built in layers, and this one is not"),
    limit("2.02", "too deep", "On a nested target 8 hidden layers leave more of the variance than 3, by over 1 point.",
          lambda t: difference(lower(t, "nested", DEEP, DEEPEST), margin=POINT), arms=("3", "8"),
          of="share of variance left with 8 hidden layers minus that with 3",
          because="depth has to be trained, and here are neither normalisation nor shortcuts"),
    limit("2.02", "too deep for images", "On unseen {data} 8 hidden layers make more mistakes than 3, by over 1 point.",
          lambda t: difference(lower(t, "images", DEEP, DEEPEST), margin=POINT), arms=("3", "8"),
          of="share of mistakes with 8 hidden layers minus that with 3",
          because="depth has to be trained, and here are neither normalisation nor shortcuts"),
]

ANSWERS = [
    answer("2.02", "Not on {data}: 3 hidden layers do not make a point fewer mistakes than 1 of the same size, and 8 "
           "make {too deep for images:points} points more than 3. On a target that is itself nested, 3 layers leave "
           "{nested target:points} points less of the variance; on a plain sum they gain nothing.",
           given={"images": "refuted", "nested target": "supported", "additive target": "supported",
                  "too deep for images": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# Each thin line is a seed. From left to right the same number of parameters is cut into more and narrower layers. Where
# the dashed line rises as well, it is training that fails, and not what was learned that is of no use elsewhere.


def figure(trials):
    drawing, panels = plt.subplots(1, 3, figsize=(12, 4))
    titles = ("Nested target", "Additive target", f"Unseen {trials.config.data}")
    for panel, target, title in zip(panels, TARGETS, titles, strict=True):
        errors, training = (
            np.array([trials[f"{target}/{depth}/{kind}"] for depth in DEPTHS]) for kind in ("error", "training error")
        )
        panel.plot(errors, color="C0", linewidth=0.5, alpha=0.4)
        panel.plot(errors.mean(1), "o-", color="C0", label="on unseen examples")
        panel.plot(training.mean(1), "s--", color="C1", markersize=4, label="on training examples")
        panel.set_xticks(range(len(DEPTHS)), DEPTHS)
        panel.set_ylim(bottom=0)
        panel.set_title(title)
        panel.set_xlabel("hidden layers, at equal numbers of parameters")
        panel.set_ylabel("share of mistakes" if target == "images" else "share of the variance left")
    panels[0].legend()
    return drawing


# %%
# Run it
# ------

if __name__ == "__main__":
    lesson.main("depth_or_width")
