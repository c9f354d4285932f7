"""
Which pooling window should you take, and its largest number or its mean?
=========================================================================

A convolution slides a *kernel*, a small square of weights, over an image. At each place it multiplies the pixels below
(the *patch*) by the weights, adds up, and so says how much this place looks like, say, a rising stroke. These
*responses*, laid out like the image, are a *feature map*; several kernels give several, the *channels*.

Neighbouring responses say nearly the same, so a smaller map would do. *Striding* computes only every second one, and
never sees the rest. Pooling computes all of them, in steps of one pixel, and then makes one number of each *window*: the
largest, or the mean. Two numbers say where the windows lie: k, pixels along a side, and s, the *stride*, by how many
pixels the window moves on. ::

    max       y[i, j] = the largest of x[s·i + u, s·j + v]         over u, v from 0 to k - 1
    average   y[i, j] = the mean of them, their sum / k²

By hand, with k = 2 and s = 2, so that the windows tile the map: ::

    responses  1  0 | 2  1        max  4  2        average  1.75  1.00
               4  2 | 0  1             2  5                 1.00  3.00
               -----+-----
               0  1 | 3  2        Max asks "is the stroke here at all?", the mean "how much of it is here?"
               1  2 | 2  5        With k = 4 and s = 4 only one number would be left: 5, or 1.69.

Averaging is itself a convolution, by a kernel that holds 1/k² everywhere. Max is not: in training, the weights behind a
window learn from the place that won and from no other. Neither has a weight of its own. But a smaller map gives the
classifier at the end fewer numbers to weigh, and so pooling does change the size of the whole network.

So three choices are open: k, s, and which number. Larger windows forget more about where a stroke was. That helps where
letters vary in place, and hurts where place is what tells them apart. Boureau, Ponce and LeCun (2010) find the maximum
better where a feature is rare, since the mean drowns one strong response among weak ones. Do the choices matter?
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
# A *seed* draws letters, A to J of 12 × 12 pixels, and first weights. Eight networks learn them, the *arms*: window 2
# or 4, stride 2 or 4, max or average. Each is a convolution of 8 kernels of 5 × 5, the pooling, a convolution of 16
# such kernels, and a linear classifier. They share images, batches and the first weights of the convolutions; each has
# the learning rate that was best for it on other seeds, and it falls to zero along half a cosine wave. We count
# mistakes on unseen images. What pooling is by definition we check on maps of random numbers.


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
        measured[f"{arm}/loss"] = evaluate(model, parts.test, cross_entropy)
    for name, pooling in {"no pooling": "", "max": "max2"}.items():
        measured[f"whole network/{name}/parameters"] = count_parameters(network(seed, pooling))
        measured[f"ending in means/{name}/parameters"] = count_parameters(network(seed, pooling, end="global"))
    return measured


def load(config: Config, seed: int) -> data.Parts:
    counts = {"train": config.train, "validation": config.validation, "test": config.test}
    parts = data.load(config.data, seed, **counts, side=SIDE)
    return data.Parts(*(part.to(config.device) for part in parts))


def network(seed: int, pooling: str, end: str = "") -> ConvNet:
    """A pooling between two convolutions; with "global" at the end, the classifier sees one mean of each channel."""
    return ConvNet(f"5x5x8 {pooling} 5x5x16 {end}", inputs=(1, SIDE, SIDE), generator=stream(seed, "weights"))


def trained(config: Config, seed: int, images: data.Examples, pooling: str, *, lr: float) -> ConvNet:
    """A network after its steps, ready to be judged."""
    model = network(seed, pooling).to(config.device)
    settings = {"steps": config.steps, "batch_size": config.batch_size, "lr": lr}
    train_classifier(model, images, generator=stream(seed, "batches"), **settings)
    return model.eval()


def identities(seed: int) -> Measured:
    """What pooling is by definition, on random images of two channels: the largest errors."""
    generator = stream(seed, "numbers")
    images = torch.randn(2, 3, 9, 9, generator=generator, dtype=torch.float64)
    convolution = Conv2d(3, 2, 3, generator=generator, dtype=torch.float64)
    maps = convolution(images).detach().requires_grad_()  # one response a pixel, 7 × 7
    k, s = 3, 2
    corners = [(i, j) for i in range(0, 7 - k + 1, s) for j in range(0, 7 - k + 1, s)]  # 3 × 3 windows
    windows = [maps[..., i : i + k, j : j + k].flatten(-2) for i, j in corners]
    slowly = torch.stack([window.amax(-1) for window in windows], -1).view(2, 2, 3, 3)
    pooled, means = MaxPool2d(k, s)(maps), AveragePool2d(k, s)(maps)
    patch = images[..., : k + 2, : k + 2]  # what the first window has seen of the image
    (gradient,) = torch.autograd.grad(pooled[0, 0, 0, 0], maps)
    place = maps[0, 0, :k, :k].argmax().item()
    won = torch.zeros_like(maps)
    won[0, 0, place // k, place % k] = 1
    kernel = torch.full((2, 1, k, k), 1 / k**2, dtype=torch.float64)  # one for each channel
    return {
        "pooling/error": largest_error(pooled[..., :1, :1], convolution(patch).amax((-2, -1), keepdim=True)),
        "max/error": largest_error(pooled, slowly),
        "max/gradient error": largest_error(gradient, won),
        "average/error": largest_error(means, functional.conv2d(maps, kernel, stride=s, groups=2)),
        "average/above the largest": (means - pooled).clamp(min=0).amax().item(),
    }


# %%
# `python -m lessons tune pooling_windows` chooses the learning rates: the same five for each arm, scored by the loss on
# validation images.

RATES = grid(0.02, 0.32)
TUNING = {arm: RATES for arm in ARMS}
TUNING_SEEDS = range(1_000, 1_003)


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    parts = load(config, seed)
    models = (trained(config, seed, parts.train, ARMS[arm], lr=lr) for lr in candidates)
    return [evaluate(model, parts.validation, cross_entropy) for model in models]


PREDICTIONS = [
    claim("3.16", "stride", "S.", lambda t: ratio(t["max k4 s4/mistakes"], t["max k4 s2/mistakes"], margin=1.1)),
]
ANSWERS = []


def figure(trials):
    return plt.figure()


if __name__ == "__main__":
    lesson.main("pooling_windows")
