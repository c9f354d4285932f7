"""Penalty and optimisation: what the lesson computes, and that it would not conclude it from less."""

import math
import sys
from functools import partial

import numpy as np
import pytest
import torch

from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.linear import cross_entropy
from dlnotes.randomness import stream
from dlnotes.training import accuracy, evaluate
from tests.trials import judged, reference, replaced

CONTROLS = {"condition number": "test_a_condition_number_that_rises_once_is_found"}


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("penalty_and_optimization"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def small(lesson):
    inputs = torch.randn(60, 4, generator=stream(0, "inputs"), dtype=torch.float64)
    return inputs, torch.randint(0, 10, (60,), generator=stream(0, "targets"))


# The pieces of the lesson


def test_the_hessian_by_formula_is_that_of_automatic_differentiation(lesson, small):
    w = torch.randn(4, 10, generator=stream(0, "w"), dtype=torch.float64)
    for strength in (0.0, 0.3):
        loss = partial(lesson.objective, *small, strength=strength)
        automatic = torch.autograd.functional.hessian(loss, w).reshape(40, 40)
        assert torch.allclose(lesson.hessian(small[0], w, strength), automatic, rtol=0, atol=1e-12)


def test_no_curvature_exceeds_the_bound_and_some_come_near(lesson, small):
    bound = lesson.curvature_bound(small[0])
    for size in (0.0, 0.3, 3.0):
        w = size * torch.randn(4, 10, generator=stream(0, "w"), dtype=torch.float64)
        assert torch.linalg.eigvalsh(lesson.hessian(small[0], w, 0.0))[-1] <= bound
    # Two classes at one half each, and the others out of reach: the Hessian has half of the curvature of XᵀX/N.
    w = torch.zeros(5, 10, dtype=torch.float64)
    w[4, 2:] = -50.0
    inputs = torch.cat([small[0], torch.ones(60, 1, dtype=torch.float64)], 1)
    largest = torch.linalg.eigvalsh(lesson.hessian(inputs, w, 0.0))[-1].item()
    assert largest == pytest.approx(lesson.curvature_bound(inputs))


def test_at_the_optimum_nothing_descends_and_without_examples_to_fit_it_is_zero(lesson, small):
    start = torch.zeros(4, 10, dtype=torch.float64)
    best = lesson.optimum(*small, 0.1, start).requires_grad_()
    loss = lesson.objective(*small, best, 0.1)
    loss.backward()
    assert best.grad.norm() < 1e-4
    assert loss < lesson.objective(*small, start, 0.1) - 0.01
    assert lesson.descend(*small, 0.1, lr=0.3, steps=2_000)[-1] == pytest.approx(loss.item(), abs=1e-8)


def test_descent_is_the_formula(lesson, small):
    first, second = lesson.descend(*small, 0.2, lr=0.5, steps=1)
    assert first == pytest.approx(math.log(10))  # from zero, where the penalty is zero
    residual = torch.full((60, 10), 0.1, dtype=torch.float64) - torch.nn.functional.one_hot(small[1], 10)
    w = -0.5 * small[0].T @ residual / 60
    assert second == pytest.approx(lesson.objective(*small, w, 0.2).item())
    assert len(lesson.descend(*small, 0.2, lr=0.5, steps=300)) == 301


def test_a_rate_above_two_over_the_curvature_diverges_and_one_below_does_not(lesson, small):
    """With λ alone as the curvature: from a constant gradient, w moves by 1 - αλ each step."""
    for rate, grows in ((1.9 / 100, False), (2.1 / 100, True)):
        path = lesson.descend(*small, 100.0, lr=rate, steps=200)
        assert (path[-1] > path[0]) == grows


def test_the_network_with_the_penalty_pays_it_and_its_biases_do_not(lesson):
    images = lesson.load(lesson.QUICK, 1_000)
    free, priced = (lesson.trained(lesson.QUICK, 1_000, images, 0.1, strength) for strength in (0.0, 0.1))
    size = [sum(layer.weight.norm().item() for layer in model.layers) for model in (free, priced)]
    assert size[1] < 0.8 * size[0]
    still = lesson.trained(lesson.QUICK, 1_000, images, 0.0, 0.1)
    assert not any(layer.bias.any() for layer in still.layers)


def test_test_letters_judge_and_validation_letters_choose(lesson, monkeypatch):
    images = lesson.load(lesson.QUICK, 1_000)
    free = lesson.trained(lesson.QUICK, 1_000, images, 0.1, 0.0)  # one that learns, so that the two parts differ
    monkeypatch.setattr(lesson, "trained", lambda *_: free)
    measured = lesson.trial(lesson.QUICK, 1_000, {"λ=10": 0.1})
    assert measured["network/λ=10/accuracy"] == accuracy(free, images.test) != accuracy(free, images.validation)
    assert lesson.tune(lesson.QUICK, 1_000, "λ=10", (0.1,)) == [evaluate(free, images.validation, cross_entropy)]


# What the verdict rests on


@pytest.mark.parametrize("pair", [("0", "0.0001"), ("0.0001", "0.01"), ("0.01", "1"), ("1", "10")])
def test_a_condition_number_that_rises_once_is_found(pair):
    experiment, trials, _ = reference("penalty_and_optimization")
    less, more = (f"λ={strength}/smallest over largest eigenvalue" for strength in pair)
    assert judged(experiment, "condition number", trials).verdict == "supported"
    for rises, verdict in ((0.0, "supported"), (1e-9, "refuted")):  # as large as the next is no rise
        once = np.where(np.arange(len(trials.seeds)) == 5, trials[more] + rises, trials[less])
        assert judged(experiment, "condition number", replaced(trials, {less: once})).verdict == verdict


def test_where_nobody_arrives_nothing_is_concluded():
    experiment, trials, _ = reference("penalty_and_optimization")
    never = np.full(len(trials.seeds), math.nan)
    lost = {f"{arm}/steps to a thousandth": never for arm in ("λ=0", "λ=0.01")}
    assert judged(experiment, "saves steps", replaced(trials, lost)).verdict == "inconclusive"
    assert judged(experiment, "saves steps", trials).verdict == "supported"  # without the penalty alone nobody arrives
    assert np.isnan(trials["λ=0/steps to a thousandth"]).all()
