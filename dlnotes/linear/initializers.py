"""First weights: what a network starts from.

    zeros_            w = 0: enough where the loss is convex; below it, hidden units would stay copies of each other
    scaled_normal_    w ~ N(0, γ² / n)
    scaled_uniform_   w ~ U(-γ √(3/n), γ √(3/n)), of the same variance

where n is the fan-in, the number of inputs of a unit, and γ a gain: √2 keeps the size of what flows through a stack of
ReLU layers, 1 that through linear ones. Each fills a tensor and returns it; `initialize` does so for a whole network.
"""

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Generator, Tensor, nn

__all__ = ["initialize", "scaled_normal_", "scaled_uniform_", "zeros_"]

Module = TypeVar("Module", bound=nn.Module)


def initialize(module: Module, initializer: Callable[[Tensor], object]) -> Module:
    """Fill each weight of a network by an initializer, and set each bias to 0.

    A weight is a parameter of two dimensions or more, a bias a vector with "bias" in its name. Other vectors than
    biases, such as the scales of a normalisation, are left as they are.

    Args:
        module: any network; changed in place.
        initializer: takes a weight and fills it, such as `zeros_`.

    Returns:
        The module.

    Example:
        >>> draw = torch.Generator().manual_seed(0)
        >>> layer = initialize(nn.Linear(100, 50), lambda weight: scaled_normal_(weight, gain=2**0.5, generator=draw))
        >>> round(layer.weight.std().item(), 2), layer.bias.abs().sum().item()
        (0.14, 0.0)
    """
    for name, parameter in module.named_parameters():
        if parameter.ndim >= 2:
            initializer(parameter)
        elif "bias" in name.rpartition(".")[2]:
            zeros_(parameter)
    return module


@torch.no_grad()
def zeros_(tensor: Tensor) -> Tensor:
    """Set all weights to 0.

    Right for logistic regression, whose loss is convex. In a hidden layer all units then get the same gradient (with
    ReLU: none), and stay equal for ever.

    Example:
        >>> zeros_(torch.ones(2, 3))
        tensor([[0., 0., 0.],
                [0., 0., 0.]])
    """
    return tensor.zero_()


@torch.no_grad()
def scaled_normal_(tensor: Tensor, *, generator: Generator, gain: float = 1.0) -> Tensor:
    """Draw weights from a normal distribution of mean 0 and variance γ² / n.

    Args:
        tensor: a weight, filled in place.
        generator: where the draws come from; on the CPU, a seed gives the same weights on every device.
        gain: γ, 0 or larger and finite; √2 for ReLU (He et al.), 1 for linear units.

    Shape:
        tensor (outputs, inputs, ...): the fan-in n is the number of entries that belong to one output.

    Raises:
        TypeError: a tensor that is not floating point.
        ValueError: a tensor of fewer than two dimensions, which has no fan-in; a gain that is negative or not finite.

    Example:
        >>> weight = scaled_normal_(torch.empty(200, 400), generator=torch.Generator().manual_seed(0))
        >>> round(weight.std().item() * 400**0.5, 2)
        1.0

    Source: Kaiming He et al., "Delving deep into rectifiers", 2015.
    """
    deviation = _deviation(tensor, gain)
    drawn = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype, device=generator.device)
    return tensor.copy_(drawn.mul_(deviation))


@torch.no_grad()
def scaled_uniform_(tensor: Tensor, *, generator: Generator, gain: float = 1.0) -> Tensor:
    """Draw weights evenly from -γ √(3/n) to γ √(3/n): mean 0 and variance γ² / n, as `scaled_normal_` has them.

    Args:
        tensor: a weight, filled in place.
        generator: where the draws come from, as for `scaled_normal_`.
        gain: γ, 0 or larger and finite; √2 for ReLU (He et al.), 1 for linear units.

    Shape:
        tensor (outputs, inputs, ...): the fan-in n is the number of entries that belong to one output.

    Raises:
        TypeError: a tensor that is not floating point.
        ValueError: a tensor of fewer than two dimensions, which has no fan-in; a gain that is negative or not finite.

    Example:
        >>> weight = scaled_uniform_(torch.empty(200, 300), generator=torch.Generator().manual_seed(0))
        >>> bool(weight.abs().max() <= 0.1), round(weight.std().item() * 300**0.5, 2)
        (True, 1.0)

    Source: Xavier Glorot and Yoshua Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", 2010.
    """
    half_width = math.sqrt(3) * _deviation(tensor, gain)
    drawn = torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype, device=generator.device)
    return tensor.copy_(drawn.mul_(2).sub_(1).mul_(half_width))


def _deviation(tensor: Tensor, gain: float) -> float:
    if not tensor.is_floating_point():
        raise TypeError(f"a weight must be floating point, not {tensor.dtype}")
    if tensor.ndim < 2:
        raise ValueError(f"a weight must have two dimensions or more (outputs, inputs, ...), not {tuple(tensor.shape)}")
    if not 0 <= gain < math.inf:
        raise ValueError(f"gain must be 0 or larger and finite, not {gain}")
    return gain / math.sqrt(max(tensor[0].numel() if len(tensor) else 1, 1))
