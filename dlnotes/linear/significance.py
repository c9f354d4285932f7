"""Whether a change made a classifier better: what two classifiers do differently on the same examples.

Examples that both get right, or both wrong, say nothing about which one is better. What counts are the *discordant*
examples, that one gets right and the other wrong: b gained and c lost, of which b - c is the net gain, and b + c the
disagreement. The notes' rule of thumb looks at such flips alone; McNemar's test says what they are worth.
"""

import operator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from dlnotes.arguments import check_number, check_tensor

__all__ = ["Flips", "discordant", "largest_disagreement", "mcnemar_test", "rule_of_thirty"]


class Flips(NamedTuple):
    """The examples on which two classifiers are not both right or both wrong.

    Attributes:
        gained: how many only the new one gets right.
        lost: how many only the old one gets right.
    """

    gained: int
    lost: int

    @property
    def net(self) -> int:
        """By how many examples the new classifier is ahead."""
        return self.gained - self.lost

    @property
    def total(self) -> int:
        """How many examples changed at all, one way or the other."""
        return self.gained + self.lost


def discordant(before: Tensor, after: Tensor, targets: Tensor) -> Flips:
    """Count the examples that a change made right, and those that it made wrong.

    An example that is wrong before and after counts as neither, also where the wrong class is another one.

    Args:
        before: what the old classifier says of each example: class numbers (N,), or scores (N, K) of which the largest
            is its answer.
        after: the same of the new one, on the same examples in the same order.
        targets: the right class numbers.

    Shape:
        before and after (N,) of integers, or (N, K) with any K; targets (N,) of integers.

    Returns:
        Two ints: how many examples were ``gained`` and how many ``lost``.

    Raises:
        ValueError: shapes that do not fit each other, or scores that are nan: they name no class.
        TypeError: class numbers that are not integers; what is no tensor.

    Example:
        Only the first example becomes right, and the last two become wrong:

        >>> targets = torch.tensor([0, 1, 2, 3])
        >>> flips = discordant(torch.tensor([9, 1, 2, 3]), torch.tensor([0, 1, 9, 9]), targets)
        >>> flips, flips.net, flips.total
        (Flips(gained=1, lost=2), -1, 3)
    """
    for name, given in (("before", before), ("after", after), ("targets", targets)):
        check_tensor(name, given)
    if targets.ndim != 1:
        raise ValueError(f"targets must be class numbers of shape (N,), not {tuple(targets.shape)}")
    _check_integers("targets", targets)
    was, now = (_right(name, said, targets) for name, said in (("before", before), ("after", after)))
    return Flips(int((now & ~was).sum()), int((was & ~now).sum()))


def mcnemar_test(gained: int, lost: int) -> float:
    """The probability of flips at least so one-sided if each were as likely to be a gain as a loss.

        p = min(1, 2 · P(X ≥ max(b, c))),   X binomial with n = b + c draws of probability 1/2

    The exact two-sided test of McNemar: a coin is thrown for each discordant example. It is the only chance that it
    knows of: which examples were drawn. Whether the same training with another order of batches would have shown the
    same is another question (Dietterich, 1998), which a single pair of classifiers cannot answer.

    Args:
        gained: b, examples that only the new classifier gets right.
        lost: c, examples that only the old one gets right.

    Returns:
        p, larger than 0 unless it underflows, and at most 1; it is 1 where nothing flipped.

    Raises:
        ValueError: a negative count.
        TypeError: a count that is no integer.

    Example:
        Five of five coins on one side: 2 / 2⁵.

        >>> mcnemar_test(5, 0), mcnemar_test(2, 2)
        (0.0625, 1.0)

    Source: Quinn McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    1947.
    """
    gained, lost = _count("gained", gained), _count("lost", lost)
    if gained == lost:  # also without any flips, of which SciPy wants one or more
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(gained, gained + lost, 0.5).pvalue)


def rule_of_thirty(gained: int, lost: int, *, reading: Literal["net", "total"] = "net", threshold: int = 30) -> bool:
    """The notes' rule of thumb: does a change flip enough examples to be relied on?

    "Flips some 30 examples, one way or another" can be read in two ways, and both are here:

        net      |b - c| ≥ 30      the gain, or the loss, is 30 examples
        total     b + c  ≥ 30      30 examples changed, whichever way each

    Neither asks how many examples there are. The reading ``total`` holds for any two classifiers that differ enough,
    and is no evidence that either is better; ``net`` is, as long as not too many examples changed in all (see
    `largest_disagreement`).

    Args:
        gained: b, examples that only the new classifier gets right.
        lost: c, examples that only the old one gets right.
        reading: ``"net"`` or ``"total"``.
        threshold: the 30.

    Raises:
        ValueError: a negative count, a threshold below 1, or another reading.
        TypeError: a count or threshold that is no integer.

    Example:
        >>> rule_of_thirty(40, 10), rule_of_thirty(20, 15), rule_of_thirty(20, 15, reading="total")
        (True, False, True)
    """
    gained, lost, threshold = _count("gained", gained), _count("lost", lost), _count("threshold", threshold, least=1)
    if reading not in ("net", "total"):
        raise ValueError(f"reading must be 'net' or 'total', not {reading!r}")
    return (abs(gained - lost) if reading == "net" else gained + lost) >= threshold


def largest_disagreement(net: int = 30, alpha: float = 0.05) -> int:
    """Up to how many discordant examples a net gain is significant by `mcnemar_test`.

        max { n : p((n + d) / 2, (n - d) / 2) ≤ α },   n = d, d + 2, d + 4, …

    A net gain of d with n discordant examples is (n + d) / 2 gained and (n - d) / 2 lost, so that n is even where d is,
    and odd where d is. At a given d the probability p grows with n: below the number returned every n that is possible
    is significant, and above it none.

    Args:
        net: d, by how many examples one classifier is ahead, 1 or more.
        alpha: the largest p that counts as significant, between 0 and 1.

    Returns:
        n, of the parity of d; 0 where d examples are too few even if all go one way.

    Raises:
        ValueError: net below 1, or alpha outside (0, 1).
        TypeError: net is no integer, or alpha no number.

    Example:
        A net gain of 6 is significant if no example was lost (p = 2 / 2⁶), and not if one was (p = 2 · 9 / 2⁸):

        >>> largest_disagreement(6), mcnemar_test(6, 0), mcnemar_test(7, 1)
        (6, 0.03125, 0.0703125)

        McNemar's own statistic is d² / n, compared with a χ² of one degree of freedom: above 3.84 in 5 % of cases.
        This approximation allows a net gain of 30 among 234 examples, and the exact test among 218:

        >>> 30**2 / 234 > 3.8415 > 30**2 / 236, largest_disagreement(30)
        (True, 218)
    """
    net = _count("net", net, least=1)
    check_number("alpha", alpha)
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be between 0 and 1, not {alpha}")

    def significant(lost: int) -> bool:
        return mcnemar_test(lost + net, lost) <= alpha

    if not significant(0):
        return 0
    below, above = 0, 1  # lost examples: significant at the first, and, once doubled far enough, not at the second
    while significant(above):
        below, above = above, 2 * above
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (middle, above) if significant(middle) else (below, middle)
    return net + 2 * below


def _right(name: str, said: Tensor, targets: Tensor) -> Tensor:
    """Whether each example is classified right, (N,)."""
    if said.ndim not in (1, 2) or len(said) != len(targets) or not all(said.shape[1:]):
        raise ValueError(
            f"{name} must be class numbers (N,) or scores (N, K) of the {len(targets)} targets, "
            f"not of shape {tuple(said.shape)}"
        )
    if said.ndim == 1:
        _check_integers(name, said)
        return said == targets
    if not said.is_floating_point():
        raise TypeError(f"{name} of shape {tuple(said.shape)} must be scores, in floating point, not {said.dtype}")
    if said.isnan().any():
        raise ValueError(f"{name} has scores that are nan and name no class: did its training diverge?")
    return said.argmax(1) == targets


def _check_integers(name: str, numbers: Tensor) -> None:
    if numbers.is_floating_point() or numbers.is_complex() or numbers.dtype == torch.bool:
        raise TypeError(f"{name} of shape (N,) must be class numbers, which are integers, not {numbers.dtype}")


def _count(name: str, value: int, *, least: int = 0) -> int:
    try:
        count = operator.index(value)  # NumPy's integers too, and no floats
    except TypeError:
        raise TypeError(f"{name} must be an int, not {type(value).__name__} ({value!r})") from None
    if count < least:
        raise ValueError(f"{name} must be {least} or larger, not {count}")
    return count
