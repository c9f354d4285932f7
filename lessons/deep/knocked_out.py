"""
Dropout and lost units
======================

**The question.** Does dropout make a network keep what it knows in more than one place, and is it sturdier for it?

**What the notes say.** As any activation may vanish under dropout, a network cannot depend on a particular one and has
to learn redundant representations (2.10). A network trained with dropout is more robust (2.11).

**What is measured.** A network of one hidden layer of 256 units learns 2,000 images in 1,500 steps of SGD with
momentum 0.9, with dropout of 0.5 on that layer and without: the same first weights, images and batches, and each arm
at its own best rate from the same grid. Then, without any further training, a random share q of the hidden units is set
to zero, the same units in both arms and the same for all images, and what is left is scaled by 1 / (1 - q): accuracy
on 2,000 unseen images (letters are of typefaces that training never saw), for q from 0 to 0.9, over ten orders of loss.
*Redundancy* is what survives that; how often two disjoint halves of the hidden units put an image into the same class;
and, if redundant means that units vary together, in how few directions they do: the effective rank of their covariance.
*Robustness* is asked for three times, each as accuracy lost: to half of the units being zeroed; to Gaussian noise of
deviation 0.3 on the pixels, which go from 0 to 1; to the fast gradient sign method, which moves each pixel by 0.03 to
the side where the loss grows.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor

from dlnotes import data, lesson, linear
from dlnotes.data import Examples
from dlnotes.deep import MLP
from dlnotes.evidence import difference, no_difference, ratio
from dlnotes.lesson import answer, claim, limit
from dlnotes.linear import SGD, cross_entropy
from dlnotes.measuring import Measured, Tuned, train_for
from dlnotes.randomness import stream
from dlnotes.training import DivergedError, Minibatches, Trainer, accuracy, evaluate

# %%
# Settings
# --------


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 2_000  # training images
    validation: int = 1_000  # images that rates are chosen by
    test: int = 2_000  # test images: for letters, of typefaces that training never saw
    width: int = 256  # hidden units
    steps: int = 1_500  # steps of each network
    batch_size: int = 64  # examples a step
    draws: int = 10  # random orders in which units are lost
    noise: float = 0.3  # deviation of the noise that is added to each pixel
    attack: float = 0.03  # what the fast gradient sign method adds to each pixel, or takes from it

    def __post_init__(self) -> None:
        if self.width < 10 or self.draws < 1:
            raise ValueError("width must be 10 or more, and draws 1 or more")


QUICK = Config(train=200, validation=100, test=200, width=32, steps=50, draws=2)
SEEDS = range(16)

ARMS = {"none": 0.0, "dropout": 0.5}  # the probability with which a hidden activation is dropped
LOST = tuple(tenths / 10 for tenths in range(10))  # the share of units that are set to zero

# %%
# One seed
# --------
# Both arms have the same first weights, images and batches, and lose the same units.


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    train, _, test = data.load(
        config.data, seed, train=config.train, validation=0, test=config.test, side=14, flat=True
    )
    orders = loss_orders(config, seed)
    noise = config.noise * torch.randn(test.inputs.shape, generator=stream(seed, "noise"))
    measured: Measured = {}
    for arm, p in ARMS.items():
        model = trained(config, seed, train, p=p, lr=tuned[arm]).eval()
        measured[f"{arm}/accuracy"] = accuracy(model, test)
        measured[f"{arm}/training accuracy"] = accuracy(model, train)
        measured[f"{arm}/accuracy by units lost"] = [knocked_out(model, test, orders, lost) for lost in LOST]
        measured[f"{arm}/halves agree"] = halves_agree(model, test.inputs, orders)
        measured[f"{arm}/effective rank"] = effective_rank(hidden(model, test.inputs))
        measured[f"{arm}/accuracy under noise"] = accuracy(model, Examples(test.inputs + noise, test.targets))
        measured[f"{arm}/accuracy under attack"] = accuracy(model, attacked(model, test, config.attack))
    return measured


def trained(config: Config, seed: int, train: Examples, *, p: float, lr: float) -> MLP:
    """A network after its steps, at a rate that falls to zero along half a cosine wave."""
    widths = [train.inputs.shape[1], config.width, 10]
    model = MLP(widths, generator=stream(seed, "first weights"), dropout=p, masks=stream(seed, "masks"))
    optimizer = SGD(model.parameters(), lr=lr, momentum=0.9)
    batches = Minibatches(train, config.batch_size, stream(seed, "batches"))
    scheduler = linear.cosine_decay(optimizer, config.steps)
    train_for(Trainer(model, cross_entropy, optimizer, batches, scheduler=scheduler), config.steps)
    return model


# %%
# Units that are lost
# -------------------
# Those that are left are scaled by 1 / (1 - q), as dropout does in training: what the last layer is given keeps its
# mean. Else its sums would shrink against its biases, and a network would suffer from that beside its loss.


def loss_orders(config: Config, seed: int) -> list[Tensor]:
    """Random orders of the hidden units: the first are the first to be lost."""
    draws = stream(seed, "units lost")
    return [torch.randperm(config.width, generator=draws) for _ in range(config.draws)]


@torch.no_grad()
def hidden(model: MLP, inputs: Tensor) -> Tensor:
    activations: Tensor = model.layers[0](inputs).relu()
    return activations


@torch.no_grad()
def scores_of(model: MLP, activations: Tensor, left: Tensor) -> Tensor:
    """The scores (N, 10) with the units alone whose numbers are given, scaled to stand for all."""
    mask = torch.zeros(activations.shape[1])
    mask[left] = activations.shape[1] / len(left)
    scores: Tensor = model.layers[1](activations * mask)
    return scores


def knocked_out(model: MLP, test: Examples, orders: Sequence[Tensor], lost: float) -> float:
    """The accuracy without a share of the hidden units, as a mean over the orders in which they may be lost."""
    activations = hidden(model, test.inputs)
    right = [
        scores_of(model, activations, order[round(lost * len(order)) :]).argmax(1) == test.targets for order in orders
    ]
    return torch.stack(right).double().mean().item()


def halves_agree(model: MLP, inputs: Tensor, orders: Sequence[Tensor]) -> float:
    """How often one random half of the hidden units puts an image into the same class as the other half."""
    activations = hidden(model, inputs)
    same = []
    for order in orders:
        half = len(order) // 2
        one, other = (scores_of(model, activations, units).argmax(1) for units in (order[:half], order[half:]))
        same.append(one == other)
    return torch.stack(same).double().mean().item()


def effective_rank(activations: Tensor) -> float:
    """(Σλ)² / Σλ² of the eigenvalues of the covariance: in how many directions the hidden units vary, in effect."""
    covariance = torch.cov(activations.double().T)
    return (covariance.trace() ** 2 / covariance.square().sum()).item()


def attacked(model: MLP, test: Examples, size: float) -> Examples:
    """The fast gradient sign method: each pixel moved by ``size`` to the side where the loss of its image grows.

    In double precision. Else the gradient of an image that the network is sure of rounds to zero, and has no sign: an
    arm would be safe from the attack by its certainty alone.
    """
    inputs = test.inputs.double().requires_grad_()
    scores = copy.deepcopy(model).double()(inputs)
    (gradient,) = torch.autograd.grad(cross_entropy(scores, test.targets), inputs)
    return Examples(test.inputs + size * gradient.sign().float(), test.targets)


# %%
# Choosing the rates
# ------------------
# The same eight for each arm, scored by the loss on validation images: ``python -m lessons tune knocked_out``.

RATES = (0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512)
TUNING_SEEDS = range(1_000, 1_004)


def tune(config: Config, seed: int) -> Measured:
    train, validation, _ = data.load(
        config.data, seed, train=config.train, validation=config.validation, test=0, side=14, flat=True
    )
    scores: Measured = {}
    for arm, p in ARMS.items():
        for lr in RATES:
            try:
                score = evaluate(trained(config, seed, train, p=p, lr=lr), validation, cross_entropy)
            except DivergedError:
                score = math.nan
            scores[f"{config.data}/{arm}/{lr:.6g}"] = score
    return scores


# %%
# What we expect
# --------------
# Written before the run. A *claim* is the notes' statement in one setting, a *limit* a setting in which we expect it to
# fail. That dropout helps against lost units is near to a tautology, so that the limits matter more.


def mean_over_shares(curves):
    """The area under each curve over the shares of lost units, by trapezoids, as a share of the whole width."""
    return np.trapezoid(curves, LOST, axis=1) / LOST[-1]


def fall(t, arm):
    """The accuracy that each share of lost units costs, (seeds, shares)."""
    curves = t[f"{arm}/accuracy by units lost"]
    return curves[:, :1] - curves


def cost(t, arm, what):
    return t[f"{arm}/accuracy"] - t[f"{arm}/accuracy under {what}"]


# fmt: off
PREDICTIONS = [
    claim("2.10", "mean accuracy", "Mean accuracy on {data} with up to nine tenths of the hidden units zeroed is over "
          "2 points higher with dropout.",
          lambda t: difference(mean_over_shares(t["dropout/accuracy by units lost"])
                               - mean_over_shares(t["none/accuracy by units lost"]), margin=0.02),
          arms=("dropout", "none"), of="mean accuracy over the shares, with dropout minus without"),
    claim("2.10", "falls less", "Accuracy on {data} falls by over 2 points less with dropout, on the mean over the "
          "shares of zeroed units.",
          lambda t: difference(mean_over_shares(fall(t, "none")) - mean_over_shares(fall(t, "dropout")), margin=0.02),
          arms=("none", "dropout"), of="mean accuracy lost over the shares, without dropout minus with",
          because="else the network with dropout was only ahead with all units"),
    claim("2.10", "halves agree", "Two disjoint halves of the hidden units agree on over 2 points more of unseen "
          "{data} with dropout.",
          lambda t: difference(t["dropout/halves agree"] - t["none/halves agree"], margin=0.02),
          arms=("dropout", "none"), of="share on which the halves agree, with dropout minus without"),
    limit("2.10", "more directions", "Hidden units vary in more directions with dropout on {data}, and not in fewer.",
          lambda t: ratio(t["dropout/effective rank"], t["none/effective rank"], margin=1.0),
          arms=("dropout", "none"), of="effective rank of the hidden covariance with dropout over that without",
          because="a pilot showed it"),
    claim("2.11", "half lost", "Loss of half of the hidden units costs over 2 points less accuracy on {data} with "
          "dropout.",
          lambda t: difference((fall(t, "none") - fall(t, "dropout"))[:, LOST.index(0.5)], margin=0.02),
          arms=("none", "dropout"), of="accuracy lost without dropout minus that with",
          because="dropout trains for the loss of half of the units"),
    limit("2.11", "noisy pixels", "Noise of deviation {noise:g} on the pixels of {data} costs the same accuracy with "
          "dropout and without, within 2 points.",
          lambda t: no_difference(cost(t, "none", "noise") - cost(t, "dropout", "noise"), margin=0.02),
          arms=("none", "dropout"), of="accuracy lost without dropout minus that with",
          because="dropout does not train for noise on the pixels"),
    limit("2.11", "gradient sign", "The fast gradient sign method with steps of {attack:g} on {data} costs the same "
          "accuracy with dropout and without, within 2 points.",
          lambda t: no_difference(cost(t, "none", "attack") - cost(t, "dropout", "attack"), margin=0.02),
          arms=("none", "dropout"), of="accuracy lost without dropout minus that with",
          because="dropout does not train for pixels that are moved"),
]

ANSWERS = [
    answer("2.10", "Redundant, yes: two halves of the units agree on {halves agree:points} points more of unseen "
           "{data}, and with units taken out the mean accuracy is {mean accuracy:points} points higher. Alike, no: "
           "the units vary in more directions, {more directions} times as many.",
           given={"mean accuracy": "supported", "halves agree": "supported", "more directions": "supported"}),
    answer("2.11", "To what it was trained under, yes: losing half of its units costs {half lost:points} points "
           "less. Noise on the pixels costs the same. An attack by gradient signs, where no help was expected, costs "
           "{gradient sign:points} points less.",
           given={"half lost": "supported", "noisy pixels": "supported", "gradient sign": "refuted"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left, thin lines are seeds. Without dropout the network falls from the first units on; with dropout it is
# nearly level to a half, the share that it was trained for, and falls late beyond. On the right, above the line dropout
# loses less than the other arm. Noise costs both the same. That the fast gradient sign method costs less with dropout
# was not predicted. The arms differ in their best rate too, so that dropout alone need not be the cause of all this.
# And neither arm uses many directions: of 256 there are about ten with dropout, and eight without.


def figure(trials):
    drawing, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    for color, arm in (("C0", "none"), ("C1", "dropout")):
        curves = trials[f"{arm}/accuracy by units lost"]
        left.plot(LOST, curves.T, color=color, linewidth=0.4, alpha=0.4)
        left.plot(LOST, curves.mean(0), color=color, marker="o", label="no dropout" if arm == "none" else "dropout 0.5")
    left.axhline(0.1, color="0.4", linestyle=":", label="chance")
    left.set_ylim(0, 1)
    left.set_title("Hidden units zeroed after training")
    left.set_xlabel("share of hidden units zeroed")
    left.set_ylabel(f"accuracy on unseen {trials.config.data}")
    left.legend()

    saved = {
        "half of\nthe units": (fall(trials, "none") - fall(trials, "dropout"))[:, LOST.index(0.5)],
        "noise": cost(trials, "none", "noise") - cost(trials, "dropout", "noise"),
        "fast gradient\nsign": cost(trials, "none", "attack") - cost(trials, "dropout", "attack"),
    }
    for place, gains in enumerate(saved.values()):
        right.plot(place + np.linspace(-0.2, 0.2, len(gains)), 100 * gains, "o", color="C2", alpha=0.6)
        right.plot([place - 0.3, place + 0.3], [100 * gains.mean()] * 2, color="C2")
    right.axhspan(-2, 2, color="0.9")
    right.axhline(0, color="0.4", linestyle=":")
    right.set_xticks(range(len(saved)), saved.keys())
    right.set_title("What dropout saves (grey: less than matters)")
    right.set_ylabel("points of accuracy lost, none minus dropout")
    return drawing


# %%
# Run it
# ------

if __name__ == "__main__":
    lesson.main("knocked_out")
