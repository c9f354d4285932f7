"""First weights: what a network starts from.

    zeros_            w = 0: enough where the loss is convex; below it, hidden units would stay copies of each other
    scaled_normal_    w ~ N(0, γ² / n)
    scaled_uniform_   w ~ U(-γ √(3/n), γ √(3/n)), of the same variance

where n is the fan-in, the number of inputs of a unit, and γ a gain: √2 keeps the size of what flows through a stack of
ReLU layers, 1 that through linear ones. Each fills a tensor and returns it; `initialize` does so for a whole network.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Generator, Tensor, nn

from dlnotes.arguments import check_number, check_tensor
from dlnotes.linear.weights import parts_of

__all__ = ["initialize", "scaled_normal_", "scaled_uniform_", "zeros_"]

Module = TypeVar("Module", bound=nn.Module)


def initialize(module: Module, initializer: Callable[[Tensor], object]) -> Module:
    """Fill each weight of a network by an initializer, and set each bias to 0.

    A weight is a parameter of two dimensions or more, a bias one with "bias" in its name. Others, such as the scales of
    a normalisation (of any shape), are left as they are. The row of an embedding that stands for padding becomes 0.

    The initializer gets each weight with the outputs first, as (outputs, inputs, ...), so that its fan-in is the number
    of inputs of an output. A transposed convolution keeps its weight as (inputs, outputs, ...), and not all of it meets
    in one output: only the inputs of the output's group, and every s-th place of the kernel at a stride of s. Each such
    piece is drawn by itself, so that each output away from the edges has the variance that was asked for.

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
    for role, owner, parameter in parts_of(module):
        if role == "bias":
            zeros_(parameter)
        elif role == "weight" and isinstance(owner, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            for piece in _pieces(owner, parameter.detach()):
                filled = piece.clone(memory_format=torch.contiguous_format)
                initializer(filled)
                piece.copy_(filled)
        elif role == "weight":
            initializer(parameter)
            if isinstance(owner, nn.Embedding | nn.EmbeddingBag) and owner.padding_idx is not None:
                zeros_(parameter.detach()[owner.padding_idx])
    return module


def _pieces(layer: nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d, weight: Tensor) -> Iterator[Tensor]:
    """Views of the weight of a transposed convolution, (outputs, inputs, ...), each of what meets in one output."""
    # An input at place i reaches the outputs s · i + d · j: of the kernel's places j every s / gcd(s, d)-th meets.
    steps = [
        stride // math.gcd(stride, dilation) for stride, dilation in zip(layer.stride, layer.dilation, strict=True)
    ]
    starts = [range(min(step, size)) for step, size in zip(steps, layer.kernel_size, strict=True)]
    for group in weight.chunk(layer.groups):
        for first in itertools.product(*starts):
            places: list[Any] = [slice(start, None, step) for start, step in zip(first, steps, strict=True)]
            yield group.transpose(0, 1)[..., *places]


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
    check_tensor("tensor", tensor)
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
        TypeError: what is no tensor, or one that is not floating point; a gain that is no number.
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
        TypeError: what is no tensor, or one that is not floating point; a gain that is no number.
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
    check_tensor("tensor", tensor)
    check_number("gain", gain)
    if not tensor.is_floating_point():
        raise TypeError(f"a weight must be floating point, not {tensor.dtype}")
    if tensor.ndim < 2:
        raise ValueError(f"a weight must have two dimensions or more (outputs, inputs, ...), not {tuple(tensor.shape)}")
    if not 0 <= gain < math.inf:
        raise ValueError(f"gain must be 0 or larger and finite, not {gain}")
    return gain / math.sqrt(max(tensor[0].numel() if len(tensor) else 1, 1))
