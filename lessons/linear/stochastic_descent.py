"""
Gradient descent or SGD
=======================

**The question.** The gradient of the loss is a mean over all examples. A few of them give a rough estimate at a
fraction of the cost. When is a rough direction the better bargain, and how can steps that are hardly better than random
lead to the minimum?

**What the notes say.** Stochastic gradient descent, which estimates the gradient from a small random sample at each
step, optimises faster than full gradient descent (1.14). Every small step goes in a nearly random direction, and taken
together they lead to the minimum (1.15). (That SGD is at the core of deep learning, as 1.14 adds, is no statement that
an experiment could settle.)

**What is measured.** A linear classifier of images of 14 x 14 pixels, with a penalty on the squares of its weights so
that its loss has a minimum, which L-BFGS finds in double precision. *The cost* is counted in examples: a step costs as
many as its gradient is taken over, all of them or 32 or 8, reshuffled each pass. Counted is until the loss over all
examples is first so near the minimum that a tenth of what it lay above it at the start is left (loose), or 1/10,000
(tight). The loss is looked at, at no charge, after the first step and whenever the count has grown by a twentieth: the
counts are rounded up by that or by one step. Each arm has its own best rate from the same grid, constant in training.
The data are 128 letters; the same 128 twenty times over; and 2,560 letters. Over copies the full gradient is the same
and costs twenty times as much, so its steps need not be made anew. *The directions.* At zero weights, and later, after
200 steps of 32: the cosine between the gradient of single examples and the full one, and whether a step against it goes
uphill. From the second place, a pass of small steps of one example each: how well it points to the minimum, beside
single steps, and what it takes away of the loss that is left.
"""

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, repeat
from typing import NamedTuple

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor
from torch.nn.functional import cosine_similarity
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from dlnotes import data, lesson
from dlnotes.data import Examples
from dlnotes.evidence import difference, identity, ratio
from dlnotes.lesson import answer, claim, limit
from dlnotes.linear import SGD, LogisticClassifier, cross_entropy, one_hot, softmax
from dlnotes.measuring import Measured, Tuned, grid, largest_error, train_for
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep
from dlnotes.training import DivergedError, Minibatches, Trainer, evaluate

# %%
# Settings
# --------


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    few: int = 128  # examples of the small set, in whole batches
    copies: int = 20  # how many times they are repeated; the large set has as many different examples
    penalty: float = 0.01  # λ: half of it times the sum of the squared weights and biases is added to the loss
    passes: int = 2_000  # passes over the data after which an arm is cut off,
    behind: int = 10  # or as many times the examples that gradient descent needed
    warm_up: int = 200  # steps of 32 examples, at the rate 1/8, that lead to where directions are measured again
    small_rate: float = 1 / 256  # the rate of the small steps
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.few % 128 or self.few < 1 or self.copies < 2 or self.few * self.copies % 256:
            raise ValueError("few must be a multiple of 128, copies 2 or more, and their product a multiple of 256")
        if self.warm_up < 1 or self.passes < 1 or self.behind < 2:
            raise ValueError("warm_up and passes must be 1 or more, and behind 2 or more")

    @property
    def many(self) -> int:
        """Examples of the large set."""
        return self.few * self.copies


QUICK = Config(copies=4, passes=10, behind=3, warm_up=20)
SEEDS = range(12)

SIZES = ("all", 32, 8)  # examples a step
TARGETS = {"loose": 0.1, "tight": 0.0001}  # the share that is left of what the loss lay above its minimum at the start
RACES = (("few", "loose"), ("few", "tight"), ("copies", "loose"), ("many", "loose"))
SHOWN = [2 ** (quarter / 4) for quarter in range(20, 73)]  # the numbers of examples that the figure shows

# %%
# The rate of each arm: the best of 18 on eight seeds that no verdict sees. ``python -m lessons tune
# stochastic_descent`` chooses them; the scores of all candidates are in ``results/tuning``.

RATES = grid(2**-7, 2**1.5, per_octave=2)
TUNING_SEEDS = range(1_000, 1_008)

# %%
# One seed
# --------
# The same examples and first weights (zeros) for all arms. They differ in how many examples a step takes, and in the
# rate that is best for each.


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    tasks = dealt(config, seed)
    needed: dict[str, float] = {}
    curves: dict[str, list[float]] = {}
    for name, target in RACES:
        for size in SIZES:
            run, most = f"{name}/{target}/{size}", allowed(config, needed, name, target)
            if (name, size) == ("copies", "all"):  # the gradients of the few, at so many times the cost
                needed[run] = config.copies * needed[f"few/{target}/all"]
                continue
            rate, until = tuned[run], TARGETS[target]
            seen, left = race(config, seed, tasks[name], size, [rate], until=until, most=most)
            needed |= {run: arrivals(seen, left, until)[0], f"{run}/most": most}
            curves[f"{run}/curve"] = shown(seen, left)
    fast = tuned["few/loose/32"]  # once more, beyond its target
    most = min(SHOWN[-1] / 16, config.passes * config.few)
    curves["few/loose/32/curve"] = shown(*race(config, seed, tasks["few"], 32, [fast], until=0.0, most=most))
    drawn = {run: curves[run] for run in ("few/tight/all/curve", "few/loose/32/curve", "few/tight/32/curve")}
    return needed | drawn | directions(config, seed, tasks["many"])


class Task(NamedTuple):
    """Examples to fit, and the weights that fit them best, with their loss."""

    examples: Examples
    best: Tensor
    lowest: float


def dealt(config: Config, seed: int) -> dict[str, Task]:
    """The three sets of small images, (N, 196), and their labels; the few are the first of the many."""
    many = data.load(config.data, seed, train=config.many, test=0, side=14, flat=True).train.to(config.device)
    few = Examples(*(tensor[: config.few] for tensor in many))
    fitted = minimum(few, config.penalty)
    return {
        "few": Task(few, *fitted),
        "copies": Task(Examples(few.inputs.repeat(config.copies, 1), few.targets.repeat(config.copies)), *fitted),
        "many": Task(many, *minimum(many, config.penalty)),
    }


def minimum(examples: Examples, penalty: float) -> tuple[Tensor, float]:
    """The best weights by L-BFGS, and the loss there: with a gradient g, at most ‖g‖² / 2λ above the lowest."""
    inputs = examples.inputs.double()
    model = LogisticClassifier(inputs.shape[1], 10, dtype=torch.float64).to(inputs.device)
    lbfgs = torch.optim.LBFGS(
        model.parameters(),
        max_iter=500,
        history_size=30,
        tolerance_grad=1e-6,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )
    penalised = Trainer(
        model,
        lambda scores, labels: (
            cross_entropy(scores, labels) + penalty / 2 * parameters_to_vector(model.parameters()).square().sum()
        ),
        lbfgs,
        repeat((inputs, examples.targets)),
    )
    next(penalised)
    return parameters_to_vector(model.parameters()).detach(), loss(model, (inputs, examples.targets), penalty)


def loss(model: LogisticClassifier, examples: tuple[Tensor, Tensor], penalty: float) -> float:
    """The mean cross-entropy over all examples, plus the penalty."""
    squares = parameters_to_vector(model.parameters()).detach().double().square().sum().item()
    return evaluate(model, examples, cross_entropy) + penalty / 2 * squares


def share_left(model: LogisticClassifier, task: Task, penalty: float) -> float:
    """How far the loss lies above its minimum, in units of how far it did at zero weights."""
    return (loss(model, task.examples, penalty) - task.lowest) / (math.log(10) - task.lowest)


# %%
# The race: the models of all rates side by side, and the loss looked at by the number of examples seen alone.


def race(
    config: Config, seed: int, task: Task, size: int | str, rates: list[float], *, until: float, most: float
) -> tuple[list[float], list[list[float]]]:
    """The examples seen at each look, and the shares left there at each rate.

    It ends when the first has arrived at the share ``until`` and the others had half as many examples again, or after
    ``most`` examples.
    """
    models = [LogisticClassifier(196, 10).to(config.device) for _ in rates]
    groups = [{"params": model.parameters(), "lr": rate} for model, rate in zip(models, rates, strict=True)]
    optimizer = SGD(groups, lr=1.0, weight_decay=config.penalty)
    examples = batches(task.examples, size, seed)
    steps: Trainer | Sweep = Sweep(models, cross_entropy, optimizer, examples)
    if len(models) == 1:  # for which a sweep would be slow
        steps = Trainer(models[0], cross_entropy, optimizer, examples)
    cost = len(task.examples.targets) if size == "all" else int(size)
    seen: list[float] = []
    left: list[list[float]] = []
    with suppress(DivergedError):
        for step in looks(steps, cost):
            seen.append(float(step * cost))
            left.append([share_left(model, task, config.penalty) for model in models])
            if any(share <= until for share in left[-1]):
                most = min(most, (1.5 if len(models) > 1 else 1.0) * seen[-1])
            if seen[-1] >= most:
                break
    return seen, left


def batches(examples: Examples, size: int | str, seed: int) -> Iterator[tuple[Tensor, ...]]:
    """All examples at each step, or as many as the size says."""
    return repeat(tuple(examples)) if size == "all" else Minibatches(examples, int(size), stream(seed, "batches"))


def looks(steps: Trainer | Sweep, cost: int) -> Iterator[int]:
    """The steps after which the loss is looked at: those that end a growth of the count by a twentieth."""
    last = 0.0
    for step in steps:
        if step.number * cost >= 1.05 * last:
            last = step.number * cost
            yield step.number


def arrivals(seen: list[float], left: list[list[float]], until: float) -> list[float]:
    """For each rate, the examples seen at the first look that found no more than this share left; nan without one."""
    return [
        next((examples for examples, share in zip(seen, column, strict=True) if share <= until), math.nan)
        for column in zip(*left, strict=True)
    ]


def allowed(config: Config, needed: dict[str, float], name: str, target: str) -> float:
    """The examples after which an arm is cut off."""
    most = float(config.passes * config.few * (1 if name == "few" else config.copies))
    descent = needed.get(f"{name}/{target}/all", math.nan)
    return most if math.isnan(descent) else min(most, config.behind * descent)


def shown(seen: list[float], left: list[list[float]]) -> list[float]:
    """The first curve at the numbers of examples that the figure shows."""
    return np.interp(SHOWN, seen, [shares[0] for shares in left], left=math.nan, right=math.nan).tolist()


# %%
# The directions, in double precision. The gradient of the cross-entropy of an example is (S - L) xᵀ for the weights and
# S - L for the biases; the penalty adds λ w to each.


def directions(config: Config, seed: int, task: Task) -> Measured:
    examples = Examples(task.examples.inputs.double(), task.examples.targets)
    task = task._replace(examples=examples)
    model = LogisticClassifier(196, 10, dtype=torch.float64).to(config.device)
    measured: Measured = {"weights": float(len(task.best))}
    measured |= compass(config, seed, model, task, "start")
    take(config, model, Minibatches(examples, 32, stream(seed, "warm-up")), config.warm_up, lr=1 / 8)
    measured |= compass(config, seed, model, task, "near")
    measured["partition: far from the full gradient"] = partition_error(model, examples, seed)

    there, left = place_of(model), share_left(model, task, config.penalty)
    every = gradients(model, examples, config.penalty)
    home = task.best - there
    measured["near/1/mean cosine to the minimum"] = cosine_similarity(-every, home[None]).mean().item()
    singles = Minibatches(examples, 1, stream(seed, "small steps"))
    take(config, model, singles, 100, lr=config.small_rate)
    measured["100 steps/cosine"] = cosine_similarity(place_of(model) - there, -every.mean(0), dim=0).item()
    measured["100 steps/cosine to the minimum"] = cosine_similarity(place_of(model) - there, home, dim=0).item()
    take(config, model, singles, len(examples.targets) - 100, lr=config.small_rate)
    measured["pass/cosine to the minimum"] = cosine_similarity(place_of(model) - there, home, dim=0).item()
    measured["near/share left"] = left
    measured["pass/share of it gone"] = 1 - share_left(model, task, config.penalty) / left
    return measured


def compass(config: Config, seed: int, model: LogisticClassifier, task: Task, where: str) -> dict[str, float]:
    """How the gradients of 1, 32 and 256 examples lie to that of all, and what steps against the former do."""
    every = gradients(model, task.examples, config.penalty)
    full = every.mean(0)
    order = torch.randperm(len(every), generator=stream(seed, f"order {where}")).to(every.device)
    found: dict[str, float] = {}
    for size in (1, 32, 256):
        means = every[order].unflatten(0, (-1, size)).mean(1)
        cosines = cosine_similarity(means, full[None])
        found |= {f"{where}/{size}/mean cosine": cosines.mean().item()}
        found |= {f"{where}/{size}/median cosine": cosines.median().item()}
    found[f"{where}/uphill"] = (every @ full <= 0).double().mean().item()

    before, there = loss(model, task.examples, config.penalty), place_of(model)
    tried = LogisticClassifier(196, 10, dtype=torch.float64).to(config.device)
    raised = 0
    for gradient in every[order[:100]]:
        vector_to_parameters(there - config.small_rate * gradient, tried.parameters())
        raised += loss(tried, task.examples, config.penalty) > before
    return found | {f"{where}/share of 100 steps that raise the loss": raised / 100}


@torch.no_grad()
def gradients(model: LogisticClassifier, examples: Examples, penalty: float) -> Tensor:
    """The gradient of each example's loss with the penalty, a row each: that of the weights, then of the biases."""
    errors = softmax(model(examples.inputs)) - one_hot(examples.targets, 10, dtype=examples.inputs.dtype)
    outer = errors[:, :, None] * examples.inputs[:, None, :]
    return torch.cat([outer.flatten(1), errors], dim=1) + penalty * place_of(model)


def partition_error(model: LogisticClassifier, examples: Examples, seed: int) -> float:
    """How far the mean of the gradients of one pass, in batches of 32, is from the gradient over all examples."""
    one_pass = islice(Minibatches(examples, 32, stream(seed, "partition")), len(examples.targets) // 32)
    means = [backward(model, batch) for batch in one_pass]
    return largest_error(torch.stack(means).mean(0), backward(model, examples))


def backward(model: LogisticClassifier, batch: tuple[Tensor, ...]) -> Tensor:
    """The gradient of the mean cross-entropy over a batch, by PyTorch."""
    inputs, labels = batch
    parts = torch.autograd.grad(cross_entropy(model(inputs), labels), list(model.parameters()))
    return torch.cat([part.flatten() for part in parts])


def take(config: Config, model: LogisticClassifier, source: Minibatches, steps: int, *, lr: float) -> None:
    optimizer = SGD(model.parameters(), lr=lr, weight_decay=config.penalty)
    train_for(Trainer(model, cross_entropy, optimizer, source), steps)


def place_of(model: LogisticClassifier) -> Tensor:
    return parameters_to_vector(model.parameters()).detach().clone()


# %%
# Choosing the rates
# ------------------
# The same candidates for each arm, scored by what is judged: the examples until the target. When the first has arrived,
# the others are given half as many examples again; those that are still not there are scored as if they needed twice
# what they had.


def tune(config: Config, seed: int) -> Measured:
    tasks = dealt(config, seed)
    scores: Measured = {}
    needed: dict[str, float] = {}
    for name, target in RACES:
        for size in SIZES:
            run, most = f"{name}/{target}/{size}", allowed(config, needed, name, target)
            if (name, size) == ("copies", "all"):
                needed[run] = config.copies * needed[f"few/{target}/all"]
                continue
            until = TARGETS[target]
            seen, left = race(config, seed, tasks[name], size, list(RATES), until=until, most=most)
            counts = arrivals(seen, left, until)
            needed[run] = min((count for count in counts if not math.isnan(count)), default=math.nan)
            for rate, count in zip(RATES, counts, strict=True):
                scores[f"{config.data}/{run}/{rate:.6g}"] = 2 * seen[-1] if math.isnan(count) else count
    return scores


# %%
# What we expect
# --------------
# Written before the run. Where the arm that should need more does not arrive, the examples that it had stand in.

NOISE = "at a constant rate, noise keeps the loss above the minimum (Bottou and Bousquet, 2008)"


def had(trials, run):
    """The examples needed, and where the arm did not arrive those that it had."""
    return np.where(np.isnan(trials[run]), trials[f"{run}/most"], trials[run])


def advantage(trials, name):
    return trials[f"{name}/loose/all"] / trials[f"{name}/loose/32"]


# fmt: off
PREDICTIONS = [
    claim("1.14", "many examples", "Full gradients need over three times the examples of batches of 32 on {many:,} "
          "{data}, until a tenth of the loss above its minimum is left.",
          lambda t: ratio(had(t, "many/loose/all"), t["many/loose/32"], margin=3.0), arms=("32", "all"),
          of="examples of full gradients over those of batches of 32"),
    claim("1.14", "advantage on copies", "The advantage of batches of 32 on {few} {data} {copies} times over is more "
          "than ten times that on the {few} alone.",
          lambda t: ratio(advantage(t, "copies"), advantage(t, "few"), margin=10.0), arms=("few", "copies"),
          of="advantage of batches of 32 on the copies over that without"),
    limit("1.14", "batches of 32", "Batches of 32 need over one and a half times the examples of full gradients on "
          "{few} {data}, until 1/10,000 of the loss above its minimum is left.",
          lambda t: ratio(had(t, "few/tight/32"), t["few/tight/all"], margin=1.5), arms=("all", "32"),
          of="examples of batches of 32 over those of full gradients", because=NOISE),
    limit("1.14", "batches of 8", "Batches of 8 need over one and a half times the examples of full gradients on "
          "{few} {data}, until 1/10,000 of the loss above its minimum is left.",
          lambda t: ratio(had(t, "few/tight/8"), t["few/tight/all"], margin=1.5), arms=("all", "8"),
          of="examples of batches of 8 over those of full gradients", because=NOISE),
    claim("1.15", "one pass", "The mean of the gradients of one pass of minibatches, all at the same weights, is the "
          "full gradient.",
          lambda t: identity(t["partition: far from the full gradient"], tolerance=1e-12)),
    claim("1.15", "nearly random", "The median cosine between the gradient of one example and the full one is under "
          "0.2, after {warm_up} steps on {many:,} {data}.",
          lambda t: difference(0.2 - t["near/1/median cosine"], margin=0.0), of="0.2 minus the median cosine"),
    claim("1.15", "uphill", "The gradient of one example points uphill in over a quarter of the cases, after "
          "{warm_up} steps on {many:,} {data}.",
          lambda t: difference(t["near/uphill"], margin=0.25), of="share of examples"),
    claim("1.15", "taken together", "A pass of small steps has over five times the cosine to the way to the minimum "
          "that one step has on average, after {warm_up} steps on {many:,} {data}.",
          lambda t: difference(t["pass/cosine to the minimum"] - 5 * t["near/1/mean cosine to the minimum"],
                               margin=0.0), of="cosine of a pass minus five times the mean of one"),
    claim("1.15", "loss gone", "A pass of small steps takes away over a tenth of the loss above the minimum that is "
          "left after {warm_up} steps on {many:,} {data}.",
          lambda t: difference(t["pass/share of it gone"], margin=0.1), of="share gone"),
    limit("1.15", "first steps", "The gradient of one example points downhill in over three quarters of the cases at "
          "zero weights, on {many:,} {data}.",
          lambda t: difference(1 - t["start/uphill"], margin=0.75), of="share of examples",
          because="a cosine may be small and the direction no accident"),
    limit("1.15", "batches of 256", "The mean cosine between the gradient of 256 examples and the full one is over 0.7 "
          "at zero weights, on {many:,} {data}.",
          lambda t: difference(t["start/256/mean cosine"], margin=0.7), of="mean cosine",
          because="in a mean of b examples the squared noise is b times smaller"),
]

ANSWERS = [
    answer("1.14", "Where examples resemble each other, yes: for a rough answer on {many:,} {data} full gradients "
           "need {many examples} times as many examples. For a precise one on {few} {data} it is batches of 32 that "
           "need {batches of 32} times as many.",
           given={"many examples": "supported", "advantage on copies": "supported", "batches of 32": "supported"}),
    answer("1.15", "On the way, yes: the gradient of one example points uphill in {uphill:points} % of the cases, "
           "yet a pass of such steps takes away {loss gone:points} % of what is left. At the start, no: {first "
           "steps:points} % point downhill.",
           given={"nearly random": "supported", "uphill": "supported", "loss gone": "supported",
                  "first steps": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left, the rate that is fastest at first never arrives: its noise stays. A smaller one gets lower and pays for
# it from the start, while full gradients cost much at first and never slow down. In the middle, each dot is a seed:
# above the line SGD is cheaper. On the right, the grey band holds nine in ten of all random directions in as many
# dimensions as there are weights: on letters, one step has no more in common with the way to the minimum than that, and
# a pass of such steps still goes along it.


def figure(trials):
    where, few = trials.config.data, trials.config.few
    drawing, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4))
    for color, run, label in (
        ("C0-", "few/tight/all", "all at each step, best rate"),
        ("C1--", "few/loose/32", "32, best rate for the loose target"),
        ("C2-.", "few/tight/32", "32, best rate for the tight target"),
    ):
        curves = np.maximum(trials[f"{run}/curve"], 1e-5)
        left.plot(SHOWN, curves.T, color, linewidth=0.4, alpha=0.4)
        left.plot(SHOWN, np.exp(np.log(curves).mean(0)), color, label=label)
    for target, share in TARGETS.items():
        left.axhline(share, color="0.4", linestyle=":")
        left.annotate(f"{target} target", (SHOWN[0], share), va="bottom", color="0.4")
    left.set_xscale("log")
    left.set_yscale("log")
    left.set_ylim(1e-6, 3)
    left.set_title(f"{few} {where}")
    left.set_xlabel("examples seen")
    left.set_ylabel("loss above its minimum, share left")
    left.legend(loc="lower left")

    races = {
        "few/loose": f"{few},\nloose",
        "copies/loose": f"{few} x {trials.config.copies},\nloose",
        "many/loose": f"{few * trials.config.copies:,},\nloose",
        "few/tight": f"{few},\ntight",
    }
    for shift, size, color, marker in ((-0.15, 8, "C1", "o"), (0.15, 32, "C2", "s")):
        for place, run in enumerate(races):
            gain = trials[f"{run}/all"] / trials[f"{run}/{size}"]
            spots = place + shift + np.linspace(-0.08, 0.08, len(gain))
            label = f"batches of {size}" if place == 0 else "_"  # one entry of the legend a size
            middle.plot(spots, gain, marker, color=color, alpha=0.6, markersize=4, label=label)
            middle.plot([spots[0] - 0.05, spots[-1] + 0.05], [np.exp(np.log(gain).mean())] * 2, color=color)
    middle.axhline(1, color="0.4", linestyle=":")
    middle.set_yscale("log")
    middle.set_xticks(range(len(races)), races.values())
    middle.set_title("How many times as much full gradients cost")
    middle.set_xlabel(f"{where}, target")
    middle.set_ylabel("examples until the target, over those of SGD")
    middle.legend()

    measures = {
        "start/1/mean cosine": "1,\nstart",
        "start/256/mean cosine": "256,\nstart",
        "near/1/mean cosine": "1,\nlater",
        "near/256/mean cosine": "256,\nlater",
        "near/1/mean cosine to the minimum": "1 step",
        "100 steps/cosine to the minimum": "100\nsteps",
        "pass/cosine to the minimum": "a pass",
    }
    for place, name in enumerate(measures):
        cosines, style = trials[name], "C3s" if name.endswith("minimum") else "C0o"
        right.plot(place + np.linspace(-0.15, 0.15, len(cosines)), cosines, style, alpha=0.6, markersize=4)
        right.plot([place - 0.25, place + 0.25], [cosines.mean()] * 2, style[:2])
    band = 1.645 / math.sqrt(trials["weights"][0])
    right.axhspan(-band, band, color="0.85")
    right.axvline(3.5, color="0.4", linewidth=0.8)
    right.annotate("with the full gradient\n(examples a step, place)", (1.5, 1.05), ha="center", va="bottom")
    right.annotate("with the way to the\nminimum (from later)", (5, 1.05), ha="center", va="bottom")
    right.set_ylim(-0.1, 1.28)
    right.set_yticks(np.linspace(0, 1, 6))
    right.set_xticks(range(len(measures)), measures.values())
    right.set_title("What steps have in common with two directions")
    right.set_xlabel("what is compared")
    right.set_ylabel("cosine")
    return drawing


# %%
# Run it
# ------

if __name__ == "__main__":
    lesson.main("stochastic_descent")
