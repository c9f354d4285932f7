"""What the trials of lessons measure with, and the types of what they are given and give back.

A trial trains for so many steps, or until a target; it compares two results to rounding; it tries candidates from a
grid. All of it is code that numbers depend on, and therefore lies in the library and not beside the lesson's runner.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice, repeat
from typing import Any, TypeVar

from torch import Tensor

from dlnotes.training import DivergedError

__all__ = ["Measured", "Tuned", "grid", "largest_error", "losses_of", "steps_until", "train_for"]

Measured = dict[str, float | list[float]]
"""What a trial gives back: numbers by name, and lists of numbers for curves."""

Tuned = Mapping[str, float]
"""The settings that were chosen for a data set, one for each arm: the third argument of a trial that needs them."""


_Training = TypeVar("_Training", bound=Iterator[Any])


def train_for(trainer: _Training, steps: int) -> _Training:
    """Make so many steps of a `Trainer` or a `Sweep`, or all that there are batches for, and give it back.

    Raises:
        DivergedError: the loss became infinite or nan.
        ValueError: a negative number of steps.

    Example:
        >>> import torch
        >>> from itertools import repeat
        >>> from dlnotes.training import Trainer
        >>> line = torch.nn.utils.skip_init(torch.nn.Linear, 1, 1, bias=False)
        >>> optimizer = torch.optim.SGD([torch.nn.init.zeros_(line.weight)], lr=0.1)
        >>> trainer = Trainer(line, torch.nn.functional.mse_loss, optimizer, repeat((torch.ones(1, 1),) * 2))
        >>> train_for(trainer, 3).steps
        3
    """
    if steps < 0:
        raise ValueError(f"expected a number of steps of 0 or more, not {steps}")
    deque(islice(trainer, steps), maxlen=0)
    return trainer


def losses_of(losses: Iterable[float], steps: int) -> Iterator[float]:
    """The losses of a training of so many steps: nan for those that are missing because it diverged.

    They come one by one, as the training makes them, so that it ends where nobody asks for the next.

    Example:
        >>> def diverging():
        ...     yield 2.5
        ...     raise DivergedError(2, math.inf, [1.0], 2.5)
        >>> list(losses_of(diverging(), steps=3))
        [2.5, nan, nan]
    """
    with suppress(DivergedError):
        for loss in losses:
            yield loss
            steps -= 1
    yield from repeat(math.nan, steps)


def steps_until(target: float, losses: Iterable[float], *, window: int = 1, relative: bool = False) -> float:
    """After how many steps the mean of the last losses is first at or below a target; nan where it never is.

    Args:
        target: what to reach.
        losses: the loss at the start and after each step; no more of them are asked for than are needed.
        window: of how many losses the mean is taken; with fewer than that, none is.
        relative: the target is a share of the first loss.

    Raises:
        ValueError: a window below 1.

    Example:
        >>> steps_until(0.5, [2.3, 0.9, 0.4, 0.7, 0.2])
        2.0
        >>> steps_until(0.5, [2.3, 0.9, 0.4, 0.7, 0.2], window=2)
        4.0
        >>> steps_until(0.2, [2.3, 0.9, 0.4, 0.7, 0.2], relative=True)
        2.0
        >>> steps_until(0.1, [2.3, 0.9])
        nan
    """
    if window < 1:
        raise ValueError(f"expected a window of 1 or more losses, not {window}")
    last: deque[float] = deque(maxlen=window)
    for step, loss in enumerate(losses):
        if relative and not step:
            target *= loss
        last.append(loss)
        if len(last) == window and sum(last) / window <= target:
            return float(step)
    return math.nan


def largest_error(one: Tensor, other: Tensor) -> float:
    """The largest absolute difference between two tensors of one shape.

    Raises:
        ValueError: two shapes: what broadcasting makes of them would hide that they are not the same.

    Example:
        >>> import torch
        >>> largest_error(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.5]))
        0.5
    """
    if one.shape != other.shape:
        raise ValueError(f"expected two tensors of one shape, not {tuple(one.shape)} and {tuple(other.shape)}")
    return (one - other).abs().amax().item()


def grid(lowest: float, highest: float, *, per_octave: int = 1) -> tuple[float, ...]:
    """Candidates from the lowest to the highest, evenly apart in their logarithms, to six digits.

    Args:
        lowest: the first one, larger than 0.
        highest: none is larger, but for rounding.
        per_octave: how many there are for each doubling.

    Raises:
        ValueError: bounds that are not positive or in the wrong order, or less than one an octave.

    Example:
        >>> grid(0.25, 1, per_octave=2)
        (0.25, 0.353553, 0.5, 0.707107, 1.0)
    """
    if not 0 < lowest <= highest < math.inf or per_octave < 1:
        raise ValueError(
            f"expected 0 < lowest ≤ highest and one or more an octave, not {lowest}, {highest} and {per_octave}"
        )
    steps = math.floor(per_octave * math.log2(highest / lowest) + 1e-9)
    return tuple(float(f"{lowest * 2 ** (step / per_octave):.6g}") for step in range(steps + 1))
