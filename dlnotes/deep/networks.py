"""Networks of fully connected layers."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Generator, Tensor, nn

from dlnotes.linear.initializers import initialize, scaled_normal_

__all__ = ["MLP", "count_parameters"]


class MLP(nn.Module):
    """A multilayer perceptron: affine maps with a ReLU between each two.

        h₁ = relu(W₁ x + b₁),   h₂ = relu(W₂ h₁ + b₂),   …,   y = Wₗ hₗ₋₁ + bₗ

    Weights start normal with variance 2 / fan-in, biases at 0.

    Args:
        widths: numbers an example at each stage, from the inputs to the scores: ``[784, 256, 10]`` has one hidden layer
            of 256 units, and ``[784, 10]`` none.
        generator: where the first weights are drawn from.
        dtype: of the parameters; PyTorch's default where not given.

    Shape:
        inputs (N, *) with ``widths[0]`` numbers an example; returns (N, ``widths[-1]``).

    Raises:
        ValueError: fewer than two widths, or one that is not a positive ``int``; when called, examples of another size.

    Example:
        >>> network = MLP([784, 256, 10], generator=torch.Generator().manual_seed(0))
        >>> network(torch.zeros(32, 1, 28, 28)).shape, count_parameters(network)
        (torch.Size([32, 10]), 203530)

    Source: David E. Rumelhart, Geoffrey E. Hinton and Ronald J. Williams, "Learning representations by back-propagating
    errors", 1986; the first weights are those of Kaiming He et al., "Delving deep into rectifiers", 2015.
    """

    def __init__(self, widths: Sequence[int], *, generator: Generator, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        if len(widths) < 2 or not all(type(width) is int and width > 0 for width in widths):
            raise ValueError(f"widths must be two or more positive ints, from inputs to scores, not {list(widths)}")
        self.widths = tuple(widths)
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
        activations = inputs.flatten(1) if inputs.ndim > 1 else inputs
        if activations.ndim < 2 or activations.shape[1] != self.widths[0]:
            raise ValueError(
                f"inputs must have the shape (N, *) with {self.widths[0]} numbers an example, not {tuple(inputs.shape)}"
            )
        *hidden, last = self.layers
        for layer in hidden:
            activations = layer(activations).relu()
        scores: Tensor = last(activations)
        return scores

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
