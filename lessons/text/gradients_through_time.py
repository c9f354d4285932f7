"""
Why do gradients explode or vanish in a recurrent net?
======================================================

A *recurrent* net reads a sequence step by step and keeps a *state* h, numbers that it hands on to the next step. Drawn
out in time (*unrolled*), it is a deep network with a layer for each step. All layers have the same weights: U for the
state, W for the input x. φ is tanh, which squeezes numbers between -1 and 1, or nothing: then the net is *linear*. ::

    h[t] = φ(U h[t-1] + W x[t])

*Back-propagation through time* walks back through these layers. At each, the gradient says how much the last state
would change if this one did. Each step back multiplies it by the slope of φ and by U. With one unit, without φ: ::

    steps back            0       1       2      10        20        50
    U = 0.9            1.00    0.90    0.81    0.35      0.12     0.005      it vanishes
    U = 1.1            1.00    1.10    1.21    2.59      6.73    117         it explodes

With many units U is a matrix. Each step back multiplies the gradient's length, after the first few, by about ρ (rho).
This *spectral radius*, the largest absolute value of an eigenvalue of U, is how much U stretches in the long run. An
*orthogonal* matrix only turns and mirrors: it keeps all lengths. Tanh shrinks: its slope is 1 at 0, but 0.42 at 1.

On its way, back-propagation finds how each step would change U: the *updates* of the steps. There is only one U, so
they are added up (row 4.12). Take h[t] = u h[t-1] and h[0] = 1: the gradient of h[3] = u·u·u is u² + u² + u², one for
each step; with u = 0.9, three times 0.81. These agree: they are *correlated*. The course notes say that this makes
training unstable (row 4.13). Is it the sharing, or the repeated product? A deep net with a matrix of its own for each
step multiplies as often and shares nothing. So we take the sharing away and look at what is left.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor
from torch.func import grad
from torch.nn.functional import cosine_similarity, cross_entropy

from dlnotes import lesson
from dlnotes.data import markov_chain, transition_matrix
from dlnotes.evidence import difference, identity, no_difference, not_better, ratio
from dlnotes.lesson import answer, claim, curves, limit, reference_line
from dlnotes.measuring import Measured, largest_error
from dlnotes.randomness import stream

# %%
# The experiment
# --------------
# A *seed* draws sequences in which each symbol makes some others likely to come next. At each step a net has to say
# which one does. The seed also draws a matrix for each step: an orthogonal one, or a Gaussian one (independent entries)
# that is scaled to several ρ. There are two *arms*. In "shared" the first matrix serves at all steps, as in a recurrent
# net; in "separate" each step has its own. All else is the same, and nothing is trained. We measure by which factor the
# gradient of the last state grows at each step back; the *cosine* between the updates of neighboring steps
# (1: same direction, 0: unrelated); which share of a gradient is noise, different in each batch of sequences; and the
# largest learning rate at which a first step of SGD (stochastic gradient descent) does not raise the loss.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    hidden: int = 64  # units of the state
    steps: int = 50  # steps of a sequence
    sequences: int = 16  # sequences of a batch
    batches: int = 8  # batches that the noise is measured with
    symbols: int = 8  # kinds of symbols


QUICK = Config(hidden=16, steps=20, sequences=4, batches=3)
SEEDS = range(12)
ARMS = ("shared", "separate")
KINDS = {"linear": lambda sums: sums, "tanh": torch.tanh}
RADII = (0.8, 1.0, 1.2, 2.0, 3.0)
RATES = [2.0**power for power in range(-3, 25)]  # that a first step is tried with
SHOWN = 5  # the figure shows every fifth step
Batch = tuple[Tensor, Tensor]  # symbols, and those that follow them: (N, T) each


def trial(config: Config, seed: int) -> Measured:
    task = Task(config, seed)
    gaussian, orthogonal = first_weights(config, seed)
    nets = {f"{kind} {rho:g}": rho * gaussian for kind in KINDS for rho in RADII} | {"linear orthogonal": orthogonal}
    measured: Measured = {}
    for net, matrices in nets.items():
        for arm in ARMS:
            norms, added = task.back(net.split()[0], matrices[:1] if arm == "shared" else matrices)
            measured[f"{net}/{arm}/norms"] = norms.flip(0)[::SHOWN].tolist()
            measured[f"{net}/{arm}/factor"] = (norms[0] / norms[-1]).item() ** (1 / (config.steps - 1))
            neighbors = added[1:-1].flatten(1), added[2:].flatten(1)  # the first step has no state to multiply
            measured[f"{net}/{arm}/cosine"] = cosine_similarity(*neighbors).mean().item()
    for arm, first in zip(ARMS, (gaussian[:1], gaussian), strict=True):
        gradients = torch.stack([grad(task.loss)(first, batch) for batch in task.batches])
        noise = gradients.var(0).sum() / gradients.square().mean(0).sum()
        measured |= {f"batches/{arm}/noise": noise.item(), f"first step/{arm}/rate": task.rate(first, gradients[0])}
    summed, whole = task.back("tanh", gaussian[:1])[1].sum(0), grad(task.loss)(gaussian[:1], task.batches[0])[0]
    return measured | {"sum over steps/error": largest_error(summed, whole) / whole.abs().max().item()}


def first_weights(config: Config, seed: int) -> tuple[Tensor, Tensor]:
    """Gaussian and orthogonal matrices (T, H, H) of spectral radius 1, one for each step."""
    shape = config.steps, config.hidden, config.hidden
    drawn = torch.randn(shape, generator=stream(seed, "weights"), dtype=torch.float64)
    return drawn / torch.linalg.eigvals(drawn).abs().amax(1)[:, None, None], torch.linalg.qr(drawn).Q


class Task:
    """Say at each step which symbol comes next. Only U differs from net to net; W and the outputs are fixed."""

    def __init__(self, config: Config, seed: int) -> None:
        weights, count = stream(seed, "inputs and outputs"), config.batches * config.sequences
        drawn = torch.randn(2, config.symbols, config.hidden, generator=weights, dtype=torch.float64)
        self.inputs, self.outputs, self.config = drawn[0], drawn[1].T / config.hidden**0.5, config
        transitions = transition_matrix(config.symbols, generator=stream(seed, "transitions"))
        chains = markov_chain(count, config.steps + 1, transitions, generator=stream(seed, "sequences"))
        self.batches = [(one[:, :-1], one[:, 1:]) for one in chains.split(config.sequences)]

    def forward(self, kind: str, matrices: Iterable[Tensor], batch: Batch) -> tuple[list[Tensor], Tensor]:
        """The states, (N, H) after each step, and the loss: the mean cross-entropy over sequences and steps."""
        added, state, states = self.inputs[batch[0]].unbind(1), torch.zeros(1, dtype=torch.float64), []
        for matrix, one in zip(matrices, added, strict=True):
            state = KINDS[kind](one + state.expand_as(one) @ matrix.T)
            states.append(state)
        return states, cross_entropy((torch.stack(states, 1) @ self.outputs).flatten(0, 1), batch[1].flatten())

    def back(self, kind: str, first: Tensor) -> tuple[Tensor, Tensor]:
        """How long the gradient of the last state is at each step, (T,), and what each step adds to the weights'."""
        copies = first.expand(self.config.steps, -1, -1).clone().requires_grad_()
        states, loss = self.forward(kind, copies, self.batches[0])
        reached = torch.autograd.grad(states[-1].sum() / self.config.hidden**0.5, states, retain_graph=True)
        return torch.stack(reached).norm(dim=2).log().mean(1).exp(), torch.autograd.grad(loss, copies)[0]

    def loss(self, first: Tensor, batch: Batch) -> Tensor:
        """The loss of a tanh net with one matrix, (1, H, H), that is used again and again, or with one a step."""
        return self.forward("tanh", first.unbind() * (self.config.steps // len(first)), batch)[1]

    def rate(self, first: Tensor, gradient: Tensor) -> float:
        """The last of the rates before the first at which a step of SGD raises the loss of its own batch."""
        before, batch = self.loss(first, self.batches[0]), self.batches[0]
        harmless = takewhile(lambda rate: self.loss(first - rate * gradient, batch) <= before, RATES)
        return max(harmless, default=RATES[0] / 2)


# %%
# What we expect
# --------------
# Written before the run: *claims* of the notes, by row, and *limits*, where we expect them to fail. To explode is to
# grow by over 5 % a step back (1.05⁵⁰ = 11-fold over 50 steps), to vanish is to shrink by as much. Row 4.13 can mean
# three things: the updates are correlated; sharing asks for smaller steps; sharing spoils the gradient.


def grows(net, arm="shared", power=1):
    return lambda t: ratio(t[f"{net}/{arm}/factor"] ** power, np.ones(len(t.seeds)), margin=1.05)


CORRELATED, STEPS, SPOILED = "correlated updates", "smaller steps", "sharing spoils the gradient"  # the readings
# fmt: off
PREDICTIONS = [
    claim("4.12", "sum", "The gradient of shared weights is the sum of what the steps add, but for rounding.",
          lambda t: identity(t["sum over steps/error"], tolerance=1e-12), of="error over the largest entry"),
    claim("4.14", "vanishes", "In a linear net of ρ = 0.8 the gradient vanishes, by over 5 % a step back.",
          grows("linear 0.8", power=-1), of="1 over the factor a step"),
    claim("4.14", "explodes", "In a linear net of ρ = 1.2 the gradient explodes, by over 5 % a step back.",
          grows("linear 1.2"), of="factor a step"),
    claim("4.14", "tanh vanishes", "In a tanh net of ρ = 1.2 the gradient vanishes, by over 5 % a step back.",
          grows("tanh 1.2", power=-1), of="1 over the factor a step", because="tanh has slopes below 1"),
    claim("4.14", "tanh explodes", "In a tanh net of ρ = 3 the gradient explodes, by over 5 % a step back.",
          grows("tanh 3"), of="factor a step"),
    limit("4.14", "orthogonal", "In a linear net with an orthogonal matrix the gradient keeps its length, within 1 % a "
          "step.", lambda t: no_difference(np.log(t["linear orthogonal/shared/factor"]), margin=np.log(1.01)),
          of="logarithm of the factor a step"),
    limit("4.14", "between", "In a tanh net of ρ = 2 the gradient changes by less than 5 % a step back.",
          lambda t: no_difference(np.log(t["tanh 2/shared/factor"]), margin=np.log(1.05)),
          of="logarithm of the factor a step", because="tanh shrinks what U stretches"),
    claim("4.13", "correlated", "In a tanh net of ρ = 1 the cosine of neighboring steps' updates is above 0.1.",
          lambda t: difference(t["tanh 1/shared/cosine"], margin=0.1), reading=CORRELATED, of="cosine"),
    limit("4.13", "unrelated", "In a tanh net of ρ = 3 the cosine of neighboring steps' updates is not above 0.1.",
          lambda t: not_better(difference(t["tanh 3/shared/cosine"], margin=0.1)), reading=CORRELATED, of="cosine"),
    claim("4.13", "rate", "In a first step separate matrices (tanh, ρ = 1) bear over twice the rate of a shared one.",
          lambda t: ratio(t["first step/separate/rate"], t["first step/shared/rate"], margin=2),
          arms=("separate", "shared"), reading=STEPS, of="rate, separate over shared"),
    claim("4.13", "growth", "With a shared matrix (tanh, ρ = 3) the gradient grows by over 5 % a step more than "
          "with separate ones.", lambda t: ratio(*(t[f"tanh 3/{arm}/factor"] for arm in ARMS), margin=1.05), arms=ARMS,
          reading=SPOILED, of="factor a step, shared over separate"),
    claim("4.13", "noise", "With a shared matrix (tanh, ρ = 1) the gradient's share of noise is over a tenth larger "
          "than with separate ones.", lambda t: ratio(*(t[f"batches/{arm}/noise"] for arm in ARMS), margin=1.1),
          arms=ARMS, reading=SPOILED, of="share of noise, shared over separate"),
    limit("4.13", "not shared", "With separate matrices, too, a linear net of ρ = 1.2 explodes, by over 5 % a step.",
          grows("linear 1.2", "separate"), reading=SPOILED, of="factor a step"),
    limit("4.13", "steady", "With one orthogonal matrix (linear) nothing explodes, but updates' cosine is above 0.1.",
          lambda t: difference(t["linear orthogonal/shared/cosine"], margin=0.1), reading=SPOILED, of="cosine"),
]

ANSWERS = [
    answer("4.12", "Yes: the gradient of shared weights is the sum of the steps' updates.", given={"sum": "supported"}),
    answer("4.13", "Updates are correlated (cosine {correlated}): sharing needs a {rate} times smaller first rate. "
           "But it makes gradients of tanh nets grow no faster ({growth:.2f} times), and cuts noise to {noise:.0%}.",
           given={"correlated": "supported", "rate": "supported", "growth": "refuted", "noise": "refuted"}),
    answer("4.14", "Both occur: at a spectral radius of 1.2 they explode in linear nets, {explodes:.2f}-fold a step, "
           "and vanish in tanh nets. With an orthogonal matrix (linear), or at 2 (tanh), neither happens.", given={
           "explodes": "supported", "tanh vanishes": "supported", "orthogonal": "supported", "between": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# Above, the thing itself: the gradient of the last state on its way back, a thin line a seed. Linear nets multiply it
# by about ρ a step; an orthogonal matrix keeps its length. In tanh nets it vanishes even at ρ = 1.2 and holds at 2.
# Below, on the left, the factor a step. Without sharing (dashed) it is the same in tanh nets, and a little smaller in
# linear ones: 1.13 in place of 1.17 at ρ = 1.2. On the right a mark for each net and seed. If correlated updates made
# gradients explode, marks would rise to the right. But tanh nets of ρ = 3 explode at a cosine near 0, and an orthogonal
# matrix has correlated updates and keeps lengths. 50 similar updates move a matrix 50 times as far: hence small rates.


def figure(trials):
    drawing, (lengths, (radius, cosine)) = plt.subplots(2, 2, figsize=(12, 8))
    nets, steps = {"linear": ("1.2", "1", "orthogonal", "0.8"), "tanh": ("3", "2", "1.2", "0.8")}, trials.config.steps
    for axes, (kind, names) in zip(lengths, nets.items(), strict=True):
        for number, name in enumerate(names):
            look = {"label": name if name == "orthogonal" else f"ρ = {name}", "color": f"C{number}"}
            curves(axes, range(0, steps, SHOWN), trials[f"{kind} {name}/shared/norms"], **look, geometric=True)
        axes.set(title=f"Length of the gradient, {kind} nets with one matrix", xlabel="steps back", yscale="log")
    radius.plot(RADII, RADII, ":", color="0.4", label="ρ itself")
    for number, (kind, arm) in enumerate((kind, arm) for kind in KINDS for arm in ARMS):
        look, dashes = {"label": f"{kind}, {arm}", "color": f"C{number}"}, "-" if arm == "shared" else "--"
        drawn = [f"{kind} {rho:g}/{arm}" for rho in RADII] + [f"linear orthogonal/{arm}"] * (kind == "linear")
        cosines, factors = (np.stack([trials[f"{net}/{what}"] for net in drawn], 1) for what in ("cosine", "factor"))
        curves(radius, RADII, factors[:, : len(RADII)], **look, linestyle=dashes, geometric=True)
        cosine.plot(cosines.ravel(), factors.ravel(), "o" if arm == "shared" else "x", alpha=0.6, **look)
    radius.set(title="Factor a step, by spectral radius", xlabel="spectral radius ρ", xscale="log", yscale="log")
    radius.set_xticks(RADII, [f"{rho:g}" for rho in RADII])
    cosine.set(title="Factor a step, by correlation", xlabel="cosine of adjacent updates", yscale="log", ylim=(0.4, 6))
    for axes in (radius, cosine):
        reference_line(axes, 1, "keeps\nits length")
        axes.set_yticks([0.5, 0.7, 1, 1.5, 2, 3], ["0.5", "0.7", "1", "1.5", "2", "3"])
        axes.minorticks_off()
    for axes in drawing.axes:
        axes.legend(fontsize="small", ncols=2 if axes is cosine else 1)
    return drawing


# %%
# Try it yourself
# ---------------
# Separate matrices bear roughly as many times the rate of a shared one as there are steps. With 10 steps, too? `python
# -m lessons run gradients_through_time --set steps=10`. And do smaller tanh nets explode at ρ = 3? `--set hidden=8`

if __name__ == "__main__":
    lesson.main("gradients_through_time")
