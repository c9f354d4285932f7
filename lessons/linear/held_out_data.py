"""
Training, validation and test data
==================================

**The question.** Why three sets? What goes wrong with two, or with one?

**What the notes say.** Data should be divided into three separate sets: one to train the model, one to validate the
choices made on the way, and one to test the final result (1.12).

**What is measured.** Each seed deals images out at random. A linear classifier is trained on 400 of them in 25 settings
(five learning rates, five strengths of an L2 penalty) and looked at four times on the way: 100 classifiers to choose
from. The 6,000 other images are the pool. The classifier that is best on 100 of them, the validation images, is then
tested on 1,000 more, and measured on all that are left, which stand for the truth. The pool is dealt out 100 times, and
the mean taken. The same is done with classifiers that only guess, one in ten right: all that a set says for one of them
is luck. *Re-use*: 1,000 guesses are put to one test set, and those that it finds better than chance vote. *Twins*: each
image is there twice before the dealing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise, product

import torch
from matplotlib import pyplot as plt
from torch import Generator, Tensor, nn

from dlnotes import data, lesson
from dlnotes.evidence import difference, identity, no_difference
from dlnotes.lesson import answer, claim, limit
from dlnotes.linear import SGD, LogisticClassifier, cross_entropy, split, train_classifier
from dlnotes.measuring import Measured
from dlnotes.randomness import streams
from dlnotes.sweeps import Sweep
from dlnotes.training import Minibatches, accuracy

# %%
# Settings
# --------


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
        if self.pool < max(self.validation, self.many) + self.test + 100 or self.pool < 2 * self.train:
            raise ValueError("the pool must leave 100 images beside validation and test, and be two training sets")
        if self.steps < LOOKS or self.steps % LOOKS:
            raise ValueError(f"steps must be a multiple of {LOOKS}, not {self.steps}")


LOOKS = 4  # times that each training is looked at, at equal distances
SETTINGS = tuple(product((0.03, 0.1, 0.3, 1.0, 3.0), (0.0, 1e-4, 1e-3, 1e-2, 1e-1)))  # learning rates and L2 penalties
TWO = (SETTINGS.index((0.3, 0.0)), SETTINGS.index((1.0, 0.0)))  # a rate and one of about three times as much
CHOICES = (1, 2, 5, 10, 20, 50, 100)  # how many classifiers there are to choose from
ASKED = (1, 3, 10, 30, 100, 300, 1_000)  # how many answers are combined that one set has judged
CLASSES = 10

QUICK = Config(train=200, pool=1_500, many=300, test=500, steps=40, deals=10)
SEEDS = range(16)

# %%
# One seed
# --------
# Everything is a table of who is right about what: a row for each classifier, a column for each image of the pool.


def trial(config: Config, seed: int) -> Measured:
    chance = streams(seed, "parts", "batches", "deals", "guesses", "twins")
    count = config.train + config.pool
    images = data.load(config.data, seed, train=count, validation=0, test=0, side=14, flat=True).train
    everything = *images, torch.arange(count)  # 196 pixels, class, number
    train, pool = split(everything, (config.train, config.pool), generator=chance["parts"])

    # Classifiers that learned something: the last 25 rows are the settings at the end of their training.
    models, trained = trained_on(config, train[:2], pool[:2], chance["batches"])
    two = trained[-len(SETTINGS) :][list(TWO)]

    # Classifiers that know nothing, and labels that are as good as any.
    guesses = torch.randint(CLASSES, (max(ASKED), config.pool), generator=chance["guesses"], dtype=torch.uint8)
    truth = torch.randint(CLASSES, (config.pool,), generator=chance["guesses"], dtype=torch.uint8)
    lucky = (guesses[: max(CHOICES)] == truth).float()

    measured: Measured = {
        "images shared by training and pool": float(torch.isin(pool[2], train[2]).sum()),
        "by heart/training accuracy": accuracy(models[TWO[1]], [part.to(config.device) for part in train[:2]]),
        "by heart/true accuracy": two[1].mean().item(),
    }
    for name, right, examples in (
        ("trained", trained, config.validation),
        ("guessing", lucky, config.validation),
        ("two settings", two, config.many),
    ):
        found = [winner(right, len(right), examples, config.test, chance["deals"]) for _ in range(config.deals)]
        for what, values in zip(("validation", "test", "truth"), zip(*found, strict=True), strict=True):
            measured[f"{name}/{what}"] = math.fsum(values) / config.deals
    for name, right in (("trained", trained), ("guessing", lucky)):
        measured[f"{name}/curve"] = [optimism(config, right, count, chance["deals"]) for count in CHOICES]
    return measured | asked_again(guesses, truth, config.test) | twins(config, pool, chance["twins"])


def trained_on(
    config: Config, train: Sequence[Tensor], pool: Sequence[Tensor], generator: Generator
) -> tuple[list[nn.Module], Tensor]:
    """All settings side by side: the classifiers at the end, and at each look who is right about what."""
    train, (inputs, labels) = [part.to(config.device) for part in train], [part.to(config.device) for part in pool]
    models: list[nn.Module] = [LogisticClassifier(196, CLASSES).to(config.device) for _ in SETTINGS]
    groups = [
        {"params": model.parameters(), "lr": lr, "weight_decay": penalty}
        for model, (lr, penalty) in zip(models, SETTINGS, strict=True)
    ]
    sweep = Sweep(models, cross_entropy, SGD(groups, lr=0.1), Minibatches(train, config.batch_size, generator))
    right = []
    for step in islice(sweep, config.steps):
        if step.number % (config.steps // LOOKS) == 0:
            with torch.no_grad():
                right += [(model(inputs).argmax(1) == labels).float().cpu() for model in models]
    return models, torch.stack(right)


def winner(right: Tensor, among: int, examples: int, test: int, generator: Generator) -> tuple[float, float, float]:
    """Deal the pool out, choose the best of some classifiers: its accuracy on validation, test, and what is left."""
    rows = torch.randperm(len(right), generator=generator)[:among]
    sizes = examples, test, right.shape[1] - examples - test
    (validation,), *others = split((torch.arange(right.shape[1]),), sizes, generator=generator)
    scores = right[rows[:, None], validation].mean(1)
    best = right[rows[scores.argmax()]]
    final, truth = (best[columns].mean().item() for (columns,) in others)
    return scores.amax().item(), final, truth


def optimism(config: Config, right: Tensor, among: int, generator: Generator) -> float:
    """How much too good the winner looks on the images that it was chosen on: the mean over many deals."""
    found = (winner(right, among, config.validation, config.test, generator) for _ in range(config.deals))
    return math.fsum(validation - truth for validation, _, truth in found) / config.deals


# %%
# Two ways to spoil a test
# ------------------------
# *Asking again.* Keep the guesses that the set finds better than chance, and let them vote (Blum & Hardt, 2015).
# Nothing is ever trained on the set: its scores alone give it away. *Twins.* The images are dealt out as ever, but each
# is there twice.


def asked_again(guesses: Tensor, truth: Tensor, examples: int) -> Measured:
    votes = torch.zeros(CLASSES, len(truth), dtype=torch.int64)
    good = (guesses == truth)[:, :examples].float().mean(1) > 1 / CLASSES
    scores: dict[str, list[float]] = {"asked": [], "fresh": []}
    for asked, more in pairwise((0, *ASKED)):
        kept = guesses[asked:more][good[asked:more]]
        votes += torch.stack([(kept == label).sum(0) for label in range(CLASSES)])
        right = (votes.argmax(0) == truth).float()
        scores["asked"].append(right[:examples].mean().item())
        scores["fresh"].append(right[examples:].mean().item())
    return {
        "re-use/score": scores["asked"][-1],
        "re-use/truth": scores["fresh"][-1],
        "re-use/score/curve": scores["asked"],
        "re-use/truth/curve": scores["fresh"],
    }


def twins(config: Config, pool: Sequence[Tensor], generator: Generator) -> Measured:
    twice = [torch.cat([part[: 2 * config.train]] * 2) for part in pool]
    train, test = split(twice, (config.train, 2 * config.train), generator=generator)
    model = LogisticClassifier(196, CLASSES).to(config.device)
    *learned, known = (part.to(config.device) for part in train)
    *unseen, asked = (part.to(config.device) for part in test)
    train_classifier(
        model,
        learned,
        generator=generator,
        steps=config.steps,
        batch_size=config.batch_size,
        lr=SETTINGS[TWO[1]][0],
        momentum=0.0,
    )
    has_twin = torch.isin(asked, known)
    return {
        "twins/share": has_twin.double().mean().item(),
        "twins/accuracy with": accuracy(model, [part[has_twin] for part in unseen]),
        "twins/accuracy without": accuracy(model, [part[~has_twin] for part in unseen]),
    }


# %%
# What we expect
# --------------
# One point of accuracy matters where a choice makes too much of what it chose: many a published gain is no larger.


def largest_luck(choices: int, examples: int) -> float:
    """√(2 ln M · p (1 - p) / n), for classifiers that guess."""
    chance = 1 / CLASSES
    return math.sqrt(2 * math.log(choices) * chance * (1 - chance) / examples)


# fmt: off
PREDICTIONS = [
    claim("1.12", "dealt out", "Dealt out by `split`, training images and the pool have none in common.",
          lambda t: identity(t["images shared by training and pool"], tolerance=0.0)),
    claim("1.12", "training set", "A linear classifier is over 5 points worse than it seems on its own {train} {data}.",
          lambda t: difference(t["by heart/training accuracy"] - t["by heart/true accuracy"], margin=0.05),
          arms=("training accuracy", "true accuracy"), of="training accuracy minus true accuracy"),
    claim("1.12", "best of many", "The best of 100 classifiers on {validation} {data} is over 1 point worse than it "
          "seems.",
          lambda t: difference(t["trained/validation"] - t["trained/truth"], margin=0.01),
          arms=("validation", "truth"), of="validation accuracy minus true accuracy"),
    claim("1.12", "best of guesses", "The best on {validation} {data} of 100 classifiers that guess is worse than it "
          "seems, by over half of √(2 ln M · p (1 - p) / n).",
          lambda t: difference(t["guessing/validation"] - t["guessing/truth"],
                               margin=largest_luck(max(CHOICES), t.config.validation) / 2),
          arms=("validation", "truth"), of="validation accuracy minus true accuracy",
          because="of M normal numbers the largest is √(2 ln M) deviations up, and an accuracy p by n examples has the "
          "deviation √(p (1 - p) / n)"),
    claim("1.12", "fair test", "Test images that chose nothing give the best on {validation} {data} its true accuracy, "
          "within half a point.",
          lambda t: no_difference(t["trained/test"] - t["trained/truth"], margin=0.005), arms=("test", "truth"),
          of="test accuracy minus true accuracy"),
    claim("1.12", "fair to guesses", "Test images that chose nothing give the best of 100 that guess an accuracy of 1 "
          "in 10, within half a point.",
          lambda t: no_difference(t["guessing/test"] - 1 / CLASSES, margin=0.005), of="test accuracy minus chance"),
    claim("1.12", "used up", "A set of {test:,} test labels that was asked about 1,000 guesses lifts the vote of the "
          "better ones by over 5 points.",
          lambda t: difference(t["re-use/score"] - t["re-use/truth"], margin=0.05), arms=("score", "truth"),
          of="score on the labels that were asked, minus that on others"),
    limit("1.12", "few choices", "The better of two settings on {many:,} {data} is what it seems, within half a point.",
          lambda t: no_difference(t["two settings/validation"] - t["two settings/truth"], margin=0.005),
          arms=("validation", "truth"), of="validation accuracy minus true accuracy",
          because="two independent accuracies of 0.8 would give √(p (1 - p) / (π n)), half a point, and the two agree "
          "on most images"),
    limit("1.12", "twins", "A classifier is right over 5 points more often about test {data} that have a twin in "
          "training.",
          lambda t: difference(t["twins/accuracy with"] - t["twins/accuracy without"], margin=0.05),
          arms=("accuracy with", "accuracy without"), of="accuracy with a twin minus accuracy without",
          because="a classifier that knows its training images by heart knows the twin's answer"),
]

ANSWERS = [
    answer("1.12", "Yes. On its own {train} {data} a classifier seems {training set:points} points better than it "
           "is, the best of 100 on {validation} validation {data} {best of many:points} points; test {data} that "
           "chose nothing are fair. Where choices are few and images many, validation is fair too. Dealing out does "
           "not help against twins.",
           given={"training set": "supported", "best of many": "supported", "fair test": "supported",
                  "few choices": "supported", "twins": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left, choosing costs less among classifiers that learned than among those that guess: they are right and wrong
# about the same images, and some are so much worse than others that luck does not lift them to the top. But it is not
# free, and it grows with each further idea that is tried. On the right, nothing was trained on the test labels, and yet
# they are used up: each answer of the form "better than chance" gives a little of them away.


def figure(trials):
    config = trials.config
    drawing, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    for color, marker, name, words in (("C0", "o", "guessing", "that guess"), ("C1", "s", "trained", "that learned")):
        curves = 100 * trials[f"{name}/curve"]
        left.plot(CHOICES, curves.T, color=color, linewidth=0.5, alpha=0.3)
        left.plot(CHOICES, curves.mean(0), color=color, marker=marker, label=f"classifiers {words}")
    bound = [100 * largest_luck(count, config.validation) for count in CHOICES]
    left.plot(CHOICES, bound, color="0.4", linestyle=":", label="√(2 ln M · p (1 - p) / n), guessing")
    left.set_xscale("log")
    left.set_xticks(CHOICES, [f"{count:,}" for count in CHOICES])
    left.minorticks_off()
    left.set_title(f"The best of M on {config.validation} validation images")
    left.set_xlabel("M, classifiers to choose from")
    left.set_ylabel("validation accuracy minus truth (points)")
    left.legend()

    for color, marker, name, words in (
        ("C2", "o", "score", f"on the {config.test:,} labels that were asked"),
        ("C3", "s", "truth", "on labels that were not"),
    ):
        curves = 100 * trials[f"re-use/{name}/curve"]
        right.plot(ASKED, curves.T, color=color, linewidth=0.5, alpha=0.3)
        right.plot(ASKED, curves.mean(0), color=color, marker=marker, label=words)
    right.axhline(100 / CLASSES, color="0.4", linestyle=":", label="chance")
    right.set_xscale("log")
    right.set_xticks(ASKED, [f"{count:,}" for count in ASKED])
    right.minorticks_off()
    right.set_title("A vote of the guesses that one test set found good")
    right.set_xlabel("guesses that the test set was asked about")
    right.set_ylabel("accuracy of the vote (%)")
    right.legend()
    return drawing


# %%
# Run it
# ------

if __name__ == "__main__":
    lesson.main("held_out_data")
