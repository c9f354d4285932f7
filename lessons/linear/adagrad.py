"""
AdaGrad: what it remembers, and what it does not
================================================

**The question.** AdaGrad divides each gradient by the root of the sum of its squares so far. Does that make the
learning rate decay by itself, and does it do what momentum does?

**What the notes say.** AdaGrad is a variant of stochastic gradient descent that makes the learning rate decay on its
own (1.25). It takes care of momentum implicitly, as a part of its own update (1.26).

**What is measured.** The rate of a coordinate is its step over its gradient: it is taken from the steps, not from
what the optimizer keeps. *The decay.* The rates over random gradients whose sizes span six powers of ten, and over the
gradients of a linear classifier in training; the steps along a gradient that stays the same; and the steps of PyTorch's
AdaGrad. *Momentum.* What makes momentum momentum is that past gradients move the weights. Three ways to see it: how far
an optimizer still goes along zeros that follow a gradient; how much its next step changes when all past gradients are
turned around; how often it goes up the present slope because the past ones pointed there. SGD, SGD with momentum 0.9
and Adam stand beside AdaGrad: momentum is the control, in which all three must show.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice, repeat

import numpy as np
import torch
from matplotlib import pyplot as plt
from numpy.typing import NDArray
from torch import Tensor, nn

from dlnotes import data, lesson
from dlnotes.evidence import at_least, difference, identity, ratio
from dlnotes.lesson import answer, claim, limit
from dlnotes.linear import SGD, AdaGrad, LogisticClassifier, cross_entropy
from dlnotes.measuring import Measured, largest_error
from dlnotes.randomness import stream
from dlnotes.training import Minibatches, Trainer

# %%
# Settings
# --------


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, mnist, not_mnist
    train: int = 500  # training images
    batch_size: int = 64  # images a step
    lr: float = 0.125  # the rate of AdaGrad in the training
    longest: int = 20_000  # the steps after which an optimizer on a bowl is given up
    device: str = "cpu"  # of the training

    def __post_init__(self) -> None:
        if self.longest < 100 or self.train < self.batch_size:
            raise ValueError("longest must be 100 or more, and train as large as batch_size or larger")


QUICK = Config(train=200, longest=400)
SEEDS = range(12)

Optimizer = Callable[[Iterable[Tensor]], torch.optim.Optimizer]
ARMS: dict[str, Optimizer] = {
    "SGD": lambda weights: SGD(weights, lr=1.0),
    "momentum": lambda weights: SGD(weights, lr=1.0, momentum=0.9),
    "AdaGrad": lambda weights: AdaGrad(weights, lr=1.0),
    "Adam": lambda weights: torch.optim.Adam(weights, lr=1.0),
}
ON_BOWLS: dict[str, Optimizer] = {
    "SGD": ARMS["SGD"],
    "momentum": lambda weights: SGD(weights, lr=0.1, momentum=0.9),  # in the long run the steps of SGD
    "AdaGrad": ARMS["AdaGrad"],
}
TRAINING = 200  # steps of the classifier
EARLY = 20  # a step at which the first large gradients are over
BURST = 25  # gradients a hundred times as large as that at the start
IMPULSE = 20  # zeros after a gradient that the figure shows
SHOWN = tuple(sorted({round(10 ** (tenth / 10)) for tenth in range(31)}))  # the steps at which it shows rates

# %%
# One seed
# --------


def trial(config: Config, seed: int) -> Measured:
    return decay(config, seed) | memory(seed) | bursts(config, seed)


def steps(optimizer: Optimizer, gradients: Sequence[Tensor]) -> Tensor:
    """The steps downhill along given gradients, one row a step; each from zero, so that none is rounded."""
    w = nn.Parameter(torch.zeros_like(gradients[0]))
    following, taken = optimizer([w]), []
    for gradient in gradients:
        w.data.zero_()
        w.grad = gradient
        following.step()
        taken.append(-w.detach().clone())
    return torch.stack(taken)


# %%
# The decay
# ---------
# A coordinate whose gradient is zero takes no step, and shows no rate. Over the training the optimizer is followed a
# second time, along the gradients that the classifier had.


def decay(config: Config, seed: int) -> Measured:
    chance = stream(seed, "gradients")
    wild = torch.randn(200, 20, generator=chance, dtype=torch.float64)
    wild *= 10 ** (6 * torch.rand(200, 20, generator=chance, dtype=torch.float64) - 3)
    constant = torch.randn(20, generator=chance, dtype=torch.float64)
    without_epsilon: Optimizer = lambda weights: AdaGrad(weights, lr=1.0, eps=0.0)  # noqa: E731 (a def could not carry the type)
    falling = [constant * 0.9**step for step in range(1_000)]
    roots = torch.arange(1, 1_001, dtype=torch.float64).sqrt()[:, None]
    along_constant = steps(without_epsilon, [constant] * 1_000)
    stopped = rates(without_epsilon, falling)[200:] * constant.abs().numpy() / math.sqrt(1 - 0.9**2)

    gradients, moved = training(config, seed)
    in_training = rates(ARMS["AdaGrad"], gradients)
    kept = np.fmin.accumulate(in_training)  # where no gradient came, the rate is what it was
    first = kept[0, ~np.isnan(kept[0])]  # of the weights whose pixels the first minibatch lit
    relative = np.median(kept[:, ~np.isnan(kept[0])] / first, axis=1)
    return {
        "random/largest rise of a rate": largest_rise(rates(ARMS["AdaGrad"], list(wild))),
        "training/largest rise of a rate": largest_rise(in_training),
        "training/far from the weights": largest_error(config.lr * steps(ARMS["AdaGrad"], gradients).sum(0), moved),
        "training/rate at the first step over that at the last": float(1 / relative[-1]),
        f"training/rate at step {EARLY} over that at the last": float(relative[EARLY - 1] / relative[-1]),
        "training/curve": [float(relative[step - 1]) for step in SHOWN if step <= TRAINING],
        "constant/far from α/√t": largest_error(along_constant * roots, constant.sign().expand_as(along_constant)),
        "falling/far from the rate where it stops": float(np.abs(stopped - 1).max()),
        "torch/far from its steps": largest_error(
            steps(ARMS["AdaGrad"], list(wild)), steps(adagrad_of_torch, list(wild))
        ),
    }


def adagrad_of_torch(weights: Iterable[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.Adagrad(weights, lr=1.0)


def rates(optimizer: Optimizer, gradients: Sequence[Tensor]) -> NDArray[np.float64]:
    """Step over gradient, (T, coordinates); nan where the gradient is zero."""
    both = steps(optimizer, gradients) / torch.stack(list(gradients))
    return both.numpy()


def largest_rise(found: NDArray[np.float64]) -> float:
    """By what share a rate is ever above one that the same coordinate had before; 0 where it never is."""
    before = np.fmin.accumulate(found)[:-1]
    return max(float(np.nanmax(found[1:] / before)) - 1, 0.0)


def training(config: Config, seed: int) -> tuple[list[Tensor], Tensor]:
    """The gradients of a linear classifier that AdaGrad trains, and how far each weight has come downhill."""
    images = data.load(config.data, seed, train=config.train, test=0, side=14, flat=True)
    inputs, labels = images.train.to(config.device)
    model = LogisticClassifier(196, 10, dtype=torch.float64).to(config.device)
    batches = Minibatches((inputs.double(), labels), config.batch_size, stream(seed, "batches"))
    trainer = Trainer(model, cross_entropy, AdaGrad(model.parameters(), lr=config.lr), batches)
    gradients = []
    for _ in islice(trainer, TRAINING):
        assert model.weight.grad is not None
        gradients.append(model.weight.grad.flatten().cpu())
    return gradients, -model.weight.detach().flatten().cpu()  # all weights started at 0


# %%
# Momentum
# --------
# The same three questions to each optimizer.


def memory(seed: int) -> Measured:
    gradients = list(torch.randn(51, 20, generator=stream(seed, "memory"), dtype=torch.float64))
    signs = torch.randn(50, 20, generator=stream(seed, "signs"), dtype=torch.float64).sign()
    order = torch.randperm(50, generator=stream(seed, "order")).tolist()
    *past, present = gradients
    measured: Measured = {}
    for arm, optimizer in ARMS.items():
        impulse = steps(optimizer, [present, *repeat(torch.zeros_like(present), 50)]).abs()
        walked = steps(optimizer, gradients)
        turned = steps(optimizer, [*(-gradient for gradient in past), present])
        mixed = steps(optimizer, [*(past[place] * sign for place, sign in zip(order, signs, strict=True)), present])
        measured[f"{arm}/impulse"] = (impulse / impulse[0]).mean(1)[: IMPULSE + 1].tolist()
        measured[f"{arm}/distance along zeros"] = (impulse[1:].sum() / impulse[0].sum()).item()
        measured[f"{arm}/change of the next step"] = change(walked[-1], turned[-1])
        measured[f"{arm}/change by another order and signs"] = change(walked[-1], mixed[-1])
        measured[f"{arm}/steps up the slope"] = (walked * torch.stack(gradients) < 0)[1:].double().mean().item()
    return measured


def change(one: Tensor, other: Tensor) -> float:
    """How far two steps are apart, as a share of the first."""
    return ((other - one).abs().sum() / one.abs().sum()).item()


# %%
# After a burst
# -------------
# A bowl with curvatures of 0.1 to 1: the loss ½ Σ hᵢ wᵢ². An optimizer first sees 25 gradients of random signs, in each
# coordinate a hundred times as large as the one at the start. Then it is put at the start, with what it remembers.


def bursts(config: Config, seed: int) -> Measured:
    h = torch.logspace(-1, 0, 50, dtype=torch.float64)
    start = torch.randn(50, generator=stream(seed, "start"), dtype=torch.float64)
    signs = torch.randn(BURST, 50, generator=stream(seed, "burst"), dtype=torch.float64).sign()
    return {
        f"bowl/{arm}/steps {when}": steps_to_arrive(optimizer, h, start, before, config.longest)
        for arm, optimizer in ON_BOWLS.items()
        for when, before in {"fresh": [], "after a burst": list(100 * h * start * signs)}.items()
    }


def steps_to_arrive(optimizer: Optimizer, h: Tensor, start: Tensor, before: Sequence[Tensor], longest: int) -> float:
    """The steps from the start to 1/10,000 of its loss; nan where they are more than the longest."""
    w = nn.Parameter(start.clone())
    descending = optimizer([w])
    for gradient in before:
        w.grad = gradient
        descending.step()
    w.data.copy_(start)
    target = (h * start**2).sum().item() / 10_000
    for step in range(longest + 1):
        w.grad = h * w.data
        if torch.dot(w.grad, w.data).item() <= target:
            return float(step)
        descending.step()
    return math.nan


# %%
# What we expect
# --------------
# From the formula: the rate is α / √G, and G only grows, by g² a step. So the decay follows the past gradients, and not
# the number of steps. Where AdaGrad does not arrive after a burst, the steps that it had stand in: it needs more.

ROUNDING = 1e-12

# fmt: off
PREDICTIONS = [
    claim("1.25", "random gradients",
          "No coordinate's rate ever rises along random gradients whose sizes span six powers of ten.",
          lambda t: identity(t["random/largest rise of a rate"], tolerance=ROUNDING)),
    claim("1.25", "training", "No weight's rate ever rises in the training of a linear classifier on {data}.",
          lambda t: identity(np.maximum(t["training/largest rise of a rate"], t["training/far from the weights"]),
                             tolerance=ROUNDING)),
    claim("1.25", "fall in training", "The median rate of a linear classifier on {data} falls by more than half from "
          "the first step to step 200.",
          lambda t: ratio(t["training/rate at the first step over that at the last"], np.ones(len(t.seeds)),
                          margin=2.0), of="median rate at the first step over that at the last"),
    claim("1.25", "constant gradient", "Step t along a gradient that stays the same is α/√t long, for 1,000 steps.",
          lambda t: identity(t["constant/far from α/√t"], tolerance=ROUNDING)),
    claim("1.25", "PyTorch", "AdaGrad's steps along random gradients are those of PyTorch's AdaGrad.",
          lambda t: identity(t["torch/far from its steps"], tolerance=ROUNDING)),
    limit("1.25", "falling gradients", "Where gradients fall by a tenth each step, the rate stops: it is "
          "α √(1 - 0.9²) / g from step 201 to 1,000.",
          lambda t: identity(t["falling/far from the rate where it stops"], tolerance=ROUNDING),
          because="the sum of squares converges"),
    limit("1.25", "slow fall", "The median rate of a linear classifier on {data} falls from step 20 to 200 by "
          "less than half of the factor that 1/√t falls by.",
          lambda t: ratio(np.full(len(t.seeds), math.sqrt(TRAINING / EARLY)),
                          t[f"training/rate at step {EARLY} over that at the last"], margin=2.0),
          of="fall of 1/√t over fall of the median rate", because="in training gradients shrink, too"),
    limit("1.25", "burst",
          "AdaGrad takes over ten times as many steps down a bowl after 25 gradients a hundred times as large.",
          lambda t: ratio(at_least(t["bowl/AdaGrad/steps after a burst"], budget=t.config.longest),
                          t["bowl/AdaGrad/steps fresh"], margin=10.0), arms=("steps after a burst", "steps fresh"),
          of="steps after a burst over steps fresh",
          because="the rate is a five-hundredth then, and the decay cannot be switched off (Zeiler, 2012, for this "
                  "reason lets G forget)"),
    claim("1.26", "coasting",
          "AdaGrad goes on for more than a tenth of its first step along 50 zeros after a gradient.",
          lambda t: difference(t["AdaGrad/distance along zeros"], margin=0.1), of="distance over the first step"),
    claim("1.26", "past turned around",
          "AdaGrad's next step changes by more than a tenth when 50 past gradients are turned around.",
          lambda t: difference(t["AdaGrad/change of the next step"], margin=0.1),
          of="change of the step, as a share of it"),
    claim("1.26", "up the slope", "More than one step of AdaGrad in ten goes up the present slope along random "
          "gradients, where past ones pointed.",
          lambda t: difference(t["AdaGrad/steps up the slope"], margin=0.1), of="share of steps"),
    limit("1.26", "order and signs",
          "Past gradients in another order and with other signs leave AdaGrad's next step the same.",
          lambda t: identity(t["AdaGrad/change by another order and signs"], tolerance=ROUNDING),
          because="only squares are summed"),
]

ANSWERS = [
    answer("1.25", "Yes: no weight's rate ever rises, and in training the median one falls {fall in training} times. "
           "How far depends on the gradients: where they vanish the rate stops falling, and after a burst of large "
           "ones AdaGrad needs {burst} times the steps.",
           given={"random gradients": "supported", "training": "supported", "fall in training": "supported",
                  "falling gradients": "supported", "burst": "supported"}),
    answer("1.26", "No. AdaGrad remembers how large gradients were, and not where they pointed: it stops where the "
           "gradient does, and turning past gradients around changes nothing.",
           given={"coasting": "refuted", "past turned around": "refuted", "up the slope": "refuted"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# Above, momentum. After one gradient, momentum and Adam coast; AdaGrad stands still, as plain SGD does. Each of the
# three measures is large for momentum, which shows that it can be, and nothing for AdaGrad.
# Below, the decay. AdaGrad's rate follows the gradients: it falls as 1/√t where they stay the same, stops where they
# vanish, and drops at a burst, for ever. On the right, what that costs: plain SGD forgets a burst at once, momentum
# soon.


def figure(trials):
    drawing, ((impulse, remembered), (falling, bowl)) = plt.subplots(2, 2, figsize=(10, 7.5))
    styles = dict(zip(ARMS, ("C0o-", "C1s-", "C2D-", "C3^-"), strict=True))
    draw_impulse(impulse, trials, styles)
    draw_memory(remembered, trials, styles)
    draw_rates(falling, trials)
    draw_bowl(bowl, trials)
    return drawing


def draw_impulse(axes, trials, styles):
    for arm, style in styles.items():
        size = 8 if arm == "SGD" else 4  # AdaGrad's points lie on SGD's
        axes.plot(trials[f"{arm}/impulse"].mean(0), style, markersize=size, label=arm)
    axes.set_title("Steps along one gradient and then zeros")
    axes.set_xticks(range(0, IMPULSE + 1, 5))
    axes.set_xlabel("zeros since the gradient")
    axes.set_ylabel("length of the step, first = 1")
    axes.legend()


def draw_memory(axes, trials, styles):
    measures = {
        "distance along zeros": "distance along\n50 zeros, in\nfirst steps",
        "change of the next step": "change by\na past turned\naround",
        "steps up the slope": "share of\nsteps up\nthe slope",
    }
    for place, name in enumerate(measures):
        for side, (arm, style) in enumerate(styles.items()):
            found = trials[f"{arm}/{name}"]
            middle = place + 0.2 * (side - 1.5)
            label = None if place else arm
            axes.plot(middle + np.linspace(-0.06, 0.06, len(found)), found, style[:3], alpha=0.6, label=label)
    axes.set_yscale("symlog", linthresh=0.1)
    axes.set_ylim(-0.03, 30)
    axes.axhline(0.1, color="0.4", linestyle=":")
    axes.set_xticks(range(len(measures)), measures.values())
    axes.set_title("Three ways to see past gradients at work: each seed")
    axes.set_ylabel("in the unit below (dotted: what would matter)")
    axes.legend()


def draw_rates(axes, trials):
    constant, fine = np.ones(1_000), sorted({*SHOWN, *range(99, 111)})
    sequences = {
        "that stay the same: 1/√t": (constant, "C0-"),
        "that fall by a tenth each step": (0.9 ** np.arange(1_000), "C1--"),
        "100 times as large from step 100 to 109": (np.where(abs(np.arange(1, 1_001) - 104.5) < 5, 100, 1), "C3-."),
    }
    for label, (gradients, style) in sequences.items():
        given = [torch.tensor([gradient], dtype=torch.float64) for gradient in gradients]
        found = rates(ARMS["AdaGrad"], given)[:, 0]
        axes.plot(fine, [found[step - 1] for step in fine], style, label=label)
    until = [step for step in SHOWN if step <= TRAINING]
    own = trials["training/curve"]
    axes.plot(until, own.T, "C2-", linewidth=0.5, alpha=0.4)
    axes.plot(until, np.exp(np.log(own).mean(0)), "C2:", linewidth=2.5, label=f"of {trials.config.data}, median")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(2e-4, 1.5)  # room for the legend below the curves
    axes.set_title("AdaGrad's rate along gradients ...")
    axes.set_xlabel("step")
    axes.set_ylabel("rate, first = 1")
    axes.legend(loc="lower left")


def draw_bowl(axes, trials):
    for place, arm in enumerate(ON_BOWLS):
        for side, (when, style) in enumerate({"fresh": "C0o", "after a burst": "C3s"}.items()):
            found = np.nan_to_num(trials[f"bowl/{arm}/steps {when}"], nan=trials.config.longest)
            spread = np.linspace(-0.1, 0.1, len(found))
            axes.plot(place + 0.3 * (side - 0.5) + spread, found, style, alpha=0.6, label=when if not place else None)
    axes.set_yscale("log")
    axes.set_xticks(range(len(ON_BOWLS)), list(ON_BOWLS))
    axes.set_title("Steps to 1/10,000 of the loss on a bowl: each seed")
    axes.set_ylabel("steps")
    axes.legend()


# %%
# Run it
# ------

if __name__ == "__main__":
    lesson.main("adagrad")
