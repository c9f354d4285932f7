"""
Why do we need a validation set and a test set?
===============================================

Ask students the questions that they practised with, and you measure memory. Give a hundred of them one short exam and
pick the best, and you measure luck, too. So the course notes (row 1.12) divide the data of a model into three sets. ::

    training set       the model learns from it               it may know these by heart, and seems too good
    validation set     the best of several models is chosen   the best one was lucky, too, and seems too good
    test set           looked at once, at the end             fair

How much luck is in a choice? Take two models that guess, each right half of the time, and two validation images. One
model gets 0, 1 or 2 right in 1/4, 1/2 and 1/4 of all cases; the better of the two in 1/4 · 1/4 = 1/16 (both get none),
8/16 and 7/16. So on average it gets (8 × 1 + 7 × 2) / 16 = 1.375 of 2 images right, or 69 %; on other images 50 %. Luck
gives it 19 percentage points. On n images it gives the best of M models, right with probability p, at most about ::

    √(2 ln M · p (1 - p) / n)                                 M = 100, p = 0.1, n = 100:   9.1 points

Luck grows with the choices, slowly, and shrinks with the images. Where is it so small that a test set can be spared?
And can a test set be spoiled, by asking it again and again, or by pictures that are in the data twice?
"""

import math
from dataclasses import dataclass
from itertools import islice, product

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Generator, Tensor, nn

from dlnotes import data, lesson
from dlnotes.evidence import difference, identity, no_difference
from dlnotes.lesson import answer, claim, curves, limit, reference_line, strips
from dlnotes.linear import SGD, LogisticClassifier, cross_entropy, split, train_classifier
from dlnotes.measuring import Measured
from dlnotes.randomness import stream, streams
from dlnotes.sweeps import Sweep
from dlnotes.training import Minibatches, accuracy

# %%
# The experiment
# --------------
# A *seed* draws letters, A to J of 14 × 14 pixels: 400 to train on, and a pool of 6,000. A linear classifier is trained
# in 25 settings (five learning rates, five penalties on large weights). We look at each four times on the way, and so
# have 100 models. The pool is dealt out 100 times into 100 validation images, by which the best model is chosen, 1,000
# test images, and the rest, which stands for the truth. The *arms* are its accuracies (shares named right) on these. We
# do the same with 100 models that guess, and with two settings on 2,000 validation images. *Re-use*: of 1,000 guessers,
# those that beat chance on a test set vote (Blum & Hardt, 2015). *Twins*: images are doubled before they are dealt out.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, mnist, not_mnist
    train: int = 400  # training images
    pool: int = 6_000  # images that are dealt out into validation, test and the rest
    validation: int = 100  # images that a choice is made on
    many: int = 2_000  # validation images where they are many
    test: int = 1_000  # images that the winner is tested on
    deals: int = 100  # times that the pool is dealt out
    steps: int = 320  # training steps
    batch_size: int = 100  # images a step
    device: str = "cpu"  # of the training

    def __post_init__(self) -> None:
        if self.pool < max(max(self.validation, self.many) + self.test + 100, 2 * self.train):
            raise ValueError("the pool must leave 100 images beside validation and test, and be two training sets")
        if self.steps < LOOKS or self.steps % LOOKS:
            raise ValueError(f"steps must be a multiple of {LOOKS}, not {self.steps}")


LOOKS = 4  # times that each training is looked at, at equal distances
SETTINGS = tuple(product((0.03, 0.1, 0.3, 1.0, 3.0), (0.0, 1e-4, 1e-3, 1e-2, 1e-1)))  # learning rates and L2 penalties
TWO = (SETTINGS.index((0.3, 0.0)), SETTINGS.index((1.0, 0.0)))  # a rate and one of about three times as much
CHOICES = (1, 2, 5, 10, 20, 50, 100)  # how many classifiers there are to choose from
ASKED = 1_000  # guesses that one test set scores
CLASSES = 10
Images = tuple[Tensor, ...]
QUICK = Config(train=200, pool=1_500, many=300, test=500, steps=40, deals=10)
SEEDS = range(16)


def trial(config: Config, seed: int) -> Measured:
    """Works on tables of who is right about what: a row for each classifier, a column for each image of the pool."""
    generators = streams(seed, "parts", "batches", "deals", "guesses", "twins")
    images = data.load(config.data, seed, train=config.train + config.pool, validation=0, test=0, side=14, flat=True)
    numbered = *images.train, torch.arange(config.train + config.pool)  # 196 pixels, class, number
    train, pool = split(numbered, (config.train, config.pool), generator=generators["parts"])
    models, trained = trained_on(config, train[:2], pool[:2], generators["batches"])
    two = trained[-len(SETTINGS) :][list(TWO)]  # the last rows are the settings at the end of their training
    guesses = torch.randint(CLASSES, (ASKED, config.pool), generator=generators["guesses"], dtype=torch.uint8)
    truth = torch.randint(CLASSES, (config.pool,), generator=generators["guesses"], dtype=torch.uint8)
    guessing = (guesses[: max(CHOICES)] == truth).float()
    measured: Measured = {
        "images shared by training and pool": float(torch.isin(pool[2], train[2]).sum()),
        "by heart/training accuracy": accuracy(models[TWO[1]], [part.to(config.device) for part in train[:2]]),
        "by heart/true accuracy": two[1].mean().item(),
    }
    tables = {"trained": (trained, config.validation), "guessing": (guessing, config.validation)}
    for name, (right, examples) in (tables | {"two settings": (two, config.many)}).items():
        deals = winners(config, right, len(right), examples, generators["deals"])
        for what, values in zip(("validation", "test", "truth"), zip(*deals, strict=True), strict=True):
            measured[f"{name}/{what}"] = math.fsum(values) / config.deals
    for name, (right, examples) in tables.items():
        several = [winners(config, right, among, examples, generators["deals"]) for among in CHOICES]
        measured[f"{name}/curve"] = [math.fsum(seen - true for seen, _, true in one) / config.deals for one in several]
    return measured | asked_again(guesses, truth, config.test) | twins(config, pool, generators["twins"])


def trained_on(config: Config, train: Images, pool: Images, generator: Generator) -> tuple[list[nn.Module], Tensor]:
    """All settings side by side: the classifiers at the end, and at each look who is right about what."""
    examples, (inputs, labels) = ([part.to(config.device) for part in parts] for parts in (train, pool))
    models: list[nn.Module] = [LogisticClassifier(196, CLASSES).to(config.device) for _ in SETTINGS]
    each = zip(models, SETTINGS, strict=True)
    groups = [{"params": model.parameters(), "lr": lr, "weight_decay": penalty} for model, (lr, penalty) in each]
    sweep = Sweep(models, cross_entropy, SGD(groups, lr=0.1), Minibatches(examples, config.batch_size, generator))
    right = []
    for step in islice(sweep, config.steps):
        if step.number % (config.steps // LOOKS) == 0:
            with torch.no_grad():
                right += [(model(inputs).argmax(1) == labels).float().cpu() for model in models]
    return models, torch.stack(right)


def winners(config: Config, right: Tensor, among: int, examples: int, generator: Generator) -> list[list[float]]:
    """In each deal, the accuracies of the best of some classifiers: on validation, test, and what is left."""
    sizes, found = (examples, config.test, right.shape[1] - examples - config.test), []
    for _ in range(config.deals):
        rows = torch.randperm(len(right), generator=generator)[:among]
        (validation,), *others = split((torch.arange(right.shape[1]),), sizes, generator=generator)
        scores = right[rows[:, None], validation].mean(1)
        best = right[rows[scores.argmax()]]
        found.append([scores.amax().item(), *(best[columns].mean().item() for (columns,) in others)])
    return found


def asked_again(guesses: Tensor, truth: Tensor, examples: int) -> Measured:
    """The accuracy of a vote of the guesses that beat chance on some labels: on these, and on others."""
    good = guesses[(guesses == truth)[:, :examples].float().mean(1) > 1 / CLASSES]
    votes = torch.stack([(good == label).sum(0) for label in range(CLASSES)])
    right = (votes.argmax(0) == truth).float()
    return {"re-use/score": right[:examples].mean().item(), "re-use/truth": right[examples:].mean().item()}


def twins(config: Config, pool: Images, generator: Generator) -> Measured:
    """The accuracy on test images that have a twin in training, and on those that have none."""
    twice = [torch.cat([part[: 2 * config.train]] * 2) for part in pool]
    train, test = split(twice, (config.train, 2 * config.train), generator=generator)
    (*examples, known), (*unseen, asked) = ([part.to(config.device) for part in parts] for parts in (train, test))
    model = LogisticClassifier(196, CLASSES).to(config.device)
    steps, size, lr = config.steps, config.batch_size, SETTINGS[TWO[1]][0]
    train_classifier(model, examples, generator=generator, steps=steps, batch_size=size, lr=lr, momentum=0.0)
    twin = torch.isin(asked, known)
    return {
        "twins/share": twin.double().mean().item(),
        "twins/accuracy with": accuracy(model, [part[twin] for part in unseen]),
        "twins/accuracy without": accuracy(model, [part[~twin] for part in unseen]),
    }


# %%
# What we expect
# --------------
# Written before the run. A *claim* is the notes' advice in one setting, a *limit* a setting where it is not needed or
# does not help. The *margin* is the least that matters: for a choice one point, as many a published gain is no larger.

# fmt: off
PREDICTIONS = [
    claim("1.12", "dealt out", "Dealt out by `split`, training images and the pool have none in common.",
          lambda t: identity(t["images shared by training and pool"], tolerance=0.0)),
    claim("1.12", "training set", "A classifier is over 5 points worse than it seems on its {train} training {data}.",
          lambda t: difference(t["by heart/training accuracy"] - t["by heart/true accuracy"], margin=0.05),
          arms=("training accuracy", "true accuracy"), of="training accuracy minus true accuracy"),
    claim("1.12", "best of many", "The best of 100 models on {validation} {data} is over 1 point worse than it seems.",
          lambda t: difference(t["trained/validation"] - t["trained/truth"], margin=0.01),
          arms=("validation", "truth"), of="validation accuracy minus true accuracy"),
    claim("1.12", "best of guesses", "The best on {validation} {data} of 100 classifiers that guess is worse than it "
          "seems, by over half of √(2 ln 100 · 0.1 · 0.9 / {validation}).",
          lambda t: difference(t["guessing/validation"] - t["guessing/truth"],
                               margin=math.sqrt(2 * math.log(max(CHOICES)) * 0.1 * 0.9 / t.config.validation) / 2),
          arms=("validation", "truth"), of="validation accuracy minus true accuracy"),
    claim("1.12", "fair test", "Test {data} give the best of 100 models its true accuracy, within half a point.",
          lambda t: no_difference(t["trained/test"] - t["trained/truth"], margin=0.005),
          arms=("test", "truth"), of="test accuracy minus true accuracy"),
    claim("1.12", "fair to guesses", "On test images the best of 100 that guess is right on 10 %, within half a point.",
          lambda t: no_difference(t["guessing/test"] - 1 / CLASSES, margin=0.005), of="test accuracy minus chance"),
    claim("1.12", "used up", "Of 1,000 models that guess, those that beat chance on {test:,} labels vote: the vote is "
          "over 5 points worse than it seems on these labels.",
          lambda t: difference(t["re-use/score"] - t["re-use/truth"], margin=0.05),
          arms=("score", "truth"), of="score on the labels that were asked, minus that on others"),
    limit("1.12", "few choices", "The better of two models on {many:,} {data} is what it seems, within half a point.",
          lambda t: no_difference(t["two settings/validation"] - t["two settings/truth"], margin=0.005),
          arms=("validation", "truth"), of="validation accuracy minus true accuracy"),
    limit("1.12", "twins", "A classifier is right over 5 points more often on test {data} with a twin in training.",
          lambda t: difference(t["twins/accuracy with"] - t["twins/accuracy without"], margin=0.05),
          arms=("accuracy with", "accuracy without"), of="accuracy with a twin minus accuracy without"),
]

ANSWERS = [
    answer("1.12", "Yes: accuracy is {training set:points} points too high on training {data}, {best of many:points} "
           "on those that chose the best of 100 models. On test {data} it is fair, unless training has copies of them.",
           given={"training set": "supported", "best of many": "supported", "fair test": "supported",
                  "twins": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left luck itself: 100 classifiers that guess. Each is right about a tenth of all images, but on 100 validation
# images some seem much better (right of the dotted line), and the best one is chosen (ringed). In the middle this luck
# grows with the choice. Classifiers that learned have less of it: they are right about the same images, and some are
# too bad to be lifted to the top. On the right a dot a seed, for each prediction that compares what seems with what is.
# Near zero are only test images that were asked once (*fair test*), and one of two on many images (*few choices*).


def figure(trials):
    config, (drawing, (luck, middle, right)) = trials.config, plt.subplots(1, 3, figsize=(15, 4.4))
    table = 100.0 * (torch.rand(100, config.pool, generator=stream(trials.seeds[0], "guesses")) < 0.1)
    seems, true = table[:, : config.validation].mean(1), table[:, config.validation :].mean(1)
    luck.plot(seems, true, "o", alpha=0.6)
    luck.plot(seems.max(), true[seems.argmax()], "o", color="C2", markersize=14, markerfacecolor="none")
    luck.axline((10, 10), slope=1, color="0.4", linestyle=":")
    luck.set(title="100 classifiers that guess", xlabel=f"accuracy on {config.validation} validation images (%)")
    luck.set(ylabel="accuracy on all others (%)", xlim=(0, 20), ylim=(0, 20))
    for color, name, words in (("C0", "guessing", "guess"), ("C1", "trained", "learned")):
        curves(middle, CHOICES, 100 * trials[f"{name}/curve"], label=f"classifiers that {words}", color=color)
    middle.plot(CHOICES, 100 * np.sqrt(0.18 * np.log(CHOICES) / config.validation), "--", color="0.4", label="formula")
    middle.set(title="How much too good the best of M seems", xlabel="M, classifiers to choose from", ylabel="% points")
    middle.set(xscale="log", xticks=CHOICES, xticklabels=CHOICES)
    middle.minorticks_off()
    middle.legend()
    compared = {"\n".join(one.name.rsplit(" ", 1)): one.judge(trials).seeds for one in PREDICTIONS if one.arms}
    strips(right, {words: 100 * np.array(points) for words, points in compared.items()})
    reference_line(right, 0, "fair")
    right.set(title="How much too good each seems", ylabel="% points")
    return drawing


# %%
# Try it yourself
# ---------------
# Choose on 1,000 validation images in place of 100. Will the luck of the best of 100 shrink to a tenth, or to more, or
# less? `python -m lessons run held_out_data --set validation=1000 --seeds 2`. Train on 2,000 letters in place of 400:
# will the accuracy on these be higher than it was on the 400, or lower? `--set train=2000 --seeds 2`

if __name__ == "__main__":
    lesson.main("held_out_data")
