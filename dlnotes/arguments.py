"""What came is a number, or a tensor: said in the words of the caller, where PyTorch's own error would not name it."""

import numbers
from typing import Any

from torch import Tensor

__all__ = ["check_counts", "check_number", "check_tensor"]


def check_counts(**counts: Any) -> None:
    """Refuse what is no whole number of 1 or more, each by its name.

    Raises:
        ValueError: with the name of the argument, what was expected and what came.

    Example:
        >>> check_counts(beams=4, max_length=0)
        Traceback (most recent call last):
        ValueError: max_length must be an int of 1 or more, not 0
    """
    for name, count in counts.items():
        if type(count) is not int or count < 1:
            raise ValueError(f"{name} must be an int of 1 or more, not {count!r}")


def check_number(name: str, value: Any) -> None:
    """Refuse what is no real number: text, None, a truth value. A tensor that holds one number is one.

    Raises:
        TypeError: with the name of the argument, what was expected and what came.

    Example:
        >>> check_number("lr", 0.1)
        >>> check_number("lr", "0.1")
        Traceback (most recent call last):
        TypeError: lr must be a number, not str ('0.1')
    """
    kind = type(value)
    if kind is float or kind is int:  # at once, since a softmax checks its temperature each time
        return
    if isinstance(value, Tensor):
        if value.numel() != 1 or value.is_complex():
            raise TypeError(f"{name} must be a number, not a tensor of shape {tuple(value.shape)} and {value.dtype}")
    elif kind is bool or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, not {kind.__name__} ({value!r})")


def check_tensor(name: str, value: Any) -> None:
    """Refuse what is no tensor, such as an array of NumPy.

    Raises:
        TypeError: with the name of the argument, what came, and how to make a tensor of it.

    Example:
        >>> check_tensor("inputs", [1.0, 2.0])
        Traceback (most recent call last):
        TypeError: inputs must be a tensor, not list: make it one by torch.tensor
    """
    if not isinstance(value, Tensor):
        kind = type(value)
        came, maker = (
            ("a NumPy array", "torch.from_numpy")
            if kind.__module__ == "numpy"
            else (f"{kind.__name__}", "torch.tensor")
        )
        raise TypeError(f"{name} must be a tensor, not {came}: make it one by {maker}")
