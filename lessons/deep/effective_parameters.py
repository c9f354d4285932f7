"""
Effective parameters
====================

**The question.** What does the penalty ½ λ ‖w‖² leave of the parameters, if all of them are still there?

**What the notes say.** Regularisation puts constraints on a network that implicitly lower the number of its free
parameters (2.05).

**What is measured.** *The formula.* For ridge regression on 100 letters of 14 x 14 pixels, centred, in double
precision: the effective degrees of freedom Σ d²/(d² + λ), with d the singular values of the pixels, beside the trace of
the matrix that maps targets to fit, over nine strengths λ. *What it counts.* A free parameter follows the targets, so
the number of free parameters is how far the fit moves with the targets: Σ ∂ŷ/∂y (Ye, 1998). It is measured by training
again with targets that are moved a little at random, up and down, for ten outputs without a hidden layer and for a
network with one. Without a hidden layer it should be that of the formula, and 1 for the bias, which pays no penalty,
for each output. *The network.* One hidden layer, squared errors, 100 letters at each of 500 steps, for four λ: this
measure; the size of the weights, ‖w‖; and the gap, test loss minus training loss. The arms differ in λ alone: the first
weights, the rate and the steps are the same. The number of the weights itself stays, since no λ makes one exactly zero:
the figure shows it, and there is nothing to judge.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise, repeat

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn
from torch.nn.functional import one_hot

from dlnotes import data, lesson
from dlnotes.data import Examples
from dlnotes.deep import MLP, effective_degrees_of_freedom, weight_decay_groups
from dlnotes.evidence import identity, no_difference, ratio
from dlnotes.lesson import answer, claim
from dlnotes.linear import SGD
from dlnotes.measuring import Measured
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep

# %%
# Settings
# --------


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    few: int = 100  # images that are learned from
    test: int = 1_000  # test images
    width: int = 32  # units of the hidden layer
    steps: int = 500  # of the network, with all its images at each and momentum 0.9
    linear_steps: int = 120  # without a hidden layer
    lr: float = 0.05  # of the network: of 0.02 and 0.05 the one that fits better, on a seed that no verdict sees
    linear_lr: float = 0.1  # without a hidden layer, where they end near the solution: a test compares them
    draws: int = 2  # random changes of the targets, each up and down
    linear_draws: int = 6  # the same without a hidden layer

    def __post_init__(self) -> None:
        if min(self.draws, self.linear_draws) < 1:
            raise ValueError("draws and linear_draws must be 1 or more: sensitivity is measured by changes")

    @property
    def rank(self) -> int:
        """Of the centred images that are learned from: one less than there are."""
        return self.few - 1


QUICK = Config(few=20, test=100, width=8, steps=20, linear_steps=20, draws=1, linear_draws=1)
SEEDS = range(16)
DATA = ("letters", "fashion_mnist", "not_mnist")

RIDGE = (0.0, *(10.0**power for power in range(-2, 6)))  # λ of the formula
VANISHED = 1e9  # a λ at which less than a thousandth of a parameter should be left
LINEAR = (10.0, 100.0, 1_000.0)  # λ without a hidden layer, where descent arrives
# λ of the network; all are of errors that are summed over examples. They were chosen on a seed that no verdict sees, so
# that they span from hardly any effect to a network that hardly learns.
NETWORK = (0.0, 0.1, 1.0, 10.0)
MODERATE = 1.0
CHANGE = 0.05  # the deviation of the changes of the targets, which are 0.9 and -0.1

# %%
# One seed
# --------


def trial(config: Config, seed: int) -> Measured:
    train, test = few_images(config, seed)
    measured = formula(train)
    wide = [train.inputs.shape[1], 10]
    deep = [train.inputs.shape[1], config.width, 10]
    for strength, found in zip(
        LINEAR,
        learn(seed, train, wide, LINEAR, config.linear_draws, lr=config.linear_lr, steps=config.linear_steps),
        strict=True,
    ):
        measured[f"linear, λ={strength:g}/free"] = free_parameters(*found, train.inputs)
        left = effective_degrees_of_freedom(train.inputs.double(), strength)
        measured[f"linear, λ={strength:g}/formula"] = 10 * (left + 1)  # ten outputs, each with its bias
    for strength, found in zip(
        NETWORK,
        learn(seed, train, deep, NETWORK, config.draws, lr=config.lr, steps=config.steps),
        strict=True,
    ):
        name, model = f"network, λ={strength:g}", found[0][0]
        weights = torch.cat([weight.detach().flatten() for weight in model.parameters() if weight.ndim > 1])
        with torch.no_grad():
            fitted, unseen = (half_square(model(part.inputs), part.targets).item() for part in (train, test))
        measured[f"{name}/free"] = free_parameters(*found, train.inputs)
        measured[f"{name}/size"] = weights.norm().item()
        measured[f"{name}/training loss"], measured[f"{name}/test loss"] = fitted, unseen
        measured[f"{name}/not zero"] = float(weights.count_nonzero())
    return measured


def few_images(config: Config, seed: int) -> tuple[Examples, Examples]:
    """Images, less the mean training image, (N, 196), and for targets 0.9 at their class and -0.1 elsewhere."""
    train, _, test = data.load(config.data, seed, train=config.few, test=config.test, side=14, flat=True)
    middle = train.inputs.mean(0)
    first, second = (Examples(x - middle, one_hot(labels, 10).float() - 0.1) for x, labels in (train, test))
    return first, second


# %%
# The formula
# -----------


def formula(train: Examples) -> Measured:
    x, y = train.inputs.double(), train.targets.double()
    x = x - x.mean(0)  # once more, in double precision
    left = [effective_degrees_of_freedom(x, strength) for strength in RIDGE]
    solved = [ridge(x, strength) for strength in RIDGE[1:]]
    not_zero = [(maps @ y).count_nonzero().item() for maps in solved]
    return {
        "ridge/free": left,
        "ridge/far from the trace": max(
            abs((x @ maps).trace().item() - free) for maps, free in zip(solved, left[1:], strict=True)
        ),
        "ridge/far from the rank": abs(left[0] - (len(x) - 1)),
        "ridge/λ that leave as much": float(sum(not more < less for less, more in pairwise(left))),
        "ridge/left at last": effective_degrees_of_freedom(x, VANISHED),
        "ridge/not zero": float(min(not_zero)),
    }


def ridge(x: Tensor, strength: float) -> Tensor:
    """(XᵀX + λI)⁻¹ Xᵀ: what maps targets to weights, (d, N)."""
    return torch.linalg.solve(x.T @ x + strength * torch.eye(x.shape[1], dtype=x.dtype), x.T)


# %%
# How far the fit moves with the targets
# --------------------------------------
# With E a change of independent entries of deviation σ, the mean of ⟨E, ŷ(y + E) - ŷ(y - E)⟩ / 2σ² is the sum of
# ∂ŷ/∂y over all targets, as long as E is small.


class Fit(nn.Module):
    """A network whose targets are changed: its outputs less the change, to be compared with the targets."""

    def __init__(self, model: MLP, change: Tensor) -> None:
        super().__init__()
        self.model = model
        # A parameter that is not learned, so that each copy of a sweep has its own.
        self.change = nn.Parameter(change, requires_grad=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """The outputs less the change, (N, K)."""
        outputs: Tensor = self.model(inputs) - self.change
        return outputs


def half_square(outputs: Tensor, targets: Tensor) -> Tensor:
    """½ ‖ŷ - y‖², the mean over examples."""
    return (outputs - targets).square().sum(1).mean() / 2


def learn(
    seed: int, train: Examples, widths: Sequence[int], strengths: Sequence[float], draws: int, *, lr: float, steps: int
) -> list[tuple[list[MLP], list[Tensor]]]:
    """For each λ the changes that were made, and the models: of the targets as they are, then of each change up, down.

    All start from the same weights, and the changes are the same for each λ.
    """
    chance = stream(seed, "changes")
    changes = [CHANGE * torch.randn(train.targets.shape, generator=chance) for _ in range(draws)]
    moved = [torch.zeros_like(train.targets), *(sign * change for change in changes for sign in (1, -1))]
    fits, groups = [], []
    for strength in strengths:
        for change in moved:
            fits.append(Fit(MLP(widths, generator=stream(seed, "weights")), change))
            # The loss is a mean over examples and λ is of their sum.
            groups += [{**group, "lr": lr} for group in weight_decay_groups(fits[-1].model, strength / len(train[0]))]
    optimizer = SGD(groups, lr=lr, momentum=0.9)
    for _ in islice(Sweep(fits, half_square, optimizer, repeat(tuple(train))), steps):
        pass
    models = [fit.model for fit in fits]
    return [(models[start : start + len(moved)], changes) for start in range(0, len(models), len(moved))]


@torch.no_grad()
def free_parameters(models: Sequence[nn.Module], changes: Sequence[Tensor], inputs: Tensor) -> float:
    """Σ ∂ŷ/∂y, from models of unchanged targets (not looked at), and of each change up and down."""
    found = [
        (change * (up(inputs) - down(inputs))).sum().item() / (2 * CHANGE**2)
        for change, up, down in zip(changes, models[1::2], models[2::2], strict=True)
    ]
    return sum(found) / len(found)


# %%
# What we expect
# --------------
# A tenth is the smallest difference that matters. From one λ of the network to the next any fall counts.


def of_network(trials, what):
    """A quantity of the network for each λ, (λ, seeds)."""
    if what == "gap":
        return of_network(trials, "test loss") - of_network(trials, "training loss")
    return np.array([trials[f"network, λ={strength:g}/{what}"] for strength in NETWORK])


def falls(trials, what):
    """Whether a quantity of the network falls with each larger λ: the smallest of three falls."""
    steps = np.array([less / more for less, more in pairwise(of_network(trials, what))])
    return ratio(steps.min(0), np.ones(steps.shape[1]), margin=1.0)


def over_a_tenth(trials, what):
    """Whether it is over 1.1 times as large without a penalty as with the moderate one."""
    each = of_network(trials, what)
    return ratio(each[0], each[NETWORK.index(MODERATE)], margin=1.1)


def follows(trials, strength):
    """Whether the fit without a hidden layer follows its targets as much as the formula says."""
    free, formula = (trials[f"linear, λ={strength:g}/{what}"] for what in ("free", "formula"))
    return no_difference(free / formula - 1, margin=0.1)


# fmt: off
PREDICTIONS = [
    claim("2.05", "trace", "In ridge regression on {few} {data} Σ d²/(d² + λ) is the trace of the map to the fit.",
          lambda t: identity(t["ridge/far from the trace"], tolerance=1e-6)),
    claim("2.05", "no penalty", "Without a penalty Σ d²/(d² + λ) is {rank}, the rank of {few} centred images.",
          lambda t: identity(t["ridge/far from the rank"], tolerance=1e-9)),
    claim("2.05", "each penalty", "The sum Σ d²/(d² + λ) falls from each of nine λ to the next.",
          lambda t: identity(t["ridge/λ that leave as much"], tolerance=0.0),
          of="λ that leave as much as the one before"),
    claim("2.05", "huge penalty", "The sum Σ d²/(d² + λ) falls to 0: λ = 10⁹ leaves less than 0.001 of a parameter.",
          lambda t: identity(t["ridge/left at last"], tolerance=1e-3), of="effective parameters"),
    claim("2.05", "followed at 10", "With λ = 10 a linear fit, trained again, follows other targets as much as "
          "Σ d²/(d² + λ) says, within a tenth.",
          lambda t: follows(t, 10), arms=("formula", "free"), of="measured over formula, minus 1",
          because="a free parameter follows the targets (Ye, 1998)"),
    claim("2.05", "followed at 100", "With λ = 100 a linear fit, trained again, follows other targets as much as "
          "Σ d²/(d² + λ) says, within a tenth.",
          lambda t: follows(t, 100), arms=("formula", "free"), of="measured over formula, minus 1",
          because="a free parameter follows the targets (Ye, 1998)"),
    claim("2.05", "followed at 1000", "With λ = 1,000 a linear fit, trained again, follows other targets as much as "
          "Σ d²/(d² + λ) says, within a tenth.",
          lambda t: follows(t, 1_000), arms=("formula", "free"), of="measured over formula, minus 1",
          because="a free parameter follows the targets (Ye, 1998)"),
    claim("2.05", "size falls", "In a network with one hidden layer on {few} {data} the size of the weights falls with "
          "each larger λ.",
          lambda t: falls(t, "size"), of="size over that at the next λ, the smallest of three"),
    claim("2.05", "size", "In a network on {few} {data} λ = 0 leaves weights over 1.1 times as large as λ = 1 does.",
          lambda t: over_a_tenth(t, "size"), arms=("network, λ=0", "network, λ=1"), of="size without over size with"),
    claim("2.05", "gap falls", "In a network with one hidden layer on {few} {data} the gap, test loss minus training "
          "loss, falls with each larger λ.",
          lambda t: falls(t, "gap"), of="gap over that at the next λ, the smallest of three"),
    claim("2.05", "gap", "In a network on {few} {data} λ = 0 leaves a gap, test loss minus training loss, over 1.1 "
          "times that of λ = 1.",
          lambda t: over_a_tenth(t, "gap"), arms=("network, λ=0", "network, λ=1"), of="gap without over gap with"),
    claim("2.05", "freedom falls", "In a network with one hidden layer on {few} {data} the number of free parameters, "
          "as measured, falls with each larger λ.",
          lambda t: falls(t, "free"), of="number over that at the next λ, the smallest of three"),
    claim("2.05", "freedom", "In a network on {few} {data} λ = 0 leaves over 1.1 times as many free parameters, as "
          "measured, as λ = 1.",
          lambda t: over_a_tenth(t, "free"), arms=("network, λ=0", "network, λ=1"),
          of="number without over number with"),
]

ANSWERS = [
    answer("2.05", "Yes, if free parameters are counted by how much a fit follows its targets: λ = 1 leaves a "
           "network {freedom} times fewer. Its weights are {size} times smaller, and its gap {gap} times.",
           given={"followed at 100": "supported", "freedom": "supported", "size": "supported", "gap": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left, the formula's curve, which knows only the pixels, and what was found by training again with other
# targets. On the right, the network: all its weights stay, and with λ they are smaller, less free, and fit chance less.


def figure(trials):
    drawing, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    left.plot(RIDGE[1:], trials["ridge/free"][:, 1:].T, color="C0", linewidth=0.4, alpha=0.3)
    left.plot(RIDGE[1:], trials["ridge/free"][:, 1:].mean(0), color="C0", label="formula: Σ d²/(d² + λ)")
    spread = np.linspace(-0.1, 0.1, len(trials.seeds))
    for strength in LINEAR:
        free = trials[f"linear, λ={strength:g}/free"] / 10 - 1
        label = "measured by training again" if strength == LINEAR[0] else None
        left.plot(strength * 10**spread, free, "o", color="C1", alpha=0.6, label=label)
    left.axhline(trials["ridge/not zero"].mean() / 10, color="0.4", linestyle=":", label="weights that are not zero")
    left.set_xscale("log")
    left.set_ylim(top=275)  # room for the legend
    left.set_title("Ridge regression: effective parameters an output")
    left.set_xlabel("λ")
    left.set_ylabel("parameters")
    left.legend()

    shown = {"not zero": "weights that are not zero", "free": "free parameters", "size": "‖w‖", "gap": "gap"}
    for place, (what, label) in enumerate(shown.items()):
        each = of_network(trials, what)
        share, color = each / each[0], "0.4" if what == "not zero" else f"C{place}"
        at = np.arange(len(NETWORK))
        right.plot(at, share, color=color, linewidth=0.4, alpha=0.3)
        right.plot(at, share.mean(1), color=color, marker="so^D"[place], label=label)
    right.set_ylim(0, 1.05)
    right.set_xticks(at, [f"{strength:g}" for strength in NETWORK])
    right.set_title(f"A network on {trials.config.few} {trials.config.data}, a thin line a seed")
    right.set_xlabel("λ")
    right.set_ylabel("share of that with λ = 0")
    right.legend()
    return drawing


# %%
# Run it
# ------

if __name__ == "__main__":
    lesson.main("effective_parameters")
