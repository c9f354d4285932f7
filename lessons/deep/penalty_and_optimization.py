"""
Does a penalty on the weights make training harder?
===================================================

L2 regularisation adds a price on large weights to the loss ℓ: ℓ′ = ℓ + ½ λ ‖w‖². What is restrained should be harder to
train; the course notes say that it is not (row 2.06). Picture the loss as a valley, its floor so flat that gradient
descent creeps along it. Now add a round bowl, ½ λ ‖w‖²: each curvature (second derivative) grows by the strength λ. ::

    curvature        across     along      κ = across / along      what a step of 1 / across leaves of the way along
    ℓ                1          0.01       100                     1 - 0.01 / 1    = 0.99
    ℓ′ (λ = 0.1)     1.1        0.11       10                      1 - 0.11 / 1.1  = 0.9

In many dimensions the curvatures are the *eigenvalues* of the *Hessian*, the matrix of second derivatives, and κ is its
*condition number*. The loss goes with the square of what is left: it is down to a tenth after 115 steps of 0.99, but 11
of 0.9. So training gets easier. But the goal moves, too: along the floor from w to w · 0.01 / (0.01 + λ), with λ = 10
to a 1,000th. Is that enough to learn? And the curvature across is 11 then: a step of 1 leaves 1 - 11 = -10 of the way.
"""

import math
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn

from dlnotes import data, lesson
from dlnotes.deep import MLP, l2_penalty, weight_decay_groups
from dlnotes.evidence import at_least, difference, identity, no_difference, not_better, ratio
from dlnotes.lesson import answer, claim, curves, limit, reference_line
from dlnotes.linear import SGD, cross_entropy, one_hot, standardize
from dlnotes.measuring import Measured, Tuned, largest_error, steps_until, train_for
from dlnotes.randomness import stream
from dlnotes.training import Trainer, accuracy, evaluate

# %%
# The experiment
# --------------
# A *seed* draws 3,000 letters, A to J of 7 × 7 pixels, for logistic regression, a linear classifier. *Arms* are five λ.
# Newton's method finds the lowest ℓ′ of each; the *excess loss* is how far ℓ′ lies above it. Gradient descent starts at
# zero with the rate 1/(L + λ); no curvature of ℓ exceeds L. We count steps to a tenth and a thousandth of the first
# excess loss. Then λ = 10 at the rate 1/L. Last, a network learns 100 letters at λ = 10, its rate tuned on other seeds.


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
STRENGTHS = {"λ=0": 0.0, "λ=0.0001": 1e-4, "λ=0.01": 1e-2, "λ=1": 1.0, "λ=10": 10.0}  # the arms


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    inputs, targets = data.load(config.data, seed, train=config.train, test=0, side=7, flat=True).train
    inputs = nn.functional.pad(standardize(inputs.double())[0], (0, 1), value=1.0)  # the bias is a weight of a 1
    bound, best = curvature_bound(inputs), torch.zeros(inputs.shape[1], 10, dtype=inputs.dtype)
    path = descend(inputs, targets, config.large, lr=1 / bound, steps=50)
    measured: Measured = {"large λ at the rate 1/L/growth": math.log10(path[-1] / path[0])}
    spectra = {arm: eigenvalues(inputs[:200], targets[:200], strength, seed) for arm, strength in STRENGTHS.items()}
    for arm, strength in reversed(STRENGTHS.items()):
        measured[f"{arm}/error of eigenvalues"] = largest_error(spectra[arm], spectra["λ=0"] + strength)
        measured[f"{arm}/smallest over largest eigenvalue"] = max(0.0, (spectra[arm][0] / spectra[arm][-1]).item())
        best = optimum(inputs, targets, strength, best)  # each begins where the last ended: a few steps
        lowest = objective(inputs, targets, best, strength).item()
        path = descend(inputs, targets, strength, lr=1 / (bound + strength), steps=config.most_steps)
        gaps = np.maximum((np.array(path) - lowest) / (path[0] - lowest), 1e-12)
        measured[f"{arm}/steps to a tenth"] = steps_until(1 / 10, gaps)
        measured[f"{arm}/steps to a thousandth"] = steps_until(1 / 1_000, gaps)
        measured[f"{arm}/gaps"] = gaps[:101].tolist()
    images = load(config, seed)
    measured["network/λ=10/accuracy"] = accuracy(trained(config, seed, images, tuned["λ=10"]), images.test)
    return measured


def eigenvalues(inputs: Tensor, targets: Tensor, strength: float, seed: int) -> Tensor:
    """Of the Hessian of ℓ′, by automatic differentiation, at weights that are drawn."""
    w = torch.randn(inputs.shape[1], 10, generator=stream(seed, "somewhere"), dtype=inputs.dtype) / 10
    found = torch.autograd.functional.hessian(lambda w: objective(inputs, targets, w, strength), w, vectorize=True)
    return torch.linalg.eigvalsh(found.reshape(w.numel(), w.numel()))


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


def optimum(inputs: Tensor, targets: Tensor, strength: float, w: Tensor) -> Tensor:
    """Where ℓ′ is lowest, by Newton's method from w; a step that would go up is halved until it does not."""
    for _ in range(50):
        residual = (inputs @ w).softmax(1) - one_hot(targets, 10)
        gradient = inputs.T @ residual / len(inputs) + strength * w
        # Of ℓ alone the Hessian is singular (add one number to all scores: no change); a trace of λ mends that.
        step = torch.linalg.solve(hessian(inputs, w, max(strength, 1e-9)), gradient.flatten()).reshape(w.shape)
        if (gradient * step).sum() < 1e-9:  # twice of what is left, as a bowl of this curvature would have it
            break
        here = objective(inputs, targets, w, strength)
        while objective(inputs, targets, w - step, strength) > here and step.norm() > 1e-12:
            step = step / 2
        w = w - step
    return w


def descend(inputs: Tensor, targets: Tensor, strength: float, *, lr: float, steps: int) -> list[float]:
    """ℓ′ at zero, where all start, and after each step of gradient descent."""
    w = nn.Parameter(torch.zeros(inputs.shape[1], 10, dtype=inputs.dtype))
    optimizer, path = SGD([w], lr=lr, weight_decay=strength), []
    for _ in range(steps + 1):
        optimizer.zero_grad()
        loss = cross_entropy(inputs @ w, targets)
        path.append((loss + l2_penalty([w], strength)).item())
        loss.backward()
        optimizer.step()
    return path


def load(config: Config, seed: int) -> data.Parts:
    counts = {"train": config.network_train, "validation": config.validation, "test": config.test}
    return data.load(config.data, seed, **counts, side=14, flat=True)


def trained(config: Config, seed: int, images: data.Parts, lr: float, strength: float = 10.0) -> MLP:
    """A network after its steps, with all images at each. Its biases pay nothing."""
    model = MLP([196, config.width, 10], generator=stream(seed, "weights"))
    optimizer = SGD(weight_decay_groups(model, strength), lr=lr, momentum=0.9)
    train_for(Trainer(model, cross_entropy, optimizer, repeat(tuple(images.train))), config.network_steps)
    return model


# `python -m lessons tune penalty_and_optimization` chooses the network's rate, of twelve, by its validation loss.
TUNING = {"λ=10": tuple(float(f"{3.2 / 2**halvings:.6g}") for halvings in range(12))}
TUNING_SEEDS = range(1_000, 1_012)


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    images = load(config, seed)
    return [evaluate(trained(config, seed, images, lr), images.validation, cross_entropy) for lr in candidates]


# %%
# What we expect
# --------------
# Written before the run. A *claim* is the notes' statement in one setting, a *limit* one in which we expect it to fail.
# The *margin*, the smallest difference that matters, is a tenth of the steps. λ = 0 counts all if it never arrives.


def rises(t):
    """How far κ rises from one λ to the next, at most; as a fall of 1/κ, which is finite."""
    return np.max(-np.diff([t[f"{arm}/smallest over largest eigenvalue"] for arm in STRENGTHS], axis=0), axis=0).clip(0)


def steps_ratio(t, one, other, share):
    counts = {arm: t[f"{arm}/steps to a {share}"] for arm in (one, other)}
    counts["λ=0"] = at_least(counts["λ=0"], budget=t.config.most_steps)  # the slow side of each
    return ratio(counts[one], counts[other], margin=1.1)


# fmt: off
PREDICTIONS = [
    claim("2.06", "eigenvalues", "Each eigenvalue of the Hessian of logistic regression rises by λ.",
          lambda t: identity(np.max([t[f"{arm}/error of eigenvalues"] for arm in STRENGTHS], axis=0), tolerance=1e-9)),
    claim("2.06", "condition number", "The condition number of logistic regression falls with each larger λ.",
          lambda t: identity(rises(t), tolerance=0.0), of="fall of smallest over largest eigenvalue"),
    claim("2.06", "tiny price", "Logistic regression with λ = 0.0001 needs less than 10 % more steps than without, "
          "each until a tenth of its own excess loss is left.",
          lambda t: not_better(steps_ratio(t, "λ=0.0001", "λ=0", "tenth")), arms=("λ=0.0001", "λ=0")),
    claim("2.06", "small price", "Logistic regression with λ = 0.01 needs less than 10 % more steps than without, "
          "each until a tenth of its own excess loss is left.",
          lambda t: not_better(steps_ratio(t, "λ=0.01", "λ=0", "tenth")), arms=("λ=0.01", "λ=0")),
    claim("2.06", "saves steps", "Logistic regression without the penalty needs over 1.1 times the steps of λ = 0.01, "
          "each until a thousandth of its own excess loss is left.",
          lambda t: steps_ratio(t, "λ=0", "λ=0.01", "thousandth"), arms=("λ=0.01", "λ=0")),
    limit("2.06", "diverges", "Logistic regression with λ = {large:g} diverges in fifty steps at a rate safe at λ = 0.",
          lambda t: difference(t["large λ at the rate 1/L/growth"], margin=0.0), of="log₁₀ of the loss's growth"),
    limit("2.06", "collapses", "A network with λ = 10 comes within 5 points of chance on {data}: it learns nothing.",
          lambda t: no_difference(t["network/λ=10/accuracy"] - 0.1, margin=0.05), of="accuracy above chance"),
]

ANSWERS = [
    answer("2.06", "A small penalty makes training easier: λ = 0.01 saves {saves steps:fewer} of the steps. With "
           "λ = 10 a safe rate diverges. On notMNIST and Fashion-MNIST neither was shown.",
           given={"saves steps": "supported", "diverges": "supported", "fashion_mnist/diverges": "refuted",
                  "not_mnist/diverges": "refuted"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left the thing itself: the valley of the introduction from above (grey: equal loss), its lowest point (cross)
# at (10, 1), and 40 steps from zero. In the middle the same with the penalty: a rounder valley, its lowest point near.
# On the right logistic regression, a thin line a seed: the larger λ, the faster the way down, each to its own optimum.


def figure(trials):
    drawing, (plain, bowl, right) = plt.subplots(1, 3, figsize=(14, 4))
    h, bottom, steps = np.array([0.01, 1.0]), np.array([10.0, 1.0]), np.arange(41)[:, None]
    grid = np.stack(np.meshgrid(np.linspace(-1, 12, 60), np.linspace(-0.5, 2.2, 60)), axis=-1)
    for axes, strength in ((plain, 0.0), (bowl, 0.1)):
        loss, lowest = (h * (grid - bottom) ** 2 + strength * grid**2).sum(-1) / 2, h * bottom / (h + strength)
        path = lowest * (1 - (1 - (h + strength) / (1 + strength)) ** steps)
        axes.contour(*grid.T, loss.T, loss.min() + np.geomspace(0.003, 3, 10), colors="0.8", linewidths=0.7)
        axes.plot(*path.T, "o-", color="C0", markersize=3, linewidth=1)
        axes.plot(*lowest, "x", color="C1", markersize=9)
        axes.set(title=f"A valley with λ = {strength:g}: 40 steps", xlabel="along it", ylabel="across it")
    for color, arm in enumerate(STRENGTHS):
        curves(right, range(101), np.maximum(trials[f"{arm}/gaps"], 1e-6), label=arm, color=f"C{color}", geometric=True)
    reference_line(right, 0.1, "a tenth")
    right.set(title="Excess loss of logistic regression, first = 1", xlabel="step", yscale="log", ylim=(1e-5, 1.2))
    right.legend(loc="lower right")
    return drawing


# %%
# Try it yourself
# ---------------
# At the rate 1/L, λ = 10 explodes. Theory says that any λ above 2L, here some 5, does. Is λ = 4 safe, then, and λ = 6?
# `python -m lessons run penalty_and_optimization --set large=4 --seeds 3`

if __name__ == "__main__":
    lesson.main("penalty_and_optimization")
