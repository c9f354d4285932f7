"""
A Gaussian random start
=======================

**The question.** Training has to start somewhere. Must the first weights be random, must they be Gaussian, and does
their size matter?

**What the notes say.** Before training, the weights are usually set to random values drawn from a Gaussian distribution
(1.11).

**What is measured.** Accuracy on unseen images after the same number of steps of SGD with momentum 0.9, for a network
of six layers with ReLU between them. It starts from zeros; from one constant, 1/n, with which a unit of n inputs
averages; from a Gaussian of variance 2/n, the size that keeps what flows through ReLU layers as large as it came in;
from a uniform distribution of the same variance; and from Gaussians of deviation 0.001 and 1. Each start has its own
best rate from the same grid, and the rate falls to zero along half a cosine wave. All Gaussians of a seed are the same
draws, times their deviation. The accuracy is that of the weights at the end, diverged or not; for the two starts of the
deep network that are compared to a point it is the mean over two draws. And the same without hidden layers: logistic
regression from zeros and from a Gaussian of deviation 0.01.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Generator, Tensor, nn

from dlnotes import data, lesson, linear
from dlnotes.data import Examples
from dlnotes.deep import MLP
from dlnotes.evidence import difference, identity, no_difference
from dlnotes.lesson import answer, claim, limit
from dlnotes.linear import SGD, cross_entropy
from dlnotes.measuring import Measured, Tuned
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep
from dlnotes.training import Minibatches, Trainer, accuracy

# %%
# Settings
# --------


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 4_000  # training examples
    validation: int = 1_000  # examples that rates are chosen by
    test: int = 2_000  # test examples: for letters, of typefaces that training never saw
    width: int = 64  # units of each of the five hidden layers
    steps: int = 500  # steps of each network
    batch_size: int = 64  # examples a step
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.width < 2 or self.steps < 1:
            raise ValueError("width must be 2 or more, and steps 1 or more")


QUICK = Config(train=200, validation=100, test=200, width=16, steps=10)
SEEDS = range(16)

# %%
# A start fills a weight whose units have n inputs. Biases are zero in all of them.

Start = Callable[[Tensor, Generator], Tensor]


def gaussian(deviation: float) -> Start:
    return lambda w, draws: linear.scaled_normal_(w, gain=deviation * math.sqrt(w.shape[1]), generator=draws)


STARTS: dict[str, Start] = {
    "zeros": lambda w, _: linear.zeros_(w),
    "constant": lambda w, _: nn.init.constant_(w, 1 / w.shape[1]),
    "Gaussian, 0.001": gaussian(0.001),
    "Gaussian": lambda w, draws: linear.scaled_normal_(w, gain=math.sqrt(2), generator=draws),
    "uniform": lambda w, draws: linear.scaled_uniform_(w, gain=math.sqrt(2), generator=draws),
    "Gaussian, 1": gaussian(1.0),
}
WITHOUT_HIDDEN: dict[str, Start] = {"linear, zeros": STARTS["zeros"], "linear, Gaussian": gaussian(0.01)}
DRAWS = {"Gaussian": 2, "uniform": 2}  # first weights a seed; of the other starts there is one

# %%
# One seed
# --------
# The same images and batches for all starts, which train side by side; they differ in the first weights, and in the
# rate that is best for each.


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    train, test = small_images(config, seed, test=config.test)
    measured: Measured = {}
    for starts, widths in ((STARTS, widths_of(config)), (WITHOUT_HIDDEN, [196, 10])):
        copies = [(start, draw) for start in starts for draw in range(DRAWS.get(start, 1))]
        models = [network(starts[start], widths, seed, draw).to(config.device) for start, draw in copies]
        for (start, draw), model in zip(copies, models, strict=True):
            measured[f"{start}, draw {draw}/signal"] = signal(model, test.inputs)
        descend(config, seed, train, models, rates=[tuned[start] for start, _ in copies])
        reached = [accuracy(model, test) for model in models]
        for start in starts:
            mine = [one for (name, _), one in zip(copies, reached, strict=True) if name == start]
            measured[f"{start}/accuracy"] = sum(mine) / len(mine)
    for start in ("zeros", "constant", "Gaussian"):
        measured[f"{start}/units apart"] = units_apart(start, train, seed)
    return measured


def small_images(config: Config, seed: int, *, validation: int = 0, test: int = 0) -> tuple[Examples, Examples]:
    """Images of 14 x 14 pixels, (N, 196): those to learn from, and those to judge by."""
    parts = data.load(config.data, seed, train=config.train, validation=validation, test=test, side=14, flat=True)
    learned_from, chosen_by, judged_by = parts.to(config.device)
    return learned_from, judged_by if test else chosen_by


def widths_of(config: Config) -> list[int]:
    return [196, *[config.width] * 5, 10]


def network(start: Start, widths: Sequence[int], seed: int, draw: int = 0, dtype: torch.dtype | None = None) -> MLP:
    """A network with the first weights of a start: all starts have the same generator."""
    draws = stream(seed, f"first weights {draw}")
    model = MLP(widths, generator=stream(seed, "replaced at once"), dtype=dtype)
    return linear.initialize(model, lambda weight: start(weight, draws))


def descend(config: Config, seed: int, train: Examples, models: Sequence[MLP], *, rates: Sequence[float]) -> None:
    """Train the models side by side, each at its rate, which falls to zero along half a cosine wave."""
    groups = [{"params": model.parameters(), "lr": rate} for model, rate in zip(models, rates, strict=True)]
    optimizer = SGD(groups, lr=1.0, momentum=0.9)
    batches = Minibatches(train, config.batch_size, stream(seed, "batches"))
    scheduler = linear.cosine_decay(optimizer, config.steps)
    for _ in islice(Sweep(models, cross_entropy, optimizer, batches, scheduler=scheduler), config.steps):
        pass


@torch.no_grad()
def signal(model: MLP, inputs: Tensor) -> list[float]:
    """The root of the mean square of the inputs, and of what comes out of each affine map."""
    sizes = [inputs]
    for layer in model.layers:
        sizes.append(layer(sizes[-1].relu()))  # the inputs are not negative: ReLU leaves them as they are
    return [size.square().mean().sqrt().item() for size in sizes]


# %%
# Units that start equal
# ----------------------
# In double precision, after 50 steps: the largest difference between two units of a hidden layer, in a weight that
# leads to them, in their bias, or in a weight that leads on from them.


def units_apart(start: str, train: Examples, seed: int) -> float:
    inputs, labels = train.inputs.cpu().double(), train.targets.cpu()
    model = network(STARTS[start], [196, 16, 16, 10], seed, dtype=torch.float64)
    batches = Minibatches((inputs, labels), 64, stream(seed, "batches"))
    for _ in islice(Trainer(model, cross_entropy, SGD(model.parameters(), lr=0.05, momentum=0.9), batches), 50):
        pass
    weights, biases = list(model.parameters())[::2], list(model.parameters())[1::2]
    unlike = []
    for leading_to, bias, leading_on in zip(weights[:-1], biases[:-1], weights[1:], strict=True):
        of_each_unit = torch.cat([leading_to, bias[:, None], leading_on.T], dim=1)
        unlike.append((of_each_unit - of_each_unit[0]).abs().amax().item())
    return max(unlike)


# %%
# Choosing the rates
# ------------------
# `python -m lessons tune first_weights` chooses them: the same 14 for each start, scored by mistakes on validation
# images. One draw of first weights a seed. From zeros, and from 0.001, no rate learns and the choice is luck; among
# equals the largest stands, the one that could move farthest.

RATES = tuple(4.0**power for power in range(2, -12, -1))
TUNING_SEEDS = range(1_000, 1_004)


def tune(config: Config, seed: int) -> Measured:
    train, validation = small_images(config, seed, validation=config.validation)
    scores: Measured = {}
    for starts, widths in ((STARTS, widths_of(config)), (WITHOUT_HIDDEN, [196, 10])):
        for start in starts:
            models = [network(starts[start], widths, seed).to(config.device) for _ in RATES]
            descend(config, seed, train, models, rates=RATES)
            for rate, model in zip(RATES, models, strict=True):
                scores[f"{config.data}/{start}/{rate:.6g}"] = 1 - accuracy(model, validation)
    return scores


# %%
# What we expect
# --------------
# Learning at all is half of the way from chance, 0.1, to certainty. A better start is one by 5 points, and two starts
# are the same within 1 point.

# fmt: off
PREDICTIONS = [
    claim("1.11", "learning", "A Gaussian start of variance 2/n brings a ReLU network of six layers more than half of "
          "the way from chance to certainty on unseen {data}.",
          lambda t: difference(t["Gaussian/accuracy"] - 0.1, margin=0.45), of="accuracy above chance"),
    claim("1.11", "beats zeros",
          "A Gaussian start of variance 2/n beats a start from zeros by more than 45 points on unseen {data}.",
          lambda t: difference(t["Gaussian/accuracy"] - t["zeros/accuracy"], margin=0.45),
          arms=("Gaussian", "zeros"), of="accuracy from the Gaussian minus that from zeros"),
    claim("1.11", "zeros", "A start from zeros leaves the network within 5 points of chance on unseen {data}.",
          lambda t: no_difference(t["zeros/accuracy"] - 0.1, margin=0.05), of="accuracy above chance",
          because="by symmetry each layer acts as one unit, with ReLU a dead one"),
    claim("1.11", "beats a constant",
          "A Gaussian start of variance 2/n beats a start from one constant by more than 5 points on unseen {data}.",
          lambda t: difference(t["Gaussian/accuracy"] - t["constant/accuracy"], margin=0.05),
          arms=("Gaussian", "constant"), of="accuracy from the Gaussian minus that from a constant",
          because="by symmetry each layer acts as one unit"),
    claim("1.11", "equal units", "Hidden units that start equal, at zero or at a constant, stay equal in training.",
          lambda t: identity(np.maximum(t["zeros/units apart"], t["constant/units apart"]), tolerance=1e-12),
          because="units that are equal get equal gradients, for ever"),
    limit("1.11", "bell shape",
          "A uniform start is within 1 point of a Gaussian of the same variance on unseen {data}.",
          lambda t: no_difference(t["Gaussian/accuracy"] - t["uniform/accuracy"], margin=0.01),
          arms=("Gaussian", "uniform"), of="accuracy from the Gaussian minus that from the uniform distribution",
          because="nothing in the argument from symmetry asks for a bell"),
    limit("1.11", "too small",
          "A Gaussian start of deviation 0.001 is more than 5 points behind one of variance 2/n on unseen {data}.",
          lambda t: difference(t["Gaussian/accuracy"] - t["Gaussian, 0.001/accuracy"], margin=0.05),
          arms=("Gaussian", "Gaussian, 0.001"), of="accuracy with variance 2/n minus that with deviation 0.001",
          because="with deviation σ and widths n the signal changes by σ √(n/2) a layer (He et al., 2015): in five "
                  "layers of 64 it fades away"),
    limit("1.11", "too large",
          "A Gaussian start of deviation 1 is more than 5 points behind one of variance 2/n on unseen {data}.",
          lambda t: difference(t["Gaussian/accuracy"] - t["Gaussian, 1/accuracy"], margin=0.05),
          arms=("Gaussian", "Gaussian, 1"), of="accuracy with variance 2/n minus that with deviation 1",
          because="with deviation σ and widths n the signal changes by σ √(n/2) a layer (He et al., 2015): in five "
                  "layers of 64 it explodes"),
    limit("1.11", "no hidden layers",
          "Logistic regression from zeros is within 1 point of the same from a Gaussian on unseen {data}.",
          lambda t: no_difference(t["linear, Gaussian/accuracy"] - t["linear, zeros/accuracy"], margin=0.01),
          arms=("linear, Gaussian", "linear, zeros"), of="accuracy from the Gaussian minus that from zeros",
          because="a convex loss needs no luck"),
]

ANSWERS = [
    answer("1.11", "Random they must be: from zeros, or one constant, all hidden units stay alike. The bell shape "
           "does not matter, the width does: a deviation of 0.001 learns as little as zeros, and one of 1 costs {too "
           "large:points} points. Without hidden layers, zeros do.",
           given={"zeros": "supported", "equal units": "supported", "bell shape": "supported",
                  "too small": "supported", "too large": "supported", "no hidden layers": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left, before any training: the signal that a start lets through. Where it fades or explodes, little is learned;
# but a level one is not enough, since from a constant all units of a layer say the same. On the right, each dot is a
# seed, after training.


def figure(trials):
    drawing, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    colors = {start: f"C{place}" for place, start in enumerate(STARTS)}
    for place, start in enumerate(STARTS):
        if start != "zeros":  # whose signal is zero: not on a logarithmic axis
            sizes = trials[f"{start}, draw 0/signal"]
            left.plot(sizes.T, color=colors[start], linewidth=0.4, alpha=0.3)
            left.plot(np.exp(np.log(sizes).mean(0)), color=colors[start], marker="so^Dv*"[place], label=start)
    left.set_yscale("log")
    left.set_xticks(range(7), ["inputs", "1", "2", "3", "4", "5", "scores"])
    left.set_title("Before training: what a start lets through")
    left.set_xlabel("layer")
    left.set_ylabel("root mean square")
    left.legend()

    names = [*STARTS, *WITHOUT_HIDDEN]
    for place, start in enumerate(names):
        reached, color = trials[f"{start}/accuracy"], colors.get(start, "0.5")
        right.plot(reached, place + np.linspace(-0.25, 0.25, len(reached)), "o", color=color, alpha=0.6)
        right.plot([reached.mean()] * 2, [place - 0.35, place + 0.35], color=color)
    right.axvline(0.1, color="0.4", linestyle=":")
    right.set_yticks(range(len(names)), names)
    right.invert_yaxis()
    right.set_xlim(0, 1)
    right.set_title(f"After training: accuracy on unseen {trials.config.data}")
    right.set_xlabel("share classified right (chance: 0.1)")
    right.set_ylabel("first weights")
    return drawing


# %%
# Run it
# ------

if __name__ == "__main__":
    lesson.main("first_weights")
