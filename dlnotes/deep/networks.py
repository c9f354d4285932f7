"""Networks of fully connected layers."""

import bisect
import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Generator, Tensor, nn

from dlnotes.arguments import check_tensor
from dlnotes.deep.dropout import Dropout
from dlnotes.linear.initializers import initialize, scaled_normal_

__all__ = ["MLP", "count_parameters", "widths_for_budget"]


class MLP(nn.Module):
    """A multilayer perceptron: affine maps with a ReLU between each two.

        h₁ = relu(W₁ x + b₁),   h₂ = relu(W₂ h₁ + b₂),   …,   y = Wₗ hₗ₋₁ + bₗ

    Weights start normal with variance 2 / fan-in, biases at 0. With dropout, each hidden activation h is set to zero
    with that probability while training (`Dropout`, scaled in training).

    Args:
        widths: numbers an example at each stage, from the inputs to the scores: ``[784, 256, 10]`` has one hidden layer
            of 256 units, and ``[784, 10]`` none.
        generator: where the first weights are drawn from.
        dropout: the probability with which a hidden activation is dropped, from 0 to 1.
        masks: where the masks of dropout are drawn from; needed where there is dropout. A `Trainer` keeps it in its
            checkpoints if it is given as one of its ``generators``.
        dtype: of the parameters; PyTorch's default where not given.

    Shape:
        inputs (N, *) with ``widths[0]`` numbers an example; returns (N, ``widths[-1]``).

    Raises:
        TypeError: a dropout probability that is no number; when called, inputs that are no tensor of the weights'
            dtype.
        ValueError: fewer than two widths, or one that is not a positive ``int``; a dropout probability outside 0 to 1,
            or one without masks; when called, examples of another size.

    Example:
        >>> network = MLP([784, 256, 10], generator=torch.Generator().manual_seed(0))
        >>> network(torch.zeros(32, 1, 28, 28)).shape, count_parameters(network)
        (torch.Size([32, 10]), 203530)

    Source: David E. Rumelhart, Geoffrey E. Hinton and Ronald J. Williams, "Learning representations by back-propagating
    errors", 1986; the first weights are those of Kaiming He et al., "Delving deep into rectifiers", 2015.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        generator: Generator,
        dropout: float = 0.0,
        masks: Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if len(widths) < 2 or not all(type(width) is int and width > 0 for width in widths):
            raise ValueError(f"widths must be two or more positive ints, from inputs to scores, not {list(widths)}")
        self.widths = tuple(widths)
        self.dropout = Dropout(dropout, generator=Generator() if masks is None else masks)
        if dropout and masks is None:
            raise ValueError(f"dropout of {dropout:g} needs masks, a generator of their own to draw them from")
        # Made without first weights, which PyTorch would draw from its global generator.
        self.layers = nn.ModuleList(
            nn.utils.skip_init(nn.Linear, before, after, dtype=dtype, device=torch.get_default_device())
            for before, after in pairwise(widths)
        )
        self.reset_parameters(generator)

    def reset_parameters(self, generator: Generator) -> None:
        """Draw the weights anew, and set the biases to 0."""
        initialize(self, lambda weight: scaled_normal_(weight, gain=math.sqrt(2), generator=generator))

    def forward(self, inputs: Tensor) -> Tensor:
        """The scores, (N, ``widths[-1]``)."""
        activations = self.flatten(inputs)
        *hidden, last = self.layers
        for layer in hidden:
            activations = self.dropout(layer(activations).relu())
        scores: Tensor = last(activations)
        return scores

    def flatten(self, inputs: Tensor) -> Tensor:
        """The inputs as the first layer takes them, (N, ``widths[0]``)."""
        check_tensor("inputs", inputs)
        flat = inputs.flatten(1) if inputs.ndim > 1 else inputs
        if flat.ndim < 2 or flat.shape[1] != self.widths[0]:
            raise ValueError(
                f"inputs must have the shape (N, *) with {self.widths[0]} numbers an example, not {tuple(inputs.shape)}"
            )
        dtype = self.layers[0].weight.dtype
        if flat.dtype != dtype and not torch.is_autocast_enabled(flat.device.type):
            raise TypeError(f"inputs must be {dtype} as the weights are, not {flat.dtype}")
        return flat

    def extra_repr(self) -> str:
        """The widths, for ``print(network)``."""
        return f"widths={list(self.widths)}"


def count_parameters(module: nn.Module) -> int:
    """How many numbers a module learns: the entries of all parameters that have a gradient; shared ones count once.

    Example:
        >>> count_parameters(nn.Linear(3, 2))     # 3 · 2 weights and 2 biases
        8
    """
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def widths_for_budget(parameters: int, hidden_layers: int, *, inputs: int, outputs: int) -> list[int]:
    """The widths of an `MLP` of a given depth whose number of parameters is as near to a budget as it can be.

    The hidden layers are equally wide, but for some of the first that have one unit more. Networks of different depth
    and equal budget differ by the shape that the parameters have, and not by their number.

    Args:
        parameters: the budget, weights and biases.
        hidden_layers: how many there are between inputs and scores, 1 or more.
        inputs: numbers an example.
        outputs: scores an example.

    Returns:
        Widths from the inputs to the scores.

    Raises:
        ValueError: what is not an ``int`` of 1 or more, or a budget smaller than a network with one unit a layer has.

    Example:
        >>> shallow = widths_for_budget(20_000, 1, inputs=784, outputs=10)
        >>> deep = widths_for_budget(20_000, 5, inputs=784, outputs=10)
        >>> shallow, deep
        ([784, 25, 10], [784, 23, 22, 22, 22, 22, 10])
        >>> [count_parameters(MLP(widths, generator=torch.Generator())) for widths in (shallow, deep)]
        [19885, 20331]
    """
    given = {"parameters": parameters, "hidden_layers": hidden_layers, "inputs": inputs, "outputs": outputs}
    for name, value in given.items():
        if type(value) is not int or value < 1:
            raise ValueError(f"{name} must be an int of 1 or more, not {value!r}")

    def widths_of(units: int) -> list[int]:
        width, wider = divmod(units, hidden_layers)
        return [inputs, *[width + 1] * wider, *[width] * (hidden_layers - wider), outputs]

    def count(units: int) -> int:
        return sum((before + 1) * after for before, after in pairwise(widths_of(units)))

    # The number of parameters grows with the number of hidden units: double it past the budget, then halve the steps.
    if parameters < count(hidden_layers):
        raise ValueError(
            f"{hidden_layers} hidden layers between {inputs} inputs and {outputs} outputs have {count(hidden_layers)} "
            f"parameters or more, not {parameters}"
        )
    too_many = hidden_layers
    while count(too_many) <= parameters:
        too_many *= 2
    units = bisect.bisect_right(range(too_many), parameters, lo=hidden_layers, key=count) - 1
    return widths_of(min(units, units + 1, key=lambda some: abs(count(some) - parameters)))
