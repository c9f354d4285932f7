"""Effective parameters: what the lesson computes, and that it would not conclude it from less."""

import sys
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from dlnotes.data import Examples
from dlnotes.deep import MLP, effective_degrees_of_freedom
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.randomness import stream
from tests.trials import judged, reference, replaced

CONTROLS = {
    "size falls": "test_one_penalty_that_takes_nothing_away_refutes_that_each_does",
    "gap falls": "test_one_penalty_that_takes_nothing_away_refutes_that_each_does",
    "freedom falls": "test_one_penalty_that_takes_nothing_away_refutes_that_each_does",
}


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("effective_parameters"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def letters(lesson):
    return lesson.load(lesson.QUICK, 1_000)


# The measure


def test_letters_are_centred_by_the_training_letters(lesson, letters):
    train, test = letters
    assert train.inputs.shape == (lesson.QUICK.few, 196)
    assert test.inputs.shape == (lesson.QUICK.test, 196)
    assert train.inputs.mean(0).abs().max() < 1e-6
    assert test.inputs.mean(0).abs().max() > 1e-3
    assert train.targets.sum(1).abs().max() < 1e-6
    assert sorted(train.targets[0].tolist()) == pytest.approx([-0.1] * 9 + [0.9])


def test_the_loss_is_half_of_the_squares_summed_over_outputs_and_averaged_over_examples(lesson):
    outputs = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    assert lesson.half_square(outputs, torch.zeros(2, 2)).item() == pytest.approx((25 + 1) / 4)


def test_a_fit_that_follows_by_a_half_is_half_as_free_as_there_are_targets(lesson):
    """Fits that are the targets times a factor: each target moves its own fit by that."""
    inputs, targets = torch.zeros(20, 3), torch.randn(20, 5, generator=stream(0, "targets"))

    class Follows(nn.Module):
        def __init__(self, factor, change):
            super().__init__()
            self.fit = factor * (targets + change)

        def forward(self, inputs):
            return self.fit

    # A change of σ in each entry, so that its square is the same as its mean square.
    signs = torch.randint(2, (3, 20, 5), generator=stream(0, "signs")) * 2.0 - 1
    changes = [lesson.CHANGE * sign for sign in signs]
    for factor in (0.0, 0.5, 1.0):
        models = [Follows(factor, torch.zeros(20, 5))]
        for change in changes:
            models += [Follows(factor, change), Follows(factor, -change)]
        assert lesson.free_parameters(models, changes, inputs) == pytest.approx(100 * factor, abs=1e-3)


def test_descent_without_a_hidden_layer_ends_at_ridge_regression(lesson):
    train, _ = lesson.load(lesson.Config(test=10), 1_000)
    strength = min(lesson.LINEAR)  # where descent is slowest
    _, *setting = lesson.LINEAR_TRAINING
    ((models, changes),) = lesson.trained(1_000, train, [196, 10], (strength,), 1, *setting)
    x, y = train.inputs.double(), train.targets.double()
    maps = lesson.ridge(x, strength)
    fits, expected = [], []
    for model, change in zip(models, (torch.zeros_like(y), changes[0], -changes[0]), strict=True):
        moved = y + change
        expected.append(
            x @ maps @ (moved - moved.mean(0)) + moved.mean(0)
        )  # the pixels are centred: the bias is the mean
        fits.append(model(train.inputs).detach().double())
    assert all((fit - one).abs().max() < 5e-3 for fit, one in zip(fits, expected, strict=True))  # targets span 1
    # What the fit moves by is off by a hundredth at most: a tenth of what the lesson takes for the same.
    moves = expected[1] - expected[2]
    assert (fits[1] - fits[2] - moves).norm() < 0.01 * moves.norm()


def test_the_formula_is_worked_by_hand(lesson):
    """Two centred columns at right angles, with d² of 2 and 8."""
    x = torch.tensor([[1.0, 2.0], [-1.0, 2.0], [0.0, -4.0]]) * torch.tensor([1.0, (8 / 24) ** 0.5])
    measured = lesson.formula(Examples(x, torch.eye(3)))
    expected = [2.0, *(2 / (2 + strength) + 8 / (8 + strength) for strength in lesson.RIDGE[1:])]
    assert measured["ridge/effective parameters"] == pytest.approx(expected, rel=1e-6)
    assert measured["ridge/error of the trace"] < 1e-6
    assert measured["ridge/error of the rank"] == measured["ridge/penalties that take nothing"] == 0
    assert measured["ridge/left at λ=1e9"] == pytest.approx(10 / 1e9, rel=1e-6)


# The arms


def test_arms_differ_in_the_penalty_alone(lesson, letters):
    train, _ = letters
    (same, changes), (again, unchanged), (less, _) = lesson.trained(
        0, train, [196, 8, 10], [1.0, 1.0, 2.0], 1, lr=0.05, steps=5
    )
    assert all(torch.equal(one, other) for one, other in zip(changes, unchanged, strict=True))
    for model, other, smaller in zip(same, again, less, strict=True):
        assert torch.equal(model.layers[0].weight, other.layers[0].weight)
        assert smaller.layers[0].weight.norm() < model.layers[0].weight.norm()
    at_rest = lesson.trained(0, train, [196, 8, 10], [0.0, 10.0], 1, lr=0.0, steps=1)
    start = MLP([196, 8, 10], generator=stream(0, "weights"))
    for models, _ in at_rest:
        for model in models:
            assert torch.equal(model.layers[0].weight, start.layers[0].weight)


def test_weights_pay_for_the_sum_over_examples_and_biases_do_not(lesson, letters):
    """One step from rest, where the gradient of the loss is the same for all λ."""
    train, _ = letters
    (free, _), (paying, _) = lesson.trained(0, train, [196, 8, 10], [0.0, 4.0], 1, lr=0.05, steps=1)
    start = MLP([196, 8, 10], generator=stream(0, "weights")).layers[0]
    moved = free[0].layers[0].weight - paying[0].layers[0].weight
    assert torch.allclose(moved, 0.05 * 4.0 / len(train.inputs) * start.weight, atol=1e-6)
    assert torch.equal(free[0].layers[1].bias, paying[0].layers[1].bias)


def test_a_trial_reports_the_network_that_learned_the_letters_as_they_are(lesson, letters):
    config = replace(lesson.QUICK, steps=10)
    measured = lesson.trial(config, 1_000)
    ((models, _),) = lesson.trained(
        1_000, letters[0], [196, config.width, 10], [1.0], config.draws, lr=config.lr, steps=10
    )
    weights = [models[0].layers[number].weight for number in (0, 1)]
    assert measured["network, λ=1/size"] == pytest.approx(
        sum(weight.square().sum().item() for weight in weights) ** 0.5, rel=1e-4
    )
    with torch.no_grad():
        for what, part in zip(("training loss", "test loss"), letters, strict=True):
            found = lesson.half_square(models[0](part.inputs), part.targets).item()
            assert measured[f"network, λ=1/{what}"] == pytest.approx(found, rel=1e-4)
    assert measured["network, λ=1/weights not zero"] == 196 * 8 + 8 * 10
    expected = 10 * (effective_degrees_of_freedom(letters[0].inputs.double(), 100.0) + 1)
    assert measured["linear, λ=100/formula"] == pytest.approx(expected)


# What the verdict rests on


def test_one_penalty_that_takes_nothing_away_refutes_that_each_does():
    experiment, trials, _ = reference("effective_parameters")
    names = {"size falls": ["size"], "gap falls": ["test loss", "training loss"], "freedom falls": ["free"]}
    for name, quantities in names.items():
        assert judged(experiment, name, trials).verdict == "supported", name
        for less, more in pairwise(("0", "0.1", "1", "10")):
            planted = {f"network, λ={more}/{what}": 1.01 * trials[f"network, λ={less}/{what}"] for what in quantities}
            assert judged(experiment, name, replaced(trials, planted)).verdict == "refuted", (name, more)
