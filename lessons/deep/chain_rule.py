"""
Back-propagation: the chain rule, from the last layer to the first
==================================================================

**The question.** Does the chain rule, applied backward by hand, give the gradient; and what does that cost?

**What the notes say.** Back-propagation is the chain rule (2.01). Activations are what one layer hands to the next
(2.08).

**What is measured.** Each seed draws the widths of a network of three layers, its weights and a batch, in double
precision, for three activation functions. *The gradient*: by hand, by autograd, and by central differences, which know
nothing of the chain rule and take two forward passes for each weight. *The cost* of the chain rule: multiply-adds of
its matrix products, counted, not timed. *The activations*: how wide they are, and what the rest of the network makes of
them.

A central difference is wrong by about h² f‴/6 (truncation) and ε f/h (rounding), which together are least near
h = ∛(3ε) ≈ 10⁻⁵: the step that is used here, chosen from this and not from the figure. Where a step crosses the kink of
a ReLU the difference is no derivative: such weights are left out.
"""

import itertools
from dataclasses import dataclass

import torch
from matplotlib import pyplot as plt
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from dlnotes import lesson
from dlnotes.deep import Layer, affine, backward, forward, relu, sigmoid, tanh
from dlnotes.evidence import identity
from dlnotes.lesson import answer, claim
from dlnotes.linear import cross_entropy, one_hot, softmax
from dlnotes.measuring import Measured, largest_error
from dlnotes.randomness import stream

# %%
# Settings
# --------


@dataclass(frozen=True)
class Config:
    """What can be set."""

    widest: int = 12  # widths are drawn from 2 to this
    examples: int = 8  # in the batch
    depth: int = 8  # layers of the networks whose gradients are shown layer by layer


QUICK = Config(widest=3, examples=4)
SEEDS = range(12)

ACTIVATIONS = {"sigmoid": sigmoid, "tanh": tanh, "relu": relu}
STEP = 1e-5  # of a central difference
STEPS = [10.0 ** (half / 2) for half in range(-24, 1)]  # those that the figure shows

# %%
# One seed
# --------


def trial(config: Config, seed: int) -> Measured:
    widths = torch.randint(2, config.widest + 1, (4,), generator=stream(seed, "widths")).tolist()
    measured: Measured = {}
    for name, activation in ACTIVATIONS.items():
        layers, inputs, targets = network(activation, widths, config.examples, seed)
        by_hand = gradient_by_hand(layers, inputs, targets)
        differences, crossed = central_differences(layers, inputs, targets, STEP)
        smooth = ~crossed if name == "relu" else torch.ones_like(crossed)  # the others have no kink
        measured[f"{name}/far from autograd"] = far(by_hand, gradient_by_autograd(layers, inputs, targets))
        measured[f"{name}/far from differences"] = far(by_hand[smooth], differences[smooth])
        measured[f"{name}/at a kink"] = 1 - smooth.double().mean().item()
        measured[f"{name}/products"] = products_backward_over_forward(layers, inputs)
        measured[f"{name}/wrong widths"], measured[f"{name}/far when fed on"] = handed_on(layers, inputs, widths)
        deep, wide_inputs, labels = network(activation, [30] * (config.depth + 1), config.examples, seed)
        measured[f"{name}/sizes"] = sizes_by_layer(deep, wide_inputs, labels)
    large = network(relu, [10 * width for width in widths], config.examples, seed)
    measured["ten times as wide/products"] = products_backward_over_forward(*large[:2])
    layers, inputs, targets = network(tanh, [3, 4, 4, 3], config.examples, seed)
    by_hand = gradient_by_hand(layers, inputs, targets)
    measured["error by step"] = [far(by_hand, central_differences(layers, inputs, targets, h)[0]) for h in STEPS]
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


def parameters_of(layers: list[Layer]) -> list[Tensor]:
    return [parameter for layer in layers for parameter in layer.parameters]


def gradients_by_hand(layers: list[Layer], inputs: Tensor, targets: Tensor) -> list[Tensor]:
    activations = forward(layers, inputs)
    scores = activations[-1]
    start = (softmax(scores) - one_hot(targets, scores.shape[1], dtype=scores.dtype)) / len(scores)
    _, gradients = backward(layers, activations, start)
    return [gradient for of_layer in gradients for gradient in of_layer]


def gradient_by_hand(layers: list[Layer], inputs: Tensor, targets: Tensor) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients_by_hand(layers, inputs, targets)])


def gradient_by_autograd(layers: list[Layer], inputs: Tensor, targets: Tensor) -> Tensor:
    parameters = parameters_of(layers)
    for parameter in parameters:
        parameter.requires_grad_()
    gradients = torch.autograd.grad(cross_entropy(forward(layers, inputs)[-1], targets), parameters)
    for parameter in parameters:
        parameter.requires_grad_(False)
    return torch.cat([gradient.flatten() for gradient in gradients])


def central_differences(layers, inputs, targets, h: float) -> tuple[Tensor, Tensor]:
    """(ℓ(w + h) - ℓ(w - h)) / 2h for each weight; and where a unit changed its sign between."""
    slopes, crossed = [], []
    for parameter in parameters_of(layers):
        flat = parameter.view(-1)
        for place in range(len(flat)):
            kept, losses, signs = flat[place].item(), [], []
            for moved in (kept + h, kept - h):
                flat[place] = moved
                activations = forward(layers, inputs)
                losses.append(cross_entropy(activations[-1], targets).item())
                signs.append(torch.cat([one.sign().flatten() for one in activations[1:-1]]))
            flat[place] = kept
            slopes.append((losses[0] - losses[1]) / (2 * h))
            crossed.append(not torch.equal(*signs))
    return torch.tensor(slopes, dtype=torch.float64), torch.tensor(crossed)


def far(one: Tensor, other: Tensor) -> float:
    """The largest error, as a share of the largest gradient."""
    return ((one - other).abs().max() / other.abs().max()).item()


def products_backward_over_forward(layers: list[Layer], inputs: Tensor) -> float:
    """Multiply-adds of the matrix products of the backward pass over those of the forward pass."""
    with FlopCounterMode(display=False) as ahead:
        activations = forward(layers, inputs)
    with FlopCounterMode(display=False) as back:
        backward(layers, activations, torch.ones_like(activations[-1]))
    return back.get_total_flops() / ahead.get_total_flops()


def handed_on(layers: list[Layer], inputs: Tensor, widths: list[int]) -> tuple[float, float]:
    """How many activations have another shape than their layer's; and the largest change of the outputs if fed on."""
    activations = forward(layers, inputs)
    expected = [widths[0], *(width for width in widths[1:-1] for _ in range(2)), widths[-1]]
    wrong = sum(tuple(one.shape) != (len(inputs), width) for one, width in zip(activations, expected, strict=True))
    ends = [forward(layers[place:], one)[-1] for place, one in enumerate(activations)]
    return float(wrong), max(largest_error(end, activations[-1]) for end in ends)


def sizes_by_layer(layers: list[Layer], inputs: Tensor, targets: Tensor) -> list[float]:
    """The root mean square of the gradient of each layer's weights, from the first to the last."""
    return [one.square().mean().sqrt().item() for one in gradients_by_hand(layers, inputs, targets) if one.ndim == 2]


# %%
# What we expect
# --------------

# fmt: off
PREDICTIONS = [
    claim("2.01", "autograd", "The chain rule by hand gives autograd's gradient, for sigmoid, tanh and ReLU.",
          lambda t: identity(worst(t, "far from autograd"), tolerance=1e-12),
          of="largest error over largest gradient", because="autograd rounds as we do"),
    claim("2.01", "central differences", "The chain rule by hand gives the gradient of central differences, where no "
          "ReLU changes its sign.",
          lambda t: identity(worst(t, "far from differences"), tolerance=1e-7),
          of="largest error over largest gradient"),
    claim("2.01", "cost", "The matrix products of the backward pass take at most twice the multiply-adds of the "
          "forward pass's.",
          lambda t: at_most_twice(worst(t, "products")), of="what is above twice"),
    claim("2.01", "cost when wide", "In networks ten times as wide the backward pass takes at most twice the "
          "multiply-adds of the forward pass.",
          lambda t: at_most_twice(t["ten times as wide/products"]), of="what is above twice"),
    claim("2.08", "widths", "Activations have the widths of the layers that they are handed from.",
          lambda t: identity(worst(t, "wrong widths"), tolerance=0.0), of="number of activations of another shape"),
    claim("2.08", "fed on", "Each activation, fed to the layers that follow, gives the same outputs to the bit.",
          lambda t: identity(worst(t, "far when fed on"), tolerance=0.0), of="largest change of the outputs"),
]

ANSWERS = [
    answer("2.01", "Yes. Worked by hand, the chain rule gives autograd's gradient to rounding, and its matrix "
           "products cost at most twice those of the forward pass.",
           given={"autograd": "supported", "central differences": "supported", "cost": "supported",
                  "cost when wide": "supported"}),
    answer("2.08", "Yes. What one layer hands on is all that the next one needs: fed on from anywhere, it gives the "
           "same outputs.",
           given={"widths": "supported", "fed on": "supported"}),
]
# fmt: on


def worst(trials, what):
    return [max(row) for row in zip(*(trials[f"{name}/{what}"] for name in ACTIVATIONS), strict=True)]


def at_most_twice(ratios):
    return identity([max(ratio - 2, 0) for ratio in ratios], tolerance=1e-12)


# %%
# What to look at
# ---------------
# On the left, truncation falls from the right with h² and rounding rises to the left with 1/h; the step that was chosen
# lies near the lowest point. On the right, what the chain rule multiplies together: gradients by layer, not judged.


def figure(trials):
    drawing, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    for errors in trials["error by step"]:
        left.loglog(STEPS, errors, color="C0", alpha=0.4, linewidth=1)
    left.axvline(STEP, color="black", linestyle=":", label="the step that is used")
    left.set(
        xlabel="step h", ylabel="largest error / largest gradient", title="Central differences, tanh: a line a seed"
    )
    left.legend()
    for color, name in enumerate(ACTIVATIONS):
        for place, sizes in enumerate(trials[f"{name}/sizes"]):
            label = name if not place else None
            right.semilogy(range(1, len(sizes) + 1), sizes, color=f"C{color}", alpha=0.4, label=label)
    right.set(xlabel="layer", ylabel="root mean square of ∂ℓ/∂W", title="Gradients layer by layer: a line a seed")
    right.legend()
    return drawing


# %%
# Run it
# ------

if __name__ == "__main__":
    lesson.main("chain_rule")
