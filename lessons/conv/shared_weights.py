"""
Should a network use the same weights everywhere in an image?
=============================================================

An A is an A in any corner of the page. Weights that have learned to see a slanted stroke in one corner would be of use
in all corners, if they were applied there. A *convolution* applies them everywhere. It slides one small set of weights,
the *kernel*, over the image. At each place it multiplies the pixels under the kernel, the *patch*, by the weights, and
adds up, plus a constant, the *bias* (here 0). The answers, laid out as the places are, make a *feature map*. ::

    answer at a place = kernel · patch          kernel (1, -1)

    pixels                0    3    1    0    0    0
    patches of two          (0,3) (3,1) (1,0) (0,0) (0,0)
    answers                  -3     2     1     0     0

Say that (3, 1) is a stroke, and that the answer to it should be larger. The gradient of that answer with respect to the
kernel is the patch. So a step at the rate 0.1 adds a tenth of the patch: the kernel becomes (1.3, -0.9), and the answer
3.0. Next time the stroke stands two pixels further right. The shared kernel answers 3.0 there as well. Had each place a
kernel of its own, a *separate* one, that of the new place would still be (1, -1) and answer 2. With a stroke in both
places, the shared kernel learns from both: its gradient is the sum of the gradients that separate kernels would have.

Sharing has a premise: a patch means the same everywhere. Suppose that pixels on the right have the wrong sign, so that
the stroke is (-3, -1) there. The shared kernel answers -3.0. A step that makes this answer larger adds (-0.3, -0.1):
it undoes what was learned on the left. Separate kernels would not mind. For faces that are cut out alike, with the eyes
always in the same place, Taigman et al. (2014) used them. For letters anywhere in a frame, sharing should pay.

A *convolutional network* is one that shares weights over space (LeCun et al., 1989). Only its convolutions share them:
the classifier at its end has, in this lesson too, other weights for each place.
"""

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch.nn.functional import pad

from dlnotes import data, lesson, linear
from dlnotes.conv import ConvNet, shift
from dlnotes.evidence import identity, ratio
from dlnotes.lesson import answer, claim, limit, reference_line, strips, tiles
from dlnotes.linear import SGD, cross_entropy
from dlnotes.measuring import Measured, Tuned, grid, largest_error, train_for
from dlnotes.randomness import stream
from dlnotes.training import DivergedError, Minibatches, Trainer, accuracy, evaluate

# %%
# The experiment
# --------------
# Letters of 14 × 14 pixels lie anywhere in frames of 20 × 20. Three networks, the *arms*, learn to name them. "Shared"
# has two convolutions, of 8 and 16 kernels. "Separate" starts as the same function, with a copy of each kernel at each
# place, but each copy learns by itself: 105,354 weights in place of 4,074. "Dense" has no kernels: 256 units with a
# weight for every pixel, and about as many weights as "separate". All three make about 104,000 multiplications an
# image, see the same batches, and have the learning rate that was best for each on other seeds. A gradient longer than
# 1 is shortened to 1: that of a shared kernel can be long, as a sum over up to 256 places.
#
# All learn from few images, from many, and from many with *own codes*. That third setting breaks the premise: it flips
# the sign of about half of the pixels, the same ones in all images. No image loses anything, but each place has a code
# of its own, in which the same stroke looks different. A *seed* draws images, their places, signs and first weights.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 4_000  # training images
    few: int = 1_000  # images of the smaller training set, the first of the larger one
    validation: int = 1_000  # images that rates are chosen by
    test: int = 2_000  # unseen images
    flipped: float = 0.5  # share of the pixels whose sign is flipped where each place has its own code
    steps: int = 400  # steps of each network
    batch_size: int = 64  # images a step
    device: str = "cpu"  # where the networks are trained


QUICK = Config(train=200, few=100, validation=100, test=200, steps=10)
SEEDS = range(12)
DATA = ("letters", "fashion_mnist", "not_mnist")
ARMS = {
    "shared": "5x5x8 max2 5x5x16 max2",  # 8 kernels of 5×5, the largest of each 2×2 square, 16 kernels, and again
    "separate": "local5x5x8 max2 local5x5x16 max2",
    "dense": "dense256",
}
SETTINGS = ("few images", "many images", "own codes")
FREE = 6  # pixels of a frame that an image leaves free, across and down
PLACES = {"top left": 0, "middle": 8 * 16 + 8, "bottom right": 16 * 16 - 1}  # of 16 × 16, for the figure


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    measured: Measured = {}
    for setting in SETTINGS:
        train, _, test = load(config, seed, setting)
        for arm in ARMS:
            model = trained(arm, train, config, seed, lr=tuned[f"{setting}/{arm}"])
            measured[f"{setting}/{arm}/mistakes"] = 1 - accuracy(model, test)
            if setting == "many images" and arm != "dense":
                weights = model.state_dict()["layers.0.weight"].reshape(8, -1, 25)  # (kernels, places or 1, pixels)
                for name, place in PLACES.items():
                    measured[f"kernels/{arm}/{name}"] = weights[:4, place % weights.shape[1]].flatten().tolist()
            if setting == "many images" and arm == "shared":
                measured["one kernel/error"] = error_of_patches(model.double(), test.inputs[:20].double())
    return measured


def load(config: Config, seed: int, setting: str) -> data.Parts:
    """Images at random places, the same ones in each setting."""
    parts = data.load(config.data, seed, train=config.train, validation=config.validation, test=config.test, side=14)
    signs = 1 - 2 * (torch.rand(20, 20, generator=stream(seed, "signs")) < config.flipped).float()
    found = {}
    for name, (images, targets) in parts._asdict().items():
        moves = torch.randint(FREE + 1, (2, len(images)), generator=stream(seed, f"places of {name}"))
        images = shift(pad(images, (0, FREE, 0, FREE)), *moves)
        found[name] = data.Examples(images * signs if setting == "own codes" else images, targets).to(config.device)
    if setting == "few images":
        found["train"] = data.Examples(*(tensor[: config.few] for tensor in found["train"]))
    return data.Parts(**found)


def network(arm: str, seed: int) -> ConvNet:
    """Without padding: zeros around the image would tell a kernel where it is."""
    model = ConvNet(ARMS[arm], inputs=(1, 20, 20), padding="valid", generator=stream(seed, "weights"))
    return filled(model, network("shared", seed)) if arm == "separate" else model


def filled(separate: ConvNet, shared: ConvNet) -> ConvNet:
    """The separate network with a copy of the shared kernels at each place: the same function."""
    sizes = {name: len(weights) for name, weights in separate.state_dict().items()}  # kernels · places
    copies = {name: one.repeat_interleave(sizes[name] // len(one), dim=0) for name, one in shared.state_dict().items()}
    separate.load_state_dict(copies)
    return separate


def trained(arm: str, images: data.Examples, config: Config, seed: int, *, lr: float) -> ConvNet:
    """A network after its steps; one that diverges is left as it was before."""
    model = network(arm, seed).to(config.device)
    optimizer = SGD(model.parameters(), lr=lr, momentum=0.9, max_norm=1.0)
    batches = Minibatches(images, min(config.batch_size, len(images.targets)), stream(seed, "batches"))
    scheduler = linear.cosine_decay(optimizer, config.steps)
    with suppress(DivergedError):
        train_for(Trainer(model, cross_entropy, optimizer, batches, scheduler=scheduler), config.steps)
    return model


def error_of_patches(model: ConvNet, images: torch.Tensor) -> float:
    """How far the first layer is from one kernel times the patch at all places."""
    state, patches = model.state_dict(), images[:, 0].unfold(1, 5, 1).unfold(2, 5, 1).flatten(3)
    by_hand = patches @ state["layers.0.weight"].flatten(1).T + state["layers.0.bias"]
    return largest_error(model.layers[0](images), by_hand.movedim(-1, 1))


# `python -m lessons tune shared_weights` chooses the learning rates, of the same five for each arm.
TUNING = {f"{setting}/{arm}": grid(0.04, 0.64) for setting in SETTINGS for arm in ARMS}
TUNING_SEEDS = range(1_000, 1_003)


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    setting, arm = arm.split("/")
    train, validation, _ = load(config, seed, setting)
    models = (trained(arm, train, config, seed, lr=lr) for lr in candidates)
    return [evaluate(model, validation, cross_entropy) for model in models]


# %%
# What we expect
# --------------
# Written before the run: *claims* of the course notes, by row, and a *limit*, a case where we expect them to fail. "A
# tenth" is the *margin*, the smallest difference that matters. Mistakes are counted on unseen images.


def over(one, other, setting):
    return lambda t: ratio(t[f"{setting}/{one}/mistakes"], t[f"{setting}/{other}/mistakes"], margin=1.1)


# fmt: off
PREDICTIONS = [
    claim("3.02", "many images", "With {train:,} {data}, each anywhere in a frame, separate weights make over a tenth "
          "more mistakes than shared ones.", over("separate", "shared", "many images"), arms=("separate", "shared")),
    claim("3.02", "few images", "With {few:,} {data}, each anywhere in a frame, separate weights make over a tenth "
          "more mistakes than shared ones.", over("separate", "shared", "few images"), arms=("separate", "shared")),
    claim("3.02", "dense", "With {train:,} {data}, each anywhere in a frame, a dense layer makes over a tenth "
          "more mistakes than shared weights.", over("dense", "shared", "many images"), arms=("dense", "shared")),
    limit("3.02", "own codes", "With {train:,} {data} where the sign of a pixel depends on its place, shared weights "
          "make over a tenth more mistakes than separate ones.", over("shared", "separate", "own codes"),
          arms=("shared", "separate"), because="the same patch means something else at each place"),
    claim("3.03", "one kernel", "Each number of a trained feature map is the same kernel times its patch of the image, "
          "plus the same bias.", lambda t: identity(t["one kernel/error"], tolerance=1e-10), of="largest error"),
]

ANSWERS = [
    answer("3.02", "For {data} anywhere, yes: separate weights make {many images} times the mistakes of shared ones "
           "(open on notMNIST, no on Fashion-MNIST). If a pixel's sign depends on its place, shared make {own codes} "
           "times as many.", given={"many images": "supported", "few images": "supported", "dense": "supported",
           "own codes": "supported", "fashion_mnist/many images": "refuted", "not_mnist/many images": "inconclusive"}),
    answer("3.03", "Yes: a convolution multiplies every patch of the image by the same weights, after training too.",
           given={"one kernel": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left, above, four letters anywhere in their frames, and the same ones where each pixel has its own sign (red
# above zero, blue below). Beneath, four kernels of the first layer, learned from letters of the upper row, at three
# places. Shared ones are the same at each. Separate ones began as copies of one start and have hardly left it: each
# learned from what came by its own place alone, and little ink ever comes to the corners. In the middle the share of
# unseen images that were named wrongly: a dot a seed, a bar at the mean. Own codes hurt shared weights most. On the
# right how many times the mistakes of shared weights the others make: above the dotted line sharing is better. A run of
# 320 steps, its rates chosen anew, had 1.28 times for 4,000 letters [1.09, 1.51]: there a tenth stayed open.


def figure(trials):
    config = trials.config
    drawing, axes = plt.subplot_mosaic("slr;klr", figsize=(14, 4.4), width_ratios=(1.25, 1.2, 1))
    plain, coded = (load(config, trials.seeds[0], name).test.inputs[:4, 0] for name in SETTINGS[1:])
    tiles(axes["s"], torch.cat([plain, coded]).cpu(), columns=4, signed=True, each=False)
    axes["s"].set(title="Letters anywhere; below, with own codes")
    learned = [[trials[f"kernels/{arm}/{name}"][0] for name in PLACES] for arm in ("shared", "separate")]
    shared, separate = torch.tensor(np.array(learned), dtype=torch.float32).view(2, 3, 4, 5, 5)
    gap = torch.full((3, 1, 5, 5), torch.nan)
    tiles(axes["k"], torch.cat([shared, gap, separate], dim=1).flatten(0, 1), columns=9, signed=True)
    axes["k"].set(title="Four kernels at three places: shared (left), separate")
    axes["k"].set_yticks([3, 9, 15], list(PLACES), size="small")

    words = (f"{config.few:,}\nanywhere", f"{config.train:,}\nanywhere", f"{config.train:,}\nown codes")
    mistakes = {arm: [trials[f"{setting}/{arm}/mistakes"] for setting in SETTINGS] for arm in ARMS}
    for number, (arm, found) in enumerate(mistakes.items()):
        color, left, right = f"C{number}", 0.27 * number - 0.27, 0.27 * number - 0.4
        strips(axes["l"], dict(zip(words, found, strict=True)), shift=left, color=color, label=arm, width=0.2)
        if arm != "shared":
            times = dict(zip(words, np.divide(found, mistakes["shared"]), strict=True))
            strips(axes["r"], times, shift=right, color=color, label=arm, width=0.2, geometric=True)
    reference_line(axes["r"], 1, "equal")
    axes["l"].set(title="Share of unseen images named wrongly", xlabel="training images", ylim=(0, None))
    axes["r"].set(title="Mistakes divided by those of shared weights", xlabel="training images", yscale="log")
    axes["r"].set_yticks([0.7, 1, 1.4, 2], ["0.7", "1", "1.4", "2"])
    axes["r"].minorticks_off()
    axes["l"].legend()
    return drawing


# %%
# Try it yourself
# ---------------
# Flip a tenth of the pixels in place of half. Which weights win? `python -m lessons run shared_weights --set
# flipped=0.1`.

if __name__ == "__main__":
    lesson.main("shared_weights")
