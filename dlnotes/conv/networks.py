"""Convolutional networks from a line of text, such as ``"5x5x8 max2 5x5x16 max2"``."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

from dlnotes.conv.inception import Inception
from dlnotes.conv.layers import Conv2d, LocallyConnected2d, PointwiseConv, check_channels, draw_weights
from dlnotes.conv.pooling import AveragePool2d, GlobalAveragePool2d, MaxPool2d, StochasticPool2d
from dlnotes.conv.windows import Padding, check_images

__all__ = ["ConvNet"]

_PARTS = {
    "5x5x8 (or 5x5x8/2, local5x5x8)": r"(?P<local>local)?(?P<tall>\d+)x(?P<wide>\d+)x(?P<channels>\d+)"
    r"(?:/(?P<stride>\d+))?",
    "max2 (or max3/2, average2, stochastic2)": r"(?P<pool>max|average|stochastic)(?P<window>\d+)(?:/(?P<stride>\d+))?",
    "skip2": r"skip(?P<skip>\d+)",
    "inception(8,4-12,2-4,4)": r"inception\((?P<one>\d+),(?:(?P<reduce_three>\d+)-)?(?P<three>\d+),"
    r"(?:(?P<reduce_five>\d+)-)?(?P<five>\d+),(?P<pooled>\d+)\)",
    "global": r"(?P<mean>global)",
    "dense32": r"dense(?P<units>\d+)",
}


class ConvNet(nn.Module):
    """A convolutional network built from a line of text, with a linear classifier at its end.

    The parts stand in the order in which an image goes through them:

        5x5x8          8 kernels of 5×5 at stride 1, then a ReLU; ``5x5x8/2`` has stride 2. ``1x1x8`` sees one pixel
        local3x3x8     the same with kernels of its own at each place (`LocallyConnected2d`)
        max2           the largest of each 2×2, at stride 2; ``max3/2``: of 3×3. Also ``average2``, ``stochastic2``
        skip2          every second pixel of every second row; the others are dropped
        inception(8,4-12,2-4,4)      8 maps of 1×1; 12 of 3×3 after a reduction to 4; 4 of 5×5 after one to 2; 4 of
                       pooling (`Inception`). ``inception(8,12,4,4)`` has no reductions
        global         the mean of each map
        dense32        32 units that see everything, then a ReLU

    A ReLU gives the same numbers before max pooling and after it. The network applies it after, where it has fewer to
    go through.

    Args:
        layers: the parts, with spaces between them; none at all is a linear classifier of the pixels.
        inputs: (channels, height, width) of an image.
        classes: how many scores it returns for an image.
        padding: of the convolutions, as for `Conv2d`. Pooling and 1×1 have none, and Inception always keeps the size.
        fused: use PyTorch's own routines for convolution and pooling: faster, and the same numbers up to rounding.
            Without it, each layer computes what its formula in this chapter says, step by step.
        generator: where the first weights are drawn from: normal with variance 2 / fan-in. Biases start at 0.
        draws: the generator that stochastic pooling draws from; needed if there is any.
        dtype: of the parameters; PyTorch's default where not given.

    Shape:
        inputs (N, C, H, W); returns scores (N, ``classes``).

    Raises:
        ValueError: a part that is not understood, that does not fit on the images, or that comes after they were
            flattened; stochastic pooling without ``draws``; when called, images of another size.
        TypeError: parts that are no text, or no generator; when called, images that are no tensor of the weights'
            dtype.

    Example:
        >>> network = ConvNet("5x5x8 max2 5x5x16 max2", generator=torch.Generator().manual_seed(0))
        >>> network(torch.zeros(3, 1, 28, 28)).shape
        torch.Size([3, 10])
        >>> [(part, tuple(maps.shape[1:])) for part, maps in network.stages(torch.zeros(1, 1, 28, 28))]
        [('5x5x8', (8, 28, 28)), ('max2', (8, 14, 14)), ('5x5x16', (16, 14, 14)), ('max2', (16, 7, 7))]

    Source: Yann LeCun et al., "Gradient-based learning applied to document recognition", 1998.
    """

    def __init__(
        self,
        layers: str,
        *,
        inputs: Sequence[int] = (1, 28, 28),
        classes: int = 10,
        padding: Padding = "same",
        fused: bool = True,
        generator: Generator,
        draws: Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(layers, str):
            raise TypeError(f'layers must be a text such as "5x5x8 max2", not {type(layers).__name__}')
        sizes = tuple(inputs) if isinstance(inputs, Sequence) else ()
        if len(sizes) != 3 or not all(type(size) is int and size > 0 for size in sizes):
            raise ValueError(f"inputs must be (channels, height, width), three ints of 1 or more, not {inputs!r}")
        if type(classes) is not int or classes < 1:
            raise ValueError(f"classes must be an int of 1 or more, not {classes!r}")
        self.parts, self.inputs, self.classes = layers.split(), sizes, classes
        shape: tuple[int, ...] = self.inputs
        made = []
        options: dict[str, Any] = {"generator": generator, "dtype": dtype}
        for part in self.parts:
            try:
                layer, shape = _layer(part, shape, padding, fused, draws, options)
            except ValueError as error:
                given = "on images of" if len(shape) == 3 else "after dense units, of which there are"
                raise ValueError(f"{part!r} {given} {' × '.join(map(str, shape))}: {error}") from error
            made.append(layer)
        self.layers = nn.ModuleList(made)
        features = torch.Size(shape).numel()
        self.scores = _linear(features, classes, options)
        if fused:
            for layer in self.modules():
                if isinstance(layer, Conv2d):
                    layer.to(memory_format=torch.channels_last)

    def reset_parameters(self, generator: Generator) -> None:
        """Draw the weights anew, and set the biases to 0."""
        draw_weights(self, generator)

    def forward(self, inputs: Tensor) -> Tensor:
        """The scores, (N, ``classes``)."""
        for _, activations in self._go(self._checked(inputs), postpone=True):
            inputs = activations
        scores: Tensor = self.scores(inputs.flatten(1))
        return scores

    def stages(self, inputs: Tensor) -> list[tuple[str, Tensor]]:
        """The activations after each part, for looking at them: (part, (N, C, H, W)), or (N, units) of dense ones."""
        return list(self._go(self._checked(inputs), postpone=False))

    def _go(self, activations: Tensor, *, postpone: bool) -> Iterator[tuple[str, Tensor]]:
        rectify = False
        for number, (part, layer) in enumerate(zip(self.parts, self.layers, strict=True)):
            if isinstance(layer, nn.Linear):
                activations = activations.flatten(1)
            activations = layer(activations)
            rectify = isinstance(layer, _WEIGHTED) or (rectify and isinstance(layer, MaxPool2d))
            if rectify and not (postpone and isinstance(next(iter(self.layers[number + 1 :]), None), MaxPool2d)):
                activations, rectify = activations.relu(), False
            yield part, activations

    def _checked(self, inputs: Tensor) -> Tensor:
        check_images("inputs", inputs, self.inputs[0])
        if tuple(inputs.shape[1:]) != self.inputs:
            raise ValueError(
                f"inputs must be {' × '.join(map(str, self.inputs))} (channels, height, width) as the network was "
                f"made for, not {' × '.join(map(str, inputs.shape[1:]))}"
            )
        dtype = self.scores.weight.dtype
        if inputs.dtype != dtype and not torch.is_autocast_enabled(inputs.device.type):
            raise TypeError(f"inputs must be {dtype} as the weights are, not {inputs.dtype}")
        return inputs

    def extra_repr(self) -> str:
        """The parts, for ``print(network)``."""
        return f"{' '.join(self.parts)!r}, inputs={self.inputs}, classes={self.classes}"


_WEIGHTED = Conv2d | LocallyConnected2d | PointwiseConv | nn.Linear


def _layer(
    part: str,
    shape: tuple[int, ...],
    padding: Padding,
    fused: bool,
    draws: Generator | None,
    options: dict[str, Any],
) -> tuple[nn.Module, tuple[int, ...]]:
    """The layer that a part names, for images of the given shape, and the shape of its output."""
    found = next(filter(None, (re.fullmatch(pattern, part) for pattern in _PARTS.values())), None)
    if found is None:
        raise ValueError(f"not understood; parts look like {', '.join(_PARTS)}")
    said: dict[str, Any] = {
        name: int(text) if text.isdigit() else text for name, text in found.groupdict().items() if text is not None
    }
    if "units" in said:
        check_channels(units=said["units"])
        return _linear(torch.Size(shape).numel(), said["units"], options), (said["units"],)
    if len(shape) == 1:
        raise ValueError("they have no places any more that it could look at: put dense parts last")
    channels, *size = shape
    layer: Any
    if "channels" in said:
        kernel, out, stride = (said["tall"], said["wide"]), said["channels"], said.get("stride", 1)
        if "local" in said:
            layer = LocallyConnected2d(
                channels, out, kernel, size=(size[0], size[1]), stride=stride, padding=padding, **options
            )
        elif kernel == (1, 1) and stride == 1:
            return PointwiseConv(channels, out, **options), (out, *size)
        else:
            layer = Conv2d(channels, out, kernel, stride=stride, padding=padding, fused=fused, **options)
        return layer, (out, *layer.windows.places(*size))
    if "one" in said:
        maps: dict[str, Any] = {name: said[name] for name in ("one", "three", "five")} | {"pool": said["pooled"]}
        reductions: dict[str, Any] = {name: said.get(name) for name in ("reduce_three", "reduce_five")}
        layer = Inception(channels, **maps, **reductions, fused=fused, **options)
        return layer, (layer.out_channels, *size)
    if "mean" in said:
        return GlobalAveragePool2d(), (channels, 1, 1)
    if "skip" in said:
        layer = MaxPool2d(1, said["skip"], fused=fused)
    elif said["pool"] == "stochastic":
        if draws is None:
            raise ValueError("stochastic pooling needs draws, a generator of its own to draw from")
        layer = StochasticPool2d(said["window"], said.get("stride"), generator=draws)
    else:
        kind = MaxPool2d if said["pool"] == "max" else AveragePool2d
        layer = kind(said["window"], said.get("stride"), fused=fused)
    return layer, (channels, *layer.windows.places(*size))


def _linear(features: int, units: int, options: dict[str, Any]) -> nn.Linear:
    # Made without first weights, which PyTorch would draw from its global generator.
    settings = {"dtype": options["dtype"], "device": torch.get_default_device()}
    layer = nn.utils.skip_init(nn.Linear, features, units, **settings)
    draw_weights(layer, options["generator"])
    return layer
