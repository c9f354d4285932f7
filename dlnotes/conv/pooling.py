"""Pooling: one number for all that a window sees. No layer here has a weight."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from dlnotes.conv.layers import check_generator
from dlnotes.conv.windows import Padding, Windows, check_images, windows_of
from dlnotes.randomness import uniform

__all__ = ["AveragePool2d", "GlobalAveragePool2d", "MaxPool2d", "StochasticPool2d"]


class MaxPool2d(nn.Module):
    """Keep the largest number of each window, in each channel by itself.

        y[n, c, i, j] = max x[n, c, s·i + u, s·j + v]          over the window's pixels (u, v)

    The gradient goes back to the place of the largest alone; of several equal ones, to one of them. With a window of 1
    and a stride of s it keeps every s-th pixel of every s-th row and drops the others unseen.

    Args:
        window: pixels along a side, or (down, across).
        stride: pixels from one window to the next; by default those of a window, which then never overlap.
        padding: as for `Conv2d`; what lies outside is never the largest.
        fused: use PyTorch's own routine: the same numbers, faster.

    Shape:
        inputs (N, C, H, W); returns (N, C, H', W') with the sizes of `output_size`.

    Raises:
        ValueError: a window or stride below 1, an unknown padding, or one as large as a window; when called, inputs
            of another shape, or smaller than the window.

    Example:
        >>> MaxPool2d(2)(torch.tensor([[[[1.0, 3.0, 0.0, 5.0], [4.0, 2.0, 6.0, 7.0]]]])).tolist()
        [[[[4.0, 7.0]]]]

    Source: Maximilian Riesenhuber and Tomaso Poggio, "Hierarchical models of object recognition in cortex", 1999.
    """

    def __init__(
        self,
        window: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: Padding = "valid",
        *,
        fused: bool = False,
    ) -> None:
        super().__init__()
        self.windows, self.fused = _windows(window, stride, padding), fused

    def forward(self, inputs: Tensor) -> Tensor:
        """The largest of each window, (N, C, H', W')."""
        check_images("inputs", inputs)
        self.windows.places(*inputs.shape[-2:])
        if self.fused:
            return functional.max_pool2d(self.windows.pad(inputs, -torch.inf), self.windows.size, self.windows.stride)
        return self.windows.of(inputs, -torch.inf).flatten(-2).max(-1).values

    def extra_repr(self) -> str:
        """The settings, for ``print(layer)``."""
        return _described(self.windows)


class AveragePool2d(nn.Module):
    """Take the mean of each window, in each channel by itself.

        y[n, c, i, j] = mean x[n, c, s·i + u, s·j + v]         over the window's pixels (u, v) that lie in the image

    It is linear; without padding, a convolution whose kernels are 1 / k² for their own channel and 0 for all others.

    Args:
        window: pixels along a side, or (down, across).
        stride: pixels from one window to the next; by default those of a window, which then never overlap.
        padding: as for `Conv2d`; what lies outside does not count.
        fused: use PyTorch's own routine: faster, and the same numbers up to rounding.

    Shape:
        inputs (N, C, H, W); returns (N, C, H', W') with the sizes of `output_size`.

    Raises:
        ValueError: as `MaxPool2d`.

    Example:
        >>> AveragePool2d(2)(torch.tensor([[[[1.0, 3.0, 0.0, 5.0], [4.0, 2.0, 6.0, 7.0]]]])).tolist()
        [[[[2.5, 4.5]]]]

    Source: Yann LeCun et al., "Backpropagation applied to handwritten zip code recognition", 1989.
    """

    def __init__(
        self,
        window: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: Padding = "valid",
        *,
        fused: bool = False,
    ) -> None:
        super().__init__()
        self.windows, self.fused = _windows(window, stride, padding), fused

    def forward(self, inputs: Tensor) -> Tensor:
        """The mean of each window, (N, C, H', W')."""
        check_images("inputs", inputs)
        self.windows.places(*inputs.shape[-2:])
        if not any(self.windows.margins(*inputs.shape[-2:])):
            return self._mean(inputs)
        inside = torch.ones_like(inputs[:1, :1])
        return self._mean(inputs) / self._mean(inside)  # the share of the window that lies in the image

    def _mean(self, inputs: Tensor) -> Tensor:
        if self.fused:
            return functional.avg_pool2d(self.windows.pad(inputs), self.windows.size, self.windows.stride)
        return self.windows.of(inputs).mean((-2, -1))

    def extra_repr(self) -> str:
        """The settings, for ``print(layer)``."""
        return _described(self.windows)


class StochasticPool2d(nn.Module):
    """In training, draw one number of each window, a large one more often; in evaluation, take the mean of such draws.

        in training     y = a[l],  l drawn with the probability p[l] = a[l] / Σ a[m]          m: the window's pixels
        in evaluation   y = Σ p[m] · a[m]

    The activations a are not negative, as a ReLU leaves them; what is negative counts as 0. A window of zeros gives 0.
    Max pooling always hands on the same pixel of a training image, and a network can learn it by heart; here another
    one may come each time.

    Args:
        window: pixels along a side, or (down, across).
        stride: pixels from one window to the next; by default those of a window, which then never overlap.
        padding: as for `Conv2d`; what lies outside is never drawn.
        generator: where the draws come from. With one of its own, batches are the same as without this layer; one
            on the CPU draws the same on every device. A `Trainer` keeps it in its checkpoints if it is given as one of
            its ``generators``.

    Shape:
        inputs (N, C, H, W); returns (N, C, H', W') with the sizes of `output_size`.

    Raises:
        ValueError: as `MaxPool2d`.
        TypeError: no generator.

    Example:
        >>> layer = StochasticPool2d(2, generator=torch.Generator().manual_seed(0)).eval()
        >>> layer(torch.tensor([[[[0.0, 1.0], [0.0, 3.0]]]])).item()     # 1/4 · 1 + 3/4 · 3
        2.5

    Source: Matthew D. Zeiler and Rob Fergus, "Stochastic pooling for regularization of deep convolutional neural
    networks", 2013.
    """

    def __init__(
        self,
        window: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: Padding = "valid",
        *,
        generator: Generator,
    ) -> None:
        super().__init__()
        check_generator(generator)
        self.windows, self.generator = _windows(window, stride, padding), generator

    def forward(self, inputs: Tensor) -> Tensor:
        """A number of each window, (N, C, H', W')."""
        check_images("inputs", inputs)
        activations = self.windows.of(inputs.relu()).flatten(-2)
        # Half precision has too few digits for sums and draws, and its squares overflow.
        exact = activations.to(torch.promote_types(inputs.dtype, torch.float32))
        if not self.training:
            return (exact.square().sum(-1) / _or_one(exact.sum(-1))).to(inputs.dtype)
        up_to = exact.detach().cumsum(-1)
        drawn = uniform(up_to.shape[:-1], self.generator).to(up_to)
        # The first pixel whose running sum is above the drawn share of the total: never a 0, which adds nothing to it.
        chosen = (up_to <= (drawn * up_to[..., -1])[..., None]).sum(-1).clamp(max=activations.shape[-1] - 1)
        return activations.gather(-1, chosen[..., None])[..., 0]

    def extra_repr(self) -> str:
        """The settings, for ``print(layer)``."""
        return _described(self.windows)


class GlobalAveragePool2d(nn.Module):
    """The mean of each feature map, whatever its size: a network that ends so takes images of any size.

    Shape:
        inputs (N, C, H, W); returns (N, C, 1, 1).

    Raises:
        ValueError: inputs of another shape.

    Example:
        >>> GlobalAveragePool2d()(torch.arange(8.0).view(1, 2, 2, 2)).flatten().tolist()
        [1.5, 5.5]

    Source: Min Lin, Qiang Chen and Shuicheng Yan, "Network in network", 2014.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """The mean of each map, (N, C, 1, 1)."""
        check_images("inputs", inputs)
        return inputs.mean((2, 3), keepdim=True)


def _windows(window: int | Sequence[int], stride: int | Sequence[int] | None, padding: Padding) -> Windows:
    windows = windows_of("window", window, window if stride is None else stride, padding)
    if isinstance(padding, int) and padding >= min(windows.size):
        raise ValueError(
            f"padding of {padding} would make windows of {windows.size} that see nothing of the image: take "
            f"{min(windows.size) - 1} or less"
        )
    return windows


def _or_one(numbers: Tensor) -> Tensor:
    """The numbers, with 1 in the place of 0."""
    return numbers + (numbers == 0)


def _described(windows: Windows) -> str:
    return f"window={windows.size}, stride={windows.stride}, padding={windows.padding!r}"
