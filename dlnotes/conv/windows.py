"""Windows: the part of an image that a layer looks at, place by place, and how many places there are.

Most layers of this chapter slide a window over an image. They differ in what they do with the numbers in it: weigh
them by one kernel (`Conv2d`) or by weights that each place has for itself (`LocallyConnected2d`), take the largest
(`MaxPool2d`) or the mean (`AveragePool2d`). Take a row of n pixels and add p pixels of padding, those at both ends
together. A window of k pixels that moves s pixels at a time then has

    ⌊(n + p - k) / s⌋ + 1

places. The padding is one of three:

    "valid"    p = 0: the window stays inside
    "same"     the p that makes ⌈n / s⌉ places; at stride 1, as many places as pixels. p may be odd (with an even window
               or a stride above 1): then the larger half is at the end, right and bottom
    a number   that many pixels at each end; p is twice that
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from dlnotes.arguments import check_tensor

__all__ = ["Padding", "Windows", "output_size", "patches"]

Padding = str | int
"""``"valid"``, ``"same"``, or the pixels at either end."""


class Windows(NamedTuple):
    """How windows lie on images: their size and their stride, each (down, right) in pixels, and the padding.

    Example:
        >>> Windows((3, 3), (2, 2), "same").places(28, 28)
        (14, 14)
    """

    size: tuple[int, int]
    stride: tuple[int, int]
    padding: Padding

    def margins(self, height: int, width: int) -> tuple[int, int, int, int]:
        """The pixels of padding on an image's top, bottom, left and right."""
        top, bottom = _margins(height, self.size[0], self.stride[0], self.padding)
        return top, bottom, *_margins(width, self.size[1], self.stride[1], self.padding)

    def places(self, height: int, width: int) -> tuple[int, int]:
        """How many windows there are on an image, down and across.

        Raises:
            ValueError: a window that is larger than the padded image.
        """
        return (
            _places(height, self.size[0], self.stride[0], self.padding),
            _places(width, self.size[1], self.stride[1], self.padding),
        )

    def pad(self, images: Tensor, value: float = 0.0) -> Tensor:
        """Images (N, C, H, W) with their padding, which is filled with ``value``."""
        top, bottom, left, right = self.margins(*images.shape[-2:])
        return (
            functional.pad(images, (left, right, top, bottom), value=value)
            if any((top, bottom, left, right))
            else images
        )

    def of(self, images: Tensor, value: float = 0.0) -> Tensor:
        """The windows of images (N, C, H, W): (N, C, down, across, k, k); a view if nothing is padded."""
        self.places(*images.shape[-2:])
        padded = self.pad(images, value)
        return padded.unfold(2, self.size[0], self.stride[0]).unfold(3, self.size[1], self.stride[1])


def windows_of(name: str, size: int | Sequence[int], stride: int | Sequence[int], padding: Padding) -> Windows:
    """Windows from what a layer was given: numbers or pairs of them.

    Raises:
        ValueError: a size or a stride below 1, or an unknown padding; the message calls the size ``name``.
    """
    if padding not in ("valid", "same") and not (type(padding) is int and padding >= 0):
        raise ValueError(f'padding must be "valid", "same" or a number of pixels from 0 up, not {padding!r}')
    return Windows(pair_of(name, size), pair_of("stride", stride), padding)


def output_size(size: int, kernel_size: int, stride: int = 1, padding: Padding = "valid") -> int:
    """How many places a window has along one side of an image.

        valid: ⌊(n - k) / s⌋ + 1          same: ⌈n / s⌉          p pixels at either end: ⌊(n + 2p - k) / s⌋ + 1

    Args:
        size: n, pixels along that side.
        kernel_size: k, pixels of the window.
        stride: s, pixels from one place to the next.
        padding: ``"valid"``, ``"same"``, or p.

    Raises:
        ValueError: a window that is larger than the padded image, sizes or a stride that are no ``int`` of 1 or more,
            or an unknown padding.

    Example:
        >>> output_size(28, 5), output_size(28, 5, padding="same"), output_size(28, 5, stride=2, padding=1)
        (24, 28, 13)

    Source: Vincent Dumoulin and Francesco Visin, "A guide to convolution arithmetic for deep learning", 2016.
    """
    for name, value in {"size": size, "kernel_size": kernel_size, "stride": stride}.items():
        if type(value) is not int or value < 1:
            raise ValueError(f"{name} must be an int of 1 or more, not {value!r}")
    return windows_of("kernel_size", kernel_size, stride, padding).places(size, size)[0]


def _places(size: int, kernel: int, step: int, padding: Padding) -> int:
    """How many places windows have along one side."""
    padded = size + sum(_margins(size, kernel, step, padding))
    if kernel > padded:
        added = f" ({size} and padding of {padded - size})" if padded > size else ""
        smaller = f"take one of {padded} or smaller, or " if padded else ""
        raise ValueError(
            f"a window of {kernel} pixels does not fit into {padded}{added}: {smaller}padding="
            f"{-(-(kernel - size) // 2)} or more"
        )
    return (padded - kernel) // step + 1


def patches(
    images: Tensor, kernel_size: int | Sequence[int], *, stride: int | Sequence[int] = 1, padding: Padding = "valid"
) -> Tensor:
    """What a kernel sees at each place: a column of numbers for each patch of the images.

    A patch is a piece of the input; the kernel is the weights that it is multiplied by. With the kernels as rows, a
    convolution is one matrix product: kernels (O, C · k · k) times patches (C · k · k, N · places).

    Args:
        images: where to look.
        kernel_size: k, the pixels of a patch, or (down, across).
        stride: pixels from one patch to the next, or (down, right).
        padding: ``"valid"``, ``"same"``, or the pixels at either end.

    Shape:
        images (N, C, H, W); returns (C · k · k, N, down, across): channel by channel and row by row in a column.

    Raises:
        ValueError: images of another shape, patches larger than the padded images, a stride below 1, or an unknown
            padding.

    Example:
        >>> image = torch.arange(9.0).view(1, 1, 3, 3)
        >>> patches(image, 2)[:, 0, 0, 1]     # the patch at the top right: 1, 2 above 4, 5
        tensor([1., 2., 4., 5.])
    """
    check_images("images", images)
    windows = windows_of("kernel_size", kernel_size, stride, padding)
    windows.places(*images.shape[-2:])
    return columns(images, windows)


def columns(images: Tensor, windows: Windows) -> Tensor:
    """The same as `patches`, for images that were checked before."""
    padded = windows.pad(images).transpose(0, 1)
    found: Tensor = _Patches.apply(padded, windows.size, windows.stride)
    return found.flatten(0, 2)


def check_images(name: str, images: Any, channels: int | None = None) -> None:
    """Raise an error for what is no batch of images.

    Raises:
        TypeError: no tensor.
        ValueError: another shape than (N, C, H, W), or another number of channels; the message says what would fit.
    """
    check_tensor(name, images)
    wanted = "C" if channels is None else f"{channels}"
    if images.ndim != 4 or (channels is not None and images.shape[1] != channels):
        hint = ""
        if images.ndim == 3 and channels in (None, 1):
            hint = f"; {name}.unsqueeze(1) makes it ({images.shape[0]}, 1, {images.shape[1]}, {images.shape[2]})"
        elif images.ndim == 4 and images.shape[-1] == channels:
            hint = f"; {name}.movedim(-1, 1) puts the channels first"
        raise ValueError(
            f"{name} must be [batch, channel, height, width], (N, {wanted}, H, W), not {tuple(images.shape)}{hint}"
        )


class _Patches(torch.autograd.Function):
    """Windows copied out of padded images (C, N, H, W), as (C, k, k, N, down, across).

    We copy first along the rows, then along the columns, so that the second and larger copy moves long rows. Backward
    goes the other way: the gradient of each copy is added to its pixel, in 2k sums. PyTorch's own gradient of
    `Tensor.unfold` is the same, and takes several times as long.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(images: Tensor, size: tuple[int, int], stride: tuple[int, int]) -> Tensor:
        across = images.unfold(3, size[1], stride[1]).permute(0, 4, 1, 2, 3).contiguous()
        return across.unfold(3, size[0], stride[0]).permute(0, 5, 1, 2, 3, 4).contiguous()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        images, _, ctx.stride = inputs
        ctx.shape = images.shape

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,), (channels, batch, height, width) = gradients, ctx.shape
        _, tall, wide, _, down, across = gradient.shape
        rows = gradient.new_zeros(channels, wide, batch, height, across)
        for i in range(tall):
            rows[..., i : i + ctx.stride[0] * down : ctx.stride[0], :] += gradient[:, i]
        images = gradient.new_zeros(channels, batch, height, width)
        for j in range(wide):
            images[..., j : j + ctx.stride[1] * across : ctx.stride[1]] += rows[:, j]
        return images, None, None


def pair_of(name: str, value: int | Sequence[int]) -> tuple[int, int]:
    """A number for both sides, or what was given for each: down and across.

    Raises:
        ValueError: what is no ``int`` of 1 or more, nor a pair of them.
    """
    pair = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(pair) != 2 or not all(type(one) is int and one >= 1 for one in pair):
        raise ValueError(f"{name} must be an int of 1 or more, or a pair of them, not {value!r}")
    return pair


def _margins(size: int, kernel: int, stride: int, padding: Padding) -> tuple[int, int]:
    """The pixels of padding at the start and at the end of one side."""
    if padding == "valid":
        return 0, 0
    if padding == "same":
        total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
        return total // 2, total - total // 2
    assert isinstance(padding, int)
    return padding, padding
