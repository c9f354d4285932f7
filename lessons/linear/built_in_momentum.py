"""
Does AdaGrad have momentum built in?
====================================

Let go of a sled on a slope that ends on level ground. It does not stop where the slope stops, but glides on for a
while. That is momentum: the past moves you where the present no longer does.

The course notes say (row 1.26) that AdaGrad takes care of momentum implicitly, as a part of its own update. There is a
reason to think so. Both optimizers remember all past gradients, and both in a running sum: ::

    momentum     M ← 0.9 M + g         w ← w - α M             g: the gradient at the weight w
    AdaGrad      G ← G + g²            w ← w - α g / √G        α: the learning rate

But look where the sums stand. Momentum steps *along* its sum. AdaGrad *divides* by its own, and steps along the present
gradient. Here is the sled by hand, at α = 1: two gradients on the slope, then level ground. ::

    gradient              3      4      0      0    …
    momentum    M         3    6.7   6.03   5.43    …      the step is M: it glides on
    AdaGrad     √G        3      5      5      5    …
                step      1    0.8      0      0    …      the step is g/√G: nothing times anything is nothing

Now turn the first gradient around, from 3 to -3. Momentum's second step becomes -2.7 + 4 = 1.3 in the place of 6.7. For
AdaGrad √(9 + 16) is 5 as before, and its step still 0.8: a square has forgotten where the gradient pointed.

So the question is what a memory is *of*. We put three tests to AdaGrad that anything with momentum should pass.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn

from dlnotes import lesson
from dlnotes.evidence import difference, identity
from dlnotes.lesson import answer, claim, curves, limit, reference_line, strips
from dlnotes.linear import SGD, AdaGrad
from dlnotes.measuring import Measured
from dlnotes.randomness import stream

# %%
# The experiment
# --------------
# Nothing is trained here: optimizers are fed with gradients, and we look at their steps. Each *seed*, a number that all
# random draws start from, makes 51 random gradients for 20 weights: 50 for the past and one for the present. The *arms*
# are four optimizers that get the same gradients. Plain SGD remembers nothing, and should pass no test. SGD with
# momentum and Adam, which keeps an average of past gradients, should pass all three. The fourth is AdaGrad.
#
# - How far does it go along zeros that follow a gradient, in lengths of its first step?
# - By what share does its next step change when all past gradients are turned around, g to -g?
# - How often does it step up the present slope, because past gradients pointed there?


@dataclass(frozen=True)
class Config:
    """What can be set."""

    past: int = 50  # gradients before the present one
    zeros: int = 50  # zeros after a gradient
    momentum: float = 0.9  # of SGD with momentum


QUICK = Config(past=10, zeros=20)
SEEDS = range(12)
Rule = Callable[[Iterable[Tensor]], torch.optim.Optimizer]


def rules(config: Config) -> dict[str, Rule]:
    with_momentum = partial(SGD, lr=1.0, momentum=config.momentum)
    adam = partial(torch.optim.Adam, lr=1.0)
    return {"SGD": partial(SGD, lr=1.0), "momentum": with_momentum, "AdaGrad": partial(AdaGrad, lr=1.0), "Adam": adam}


def trial(config: Config, seed: int) -> Measured:
    *past, present = torch.randn(config.past + 1, 20, generator=stream(seed, "memory"), dtype=torch.float64)
    signs = torch.randn(config.past, 20, generator=stream(seed, "signs"), dtype=torch.float64).sign()
    order = torch.randperm(config.past, generator=stream(seed, "order")).tolist()
    shuffled = [past[place] * sign for place, sign in zip(order, signs, strict=True)]
    measured: Measured = {}
    for arm, rule in rules(config).items():
        coasting = steps(rule, [present, *repeat(torch.zeros_like(present), config.zeros)]).abs()
        walked = steps(rule, [*past, present])
        turned = steps(rule, [*(-gradient for gradient in past), present])
        mixed = steps(rule, [*shuffled, present])
        measured[f"{arm}/steps along zeros"] = (coasting / coasting[0]).mean(1)[:21].tolist()
        measured[f"{arm}/distance along zeros"] = (coasting[1:].sum() / coasting[0].sum()).item()
        measured[f"{arm}/change by a past turned around"] = change(walked[-1], turned[-1])
        measured[f"{arm}/change by another order and signs"] = change(walked[-1], mixed[-1])
        uphill = walked * torch.stack([*past, present]) < 0
        measured[f"{arm}/steps up the slope"] = uphill[1:].double().mean().item()
    return measured


def steps(rule: Rule, gradients: Sequence[Tensor]) -> Tensor:
    """The steps downhill along given gradients, a row each; every one starts at zero, so that none is rounded."""
    w = nn.Parameter(torch.zeros_like(gradients[0]))
    optimizer, taken = rule([w]), []
    for gradient in gradients:
        w.data.zero_()
        w.grad = gradient
        optimizer.step()
        taken.append(-w.detach().clone())
    return torch.stack(taken)


def change(one: Tensor, other: Tensor) -> float:
    """How far two steps are apart, as a share of the first."""
    return ((other - one).abs().sum() / one.abs().sum()).item()


# %%
# What we expect
# --------------
# Written before the run. A *claim* is the notes' statement in one test, a *limit* a case in which we expect it to fail.
# The *margin*, the smallest effect that counts as momentum, is a tenth.

# fmt: off
PREDICTIONS = [
    claim("1.26", "coasting",
          "AdaGrad goes on for more than a tenth of its first step along {zeros} zeros after a gradient.",
          lambda t: difference(t["AdaGrad/distance along zeros"], margin=0.1), of="distance over the first step"),
    claim("1.26", "past turned around",
          "AdaGrad's next step changes by more than a tenth when {past} past gradients are turned around.",
          lambda t: difference(t["AdaGrad/change by a past turned around"], margin=0.1),
          of="change of the step, as a share of it"),
    claim("1.26", "up the slope", "Along random gradients more than one step of AdaGrad in ten goes up the present "
          "slope, the way that past gradients pointed.",
          lambda t: difference(t["AdaGrad/steps up the slope"], margin=0.1), of="share of steps"),
    limit("1.26", "order and signs",
          "AdaGrad's next step stays the same when past gradients come in another order and with other signs.",
          lambda t: identity(t["AdaGrad/change by another order and signs"], tolerance=1e-12),
          because="only squares are summed"),
]

ANSWERS = [
    answer("1.26", "No. AdaGrad remembers how large past gradients were, not where they pointed. It stops where the "
           "gradient is zero, never steps uphill, and turning past gradients around changes nothing.",
           given={"coasting": "refuted", "past turned around": "refuted", "up the slope": "refuted"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left the thing itself: a slope that ends on level ground, and four optimizers that come down, a dot a step,
# each at a rate that suits it. SGD and AdaGrad stop with the first step onto the level; momentum and Adam glide on. In
# the middle the steps along zeros that follow one gradient; the lines of all seeds coincide. AdaGrad's lies on that of
# SGD, at zero. On the right the three tests, a dot a seed; the dotted line is the margin. Momentum and Adam pass all,
# which shows that the tests can be passed. AdaGrad passes none.


def figure(trials):
    drawing, (slope, middle, right) = plt.subplots(1, 3, figsize=(14, 4.2))
    colors = {"SGD": "C0", "momentum": "C1", "AdaGrad": "C2", "Adam": "C3"}
    slope.plot([-10, 0, 20], [10, 0, 0], color="0.5", linewidth=4)
    for lane, (arm, rate) in enumerate({"SGD": 1.0, "AdaGrad": 2.0, "momentum": 0.25, "Adam": 1.0}.items()):
        w = nn.Parameter(torch.tensor([-10.0]))
        optimizer, path = rules(trials.config)[arm]([w]), []
        optimizer.param_groups[0]["lr"] = rate
        for _ in range(80):
            path.append(w.item())
            w.grad = -torch.ones(1) * (w.item() < 0)
            optimizer.step()
        heights = np.maximum(-np.array(path), 0) + 1 + 1.2 * lane
        slope.plot(path, heights, ".-", color=colors[arm], linewidth=0.7)
        slope.text(path[-1] + 0.6, heights[-1], arm, color=colors[arm], va="center")
    slope.set(
        title="Down a slope onto level ground",
        xlabel="weight",
        ylabel="loss (drawn one above the other)",
        xlim=(-11, 23),
    )

    for (arm, color), dashes in zip(colors.items(), ("-", "-", "--", "-"), strict=True):
        curves(middle, range(21), trials[f"{arm}/steps along zeros"], label=arm, color=color, linestyle=dashes)
    middle.set(title="Steps along one gradient and then zeros", ylabel="length of the step, first = 1")
    middle.set(xlabel="zeros since the gradient", xticks=range(0, 21, 5))
    middle.legend()

    tests = {
        "distance along zeros": "distance along\nzeros (first\nstep = 1)",
        "change by a past turned around": "change by a past\nturned around\n(share of a step)",
        "steps up the slope": "steps up\nthe slope\n(share)",
    }
    for shift, (arm, color) in zip((-0.3, -0.1, 0.1, 0.3), colors.items(), strict=True):
        found = {words: trials[f"{arm}/{name}"] for name, words in tests.items()}
        strips(right, found, color=color, label=arm, shift=shift, width=0.14)
    reference_line(right, 0.1, "margin")
    right.set_yscale("symlog", linthresh=0.1)
    right.set(title="Three tests of momentum", ylabel="in the unit below each", ylim=(-0.03, 30))
    return drawing


# %%
# Try it yourself
# ---------------
# How far does momentum of 0.5 glide, in first steps: half a step, one, or five? Add 0.5 + 0.25 + 0.125 + … before you
# run `python -m lessons run built_in_momentum --set momentum=0.5`, and look at the first test in the right panel. And
# does a past of one gradient change the next step less than one of fifty, or more? `--set past=1`, the second test.

if __name__ == "__main__":
    lesson.main("built_in_momentum")
