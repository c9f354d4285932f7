"""
Is it better to stride or to pool?
==================================

A convolution slides a *kernel*, a small square of weights, over an image. At each place it multiplies the pixels there
by its weights and adds them up. The sums make a new image, the *feature map*: bright where the kernel found what it
looks for. Many kernels make many maps, so a network soon halves them, in width and height. There are two ways.

*Striding* lets the kernel jump: with a *stride* of 2 it visits every second place, and what lies between is never
computed. *Max pooling* visits all places and hands on the larger of two neighbours (in an image, of 2 × 2). ::

    map          0  3  0  0  0  0  5  0            moved by one place     0  0  3  0  0  0  0  5
    stride 2     0     0     0     5               stride 2               0     3     0     0
    max pooling  3     0     0     5               max pooling            0     3     0     5

Striding missed the 3 and, once the row has moved, the 5. It "discards much information", say the course notes (row
3.09), and networks with max pooling are often more accurate (3.14). They cost more (3.15): a kernel of 5 × 5 makes 25
*multiply-adds* a place. On 16 × 16 pixels that is 1,600 at the 64 places of stride 2, but 6,400 at all 256.

Yet pooling loses something too: 0 3 and 3 0 both become 3, and *where* it was is gone. A kernel 5 wide that jumps by 2
still sees every pixel. And one keeps 64 numbers for 256 pixels, but eight keep 512: what one missed, another may tell.

So we rebuild the image from what was kept: each pixel as a weighted sum of all these numbers. The weights are those of
least squared error on training images, pulled a little to 0 (*ridge regression*). The squared error on unseen images is
what is *lost*, as a share of the error of always showing the average image (their *variance*): 0 is a perfect copy, 1
knows nothing. Sums cannot undo a maximum, and one fixed pull serves all: both may be unkind to max pooling.
"""

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor

from dlnotes import data, lesson
from dlnotes.conv import ConvNet, count_multiply_adds, train_classifier
from dlnotes.evidence import difference, identity, not_better, ratio
from dlnotes.lesson import answer, claim, curves, limit, strips, tiles
from dlnotes.linear import cross_entropy
from dlnotes.measuring import Measured, Tuned, grid, largest_error
from dlnotes.randomness import stream
from dlnotes.training import accuracy, evaluate

# %%
# The experiment
# --------------
# Each *seed* draws images, the letters A to J on 16 × 16 pixels, and first weights. Four networks, the *arms*, see the
# same batches. Three have 8 kernels of 5 × 5, then 16, and the same first weights; what is negative in a map becomes 0,
# and maps are halved by stride, by max pooling, or by the mean of 2 × 2. The fourth strides with twice the kernels, at
# nearly the cost of pooling. Each has its best learning rate, chosen on other seeds, and shortens gradients longer than
# 1. We count multiply-adds and unseen letters named right, and rebuild images from first layers, untrained and trained.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 4_000  # training images
    validation: int = 1_000  # images that rates are chosen by
    test: int = 2_000  # unseen images
    steps: int = 400  # steps of each network
    device: str = "cpu"  # of images and networks


QUICK = Config(train=300, validation=200, test=200, steps=30)
SEEDS = range(12)
DATA = ("letters", "fashion_mnist", "not_mnist")

SIDE = 16  # pixels: halved twice, they give maps of 8 × 8 and of 4 × 4 in all arms
ARMS = {
    "strided": "5x5x8/2 5x5x16/2",  # 8 kernels of 5 × 5 with stride 2, then 16
    "max pooled": "5x5x8 max2 5x5x16 max2",
    "average pooled": "5x5x8 average2 5x5x16 average2",
    "wide strided": "5x5x16/2 5x5x32/2",  # twice the kernels, for 9 % fewer multiply-adds than with pooling
}
SKIPPED = "5x5x8 skip2 5x5x16 skip2"  # computes all places, then keeps every second number of every second row
FIRST = {"strided": "5x5x{}/2", "max pooled": "5x5x{} max2", "average pooled": "5x5x{} average2"}
KERNELS = (1, 2, 4, 8, 16)  # of untrained first layers


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    train, _, test = load(config, seed)
    measured: Measured = {}
    for arm, layers in ARMS.items():
        model = trained(config, seed, train, layers, lr=tuned[arm])
        measured[f"{arm}/multiply-adds"] = count_multiply_adds(model)
        measured[f"{arm}/accuracy"] = accuracy(model, test)
        measured[f"trained/{arm}/lost"] = lost(model, train, test)
    for kernels in KERNELS:
        for arm, layer in FIRST.items():
            measured[f"{kernels}/{arm}/lost"] = lost(network(config, seed, layer.format(kernels)), train, test)
    with torch.no_grad():
        scores = [network(config, seed, layers)(test.inputs) for layers in (SKIPPED, ARMS["strided"])]
    measured["skipped/error"] = largest_error(*scores)
    return measured


def load(config: Config, seed: int) -> data.Parts:
    counts = {"train": config.train, "validation": config.validation, "test": config.test}
    return data.load(config.data, seed, **counts, side=SIDE, flat=False).to(config.device)


def network(config: Config, seed: int, layers: str) -> ConvNet:
    """With 2 pixels of padding (zeros all around), stride 2 puts a kernel at every second place of stride 1."""
    return ConvNet(layers, inputs=(1, SIDE, SIDE), padding=2, generator=stream(seed, "weights")).to(config.device)


def trained(config: Config, seed: int, images: data.Examples, layers: str, *, lr: float) -> ConvNet:
    """A network after its steps of 64 images: SGD with momentum, and a rate that falls to 0 along half a cosine."""
    model = network(config, seed, layers)
    train_classifier(model, images, generator=stream(seed, "batches"), steps=config.steps, lr=lr)
    return model


def kept(model: ConvNet, images: Tensor) -> Tensor:
    """The first maps of half the side, a row of numbers for each image."""
    with torch.no_grad():
        return next(maps for _, maps in model.stages(images) if maps.shape[-1] == SIDE // 2).flatten(1).double()


def rebuilt(model: ConvNet, train: data.Examples, images: Tensor) -> Tensor:
    """Images from what is kept of them, by ridge regression on the training images."""
    pixels, numbers = train.inputs.flatten(1).double(), kept(model, train.inputs)
    image, center = pixels.mean(0), numbers.mean(0)
    products = (numbers - center).T @ (numbers - center)
    products.diagonal().add_(1e-3 * products.diagonal().mean())  # the pull towards 0
    weights = torch.linalg.solve(products, (numbers - center).T @ (pixels - image))
    return (image + (kept(model, images) - center) @ weights).view_as(images)


def lost(model: ConvNet, train: data.Examples, test: data.Examples) -> float:
    """The squared error of rebuilt images, as a share of that of the average training image."""
    error, unknown = rebuilt(model, train, test.inputs) - test.inputs, train.inputs.mean(0) - test.inputs
    return (error.square().sum() / unknown.square().sum()).item()


# The rates are chosen by `python -m lessons tune stride_or_pooling`: of the same six for each arm, by validation loss.
RATES = grid(0.02, 0.64)
TUNING = dict.fromkeys(ARMS, RATES)
TUNING_SEEDS = range(1_000, 1_003)


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    train, validation, _ = load(config, seed)
    models = (trained(config, seed, train, ARMS[arm], lr=lr) for lr in candidates)
    return [evaluate(model, validation, cross_entropy) for model in models]


# %%
# What we expect
# --------------
# Written before the run: *claims* of the notes, by row, and *limits*, where we expect them to fail. The *margin*, the
# smallest difference that matters, stands in each. A point is one image in a hundred.

PAIR = ("strided", "max pooled")

# fmt: off
PREDICTIONS = [
    claim("3.09", "one kernel", "One untrained kernel with stride 2 loses over a quarter of the variance of {data}.",
          lambda t: difference(t["1/strided/lost"], margin=0.25), of="share lost"),
    claim("3.09", "one compared", "One untrained kernel loses over a tenth more of {data} by stride than by pooling.",
          lambda t: ratio(t["1/strided/lost"], t["1/max pooled/lost"], margin=1.1), arms=PAIR),
    limit("3.09", "eight kernels", "Eight untrained kernels with stride 2 lose under a tenth of the variance "
          "of {data}.",
          lambda t: not_better(difference(t["8/strided/lost"], margin=0.1)), of="share lost"),
    limit("3.09", "trained kernels", "In trained networks it is max pooling that loses over a tenth more of {data}.",
          lambda t: ratio(t["trained/max pooled/lost"], t["trained/strided/lost"], margin=1.1), arms=PAIR),
    claim("3.14", "same steps", "After as many steps max pooling is over a point more accurate on unseen {data}.",
          lambda t: difference(t["max pooled/accuracy"] - t["strided/accuracy"], margin=0.01), arms=PAIR),
    limit("3.14", "same cost", "Max pooling gains no point on {data} over twice the kernels with stride 2, as costly.",
          lambda t: not_better(difference(t["max pooled/accuracy"] - t["wide strided/accuracy"], margin=0.01)),
          arms=("wide strided", "max pooled"), because="Springenberg et al., 2015: a strided layer can replace it"),
    limit("3.14", "average", "Average pooling gains no point on unseen {data} over stride 2 with the same kernels.",
          lambda t: not_better(difference(t["average pooled/accuracy"] - t["strided/accuracy"], margin=0.01)),
          arms=("strided", "average pooled"), because="Scherer et al., 2010: maxima do better than averages"),
    claim("3.15", "same function", "Computing all places and dropping three of four gives the scores of striding.",
          lambda t: identity(t["skipped/error"], tolerance=1e-4), of="largest difference of scores"),
    claim("3.15", "multiply-adds", "Max pooling makes over twice the multiply-adds of striding in the whole network.",
          lambda t: ratio(t["max pooled/multiply-adds"], t["strided/multiply-adds"], margin=2.0), arms=PAIR),
]

ANSWERS = [
    answer("3.09", "Of the variance of {data} stride 2 loses {one kernel:.0%} with one kernel (a tenth more than by "
           "pooling? open), {eight kernels:.0%} with eight. Trained, pooling loses {trained kernels} times as much.",
           given={"one kernel": "supported", "eight kernels": "supported", "trained kernels": "supported",
                  "one compared": "inconclusive"}),
    answer("3.14", "Yes, by {same steps:points} points on {data} after as many steps; open on notMNIST, no on "
           "Fashion-MNIST. Over stride with twice the kernels, as costly, by {same cost:points}: if by one is open.",
           given={"same steps": "supported", "same cost": "inconclusive", "fashion_mnist/same steps": "refuted",
                  "not_mnist/same steps": "inconclusive"}),
    answer("3.15", "Yes: {multiply-adds} times the multiply-adds of striding in the whole network. Computing all "
           "places and dropping three of four gives the scores of striding.",
           given={"multiply-adds": "supported", "same function": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# Above on the left the thing itself: a letter, its maps by eight untrained kernels (one finds next to nothing), and
# what is handed on, to scale. Stride breaks strokes, max pooling thickens them. On the right letters rebuilt: from one
# kernel a shadow, from eight a copy. Below on the left what is lost, a thin line a seed, on a logarithmic axis. One
# kernel loses much either way; of eight, max pooling loses more than stride, trained (crosses) or not. Yet on the
# right, a dot a seed, it names most letters: what helps to tell them apart need not be what helps to copy them.


def figure(trials):
    config, seed = trials.config, trials.seeds[0]
    train, _, test = load(config, seed)
    drawing, axes = plt.subplot_mosaic("aaaaaabbbb\ncccccddddd", figsize=(13, 8), height_ratios=(1.1, 1))
    path, copies, losses, right = (axes[name] for name in "abcd")
    path.set(title="One letter, its maps by eight kernels, and what is handed on")
    path.axis("off")
    boxes = {"": (0.0, 0.0, 0.13, 0.9), "5x5x8": (0.16, 0.0, 0.54, 0.9)}
    boxes |= {"5x5x8/2": (0.73, 0.45, 0.27, 0.45), "5x5x8 max2": (0.73, 0.0, 0.27, 0.45)}
    for (layer, box), words in zip(boxes.items(), ("image", "all places", "stride 2", "max pooling"), strict=True):
        maps = [test.inputs[:1], *(maps for _, maps in network(config, seed, layer).stages(test.inputs[:1]))][-1]
        inset = path.inset_axes(box)
        tiles(inset, maps[0].detach().cpu(), columns=4)
        inset.set_title(words, loc="center")
    rows = {"image": test.inputs[:6]}
    for kernels, arm in ((1, "strided"), (1, "max pooled"), (8, "strided"), (8, "max pooled")):
        model = network(config, seed, FIRST[arm].format(kernels))
        rows[f"{kernels}, {arm}"] = rebuilt(model, train, test.inputs[:6]).clamp(0, 1)
    tiles(copies, torch.cat(list(rows.values())).squeeze(1).cpu(), columns=6, each=False)
    copies.set(title="Rebuilt from maps of 1 and of 8 kernels", yticks=17 * np.arange(5) + 9, yticklabels=list(rows))
    for place, (arm, color) in enumerate(zip(ARMS, ("C0", "C1", "C2", "C3"), strict=True)):
        strips(right, {name: 100 * trials[f"{name}/accuracy"] if name == arm else () for name in ARMS}, color=color)
        if arm in FIRST:
            shares = 100 * np.stack([trials[f"{kernels}/{arm}/lost"] for kernels in KERNELS], axis=1)
            curves(losses, range(len(KERNELS)), shares, label=arm, color=color)
            losses.plot([3.1 + place / 10] * len(trials.seeds), 100 * trials[f"trained/{arm}/lost"], "x", color=color)
    losses.set(title="Lost of unseen images, in % of their variance", xlabel="kernels in the first layer", yscale="log")
    losses.set_xticks(range(len(KERNELS)), list(map(str, KERNELS)))
    losses.legend(title="crosses: 8 kernels, trained")
    right.set_xticks(range(4), [f"{arm}\n{trials[f'{arm}/multiply-adds'][0] / 1e3:.0f} thousand" for arm in ARMS])
    right.set(title="Unseen images named right, in %", xlabel="arm, and its multiply-adds an image")
    return drawing


# %%
# Try it yourself
# ---------------
# More kernels keep more. Yet with 500 training images max pooling loses more of eight than of four or sixteen. Why?
# (Eight keep 512 numbers.) `python -m lessons run stride_or_pooling --set train=500 --seeds 2000-2001`

if __name__ == "__main__":
    lesson.main("stride_or_pooling")
