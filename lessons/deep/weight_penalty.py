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

**The smallest difference that matters.** 0.05 nats of test loss; a tenth of the steps; 0.01 of the weights' size.

**What would refute it.** 2.07: the steps differ by more than rounding, or the best λ saves no 0.05 nats. Predicted
limit: behind AdaGrad's division, penalty and decay are two rules, and their weights part. 2.06: an eigenvalue does not
rise by λ; the condition number grows with λ; a moderate λ (0.0001 or 0.01) costs a tenth more steps to a tenth of the
distance; or 0.01 saves no tenth of those to a thousandth. Predicted limits, for λ = 10: at the rate 1/L, with which ℓ
alone goes down, ℓ′ diverges, because the rate is above 2/(L + λ); and the network collapses: its accuracy is within 5
points of chance.

**Time.** `python -m lessons` says what it took.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice, pairwise, repeat

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, one_hot

from dlnotes import data, lesson
from dlnotes.data import Examples
from dlnotes.deep import MLP, l2, l2_penalty, weight_decay_groups
from dlnotes.evidence import claim, difference, identity, limit, no_difference, ratio
from dlnotes.linear import SGD, GradientDescent, adagrad_scaling, cross_entropy, momentum, standardize
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


QUICK = Config(examples=100, most_steps=100, few=50, validation=100, test=100, width=8, steps=10)
SEEDS = range(16)
DATA = ("letters", "fashion_mnist", "not_mnist")

STRENGTHS = (0.0, 1e-4, 1e-2, 1.0, 10.0)  # λ of logistic regression
MODERATE = (1e-4, 1e-2)
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
TUNED = {
    "letters/λ=0": 0.0125,
    "letters/λ=0.001": 0.0125,
    "letters/λ=0.003": 0.4,
    "letters/λ=0.01": 0.2,
    "letters/λ=0.03": 0.4,
    "letters/λ=0.1": 0.8,
    "letters/λ=10": 0.00625,
    "fashion_mnist/λ=0": 0.00625,
    "fashion_mnist/λ=0.001": 0.00625,
    "fashion_mnist/λ=0.003": 0.00625,
    "fashion_mnist/λ=0.01": 0.00625,
    "fashion_mnist/λ=0.03": 0.025,
    "fashion_mnist/λ=0.1": 0.4,
    "fashion_mnist/λ=10": 0.0015625,
    "not_mnist/λ=0": 0.003125,
    "not_mnist/λ=0.001": 0.003125,
    "not_mnist/λ=0.003": 0.00625,
    "not_mnist/λ=0.01": 0.025,
    "not_mnist/λ=0.03": 0.0125,
    "not_mnist/λ=0.1": 0.0125,
    "not_mnist/λ=10": 0.0015625,
}
BEST = {"letters": 0.003, "fashion_mnist": 0.01, "not_mnist": 0.01}
COMMON = 0.1  # a rate that both are shown at as well

# %%
# One seed
# --------


def trial(config: Config, seed: int) -> dict[str, float | list[float]]:
    inputs, targets = data.load(config.data, seed, train=config.examples, test=0).train
    (pixels,) = standardize(avg_pool2d(inputs, 4).flatten(1).double())
    inputs = torch.cat([pixels, torch.ones(len(pixels), 1, dtype=pixels.dtype)], dim=1)  # the bias is a weight
    some = inputs[:200], targets[:200]  # enough for what is exactly so
    measured = rules(*some, seed) | eigenvalues(*some, seed)
    return measured | logistic_regression(config, inputs, targets) | networks(config, seed)


# %%
# The rule
# --------
# Each optimizer makes twenty steps from the same weights, along the gradient of ℓ or, where "penalty" says so, of ℓ′.


def rules(inputs: Tensor, targets: Tensor, seed: int) -> dict[str, float | list[float]]:
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
    l2_penalty([w], strength).backward()
    measured: dict[str, float | list[float]] = {"penalty's gradient: far from λ w": far(w.grad, strength * start)}

    descent, decayed = GradientDescent, torch.optim
    for name, links, pytorch in (
        ("SGD", (), lambda w: decayed.SGD(w, lr=lr, weight_decay=strength)),
        ("momentum", (momentum(0.9),), lambda w: decayed.SGD(w, lr=lr, momentum=0.9, weight_decay=strength)),
        ("AdaGrad", (adagrad_scaling(),), lambda w: decayed.Adagrad(w, lr=lr, weight_decay=strength, eps=1e-10)),
    ):
        in_the_loss = after(lambda w, links=links: descent(w, *links, lr=lr), penalty=strength)
        in_the_rule = after(lambda w, links=links: descent(w, l2(strength), *links, lr=lr))
        measured[f"{name}/rule: far from the loss"] = far(in_the_rule, in_the_loss)
        measured[f"{name}/rule: far from PyTorch's"] = far(in_the_rule, after(pytorch))
        behind = after(lambda w, links=links: descent(w, *links, l2(strength), lr=lr))
        measured[f"{name}/decay behind: apart"] = ((behind - in_the_rule).norm() / in_the_rule.norm()).item()

    one = nn.Parameter(start.clone())
    one.grad = torch.randn(start.shape, generator=stream(seed, "gradient"), dtype=start.dtype)
    GradientDescent([one], l2(strength), lr=lr).step()
    measured["step: far from shrinking first"] = far(one.detach(), (1 - lr * strength) * start - lr * one.grad)
    return measured


def far(one: Tensor | None, other: Tensor) -> float:
    return math.nan if one is None else (one - other).abs().max().item()


# %%
# Logistic regression, where the optimum and the Hessian are known
# ----------------------------------------------------------------


def eigenvalues(inputs: Tensor, targets: Tensor, seed: int) -> dict[str, float | list[float]]:
    """Of the Hessian of ℓ′, for each λ, at weights that are drawn."""
    w = torch.randn(inputs.shape[1], 10, generator=stream(seed, "somewhere"), dtype=inputs.dtype) / 10
    found = {strength: torch.linalg.eigvalsh(automatic_hessian(inputs, targets, w, strength)) for strength in STRENGTHS}
    measured: dict[str, float | list[float]] = {}
    for strength, raised in found.items():
        measured[f"λ={strength:g}/eigenvalues: far from raised by λ"] = far(raised, found[0.0] + strength)
        # Of ℓ alone the smallest is zero, up to rounding: adding one number to all scores changes nothing.
        measured[f"λ={strength:g}/smallest over largest"] = max(0.0, (raised[0] / raised[-1]).item())
    return measured


def logistic_regression(config: Config, inputs: Tensor, targets: Tensor) -> dict[str, float | list[float]]:
    bound = curvature_bound(inputs)
    measured: dict[str, float | list[float]] = {"L": bound, "rate 1/L over 2/(L + λ)": (bound + LARGE) / (2 * bound)}
    best = torch.zeros(inputs.shape[1], 10, dtype=inputs.dtype)
    for strength in sorted(STRENGTHS, reverse=True):
        best = optimum(inputs, targets, strength, start=best)  # each begins where the last ended: a few steps
        lowest = objective(inputs, targets, best, strength).item()
        start = objective(inputs, targets, torch.zeros_like(best), strength).item()
        near = lowest + min(SHARES.values()) / 2 * (start - lowest)  # so near that no more steps are asked for
        path = descend(inputs, targets, strength, lr=1 / (bound + strength), steps=config.most_steps, near=near)
        gaps = np.maximum((np.array(path) - lowest) / (path[0] - lowest), 1e-12)
        for name, share in SHARES.items():
            measured[f"λ={strength:g}/steps to a {name}"] = steps_until(gaps, share)
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


def steps_until(gaps: Iterable[float], share: float) -> float:
    """The first step after which the gap is at most that share of the first; nan where it never is."""
    return float(next((step for step, gap in enumerate(gaps) if gap <= share), math.nan))


# %%
# Networks on few images
# ----------------------
# They train side by side from the same weights; they differ in λ, and in the rate that is best for each.


def networks(config: Config, seed: int) -> dict[str, float | list[float]]:
    train, test = few_images(config, seed, test=config.test)
    rates = {f"λ={strength:g}": (strength, TUNED[f"{config.data}/λ={strength:g}"]) for strength in PENALTIES}
    rates |= {f"λ={strength:g} at the rate {COMMON:g}": (strength, COMMON) for strength in (0.0, BEST[config.data])}
    measured: dict[str, float | list[float]] = {}
    for name, model in zip(rates, learn(config, seed, train, rates.values()), strict=True):
        measured[f"network, {name}/test loss"] = evaluate(model, test, cross_entropy)
        measured[f"network, {name}/accuracy"] = accuracy(model, test)
    return measured


def few_images(config: Config, seed: int, *, validation: int = 0, test: int = 0) -> tuple[Examples, Examples]:
    """Images of 14 x 14 pixels, (N, 196): those to learn from, and those to judge by."""
    parts = data.load(config.data, seed, train=config.few, validation=validation, test=test)
    small = [Examples(avg_pool2d(part.inputs, 2).flatten(1), part.targets) for part in parts]
    return small[0], small[2 if test else 1]


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


def tune(config: Config, seed: int) -> dict[str, float | list[float]]:
    train, validation = few_images(config, seed, validation=config.validation)
    settings = [(strength, lr) for strength in PENALTIES for lr in RATES]
    models = learn(config, seed, train, settings)
    return {
        f"{config.data}/λ={strength:g}/{lr:.6g}": evaluate(model, validation, cross_entropy)
        for (strength, lr), model in zip(settings, models, strict=True)
    }


# %%
# What settles it
# ---------------
# Where λ = 0 does not arrive in time, the steps that it had stand in: it needs more.


def findings(trials):
    def largest(*names):
        return np.max([trials[name] for name in names], axis=0)

    exact, best = 1e-12, BEST[trials.config.data]
    had = trials.config.most_steps
    arrived = {
        (strength, share): trials[f"λ={strength:g}/steps to a {share}"] for strength in STRENGTHS for share in SHARES
    }
    without = {share: np.nan_to_num(arrived[0.0, share], nan=had) for share in SHARES}
    rounder = [trials[f"λ={strength:g}/smallest over largest"] for strength in STRENGTHS]
    return [
        claim(
            "2.07",
            "the gradient of the penalty is λ w",
            identity(trials["penalty's gradient: far from λ w"], tolerance=exact),
        ),
        claim(
            "2.07",
            "twenty steps of SGD, with momentum or without, are the same with the penalty in the loss and with λ w in "
            "the update rule",
            identity(largest(*(f"{name}/rule: far from the loss" for name in ("SGD", "momentum"))), tolerance=exact),
        ),
        claim(
            "2.07",
            "they are those of PyTorch's weight_decay",
            identity(largest(*(f"{name}/rule: far from PyTorch's" for name in ("SGD", "momentum"))), tolerance=exact),
        ),
        claim(
            "2.07",
            "a step of SGD with the penalty shrinks the weights by 1 - αλ and then descends",
            identity(trials["step: far from shrinking first"], tolerance=exact),
        ),
        claim(
            "2.07",
            "AdaGrad too is the same with the penalty in the loss, with λ w before the division, and with PyTorch's "
            "weight_decay",
            identity(
                largest(*(f"AdaGrad/rule: far from {other}" for other in ("the loss", "PyTorch's"))), tolerance=1e-9
            ),
        ),
        claim(
            "2.07",
            f"a network learns {trials.config.few} {trials.config.data} better with the penalty (λ = {best:g}) than "
            "without: by over 0.05 nats of test loss",
            difference(trials["network, λ=0/test loss"] - trials[f"network, λ={best:g}/test loss"], margin=0.05),
            of="test loss without minus that with",
        ),
        limit(
            "2.07",
            "with AdaGrad a decay behind the division is another rule than the penalty: after twenty steps the weights "
            "are over 0.01 of their size apart",
            difference(trials["AdaGrad/decay behind: apart"], margin=0.01),
            of="distance over the size of the weights",
        ),
        claim(
            "2.06",
            "λ raises each eigenvalue of the Hessian of logistic regression by λ",
            identity(
                largest(*(f"λ={strength:g}/eigenvalues: far from raised by λ" for strength in STRENGTHS)),
                tolerance=1e-9,
            ),
        ),
        claim(
            "2.06",
            "so the condition number falls with each larger λ",
            identity(np.max([less - more for less, more in pairwise(rounder)], axis=0).clip(0), tolerance=0.0),
            of="fall of smallest over largest eigenvalue",
        ),
        *(
            claim(
                "2.06",
                f"to a tenth of the distance to its own optimum logistic regression with λ = {strength:g} needs less "
                "than a tenth more steps than without",
                difference(math.log(1.1) - np.log(arrived[strength, "tenth"] / without["tenth"]), margin=0.0),
                of="logarithm of 1.1 times the steps without over those with",
            )
            for strength in MODERATE
        ),
        claim(
            "2.06",
            "to a thousandth, λ = 0.01 saves over a tenth of the steps: without it, 1.1 times as many are needed",
            ratio(without["thousandth"], arrived[0.01, "thousandth"], margin=1.1),
            of=f"steps without, {had} where they were not enough, over steps with",
        ),
        limit(
            "2.06",
            f"at the rate 1/L, with which it goes down without, logistic regression with λ = {LARGE:g} diverges: the "
            "loss is higher after fifty steps than at the start",
            difference(trials[f"λ={LARGE:g} at the rate 1/L/growth"], margin=0.0),
            of="decimal logarithm of the loss over that at the start",
        ),
        limit(
            "2.06",
            f"too large a price leaves nothing to learn: with λ = {LARGE:g} a network's accuracy is within 5 points of "
            "chance",
            no_difference(trials[f"network, λ={LARGE:g}/accuracy"] - 0.1, margin=0.05),
            of="accuracy above chance",
        ),
    ]


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
    for strength in (0.0, BEST[trials.config.data]):
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
