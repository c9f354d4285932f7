"""Learning rates that fall with the number of steps, as schedulers of PyTorch.

Each returns a scheduler of ``torch.optim.lr_scheduler``: it works with any optimizer, with `Trainer`, and with
PyTorch's own ways to combine schedulers. Step, cosine and one-cycle schedules are PyTorch's: ``StepLR``,
``CosineAnnealingLR``, ``OneCycleLR``.
"""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

__all__ = ["exponential_decay", "inverse_time_decay"]


def exponential_decay(
    optimizer: Optimizer, decay_rate: float, decay_steps: float = 1.0, *, staircase: bool = False
) -> LambdaLR:
    """Multiply the learning rate by the same factor again and again: αₜ = α₀ · r^(t / s).

    Args:
        optimizer: its learning rates are α₀.
        decay_rate: r, the factor, larger than 0 and at most 1.
        decay_steps: s, the steps after which the factor was applied once, larger than 0.
        staircase: let the rate fall in jumps, every s steps, by rounding t / s down.

    Raises:
        ValueError: a decay rate outside (0, 1], or steps that are not positive.

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
    if not 0 < decay_rate <= 1:
        raise ValueError(f"decay_rate must be larger than 0 and at most 1, not {decay_rate}")
    _check_steps(decay_steps)
    return LambdaLR(optimizer, lambda step: decay_rate ** (step // decay_steps if staircase else step / decay_steps))


def inverse_time_decay(
    optimizer: Optimizer, decay_rate: float, decay_steps: float = 1.0, *, staircase: bool = False
) -> LambdaLR:
    """Divide the learning rate by a number that grows evenly: αₜ = α₀ / (1 + r · t / s).

    With r above 0 the sum of the rates grows without bound and that of their squares does not, which is what
    stochastic approximation needs to converge.

    Args:
        optimizer: its learning rates are α₀.
        decay_rate: r, 0 or larger; 1 halves the rate after s steps.
        decay_steps: s, in steps, larger than 0.
        staircase: let the rate fall in jumps, every s steps, by rounding t / s down.

    Raises:
        ValueError: a negative decay rate, or steps that are not positive.

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
    if not 0 <= decay_rate < float("inf"):
        raise ValueError(f"decay_rate must be 0 or larger and finite, not {decay_rate}")
    _check_steps(decay_steps)
    return LambdaLR(
        optimizer,
        lambda step: 1 / (1 + decay_rate * (step // decay_steps if staircase else step / decay_steps)),
    )


def _check_steps(decay_steps: float) -> None:
    if not 0 < decay_steps < float("inf"):
        raise ValueError(f"decay_steps must be larger than 0 and finite, not {decay_steps}")
