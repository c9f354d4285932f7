"""How far probabilities are from the labels: cross-entropy and one-hot labels."""

from contextlib import suppress

import torch
from torch import Tensor
from torch.nn import functional

from dlnotes.arguments import check_tensor
from dlnotes.linear.softmax import log_softmax

__all__ = ["cross_entropy", "one_hot"]


def one_hot(labels: Tensor, classes: int, *, dtype: torch.dtype | None = None) -> Tensor:
    """Each label as a vector that is one at the label's place and zero elsewhere.

    Args:
        labels: integers from 0 to K - 1.
        classes: K, 1 or more.
        dtype: of the result; PyTorch's default floating point where not given.

    Shape:
        labels (*); returns (*, K).

    Raises:
        TypeError: the labels are no tensor of integers.
        ValueError: there are no classes, or a label lies outside 0 to K - 1.

    Example:
        >>> one_hot(torch.tensor([2, 0]), 3)
        tensor([[0., 0., 1.],
                [1., 0., 0.]])
    """
    check_tensor("labels", labels)
    _check_labels(labels, classes)
    zeros = torch.zeros(*labels.shape, classes, dtype=dtype, device=labels.device)
    return zeros.scatter_(-1, labels.long().unsqueeze(-1), 1)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """The mean over examples of the cross-entropy between labels and the softmax of the scores, in nats.

        loss = (1/N) Σₙ D(S(yₙ), Lₙ)        D(S, L) = - Σᵢ Lᵢ log Sᵢ

    It measures how far S is from L, but is no distance: it is not symmetric, and D(L, L) is the entropy of L, which is
    zero only where L is one-hot. Its gradient with respect to the scores is (S - L) / N. Labels may want a gradient
    too: theirs is -log S / N. A label of 0 adds nothing to the loss, even where S is 0; there its gradient would be
    infinite, and we return 0, as ``torch.xlogy`` does. Nobody checks that the labels of an example sum to 1. Scores
    that are all equal give ln K: the value to see at the first step of training.

    Args:
        logits: scores. Not probabilities: the softmax is taken here, by its stable logarithm.
        targets: class numbers from 0 to K - 1, or labels as probabilities (one-hot or soft).

    Shape:
        logits (N, K); targets (N) of integers, or (N, K) of the scores' dtype; returns a scalar.

    Raises:
        TypeError: the scores are no tensor of floating-point numbers, or the targets none of integers or of the
            scores' dtype.
        ValueError: the shapes do not fit, there is no example, or a class number lies outside 0 to K - 1 (compiled, or
            with labels under ``vmap``, that is PyTorch's own error).

    Example:
        >>> cross_entropy(torch.zeros(4, 10), torch.tensor([0, 3, 9, 9]))
        tensor(2.3026)
        >>> cross_entropy(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.5, 0.5]]))
        tensor(1.1269)

    Source: Thomas M. Cover and Joy A. Thomas, "Elements of Information Theory", 2006.
    """
    check_tensor("logits", logits)
    if not logits.is_floating_point():
        raise TypeError(f"logits must be floating point, not {logits.dtype}")
    check_targets(targets, logits)
    if targets.ndim == 1 and logits.dtype.itemsize >= 4:
        # PyTorch's operator instead of our five: a small model spends more time on its loss than on itself.
        return negative_log_likelihood(torch.log_softmax(logits, 1), targets)
    return negative_log_likelihood(log_softmax(logits), targets)


def check_targets(targets: Tensor, logits: Tensor) -> None:
    """Refuse scores of no example, and targets that do not fit; the range of class numbers is checked where it is used.

    Raises:
        ValueError, TypeError: as `cross_entropy` says.
    """
    check_tensor("targets", targets)
    if logits.ndim != 2 or not logits.numel():
        raise ValueError(f"logits must have the shape (N, K) with N and K of 1 or more, not {tuple(logits.shape)}")
    count, classes = logits.shape
    if targets.shape == (count,):
        _check_kind(targets)
    elif targets.shape != logits.shape:
        raise ValueError(
            f"targets must have the shape ({count},) for class numbers or ({count}, {classes}) for probabilities, "
            f"to fit logits of shape ({count}, {classes}), not {tuple(targets.shape)}"
        )
    elif targets.dtype != logits.dtype:
        raise TypeError(f"targets given as probabilities must be {logits.dtype} as the logits, not {targets.dtype}")


def negative_log_likelihood(log_probabilities: Tensor, targets: Tensor) -> Tensor:
    """The mean of D(S, L), from log S and targets that fit."""
    if targets.ndim == 1:
        return _minus_log_at(targets, log_probabilities)
    # A label of exactly 0 counts nothing, also where the class has no probability at all (0 · -inf is nan). Where it
    # has some, the product is 0 by itself, and the gradient of the label goes through it.
    counted = (targets != 0) | log_probabilities.isfinite()
    return -(targets * log_probabilities.where(counted, 0)).sum(1).mean()


def _minus_log_at(labels: Tensor, log_probabilities: Tensor) -> Tensor:
    """The mean of -log S at each label, which is all that is left of D(S, L) where L is 1 at one place."""
    classes, half = log_probabilities.shape[1], log_probabilities.dtype.itemsize < 4
    if half or log_probabilities.device.type != "cpu":
        with suppress(RuntimeError):  # labels under vmap cannot be looked at
            _check_labels(labels, classes)
    if half:
        return -log_probabilities.gather(1, labels.long().unsqueeze(1)).mean()
    try:
        # The same in one operator; in half precision it would add up what does not fit.
        return functional.nll_loss(log_probabilities, labels.long(), ignore_index=_NO_LABEL)
    except (IndexError, RuntimeError):
        # On a CPU PyTorch checks the labels itself, and says less.
        with suppress(RuntimeError):
            _check_labels(labels, classes)
        raise


# nll_loss silently skips labels that equal ignore_index, by itself -100. We name a number that no label has, so that
# -100 is refused as any other bad label. (Not -2**63: that is what nan becomes.)
_NO_LABEL = -(2**62) - 1


def _check_labels(labels: Tensor, classes: int) -> None:
    if classes < 1:
        raise ValueError(f"there must be 1 class or more, not {classes}")
    _check_kind(labels)
    if labels.numel():
        low, high = torch.stack(labels.long().aminmax()).tolist()  # one wait for a GPU, not two
        if low < 0 or high >= classes:
            raise ValueError(f"labels must be from 0 to {classes - 1}, but they go from {low} to {high}")


def _check_kind(labels: Tensor) -> None:
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"labels must be integers, not {labels.dtype}")
