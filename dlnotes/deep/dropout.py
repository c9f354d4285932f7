"""Dropout: a random part of the activations is set to zero, another part for each example and each step."""

import functools
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from dlnotes.arguments import check_tensor
from dlnotes.randomness import uniform

__all__ = ["Dropout"]

# The first where the second is above 0, else 0: how a rectifier passes a gradient back. On a CPU it is many times as
# fast as torch.where.
_where_positive = torch.ops.aten.threshold_backward


class Dropout(nn.Module):
    """Set each activation to zero with probability p while training, and none in evaluation.

    The notes say which activations vanish. Two things more are needed for a network that works: the size of what the
    next layer is given has to be the same in training and in evaluation, and no mask is drawn in evaluation. With a
    mask m of ones and zeros, each 1 with probability 1 - p, the size is kept in one of two ways:

        scaled          in training           in evaluation
        "training"      m · x / (1 - p)       x                  as it is done today
        "evaluation"    m · x                 (1 - p) · x        as it was first published

    An activation that is dropped is 0 whatever it was, inf and nan too, and so is its gradient. In both, for p below 1,
    the mean of the training output over masks is the evaluation output. A network whose
    activations are scaled in training alone is the same function with and without the layer when it is used, which is
    why that is done today.

    Args:
        p: the probability of being dropped, from 0 to 1; the notes' half is usual for hidden layers, 0.2 for inputs.
        generator: where the masks are drawn from. One of its own for each purpose keeps the batches of an arm with
            dropout equal to those of an arm without; drawn on the CPU, a seed gives the same masks on every device. A
            `Trainer` keeps it in its checkpoints if it is given as one of its ``generators``.
        scaled: ``"training"`` or ``"evaluation"``.

    Shape:
        inputs (*); returns the same shape. Each entry has a draw of its own: no two examples share a mask.

    Raises:
        TypeError: p is no number, or the generator none; when called, inputs that are no tensor.
        ValueError: p outside 0 to 1, or another word for ``scaled``.

    Example:
        >>> dropout = Dropout(0.5, generator=torch.Generator().manual_seed(0))
        >>> sorted(set(dropout(torch.ones(100)).tolist())), dropout.eval()(torch.ones(2))
        ([0.0, 2.0], tensor([1., 1.]))
        >>> first_published = Dropout(0.5, generator=torch.Generator().manual_seed(0), scaled="evaluation")
        >>> sorted(set(first_published(torch.ones(100)).tolist())), first_published.eval()(torch.ones(2))
        ([0.0, 1.0], tensor([0.5000, 0.5000]))

    Source: Nitish Srivastava, Geoffrey Hinton, Alex Krizhevsky, Ilya Sutskever and Ruslan Salakhutdinov, "Dropout: a
    simple way to prevent neural networks from overfitting", 2014.
    """

    def __init__(
        self, p: float = 0.5, *, generator: Generator, scaled: Literal["training", "evaluation"] = "training"
    ) -> None:
        super().__init__()
        if isinstance(p, bool) or not isinstance(p, int | float):
            raise TypeError(f"the dropout probability must be a number from 0 to 1, not {type(p).__name__} ({p!r})")
        if not 0 <= p <= 1:
            raise ValueError(f"the dropout probability must be from 0 to 1, not {p}")
        if not isinstance(generator, Generator):
            raise TypeError(f"generator must be a torch.Generator to draw masks from, not {type(generator).__name__}")
        if scaled not in ("training", "evaluation"):
            raise ValueError(f'scaled must be "training" or "evaluation", not {scaled!r}')
        self.p, self.generator, self.scaled = p, generator, scaled

    def forward(self, inputs: Tensor) -> Tensor:
        """The activations that are left, scaled."""
        check_tensor("inputs", inputs)
        keep = 1 - self.p
        if self.p == 0 or not self.training:
            if self.scaled == "training" or self.p == 0:
                return inputs
            scaled: Tensor = inputs * keep if keep else _where_positive(inputs, torch.zeros_like(inputs), 0)
            return scaled
        # Uniform numbers: nn.Dropout draws Bernoulli ones, which takes longer on a CPU (`make bench`).
        drawn = uniform(inputs.shape, self.generator)
        # Kept where drawn < keep. A product with a mask would be nan where inf is dropped.
        kept: Tensor = _where_positive(inputs, (keep - drawn).sign_().to(inputs), 0)
        return kept * _inverse(keep, inputs.dtype) if self.scaled == "training" and keep else kept

    def extra_repr(self) -> str:
        """The settings, for ``print(dropout)``."""
        return f"p={self.p}, scaled={self.scaled!r}"


@functools.cache
def _inverse(keep: float, dtype: torch.dtype) -> float:
    """1 / keep, as the dtype holds it."""
    return torch.ones((), dtype=dtype, device="cpu").div_(keep).item()
