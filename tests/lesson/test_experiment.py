"""Seeds, settings and measured numbers as a user and an author write them."""

import math
import random

import numpy as np
import pytest
import torch

from dlnotes.lesson.contents import UsageError
from dlnotes.lesson.experiment import Trials, measure
from dlnotes.lesson.settings import seeds_from


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


@pytest.mark.parametrize(
    ("change", "back", "said"),
    [
        (lambda: torch.set_default_dtype(torch.float64), lambda: torch.set_default_dtype(torch.float32), "dtype"),
        (lambda: torch.set_default_device("meta"), lambda: torch.set_default_device(None), "device"),
        (
            lambda: torch.set_float32_matmul_precision("medium"),
            lambda: torch.set_float32_matmul_precision("highest"),
            "matmul precision",
        ),
    ],
)
def test_a_trial_under_changed_defaults_of_pytorch_is_refused(change, back, said):
    def changes_it(config, seed):
        change()
        return {"a": 1.0}

    try:
        for trial in (changes_it, lambda config, seed: {"a": 1.0}):  # the second finds it changed
            with pytest.raises(RuntimeError, match=f"PyTorch's .*{said} was set to"):
                measure(trial, None, 0)
    finally:
        back()


def test_a_trial_that_draws_from_the_generator_of_numpy_or_python_is_refused():
    for name, draw in (("NumPy", np.random.rand), ("Python", random.random)):
        with pytest.raises(RuntimeError, match=f"global generator of {name}"):
            measure(lambda config, seed, draw=draw: {"a": float(draw())}, None, 0)
