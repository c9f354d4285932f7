"""Learning rates that fall with the number of steps, as schedulers of PyTorch.

Each returns a scheduler of ``torch.optim.lr_scheduler``: it works with any optimizer, with `Trainer`, and with
PyTorch's own ways to combine schedulers. It starts from α₀, the rates that the optimizer has when it is made, also
where another schedule went before. (PyTorch's own start from what the first one started from. That is also what
``SequentialLR`` gives those that it chains, ours too, so that one can follow a warm-up.) With t the steps made so far:

    inverse_time_decay   αₜ = α₀ / (1 + r · t / s)
    exponential_decay    αₜ = α₀ · r^(t / s)
    step_decay           αₜ = α₀ · r^⌊t / s⌋
    cosine_decay         αₜ = α₀ · (f + (1 - f) · (1 + cos(π · t / s)) / 2)      up to t = s, and α₀ · f from there on
"""

import math
from collections.abc import Callable
from functools import partial

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from dlnotes.arguments import check_number

__all__ = ["cosine_decay", "exponential_decay", "inverse_time_decay", "step_decay"]


def exponential_decay(
    optimizer: Optimizer, decay_rate: float, decay_steps: float = 1.0, *, staircase: bool = False
) -> LambdaLR:
    """Multiply the learning rate by the same factor again and again: αₜ = α₀ · r^(t / s).

    Args:
        optimizer: the learning rates that it has now are α₀.
        decay_rate: r, the factor, larger than 0 and at most 1.
        decay_steps: s, the steps after which the factor was applied once, larger than 0.
        staircase: let the rate fall in jumps, every s steps, by rounding t / s down; s is then a whole number.

    Raises:
        ValueError: a decay rate outside (0, 1], or steps that are not positive, or a staircase of fractions of them.
        TypeError: a setting that is no number.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.8)
        >>> scheduler = exponential_decay(optimizer, 0.5, decay_steps=2)
        >>> for _ in range(4):
        ...     optimizer.step()
        ...     scheduler.step()
        >>> scheduler.get_last_lr()
        [0.2]
    """
    check_number("decay_rate", decay_rate)
    if not 0 < decay_rate <= 1:
        raise ValueError(f"decay_rate must be larger than 0 and at most 1, not {decay_rate}")
    _check_steps(decay_steps, staircase)
    return _FromNow(optimizer, partial(_exponential, decay_rate, decay_steps, staircase))


def inverse_time_decay(
    optimizer: Optimizer, decay_rate: float, decay_steps: float = 1.0, *, staircase: bool = False
) -> LambdaLR:
    """Divide the learning rate by a number that grows evenly: αₜ = α₀ / (1 + r · t / s).

    With r above 0 the sum of the rates grows without bound and that of their squares does not, which is what
    stochastic approximation needs to converge.

    Args:
        optimizer: the learning rates that it has now are α₀.
        decay_rate: r, 0 or larger; 1 halves the rate after s steps.
        decay_steps: s, in steps, larger than 0.
        staircase: let the rate fall in jumps, every s steps, by rounding t / s down; s is then a whole number.

    Raises:
        ValueError: a negative decay rate, or steps that are not positive, or a staircase of fractions of them.
        TypeError: a setting that is no number.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.8)
        >>> scheduler = inverse_time_decay(optimizer, 1.0, decay_steps=2)
        >>> for _ in range(6):
        ...     optimizer.step()
        ...     scheduler.step()
        >>> scheduler.get_last_lr()
        [0.2]

    Source: Herbert Robbins and Sutton Monro, "A stochastic approximation method", 1951.
    """
    check_number("decay_rate", decay_rate)
    if not 0 <= decay_rate < float("inf"):
        raise ValueError(f"decay_rate must be 0 or larger and finite, not {decay_rate}")
    _check_steps(decay_steps, staircase)
    return _FromNow(optimizer, partial(_inverse_time, decay_rate, decay_steps, staircase))


def step_decay(optimizer: Optimizer, decay_rate: float, decay_steps: float) -> LambdaLR:
    """Multiply the learning rate by a factor every s steps, and keep it in between: αₜ = α₀ · r^⌊t / s⌋.

    The same as `exponential_decay` with a staircase.

    Args:
        optimizer: the learning rates that it has now are α₀.
        decay_rate: r, the factor, larger than 0 and at most 1.
        decay_steps: s, the steps from one fall to the next, a whole number larger than 0.

    Raises:
        ValueError: a decay rate outside (0, 1], or steps that are not positive, or not whole.
        TypeError: a setting that is no number.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.8)
        >>> scheduler = step_decay(optimizer, 0.5, decay_steps=2)
        >>> rates = []
        >>> for _ in range(5):
        ...     rates += scheduler.get_last_lr()
        ...     optimizer.step()
        ...     scheduler.step()
        >>> rates
        [0.8, 0.8, 0.4, 0.4, 0.2]
    """
    return exponential_decay(optimizer, decay_rate, decay_steps, staircase=True)


def cosine_decay(optimizer: Optimizer, decay_steps: float, *, final: float = 0.0) -> LambdaLR:
    """Let the learning rate fall along half a wave: slowly, then fast, then slowly, to the end of training.

        αₜ = α₀ · (f + (1 - f) · (1 + cos(π · t / s)) / 2)

    From step s on it stays at f · α₀.

    Args:
        optimizer: the learning rates that it has now are α₀.
        decay_steps: s, the steps of the whole fall, larger than 0.
        final: f, what is left of the rate at the end, as a share from 0 to 1.

    Raises:
        ValueError: steps that are not positive, or a final share outside [0, 1].
        TypeError: a setting that is no number.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.8)
        >>> scheduler = cosine_decay(optimizer, decay_steps=4)
        >>> for _ in range(2):
        ...     optimizer.step()
        ...     scheduler.step()
        >>> round(scheduler.get_last_lr()[0], 6)
        0.4

    Source: Ilya Loshchilov and Frank Hutter, "SGDR: Stochastic gradient descent with warm restarts", 2017.
    """
    _check_steps(decay_steps, staircase=False)
    check_number("final", final)
    if not 0 <= final <= 1:
        raise ValueError(f"final must be a share from 0 to 1, not {final}")
    return _FromNow(optimizer, partial(_cosine, decay_steps, final))


class _FromNow(LambdaLR):
    """PyTorch's scheduler, but for the rates that it starts from."""

    def __init__(self, optimizer: Optimizer, factor: Callable[[int], float]) -> None:
        # PyTorch starts from "initial_lr", which the first schedule of an optimizer leaves in its groups. It is left
        # there, since others that were made before may still be chained.
        left = [group.pop("initial_lr", None) for group in optimizer.param_groups]
        super().__init__(optimizer, factor)
        for group, rate in zip(optimizer.param_groups, left, strict=True):
            if rate is not None:
                group["initial_lr"] = rate

    def get_lr(self) -> list[float | Tensor]:
        if self.last_epoch == 0:  # made just now; or its turn has come among those that PyTorch chains
            self.base_lrs = [group["initial_lr"] for group in self.optimizer.param_groups]
        return super().get_lr()


# Functions of a module, so that a scheduler can be pickled and copied.


def _exponential(decay_rate: float, decay_steps: float, staircase: bool, step: int) -> float:
    return decay_rate ** (step // decay_steps if staircase else step / decay_steps)


def _inverse_time(decay_rate: float, decay_steps: float, staircase: bool, step: int) -> float:
    return 1 / (1 + decay_rate * (step // decay_steps if staircase else step / decay_steps))


def _cosine(decay_steps: float, final: float, step: int) -> float:
    return final + (1 - final) * (1 + math.cos(math.pi * min(step / decay_steps, 1))) / 2


def _check_steps(decay_steps: float, staircase: bool) -> None:
    check_number("decay_steps", decay_steps)
    if not 0 < decay_steps < float("inf"):
        raise ValueError(f"decay_steps must be larger than 0 and finite, not {decay_steps}")
    if staircase and decay_steps != int(decay_steps):
        raise ValueError(
            f"decay_steps must be a whole number of steps where the rate falls in jumps, not {decay_steps}"
        )
