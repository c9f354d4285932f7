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

**The smallest difference that matters.** A training is broken if it has less than 90 % of the sound one's score, and
repaired if the remedy brings it to 90 % or more.

**What would refute it.** The remedy does not repair one of the three rates that are too high; or one of the eight is
not broken to begin with. Predicted limits: the remedy repairs none of the other five. A rate too low becomes lower.
From zeros, and behind ReLUs that are never active, the gradient of all hidden weights is exactly zero, and no rate
moves what has no gradient. With labels in random order the images say nothing about them, so that what is learned is
of no use on other images. And with inputs c times as large the loss is curved about c² times as much, so that the rate
that is still stable falls by c² (LeCun et al., 1998): for 255 that is nearly five times by ten, and three fall short.
That mistake is of the same kind as a rate too high, only larger.

**Time.** `python -m lessons` says what it took.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from dlnotes import data, lesson
from dlnotes.data import Examples
from dlnotes.deep import MLP
from dlnotes.evidence import claim, difference, limit
from dlnotes.linear import SGD, cross_entropy
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
DATA = ("letters", "fashion_mnist", "not_mnist")

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
# The rate of the sound training: the best of 12 on four seeds that no verdict sees. ``python -m lessons tune
# broken_runs`` chooses it; the scores of all candidates are in ``results/tuning``.

RATES = tuple(2.0**power for power in range(2, -10, -1))
TUNING_SEEDS = range(1_000, 1_004)
TUNED = {
    "letters/sound": 0.0625,
    "fashion_mnist/sound": 0.0625,
    "not_mnist/sound": 0.0625,
}

# %%
# One seed
# --------
# The same images, first weights and batches for all. Those that learn from the same examples train side by side.


def trial(config: Config, seed: int) -> dict[str, float | list[float]]:
    sound, *judges = small_images(config, seed, test=config.test)
    runs = [("sound", SOUND, 0), *((name, one, tenths) for name, one in BROKEN.items() for tenths in TENTHS)]
    measured: dict[str, float | list[float]] = {}
    for kind in ("sound", "shuffled", "grey values"):
        mine = [run for run in runs if run[1].examples == kind]
        models = [network(config, one, seed) for _, one, _ in mine]
        rates = [TUNED[f"{config.data}/sound"] * one.rate / 10**tenths for _, one, tenths in mine]
        descend(config, seed, as_learned_from(kind, sound, seed), models, rates=rates)
        for part, judge in zip(("validation", "test"), judges, strict=True):
            shown = as_shown(kind, judge)
            for (name, _, tenths), model in zip(mine, models, strict=True):
                measured[f"{name}/{tenths} tenths/{part}"] = share_right(model, shown)
    return measured


def small_images(config: Config, seed: int, *, test: int = 0) -> Iterator[Examples]:
    """Images of 14 x 14 pixels, (N, 196): to learn from, to choose by and, where there are any, to judge by."""
    parts = data.load(config.data, seed, train=config.train, validation=config.validation, test=test)
    for part in parts.to(config.device)[: 3 if test else 2]:
        yield Examples(avg_pool2d(part.inputs, 2).flatten(1), part.targets)


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
# By mistakes on validation images.


def tune(config: Config, seed: int) -> dict[str, float | list[float]]:
    train, validation = small_images(config, seed)
    models = [network(config, SOUND, seed) for _ in RATES]
    descend(config, seed, train, models, rates=RATES)
    return {
        f"{config.data}/sound/{rate:.6g}": 1 - share_right(model, validation)
        for rate, model in zip(RATES, models, strict=True)
    }


# %%
# What settles it
# ---------------


def findings(trials):
    where = trials.config.data
    as_it_is = np.max([score(trials, name, 0) for name in BROKEN], axis=0)
    found = [
        claim(
            "1.24",
            f"the sound training comes more than half of the way from chance to certainty on unseen {where}",
            difference(trials["sound/0 tenths/test"] - CHANCE, margin=0.45),
            of="accuracy above chance",
        ),
        claim(
            "1.24",
            f"each of the eight trainings is broken: the best of them has less than 90 % of the sound score ({where})",
            difference(ENOUGH - as_it_is, margin=0.0),
            of="0.9 minus the largest score",
        ),
    ]
    found += [
        claim(
            "1.24",
            f"{name}: lowered by ten, three times at most, it gives at least 90 % of the sound score ({where})",
            difference(remedied(trials, name) - ENOUGH, margin=0.0),
            of="score minus 0.9",
        )
        for name in TOO_HIGH
    ]
    found += [
        limit(
            "1.24",
            f"{name}: a rate lowered by ten, up to three times, does not give 90 % of the sound score ({where})",
            difference(ENOUGH - remedied(trials, name), margin=0.0),
            of="0.9 minus the score",
        )
        for name in OTHERS
    ]
    return found


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
