"""
Does gradient clipping stop a recurrent net from blowing up?
============================================================

A recurrent net reads a sequence step by step. It hands a *state*, some numbers, on to the next step, each time through
the same weights. Take the smallest such net: its state is one number, 1 at the start. Each of 20 steps multiplies it by
the same weight w. In the end it is w²⁰ and should still be 1. The loss and its slope, the gradient, are ::

    loss = ½ (w²⁰ - 1)²        gradient = 20 w¹⁹ (w²⁰ - 1)
    w           0.5          0.9       1       1.05      1.1
    gradient   -0.00004     -2.4       0        84       701

Left of w = 1 lies a plain, where the gradient *vanishes*. On the right a cliff rises: the gradient *explodes*. Take one
step of SGD from 1.1, w ← w - α · gradient, with the learning rate α = 0.002: 1.1 - 0.002 · 701 = -0.3. It crosses the
valley and lands far out on the plain, where the gradient is 0.0000000025: w will not come back. The direction was
right, the step too long. *Gradient clipping* keeps the one and cuts the other: ::

    g ← g · c / max(‖g‖, c)        ‖g‖: the norm (length) of the gradient,  c: the limit, the largest norm allowed

For c = 1 the gradient (3, 4), of norm 5, becomes (0.6, 0.8); (0.3, 0.4), of norm 0.5, stays. The norm is over all
weights together: to cut each number at 1 by itself would give (1, 1), another direction. On our cliff, with c = 5, no
step is longer than 0.002 · 5 = 0.01: w goes 1.1, 1.09, 1.08, … and after ten steps it is 1.00. The course notes (rows
4.15, 4.16) clip the *step* Δw at a limit Δmax; Pascanu et al. (2013) clip the gradient. For SGD, where Δw = -α g, both
are the same if Δmax = α c. With momentum, where a step sums up past gradients, they are not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, product
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn

from dlnotes import data, lesson
from dlnotes.evidence import difference, identity, no_difference, not_better, ratio
from dlnotes.lesson import answer, claim, curves, limit, reference_line
from dlnotes.linear import GradientDescent, Link, LogisticClassifier, Slot, cross_entropy
from dlnotes.measuring import Measured, largest_error
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep
from dlnotes.text import RNN
from dlnotes.training import accuracy

# %%
# The experiment
# --------------
# A net sees one of 8 symbols, 19 others that do not matter, and a cue: which symbol was it, 20 steps ago? Its 32 units
# are ReLUs, max(0, x), and its recurrent weights start at 1.1 times the identity: each unit hands its own value on, 1.1
# times as large, as in the example. Each *seed* draws first weights, batches and unseen questions. The *arms* are three
# limits and no clipping, all with the same eight rates of plain SGD. The loss *blows up* if it ever rises above ten
# times its first value, or is no number. In tanh nets, of small first weights (±1/√32 at most), gradients vanish.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    delay: int = 20  # steps from the symbol to the cue
    start: float = 1.1  # the first weight of each ReLU to itself
    units: int = 32  # hidden units
    batch_size: int = 16  # questions a step, new ones each time
    steps: int = 300  # steps of each net
    test: int = 250  # unseen questions
    device: str = "cpu"


QUICK = Config(delay=4, units=8, steps=6, test=50)
SEEDS = range(12)
ARMS = {"none": math.inf, "limit 5": 5.0, "limit 1": 1.0, "limit 0.25": 0.25}
RATES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
MOST = 1e6  # as how many times the first loss one counts that is larger still, or no number


def trial(config: Config, seed: int) -> Measured:
    measured = by_formula(config, seed)
    for net, delay, arms in (
        ("ReLU", config.delay, tuple(ARMS)),
        ("tanh", config.delay, ("none", "limit 1")),
        ("tanh, 2 steps", 2, ("limit 1",)),
    ):
        models, losses = trained(config, seed, net, delay, arms)
        test = data.delayed_recall(config.test, delay, generator=stream(seed, "test")).to(config.device)
        right = np.nan_to_num([accuracy(model, test) for model in models], nan=1 / 8)  # who gives no number guesses
        highest = np.nan_to_num(losses / losses[0], nan=MOST).clip(max=MOST).max(0)
        for place, arm in enumerate(arms):  # lists have a number for each rate
            own = slice(place * len(RATES), (place + 1) * len(RATES))
            measured[f"{net}/{arm}/highest loss"] = highest[own].tolist()
            measured[f"{net}/{arm}/rates that blow up"] = float((highest[own] > 10).sum())
            measured[f"{net}/{arm}/accuracy"] = right[own].tolist()
            measured[f"{net}/{arm}/best"] = float(right[own].max())
            if net == "ReLU":
                measured[f"{net}/{arm}/curve"] = losses[::2, own][:, RATES.index(0.03)].tolist()
    return measured


class Recall(nn.Module):
    """A recurrent layer, and a linear classifier of its last state."""

    def __init__(self, config: Config, net: str, seed: int) -> None:
        super().__init__()
        generator, half_width = stream(seed, "weights"), config.units**-0.5
        self.layer = RNN(13, config.units, nonlinearity="relu" if net == "ReLU" else "tanh", generator=generator)
        if net == "ReLU":
            self.layer.weight_hh_l0.data = config.start * torch.eye(config.units)
        self.head = LogisticClassifier(config.units, 8)
        nn.init.uniform_(self.head.weight, -half_width, half_width, generator=generator)

    def forward(self, inputs: Tensor) -> Any:  # noqa: D102 (the class says it)
        return self.head(self.layer(inputs)[0][:, -1])


def trained(config: Config, seed: int, net: str, delay: int, arms: Sequence[str]) -> tuple[list[Recall], Any]:
    """A net for each arm and rate, trained side by side, and the losses (steps, nets): nan once one diverged."""
    generator, draw = stream(seed, "batches"), partial(data.delayed_recall, config.batch_size, delay)
    batches = (draw(generator=generator).to(config.device) for _ in range(config.steps))
    models, groups = [], []
    for arm, lr in product(arms, RATES):
        models.append(Recall(config, net, seed).to(config.device))
        groups.append({"params": models[-1].parameters(), "lr": lr, "limit": ARMS[arm]})
    optimizer = GradientDescent(groups, Link({"limit": math.inf}, clip_each), lr=1.0)
    return models, np.array([step.losses for step in Sweep(models, cross_entropy, optimizer, batches)])


def clip(tensors: Sequence[Tensor], most: float) -> list[Tensor]:
    """The formula: g · most / max(‖g‖, most), with the norm over all tensors together."""
    norm = torch.stack([tensor.norm() for tensor in tensors]).norm()
    return [tensor * (most / norm.clamp(min=most)) for tensor in tensors] if most < math.inf else list(tensors)


def clip_each(gradients: list[Tensor], slots: list[Slot]) -> list[Tensor]:
    """Clip each net by itself: it is one group of the optimizer, with a limit of its own."""
    clipped = []
    for _, pairs in groupby(zip(gradients, slots, strict=True), lambda pair: id(pair[1].settings)):
        own, (slot, *_) = zip(*pairs, strict=True)
        clipped += clip(own, slot.settings["limit"])
    return clipped


def by_formula(config: Config, seed: int) -> Measured:
    """What the formula makes of gradients of the ReLU net as it starts, of 20 batches, in double precision."""
    model, momentum, longest = Recall(config, "ReLU", seed).double(), torch.zeros(1), 0.0
    inputs, targets = data.delayed_recall(20 * config.batch_size, config.delay, generator=stream(seed, "batches"))
    for batch, symbols in zip(inputs.double().chunk(20), targets.chunk(20), strict=True):
        gradients = torch.autograd.grad(cross_entropy(model(batch), symbols), list(model.parameters()))
        gradient = torch.cat([one.flatten() for one in gradients])
        (clipped,), (step,) = clip([gradient], 1.0), clip([-0.1 * gradient], 0.1)
        momentum = 0.9 * momentum + clipped
        longest = max(longest, momentum.norm().item())
    return {
        "formula/error of direction": largest_error(clipped / clipped.norm(), gradient / gradient.norm()),
        "formula/error of norm": abs(clipped.norm().item() - min(gradient.norm().item(), 1.0)),
        "formula/error of step": largest_error(step, -0.1 * clipped),
        "formula/longest step with momentum": longest,  # at the rate 1
    }


# %%
# What we expect
# --------------
# Written before the run. A *claim* is the notes' statement in one setting, a *limit* a setting in which we expect it to
# fail. Each sentence says its *margin*, the smallest difference that matters. Points are percentage points.

# fmt: off
PREDICTIONS = [
    claim("4.15", "blow-ups", "Unclipped, ReLU nets blow up at over one more of eight rates than with a limit of 1.",
          lambda t: difference(t["ReLU/none/rates that blow up"] - t["ReLU/limit 1/rates that blow up"], margin=1),
          arms=("none", "limit 1"), of="rates"),
    claim("4.15", "same rate", "At a rate of 0.03 the ReLU net gives over 50 points more right answers with a limit of "
          "1 than without.", lambda t: difference(t["ReLU/limit 1/accuracy"][:, 4] - t["ReLU/none/accuracy"][:, 4],
                                                  margin=0.5), arms=("limit 1", "none")),
    limit("4.15", "lower rate", "At the best of eight rates, ReLU nets with a limit of 1 and without are right equally "
          "often, within 10 points.", lambda t: no_difference(t["ReLU/limit 1/best"] - t["ReLU/none/best"], margin=0.1),
          arms=("limit 1", "none"), because="a lower rate shortens steps as well"),
    limit("4.15", "small rate", "At a rate of 0.001 ReLU nets give over 30 points more right answers unclipped than "
          "with a limit of 1.", lambda t: difference(t["ReLU/none/accuracy"][:, 1] - t["ReLU/limit 1/accuracy"][:, 1],
                                                 margin=0.3), arms=("none", "limit 1")),
    limit("4.15", "high limit", "With a limit of 5 and a rate of 1 the loss of the ReLU net blows up.",
          lambda t: ratio(t["ReLU/limit 5/highest loss"][:, -1], np.ones(len(t.seeds)), margin=10), of="over first"),
    limit("4.15", "vanishing", "At its best rate the tanh net gives at most 10 points more right answers with a limit "
          "of 1.", lambda t: not_better(difference(t["tanh/limit 1/best"] - t["tanh/none/best"], margin=0.1)),
          arms=("limit 1", "none"), because="clipping makes no gradient longer"),
    limit("4.15", "can learn", "With a limit of 1 the tanh net gives over 50 points more right answers at a delay of 2 "
          "than of {delay}.", lambda t: difference(t["tanh, 2 steps/limit 1/best"] - t["tanh/limit 1/best"],
                                                      margin=0.5), arms=("tanh, 2 steps", "tanh")),
    claim("4.16", "formula", "The formula keeps the direction of a gradient and gives it the norm min(‖g‖, limit).",
          lambda t: identity(np.maximum(t["formula/error of direction"], t["formula/error of norm"]), tolerance=1e-12)),
    claim("4.16", "plain SGD", "For plain SGD it makes no difference whether the formula cuts gradients or steps.",
          lambda t: identity(t["formula/error of step"], tolerance=1e-12)),
    limit("4.16", "momentum", "With momentum of 0.9, clipped gradients make steps of over twice the norm allowed.",
          lambda t: ratio(t["formula/longest step with momentum"], np.ones(len(t.seeds)), margin=2), of="over Δmax"),
]

ANSWERS = [
    answer("4.15", "Yes: with a limit of 1 ReLU nets blow up at {blow-ups} fewer of eight learning rates. At a delay "
           "of {delay} a lower rate does as well without clipping. Where gradients vanish, clipping does not help.",
           given={"blow-ups": "supported", "lower rate": "supported", "vanishing": "supported"}),
    answer("4.16", "The formula keeps the direction and cuts the length. For plain SGD it may clip gradients or steps; "
           "with momentum, clipped gradients make steps of {momentum} times the norm allowed.",
           given={"formula": "supported", "plain SGD": "supported", "momentum": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# Above left the thing itself: the loss of the example over its weight, and SGD from 1.1. Without clipping one step ends
# on the plain; clipped steps walk down the cliff. On the right nets, a thin line a seed: without clipping the loss
# leaps up, then rests on another plain, at that of guessing: ln 8 = 2.08 nats (units of cross-entropy). Below, the
# highest loss, drawn up to a million, and the right answers. A lower limit moves blow-ups and learning to higher rates.


def figure(trials):
    drawing, ((cliff, left), (above, below)) = plt.subplots(2, 2, figsize=(13, 8))
    cliff.plot(w := np.linspace(-0.45, 1.105, 400), (w**20 - 1) ** 2 / 2, color="0.6")
    for color, (arm, most) in zip(("C0", "C3", "C2", "C1"), ARMS.items(), strict=True):
        if arm in ("none", "limit 5"):
            w = np.array([1.1])
            while len(w) < 12:  # of a single number, clip gives what the formula gives
                w = np.append(w, w[-1] - 0.002 * np.clip(20 * w[-1] ** 19 * (w[-1] ** 20 - 1), -most, most))
            cliff.plot(w, (w**20 - 1) ** 2 / 2, "o-", color=color, label=arm, linewidth=1)
        if arm in ("none", "limit 1"):
            losses = trials[f"ReLU/{arm}/curve"].clip(min=1e-3)  # for the logarithm
            curves(left, range(0, trials.config.steps, 2), losses, label=arm, color=color, geometric=True)
        curves(above, RATES, trials[f"ReLU/{arm}/highest loss"], label=arm, color=color, geometric=True)
        curves(below, RATES, trials[f"ReLU/{arm}/accuracy"], label=arm, color=color)
    curves(below, RATES, trials["tanh/limit 1/accuracy"], label="tanh, limit 1", color="C4", linestyle="--")
    reference_line(above, 10, "blows up")
    reference_line(below, 1 / 8, "guess")
    cliff.set(title="The cliff: one weight, used 20 times", xlabel="weight w", ylabel="loss")
    left.set(title="Loss of ReLU nets at a rate of 0.03", xlabel="step", ylabel="nats", yscale="log")
    above.set(title="Highest loss / first loss", xlabel="learning rate", xscale="log", yscale="log")
    below.set(title="Share of right answers after training", xlabel="learning rate", xscale="log")
    for axes, place in ((cliff, (0, 1)), (left, (0.7, 1)), (above, (0, 1)), (below, (1, 0.8))):
        axes.legend(loc="upper left", bbox_to_anchor=place)
    return drawing


# %%
# Try it yourself
# ---------------
# With a cliff of w⁴⁰, or with first recurrent weights of 1: will a lower rate still do as well as clipping? `python
# -m lessons run clipping --set delay=40 --seeds 2`, and `--set start=1.0` in place of the delay

if __name__ == "__main__":
    lesson.main("clipping")
