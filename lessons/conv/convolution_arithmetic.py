"""
What does a convolution compute, and how large is the result?
=============================================================

Lay a small window on the top left corner of an image, multiply each pixel in it by a weight, and add up: one number.
Move on by a pixel and do the same, with the same weights, until you have been everywhere. That is a convolution, and
its numbers make a picture. Take 4×4 pixels, 3 the brightest, and weights that ask how much brighter the right is: ::

    image          weights      the window, top middle        all places        zeros on the right and below
    0  0  3  3     -1  1        0  3     -0 + 3               1  5  0           1  5  0  -6
    0  1  3  3     -1  1        1  3     -1 + 3   sum 5       3  3  0           3  3  0  -6
    0  2  3  3                                                2  1  0           2  1  0  -6
    3  3  3  3                                                                  0  0  0  -3

The course notes say "patch" or "kernel" and mean the window by both. We keep them apart. A *patch* is the piece of the
image that lies in the window: there are nine here, and another image has others. The *kernel* is the weights: there is
one, and a network learns it. Write the kernel as a row and each patch as a column, and all is one matrix product: ::

                         0  0  3  …
    -1  1  -1  1    ×    0  3  3  …     =     1  5  0  …          the patches of the top row; six more follow
                         0  1  3  …
                         1  3  3  …

A layer has several kernels, and each makes such a picture, a *feature map*; we call its numbers answers. The *stride*
is how far the window moves on. At stride 2 the example keeps 1 0 and 2 0, and skips the strongest answer, 5. *Padding*
says what happens at the edge. "Valid": the window stays inside. "Same": it sees zeros outside, so many that at stride 1
the map is as large as the image. Why -6? The window sees an edge from 3 down to 0, but there the picture only ends.

How large is the result? Put p zeros at either end of n pixels. A window of k pixels has n + 2p - k pixels left to move
by, and makes as many moves by the stride s as fit. Its start is one more place. ("Same" above: 1 zero for 2p.) ::

    ⌊(n + 2p - k) / s⌋ + 1          ⌊…⌋: rounded down          n = 4, k = 2, p = 0:   3 places at s = 1,   2 at s = 2
"""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor
from torch.nn.functional import pad

from dlnotes import data, lesson
from dlnotes.conv import Conv2d, patches
from dlnotes.evidence import difference, identity
from dlnotes.lesson import answer, claim, limit, strips
from dlnotes.measuring import Measured, largest_error
from dlnotes.randomness import stream

# %%
# The experiment
# --------------
# Nothing is learned. With each *seed*, a number that all random draws start from, we draw an image of three *channels*
# (three numbers for each pixel, as red, green and blue) and four kernels, and compare what should be equal. To check
# the formula, we count places one by one. Last, a kernel of 3×3 looks for edges in real images, ink of 1 on paper of 0,
# and in their *negatives*, ink of 0 on paper of 1: they have the same edges. We add up the sizes of all its answers,
# whatever the sign. What share of the sum is at the border, the outermost rows and columns of the map?


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    images: int = 300  # in which edges are looked for
    side: int = 28  # their pixels along a side


QUICK = Config(images=50)
SEEDS = range(12)
DATA = ("letters", "fashion_mnist", "not_mnist")
EDGES = torch.tensor([[[[-1.0, 0.0, 1.0]] * 3]])  # how much larger the pixels on the right are than those on the left


def trial(config: Config, seed: int) -> Measured:
    draws = stream(seed, "draws")
    image = torch.randn(1, 3, 13, 12, generator=draws, dtype=torch.float64)
    kernels = torch.randn(4, 3, 3, 3, generator=draws, dtype=torch.float64)
    by_hand, framed = slide(image, kernels), slide(pad(image, (1, 1, 1, 1)), kernels)
    product = (kernels.flatten(1) @ patches(image, 3).flatten(1)).view_as(by_hand)
    kept = torch.tensor([1.0, 0.0, 1.0, 1.0]).view(4, 1, 1)  # all kernels but the second
    strided = [largest_error(maps(image, kernels, stride=s), by_hand[..., ::s, ::s]) for s in (2, 3, 4)]
    windows, used = Conv2d(1, 1, 3, generator=draws).windows, times_used(12, 5)
    return {
        "matrix product/error": largest_error(product, by_hand),
        "without a kernel/error": largest_error(maps(image, kernels * kept[..., None]), by_hand * kept),
        "stride/error": max(strided),
        "valid/seen of the outside": windows.of(torch.zeros(1, 1, 12, 12), value=1.0).max().item(),
        "patches/middle over corner": (used[6, 6] / used[0, 0]).item(),
        "frame of zeros/error": largest_error(maps(image, kernels, padding="same"), framed),
        **sizes(),
        **edges(config, seed),
    }


def slide(image: Tensor, kernels: Tensor) -> Tensor:
    """The feature maps (1, O, down, across) of an image (1, C, H, W), place by place, for kernels (O, C, k, k)."""
    k = kernels.shape[-1]
    down, across = (range(size - k + 1) for size in image.shape[2:])
    rows = [[(kernels * image[..., i : i + k, j : j + k]).sum((1, 2, 3)) for j in across] for i in down]
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)[None]


def maps(images: Tensor, kernels: Tensor, **settings) -> Tensor:
    """The feature maps of a layer with these kernels of 3×3."""
    layer = Conv2d(kernels.shape[1], len(kernels), 3, bias=False, generator=torch.Generator(), **settings)
    layer.weight.data = kernels
    return layer(images).detach()


def times_used(size: int, k: int) -> Tensor:
    """In how many patches of k×k each pixel lies, with valid padding: the gradient of the sum of all patches."""
    image = torch.zeros(1, 1, size, size, requires_grad=True)
    return torch.autograd.grad(patches(image, k).sum(), image)[0][0, 0]


def sizes() -> Measured:
    """How many sizes are not as they should be, among all n, k, p and s up to 12."""
    upto, wrong = range(1, 13), {"formula/wrong": 0.0, "same at stride 1/wrong": 0.0, "same at stride 2/wrong": 0.0}
    for n, k, s, p in itertools.product(upto, upto, upto, range(13)):
        places = sum(start + k <= n + p for start in range(-p, n + p, s))  # of windows inside, counted one by one
        wrong["formula/wrong"] += k <= n + 2 * p and places != (n + 2 * p - k) // s + 1
    for n, k, s in itertools.product(upto, upto, (1, 2)):
        found = patches(torch.zeros(1, 1, n, n), k, stride=s, padding="same")
        wrong[f"same at stride {s}/wrong"] += found.shape[2:] != (-(-n // s),) * 2
    return {**wrong}


def edges(config: Config, seed: int) -> Measured:
    """The share of all answers of the kernel for edges that is at the border."""
    ink, shares = load(config, seed), {}
    for padding, (name, images) in itertools.product(("valid", "same"), (("ink", ink), ("negative", 1 - ink))):
        answers = maps(images, EDGES, padding=padding).abs()
        inside = answers[..., 1:-1, 1:-1].sum() / answers.sum()
        shares[f"{padding}/{name}/share at the border"] = 1 - inside.item()
    return {**shares}


def load(config: Config, seed: int) -> Tensor:
    return data.load(config.data, seed, train=config.images, test=0, side=config.side).train.inputs


# %%
# What we expect
# --------------
# Written before the run. A *claim* is what the notes say or what follows from it, a *limit* a case in which their words
# mislead. Rounding may cost 10⁻¹⁰. The *margin*, the least difference that matters, is 10 points: 10 % of all answers.

# fmt: off
PREDICTIONS = [
    claim("3.05", "matrix product", "The feature maps are one product: kernels as rows times patches as columns.",
          lambda t: identity(t["matrix product/error"], tolerance=1e-10), of="largest error"),
    claim("3.05", "one kernel", "A kernel of zeros makes its own feature map zero and leaves the others as they were.",
          lambda t: identity(t["without a kernel/error"], tolerance=1e-10), of="largest error"),
    claim("3.06", "stride", "At stride s = 2, 3 or 4 a map is every s-th row and column of the map at stride 1.",
          lambda t: identity(t["stride/error"], tolerance=1e-10), of="largest error"),
    claim("3.06", "places", "The formula for the number of places is right for all n, k, p and s up to 12.",
          lambda t: identity(t["formula/wrong"], tolerance=0.0), of="sizes that are wrong"),
    claim("3.07", "inside", "With valid padding no patch has a pixel from outside.",
          lambda t: identity(t["valid/seen of the outside"], tolerance=0.0), of="largest pixel (those outside are 1)"),
    claim("3.07", "corner", "With valid padding a corner pixel lies in one 5×5 patch, one in the middle in 25.",
          lambda t: identity(abs(t["patches/middle over corner"] - 25), tolerance=0.0), of="difference from 25"),
    claim("3.08", "frame of zeros", "Same padding gives what valid padding gives on the image in a frame of zeros.",
          lambda t: identity(t["frame of zeros/error"], tolerance=1e-10), of="largest error"),
    claim("3.08", "same size", "Same padding at stride 1 keeps the size, for all n and k up to 12.",
          lambda t: identity(t["same at stride 1/wrong"], tolerance=0.0), of="sizes that are wrong"),
    limit("3.08", "half the size", "Same padding at stride 2 halves the size, rounded up, for all n and k up to 12.",
          lambda t: identity(t["same at stride 2/wrong"], tolerance=0.0), of="sizes that are wrong"),
    limit("3.08", "false edges", "With same padding, the border's share of all answers to edges is over 10 points "
          "larger in negatives of {data} than in the images.",
          lambda t: difference(t["same/negative/share at the border"] - t["same/ink/share at the border"], margin=0.1),
          arms=("negative", "ink"), of="share in negatives minus that in images", because="paper of 1 meets zeros"),
]

ANSWERS = [
    answer("3.05", "Yes: each kernel makes one map, the kernel as a row times the patches as columns. A kernel of "
           "zeros makes only its own map zero.", given={"matrix product": "supported", "one kernel": "supported"}),
    answer("3.06", "Yes: stride s keeps each s-th row and column. With p zeros at each end of n pixels, a window of k "
           "has ⌊(n + 2p - k) / s⌋ + 1 places (tried up to 12).", given={"stride": "supported", "places": "supported"}),
    answer("3.07", "Yes, no patch reaches past the edge. Pixels near it count less: one in a corner lies in 1 patch of "
           "5×5, one in the middle in 25.", given={"inside": "supported", "corner": "supported"}),
    answer("3.08", "Yes, but only stride 1 keeps the size, and zeros can look like edges: in negatives of {data} the "
           "border's share of an edge kernel's answers is {false edges:points} points larger than in the images.",
           given={"frame of zeros": "supported", "same size": "supported", "half the size": "supported",
                  "false edges": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On top, one place: an image (black is 1), its patch with the strongest answer, patch times kernel, and the sum in the
# map (red: more on the right, blue: on the left). Below on the left, maps of the negative, to scale. With zeros around,
# strong edges stand at the sides, where there are none; at stride 2 one column of zeros is enough, on the right. In the
# middle, pixels near the edge lie in fewer patches. On the right, a dot for each seed, a bar at the mean: with valid
# padding, images and negatives have the same share; with zeros, a quarter of the answers in negatives is at the border.


def figure(trials):
    cells = plt.figure(figsize=(12, 7)).add_gridspec(2, 3, height_ratios=(2, 3))
    shown, scale, counts, shares = (plt.subplot(at) for at in (cells[0, :], cells[1, 0], cells[1, 1], cells[1, 2]))
    ink = load(trials.config, trials.seeds[0])[:1]
    draw_one_place(shown, ink[0, 0], maps(ink, EDGES)[0, 0])
    for (stride, top), (padding, left) in itertools.product(((1, 0), (2, 34)), (("valid", 0), ("same", 32))):
        found = maps(1 - ink, EDGES, stride=stride, padding=padding)[0, 0]
        reach = left, left + len(found), top + len(found), top
        scale.imshow(found.numpy(), cmap="RdBu_r", vmin=-3, vmax=3, extent=reach)
        scale.text(left, top - 1, f"{padding}, stride {stride}: {len(found)}×{len(found)}", fontsize="small")
    scale.set(title="Maps of the negative, to scale", xlim=(-1, 62), ylim=(50, -5))
    draw_numbers(counts, times_used(10, 5), "Blues", (0, 50))
    counts.set_title("In how many 5×5 patches a pixel lies")
    for shift, color, name, label in ((-0.15, "C0", "ink", "images"), (0.15, "C1", "negative", "negatives")):
        groups = {padding: 100 * trials[f"{padding}/{name}/share at the border"] for padding in ("valid", "same")}
        strips(shares, groups, color=color, label=label, shift=shift, width=0.2)
    shares.set(title="Answers at the border of the map", xlabel="padding", ylabel="% of all answers", ylim=(0, None))
    shares.legend()
    for axes in (shown, scale, counts):
        axes.axis("off")
    return shares.figure


def draw_one_place(axes, image: Tensor, found: Tensor) -> None:
    """The image with the patch that is answered most, patch times kernel, and the map with the place of the sum."""
    row, column = divmod(int(found.abs().argmax()), found.shape[1])
    patch, kernel = image[row : row + 3, column : column + 3], EDGES[0, 0]
    titles = "an image", "a patch of it", "× the kernel", f"adds up to {found[row, column]:.1f}", "in the map"
    axes.set_title("One place of a convolution")
    for place, picture in enumerate((image, patch, kernel, patch * kernel, found)):
        cell = axes.inset_axes([0.2 * place + 0.01, 0, 0.18, 0.9], title=titles[place], xticks=[], yticks=[])
        draw_numbers(cell, picture, *(("Greys", (0, 1)) if place < 2 else ("RdBu_r", (-3, 3))))
        if side := {0: 3, 4: 1}.get(place):  # the patch in the image, the sum in the map
            cell.indicate_inset((column - 0.5, row - 0.5, side, side), edgecolor="C1", alpha=1, linewidth=2)
        cell.grid(False)


def draw_numbers(axes, numbers: Tensor, colors: str, limits: tuple[float, float]) -> None:
    axes.imshow(numbers.numpy(), cmap=colors, vmin=limits[0], vmax=limits[1])
    for (row, column), number in np.ndenumerate(numbers.numpy() if len(numbers) < 14 else np.empty((0, 0))):
        dark = abs(number) > 0.7 * limits[1]
        axes.text(column, row, f"{number + 0.0:.2g}", ha="center", va="center", color="white" if dark else "black")


# %%
# Try it yourself
# ---------------
# At half the size, is the border's share larger? `python -m lessons run convolution_arithmetic --set side=14 --seeds 7`

if __name__ == "__main__":
    lesson.main("convolution_arithmetic")
