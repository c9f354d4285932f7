"""Scaled inputs: what the lesson computes, and that it would not conclude it from less."""

import math
import sys

import numpy as np
import pytest
import torch

from dlnotes.data import Examples
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.lesson.tuned import tuned_settings
from dlnotes.linear import LogisticClassifier, cross_entropy
from dlnotes.measuring import largest_error
from dlnotes.randomness import stream
from tests.trials import judged, reference, replaced


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("scaling"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def measured(lesson):
    return lesson.trial(lesson.QUICK, 1_000, tuned_settings(contents.lesson_named("scaling"), lesson.QUICK).values)


def problem(examples=60, features=4):
    """Inputs around 0.5, and classes from 0 to 9 that they say nothing about."""
    generator = stream(0, "problem")
    inputs = 0.5 + torch.randn(examples, features, generator=generator, dtype=torch.float64) / 5
    return inputs, torch.randint(10, (examples,), generator=generator)


# What is exactly so


def test_the_curvature_that_a_shift_adds_is_that_of_the_mean():
    """E[x xᵀ] is the covariance plus the mean times itself: a mean of m in d inputs adds d m² along one direction."""
    inputs, _ = problem()
    centred = inputs - inputs.mean(0)
    for shift in (0.0, 10.0):
        moved = centred + shift
        curvature, covariance = (rows.T @ rows / len(rows) for rows in (moved, centred))
        assert torch.allclose(curvature, covariance + shift**2, atol=1e-10)
    assert torch.linalg.eigvalsh(curvature)[-1] > 4 * 10**2
    assert torch.linalg.eigvalsh(curvature)[:-1].max() < 0.1


def test_a_gradient_is_in_the_unit_of_the_input_and_the_best_weight_in_its_inverse():
    inputs, labels = problem()
    gradients = []
    for factor in (1.0, 8.0):
        model = LogisticClassifier(4, 10, dtype=torch.float64)
        cross_entropy(model(inputs * factor), labels).backward()
        gradients.append(model.weight.grad)
    assert torch.equal(gradients[1], 8 * gradients[0])  # and to change the scores alike, it should be an eighth


def test_a_common_factor_is_undone_by_its_square_in_the_rate_of_the_weights(lesson):
    inputs, labels = torch.rand(200, 4, generator=stream(0, "inputs"), dtype=torch.float64), torch.arange(200) % 10
    plain = lesson.sgd_scores(inputs, labels, 1, 0)
    assert torch.equal(plain, lesson.sgd_scores(inputs, labels, 16, 0))  # a power of two: no rounding
    assert 0 < largest_error(plain, lesson.sgd_scores(inputs, labels, 10, 0)) < 1e-12
    assert largest_error(plain, lesson.sgd_scores(inputs[:, [0, 0, 0, 0]], labels, 1, 0)) > 1e-3


# The pieces of the lesson


def test_the_arms_hold_the_same_images_in_other_numbers(lesson):
    inputs, _ = problem(features=50)
    made = lesson.arms(inputs, 0)
    assert tuple(made) == lesson.ARMS
    assert torch.equal(made["as drawn"], inputs)
    assert torch.equal(made["shifted"], inputs + 1)
    units = made["stretched"] / inputs
    assert torch.allclose(units, units[0].expand_as(units))
    assert 1 <= units.min() < 3
    assert 33 < units.max() <= 100
    assert made["mean zero"].mean(0).abs().max() < 1e-12
    assert torch.allclose(made["mean zero"].var(0), inputs.var(0))
    assert made["standardised"].mean(0).abs().max() < 1e-12
    assert torch.allclose(made["standardised"].var(0, correction=0), torch.ones(50, dtype=torch.float64))
    assert not torch.equal(made["stretched"], lesson.arms(inputs, 1)["stretched"])


def test_the_spread_is_the_largest_eigenvalue_over_the_median_with_the_bias_counted_in(lesson):
    # Two inputs of mean 0 that do not go together, of variances 9 and 1/4, and the bias's 1.
    inputs = torch.tensor([[3.0, 0.5], [3.0, -0.5], [-3.0, 0.5], [-3.0, -0.5]])
    assert lesson.spread(inputs) == pytest.approx(9.0)


def test_steps_are_counted_from_the_start_to_the_first_loss_at_the_target(lesson):
    assert lesson.steps_until(0.5, [2.3, 0.9, 0.5, 0.7, 0.4]) == 2
    assert math.isnan(lesson.steps_until(0.3, [2.3, 0.9, 0.5]))
    assert (lesson.SHOWN[:5], lesson.SHOWN[-1]) == ([1, 2, 3, 4, 5], lesson.Config().steps)
    assert len(lesson.SHOWN) <= 50


def test_the_losses_of_a_rate_are_those_of_plain_steps_along_the_gradient(lesson):
    config = lesson.Config(train=1_000, steps=3, batch_size=1_000)  # all examples at each step
    inputs, labels = (tensor for tensor in problem(1_000))
    curves = lesson.losses_at([0.5, 2.0], config, 0, Examples(inputs.float(), labels))
    for rate, losses in zip((0.5, 2.0), curves, strict=True):
        w, expected = torch.zeros(10, 5, dtype=torch.float64, requires_grad=True), []
        rows = torch.nn.functional.pad(inputs, (0, 1), value=1.0)
        for _ in range(4):
            loss = torch.nn.functional.cross_entropy(rows @ w.T, labels)
            expected.append(loss.item())
            (gradient,) = torch.autograd.grad(loss, w)
            w = (w - rate * gradient).detach().requires_grad_()
        assert losses == pytest.approx(expected, rel=1e-5)


def test_newtons_method_finds_the_lowest_point_and_does_not_mind_the_numbers(lesson):
    inputs, labels = problem()
    answers = (labels < 5).double()
    predictions, rounding = lesson.newton(inputs, answers)
    assert predictions.shape == (8, 60)
    rows = torch.nn.functional.pad(inputs, (0, 1), value=1.0)
    assert (rows.T @ (predictions[-1] - answers)).abs().max() < 1e-12  # the gradient there
    first = torch.linalg.lstsq(rows, answers[:, None] - 0.5).solution[:, 0] * 4  # p (1 - p) is 1/4 at the start
    assert torch.allclose(predictions[0], (rows @ first).sigmoid())
    for other in (inputs + 1, inputs * torch.tensor([1.0, 100.0, 7.0, 30.0])):
        same, worse = lesson.newton(other, answers)
        assert torch.allclose(same, predictions, rtol=0, atol=1e-9)
        assert worse > 3 * rounding > 0
    assert largest_error(lesson.newton(inputs.square(), answers)[0], predictions) > 1e-3  # no affine map


def test_the_arms_part_at_the_first_step_and_differ_in_their_spread(lesson, measured):
    first = {arm: measured[f"{arm}/curve"][0] for arm in lesson.ARMS}
    assert len(set(first.values())) == len(lesson.ARMS)
    spreads = {arm: measured[f"{arm}/largest eigenvalue over the median"] for arm in lesson.ARMS}
    assert spreads["standardised"] < spreads["mean zero"] < spreads["as drawn"] < spreads["shifted"]
    assert spreads["stretched"] > 5 * spreads["as drawn"]


def test_what_must_be_the_same_is_so_but_for_rounding_and_rounding_is_there(measured):
    for arm in ("shifted", "stretched"):
        assert 0 < measured[f"{arm}/error once standardised"] < 1e-10
        assert 0 < measured[f"{arm}/error of Newton over rounding"] < 10
    assert 0 < measured["factor of 255/error of the scores"] < 1e-10


# What the verdict rests on


def test_a_winner_that_does_not_arrive_is_inconclusive_and_a_loser_may_be_cut_off():
    experiment, trials, _ = reference("scaling")
    missing = np.full(len(trials.seeds), np.nan)
    slow = judged(experiment, "shifted", replaced(trials, {"shifted/steps": missing}))
    expected = trials.config.steps / trials["standardised/steps"][:12]
    assert (slow.verdict, slow.effect) == ("supported", pytest.approx(np.exp(np.log(expected).mean())))
    lost = replaced(trials, {"standardised/steps": missing})
    assert judged(experiment, "shifted", lost).verdict == "inconclusive"
