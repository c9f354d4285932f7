"""
Does dropout need more than random masks?
=========================================

Dropout silences a random part of a network while it trains. At every step a coin is tossed for each activation, the
number that a hidden unit hands on: it is kept or set to zero. The course notes put it like this (row 2.09): a random
half of the activations goes to zero, and each example gets a new choice. Such a choice is a *mask*, a row of zeros and
ones that the activations are multiplied by. For 100 units there are 2¹⁰⁰ masks, and no two drawn should be alike.

Is that all? Let four units fire 2, 4, 6 and 8, and let a unit of the next layer add them up: ::

    mask             1  0  0  1        0  1  1  1        mean over all 16 masks        no mask
    the next unit    2 + 8 = 10        4 + 6 + 8 = 18    10                            2 + 4 + 6 + 8 = 20

The next layer trains on sums of 10 on average. When the network is used (in *evaluation*) and nothing is dropped, it
is given 20, twice as much. There are two remedies: double what is kept, in training, or halve all in evaluation.
One could also go on drawing masks; then the answers stay noisy.

There is a subtler point. We want the network in evaluation to answer as the average over all masks does. It does so
exactly if only weighted sums come after the mask, as above. If a ReLU, max(0, …), comes after it, it need not. Take a
unit that fires h = 1, and a next one that computes max(0, h - 1): ::

    dropped: h = 0 gives 0        kept and doubled: h = 2 gives 1        mean: 0.5        no mask: h = 1 gives 0
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import pyplot as plt

from dlnotes import data, lesson
from dlnotes.deep import MLP, Dropout
from dlnotes.evidence import difference, identity, no_difference, simulation
from dlnotes.lesson import answer, claim, limit, reference_line, strips
from dlnotes.linear import SGD, cross_entropy
from dlnotes.measuring import Measured, train_for
from dlnotes.randomness import stream
from dlnotes.training import Minibatches, Trainer, accuracy

# %%
# The experiment
# --------------
# A *seed* is a number that all random draws start from. With each seed we draw masks for 100 examples of 100 units, at
# 20 steps, and count zeros and how often neighbours agree. We draw activations, and compare what the next layer is
# given in evaluation and in training, with either remedy and with none. Last, networks of one and of two hidden layers
# train with dropout on images of 14 × 14 pixels. The deeper one then names unseen images in two ways, the *arms*: with
# masks still drawn, and without. How many are right? A *score* is what a network gives for a class, and the highest is
# its answer. We measure how far the scores without masks are from the mean scores over many masks.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 2_000  # training images
    test: int = 1_000  # unseen images
    width: int = 64  # units of a hidden layer
    steps: int = 400  # of training, with minibatches of 64, the rate 0.05 and momentum 0.9; not tuned: both arms use it
    draws: int = 500  # masks of each unseen image whose scores are averaged


QUICK = Config(train=500, test=200, steps=100, draws=100)
SEEDS = range(16)
DATA = ("letters", "fashion_mnist", "not_mnist")
CALLS, ROWS, UNITS = 20, 100, 100  # of the masks that are counted: 200,000 entries a seed
PAIRS = {"examples": 1, "calls": 0, "units": 2}  # along which dimension neighbours are compared
REMEDIES = ("unscaled", "scaled in training", "scaled in evaluation")


def trial(config: Config, seed: int) -> Measured:
    measured = count(draw_masks(seed))
    for remedy in REMEDIES:
        measured[f"{remedy}/evaluation over training"] = size_ratio(seed, remedy)
    train, _, test = data.load(config.data, seed, train=config.train, test=config.test, side=14, flat=True)
    for hidden in (1, 2):
        model = trained(config, seed, train, hidden)
        measured[f"{hidden} hidden/distance of mean scores"] = distance(model, test.inputs, config.draws)
    measured["masks off/accuracy"] = accuracy(model.eval(), test)
    measured["masks on/accuracy"] = accuracy_with_masks(model, test)
    return measured


def draw_masks(seed: int, p: float = 0.5) -> torch.Tensor:
    """Which entries are kept, (calls, examples, units)."""
    dropout = Dropout(p, generator=stream(seed, "masks"))
    return torch.stack([dropout(torch.ones(ROWS, UNITS)) for _ in range(CALLS)]) != 0


def count(kept: torch.Tensor) -> Measured:
    found: Measured = {"masks/share of zeros": (~kept).double().mean().item()}
    for name, dimension in PAIRS.items():
        size = kept.shape[dimension]
        same = kept.narrow(dimension, 1, size - 1) == kept.narrow(dimension, 0, size - 1)
        found[f"neighbouring {name}/share that agrees"] = same.double().mean().item()
    masks = kept.flatten(0, 1)
    found["masks/drawn again"] = float(len(masks) - len(masks.unique(dim=0)))
    return found


def size_ratio(seed: int, remedy: str) -> float:
    """The mean of what the next layer is given in evaluation over that in training. Each remedy has its own masks."""
    activations = torch.randn(1_000, 100, generator=stream(seed, "activations")).relu()
    masks = stream(seed, f"masks, {remedy}")
    dropout = Dropout(generator=masks, scaled="training" if remedy == "scaled in training" else "evaluation")
    in_training = dropout(activations).mean()
    in_evaluation = activations if remedy == "unscaled" else dropout.eval()(activations)
    return (in_evaluation.mean() / in_training).item()


def trained(config: Config, seed: int, train: data.Examples, hidden: int) -> MLP:
    widths = [train.inputs.shape[1], *[config.width] * hidden, 10]
    model = MLP(widths, generator=stream(seed, "weights"), dropout=0.5, masks=stream(seed, "masks"))
    optimizer = SGD(model.parameters(), lr=0.05, momentum=0.9)
    train_for(Trainer(model, cross_entropy, optimizer, Minibatches(train, 64, stream(seed, "batches"))), config.steps)
    return model


@torch.no_grad()
def distance(model: MLP, inputs: torch.Tensor, draws: int) -> float:
    """The distance of the mean scores over masks from the scores in evaluation, as a share of the latter's size.

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
# Written before the run. A *claim* is the notes' statement, or a remedy that should work; in a *limit* the notes should
# fall short. The *margin* is the smallest difference that matters. Like two coins, two masks agree half of the time.


def near_half(t, name, entries):
    """Whether a share of so many entries a seed is within 0.01 of one half."""
    error = 0.5 / math.sqrt(entries * len(t.seeds))  # of a share of independent halves
    return simulation(0.01 - abs(t[name].mean() - 0.5), error, margin=0.0)


def size_is(t, remedy, ratio):
    """Whether evaluation gives so many times as much as training, within 2 %."""
    return no_difference(np.log(t[f"{remedy}/evaluation over training"] / ratio), margin=math.log(1.02))


# fmt: off
PREDICTIONS = [
    claim("2.09", "half dropped", "Half of the activations are set to zero, within a point (1 in 100).",
          lambda t: near_half(t, "masks/share of zeros", CALLS * ROWS * UNITS),
          of="0.01 minus the distance of the share from a half"),
    claim("2.09", "next example", "The masks of neighbouring examples agree in half of the entries, within a point.",
          lambda t: near_half(t, "neighbouring examples/share that agrees", CALLS * (ROWS - 1) * UNITS),
          of="0.01 minus the distance of the share from a half"),
    claim("2.09", "next call", "The masks of one example in two steps agree in half of the entries, within a point.",
          lambda t: near_half(t, "neighbouring calls/share that agrees", (CALLS - 1) * ROWS * UNITS),
          of="0.01 minus the distance of the share from a half"),
    claim("2.09", "next unit", "The masks of neighbouring units agree in half of the entries, within a point.",
          lambda t: near_half(t, "neighbouring units/share that agrees", CALLS * ROWS * (UNITS - 1)),
          of="0.01 minus the distance of the share from a half"),
    claim("2.09", "no mask twice", "No two of 2,000 masks of 100 entries are the same.",
          lambda t: identity(t["masks/drawn again"], tolerance=0.0), of="masks that came again"),
    limit("2.09", "unscaled", "With masks alone, the next layer is given twice as much in evaluation as in training, "
          "within 2 %.",
          lambda t: size_is(t, "unscaled", 2.0), of="logarithm of the ratio of sizes over 2"),
    claim("2.09", "scaled in training", "If what is kept is doubled in training, the next layer is given as much in "
          "evaluation, within 2 %.",
          lambda t: size_is(t, "scaled in training", 1.0), of="logarithm of the ratio of sizes"),
    claim("2.09", "scaled in evaluation", "If all is halved in evaluation, the next layer is given as much as in "
          "training, within 2 %.",
          lambda t: size_is(t, "scaled in evaluation", 1.0), of="logarithm of the ratio of sizes"),
    limit("2.09", "masks left on", "Masks that are still drawn in evaluation cost over a point of accuracy on {data}.",
          lambda t: difference(t["masks off/accuracy"] - t["masks on/accuracy"], margin=0.01),
          arms=("masks off", "masks on"), of="accuracy without minus with masks"),
    claim("2.09", "one hidden layer", "With one hidden layer, the scores in evaluation are the mean scores over masks, "
          "within 1 % of their size.",
          lambda t: no_difference(t["1 hidden/distance of mean scores"], margin=0.01),
          of="distance over size", because="all that comes after the masks is a weighted sum"),
    limit("2.09", "two hidden layers", "With two hidden layers, the scores in evaluation are over 1 % of their size "
          "away from the mean scores over masks.",
          lambda t: difference(t["2 hidden/distance of mean scores"], margin=0.01),
          of="distance over size", because="a ReLU comes after the first masks"),
]

ANSWERS = [
    answer("2.09", "Dropout zeroes half of the activations, anew for each example. In use a network needs "
           "a scale, or the next layer is given twice as much, and masks off: left on, they cost "
           "{masks left on:points} points of accuracy.",
           given={"half dropped": "supported", "next example": "supported", "no mask twice": "supported",
                  "unscaled": "supported", "masks left on": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# Top left the thing itself: four images, and beside each the masks that it meets in three steps. No mask is like
# another, neither along a row nor down a column. The other panels have a dot or a line for each seed. Top right: with
# no scale the next layer is given twice as much in evaluation; either remedy brings the ratio back to 1. Bottom left:
# masks that are left on make every network worse. Bottom right: with one hidden layer the distance is 0, and estimates
# of it fall on both sides; with two it is about 4 % of the scores' size. That is small, but it is there.


def figure(trials):
    drawing, ((shown, sizes), (accuracies, distances)) = plt.subplots(2, 2, figsize=(10, 8))
    images = data.load(trials.config.data, trials.seeds[0], train=10, test=0, side=14).train.inputs[:4, 0]
    dropout = Dropout(generator=stream(trials.seeds[0], "masks that are shown"))
    masks = torch.stack([dropout(torch.ones(4, 8, 8)) for _ in range(3)]) != 0
    for row, image in enumerate(images):
        for column, picture in enumerate([1 - image, *masks[:, row].float()]):
            cell = shown.inset_axes([column / 4, 0.75 - row / 4, 0.23, 0.23])
            cell.imshow(picture.numpy(), cmap="gray", vmin=0, vmax=1.15)  # what is kept is a light grey
            cell.axis("off")
    shown.set_title("Masks of 64 hidden units in three steps: black is dropped")
    shown.axis("off")

    strips(sizes, {name.replace(" in ", "\nin "): trials[f"{name}/evaluation over training"] for name in REMEDIES})
    reference_line(sizes, 1, "equal")
    sizes.set(title="What the next layer is given", ylabel="evaluation over training", ylim=(0, 2.3))

    pairs = np.stack([trials["masks on/accuracy"], trials["masks off/accuracy"]])
    accuracies.plot(["masks on", "masks off"], 100 * pairs, "o-", color="C0", alpha=0.4)
    accuracies.set(title=f"Accuracy on unseen {trials.config.data}", ylabel="%", xlim=(-0.3, 1.3))

    strips(distances, {f"hidden layers: {n}": 100 * trials[f"{n} hidden/distance of mean scores"] for n in (1, 2)})
    reference_line(distances, 0, "equal")
    distances.set(title="Scores without masks against their mean over masks", ylabel="distance, % of the scores' size")
    return drawing


# %%
# Try it yourself
# ---------------
# Make the hidden layers eight times as wide. Will masks that are left on cost more, or less? Does the distance with two
# hidden layers shrink? Guess both, then run `python -m lessons run masks --set width=512 --seeds 2` (two seeds).

if __name__ == "__main__":
    lesson.main("masks")
