"""
A price on large weights
========================

**The question.** What does the penalty ½ λ ‖w‖² do to the steps of training, to their number, and to what is learned?

**What the notes say.** L2 regularisation adds the squared size of the weights to the loss: ℓ′ = ℓ + ½ λ ‖w‖² (2.07).
The constraints of regularisation do not make a network harder to optimise (2.06).

**What is measured.** *The rule.* Twenty steps on letters, in double precision, with the penalty in the loss and with λ
w added to the gradient by the optimizer, beside PyTorch's optimizers with ``weight_decay``. With AdaGrad also with λ w
added after the division by the size of past gradients: a decay of the weights, and no penalty (behind momentum it is
another rule as well; its distance is measured and not judged). *The number of steps.* Logistic regression on 3,000
letters of 7 x 7 standardised pixels, all of them at each step, where all can be computed: the eigenvalues of the
Hessian, the optimum for each λ (by Newton's method), and the steps of gradient descent until no more than a tenth of
the first distance to it is left, in ℓ′, and a thousandth; each λ at the rate 1/(L + λ), where L bounds the curvature of
ℓ. The biases pay too, so that all eigenvalues rise. *What is learned.* The test loss of a network with one hidden layer
after 500 steps on 100 letters of 14 x 14 pixels, for each λ at the rate that was tuned for it; and, not judged, for the
two that are compared at the rate 0.1. Here biases pay nothing. The λ that is compared with 0 is the best on the seeds
of the tuning. How many steps the network itself needs is not measured: its optimum is not known.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice, pairwise, repeat

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn
from torch.nn.functional import one_hot

from dlnotes import data, lesson
from dlnotes.data import Examples
from dlnotes.deep import MLP, l2, l2_penalty, weight_decay_groups
from dlnotes.evidence import at_least, difference, identity, no_difference, not_better, ratio
from dlnotes.lesson import answer, claim, limit
from dlnotes.linear import SGD, GradientDescent, adagrad_scaling, cross_entropy, momentum, standardize
from dlnotes.measuring import Measured, Tuned, largest_error, steps_until
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep
from dlnotes.training import accuracy, evaluate

# %%
# Settings
# --------


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    examples: int = 3_000  # images of logistic regression: of too few it makes no mistake, and ℓ has no lowest point
    most_steps: int = 500  # of logistic regression
    few: int = 100  # images that the network learns from
    validation: int = 1_000  # images that its settings are chosen by
    test: int = 2_000  # test images
    width: int = 64  # units of its hidden layer
    steps: int = 500  # of the network, with all its images at each, and with momentum 0.9

    @property
    def best(self) -> float:
        """The λ that is compared with 0."""
        return BEST[self.data]


QUICK = Config(examples=100, most_steps=100, few=50, validation=100, test=100, width=8, steps=10)
SEEDS = range(16)
DATA = ("letters", "fashion_mnist", "not_mnist")

STRENGTHS = (0.0, 1e-4, 1e-2, 1.0, 10.0)  # λ of logistic regression
LARGE = 10.0
SHARES = {"tenth": 1 / 10, "thousandth": 1 / 1_000}  # of the first distance to the optimum
SHOWN = 100  # steps that the figure shows

# %%
# The rate of the network for each λ: the best of twelve by the loss on validation images, on twelve seeds that no
# verdict sees. ``python -m lessons tune weight_penalty`` chooses them; the scores of all candidates are in
# ``results/tuning``; with λ = 10, on the other sets than letters, the winner is the smallest candidate. The λ that is
# compared with 0 is the one with the best score there (a test holds it).

PENALTIES = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 10.0)
RATES = (3.2, 1.6, 0.8, 0.4, 0.2, 0.1, 0.05, 0.025, 0.0125, 0.00625, 0.003125, 0.0015625)
TUNING_SEEDS = range(1_000, 1_012)
BEST = {"letters": 0.003, "fashion_mnist": 0.01, "not_mnist": 0.01}
COMMON = 0.1  # a rate that both are shown at as well

# %%
# One seed
# --------


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    inputs, targets = data.load(config.data, seed, train=config.examples, test=0, side=7, flat=True).train
    (pixels,) = standardize(inputs.double())
    inputs = torch.cat([pixels, torch.ones(len(pixels), 1, dtype=pixels.dtype)], dim=1)  # the bias is a weight
    some = inputs[:200], targets[:200]  # enough for what is exactly so
    measured = rules(*some, seed) | eigenvalues(*some, seed)
    return measured | logistic_regression(config, inputs, targets) | networks(config, seed, tuned)


# %%
# The rule
# --------
# Each optimizer makes twenty steps from the same weights, along the gradient of ℓ or, where "penalty" says so, of ℓ′.


def rules(inputs: Tensor, targets: Tensor, seed: int) -> Measured:
    strength, lr = 0.1, 0.1
    start = torch.randn(inputs.shape[1], 10, generator=stream(seed, "weights"), dtype=inputs.dtype)

    def after(make, *, penalty: float = 0.0) -> Tensor:
        w = nn.Parameter(start.clone())
        optimizer = make([w])
        for _ in range(20):
            optimizer.zero_grad()
            loss = cross_entropy(inputs @ w, targets)
            (loss + l2_penalty([w], penalty) if penalty else loss).backward()
            optimizer.step()
        return w.detach()

    w = start.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(l2_penalty([w], strength), w)
    measured: Measured = {"penalty's gradient: far from λ w": largest_error(gradient, strength * start)}

    descent, decayed = GradientDescent, torch.optim
    for name, links, pytorch in (
        ("SGD", (), lambda w: decayed.SGD(w, lr=lr, weight_decay=strength)),
        ("momentum", (momentum(0.9),), lambda w: decayed.SGD(w, lr=lr, momentum=0.9, weight_decay=strength)),
        ("AdaGrad", (adagrad_scaling(),), lambda w: decayed.Adagrad(w, lr=lr, weight_decay=strength, eps=1e-10)),
    ):
        in_the_loss = after(lambda w, links=links: descent(w, *links, lr=lr), penalty=strength)
        in_the_rule = after(lambda w, links=links: descent(w, l2(strength), *links, lr=lr))
        measured[f"{name}/rule: far from the loss"] = largest_error(in_the_rule, in_the_loss)
        measured[f"{name}/rule: far from PyTorch's"] = largest_error(in_the_rule, after(pytorch))
        behind = after(lambda w, links=links: descent(w, *links, l2(strength), lr=lr))
        measured[f"{name}/decay behind: apart"] = ((behind - in_the_rule).norm() / in_the_rule.norm()).item()

    one = nn.Parameter(start.clone())
    one.grad = torch.randn(start.shape, generator=stream(seed, "gradient"), dtype=start.dtype)
    GradientDescent([one], l2(strength), lr=lr).step()
    shrunk = (1 - lr * strength) * start
    measured["step: far from shrinking first"] = largest_error(one.detach(), shrunk - lr * one.grad)
    return measured


# %%
# Logistic regression, where the optimum and the Hessian are known
# ----------------------------------------------------------------


def eigenvalues(inputs: Tensor, targets: Tensor, seed: int) -> Measured:
    """Of the Hessian of ℓ′, for each λ, at weights that are drawn."""
    w = torch.randn(inputs.shape[1], 10, generator=stream(seed, "somewhere"), dtype=inputs.dtype) / 10
    found = {strength: torch.linalg.eigvalsh(automatic_hessian(inputs, targets, w, strength)) for strength in STRENGTHS}
    measured: Measured = {}
    for strength, raised in found.items():
        measured[f"λ={strength:g}/eigenvalues: far from raised by λ"] = largest_error(raised, found[0.0] + strength)
        # Of ℓ alone the smallest is zero, up to rounding: adding one number to all scores changes nothing.
        measured[f"λ={strength:g}/smallest over largest"] = max(0.0, (raised[0] / raised[-1]).item())
    return measured


def logistic_regression(config: Config, inputs: Tensor, targets: Tensor) -> Measured:
    bound = curvature_bound(inputs)
    measured: Measured = {"L": bound, "rate 1/L over 2/(L + λ)": (bound + LARGE) / (2 * bound)}
    best = torch.zeros(inputs.shape[1], 10, dtype=inputs.dtype)
    for strength in sorted(STRENGTHS, reverse=True):
        best = optimum(inputs, targets, strength, start=best)  # each begins where the last ended: a few steps
        lowest = objective(inputs, targets, best, strength).item()
        start = objective(inputs, targets, torch.zeros_like(best), strength).item()
        near = lowest + min(SHARES.values()) / 2 * (start - lowest)  # so near that no more steps are asked for
        path = descend(inputs, targets, strength, lr=1 / (bound + strength), steps=config.most_steps, near=near)
        gaps = np.maximum((np.array(path) - lowest) / (path[0] - lowest), 1e-12)
        for name, share in SHARES.items():
            measured[f"λ={strength:g}/steps to a {name}"] = steps_until(share, gaps)
        measured[f"λ={strength:g}/gaps"] = gaps[: SHOWN + 1].tolist()
        measured[f"λ={strength:g}/lowest"] = lowest
    for strength in (0.0, LARGE):
        path = descend(inputs, targets, strength, lr=1 / bound, steps=50)
        measured[f"λ={strength:g} at the rate 1/L/growth"] = math.log10(path[-1] / path[0])
    return measured


def objective(inputs: Tensor, targets: Tensor, w: Tensor, strength: float) -> Tensor:
    """ℓ′, of weights w (inputs, classes)."""
    return cross_entropy(inputs @ w, targets) + l2_penalty([w], strength)


def curvature_bound(inputs: Tensor) -> float:
    """L: half of the largest eigenvalue of XᵀX/N, which no eigenvalue of the Hessian of ℓ exceeds (Böhning, 1992)."""
    return torch.linalg.eigvalsh(inputs.T @ inputs / len(inputs))[-1].item() / 2


def automatic_hessian(inputs: Tensor, targets: Tensor, w: Tensor, strength: float) -> Tensor:
    """The Hessian of ℓ′ by automatic differentiation, (d, d) with d all weights."""
    found = torch.autograd.functional.hessian(lambda one: objective(inputs, targets, one, strength), w, vectorize=True)
    return found.reshape(w.numel(), w.numel())


def hessian(inputs: Tensor, w: Tensor, strength: float) -> Tensor:
    """The same by formula: over examples the mean of x xᵀ ⊗ (diag(p) - p pᵀ), and λ on the diagonal."""
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


def descend(
    inputs: Tensor, targets: Tensor, strength: float, *, lr: float, steps: int, near: float = -math.inf
) -> list[float]:
    """ℓ′ at zero, where all start, and after each step of gradient descent; it may end early where ℓ′ is near."""
    w = nn.Parameter(torch.zeros(inputs.shape[1], 10, dtype=inputs.dtype))
    optimizer = SGD([w], lr=lr, weight_decay=strength)
    path = []
    for _ in range(steps + 1):
        optimizer.zero_grad()
        loss = cross_entropy(inputs @ w, targets)
        path.append((loss + l2_penalty([w], strength)).item())
        if len(path) > SHOWN and path[-1] < near:
            break
        loss.backward()
        optimizer.step()
    return path


# %%
# Networks on few images
# ----------------------
# They train side by side from the same weights; they differ in λ, and in the rate that is best for each.


def networks(config: Config, seed: int, tuned: Tuned) -> Measured:
    train, test = few_images(config, seed, test=config.test)
    rates = {f"λ={strength:g}": (strength, tuned[f"λ={strength:g}"]) for strength in PENALTIES}
    rates |= {f"λ={strength:g} at the rate {COMMON:g}": (strength, COMMON) for strength in (0.0, config.best)}
    measured: Measured = {}
    for name, model in zip(rates, learn(config, seed, train, rates.values()), strict=True):
        measured[f"network, {name}/test loss"] = evaluate(model, test, cross_entropy)
        measured[f"network, {name}/accuracy"] = accuracy(model, test)
    return measured


def few_images(config: Config, seed: int, *, validation: int = 0, test: int = 0) -> tuple[Examples, Examples]:
    """Images of 14 x 14 pixels, (N, 196): those to learn from, and those to judge by."""
    parts = data.load(config.data, seed, train=config.few, validation=validation, test=test, side=14, flat=True)
    return parts.train, parts.test if test else parts.validation


def learn(config: Config, seed: int, train: Examples, settings: Iterable[tuple[float, float]]) -> list[MLP]:
    """A network for each λ and rate, after the last step."""
    models, groups = [], []
    for strength, lr in settings:
        models.append(MLP([196, config.width, 10], generator=stream(seed, "weights")))
        groups += [{**group, "lr": lr} for group in weight_decay_groups(models[-1], strength)]
    optimizer = SGD(groups, lr=1.0, momentum=0.9, weight_decay=0.0)
    for _ in islice(Sweep(models, cross_entropy, optimizer, repeat(tuple(train))), config.steps):
        pass
    return models


def tune(config: Config, seed: int) -> Measured:
    train, validation = few_images(config, seed, validation=config.validation)
    settings = [(strength, lr) for strength in PENALTIES for lr in RATES]
    models = learn(config, seed, train, settings)
    return {
        f"{config.data}/λ={strength:g}/{lr:.6g}": evaluate(model, validation, cross_entropy)
        for (strength, lr), model in zip(settings, models, strict=True)
    }


# %%
# What we expect
# --------------
# Written before the run. A *claim* is the notes' statement in one setting, a *limit* a setting in which we expect it to
# fail. Where λ = 0 does not arrive in time, the steps that it had stand in: it needs more.

EXACT = 1e-12


def largest(t, *names):
    return np.max([t[name] for name in names], axis=0)


def falls(t):
    """How far the smallest over the largest eigenvalue falls from one λ to the next, at most; 0 where it never does."""
    rounder = [t[f"λ={strength:g}/smallest over largest"] for strength in STRENGTHS]
    return np.max([less - more for less, more in pairwise(rounder)], axis=0).clip(0)


# fmt: off
PREDICTIONS = [
    claim("2.07", "gradient", "The gradient of the penalty is λ w.",
          lambda t: identity(t["penalty's gradient: far from λ w"], tolerance=EXACT)),
    claim("2.07", "in the loss", "Twenty steps of SGD, with momentum or without, are the same with the penalty in the "
          "loss and with λ w in the update rule.",
          lambda t: identity(largest(t, "SGD/rule: far from the loss", "momentum/rule: far from the loss"),
                             tolerance=EXACT)),
    claim("2.07", "as PyTorch", "Twenty steps of SGD with the penalty, with momentum or without, are those of "
          "PyTorch's weight_decay.",
          lambda t: identity(largest(t, "SGD/rule: far from PyTorch's", "momentum/rule: far from PyTorch's"),
                             tolerance=EXACT)),
    claim("2.07", "shrinks", "A step of SGD with the penalty shrinks the weights by 1 - αλ and then descends.",
          lambda t: identity(t["step: far from shrinking first"], tolerance=EXACT)),
    claim("2.07", "AdaGrad", "Twenty steps of AdaGrad are the same with the penalty in the loss, with λ w before the "
          "division, and with PyTorch's weight_decay.",
          lambda t: identity(largest(t, "AdaGrad/rule: far from the loss", "AdaGrad/rule: far from PyTorch's"),
                             tolerance=1e-9)),
    claim("2.07", "learns better", "A network learns {few} {data} better with the penalty (λ = {best:g}) than without: "
          "by over 0.05 nats of test loss.",
          lambda t: difference(t["network, λ=0/test loss"] - t[f"network, λ={t.config.best:g}/test loss"], margin=0.05),
          of="test loss without minus that with"),
    limit("2.07", "decay behind", "Decay behind AdaGrad's division is another rule than the penalty: after twenty "
          "steps the weights are over 0.01 of their size apart.",
          lambda t: difference(t["AdaGrad/decay behind: apart"], margin=0.01),
          of="distance over the size of the weights", because="the division changes the penalty, and not the decay"),
    claim("2.06", "eigenvalues", "Each eigenvalue of the Hessian of logistic regression rises by λ.",
          lambda t: identity(largest(t, *(f"λ={strength:g}/eigenvalues: far from raised by λ"
                                          for strength in STRENGTHS)), tolerance=1e-9)),
    claim("2.06", "condition number", "The condition number of the Hessian of logistic regression falls with each "
          "larger λ.",
          lambda t: identity(falls(t), tolerance=0.0), of="fall of smallest over largest eigenvalue"),
    claim("2.06", "tiny price", "Logistic regression with λ = 0.0001 comes to a tenth of the distance to its own "
          "optimum in less than a tenth more steps than without.",
          lambda t: not_better(ratio(t["λ=0.0001/steps to a tenth"],
                                     at_least(t["λ=0/steps to a tenth"], budget=t.config.most_steps), margin=1.1)),
          arms=("λ=0.0001", "λ=0"), of="steps with over steps without"),
    claim("2.06", "small price", "Logistic regression with λ = 0.01 comes to a tenth of the distance to its own "
          "optimum in less than a tenth more steps than without.",
          lambda t: not_better(ratio(t["λ=0.01/steps to a tenth"],
                                     at_least(t["λ=0/steps to a tenth"], budget=t.config.most_steps), margin=1.1)),
          arms=("λ=0.01", "λ=0"), of="steps with over steps without"),
    claim("2.06", "saves steps", "Logistic regression without the penalty needs over 1.1 times the steps of λ = 0.01 "
          "to a thousandth of the distance.",
          lambda t: ratio(at_least(t["λ=0/steps to a thousandth"], budget=t.config.most_steps),
                          t["λ=0.01/steps to a thousandth"], margin=1.1), arms=("λ=0.01", "λ=0"),
          of="steps without, those that it had where they were not enough, over steps with"),
    limit("2.06", "diverges", "Logistic regression with λ = 10 diverges at the rate 1/L, with which it goes down "
          "without: the loss is higher after fifty steps than at the start.",
          lambda t: difference(t["λ=10 at the rate 1/L/growth"], margin=0.0),
          of="decimal logarithm of the loss over that at the start", because="the rate is above 2/(L + λ)"),
    limit("2.06", "collapses", "A network with λ = 10 learns nothing: its accuracy on {data} is within 5 points of "
          "chance.",
          lambda t: no_difference(t["network, λ=10/accuracy"] - 0.1, margin=0.05),
          of="accuracy above chance", because="the price is too large to be paid for anything that is to be learned"),
]

ANSWERS = [
    answer("2.06", "A small penalty makes it easier: λ = 0.01 saves {saves steps:fewer} of the steps to a thousandth "
           "of the distance. A large one does not: λ = 10 diverges at a rate that went down without it, and a "
           "network learns nothing.",
           given={"tiny price": "supported", "small price": "supported", "saves steps": "supported",
                  "diverges": "supported", "collapses": "supported"}),
    answer("2.07", "As a rule for the update, yes: the penalty is λ w in the gradient, and with SGD the weights "
           "shrink by 1 - αλ. Behind AdaGrad's division it is another rule. Whether a network learns better by 0.05 "
           "nats stays open: {learns better:.2f} were found.",
           given={"gradient": "supported", "in the loss": "supported", "shrinks": "supported",
                  "decay behind": "supported", "learns better": "inconclusive"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left, the larger λ is, the steeper is the way down to its own optimum; but it is another optimum. On the right,
# what a network learned from few images. Each at the rate tuned for it (blue), a small λ gains little: perhaps because
# a small rate, which suits λ = 0 best, ends before they are learned by heart, and so does what the penalty would do. At
# one and the same larger rate (orange, not judged) the penalty saves much. At 10 there is the loss of guessing, log 10
# = 2.3 nats.


def figure(trials):
    drawing, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    for place, strength in enumerate(STRENGTHS):
        gaps = np.maximum(trials[f"λ={strength:g}/gaps"], 1e-6)
        left.plot(gaps.T, color=f"C{place}", linewidth=0.4, alpha=0.3)
        left.plot(np.exp(np.log(gaps).mean(0)), color=f"C{place}", label=f"λ = {strength:g}")
    for share in SHARES.values():
        left.axhline(share, color="0.4", linestyle=":")
    left.set_yscale("log")
    left.set_ylim(1e-4, 1.2)
    left.set_title("Logistic regression: the way to its own optimum")
    left.set_xlabel("step")
    left.set_ylabel("distance in ℓ′, share of the first")
    left.legend()

    for place, strength in enumerate(PENALTIES):
        losses = trials[f"network, λ={strength:g}/test loss"]
        label = None if place else "at the rate tuned for it"
        right.plot(place + np.linspace(-0.2, 0.2, len(losses)), losses, "o", color="C0", alpha=0.6, label=label)
        right.plot([place - 0.3, place + 0.3], [losses.mean()] * 2, color="C0")
    for strength in (0.0, trials.config.best):
        losses = trials[f"network, λ={strength:g} at the rate {COMMON:g}/test loss"]
        label = None if strength else f"at the rate {COMMON:g}"
        spread = PENALTIES.index(strength) + np.linspace(-0.2, 0.2, len(losses))
        right.plot(spread, losses, "o", color="C1", alpha=0.6, label=label)
    right.legend()
    right.set_xticks(range(len(PENALTIES)), [f"{strength:g}" for strength in PENALTIES])
    right.set_title(f"Learned from {trials.config.few} {trials.config.data}: a dot a seed")
    right.set_xlabel("λ")
    right.set_ylabel("test loss, nats")
    return drawing


# %%
# Run it
# ------

if __name__ == "__main__":
    lesson.main("weight_penalty")
