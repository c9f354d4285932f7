"""
Does it help to lower the learning rate as training goes on?
============================================================

SGD (stochastic gradient descent) never comes to rest. Each step follows the gradient of a small batch: the gradient
over all images, plus noise. Near the minimum little but noise is left, and each step throws the weights about, the
further the larger the learning rate. A large rate is quick, and ends in a wide dance around the minimum. A small one
ends closer, and takes long to get there. So begin with a large rate and end with a small one: let it *decay*.

Try it by hand. Take the loss ½ w², whose gradient is w, add a noise ε of +1 or -1, and start from w = 3. ::

    w ← w - α (w + ε)                    α: the learning rate

    noise ε                        1      -1     1      -1     1      1      -1     -1
    w at α = 0.5             3     1      1      0      0.5   -0.25  -0.63   0.19   0.59
    w at α = 1, 1/2, 1/3 …   3    -1      0     -0.33   0     -0.20  -0.33  -0.14   0

At the constant rate w dances on: a step turns w² into w²/4 + 1/4 on average, so it stays near 1/3. At the rates 1/t, w
is minus the mean of all noise, whose signs cancel: after t steps w² is 1/t on average. Now leave the noise out. ::

    w at α = 0.5             3    1.5    0.75   0.38   0.19   …   towards 0
    w at α = 1/2, 1/4 …      3    1.5    1.13   0.98   0.92   …   towards 0.87

Without noise there is no dance to calm, and smaller steps only slow down. And rates that fall too soon never get there:
1/2, 1/4 … add up to 1, too short a way. We try both. The notes (row 1.20) leave open how the rate should fall. Here are
four common *schedules*: the rate at step t of s, from a first rate α₀ to a hundredth of it or to 0. ::

    inverse time   α₀ / (1 + 99 t/s)              in steps   α₀, α₀/10, α₀/100, each for a third of the steps
    exponential    α₀ · 0.01^(t/s)                cosine     α₀ (1 + cos(π t/s)) / 2
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler

from dlnotes import data, lesson, linear
from dlnotes.evidence import ratio
from dlnotes.lesson import answer, claim, curves, limit
from dlnotes.linear import SGD, LogisticClassifier, cross_entropy
from dlnotes.measuring import Measured, Tuned, grid, train_for
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep
from dlnotes.training import Minibatches

# %%
# The experiment
# --------------
# Each *seed* draws images and the order of batches. A linear classifier learns the images, with a price on large
# weights (an L2 penalty), which gives its loss a minimum. L-BFGS, a method for smooth losses, finds it to many digits;
# we measure how far above it training ends, in nats, the unit of cross-entropy. The *arms* are a constant rate and the
# schedules, each by SGD from the first rate that was best for it on other seeds. In two further cases all start from
# the best constant rate: steps that use all images, so without noise, and SGD with a decay that is over too early.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 2_000  # training images
    steps: int = 600  # steps of SGD
    descent_steps: int = 100  # steps with all images at each
    batch_size: int = 32  # images a step of SGD
    weight_decay: float = 1e-3  # strength of the L2 penalty
    device: str = "cpu"


QUICK = Config(train=200, steps=20, descent_steps=20)
SEEDS = range(12)

SCHEDULES: dict[str, Callable[[Optimizer, int], lr_scheduler.LRScheduler]] = {  # for an optimizer and its steps
    "constant": lambda optimizer, steps: linear.exponential_decay(optimizer, 1.0),
    "inverse time": lambda optimizer, steps: linear.inverse_time_decay(optimizer, 99.0, steps),
    "exponential": lambda optimizer, steps: linear.exponential_decay(optimizer, 0.01, steps),
    "steps": lambda optimizer, steps: linear.step_decay(optimizer, 0.1, max(steps // 3, 1)),
    "cosine": lambda optimizer, steps: linear.cosine_decay(optimizer, steps),
    "too early": lambda optimizer, steps: lr_scheduler.LambdaLR(optimizer, lambda t: 0.01 ** min(10 * t / steps, 1)),
}
RUNS = [("batches", arm) for arm in SCHEDULES] + [("all", arm) for arm in SCHEDULES if arm != "too early"]


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    problem = Problem(config, seed)
    measured: Measured = {}
    for gradients, arm in RUNS:
        first_rate = tuned.get(f"{gradients}/{arm}", tuned[f"{gradients}/constant"])
        (excess,) = problem.train(gradients, arm, [first_rate])
        measured[f"{gradients}/{arm}/above the minimum"] = excess[-1]
        measured[f"{gradients}/{arm}/curve"] = excess
    return measured


class Problem:
    """The loss of a linear classifier over all training images, with its penalty, and where it is least."""

    def __init__(self, config: Config, seed: int) -> None:
        loaded = data.load(config.data, seed, train=config.train, test=0, side=14, flat=True)
        inputs, labels = loaded.train.to(config.device)
        (standardized,) = linear.standardize(inputs.double())
        self.config, self.seed = config, seed
        self.examples = standardized / 14, labels  # 196 numbers of variance 1/196: inputs of length 1
        self.least = self.minimum()

    def loss(self, model: nn.Module) -> Tensor:
        """Mean cross-entropy plus half of the penalty's strength times the squared weights (biases included)."""
        squares = torch.stack([parameter.square().sum() for parameter in model.parameters()]).sum()
        return cross_entropy(model(self.examples[0]), self.examples[1]) + self.config.weight_decay / 2 * squares

    def minimum(self) -> float:
        """The least loss, by L-BFGS."""
        model = LogisticClassifier(196, 10, dtype=torch.float64).to(self.config.device)  # all weights at zero
        stop: dict[str, Any] = {"max_iter": 2_000, "tolerance_grad": 1e-10, "tolerance_change": 0.0}
        optimizer = torch.optim.LBFGS(model.parameters(), **stop, history_size=50, line_search_fn="strong_wolfe")

        def forward_and_backward() -> float:
            optimizer.zero_grad()
            (loss := self.loss(model)).backward()
            return loss.item()

        optimizer.step(forward_and_backward)
        return self.loss(model).item()

    def train(self, gradients: str, arm: str, first_rates: Sequence[float]) -> list[list[float]]:
        """How far above the minimum the loss is, at twenty moments, for each first rate."""
        config = self.config
        models = [LogisticClassifier(196, 10, dtype=torch.float64).to(config.device) for _ in first_rates]
        groups = [{"params": model.parameters(), "lr": lr} for model, lr in zip(models, first_rates, strict=True)]
        optimizer = SGD(groups, lr=1.0, weight_decay=config.weight_decay)
        steps, few = config.steps, Minibatches(self.examples, config.batch_size, stream(self.seed, "batches"))
        batches, steps = (few, steps) if gradients == "batches" else (repeat(self.examples), config.descent_steps)
        sweep = Sweep(models, cross_entropy, optimizer, batches, scheduler=SCHEDULES[arm](optimizer, steps))
        excess: list[list[float]] = [[] for _ in models]
        for place in range(20):
            train_for(sweep, steps * (place + 1) // 20 - steps * place // 20)
            with torch.no_grad():
                for curve, model, lost in zip(excess, models, sweep.diverged, strict=True):
                    curve.append(torch.nan if lost else self.loss(model).item() - self.least)
        return excess


# `python -m lessons tune decay` chooses the first rates: of the same 15 for each arm, by what is judged.
TUNING = {f"{gradients}/{arm}": grid(2**-4, 2**10) for gradients, arm in [*RUNS[:5], ("all", "constant")]}
TUNING_SEEDS = range(1_000, 1_004)


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    gradients, schedule = arm.split("/")
    return [curve[-1] for curve in Problem(config, seed).train(gradients, schedule, candidates)]


# %%
# What we expect
# --------------
# Written before the run. A *claim* is what the notes state, a *limit* a case in which we expect it to fail. We compare
# distances above the minimum, as ratios. The *margin*, the smallest difference that matters, is a tenth, or as stated.

NEARER, FURTHER = "distance without decay over that with it", "distance with decay over that without"
WHY = "there is no noise to calm, and smaller steps are only slower"


def nearer(arm):
    """By SGD, is the constant arm further above the minimum than this one?"""
    return lambda t: ratio(*(t[f"batches/{one}/above the minimum"] for one in ("constant", arm)), margin=1.1)


def slower(arm, gradients="all", margin=1.1):
    """Is this arm further above the minimum than the constant one?"""
    return lambda t: ratio(*(t[f"{gradients}/{one}/above the minimum"] for one in (arm, "constant")), margin=margin)


# fmt: off
PREDICTIONS = [
    claim("1.20", "inverse time", "By SGD on {data} the best constant rate ends over a tenth further above the minimum "
          "than inverse-time decay.", nearer("inverse time"), arms=("constant", "inverse time"), of=NEARER),
    claim("1.20", "exponential", "By SGD on {data} the best constant rate ends over a tenth further above the minimum "
          "than exponential decay.", nearer("exponential"), arms=("constant", "exponential"), of=NEARER),
    claim("1.20", "in steps", "By SGD on {data} the best constant rate ends over a tenth further above the minimum "
          "than decay in steps.", nearer("steps"), arms=("constant", "steps"), of=NEARER),
    claim("1.20", "cosine", "By SGD on {data} the best constant rate ends over a tenth further above the minimum "
          "than cosine decay.", nearer("cosine"), arms=("constant", "cosine"), of=NEARER),
    limit("1.20", "noiseless inverse time", "Without noise, inverse-time decay ends over a tenth further above the "
          "minimum than no decay.", slower("inverse time"), arms=("inverse time", "constant"), of=FURTHER, because=WHY),
    limit("1.20", "noiseless exponential", "Without noise, exponential decay ends over a tenth further above the "
          "minimum than no decay.", slower("exponential"), arms=("exponential", "constant"), of=FURTHER, because=WHY),
    limit("1.20", "noiseless steps", "Without noise, decay in steps ends over a tenth further above the minimum than "
          "no decay.", slower("steps"), arms=("steps", "constant"), of=FURTHER, because=WHY),
    limit("1.20", "noiseless cosine", "Without noise, cosine decay ends over a tenth further above the minimum than "
          "no decay.", slower("cosine"), arms=("cosine", "constant"), of=FURTHER, because=WHY),
    limit("1.20", "too early", "By SGD, a decay that is over after a tenth of {steps} steps ends more than twice as "
          "far above the minimum as no decay.", slower("too early", "batches", 2.0), arms=("too early", "constant"),
          of=FURTHER, because="the rates must add up to a long way (Robbins and Monro, 1951)"),
]

ANSWERS = [
    answer("1.20", "Yes, for SGD: {steps} steps on {data} with cosine decay end {cosine} times nearer to the least "
           "loss than the best constant rate. Decay harms where gradients have no noise, or rates fall too early.",
           given={"inverse time": "supported", "exponential": "supported", "in steps": "supported",
                  "cosine": "supported", "noiseless inverse time": "supported", "noiseless exponential": "supported",
                  "noiseless steps": "supported", "noiseless cosine": "supported", "too early": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left the thing itself: 80 noisy steps in a bowl of two weights. Both paths have the same start, first rate and
# noise. The constant rate dances around the minimum (the cross), the decaying one comes to rest. Beside it the loss, a
# thin line a seed. By SGD the best constant rate is a low one, and slow; rates that decay start high and end low. ("Too
# early" starts low as well.) Without noise the constant rate goes straight down, and each schedule bends away.


def figure(trials):
    drawing, (path, sgd, smooth) = plt.subplots(1, 3, figsize=(14, 4))
    for color, label, factor in (("C0", "constant rate", 1.0), ("C2", "exponential decay", 0.95)):
        w, places = np.array([-4.0, 3.0]), []
        for step, noise in enumerate(torch.randn(80, 2, generator=stream(0, "noise")).numpy()):
            places.append(w)
            w = w - 0.4 * factor**step * (w * [0.3, 1] + noise)  # the gradient of 0.15 w₁² + w₂²/2, and noise
        path.plot(*np.transpose(places), "o-", color=color, markersize=3, linewidth=0.8, label=label)
    first, second = np.meshgrid(np.linspace(-5, 2, 60), np.linspace(-2, 3.5, 60))
    path.contour(first, second, 0.15 * first**2 + second**2 / 2, levels=8, colors="0.85", linewidths=0.7)
    path.plot(0, 0, "k+", markersize=14, markeredgewidth=2)
    path.set(title="80 steps in a bowl, from above", xlabel="first weight", ylabel="second weight")
    path.legend()

    for gradients, arm in RUNS:
        axes, steps = (sgd, trials.config.steps) if gradients == "batches" else (smooth, trials.config.descent_steps)
        excess, color = np.maximum(trials[f"{gradients}/{arm}/curve"], 1e-9), f"C{[*SCHEDULES].index(arm)}"
        curves(axes, steps * np.arange(1, 21) // 20, excess, label=arm, color=color, geometric=True)
    for axes, title in (sgd, "SGD, each from its own best rate"), (smooth, "Without noise, all from the same rate"):
        axes.set(title=title, xlabel="step", ylabel="loss above the minimum (nats)", yscale="log")
    sgd.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return drawing


# %%
# Try it yourself
# ---------------
# Batches of 512 have a 16th of the noise (its variance). Which arm gains most from that, and which one hardly anything?
# `python -m lessons run decay --set batch_size=512 --seeds 1`.

if __name__ == "__main__":
    lesson.main("decay")
