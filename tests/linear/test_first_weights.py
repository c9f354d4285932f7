"""First weights: what the lesson computes, and that it would not conclude it from less."""

import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from dlnotes.deep import MLP
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.lesson.tuned import tuned_settings
from dlnotes.randomness import stream
from tests.trials import judged, reference, replaced

CONTROLS = {"equal units": "test_units_that_part_on_one_seed_refute_that_they_stay_equal"}


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("first_weights"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def measured(lesson):
    tuned = tuned_settings(contents.lesson_named("first_weights"), lesson.QUICK).values
    return lesson.trial(lesson.QUICK, 1_000, tuned)


# What is exactly so


def test_from_zeros_a_relu_network_learns_only_the_last_biases():
    model = MLP([6, 5, 4, 3], generator=stream(0, "weights"), dtype=torch.float64)
    for parameter in model.parameters():
        parameter.data.zero_()
    inputs = torch.rand(20, 6, generator=stream(0, "inputs"), dtype=torch.float64)
    torch.nn.functional.cross_entropy(model(inputs), torch.arange(20) % 3).backward()
    *hidden, last_bias = model.parameters()
    assert not any(parameter.grad.any() for parameter in hidden)
    assert last_bias.grad.any()


def test_units_with_equal_weights_get_equal_gradients():
    model = MLP([6, 5, 4, 3], generator=stream(0, "weights"), dtype=torch.float64)
    for parameter in model.parameters():
        parameter.data.fill_(0.2)
    model.layers[2].bias.data = torch.tensor([0.1, 0.0, -0.1], dtype=torch.float64)  # of classes, not of hidden units
    inputs = torch.rand(20, 6, generator=stream(0, "inputs"), dtype=torch.float64)
    torch.nn.functional.cross_entropy(model(inputs), torch.arange(20) % 3).backward()
    first, second, third = (layer.weight.grad for layer in model.layers)
    for of_units in (first, second, second.T, third.T):
        assert of_units.any()
        assert torch.allclose(of_units, of_units[0].expand_as(of_units), rtol=1e-12, atol=1e-15)


# The pieces of the lesson


def test_the_starts_are_what_they_are_called(lesson):
    weights = {}
    for start in (*lesson.STARTS, *lesson.NO_HIDDEN):
        weights[start] = lesson.network(start, [400, 300, 10], 0, dtype=torch.float64).layers[0].weight.detach()
    assert not weights["zeros"].any()
    assert not weights["linear, zeros"].any()
    assert (weights["constant"] == 1 / 400).all()
    unit = weights["Gaussian, 1"]
    assert unit.std().item() == pytest.approx(1.0, abs=5 / math.sqrt(2 * unit.numel()))
    for name, deviation in {"Gaussian, 0.001": 0.001, "Gaussian": math.sqrt(2 / 400), "linear, Gaussian": 0.01}.items():
        assert torch.allclose(weights[name], unit * deviation), name  # the same draws
    even = weights["uniform"]
    assert even.var().item() == pytest.approx(2 / 400, rel=0.02)
    assert even.abs().max() <= math.sqrt(6 / 400) < weights["Gaussian"].abs().max()


def test_a_draw_is_its_own_and_the_same_each_time(lesson):
    draws = ((0, 0), (0, 0), (0, 1), (1, 0))
    first, again, second, other = (lesson.network("Gaussian", [6, 5, 3], *draw).layers[0].weight for draw in draws)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", ["Gaussian", "uniform", "Gaussian, 1", "Gaussian, 0.001"])
def test_the_signal_grows_by_deviation_times_the_root_of_half_the_width_a_layer(lesson, name):
    width, inputs = 256, torch.rand(100, 196, generator=stream(0, "inputs"))
    through = lesson.outputs(lesson.network(name, [196, *[width] * 5, 10], 0), inputs)
    assert torch.equal(through[0], inputs)
    sizes = [values.square().mean().sqrt().item() for values in through]
    deviation = {"Gaussian, 1": 1.0, "Gaussian, 0.001": 0.001}.get(name, math.sqrt(2 / width))
    assert (sizes[5] / sizes[1]) ** (1 / 4) == pytest.approx(deviation * math.sqrt(width / 2), rel=0.15)


def test_the_signal_is_what_the_network_computes(lesson):
    model = lesson.network("Gaussian", [6, 5, 4, 3], 0)
    inputs = torch.rand(20, 6, generator=stream(0, "inputs"))
    through = lesson.outputs(model, inputs)
    assert [values.shape[1] for values in through] == [6, 5, 4, 3]
    assert torch.equal(through[-1], model(inputs))


def test_models_side_by_side_learn_at_their_own_rates_which_end_at_zero(lesson):
    train, _ = lesson.load(lesson.QUICK, 1_000, validation=10)

    def moved(steps):
        config = replace(lesson.QUICK, steps=steps)
        models = [lesson.network("Gaussian", [196, 8, 10], 0) for _ in range(3)]
        before = models[0].layers[0].weight.detach().clone()
        lesson.train_all(config, 0, train, models, [0.0, 1e-3, 2e-3])
        return [(model.layers[0].weight.detach() - before).norm().item() for model in models]

    still, little, twice = moved(1)
    assert still == 0
    assert twice == pytest.approx(2 * little, rel=1e-2)
    # With momentum 0.9 each gradient moves the weights tenfold, and half a wave halves the mean rate.
    assert 20 * little < moved(100)[1] < 600 * little


def test_validation_images_choose_rates_and_test_images_judge(lesson):
    train, validation = lesson.load(lesson.QUICK, 1_000, validation=100)
    same, test = lesson.load(lesson.QUICK, 1_000, test=100)
    assert torch.equal(train.inputs, same.inputs)
    assert train.inputs.shape == (lesson.QUICK.train, 196)
    assert validation.inputs.shape == test.inputs.shape == (100, 196)
    assert not torch.equal(validation.inputs, test.inputs)


def test_equal_units_stay_equal_and_random_ones_do_not(lesson):
    train, _ = lesson.load(lesson.QUICK, 1_000, validation=10)
    assert lesson.units_apart("zeros", train, 0) == 0
    assert lesson.units_apart("constant", train, 0) < 1e-12
    assert lesson.units_apart("Gaussian", train, 0) > 0.1


def test_the_equal_units_are_those_of_a_network_that_learns(lesson):
    """Otherwise they would be equal because nothing moved."""
    train, _ = lesson.load(lesson.QUICK, 1_000, validation=10)
    start = lesson.network("constant", [196, 16, 16, 10], 0).layers[0].weight.detach()
    model = lesson.network("constant", [196, 16, 16, 10], 0)
    lesson.train_all(replace(lesson.QUICK, steps=50), 0, train, [model], [0.05])
    assert (model.layers[0].weight.detach() - start).abs().max() > 1e-3


def test_the_starts_differ_and_the_mean_is_over_the_draws(lesson, measured):
    assert len({tuple(measured[f"{start}/signal"]) for start in lesson.STARTS}) == len(lesson.STARTS)
    assert measured["zeros/accuracy"] == pytest.approx(0.1)  # all images in one class, one network
    for start in ("Gaussian", "uniform"):
        right_by_two = measured[f"{start}/accuracy"] * 2 * lesson.QUICK.test
        assert right_by_two == pytest.approx(round(right_by_two))


# What the verdict rests on


def test_units_that_part_on_one_seed_refute_that_they_stay_equal():
    experiment, trials, _ = reference("first_weights")
    for start in ("zeros", "constant"):
        once = np.where(np.arange(len(trials.seeds)) == 5, 1e-6, trials[f"{start}/units apart"])
        assert judged(experiment, "equal units", replaced(trials, {f"{start}/units apart": once})).verdict == "refuted"
    assert trials["Gaussian/units apart"].min() > 0.1  # which the same measure would have seen
