"""Seeds, settings and measured numbers as a user and an author write them."""

import math

import numpy as np
import pytest

from dlnotes.lesson.catalog import UsageError
from dlnotes.lesson.experiment import Trials, measure, seeds_from


@pytest.mark.parametrize(
    ("text", "seeds"), [("1", [0]), ("3", [0, 1, 2]), ("4-7", [4, 5, 6, 7]), ("5-5", [5]), ("9,0,3,3", [0, 3, 9])]
)
def test_seeds_as_a_user_writes_them(text, seeds):
    assert list(seeds_from(text)) == seeds


@pytest.mark.parametrize("text", ["", "-", "3-", "-3", "7-4", "1.5", "a", "1,,2", "0", "1-2-3", "²"])
def test_seeds_that_cannot_be_read(text):
    with pytest.raises(UsageError, match="--seeds expects"):
        seeds_from(text)


def test_a_trial_gives_plain_numbers_and_lists_of_them():
    measured = measure(lambda config, seed: {"a": 1, "b": [1.5, math.inf], "c": True}, None, 0)
    assert measured["a"] == 1.0
    assert measured["c"] == 1.0
    assert measured["b"][0] == 1.5
    assert math.isnan(measured["b"][1])


@pytest.mark.parametrize("wrong", [None, {}, [1.0], {"a": "1"}, {"a": None}, {"a": np.ones(2)}])
def test_a_trial_that_gives_something_else_is_refused(wrong):
    with pytest.raises(TypeError, match="must"):
        measure(lambda config, seed: wrong, None, 0)


def test_trials_are_arrays_over_the_seeds_in_order():
    trials = Trials("config", {3: {"gain": 3.0, "curve": [3.0, 4.0]}, 1: {"gain": 1.0, "curve": [1.0, 2.0]}})
    assert trials.seeds == (1, 3)
    assert trials["gain"].tolist() == [1.0, 3.0]
    assert trials["curve"].shape == (2, 2)
    with pytest.raises(KeyError, match="nothing named 'loss' was measured; measured: gain, curve"):
        trials["loss"]
