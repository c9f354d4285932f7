"""
Is a deep network better than a wide one?
=========================================

Fold a strip of paper in half, then again, and again: three folds make eight sheets, and one cut goes through them all.
That is why a deep network might do more with its weights than a wide one. A layer can fold its inputs, so that places
far apart lie on each other, and whatever the next layer does is done to all of them at once. For x from 0 to 1, take
fold(x) = 1 - |2x - 1|, which lays the right half of the line on the left half, and stretches both to full length. ::

    x               0    1/8   1/4   3/8   1/2   5/8   3/4   7/8    1
    folded once     0    1/4   1/2   3/4    1    3/4   1/2   1/4    0       2 straight pieces
    twice           0    1/2    1    1/2    0    1/2    1    1/2    0       4
    three times     0     1     0     1     0     1     0     1     0       8

With units that compute max(0, z) (ReLUs), a fold takes two: |z| = max(0, z) + max(0, -z). Layer on layer, three folds
take 6 units. Side by side in a single hidden layer each unit bends the line once, so that 8 pieces take at least 7.
That is no great difference, but ten folds take 20 units, or at least 1,023 (Telgarsky, 2016).

The course notes (row 2.02) say that of networks with the same number of parameters (weights and biases), a deeper one
*usually* performs better than a wider one. The folds show a function for which it *can*. Two things may stand in the
way. What is to be learned may not be made of folds: a plain sum has no use for layers. And a deep network has to be
trained, while the gradient has a longer way back, through every layer. So we try a nest of folds, a sum, and images.
"""

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor
from torch.nn.functional import mse_loss

from dlnotes import data, lesson, linear
from dlnotes.data import Examples
from dlnotes.deep import MLP, count_parameters, widths_for_budget
from dlnotes.evidence import difference, not_better
from dlnotes.lesson import answer, claim, curves, limit
from dlnotes.linear import SGD, cross_entropy
from dlnotes.measuring import Measured, Tuned, grid, train_for
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep
from dlnotes.training import DivergedError, Minibatches, Trainer, accuracy, evaluate

# %%
# The experiment
# --------------
# A *seed* draws examples, first weights and batches. The *arms* are networks with 1, 2, 3, 5 and 8 hidden layers and
# the same number of parameters, within 2 %: more layers have fewer units each. All take as many steps, each at the
# learning rate that was best for it on other seeds; it falls to zero along half a cosine wave. *Nested*: eight numbers
# from -1 to 1 stand in pairs, and each pair a, b becomes 1 - |a + b|; the four results are paired again, then the last
# two. *Additive*: the sum of 1 - 2 |x| over the eight. *Images*: letters, tested on typefaces that training never saw.
# The error is the share of mistakes; for functions, squared error over variance: always answering the mean gives 1.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    parameters_of_functions: int = 4_000  # of each network that learns one of the two functions
    parameters_of_images: int = 16_000  # of each network that learns images
    train: int = 4_000  # training examples of each target
    validation: int = 1_000  # examples that rates are chosen by
    test: int = 2_000  # examples to judge by
    steps: int = 1_000  # steps of each network
    batch_size: int = 64  # examples a step
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.steps < 1 or min(self.train, self.validation, self.test) < 2:
            raise ValueError("steps must be 1 or more, and there must be two examples of each kind or more")


QUICK = Config(train=200, validation=100, test=100, steps=8)
SEEDS = range(12)
DEPTHS = (1, 2, 3, 5, 8)  # hidden layers
TARGETS = ("nested", "additive", "images")


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    measured: Measured = {}
    for target in TARGETS:
        examples, unseen = load(config, target, seed, held_out="test")
        for depth in DEPTHS:
            model = network(config, target, depth, seed)
            train(config, target, model, examples, seed, rate=tuned[f"{target}/{depth}"])
            measured[f"{target}/{depth}/error"] = error_of(target, model, unseen)
            measured[f"{target}/{depth}/training error"] = error_of(target, model, examples)
    return measured


def nested(inputs: Tensor) -> Tensor:
    """The tree of 1 - |a + b| over the numbers of each row, (N, a power of two); returns (N, 1)."""
    while inputs.shape[1] > 1:
        inputs = 1 - (inputs[:, ::2] + inputs[:, 1::2]).abs()
    return inputs


def additive(inputs: Tensor) -> Tensor:
    """The sum of 1 - 2 |x| over the numbers of each row, (N, D); returns (N, 1)."""
    return (1 - 2 * inputs.abs()).sum(1, keepdim=True)


def load(config: Config, target: str, seed: int, *, held_out: str) -> list[Examples]:
    """Training examples, and those to choose a rate by or to judge by; functions in units of the training examples."""
    counts = {"train": config.train, "validation": config.validation, "test": config.test}
    if target == "images":
        parts = data.load(config.data, seed, **counts, side=14, flat=True).to(config.device)
        return [parts.train, getattr(parts, held_out)]
    function = {"nested": nested, "additive": additive}[target]
    draws = (torch.rand(counts[part], 8, generator=stream(seed, f"numbers to {part}")) for part in ("train", held_out))
    first, second = (Examples(inputs, function(inputs)) for inputs in (2 * draw - 1 for draw in draws))
    mean, deviation = first.targets.mean(), first.targets.std(correction=0)
    return [Examples(x, (y - mean) / deviation).to(config.device) for x, y in (first, second)]


def network(config: Config, target: str, depth: int, seed: int) -> MLP:
    """A network with so many hidden layers and the number of parameters that all depths have, within 2 %."""
    inputs, outputs, budget = 8, 1, config.parameters_of_functions
    if target == "images":
        inputs, outputs, budget = 196, 10, config.parameters_of_images
    widths = widths_for_budget(budget, depth, inputs=inputs, outputs=outputs)
    model = MLP(widths, generator=stream(seed, "weights"))
    if abs(count_parameters(model) - budget) > 0.02 * budget:
        raise ValueError(f"the widths {widths} have {count_parameters(model)} parameters, not {budget}")
    return model.to(config.device)


def train(config: Config, target: str, model: MLP, examples: Examples, seed: int, *, rate: float) -> None:
    """Train one network; where its loss overflows it stays as it is then."""
    optimizer = SGD(model.parameters(), lr=rate, momentum=0.9)
    batches = Minibatches(examples, config.batch_size, stream(seed, "batches"))
    scheduler = linear.cosine_decay(optimizer, config.steps)
    trainer = Trainer(model, cross_entropy if target == "images" else mse_loss, optimizer, batches, scheduler=scheduler)
    with suppress(DivergedError):
        train_for(trainer, config.steps)


def error_of(target: str, model: MLP, examples: Examples) -> float:
    """The share of mistakes or of variance, or that of a constant answer where the network is no better or nan."""
    if target == "images":
        return min(0.9, 1 - accuracy(model, examples))
    left = evaluate(model, examples, mse_loss) / examples.targets.var(correction=0).item()
    return min(1.0, left)  # in this order, nan is not smaller


# %%
# `python -m lessons tune depth_or_width` chooses the rates: the same nine for each depth and target, trained side by
# side and scored by the error on validation examples.

RATES = grid(2**-8, 1)
TUNING = {f"{target}/{depth}": RATES for target in TARGETS for depth in DEPTHS}
TUNING_SEEDS = range(1_000, 1_004)


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    target, depth = arm.split("/")
    examples, unseen = load(config, target, seed, held_out="validation")
    models = [network(config, target, int(depth), seed) for _ in candidates]
    groups = [{"params": model.parameters(), "lr": rate} for model, rate in zip(models, candidates, strict=True)]
    optimizer = SGD(groups, lr=1.0, momentum=0.9)
    batches = Minibatches(examples, config.batch_size, stream(seed, "batches"))
    scheduler = linear.cosine_decay(optimizer, config.steps)
    sweep = Sweep(models, cross_entropy if target == "images" else mse_loss, optimizer, batches, scheduler=scheduler)
    train_for(sweep, config.steps)
    return [error_of(target, model, unseen) for model in models]


# %%
# What we expect
# --------------
# Written before the run. A *claim* is the notes' statement for one target, a *limit* a case in which we expect it to
# fail. The *margin*, the smallest difference that matters, is a point: 1 % of the variance, or 1 image in 100. The
# deeper network of the notes is the one with 3 hidden layers, the wider one that with a single layer.

HARD = "the gradient has a long way back, and nothing here (normalisation, shortcuts) eases it"
MINUS = "error with 1 hidden layer minus that with 3"

# fmt: off
PREDICTIONS = [
    claim("2.02", "nested target", "On a nested target, a tree of 1 - |a + b| over eight numbers, a network with 3 "
          "hidden layers leaves less of the variance than one as large with 1, by over 1 point.",
          lambda t: difference(t["nested/1/error"] - t["nested/3/error"], margin=0.01), arms=("3", "1"), of=MINUS),
    claim("2.02", "images", "On unseen {data} a network with 3 hidden layers makes fewer mistakes than one as large "
          "with 1, by over 1 point.",
          lambda t: difference(t["images/1/error"] - t["images/3/error"], margin=0.01), arms=("3", "1"), of=MINUS),
    limit("2.02", "additive target", "On an additive target, a sum of 1 - 2 |x| over eight numbers, 3 hidden layers "
          "are not better than 1 by a point.",
          lambda t: not_better(difference(t["additive/1/error"] - t["additive/3/error"], margin=0.01)),
          arms=("3", "1"), of=MINUS, because="depth helps where the target is built in layers, and this one is not"),
    limit("2.02", "too deep", "On a nested target 8 hidden layers leave more of the variance than 3, by over 1 point.",
          lambda t: difference(t["nested/8/error"] - t["nested/3/error"], margin=0.01), arms=("3", "8"),
          of="error with 8 hidden layers minus that with 3", because=HARD),
    limit("2.02", "too deep for images", "On unseen {data} 8 hidden layers make more mistakes than 3, by over 1 point.",
          lambda t: difference(t["images/8/error"] - t["images/3/error"], margin=0.01), arms=("3", "8"),
          of="error with 8 hidden layers minus that with 3", because=HARD),
]

ANSWERS = [
    answer("2.02", "Not on {data}: at equal size, 3 hidden layers save less than a point of mistakes over 1, and 8 "
           "make {too deep for images:points} more than 3. On nested folds 3 save {nested target:points} points of "
           "error, on a plain sum less than one.",
           given={"images": "refuted", "nested target": "supported", "additive target": "supported",
                  "too deep for images": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left the functions themselves, on a plane through the eight numbers, light where they are large: the nested one
# is creased like folded paper, the sum has a single hill. Then the targets: from left to right the same parameters are
# cut into more and narrower layers. A thin line is a seed. A single layer fails on the folds; the sum and the letters
# gain nothing from depth. Where the dashed line rises too, it is training that fails: even its own examples fit worse.


def figure(trials):
    drawing, (left, *panels) = plt.subplots(1, 4, figsize=(16, 4.2), width_ratios=(2.2, 4, 4, 4))
    v, u = torch.meshgrid(*[torch.linspace(-1, 1, 201)] * 2, indexing="ij")
    plane = torch.stack([u, v, u, -v, u, u, v, v], dim=2).view(-1, 8)
    for place, function in enumerate((nested, additive)):
        image = left.inset_axes([0, 0.52 - 0.52 * place, 1, 0.48], xticks=[], yticks=[], ylabel=TARGETS[place])
        image.imshow(function(plane).view(201, 201).numpy(), cmap="cividis")
    left.set_title("Two functions on a plane")
    left.axis("off")

    titles = ("Nested target", "Additive target", f"Unseen {trials.config.data}")
    for axes, target, title in zip(panels, TARGETS, titles, strict=True):
        for what, color, dashes, label in (("error", "C0", "-", "unseen"), ("training error", "C1", "--", "training")):
            errors = np.stack([trials[f"{target}/{depth}/{what}"] for depth in DEPTHS], axis=1)
            curves(axes, range(len(DEPTHS)), errors, label=f"on {label} examples", color=color, linestyle=dashes)
        ticks = [f"{depth}\n× {network(trials.config, target, depth, 0).widths[-2]}" for depth in DEPTHS]
        axes.set_xticks(range(len(DEPTHS)), ticks)
        axes.set(title=title, xlabel="hidden layers × units in each", ylim=(0, None))
        axes.set_ylabel("share of mistakes" if target == "images" else "share of the variance left")
    panels[0].legend()
    return drawing


# %%
# Try it yourself
# ---------------
# Give all networks four times the steps. Does the single layer catch up on the nested target? Do letters need depth?
# `python -m lessons run depth_or_width --set steps=4000 --seeds 1`. And with only 500 examples to learn from, on which
# targets does depth help? `python -m lessons run depth_or_width --set train=500 --seeds 1`


if __name__ == "__main__":
    lesson.main("depth_or_width")
