"""
Why do SGD's random steps lead to the minimum?
==============================================

Stochastic gradient descent (SGD) takes a small step for each training example: against its gradient, the direction in
which the loss on this one example grows fastest. Row 1.15 of the course notes calls each step nearly random, and says
that together they lead to the minimum of the loss. How? Here are the gradients of four examples in two weights, and the
*cosine* of each with their mean: 1 for the same direction, 0 for a right angle, below 0 for one that goes against. ::

    gradient      (1, 9)   (1, -7)   (1, -9)   (1, 7)        mean   (1, 0)
    cosine         0.11     0.14      0.11     0.14

Each goes almost at a right angle to the mean, which is the gradient of the whole loss: the *full gradient*. But their
sum is (4, 0), exactly along it. What examples have in common adds up; the rest cancels. Of many examples it cancels in
part: let what they have in common be 1 long in each, and the rest 10 long, to any side. In a sum of n the common part
is n long, and the rest only 10 √n, as in a random walk. ::

    n           1      100     10,000
    common      1      100     10,000
    rest       10      100      1,000
    cosine   0.10     0.71      0.995

So steps should be small: then hundreds are made where the full gradient is still nearly the same. And what is "nearly
random"? With 1,970 weights, nine in ten random directions have a cosine within ±0.037 of 0. Half have a negative one: a
step against these heads *uphill*. A small cosine alone is not random: it may be positive each time.
"""

import math
from dataclasses import dataclass
from itertools import chain, islice, repeat
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Generator, Tensor
from torch.nn.functional import cosine_similarity
from torch.nn.utils import parameters_to_vector

from dlnotes import data, lesson
from dlnotes.data import Examples
from dlnotes.evidence import difference, identity
from dlnotes.lesson import answer, claim, limit, reference_line, strips
from dlnotes.linear import SGD, LogisticClassifier, cross_entropy, one_hot, softmax
from dlnotes.measuring import Measured, largest_error, train_for
from dlnotes.randomness import stream
from dlnotes.training import Minibatches, Trainer, evaluate

# %%
# The experiment
# --------------
# A *seed* (the number that all draws follow from) draws letters, A to J of 14 × 14 pixels, and their order. A linear
# classifier with 1,970 weights starts at zero. Its loss holds a penalty on large weights and so has one minimum, which
# is computed beforehand. In two places, at the start and after 200 steps of 32 letters each, we compare the gradients
# of 1, 32 and 256 letters with the full one. From the second place we make a *pass*, one small step for each letter,
# and compare where it led with the straight way to the minimum.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 2_560  # training images, 256 or more
    penalty: float = 0.01  # λ: half of it times the sum of the squared weights and biases is added to the loss
    warm_up: int = 200  # steps of 32 images, at the rate 1/8, that lead to the second place
    small_rate: float = 1 / 256  # the learning rate of the small steps
    device: str = "cpu"


QUICK = Config(train=512, warm_up=20)
SEEDS = range(12)
SIZES = (1, 32, 256)  # images that a gradient is the mean of


def trial(config: Config, seed: int) -> Measured:
    examples = load(config, seed)
    best, lowest = minimum(examples, config.penalty)
    model = LogisticClassifier(196, 10, dtype=torch.float64).to(config.device)
    measured = compared(gradients(model, examples, config.penalty), stream(seed, "order start"), "start")
    walk(config, model, Minibatches(examples, 32, stream(seed, "warm-up")), config.warm_up, lr=1 / 8)
    single = gradients(model, examples, config.penalty)
    measured |= compared(single, stream(seed, "order near"), "later")
    measured["later/largest error of the mean of a pass"] = error_of_a_pass(model, examples, seed)
    here, way = weights_of(model), best - weights_of(model)
    left = excess(model, examples, lowest, config.penalty)
    measured["later/1 step/cosine to the minimum"] = cosine_similarity(-single, way[None]).mean().item()
    one_by_one = Minibatches(examples, 1, stream(seed, "small steps"))
    for name, steps in {"100 steps": 100, "a pass": len(single) - 100}.items():
        walk(config, model, one_by_one, steps, lr=config.small_rate)
        measured[f"later/{name}/cosine to the minimum"] = cosine_similarity(weights_of(model) - here, way, dim=0).item()
    measured["later/a pass/excess loss gone"] = 1 - excess(model, examples, lowest, config.penalty) / left
    return measured


def load(config: Config, seed: int) -> Examples:
    """Small images, (N, 196), in double precision, and their labels."""
    images = data.load(config.data, seed, train=config.train, test=0, side=14, flat=True).train.to(config.device)
    return Examples(images.inputs.double(), images.targets)


def minimum(examples: Examples, penalty: float) -> tuple[Tensor, float]:
    """The best weights by L-BFGS, and the loss there: with a gradient g, at most ‖g‖² / 2λ above the lowest."""
    model = LogisticClassifier(196, 10, dtype=torch.float64).to(examples.inputs.device)
    exact: dict[str, Any] = {"max_iter": 500, "history_size": 30, "tolerance_grad": 1e-6, "tolerance_change": 0.0}
    lbfgs = torch.optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe", **exact)

    def penalised(scores: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(scores, labels) + penalty / 2 * parameters_to_vector(model.parameters()).square().sum()

    next(Trainer(model, penalised, lbfgs, repeat(tuple(examples))))
    return weights_of(model), loss(model, examples, penalty)


def loss(model: LogisticClassifier, examples: Examples, penalty: float) -> float:
    """The mean cross-entropy over all examples, plus the penalty."""
    return evaluate(model, examples, cross_entropy) + penalty / 2 * weights_of(model).square().sum().item()


def excess(model: LogisticClassifier, examples: Examples, lowest: float, penalty: float) -> float:
    """The excess loss, what the loss is above its minimum, as a share of what it was at zero weights."""
    return (loss(model, examples, penalty) - lowest) / (math.log(10) - lowest)


def weights_of(model: LogisticClassifier) -> Tensor:
    return parameters_to_vector(model.parameters()).detach().clone()


def walk(config: Config, model: LogisticClassifier, batches: Minibatches, steps: int, *, lr: float) -> None:
    optimizer = SGD(model.parameters(), lr=lr, weight_decay=config.penalty)
    train_for(Trainer(model, cross_entropy, optimizer, batches), steps)


@torch.no_grad()
def gradients(model: LogisticClassifier, examples: Examples, penalty: float) -> Tensor:
    """The gradient of each example x, a row each: (S - L) xᵀ and S - L (probabilities S, labels L), plus λ w."""
    errors = softmax(model(examples.inputs)) - one_hot(examples.targets, 10, dtype=examples.inputs.dtype)
    outer = errors[:, :, None] * examples.inputs[:, None, :]
    return torch.cat([outer.flatten(1), errors], dim=1) + penalty * weights_of(model)


def compared(single: Tensor, generator: Generator, where: str) -> Measured:
    """The cosines of mean gradients to the full one, and how many single ones point uphill."""
    full = single.mean(0)
    order = torch.randperm(len(single), generator=generator).to(single.device)
    found: Measured = {}
    for size in SIZES:
        batches = single[order[: len(order) // size * size]].unflatten(0, (-1, size))
        cosines = cosine_similarity(batches.mean(1), full[None])
        found |= {f"{where}/{size}/mean cosine": cosines.mean().item()}
        found |= {f"{where}/{size}/median cosine": cosines.median().item()}
    return found | {f"{where}/1/share uphill": (single @ full <= 0).double().mean().item()}


def error_of_a_pass(model: LogisticClassifier, examples: Examples, seed: int) -> float:
    """How far the mean of the gradients of a pass, in batches of 32, is from the gradient over all examples."""
    batches = islice(Minibatches(examples, 32, stream(seed, "partition")), len(examples.targets) // 32)
    losses = (cross_entropy(model(inputs), labels) for inputs, labels in chain([examples], batches))
    full, *parts = (parameters_to_vector(torch.autograd.grad(each, list(model.parameters()))) for each in losses)
    return largest_error(torch.stack(parts).mean(0), full)


# %%
# What we expect
# --------------
# Written before the run. A *claim* is the notes' statement in one setting, a *limit* a setting in which it should fail.
# Each sentence gives its *margin*: how large a cosine or a share has to be to matter.

# fmt: off
PREDICTIONS = [
    claim("1.15", "one pass", "The mean gradient of one pass of batches, at the same weights, is the full gradient.",
          lambda t: identity(t["later/largest error of the mean of a pass"], tolerance=1e-12)),
    claim("1.15", "nearly random", "The median cosine between the gradient of one image and the full one is under 0.2, "
          "after {warm_up} steps on {train:,} {data}.",
          lambda t: difference(0.2 - t["later/1/median cosine"], margin=0.0), of="0.2 minus the median cosine"),
    claim("1.15", "uphill", "A step against the gradient of one image heads uphill in over a quarter of the cases, "
          "after {warm_up} steps on {train:,} {data}.",
          lambda t: difference(t["later/1/share uphill"], margin=0.25), of="share of images"),
    claim("1.15", "taken together", "The cosine with the way to the minimum is over five times as large for a pass of "
          "small steps as for one step on average, after {warm_up} steps on {train:,} {data}.",
          lambda t: difference(t["later/a pass/cosine to the minimum"] - 5 * t["later/1 step/cosine to the minimum"],
                               margin=0.0), of="cosine of a pass minus five times the mean of one"),
    claim("1.15", "loss gone", "A pass of small steps takes away over a tenth of the excess loss that is left after "
          "{warm_up} steps on {train:,} {data}.",
          lambda t: difference(t["later/a pass/excess loss gone"], margin=0.1), of="share gone"),
    limit("1.15", "first steps", "A step against the gradient of one image heads downhill in over three quarters of "
          "the cases at zero weights, on {train:,} {data}.",
          lambda t: difference(1 - t["start/1/share uphill"], margin=0.75), because="small cosines may be no accident"),
    limit("1.15", "batches of 256", "The mean cosine between the gradient of 256 images and the full one is over 0.7 "
          "at zero weights, on {train:,} {data}.",
          lambda t: difference(t["start/256/mean cosine"], margin=0.7), because="in a mean the noise is smaller"),
]

ANSWERS = [
    answer("1.15", "Later on, yes: after {warm_up} steps {uphill:points} % of the steps for single {data} head uphill, "
           "yet a pass of them takes away {loss gone:points} % of what the loss is above its minimum. At the start "
           "{first steps:points} % head downhill.",
           given={"uphill": "supported", "loss gone": "supported", "first steps": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# First the thing itself: gradients of one class's weights, as images, blue where larger weights lower the loss. The one
# of a single letter is that letter. The more letters it is the mean of, the more it is like the full one. Second the
# cosines, a dot a seed: later it takes more letters, since what they have in common has been learned. Third the way to
# the minimum: a step has next to nothing in common with it, and a pass goes along it. In grey what nine in ten random
# directions have. Last the share of single steps that head uphill, of random ones a half: few at the start, many later.
# The column on its right is the share of the *excess loss*, what is left above the minimum, that a pass removes.


def figure(trials):
    config, seed = trials.config, trials.seeds[0]
    drawing, (images, middle, right, last) = plt.subplots(1, 4, figsize=(16, 3.8), width_ratios=(1.7, 1, 1, 1))
    examples, model, rows = load(config, seed), LogisticClassifier(196, 10, dtype=torch.float64), []
    for steps in (0, config.warm_up):
        walk(config, model, Minibatches(examples, 32, stream(seed, "warm-up")), steps, lr=1 / 8)
        of_class = gradients(model, examples, config.penalty)[:, 196 * examples.targets[0] :][:, :196]
        means = [of_class[:size].mean(0).view(14, 14) for size in (*SIZES, len(of_class))]
        rows.append([np.pad(mean / mean.abs().amax(), 1, constant_values=np.nan) for mean in means])
    images.imshow(np.block(rows), cmap="RdBu_r", vmin=-1, vmax=1, zorder=3)
    images.set_xticks([7.5, 23.5, 39.5, 55.5], [*map(str, SIZES), f"all {config.train:,}"])
    images.set_yticks([7.5, 23.5], ["start", "later"])
    images.set(title="Gradients of the weights of one class", xlabel="images in the mean")
    for shift, color, where in ((-0.17, "C0", "start"), (0.17, "C1", "later")):
        cosines = {f"{size}": trials[f"{where}/{size}/mean cosine"] for size in SIZES}
        strips(middle, cosines, color=color, label=where, shift=shift, width=0.2)
    middle.set(title="Cosine with the full gradient", xlabel="images in the mean", ylim=(-0.1, 1.05))
    middle.legend(loc="upper left")
    strips(right, {way: trials[f"later/{way}/cosine to the minimum"] for way in ("1 step", "100 steps", "a pass")})
    right.set(title="Cosine with the way to the minimum", xlabel="small steps, later", ylim=(-0.1, 1.05))
    for band in (middle, right):
        band.axhspan(-0.037, 0.037, color="0.85")
    shares = {"uphill,\nstart": "start/1/share uphill", "uphill,\nlater": "later/1/share uphill"}
    shares |= {"loss gone\nin a pass": "later/a pass/excess loss gone"}
    strips(last, {words: trials[name] for words, name in shares.items()})
    reference_line(last, 0.5, "a half")
    last.set(title="Shares of gradients, and of the loss", ylim=(0, 1))
    return drawing


# %%
# Try it yourself
# ---------------
# Begin the pass nearer to the minimum. Will it still take away nearly half of the excess loss that is left?
# `python -m lessons run gradient_noise --set warm_up=2000 --seeds 2`

if __name__ == "__main__":
    lesson.main("gradient_noise")
