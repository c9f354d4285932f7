"""
Does dropout prevent over-fitting?
==================================

A network with enough units can learn its training images by heart. One unit learns to fire for a single odd letter, the
next layer learns to trust that unit, and the training loss goes to zero. None of this helps with a letter that it has
never seen. The difference between the two losses is *over-fitting*: ::

    gap = loss on unseen images - loss on training images

Dropout makes learning by heart hard. At each training step it draws a new *mask* for each image: every activation, the
number that a hidden unit hands on, is set to zero with probability one half. Those that are left are doubled, so that
their sum stays what it was on average. ::

    activations      0.9   0.2   0.0   0.5            activations      0.9   0.2   0.0   0.5
    today's mask      ×2    ·     ·     ×2            tomorrow's        ·     ×2    ×2    ·
    handed on        1.8    0     0    1.0            handed on         0    0.4    0     0

The unit that fired for the odd letter is gone every other time. So the next layer had better listen to many units, each
of which sees something that several letters share. Once training is over, no mask is drawn and all units are heard.

That is why dropout should narrow the gap. There is a price: each step trains half of a network, with noise. That
should not help where a network cannot fit its images yet, and only little with very few images or very many: Srivastava
et al. (2014, section 7.4) found no gain with 100 or 500 images, the largest with some thousands, and less with more.

Two questions, then: does dropout make the *gap* smaller, and does it make the network *better* on unseen images?
"""

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import pyplot as plt

from dlnotes import data, lesson, linear
from dlnotes.deep import MLP
from dlnotes.evidence import not_better, ratio
from dlnotes.lesson import answer, claim, curves, limit, reference_line, strips
from dlnotes.linear import SGD, cross_entropy
from dlnotes.measuring import Measured, Tuned, grid, train_for
from dlnotes.randomness import stream
from dlnotes.training import Minibatches, Trainer, accuracy, evaluate

# %%
# The experiment
# --------------
# A *seed* draws letters, A to J of 14 × 14 pixels, and first weights. Two networks with one hidden layer learn them,
# the *arms*: one with dropout of 0.5 and one without. They share first weights, images and batches; each has the
# learning rate that was best for it on other seeds. They train on four sets of images, on each for as many steps;
# the rate falls to zero along half a cosine wave. A further pair is small and trained briefly: it cannot fit its images
# yet. We measure loss (in nats: guessing costs ln 10 = 2.3) and mistakes, without masks, on training images and on
# unseen ones, of typefaces that training never saw.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 8_000  # images of the largest training set; the others are its first ones
    middle: int = 2_000  # of the next smaller set
    small: int = 500  # of the one after
    smallest: int = 100  # of the last
    validation: int = 1_000  # images that rates are chosen by
    test: int = 2_000  # unseen images
    width: int = 256  # hidden units
    steps: int = 1_500  # steps of each network
    small_width: int = 16  # hidden units of the network that is trained briefly
    few_steps: int = 200  # its steps
    batch_size: int = 64  # images a step

    def __post_init__(self) -> None:
        if not 0 < self.smallest <= self.small <= self.middle <= self.train:
            raise ValueError("expected 0 < smallest ≤ small ≤ middle ≤ train")


QUICK = Config(train=800, middle=200, small=50, smallest=10, test=200, width=16, steps=30, small_width=8, few_steps=20)
SEEDS = range(12)

ARMS = {"none": 0.0, "dropout": 0.5}  # the probability with which a hidden activation is dropped
SAME_RATE = "dropout at the rate of none"  # on the middle set, to be looked at
SETS = ("smallest set", "small set", "middle set", "largest set")
MOST_WATCHED = 2_000  # training images that are judged by


def settings(config: Config) -> dict[str, tuple[int, int, int]]:
    """What a network is given: images, hidden units, steps."""
    counts = zip(SETS, (config.smallest, config.small, config.middle, config.train), strict=True)
    found = {name: (count, config.width, config.steps) for name, count in counts}
    return found | {"under-trained": (config.train, config.small_width, config.few_steps)}


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    train, _, test = load(config, seed)
    measured: Measured = {}
    for name, (count, *setting) in settings(config).items():
        images = first(train, count)
        arms = {arm: (p, tuned[f"{name}/{arm}"]) for arm, p in ARMS.items()}
        if name == "middle set":
            arms[SAME_RATE] = ARMS["dropout"], tuned[f"{name}/none"]
        for arm, (p, lr) in arms.items():
            model = trained(config, seed, images, *setting, p=p, lr=lr)
            for place, examples in {"train": first(images, MOST_WATCHED), "test": test}.items():
                measured[f"{name}/{arm}/{place} loss"] = evaluate(model, examples, cross_entropy)
                measured[f"{name}/{arm}/{place} mistakes"] = 1 - accuracy(model, examples)
    return measured


def load(config: Config, seed: int) -> data.Parts:
    counts = {"train": config.train, "validation": config.validation, "test": config.test}
    return data.load(config.data, seed, **counts, side=14, flat=True)


def first(examples: data.Examples, count: int) -> data.Examples:
    return data.Examples(examples.inputs[:count], examples.targets[:count])


def trained(config: Config, seed: int, images: data.Examples, width: int, steps: int, *, p: float, lr: float) -> MLP:
    """A network after its steps. Masks have a generator of their own, so that the batches of both arms are the same."""
    model = MLP([196, width, 10], generator=stream(seed, "first weights"), dropout=p, masks=stream(seed, "masks"))
    optimizer = SGD(model.parameters(), lr=lr, momentum=0.9)
    batches = Minibatches(images, min(config.batch_size, len(images.targets)), stream(seed, "batches"))
    scheduler = linear.cosine_decay(optimizer, steps)
    train_for(Trainer(model, cross_entropy, optimizer, batches, scheduler=scheduler), steps)
    return model


# %%
# `python -m lessons tune over_fitting` chooses the learning rates: the same eight for each arm, scored by the loss on
# validation images. The arm without dropout may take a small rate, which fits less; dropout has to beat that.

RATES = grid(0.004, 0.512)
TUNING = {f"{name}/{arm}": RATES for name in (*SETS, "under-trained") for arm in ARMS}
TUNING_SEEDS = range(1_000, 1_004)


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    train, validation, _ = load(config, seed)
    (count, *setting), p = settings(config)[arm.split("/")[0]], ARMS[arm.split("/")[1]]
    models = (trained(config, seed, first(train, count), *setting, p=p, lr=lr) for lr in candidates)
    return [evaluate(model, validation, cross_entropy) for model in models]


# %%
# What we expect
# --------------
# Written before the run. A *claim* is the notes' statement in one setting, a *limit* a setting in which we expect it to
# fail. The *margin*, the smallest difference that matters, is a tenth. All are compared as ratios.


def gap(t, name, arm):
    return t[f"{name}/{arm}/test loss"] - t[f"{name}/{arm}/train loss"]


def both(t, name, what):
    return t[f"{name}/none/test {what}"], t[f"{name}/dropout/test {what}"]


GAP, UNSEEN = "a smaller gap", "better on unseen images"  # the two readings

# fmt: off
PREDICTIONS = [
    claim("2.12", "gap on few", "On {small:,} {data} unseen minus training loss is smaller with dropout, by a tenth.",
          lambda t: ratio(gap(t, "small set", "none"), gap(t, "small set", "dropout"), margin=1.1),
          arms=ARMS, reading=GAP, of="gap without dropout over that with"),
    claim("2.12", "gap", "On {middle:,} {data} unseen minus training loss is smaller with dropout, by a tenth.",
          lambda t: ratio(gap(t, "middle set", "none"), gap(t, "middle set", "dropout"), margin=1.1),
          arms=ARMS, reading=GAP, of="gap without dropout over that with"),
    claim("2.12", "loss", "On {middle:,} {data} dropout lowers the loss on unseen ones by a tenth.",
          lambda t: ratio(*both(t, "middle set", "loss"), margin=1.1),
          arms=ARMS, reading=UNSEEN, of="loss without dropout over that with"),
    claim("2.12", "mistakes", "On {middle:,} {data} dropout cuts the mistakes on unseen ones by a tenth.",
          lambda t: ratio(*both(t, "middle set", "mistakes"), margin=1.1),
          arms=ARMS, reading=UNSEEN, of="mistakes without dropout over those with"),
    limit("2.12", "few images", "On {smallest:,} {data} dropout does not lower the loss on unseen ones by a tenth.",
          lambda t: not_better(ratio(*both(t, "smallest set", "loss"), margin=1.1)),
          arms=ARMS, reading=UNSEEN, of="loss without dropout over that with", because="Srivastava et al., 2014"),
    limit("2.12", "many images", "On {train:,} {data} dropout does not lower the loss on unseen ones by a tenth.",
          lambda t: not_better(ratio(*both(t, "largest set", "loss"), margin=1.1)),
          arms=ARMS, reading=UNSEEN, of="loss without dropout over that with", because="Srivastava et al., 2014"),
    limit("2.12", "brief training", "{small_width} hidden units with {few_steps} steps on {train:,} {data} make over a "
          "tenth more mistakes on unseen ones with dropout.",
          lambda t: ratio(*reversed(both(t, "under-trained", "mistakes")), margin=1.1),
          arms=ARMS, reading=UNSEEN, of="mistakes with dropout over those without"),
]

ANSWERS = [
    answer("2.12", "Yes and no. With {middle:,} {data} dropout makes {mistakes:fewer} fewer mistakes on unseen ones "
           "(on notMNIST and Fashion-MNIST no tenth), but the gap to training loss stays as wide. With {smallest:,} "
           "or {train:,} it gains no tenth.",
           given={"mistakes": "supported", "gap": "refuted", "few images": "supported",
                  "many images": "supported", "fashion_mnist/mistakes": "refuted", "not_mnist/mistakes": "refuted"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left the thing itself: one image, and the hidden layer of an untrained network that is shown it, a square for
# each unit, the darker the more it fires. A cross marks what one mask takes away. In the middle the losses, a thin
# line a seed; the gap is how far the dashed line lies below the full line of its color. With 2,000 letters dropout is
# better on unseen ones, yet its gap is as wide: its best learning rate is four times as large, and it fits the training
# letters better. At the other arm's rate (grey, not judged) the gap shrinks. On the right a dot a seed: above the line
# dropout is better. In the last column a small network learns the 8,000 images briefly, and dropout is in its way.


def figure(trials):
    config, (drawing, (layer, left, right)) = trials.config, plt.subplots(1, 3, figsize=(14, 4))
    image = load(config, trials.seeds[0]).train.inputs[:1]
    units = MLP([196, 64, 10], generator=stream(0, "first weights")).layers[0](image).relu().detach()
    dropped = torch.rand(64, generator=stream(0, "masks")) < ARMS["dropout"]
    layer.imshow(units.view(8, 8).numpy(), cmap="Greys")
    layer.inset_axes([-0.42, 0.6, 0.4, 0.4], xticks=[], yticks=[]).imshow(image.view(14, 14).numpy(), cmap="Greys")
    layer.plot(*np.divmod(np.flatnonzero(dropped), 8)[::-1], "x", color="C1", markersize=9)
    layer.set(title="An image, 64 hidden units, and one mask", xticks=[], yticks=[])

    sizes = [settings(config)[name][0] for name in SETS]
    for color, (arm, p) in zip(("C0", "C1"), ARMS.items(), strict=True):
        for place, dashes in {"test": "-", "train": "--"}.items():
            losses = np.stack([trials[f"{name}/{arm}/{place} loss"] for name in SETS], axis=1)
            label = f"dropout {p:g}, {'unseen' if place == 'test' else 'training'}"
            curves(left, sizes, losses, label=label, color=color, linestyle=dashes)
    at_same_rate = [trials[f"middle set/{SAME_RATE}/{place} loss"].mean() for place in ("train", "test")]
    left.plot([config.middle] * 2, at_same_rate, "x:", color="C4", label="dropout 0.5, rate of dropout 0")
    left.set(title="Loss after training", xlabel="training images", ylabel="nats", xscale="log")
    left.set_xticks(sizes, [f"{count:,}" for count in sizes])
    left.set_ylim(0, 1.5 * left.get_ylim()[1])  # room for the legend

    names = dict(zip(SETS, (f"{size:,}" for size in sizes), strict=True)) | {"under-trained": "small,\nbriefly"}
    for shift, color, what in ((-0.15, "C2", "loss"), (0.15, "C3", "mistakes")):
        gains = {words: np.divide(*both(trials, name, what)) for name, words in names.items()}
        strips(right, gains, color=color, label=what, shift=shift, width=0.2, geometric=True)
    reference_line(right, 1, "equal")
    right.set(title="On unseen images: without dropout over with it", xlabel="training images", yscale="log")
    right.set_yticks([0.25, 0.5, 0.7, 1, 1.4], ["0.25", "0.5", "0.7", "1", "1.4"])
    for axes in (left, right):
        axes.minorticks_off()
        axes.legend()
    return drawing


# %%
# Try it yourself
# ---------------
# Give all networks a quarter of the steps. Will dropout gain more on 2,000 images, or less? Which arm needs more steps?
# `python -m lessons run over_fitting --set steps=375 --seeds 7`. And on photographs of clothes, is the gap wider?
# `python -m lessons run over_fitting --data fashion_mnist`

if __name__ == "__main__":
    lesson.main("over_fitting")
