"""
Dropout against over-fitting
============================

**The question.** Does dropout keep a network from over-fitting, and is the network any better for it?

**What the notes say.** Dropout prevents a network from over-fitting its training data (2.12).

**What is measured.** Two networks of one hidden layer of 256 units: one with dropout of 0.5 on that layer, one without.
First weights, images and batches are the same, and each has its own best rate, in loss on validation images, from the
same grid. They take 1,500 steps of SGD with momentum 0.9 on 100, 500, 2,000 and 8,000 images: 750 to 12 passes; the
rate falls to zero along half a cosine wave. On the 2,000 dropout is also trained at the rate of the arm without it, to
be looked at and not judged. And a further pair is not trained to the end: 16 hidden units and 200 steps, a pass and a
half over the 8,000. Measured, without masks, are loss and mistakes on the training images (the first 2,000 where there
are more) and on 2,000 unseen ones: of letters, those of typefaces that training never saw. Over-fitting is the gap: the
loss on unseen images minus that on training images.

**The smallest difference that matters.** A tenth: of the gap, of the loss, of the mistakes. All are compared as ratios.

**What would refute it.** On 500 or on 2,000 images, passed over again and again, the gap is not smaller by a tenth; or
on 2,000, where it is large and there is something to be learned beside it, loss and mistakes on unseen images are not
either. Predicted limits, from the literature (Srivastava et al., 2014, section 7.4, found no gain on 100 and 500
examples, the largest on some thousands, and less on more): with 100 images, and with 8,000, the loss on unseen images
falls by less than a tenth. And a network that cannot yet fit the images is hindered: the small one makes over a tenth
more mistakes with dropout.

**Time.** `python -m lessons` says what it took.
"""

import math
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
from matplotlib import pyplot as plt
from torch.nn.functional import avg_pool2d

from dlnotes import data, lesson, linear
from dlnotes.data import Examples
from dlnotes.deep import MLP
from dlnotes.evidence import claim, limit, ratio
from dlnotes.linear import SGD, cross_entropy
from dlnotes.randomness import stream
from dlnotes.training import DivergedError, Minibatches, Trainer, accuracy, evaluate

# %%
# Settings
# --------


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 8_000  # images of the largest training set; the others are its first quarter, 16th and 80th part
    validation: int = 1_000  # images that rates are chosen by
    test: int = 2_000  # test images: for letters, of typefaces that training never saw
    width: int = 256  # hidden units
    steps: int = 1_500  # steps of each network
    small_width: int = 16  # hidden units of the network that is under-trained
    few_steps: int = 200  # its steps
    batch_size: int = 64  # examples a step

    def __post_init__(self) -> None:
        if self.train < 80:
            raise ValueError("train must be 80 or more, so that there is an image in its 80th part")


QUICK = Config(train=800, validation=100, test=200, width=16, steps=30, small_width=8, few_steps=20)
SEEDS = range(12)
DATA = ("letters", "fashion_mnist", "not_mnist")

ARMS = {"none": 0.0, "dropout": 0.5}  # the probability with which a hidden activation is dropped
SAME_RATE = "dropout at the rate of none"  # on the middle set, to be looked at
SETS = {"smallest set": 80, "small set": 16, "middle set": 4, "largest set": 1}  # the part of the images: one in …
MOST_WATCHED = 2_000  # training images that are judged by


class Setting(NamedTuple):
    """How much a network of one hidden layer is given: images, hidden units, steps."""

    images: int
    width: int
    steps: int


def settings(config: Config) -> dict[str, Setting]:
    found = {name: Setting(config.train // part, config.width, config.steps) for name, part in SETS.items()}
    return found | {"under-trained": Setting(config.train, config.small_width, config.few_steps)}


# %%
# The rate of each arm in each setting: the best of eight on four seeds that no verdict sees. ``python -m lessons tune
# over_fitting`` chooses them; the scores of all candidates are in ``results/tuning``. On the smallest set, of the other
# data sets than letters, and on the small set of notMNIST without dropout, the winner is the smallest candidate.

RATES = (0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512)
TUNING_SEEDS = range(1_000, 1_004)
TUNED = {
    "letters/smallest set/none": 0.008,
    "letters/smallest set/dropout": 0.008,
    "letters/small set/none": 0.016,
    "letters/small set/dropout": 0.016,
    "letters/middle set/none": 0.032,
    "letters/middle set/dropout": 0.128,
    "letters/largest set/none": 0.256,
    "letters/largest set/dropout": 0.128,
    "letters/under-trained/none": 0.256,
    "letters/under-trained/dropout": 0.256,
    "fashion_mnist/smallest set/none": 0.004,
    "fashion_mnist/smallest set/dropout": 0.004,
    "fashion_mnist/small set/none": 0.008,
    "fashion_mnist/small set/dropout": 0.016,
    "fashion_mnist/middle set/none": 0.032,
    "fashion_mnist/middle set/dropout": 0.064,
    "fashion_mnist/largest set/none": 0.128,
    "fashion_mnist/largest set/dropout": 0.064,
    "fashion_mnist/under-trained/none": 0.128,
    "fashion_mnist/under-trained/dropout": 0.128,
    "not_mnist/smallest set/none": 0.004,
    "not_mnist/smallest set/dropout": 0.004,
    "not_mnist/small set/none": 0.004,
    "not_mnist/small set/dropout": 0.008,
    "not_mnist/middle set/none": 0.008,
    "not_mnist/middle set/dropout": 0.016,
    "not_mnist/largest set/none": 0.064,
    "not_mnist/largest set/dropout": 0.064,
    "not_mnist/under-trained/none": 0.128,
    "not_mnist/under-trained/dropout": 0.064,
}

# %%
# One seed
# --------
# Masks come from a generator of their own, so that the batches of both arms are the same.


def trial(config: Config, seed: int) -> dict[str, float | list[float]]:
    train, test = small_images(config, seed, test=config.test)
    measured: dict[str, float | list[float]] = {}
    for name, setting in settings(config).items():
        images = first(train, setting.images)
        arms = {arm: (p, TUNED[f"{config.data}/{name}/{arm}"]) for arm, p in ARMS.items()}
        if name == "middle set":
            arms[SAME_RATE] = ARMS["dropout"], TUNED[f"{config.data}/{name}/none"]
        for arm, (p, lr) in arms.items():
            model = trained(config, seed, images, setting, p=p, lr=lr)
            for place, examples in {"train": first(images, MOST_WATCHED), "test": test}.items():
                measured[f"{name}/{arm}/{place} loss"] = evaluate(model, examples, cross_entropy)
                measured[f"{name}/{arm}/{place} mistakes"] = 1 - accuracy(model, examples)
    return measured


def small_images(config: Config, seed: int, *, validation: int = 0, test: int = 0) -> tuple[Examples, Examples]:
    """Images of 14 x 14 pixels, (N, 196): those to learn from, and those to judge by."""
    parts = data.load(config.data, seed, train=config.train, validation=validation, test=test)
    small = [Examples(avg_pool2d(part.inputs, 2).flatten(1), part.targets) for part in parts]
    return small[0], small[2 if test else 1]


def first(examples: Examples, count: int) -> Examples:
    return Examples(examples.inputs[:count], examples.targets[:count])


def trained(config: Config, seed: int, images: Examples, setting: Setting, *, p: float, lr: float) -> MLP:
    """A network after its steps, at a rate that falls to zero along half a cosine wave."""
    widths = [images.inputs.shape[1], setting.width, 10]
    model = MLP(widths, generator=stream(seed, "first weights"), dropout=p, masks=stream(seed, "masks"))
    optimizer = SGD(model.parameters(), lr=lr, momentum=0.9)
    batches = Minibatches(images, min(config.batch_size, setting.images), stream(seed, "batches"))
    scheduler = linear.cosine_decay(optimizer, setting.steps)
    for _ in islice(Trainer(model, cross_entropy, optimizer, batches, scheduler=scheduler), setting.steps):
        pass
    return model


# %%
# Choosing the rates
# ------------------
# The same candidates for each arm, scored by the loss on validation images. So an arm that over-fits at a large rate
# may defend itself with a small one, and dropout has to do better than that.


def tune(config: Config, seed: int) -> dict[str, float | list[float]]:
    train, validation = small_images(config, seed, validation=config.validation)
    scores: dict[str, float | list[float]] = {}
    for name, setting in settings(config).items():
        for arm, p in ARMS.items():
            for lr in RATES:
                try:
                    model = trained(config, seed, first(train, setting.images), setting, p=p, lr=lr)
                    score = evaluate(model, validation, cross_entropy)
                except DivergedError:
                    score = math.nan
                scores[f"{config.data}/{name}/{arm}/{lr:.6g}"] = score
    return scores


# %%
# What settles it
# ---------------


def findings(trials):
    sizes = {name: f"{setting.images:,} {trials.config.data}" for name, setting in settings(trials.config).items()}
    return [
        *(
            claim(
                "2.12",
                f"on {sizes[name]} the gap between unseen and training images is smaller with dropout by a tenth",
                ratio(gap(trials, name, "none"), gap(trials, name, "dropout"), margin=1.1),
                of="gap in loss without dropout over that with",
            )
            for name in ("small set", "middle set")
        ),
        claim(
            "2.12",
            f"on {sizes['middle set']} the loss on unseen ones is smaller with dropout by a tenth",
            ratio(trials["middle set/none/test loss"], trials["middle set/dropout/test loss"], margin=1.1),
            of="loss on unseen images without dropout over that with",
        ),
        claim(
            "2.12",
            f"and so are the mistakes on unseen ones ({sizes['middle set']})",
            ratio(trials["middle set/none/test mistakes"], trials["middle set/dropout/test mistakes"], margin=1.1),
            of="mistakes on unseen images without dropout over those with",
        ),
        *(
            limit(
                "2.12",
                f"on {sizes[name]} the loss on unseen ones is not smaller by a tenth",
                ratio(1.1 * trials[f"{name}/dropout/test loss"], trials[f"{name}/none/test loss"], margin=1.0),
                of="1.1 times the loss with dropout over that without",
            )
            for name in ("smallest set", "largest set")
        ),
        limit(
            "2.12",
            f"a network of {trials.config.small_width} hidden units that is given {trials.config.few_steps} steps on "
            f"{sizes['under-trained']} makes over a tenth more mistakes on unseen ones with dropout",
            ratio(
                trials["under-trained/dropout/test mistakes"], trials["under-trained/none/test mistakes"], margin=1.1
            ),
            of="mistakes on unseen images with dropout over those without",
        ),
    ]


def gap(trials, name, arm):
    """How much larger the loss is on unseen images than on training images."""
    return trials[f"{name}/{arm}/test loss"] - trials[f"{name}/{arm}/train loss"]


# %%
# What to look at
# ---------------
# On the left, the distance between a full line and the dashed line of its color is the over-fitting. At 2,000 letters
# dropout makes fewer mistakes, but its gap is no smaller: its best rate is four times as large, with which it fits the
# training letters better too. At the rate of the arm without it (crosses, not judged) it fits them less well, and the
# gap is smaller. So a gap that is not smaller is not a network that is no better. On the right, each dot is a seed;
# above the line dropout is better. The last two places have the same images: there it matters whether the network could
# have learned them.


def figure(trials):
    drawing, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    of = settings(trials.config)
    sizes = [of[name].images for name in SETS]
    for color, (arm, p) in zip(("C0", "C1"), ARMS.items(), strict=True):
        for place, style in {"test": "-", "train": "--"}.items():
            losses = np.array([trials[f"{name}/{arm}/{place} loss"] for name in SETS])
            left.plot(sizes, losses, color=color, linestyle=style, linewidth=0.4, alpha=0.4)
            label = f"dropout {p:g}, {'unseen' if place == 'test' else 'training'} images"
            left.plot(sizes, losses.mean(1), color=color, linestyle=style, marker="o", label=label)
    at_same_rate = [trials[f"middle set/{SAME_RATE}/{place} loss"].mean() for place in ("train", "test")]
    middle = [of["middle set"].images] * 2
    left.plot(middle, at_same_rate, "x:", color="C4", label="dropout 0.5 at the rate of the arm without")
    left.set_xscale("log")
    left.set_xticks(sizes, [f"{count:,}" for count in sizes])
    left.minorticks_off()
    left.set_ylim(0, 1.5 * left.get_ylim()[1])  # room for the legend
    left.set_title(f"Loss after training, on four sets of {trials.config.data}")
    left.set_xlabel("images to learn from")
    left.set_ylabel("loss in nats")
    left.legend()

    names = {name: f"{of[name].images:,}" for name in SETS} | {"under-trained": f"{of['under-trained'].images:,}\n"}
    names["under-trained"] += "small, brief"
    for slot, name in enumerate(names):
        for shift, color, what in ((-0.15, "C2", "loss"), (0.15, "C3", "mistakes")):
            gain = trials[f"{name}/none/test {what}"] / trials[f"{name}/dropout/test {what}"]
            where = slot + shift
            right.plot(where + np.linspace(-0.1, 0.1, len(gain)), gain, "o", color=color, alpha=0.5, markersize=4)
            mean = np.exp(np.log(gain).mean())
            right.plot([where - 0.13, where + 0.13], [mean] * 2, color=color, label=None if slot else what)
    right.axhline(1, color="0.4", linestyle=":")
    right.set_yscale("log")
    right.set_yticks([0.25, 0.5, 0.7, 1, 1.4], ["0.25", "0.5", "0.7", "1", "1.4"])
    right.minorticks_off()
    right.set_xticks(range(len(names)), names.values())
    right.set_title(f"What dropout gains on unseen {trials.config.data}")
    right.set_xlabel("images to learn from")
    right.set_ylabel("without dropout over with dropout")
    right.legend()
    return drawing


# %%
# Run it
# ------

if __name__ == "__main__":
    lesson.main("over_fitting")
