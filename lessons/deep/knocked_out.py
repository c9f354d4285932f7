"""
Does dropout make hidden units redundant?
=========================================

Where one clerk alone knows how a thing is done, the office stops when that clerk falls ill. Where each day a random
half of the clerks stays at home, several have to know it. Dropout treats the hidden units of a network like that: at
each step of training it sets a random half of them to zero. As any of them may vanish, say the course notes (row 2.10),
a network cannot depend on a particular one and has to become *redundant*: to know things more than once.

Let four hidden units fire 1 each. The answer is A if the score of A, a weighted sum of them, is above 1, the score
of B. Now two of the four are lost; the other two are doubled, so that the sum stays what it was on average. ::

    weights of A        with all four        with two, in the 6 ways to choose them
    4  0  0  0          4                    8 in three ways, 0 in the other three: right in half of the cases
    1  1  1  1          4                    4: right in all

The second network is redundant. That shows even if nobody knows the right answer: cut the units into two halves,
and let each half answer alone. In the first network one half says A and the other B. In the second both say the same.

Redundant units need not be copies, which rise and fall together. Make each image a point, with the activations as its
coordinates. Copies spread these points in few directions. The variances λ (lambda) along the main directions are the
eigenvalues of the covariance, and they tell how many directions are in use: ::

    effective rank = (Σλ)² / Σλ²        λ = 4, 0:  16 / 16 = 1        λ = 4, 1:  25 / 17 = 1.5        λ = 4, 4:  2
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor

from dlnotes import data, lesson, linear
from dlnotes.data import Examples
from dlnotes.deep import MLP
from dlnotes.evidence import difference, ratio
from dlnotes.lesson import answer, claim, curves, limit, reference_line, strips
from dlnotes.linear import SGD, cross_entropy
from dlnotes.measuring import Measured, Tuned, grid, train_for
from dlnotes.randomness import stream
from dlnotes.training import Minibatches, Trainer, accuracy, evaluate

# %%
# The experiment
# --------------
# A *seed* is a number that all random draws start from: images of 14 × 14 pixels, first weights, the order in which
# units are lost. Two networks train on the images, the *arms*: one with dropout of 0.5 and one without. All else is the
# same, but for the learning rate: each has the one that was best for it on other seeds. After training we set more and
# more hidden units to zero, the same ones in both arms, and scale up the others. *Accuracy* is the share of unseen
# images (for letters, of typefaces that training never saw) that is right.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 2_000  # training images
    validation: int = 1_000  # images that rates are chosen by
    test: int = 2_000  # unseen images
    width: int = 256  # hidden units
    steps: int = 1_500  # steps of each network
    batch_size: int = 64  # images a step
    draws: int = 10  # random orders in which units are lost


QUICK = Config(train=200, validation=100, test=200, width=32, steps=50, draws=2)
SEEDS = range(16)
ARMS = {"none": 0.0, "dropout": 0.5}  # the probability with which a hidden activation is dropped
LOST = tuple(tenths / 10 for tenths in range(10))  # the share of units that is set to zero


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    train, _, test = load(config, seed)
    orders = orders_of_loss(config, seed)
    measured: Measured = {}
    for arm, p in ARMS.items():
        model = trained(config, seed, train, p=p, lr=tuned[arm]).eval()
        units = model.layers[0](test.inputs).relu().detach()  # what each hidden unit gives for each image
        measured[f"{arm}/accuracy"] = accuracy(model, test)
        measured[f"{arm}/accuracy by units lost"] = [accuracy_left(model, units, test.targets, orders, q) for q in LOST]
        measured[f"{arm}/halves agree"] = halves_agree(model, units, orders)
        measured[f"{arm}/effective rank"] = effective_rank(units)
    return measured


def load(config: Config, seed: int) -> data.Parts:
    counts = {"train": config.train, "validation": config.validation, "test": config.test}
    return data.load(config.data, seed, **counts, side=14, flat=True)


def trained(config: Config, seed: int, train: Examples, *, p: float, lr: float) -> MLP:
    """A network after its steps, at a rate that falls to zero along half a cosine wave."""
    first_weights, masks = stream(seed, "first weights"), stream(seed, "masks")
    model = MLP([196, config.width, 10], generator=first_weights, dropout=p, masks=masks)
    optimizer = SGD(model.parameters(), lr=lr, momentum=0.9)
    batches = Minibatches(train, config.batch_size, stream(seed, "batches"))
    scheduler = linear.cosine_decay(optimizer, config.steps)
    train_for(Trainer(model, cross_entropy, optimizer, batches, scheduler=scheduler), config.steps)
    return model


def orders_of_loss(config: Config, seed: int) -> list[Tensor]:
    """Random orders of the hidden units: the first are the first to be lost."""
    generator = stream(seed, "units lost")
    return [torch.randperm(config.width, generator=generator) for _ in range(config.draws)]


@torch.no_grad()
def answers(model: MLP, units: Tensor, left: Tensor) -> Tensor:
    """The classes (N) that the network names with these hidden units alone, scaled to stand for all."""
    mask = torch.zeros(units.shape[1])
    mask[left] = units.shape[1] / len(left)
    return model.layers[1](units * mask).argmax(1)


def accuracy_left(model: MLP, units: Tensor, targets: Tensor, orders: list[Tensor], q: float) -> float:
    """The accuracy when the share q of the hidden units is lost, as a mean over the orders in which they may be."""
    right = [answers(model, units, order[round(q * len(order)) :]) == targets for order in orders]
    return torch.stack(right).double().mean().item()


def halves_agree(model: MLP, units: Tensor, orders: list[Tensor]) -> float:
    """How often one random half of the hidden units puts an image into the same class as the other half."""
    halves = [(order[: len(order) // 2], order[len(order) // 2 :]) for order in orders]
    same = [answers(model, units, one) == answers(model, units, other) for one, other in halves]
    return torch.stack(same).double().mean().item()


def effective_rank(units: Tensor) -> float:
    """(Σλ)² / Σλ² of the eigenvalues of the covariance: in how many directions the hidden units vary, in effect."""
    covariance = torch.cov(units.double().T)
    return (covariance.trace() ** 2 / covariance.square().sum()).item()


# The rates are chosen by `python -m lessons tune knocked_out`: of the same eight, by the loss on validation images.
TUNING = dict.fromkeys(ARMS, grid(0.004, 0.512))
TUNING_SEEDS = range(1_000, 1_004)


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    train, validation, _ = load(config, seed)
    models = (trained(config, seed, train, p=ARMS[arm], lr=lr) for lr in candidates)
    return [evaluate(model, validation, cross_entropy) for model in models]


# %%
# What we expect
# --------------
# Written before the run. A *claim* is the notes' statement in one setting, a *limit* what should not follow from it.
# The *margin*, the smallest difference that matters, is 2 points: 2 of 100 images. For directions, any increase counts.


def mean_over_shares(by_share):
    """The area under each curve over the shares of lost units, by trapezoids, as a share of the whole width."""
    return np.trapezoid(by_share, LOST, axis=1) / LOST[-1]


def fall(t, arm):
    """The accuracy that each share of lost units costs, (seeds, shares)."""
    by_share = t[f"{arm}/accuracy by units lost"]
    return by_share[:, :1] - by_share


# fmt: off
PREDICTIONS = [
    claim("2.10", "mean accuracy", "Mean accuracy on {data} with up to nine tenths of the hidden units lost is over 2 "
          "points higher with dropout.",
          lambda t: difference(mean_over_shares(t["dropout/accuracy by units lost"])
                               - mean_over_shares(t["none/accuracy by units lost"]), margin=0.02),
          arms=("dropout", "none"), of="mean accuracy with dropout minus without"),
    claim("2.10", "falls less", "Accuracy on {data} falls by over 2 points less with dropout, averaged over the shares "
          "of lost units.",
          lambda t: difference(mean_over_shares(fall(t, "none")) - mean_over_shares(fall(t, "dropout")), margin=0.02),
          arms=ARMS, of="mean fall without dropout minus that with", because="else it was merely ahead at the start"),
    claim("2.10", "halves agree", "With dropout two halves of the units agree on over 2 points more of unseen {data}.",
          lambda t: difference(t["dropout/halves agree"] - t["none/halves agree"], margin=0.02),
          arms=("dropout", "none"), of="share on which the halves agree, with dropout minus without"),
    limit("2.10", "more directions", "Hidden units vary in more directions with dropout on {data}, and not in fewer.",
          lambda t: ratio(t["dropout/effective rank"], t["none/effective rank"], margin=1.0),
          arms=("dropout", "none"), of="effective rank with dropout over that without", because="seen in a trial run"),
]

ANSWERS = [
    answer("2.10", "Yes: with dropout two halves of the hidden units, each alone, agree on {halves agree:points} "
           "points more of unseen {data}. Units are no copies: they vary in {more directions} times the directions.",
           given={"mean accuracy": "supported", "halves agree": "supported", "more directions": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left the thing itself: a letter that shows the difference, and the hidden units of two networks (trained
# briefly) that see it: a square each, the darker the more it fires. Half of them are lost (blue), then the other half;
# above stands the answer. Next to it more and more units are lost, a thin line a seed: without dropout accuracy falls
# from the first units on; with it the line stays nearly level until half are lost, as in training. Then, a dot a seed:
# with dropout two halves agree on more images, and the units vary in about ten directions, not eight. The arms differ
# in their best learning rate, too: dropout alone need not be the cause.


def figure(trials):
    drawing, (shown, by_share, agreement, directions) = plt.subplots(1, 4, figsize=(15, 4), width_ratios=[5, 5, 3, 3])
    show_halves(shown, replace(trials.config, steps=min(trials.config.steps, 300)), trials.seeds[0])
    shown.set_title("One half of the units, and the other")
    for color, (arm, p) in zip(("C0", "C1"), ARMS.items(), strict=True):
        curves(by_share, LOST, 100 * trials[f"{arm}/accuracy by units lost"], label=f"dropout {p:g}", color=color)
    reference_line(by_share, 10, "guess")
    by_share.set(title="Accuracy without some of the units", ylim=(0, 100), ylabel=f"% of unseen {trials.config.data}")
    by_share.set_xlabel("share of hidden units lost")
    by_share.legend(loc="lower left", bbox_to_anchor=(0, 0.1))
    strips(agreement, {f"dropout {p:g}": 100 * trials[f"{arm}/halves agree"] for arm, p in ARMS.items()})
    agreement.set(title="Two halves agree", ylabel=f"% of unseen {trials.config.data}", ylim=(0, 100))
    strips(directions, {f"dropout {p:g}": trials[f"{arm}/effective rank"] for arm, p in ARMS.items()})
    directions.set(title="Directions in use", ylabel="effective rank", ylim=(0, None))
    return drawing


def show_halves(axes, config, seed):
    """What each half of the units of two networks fires and answers, at an image where those of the first differ."""
    train, _, test = load(config, seed)
    order, side = orders_of_loss(config, seed)[0], math.isqrt(config.width)
    halves = order[: config.width // 2], order[config.width // 2 :]
    models = [trained(config, seed, train, p=p, lr=0.064).eval() for p in ARMS.values()]
    fired = [model.layers[0](test.inputs).relu().detach() for model in models]
    said = torch.stack([answers(models[row], fired[row], half) for row in (0, 1) for half in halves]).view(2, 2, -1)
    image = ((said[0, 0] != said[0, 1]) & (said[1] == test.targets).all(0)).int().argmax()
    for row, p in enumerate(ARMS.values()):
        places = [[column / 3, 0.51 - 0.51 * row, 0.31, 0.42] for column in range(3)]
        cells = [axes.inset_axes(place, frame_on=False, xticks=[], yticks=[]) for place in places]
        cells[0].imshow(test.inputs[image].view(14, 14).numpy(), cmap="Greys")
        cells[0].set_title(f"dropout {p:g}", loc="center", fontsize="small")
        for cell, half, answer_of_half in zip(cells[1:], halves, said[row, :, image], strict=True):
            left = np.full(config.width, math.nan)
            left[half] = fired[row][image, half]
            cell.imshow(left[: side**2].reshape(side, side), cmap=plt.get_cmap("Greys").with_extremes(bad="#cfe2f7"))
            cell.set_title(f"answer: {'ABCDEFGHIJ'[answer_of_half]}", loc="center", fontsize="small")
    axes.axis("off")


# %%
# Try it yourself
# ---------------
# Give the networks 32 hidden units, an eighth. Can so few know everything twice? Which arm will be the better one with
# all its units, and how often will two halves agree? `python -m lessons run knocked_out --set width=32 --seeds 1`

if __name__ == "__main__":
    lesson.main("knocked_out")
