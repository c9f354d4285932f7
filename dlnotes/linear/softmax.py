"""From scores to probabilities: softmax and its logarithm, with a temperature."""

import torch
from torch import Tensor

from dlnotes.arguments import check_number, check_tensor

__all__ = ["log_softmax", "softmax"]


def softmax(logits: Tensor, temperature: float | Tensor = 1.0, *, dim: int = -1) -> Tensor:
    """Exponentiate the scores and divide by the sum.

        S(y)ᵢ = exp(yᵢ / T) / Σⱼ exp(yⱼ / T)

    Only differences of scores count: adding a constant to all of them changes nothing. That is used here: the largest
    score is taken off first, so that no exponential can overflow. Multiplying the scores by ten is the temperature
    T = 1/10 (nearer to 0 and 1); dividing them by ten is T = 10 (nearer to uniform).

    Args:
        logits: scores, of any floating-point dtype; those in half precision are summed up in single. Not modified.
        temperature: T, in units of the scores, larger than 0; a tensor of one number may want a gradient.
        dim: the dimension that the classes lie along.

    Shape:
        logits (*, K); returns (*, K), where K lies at ``dim``.

    Raises:
        TypeError: the logits are no tensor of floating-point numbers, or the temperature is no number.
        ValueError: the temperature is not positive and finite.

    Example:
        >>> softmax(torch.tensor([3.0, 1.0, 0.2])).round(decimals=3)
        tensor([0.8360, 0.1130, 0.0510])
        >>> softmax(torch.tensor([1000.0, 1000.0]))
        tensor([0.5000, 0.5000])

    Where it breaks:
        A score of +inf, or scores that are all -inf, give nan, as in PyTorch.

    Source: John S. Bridle, "Probabilistic interpretation of feedforward classification network outputs", 1990.
    """
    check_tensor("logits", logits)
    if _is_half(logits):
        return _like(logits, softmax(logits.float(), temperature, dim=dim))
    shifted = _shift(logits, temperature, dim)
    exponentials = shifted.exp()
    return exponentials / exponentials.sum(dim, keepdim=True)


def log_softmax(logits: Tensor, temperature: float | Tensor = 1.0, *, dim: int = -1) -> Tensor:
    """The logarithm of `softmax`, computed without the exponentials that could vanish.

        log S(y)ᵢ = yᵢ / T - log Σⱼ exp(yⱼ / T)

    ``softmax(y).log()`` is -inf where a probability is smaller than the smallest number; this is not.

    Args:
        logits: scores, of any floating-point dtype; those in half precision are summed up in single. Not modified.
        temperature: T, in units of the scores, larger than 0; a tensor of one number may want a gradient.
        dim: the dimension that the classes lie along.

    Shape:
        logits (*, K); returns (*, K), where K lies at ``dim``.

    Raises:
        TypeError: the logits are no tensor of floating-point numbers, or the temperature is no number.
        ValueError: the temperature is not positive and finite.

    Example:
        >>> log_softmax(torch.tensor([0.0, -200.0]))
        tensor([   0., -200.])
        >>> softmax(torch.tensor([0.0, -200.0])).log()
        tensor([0., -inf])
    """
    check_tensor("logits", logits)
    if _is_half(logits):
        return _like(logits, log_softmax(logits.float(), temperature, dim=dim))
    shifted = _shift(logits, temperature, dim)
    return shifted - shifted.exp().sum(dim, keepdim=True).log()


def _is_half(logits: Tensor) -> bool:
    """Whether a sum over many classes would overflow (at 65,504), or be left with two digits."""
    return logits.dtype.itemsize < 4 and logits.is_floating_point()


def _like(logits: Tensor, single: Tensor) -> Tensor:
    """The result in the dtype of the scores; under autocast it stays in single precision, as PyTorch's does."""
    return single if torch.is_autocast_enabled(logits.device.type) else single.to(logits.dtype)


def _shift(logits: Tensor, temperature: float | Tensor, dim: int) -> Tensor:
    """The scores in units of the temperature, with the largest at 0."""
    if not logits.is_floating_point():
        raise TypeError(f"logits must be floating point, not {logits.dtype}")
    check_number("temperature", temperature)
    smallest = torch.finfo(logits.dtype).tiny
    if not smallest <= temperature < float("inf"):
        reason = f" ({logits.dtype} holds nothing below {smallest:.2g})" if 0 < temperature < 1 else ""
        raise ValueError(f"temperature must be larger than 0 and finite, not {temperature}{reason}")
    # The shift cancels out, in the value and in the gradient: autograd need not follow it. It comes before the
    # division, so that large scores at a small temperature do not overflow either.
    shifted = logits - logits.detach().amax(dim, keepdim=True)
    # A tensor of 1 divides too: it may be a temperature that is learned.
    return shifted if temperature == 1.0 and not isinstance(temperature, Tensor) else shifted / temperature
