"""
Why do gradients explode or vanish in a recurrent net?
======================================================

A *recurrent* net reads a sequence step by step and keeps a *state*: numbers that it hands on from each step to the
next. Unroll it in time, and it is a deep network with one layer a step. All layers have the same weights U. ::

    h[t] = φ(U h[t-1] + W x[t])             x: the inputs,  h: the state,  φ: tanh, or nothing ("linear")

*Back-propagation through time* walks back through the layers. At each step the gradient, which says how the end would
change if the state here did, is multiplied by U once more, and by the slope of φ at each unit. Numbers that are
multiplied a hundred times do not stay what they were. With one unit, and no φ: ::

    steps back            0       1       2      10        20        50
    U = 0.9            1.00    0.90    0.81    0.35      0.12     0.005      vanishes
    U = 1.1            1.00    1.10    1.21    2.59      6.73    117         explodes

With many units U is a matrix. A few steps back the gradient has turned into the directions that U stretches most, and
grows by the factor ρ (rho) a step. This *spectral radius* is the largest absolute eigenvalue; an eigenvector is a
direction that U only stretches, its eigenvalue says how much. An *orthogonal* matrix only turns: it has ρ = 1, and keeps
every length. And tanh shrinks: its slope is 1 at zero and 0.42 at 1, where a unit is near its limits (*saturated*).

The same walk says how each step would change the weights. As all steps share U, their changes are added up (row 4.12).
With h[t] = u h[t-1] and h[0] = 1, the end h[3] = u · u · u has the gradient u² + u² + u², one part from each step. With
u = 0.9, that is 0.81 three times: 2.43. The parts agree: they are *correlated*. The notes say that this makes training
unstable (row 4.13). Is it the sharing, or is it the repeated product? A deep net in which each step has a matrix of its
own has a product, too, and shares nothing. So we take the sharing away, and look at what remains.
"""

import math
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from dlnotes import lesson
from dlnotes.data import markov_chain, transition_matrix
from dlnotes.evidence import difference, identity, no_difference, not_better, ratio
from dlnotes.lesson import answer, claim, curves, limit, reference_line
from dlnotes.measuring import Measured, largest_error
from dlnotes.randomness import stream
from dlnotes.text import RNN, gradients_by_step

# %%
# The experiment
# --------------
# A *seed* draws a chain of symbols, whose next symbol a net has to name at each step from the present one, and a matrix
# for each step, scaled to ρ = 1: *Gaussian* ones, all of whose entries are independent, and orthogonal ones. We multiply
# them by several ρ. There are two *arms*: in a *tied* net the first matrix serves at all steps, as in a recurrent net;
# in an *untied* one each step has its own. All else is the same. Nothing is trained before we look. We measure the
# factor a step by which the gradient of the last state grows on its way back, the cosine between the updates that
# neighbouring steps ask for (1: the same direction, 0: unrelated), how much of a gradient is the noise of its batch,
# and the largest learning rate at which the first step of SGD does not raise the loss of its batch.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    hidden: int = 64  # units of the state
    steps: int = 100  # steps of a sequence
    sequences: int = 16  # sequences of a batch
    batches: int = 8  # batches that the noise is measured with
    symbols: int = 8  # kinds of symbols
    scale: float = 1.0  # standard deviation of what a symbol adds to a unit
    device: str = "cpu"


QUICK = Config(hidden=16, steps=20, sequences=4, batches=3)
SEEDS = range(12)
ARMS = ("tied", "untied")
KINDS = {"linear": lambda sums: sums, "tanh": torch.tanh}
RADII = (0.8, 0.9, 1.0, 1.2, 1.5, 2.0, 3.0)
WALK = 8  # the figure shows every eighth step


def trial(config: Config, seed: int) -> Measured:
    task, matrices = Task(config, seed), {name: first_weights(config, seed, name) for name in ("Gaussian", "orthogonal")}
    measured: Measured = {"sum of the steps/error": error_of_the_sum(task, matrices["Gaussian"][0])}
    batches = [task.batch() for _ in range(config.batches)]
    for kind in KINDS:
        nets = {f"{kind} {rho:g}": rho * matrices["Gaussian"] for rho in RADII}
        for net, drawn in (nets | {f"{kind} orthogonal": matrices["orthogonal"]}).items():
            for arm in ARMS:
                norms, added = back(task, kind, weights(drawn, arm), *batches[0])
                cosines = torch.cosine_similarity(added[1:-1].flatten(1), added[2:].flatten(1))
                measured[f"{net}/{arm}/norms"] = norms.flip(0)[::WALK].tolist()
                measured[f"{net}/{arm}/factor"] = (norms[0] / norms[-1]).item() ** (1 / (config.steps - 1))
                measured[f"{net}/{arm}/cosine"] = cosines.mean().item()
    for arm in ARMS:
        first = weights(matrices["Gaussian"], arm)
        measured[f"noise/{arm}/share"] = share_of_noise(task, first, batches)
        rate, fall = first_step(task, first, batches[0])
        measured |= {f"first step/{arm}/rate": rate, f"first step/{arm}/fall": fall}
    return measured


def first_weights(config: Config, seed: int, name: str) -> Tensor:
    """A matrix of spectral radius 1 for each step, (T, H, H)."""
    shape, generator = (config.steps, config.hidden, config.hidden), stream(seed, "weights")
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64).to(config.device)
    if name == "orthogonal":
        turns, upper = torch.linalg.qr(drawn)
        return turns * upper.diagonal(dim1=1, dim2=2).sign()[:, None]  # which makes each turn as likely
    return drawn / torch.linalg.eigvals(drawn).abs().amax(1)[:, None, None]


def weights(matrices: Tensor, arm: str) -> Tensor:
    """The weights of an arm: one matrix (1, H, H), or one for each step (T, H, H)."""
    return matrices[:1] if arm == "tied" else matrices


class Task:
    """Say at each step which symbol comes next. What a symbol adds to the state, and how it is read, stays fixed."""

    def __init__(self, config: Config, seed: int) -> None:
        self.config, self.generator, generator = config, stream(seed, "sequences"), stream(seed, "inputs and outputs")
        self.transitions = transition_matrix(config.symbols, generator=stream(seed, "transitions"))
        drawn = torch.randn(2, config.symbols, config.hidden, generator=generator, dtype=torch.float64)
        self.inputs, self.outputs = (drawn * torch.tensor([config.scale, config.hidden**-0.5])[:, None, None]).to(
            config.device
        )

    def batch(self) -> tuple[Tensor, Tensor]:
        """Symbols and those that follow them, (N, T) each."""
        chain = markov_chain(self.config.sequences, self.config.steps + 1, self.transitions, generator=self.generator)
        chain = chain.to(self.config.device)
        return chain[:, :-1], chain[:, 1:]

    def states(self, kind: str, matrices: Tensor, symbols: Tensor) -> list[Tensor]:
        """The state (N, H) after each step, each with its own of the matrices (T, H, H)."""
        added, state, found = self.inputs[symbols], symbols.new_zeros(len(symbols), self.config.hidden).double(), []
        for step, matrix in enumerate(matrices):
            state = KINDS[kind](added[:, step] + state @ matrix.T)
            found.append(state)
        return found

    def loss(self, states: list[Tensor], following: Tensor) -> Tensor:
        """The mean cross-entropy over sequences and steps."""
        return cross_entropy((torch.stack(states, 1) @ self.outputs.T).flatten(0, 1), following.flatten())


def back(task: Task, kind: str, first: Tensor, symbols: Tensor, following: Tensor) -> tuple[Tensor, Tensor]:
    """How long the gradient of the last state is at each step, (T,), and what each step adds to that of the weights."""
    matrices = first.expand(task.config.steps, -1, -1).clone().requires_grad_()
    states = task.states(kind, matrices, symbols)
    last = torch.autograd.grad(states[-1].sum() / math.sqrt(task.config.hidden), states, retain_graph=True)
    (added,) = torch.autograd.grad(task.loss(states, following), matrices)
    return torch.stack(last).norm(dim=2).log().mean(1).exp(), added


def gradient(task: Task, first: Tensor, symbols: Tensor, following: Tensor) -> tuple[float, Tensor]:
    """The loss of a tanh net, and its gradient: what the steps add is summed where they share a matrix."""
    first = first.clone().requires_grad_()
    loss = task.loss(task.states("tanh", first.expand(task.config.steps, -1, -1), symbols), following)
    return loss.item(), torch.autograd.grad(loss, first)[0]


def share_of_noise(task: Task, first: Tensor, batches: list[tuple[Tensor, Tensor]]) -> float:
    """The variance of the gradient from batch to batch, over its mean square."""
    found = torch.stack([gradient(task, first, *batch)[1].flatten() for batch in batches])
    return (found.var(0).sum() / found.square().mean(0).sum()).item()


def first_step(task: Task, first: Tensor, batch: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """The largest rate of 2⁻¹⁰, 2⁻⁹, … before the loss of the batch rises, and the largest fall on the way there."""
    (before, direction), best = gradient(task, first, *batch), 0.0
    for power in count(-10):
        moved = (first - 2.0**power * direction).expand(task.config.steps, -1, -1)
        fall = before - task.loss(task.states("tanh", moved, batch[0]), batch[1]).item()
        if fall < 0 or power == 30:
            return 2.0 ** (power - 1), best
        best = max(best, fall)
    raise AssertionError


def error_of_the_sum(task: Task, matrix: Tensor) -> float:
    """How far a layer's gradient is from the sum of what each step adds, as a share of the largest number in it."""
    symbols, following = task.batch()
    layer = RNN(task.config.symbols, task.config.hidden, dtype=torch.float64, generator=stream(0, "unused"))
    layer.to(matrix.device).weight_hh_l0.data.copy_(matrix)
    inputs = one_hot(symbols, task.config.symbols).double()

    def loss(hiddens: Tensor) -> Tensor:
        return task.loss(list(hiddens.unbind(1)), following)

    apart = gradients_by_step(layer, inputs, loss)["weight_hh_l0"]
    (whole,) = torch.autograd.grad(loss(layer(inputs)[0]), layer.weight_hh_l0)
    return largest_error(apart.sum(0), whole) / whole.abs().max().item()
