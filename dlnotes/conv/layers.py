"""Layers with weights: the same at all places, at each place its own, and those that see one pixel."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from dlnotes.conv.windows import Padding, Windows, check_images, columns, pair_of, windows_of
from dlnotes.linear.initializers import initialize, scaled_normal_

__all__ = ["Conv2d", "LocallyConnected2d", "PointwiseConv"]


class Conv2d(nn.Module):
    """Convolution: at each place the patch of the image there is weighed by one and the same set of kernels.

        y[n, o, i, j] = b[o] + Σ W[o, c, u, v] · x[n, c, s·i + u, s·j + v]       over channels c and pixels (u, v)

    This is one matrix product, kernels times `patches`. The result has a channel for each kernel, its *feature map*.
    Weights have the names and shapes of ``torch.nn.Conv2d``: a ``state_dict`` of one loads into the other. As there, it
    is the correlation of signal processing, which does not turn the kernel around.

    Args:
        in_channels: channels of the images.
        out_channels: kernels, and with that feature maps.
        kernel_size: pixels of a kernel along a side, or (down, across).
        stride: pixels from one place to the next, or (down, right).
        padding: ``"valid"`` (the kernel stays inside), ``"same"`` (zeros around, so that there are ⌈size / stride⌉
            places; where their number is odd the larger half is right and below, as TensorFlow has it, and also with
            a stride, which PyTorch's "same" refuses), or so many pixels of zeros at either end.
        bias: whether b is added.
        fused: take PyTorch's own kernel in place of patches: the same numbers up to rounding, sooner, and without the
            memory of the patches, which is k² times that of the images at stride 1.
        generator: where the first weights are drawn from: normal with variance 2 / (C · k · k). Biases start at 0.
        dtype: of the parameters; PyTorch's default where not given.

    Shape:
        inputs (N, C, H, W); returns (N, O, H', W') with the sizes of `output_size`. weight (O, C, k, k), bias (O).

    Raises:
        ValueError: sizes or strides below 1, or an unknown padding; when called, images of another shape or number of
            channels, or smaller than the kernel when padded.
        TypeError: when called, images that are no tensor of the weights' dtype.

    Example:
        A kernel that answers where it gets brighter from left to right:

        >>> layer = Conv2d(1, 1, (1, 2), generator=torch.Generator())
        >>> layer.weight.data = torch.tensor([[[[-1.0, 1.0]]]])
        >>> layer(torch.tensor([[[[0.0, 0.0, 1.0, 1.0]]]])).tolist()
        [[[[0.0, 1.0, 0.0]]]]

    Source: Yann LeCun et al., "Gradient-based learning applied to document recognition", 1998.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        *,
        stride: int | Sequence[int] = 1,
        padding: Padding = "valid",
        bias: bool = True,
        fused: bool = False,
        generator: Generator,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_channels(in_channels=in_channels, out_channels=out_channels)
        self.in_channels, self.out_channels, self.fused = in_channels, out_channels, fused
        self.windows = windows_of("kernel_size", kernel_size, stride, padding)
        options: dict[str, Any] = {"dtype": dtype, "device": torch.get_default_device()}
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, *self.windows.size, **options))
        self.bias = nn.Parameter(torch.empty(out_channels, **options)) if bias else None
        self.reset_parameters(generator)

    def reset_parameters(self, generator: Generator) -> None:
        """Draw the weights anew, and set the biases to 0."""
        draw_weights(self, generator)

    def forward(self, inputs: Tensor) -> Tensor:
        """The feature maps, (N, O, H', W')."""
        check_inputs(inputs, self.in_channels, self.weight)
        down, across = self.windows.places(*inputs.shape[-2:])
        if self.fused:
            top, bottom, left, right = self.windows.margins(*inputs.shape[-2:])
            if (top, left) == (bottom, right):
                return functional.conv2d(inputs, self.weight, self.bias, self.windows.stride, (top, left))
            return functional.conv2d(self.windows.pad(inputs), self.weight, self.bias, self.windows.stride)
        products = self.weight.flatten(1) @ columns(inputs, self.windows).flatten(1)
        maps = products.view(self.out_channels, -1, down, across).transpose(0, 1)
        return maps if self.bias is None else maps + self.bias[:, None, None]

    def extra_repr(self) -> str:
        """The settings, for ``print(layer)``."""
        return f"{self.in_channels}, {self.out_channels}, {_described(self.windows)}{', fused' * self.fused}"


class LocallyConnected2d(nn.Module):
    """A convolution whose weights are not shared: each place has kernels of its own.

        y[n, o, i, j] = b[o, i, j] + Σ W[o, i, j, c, u, v] · x[n, c, s·i + u, s·j + v]

    It sees what `Conv2d` sees, with as many multiply-adds, and has as many times the weights as there are places. With
    equal kernels at all places it is the convolution; the gradient of a shared weight is the sum of those that the
    places would have.

    Args:
        in_channels: channels of the images.
        out_channels: kernels a place.
        kernel_size: pixels of a kernel along a side, or (down, across).
        size: (height, width) of the images, which fix the number of places.
        stride: pixels from one place to the next, or (down, right).
        padding: as for `Conv2d`.
        bias: whether b is added.
        generator: where the first weights are drawn from, as those of `Conv2d`.
        dtype: of the parameters; PyTorch's default where not given.

    Shape:
        inputs (N, C, H, W); returns (N, O, H', W'). weight (O · H' · W', C, k, k), bias (O · H' · W').

    Raises:
        ValueError, TypeError: as `Conv2d`; when called, images of another height or width.

    Example:
        >>> layer = LocallyConnected2d(1, 8, 5, size=(28, 28), generator=torch.Generator().manual_seed(0))
        >>> layer.weight.numel() == 24 * 24 * Conv2d(1, 8, 5, generator=torch.Generator()).weight.numel()
        True

    Source: Yaniv Taigman et al., "DeepFace: closing the gap to human-level performance in face verification", 2014.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        *,
        size: tuple[int, int],
        stride: int | Sequence[int] = 1,
        padding: Padding = "valid",
        bias: bool = True,
        generator: Generator,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_channels(in_channels=in_channels, out_channels=out_channels)
        self.in_channels, self.out_channels, self.size = in_channels, out_channels, pair_of("size", size)
        self.windows = windows_of("kernel_size", kernel_size, stride, padding)
        self.places = self.windows.places(*self.size)
        options: dict[str, Any] = {"dtype": dtype, "device": torch.get_default_device()}
        outputs = out_channels * math.prod(self.places)
        self.weight = nn.Parameter(torch.empty(outputs, in_channels, *self.windows.size, **options))
        self.bias = nn.Parameter(torch.empty(outputs, **options)) if bias else None
        self.reset_parameters(generator)

    def reset_parameters(self, generator: Generator) -> None:
        """Draw the weights anew, and set the biases to 0."""
        draw_weights(self, generator)

    def forward(self, inputs: Tensor) -> Tensor:
        """The feature maps, (N, O, H', W')."""
        check_inputs(inputs, self.in_channels, self.weight)
        if tuple(inputs.shape[-2:]) != self.size:
            raise ValueError(
                f"inputs must have {self.size[0]} × {self.size[1]} pixels, for whose places there are weights, "
                f"not {inputs.shape[-2]} × {inputs.shape[-1]}"
            )
        # A matrix product for each place, (places, O, C · k · k) times (places, C · k · k, N).
        kernels = self.weight.reshape(self.out_channels, math.prod(self.places), -1).transpose(0, 1).contiguous()
        products = kernels @ columns(inputs, self.windows).flatten(2).permute(2, 0, 1).contiguous()
        maps = products.permute(2, 1, 0).unflatten(2, self.places)
        return maps if self.bias is None else maps + self.bias.view(self.out_channels, *self.places)

    def extra_repr(self) -> str:
        """The settings, for ``print(layer)``."""
        return f"{self.in_channels}, {self.out_channels}, {_described(self.windows)}, size={self.size}"


class PointwiseConv(nn.Module):
    """A convolution of 1×1: at each pixel, a matrix times the channels of this pixel.

        y[n, o, i, j] = b[o] + Σ W[o, c] · x[n, c, i, j]          over channels c

    It looks at no neighbour. After another layer and a nonlinearity it makes, of that layer's classifier of a patch, a
    small network on the patch; without a nonlinearity between, the two are one convolution with other weights.

    Args:
        in_channels: channels of the images.
        out_channels: channels of the result.
        bias: whether b is added.
        generator: where the first weights are drawn from: normal with variance 2 / C. Biases start at 0.
        dtype: of the parameters; PyTorch's default where not given.

    Shape:
        inputs (N, C, H, W); returns (N, O, H, W). weight (O, C, 1, 1) as in ``torch.nn.Conv2d``, bias (O).

    Raises:
        ValueError, TypeError: as `Conv2d`.

    Example:
        >>> layer = PointwiseConv(2, 1, generator=torch.Generator())
        >>> layer.weight.data = torch.tensor([[[[10.0]], [[1.0]]]])
        >>> layer(torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])).tolist()
        [[[[13.0, 24.0]]]]

    Source: Min Lin, Qiang Chen and Shuicheng Yan, "Network in network", 2014.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bias: bool = True,
        generator: Generator,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_channels(in_channels=in_channels, out_channels=out_channels)
        self.in_channels, self.out_channels = in_channels, out_channels
        options: dict[str, Any] = {"dtype": dtype, "device": torch.get_default_device()}
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 1, 1, **options))
        self.bias = nn.Parameter(torch.empty(out_channels, **options)) if bias else None
        self.reset_parameters(generator)

    def reset_parameters(self, generator: Generator) -> None:
        """Draw the weights anew, and set the biases to 0."""
        draw_weights(self, generator)

    def forward(self, inputs: Tensor) -> Tensor:
        """The weighed channels, (N, O, H, W)."""
        check_inputs(inputs, self.in_channels, self.weight)
        return functional.linear(inputs.movedim(1, -1), self.weight.flatten(1), self.bias).movedim(-1, 1)

    def extra_repr(self) -> str:
        """The channels, for ``print(layer)``."""
        return f"{self.in_channels}, {self.out_channels}"


def check_channels(**channels: int) -> None:
    """Refuse numbers of channels that are none.

    Raises:
        ValueError: one that is no ``int`` of 1 or more.
    """
    for name, value in channels.items():
        if type(value) is not int or value < 1:
            raise ValueError(f"{name} must be an int of 1 or more, not {value!r}")


def check_inputs(inputs: Tensor, channels: int, weight: Tensor) -> None:
    """Refuse what a layer with this weight cannot take.

    Raises:
        ValueError: inputs of another shape or number of channels.
        TypeError: inputs that are no tensor, or of another dtype.
    """
    check_images("inputs", inputs, channels)
    if inputs.dtype != weight.dtype and not torch.is_autocast_enabled(inputs.device.type):
        raise TypeError(f"inputs must be {weight.dtype} as the weights are, not {inputs.dtype}")


def check_generator(generator: Any) -> None:
    """Refuse what nothing can be drawn from.

    Raises:
        TypeError: what is no ``torch.Generator``.
    """
    if not isinstance(generator, Generator):
        raise TypeError(f"generator must be a torch.Generator to draw from, not {type(generator).__name__}")


def draw_weights(module: nn.Module, generator: Generator) -> None:
    """First weights for ReLU: normal, with a variance of 2 over the fan-in; biases 0.

    Raises:
        TypeError: no generator.
    """
    check_generator(generator)
    initialize(module, lambda weight: scaled_normal_(weight, gain=math.sqrt(2), generator=generator))


def _described(windows: Windows) -> str:
    return f"kernel_size={windows.size}, stride={windows.stride}, padding={windows.padding!r}"
