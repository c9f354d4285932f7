"""The shapes in which data comes."""

import pytest
import torch

from dlnotes.data import Examples, Parts
from dlnotes.data.examples import check_count

SOME = Examples(torch.rand(4, 1, 28, 28), torch.arange(4))


def test_examples_and_parts_unpack():
    parts = Parts(SOME, SOME, SOME)
    (inputs, targets), _, test = parts
    assert inputs is SOME.inputs
    assert targets is SOME.targets
    assert test is parts.test


def test_parts_move_to_a_device_whole():
    moved = Parts(SOME, SOME, SOME).to("meta")
    assert isinstance(moved, Parts)
    for part in moved:
        assert isinstance(part, Examples)
        assert part.inputs.device.type == part.targets.device.type == "meta"
        assert part.inputs.shape == SOME.inputs.shape


def test_a_count_is_a_whole_number_of_examples():
    assert check_count("train", 0) == 0
    for wrong in (True, 1.0, "1", None):
        with pytest.raises(TypeError, match="train must be a number of examples"):
            check_count("train", wrong)
    with pytest.raises(ValueError, match="train must be 0 examples or more, not -5"):
        check_count("train", -5)
