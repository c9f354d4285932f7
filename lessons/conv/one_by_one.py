"""
What does a 1×1 convolution add?
================================

A convolution slides a small window over an image. What lies in the window is a *patch*: its pixels are multiplied by
weights, the *kernel*, and added up. The sums make a picture of their own, a *feature map*; several kernels give several
maps, the *channels* of the result. So each patch gets scores, and they are linear: weights times pixels, plus a bias.

Some questions about a patch have no linear answer. Where is the outline of a letter? Wherever a pixel differs from its
right neighbour: one is ink (1), the other paper (0). This is XOR, "exclusive or". Suppose that weights a and b and a
bias c gave a score above 0 exactly there: ::

    patch       0 0      1 1               0 1        1 0           each pair adds up to
    score       c < 0    a + b + c < 0                              a + b + 2c < 0
                                           b + c > 0  a + c > 0     a + b + 2c > 0

Both cannot be. One convolution gets at most three of the four patches right (Minsky and Papert, 1969).

A 1×1 *convolution* has a window of one pixel. It mixes the channels of each pixel, and is blind to neighbours. Alone it
cannot find an outline; behind another convolution it sees several scores of one patch. Take two kernels, set what is
negative to 0 (a *ReLU*, max(0, …)), and mix with the weights 1 and -2: ::

    patch                                0 0   0 1   1 0   1 1
    first map    ReLU(left + right)       0     1     1     2
    second map   ReLU(left + right - 1)   0     0     0     1
    1×1          first - 2 · second       0     1     1     0         XOR

Two layers with a ReLU between them are a small neural network, and it slides over the image: a "network in network"
(Lin, Chen and Yan, 2014). The notes leave the ReLU out. Does it matter? Without it, mix the maps of the kernels (1, 2)
and (3, 0) with 2 and -1: the result is the map of one kernel, 2 · (1, 2) - (3, 0) = (-1, 4). Nothing was added.
"""

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from dlnotes import data, lesson
from dlnotes.conv import Conv2d, GlobalAveragePool2d, PointwiseConv, count_parameters, patches
from dlnotes.evidence import difference, identity, not_better, ratio
from dlnotes.lesson import answer, claim, limit, reference_line, strips, tiles
from dlnotes.linear import SGD, LogisticClassifier, cosine_decay, cross_entropy
from dlnotes.measuring import Measured, Tuned, grid, largest_error, train_for
from dlnotes.randomness import stream
from dlnotes.training import Loss, Minibatches, Trainer, accuracy, evaluate

# %%
# The experiment
# --------------
# Three networks, the *arms*: a convolution; one with a 1×1 behind it; and these two with a ReLU between them. The last two
# have the same weights at the start, and as many. First they learn to mark the pixels that differ from their right
# neighbour, in images of coin tosses, by kernels of 1×2; one convolution also learns the easier OR. Each starts several
# times. All share one learning rate: where there is no solution, no rate finds it. Then each 5×5 patch of a real image
# votes for a class, and the mean vote decides; here each arm has the rate that was best for it on other seeds. A *seed*
# is where all random draws start from: all arms get its images and batches. Last, we compare what should be equal.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 4_000  # training images
    validation: int = 1_000  # images that rates are chosen by
    test: int = 2_000  # unseen images
    hidden: int = 16  # kernels of the first convolution, where a second follows
    steps: int = 300  # of the networks that vote, 32 images each
    starts: int = 3  # first weights that each network with coin tosses is trained from
    coin_steps: int = 100  # steps of each of these, 16 images each
    coin_rate: float = 0.4  # their learning rate


QUICK = Config(train=200, validation=100, test=200, hidden=8, steps=20, starts=2, coin_steps=60)
SEEDS = range(12)
DATA = ("letters", "fashion_mnist", "not_mnist")
ALONE, LINEAR, MINI = ARMS = ("conv", "conv + 1×1", "conv + ReLU + 1×1")
TASKS = {"xor": torch.logical_xor, "or": torch.logical_or}  # of a pixel and its right neighbour


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    measured = identities(seed)
    for task, arm in (("xor", ALONE), ("xor", LINEAR), ("xor", MINI), ("or", ALONE)):
        models = [marker(config, seed, task, arm, start) for start in range(config.starts)]
        shares = [share_right(model, coins(seed, task, "unseen coins")) for model in models]
        measured[f"{task}/{arm}/best start"], measured[f"{task}/{arm}/worst start"] = max(shares), min(shares)
    train, _, test = load(config, seed)
    for arm in ARMS:
        measured[f"votes/{arm}/mistakes"] = 1 - accuracy(voter(config, seed, arm, train, tuned[arm]), test)
    return measured


def network(arm: str, kernel: tuple[int, int], hidden: int, scores: int, weights: torch.Generator) -> nn.Sequential:
    """Scores of each patch: (N, 1, H, W) to (N, scores, H', W')."""
    if arm == ALONE:
        return nn.Sequential(Conv2d(1, scores, kernel, fused=True, generator=weights))
    first = Conv2d(1, hidden, kernel, fused=True, generator=weights)
    second = PointwiseConv(hidden, scores, generator=weights)
    return nn.Sequential(first, nn.ReLU(), second) if arm == MINI else nn.Sequential(first, second)


def coins(seed: int, task: str, purpose: str) -> data.Examples:
    """Images of 8×8 coin tosses, and for each pixel with a right neighbour 1 where the task says so, 0 elsewhere."""
    tosses = torch.rand(400, 1, 8, 8, generator=stream(seed, purpose)) < 0.5
    return data.Examples(tosses.float(), TASKS[task](tosses[..., :-1], tosses[..., 1:]).float())


def marker(config: Config, seed: int, task: str, arm: str, start: int) -> nn.Module:
    """A network that has learned a task from coin tosses."""
    model = network(arm, (1, 2), config.hidden, 1, stream(seed, f"weights {start}"))
    batches = Minibatches(coins(seed, task, "coins"), 16, stream(seed, "batches"))
    return trained(model, binary_cross_entropy_with_logits, batches, config.coin_steps, config.coin_rate)


@torch.no_grad()
def share_right(model: nn.Module, test: data.Examples) -> float:
    """The share of places that are marked, by a score above 0, if they should be, and are not if not."""
    return ((model(test.inputs) > 0) == test.targets).double().mean().item()


def voter(config: Config, seed: int, arm: str, train: data.Examples, lr: float) -> nn.Module:
    """A trained classifier of images: the mean of the scores of all patches of 5×5."""
    votes = network(arm, (5, 5), config.hidden, 10, stream(seed, "weights"))
    model = nn.Sequential(votes, GlobalAveragePool2d(), nn.Flatten())
    return trained(model, cross_entropy, Minibatches(train, 32, stream(seed, "batches")), config.steps, lr)


def trained(model: nn.Module, loss: Loss, batches: Minibatches, steps: int, lr: float) -> nn.Module:
    optimizer = SGD(model.parameters(), lr=lr, momentum=0.9)
    train_for(Trainer(model, loss, optimizer, batches, scheduler=cosine_decay(optimizer, steps)), steps)
    return model


def load(config: Config, seed: int) -> data.Parts:
    counts = {"train": config.train, "validation": config.validation, "test": config.test}
    return data.load(config.data, seed, **counts, side=14)


def identities(seed: int) -> Measured:
    """Errors of what should be equal, for a random image and random layers, and how many weights layers have."""
    draws = stream(seed, "draws")
    image = torch.randn(1, 3, 9, 9, generator=draws, dtype=torch.float64)
    first = Conv2d(3, 8, 5, generator=draws, dtype=torch.float64).requires_grad_(False)
    second = PointwiseConv(8, 6, generator=draws, dtype=torch.float64).requires_grad_(False)
    for layer in (first, second):
        layer.bias.normal_(generator=draws)
    classifier = LogisticClassifier(3 * 5 * 5, 8, dtype=torch.float64)
    classifier.load_state_dict({"weight": first.weight.flatten(1), "bias": first.bias})
    maps, of_patches = first(image), classifier(patches(image, 5).flatten(1).T).T
    by_matrix = torch.einsum("oc,nchw->nohw", second.weight.flatten(1), maps) + second.bias[:, None, None]
    one, three, five = (count_parameters(Conv2d(3, 8, k, bias=False, generator=draws)) for k in (1, 3, 5))
    return {
        "patch classifier/error": largest_error(of_patches.view_as(maps), maps),
        "merged/error": largest_error(merged(first, second)(image), second(maps)),
        "matrix/error": largest_error(by_matrix, second(maps)),
        "3×3 over 1×1/weights": three / one,
        "5×5 over 1×1/weights": five / one,
    }


def merged(first: Conv2d, second: PointwiseConv) -> Conv2d:
    """The one convolution that two are, without a nonlinearity between them."""
    layer = Conv2d(first.in_channels, second.out_channels, first.windows.size, generator=torch.Generator())
    layer.weight.data = torch.einsum("oh,hcuv->ocuv", second.weight.flatten(1), first.weight)
    layer.bias.data = second.weight.flatten(1) @ first.bias + second.bias
    return layer


# %%
# `python -m lessons tune one_by_one` chooses the rates of the voters: six for each arm, around those that suit it,
# scored by the loss on validation images.

TUNING = {ALONE: grid(0.4, 12.8), LINEAR: grid(0.05, 1.6), MINI: grid(0.05, 1.6)}
TUNING_SEEDS = range(1_000, 1_003)


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    train, validation, _ = load(config, seed)
    return [evaluate(voter(config, seed, arm, train, lr), validation, cross_entropy) for lr in candidates]


# %%
# What we expect
# --------------
# Written before the run. A *claim* is the notes' statement, a *limit* a case in which it should fail. We look at the best
# start of what should fail and at the worst of what should succeed. Half of all places are right by chance, and three
# quarters at most with a linear score: "more than 95 %" or "fewer than 80 %" tells them apart. Of mistakes, a tenth is
# the *margin*, the smallest difference that matters.

# fmt: off
PREDICTIONS = [
    claim("3.18", "linear classifier", "A convolution gives each patch what a linear classifier gives it.",
          lambda t: identity(t["patch classifier/error"], tolerance=1e-10), of="largest error"),
    claim("3.18", "or", "One convolution marks where one or both of two neighbours are 1 in over 95 % of places.",
          lambda t: difference(t["or/conv/worst start"], margin=0.95), of="share right, worst start"),
    claim("3.18", "xor", "One convolution marks where neighbours differ in fewer than 80 % of places.",
          lambda t: not_better(difference(t["xor/conv/best start"], margin=0.8)), of="share right, best start"),
    claim("3.19", "xor with a ReLU", "Convolution, ReLU and 1×1 mark where neighbours differ in over 95 % of places.",
          lambda t: difference(t["xor/conv + ReLU + 1×1/worst start"], margin=0.95), of="share right, worst start"),
    claim("3.19", "votes with a ReLU", "Where patches of {data} vote, a ReLU and a 1×1 cut the mistakes by a tenth.",
          lambda t: ratio(t["votes/conv/mistakes"], t["votes/conv + ReLU + 1×1/mistakes"], margin=1.1),
          arms=(ALONE, MINI), of="mistakes without over those with"),
    limit("3.19", "xor without", "Convolution and 1×1 without a ReLU mark where neighbours differ in fewer than 80 % of places.",
          lambda t: not_better(difference(t["xor/conv + 1×1/best start"], margin=0.8)), of="share right, best start"),
    limit("3.19", "one kernel", "Convolution and 1×1 without a ReLU give what one convolution gives.",
          lambda t: identity(t["merged/error"], tolerance=1e-10), of="largest error"),
    limit("3.19", "votes without", "Where patches of {data} vote, a 1×1 without a ReLU cuts no tenth of the mistakes.",
          lambda t: not_better(ratio(t["votes/conv/mistakes"], t["votes/conv + 1×1/mistakes"], margin=1.1)),
          arms=(ALONE, LINEAR), of="mistakes without over those with"),
    claim("3.21", "matrix", "A 1×1 convolution is one matrix times the channels of each pixel.",
          lambda t: identity(t["matrix/error"], tolerance=1e-10), of="largest error"),
    claim("3.21", "few weights", "Between the same channels, 3×3 has 9 times the weights of 1×1, and 5×5 25 times.",
          lambda t: identity(abs(t["3×3 over 1×1/weights"] - 9) + abs(t["5×5 over 1×1/weights"] - 25), tolerance=0.0),
          of="times the weights too many"),
]

ANSWERS = []
# fmt: on

# %%
# What to look at
# ---------------
# TODO


def figure(trials):
    config, seed = trials.config, trials.seeds[0]
    cells = plt.figure(figsize=(12, 7)).add_gridspec(2, 3, height_ratios=(2, 3))
    shown, plane, right, mistakes = (plt.subplot(at) for at in (cells[0, :], cells[1, 0], cells[1, 1], cells[1, 2]))
    models = {arm: marker(config, seed, "xor", arm, 0).requires_grad_(False) for arm in ARMS}
    ink = (data.load(config.data, seed, train=10, test=0).train.inputs[:1] > 0.5).float()
    pictures = {
        "an image, in two colours": ink[0, 0],
        "its outline (XOR)": (ink[..., 1:] != ink[..., :-1])[0, 0].float(),
    }
    pictures |= {f"marked by {arm}": (model(ink) > 0)[0, 0].float() for arm, model in models.items()}
    for place, (title, picture) in enumerate(pictures.items()):
        cell = shown.inset_axes([0.2 * place + 0.01, 0, 0.18, 0.9], title=title, xticks=[], yticks=[])
        cell.imshow(picture.numpy(), cmap="Greys", vmin=0, vmax=1)
        cell.grid(False)
    shown.set_title("Where does a pixel differ from its right neighbour?")
    shown.axis("off")

    values = torch.linspace(-0.5, 1.5, 101)
    every = torch.cartesian_prod(values, values).view(-1, 1, 1, 2)
    for (arm, model), color, dashes in zip(models.items(), ("C0", "C1", "C2"), ("-", "--", "-"), strict=True):
        scores = model(every).view(101, 101).T.numpy()
        plane.contour(values, values, scores, levels=[0], colors=color, linestyles=dashes)
        plane.plot([], [], color=color, linestyle=dashes, label=arm)
    plane.plot([0, 1], [1, 0], "o", color="black", markersize=12, label="differ")
    plane.plot([0, 1], [0, 1], "o", color="black", markersize=12, markerfacecolor="white", label="do not")
    plane.set(title="The four patches, and where scores are 0", xlabel="left pixel", ylabel="right pixel")
    plane.legend(fontsize="small")

    names = {arm: arm.replace(" + ", "\n+ ") for arm in ARMS}
    for shift, color, start in ((-0.15, "C0", "best"), (0.15, "C1", "worst")):
        groups = {words: 100 * trials[f"xor/{arm}/{start} start"] for arm, words in names.items()}
        strips(right, groups, color=color, label=f"{start} start", shift=shift, width=0.2)
    reference_line(right, 75, "3 of 4")
    right.set(title="Places marked right, of coin tosses", ylabel="%")
    right.legend()
    strips(mistakes, {words: 100 * trials[f"votes/{arm}/mistakes"] for arm, words in names.items()})
    mistakes.set(title=f"Mistakes of patches that vote, {trials.config.data}", ylabel="%", ylim=(0, None))
    return mistakes.figure


# %%
# Try it yourself
# ---------------
# Two kernels suffice for XOR, as the table says. Does training find them, from every start? Guess, then run
# `python -m lessons run one_by_one --set hidden=2 --seeds 3`.

if __name__ == "__main__":
    lesson.main("one_by_one")
