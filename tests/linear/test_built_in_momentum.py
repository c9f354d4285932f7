"""What AdaGrad's memory is not: exact facts, and that the lesson would not conclude them from less."""

import math
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.linear import SGD, AdaGrad
from tests.trials import changed, reference, verdicts


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("built_in_momentum"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def measured(lesson):
    return lesson.trial(lesson.Config(), 1_000)


def moves(make, gradients):
    """The steps downhill of an optimizer of one number along the gradients."""
    w = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer, taken = make([w]), []
    for gradient in gradients:
        w.data.zero_()
        w.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        taken.append(-w.item())
    return taken


def adagrad(weights):
    return AdaGrad(weights, lr=1.0)


def with_momentum(weights):
    return SGD(weights, lr=1.0, momentum=0.9)


# What the notes state


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_the_order_and_the_signs_of_past_gradients_do_not_matter_to_adagrad(past, generator):
    mixed = [gradient * generator.choice((-1, 1)) for gradient in generator.sample(past, len(past))]
    assert moves(adagrad, [*mixed, 2.0])[-1] == pytest.approx(moves(adagrad, [*past, 2.0])[-1])


def test_they_do_matter_to_momentum():
    assert moves(with_momentum, [1.0, -3.0, 2.0])[-1] == pytest.approx(2 - 2.7 + 0.81)
    assert moves(with_momentum, [-3.0, 1.0, 2.0])[-1] == pytest.approx(2 + 0.9 - 2.43)


def test_the_sled_by_hand_glides_on_with_momentum_and_stops_with_adagrad():
    sled = [3.0, 4.0, 0.0, 0.0]
    assert moves(with_momentum, sled) == pytest.approx([3.0, 6.7, 6.03, 5.427])
    assert moves(adagrad, sled) == pytest.approx([1.0, 0.8, 0.0, 0.0])


# The pieces of the lesson


def test_steps_are_those_downhill_one_row_each(lesson):
    gradients = [torch.tensor([1.0, -2.0]), torch.tensor([0.0, 2.0])]
    expected = torch.tensor([[1.0, -2.0], [0.9, 0.2]])
    assert lesson.steps(with_momentum, gradients).tolist() == pytest.approx(expected)


def test_the_three_measures_of_momentum_are_those_worked_out_by_hand(measured):
    assert measured["momentum/distance along zeros"] == pytest.approx(9 * (1 - 0.9**50))
    assert measured["momentum/steps along zeros"] == pytest.approx([0.9**step for step in range(21)])
    # The step is M, normal with variance 1/(1 - 0.81); its share of the present gradient decides the sign.
    expected = math.acos(math.sqrt(1 - 0.81)) / math.pi
    assert measured["momentum/steps up the slope"] == pytest.approx(expected, abs=5 * math.sqrt(0.25 * 19 / 1_000))
    for arm in ("SGD", "AdaGrad"):
        for name in ("distance along zeros", "change by a past turned around", "steps up the slope"):
            assert measured[f"{arm}/{name}"] == 0


# The control of the verdict


def test_with_the_numbers_of_momentum_or_of_adam_the_statement_about_momentum_is_supported():
    experiment, trials, _ = reference("built_in_momentum")
    assert verdicts(experiment, trials)["1.26"] == "refuted"
    for other in ("momentum", "Adam"):
        control = changed(trials, lambda name, other=other: trials[name.replace("AdaGrad/", f"{other}/")])
        assert verdicts(experiment, control)["1.26"] == "supported"  # and the predicted limit is not shown
