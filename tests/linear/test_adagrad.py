"""How AdaGrad's rate decays: exact facts, and that the lesson would not conclude them from less."""

import math
import sys
from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn

from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.linear import SGD, AdaGrad
from dlnotes.measuring import steps_until
from tests.trials import judged, reference, replaced


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("adagrad"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def measured(lesson):
    return lesson.trial(lesson.QUICK, 1_000)


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


def test_adagrads_rate_falls_as_the_past_gradients_say_and_not_as_the_steps_do():
    """After gradients 3, 4 and 12 the root of the sum of squares is 3, 5 and 13; after 1, 0 and 0 it stays 1."""
    assert moves(adagrad, [3.0, 4.0, 12.0]) == pytest.approx([3 / 3, 4 / 5, 12 / 13])
    assert moves(adagrad, [1.0, 0.0, 0.0, 1.0]) == pytest.approx([1.0, 0.0, 0.0, 1 / math.sqrt(2)])


def test_where_gradients_halve_each_step_adagrads_rate_stops_falling():
    """1 + 1/4 + 1/16 + … = 4/3: the rate ends at √(3/4)."""
    gradients = [0.5**step for step in range(30)]
    rates = [move / gradient for move, gradient in zip(moves(adagrad, gradients), gradients, strict=True)]
    assert rates[20:] == pytest.approx([math.sqrt(3 / 4)] * 10, rel=1e-6)


def test_adagrad_never_recovers_from_a_burst_and_momentum_does():
    burst, calm = [100.0] * 100, [1.0] * 200
    assert moves(adagrad, burst + calm)[-1] == pytest.approx(1 / math.sqrt(100 * 100**2 + 200))
    assert moves(with_momentum, burst + calm)[-1] == pytest.approx(10.0, rel=1e-3)


# The pieces of the lesson


def test_steps_are_those_downhill_one_row_each(lesson):
    gradients = [torch.tensor([1.0, -2.0]), torch.tensor([0.0, 2.0])]
    expected = torch.tensor([[1.0, -2.0], [0.9, 0.2]])
    assert lesson.steps(with_momentum, gradients).tolist() == pytest.approx(expected)


def test_a_rate_that_rises_is_found_also_across_a_missing_one(lesson):
    rates = np.array([[4.0, 1.0], [2.0, np.nan], [3.0, 1.25]])
    assert lesson.largest_rise(rates) == pytest.approx(0.5)
    assert lesson.largest_rise(rates[:, 1:]) == pytest.approx(0.25)
    assert lesson.largest_rise(-np.sort(-rates[:, :1], axis=0)) == 0


def test_a_rate_that_forgets_rises(lesson):
    """RMSprop divides by a running average of squares instead of their sum."""
    gradients = [torch.tensor([size], dtype=torch.float64) for size in (1.0, 10.0, *[0.1] * 20)]
    forgetful = lesson.rates(lambda weights: torch.optim.RMSprop(weights, lr=1.0, alpha=0.5), gradients)
    assert lesson.largest_rise(forgetful) > 1
    assert lesson.largest_rise(lesson.rates(lesson.ADAGRAD, gradients)) < 1e-12


def test_plain_descent_arrives_in_the_steps_that_its_slowest_coordinate_needs(lesson):
    h, start = torch.tensor([0.5], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64)
    losses = list(islice(lesson.on_bowl(lesson.RULES["SGD"], h, start, []), 8))
    assert losses == pytest.approx([0.5 / 4**step for step in range(8)])
    assert steps_until(1e-4, losses, relative=True) == 7  # ¼^7 < 1/10,000 < ¼^6


def test_a_burst_changes_what_remembers_and_nothing_else(measured):
    assert measured["bowl/SGD/steps after a burst"] == measured["bowl/SGD/steps fresh"]
    assert measured["bowl/momentum/steps after a burst"] > measured["bowl/momentum/steps fresh"]


# The control of the verdict


def test_a_rate_that_stays_as_that_of_plain_sgd_does_not_decay():
    experiment, trials, _ = reference("adagrad")
    steady = {"training/fall of the rate": np.ones(len(trials.seeds))}
    assert judged(experiment, "fall in training", replaced(trials, steady)).verdict == "refuted"
