"""
Is SGD faster than gradient descent?
====================================

You ask for the way in a town of 2,560 people. You can poll them all, and take the mean of what they say: exact, and it
takes a day. Or you ask one, walk a little, and ask the next: rough, and you are on your way at once.

A classifier is trained in the same two ways. Its loss is a mean over all training examples, and so is the gradient, the
direction in which the loss grows fastest. *Gradient descent* reads all examples before each step, to know the *full
gradient*. *Stochastic gradient descent* (SGD) reads a *batch*: a few of them, and other ones next time. ::

    w ← w - α · mean of gᵢ        gᵢ: the gradient of the loss of example i at the weights w,  α: the learning rate

Let the examples be four numbers, 1, 3, 5 and 7, and let one weight w come close to them. The loss of a number t is
(w - t)² / 2, and its gradient w - t. The mean loss is lowest at w = 4. At the rate ½, a step of gradient descent goes
half of the way to 4, and a step of SGD half of the way to the number that it has just read. ::

    number read           3     7     1     5      5     1     7     3      1     5     3     7
    SGD from w = 0     1.50  4.25  2.63  3.81   4.41  2.70  4.85  3.93   2.46  3.73  3.37  5.18
    all four                           2.00                      3.00                      3.50

When each number has been read once, SGD is at 3.81 and gradient descent at 2. But gradient descent goes on to 4, and
SGD never settles: each number pulls it away again. So what row 1.14 of the course notes says, that SGD is faster,
should hold far from the minimum and fail close to it. And SGD should gain most where examples are alike: if all say the
same, one is as good as a thousand.
"""

import math
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch.nn.utils import parameters_to_vector

from dlnotes import data, lesson
from dlnotes.data import Examples
from dlnotes.evidence import at_least, ratio
from dlnotes.lesson import answer, claim, curves, limit, reference_line, strips
from dlnotes.linear import SGD, LogisticClassifier, cross_entropy
from dlnotes.measuring import Measured, Tuned, grid, steps_until
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep
from dlnotes.training import Minibatches, Trainer, evaluate

# %%
# The experiment
# --------------
# A *seed* (the number that all draws follow from) draws letters, A to J of 14 × 14 pixels. We train on 128 of them, on
# the same 128 copied to make 2,560, and on 2,560 different ones. A linear classifier starts at zero weights. Its loss
# holds a penalty on large weights and so has one minimum, which is computed beforehand. The *arms* differ in the batch:
# all letters, 32 or 8, each at the constant rate that was best for it on other seeds. We count the letters read until
# the *excess loss*, what the loss is above its minimum, falls to a tenth of what it was at the start, or to 1/10,000.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    few: int = 128  # examples of the small set
    many: int = 2_560  # of the large one, and of the small one copied over and over
    penalty: float = 0.01  # λ: half of it times the sum of the squared weights and biases is added to the loss
    budget: int = 256_000  # examples that an arm may read, each of them many times
    device: str = "cpu"


QUICK = Config(few=64, many=256, budget=4_000)
SEEDS = range(12)
SIZES = ("all", "32", "8")  # examples a step
TARGETS = {"loose": 0.1, "tight": 0.0001}  # shares of the excess loss at the start
Task = tuple[Examples, float]  # what to fit, and the lowest loss on it
RACES = ("few/loose", "few/tight", "copies/loose", "many/loose")
CURVES = {"few/tight/all": "all", "few/loose/32": "32, best for a tenth", "few/tight/32": "32, best for 1/10,000"}
SHOWN = [2 ** (quarter / 4) for quarter in range(20, 73)]  # the numbers of examples at which the figure shows them


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    sets, measured = load(config, seed), dict[str, Any]()
    for run in (f"{race}/{size}" for race in RACES for size in SIZES):
        name, target, size = run.split("/")
        if run == "copies/loose/all":  # the gradients of the few again, at so many times the cost
            measured[f"{run}/examples"] = config.many // config.few * measured["few/loose/all/examples"]
            continue
        # One goes on past its target, for the figure.
        budget, grace = (16_384, math.inf) if run == "few/loose/32" else (config.budget, 1.0)
        needed, read, left = train(config, seed, sets[name], size, (tuned[run],), TARGETS[target], budget, grace)
        measured[f"{run}/examples"] = needed[0]
        if run in CURVES:
            measured[f"{run}/curve"] = np.interp(SHOWN, read, left[0], math.nan, math.nan).tolist()
    return measured


def load(config: Config, seed: int) -> dict[str, Task]:
    """The three sets of small images, (N, 196), and their labels; the few are the first of the many."""
    many = data.load(config.data, seed, train=config.many, test=0, side=14, flat=True).train.to(config.device)
    few = Examples(*(tensor[: config.few] for tensor in many))
    copies = Examples(*(torch.cat([tensor] * (config.many // config.few)) for tensor in few))
    lowest = minimum(few, config.penalty)[1]
    return {"few": (few, lowest), "copies": (copies, lowest), "many": (many, minimum(many, config.penalty)[1])}


def minimum(examples: Examples, penalty: float) -> tuple[torch.Tensor, float]:
    """The best weights by L-BFGS, and the loss there: with a gradient g, at most ‖g‖² / 2λ above the lowest."""
    examples = Examples(examples.inputs.double(), examples.targets)
    model = LogisticClassifier(196, 10, dtype=torch.float64).to(examples.inputs.device)
    exact: dict[str, Any] = {"max_iter": 500, "history_size": 30, "tolerance_grad": 1e-6, "tolerance_change": 0.0}
    lbfgs = torch.optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe", **exact)

    def penalised(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return cross_entropy(scores, labels) + penalty / 2 * parameters_to_vector(model.parameters()).square().sum()

    next(Trainer(model, penalised, lbfgs, repeat(tuple(examples))))
    return parameters_to_vector(model.parameters()).detach(), loss(model, examples, penalty)


def loss(model: LogisticClassifier, examples: Examples, penalty: float) -> float:
    """The mean cross-entropy over all examples, plus the penalty."""
    squares = parameters_to_vector(model.parameters()).detach().double().square().sum().item()
    return evaluate(model, examples, cross_entropy) + penalty / 2 * squares


def train(
    config: Config, seed: int, task: Task, size: str, rates: tuple[float, ...], goal: float, budget: float, grace: float
) -> tuple[list[float], list[float], list[list[float]]]:
    """The examples that each rate needs; those read at each look, and the share of the excess loss left then.

    We look for free whenever 1/20 more is read. Once a rate is at the goal, others may read ``grace`` times as many.
    """
    (examples, lowest), models = task, [LogisticClassifier(196, 10).to(config.device) for _ in rates]
    groups = [{"params": model.parameters(), "lr": rate} for model, rate in zip(models, rates, strict=True)]
    optimizer = SGD(groups, lr=1.0, weight_decay=config.penalty)
    cost = len(examples.targets) if size == "all" else int(size)
    batches = repeat(tuple(examples)) if size == "all" else Minibatches(examples, cost, stream(seed, "batches"))
    read, left = [0.0], list[list[float]]()
    for step in Sweep(models, cross_entropy, optimizer, batches):
        if step.number * cost >= 1.05 * read[-1]:
            read.append(float(step.number * cost))
            losses = (loss(model, examples, config.penalty) for model in models)
            left.append([(each - lowest) / (math.log(10) - lowest) for each in losses])
            if any(share <= goal for share in left[-1]):
                budget = min(budget, grace * read[-1])
            if read[-1] >= budget:
                break
    columns, read = [list(column) for column in zip(*left, strict=True)], read[1:]
    needed = (steps_until(goal, column) for column in columns)
    return [math.nan if math.isnan(look) else read[int(look)] for look in needed], read, columns


# %%
# `python -m lessons tune stochastic_descent` chooses the rates, of the same 18 for each arm, by the examples needed. A
# rate that does not arrive scores twice what it has read.

RATES = grid(2**-7, 2**1.5, per_octave=2)
TUNING = {f"{race}/{size}": RATES for race in RACES for size in SIZES if (race, size) != ("copies/loose", "all")}
TUNING_SEEDS = range(1_000, 1_008)


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    name, target, size = arm.split("/")
    task, goal = load(config, seed)[name], TARGETS[target]
    needed, read, _ = train(config, seed, task, size, candidates, goal, config.budget, grace=1.5)
    return [2 * read[-1] if math.isnan(examples) else examples for examples in needed]


# %%
# What we expect
# --------------
# Written before the run. A *claim* is the notes' statement in one setting, a *limit* a setting in which it should fail.
# Each sentence gives its *margin*, the smallest difference that matters. An arm that should need more, and does not
# arrive, counts with its budget.

NOISE = "at a constant rate, noise keeps the loss above the minimum (Bottou and Bousquet, 2008)"
# fmt: off
PREDICTIONS = [
    claim("1.14", "many examples", "Full gradients read more than three times as many examples as batches of 32, "
          "until a tenth of the excess loss on {many:,} {data} is left.",
          lambda t: ratio(at_least(t["many/loose/all/examples"], budget=t.config.budget),
                          t["many/loose/32/examples"], margin=3.0), arms=("32", "all")),
    claim("1.14", "advantage on copies", "Batches of 32 read fewer examples than full gradients by a factor that is "
          "more than ten times as large on {few} {data} copied to make {many:,} as on the {few} alone.",
          lambda t: ratio(t["copies/loose/all/examples"] / t["copies/loose/32/examples"],
                          t["few/loose/all/examples"] / t["few/loose/32/examples"], margin=10), arms=("few", "copies")),
    limit("1.14", "batches of 32", "Batches of 32 read more than one and a half times as many examples as full "
          "gradients, until 1/10,000 of the excess loss on {few} {data} is left.",
          lambda t: ratio(at_least(t["few/tight/32/examples"], budget=t.config.budget),
                          t["few/tight/all/examples"], margin=1.5), arms=("all", "32"), because=NOISE),
    limit("1.14", "batches of 8", "Batches of 8 read more than one and a half times as many examples as full "
          "gradients, until 1/10,000 of the excess loss on {few} {data} is left.",
          lambda t: ratio(at_least(t["few/tight/8/examples"], budget=t.config.budget),
                          t["few/tight/all/examples"], margin=1.5), arms=("all", "8"), because=NOISE),
]

ANSWERS = [
    answer("1.14", "For a rough fit, yes: on {many:,} {data} SGD reads {many examples} times fewer than gradient "
           "descent. For a precise one, no: on {few} it reads {batches of 32} times as many.",
           given={"many examples": "supported", "batches of 32": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left the thing itself, with two weights: 128 points to come close to, and the paths of two trainings at the
# same rate. When each has read 384 points, full gradients have made three straight steps. Batches of 8 have made 48,
# and stagger around the minimum. In the middle letters, a thin line a seed. The rate of SGD that is fastest at first
# never arrives at 1/10,000: its noise stays. A smaller one does, and pays for it from the start; full gradients never
# slow down. On the right a dot a seed: above the line SGD reads fewer letters. The target is 1/10,000 in the second
# column, a tenth in the others.


def figure(trials):
    few, (drawing, (left, middle, right)) = trials.config.few, plt.subplots(1, 3, figsize=(14, 4.2))
    points = np.random.default_rng(1).normal(size=(128, 2))
    left.plot(*points.T, ".", color="0.75")
    for batch_size, color in ((128, "C0"), (8, "C3")):
        path = [np.array([-3.0, -2.0])]
        for batch in np.tile(points, (3, 1)).reshape(-1, batch_size, 2):
            path.append(path[-1] - 0.4 * (path[-1] - batch.mean(0)))
        left.plot(*np.transpose(path), "o-", color=color, markersize=4, linewidth=1, label=f"{batch_size} a step")
    left.set(title="Two weights, when 384 points have been read", xlabel="a weight", ylabel="another weight")
    for color, dashes, (run, label) in zip(("C0", "C1", "C2"), ("-", "--", "-."), CURVES.items(), strict=True):
        curves(middle, SHOWN, trials[f"{run}/curve"], label=label, color=color, linestyle=dashes, geometric=True)
    reference_line(middle, TARGETS["loose"], "a tenth")
    reference_line(middle, TARGETS["tight"], "1/10,000")
    middle.set(title=f"Excess loss on {few} images", xlabel="images read", ylabel="share of that at the start")
    middle.set(xscale="log", yscale="log", ylim=(1e-6, 2))
    sets = f"{few}", f"{few},\n1/10,000", f"{few},\ncopied", f"{trials.config.many:,}"
    places = dict(zip(RACES, sets, strict=True))
    for shift, color, size in ((-0.17, "C3", "8"), (0.17, "C1", "32")):
        gains = {places[race]: trials[f"{race}/all/examples"] / trials[f"{race}/{size}/examples"] for race in RACES}
        strips(right, gains, color=color, label=f"batches of {size}", shift=shift, width=0.2, geometric=True)
    reference_line(right, 1, "equal")
    right.set(title="Images read by full gradients, over those by SGD", xlabel="images of the set", yscale="log")
    right.set_yticks([0.3, 1, 3, 10, 30, 100], ["0.3", "1", "3", "10", "30", "100"])
    for axes in (left, middle, right):
        axes.legend()
    return drawing


# %%
# Try it yourself
# ---------------
# Take a fifth of the 2,560 letters. Does the lead of SGD on them stay as it is, or fall to a fifth?
# `python -m lessons run stochastic_descent --set many=512 --seeds 1`

if __name__ == "__main__":
    lesson.main("stochastic_descent")
