"""
Can a layer without weights over-fit?
=====================================

A network *over-fits* when it learns its training images by heart: it knows them well, and images that it has never seen
less well. The *loss* says how little a network believed in the right answers, in *nats*: guessing one of ten letters
costs ln 10 = 2.3, being sure and right costs nothing. The *gap* measures over-fitting: ::

    gap = loss on unseen images - loss on training images

In a *convolution* a *kernel*, a small square of weights, slides over the image. At each place it multiplies the pixels
there by its weights and adds up; these answers are a *feature map*. *Max pooling* cuts the map into *windows* of 2 × 2
numbers and hands on the largest of each. What is learned by heart is stored in weights, and max pooling has none. So
the course notes say that it does not raise the risk of over-fitting.

There is a hole in the argument. A pooling layer stores nothing, but it decides what the weights around it get to see.
As long as the kernels hardly change, max pooling hands on the same places of a training image each time that the
network sees it, and the layers behind can get used to exactly these. *Stochastic pooling* (Zeiler and Fergus, 2013)
denies them that. In training it draws one number of the window, a large one more often: the probability is the number's
share of the window's sum, here of 2. In use it takes what the draw gives on average: ::

    window   0.9  0.1      shares   0.45  0.05      in training   once 0.9, the next time perhaps 0.6
             0.6  0.4               0.30  0.20      in use        0.45·0.9 + 0.05·0.1 + 0.30·0.6 + 0.20·0.4 = 0.67

Max pooling gives 0.9 each time, average pooling the plain mean, 0.5. None of the three has a weight. If that alone
settled the matter, all of them would be equally safe.

And a layer without weights still has *settings*: how large a window is, and how far on the next one lies. Whoever tries
ten pairs and keeps the one with the fewest mistakes on some images has fitted these images too, by hand. That risk is
real, but we do not measure it here.
"""

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch.nn import functional

from dlnotes import data, lesson
from dlnotes.conv import ConvNet, MaxPool2d, StochasticPool2d, train_classifier
from dlnotes.evidence import not_better, ratio
from dlnotes.lesson import answer, claim, limit, strips
from dlnotes.linear import cross_entropy
from dlnotes.measuring import Measured, Tuned, grid
from dlnotes.randomness import stream
from dlnotes.training import accuracy, evaluate

# %%
# The experiment
# --------------
# A *seed* draws 300 letters, A to J of 12 × 12 pixels, and first weights. Four networks learn them, the *arms*. Each is
# two convolutions, 8 and 16 kernels of 5 × 5, and a linear classifier. After each convolution the map shrinks to half
# its side, by max, average or stochastic pooling. The fourth arm has no such layer: its kernels move on by two pixels
# at a time (*striding*). All see the same batches and start from the same weights; with biases these are (25 + 1)·8 +
# (25·8 + 1)·16 + (9·16 + 1)·10 = 4,874. The arms are compared twice: each at the learning rate that was best for it on
# other seeds, and all at one rate, at which striding and max pooling learn the letters nearly by heart. A rate falls to
# zero along half a cosine wave, and gradients longer than 1 are shortened. When we measure, stochastic pooling no
# longer draws.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 300  # training images: few, so that they can be learned by heart
    validation: int = 1_000  # images that rates are chosen by
    test: int = 2_000  # unseen images
    steps: int = 400  # of each network
    batch_size: int = 32  # images a step
    rate: float = 0.04  # the learning rate of all arms in the second comparison
    device: str = "cpu"


QUICK = Config(train=40, validation=100, test=200, steps=15)
SEEDS = range(12)
DATA = ("letters", "fashion_mnist", "not_mnist")
SIDE = 12  # pixels along a side: 6 after the first layer that shrinks, 3 after the second, in every arm
ARMS = {
    "strided": "5x5x8/2 5x5x16/2",
    "max": "5x5x8 max2 5x5x16 max2",
    "average": "5x5x8 average2 5x5x16 average2",
    "stochastic": "5x5x8 stochastic2 5x5x16 stochastic2",
}


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    parts = load(config, seed)
    measured: Measured = {}
    for arm, layers in ARMS.items():
        rates = {"best rate": tuned[arm], "same rate": config.rate}
        models = {lr: trained(config, seed, parts.train, layers, lr=lr) for lr in sorted({*rates.values()})}
        for setting, lr in rates.items():
            for place, images in {"train": parts.train, "test": parts.test}.items():
                measured[f"{setting}/{arm}/{place} loss"] = evaluate(models[lr], images, cross_entropy)
                measured[f"{setting}/{arm}/{place} mistakes"] = 1 - accuracy(models[lr], images)
    return measured


def load(config: Config, seed: int) -> data.Parts:
    train, validation, test = config.train, config.validation, config.test
    parts = data.load(config.data, seed, train=train, validation=validation, test=test, side=SIDE)
    return parts.to(config.device)


def network(seed: int, layers: str) -> ConvNet:
    """Stochastic pooling draws from a generator of its own, so that all arms have the same weights and batches."""
    weights, draws = stream(seed, "weights"), stream(seed, "draws")
    return ConvNet(layers, inputs=(1, SIDE, SIDE), generator=weights, draws=draws)


def trained(config: Config, seed: int, images: data.Examples, layers: str, *, lr: float) -> ConvNet:
    """A network after its steps, in evaluation mode: stochastic pooling no longer draws."""
    model = network(seed, layers).to(config.device)
    batches = stream(seed, "batches")
    train_classifier(model, images, generator=batches, steps=config.steps, batch_size=config.batch_size, lr=lr)
    return model.eval()


# %%
# `python -m lessons tune pooling_and_over_fitting` chooses the learning rates: the same six for each arm, scored by
# the loss on validation images. An arm may do best at a small rate, at which it fits its training images less: that,
# too, is a way not to over-fit.

RATES = grid(0.01, 0.32)
TUNING = dict.fromkeys(ARMS, RATES)
TUNING_SEEDS = range(1_000, 1_003)


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    parts = load(config, seed)
    models = (trained(config, seed, parts.train, ARMS[arm], lr=lr) for lr in candidates)
    return [evaluate(model, parts.validation, cross_entropy) for model in models]


# %%
# What we expect
# --------------
# Written before the run. A *claim* is the notes' statement, a *limit* a place where we expect it to fail. "Does not
# raise" needs a network to compare with: the strided one, which has nothing in the place of pooling. "Over-fitting" is
# read in two ways, as the gap and as mistakes on unseen images. Both are compared as ratios. The *margin*, the smallest
# difference that matters, is a tenth.


def gap(t, setting, arm):
    return t[f"{setting}/{arm}/test loss"] - t[f"{setting}/{arm}/train loss"]


GAP, UNSEEN = "the gap", "mistakes on unseen images"  # two readings of "over-fitting"

# fmt: off
PREDICTIONS = [
    claim("3.13", "gap", "On {train} {data}, each at its best rate, the gap of max pooling is not over a tenth wider "
          "than that of striding.",
          lambda t: not_better(ratio(gap(t, "best rate", "max"), gap(t, "best rate", "strided"), margin=1.1)),
          arms=("max", "strided"), reading=GAP, of="gap of max pooling over that of striding"),
    claim("3.13", "gap at one rate", "On {train} {data}, both at the rate {rate}, the gap of max pooling is not over "
          "a tenth wider than that of striding.",
          lambda t: not_better(ratio(gap(t, "same rate", "max"), gap(t, "same rate", "strided"), margin=1.1)),
          arms=("max", "strided"), reading=GAP, of="gap of max pooling over that of striding"),
    limit("3.13", "stochastic gap", "On {train} {data}, both at the rate {rate}, the gap of max pooling is over a "
          "tenth wider than that of stochastic pooling.",
          lambda t: ratio(gap(t, "same rate", "max"), gap(t, "same rate", "stochastic"), margin=1.1),
          arms=("max", "stochastic"), reading=GAP, of="gap of max pooling over that of stochastic",
          because="max pooling hands on the same places each time (Zeiler and Fergus, 2013)"),
    claim("3.13", "mistakes", "On {train} {data}, each at its best rate, max pooling does not make over a tenth more "
          "mistakes on unseen ones than striding.",
          lambda t: not_better(ratio(t["best rate/max/test mistakes"], t["best rate/strided/test mistakes"],
                                     margin=1.1)),
          arms=("max", "strided"), reading=UNSEEN, of="mistakes of max pooling over those of striding"),
    limit("3.13", "stochastic mistakes", "On {train} {data}, each at its best rate, max pooling makes over a tenth "
          "more mistakes on unseen ones than stochastic pooling.",
          lambda t: ratio(t["best rate/max/test mistakes"], t["best rate/stochastic/test mistakes"], margin=1.1),
          arms=("max", "stochastic"), reading=UNSEEN, of="mistakes of max pooling over those of stochastic",
          because="max pooling hands on the same places each time (Zeiler and Fergus, 2013)"),
]

ANSWERS = [
    answer("3.13", "Weights do not decide: max pooling's gap is {gap at one rate} times striding's at one rate, "
           "{stochastic gap} times stochastic pooling's. At best rates open; larger on notMNIST, not on "
           "Fashion-MNIST.", given={"gap": "inconclusive", "gap at one rate": "supported",
           "stochastic gap": "supported", "fashion_mnist/gap": "supported", "not_mnist/gap": "refuted"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# Above the thing itself: a letter, and the answers of a kernel that looks for where it gets darker from left to right
# (the darker, the stronger). A dot marks where pooling takes its number from, in each window that has any above 0. Max
# pooling takes the same places every time; stochastic pooling takes some others at each draw.
#
# Below on the left the loss, a dot a seed and a bar at their mean. Each arm has a pair of strips: the first at its best
# rate, the second at the rate that all share; they are the same where that is its best. The gap is the distance from
# the bar of training images (orange) up to that of unseen ones (blue). Striding at its best rate fits its training
# images less than at the common one, and its gap is smaller for that. Below on the right the mistakes, in the same
# pairs. The best rate is the one of the lowest loss on validation images: at another an arm may make fewer mistakes.


def figure(trials):
    drawing, axes = plt.subplot_mosaic([["look", "look"], ["loss", "mistakes"]], figsize=(11.5, 7.2))
    image = load(trials.config, trials.seeds[0]).train.inputs[:1].cpu()
    kernel = torch.tensor([[-1.0, 0.0, 1.0]] * 3).view(1, 1, 3, 3)
    maps = functional.conv2d(image, kernel, padding=1).relu()
    drawn = StochasticPool2d(2, generator=stream(0, "draws"))
    shown: dict[str, torch.nn.Module | None] = {"a letter": None}
    shown |= {"where it gets darker:\nmax takes these": MaxPool2d(2)}
    shown |= {"stochastic, first time": drawn, "stochastic, second time": drawn}
    look, lefts = axes["look"], [14 * place for place in range(len(shown))]
    for left, layer in zip(lefts, shown.values(), strict=True):
        tile = (image if layer is None else maps)[0, 0].detach()
        look.imshow(tile.numpy(), cmap="Greys", extent=(left, left + SIDE, SIDE, 0), vmax=1.5 * tile.max().item())
        if layer is not None:
            (taken,) = torch.autograd.grad(layer(maps.requires_grad_()).sum(), maps)  # 1 where a number was taken
            down, right = torch.nonzero((taken * maps)[0, 0], as_tuple=True)
            look.plot((left + right + 0.5).numpy(), (down + 0.5).numpy(), "o", color="C2", markersize=4)
            look.vlines(left + np.arange(0, SIDE + 1, 2), 0, SIDE, color="0.75", linewidth=0.6)
            look.hlines(np.arange(0, SIDE + 1, 2), left, left + SIDE, color="0.75", linewidth=0.6)
    look.set(title="Where pooling takes its numbers from", xlim=(-0.2, lefts[-1] + SIDE + 0.2), yticks=[])
    look.set_xticks([left + SIDE / 2 for left in lefts], list(shown))
    look.tick_params(length=0)
    look.spines[:].set_visible(False)
    look.grid(False)

    for setting, shift in {"best rate": -0.2, "same rate": 0.2}.items():
        for color, place in (("C0", "test"), ("C1", "train")):
            losses = {arm: trials[f"{setting}/{arm}/{place} loss"] for arm in ARMS}
            words = f"{'unseen' if place == 'test' else 'training'} images" if setting == "best rate" else ""
            strips(axes["loss"], losses, color=color, label=words, shift=shift, width=0.25)
        color, mistakes = "C0" if setting == "best rate" else "C3", f"{setting}/{{}}/test mistakes"
        shares = {arm: 100 * trials[mistakes.format(arm)] for arm in ARMS}
        strips(axes["mistakes"], shares, color=color, label=setting, shift=shift, width=0.25)
    axes["loss"].set(title="Loss after training (each pair: best rate, same rate)", ylabel="nats")
    axes["mistakes"].set(title="Mistakes on unseen images", ylabel="%")
    axes["loss"].set_ylim(0, 1.15 * axes["loss"].get_ylim()[1])
    axes["loss"].legend(loc="upper right", ncols=2)
    axes["mistakes"].legend()
    return drawing


# %%
# Try it yourself
# ---------------
# The common rate is 0.04 here. At twice that, which of the three kinds of pooling has the widest gap? Is it the kind
# with the most mistakes? `python -m lessons run pooling_and_over_fitting --set rate=0.08 --seeds 7`

if __name__ == "__main__":
    lesson.main("pooling_and_over_fitting")
