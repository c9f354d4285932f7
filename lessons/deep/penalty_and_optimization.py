"""
Does a penalty on the weights make training harder?
===================================================

L2 regularisation adds a price on large weights to the loss ℓ: ℓ′ = ℓ + ½ λ ‖w‖². It is there to restrain a network, and
what is restrained should be harder to train. The course notes say that it is not (row 2.06). Picture the loss as a long
valley: its walls are steep, its floor is nearly flat, and gradient descent creeps along it. Now add a round bowl,
½ λ ‖w‖², which curves alike in all directions. Each curvature grows by λ. ::

    curvature        across     along      κ = across / along      what a step of 1 / across leaves of the way along
    ℓ                1          0.01       100                     1 - 0.01 / 1    = 0.99
    ℓ′ (λ = 0.1)     1.1        0.11       10                      1 - 0.11 / 1.1  = 0.9

In many dimensions the curvatures are the *eigenvalues* of the *Hessian*, the matrix of second derivatives, and κ is its
*condition number*. The loss goes with the square of what is left: it is down to a tenth after 115 steps of 0.99, and
after 11 of 0.9. So the penalty makes training easier. But look where it leads: the lowest point, once at w, is now at
w · 0.01 / (0.01 + λ) along the floor, for λ = 0.1 at an 11th of the way. Training is quick because the way is short.

A price of λ = 10 leaves a 1,000th of the way, which should be too little to learn anything. And a rate that suits ℓ may
be too large for ℓ′. With λ = 10, a step at the rate 1 turns what is left across the valley into 1 - 11 = -10 times as
much, and along it into -9.01 times as much. That is no descent, but an explosion.
"""

import math
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise, repeat

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn

from dlnotes import data, lesson
from dlnotes.deep import MLP, l2_penalty, weight_decay_groups
from dlnotes.evidence import at_least, difference, identity, no_difference, not_better, ratio
from dlnotes.lesson import answer, claim, curves, limit, reference_line, strips
from dlnotes.linear import SGD, cross_entropy, one_hot, standardize
from dlnotes.measuring import Measured, Tuned, largest_error, steps_until
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep
from dlnotes.training import accuracy, evaluate

# %%
# The experiment
# --------------
# A *seed* draws 3,000 letters, A to J of 7 × 7 standardised pixels, for a linear classifier (logistic regression), where
# all can be computed. Its *arms* are five λ. For each, Newton's method finds the lowest point of ℓ′. Then gradient
# descent starts at zero, at the rate 1/(L + λ), where L bounds the curvature of ℓ. We count steps until a tenth of the
# first distance in ℓ′ to that point is left, or a thousandth. Biases pay here, so that all eigenvalues rise. Last, λ =
# 10 is tried at the rate 1/L; and two networks with one hidden layer learn 100 letters of 14 × 14 pixels with λ = 0 and
# 10, each at the rate that was best for it on other seeds.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 3_000  # images of logistic regression: of too few it makes no mistake, and ℓ has no lowest point
    most_steps: int = 500  # of logistic regression
    large: float = 10.0  # λ that is tried at a rate that suits λ = 0
    network_train: int = 100  # images that the networks learn from
    validation: int = 1_000  # images that their rates are chosen by
    test: int = 2_000  # unseen images
    width: int = 64  # hidden units of the networks
    network_steps: int = 500  # of the networks, with all their images at each and with momentum 0.9


QUICK = Config(train=100, most_steps=100, network_train=50, validation=100, test=100, width=8, network_steps=10)
SEEDS = range(16)
DATA = ("letters", "fashion_mnist", "not_mnist")
STRENGTHS = (0.0, 1e-4, 1e-2, 1.0, 10.0)  # λ of logistic regression
SHARES = {"tenth": 1 / 10, "thousandth": 1 / 1_000}  # of the first distance to the optimum
NETWORKS = {"λ=0": 0.0, "λ=10": 10.0}
SHOWN = 100  # steps that the figure shows


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    inputs, targets = data.load(config.data, seed, train=config.train, test=0, side=7, flat=True).train
    (pixels,) = standardize(inputs.double())
    inputs = torch.cat([pixels, torch.ones(len(pixels), 1, dtype=pixels.dtype)], dim=1)  # the bias is a weight
    measured = eigenvalues(inputs[:200], targets[:200], seed) | logistic_regression(config, inputs, targets)
    images = load(config, seed)
    for arm, strength in NETWORKS.items():
        (model,) = trained(config, seed, images.train, strength, (tuned[arm],))
        measured[f"network/{arm}/accuracy"] = accuracy(model, images.test)
    return measured


def eigenvalues(inputs: Tensor, targets: Tensor, seed: int) -> Measured:
    """Of the Hessian of ℓ′ by automatic differentiation, for each λ, at weights that are drawn."""
    w = torch.randn(inputs.shape[1], 10, generator=stream(seed, "somewhere"), dtype=inputs.dtype) / 10
    measured, first = {}, None
    for strength in STRENGTHS:
        loss = partial(objective, inputs, targets, strength=strength)
        second_derivatives = torch.autograd.functional.hessian(loss, w, vectorize=True)
        found = torch.linalg.eigvalsh(second_derivatives.reshape(w.numel(), w.numel()))
        first = found if first is None else first
        measured[f"λ={strength:g}/eigenvalues/largest error"] = largest_error(found, first + strength)
        # Of ℓ alone the smallest is zero, up to rounding: adding one number to all scores changes nothing.
        measured[f"λ={strength:g}/smallest over largest eigenvalue"] = max(0.0, (found[0] / found[-1]).item())
    return measured


def logistic_regression(config: Config, inputs: Tensor, targets: Tensor) -> Measured:
    bound, measured = curvature_bound(inputs), {}
    best = start = torch.zeros(inputs.shape[1], 10, dtype=inputs.dtype)
    for strength in sorted(STRENGTHS, reverse=True):
        best = optimum(inputs, targets, strength, start=best)  # each begins where the last ended: a few steps
        lowest, first = (objective(inputs, targets, w, strength).item() for w in (best, start))
        near = lowest + min(SHARES.values()) / 2 * (first - lowest)  # so near that no more steps are asked for
        path = descend(inputs, targets, strength, lr=1 / (bound + strength), steps=config.most_steps, near=near)
        gaps = np.maximum((np.array(path) - lowest) / (path[0] - lowest), 1e-12)
        for name, share in SHARES.items():
            measured[f"λ={strength:g}/steps to a {name}"] = steps_until(share, gaps)
        measured[f"λ={strength:g}/gaps"] = gaps[: SHOWN + 1].tolist()
    path = descend(inputs, targets, config.large, lr=1 / bound, steps=50)
    return measured | {"large λ at the rate 1/L/growth": math.log10(path[-1] / path[0])}


def objective(inputs: Tensor, targets: Tensor, w: Tensor, strength: float) -> Tensor:
    """ℓ′, of weights w (inputs, classes)."""
    return cross_entropy(inputs @ w, targets) + l2_penalty([w], strength)


def curvature_bound(inputs: Tensor) -> float:
    """L: half of the largest eigenvalue of XᵀX/N, which no eigenvalue of the Hessian of ℓ exceeds (Böhning, 1992)."""
    return torch.linalg.eigvalsh(inputs.T @ inputs / len(inputs))[-1].item() / 2


def hessian(inputs: Tensor, w: Tensor, strength: float) -> Tensor:
    """Of ℓ′, (d, d): over examples the mean of x xᵀ ⊗ (diag(p) - p pᵀ), and λ on the diagonal."""
    p = (inputs @ w).softmax(1)
    weighted = (inputs[:, :, None] * p[:, None, :]).flatten(1)  # x ⊗ p
    found = -(weighted.T @ weighted)
    blocks = found.view(*w.shape, *w.shape)
    for k in range(w.shape[1]):
        blocks[:, k, :, k] += inputs.T @ (inputs * p[:, k : k + 1])
    return found / len(inputs) + strength * torch.eye(w.numel(), dtype=w.dtype)


def optimum(inputs: Tensor, targets: Tensor, strength: float, *, start: Tensor) -> Tensor:
    """Where ℓ′ is lowest, by Newton's method; a step that would go up is halved until it does not."""
    w = start
    for _ in range(50):
        residual = (inputs @ w).softmax(1) - one_hot(targets, 10)
        gradient = inputs.T @ residual / len(inputs) + strength * w
        # Without λ the Hessian is singular (see above): a trace on its diagonal bends the way and not the goal.
        curvature = hessian(inputs, w, max(strength, 1e-9))
        step = torch.linalg.solve(curvature, gradient.flatten()).reshape(w.shape)
        if (gradient * step).sum() < 1e-9:  # twice of what is left, as a bowl of this curvature would have it
            break
        here = objective(inputs, targets, w, strength)
        while objective(inputs, targets, w - step, strength) > here and step.norm() > 1e-12:
            step = step / 2
        w = w - step
    return w


def descend(inputs, targets, strength: float, *, lr: float, steps: int, near: float = -math.inf) -> list[float]:
    """ℓ′ at zero, where all start, and after each step of gradient descent; it may end early where ℓ′ is near."""
    w = nn.Parameter(torch.zeros(inputs.shape[1], 10, dtype=inputs.dtype))
    optimizer = SGD([w], lr=lr, weight_decay=strength)
    path: list[float] = []
    while len(path) <= steps and not (len(path) > SHOWN and path[-1] < near):
        optimizer.zero_grad()
        loss = cross_entropy(inputs @ w, targets)
        path.append((loss + l2_penalty([w], strength)).item())
        loss.backward()
        optimizer.step()
    return path


def load(config: Config, seed: int) -> data.Parts:
    counts = {"train": config.network_train, "validation": config.validation, "test": config.test}
    return data.load(config.data, seed, **counts, side=14, flat=True)


def trained(config: Config, seed: int, images: data.Examples, strength: float, rates: tuple[float, ...]) -> list[MLP]:
    """Networks that trained side by side from the same weights, one for each rate. Biases pay nothing."""
    models = [MLP([196, config.width, 10], generator=stream(seed, "weights")) for _ in rates]
    pairs = zip(models, rates, strict=True)
    groups = [{**group, "lr": lr} for model, lr in pairs for group in weight_decay_groups(model, strength)]
    optimizer = SGD(groups, lr=1.0, momentum=0.9, weight_decay=0.0)
    for _ in islice(Sweep(models, cross_entropy, optimizer, repeat(tuple(images))), config.network_steps):
        pass
    return models


# %%
# `python -m lessons tune penalty_and_optimization` chooses the networks' rates, of the same twelve, by validation loss.
# With λ = 10 on the other data sets than letters the winner is the smallest candidate.

RATES = (3.2, 1.6, 0.8, 0.4, 0.2, 0.1, 0.05, 0.025, 0.0125, 0.00625, 0.003125, 0.0015625)
TUNING = dict.fromkeys(NETWORKS, RATES)
TUNING_SEEDS = range(1_000, 1_012)


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    images = load(config, seed)
    models = trained(config, seed, images.train, NETWORKS[arm], candidates)
    return [evaluate(model, images.validation, cross_entropy) for model in models]


# %%
# What we expect
# --------------
# Written before the run. A *claim* is the notes' statement in one setting, a *limit* one in which we expect it to fail.
# The *margin*, the smallest difference that matters, is a tenth of the steps. λ = 0 may not arrive in time: then it
# counts with all its steps, and needs more.


def rises(t):
    """How far the condition number rises from one λ to the next, at most; as a fall of the inverse, which is finite."""
    inverse = [t[f"λ={strength:g}/smallest over largest eigenvalue"] for strength in STRENGTHS]
    return np.max([less - more for less, more in pairwise(inverse)], axis=0).clip(0)


def steps(t, arm, share):
    return at_least(t[f"{arm}/steps to a {share}"], budget=t.config.most_steps)


# fmt: off
PREDICTIONS = [
    claim("2.06", "eigenvalues", "Each eigenvalue of the Hessian of logistic regression rises by λ.",
          lambda t: identity(np.max([t[f"λ={strength:g}/eigenvalues/largest error"] for strength in STRENGTHS], axis=0),
                             tolerance=1e-9)),
    claim("2.06", "condition number", "The condition number of the Hessian of logistic regression falls with each "
          "larger λ.",
          lambda t: identity(rises(t), tolerance=0.0), of="fall of smallest over largest eigenvalue"),
    claim("2.06", "tiny price", "Logistic regression with λ = 0.0001 comes to a tenth of the distance to its own "
          "optimum in less than a tenth more steps than without.",
          lambda t: not_better(ratio(t["λ=0.0001/steps to a tenth"], steps(t, "λ=0", "tenth"), margin=1.1)),
          arms=("λ=0.0001", "λ=0"), of="steps with over steps without"),
    claim("2.06", "small price", "Logistic regression with λ = 0.01 comes to a tenth of the distance to its own "
          "optimum in less than a tenth more steps than without.",
          lambda t: not_better(ratio(t["λ=0.01/steps to a tenth"], steps(t, "λ=0", "tenth"), margin=1.1)),
          arms=("λ=0.01", "λ=0"), of="steps with over steps without"),
    claim("2.06", "saves steps", "Logistic regression without the penalty needs over 1.1 times the steps of λ = 0.01 "
          "to a thousandth of the distance.",
          lambda t: ratio(steps(t, "λ=0", "thousandth"), t["λ=0.01/steps to a thousandth"], margin=1.1),
          arms=("λ=0.01", "λ=0"), of="steps without (at least) over steps with"),
    limit("2.06", "diverges", "Logistic regression with λ = {large:g} diverges at the rate 1/L, which suits λ = 0: its "
          "loss is higher after fifty steps than at the start.",
          lambda t: difference(t["large λ at the rate 1/L/growth"], margin=0.0),
          of="decimal logarithm of the loss over that at the start", because="the rate is above 2/(L + λ)"),
    limit("2.06", "collapses", "A network with λ = 10 learns nothing: its accuracy on {data} is within 5 points of "
          "chance.",
          lambda t: no_difference(t["network/λ=10/accuracy"] - 0.1, margin=0.05),
          of="accuracy above chance", because="the price is too large to be paid for anything that is to be learned"),
]

ANSWERS = [
    answer("2.06", "A small penalty makes it easier: with λ = 0.01 logistic regression saves {saves steps:fewer} of its "
           "steps. A large one does not: with λ = 10 a fitting rate becomes too large, and a network learns nothing.",
           given={"tiny price": "supported", "small price": "supported", "saves steps": "supported",
                  "diverges": "supported", "collapses": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# First the thing itself: the valley of the introduction from above, with its lowest point at (10, 1), and 40 steps from
# zero. Beside it the same with the penalty: the valley is rounder, and its lowest point (the cross) near. Then logistic
# regression, a thin line a seed: the larger λ is, the steeper is the way down, but each to a lowest point of its own.
# On the right the price: what share of unseen letters the networks get right, a dot a seed. With λ = 10 they guess.


def figure(trials):
    drawing, (plain, bowl, third, fourth) = plt.subplots(1, 4, figsize=(16, 4), width_ratios=(1, 1, 1, 0.6))
    h, bottom = np.array([0.01, 1.0]), np.array([10.0, 1.0])
    along, across = np.meshgrid(np.linspace(-1, 12, 60), np.linspace(-0.5, 2.2, 60))
    for axes, strength in ((plain, 0.0), (bowl, 0.1)):
        loss = sum(a * (x - b) ** 2 + strength * x**2 for a, b, x in zip(h, bottom, (along, across), strict=True)) / 2
        path = [np.zeros(2)]
        for _ in range(40):
            path.append(path[-1] - (h * (path[-1] - bottom) + strength * path[-1]) / (1 + strength))
        axes.contour(along, across, loss, levels=loss.min() + np.geomspace(0.003, 3, 10), colors="0.8", linewidths=0.7)
        axes.plot(*np.transpose(path), "o-", color="C0", markersize=3, linewidth=1)
        axes.plot(*(h * bottom / (h + strength)), "x", color="C1", markersize=9)
        axes.set(title=f"A valley with λ = {strength:g}: 40 steps", xlabel="along it", ylabel="across it")

    for place, strength in enumerate(STRENGTHS):
        gaps = np.maximum(trials[f"λ={strength:g}/gaps"], 1e-6)
        curves(third, range(SHOWN + 1), gaps, label=f"λ = {strength:g}", color=f"C{place}", geometric=True)
    for name, share in SHARES.items():
        reference_line(third, share, name)
    third.set(title="Logistic regression", xlabel="step", ylabel="distance in ℓ′, share of the first")
    third.set(yscale="log", ylim=(1e-4, 1.2))
    third.legend()

    strips(fourth, {arm: 100 * trials[f"network/{arm}/accuracy"] for arm in NETWORKS})
    fourth.set(title="Networks: correct", ylabel=f"% of unseen {trials.config.data}", ylim=(0, 100))
    reference_line(fourth, 10, "guessing")
    return drawing


# %%
# Try it yourself
# ---------------
# TODO

if __name__ == "__main__":
    lesson.main("penalty_and_optimization")
