"""L2 regularisation: the penalty, who is to pay it, and how many parameters are left.

The link `dlnotes.linear.l2` adds the gradient of the penalty, λ w, to that of the loss. For plain descent the two are
one and the same, and for momentum where the link stands in front of it. Behind a division by the size of past gradients
they part, and the order of the chain says which is meant:

    GradientDescent(parameters, l2(λ), adagrad_scaling(), lr=α)     the penalty: its gradient is scaled like the loss's
    GradientDescent(parameters, adagrad_scaling(), l2(λ), lr=α)     weight decay: a step shrinks the weights by 1 - αλ
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from dlnotes.arguments import check_number, check_tensor
from dlnotes.linear import l2
from dlnotes.linear.weights import parts_of

__all__ = ["effective_degrees_of_freedom", "l2", "l2_penalty", "weight_decay_groups"]


def _check_strength(strength: float) -> None:
    check_number("the strength of L2 regularisation", strength)
    if not 0 <= strength < math.inf:
        raise ValueError(f"the strength of L2 regularisation must be 0 or larger and finite, not {strength}")


def l2_penalty(weights: Iterable[Tensor], strength: float) -> Tensor:
    """The price of large weights, to be added to the loss: ½ λ ‖w‖².

    Args:
        weights: the tensors that pay; usually the weights of a network and not its biases.
        strength: λ, 0 or larger.

    Returns:
        A scalar with a gradient, which is λ w; of weights in half precision it is in single, where it cannot overflow.

    Raises:
        ValueError: a negative or infinite strength, or no weights.
        TypeError: a strength that is no number, or weights that are no tensors.

    Example:
        >>> w = torch.tensor([3.0, 4.0], requires_grad=True)
        >>> penalty = l2_penalty([w], 0.1)                # ½ · 0.1 · 25
        >>> penalty.backward()
        >>> round(penalty.item(), 4), w.grad
        (1.25, tensor([0.3000, 0.4000]))

    Source: Anders Krogh and John A. Hertz, "A simple weight decay can improve generalization", 1992.
    """
    _check_strength(strength)
    weights = list(weights)
    for weight in weights:
        check_tensor("each weight", weight)
    squares = [weight.to(torch.promote_types(weight.dtype, torch.float32)).square().sum() for weight in weights]
    if not squares:
        raise ValueError("l2_penalty needs at least one tensor of weights")
    return strength / 2 * torch.stack(squares).sum()


def weight_decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two parameter groups for an optimizer: weights, which pay the penalty, and biases and scales, which do not.

    A weight is what `initialize` takes for one: a parameter of two dimensions or more that is neither called a bias nor
    the scale of a normalisation. Parameters without a gradient are left out. It is the optimizer
    that makes them pay: `SGD` and those of PyTorch do, and a chain of `GradientDescent` where `l2` is one of its links.

    Args:
        model: any network.
        weight_decay: λ, 0 or larger.

    Raises:
        ValueError: a negative or infinite strength.
        TypeError: a strength that is no number.

    Example:
        >>> groups = weight_decay_groups(nn.Linear(3, 2), 0.1)
        >>> [(group["weight_decay"], [tuple(one.shape) for one in group["params"]]) for group in groups]
        [(0.1, [(2, 3)]), (0.0, [(2,)])]
    """
    _check_strength(weight_decay)
    learned = [part for part in parts_of(model) if part.parameter.requires_grad]
    return [
        {"params": [part.parameter for part in learned if part.role == "weight"], "weight_decay": weight_decay},
        {"params": [part.parameter for part in learned if part.role != "weight"], "weight_decay": 0.0},
    ]


def effective_degrees_of_freedom(inputs: Tensor, strength: float) -> float:
    """How many parameters a ridge regression has, in effect: Σᵢ dᵢ² / (dᵢ² + λ).

    The fit ŷ = X (XᵀX + λI)⁻¹ Xᵀ y shrinks the part of y along each singular direction of X by dᵢ² / (dᵢ² + λ). The sum
    of these factors is the trace of the matrix that maps y to ŷ: the rank of X where λ is 0, and less the larger λ is,
    down to 0. The number of weights stays as it is throughout. A direction no longer than the rounding of X does not
    count at any λ, so that a λ next to 0 gives the rank.

    Args:
        inputs: X. A column of ones for the bias would be penalised too: centre X and y in its stead.
        strength: λ of ½‖y - X w‖² + ½ λ ‖w‖², with squared errors summed over examples, 0 or larger.

    Shape:
        inputs (N, d), float32 or float64.

    Raises:
        TypeError: inputs that are no tensor, or of another kind of number; a strength that is no number.
        ValueError: a negative or infinite strength, or inputs that are no finite matrix.

    Example:
        >>> X = torch.diag(torch.tensor([1.0, 2.0, 0.0]))
        >>> effective_degrees_of_freedom(X, 0.0), effective_degrees_of_freedom(X, 1.0)       # 1/2 + 4/5
        (2.0, 1.3)

    Source: Arthur E. Hoerl and Robert W. Kennard, "Ridge regression: biased estimation for nonorthogonal problems",
    1970; Trevor Hastie, Robert Tibshirani and Jerome Friedman, "The elements of statistical learning", 2009, section
    3.4.1.
    """
    _check_strength(strength)
    check_tensor("inputs", inputs)
    if inputs.ndim != 2 or not inputs.isfinite().all():
        raise ValueError(f"inputs must be a matrix (N, d) of finite numbers, not of shape {tuple(inputs.shape)}")
    if inputs.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"inputs must be float32 or float64, not {inputs.dtype}")
    d = torch.linalg.svdvals(inputs.detach().double())
    # Rounding each number of X to the next of its dtype changes no d by more than √(number of d) · ε · max d. We allow
    # ten times that, since X may have been rounded on its way, and no more than torch.linalg.matrix_rank does.
    units = min(max(inputs.shape), 10 * math.sqrt(len(d)))
    rounding = units * torch.finfo(inputs.dtype).eps * d.max().item() if len(d) else 0.0
    d = d[d > rounding]
    if strength == 0:
        return float(len(d))
    return float((d / (d + strength / d)).sum())  # without a square, which could overflow
