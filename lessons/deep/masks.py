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
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import pyplot as plt

from dlnotes import data, lesson
from dlnotes.deep import MLP, Dropout
from dlnotes.evidence import difference, identity, no_difference, simulation
from dlnotes.lesson import answer, claim, limit
from dlnotes.linear import SGD, cross_entropy
from dlnotes.measuring import Measured, train_for
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


def trial(config: Config, seed: int) -> Measured:
    measured = counts(draw(seed)) | sizes(seed)
    train, _, test = data.load(config.data, seed, train=config.train, test=config.test, side=14, flat=True)
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


def counts(left: torch.Tensor) -> Measured:
    found: Measured = {"zeros": (~left).double().mean().item()}
    for name, dimension in PAIRS.items():
        size = left.shape[dimension]
        same = left.narrow(dimension, 1, size - 1) == left.narrow(dimension, 0, size - 1)
        found[f"{name}/agree"] = same.double().mean().item()
    rows = left.flatten(0, 1)
    found["masks shared"] = float(len(rows) - len(rows.unique(dim=0)))
    return found


def sizes(seed: int) -> Measured:
    """The mean of what the next layer is given in evaluation over that in training, scaled in three ways.

    Each way has masks of its own; with the same the three would be one number.
    """
    activations = torch.randn(1_000, 100, generator=stream(seed, "activations")).relu()
    unscaled = Dropout(generator=stream(seed, "masks, unscaled"), scaled="evaluation")
    in_training = unscaled(activations).mean()
    found: Measured = {"unscaled/evaluation over training": (activations.mean() / in_training).item()}
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
    train_for(Trainer(model, cross_entropy, optimizer, Minibatches(train, 64, stream(seed, "batches"))), config.steps)
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
# What we expect
# --------------
# Written before the run. A *claim* is the notes' statement in one setting, a *limit* a setting in which we expect it to
# fail, or in which it leaves something out.


def near_half(t, name, entries):
    """Whether a share of so many entries a seed is within 0.01 of one half."""
    error = 0.5 / math.sqrt(entries * len(t.seeds))  # of a share of independent halves
    return simulation(0.01 - abs(t[name].mean() - 0.5), error, margin=0.0)


def sizes_are(t, way, ratio):
    """Whether evaluation gives so many times as much as training, within 2 %."""
    return no_difference(np.log(t[f"{way}/evaluation over training"] / ratio), margin=math.log(1.02))


# fmt: off
PREDICTIONS = [
    claim("2.09", "half dropped", "Half of the activations are set to zero, within 0.01 of their number.",
          lambda t: near_half(t, "zeros", CALLS * ROWS * UNITS),
          of="0.01 minus the distance of the share from a half"),
    claim("2.09", "next example", "The masks of neighbouring examples agree in half of the entries, within 0.01.",
          lambda t: near_half(t, "examples/agree", CALLS * (ROWS - 1) * UNITS),
          of="0.01 minus the distance of the share from a half", because="independent halves agree half of the time"),
    claim("2.09", "next call", "The masks of neighbouring calls agree in half of the entries, within 0.01.",
          lambda t: near_half(t, "calls/agree", (CALLS - 1) * ROWS * UNITS),
          of="0.01 minus the distance of the share from a half", because="independent halves agree half of the time"),
    claim("2.09", "next unit", "The masks of neighbouring units agree in half of the entries, within 0.01.",
          lambda t: near_half(t, "units/agree", CALLS * ROWS * (UNITS - 1)),
          of="0.01 minus the distance of the share from a half", because="independent halves agree half of the time"),
    claim("2.09", "no mask twice", "No two examples, of one call or of two, are given the same mask of 100 entries.",
          lambda t: identity(t["masks shared"], tolerance=0.0), of="number of masks that came again"),
    limit("2.09", "unscaled", "With masks alone, the next layer is given twice as much in evaluation as in training, "
          "within 2 %.",
          lambda t: sizes_are(t, "unscaled", 2.0), of="logarithm of the ratio of sizes over 2",
          because="the notes tell of no scaling, and half of the activations are missing in training"),
    claim("2.09", "scaled in training", "Scaled in training, the next layer is given the same in evaluation, within "
          "2 %.",
          lambda t: sizes_are(t, "scaled in training", 1.0), of="logarithm of the ratio of sizes"),
    claim("2.09", "scaled in evaluation", "Scaled in evaluation, the next layer is given the same in training, within "
          "2 %.",
          lambda t: sizes_are(t, "scaled in evaluation", 1.0), of="logarithm of the ratio of sizes"),
    limit("2.09", "masks left on", "Masks that are still drawn in evaluation cost over a point of accuracy on {data}.",
          lambda t: difference(t["masks off/accuracy"] - t["masks on/accuracy"], margin=0.01),
          arms=("masks off", "masks on"), of="accuracy without minus with masks"),
    claim("2.09", "one hidden layer", "With one hidden layer the mean scores over masks are those of evaluation, "
          "within 1 % of their size.",
          lambda t: no_difference(t["1 hidden/gap"], margin=0.01), of="distance over the size of the scores",
          because="all that comes after the masks is linear"),
    limit("2.09", "two hidden layers", "With two hidden layers of ReLU the mean scores over masks are over 1 % of "
          "their size away from those of evaluation.",
          lambda t: difference(t["2 hidden/gap"], margin=0.01), of="distance over the size of the scores",
          because="a ReLU comes after the first masks"),
]

ANSWERS = [
    answer("2.09", "Yes: half of the activations go, and no two examples share a mask. The notes leave out two "
           "things that a network needs: a scale, or the next layer is given twice as much in evaluation, and no "
           "masks then, which would cost {masks left on:points} points.",
           given={"half dropped": "supported", "no mask twice": "supported", "unscaled": "supported",
                  "masks left on": "supported"}),
]
# fmt: on

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
