"""Back-propagation by hand: each layer as a pair of functions, and the chain rule over them.

A layer maps x to y, with parameters w; each row of x is an example. Going backward it is given ∂ℓ/∂y, and makes ∂ℓ/∂x
and ∂ℓ/∂w of it, for which we write ∂y, ∂x and ∂w:

    affine     y = x Wᵀ + b         ∂x = ∂y W        ∂W = ∂yᵀ x        ∂b = Σₙ ∂yₙ
    relu       y = max(x, 0)        ∂x = ∂y · sign y
    sigmoid    y = 1 / (1 + e⁻ˣ)    ∂x = ∂y · y (1 - y)
    tanh       y = tanh x           ∂x = ∂y · (1 - y²)

`forward` runs the layers and keeps what each hands to the next, the activations. `backward` goes through them from the
last to the first: ∂ℓ/∂x of one layer is ∂ℓ/∂y of the layer before it. That is the whole of the chain rule, and the
activations that are kept are what makes it cheap: nothing is computed twice. `backpropagate` does this for
an `MLP`, and leaves its gradients where any optimizer of PyTorch finds them. `descend` (dlnotes/deep/descent.py) does
this and the update of SGD in one, for speed.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dlnotes.arguments import check_tensor
from dlnotes.deep.networks import MLP
from dlnotes.linear import cross_entropy, softmax

__all__ = [
    "Layer",
    "affine",
    "backpropagate",
    "backward",
    "forward",
    "layers_of",
    "relu",
    "sigmoid",
    "tanh",
]


def _no_gradients(gradient: Tensor, x: Tensor) -> tuple[Tensor, ...]:
    return ()


class Layer(NamedTuple):
    """A layer of a network: how it computes, how gradients pass back through it, and what it learns.

    To write your own, give its functions; without ``gradients`` its parameters are never learned. Write them at the top
    level of a file, not as lambdas or closures: then the layer can be pickled, and a deep copy shares no parameters
    with it.

    Attributes:
        forward: takes the inputs x and the parameters, and returns the outputs y.
        backward: takes ∂ℓ/∂y, x, y and the parameters, and returns ∂ℓ/∂x.
        parameters: what the layer learns; an activation function learns nothing.
        gradients: takes ∂ℓ/∂y and x, and returns the gradient of each parameter.

    Source: David E. Rumelhart, Geoffrey E. Hinton and Ronald J. Williams, "Learning representations by back-propagating
    errors", 1986.
    """

    forward: Callable[..., Tensor]
    backward: Callable[..., Tensor]
    parameters: tuple[Tensor, ...] = ()
    gradients: Callable[[Tensor, Tensor], tuple[Tensor, ...]] = _no_gradients


# ----------------------------------------------------------------------------------------------------------------
# Layers
# ----------------------------------------------------------------------------------------------------------------


def affine(weight: Tensor, bias: Tensor) -> Layer:
    """An affine map: y = x Wᵀ + b.

    Shape:
        weight (outputs, inputs), bias (outputs); x (N, inputs), y (N, outputs).

    Raises:
        ValueError: a weight that is no matrix, or a bias that does not have a number for each of its rows.
        TypeError: a weight or bias that is no tensor.

    Example:
        >>> layer = affine(torch.tensor([[2.0, 3.0]]), torch.tensor([1.0]))
        >>> x = torch.tensor([[1.0, -1.0]])
        >>> layer.forward(x, *layer.parameters)                       # 2 - 3 + 1
        tensor([[0.]])
        >>> gradient = torch.tensor([[1.0]])
        >>> layer.backward(gradient, x, None, *layer.parameters), layer.gradients(gradient, x)
        (tensor([[2., 3.]]), (tensor([[ 1., -1.]]), tensor([1.])))
    """
    check_tensor("weight", weight)
    check_tensor("bias", bias)
    if weight.ndim != 2 or bias.shape != weight.shape[:1]:
        raise ValueError(
            "weight must have the shape (outputs, inputs) and bias (outputs), "
            f"not {tuple(weight.shape)} and {tuple(bias.shape)}"
        )
    return Layer(_affine, _affine_backward, (weight, bias), _affine_gradients)


def _affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.addmm(bias, x, weight.T)


def _affine_backward(gradient: Tensor, x: Tensor, y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return gradient @ weight


def _affine_gradients(gradient: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    return gradient.T @ x, gradient.sum(0)


def relu() -> Layer:
    """The rectifier: y = max(x, 0). At 0, where it has no derivative, 0 stands for it.

    Example:
        >>> x = torch.tensor([-1.0, 0.0, 2.0])
        >>> y = relu().forward(x)
        >>> y, relu().backward(torch.ones(3), x, y)
        (tensor([0., 0., 2.]), tensor([0., 0., 1.]))
    """
    return Layer(torch.relu, _relu_backward)


def _relu_backward(gradient: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return gradient * y.sign()  # y is never negative: its sign is the slope


def sigmoid() -> Layer:
    """The logistic function: y = 1 / (1 + e⁻ˣ). Its derivative y (1 - y) is at most 1/4.

    Example:
        >>> x = torch.zeros(1)
        >>> y = sigmoid().forward(x)
        >>> y, sigmoid().backward(torch.ones(1), x, y)
        (tensor([0.5000]), tensor([0.2500]))
    """
    return Layer(torch.sigmoid, _sigmoid_backward)


def _sigmoid_backward(gradient: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return gradient * y * (1 - y)


def tanh() -> Layer:
    """The hyperbolic tangent, y = tanh x. Its derivative 1 - y² is at most 1.

    Example:
        >>> x = torch.zeros(1)
        >>> y = tanh().forward(x)
        >>> y, tanh().backward(torch.ones(1), x, y)
        (tensor([0.]), tensor([1.]))
    """
    return Layer(torch.tanh, _tanh_backward)


def _tanh_backward(gradient: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return gradient * (1 - y * y)


# ----------------------------------------------------------------------------------------------------------------
# The chain
# ----------------------------------------------------------------------------------------------------------------


def forward(layers: Sequence[Layer], inputs: Tensor) -> list[Tensor]:
    """Run the layers one after another, and keep all that flows between them.

    Returns:
        The activations: the inputs, then what each layer hands on; the last are the outputs.

    Example:
        >>> double = affine(torch.tensor([[2.0]]), torch.tensor([0.0]))
        >>> [activation.item() for activation in forward([double, relu(), double], torch.tensor([[3.0]]))]
        [3.0, 6.0, 6.0, 12.0]
    """
    activations = [inputs]
    for layer in layers:
        activations.append(layer.forward(activations[-1], *layer.parameters))
    return activations


def backward(
    layers: Sequence[Layer], activations: Sequence[Tensor], gradient: Tensor
) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
    """Apply the chain rule from the outputs back to the inputs.

    Args:
        layers: the layers that `forward` ran.
        activations: what it returned.
        gradient: ∂ℓ/∂y, the gradient of the loss with respect to the outputs.

    Returns:
        ∂ℓ/∂x, the gradient with respect to the inputs; and a tuple for each layer, with the gradients of its
        parameters.

    Raises:
        ValueError: there is not one activation more than there are layers.

    Example:
        The slope of 2 · relu(2 · x) is 4 where x is positive:

        >>> double = affine(torch.tensor([[2.0]]), torch.tensor([0.0]))
        >>> layers = [double, relu(), double]
        >>> slope, gradients = backward(layers, forward(layers, torch.tensor([[3.0]])), torch.ones(1, 1))
        >>> slope.item(), [gradient.item() for gradient in gradients[0]]      # of the weight: 2 · 3
        (4.0, [6.0, 2.0])
    """
    if len(activations) != len(layers) + 1:
        raise ValueError(
            f"{len(layers)} layers have {len(layers) + 1} activations, the inputs and the outputs of each, "
            f"not {len(activations)}"
        )
    gradients = []
    for layer, x, y in _from_the_last(layers, activations):
        gradients.append(layer.gradients(gradient, x))
        gradient = layer.backward(gradient, x, y, *layer.parameters)
    return gradient, gradients[::-1]


def _from_the_last(layers: Sequence[Layer], activations: Sequence[Tensor]) -> Iterator[tuple[Layer, Tensor, Tensor]]:
    return reversed(list(zip(layers, activations[:-1], activations[1:], strict=True)))


# ----------------------------------------------------------------------------------------------------------------
# A network
# ----------------------------------------------------------------------------------------------------------------


def layers_of(network: MLP) -> list[Layer]:
    """The layers of a multilayer perceptron, with the network's own weights and biases in them.

    Raises:
        TypeError: it is no `MLP`.
        ValueError: it draws masks of dropout, which only its own forward pass knows; or a weight or bias is frozen,
            shared, missing, or computed from other parameters, so that its gradient by hand would be wrong or lost.

    Example:
        >>> len(layers_of(MLP([4, 3, 2], generator=torch.Generator())))     # affine, relu, affine
        3
    """
    layers: list[Layer] = []
    for weight, bias in weights_and_biases(network):
        layers += [relu()] if layers else []
        layers.append(affine(weight.detach(), bias.detach()))
    return layers


def weights_and_biases(network: MLP) -> list[tuple[Tensor, Tensor]]:
    """The weight and the bias of each layer, which all learn by themselves; what it raises, `layers_of` says."""
    if not isinstance(network, MLP):
        raise TypeError(f"back-propagation by hand knows the layers of an MLP, not those of {type(network).__name__}")
    if network.dropout.p and network.dropout.training and len(network.layers) > 1:
        raise ValueError(f"the network has dropout of {network.dropout.p:g}, whose masks only its own pass knows")
    # PyTorch types what a ModuleList holds as Module, whose attributes are Tensor | Module. Ours holds nn.Linear, whose
    # weight and bias are tensors; a layer of another kind is refused below.
    pairs: list[tuple[Tensor, Tensor]] = [(linear.weight, linear.bias) for linear in network.layers]  # type: ignore[misc]
    parameters = [parameter for pair in pairs for parameter in pair]
    learning = {id(one) for one in parameters if one is not None and one.is_leaf and one.requires_grad}
    if len(learning) < len(parameters):
        raise ValueError(
            "each layer must have a weight and a bias of its own that learn: none frozen, shared, missing or made of "
            "other parameters"
        )
    return pairs


@torch.no_grad()
def backpropagate(network: MLP, inputs: Tensor, targets: Tensor) -> Tensor:
    """The cross-entropy of a batch, with its gradients by hand: each parameter's in ``.grad``, as autograd leaves them.

    What was in ``.grad`` is replaced, not added to, so that no ``zero_grad`` is needed.

    Args:
        network: without dropout, or in evaluation mode; all its weights and biases learn.
        inputs: (N, *), as the network takes them.
        targets: class numbers from 0 to K - 1, of shape (N), or probabilities of shape (N, K).

    Returns:
        The loss, in nats.

    Raises:
        TypeError: it is no `MLP`; inputs or targets of another dtype.
        ValueError: the network has dropout, or not all of it learns; targets out of range; shapes that do not fit.

    Example:
        >>> network = MLP([2, 3, 2], generator=torch.Generator().manual_seed(0))
        >>> batch = torch.eye(2), torch.tensor([0, 1])
        >>> loss = backpropagate(network, *batch)
        >>> by_hand = network.layers[0].weight.grad
        >>> network.zero_grad()
        >>> cross_entropy(network(batch[0]), batch[1]).backward()
        >>> torch.allclose(by_hand, network.layers[0].weight.grad)
        True
    """
    layers = layers_of(network)
    activations = forward(layers, network.flatten(inputs))
    logits = activations[-1]
    loss = cross_entropy(logits, targets)
    gradient = slope_of_loss(softmax(logits), targets)
    modules = reversed(list(network.layers))
    for layer, x, y in _from_the_last(layers, activations):
        if layer.parameters:
            module = next(modules)
            module.weight.grad = module.bias.grad = None  # freed first, so that the new ones reuse their memory
            module.weight.grad, module.bias.grad = layer.gradients(gradient, x)
        if x is not activations[0]:  # nobody asks for the gradient of the inputs
            gradient = layer.backward(gradient, x, y, *layer.parameters)
    return loss


def slope_of_loss(probabilities: Tensor, targets: Tensor) -> Tensor:
    """The gradient of the cross-entropy with respect to the scores, (S - L) / N; overwrites the probabilities S."""
    if targets.is_floating_point():
        probabilities *= targets.sum(1, keepdim=True)  # 1, unless an example counts for less or more
        probabilities -= targets
    else:
        probabilities.scatter_(1, targets.long()[:, None], -1, reduce="add")  # L is 1 at the target's place
    return probabilities.div_(len(probabilities))
