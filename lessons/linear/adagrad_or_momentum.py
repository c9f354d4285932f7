"""
AdaGrad or momentum: which is easier to set, and which ends better
==================================================================

**The question.** Does AdaGrad forgive a badly chosen rate more than SGD with momentum does? And with the best settings
of each, which of the two reads more unseen letters?

**What the notes say.** With AdaGrad, learning is often less sensitive to the choice of hyper-parameters (1.27). Its
result is usually a little worse than that of well-tuned stochastic gradient descent with momentum (1.28).

**What is measured.** *Sensitivity.* A linear classifier on three problems: letters of 14 x 14 pixels; the same with
each pixel in a unit of its own, drawn from 1/10 to 10; and bags of words, planted, with 20 common words that mean
nothing and 480 rare ones that do. Each optimizer trains for the same 200 steps at each of the rates 2⁻¹², 2⁻¹¹, … 2³,
and the loss on validation examples is taken. The statement has two readings. *Width of the good rates*: over how many
octaves (factors of 2) of the rate is the loss within 0.1 nats of the optimizer's own best? *One rate for several
problems*: with one rate for all three, the best compromise, how much is the loss above the best of each, where that is
worst? *The result.* 48 settings each, the same twelve rates times four: with and without cosine decay, and momentum 0.9
or 0.99, or AdaGrad's sum of squares started at 0 or 0.1. Those with the fewest errors on validation examples of four
other seeds then train on each seed, and are compared on unseen typefaces: a linear classifier, and a network of 64
hidden units.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise, product
from typing import NamedTuple

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import nn

from dlnotes import data, lesson
from dlnotes.data import Examples, Parts
from dlnotes.deep import MLP
from dlnotes.evidence import difference, no_difference
from dlnotes.lesson import answer, claim, limit
from dlnotes.linear import SGD, AdaGrad, LogisticClassifier, cosine_decay, cross_entropy
from dlnotes.measuring import Measured, Tuned
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep
from dlnotes.training import Minibatches, accuracy, evaluate

# %%
# Settings
# --------


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 2_000  # training examples of each problem
    validation: int = 1_000  # validation examples, for the loss at each rate and for the tuning
    test: int = 2_000  # test examples: for letters, of typefaces that training never saw
    batch_size: int = 64  # examples a step
    steps: int = 200  # steps at each rate
    long_steps: int = 400  # steps with the best settings
    hidden: int = 64  # units of the network
    device: str = "cpu"

    def __post_init__(self) -> None:
        if min(self.steps, self.long_steps, self.validation, self.test) < 1 or self.train < self.batch_size:
            raise ValueError("steps and parts must be 1 or more, and train as large as batch_size or larger")


QUICK = Config(train=200, validation=100, test=100, steps=4, long_steps=4)
SEEDS = range(16)

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"SGD": SGD, "AdaGrad": AdaGrad}
RATES = tuple(2.0**octave for octave in range(-12, 4))
WITHIN = 0.1  # nats above the best that are good enough
PROBLEMS = ("one unit", "own units", "words")  # of the sensitivity
CASES = {"linear": ("one unit", "linear"), "network": ("one unit", "network"), "words": ("words", "linear")}
CLASSES, COMMON, RARE = 10, 20, 480  # of the bags: topics, words that mean nothing, and words of one topic each


class Setting(NamedTuple):
    """A candidate: what goes into the optimizer's group, and whether the rate decays."""

    group: dict[str, float]
    decays: bool


# %%
# Each optimizer has 48 settings to be chosen from. A candidate goes by its place in the list of its optimizer: the rate
# runs fastest.

LONG_RATES = tuple(2.0**octave for octave in range(-9, 3))
SETTINGS = {
    "SGD": [
        Setting({"lr": lr, "momentum": beta}, decays)
        for beta, decays, lr in product((0.9, 0.99), (False, True), LONG_RATES)
    ],
    "AdaGrad": [
        Setting({"lr": lr, "initial_accumulator_value": start}, decays)
        for start, decays, lr in product((0.0, 0.1), (False, True), LONG_RATES)
    ],
}

# %%
# One seed
# --------
# Both optimizers see the same examples, first weights and batches.


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    problems = dealt(config, seed)
    losses = {(name, arm): by_rate(config, seed, problems[name], arm) for name, arm in product(PROBLEMS, OPTIMIZERS)}
    measured: Measured = {}
    for (name, arm), found in losses.items():
        measured[f"{name}/{arm}/loss by rate"] = found
        measured[f"{name}/{arm}/octaves"] = octaves(found)
    for arm in OPTIMIZERS:
        measured[f"one rate for all/{arm}/excess"] = compromise([losses[name, arm] for name in PROBLEMS])

    for (case, (name, kind)), arm in product(CASES.items(), OPTIMIZERS):
        setting = SETTINGS[arm][int(tuned[f"{case}/{arm}"])]
        (model,) = trained(config, seed, problems[name].train, kind, arm, [setting], config.long_steps)
        measured[f"{case}/{arm}/test accuracy"] = accuracy(model, problems[name].test) if model else math.nan
    return measured


def trained(
    config: Config,
    seed: int,
    examples: Examples,
    kind: str,
    arm: str,
    settings: Sequence[Setting],
    steps: int,
) -> list[nn.Module | None]:
    """A model for each setting, all of which decay or none, trained side by side; None for those that diverged."""
    models = [built(kind, examples.inputs.shape[1], config, seed) for _ in settings]
    groups = [{"params": model.parameters(), **one.group} for model, one in zip(models, settings, strict=True)]
    optimizer = OPTIMIZERS[arm](groups, lr=1.0)
    scheduler = cosine_decay(optimizer, steps) if settings[0].decays else None
    batches = Minibatches(examples, config.batch_size, stream(seed, "batches"))
    sweep = Sweep(models, cross_entropy, optimizer, batches, scheduler=scheduler)
    for _ in islice(sweep, steps):
        pass
    return [None if failed else model for model, failed in zip(models, sweep.diverged, strict=True)]


def built(kind: str, inputs: int, config: Config, seed: int) -> nn.Module:
    if kind == "linear":
        return LogisticClassifier(inputs, CLASSES).to(config.device)
    return MLP([inputs, config.hidden, CLASSES], generator=stream(seed, "weights")).to(config.device)


# %%
# The problems
# ------------


def dealt(config: Config, seed: int) -> dict[str, Parts]:
    """The three problems: pixels in one unit, pixels each in its own unit, and bags of words."""
    counts = {"train": config.train, "validation": config.validation, "test": config.test}
    pixels = data.load(config.data, seed, **counts, side=14, flat=True)
    units = 10 ** (2 * torch.rand(196, generator=stream(seed, "units")) - 1)
    words = bags([len(part.targets) for part in pixels], stream(seed, "words"))
    own = Parts(*(Examples(part.inputs * units, part.targets) for part in pixels))
    problems = {"one unit": pixels, "own units": own, "words": words}
    return {name: parts.to(config.device) for name, parts in problems.items()}


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


# %%
# Sensitivity
# -----------
# A loss above ln 10, that of knowing nothing, counts as ln 10, and so does divergence. Between two rates the loss is a
# straight line over the octaves.


def by_rate(config: Config, seed: int, parts: Parts, arm: str) -> list[float]:
    """The validation loss after the training at each rate, in nats."""
    fixed = {"momentum": 0.9} if arm == "SGD" else {}
    settings = [Setting({"lr": lr, **fixed}, decays=False) for lr in RATES]
    models = trained(config, seed, parts.train, "linear", arm, settings, config.steps)
    losses = [evaluate(model, parts.validation, cross_entropy) if model else math.inf for model in models]
    return [min(loss, math.log(CLASSES)) for loss in losses]


def octaves(losses: Sequence[float]) -> float:
    """How wide the range around the best rate is in which the loss is good enough; nan where the grid ends first."""
    enough, best = min(losses) + WITHIN, int(np.argmin(losses))
    return reach(losses[best:], enough) + reach(losses[best::-1], enough)


def reach(losses: Sequence[float], enough: float) -> float:
    """How many octaves from the first loss on, which is good enough, they stay so."""
    for octave, (here, there) in enumerate(pairwise(losses)):
        if there > enough:
            return octave + (enough - here) / (there - here)
    return math.nan


def compromise(curves: Sequence[Sequence[float]]) -> float:
    """With the best common rate: how far the loss is above the best of its problem, where that is worst."""
    above = np.array([np.array(losses) - min(losses) for losses in curves])
    return float(above.max(0).min())


# %%
# Choosing the settings
# ---------------------
# `python -m lessons tune adagrad_or_momentum` chooses them, on seeds that no verdict sees and by what is judged: the
# share of errors.

TUNING_SEEDS = range(1_000, 1_004)


def tune(config: Config, seed: int) -> Measured:
    problems = dealt(config, seed)
    scores: Measured = {}
    for (case, (name, kind)), arm, decays in product(CASES.items(), OPTIMIZERS, (False, True)):
        numbers = [number for number, one in enumerate(SETTINGS[arm]) if one.decays == decays]
        settings = [SETTINGS[arm][number] for number in numbers]
        models = trained(config, seed, problems[name].train, kind, arm, settings, config.long_steps)
        for number, model in zip(numbers, models, strict=True):
            wrong = 1 - accuracy(model, problems[name].validation) if model else math.nan
            scores[f"{case}/{arm}/{number}"] = wrong
    return scores


# %%
# What we expect
# --------------
# What matters is an octave of range, the step of the usual grid of rates; 0.1 nats of loss; and a quarter of a point of
# accuracy, since for less nobody would change an optimizer.

# fmt: off
PREDICTIONS = [
    claim("1.27", "own units", "A linear classifier's range of good rates after {steps} steps is more than an octave "
          "wider with AdaGrad than with SGD with momentum on {data} with each pixel in a unit of its own.",
          lambda t: difference(wider(t, "own units"), margin=1.0), arms=("AdaGrad", "SGD"),
          reading="width of the good rates", of="octaves, AdaGrad minus SGD",
          because="each coordinate needs another rate, and AdaGrad gives it one (Duchi, Hazan and Singer, 2011)"),
    claim("1.27", "words", "A linear classifier's range of good rates after {steps} steps is more than an octave "
          "wider with AdaGrad than with SGD with momentum on bags of words.",
          lambda t: difference(wider(t, "words"), margin=1.0), arms=("AdaGrad", "SGD"),
          reading="width of the good rates", of="octaves, AdaGrad minus SGD",
          because="each coordinate needs another rate, and AdaGrad gives it one (Duchi, Hazan and Singer, 2011)"),
    claim("1.27", "one rate", "One rate for {data}, {data} in units of their own and bags of words costs SGD with "
          "momentum over 0.1 nats more than AdaGrad, where it costs most.",
          lambda t: difference(t["one rate for all/SGD/excess"] - t["one rate for all/AdaGrad/excess"], margin=WITHIN),
          arms=("SGD", "AdaGrad"), reading="one rate for several problems",
          of="nats above the best loss, SGD minus AdaGrad"),
    limit("1.27", "one unit", "A linear classifier's ranges of good rates after {steps} steps are the same within an "
          "octave with AdaGrad and with SGD with momentum on {data} with all pixels in one unit.",
          lambda t: no_difference(wider(t, "one unit"), margin=1.0), arms=("AdaGrad", "SGD"),
          reading="width of the good rates", of="octaves, AdaGrad minus SGD",
          because="pixels in one unit need one rate, and the bounds on the regret of both methods have the same form "
                  "in the rate, c + 1/c for a rate c times the best"),
    claim("1.28", "linear", "A linear classifier on unseen {data} is more than a quarter of a point better by SGD with "
          "momentum than by AdaGrad, at best settings.",
          lambda t: difference(ahead(t, "linear"), margin=0.25), arms=("SGD", "AdaGrad"),
          of="points of accuracy, SGD minus AdaGrad"),
    claim("1.28", "network", "A network of {hidden} units on unseen {data} is more than a quarter of a point better by "
          "SGD with momentum than by AdaGrad, at best settings.",
          lambda t: difference(ahead(t, "network"), margin=0.25), arms=("SGD", "AdaGrad"),
          of="points of accuracy, SGD minus AdaGrad"),
    limit("1.28", "rare words", "A linear classifier on bags of words is more than a quarter of a point better by "
          "AdaGrad than by SGD with momentum, at best settings.",
          lambda t: difference(-ahead(t, "words"), margin=0.25), arms=("AdaGrad", "SGD"),
          of="points of accuracy, AdaGrad minus SGD",
          because="a rare word tells most, and its gradient is seldom there (Duchi et al., 2011)"),
]

ANSWERS = [
    answer("1.27", "One rate for several problems costs AdaGrad {one rate:.2f} nats less than SGD with momentum, "
           "where it costs most. On a single problem the range of its good rates is no octave wider.",
           given={"one rate": "supported", "own units": "refuted", "words": "refuted"}),
    answer("1.28", "On {data}, yes: SGD with momentum is ahead by {linear} points with a linear classifier, and by "
           "{network} with a network. On bags of words, where most inputs are rare, AdaGrad is ahead by {rare words} "
           "points.",
           given={"linear": "supported", "network": "supported", "rare words": "supported"}),
]
# fmt: on


def wider(trials, problem):
    """By how many octaves AdaGrad's range is wider than that of SGD with momentum."""
    return trials[f"{problem}/AdaGrad/octaves"] - trials[f"{problem}/SGD/octaves"]


def ahead(trials, case):
    """By how many points of accuracy SGD with momentum is ahead in the end."""
    return 100 * (trials[f"{case}/SGD/test accuracy"] - trials[f"{case}/AdaGrad/test accuracy"])


# %%
# What to look at
# ---------------
# Above, each curve is a seed, and the thick ones are their means. Look at the width of the valleys, and at where they
# lie: that AdaGrad's valleys are elsewhere does not make them wider. Below, what the verdicts are made of.


def figure(trials):
    drawing, (above, below) = plt.subplots(2, 3, figsize=(11, 7))
    where = trials.config.data
    titles = {"one unit": where, "own units": f"{where}, each pixel in its own unit", "words": "bags of words"}
    for axes, (name, title) in zip(above, titles.items(), strict=True):
        for arm, style in {"SGD": "C0-", "AdaGrad": "C1--"}.items():
            curves = trials[f"{name}/{arm}/loss by rate"]
            axes.plot(RATES, curves.T, style, linewidth=0.4, alpha=0.3)
            axes.plot(RATES, curves.mean(0), style, linewidth=2.2, label="SGD with momentum" if arm == "SGD" else arm)
        axes.set_xscale("log", base=2)
        axes.set_ylim(0, 2.4)
        axes.set_title(title)
        axes.set_xlabel("learning rate")
    above[0].set_ylabel(f"validation loss after {trials.config.steps} steps (nats)")
    above[2].legend(loc="lower left")

    draw_seeds(below[0], {name: wider(trials, name) for name in PROBLEMS}, lines=(-1, 1))
    below[0].set_title("How much wider AdaGrad's range is")
    below[0].set_ylabel("octaves, AdaGrad minus SGD")
    draw_seeds(below[1], {arm: trials[f"one rate for all/{arm}/excess"] for arm in OPTIMIZERS})
    below[1].set_ylim(bottom=0)
    below[1].set_title("What one rate for all three costs")
    below[1].set_ylabel("loss above the best, at worst (nats)")
    draw_seeds(below[2], {case: ahead(trials, case) for case in CASES}, lines=(-0.25, 0.25))
    below[2].set_title("How far tuned SGD ends ahead")
    below[2].set_ylabel("test accuracy, SGD minus AdaGrad (points)")
    return drawing


def draw_seeds(axes, groups, *, lines=()):
    """A column of dots a group, with a bar at the mean; dotted lines where a difference begins to matter."""
    for place, found in enumerate(groups.values()):
        axes.plot(place + np.linspace(-0.2, 0.2, len(found)), found, "C2D", alpha=0.6)
        axes.plot([place - 0.3, place + 0.3], [found.mean()] * 2, "C2")
    for height in lines:
        axes.axhline(height, color="0.4", linestyle=":")
    axes.set_xticks(range(len(groups)), list(groups))
    axes.set_xlim(-0.6, len(groups) - 0.4)


# %%
# Run it
# ------

if __name__ == "__main__":
    lesson.main("adagrad_or_momentum")
