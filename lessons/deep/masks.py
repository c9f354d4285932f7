"""
The masks of dropout, and what they need beside
===============================================

**The question.** Are the masks what the notes say, and is it enough to draw them?

**What the notes say.** For every example dropout sets a random half of the activations to zero, and each example gets a
new choice (2.09).

**What is measured.** *The masks*, 200,000 entries a seed: the share of zeros; how often the entries of two examples,
of two calls and of two neighbouring units agree, which independent halves do in half of all cases; and whether two
examples ever share a whole mask of 100 entries. *What the notes leave out.* The size of what the next layer is given in
evaluation over that in training, unscaled and scaled both ways; the accuracy on letters of a network trained with
dropout, with masks still drawn and without; and the distance between its mean scores over masks and its scores in
evaluation, after one hidden layer, where the rest is linear and both are equal, and after two, where it is not.

**The smallest difference that matters.** 0.01 of a share, 2 % of a size, 0.01 of accuracy, 1 % of the scores' size.

**What would refute it.** A share away from half by more, or one mask that two examples share. Predicted limits: as the
notes tell it, without scaling, the next layer is given twice as much in evaluation; masks that are still drawn cost
accuracy; and with two hidden layers evaluation is not exactly the mean over masks.

**Time.** `python -m lessons` says what it took.
"""

import math
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch.nn.functional import avg_pool2d

from dlnotes import data, lesson
from dlnotes.deep import MLP, Dropout
from dlnotes.evidence import claim, difference, identity, limit, no_difference, simulation
from dlnotes.linear import SGD, cross_entropy
from dlnotes.randomness import stream
from dlnotes.training import Minibatches, Trainer, accuracy

# %%
# Settings
# --------


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 2_000  # training images
    test: int = 1_000  # test images
    width: int = 64  # units of a hidden layer
    steps: int = 400  # of training, with minibatches of 64, the rate 0.05 and momentum 0.9; not tuned, nothing races
    draws: int = 500  # masks of each test image whose scores are averaged


QUICK = Config(train=500, test=200, steps=100, draws=100)
SEEDS = range(16)
DATA = ("letters", "fashion_mnist", "not_mnist")

CALLS, ROWS, UNITS = 20, 100, 100  # of the masks that are counted: 200,000 entries a seed
PAIRS = {"examples": 1, "calls": 0, "units": 2}  # along which dimension neighbours are compared

# %%
# One seed
# --------


def trial(config: Config, seed: int) -> dict[str, float | list[float]]:
    measured: dict[str, float | list[float]] = counts(draw(seed))
    measured |= sizes(seed)
    examples = data.load(config.data, seed, train=config.train, test=config.test)
    train, test = (
        data.Examples(avg_pool2d(part.inputs, 2).flatten(1), part.targets) for part in (examples.train, examples.test)
    )
    for hidden in (1, 2):
        model = trained(config, seed, train, hidden)
        measured[f"{hidden} hidden/gap"] = gap(model, test.inputs, config.draws)
    measured["masks off/accuracy"] = accuracy(model.eval(), test)
    measured["masks on/accuracy"] = accuracy_with_masks(model, test)
    return measured


def draw(seed: int, p: float = 0.5) -> torch.Tensor:
    """Which entries are left, (calls, examples, units)."""
    dropout = Dropout(p, generator=stream(seed, "masks"))
    return torch.stack([dropout(torch.ones(ROWS, UNITS)) for _ in range(CALLS)]) != 0


def counts(left: torch.Tensor) -> dict[str, float | list[float]]:
    found: dict[str, float | list[float]] = {"zeros": (~left).double().mean().item()}
    for name, dimension in PAIRS.items():
        size = left.shape[dimension]
        same = left.narrow(dimension, 1, size - 1) == left.narrow(dimension, 0, size - 1)
        found[f"{name}/agree"] = same.double().mean().item()
    rows = left.flatten(0, 1)
    found["masks shared"] = float(len(rows) - len(rows.unique(dim=0)))
    return found


def sizes(seed: int) -> dict[str, float | list[float]]:
    """The mean of what the next layer is given in evaluation over that in training, scaled in three ways.

    Each way has masks of its own; with the same the three would be one number.
    """
    activations = torch.randn(1_000, 100, generator=stream(seed, "activations")).relu()
    unscaled = Dropout(generator=stream(seed, "masks, unscaled"), scaled="evaluation")
    in_training = unscaled(activations).mean()
    found = {"unscaled/evaluation over training": (activations.mean() / in_training).item()}
    for scaled in ("training", "evaluation"):
        dropout = Dropout(generator=stream(seed, f"masks, scaled in {scaled}"), scaled=scaled)
        in_training = dropout(activations).mean()
        found[f"scaled in {scaled}/evaluation over training"] = (
            dropout.eval()(activations).mean() / in_training
        ).item()
    return found


def trained(config: Config, seed: int, train: data.Examples, hidden: int) -> MLP:
    widths = [train.inputs.shape[1], *[config.width] * hidden, 10]
    model = MLP(widths, generator=stream(seed, "weights"), dropout=0.5, masks=stream(seed, "masks"))
    optimizer = SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in islice(
        Trainer(model, cross_entropy, optimizer, Minibatches(train, 64, stream(seed, "batches"))), config.steps
    ):
        pass
    return model


@torch.no_grad()
def gap(model: MLP, inputs: torch.Tensor, draws: int) -> float:
    """The distance between the mean scores over masks and the scores in evaluation, as a share of the latter's size.

    The mean of a few hundred masks is itself uncertain. The product of the distances of two independent halves has the
    squared distance as its mean, whatever the number of draws; it may be negative, and so may what is returned.
    """
    whole = model.eval()(inputs).double()
    model.train()
    halves = [sum(model(inputs).double() for _ in range(draws // 2)) / (draws // 2) - whole for _ in range(2)]
    squared = ((halves[0] * halves[1]).mean() / whole.square().mean()).item()
    return math.copysign(math.sqrt(abs(squared)), squared)


@torch.no_grad()
def accuracy_with_masks(model: MLP, test: data.Examples) -> float:
    model.train()
    return (model(test.inputs).argmax(1) == test.targets).double().mean().item()


# %%
# What settles it
# ---------------


def findings(trials):
    def near_half(name, entries):
        error = 0.5 / math.sqrt(entries * len(trials.seeds))  # of a share of independent halves
        return simulation(0.01 - abs(trials[name].mean() - 0.5), error, margin=0.0)

    def equal_size(name, size=1.0):
        return no_difference(np.log(trials[f"{name}/evaluation over training"] / size), margin=math.log(1.02))

    shape = {"calls": CALLS, "examples": ROWS, "units": UNITS}
    entries = CALLS * ROWS * UNITS
    return [
        claim(
            "2.09",
            "within 0.01, half of the activations are set to zero",
            near_half("zeros", entries),
            of="0.01 minus the distance of the share from a half",
        ),
        *(
            claim(
                "2.09",
                f"the masks of neighbouring {name} agree in half of the entries, within 0.01",
                near_half(f"{name}/agree", entries - entries // shape[name]),
                of="0.01 minus the distance of the share from a half",
            )
            for name in PAIRS
        ),
        claim(
            "2.09",
            "no two examples, of one call or of two, are given the same mask of 100 entries",
            identity(trials["masks shared"], tolerance=0.0),
            of="number of masks that came again",
        ),
        limit(
            "2.09",
            "with masks alone, the next layer is given twice as much in evaluation as in training, within 2 %",
            equal_size("unscaled", 2.0),
            of="logarithm of the ratio of sizes over 2",
        ),
        *(
            claim(
                "2.09",
                f"scaled in {scaled}, it is given the same in both, within 2 %",
                equal_size(f"scaled in {scaled}"),
                of="logarithm of the ratio of sizes",
            )
            for scaled in ("training", "evaluation")
        ),
        limit(
            "2.09",
            f"masks that are still drawn in evaluation cost more than 0.01 of accuracy on {trials.config.data}",
            difference(trials["masks off/accuracy"] - trials["masks on/accuracy"], margin=0.01),
            of="accuracy without minus with masks",
        ),
        claim(
            "2.09",
            "with one hidden layer the mean scores over masks are those of evaluation, within 1 % of their size",
            no_difference(trials["1 hidden/gap"], margin=0.01),
            of="distance over the size of the scores",
        ),
        limit(
            "2.09",
            "with two hidden layers of ReLU they are apart by more than 1 % of their size",
            difference(trials["2 hidden/gap"], margin=0.01),
            of="distance over the size of the scores",
        ),
    ]


# %%
# What to look at
# ---------------
# On the left a few masks: no row is like another. In the middle what the next layer is given: twice as much where
# nothing is scaled. On the right, what masks in evaluation cost; a line is a seed.


def figure(trials):
    drawing, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 4))
    left.imshow(draw(trials.seeds[0])[0, :20, :40].numpy(), cmap="gray", interpolation="nearest")
    left.set(xlabel="unit", ylabel="example", title="Masks of 20 examples: black is dropped")
    ways = ["unscaled", "scaled in training", "scaled in evaluation"]
    for place, way in enumerate(ways):
        ratios = trials[f"{way}/evaluation over training"]
        middle.plot(place + np.linspace(-0.2, 0.2, len(ratios)), ratios, "o", alpha=0.6)
    middle.axhline(1, color="0.4", linestyle=":")
    middle.set_xticks(range(3), [way.replace(" in ", "\nin ") for way in ways])
    middle.set(ylim=(0, 2.3), ylabel="evaluation over training", title="What the next layer is given")
    for on, off in zip(trials["masks on/accuracy"], trials["masks off/accuracy"], strict=True):
        right.plot([0, 1], [on, off], "o-", color="C0", alpha=0.5)
    right.set_xticks([0, 1], ["masks on", "masks off"])
    right.set(ylabel="accuracy", title=f"What masks cost on {trials.config.data}: a line a seed")
    return drawing


# %%
# Run it
# ------

if __name__ == "__main__":
    lesson.main("masks")
