"""Rows 4.22 and 4.26: the measures that what a model writes is judged by, against recursion and counting."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlnotes.text import distinct_ngrams, edit_distance, error_rate
from tests import reference

WORDS = st.text("abc", max_size=6)


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        ("", "", 0),
        ("", "abc", 3),
        ("abc", "", 3),
        ("abc", "abc", 0),
        ("abc", "abd", 1),  # replaced
        ("abc", "ab", 1),  # deleted
        ("abc", "xabc", 1),  # inserted
        ("ab", "ba", 2),  # an exchange is two edits
        ("saturday", "sunday", 3),
        ([1, 2, 3], (1, 3), 1),
    ],
)
def test_edits_by_hand(one, other, distance):
    assert edit_distance(one, other) == distance


@given(one=WORDS, other=WORDS)
def test_the_distance_is_its_recursion_and_the_same_either_way(one, other):
    distance = edit_distance(one, other)
    assert distance == reference.edit_distance(one, other) == edit_distance(other, one)
    assert distance == edit_distance(one[::-1], other[::-1])
    assert (distance == 0) == (one == other)
    assert abs(len(one) - len(other)) <= distance <= max(len(one), len(other))


@given(one=WORDS, other=WORDS, third=WORDS)
def test_a_detour_is_not_shorter(one, other, third):
    assert edit_distance(one, third) <= edit_distance(one, other) + edit_distance(other, third)


def test_the_error_rate_is_edits_over_symbols_that_were_wanted():
    """Each symbol counts as much as any other: not the mean of the words' rates."""
    assert error_rate(["a", "xyz"], ["b", "xyz"]) == 1 / 4
    assert error_rate([[1, 2], []], [[1, 2], [3]]) == 1 / 3
    assert error_rate(["aaaa"], ["b"]) == 4.0  # above 1
    assert error_rate(["", "ab"], ["", "ab"]) == 0.0
    assert error_rate(["ab", "abc"], ["abc", "ab"]) == 2 / 5


def test_distinct_runs_by_hand():
    assert distinct_ngrams("aaaa", 1) == 1 / 4
    assert distinct_ngrams("aaaa", 2) == 1 / 3
    assert distinct_ngrams("abab", 2) == 2 / 3
    assert distinct_ngrams([3, 1, 3, 1, 3], 4) == 1.0
    assert distinct_ngrams("abc", 3) == 1.0


@given(symbols=st.lists(st.integers(0, 3), min_size=4, max_size=30), n=st.integers(1, 4))
def test_distinct_runs_are_those_that_were_not_there_before(symbols, n):
    runs = [symbols[begin : begin + n] for begin in range(len(symbols) - n + 1)]
    fresh = [run for place, run in enumerate(runs) if run not in runs[:place]]
    assert distinct_ngrams(symbols, n) == len(fresh) / len(runs)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: error_rate(["a"], ["a", "b"]), ValueError, "one sequence for each that is wanted, not 1 for 2"),
        (lambda: error_rate(["a"], [""]), ValueError, "there must be a symbol that is wanted"),
        (lambda: error_rate([], []), ValueError, "there must be a symbol that is wanted"),
        (lambda: distinct_ngrams("ab", 0), ValueError, "n must be an int of 1 or more, not 0"),
        (lambda: distinct_ngrams("ab", 3), ValueError, "the sequence must have 3 symbols or more, not 2"),
    ],
)
def test_what_cannot_be_judged_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_tensors_are_refused():
    """Four equal symbols of a tensor are four objects: they would count as distinct."""
    ids = torch.zeros(4, dtype=torch.int64)
    for call in (
        lambda: distinct_ngrams(ids, 2),
        lambda: edit_distance(ids, [0]),
        lambda: edit_distance([0], ids),
        lambda: error_rate([ids], [[0]]),
    ):
        with pytest.raises(TypeError, match=r"text, a list or a tuple, not a tensor: make it one by tolist\(\)"):
            call()
    assert distinct_ngrams(ids.tolist(), 2) == 1 / 3
