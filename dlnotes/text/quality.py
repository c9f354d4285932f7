"""How good a sequence is that a model wrote: beside the right one, or, where there is none, by what it repeats."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from dlnotes.arguments import check_counts

__all__ = ["distinct_ngrams", "edit_distance", "error_rate"]


def edit_distance(one: Sequence[Any], other: Sequence[Any]) -> int:
    """The least number of symbols to insert, delete or replace that makes one sequence the other.

        D(i, j) = min(D(i-1, j) + 1, D(i, j-1) + 1, D(i-1, j-1) + [one(i) ≠ other(j)])        for their first i and j
        D(i, 0) = i,  D(0, j) = j

    Raises:
        TypeError: a tensor.

    Example:
        >>> edit_distance("G IH G L IH S".split(), "G IH G AH L Z".split())
        3
        >>> edit_distance("kitten", "sitting")
        3

    Source: Vladimir Levenshtein, "Binary codes capable of correcting deletions, insertions, and reversals", 1966.
    """
    _check_sequences(one, other)
    row = list(range(len(other) + 1))
    for i, symbol in enumerate(one, 1):
        diagonal, row[0] = row[0], i
        for j, wanted in enumerate(other, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (symbol != wanted))
    return row[-1]


def error_rate(found: Sequence[Sequence[Any]], wanted: Sequence[Sequence[Any]]) -> float:
    """All edits that make what was found what was wanted, for each symbol that was wanted.

        Σ edit_distance(found, wanted) / Σ length of wanted

    Of sounds it is called the phone error rate, of words the word error rate. It can be above 1.

    Raises:
        ValueError: not as many found as wanted, or no symbol that was wanted.
        TypeError: tensors.

    Example:
        >>> error_rate(["abc", "abd"], ["abc", "abc"])
        0.16666666666666666
    """
    if len(found) != len(wanted):
        raise ValueError(f"there must be one sequence for each that is wanted, not {len(found)} for {len(wanted)}")
    symbols = sum(map(len, wanted))
    if not symbols:
        raise ValueError("there must be a symbol that is wanted")
    return sum(map(edit_distance, found, wanted)) / symbols


def distinct_ngrams(sequence: Sequence[Any], n: int) -> float:
    """The share of the runs of n symbols in a sequence that are there for the first time: 1 where nothing repeats.

    Raises:
        ValueError: a run below 1, or a sequence shorter than that.
        TypeError: a tensor.

    Example:
        >>> distinct_ngrams("abcabc", 2)            # ab, bc, ca, and again ab, bc
        0.6

    Source: Jiwei Li et al., "A diversity-promoting objective function for neural conversation models", 2016.
    """
    check_counts(n=n)
    _check_sequences(sequence)
    runs = [tuple(sequence[begin : begin + n]) for begin in range(len(sequence) - n + 1)]
    if not runs:
        raise ValueError(f"the sequence must have {n} symbols or more, not {len(sequence)}")
    return len(set(runs)) / len(runs)


def _check_sequences(*sequences: Sequence[Any]) -> None:
    """Refuse tensors: their elements are tensors too, which a set does not know to be equal."""
    if any(isinstance(sequence, Tensor) for sequence in sequences):
        raise TypeError("a sequence must be text, a list or a tuple, not a tensor: make it one by tolist()")
