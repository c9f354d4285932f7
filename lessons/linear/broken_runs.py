"""
When training does not work
===========================

**The question.** Training fails, and nobody knows why yet. Is a lower learning rate the thing to try first: what does
it repair, and what not?

**What the notes say.** When training does not work, the first remedy to try is a lower learning rate (1.24).

**What is measured.** Eight trainings of a network with one hidden layer of ReLU, by SGD with momentum 0.9, each broken
in one way: a rate 30, 120 and 500 times too high, a rate a thousand times too low, weights that start at zero, hidden
units that no image ever makes active, training labels in random order, and inputs that run from 0 to 255 where the
others run from 0 to 1. Each is trained as it is, and with its rate lowered by ten, once, twice and three times; all
else is the same: images, first weights, batches. Of the three, the one with the best accuracy on validation images is
what the remedy has made of it. The score is accuracy on unseen images above chance, as a share of that of a sound
training, whose rate is the best on seeds that no verdict sees.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn

from dlnotes import data, lesson
from dlnotes.data import Examples, Parts
from dlnotes.deep import MLP
from dlnotes.evidence import difference
from dlnotes.lesson import answer, claim, limit
from dlnotes.linear import SGD, cross_entropy
from dlnotes.measuring import Measured, Tuned
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep
from dlnotes.training import Minibatches, accuracy

# %%
# Settings
# --------


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 4_000  # training examples
    validation: int = 1_000  # examples that say which of the lowered rates is the best
    test: int = 1_000  # test examples: for letters, of typefaces that training never saw
    width: int = 32  # hidden units
    steps: int = 200  # steps of each training
    batch_size: int = 64  # examples a step
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.width < 1 or self.steps < 1:
            raise ValueError("width and steps must be 1 or more")


QUICK = Config(train=500, validation=200, test=200, width=16, steps=30)
SEEDS = range(12)

CHANCE = 0.1  # the accuracy of a guess among ten classes
ENOUGH = 0.9  # the share of the sound score from which a training works
TENTHS = range(4)  # how many times the rate is lowered by ten: as it is, and once, twice, three times

# %%
# What can be wrong: the rate, the first weights, or the examples. A sound training has none of it.


def untouched(_: MLP) -> None:
    """Leave the first weights as they are."""


@torch.no_grad()
def all_zero(model: MLP) -> None:
    for parameter in model.parameters():
        parameter.zero_()


def never_active(model: MLP) -> None:
    """Hidden biases so low that no image outweighs them: no pixel is larger than 1."""
    nn.init.constant_(list(model.parameters())[1], -30.0)


@dataclass(frozen=True)
class Training:
    """One training, by what is special in it."""

    rate: float = 1.0  # times the best rate
    spoil: Callable[[MLP], None] = untouched  # what is done to the first weights
    examples: str = "sound"  # or "shuffled", "grey values"


SOUND = Training()
TOO_HIGH = {
    "rate 30 times too high": Training(rate=30.0),
    "rate 120 times too high": Training(rate=120.0),
    "rate 500 times too high": Training(rate=500.0),
}
OTHERS = {
    "rate 1,000 times too low": Training(rate=0.001),
    "all weights zero": Training(spoil=all_zero),
    "ReLUs never active": Training(spoil=never_active),
    "labels shuffled": Training(examples="shuffled"),
    "inputs of 0 to 255": Training(examples="grey values"),
}
BROKEN = {**TOO_HIGH, **OTHERS}

# %%
# One seed
# --------
# The same images, first weights and batches for all. Those that learn from the same examples train side by side.


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    sound, *judges = small_images(config, seed, test=config.test)
    runs = [("sound", SOUND, 0), *((name, one, tenths) for name, one in BROKEN.items() for tenths in TENTHS)]
    measured: Measured = {}
    for kind in ("sound", "shuffled", "grey values"):
        mine = [run for run in runs if run[1].examples == kind]
        models = [network(config, one, seed) for _, one, _ in mine]
        rates = [tuned["sound"] * one.rate / 10**tenths for _, one, tenths in mine]
        descend(config, seed, as_learned_from(kind, sound, seed), models, rates=rates)
        for part, judge in zip(("validation", "test"), judges, strict=True):
            shown = as_shown(kind, judge)
            for (name, _, tenths), model in zip(mine, models, strict=True):
                measured[f"{name}/{tenths} tenths/{part}"] = share_right(model, shown)
    return measured


def small_images(config: Config, seed: int, *, test: int = 0) -> Parts:
    """Images of 14 x 14 pixels, (N, 196): to learn from, to choose by and, where there are any, to judge by."""
    counts = {"train": config.train, "validation": config.validation, "test": test}
    return data.load(config.data, seed, **counts, side=14, flat=True).to(config.device)


def as_learned_from(kind: str, sound: Examples, seed: int) -> Examples:
    """The training examples of a kind: only there are labels shuffled."""
    if kind == "shuffled":
        order = torch.randperm(len(sound.targets), generator=stream(seed, "shuffled labels"))
        return Examples(sound.inputs, sound.targets[order.to(sound.targets.device)])
    return as_shown(kind, sound)


def as_shown(kind: str, sound: Examples) -> Examples:
    """Examples as a network of a kind sees them: who learns from grey values is asked about grey values."""
    return Examples(255 * sound.inputs, sound.targets) if kind == "grey values" else sound


def network(config: Config, training: Training, seed: int) -> MLP:
    model = MLP([196, config.width, 10], generator=stream(seed, "first weights"))
    training.spoil(model)
    return model.to(config.device)


def descend(config: Config, seed: int, train: Examples, models: Sequence[MLP], *, rates: Sequence[float]) -> None:
    """Train the models side by side, each at its own rate; one that diverges is not updated any more."""
    groups = [{"params": model.parameters(), "lr": rate} for model, rate in zip(models, rates, strict=True)]
    batches = Minibatches(train, config.batch_size, stream(seed, "batches"))
    sweep = Sweep(models, cross_entropy, SGD(groups, lr=1.0, momentum=0.9), batches)
    for _ in islice(sweep, config.steps):
        pass


def share_right(model: MLP, examples: Sequence[Tensor]) -> float:
    """The accuracy; that of a guess where the network answers with something that is no number."""
    right = accuracy(model, examples)
    return CHANCE if math.isnan(right) else right


# %%
# Choosing the rate
# -----------------
# `python -m lessons tune broken_runs` chooses that of the sound training, by mistakes on validation images.

RATES = tuple(2.0**power for power in range(2, -10, -1))
TUNING_SEEDS = range(1_000, 1_004)


def tune(config: Config, seed: int) -> Measured:
    train, validation, _ = small_images(config, seed)
    models = [network(config, SOUND, seed) for _ in RATES]
    descend(config, seed, train, models, rates=RATES)
    return {
        f"{config.data}/sound/{rate:.6g}": 1 - share_right(model, validation)
        for rate, model in zip(RATES, models, strict=True)
    }


# %%
# What we expect
# --------------
# A training is broken if it has less than 90 % of the sound one's score, and repaired if the remedy brings it to 90 %
# or more. The remedy lowers the rate by ten, up to three times.

# fmt: off
PREDICTIONS = [
    claim("1.24", "sound", "The sound training comes more than half of the way from chance to certainty on "
          "unseen {data}.",
          lambda t: difference(t["sound/0 tenths/test"] - CHANCE, margin=0.45), of="accuracy above chance"),
    claim("1.24", "all broken",
          "The best of the eight broken trainings has less than 90 % of the sound score on unseen {data}.",
          lambda t: difference(ENOUGH - np.max([score(t, name, 0) for name in BROKEN], axis=0), margin=0.0),
          of="0.9 minus the largest score"),
    claim("1.24", "30 times", "A rate 30 times too high, lowered by ten up to three times, gives at least 90 % "
          "of the sound score on unseen {data}.",
          lambda t: difference(remedied(t, "rate 30 times too high") - ENOUGH, margin=0.0), of="score minus 0.9"),
    claim("1.24", "120 times", "A rate 120 times too high, lowered by ten up to three times, gives at least 90 % "
          "of the sound score on unseen {data}.",
          lambda t: difference(remedied(t, "rate 120 times too high") - ENOUGH, margin=0.0), of="score minus 0.9"),
    claim("1.24", "500 times", "A rate 500 times too high, lowered by ten up to three times, gives at least 90 % "
          "of the sound score on unseen {data}.",
          lambda t: difference(remedied(t, "rate 500 times too high") - ENOUGH, margin=0.0), of="score minus 0.9"),
    limit("1.24", "rate too low", "A rate a thousand times too low gives less than 90 % of the sound score on "
          "unseen {data} at the best of three lower rates.",
          lambda t: difference(ENOUGH - remedied(t, "rate 1,000 times too low"), margin=0.0), of="0.9 minus the score",
          because="it only becomes lower"),
    limit("1.24", "weights zero", "First weights of zero give less than 90 % of the sound score on "
          "unseen {data} at the best of three lower rates.",
          lambda t: difference(ENOUGH - remedied(t, "all weights zero"), margin=0.0), of="0.9 minus the score",
          because="the gradient of all hidden weights is exactly zero, and no rate moves what has no gradient"),
    limit("1.24", "dead units", "ReLUs that are never active give less than 90 % of the sound score on "
          "unseen {data} at the best of three lower rates.",
          lambda t: difference(ENOUGH - remedied(t, "ReLUs never active"), margin=0.0), of="0.9 minus the score",
          because="the gradient of all hidden weights is exactly zero, and no rate moves what has no gradient"),
    limit("1.24", "shuffled labels", "Labels in random order give less than 90 % of the sound score on "
          "unseen {data} at the best of three lower rates.",
          lambda t: difference(ENOUGH - remedied(t, "labels shuffled"), margin=0.0), of="0.9 minus the score",
          because="the images say nothing about them, so that what is learned is of no use on other images"),
    limit("1.24", "grey values", "Inputs from 0 to 255 give less than 90 % of the sound score on "
          "unseen {data} at the best of three lower rates.",
          lambda t: difference(ENOUGH - remedied(t, "inputs of 0 to 255"), margin=0.0), of="0.9 minus the score",
          because="with inputs c times as large the loss is curved about c² times as much, and the rate that is still "
                  "stable falls by c² (LeCun et al., 1998): for 255 nearly five times by ten, and three fall short"),
]

ANSWERS = [
    answer("1.24", "Where the rate is 30 to 500 times too high, yes: lowered by ten, three times at most, it brings "
           "back over 90 % of the sound score. It repairs none of the five other faults that were tried, from dead "
           "units to shuffled labels.",
           given={"30 times": "supported", "120 times": "supported", "500 times": "supported",
                  "rate too low": "supported", "weights zero": "supported", "dead units": "supported",
                  "shuffled labels": "supported", "grey values": "supported"}),
]
# fmt: on


def score(trials, name, tenths):
    """Accuracy above chance as a share of the sound training's, for each seed."""
    return (trials[f"{name}/{tenths} tenths/test"] - CHANCE) / (trials["sound/0 tenths/test"] - CHANCE)


def remedied(trials, name):
    """The score at the lowered rate that is best on validation images, for each seed."""
    lowered = TENTHS[1:]
    best = np.argmax([trials[f"{name}/{tenths} tenths/validation"] for tenths in lowered], axis=0)
    return np.choose(best, [score(trials, name, tenths) for tenths in lowered])


# %%
# What to look at
# ---------------
# Each dot is a seed. Above the gap, lowering the rate leads to the dotted line, and lowering it too far leads away
# again. Below the gap it does not lead there: where the hidden weights have no gradient, no rate gives them one.


def figure(trials):
    drawing, axes = plt.subplots(figsize=(10, 6))
    labels = ("as it is", "rate / 10", "rate / 100", "rate / 1,000")
    places = {name: place + 0.5 * (name in OTHERS) for place, name in enumerate(BROKEN)}
    for tenths, label in enumerate(labels):
        for name, place in places.items():
            scores, height = score(trials, name, tenths), place + 0.2 * (tenths - 1.5)
            axes.plot(
                scores,
                height + np.linspace(-0.05, 0.05, len(scores)),
                "oDs^"[tenths],
                color=f"C{tenths}",
                markersize=4,
                alpha=0.6,
                label=label if place == 0 else None,
            )
            axes.plot([scores.mean()] * 2, [height - 0.1, height + 0.1], color=f"C{tenths}")
    axes.axvline(ENOUGH, color="0.4", linestyle=":")
    axes.set_yticks(list(places.values()), list(places))
    axes.invert_yaxis()
    axes.set_title(f"Broken trainings, as they are and with lower rates ({trials.config.data})")
    axes.set_xlabel("score: accuracy above chance, as a share of the sound training's (dotted: enough)")
    axes.set_ylabel("what is broken")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return drawing


# %%
# Run it
# ------

if __name__ == "__main__":
    lesson.main("broken_runs")
