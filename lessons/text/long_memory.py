"""
Why does an LSTM remember longer than a plain recurrent network?
================================================================

A *recurrent network* reads a sequence step by step and keeps a *state*, a list h of numbers that it updates each time.
The plain one multiplies input x and old state by tables of weights and squashes the sums: tanh(W x[t] + U h[t-1] + b).
Training must *teach* it what to hold, by the gradient: how much would the loss change if the state long ago had been a
little different? Each step back multiplies that by about the same factor. With 0.5, a quarter is left after
2 steps, a 1,000th after 10 and a millionth after 20. The gradient *vanishes*: the far past is taught in a whisper.

So, say the notes, the network remembers only what is recent (row 4.17), and the remedy is the LSTM, *long short-term
memory* (4.18). It has a second list of numbers, the *cell* c, and *gates* from 0 (shut) to 1 (open), each with a W, U
and b of its own. f, the *forget gate*, says how much of the cell is kept, i how much of something new, g, is added. ::

    c[t] = f · c[t-1] + i · g     f = σ(W x[t] + U h[t-1] + b)     σ(b) = 1 / (1 + exp(-b))     h[t] = o · tanh(c[t])

Along the cell a gradient is multiplied by f alone: before training about σ(b), so that the *forget bias* b sets how far
it gets. (o is one more gate.) In a plain network, U has H weights for each unit, drawn evenly between ±1/√H. Their
squares are 1/(3H) on average and add up to 1/3, so that a step keeps about 1/√3 of a gradient's length: ::

                        LSTM, b = -2    LSTM, b = 0      plain    LSTM, b = 1    LSTM, b = 3
    kept in a step              0.12           0.50       0.58           0.73           0.95
    kept in 20 steps        3 / 10¹⁹        1 / 10⁶    2 / 10⁵          0.002           0.38

So perhaps the remedy is an open gate, not the cell as such. And perhaps a plain network does as well if U starts
*orthogonal*: as a rotation, which changes no length. Does a plain memory lack a cell, a good start, or only time?
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn

from dlnotes import data, lesson
from dlnotes.evidence import difference, not_better
from dlnotes.lesson import answer, claim, curves, limit, reference_line, strips, tiles
from dlnotes.linear import SGD, LogisticClassifier, cross_entropy
from dlnotes.measuring import Measured, Tuned, grid, train_for
from dlnotes.randomness import stream
from dlnotes.text import LSTM, RNN, gates_through_time, gradient_norms
from dlnotes.training import Trainer, accuracy

# %%
# The experiment
# --------------
# A sequence is one of 8 symbols, then distractors that mean nothing, then a cue: which symbol was it? The *delay* is
# the steps from symbol to cue; a guess is right in one of 8 cases. Five *arms* learn it: plain networks with an even or
# orthogonal start, LSTMs with forget biases of -2, 1 and 3. A *seed* draws weights and sequences, the same for all. For
# each delay, an arm has the learning rate that was best on other seeds. It trains until nine of ten fresh answers are
# right, for at most 1,000 training steps (at delay 20 also 3,000); gradients longer than 1 are shortened (*clipping*).
# Each LSTM is tried up to the first delay that it did not learn in 1,000 training steps when the rates were chosen.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    shortest: int = 5  # steps from the symbol to the cue: the shortest delay
    short: int = 10  # the next one
    middle: int = 20  # the one after
    long: int = 50  # the longest
    units: int = 32  # numbers in a state
    steps: int = 1_000  # most steps of training
    more_steps: int = 3_000  # the same at the middle delay
    batch_size: int = 16  # fresh sequences a step
    test: int = 1_000  # fresh sequences that an arm is judged by
    device: str = "cpu"  # where networks train


QUICK = Config(shortest=2, short=3, middle=4, long=5, units=8, steps=50, more_steps=100, test=100)
SEEDS = range(12)
ARMS = {"plain": None, "orthogonal": None, "LSTM -2": -2.0, "LSTM 1": 1.0, "LSTM 3": 3.0}  # the forget bias
DELAYS = ("shortest", "short", "middle", "long")
TRIED = {"plain": 4, "orthogonal": 4, "LSTM -2": 1, "LSTM 1": 3, "LSTM 3": 4}  # how many of them
PAIRS = [(delay, arm) for arm, count in TRIED.items() for delay in DELAYS[:count]]
KINDS, ENOUGH, CHECKED = 13, 0.9, 50  # of inputs; the share to be right in; looked at every so many steps
LATE = "right with more steps"
RIGHT = "difference in the share of right answers"


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    measured: Measured = {}
    for delay, arm in PAIRS:
        _, steps, (soon, late) = trained(config, seed, delay, arm, lr=tuned[f"{delay}/{arm}"])
        measured |= {f"{delay}/{arm}/{name}": n for name, n in (("right", soon), (LATE, late), ("steps", steps))}
    for arm in ARMS:
        measured[f"long/{arm}/curve"] = curve = vanishing(config, seed, arm)
        measured |= {f"long/{arm}/gradient": curve[-1], f"middle/{arm}/gradient": curve[config.middle]}
    return measured


class _LastState(nn.Module):
    def forward(self, outputs: tuple[Tensor, object]) -> Tensor:
        return outputs[0][:, -1]


def untrained(config: Config, seed: int, arm: str) -> RNN | LSTM:
    weights = stream(seed, "weights")
    if (bias := ARMS[arm]) is not None:
        return LSTM(KINDS, config.units, forget_bias=bias, generator=weights)
    layer = RNN(KINDS, config.units, generator=weights)
    if arm == "orthogonal":
        nn.init.orthogonal_(layer.weight_hh_l0, generator=stream(seed, "rotation"))
    return layer


def faster(layer: RNN | LSTM) -> nn.Module:
    """PyTorch's own LSTM with the same weights, which trains about four times as fast; of a plain layer, itself."""
    if isinstance(layer, RNN):
        return layer
    with torch.device("meta"):  # where nothing is drawn
        own = nn.LSTM(layer.input_size, layer.hidden_size, batch_first=True)
    own.to_empty(device="cpu").load_state_dict(layer.state_dict())
    return own


def fresh(config: Config, seed: int, delay: str, count: int, purpose: str) -> Iterator[data.Examples]:
    """New sequences, so many at a time, without end."""
    generator = stream(seed, purpose)
    while True:
        yield data.delayed_recall(count, getattr(config, delay), generator=generator).to(config.device)


def trained(config: Config, seed: int, delay: str, arm: str, *, lr: float) -> tuple[nn.Sequential, int, list[float]]:
    """A network, its steps, and how often it is right when the budget ends, and the larger one of the middle delay."""
    layer, classifier = faster(untrained(config, seed, arm)), LogisticClassifier(config.units, 8)
    model = nn.Sequential(layer, _LastState(), classifier).to(config.device)
    optimizer = SGD(model.parameters(), lr=lr, momentum=0.9, max_norm=1.0)
    trainer = Trainer(model, cross_entropy, optimizer, fresh(config, seed, delay, config.batch_size, "batches"))
    watched = next(fresh(config, seed, delay, 256, "watched"))
    test, right = next(fresh(config, seed, delay, config.test, "test")), []
    for budget in (config.steps, config.more_steps if delay == "middle" else config.steps):
        while trainer.steps < budget and accuracy(model, watched) < ENOUGH:
            train_for(trainer, min(CHECKED, budget - trainer.steps))
        right.append(accuracy(model, test))
    return model, trainer.steps, right


def vanishing(config: Config, seed: int, arm: str) -> list[float]:
    """Before training: how long the gradient is 0, 1, 2, … steps back, as the logarithm (base 10) of a share."""
    inputs = next(fresh(config, seed, "long", 64, "shown")).inputs.cpu().double()
    norms = gradient_norms(untrained(config, seed, arm).double(), inputs).flip(1)
    return [*(norms / norms[:, :1]).log10().mean(0).tolist()]


# The rates are chosen by `python -m lessons tune long_memory`, by steps; who runs out of steps pays for mistakes.
TUNING = {f"{delay}/{arm}": grid(0.005, 0.16) for delay, arm in PAIRS}
TUNING_SEEDS = range(1_000, 1_002)


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    runs = [trained(config, seed, *arm.split("/"), lr=lr) for lr in candidates]
    return [steps * (2 - right) for _, steps, (_, right) in runs]


# %%
# What we expect
# --------------
# Written before the run. A *claim* is what the notes state, a *limit* where we expect that to fail. The *margin*, the
# smallest difference that matters, is a quarter of all answers.


def ahead(t, delay, arm, other, what="right"):
    return difference(t[f"{delay}/{arm}/{what}"] - t[f"{delay}/{other}/{what}"], margin=0.25)


# fmt: off
PREDICTIONS = [
    claim("4.17", "recent only", "After {steps:,} training steps a plain network gives over a quarter more right "
          "answers at delay {short} than at delay {long}.",
          lambda t: difference(t["short/plain/right"] - t["long/plain/right"], margin=0.25), of=RIGHT),
    claim("4.17", "vanished", "Before training, a plain network's gradient falls below a 1,000th in {long} steps back.",
          lambda t: difference(-t["long/plain/gradient"], margin=3), of="powers of ten that are lost"),
    limit("4.17", "orthogonal start", "At delay {long} a plain network that starts orthogonal gives over a quarter "
          "more right answers than one that does not.", lambda t: ahead(t, "long", "orthogonal", "plain"),
          arms=("orthogonal", "plain"), of=RIGHT, because="a rotation changes no length"),
    claim("4.18", "open gate", "At delay {long} an LSTM with forget bias 3 gives over a quarter more right answers "
          "than a plain network.", lambda t: ahead(t, "long", "LSTM 3", "plain"), arms=("LSTM 3", "plain"), of=RIGHT),
    claim("4.18", "more steps", "After {more_steps:,} steps at delay {middle}, an LSTM with forget bias 1 gives over a "
          "quarter more right answers than a plain network.", lambda t: ahead(t, "middle", "LSTM 1", "plain", LATE),
          arms=("LSTM 1", "plain"), of=RIGHT),
    limit("4.18", "shut gate", "At delay {shortest} an LSTM with forget bias -2 gives over a quarter fewer right "
          "answers than a plain network.", lambda t: ahead(t, "shortest", "plain", "LSTM -2"),
          arms=("plain", "LSTM -2"), of=RIGHT, because="it keeps 0.12 a step, not 0.58"),
    limit("4.18", "usual bias", "After {steps:,} training steps at delay {middle}, an LSTM with forget bias 1 gives "
          "over a quarter fewer right answers than a plain network that starts orthogonal.",
          lambda t: ahead(t, "middle", "orthogonal", "LSTM 1"), arms=("orthogonal", "LSTM 1"), of=RIGHT,
          because="0.73 a step leaves 0.002 after 20"),
    limit("4.18", "good start", "At delay {long} an LSTM with forget bias 3 does not give a quarter more right answers "
          "than a plain network that starts orthogonal.",
          lambda t: not_better(ahead(t, "long", "LSTM 3", "orthogonal")), arms=("LSTM 3", "orthogonal"), of=RIGHT,
          because="both pass gradients back"),
]

ANSWERS = [
    answer("4.17", "Yes, from the usual start: right answers drop by {recent only:points} points from {short} to "
           "{long} steps back. An orthogonal start alone, with no LSTM, wins back {orthogonal start:points}.",
           given={"recent only": "supported", "orthogonal start": "supported"}),
    answer("4.18", "Yes, if its gate is open: forget bias 3 gains {open gate:points} points at delay {long}. Bias -2 "
           "fails at {shortest}, bias 1 is {usual bias:points} behind an orthogonal plain network at {middle} after "
           "{steps:,} steps.", given={"open gate": "supported", "shut gate": "supported", "usual bias": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left the thing itself: an LSTM (forget bias 3) reads a sequence, a row a unit, from blue (-1 or less) to red (1
# or more). Forget gates stay open: what the first symbol left in the cells stays, and grows; another one leaves another
# pattern ("other cells"). In the middle the gradient, a thin line a seed. On the right a dot a seed, a ring after 3,000
# steps: at 20, bias 1 is ahead of a plain network only then, though its gradients are longer.


def figure(trials):
    config, (drawing, (inside, middle, right)) = trials.config, plt.subplots(1, 3, figsize=(15, 4.2))
    model, _, _ = trained(config, trials.seeds[0], "middle", "LSTM 3", lr=trials.tuned["middle/LSTM 3"])
    inputs = next(fresh(config, trials.seeds[0], "middle", 1, "shown")).inputs.repeat(2, 1, 1).cpu()
    inputs[:, 0] = torch.eye(2, KINDS)
    (layer := LSTM(KINDS, config.units, generator=stream(0, "weights"))).load_state_dict(model.cpu()[0].state_dict())
    gates = gates_through_time(layer, inputs)
    shown = torch.stack([gates.input[0], gates.forget[0], *gates.cell]).mT.clamp(-1, 1)
    tiles(inside, shown, columns=4, signed=True, each=False)
    inside.set(title="Gates and cells of a trained LSTM", xlabel="time", ylabel="units", aspect="auto")
    inside.set_xticks((config.middle + 2) * (np.arange(4) + 0.5), ["input gate", "forget gate", "cells", "other cells"])
    for place, arm in enumerate(ARMS):
        color, shift = f"C{place}", 0.17 * (place - 2)
        curves(middle, range(config.long + 1), trials[f"long/{arm}/curve"], label=arm, color=color)
        shares = {getattr(config, delay): trials.get(f"{delay}/{arm}/right", []) for delay in DELAYS}
        strips(right, shares, color=color, shift=shift, width=0.12)
        late = trials.get(f"middle/{arm}/{LATE}", np.array([]))
        right.plot(2 + shift + np.linspace(-0.06, 0.06, len(late)), late, "o", color=color, markerfacecolor="none")
    reference_line(right, 1 / 8, "guessed")
    middle.set(title="Gradient before training (last step: 1)", xlabel="steps back", ylim=(-12, 1))
    middle.set_yticks(range(-12, 1, 3), ["10⁻¹²", "10⁻⁹", "10⁻⁶", "0.001", "1"])
    right.set(title="Right answers (rings: more training)", xlabel="delay", ylabel="share")
    right.legend(*middle.get_legend_handles_labels(), loc=(0.04, 0.3))
    return drawing


# %%
# Try it yourself
# ---------------
# At a delay of 5 the LSTM with a shut gate learns nothing. Does it at 2? And the plain network? `python -m lessons
# run long_memory --set shortest=2 --seeds 20-21`. And which arms would you trust at 100? `--set long=100 --seeds 20-21`

if __name__ == "__main__":
    lesson.main("long_memory")
