"""
What does a convolution compute, and how large is the result?
=============================================================

Lay a small window on the top left corner of an image. Multiply each pixel in it by a weight, and add up: one number.
Move the window on by a pixel and do the same, with the same weights, until you have been everywhere. That is a
convolution, and its numbers make a picture of their own. Take 4×4 pixels, and 2×2 weights that ask how much brighter it
is on the right than on the left: ::

    image          weights      top row, in the middle        all places
    0  0  3  3     -1  1        0  3     -0 + 3               1  5  0
    0  1  3  3     -1  1        1  3     -1 + 3   make 5      3  3  0
    0  2  3  3                                                2  1  0
    3  3  3  3

The notes say "patch" or "kernel" and mean the window by both. Better keep them apart. A *patch* is the piece of the
image that is looked at: there are nine here, and another image has others. The *kernel* is the weights: there is one,
and it is what a network learns. With the kernel as a row and the patches as columns, all is one matrix product: ::

                         0  0  3  …
    -1  1  -1  1    ×    0  3  3  …     =     1  5  0  …          the patches of the top row; six more follow
                         0  1  3  …
                         1  3  3  …

A layer has several kernels, and each makes such a picture, a *feature map*. The *stride* is how far the window moves
on. At stride 2 the example keeps 1 0 and 2 0, and skips the strongest answer, 5. *Padding* says what happens at the
edge. "Valid": the window stays inside. "Same": it may look out, and finds zeros there. Here this needs one column on
the right and one row below, and the map is as large as the image: ::

    1  5  0  -6
    3  3  0  -6         What is -6? An edge from 3 down to 0 that is not in the picture:
    2  1  0  -6         it is where the picture ends.
    0  0  0  -3

How large is the result? Give n pixels in a row p zeros at either end. A window of k pixels then has n + 2p - k pixels
left to move by, and makes as many moves of the stride s as fit. One more place is where it started: ::

    ⌊(n + 2p - k) / s⌋ + 1          ⌊…⌋: rounded down          n = 4, k = 2, p = 0:   3 places at s = 1,   2 at s = 2
"""

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
# Nothing is learned here. With each *seed*, a number that all random draws start from, we draw an image of three
# *channels* (three numbers a pixel, as red, green and blue) and four kernels, and compare what should be equal, in
# double precision. We count the places of all windows up to 12 pixels one by one. Then we see what the zeros of "same"
# do to real images. A kernel of 3×3 looks for edges, in images and in their *negatives*, with ink and paper exchanged.
# Both have the same edges. Of all that the kernel answers (sizes, whatever the sign), how much is at the border?


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    images: int = 300  # in which edges are looked for
    side: int = 28  # their pixels along a side
    most: int = 12  # the largest n, k, p and s of which places are counted


QUICK = Config(images=50, most=6)
SEEDS = range(12)
DATA = ("letters", "fashion_mnist", "not_mnist")
EDGES = torch.tensor([[[[-1.0, 0.0, 1.0]] * 3]])  # how much brighter it is on the right than on the left


def trial(config: Config, seed: int) -> Measured:
    draws = stream(seed, "draws")
    image = torch.randn(3, 13, 12, generator=draws, dtype=torch.float64)
    kernels = torch.randn(4, 3, 3, 3, generator=draws, dtype=torch.float64)
    return inside(image, kernels) | outside(image, kernels) | sizes(config.most) | edges(config, seed)


def inside(image: Tensor, kernels: Tensor) -> Measured:
    """Errors of what should be equal, whatever the padding."""
    maps, by_hand = layer(kernels)(image[None])[0], slide(image, kernels)
    product = kernels.flatten(1) @ patches(image[None], 3).flatten(1)
    without, expected = kernels.clone(), by_hand.clone()
    without[1], expected[1] = 0, 0
    strided = {s: layer(kernels, stride=s)(image[None])[0] for s in (2, 3, 4)}
    return {
        "sums by hand/error": largest_error(maps, by_hand),
        "matrix product/error": largest_error(product.view_as(by_hand), by_hand),
        "without a kernel/error": largest_error(layer(without)(image[None])[0], expected),
        "stride/error": max(largest_error(found, by_hand[:, ::s, ::s]) for s, found in strided.items()),
    }


def slide(image: Tensor, kernels: Tensor) -> Tensor:
    """The feature maps of an image (C, H, W), place by place: kernels (O, C, k, k) give (O, H - k + 1, W - k + 1)."""
    k = kernels.shape[-1]
    down, across = (range(size - k + 1) for size in image.shape[1:])
    rows = [[(kernels * image[:, i : i + k, j : j + k]).sum((1, 2, 3)) for j in across] for i in down]
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def layer(kernels: Tensor, **settings) -> Conv2d:
    """A convolution with these kernels and no bias."""
    made = Conv2d(kernels.shape[1], len(kernels), 3, bias=False, generator=torch.Generator(), **settings)
    made.weight.data = kernels
    return made.requires_grad_(False)


def outside(image: Tensor, kernels: Tensor) -> Measured:
    """What the outside does to answers, if 1 is there in the place of 0, and what the edge does to the pixels near it."""
    measured: Measured = {}
    for padding in ("valid", "same"):
        windows = layer(kernels, padding=padding).windows
        zeros, ones = (torch.einsum("nchwuv,ocuv->ohw", windows.of(image[None], value), kernels) for value in (0, 1))
        measured[f"{padding}/places that hear the outside"] = (zeros != ones).any(0).double().mean().item()
    same, framed = layer(kernels, padding="same")(image[None])[0], pad(image, (1, 1, 1, 1))
    measured["frame of zeros/error"] = largest_error(same, slide(framed, kernels))
    used = times_used(12, 5)
    measured["patches/middle over corner"] = (used[6, 6] / used[0, 0]).item()
    return measured


def times_used(size: int, k: int) -> Tensor:
    """In how many patches of k×k each pixel lies, with valid padding: the gradient of the sum of all patches."""
    image = torch.zeros(1, 1, size, size, requires_grad=True)
    return torch.autograd.grad(patches(image, k).sum(), image)[0][0, 0]


def sizes(most: int) -> Measured:
    """How many sizes are not as they should be, among all n, k, p and s up to the largest."""
    upto = range(1, most + 1)
    fitting = [(n, k, p, s) for n in upto for k in upto for p in range(most + 1) for s in upto if k <= n + 2 * p]
    wrong = {"formula": [(n + 2 * p - k) // s + 1 != places(n, k, p, s) for n, k, p, s in fitting]}
    for s in (1, 2):
        maps = {(n, k): patches(torch.zeros(1, 1, n, n), k, stride=s, padding="same") for n in upto for k in upto}
        wrong[f"same at stride {s}"] = [found.shape[2:] != (-(-n // s),) * 2 for (n, _), found in maps.items()]
    return {f"{name}/wrong": float(sum(those)) for name, those in wrong.items()}


def places(n: int, k: int, p: int, s: int) -> int:
    """Where a window of k lies inside n pixels and p more at either end, counted one by one."""
    return sum(start + k <= n + p for start in range(-p, n + p, s))


def edges(config: Config, seed: int) -> Measured:
    """The border's share of all answers of the kernel for edges, and how far answers differ in negatives."""
    ink = data.load(config.data, seed, train=config.images, test=0, side=config.side).train.inputs
    measured: Measured = {}
    for padding in ("valid", "same"):
        maps = {
            name: layer(EDGES, padding=padding)(those).abs() for name, those in (("ink", ink), ("negative", 1 - ink))
        }
        for name, found in maps.items():
            measured[f"{padding}/{name}/share at the border"] = 1 - (found[..., 1:-1, 1:-1].sum() / found.sum()).item()
        measured[f"{padding}/change in the negative"] = largest_error(maps["ink"], maps["negative"])
    return measured


# %%
# What we expect
# --------------
# Written before the run. A *claim* is what the notes say or what follows from it, a *limit* a case in which their words
# mislead. What is equal may differ by rounding: by 10⁻¹⁰, and by 10⁻⁵ in the single precision of real images. Counts
# must be right. For false edges the *margin*, the smallest difference that matters, is a tenth of all answers.

# fmt: off
PREDICTIONS = [
    claim("3.05", "sums by hand", "Each feature map holds the sums of patch times kernel, place by place.",
          lambda t: identity(t["sums by hand/error"], tolerance=1e-10), of="largest error"),
    claim("3.05", "matrix product", "Kernels as rows times patches as columns are the feature maps.",
          lambda t: identity(t["matrix product/error"], tolerance=1e-10), of="largest error"),
    claim("3.05", "one kernel", "A kernel of zeros makes its own feature map zero and leaves the others as they were.",
          lambda t: identity(t["without a kernel/error"], tolerance=1e-10), of="largest error"),
    claim("3.06", "stride", "At strides 2, 3 and 4 a map is every second, third and fourth row and column of that at 1.",
          lambda t: identity(t["stride/error"], tolerance=1e-10), of="largest error"),
    claim("3.06", "places", "The formula for the number of places is right for all n, k, p and s up to {most}.",
          lambda t: identity(t["formula/wrong"], tolerance=0.0), of="sizes that are wrong"),
    claim("3.07", "outside", "With valid padding no answer depends on what is outside.",
          lambda t: identity(t["valid/places that hear the outside"], tolerance=0.0), of="share of places that do"),
    claim("3.07", "corner", "With valid padding a corner pixel lies in one patch of 5×5, one in the middle in 25.",
          lambda t: identity(abs(t["patches/middle over corner"] - 25), tolerance=0.0), of="times as many, minus 25"),
    claim("3.07", "negatives", "With valid padding a negative of {data} has edges as strong as the image, everywhere.",
          lambda t: identity(t["valid/change in the negative"], tolerance=1e-5), of="largest change"),
    claim("3.08", "frame of zeros", "Same padding gives what valid padding gives on the image in a frame of zeros.",
          lambda t: identity(t["frame of zeros/error"], tolerance=1e-10), of="largest error"),
    claim("3.08", "same size", "Same padding at stride 1 keeps the size, for all n and k up to {most}.",
          lambda t: identity(t["same at stride 1/wrong"], tolerance=0.0), of="sizes that are wrong"),
    limit("3.08", "half the size", "Same padding at stride 2 halves the size, rounded up, for all n and k up to {most}.",
          lambda t: identity(t["same at stride 2/wrong"], tolerance=0.0), of="sizes that are wrong"),
    limit("3.08", "false edges", "With same padding the border's share of all answers to edges is larger by a tenth of "
          "all in negatives of {data} than in the images.",
          lambda t: difference(t["same/negative/share at the border"] - t["same/ink/share at the border"], margin=0.1),
          arms=("negative", "ink"), of="share in negatives minus share in images",
          because="zeros go on with paper that is 0, and not with paper that is 1"),
]

ANSWERS = [
    answer("3.05", "Yes. Each kernel makes one map: its row times the patches as columns. A kernel of zeros empties its "
           "own map and leaves the others as they were.",
           given={"sums by hand": "supported", "matrix product": "supported", "one kernel": "supported"}),
    answer("3.06", "Yes: a stride s keeps every s-th row and column. Of n pixels ⌊(n + 2p - k) / s⌋ + 1 places are left; "
           "counted one by one, all sizes up to {most} agree.",
           given={"stride": "supported", "places": "supported"}),
    answer("3.07", "Yes: no answer depends on what is outside. Pixels near the edge count less: one in a corner lies in "
           "1 patch of 5×5, one in the middle in 25.",
           given={"outside": "supported", "corner": "supported"}),
    answer("3.08", "Yes, but the size is the same at stride 1 alone, and the zeros can be edges: in negatives of {data} "
           "the border's share of an edge kernel's answers grows by {false edges:points} points.",
           given={"frame of zeros": "supported", "same size": "supported", "half the size": "supported",
                  "false edges": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# TODO


def figure(trials):
    cells = plt.figure(figsize=(12, 7.5)).add_gridspec(2, 3)
    shown, scale, counts, shares = (plt.subplot(at) for at in (cells[0, :], cells[1, 0], cells[1, 1], cells[1, 2]))
    config, seed = trials.config, trials.seeds[0]
    ink = data.load(config.data, seed, train=config.images, test=0, side=config.side).train.inputs[:1]
    draw_one_place(shown, ink[0, 0], layer(EDGES)(ink)[0, 0])

    maps = [layer(EDGES, stride=s, padding=padding)(1 - ink)[0, 0] for s in (1, 2) for padding in ("valid", "same")]
    for name, found, left, top in zip(("valid", "same", "", ""), maps, (0, 32, 0, 32), (0, 0, 34, 34), strict=True):
        size = len(found)
        scale.imshow(found.numpy(), cmap="RdBu_r", vmin=-3, vmax=3, extent=(left, left + size, top + size, top))
        scale.text(left, top - 1, f"{name}{', ' if name else 'stride 2, '}{size}×{size}", fontsize="small")
    scale.set(title="Maps of the negative, to scale", xlim=(-1, 62), ylim=(50, -5))

    used = times_used(10, 5).int().numpy()
    counts.imshow(used, cmap="Blues", vmax=50)
    for (row, column), count in np.ndenumerate(used):
        counts.text(column, row, count, ha="center", va="center", fontsize="small")
    counts.set(title="In how many 5×5 patches a pixel lies")
    for axes in (scale, counts):
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
        axes.spines[:].set_visible(False)

    for shift, color, name in ((-0.15, "C0", "ink"), (0.15, "C1", "negative")):
        groups = {padding: 100 * trials[f"{padding}/{name}/share at the border"] for padding in ("valid", "same")}
        strips(shares, groups, color=color, label=name, shift=shift, width=0.2)
    shares.set(title="Answers to edges that are at the border", ylabel="% of all answers", ylim=(0, None))
    shares.legend()
    return shares.figure


def draw_one_place(axes, image: Tensor, found: Tensor) -> None:
    """The image with the patch that is answered most, patch times kernel, and the map with the place of the sum."""
    row, column = np.unravel_index(found.abs().argmax().item(), found.shape)
    patch, kernel = image[row : row + 3, column : column + 3], EDGES[0, 0]
    panels = {
        "an image": (image, "Greys", 1),
        "a patch of it": (patch, "Greys", 1),
        "× the kernel": (kernel, "RdBu_r", 1),
    }
    panels |= {f"adds up to {found[row, column]:.1f}": (patch * kernel, "RdBu_r", 1), "the map": (found, "RdBu_r", 3)}
    for place, (title, (picture, colors, high)) in enumerate(panels.items()):
        cell = axes.inset_axes([0.2 * place + 0.01, 0, 0.18, 0.85], title=title, xticks=[], yticks=[])
        cell.imshow(picture.numpy(), cmap=colors, vmin=0 if colors == "Greys" else -high, vmax=high)
        cell.grid(False)
        if len(picture) > 3:  # the place: a patch of the image, a number of the map
            side = 3 if place == 0 else 1
            cell.add_patch(plt.Rectangle((column - 0.5, row - 0.5), side, side, fill=False, color="C1", linewidth=2))
        for (i, j), number in np.ndenumerate(picture.numpy() if len(picture) == 3 else np.zeros((0, 0))):
            cell.text(j, i, f"{number:.1f}", ha="center", va="center", color="C1")
    axes.set_title("One place of a convolution")
    axes.axis("off")


# %%
# Try it yourself
# ---------------
# TODO

if __name__ == "__main__":
    lesson.main("convolution_arithmetic")
