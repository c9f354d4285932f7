"""The chain rule's lesson: what it measures."""

import sys

import pytest
import torch

from dlnotes.deep import affine, relu, tanh
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("chain_rule"))
    return sys.modules[experiment.trial.__module__]


def test_a_forgotten_slope_is_seen(lesson):
    layers, inputs, targets = lesson.network(tanh, [3, 4, 4, 3], 8, seed=0)
    differences, _ = lesson.central_differences(layers, inputs, targets, lesson.STEP)
    assert len(differences) == 16 + 20 + 15
    by_hand = torch.nn.utils.parameters_to_vector(lesson.gradients_by_hand(layers, inputs, targets))
    assert lesson.relative_error(by_hand, differences) < 1e-8
    forgetful = [one._replace(backward=lambda gradient, *_: gradient) if not one.parameters else one for one in layers]
    by_hand = torch.nn.utils.parameters_to_vector(lesson.gradients_by_hand(forgetful, inputs, targets))
    assert lesson.relative_error(by_hand, differences) > 1e-2


def test_differences_leave_the_weights_as_they_were(lesson):
    layers, inputs, targets = lesson.network(tanh, [3, 4, 3], 8, seed=0)
    parameters = [parameter for layer in layers for parameter in layer.parameters]
    before = [parameter.clone() for parameter in parameters]
    lesson.central_differences(layers, inputs, targets, 0.5)
    assert all(torch.equal(*pair) for pair in zip(before, parameters, strict=True))


def test_products_are_counted_as_on_paper(lesson):
    layers = [affine(torch.ones(5, 3), torch.ones(5)), affine(torch.ones(2, 5), torch.ones(2))]
    assert lesson.backward_over_forward(layers, torch.ones(7, 3)) == 2.0


def test_the_largest_error_is_a_share_of_the_largest_gradient(lesson):
    assert lesson.relative_error(torch.tensor([1.0, -8.0]), torch.tensor([3.0, -8.0])) == 0.25


def test_a_step_across_the_kink_of_a_rectifier_is_noticed(lesson):
    """One unit, on at 0.001 and off at -0.001: the difference over 0.01 is no derivative, that over 1e-5 is one."""
    layers = [affine(torch.full((1, 1), 0.001), torch.zeros(1)), relu(), affine(torch.ones(2, 1), torch.zeros(2))]
    layers = [one._replace(parameters=tuple(w.double() for w in one.parameters)) for one in layers]
    inputs, targets = torch.ones(1, 1, dtype=torch.float64), torch.tensor([0])
    assert lesson.central_differences(layers, inputs, targets, 0.01)[1].tolist() == [True, True, *[False] * 4]
    assert not lesson.central_differences(layers, inputs, targets, 1e-5)[1].any()
