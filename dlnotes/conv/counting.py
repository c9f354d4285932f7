"""What a network costs and what it sees: parameters, multiply-adds, receptive fields."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dlnotes.conv.inception import Inception
from dlnotes.conv.layers import Conv2d, LocallyConnected2d, PointwiseConv
from dlnotes.conv.networks import ConvNet
from dlnotes.conv.pooling import AveragePool2d, GlobalAveragePool2d, MaxPool2d, StochasticPool2d
from dlnotes.linear.classifier import LogisticClassifier

__all__ = ["ReceptiveField", "count_multiply_adds", "receptive_field"]


class ReceptiveField(NamedTuple):
    """What one number of a feature map has seen of the image.

    Attributes:
        size: pixels along a side.
        stride: pixels by which it moves on for the next number of the map.
    """

    size: int
    stride: int


def count_multiply_adds(network: nn.Module, inputs: Sequence[int] | None = None) -> int:
    """How many multiplications, each with the addition of its product, the layers with weights make for one example.

    A layer makes one for each weight of each number that it gives: a convolution of k×k from C to O channels makes
    C · k² · O at each place, one of 1×1 a k²-th of these, a linear layer inputs · outputs. Those with zeros of the
    padding count, since they are made. Biases, activations and pooling, which multiply nothing by a weight, do not.

    Args:
        network: modules of this package and PyTorch's ``Linear`` and ``Conv2d``, however they are put together.
        inputs: the shape of one example, such as (1, 28, 28); a `ConvNet` knows its own.

    Raises:
        ValueError: no shape for a network that does not know it.
        TypeError: a module with weights whose multiplications are not known here.

    Example:
        >>> network = ConvNet("5x5x8", generator=torch.Generator())
        >>> count_multiply_adds(network) == 28 * 28 * (5 * 5 * 8) + (28 * 28 * 8) * 10
        True
    """
    shape = getattr(network, "inputs", None) if inputs is None else inputs
    if not isinstance(shape, Sequence):
        came = f"{type(network).__name__} has none" if shape is None else f"not {shape!r}"
        raise ValueError(f"inputs must be the shape of an example, such as (1, 28, 28): {came}")
    counted: list[int] = []
    counters = {
        module: _counter(module, counted)
        for module in network.modules()
        if any(True for _ in module.parameters(recurse=False))
    }
    hooks = [module.register_forward_hook(counter) for module, counter in counters.items()]
    modes = {module: module.training for module in network.modules()}
    first = next(network.parameters(), torch.empty(0))
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, *shape, dtype=first.dtype, device=first.device))
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training
    return sum(counted)


def _counter(module: nn.Module, counted: list[int]) -> Callable[[nn.Module, Any, Tensor], None]:
    """A hook that notes how many multiply-adds a call of a module makes."""
    if isinstance(module, nn.Linear):
        each = module.in_features
    elif isinstance(module, LogisticClassifier):
        each = module.features
    elif isinstance(module, Conv2d | LocallyConnected2d | PointwiseConv | nn.Conv2d):
        each = module.weight[0].numel()  # of one output: PyTorch's weight has the channels of one group
    else:
        raise TypeError(f"the multiply-adds of {type(module).__name__} are not known")

    def note(_module: nn.Module, _inputs: Any, outputs: Tensor) -> None:
        counted.append(outputs.numel() * each)

    return note


def receptive_field(layers: nn.Module | Iterable[nn.Module]) -> ReceptiveField:
    """What a number of the last feature map has seen of the image, padding aside.

    Each layer of windows of k pixels at stride s adds (k - 1) times the stride of what it is given, and multiplies that
    stride by s:

        size ← size + (k - 1) · stride          stride ← stride · s

    Of branches side by side the one that sees most counts. What is not a window (ReLU, batch norm) changes nothing;
    what sees the whole map (a dense layer, a global mean) ends the count: behind it there are no places.

    Args:
        layers: a `ConvNet`, a ``Sequential`` or a layer by itself, or layers in their order; all windows square.

    Raises:
        ValueError: windows or strides that are not square.
        TypeError: a module whose windows are not known here, such as one of your own that is made of others.

    Example:
        >>> receptive_field(ConvNet("5x5x8 max2 5x5x16 max2", generator=torch.Generator()))
        ReceptiveField(size=16, stride=4)

    Source: Vincent Dumoulin and Francesco Visin, "A guide to convolution arithmetic for deep learning", 2016.
    """
    size = stride = 1
    for found in _steps(layers):
        if found is None:
            break
        kernel, step = found
        size, stride = size + (kernel - 1) * stride, stride * step
    return ReceptiveField(size, stride)


def _steps(layers: nn.Module | Iterable[nn.Module]) -> list[tuple[int, int] | None]:
    """The window and the stride of each layer in its order, up to one that sees everything, which is None."""
    if isinstance(layers, ConvNet):
        layers = layers.layers
    if isinstance(layers, Inception):
        branches = (layers.one, layers.three, layers.five, layers.pool)
        return max(
            (_steps(branch) for branch in branches), key=lambda steps: sum(step[0] - 1 for step in steps if step)
        )
    if isinstance(layers, Conv2d | LocallyConnected2d | MaxPool2d | AveragePool2d | StochasticPool2d):
        return [(_square(layers.windows.size), _square(layers.windows.stride))]
    if isinstance(layers, nn.Conv2d):
        reach = tuple((k - 1) * d + 1 for k, d in zip(layers.kernel_size, layers.dilation, strict=True))
        return [(_square(reach), _square(layers.stride))]
    if isinstance(layers, nn.MaxPool2d | nn.AvgPool2d):
        dilated = _square(getattr(layers, "dilation", 1))
        return [((_square(layers.kernel_size) - 1) * dilated + 1, _square(layers.stride))]
    if isinstance(layers, _SEE_EVERYTHING):
        return [None]
    if isinstance(layers, nn.Module) and not isinstance(layers, nn.Sequential | nn.ModuleList):
        if any(True for _ in layers.children()) or isinstance(layers, nn.modules.conv._ConvNd | nn.Upsample):
            raise TypeError(f"the windows of {type(layers).__name__} are not known: hand in its layers, in their order")
        return []
    steps: list[tuple[int, int] | None] = []
    for layer in layers:
        steps += _steps(layer)
        if None in steps:
            break
    return steps


_SEE_EVERYTHING = (nn.Linear, LogisticClassifier, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, GlobalAveragePool2d)


def _square(sizes: Any) -> int:
    pair = (sizes, sizes) if isinstance(sizes, int) else tuple(sizes)
    if pair[0] != pair[1]:
        raise ValueError(f"a receptive field is counted for square windows and strides, not {pair}")
    return int(pair[0])
