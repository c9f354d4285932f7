"""
Must the first weights of a network be random?
==============================================

The notes say that first weights are usually random values, drawn from a Gaussian distribution (row 1.11). Must they be
random? Must the distribution be that bell? Does its width, the standard deviation σ, matter?

Take two hidden units w₁ and w₂ behind one input x = 1, and an output y = v₁ w₁ + v₂ w₂ that should be 2. With the loss
(y - 2)² / 2, each gradient is the error y - 2 times the weight on the other side of the unit. Start all at 0.5: ::

                          w₁       w₂       v₁       v₂        y
    start                0.500    0.500    0.500    0.500    0.500
    gradient            -0.750   -0.750   -0.750   -0.750             the error is -1.5
    a step at rate 0.1   0.575    0.575    0.575    0.575    0.661

Units that start equal get equal gradients, and stay equal for ever: two units do the work of one. From zeros, all four
gradients are zero. Set w₁ = 0.6 and w₂ = 0.4, and the gradients of v₁ and v₂ are -0.9 and -0.6: the units part, and can
learn two things. So the first weights must differ, and chance sees to that. But nothing in this asks for a bell.

But the width matters. If the weights of n inputs have the deviation σ, a layer with ReLU (negative values become 0)
multiplies the root mean square of its signal by about σ √(n/2) (He et al., 2015). For n = 64, in five layers: ::

    σ = 0.001                  times 0.0057 a layer    in all times 0.000000000006    the signal fades away
    σ = √(2/64) = 0.18         times 1                 in all times 1                 it stays
    σ = 1                      times 5.7               in all times 5,800             it explodes
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Generator, Tensor, nn

from dlnotes import data, lesson, linear
from dlnotes.deep import MLP
from dlnotes.evidence import difference, identity, no_difference
from dlnotes.lesson import answer, claim, curves, limit, reference_line, strips
from dlnotes.linear import SGD, cross_entropy
from dlnotes.measuring import Measured, Tuned, grid, train_for
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep
from dlnotes.training import Minibatches, Trainer, accuracy

# %%
# The experiment
# --------------
# Each *seed* draws images, first weights and batches. The *arms* are starts of one network with five hidden layers of
# ReLU units: zeros; one constant, 1/n for n inputs; a Gaussian of variance 2/n; a uniform distribution of the same
# variance; Gaussians of (standard) deviation 0.001 and 1. They train side by side, each at the rate that was best for
# it on other seeds. So do two linear classifiers, without hidden layers, from zeros and from a Gaussian of deviation
# 0.01. We count the share of unseen images classified right: by chance it is a tenth.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 4_000  # training images
    validation: int = 1_000  # images that rates are chosen by
    test: int = 2_000  # unseen images: for letters, of typefaces that training never saw
    width: int = 64  # units of each of the five hidden layers
    steps: int = 500  # steps of each network
    batch_size: int = 64  # images a step
    device: str = "cpu"


QUICK = Config(train=200, validation=100, test=200, width=16, steps=10)
SEEDS = range(16)
Start = Callable[[Tensor, Generator], Tensor]  # fills a weight matrix (units, inputs); biases are zero in all of them
STARTS: dict[str, Start] = {
    "zeros": lambda w, _: linear.zeros_(w),
    "constant": lambda w, _: nn.init.constant_(w, 1 / w.shape[1]),
    "Gaussian, 0.001": lambda w, g: linear.scaled_normal_(w, gain=0.001 * math.sqrt(w.shape[1]), generator=g),
    "Gaussian": lambda w, g: linear.scaled_normal_(w, gain=math.sqrt(2), generator=g),
    "uniform": lambda w, g: linear.scaled_uniform_(w, gain=math.sqrt(2), generator=g),
    "Gaussian, 1": lambda w, g: linear.scaled_normal_(w, gain=math.sqrt(w.shape[1]), generator=g),
}
NO_HIDDEN: dict[str, Start] = {
    "linear, zeros": STARTS["zeros"],
    "linear, Gaussian": lambda w, g: linear.scaled_normal_(w, gain=0.01 * math.sqrt(w.shape[1]), generator=g),
}


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    train, test = load(config, seed, test=config.test)
    measured: Measured = {}
    for starts in (STARTS, NO_HIDDEN):
        copies = [(start, draw) for start in starts for draw in range(2 if start in ("Gaussian", "uniform") else 1)]
        models = [network(start, widths(config, start), seed, draw).to(config.device) for start, draw in copies]
        train_all(config, seed, train, models, [tuned[start] for start, _ in copies])
        for start in starts:
            of_draws = [accuracy(model, test) for (name, _), model in zip(copies, models, strict=True) if name == start]
            measured[f"{start}/accuracy"] = sum(of_draws) / len(of_draws)
    for start in STARTS:
        through = outputs(network(start, widths(config, start), seed).to(config.device), test.inputs)
        measured[f"{start}/signal"] = [values.square().mean().sqrt().item() for values in through]
    for start in ("zeros", "constant", "Gaussian"):
        measured[f"{start}/units apart"] = units_apart(start, train, seed)
    return measured


def load(config: Config, seed: int, *, validation: int = 0, test: int = 0) -> tuple[data.Examples, data.Examples]:
    """The images to train on, and those to judge by: test images, or validation images where there are none."""
    parts = data.load(config.data, seed, train=config.train, validation=validation, test=test, side=14, flat=True)
    train, validating, testing = parts.to(config.device)
    return train, testing if test else validating


def widths(config: Config, start: str) -> list[int]:
    return [196, *([config.width] * 5 if start in STARTS else []), 10]


def network(start: str, widths: Sequence[int], seed: int, draw: int = 0, dtype: torch.dtype | None = None) -> MLP:
    """A network with the first weights of a start. All starts have the same generator: Gaussians are the same draws."""
    fill, generator = (STARTS | NO_HIDDEN)[start], stream(seed, f"first weights {draw}")
    model = MLP(widths, generator=stream(seed, "replaced at once"), dtype=dtype)
    return linear.initialize(model, lambda weight: fill(weight, generator))


@torch.no_grad()
def outputs(model: MLP, inputs: Tensor) -> list[Tensor]:
    """The inputs, and what comes out of each layer before ReLU."""
    found = [inputs]
    for layer in model.layers:
        found.append(layer(found[-1].relu()))  # the inputs are not negative: ReLU leaves them as they are
    return found


def train_all(config: Config, seed: int, images: data.Examples, models: Sequence[MLP], rates: Sequence[float]) -> None:
    """Train the models side by side, each at its rate, which falls to zero along half a cosine wave."""
    groups = [{"params": model.parameters(), "lr": rate} for model, rate in zip(models, rates, strict=True)]
    optimizer = SGD(groups, lr=1.0, momentum=0.9)
    batches = Minibatches(images, config.batch_size, stream(seed, "batches"))
    scheduler = linear.cosine_decay(optimizer, config.steps)
    train_for(Sweep(models, cross_entropy, optimizer, batches, scheduler=scheduler), config.steps)


def units_apart(start: str, train: data.Examples, seed: int) -> float:
    """After 50 steps, the largest difference between units of a layer in a weight to them, from them, or in a bias."""
    model = network(start, [196, 16, 16, 10], seed, dtype=torch.float64)
    batches = Minibatches((train.inputs.cpu().double(), train.targets.cpu()), 64, stream(seed, "batches"))
    train_for(Trainer(model, cross_entropy, SGD(model.parameters(), lr=0.05, momentum=0.9), batches), 50)
    p = list(model.parameters())  # weight, bias, weight, bias, …
    places = zip(p[:-2:2], p[1:-2:2], p[2::2], strict=True)
    layers = [torch.cat([to_them, bias[:, None], from_them.T], dim=1) for to_them, bias, from_them in places]
    return max((units - units[0]).abs().amax().item() for units in layers)


# `python -m lessons tune first_weights` chooses the rates, by mistakes on validation images; of equals, the largest.
TUNING = dict.fromkeys((*STARTS, *NO_HIDDEN), grid(4**-11, 16)[::-2])
TUNING_SEEDS = range(1_000, 1_004)


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    train, validation = load(config, seed, validation=config.validation)
    models = [network(arm, widths(config, arm), seed).to(config.device) for _ in candidates]
    train_all(config, seed, train, models, candidates)
    return [1 - accuracy(model, validation) for model in models]


# %%
# What we expect
# --------------
# Written before the run. A *claim* is what the notes say, a *limit* is where they should fail. The *margin*, the
# smallest difference that matters, is 5 points of 100. "The same" means within 1 point. To learn at all means over 45
# points above chance, half of the way from there to certainty.


def gain(t, other, start="Gaussian"):
    return t[f"{start}/accuracy"] - t[f"{other}/accuracy"]


# fmt: off
PREDICTIONS = [
    claim("1.11", "learning", "A Gaussian start of variance 2/n ends over 45 points above chance on unseen {data}.",
          lambda t: difference(t["Gaussian/accuracy"] - 0.1, margin=0.45), of="accuracy above chance"),
    claim("1.11", "beats zeros", "A Gaussian start of variance 2/n beats zeros by over 45 points on unseen {data}.",
          lambda t: difference(gain(t, "zeros"), margin=0.45), arms=("Gaussian", "zeros")),
    claim("1.11", "zeros", "A start from zeros leaves the network within 5 points of chance on unseen {data}.",
          lambda t: no_difference(t["zeros/accuracy"] - 0.1, margin=0.05), of="accuracy above chance"),
    claim("1.11", "beats a constant", "A Gaussian start of variance 2/n beats one constant by over 5 points on {data}.",
          lambda t: difference(gain(t, "constant"), margin=0.05), arms=("Gaussian", "constant")),
    claim("1.11", "equal units", "Hidden units that start equal, at zero or at a constant, stay equal in training.",
          lambda t: identity(np.maximum(t["zeros/units apart"], t["constant/units apart"]), tolerance=1e-12)),
    limit("1.11", "bell shape", "A uniform start is within 1 point of a Gaussian of the same variance on {data}.",
          lambda t: no_difference(gain(t, "uniform"), margin=0.01), arms=("Gaussian", "uniform")),
    limit("1.11", "too small", "A Gaussian start of deviation 0.001 is over 5 points behind variance 2/n on {data}.",
          lambda t: difference(gain(t, "Gaussian, 0.001"), margin=0.05), arms=("Gaussian", "Gaussian, 0.001")),
    limit("1.11", "too large", "A Gaussian start of deviation 1 is over 5 points behind variance 2/n on {data}.",
          lambda t: difference(gain(t, "Gaussian, 1"), margin=0.05), arms=("Gaussian", "Gaussian, 1")),
    limit("1.11", "no hidden layers", "Without hidden layers, zeros are within 1 point of a Gaussian start on {data}.",
          lambda t: no_difference(gain(t, "linear, zeros", "linear, Gaussian"), margin=0.01),
          arms=("linear, Gaussian", "linear, zeros"), because="a convex loss has one valley, whatever the start"),
]

ANSWERS = [
    answer("1.11", "Random, yes: from zeros a network learns nothing. The bell shape does not matter, its width does: "
           "at a standard deviation of 1 accuracy is {too large:points} points lower. Without hidden layers zeros do.",
           given={"zeros": "supported", "bell shape": "supported", "too large": "supported",
                  "no hidden layers": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left one image goes through untrained networks: a row for each hidden layer from the first at the top, a square
# for each unit, brighter for a larger output, white for zero. From a constant, 1/n, all squares are the same. From the
# others they differ, but at 0.001 they fade, and at 1 they explode. In the middle the size of the signal over all
# images, a thin line a seed. The line of the Gaussian of variance 2/n hides below that of the uniform distribution;
# zeros let nothing through. On the right, after training, a dot a seed; the last two have no hidden layers.


def figure(trials):
    drawing, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4), width_ratios=[4, 3.5, 5])
    config, seed = trials.config, trials.seeds[0]
    labels = ("zeros", "1/n", "σ = 0.001", "σ = √(2/n)", "uniform", "σ = 1", "linear\n0", "linear\n.01")
    names = dict(zip((*STARTS, *NO_HIDDEN), labels, strict=True))
    _, test = load(config, seed, test=1)
    rows = np.full((6 * 4 - 1, config.width), np.nan)  # five layers of four starts, and gaps
    for place, start in enumerate(("constant", "Gaussian, 0.001", "Gaussian", "Gaussian, 1")):
        layers = outputs(network(start, widths(config, start), seed), test.inputs)[1:-1]
        rows[6 * place : 6 * place + 5] = torch.cat(layers).relu().numpy()
        left.text(-1, 6 * place + 2, names[start], ha="right", va="center")
    image = left.imshow(rows, norm="log", vmin=1e-12, vmax=1e4, aspect="auto", interpolation="none")
    left.set(title="One image in five hidden layers", xlabel="unit", xticks=[], yticks=[])
    drawing.colorbar(image, ax=left, label="output")
    for place, start in enumerate(list(STARTS)[1:]):  # the signal of zeros is zero: not on a logarithmic axis
        curves(middle, range(7), trials[f"{start}/signal"], label=names[start], color=f"C{place}", geometric=True)
    middle.set(title="Before training", xlabel="layer (0: the image)", ylabel="root mean square", yscale="log")
    middle.legend()

    strips(right, {name.replace("= ", "=\n"): 100 * trials[f"{start}/accuracy"] for start, name in names.items()})
    reference_line(right, 10, "chance")
    right.set(title="After training", ylabel=f"unseen {config.data} classified right (%)", ylim=(0, 100))
    return drawing


# %%
# Try it yourself
# ---------------
# Make the layers 256 wide instead of 64. Which of the starts will let through more of the signal, which less, and
# which the same? Guess, then look at the middle: `python -m lessons run first_weights --set width=256 --seeds 1`.

if __name__ == "__main__":
    lesson.main("first_weights")
