"""
Is back-propagation just the chain rule?
========================================

Training asks each weight: if I raise you a little, by how much does the loss change? We could try it, weight by weight,
with a run of the whole network for each. Back-propagation answers for all of them in one sweep from the output back to
the inputs. Follow it with a pencil: inputs (1, 2), two hidden units, one output; ReLU makes negative numbers 0. ::

    forward    unit 1:   3·1 - 1·2 =  1     ReLU: 1       output:  2·1 + 4·0 = 2
               unit 2:  -1·1 + 0·2 = -1     ReLU: 0       wanted:  5        loss:  ½ (2 - 5)² = 4.5

What a layer passes on, (1, 2), then (1, 0), then 2, are its *activations* (row 2.08). Now backward. The loss ½ (y - 5)²
of an output y has the slope y - 5: raise y from 2 a little, and the loss falls three times as much. The *gradient* of y
is -3. Each layer multiplies the gradient that reaches it by its own slope and hands the product to the layer before. ::

    backward   output's weights    -3 · activations (1, 0)  =  (-3, 0)          the slope of w·a along w is a,
               hidden units        -3 · weights (2, 4)      =  (-6, -12)        and along a it is w
               before the ReLU     times slopes 1 and 0     =  (-6, 0)
               unit 1's weights    -6 · inputs (1, 2)       =  (-6, -12)        unit 2's:  0 · (1, 2) = (0, 0)

Is it true? Raise the first weight from 3 to 3.001: the output becomes 2.002, the loss ½ · 2.998² = 4.494. It fell by
six times as much as the weight rose: that is the -6. The course notes say that nothing else is in it (row 2.01): slopes
multiplied along each path and added where paths meet, the *chain rule* of calculus. It is cheap: activations are kept
from the way forward. There a layer takes one matrix product, and backward two: for its weights and for its inputs.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor
from torch.nn.utils import parameters_to_vector
from torch.utils.flop_counter import FlopCounterMode

from dlnotes import lesson
from dlnotes.deep import Layer, affine, backward, forward, relu, sigmoid, tanh
from dlnotes.evidence import identity
from dlnotes.lesson import answer, claim, curves
from dlnotes.linear import cross_entropy, one_hot, softmax
from dlnotes.measuring import Measured, largest_error
from dlnotes.randomness import stream

# %%
# The experiment
# --------------
# A *seed* draws the widths of a network of three layers, its weights, and a batch of examples. Three ways give the
# gradient of each weight w: the chain rule by hand; autograd, which is PyTorch's own; and *central differences*,
# (ℓ(w + h) - ℓ(w - h)) / 2h for the loss ℓ, which know no rule. We leave out the weights whose step h takes a ReLU
# across its kink at 0, where it has no slope. The cost is counted in *multiply-adds*, the terms of matrix products.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    widest: int = 12  # widths are drawn from 2 to this
    examples: int = 8  # in the batch
    depth: int = 8  # layers of the networks whose gradients are shown layer by layer


QUICK = Config(widest=3, examples=4)
SEEDS = range(12)
ACTIVATIONS = {"sigmoid": sigmoid, "tanh": tanh, "relu": relu}
STEP = 1e-5  # h: near ∛(3ε), where the errors of a long step and of rounding balance (ε = 2⁻⁵² for float64)
STEPS = [10.0 ** (half / 2) for half in range(-24, 1)]  # those that the figure shows


def trial(config: Config, seed: int) -> Measured:
    widths = torch.randint(2, config.widest + 1, (4,), generator=stream(seed, "widths")).tolist()
    measured: Measured = {}
    for name, activation in ACTIVATIONS.items():
        layers, inputs, targets = network(activation, widths, config.examples, seed)
        by_hand = parameters_to_vector(gradients_by_hand(layers, inputs, targets))
        differences, crossed = central_differences(layers, inputs, targets, STEP)
        smooth = ~crossed if name == "relu" else torch.ones_like(crossed)  # the others have no kink
        measured[f"{name}/error against autograd"] = relative_error(by_hand, autograd_gradient(layers, inputs, targets))
        measured[f"{name}/error against differences"] = relative_error(by_hand[smooth], differences[smooth])
        measured[f"{name}/cost backward over forward"] = backward_over_forward(layers, inputs)
        measured[f"{name}/wrong shapes"], measured[f"{name}/change when fed on"] = passed_on(layers, inputs, widths)
        deep = network(activation, [30] * (config.depth + 1), config.examples, seed)
        by_layer = [gradient for gradient in gradients_by_hand(*deep) if gradient.ndim == 2]  # no biases
        measured[f"{name}/gradient by layer"] = [gradient.square().mean().sqrt().item() for gradient in by_layer]
    wide, inputs, _ = network(relu, [10 * width for width in widths], config.examples, seed)
    measured["ten times as wide/cost backward over forward"] = backward_over_forward(wide, inputs)
    small = network(tanh, [3, 4, 4, 3], config.examples, seed)
    by_hand = parameters_to_vector(gradients_by_hand(*small))
    measured["error by step"] = [relative_error(by_hand, central_differences(*small, h)[0]) for h in STEPS]
    return measured


def network(activation, widths: list[int], examples: int, seed: int) -> tuple[list[Layer], Tensor, Tensor]:
    """Affine maps with an activation function between each two, and a batch with its class numbers."""
    draws = stream(seed, "network")
    layers: list[Layer] = []
    for before, after in itertools.pairwise(widths):
        layers += [activation()] if layers else []
        weight = torch.randn(after, before, generator=draws, dtype=torch.float64) / before**0.5
        layers.append(affine(weight, torch.randn(after, generator=draws, dtype=torch.float64) / 10))
    inputs = torch.randn(examples, widths[0], generator=draws, dtype=torch.float64)
    return layers, inputs, torch.randint(widths[-1], (examples,), generator=draws)


def gradients_by_hand(layers: list[Layer], inputs: Tensor, targets: Tensor) -> list[Tensor]:
    """The chain rule: of the cross-entropy of a softmax, the gradient of the scores is p - one_hot over N."""
    *_, scores = activations = forward(layers, inputs)
    start = (softmax(scores) - one_hot(targets, scores.shape[1], dtype=scores.dtype)) / len(scores)
    _, gradients = backward(layers, activations, start)
    return [gradient for of_layer in gradients for gradient in of_layer]


def autograd_gradient(layers: list[Layer], inputs: Tensor, targets: Tensor) -> Tensor:
    layers = [one._replace(parameters=tuple(w.clone().requires_grad_() for w in one.parameters)) for one in layers]
    loss = cross_entropy(forward(layers, inputs)[-1], targets)
    return parameters_to_vector(torch.autograd.grad(loss, [w for layer in layers for w in layer.parameters]))


def central_differences(layers, inputs, targets, h: float) -> tuple[Tensor, Tensor]:
    """(ℓ(w + h) - ℓ(w - h)) / 2h for each weight; and where a unit changed its sign between."""
    slopes, crossed = [], []
    for weights in (parameter.view(-1) for layer in layers for parameter in layer.parameters):
        for place, kept in enumerate(weights.tolist()):
            losses, signs = [], []
            for moved in (kept + h, kept - h):
                weights[place] = moved
                activations = forward(layers, inputs)
                losses.append(cross_entropy(activations[-1], targets).item())
                signs.append(torch.cat([one.sign().flatten() for one in activations[1:-1]]))
            weights[place] = kept
            slopes.append((losses[0] - losses[1]) / (2 * h))
            crossed.append(not torch.equal(*signs))
    return torch.tensor(slopes, dtype=torch.float64), torch.tensor(crossed)


def relative_error(one: Tensor, other: Tensor) -> float:
    """The largest error, as a share of the largest gradient."""
    return ((one - other).abs().max() / other.abs().max()).item()


def backward_over_forward(layers: list[Layer], inputs: Tensor) -> float:
    """Multiply-adds of the matrix products of the backward pass over those of the forward pass."""
    with FlopCounterMode(display=False) as ahead:
        activations = forward(layers, inputs)
    with FlopCounterMode(display=False) as back:
        backward(layers, activations, torch.ones_like(activations[-1]))
    return back.get_total_flops() / ahead.get_total_flops()


def passed_on(layers: list[Layer], inputs: Tensor, widths: list[int]) -> tuple[float, float]:
    """How many activations have another shape than their layer's; and the largest change of the outputs if fed on."""
    activations = forward(layers, inputs)
    expected = [widths[0], *(width for width in widths[1:-1] for _ in range(2)), widths[-1]]
    wrong = sum(tuple(one.shape) != (len(inputs), width) for one, width in zip(activations, expected, strict=True))
    outputs = [forward(layers[place:], one)[-1] for place, one in enumerate(activations)]
    return float(wrong), max(largest_error(output, activations[-1]) for output in outputs)


# %%
# What we expect
# --------------
# Written before the run. All are *claims* of the notes, true for every network or not at all. The *margin* is what
# rounding, or the step of a central difference, may do to the largest error over activation functions and seeds.


def worst(t, what):
    return np.max([t[f"{name}/{what}"] for name in ACTIVATIONS], axis=0)


def at_most_twice(ratios):
    return identity(np.maximum(ratios - 2, 0), tolerance=1e-12)


# fmt: off
PREDICTIONS = [
    claim("2.01", "autograd", "The chain rule gives autograd's gradient, for sigmoid, tanh and ReLU.",
          lambda t: identity(worst(t, "error against autograd"), tolerance=1e-12), of="largest relative error"),
    claim("2.01", "central differences", "The chain rule gives what central differences give, except at ReLU kinks.",
          lambda t: identity(worst(t, "error against differences"), tolerance=1e-7), of="largest relative error"),
    claim("2.01", "cost", "The backward pass takes at most twice the multiply-adds of the forward pass.",
          lambda t: at_most_twice(worst(t, "cost backward over forward")), of="excess of the ratio over 2"),
    claim("2.01", "cost when wide", "In networks ten times as wide the backward pass takes at most twice the "
          "multiply-adds of the forward pass.",
          lambda t: at_most_twice(t["ten times as wide/cost backward over forward"]), of="excess of the ratio over 2"),
    claim("2.08", "widths", "Each layer passes on as many activations as it is wide, for each example.",
          lambda t: identity(worst(t, "wrong shapes"), tolerance=0.0), of="number of wrong shapes"),
    claim("2.08", "fed on", "Activations of any layer, fed to the layers after it, give the same outputs to the bit.",
          lambda t: identity(worst(t, "change when fed on"), tolerance=0.0), of="largest change of the outputs"),
]

ANSWERS = [
    answer("2.01", "Yes. The chain rule, worked from the last layer to the first, gives the gradient of every weight "
           "up to rounding errors, for at most twice the multiply-adds of the forward pass.",
           given={"autograd": "supported", "central differences": "supported", "cost": "supported",
                  "cost when wide": "supported"}),
    answer("2.08", "Yes. Given one layer's activations alone, the layers after it give the same outputs to the bit.",
           given={"widths": "supported", "fed on": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left the thing itself: the network of the introduction, activations and weights in blue, gradients in orange.
# The second unit is off, and no gradient passes it. In the middle the error of central differences, a thin line a seed:
# a long step is wrong because the loss is curved, a tiny one because of rounding; dotted is our step. On the right, not
# judged: in a sigmoid network gradients shrink on their way back, since the slope of a sigmoid is at most ¼.


def figure(trials):
    drawing, (graph, middle, right) = plt.subplots(1, 3, figsize=(15, 4.2), width_ratios=(1.5, 1, 1))
    weights = {0: torch.tensor([[3.0, -1.0], [-1.0, 0.0]]), 2: torch.tensor([[2.0, 4.0]])}
    layers = [affine(weights[0], torch.zeros(2)), relu(), affine(weights[2], torch.zeros(1))]
    activations = forward(layers, torch.tensor([[1.0, 2.0]]))
    _, gradients = backward(layers, activations, activations[-1] - 5)
    for x, units in enumerate(activations):
        at_units, _ = backward(layers[x:], activations[x:], activations[-1] - 5)
        for y, unit, gradient in zip((0, -1) if x < 3 else (-0.5,), units[0], at_units[0] + 0.0, strict=True):
            graph.plot(x, y, "o", color="white", markeredgecolor="0.5", markersize=26)
            graph.text(x, y, f"{unit:g}", color="C0", ha="center", va="center", fontsize="large")
            graph.text(x, y - 0.25, f"{gradient:g}", color="C1", ha="center", va="center", fontsize="large")
    for x, weight in weights.items():
        for (j, i), w in np.ndenumerate(weight):
            start, end = -i, -j if x < 2 else -0.5
            graph.plot([x, x + 1], [start, end], color="0.8", linewidth=1, zorder=1)
            graph.text(x + 0.36, 0.64 * start + 0.36 * end, f"{w:g}", color="C0", va="bottom")
            graph.text(x + 0.36, 0.64 * start + 0.36 * end, f"{gradients[x][0][j, i] + 0.0:g}", color="C1", va="top")
    graph.plot([1, 2], [[0, -1]] * 2, color="0.8", linewidth=1, zorder=1)
    graph.set(title="Numbers forward (blue), gradients backward (orange)", xlim=(-0.4, 3.4), ylim=(-1.5, 0.4))
    graph.set(xticks=range(4), xticklabels=["inputs", "hidden units", "after ReLU", "output"], yticks=[])
    curves(middle, STEPS, trials["error by step"], label="tanh", color="C0", geometric=True)
    middle.axvline(STEP, color="0.4", linestyle=":", zorder=1)
    middle.set(title="Error of central differences", xlabel="step h", ylabel="largest error / largest gradient")
    middle.set(xscale="log", yscale="log")
    for color, name in enumerate(ACTIVATIONS):
        sizes = trials[f"{name}/gradient by layer"]
        curves(right, range(1, sizes.shape[1] + 1), sizes, label=name, color=f"C{color}", geometric=True)
    right.set(title="Gradients of the weights, layer by layer", yscale="log", xlabel="layer", ylabel="root mean square")
    right.legend()
    return drawing


# %%
# Try it yourself
# ---------------
# Make the networks of the right panel 20 layers deep. By how much will a sigmoid shrink the gradient on its way to the
# first layer, and will ReLU still pass it on? `python -m lessons run chain_rule --set depth=20 --seeds 3`

if __name__ == "__main__":
    lesson.main("chain_rule")
