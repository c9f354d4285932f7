"""The shapes in which every data set comes, and the errors that say why one does not."""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["DataError", "Examples", "MissingDataError", "Parts"]


class DataError(Exception):
    """Something is wrong with a file of data: it is not there, or it does not hold what it should."""


class MissingDataError(DataError):
    """A data set is not on this machine; the message says how to get it."""


class Examples(NamedTuple):
    """Inputs and their targets, one row an example.

    Shape:
        - inputs: ``(N, 1, 28, 28)``, float32 in [0, 1], for pictures; 0 is paper and 1 is ink.
        - targets: ``(N,)``, int64, the class from 0 to 9.

    Example:
        >>> inputs, targets = Examples(torch.zeros(5, 1, 28, 28), torch.arange(5))
        >>> inputs.shape, targets.tolist()
        (torch.Size([5, 1, 28, 28]), [0, 1, 2, 3, 4])
    """

    inputs: Tensor
    targets: Tensor

    def to(self, device: torch.device | str) -> "Examples":
        """The same examples on a device."""
        return Examples(self.inputs.to(device), self.targets.to(device))


class Parts(NamedTuple):
    """A data set in three parts without a common example: learn from one, choose by the next, judge on the last."""

    train: Examples
    validation: Examples
    test: Examples

    def to(self, device: torch.device | str) -> "Parts":
        """The same parts on a device."""
        return Parts(*(part.to(device) for part in self))


def check_count(name: str, count: int) -> int:
    """The count, if it is a whole number of examples, 0 or more; TypeError or ValueError if not."""
    if isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"{name} must be a number of examples (an int), not {type(count).__name__} ({count!r})")
    if count < 0:
        raise ValueError(f"{name} must be 0 examples or more, not {count:,}")
    return count
