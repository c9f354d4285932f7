"""
Momentum: the formula, and where it pays
========================================

**The question.** Going along past gradients instead of the present one: what is the formula, and does it make
training faster?

**What the notes say.** Use what has accumulated of the past gradients as the direction (1.16). In a formula:
M ← 0.9 M + Δα, a running average (1.17). It is one of two ways to make SGD faster (1.18).

**What is measured.** *The formula.* α is the step size, so Δα, taken at its word, is the change of the step size: a
number without a direction. Each seed follows it on a bowl in 50 dimensions, beside the formula with the gradient in its
place. *The speed.* Steps until the mean of the last ten losses is below a target, for SGD and for SGD with momentum
0.9, each at its own best rate from the same grid: on bowls whose curvatures span 1 to 1, 1 to 10 and 1 to 1,000, and
for a linear classifier on letters with minibatches of 128. And once more on letters with one small rate, α for SGD and
α/10 for momentum: the same step in the long run.

**The smallest difference that matters.** A tenth of the steps.

**What would refute it.** 1.17: the printed formula does not even halve the loss; or M is not within a tenth of the
constant gradient that it is said to average. 1.18: on the bowl of 1 to 1,000, or on letters, momentum saves no tenth of
the steps. Predicted limits of 1.18, from theory: with momentum 0.9 the error falls by √0.9 a step in the long run,
which takes 87 steps to 1/10,000 of the loss, whatever the bowl; plain descent needs about 2.3 κ. So well below κ = 38
momentum should be slower: on the bowl of 1 to 10 by more than a factor of two. And at small rates, where many steps add
up anyway, it should make no difference.

**Time.** `python -m lessons` says what it took.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice, pairwise, repeat

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn

from dlnotes import data, lesson, linear
from dlnotes.evidence import claim, difference, identity, limit, no_difference, ratio
from dlnotes.linear import SGD, GradientDescent, LogisticClassifier, cross_entropy
from dlnotes.randomness import stream
from dlnotes.training import DivergedError, Minibatches, Trainer, evaluate

# %%
# Settings
# --------

SHOWN = range(0, 200, 4)  # the steps on a bowl that the figure shows


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 4_000  # training examples
    batch_size: int = 128  # examples a step
    bowl_steps: int = 1_000  # most steps on each bowl
    image_steps: int = 600  # most steps of each classifier
    small_rate: float = 1 / 32  # the rate of SGD in the comparison of small rates
    device: str = "cpu"  # of the classifiers

    def __post_init__(self) -> None:
        if self.bowl_steps < SHOWN.stop or self.image_steps < 10:
            raise ValueError(f"bowl_steps must be {SHOWN.stop} or more and image_steps 10 or more")


QUICK = Config(train=500, bowl_steps=200, image_steps=50, small_rate=0.25)
SEEDS = range(16)
DATA = ("letters", "fashion_mnist", "not_mnist")

ARMS = {"SGD": 0.0, "momentum": 0.9}
BOWLS = (1, 10, 1_000)  # κ: the largest curvature over the smallest
TARGETS = {"letters": 0.3, "fashion_mnist": 0.5, "not_mnist": 0.3}  # the training loss to reach, in nats
EASY_TARGET = 0.8  # the same at small rates

# %%
# The rate of each arm: the best of 23 on four seeds that no verdict sees. ``python -m lessons tune momentum`` chooses
# them; the scores of all candidates are in ``results/tuning``.

RATES = tuple(float(f"{2 ** (half / 2):.6g}") for half in range(-18, 5))
TUNING_SEEDS = range(1_000, 1_004)
TUNED = {
    "κ=1/SGD": 1.0,
    "κ=1/momentum": 0.00390625,
    "κ=10/SGD": 1.41421,
    "κ=10/momentum": 0.176777,
    "κ=1000/SGD": 1.41421,
    "κ=1000/momentum": 2.0,
    "letters/SGD": 1.41421,
    "letters/momentum": 0.25,
    "fashion_mnist/SGD": 0.176777,
    "fashion_mnist/momentum": 0.0625,
    "not_mnist/SGD": 0.353553,
    "not_mnist/momentum": 0.0883883,
}

# %%
# One seed
# --------
# The same start and the same batches for both arms; they differ in the momentum, and in the rate that is best for each.
# The losses come one by one, as training makes them, and it ends where nobody asks for the next: at the target.


def trial(config: Config, seed: int) -> dict[str, float | list[float]]:
    measured = formulas(seed)
    for kappa in BOWLS:
        for arm, beta in ARMS.items():
            losses = on_bowl(kappa, seed, config.bowl_steps, lr=TUNED[f"κ={kappa}/{arm}"], beta=beta)
            first = list(islice(losses, SHOWN.stop))
            measured[f"κ={kappa}/{arm}/steps"] = steps_until_below(first[0] / 10_000, chain(first, losses))
            measured[f"κ={kappa}/{arm}/curve"] = [first[step] / first[0] for step in SHOWN]

    examples = data.load(config.data, seed, train=config.train, test=0).train.to(config.device)
    for arm, beta in ARMS.items():
        losses = on_images(config, seed, examples, lr=TUNED[f"{config.data}/{arm}"], beta=beta)
        measured[f"best rates/{arm}/steps"] = steps_until_below(TARGETS[config.data], losses)
        losses = on_images(config, seed, examples, lr=config.small_rate * (1 - beta), beta=beta)
        measured[f"small rates/{arm}/steps"] = steps_until_below(EASY_TARGET, losses)
    return measured


def on_bowl(kappa: float, seed: int, steps: int, *, lr: float, beta: float) -> Iterator[float]:
    """The loss on a bowl at the start and after each step."""
    bowl, nothing = Bowl(kappa, seed), torch.zeros(1)
    optimizer = SGD(bowl.parameters(), lr=lr, momentum=beta)
    trainer = Trainer(bowl, lambda loss, _: loss, optimizer, repeat((nothing, nothing)))  # a bowl has no examples
    yield from until_diverged((step.loss for step in islice(trainer, steps)), steps)
    yield bowl(nothing).item()


def on_images(config: Config, seed: int, examples: data.Examples, *, lr: float, beta: float) -> Iterator[float]:
    """The loss of a linear classifier over the first 1,000 training examples, at the start and after each step."""
    model = LogisticClassifier(784, 10).to(config.device)
    batches = Minibatches(examples, config.batch_size, stream(seed, "batches"))
    trainer = Trainer(model, cross_entropy, SGD(model.parameters(), lr=lr, momentum=beta), batches)
    watched = [tensor[:1_000] for tensor in examples]
    yield evaluate(model, watched, cross_entropy)
    losses = (evaluate(model, watched, cross_entropy) for _ in islice(trainer, config.image_steps))
    yield from until_diverged(losses, config.image_steps)


class Bowl(nn.Module):
    """The loss ½ Σ hᵢ wᵢ² in 50 dimensions: curvatures h from 1/κ to 1, and w drawn from a normal distribution."""

    def __init__(self, kappa: float, seed: int) -> None:
        super().__init__()
        self.curvatures = torch.logspace(-math.log10(kappa), 0, 50, dtype=torch.float64)
        self.w = nn.Parameter(torch.randn(50, generator=stream(seed, "start"), dtype=torch.float64))

    def forward(self, inputs: Tensor) -> Tensor:
        """The loss, whatever the inputs."""
        return (self.curvatures * self.w**2).sum() / 2


def until_diverged(losses: Iterator[float], count: int) -> Iterator[float]:
    """The losses, and nan for those that are missing because training diverged."""
    with suppress(DivergedError):
        for loss in losses:
            yield loss
            count -= 1
    yield from repeat(math.nan, count)


def steps_until_below(target: float, losses: Iterable[float]) -> float:
    """After how many steps the mean of the last ten losses is first at or below the target; nan where it never is."""
    last_ten: deque[float] = deque(maxlen=10)
    for step, loss in enumerate(losses):
        last_ten.append(loss)
        if len(last_ten) == 10 and sum(last_ten) / 10 <= target:
            return float(step)
    return math.nan


# %%
# The formulas, each taken at its word
# ------------------------------------


def formulas(seed: int) -> dict[str, float | list[float]]:
    constant = [torch.randn(20, generator=stream(seed, "gradient"), dtype=torch.float64)] * 200
    noisy = list(torch.randn(200, 20, generator=stream(seed, "gradients"), dtype=torch.float64))
    with_gradient = list(on_bowl(10, seed, 100, lr=0.1, beta=0.9))
    summed = walk(noisy, linear.momentum(0.9), lr=0.1)
    w = nn.Parameter(torch.zeros(20, dtype=torch.float64))
    return {
        "formula as printed/loss left": printed_formula(seed, 100),
        "formula with the gradient/loss left": with_gradient[-1] / with_gradient[0],
        "sum/step over a constant gradient": (walk(constant, linear.momentum(0.9), lr=1.0)[-1] / constant[0])
        .mean()
        .item(),
        "average/step over a constant gradient": (
            (walk(constant, linear.average_momentum(0.9), lr=1.0)[-1] / constant[0]).mean().item()
        ),
        "sum: far from PyTorch's": far(summed, follow(torch.optim.SGD([w], lr=0.1, momentum=0.9), w, noisy)),
        "sum: far from ten times the average": far(summed, walk(noisy, linear.average_momentum(0.9), lr=1.0)),
        "momentum 0: far from plain descent": far(walk(noisy, linear.momentum(0.0), lr=0.1), walk(noisy, lr=0.1)),
    }


def printed_formula(seed: int, steps: int) -> float:
    """The share of a bowl's loss that M ← 0.9 M + Δα, w ← w - α M leaves, where α decays so that there is a Δα."""
    bowl, accumulated = Bowl(10, seed), 0.0
    start = bowl(torch.zeros(1)).item()
    for before, alpha in pairwise(0.1 / (1 + step / 10) for step in range(steps + 1)):
        accumulated = 0.9 * accumulated + (alpha - before)
        bowl.w.data -= alpha * accumulated
    return bowl(torch.zeros(1)).item() / start


def walk(gradients: list[Tensor], *links: linear.Link, lr: float) -> Tensor:
    """The steps that a chain of links takes along given gradients: one row a step."""
    w = nn.Parameter(torch.zeros_like(gradients[0]))
    return follow(GradientDescent([w], *links, lr=lr), w, gradients)


def follow(optimizer: torch.optim.Optimizer, w: nn.Parameter, gradients: list[Tensor]) -> Tensor:
    places = [w.detach().clone()]
    for gradient in gradients:
        w.grad = gradient
        optimizer.step()
        places.append(w.detach().clone())
    return -torch.stack(places).diff(dim=0)


def far(one: Tensor, other: Tensor) -> float:
    return (one - other).abs().amax().item()


# %%
# Choosing the rates
# ------------------
# The same candidates for each arm, scored by what is judged: the number of steps. The bowls are the same whatever the
# images are: they are tuned once, beside the letters.


def tune(config: Config, seed: int) -> dict[str, float | list[float]]:
    examples = data.load(config.data, seed, train=config.train, test=0).train.to(config.device)
    scores: dict[str, float | list[float]] = {}
    for arm, beta in ARMS.items():
        for lr in RATES:
            for kappa in BOWLS if config.data == Config.data else ():
                losses = on_bowl(kappa, seed, config.bowl_steps, lr=lr, beta=beta)
                start = next(losses)
                scores[f"κ={kappa}/{arm}/{lr:.6g}"] = steps_until_below(start / 10_000, chain([start], losses))
            losses = on_images(config, seed, examples, lr=lr, beta=beta)
            scores[f"{config.data}/{arm}/{lr:.6g}"] = steps_until_below(TARGETS[config.data], losses)
    return scores


# %%
# What settles it
# ---------------
# Where the arm that is predicted to be slower does not arrive in time, the steps that it had stand in: it needs more.


def findings(trials):
    where, exact = trials.config.data, 1e-12
    return [
        claim(
            "1.16",
            "the steps of M ← 0.9 M + g, w ← w - α M are those of PyTorch's SGD",
            identity(trials["sum: far from PyTorch's"], tolerance=exact),
        ),
        claim(
            "1.16",
            "with 0 in the place of 0.9 they are those of plain descent",
            identity(trials["momentum 0: far from plain descent"], tolerance=0.0),
        ),
        claim(
            "1.16",
            "with M ← 0.9 M + 0.1 g and ten times the rate they are the same: a sum and an average differ in the rate",
            identity(trials["sum: far from ten times the average"], tolerance=exact),
        ),
        claim(
            "1.16",
            "100 of them leave less than half of the loss on a bowl",
            difference(0.5 - trials["formula with the gradient/loss left"], margin=0.0),
            of="one half minus the share left",
        ),
        claim(
            "1.17",
            "100 steps of the formula as printed, M ← 0.9 M + Δα with α the step size, leave less than half of the "
            "loss on a bowl",
            difference(0.5 - trials["formula as printed/loss left"], margin=0.0),
            of="one half minus the share left",
        ),
        claim(
            "1.17",
            "M, with the gradient in it, is a running average: within a tenth of a gradient that stays the same",
            no_difference(trials["sum/step over a constant gradient"] - 1, margin=0.1),
            of="M over the gradient, minus 1",
        ),
        claim(
            "1.18",
            "on a bowl with curvatures of 1 to 1,000, SGD needs over a tenth more steps than momentum, at best rates",
            slower(trials, "κ=1000", "SGD", "momentum", margin=1.1),
            of="steps of SGD over steps of momentum",
        ),
        claim(
            "1.18",
            f"a linear classifier on {where} needs over a tenth more steps by SGD than by momentum, at best rates",
            slower(trials, "best rates", "SGD", "momentum", margin=1.1),
            of="steps of SGD over steps of momentum",
        ),
        limit(
            "1.18",
            "on a bowl with curvatures of 1 to 10 it is momentum that needs more than twice the steps",
            slower(trials, "κ=10", "momentum", "SGD", margin=2.0),
            of="steps of momentum over steps of SGD",
        ),
        limit(
            "1.18",
            f"on {where} at the rate {trials.config.small_rate:g}, a tenth of it for momentum, the steps are the same "
            "within a tenth",
            no_difference(
                np.log(trials["small rates/SGD/steps"] / trials["small rates/momentum/steps"]), margin=math.log(1.1)
            ),
            of="logarithm of the ratio of steps",
        ),
    ]


def slower(trials, setting, slow, fast, *, margin):
    had = trials.config.bowl_steps if setting.startswith("κ") else trials.config.image_steps
    return ratio(
        np.nan_to_num(trials[f"{setting}/{slow}/steps"], nan=had), trials[f"{setting}/{fast}/steps"], margin=margin
    )


# %%
# What to look at
# ---------------
# On the left, momentum's two curves have nearly the same slope: it forgets at its own pace, √0.9 a step, whether the
# bowl is long or round. SGD's pace is the bowl's. On the right, each dot is a seed: above the line momentum is faster.


def figure(trials):
    drawing, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    styles = {(10, "SGD"): "C0--", (1_000, "SGD"): "C0-", (10, "momentum"): "C1--", (1_000, "momentum"): "C1-"}
    for (kappa, arm), style in styles.items():
        curves = np.maximum(trials[f"κ={kappa}/{arm}/curve"], 1e-12)
        left.plot(SHOWN, curves.T, style, linewidth=0.4, alpha=0.3)
        left.plot(SHOWN, np.exp(np.log(curves).mean(0)), style, label=f"{arm}, curvatures of 1 to {kappa:,}")
    left.axhline(1e-4, color="0.4", linestyle=":", label="the target")
    left.set_yscale("log")
    left.set_ylim(1e-6, 2)
    left.set_title("On two bowls, each arm at its best rate")
    left.set_xlabel("step")
    left.set_ylabel("loss, as a share of the first")
    left.legend()

    settings = {f"κ={kappa}": f"bowl\n1 to {kappa:,}" for kappa in BOWLS}
    settings |= {"best rates": f"{trials.config.data}\nbest rates", "small rates": f"{trials.config.data}\nsmall rates"}
    for place, name in enumerate(settings):
        gain = trials[f"{name}/SGD/steps"] / trials[f"{name}/momentum/steps"]
        right.plot(place + np.linspace(-0.2, 0.2, len(gain)), gain, "o", color="C2", alpha=0.6)
        right.plot([place - 0.3, place + 0.3], [np.exp(np.log(gain).mean())] * 2, color="C2")
    right.axhline(1, color="0.4", linestyle=":")
    right.set_yscale("log")
    right.set_xticks(range(len(settings)), settings.values())
    right.set_title("Steps that SGD takes for each step of momentum")
    right.set_ylabel("steps of SGD over steps of momentum")
    return drawing


# %%
# Run it
# ------

if __name__ == "__main__":
    lesson.main("momentum")
