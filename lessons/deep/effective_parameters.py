"""
Does weight decay leave fewer free parameters?
==============================================

Weight decay adds a penalty to the loss, ½ λ ‖w‖²: half of λ times the sum of all squared weights. It is a spring that
pulls each weight to 0, the stiffer the larger λ. No weight becomes exactly 0. Yet the notes (row 2.05) say that it
lowers the number of *free* parameters. A free one must then be one that goes where the data pull it. So let us pull.
Fit ŷ = w x at two points, x = 1 and x = 2. The best weight is w = Σ x y / (5 + λ), where 5 is Σ x². Move the target y
at x = 2 up by 1: its fit rises by 4 / (5 + λ). Move that at x = 1 instead: its fit rises by 1 / (5 + λ). Together: ::

    free parameters = Σ ∂ŷ/∂y = 5 / (5 + λ)        λ = 0: 1        λ = 5: 0.5        λ = 45: 0.1

With many weights the data pull in several directions at right angles. Each has a number d² where the single weight had
5 (the d are called *singular values*) and keeps its own share. The shares add up (Hoerl and Kennard, 1970). ::

    effective parameters = Σ d² / (d² + λ)

For a network there is no such formula. Train it again with moved targets, and see how far its fit follows (Ye, 1998).
"""

from dataclasses import dataclass
from itertools import pairwise, repeat

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn

from dlnotes import data, lesson
from dlnotes.deep import MLP, effective_degrees_of_freedom, weight_decay_groups
from dlnotes.evidence import identity, no_difference, ratio
from dlnotes.lesson import answer, claim, curves
from dlnotes.linear import SGD
from dlnotes.measuring import Measured, train_for
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep

# %%
# The experiment
# --------------
# A *seed* draws 100 letters, first weights, and how targets are moved. The *arms* are strengths λ; all else is equal.
# *Ridge* regression (squared errors with this penalty, solved exactly) obeys the formula. *Linear*, from pixels to ten
# outputs, is trained step by step instead: does it follow as far? *Network* has a hidden layer: we look at how far it
# follows, at its size ‖w‖, and at the gap, squared error on unseen letters minus that on training letters.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    few: int = 100  # training images
    test: int = 1_000  # test images
    width: int = 32  # units of the hidden layer
    steps: int = 500  # of the network, with all its images at each and momentum 0.9
    lr: float = 0.05  # of the network: of 0.02 and 0.05 the one that fits better, on a seed that no verdict sees
    draws: int = 2  # random changes of the targets, each up and down


QUICK = Config(few=20, test=100, width=8, steps=20, draws=1)
SEEDS = range(16)
DATA = ("letters", "fashion_mnist", "not_mnist")
RIDGE = (0.0, *(10.0**power for power in range(-2, 6)))  # λ of the formula
LINEAR = (10.0, 100.0, 1_000.0)  # λ without a hidden layer
LINEAR_TRAINING = (6, 0.1, 120)  # changes, rate and steps, which end near the solution: a test compares them
NETWORK = (0.0, 0.1, 1.0, 10.0)  # from hardly any effect to a network that hardly learns, on a seed of no verdict
CHANGE = 0.05  # the deviation of the changes of the targets, which are 0.9 and -0.1


def trial(config: Config, seed: int) -> Measured:
    train, test = load(config, seed)
    measured = formula(train)
    linear = trained(seed, train, [196, 10], LINEAR, *LINEAR_TRAINING)
    for strength, (models, changes) in zip(LINEAR, linear, strict=True):
        measured[f"linear, λ={strength:g}/free"] = free_parameters(models, changes, train.inputs)
        left = effective_degrees_of_freedom(train.inputs.double(), strength)
        measured[f"linear, λ={strength:g}/formula"] = 10 * (left + 1)  # ten outputs, each with its bias
    networks = trained(seed, train, [196, config.width, 10], NETWORK, config.draws, config.lr, config.steps)
    for strength, (models, changes) in zip(NETWORK, networks, strict=True):
        name = f"network, λ={strength:g}"
        weights = torch.cat([weight.detach().flatten() for weight in models[0].layers.parameters() if weight.ndim > 1])
        measured[f"{name}/free"] = free_parameters(models, changes, train.inputs)
        measured[f"{name}/size"] = weights.norm().item()
        measured[f"{name}/weights not zero"] = float(weights.count_nonzero())
        for what, part in {"training loss": train, "test loss": test}.items():
            measured[f"{name}/{what}"] = half_square(models[0](part.inputs), part.targets).item()
    return measured


def load(config: Config, seed: int) -> list[data.Examples]:
    """Images, less the mean training image, (N, 196), and for targets 0.9 at their class and -0.1 elsewhere."""
    train, _, test = data.load(config.data, seed, train=config.few, test=config.test, side=14, flat=True)
    middle = train.inputs.mean(0)
    return [data.Examples(x - middle, nn.functional.one_hot(labels, 10).float() - 0.1) for x, labels in (train, test)]


def formula(train: data.Examples) -> Measured:
    x = train.inputs.double() - train.inputs.double().mean(0)  # centred once more, in double precision
    left = [effective_degrees_of_freedom(x, strength) for strength in RIDGE]
    traces = ((x @ ridge(x, strength)).trace().item() for strength in RIDGE[1:])
    return {
        "ridge/effective parameters": left,
        "ridge/error of the trace": max(abs(trace - free) for trace, free in zip(traces, left[1:], strict=True)),
        "ridge/error of the rank": abs(left[0] - (len(x) - 1)),
        "ridge/penalties that take nothing": float(sum(not more < less for less, more in pairwise(left))),
        "ridge/left at λ=1e9": effective_degrees_of_freedom(x, 1e9),
    }


def ridge(x: Tensor, strength: float) -> Tensor:
    """(XᵀX + λI)⁻¹ Xᵀ: what maps targets to weights, (d, N)."""
    return torch.linalg.solve(x.T @ x + strength * torch.eye(x.shape[1], dtype=x.dtype), x.T)


def half_square(outputs: Tensor, targets: Tensor) -> Tensor:
    """½ ‖ŷ - y‖², the mean over examples."""
    return (outputs - targets).square().sum(1).mean() / 2


def trained(
    seed: int, train: data.Examples, widths: list[int], strengths: tuple[float, ...], draws: int, lr: float, steps: int
) -> list[tuple[list[MLP], list[Tensor]]]:
    """For each λ the models, of the targets as they are, then of each change up and down; and the changes."""
    generator = stream(seed, "changes")
    changes = [CHANGE * torch.randn(train.targets.shape, generator=generator) for _ in range(draws)]
    moved = [torch.zeros_like(train.targets), *(sign * change for change in changes for sign in (1, -1))]
    models, groups = [], []
    for strength in strengths:  # of errors that are summed over examples, while the loss is their mean
        for change in moved:
            models.append(MLP(widths, generator=stream(seed, "weights")))
            # In training the outputs lack the change, which is as good as targets that are moved by it.
            models[-1].change = nn.Parameter(change, requires_grad=False)
            models[-1].register_forward_hook(lambda one, _, outputs: outputs - one.change if one.training else outputs)
            groups += [{**group, "lr": lr} for group in weight_decay_groups(models[-1], strength / len(train[0]))]
    train_for(Sweep(models, half_square, SGD(groups, lr=lr, momentum=0.9), repeat(tuple(train))), steps)
    return [([one.eval() for one in models[at : at + len(moved)]], changes) for at in range(0, len(models), len(moved))]


@torch.no_grad()
def free_parameters(models: list[MLP], changes: list[Tensor], inputs: Tensor) -> float:
    """Σ ∂ŷ/∂y: for a change E of deviation σ, the mean of ⟨E, ŷ(y + E) - ŷ(y - E)⟩ / 2σ², as long as E is small."""
    pairs = zip(changes, models[1::2], models[2::2], strict=True)
    found = [(change * (up(inputs) - down(inputs))).sum().item() / (2 * CHANGE**2) for change, up, down in pairs]
    return sum(found) / len(found)


# %%
# What we expect
# --------------
# Written before the run: *claims* of the notes, each in one setting. The *margin*, the least difference that matters,
# is a tenth. Where a number falls with λ any fall counts, and what equals a sum or a rank may differ by rounding alone.


def each(t, what):
    if what == "gap":
        return each(t, "test loss") - each(t, "training loss")
    return np.array([t[f"network, λ={strength:g}/{what}"] for strength in NETWORK])


def falls(t, what):
    return ratio((each(t, what)[:-1] / each(t, what)[1:]).min(0), np.ones(len(t.seeds)), margin=1.0)


def follows(t, strength):
    return no_difference(t[f"linear, λ={strength}/free"] / t[f"linear, λ={strength}/formula"] - 1, margin=0.1)


OVER, ARMS = "measured over formula, minus 1", ("network, λ=0", "network, λ=1")

# fmt: off
PREDICTIONS = [
    claim("2.05", "trace", "In ridge regression on {few} {data} fits follow moved targets as Σ d²/(d² + λ) says.",
          lambda t: identity(t["ridge/error of the trace"], tolerance=1e-6)),
    claim("2.05", "no penalty", "Without a penalty Σ d²/(d² + λ) is the rank of {few} centred images, {few} minus 1.",
          lambda t: identity(t["ridge/error of the rank"], tolerance=1e-9)),
    claim("2.05", "each penalty", "The sum Σ d²/(d² + λ) falls from each of nine λ to the next.",
          lambda t: identity(t["ridge/penalties that take nothing"], tolerance=0.0), of="λ without a fall"),
    claim("2.05", "huge penalty", "The sum Σ d²/(d² + λ) falls to 0: λ = 10⁹ leaves less than 0.001 of a parameter.",
          lambda t: identity(t["ridge/left at λ=1e9"], tolerance=1e-3), of="effective parameters"),
    claim("2.05", "followed at 10", "With λ = 10 a linear fit of {few} {data} follows moved targets as far as "
          "Σ d²/(d² + λ) says, within a tenth.", lambda t: follows(t, 10), arms=("formula", "free"), of=OVER),
    claim("2.05", "followed at 100", "With λ = 100 a linear fit of {few} {data} follows moved targets as far as "
          "Σ d²/(d² + λ) says, within a tenth.", lambda t: follows(t, 100), arms=("formula", "free"), of=OVER),
    claim("2.05", "followed at 1000", "With λ = 1,000 a linear fit of {few} {data} follows moved targets as far as "
          "Σ d²/(d² + λ) says, within a tenth.", lambda t: follows(t, 1_000), arms=("formula", "free"), of=OVER),
    claim("2.05", "size falls", "In a network on {few} {data} the size of the weights falls with each larger λ.",
          lambda t: falls(t, "size"), of="size over that at the next λ, the smallest of three"),
    claim("2.05", "size", "In a network on {few} {data} λ = 0 leaves weights over 1.1 times as large as λ = 1 does.",
          lambda t: ratio(each(t, "size")[0], each(t, "size")[2], margin=1.1), arms=ARMS, of="size without over with"),
    claim("2.05", "gap falls", "In a network on {few} {data} test loss minus training loss falls with each larger λ.",
          lambda t: falls(t, "gap"), of="gap over that at the next λ, the smallest of three"),
    claim("2.05", "gap", "On {few} {data} a network's test minus training loss at λ = 0 is over 1.1 times that at 1.",
          lambda t: ratio(each(t, "gap")[0], each(t, "gap")[2], margin=1.1), arms=ARMS, of="gap without over with"),
    claim("2.05", "freedom falls", "In a network on {few} {data} free parameters get fewer with each larger λ.",
          lambda t: falls(t, "free"), of="number over that at the next λ, the smallest of three"),
    claim("2.05", "freedom", "In a network on {few} {data} λ = 0 leaves over 1.1 times the free parameters of λ = 1.",
          lambda t: ratio(each(t, "free")[0], each(t, "free")[2], margin=1.1), arms=ARMS, of="free without over with"),
]

ANSWERS = [
    answer("2.05", "Yes, if a free parameter is one that follows the targets: λ = 1 leaves a network on {few} {data} "
           "{freedom:fewer} fewer. All weights stay, {size} times smaller. notMNIST has copies, and fewer at λ = 0.",
           given={"freedom": "supported", "size": "supported", "not_mnist/no penalty": "refuted"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left a sum of bumps is fitted to eight points, with a small penalty and a large one. A target is moved up
# (arrow), and the dashed curves are fitted to that: the free fit follows, the stiff one a little. In the middle what
# this adds up to for letters: the line is the formula, which sees only the pixels; a dot a seed is what training again
# found. On the right the network: no weight is lost, but with λ they get smaller and less free, and the gap shrinks.


def figure(trials):
    drawing, (first, left, right) = plt.subplots(1, 3, figsize=(15, 4.2))
    points, line = torch.linspace(0, 1, 8).double(), torch.linspace(0, 1, 200).double()
    at_points, at_line = (torch.exp(-50 * (x[:, None] - torch.linspace(0, 1, 12)) ** 2) for x in (points, line))
    before = torch.tensor([0.1, 0.7, 0.4, 1.0, 0.6, 0.9, 0.3, 0.5]).double()
    after = before + 0.8 * (points == points[4])
    for strength, color in ((0.001, "C0"), (3.0, "C1")):
        label = f"λ = {strength:g}: {effective_degrees_of_freedom(at_points, strength):.1f} parameters"
        first.plot(line, at_line @ ridge(at_points, strength) @ before, color=color, label=label)
        first.plot(line, at_line @ ridge(at_points, strength) @ after, "--", color=color)
    first.plot(points, before, "o", color="0.2")
    first.annotate("", (points[4], after[4]), (points[4], before[4]), arrowprops={"arrowstyle": "->"})
    first.set(title="A target is moved: which fit follows?", xlabel="x", ylabel="y", ylim=(-0.2, 2.1))
    first.legend()
    curves(left, RIDGE[1:], trials["ridge/effective parameters"][:, 1:], label="formula", color="C0")
    found = np.array([trials[f"linear, λ={strength:g}/free"] for strength in LINEAR]) / 10 - 1  # less the bias
    left.plot(LINEAR, found, "o", color="C1", alpha=0.5)
    left.set(title="Linear, per output: formula (line), measured (dots)", xlabel="λ", ylabel="parameters", xscale="log")
    for what, color in {"weights not zero": "C4", "free": "C1", "size": "C2", "gap": "C3"}.items():
        share = each(trials, what) / each(trials, what)[0]
        curves(right, range(len(NETWORK)), share.T, label=what.replace("free", "free parameters"), color=color)
    right.set_xticks(range(len(NETWORK)), [f"{strength:g}" for strength in NETWORK])
    right.set(title="Network: what is left", xlabel="λ", ylabel="share of that with λ = 0", ylim=(0, 1.05))
    right.legend()
    return drawing


# %%
# Try it yourself
# ---------------
# Give the network four times the hidden units, and so four times the weights. How many more of its parameters will be
# free, without a penalty and with λ = 1? `python -m lessons run effective_parameters --set width=128 --seeds 2`

if __name__ == "__main__":
    lesson.main("effective_parameters")
