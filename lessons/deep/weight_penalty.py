"""
Does L2 regularisation make a network better?
=============================================

A network that has seen 100 letters can be right about all of them, and then more than right: its weights grow until it
is certain. With large weights a few odd pixels are enough to change its mind. *L2 regularisation* puts a price on large
weights (row 2.07): half the sum of their squares, ‖w‖², times a strength λ (lambda), is added to the loss ℓ. ::

    ℓ′ = ℓ + ½ λ ‖w‖²            the gradient that this adds:  λ w

Take two weights, w = (3, 4), the gradient of the loss g = (1, 0.1), the learning rate α = 0.5 and λ = 0.1. The price is
½ · 0.1 · (9 + 16) = 1.25, and its gradient (0.3, 0.4). One step of SGD goes from w ::

    along g + λ w:                    (3, 4) - 0.5 · (1.3, 0.5)                = (2.35, 3.75)
    or: shrink by 1 - αλ, then g:     0.95 · (3, 4) - 0.5 · (1, 0.1)           = (2.35, 3.75)

The two are one: each step of SGD takes αλ = 5 % off every weight, which is why PyTorch calls it ``weight_decay``.
AdaGrad divides each weight's gradient by the root of the sum of its squares so far: the first one by its own size. Now
it matters where λ w is added: to the gradient, as a penalty, or behind the division, as a decay. ::

    AdaGrad, penalty:                 (3, 4) - 0.5 · (1.3 / 1.3, 0.5 / 0.5)    = (2.5, 3.5)
    AdaGrad, decay behind:            (3, 4) - 0.5 · (1 + 0.3, 1 + 0.4)        = (2.35, 3.3)

That is what the penalty *is*. Whether a network gets *better* by it is another question. A price keeps odd pixels from
being learned by heart; too high a price keeps anything from being learned. Somewhere between, λ should be right. But it
has a rival that costs nothing: at a small learning rate training ends before anything is learned by heart.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice, repeat

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn

from dlnotes import data, lesson
from dlnotes.deep import MLP, l2, l2_penalty, weight_decay_groups
from dlnotes.evidence import difference, identity
from dlnotes.lesson import answer, claim, limit, reference_line, strips
from dlnotes.linear import SGD, GradientDescent, adagrad_scaling, cross_entropy, momentum, standardize
from dlnotes.measuring import Measured, Tuned, largest_error
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep
from dlnotes.training import evaluate

# %%
# The experiment
# --------------
# A *seed* draws 100 letters, A to J of 14 × 14 pixels, and the first weights of a network with one hidden layer. Its
# copies are the *arms*: they differ in λ, and each has the learning rate that was best for it on other seeds. All take
# 500 steps, with momentum; biases pay nothing. We measure the loss on 2,000 unseen letters in nats: guessing costs 2.3,
# the logarithm of 10. The λ that is compared with 0 was chosen on other seeds, too. Besides, SGD, momentum and AdaGrad
# take twenty steps of a linear classifier in double precision: with the penalty in the loss, in the rule, or behind it.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 100  # images that the network learns from
    validation: int = 1_000  # images that rates and λ are chosen by
    test: int = 2_000  # unseen images
    width: int = 64  # hidden units
    steps: int = 500  # of the network, with all its images at each
    classifier_images: int = 3_000  # by these the linear classifier's pixels are standardised; it sees the first 200

    @property
    def best(self) -> float:
        """The λ that is compared with 0."""
        return BEST[self.data]


QUICK = Config(train=50, validation=100, test=100, width=8, steps=10, classifier_images=100)
SEEDS = range(16)
DATA = ("letters", "fashion_mnist", "not_mnist")
PENALTIES = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1)  # λ of the networks
BEST = {"letters": 0.003, "fashion_mnist": 0.01, "not_mnist": 0.01}  # of these, on the seeds of the tuning
COMMON = 0.1  # a rate that the two arms are shown at as well


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    measured = update_rules(config, seed)
    images = load(config, seed)
    arms = {f"best rate/λ={strength:g}": (strength, tuned[f"λ={strength:g}"]) for strength in PENALTIES}
    arms |= {f"rate {COMMON:g}/λ={strength:g}": (strength, COMMON) for strength in (0.0, config.best)}
    for name, model in zip(arms, trained(config, seed, images.train, arms.values()), strict=True):
        measured[f"{name}/test loss"] = evaluate(model, images.test, cross_entropy)
    return measured


def load(config: Config, seed: int) -> data.Parts:
    counts = {"train": config.train, "validation": config.validation, "test": config.test}
    return data.load(config.data, seed, **counts, side=14, flat=True)


def trained(config: Config, seed: int, images: data.Examples, settings: Iterable[tuple[float, float]]) -> list[MLP]:
    """Networks that trained side by side from the same weights, one for each pair of λ and rate."""
    models, groups = [], []
    for strength, lr in settings:
        models.append(MLP([196, config.width, 10], generator=stream(seed, "weights")))
        groups += [{**group, "lr": lr} for group in weight_decay_groups(models[-1], strength)]
    optimizer = SGD(groups, lr=1.0, momentum=0.9, weight_decay=0.0)
    for _ in islice(Sweep(models, cross_entropy, optimizer, repeat(tuple(images))), config.steps):
        pass
    return models


def update_rules(config: Config, seed: int) -> Measured:
    """The forms of the penalty, by how far apart they bring the weights of a linear classifier."""
    inputs, targets = data.load(config.data, seed, train=config.classifier_images, test=0, side=7, flat=True).train
    (pixels,) = standardize(inputs.double())
    inputs = torch.cat([pixels, torch.ones(len(pixels), 1, dtype=pixels.dtype)], dim=1)[:200]  # the bias is a weight
    strength, lr, start = 0.1, 0.1, torch.randn(50, 10, generator=stream(seed, "weights"), dtype=inputs.dtype)

    def after(make, *, penalty: float = 0.0) -> Tensor:
        """The weights after twenty steps along the gradient of ℓ, or of ℓ′."""
        w = nn.Parameter(start.clone())
        optimizer = make([w])
        for _ in range(20):
            optimizer.zero_grad()
            loss = cross_entropy(inputs @ w, targets[:200])
            (loss + l2_penalty([w], penalty) if penalty else loss).backward()
            optimizer.step()
        return w.detach()

    measured: Measured = {}
    for name, links, built_in in (
        ("SGD", (), lambda w: torch.optim.SGD(w, lr=lr, weight_decay=strength)),
        ("momentum", (momentum(0.9),), lambda w: torch.optim.SGD(w, lr=lr, momentum=0.9, weight_decay=strength)),
        ("AdaGrad", (adagrad_scaling(),), lambda w: torch.optim.Adagrad(w, lr=lr, weight_decay=strength, eps=1e-10)),
    ):
        in_the_loss = after(lambda w, links=links: GradientDescent(w, *links, lr=lr), penalty=strength)
        in_the_rule = after(lambda w, links=links: GradientDescent(w, l2(strength), *links, lr=lr))
        behind = after(lambda w, links=links: GradientDescent(w, *links, l2(strength), lr=lr))
        measured[f"{name}/error vs loss"] = largest_error(in_the_rule, in_the_loss)
        measured[f"{name}/error vs PyTorch"] = largest_error(in_the_rule, after(built_in))
        measured[f"{name}/decay behind/relative distance"] = ((behind - in_the_rule).norm() / in_the_rule.norm()).item()

    w, one = start.clone().requires_grad_(), nn.Parameter(start.clone())
    (gradient,) = torch.autograd.grad(l2_penalty([w], strength), w)
    measured["gradient of the penalty/largest error"] = largest_error(gradient, strength * start)
    one.grad = torch.randn(start.shape, generator=stream(seed, "gradient"), dtype=start.dtype)
    GradientDescent([one], l2(strength), lr=lr).step()
    shrunk = (1 - lr * strength) * start
    return measured | {"one step/largest error": largest_error(one.detach(), shrunk - lr * one.grad)}


# %%
# `python -m lessons tune weight_penalty` chooses the rate for each λ, of the same twelve, by the loss on validation
# images. The λ that is compared with 0 is the one with the best score there (a test holds it).
RATES = (3.2, 1.6, 0.8, 0.4, 0.2, 0.1, 0.05, 0.025, 0.0125, 0.00625, 0.003125, 0.0015625)
TUNING = {f"λ={strength:g}": RATES for strength in PENALTIES}
TUNING_SEEDS = range(1_000, 1_012)


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    images, strength = load(config, seed), float(arm.removeprefix("λ="))
    models = trained(config, seed, images.train, [(strength, lr) for lr in candidates])
    return [evaluate(model, images.validation, cross_entropy) for model in models]


# %%
# What we expect
# --------------
# Written before the run. A *claim* is the notes' statement in one setting, a *limit* one in which we expect it to fail.
# The *margin*, the least that matters, is 0.05 nats for the network. What should be equal may differ by rounding.

# fmt: off
PREDICTIONS = [
    claim("2.07", "gradient", "The gradient of the penalty is λ w.",
          lambda t: identity(t["gradient of the penalty/largest error"], tolerance=1e-12)),
    claim("2.07", "in the loss", "Twenty steps of SGD, with momentum or without, are the same with the penalty in the "
          "loss and with λ w in the update rule.",
          lambda t: identity(np.maximum(t["SGD/error vs loss"], t["momentum/error vs loss"]), tolerance=1e-12)),
    claim("2.07", "as PyTorch", "Twenty steps of SGD with the penalty, with momentum or without, are those of "
          "PyTorch's weight_decay.",
          lambda t: identity(np.maximum(t["SGD/error vs PyTorch"], t["momentum/error vs PyTorch"]), tolerance=1e-12)),
    claim("2.07", "shrinks", "A step of SGD with the penalty shrinks the weights by 1 - αλ and then descends.",
          lambda t: identity(t["one step/largest error"], tolerance=1e-12)),
    claim("2.07", "AdaGrad", "Twenty steps of AdaGrad are the same with the penalty in the loss, with λ w before the "
          "division, and with PyTorch's weight_decay.",
          lambda t: identity(np.maximum(t["AdaGrad/error vs loss"], t["AdaGrad/error vs PyTorch"]), tolerance=1e-9)),
    claim("2.07", "learns better", "A network that learns {train} {data} has a loss on unseen ones that is lower by "
          "over 0.05 nats with the penalty (λ = {best:g}) than without.",
          lambda t: difference(t["best rate/λ=0/test loss"] - t[f"best rate/λ={t.config.best:g}/test loss"],
                               margin=0.05), of="test loss without minus that with"),
    limit("2.07", "decay behind", "Decay behind AdaGrad's division is another rule than the penalty: after twenty "
          "steps the weights are over 0.01 of their size apart.",
          lambda t: difference(t["AdaGrad/decay behind/relative distance"], margin=0.01),
          of="distance over the size of the weights", because="the division changes the penalty, and not the decay"),
]

ANSWERS = [
    answer("2.07", "Undecided: trained on {train} {data}, a network's loss is {learns better:.2f} nats lower with L2; "
           "whether it is the 0.05 that matters is open. Its rule is certain: a step of SGD shrinks all weights alike.",
           given={"learns better": "inconclusive", "gradient": "supported", "in the loss": "supported",
                  "shrinks": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left the thing itself: what twelve hidden units have learned, each a picture of its weights, blue above 0, red
# below. Without a penalty the noise of the first weights stays; with it only strokes are left. In the middle the loss
# on unseen letters, a mark a seed (at 2.3 a network only guesses). At one rate, 0.1 (crosses), the penalty gains much.
# At its best rate, 32 times smaller than that of λ = 0.003, λ = 0 does nearly as well. On the right the difference that
# is judged: the band that should hold its true mean has the dotted margin in it. So a gain of 0.05 nats stays open.


def figure(trials):
    config, (drawing, (pictures, middle, right)) = trials.config, plt.subplots(1, 3, figsize=(14, 4.2))
    images, rows = load(config, trials.seeds[0]).train, []
    for model in trained(config, trials.seeds[0], images, [(0.0, COMMON), (config.best, COMMON)]):
        weights = next(model.parameters()).detach().view(-1, 14, 14)[-12:]
        units = nn.functional.pad(weights, (1, 1, 1, 1), value=torch.nan).chunk(2)
        rows += [torch.cat(list(row), dim=1) for row in (*units, torch.nan * units[0][:, :6])]
    largest = max(row.nan_to_num().abs().max().item() for row in rows)
    pictures.imshow(torch.cat(rows[:-1]).numpy(), cmap="RdBu", vmin=-largest, vmax=largest)
    pictures.set(title="Weights of hidden units, at the rate 0.1", xticks=[], yticks=[16, 54])
    pictures.set_yticklabels(["λ = 0", f"λ = {config.best:g}"])

    best_rates = {f"{strength:g}": trials[f"best rate/λ={strength:g}/test loss"] for strength in PENALTIES}
    strips(middle, best_rates, color="C0", label="at its best rate", shift=-0.12, width=0.3)
    for strength in (0.0, config.best):
        losses = trials[f"rate {COMMON:g}/λ={strength:g}/test loss"]
        place, label = PENALTIES.index(strength), "" if strength else f"at the rate {COMMON:g}"
        middle.plot(place + 0.1 + np.linspace(0, 0.25, len(losses)), losses, "x", color="C1", label=label)
    middle.set(title=f"Loss on unseen {config.data}", xlabel="λ", ylabel="nats")
    middle.legend()

    gains = trials["best rate/λ=0/test loss"] - trials[f"best rate/λ={config.best:g}/test loss"]
    strips(right, {"each at its best rate": gains})
    right.axhspan(*difference(gains, margin=0.05).interval, color="C2", alpha=0.15, linewidth=0)
    reference_line(right, 0.05, "margin")
    right.set(title=f"Loss with λ = 0 minus loss with λ = {config.best:g}", ylabel="nats", xlim=(-1, 1))
    return drawing


# %%
# Try it yourself
# ---------------
# The fewer letters, the easier it is to learn them by heart. With 30 in place of 100, at the same rates: will the
# penalty gain more than 0.05 nats, or less? `python -m lessons run weight_penalty --set train=30 --seeds 5`

if __name__ == "__main__":
    lesson.main("weight_penalty")
