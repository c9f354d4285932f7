"""
The five hyper-parameters of SGD
================================

**The question.** What must be chosen before SGD can start? And is the list of the notes complete?

**What the notes say.** Stochastic gradient descent has five hyper-parameters: initial learning rate, learning-rate
decay, momentum, batch size and the initialisation of the weights (1.23).

**What is measured.** A network with one hidden layer of 64 units learns images of 14 x 14 pixels in 400 steps of SGD.
The base has a rate that is a quarter of the best one, no decay, momentum 0, batches of 128 and first weights of
variance 2/n, for units of n inputs. From there one thing at a time is changed, and nothing is tuned anew: a quarter of
the rate; a decay to zero along half a cosine wave; momentum 0.9; batches of 16, as many of them, so that the network
sees an eighth of the examples; first weights a tenth as large. The measure is the mean loss over 1,000 training images
after the last step: what SGD is there to make small. The base runs twice, with its batches in another order, to show
what luck alone does.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
from matplotlib import pyplot as plt
from torch.optim.lr_scheduler import LambdaLR

from dlnotes import data, lesson, linear
from dlnotes.data import Examples
from dlnotes.deep import MLP
from dlnotes.evidence import ratio
from dlnotes.lesson import answer, claim, limit
from dlnotes.linear import SGD, cross_entropy
from dlnotes.measuring import Measured, Tuned, grid
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep
from dlnotes.training import DivergedError, Minibatches, Trainer, evaluate

# %%
# Settings
# --------

WATCHED = 1_000  # training images that the loss is the mean over


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 4_000  # training examples
    hidden: int = 64  # units of the hidden layer
    steps: int = 400  # steps of the base
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.train < WATCHED or self.steps < 1:
            raise ValueError(f"train must be {WATCHED} or more, and steps 1 or more")


QUICK = Config(train=1_000, hidden=16, steps=40)
SEEDS = range(12)

# %%
# What a run of SGD depends on: five settings that the notes name, and some that they do not.


@dataclass(frozen=True)
class Setting:
    """How one network is trained. What is given here is the base."""

    rate: float = 1.0  # times the base rate
    decay: bool = False  # to zero along half a cosine wave
    momentum: float = 0.0
    batch_size: int = 128
    gain: float = math.sqrt(2)  # first weights have the variance gain² / n

    steps: float = 1.0  # times the steps of the base
    weight_decay: float = 0.0
    max_norm: float = math.inf  # of the gradient, which is clipped there
    order: str = "batches"  # the name of the stream that shuffles the examples


BASE = {"the base": Setting(), "the base, other order of batches": Setting(order="other batches")}
FIVE = {
    "a quarter of the rate": Setting(rate=1 / 4),
    "a decay to zero": Setting(decay=True),
    "momentum 0.9": Setting(momentum=0.9),
    "batches of 16": Setting(batch_size=16),
    "first weights a tenth as large": Setting(gain=math.sqrt(2) / 10),
}
NOT_LISTED = {
    "half of the steps": Setting(steps=1 / 2),
    "an L2 penalty of 0.01": Setting(weight_decay=0.01),
    "gradients clipped to 1/4": Setting(max_norm=1 / 4),
}

# %%
# One seed
# --------
# The same images, first weights and batches for all runs, as far as their settings allow.


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    train, settings = small_images(config, seed), BASE | FIVE | NOT_LISTED
    models = trained(config, seed, train, list(settings.values()), base_rate=tuned["base"] / 4)
    return {name: loss_of(model, train) for name, model in zip(settings, models, strict=True)}


def small_images(config: Config, seed: int) -> Examples:
    """Images of 14 x 14 pixels, (N, 196)."""
    return data.load(config.data, seed, train=config.train, test=0, side=14, flat=True).train.to(config.device)


def loss_of(model: MLP, train: Examples) -> float:
    return evaluate(model, [tensor[:WATCHED] for tensor in train], cross_entropy)


def trained(config: Config, seed: int, train: Examples, settings: Sequence[Setting], *, base_rate: float) -> list[MLP]:
    """A network for each setting. Those that see the same batches learn side by side."""
    models = [network(config, seed, setting.gain) for setting in settings]
    # A norm to clip at is one for all models of an optimizer, and would mix them.
    together = defaultdict(list)
    for model, setting in zip(models, settings, strict=True):
        together[setting.order, setting.batch_size, setting.steps, setting.max_norm].append((model, setting))
    for (order, batch_size, share, max_norm), members in together.items():
        steps = round(share * config.steps)
        groups = [
            {
                "params": model.parameters(),
                "lr": base_rate * setting.rate,
                "momentum": setting.momentum,
                "weight_decay": setting.weight_decay,
            }
            for model, setting in members
        ]
        optimizer = SGD(groups, lr=base_rate, max_norm=max_norm)
        scheduler = LambdaLR(optimizer, [partial(half_a_wave, steps) if one.decay else constant for _, one in members])
        batches = Minibatches(train, batch_size, stream(seed, order))
        alone, *others = side_by_side = [model for model, _ in members]
        if others:
            run: Sweep | Trainer = Sweep(side_by_side, cross_entropy, optimizer, batches, scheduler=scheduler)
        else:
            run = Trainer(alone, cross_entropy, optimizer, batches, scheduler=scheduler)  # twice as fast for one
        with suppress(DivergedError):  # the weights before that step stay, as in a sweep
            for _ in islice(run, steps):
                pass
    return models


def network(config: Config, seed: int, gain: float) -> MLP:
    """A network whose first weights are the same draws whatever the gain is."""
    draws = stream(seed, "first weights")
    model = MLP([196, config.hidden, 10], generator=stream(seed, "replaced at once"))
    linear.initialize(model, lambda weight: linear.scaled_normal_(weight, gain=gain, generator=draws))
    return model.to(config.device)


# %%
# `linear.cosine_decay` is for all groups of an optimizer. Here one model of several decays, and each has a function of
# its own, from the number of steps made to the share of the rate.


def half_a_wave(steps: int, made: int) -> float:
    return (1 + math.cos(math.pi * made / steps)) / 2


def constant(made: int) -> float:
    return 1.0


# %%
# Choosing the rate
# -----------------
# The base at each of the candidates, scored by what is judged: `python -m lessons tune five_settings`. The best rate is
# close to the largest that does not diverge, where the last batch can spoil the result; the base takes a quarter of it,
# and has room to both sides.

RATES = grid(2**-4, 4, per_octave=2)
TUNING_SEEDS = range(1_000, 1_004)


def tune(config: Config, seed: int) -> Measured:
    train = small_images(config, seed)
    models = trained(config, seed, train, [Setting(rate=rate) for rate in RATES], base_rate=1.0)
    return {f"{config.data}/base/{rate:.6g}": loss_of(model, train) for rate, model in zip(RATES, models, strict=True)}


# %%
# What we expect
# --------------
# A list of hyper-parameters is wrong about one that makes no difference. Each change is compared with the run of the
# base that is nearer to it: a tenth of the loss matters, beyond both. Well below the rate at which training diverges,
# SGD gets as far as its steps are long.

OVER = "loss over the base's larger one"

# fmt: off
PREDICTIONS = [
    claim("1.23", "lower rate", "A quarter of the rate leaves over a tenth more loss on {data} than either base run.",
          lambda t: ratio(t["a quarter of the rate"], larger(t), margin=1.1),
          arms=("a quarter of the rate", "the base"), of=OVER, because="its steps are shorter"),
    claim("1.23", "rate decay", "A decay to zero leaves over a tenth more loss on {data} than either base run.",
          lambda t: ratio(t["a decay to zero"], larger(t), margin=1.1),
          arms=("a decay to zero", "the base"), of=OVER, because="the cosine halves the steps on average"),
    claim("1.23", "momentum", "Momentum 0.9 leaves over a tenth less loss on {data} than either base run.",
          lambda t: ratio(smaller(t), t["momentum 0.9"], margin=1.1), arms=("momentum 0.9", "the base"),
          of="smaller loss of the base over this one", because="in the long run its steps are ten times as long"),
    claim("1.23", "small batches", "Batches of 16 leave over a tenth more loss on {data} than either base run.",
          lambda t: ratio(t["batches of 16"], larger(t), margin=1.1),
          arms=("batches of 16", "the base"), of=OVER, because="their gradient has eight times the variance"),
    claim("1.23", "small weights",
          "First weights a tenth as large leave over a tenth more loss on {data} than either base run.",
          lambda t: ratio(t["first weights a tenth as large"], larger(t), margin=1.1),
          arms=("first weights a tenth as large", "the base"), of=OVER,
          because="two layers pass on a hundredth of the signal, and of the gradient a tenth to each layer: the start "
                  "is slow"),
    limit("1.23", "half the steps", "Half of the steps leave over a tenth more loss on {data} than either base run.",
          lambda t: ratio(t["half of the steps"], larger(t), margin=1.1), arms=("half of the steps", "the base"),
          of=OVER, because="the number of training iterations must be chosen, too (Bengio, 2012)"),
    limit("1.23", "penalty", "An L2 penalty of 0.01 leaves over a tenth more loss on {data} than either base run.",
          lambda t: ratio(t["an L2 penalty of 0.01"], larger(t), margin=1.1),
          arms=("an L2 penalty of 0.01", "the base"), of="loss without the penalty over the base's larger one",
          because="weight decay must be chosen, too (Bengio, 2012)"),
    limit("1.23", "clipping", "Gradients clipped to 1/4 leave over a tenth more loss on {data} than either base run.",
          lambda t: ratio(t["gradients clipped to 1/4"], larger(t), margin=1.1),
          arms=("gradients clipped to 1/4", "the base"), of=OVER,
          because="gradients can be clipped, at a norm that must be chosen (Pascanu et al., 2013)"),
]

ANSWERS = [
    answer("1.23", "All five move the loss on {data} by more than a tenth, momentum most: {momentum} times. They are "
           "not alone. Half of the steps, an L2 penalty and clipping move it as well.",
           given={"lower rate": "supported", "rate decay": "supported", "momentum": "supported",
                  "small batches": "supported", "small weights": "supported", "half the steps": "supported",
                  "penalty": "supported", "clipping": "supported"}),
]
# fmt: on


def larger(trials):
    return np.maximum(*(trials[base] for base in BASE))


def smaller(trials):
    return np.minimum(*(trials[base] for base in BASE))


# %%
# What to look at
# ---------------
# Each mark is a seed, each bar their geometric mean; the grey band is a tenth of the loss to either side, and the
# diamonds show what luck alone does. The squares are changes too, of what no entry of the list speaks of: whether they
# leave the band is whether the list lacks them.


def figure(trials):
    drawing, axes = plt.subplots(figsize=(8.5, 4.6))
    base, again = BASE
    axes.axvspan(1 / 1.1, 1.1, color="0.5", alpha=0.2, linewidth=0)
    axes.axvline(1, color="0.4", linestyle=":")
    blocks = {
        "luck": ("0.35", "D", [again]),
        "on the list": ("C0", "o", [*FIVE]),
        "not on the list": ("C1", "s", [*NOT_LISTED]),
    }
    place, ticks = 0.0, {}
    for block, (color, marker, names) in blocks.items():
        for name in names:
            shares = trials[name] / trials[base]
            label = block if name == names[0] else None
            heights = place + np.linspace(-0.2, 0.2, len(shares))
            axes.plot(shares, heights, marker, color=color, alpha=0.6, label=label)
            axes.plot([np.exp(np.log(shares).mean())] * 2, [place - 0.35, place + 0.35], color=color)
            ticks[place] = name
            place += 1
        place += 0.5  # apart from the next block
    axes.set_xscale("log")
    axes.set_xticks([1 / 8, 1 / 4, 1 / 2, 1, 2, 4], ["1/8", "1/4", "1/2", "1", "2", "4"])
    axes.minorticks_off()
    axes.set_yticks(list(ticks), list(ticks.values()))
    axes.invert_yaxis()
    axes.set_title(f"One change at a time, {trials.config.data}")
    axes.set_xlabel("training loss after the last step, over that of the base")
    axes.set_ylabel("what is changed")
    axes.legend()
    return drawing


# %%
# Run it
# ------

if __name__ == "__main__":
    lesson.main("five_settings")
