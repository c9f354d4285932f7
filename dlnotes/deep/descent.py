"""Gradient descent on an `MLP` for speed: the chain rule of `backprop` and the update, in place and without a graph.

Three things make it quicker than autograd and an optimizer. It never stores the gradient of a weight, which is a matrix
product: one call adds the product to the velocity, or to the weight. Rectifiers work in place, forward and backward.
And no graph is kept.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dlnotes.arguments import check_number
from dlnotes.deep.backprop import slope_of_loss, weights_and_biases
from dlnotes.deep.networks import MLP
from dlnotes.linear.losses import check_targets, negative_log_likelihood

__all__ = ["descend"]

# The gradient where the activation is above 0, else 0.
_where_positive = torch.ops.aten.threshold_backward.grad_input


@torch.no_grad()
def descend(
    network: MLP,
    inputs: Tensor,
    targets: Tensor,
    *,
    lr: float,
    momentum: float = 0.0,
    velocities: Sequence[Tensor] | None = None,
) -> Tensor:
    """Make one step of gradient descent on the cross-entropy of a batch, each layer as soon as its gradient is known.

        M ← β M + g        w ← w - α M

    The same step, up to rounding, as `backpropagate` and ``SGD(network.parameters(), lr=lr, momentum=momentum)``. It
    does not check that the loss is finite: use `Trainer` for a run that has to stop before an update that would break
    it.

    Args:
        network: without dropout, or in evaluation mode. Changed in place.
        inputs: (N, *), as the network takes them.
        targets: class numbers from 0 to K - 1, of shape (N), or probabilities of shape (N, K).
        lr: the learning rate α, 0 or larger and finite.
        momentum: β, from 0 to below 1; 0 is plain descent, and remembers nothing.
        velocities: M, a tensor for each parameter in the order of ``network.parameters()``, zeros at the start. Needed
            where there is momentum, and then changed in place; without momentum they are left alone.

    Returns:
        The loss before the step, in nats.

    Raises:
        ValueError: a learning rate or momentum out of its range; momentum without velocities, or velocities of other
            shapes, dtypes or devices than the parameters; otherwise as `backpropagate`.
        TypeError: a learning rate or momentum that is no number; otherwise as `backpropagate`.

    Example:
        >>> network = MLP([2, 3, 2], generator=torch.Generator().manual_seed(0))
        >>> velocities = [torch.zeros_like(parameter) for parameter in network.parameters()]
        >>> batch = torch.eye(2), torch.tensor([0, 1])
        >>> step = {"lr": 0.1, "momentum": 0.9, "velocities": velocities}
        >>> losses = [descend(network, *batch, **step).item() for _ in range(20)]
        >>> losses[-1] < losses[0]
        True

    Source: Boris T. Polyak, "Some methods of speeding up the convergence of iteration methods", 1964.
    """
    check_number("lr", lr)
    check_number("momentum", momentum)
    if not 0 <= lr < math.inf:
        raise ValueError(f"the learning rate must be 0 or larger and finite, not {lr}")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be from 0 to below 1, not {momentum}")
    layers = weights_and_biases(network)
    by_layer = _by_layer(velocities, layers) if momentum else [None] * len(layers)

    *hidden, (last_weight, last_bias) = layers
    activations = [network.flatten(inputs)]
    for weight, bias in hidden:
        activations.append(torch.addmm(bias, activations[-1], weight.T).relu_())
    # Wx + b with an example a column: for few classes sooner than with an example a row.
    logits = torch.addmm(last_bias[:, None], last_weight, activations[-1].T).T
    check_targets(targets, logits)
    log_probabilities = torch.log_softmax(logits, 1)
    loss = negative_log_likelihood(log_probabilities, targets)

    gradient = slope_of_loss(log_probabilities.exp_(), targets)
    for number in reversed(range(len(layers))):
        (weight, bias), velocity, x = layers[number], by_layer[number], activations[number]
        below = gradient @ weight if number else gradient  # before the update below changes the weight
        if velocity is None:
            weight.addmm_(gradient.T, x, alpha=-lr)
            bias.sub_(gradient.sum(0), alpha=lr)
        else:
            of_weight, of_bias = velocity
            weight.sub_(of_weight.addmm_(gradient.T, x, beta=momentum), alpha=lr)
            bias.sub_(torch.add(gradient.sum(0), of_bias, alpha=momentum, out=of_bias), alpha=lr)
        gradient = _where_positive(below, x, 0, grad_input=below) if number else below
    return loss


def _by_layer(
    velocities: Sequence[Tensor] | None, layers: Sequence[tuple[Tensor, Tensor]]
) -> list[tuple[Tensor, Tensor]]:
    """The velocities of each layer's weight and bias."""
    expected = [(*one.shape, one.dtype, one.device) for pair in layers for one in pair]
    came = [(*one.shape, one.dtype, one.device) for one in velocities or ()]
    if velocities is None or came != expected:
        raise ValueError(
            "momentum needs velocities, a list of a tensor for each parameter of the network: "
            "[torch.zeros_like(parameter) for parameter in network.parameters()]. "
            f"Expected {expected}, came {came or 'none'}"
        )
    return list(zip(velocities[::2], velocities[1::2], strict=True))
