"""
Does momentum make SGD faster?
==============================

Roll a ball into a long, narrow valley. SGD (stochastic gradient descent) is a ball without weight: it goes straight
downhill, bounces from wall to wall and creeps along the floor. Give it weight, and bounces cancel while creeping adds
up. That is momentum, here of 0.9: keep a sum M of past gradients in which old ones fade, and step against it. ::

    M ← 0.9 M + g        w ← w - α M        g: the gradient at the weights w,  α: the learning rate

Two rows of numbers show why it could work. Along the valley the gradient stays the same, say 1. Across it, each step
lands on the opposite wall, and the gradient flips its sign. ::

    g along     1     1     1     1     1   …        M     1    1.90   2.71   3.44   4.10   …  to 1/0.1 = 10
    g across    1    -1     1    -1     1   …        M     1   -0.10   0.91  -0.18   0.84   …  to ±1/1.9 = ±0.53

Where the gradients agree, steps grow ten times as long; where they quarrel, they shrink to half. So momentum should pay
where the valley is long, as κ (kappa) measures it: the largest curvature (second derivative) over the smallest. Theory
(Polyak, 1964) says that momentum of 0.9 takes a tenth off the loss at each step, whatever κ up to 1,400: 87 steps to a
10,000th. SGD needs up to 2.3 κ. The two meet at κ = 38. Below that, weight is a burden: the ball overshoots.

The course notes print another formula (row 1.17): M ← 0.9 M + Δα, where Δα is how much the learning rate changes from
one step to the next. A rate knows no direction, so this should lead nowhere. We try it as printed, too.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np
import torch
from matplotlib import pyplot as plt

from dlnotes import data, lesson
from dlnotes.evidence import at_least, difference, no_difference, not_better, ratio
from dlnotes.lesson import answer, claim, curves, limit, reference_line, strips
from dlnotes.linear import SGD, LogisticClassifier, cross_entropy
from dlnotes.measuring import Measured, Tuned, grid, losses_of, steps_until
from dlnotes.randomness import stream
from dlnotes.training import Minibatches, Trainer, evaluate

# %%
# The experiment
# --------------
# Each *seed* draws a starting point for three valleys of 50 dimensions, and images for a linear classifier. There are
# two *arms*, SGD and momentum: same start, same batches, each at the rate that was best for it on other seeds. We count
# steps until the loss (the mean of the last ten; of images in nats, the unit of cross-entropy) is down to a target. A
# last pair takes small rates: α for SGD and α/10 for momentum, whose steps grow ten times as long.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 4_000  # training images
    batch_size: int = 128  # images a step
    bowl_steps: int = 1_000  # most steps in each valley
    image_steps: int = 600  # most steps of each classifier
    small_rate: float = 1 / 32  # the rate of SGD in the pair with a small one
    device: str = "cpu"  # of the classifiers


QUICK = Config(train=500, bowl_steps=200, image_steps=50, small_rate=0.25)
SEEDS = range(16)
DATA = ("letters", "fashion_mnist", "not_mnist")
ARMS = {"SGD": 0.0, "momentum": 0.9}
KAPPAS = (1, 10, 1_000)
TARGETS = {"letters": 0.3, "fashion_mnist": 0.5, "not_mnist": 0.3}  # the loss on training images to reach, in nats
EASY_TARGET = 0.8  # the same at a small rate
SHOWN = range(0, 200, 4)  # the steps in a valley that the figure shows


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    down = list(in_valley(10, seed, 100, lr=0.1, beta=0.9))
    measured: Measured = {"formula with the gradient/loss left": down[-1] / down[0]}
    measured["formula as printed/loss left"] = as_printed(seed, 100)
    measured["sum/step over a constant gradient"] = along_one_gradient(seed, 200)
    for kappa in KAPPAS:
        for arm, beta in ARMS.items():
            losses = list(in_valley(kappa, seed, config.bowl_steps, lr=tuned[f"κ={kappa}/{arm}"], beta=beta))
            measured[f"κ={kappa}/{arm}/steps"] = steps_until(1e-4, losses, window=10, relative=True)
            measured[f"κ={kappa}/{arm}/curve"] = [loss / losses[0] for loss in losses[: SHOWN.stop : SHOWN.step]]
    images = data.load(config.data, seed, train=config.train, test=0).train.to(config.device)
    for arm, beta in ARMS.items():
        fast = on_images(config, seed, images, lr=tuned[f"images/{arm}"], beta=beta)
        measured[f"best rates/{arm}/steps"] = steps_until(TARGETS[config.data], fast, window=10)
        slow = on_images(config, seed, images, lr=config.small_rate * (1 - beta), beta=beta)
        measured[f"small rates/{arm}/steps"] = steps_until(EASY_TARGET, slow, window=10)
    return measured


def valley(kappa: float, w: torch.Tensor) -> torch.Tensor:
    """The loss ½ Σ hᵢ wᵢ², for curvatures h from 1/κ to 1."""
    return (torch.logspace(-np.log10(kappa), 0, len(w), dtype=torch.float64) * w**2).sum() / 2


def start(seed: int) -> torch.Tensor:
    return torch.randn(50, generator=stream(seed, "start"), dtype=torch.float64)


def in_valley(kappa: float, seed: int, steps: int, *, lr: float, beta: float) -> Iterator[float]:
    """The loss at the start and after each step."""
    w = start(seed).requires_grad_()
    optimizer = SGD([w], lr=lr, momentum=beta)
    for _ in range(steps):
        loss = valley(kappa, w)
        yield loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    yield valley(kappa, w).item()


def on_images(config: Config, seed: int, images: data.Examples, *, lr: float, beta: float) -> Iterator[float]:
    """The loss of a linear classifier on the first 1,000 training images, at the start and after each step."""
    model = LogisticClassifier(784, 10).to(config.device)
    batches = Minibatches(images, config.batch_size, stream(seed, "batches"))
    trainer = Trainer(model, cross_entropy, SGD(model.parameters(), lr=lr, momentum=beta), batches)
    watched = [tensor[:1_000] for tensor in images]
    yield evaluate(model, watched, cross_entropy)
    losses = (evaluate(model, watched, cross_entropy) for _ in islice(trainer, config.image_steps))
    yield from losses_of(losses, config.image_steps)


def as_printed(seed: int, steps: int) -> float:
    """The share of the loss that M ← 0.9 M + Δα, w ← w - α M leaves; α decays, or there would be no Δα."""
    w, accumulated = start(seed), 0.0
    for before, alpha in pairwise(0.1 / (1 + step / 10) for step in range(steps + 1)):
        accumulated = 0.9 * accumulated + (alpha - before)
        w -= alpha * accumulated
    return (valley(10, w) / valley(10, start(seed))).item()


def along_one_gradient(seed: int, steps: int) -> float:
    """The last step at the rate 1 along a gradient that stays the same, as a multiple of it."""
    w = before = torch.zeros(20, dtype=torch.float64, requires_grad=True)
    w.grad = torch.randn(20, generator=stream(seed, "gradient"), dtype=torch.float64)
    optimizer = SGD([w], lr=1.0, momentum=0.9)
    for _ in range(steps):
        before = w.detach().clone()
        optimizer.step()
    return ((before - w.detach()) / w.grad).mean().item()


# The rates are chosen by `python -m lessons tune momentum`: of the same 23 for each arm, by the number of steps.
RATES = grid(2**-9, 4, per_octave=2)
TUNING = {f"{where}/{arm}": RATES for where in ("κ=1", "κ=10", "κ=1000", "images") for arm in ARMS}
TUNING_SEEDS = range(1_000, 1_004)


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    where, beta = arm.split("/")[0], ARMS[arm.split("/")[1]]
    if where != "images":
        runs = [in_valley(float(where[2:]), seed, config.bowl_steps, lr=lr, beta=beta) for lr in candidates]
        return [steps_until(1e-4, losses, window=10, relative=True) for losses in runs]
    images = data.load(config.data, seed, train=config.train, test=0).train.to(config.device)
    runs = [on_images(config, seed, images, lr=lr, beta=beta) for lr in candidates]
    return [steps_until(TARGETS[config.data], losses, window=10) for losses in runs]


# %%
# What we expect
# --------------
# Written before the run: *claims* of the notes, by row, and *limits*, cases where we expect them to fail. "A tenth" is
# the *margin*, the smallest difference that matters. A slower arm that does not arrive counts with all its steps.

# fmt: off
PREDICTIONS = [
    claim("1.16", "downhill", "A hundred steps against a sum of past gradients halve the loss in a valley of κ = 10.",
          lambda t: not_better(difference(t["formula with the gradient/loss left"], margin=0.5)), of="share left"),
    claim("1.17", "as printed", "A hundred steps of the formula as printed halve the loss in a valley of κ = 10.",
          lambda t: not_better(difference(t["formula as printed/loss left"], margin=0.5)), of="share left"),
    claim("1.17", "running average", "With the gradient for Δα, M is within a tenth of a gradient that stays the same.",
          lambda t: no_difference(t["sum/step over a constant gradient"] - 1, margin=0.1), of="M over g, minus 1"),
    claim("1.18", "long valley", "In a valley of κ = 1,000 SGD needs over a tenth more steps than momentum.",
          lambda t: ratio(at_least(t["κ=1000/SGD/steps"], budget=t.config.bowl_steps), t["κ=1000/momentum/steps"],
                          margin=1.1), arms=ARMS),
    claim("1.18", "images", "A linear classifier of {data} needs over a tenth more steps by SGD than by momentum.",
          lambda t: ratio(at_least(t["best rates/SGD/steps"], budget=t.config.image_steps),
                          t["best rates/momentum/steps"], margin=1.1), arms=ARMS),
    limit("1.18", "round valley", "In a valley of κ = 10 it is momentum that needs more than twice the steps of SGD.",
          lambda t: ratio(at_least(t["κ=10/momentum/steps"], budget=t.config.bowl_steps), t["κ=10/SGD/steps"],
                          margin=2.0), arms=ARMS, because="10 is below 38, where the two should meet"),
    limit("1.18", "small rate", "SGD at the rate {small_rate:g} and momentum at a tenth of it learn {data} in as many "
          "steps, within a tenth.",
          lambda t: no_difference(np.log(t["small rates/SGD/steps"] / t["small rates/momentum/steps"]),
                                  margin=np.log(1.1)), arms=ARMS, of="logarithm of the ratio of steps",
          because="small steps along nearly the same gradient add up by themselves"),
]

ANSWERS = [
    answer("1.16", "Yes: a running sum of past gradients leads downhill.", given={"downhill": "supported"}),
    answer("1.17", "The formula as printed goes nowhere: it adds up changes of the learning rate. With the gradient in "
           "their place it works, as a sum and not as an average: M grows to ten times a steady gradient.",
           given={"as printed": "refuted", "running average": "refuted"}),
    answer("1.18", "In a long valley SGD needs {long valley} times the steps of momentum, on {data} {images} times; "
           "at κ = 10 momentum needs {round valley} times as many. At small rates SGD at ten times the rate keeps up.",
           given={"long valley": "supported", "images": "supported", "round valley": "supported",
                  "small rate": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left the thing itself: 50 steps in a valley of two dimensions (grey: equal loss). SGD zigzags and creeps,
# momentum swings wide and arrives. In the middle the loss, a thin line a seed: momentum falls nearly alike in both, SGD
# does not. On the right a dot a seed: momentum is faster above the line, in the long valley and on images.


def figure(trials):
    drawing, (above, middle, right) = plt.subplots(1, 3, figsize=(13, 4))
    along, across = np.meshgrid(np.linspace(-10, 6, 60), np.linspace(-2, 3, 60))
    above.contour(along, across, along**2 / 100 + across**2, levels=10, colors="0.85", linewidths=0.7)
    for color, arm, rate in (("C0", "SGD", 1.9), ("C1", "momentum", 0.6)):  # rates that suit this valley
        w, accumulated, path = np.array([-9.0, 1.2]), np.zeros(2), []
        for _ in range(51):
            path.append(w)
            accumulated = ARMS[arm] * accumulated + w * [0.01, 1]  # the gradient of w₁²/200 + w₂²/2
            w = w - rate * accumulated
        above.plot(*np.transpose(path), "o-", color=color, markersize=3, linewidth=1, label=arm)
    above.set(title="A valley of κ = 100, from above", xlabel="along it", ylabel="across it")

    for kappa, dashes in ((10, "--"), (1_000, "-")):
        for arm, color in (("SGD", "C0"), ("momentum", "C1")):
            shares = np.maximum(trials[f"κ={kappa}/{arm}/curve"], 1e-12)
            curves(middle, SHOWN, shares, label=f"{arm}, κ = {kappa:,}", color=color, linestyle=dashes, geometric=True)
    reference_line(middle, 1e-4, "target")
    middle.set(title="Loss in two valleys, as a share of the start", xlabel="step", yscale="log", ylim=(1e-6, 2))

    places = {"κ=1": "κ=1", "κ=10": "κ=10", "κ=1000": "κ=1,000", "best rates": "images", "small rates": "small rate"}
    gains = {words: trials[f"{name}/SGD/steps"] / trials[f"{name}/momentum/steps"] for name, words in places.items()}
    strips(right, gains, geometric=True)
    reference_line(right, 1, "equal")
    right.set(title="Steps of SGD over steps of momentum", yscale="log")
    right.set_yticks([0.15, 0.3, 1, 3, 10], ["0.15", "0.3", "1", "3", "10"])
    above.legend()
    middle.legend()
    return drawing


# %%
# Try it yourself
# ---------------
# At a small rate both need as many steps. Which is ahead at a larger one? `python -m lessons run momentum --set
# small_rate=0.5`. And does a sum of past gradients pay more, or less, where batches are small? `--set batch_size=8`

if __name__ == "__main__":
    lesson.main("momentum")
