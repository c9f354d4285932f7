"""
Which hyper-parameters does SGD have?
=====================================

SGD (stochastic gradient descent) takes a step downhill for each small batch of images. What you choose before are its
*hyper-parameters*. The notes (row 1.23) count five: first learning rate, decay, momentum, batch size, first weights. ::

    M ← μ M + g        w ← w - αₜ M        g: mean gradient of B images,  αₜ: rate at step t,  μ: momentum

How much can they matter? Take four steps along a gradient that stays 1, at the rate 1: how far do they lead? ::

    the base                   1    + 1    + 1    + 1    = 4
    a quarter of the rate      0.25 + 0.25 + 0.25 + 0.25 = 1
    a decay to zero            1    + 0.85 + 0.5  + 0.15 = 2.5      (half a cosine wave; with many steps, half of 4)
    momentum 0.9               1    + 1.9  + 2.71 + 3.44 = 9.05     (M adds up past gradients)

The further, the lower the loss, unless steps are so long that training diverges. The other two do not set the length of
a step. The mean gradient of 16 images has eight times the variance of that of 128. And if first weights are a tenth as
large, two layers pass on a hundredth of the signal: training starts slowly.

But half of the steps would lead half as far, and no entry says how many there are. An *L2 penalty*, which pulls weights
to zero, has a strength; *clipping* has a length to which it cuts gradients. Do all five matter? Is the list complete?
"""

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from itertools import islice
from textwrap import fill

import numpy as np
from matplotlib import pyplot as plt
from torch.optim.lr_scheduler import LambdaLR

from dlnotes import data, lesson, linear
from dlnotes.deep import MLP
from dlnotes.evidence import ratio
from dlnotes.lesson import answer, claim, limit, strips
from dlnotes.linear import SGD, cross_entropy
from dlnotes.measuring import Measured, Tuned, grid
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep
from dlnotes.training import Minibatches, evaluate

# %%
# The experiment
# --------------
# Each *seed* draws images of 14 × 14 pixels, first weights and the order of batches. A network with one hidden layer is
# trained with the base settings, and again with one of them changed at a time: these are the *arms*. The rate of the
# base is a quarter of the best, so that there is room to both sides; nothing else is tuned. We measure the mean loss
# over 1,000 training images after the last step, in nats, the unit of cross-entropy: to make it small is what SGD is
# for. The base runs twice, the second time with its batches in another order, to show what luck does.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 4_000  # training images
    hidden: int = 64  # units of the hidden layer
    steps: int = 400  # steps of the base
    device: str = "cpu"


QUICK = Config(train=1_000, hidden=16, steps=40)
SEEDS = range(12)
WATCHED = 1_000  # training images that the loss is the mean over


@dataclass(frozen=True)
class Setting:
    """How one network is trained. What is given here is the base."""

    rate: float = 1.0  # times the base rate
    decay: bool = False  # to zero along half a cosine wave
    momentum: float = 0.0
    batch_size: int = 128
    gain: float = math.sqrt(2)  # first weights of a unit with n inputs have the variance gain² / n
    steps: float = 1.0  # times the steps of the base
    weight_decay: float = 0.0  # strength of the L2 penalty
    max_norm: float = math.inf  # of the gradient, which is clipped there
    order: str = "batches"  # the name of the stream that shuffles the images


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


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    images, settings = load(config, seed), BASE | FIVE | NOT_LISTED
    runs = trained(config, seed, images, [*settings.values()], base_rate=tuned["base"] / 4)
    return {name: loss_of(model, images) for name, (model, _) in zip(settings, runs, strict=True)}


def load(config: Config, seed: int) -> data.Examples:
    return data.load(config.data, seed, train=config.train, test=0, side=14, flat=True).train.to(config.device)


def loss_of(model: MLP, images: data.Examples) -> float:
    return evaluate(model, [tensor[:WATCHED] for tensor in images], cross_entropy)


Runs = list[tuple[MLP, list[float]]]  # networks, each with the loss of each batch that it saw


def trained(config: Config, seed: int, images: data.Examples, settings: list[Setting], *, base_rate: float) -> Runs:
    """A network for each setting. Those that see the same batches train side by side."""
    runs: Runs = [(network(config, seed, setting.gain), []) for setting in settings]
    # A norm to clip at is one for all models of an optimizer, and would mix them.
    together = defaultdict(list)
    for run, setting in zip(runs, settings, strict=True):
        together[setting.order, setting.batch_size, setting.steps, setting.max_norm].append((*run, setting))
    for (order, batch_size, share, max_norm), members in together.items():
        steps = round(share * config.steps)
        groups = []
        for model, _, setting in members:
            others = {"momentum": setting.momentum, "weight_decay": setting.weight_decay}
            groups.append({"params": model.parameters(), "lr": base_rate * setting.rate, **others})
        optimizer = SGD(groups, lr=base_rate, max_norm=max_norm)
        scheduler = LambdaLR(optimizer, [partial(rate_left, setting, steps) for *_, setting in members])
        batches = Minibatches(images, batch_size, stream(seed, order))
        sweep = Sweep([model for model, *_ in members], cross_entropy, optimizer, batches, scheduler=scheduler)
        for step in islice(sweep, steps):
            for (_, losses, _), loss in zip(members, step.losses, strict=True):
                losses.append(loss)
    return runs


def rate_left(setting: Setting, steps: int, made: int) -> float:
    """The share of the rate after some steps: a setting that decays follows half a cosine wave, down to 0."""
    return (1 + math.cos(math.pi * made / steps)) / 2 if setting.decay else 1.0


def network(config: Config, seed: int, gain: float) -> MLP:
    """A network whose first weights are the same draws whatever the gain is."""
    draws = stream(seed, "first weights")
    model = MLP([196, config.hidden, 10], generator=stream(seed, "replaced at once"))
    linear.initialize(model, lambda weight: linear.scaled_normal_(weight, gain=gain, generator=draws))
    return model.to(config.device)


# `python -m lessons tune five_settings` chooses the best rate, by what is judged. The base takes a quarter of it.
TUNING = {"base": grid(2**-4, 4, per_octave=2)}
TUNING_SEEDS = range(1_000, 1_004)


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    images = load(config, seed)
    runs = trained(config, seed, images, [Setting(rate=rate) for rate in candidates], base_rate=1.0)
    return [loss_of(model, images) for model, _ in runs]


# %%
# What we expect
# --------------
# Written before the run. A *claim*: each of the five matters. A *limit*: something that is not listed matters as well.
# To matter, a change must move the loss a tenth (the *margin*) above both runs of the base, or for momentum below both.


def more(arm):
    """Does this arm leave more loss than both runs of the base?"""
    return lambda t: ratio(t[arm], np.maximum(*(t[base] for base in BASE)), margin=1.1)


# fmt: off
OF = "loss over the larger one of two base runs"
PREDICTIONS = [
    claim("1.23", "lower rate", "A quarter of the rate leaves over a tenth more loss on {data} than the base settings.",
          more("a quarter of the rate"), arms=("a quarter of the rate", "the base"), of=OF, because="shorter steps"),
    claim("1.23", "rate decay", "A decay to zero leaves over a tenth more loss on {data} than the base settings.",
          more("a decay to zero"), arms=("a decay to zero", "the base"), of=OF, because="it halves the average step"),
    claim("1.23", "momentum", "Momentum 0.9 leaves over a tenth less loss on {data} than the base settings.",
          lambda t: ratio(np.minimum(*(t[base] for base in BASE)), t["momentum 0.9"], margin=1.1),
          arms=("momentum 0.9", "the base"), of="smaller loss of two base runs over this", because="longer steps"),
    claim("1.23", "small batches", "Batches of 16 leave over a tenth more loss on {data} than the base settings.",
          more("batches of 16"), arms=("batches of 16", "the base"), of=OF, because="noisier gradients"),
    claim("1.23", "small weights", "First weights a tenth as large leave over a tenth more loss on {data} than the "
          "base settings.", more("first weights a tenth as large"), arms=("first weights a tenth as large", "the base"),
          of=OF, because="signal and gradient are small at first"),
    limit("1.23", "half the steps", "Half of the steps leave over a tenth more loss on {data} than the base settings.",
          more("half of the steps"), arms=("half of the steps", "the base"), of=OF, because="see Bengio, 2012"),
    limit("1.23", "penalty", "An L2 penalty of 0.01 leaves over a tenth more loss on {data} than the base settings.",
          more("an L2 penalty of 0.01"), arms=("an L2 penalty of 0.01", "the base"), of=OF, because="see Bengio, 2012"),
    limit("1.23", "clipping", "Gradients clipped to a length of 1/4 leave over a tenth more loss on {data} than the "
          "base settings.", more("gradients clipped to 1/4"), arms=("gradients clipped to 1/4", "the base"), of=OF,
          because="see Pascanu et al., 2013"),
]

ANSWERS = [
    answer("1.23", "All five move the loss, momentum most: by a factor of {momentum}. The list is incomplete: half of "
           "the steps, an L2 penalty and clipping move it, too. On other images batch size is open.",
           given={"lower rate": "supported", "rate decay": "supported", "momentum": "supported",
                  "small batches": "supported", "small weights": "supported", "half the steps": "supported",
                  "penalty": "supported", "clipping": "supported", "fashion_mnist/small batches": "inconclusive",
                  "not_mnist/small batches": "inconclusive"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left the thing itself: how the loss of one seed's batches falls, as a mean of 20 steps. On the right a dot a
# seed, a bar their mean: the loss after the last step, as a share of that of the base. In the grey band the difference
# is less than a tenth. The first column shows what luck does. All other bars lie outside the band.


def figure(trials):
    drawing, (left, right) = plt.subplots(1, 2, figsize=(14, 4.5), width_ratios=(2, 3))
    (base, again), config, seed, rate = BASE, trials.config, trials.seeds[0], trials.tuned["base"] / 4
    shown = {base: BASE[base], **FIVE}
    runs = trained(config, seed, load(config, seed), [*shown.values()], base_rate=rate)
    for n, (name, (_, losses)) in enumerate(zip(shown, runs, strict=True)):
        left.plot(range(20, len(losses) + 1), np.convolve(losses, np.ones(20) / 20, "valid"), color=f"C{n}", label=name)
    left.set(title="One seed: loss of its batches", xlabel="step", ylabel="loss (nats)", yscale="log", ylim=(0.008, 3))
    blocks = {"luck": ("C4", [again]), "on the list": ("C0", [*FIVE]), "not on the list": ("C1", [*NOT_LISTED])}
    ticks = [again, *FIVE, *NOT_LISTED]
    for label, (color, names) in blocks.items():
        shares = {name: trials[name] / trials[base] for name in names}
        strips(right, shares, color=color, label=label, shift=ticks.index(names[0]), geometric=True)
    right.set_xticks(range(len(ticks)), [fill(name, 11) for name in ticks], fontsize="small")
    right.axhspan(1 / 1.1, 1.1, color="0.9")
    right.set(title="Loss after the last step, as a share of that of the base", yscale="log")
    right.set_yticks([1 / 8, 1 / 4, 1 / 2, 1, 2, 4], ["1/8", "1/4", "1/2", "1", "2", "4"])
    right.minorticks_off()
    for axes in (left, right):
        axes.legend()
    return drawing


# %%
# Try it yourself
# ---------------
# Give all runs five times the steps. Which of the eight changes will matter less then, and which one far more?
# `python -m lessons run five_settings --set steps=2_000 --seeds 1`.

if __name__ == "__main__":
    lesson.main("five_settings")
