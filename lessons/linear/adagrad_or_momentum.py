"""
Does SGD with momentum end better than AdaGrad?
===============================================

AdaGrad gives each weight a learning rate of its own: small where there were large gradients, large where there were
few. That sounds like an offer that nobody should refuse. Yet the course notes say (row 1.28) that its result is usually
a little worse than that of well-tuned SGD with momentum. When should that be so?

Think of a classifier that reads texts. One word stands in each of 100 texts, and another in a single one of them. A
text without a word gives the weight of this word a gradient of zero; say that a text with it gives 1. ::

    AdaGrad:  G ← G + g²,  w ← w - α g / √G                  g: the gradient at the weight w,  α: the rate, here 1

    moved after 100 texts     the common word                                the rare word      ratio
    SGD                       1 + 1 + 1 + … = 100                            1                  100 to 1
    AdaGrad                   1 + 1/√2 + 1/√3 + … + 1/√100 = 18.6            1                   19 to 1

AdaGrad holds the common word back, and the rare one catches up. Where rare words tell most about a text, this is a gift
(Duchi, Hazan and Singer, 2011). In images, pixels are lit in many of the letters, and few pixels are rare. What is left
is the price: each rate falls, whether that is good or not, and nothing gathers speed as momentum does.

"Well-tuned" is half of the statement: with a bad rate anything loses. So both get the same budget of 48 settings. They
are tried on other examples than those on which the winners are compared.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import nn

from dlnotes import data, lesson
from dlnotes.data import Examples, Parts
from dlnotes.deep import MLP
from dlnotes.evidence import difference
from dlnotes.lesson import answer, claim, limit, reference_line, strips
from dlnotes.linear import SGD, AdaGrad, LogisticClassifier, cosine_decay, cross_entropy
from dlnotes.measuring import Measured, Tuned, train_for
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep
from dlnotes.training import Minibatches, accuracy

# %%
# The experiment
# --------------
# A *seed*, a number that all random draws start from, makes images of 14 × 14 pixels and made-up *bags of words*. A bag
# says which of 500 words a text has: 20 of them are common and mean nothing, and 48 rare ones belong to each of ten
# topics. The topic is to be found. There are three cases: a linear classifier of images, a network with one hidden
# layer for images, and a linear classifier of bags. The *arms*, SGD with momentum and AdaGrad, start from the same
# weights and see the same batches, each with the setting that was best for it on other seeds. We measure accuracy on
# unseen examples, in points: one is 1 % of them. Unseen letters are of typefaces that training never saw.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 2_000  # training examples of each problem
    validation: int = 1_000  # examples that settings are chosen by
    test: int = 2_000  # unseen examples
    batch_size: int = 64  # examples a step
    steps: int = 400  # steps of each training
    hidden: int = 64  # units of the network
    device: str = "cpu"


QUICK = Config(train=200, validation=100, test=100, steps=4)
SEEDS = range(16)
ARMS: dict[str, Callable[..., torch.optim.Optimizer]] = {"SGD": SGD, "AdaGrad": AdaGrad}
CASES = ("linear", "network", "words")
CLASSES, COMMON, RARE = 10, 20, 480  # of the bags: topics, words that mean nothing, and words of one topic each


class Setting(NamedTuple):
    """A candidate: what goes into the optimizer's group, and whether the rate decays."""

    group: dict[str, float]
    decays: bool


# Each arm has 48 settings, known by their places in its list: the same twelve rates, with and without a decay to zero
# along a cosine, for two values of momentum or of the number at which AdaGrad's sum of squares starts.
OWN = {"SGD": ("momentum", (0.9, 0.99)), "AdaGrad": ("initial_accumulator_value", (0.0, 0.1))}
RATES = tuple(2.0**octave for octave in range(-9, 3))
SETTINGS = {
    arm: [Setting({"lr": lr, name: value}, decays) for value, decays, lr in product(values, (False, True), RATES)]
    for arm, (name, values) in OWN.items()
}


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    measured: Measured = {}
    for (case, parts), arm in product(load(config, seed).items(), ARMS):
        setting = SETTINGS[arm][int(tuned[f"{case}/{arm}"])]
        (model,) = trained(config, seed, case, arm, parts.train, [setting])
        measured[f"{case}/{arm}/test accuracy"] = accuracy(model, parts.test) if model else math.nan
    return measured


def load(config: Config, seed: int) -> dict[str, Parts]:
    """The examples of the three cases."""
    counts = {"train": config.train, "validation": config.validation, "test": config.test}
    images = data.load(config.data, seed, **counts, side=14, flat=True).to(config.device)
    words = bags(list(counts.values()), stream(seed, "words")).to(config.device)
    return {"linear": images, "network": images, "words": words}


def bags(sizes: Sequence[int], generator: torch.Generator) -> Parts:
    """Bags of words: which words are in a text (1) and which not (0), and the text's topic.

    Each common word is in every other text. Five times a text draws a rare word: from its own topic in one half of the
    cases, and from a random one in the other; of the words of a topic the r-th is drawn in proportion to 1/r.
    """
    count, each = sum(sizes), RARE // CLASSES
    topics = torch.randint(CLASSES, (count,), generator=generator)
    texts = torch.zeros(count, COMMON + RARE)
    texts[:, :COMMON] = torch.rand(count, COMMON, generator=generator).lt(0.5).float()
    frequency = 1 / torch.arange(1, each + 1, dtype=torch.float)
    for _ in range(5):
        own = torch.rand(count, generator=generator) < 0.5
        drawn = topics.where(own, torch.randint(CLASSES, (count,), generator=generator))
        word = torch.multinomial(frequency, count, replacement=True, generator=generator)
        texts[range(count), COMMON + each * drawn + word] = 1
    return Parts(*map(Examples, texts.split(list(sizes)), topics.split(list(sizes))))


def trained(
    config: Config, seed: int, case: str, arm: str, examples: Examples, settings: Sequence[Setting]
) -> list[nn.Module | None]:
    """A model for each setting, all of which decay or none, trained side by side; None for those that diverged."""
    models = [new_model(config, seed, case, examples.inputs.shape[1]) for _ in settings]
    groups = [{"params": model.parameters(), **one.group} for model, one in zip(models, settings, strict=True)]
    optimizer = ARMS[arm](groups, lr=1.0)
    scheduler = cosine_decay(optimizer, config.steps) if settings[0].decays else None
    batches = Minibatches(examples, config.batch_size, stream(seed, "batches"))
    sweep = train_for(Sweep(models, cross_entropy, optimizer, batches, scheduler=scheduler), config.steps)
    return [None if failed else model for model, failed in zip(models, sweep.diverged, strict=True)]


def new_model(config: Config, seed: int, case: str, inputs: int) -> nn.Module:
    if case == "network":
        return MLP([inputs, config.hidden, CLASSES], generator=stream(seed, "weights")).to(config.device)
    return LogisticClassifier(inputs, CLASSES).to(config.device)


# `python -m lessons tune adagrad_or_momentum` chooses the settings by the share of mistakes on validation examples.
TUNING = {f"{case}/{arm}": tuple(range(48)) for case in CASES for arm in ARMS}
TUNING_SEEDS = range(1_000, 1_004)


def tune(config: Config, seed: int, arm: str, candidates: Sequence[int]) -> list[float]:
    case, name = arm.split("/")
    train, validation, _ = load(config, seed)[case]
    scores = {}
    for decays in {SETTINGS[name][number].decays for number in candidates}:
        numbers = [number for number in candidates if SETTINGS[name][number].decays == decays]
        models = trained(config, seed, case, name, train, [SETTINGS[name][number] for number in numbers])
        for number, model in zip(numbers, models, strict=True):
            scores[number] = 1 - accuracy(model, validation) if model else math.nan
    return [scores[number] for number in candidates]


# %%
# What we expect
# --------------
# Written before the run. A *claim* is the notes' statement in one case, a *limit* a case where we expect the opposite.
# The *margin* is a quarter of a point of accuracy: for less, nobody would change an optimizer.


def ahead(trials, case):
    """By how many points of accuracy SGD with momentum is ahead in the end."""
    return 100 * (trials[f"{case}/SGD/test accuracy"] - trials[f"{case}/AdaGrad/test accuracy"])


# fmt: off
PREDICTIONS = [
    claim("1.28", "linear", "Tuned SGD with momentum makes a linear classifier over a quarter of a point better on "
          "unseen {data} than tuned AdaGrad does.",
          lambda t: difference(ahead(t, "linear"), margin=0.25), arms=("SGD", "AdaGrad"),
          of="points of accuracy, SGD minus AdaGrad"),
    claim("1.28", "network", "Tuned SGD with momentum makes a network of {hidden} units over a quarter of a point "
          "better on unseen {data} than tuned AdaGrad does.",
          lambda t: difference(ahead(t, "network"), margin=0.25), arms=("SGD", "AdaGrad"),
          of="points of accuracy, SGD minus AdaGrad"),
    limit("1.28", "rare words", "Tuned AdaGrad makes a linear classifier over a quarter of a point better on unseen "
          "bags of words than tuned SGD with momentum does.",
          lambda t: difference(-ahead(t, "words"), margin=0.25), arms=("AdaGrad", "SGD"),
          of="points of accuracy, AdaGrad minus SGD",
          because="a rare word tells most about a topic, and its weight seldom gets a gradient (Duchi et al., 2011)"),
]

ANSWERS = [
    answer("1.28", "On {data}, yes: SGD with momentum is {linear} points ahead in a linear classifier, {network} in a "
           "network. On bags of mostly rare words AdaGrad is {rare words} ahead. Other images: no linear lead.",
           given={"linear": "supported", "network": "supported", "rare words": "supported",
                  "not_mnist/linear": "refuted", "fashion_mnist/linear": "inconclusive"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# First the data themselves. Ten images: where one has ink, many have. Sixty bags of words, a row a text, sorted by
# topic: the 20 common words fill the stripe on the left, the rare ones of each topic make the staircase, and the rest
# is nearly empty. Then the accuracy on unseen examples, a dot a seed. On the right how far SGD with momentum is ahead;
# the dotted lines are the margin. It wins on images, and AdaGrad wins where most inputs are rare.


def figure(trials):
    name = trials.config.data
    names = dict(zip(CASES, (f"{name},\nlinear", f"{name},\nnetwork", "bags of\nwords"), strict=True))
    drawing, (pixels, words, middle, right) = plt.subplots(1, 4, figsize=(15, 4.2), width_ratios=(0.5, 1.1, 1, 1))
    images = data.load(name, trials.seeds[0], train=10, test=0, side=14).train.inputs
    pixels.imshow(images.view(5, 2, 14, 14).transpose(1, 2).reshape(70, 28).numpy(), cmap="Greys")
    pixels.set(title="Ten images", xticks=[], yticks=[])
    texts, topics = bags([60, 0, 0], stream(trials.seeds[0], "words")).train
    words.plot(*np.nonzero(texts[topics.argsort()].numpy())[::-1], "s", color="0.2", markersize=1.5)
    words.set(title="Sixty bags of words", xlabel="word", ylabel="text, by topic")

    for shift, color, arm, label in ((-0.15, "C0", "SGD", "SGD with momentum"), (0.15, "C3", "AdaGrad", "AdaGrad")):
        found = {place: 100 * trials[f"{case}/{arm}/test accuracy"] for case, place in names.items()}
        strips(middle, found, color=color, label=label, shift=shift, width=0.2)
    middle.set(title="Accuracy on unseen examples", ylabel="%")
    middle.legend(loc="lower left")
    strips(right, {place: ahead(trials, case) for case, place in names.items()})
    reference_line(right, 0.25, "margin")
    reference_line(right, -0.25)
    right.set(title="SGD with momentum minus AdaGrad", ylabel="points of accuracy")
    return drawing


# %%
# Try it yourself
# ---------------
# Settings were chosen for 2,000 images and 400 steps. Is SGD with momentum still ahead where there are 500 images?
# `python -m lessons run adagrad_or_momentum --set train=500 --seeds 3`. And with four times the steps, does its lead
# grow, or does AdaGrad catch up? `--set steps=1600`

if __name__ == "__main__":
    lesson.main("adagrad_or_momentum")
