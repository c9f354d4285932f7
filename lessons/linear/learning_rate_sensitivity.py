"""
Is AdaGrad easier to tune than SGD with momentum?
=================================================

When a training fails, the first suspect is the learning rate. Too small, and little has been learned when the time is
up; too large, and the loss explodes. In between lies a range of good rates, and you find it by trying. The course notes
say (row 1.27) that AdaGrad is often less sensitive to such choices than SGD.

Why should it be? AdaGrad divides each gradient by the root of the sum of all its squares so far. ::

    G ← G + g²        w ← w - α g / √G        g: the gradient at the weight w,  α: the learning rate

So the size of gradients cancels. Take two losses of one weight, w²/2 and a hundred times that. Their gradients are w
and 100 w. From w = 1, at the rate α = 0.5, this is how w goes on. ::

                  loss w²/2                   loss 100 w²/2
    SGD           1    0.50    0.25           1    -49    2,401
    AdaGrad       1    0.50    0.28           1    0.50    0.28

For the second loss SGD needs a hundredth of the rate, and AdaGrad the same rate as before. Other units of an input do
matter to it. Make the numbers ten times as large: the best weight is a tenth, and steps must be a tenth as long, but
the gradient is ten times as large. SGD then needs a hundredth of its rate, and AdaGrad still a tenth.

"Less sensitive" can mean two things, then. Does *one rate* do for several problems, because the good rates lie in the
same place? Or is the *range* of good rates wider on each single problem? We ask both.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, product

import numpy as np
import torch
from matplotlib import pyplot as plt

from dlnotes import data, lesson
from dlnotes.data import Examples
from dlnotes.evidence import difference, no_difference
from dlnotes.lesson import answer, claim, curves, limit, strips
from dlnotes.linear import SGD, AdaGrad, LogisticClassifier, cross_entropy
from dlnotes.measuring import Measured, train_for
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep
from dlnotes.training import Minibatches, evaluate

# %%
# The experiment
# --------------
# A *seed*, a number that all random draws start from, makes three problems of ten classes. *Pixels*: images of 14 × 14.
# *Rescaled pixels*: the same, with each pixel in a unit of its own, a factor from 1/10 to 10. *Words*: made-up bags of
# words. A bag says which of 500 words a text has, and the class is its topic. The *arms*, SGD with momentum of 0.9 and
# AdaGrad, train a linear classifier for 200 steps at each of 16 rates, from the same weights with the same batches. The
# loss is that on validation examples, not trained on, in *nats*: minus the natural logarithm of the probability given
# to the right class. A run that ends worse than guessing counts as guessing, ln 10 = 2.3 nats. A rate is *good* where
# the loss is within 0.1 nats of the arm's own best. Ranges are counted in *octaves*, factors of 2.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 2_000  # training examples of each problem
    validation: int = 1_000  # validation examples, for the loss at each rate
    batch_size: int = 64  # examples a step
    steps: int = 200  # steps at each rate
    device: str = "cpu"

    def __post_init__(self) -> None:
        if min(self.steps, self.validation) < 1 or not self.batch_size <= self.train <= TEXTS - self.validation:
            raise ValueError(f"steps and validation must be 1 or more, and train from batch_size to {TEXTS:,} in all")


TEXTS = 5_000  # bags of words that are drawn for training and validation; not all are needed
QUICK = Config(train=200, validation=100, steps=4)
SEEDS = range(16)
ARMS: dict[str, Callable[..., torch.optim.Optimizer]] = {"SGD": partial(SGD, momentum=0.9), "AdaGrad": AdaGrad}
RATES = tuple(2.0**octave for octave in range(-12, 4))
WITHIN = 0.1  # nats above the best that are good enough
PROBLEMS = ("pixels", "rescaled pixels", "words")
CLASSES, COMMON, RARE = 10, 20, 480  # of the bags: topics, words that mean nothing, and words of one topic each


def trial(config: Config, seed: int) -> Measured:
    problems = load(config, seed)
    losses = {(name, arm): by_rate(config, seed, arm, *problems[name]) for name, arm in product(PROBLEMS, ARMS)}
    measured: Measured = {}
    for (name, arm), found in losses.items():
        measured[f"{name}/{arm}/loss by rate"] = found
        measured[f"{name}/{arm}/octaves of good rates"] = octaves(found)
    for arm in ARMS:
        measured[f"one rate for all/{arm}/excess loss"] = compromise([losses[name, arm] for name in PROBLEMS])
    return measured


def load(config: Config, seed: int) -> dict[str, list[Examples]]:
    """Training and validation examples of the three problems."""
    counts = {"train": config.train, "validation": config.validation}
    *pixels, _ = data.load(config.data, seed, **counts, test=0, side=14, flat=True)
    units = 10 ** (2 * torch.rand(196, generator=stream(seed, "units")) - 1)
    rescaled = [Examples(inputs * units, labels) for inputs, labels in pixels]
    split = [*counts.values(), TEXTS - sum(counts.values())]
    *words, _ = map(Examples, *(each.split(split) for each in bags(TEXTS, stream(seed, "words"))))
    problems = zip(PROBLEMS, (pixels, rescaled, words), strict=True)
    return {name: [part.to(config.device) for part in parts] for name, parts in problems}


def bags(count: int, generator: torch.Generator) -> Examples:
    """Bags of words: which words are in a text (1) and which not (0), and the text's topic.

    Each common word is in every other text. Five times a text draws a rare word: from its own topic in one half of the
    cases, and from a random one in the other; of the words of a topic the r-th is drawn in proportion to 1/r.
    """
    each = RARE // CLASSES
    topics = torch.randint(CLASSES, (count,), generator=generator)
    texts = torch.zeros(count, COMMON + RARE)
    texts[:, :COMMON] = torch.rand(count, COMMON, generator=generator).lt(0.5).float()
    frequency = 1 / torch.arange(1, each + 1, dtype=torch.float)
    for _ in range(5):
        own = torch.rand(count, generator=generator) < 0.5
        drawn = topics.where(own, torch.randint(CLASSES, (count,), generator=generator))
        word = torch.multinomial(frequency, count, replacement=True, generator=generator)
        texts[range(count), COMMON + each * drawn + word] = 1
    return Examples(texts, topics)


def by_rate(config: Config, seed: int, arm: str, train: Examples, validation: Examples) -> list[float]:
    """The validation loss after training at each rate; that of knowing nothing where it is larger or diverged."""
    models = [LogisticClassifier(train.inputs.shape[1], CLASSES).to(config.device) for _ in RATES]
    groups = [{"params": model.parameters(), "lr": lr} for model, lr in zip(models, RATES, strict=True)]
    batches = Minibatches(train, config.batch_size, stream(seed, "batches"))
    sweep = train_for(Sweep(models, cross_entropy, ARMS[arm](groups, lr=1.0), batches), config.steps)
    diverged = zip(models, sweep.diverged, strict=True)
    losses = [math.inf if failed else evaluate(model, validation, cross_entropy) for model, failed in diverged]
    return [min(loss, math.log(CLASSES)) for loss in losses]


def octaves(losses: Sequence[float]) -> float:
    """How wide the range of good rates around the best one is; nan where the grid ends first."""
    enough, best = min(losses) + WITHIN, int(np.argmin(losses))
    return reach(losses[best:], enough) + reach(losses[best::-1], enough)


def reach(losses: Sequence[float], enough: float) -> float:
    """For how many octaves losses stay good enough, from the first one on; between two rates the line is straight."""
    for octave, (here, there) in enumerate(pairwise(losses)):
        if there > enough:
            return octave + (enough - here) / (there - here)
    return math.nan


def compromise(losses: Sequence[Sequence[float]]) -> float:
    """How far the loss is above the best of its problem, where that is worst, at the best rate for all problems."""
    above = np.array([np.array(found) - min(found) for found in losses])
    return float(above.max(0).min())


# %%
# What we expect
# --------------
# Written before the run. A *claim* is the notes' statement in one of two readings, a *limit* a case where it should
# fail. The *margin*, the smallest difference that matters, is an octave, the step of a usual grid, or 0.1 nats.


def wider(trials, problem):
    """By how many octaves AdaGrad's range is wider than that of SGD with momentum."""
    return trials[f"{problem}/AdaGrad/octaves of good rates"] - trials[f"{problem}/SGD/octaves of good rates"]


# fmt: off
PREDICTIONS = [
    claim("1.27", "own units", "AdaGrad's range of good rates for a linear classifier of {data} with each pixel in a "
          "unit of its own is over an octave wider than that of SGD with momentum.",
          lambda t: difference(wider(t, "rescaled pixels"), margin=1.0), arms=("AdaGrad", "SGD"),
          reading="width of the good rates", of="octaves, AdaGrad minus SGD",
          because="each weight needs a rate of its own, and AdaGrad gives it one (Duchi, Hazan and Singer, 2011)"),
    claim("1.27", "words", "AdaGrad's range of good rates for a linear classifier of bags of words is over an octave "
          "wider than that of SGD with momentum.",
          lambda t: difference(wider(t, "words"), margin=1.0), arms=("AdaGrad", "SGD"),
          reading="width of the good rates", of="octaves, AdaGrad minus SGD",
          because="each weight needs a rate of its own, and AdaGrad gives it one (Duchi, Hazan and Singer, 2011)"),
    claim("1.27", "one rate", "The best single rate for {data}, rescaled {data} and bags of words costs SGD with "
          "momentum over 0.1 nats more than AdaGrad, on the problem where it costs most.",
          lambda t: difference(t["one rate for all/SGD/excess loss"] - t["one rate for all/AdaGrad/excess loss"],
                               margin=WITHIN), arms=("SGD", "AdaGrad"),
          reading="one rate for several problems", of="nats above the best loss, SGD minus AdaGrad"),
    limit("1.27", "one unit", "AdaGrad's range of good rates for a linear classifier of {data} with all pixels in one "
          "unit is as wide as that of SGD with momentum, within an octave.",
          lambda t: no_difference(wider(t, "pixels"), margin=1.0), arms=("AdaGrad", "SGD"),
          reading="width of the good rates", of="octaves, AdaGrad minus SGD",
          because="in theory a rate c times the best costs both the same: their bounds on the loss grow as c + 1/c"),
]

ANSWERS = [
    answer("1.27", "Across problems, yes: one rate for three of them costs AdaGrad {one rate:.2f} nats less than "
           "SGD with momentum. On one problem, no: its range of good rates is not twice as wide.",
           given={"one rate": "supported", "own units": "refuted", "words": "refuted", "one unit": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# Above, the good rates themselves: the loss after training at each rate, a thin line a seed and a thick one for the
# mean, on three problems. The bars at the bottom are the ranges of good rates. Those of SGD with momentum lie apart: no
# rate is good on all three, not even the best compromise (dotted). On letters AdaGrad's overlap. Below on the left the
# widths of the ranges, a dot a seed: AdaGrad's are not an octave wider. On the right what one rate for all costs.


def figure(trials):
    drawing, axes = plt.subplots(2, 2, figsize=(11, 8))
    names = dict(zip(PROBLEMS, (trials.config.data, "rescaled pixels", "bags of words"), strict=True))
    styles = dict(zip(PROBLEMS, (("C0", "-"), ("C1", "--"), ("C2", "-.")), strict=True))
    for valley, (arm, title) in zip(axes[0], {"SGD": "SGD with momentum", "AdaGrad": "AdaGrad"}.items(), strict=True):
        losses = [trials[f"{problem}/{arm}/loss by rate"] for problem in PROBLEMS]
        for place, (problem, found) in enumerate(zip(PROBLEMS, losses, strict=True)):
            color, dashes = styles[problem]
            curves(valley, RATES, found, label=names[problem], color=color, linestyle=dashes)
            good = np.array(RATES)[found.mean(0) <= found.mean(0).min() + WITHIN]
            valley.plot(good, np.full(len(good), 0.06 + 0.06 * place), color=color, linewidth=4)
        worst = np.max([found.mean(0) - found.mean(0).min() for found in losses], axis=0)
        valley.axvline(RATES[int(worst.argmin())], color="0.4", linestyle=":")
        valley.set_xscale("log", base=2)
        valley.set_xticks([2**-12, 2**-8, 2**-4, 1], ["1/4,096", "1/256", "1/16", "1"])
        valley.set(title=f"Good rates of {title}", xlabel="learning rate", ylim=(0, 2.4))
    axes[0, 0].set_ylabel(f"validation loss after {trials.config.steps} steps (nats)")
    axes[0, 1].legend(loc="lower left")

    for shift, color, arm, label in ((-0.15, "C0", "SGD", "SGD with momentum"), (0.15, "C3", "AdaGrad", "AdaGrad")):
        widths = {words: trials[f"{problem}/{arm}/octaves of good rates"] for problem, words in names.items()}
        strips(axes[1, 0], widths, color=color, label=label, shift=shift, width=0.2)
    axes[1, 0].set(title="How wide the range of good rates is", ylabel="octaves", ylim=(0, None))
    axes[1, 0].legend(loc="lower right")
    strips(axes[1, 1], {arm: trials[f"one rate for all/{arm}/excess loss"] for arm in ARMS})
    axes[1, 1].set(title="What one rate for all three costs", ylim=(0, None))
    axes[1, 1].set_ylabel("loss above the best, where it costs most (nats)")
    return drawing


# %%
# Try it yourself
# ---------------
# Five times as many steps give small rates time to arrive. Will one rate for all cost SGD more then, or less?
# `python -m lessons run learning_rate_sensitivity --set steps=1000 --seeds 3`. And which of the two suffers more from
# noisy gradients, those of 8 examples a step? `--set batch_size=8`

if __name__ == "__main__":
    lesson.main("learning_rate_sensitivity")
