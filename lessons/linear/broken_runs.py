"""
Training does not work: should I lower the learning rate?
=========================================================

The loss stays where it is, or it explodes. Something is wrong, and you do not know what. The course notes (row 1.24)
say what to try first: a lower learning rate. It costs one number, and here is why it often helps. Take the loss
½ h w² of one weight, where h says how sharply it curves. Its gradient is h w, and a step at the rate α is ::

    w ← w - α h w = (1 - α h) w          h = 1,  from w = 1

    α = 0.5      1     0.5    0.25   0.13   …   arrives
    α = 3        1    -2      4     -8      …   explodes, as for every α beyond 2 / h
    α = 0.3      1     0.7    0.49   0.34   …   arrives: divided by ten, 3 becomes a good rate

Even a rate 500 times too high becomes good if it is divided by ten three times. So lowering should repair this fault.
Others it should not. Where the gradient is zero, so is every step: that is the case of a *dead* ReLU, a unit that gives
max(0, x) where x is negative for every image, and of hidden weights if all weights start at zero. A rate that is too
low gets no better by getting lower. Labels in random order say nothing about other images.

One fault lies between. Inputs from 0 to 255, at a rate that was chosen for 0 to 1, make the curvature h about 255² =
65,025 times as large (LeCun et al., 1998). The rate is too high by as much: three divisions by ten are not enough.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import nn

from dlnotes import data, lesson
from dlnotes.deep import MLP
from dlnotes.evidence import difference
from dlnotes.lesson import answer, claim, limit, reference_line, strips
from dlnotes.linear import SGD, cross_entropy
from dlnotes.measuring import Measured, Tuned, grid
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep
from dlnotes.training import Minibatches, accuracy

# %%
# The experiment
# --------------
# Each *seed* draws images of 14 × 14 pixels, first weights and the order of batches. The *sound* run trains a network
# with one hidden layer of ReLUs, by SGD with momentum 0.9 at the rate that was best on other seeds. The *arms* are
# eight runs, each broken in one way and trained four times: as it is, and with its rate divided by ten once, twice and
# three times. What counts as remedied is the best of these last three on validation images. The *score* is the accuracy
# (share of right answers) above chance on unseen images, as a share of the sound run's: 0 is guessing, 1 is sound.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 4_000  # training images
    validation: int = 1_000  # images that say which of the lowered rates is the best
    test: int = 1_000  # unseen images: for letters, of typefaces that training never saw
    width: int = 32  # hidden units
    steps: int = 200  # steps of each run
    batch_size: int = 64  # images a step
    device: str = "cpu"


QUICK = Config(train=500, validation=200, test=200, width=16, steps=30)
SEEDS = range(12)
CHANCE, ENOUGH = 0.1, 0.9  # the accuracy of a guess among ten classes; the score from which a run works
TENTHS = range(4)  # how many times the rate is lowered by ten


@dataclass(frozen=True)
class Run:
    """One training, by what is wrong with it. What is given here is sound."""

    rate: float = 1.0  # times the best rate
    spoil: Callable[[MLP], object] = lambda model: None  # what is done to the first weights
    images: str = "sound"  # or "shuffled labels", "grey values"


BROKEN = {
    "rate 30 times too high": Run(rate=30.0),
    "rate 120 times too high": Run(rate=120.0),
    "rate 500 times too high": Run(rate=500.0),
    "rate 1,000 times too low": Run(rate=0.001),
    "all weights zero": Run(spoil=lambda model: [nn.init.zeros_(parameter) for parameter in model.parameters()]),
    "ReLUs never active": Run(spoil=lambda model: nn.init.constant_(list(model.parameters())[1], -30.0)),  # biases
    "labels shuffled": Run(images="shuffled labels"),
    "inputs of 0 to 255": Run(images="grey values"),
}


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    train, validation, test = load(config, seed, test=config.test)
    runs = [("sound", Run(), 0), *((name, run, tenths) for name, run in BROKEN.items() for tenths in TENTHS)]
    measured: Measured = {}
    for kind in ("sound", "shuffled labels", "grey values"):
        mine = [one for one in runs if one[1].images == kind]
        models = [network(config, run, seed) for _, run, _ in mine]
        rates = [tuned["sound"] * run.rate / 10**tenths for _, run, tenths in mine]
        fit(config, seed, images_of(kind, train, shuffled_by=seed), models, rates)
        for part, images in {"validation": validation, "test": test}.items():
            for (name, _, tenths), model in zip(mine, models, strict=True):
                measured[f"{name}/lowered {tenths} times/{part}"] = accuracy_of(model, images_of(kind, images))
    return measured


def load(config: Config, seed: int, *, test: int = 0) -> data.Parts:
    counts = {"train": config.train, "validation": config.validation, "test": test}
    return data.load(config.data, seed, **counts, side=14, flat=True).to(config.device)


def images_of(kind: str, images: data.Examples, *, shuffled_by: int | None = None) -> data.Examples:
    """Images as a network of a kind sees them; labels are shuffled where there is a seed, in training alone."""
    if kind == "shuffled labels" and shuffled_by is not None:
        order = torch.randperm(len(images.targets), generator=stream(shuffled_by, "shuffled labels"))
        return data.Examples(images.inputs, images.targets[order.to(images.targets.device)])
    return data.Examples(255 * images.inputs, images.targets) if kind == "grey values" else images


def network(config: Config, run: Run, seed: int) -> MLP:
    model = MLP([196, config.width, 10], generator=stream(seed, "first weights"))
    run.spoil(model)
    return model.to(config.device)


def fit(config: Config, seed: int, images: data.Examples, models: list[MLP], rates: list[float]) -> list[list[float]]:
    """Train models side by side, each at its own rate. Returns their losses in each step, nan once one diverged."""
    groups = [{"params": model.parameters(), "lr": rate} for model, rate in zip(models, rates, strict=True)]
    batches = Minibatches(images, config.batch_size, stream(seed, "batches"))
    sweep = Sweep(models, cross_entropy, SGD(groups, lr=1.0, momentum=0.9), batches)
    return [step.losses for step in islice(sweep, config.steps)]


def accuracy_of(model: MLP, images: data.Examples) -> float:
    """The accuracy; that of a guess where the network answers with something that is no number."""
    return CHANCE if math.isnan(right := accuracy(model, images)) else right


# `python -m lessons tune broken_runs` chooses the rate of the sound run, by mistakes on validation images.
TUNING = {"sound": grid(2**-9, 4)}
TUNING_SEEDS = range(1_000, 1_004)


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    train, validation, _ = load(config, seed)
    models = [network(config, Run(), seed) for _ in candidates]
    fit(config, seed, train, models, [*candidates])
    return [1 - accuracy_of(model, validation) for model in models]


# %%
# What we expect
# --------------
# Written before the run. A *claim* is what the notes state: the fault is repaired. A *limit* is a fault for which we
# expect the remedy to fail. A run is broken below a score of 0.9, and repaired if the remedy brings it to 0.9 or more.


def score(trials, name, tenths):
    """Accuracy above chance as a share of that of the sound run, for each seed."""
    return (trials[f"{name}/lowered {tenths} times/test"] - CHANCE) / (trials["sound/lowered 0 times/test"] - CHANCE)


def remedied(trials, name):
    """The score at the lowered rate that is best on validation images, for each seed."""
    lowered = TENTHS[1:]
    best = np.argmax([trials[f"{name}/lowered {tenths} times/validation"] for tenths in lowered], axis=0)
    return np.choose(best, [score(trials, name, tenths) for tenths in lowered])


def repaired(name, sign=1):
    """Does the remedy bring the score above 0.9, or, with the sign -1, leave it below?"""
    return lambda t: difference(sign * (remedied(t, name) - ENOUGH), margin=0.0)


ABOVE, BELOW = "score minus 0.9", "0.9 minus the score"

# fmt: off
PREDICTIONS = [
    claim("1.24", "sound", "The sound run comes over half of the way from guessing to no mistakes on unseen {data}.",
          lambda t: difference(t["sound/lowered 0 times/test"] - CHANCE, margin=0.45), of="accuracy above chance"),
    claim("1.24", "all broken", "The best of eight broken runs scores below 90 % of the sound run on unseen {data}.",
          lambda t: difference(ENOUGH - np.max([score(t, name, 0) for name in BROKEN], axis=0), margin=0.0), of=BELOW),
    claim("1.24", "30 times", "A rate 30 times too high, divided by ten up to three times, scores at least 90 % of the "
          "sound run on unseen {data}.", repaired("rate 30 times too high"), of=ABOVE),
    claim("1.24", "120 times", "A rate 120 times too high, divided by ten up to three times, scores at least 90 % of "
          "the sound run on unseen {data}.", repaired("rate 120 times too high"), of=ABOVE),
    claim("1.24", "500 times", "A rate 500 times too high, divided by ten up to three times, scores at least 90 % of "
          "the sound run on unseen {data}.", repaired("rate 500 times too high"), of=ABOVE),
    limit("1.24", "rate too low", "A rate 1,000 times too low, lowered further, scores below 90 % of the sound run on "
          "unseen {data}.", repaired("rate 1,000 times too low", sign=-1), of=BELOW, because="it only becomes lower"),
    limit("1.24", "weights zero", "First weights of zero, at a lower rate, score below 90 % of the sound run on unseen "
          "{data}.", repaired("all weights zero", sign=-1), of=BELOW, because="no rate moves what has no gradient"),
    limit("1.24", "dead units", "ReLUs that are never active, at a lower rate, score below 90 % of the sound run on "
          "unseen {data}.", repaired("ReLUs never active", sign=-1), of=BELOW, because="they have no gradient"),
    limit("1.24", "shuffled labels", "Labels in random order, at a lower rate, score below 90 % of the sound run on "
          "unseen {data}.", repaired("labels shuffled", sign=-1), of=BELOW, because="they do not depend on the images"),
    limit("1.24", "grey values", "Inputs from 0 to 255, at a lower rate, score below 90 % of the sound run on unseen "
          "{data}.", repaired("inputs of 0 to 255", sign=-1), of=BELOW, because="255² is far above 1,000"),
]

ANSWERS = [
    answer("1.24", "Yes, if the rate is 30 to 500 times too high: lowering it brings back over 90 % of a sound run's "
           "accuracy above chance. It repairs none of five other faults, from zero weights to shuffled labels.",
           given={"30 times": "supported", "120 times": "supported", "500 times": "supported",
                  "rate too low": "supported", "weights zero": "supported", "dead units": "supported",
                  "shuffled labels": "supported", "grey values": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# Above the thing itself, one seed's loss: of each fault as it is (red), and of the sound run (grey). Some explode. Then
# seven of eight look alike, near 2.3 nats (the unit of cross-entropy), the loss of a guess among ten (ln 10). Such a
# line does not tell what is wrong. Below a dot a seed: what becomes of each fault at lower rates. A rate that is too
# high gets above the line, and falls off again where it is lowered too far. The other five stay near a guess.


def figure(trials):
    drawing, config, seed = plt.figure(figsize=(14, 8)), trials.config, trials.seeds[0]
    above, below = drawing.subfigures(2, 1, squeeze=False).flat
    panels, train = above.subplots(2, 4, sharex=True, sharey=True).flat, load(config, seed).train
    for axes, (name, broken) in zip(panels, BROKEN.items(), strict=True):
        for color, run in (("0.6", Run()), ("C2", broken)):
            images, rate = images_of(run.images, train, shuffled_by=seed), run.rate * trials.tuned["sound"]
            axes.plot(fit(config, seed, images, [network(config, run, seed)], [rate]), color=color)
        axes.set(title=name, yscale="log", ylim=(0.1, 1_000))
    above.supxlabel("step", fontsize="medium")
    above.supylabel("loss of a batch (nats)", fontsize="medium")
    scores = below.subplots()
    for tenths, label in enumerate(("as it is", "rate / 10", "rate / 100", "rate / 1,000")):
        groups = {name.replace(" too", "\ntoo"): score(trials, name, tenths) for name in BROKEN}
        strips(scores, groups, color=f"C{tenths}", label=label, shift=0.2 * (tenths - 1.5), width=0.15)
    reference_line(scores, ENOUGH, "enough")
    scores.set(title="Score: 0 is guessing, 1 is the sound run")
    scores.legend()
    return drawing


# %%
# Try it yourself
# ---------------
# With only 50 steps, should a rate 30 times too high be divided by ten once, or twice? `python -m lessons run
# broken_runs --set steps=50 --seeds 1`. Does patience repair any of the other faults? `--set steps=1_000 --seeds 1`

if __name__ == "__main__":
    lesson.main("broken_runs")
