"""The Inception module: several ways to look at the same input, side by side."""

from typing import Any

import torch
from torch import Generator, Tensor, nn

from dlnotes.conv.layers import Conv2d, PointwiseConv, check_channels, check_inputs, draw_weights
from dlnotes.conv.pooling import MaxPool2d

__all__ = ["Inception"]


class Inception(nn.Module):
    """Four branches look at the same input, and their feature maps are put one upon the other.

        one      1×1
        three    1×1 to fewer channels, then 3×3
        five     1×1 to fewer channels, then 5×5
        pool     the largest of 3×3 around each pixel, then 1×1

    Height and width stay as they are, and a ReLU follows each convolution. The 1×1 convolutions in front, the
    *reductions*, make the module affordable: 5×5 kernels on 16 channels cost a twelfth of those on 192.

    Args:
        in_channels: channels of the images.
        one: maps of the branch with 1×1 alone.
        three: maps of the branch with 3×3.
        five: maps of the branch with 5×5.
        pool: maps of the branch that pools.
        reduce_three: channels that the 3×3 sees; None leaves its reduction out.
        reduce_five: channels that the 5×5 sees; None leaves its reduction out.
        fused: take PyTorch's own kernels, as in `Conv2d`.
        generator: where the first weights are drawn from, as those of `Conv2d`.
        dtype: of the parameters; PyTorch's default where not given.

    Shape:
        inputs (N, C, H, W); returns (N, one + three + five + pool, H, W), in this order.

    Raises:
        ValueError: channels that are no ``int`` of 1 or more; when called, inputs of another shape.
        TypeError: when called, inputs that are no tensor of the weights' dtype.

    Example:
        The first module of GoogLeNet:

        >>> sizes = dict(one=64, three=128, five=32, pool=32, reduce_three=96, reduce_five=16)
        >>> module = Inception(192, **sizes, generator=torch.Generator())
        >>> module(torch.zeros(1, 192, 4, 4)).shape, sum(parameter.numel() for parameter in module.parameters())
        (torch.Size([1, 256, 4, 4]), 163696)

    Source: Christian Szegedy et al., "Going deeper with convolutions", 2015.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        one: int,
        three: int,
        five: int,
        pool: int,
        reduce_three: int | None = None,
        reduce_five: int | None = None,
        fused: bool = False,
        generator: Generator,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_channels(in_channels=in_channels, one=one, three=three, five=five, pool=pool)
        reductions = {"reduce_three": reduce_three, "reduce_five": reduce_five}
        check_channels(**{name: channels for name, channels in reductions.items() if channels is not None})
        self.in_channels, self.out_channels = in_channels, one + three + five + pool
        options: dict[str, Any] = {"generator": generator, "dtype": dtype}

        def branch(channels: int | None, maps: int, size: int) -> nn.Sequential:
            parts: list[nn.Module] = []
            if channels is not None:
                parts += [PointwiseConv(in_channels, channels, **options), nn.ReLU()]
            seen = in_channels if channels is None else channels
            parts += [Conv2d(seen, maps, size, padding="same", fused=fused, **options), nn.ReLU()]
            return nn.Sequential(*parts)

        self.one = nn.Sequential(PointwiseConv(in_channels, one, **options), nn.ReLU())
        self.three = branch(reduce_three, three, 3)
        self.five = branch(reduce_five, five, 5)
        self.pool = nn.Sequential(
            MaxPool2d(3, 1, "same", fused=fused), PointwiseConv(in_channels, pool, **options), nn.ReLU()
        )

    def reset_parameters(self, generator: Generator) -> None:
        """Draw the weights anew, and set the biases to 0."""
        draw_weights(self, generator)

    def forward(self, inputs: Tensor) -> Tensor:
        """The maps of all branches, (N, one + three + five + pool, H, W)."""
        check_inputs(inputs, self.in_channels, next(self.parameters()))
        return torch.cat([self.one(inputs), self.three(inputs), self.five(inputs), self.pool(inputs)], dim=1)
