"""From scores to probabilities: softmax and its logarithm, with a temperature."""

import torch
from torch import Tensor

__all__ = ["log_softmax", "softmax"]


def softmax(logits: Tensor, temperature: float = 1.0, *, dim: int = -1) -> Tensor:
    """Exponentiate the scores and divide by the sum.

        S(y)ᵢ = exp(yᵢ / T) / Σⱼ exp(yⱼ / T)

    Only differences of scores count: adding a constant to all of them changes nothing. That is used here: the largest
    score is taken off first, so that no exponential can overflow. Multiplying the scores by ten is the temperature
    T = 1/10 (nearer to 0 and 1); dividing them by ten is T = 10 (nearer to uniform).

    Args:
        logits: scores, of any floating-point dtype. Not modified.
        temperature: T, in units of the scores; larger than 0.
        dim: the dimension that the classes lie along.

    Shape:
        logits (*, K); returns (*, K), where K lies at ``dim``.

    Raises:
        TypeError: the logits are not floating point.
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
    shifted = _shift(logits, temperature, dim)
    exponentials = shifted.exp()
    return exponentials / exponentials.sum(dim, keepdim=True)


def log_softmax(logits: Tensor, temperature: float = 1.0, *, dim: int = -1) -> Tensor:
    """The logarithm of `softmax`, computed without the exponentials that could vanish.

        log S(y)ᵢ = yᵢ / T - log Σⱼ exp(yⱼ / T)

    ``softmax(y).log()`` is -inf where a probability is smaller than the smallest number; this is not.

    Args:
        logits: scores, of any floating-point dtype. Not modified.
        temperature: T, in units of the scores; larger than 0.
        dim: the dimension that the classes lie along.

    Shape:
        logits (*, K); returns (*, K), where K lies at ``dim``.

    Raises:
        TypeError: the logits are not floating point.
        ValueError: the temperature is not positive and finite.

    Example:
        >>> log_softmax(torch.tensor([0.0, -200.0]))
        tensor([   0., -200.])
        >>> softmax(torch.tensor([0.0, -200.0])).log()
        tensor([0., -inf])
    """
    shifted = _shift(logits, temperature, dim)
    return shifted - shifted.exp().sum(dim, keepdim=True).log()


def _shift(logits: Tensor, temperature: float, dim: int) -> Tensor:
    """The scores in units of the temperature, with the largest at 0."""
    if not logits.is_floating_point():
        raise TypeError(f"logits must be floating point, not {logits.dtype}")
    smallest = torch.finfo(logits.dtype).tiny
    if not smallest <= temperature < float("inf"):
        reason = f" ({logits.dtype} holds nothing below {smallest:.2g})" if 0 < temperature < 1 else ""
        raise ValueError(f"temperature must be larger than 0 and finite, not {temperature}{reason}")
    # The shift cancels out, in the value and in the gradient: autograd need not follow it. It comes before the
    # division, so that large scores at a small temperature do not overflow either.
    shifted = logits - logits.detach().amax(dim, keepdim=True)
    return shifted if temperature == 1.0 else shifted / temperature
