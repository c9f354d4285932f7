"""Decay of the learning rate: the floor that noise leaves, and what the lesson would not conclude from less."""

import sys

import numpy as np
import pytest
import torch

from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.lesson.tuned import tuned_settings
from dlnotes.linear import SGD, inverse_time_decay
from dlnotes.randomness import stream
from tests.trials import judged, reference, replaced, verdicts


def squares_at_the_end(seed, steps, schedule, lr=0.5, noise=1.0):
    """The mean of w² over 1,000 runs of w ← w - α (w + ε) from w = 3."""
    w = torch.nn.Parameter(torch.full((1_000,), 3.0, dtype=torch.float64))
    optimizer, generator = SGD([w], lr=lr), stream(seed, "noise")
    scheduler = schedule(optimizer)
    for _ in range(steps):
        w.grad = w.detach() + noise * torch.randn(1_000, generator=generator, dtype=torch.float64)
        optimizer.step()
        scheduler.step()
    return w.detach().square().mean().item()


def test_noise_leaves_a_floor_at_a_constant_rate_and_none_where_the_rate_decays(seed):
    """On ½ w² the constant rate α keeps w² at α / (2 - α); the rates 1 / (t + 1) make w the mean of t draws."""
    floor = squares_at_the_end(seed, 200, lambda one: inverse_time_decay(one, 0.0))
    assert floor == pytest.approx(0.5 / 1.5, rel=5 * (2 / 1_000) ** 0.5)
    lower = squares_at_the_end(seed, 200, lambda one: inverse_time_decay(one, 1.0), lr=1.0)
    assert lower == pytest.approx(1 / 200, rel=5 * (2 / 1_000) ** 0.5)


def test_without_noise_there_is_no_floor_and_decay_is_slower():
    constant, decayed = (
        squares_at_the_end(0, 30, lambda one, rate=rate: inverse_time_decay(one, rate), noise=0.0)
        for rate in (0.0, 1.0)
    )
    assert constant == pytest.approx(9 * 0.25**30)
    assert decayed > 1_000 * constant


@pytest.fixture(scope="module")
def quick():
    experiment = experiment_of(contents.lesson_named("decay"))
    return experiment, sys.modules[experiment.trial.__module__]


def test_the_minimum_is_one(quick):
    """The gradient of the loss with its penalty vanishes there, and no training comes below it."""
    experiment, module = quick
    problem = module.Problem(experiment.quick, 1_000)
    curves = problem.train("all", "constant", [1.0, 16.0])
    assert all(value > 0 for curve in curves for value in curve)
    assert curves[1][-1] < curves[1][0]
    longer = module.Problem(type(experiment.quick)(train=500, steps=100, descent_steps=1_500), 1_000)
    assert abs(longer.train("all", "constant", [8.0])[0][-1]) < 1e-8


def test_each_schedule_ends_at_a_hundredth_of_its_first_rate(quick):
    _, module = quick
    for name, schedule in module.SCHEDULES.items():
        optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        scheduler, rates = schedule(optimizer, 600), []
        for _ in range(600):
            rates.append(scheduler.get_last_lr()[0])
            optimizer.step()
            scheduler.step()
        assert rates[0] == 1
        assert rates == sorted(rates, reverse=True)
        expected = {"constant": 1.0, "cosine": 0.0}.get(name, 0.01)
        assert rates[-1] == pytest.approx(expected, rel=0.02, abs=1e-4)
        assert (rates[60] < 0.011) == (name == "too early") or name == "inverse time"


def test_the_arms_start_alike_and_differ_after_the_first_steps(quick):
    experiment, module = quick
    tuned = tuned_settings(experiment.lesson, experiment.quick).values
    measured = experiment.trial(experiment.quick, 1_000, tuned)
    assert len({measured[f"{gradients}/{arm}/above the minimum"] for gradients, arm in module.RUNS}) == 11


# Controls


def test_a_training_that_diverged_decides_nothing():
    experiment, trials, _ = reference("decay")
    lost = np.where(np.arange(len(trials.seeds)) == 3, np.nan, trials["batches/cosine/above the minimum"])
    broken = replaced(trials, {"batches/cosine/above the minimum": lost})
    assert judged(experiment, "cosine", broken).verdict == "inconclusive"
    assert verdicts(experiment, broken)["1.20"] == "inconclusive"
