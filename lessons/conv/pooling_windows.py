"""
Which pooling window should you take, and its largest number or its mean?
=========================================================================

A convolution slides a *kernel*, a small square of weights, over an image. At each place it multiplies the pixels there
(the *patch*) by the weights, adds up, and so says how much this place looks like, say, a rising stroke. These
*responses*, laid out like the image, are a *feature map*; several kernels give several, the *channels*.

Neighbouring responses say nearly the same, so a smaller map would do. The convolution still moves by one pixel at a
time and computes all responses, a map x. Pooling then lays *windows* over x and makes one number of each, the largest
or the mean. These numbers are the smaller map y. A window has k pixels along a side, and the next one lies s pixels
further, the *stride*. If s is less than k, windows overlap; if it is more, some pixels lie in none. ::

    max       y[i, j] = the largest of x[s·i + u, s·j + v]         over u, v from 0 to k - 1
    average   y[i, j] = the sum of them / k²

By hand, with k = 2 and s = 2, so that the windows tile the map: ::

    responses  1  0 | 2  1        max  4  2        average  1.75  1.00
               4  2 | 0  1             2  5                 1.00  3.00
               -----+-----
               0  1 | 3  2        Max asks "is the stroke here at all?", the mean "how much of it is here?"
               1  2 | 2  5        With k = 4 and s = 4 one number would be left: 5, or 1.69.

Averaging is itself a convolution, by a kernel that holds 1/k² everywhere. Max is not. With max, the kernels in front
of it learn from the place that won in a window, and from no other. Neither kind has weights to learn. But a smaller
map leaves the classifier at the end fewer numbers to weigh, so pooling does change the size of the whole network.

Three choices, then: k, s, and which number. A large window forgets where a stroke was; a large stride keeps few places.
The mean drowns one strong response among many weak ones (Boureau, Ponce and LeCun, 2010). Do the choices matter?
"""

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch.nn import functional

from dlnotes import data, lesson
from dlnotes.conv import AveragePool2d, Conv2d, ConvNet, MaxPool2d, count_parameters, train_classifier
from dlnotes.evidence import identity, ratio
from dlnotes.lesson import answer, claim, limit, reference_line, strips
from dlnotes.linear import cross_entropy
from dlnotes.measuring import Measured, Tuned, grid, largest_error
from dlnotes.randomness import stream
from dlnotes.training import accuracy, evaluate

# %%
# The experiment
# --------------
# A *seed* draws letters, A to J of 12 × 12 pixels, and first weights. Eight networks, the *arms*, learn the letters:
# window 2 or 4, stride 2 or 4, max or average. Each is a convolution of 8 kernels of 5 × 5, the pooling, a convolution
# of 16 such kernels, and a linear classifier. They share images, batches and first kernels. Each has its best learning
# rate, chosen on other seeds, which falls to zero; gradients longer than 1 are shortened. We count mistakes on unseen
# images. What pooling is by definition we check on maps of random numbers.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 2_000  # training images
    validation: int = 1_000  # images that rates are chosen by
    test: int = 2_000  # unseen images
    steps: int = 300  # of each network
    batch_size: int = 32  # images a step
    device: str = "cpu"


QUICK = Config(train=200, validation=100, test=200, steps=15)
SEEDS = range(12)
DATA = ("letters", "fashion_mnist", "not_mnist")
SIDE = 12  # pixels: stride 2 leaves 6 or 5 places along a side, stride 4 leaves 3
ARMS = {f"{kind} k{k} s{s}": f"{kind}{k}/{s}" for kind in ("max", "average") for k in (2, 4) for s in (2, 4)}


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    parts = load(config, seed)
    measured: Measured = identities(seed)
    for arm, pooling in ARMS.items():
        model = trained(config, seed, parts.train, pooling, lr=tuned[arm])
        measured[f"{arm}/mistakes"] = 1 - accuracy(model, parts.test)
    for name, pooling in {"no pooling": "", "max": "max2"}.items():
        measured[f"whole network/{name}/parameters"] = count_parameters(network(seed, pooling))
        measured[f"ending in means/{name}/parameters"] = count_parameters(network(seed, pooling, end="global"))
    return measured


def load(config: Config, seed: int) -> data.Parts:
    train, validation, test = config.train, config.validation, config.test
    return data.load(config.data, seed, train=train, validation=validation, test=test, side=SIDE).to(config.device)


def network(seed: int, pooling: str, end: str = "") -> ConvNet:
    """A pooling between two convolutions; with "global" at the end, the classifier sees one mean of each channel."""
    return ConvNet(f"5x5x8 {pooling} 5x5x16 {end}", inputs=(1, SIDE, SIDE), generator=stream(seed, "weights"))


def trained(config: Config, seed: int, images: data.Examples, pooling: str, *, lr: float) -> ConvNet:
    """A network after its steps, ready to be judged."""
    model = network(seed, pooling).to(config.device)
    batches = stream(seed, "batches")
    train_classifier(model, images, generator=batches, steps=config.steps, batch_size=config.batch_size, lr=lr)
    return model.eval()


def identities(seed: int) -> Measured:
    """What pooling is by definition, on random images of two channels: the largest errors."""
    generator = stream(seed, "numbers")
    images = torch.randn(2, 3, 9, 9, generator=generator, dtype=torch.float64)
    convolution = Conv2d(3, 2, 3, generator=generator, dtype=torch.float64)
    maps = convolution(images).detach().requires_grad_()  # one response a pixel, 7 × 7
    k, s = 3, 2
    corners = range(0, 7 - k + 1, s)  # 0, 2 and 4, down and across
    slowly = torch.stack([maps[..., i : i + k, j : j + k].amax((-2, -1)) for i in corners for j in corners], -1)
    pooled, means = MaxPool2d(k, s)(maps), AveragePool2d(k, s)(maps)
    patch = images[..., : k + 2, : k + 2]  # what the first window has seen of the image
    (gradient,) = torch.autograd.grad(pooled[0, 0, 0, 0], maps)
    won = (maps == slowly[0, 0, 0]).to(maps)  # 1 in one place: no two random numbers are the same
    kernel = torch.full((2, 1, k, k), 1 / k**2, dtype=torch.float64)  # one for each channel
    return {
        "pooling/error": largest_error(pooled[..., :1, :1], convolution(patch).amax((-2, -1), keepdim=True)),
        "max/error": largest_error(pooled.flatten(-2), slowly),
        "max/gradient error": largest_error(gradient, won),
        "average/error": largest_error(means, functional.conv2d(maps, kernel, stride=s, groups=2)),
        "average/above the largest": (means - pooled).clamp(min=0).amax().item(),
    }


# %%
# `python -m lessons tune pooling_windows` chooses the rates, of the same six for each arm, by validation loss.

TUNING = dict.fromkeys(ARMS, grid(0.02, 0.64))
TUNING_SEEDS = range(1_000, 1_003)


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    parts = load(config, seed)
    models = (trained(config, seed, parts.train, ARMS[arm], lr=lr) for lr in candidates)
    return [evaluate(model, parts.validation, cross_entropy) for model in models]


# %%
# What we expect
# --------------
# Written before the run. A *claim* is the notes' statement, a *limit* a place where we expect it to fail. A definition
# must hold up to rounding. For the choices, mistakes are compared as ratios; the *margin*, the smallest difference that
# matters, is a tenth. The notes count two choices, window and stride (row 3.16). The limit: max or mean is a third.


def exact(*errors):
    return identity(np.max(errors, axis=0), tolerance=1e-12)


# fmt: off
PREDICTIONS = [
    claim("3.10", "pooling", "The first number of a max-pooled map is the largest response, in the first window, of a "
          "convolution that moves by one pixel.", lambda t: exact(t["pooling/error"])),
    claim("3.11", "max", "Max pooling gives the largest of a window, and the gradient goes to its place alone.",
          lambda t: exact(t["max/error"], t["max/gradient error"])),
    claim("3.12", "weights", "Where the classifier sees just one mean of each channel, max pooling adds no parameter.",
          lambda t: exact(np.abs(t["ending in means/max/parameters"] - t["ending in means/no pooling/parameters"]))),
    limit("3.12", "classifier", "With a classifier that sees all places, the whole network has less than half the "
          "parameters once max pooling is put in.",
          lambda t: ratio(t["whole network/no pooling/parameters"], t["whole network/max/parameters"], margin=2),
          arms=("no pooling", "max"), of="parameters without max pooling over those with it",
          because="a smaller map leaves the classifier fewer numbers to weigh"),
    claim("3.16", "stride", "With windows of 2 × 2, max pooling makes over a tenth more mistakes on unseen {data} at "
          "stride 4 than 2.", lambda t: ratio(t["max k2 s4/mistakes"], t["max k2 s2/mistakes"], margin=1.1),
          arms=("max k2 s4", "max k2 s2"), of="mistakes at stride 4 over those at stride 2"),
    claim("3.16", "window", "At stride 2, max pooling makes over a tenth more mistakes on unseen {data} with windows "
          "of 4 × 4 than 2 × 2.", lambda t: ratio(t["max k4 s2/mistakes"], t["max k2 s2/mistakes"], margin=1.1),
          arms=("max k4 s2", "max k2 s2"), of="mistakes with window 4 over those with window 2"),
    limit("3.16", "third choice", "With windows of 4 × 4 at stride 2 average pooling makes over a tenth more mistakes "
          "on unseen {data} than max pooling.",
          lambda t: ratio(t["average k4 s2/mistakes"], t["max k4 s2/mistakes"], margin=1.1),
          arms=("average k4 s2", "max k4 s2"), of="mistakes of average pooling over those of max",
          because="the mean drowns one strong response among the 16 of a window"),
    claim("3.17", "average", "Average pooling is a convolution by a kernel of 1/k² everywhere, and never above max.",
          lambda t: exact(t["average/error"], t["average/above the largest"])),
]

ANSWERS = [
    answer("3.10", "Yes: kernels move by one pixel, then a window gives one number.", given={"pooling": "supported"}),
    answer("3.11", "Yes. Kernels in front learn from the place of the maximum alone.", given={"max": "supported"}),
    answer("3.12", "The layer adds none. But it shrinks the map, and with it a classifier that sees all places: "
           "without the pooling, our network has {classifier} times as many parameters.",
           given={"weights": "supported", "classifier": "supported"}),
    answer("3.16", "Yes: stride 4 makes {stride} times the mistakes of stride 2. Window 4 over 2 is open (on notMNIST: "
           "no tenth). A third choice: the mean makes {third choice} times the mistakes of max.",
           given={"stride": "supported", "window": "inconclusive", "third choice": "supported",
                  "not_mnist/window": "refuted"}),
    answer("3.17", "Yes. It is a convolution, too: by a kernel of 1/k² everywhere.", given={"average": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# Above the thing itself: a letter, the responses of a kernel that answers where it gets darker from left to right
# (black: strong), and four poolings of these. Red dots mark the largest of each 2 × 2, if above 0. Max keeps strong
# responses black, averaging greys them. Below on the left the mistakes of all eight networks, a dot a seed, a bar at
# the mean. On the right three pairs that differ in one choice: above the line the network named first makes more.


def figure(trials):
    drawing, axes = plt.subplot_mosaic([["look", "look"], ["all", "one"]], figsize=(12.5, 6.4), height_ratios=(1, 1.5))
    image = load(trials.config, trials.seeds[0]).train.inputs[:1].cpu()
    kernel = torch.tensor([[-1.0, 0.0, 1.0]] * 3).view(1, 1, 3, 3)
    maps = functional.conv2d(image, kernel, padding=1).relu()
    shown = {"a letter": image, "where it gets darker": maps}
    for k in (2, 4):
        shown |= {f"max k{k} s{k}": MaxPool2d(k)(maps), f"average k{k} s{k}": AveragePool2d(k)(maps)}
    look, lefts = axes["look"], [14 * place for place in range(len(shown))]
    for left, tile in zip(lefts, shown.values(), strict=True):
        most = (image if tile is image else maps).max().item()  # poolings share the scale of what they pool
        look.imshow(tile[0, 0].numpy(), cmap="Greys", vmin=0, vmax=most, extent=(left, left + SIDE, SIDE, 0))
        look.plot([left, left + SIDE, left + SIDE, left, left], [0, 0, SIDE, SIDE, 0], color="0.8", linewidth=0.8)
    (won,) = torch.autograd.grad(MaxPool2d(2)(maps.requires_grad_()).sum(), maps)  # 1 where a number was taken
    down, right = torch.nonzero((won * maps)[0, 0], as_tuple=True)
    look.plot((lefts[1] + right + 0.5).numpy(), (down + 0.5).numpy(), "o", color="C2", markersize=3)
    look.set_title("A letter, its responses to one kernel, and what pooling makes of them")
    look.set(xlim=(-0.3, lefts[-1] + SIDE + 0.3), ylim=(SIDE + 0.3, -0.3), yticks=[])
    look.set_xticks([left + SIDE / 2 for left in lefts], list(shown))
    look.spines[:].set_visible(False)
    look.grid(False)

    for kind, color, shift in (("max", "C0", -0.16), ("average", "C1", 0.16)):
        shares = {place: 100 * trials[f"{kind} {place}/mistakes"] for place in ("k2 s2", "k4 s2", "k2 s4", "k4 s4")}
        strips(axes["all"], shares, color=color, label=kind, shift=shift, width=0.25)
    axes["all"].set(title="Mistakes on unseen images", ylabel="%")
    axes["all"].legend()
    compared = [one for one in PREDICTIONS if one.row == "3.16"]
    ratios = {"\nover ".join(one.arms): np.array(one.judge(trials).seeds) for one in compared}
    strips(axes["one"], ratios, geometric=True)
    reference_line(axes["one"], 1, "equal")
    axes["one"].set(title="Mistakes, as a ratio")
    return drawing


# %%
# Try it yourself
# ---------------
# Here the largest of 2 × 2 at stride 2 makes the fewest mistakes. Is it still so with a tenth of the training images?
# `python -m lessons run pooling_windows --set train=200 --seeds 7`

if __name__ == "__main__":
    lesson.main("pooling_windows")
