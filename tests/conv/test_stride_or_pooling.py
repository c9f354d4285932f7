"""Stride or pooling: arms that differ in how they halve their maps, and numbers that are what their names say."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from dlnotes.conv import AveragePool2d, ConvNet, MaxPool2d, count_multiply_adds
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.minibatches import Minibatches
from dlnotes.training import accuracy, evaluate
from tests.trials import prediction, reference, replaced


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("stride_or_pooling"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def letters(lesson):
    return lesson.load(lesson.QUICK, 1_000)


@pytest.fixture(scope="module")
def measured(lesson):
    return lesson.trial(brief(lesson), 1_000, dict.fromkeys(lesson.ARMS, 0.05))


def brief(lesson):
    return replace(lesson.QUICK, steps=5)


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


# The docstring


def test_stride_misses_what_pooling_finds_wherever_it_is():
    row = torch.tensor([[0.0, 3, 0, 0, 0, 0, 5, 0], [0.0, 0, 3, 0, 0, 0, 0, 5]])[:, None, None]
    kept = {"skip": MaxPool2d((1, 1), (1, 2)), "max": MaxPool2d((1, 2))}
    halved = {name: layer(row).squeeze().tolist() for name, layer in kept.items()}
    assert halved == {"skip": [[0, 0, 0, 5], [0, 3, 0, 0]], "max": [[3, 0, 0, 5], [0, 3, 0, 5]]}


def test_a_kernel_makes_four_times_the_multiply_adds_at_all_places_as_at_every_second_one(lesson):
    counts = {}
    for layers in ("5x5x1", "5x5x1/2", "5x5x8/2"):
        model = lesson.network(lesson.QUICK, 0, layers)
        counts[layers] = count_multiply_adds(model) - model.scores.weight.numel()
    assert counts["5x5x1/2"] == 64 * 25 == 1_600
    assert counts["5x5x1"] == 256 * 25 == 6_400
    assert counts["5x5x8/2"] == 8 * 1_600
    assert lesson.kept(lesson.network(lesson.QUICK, 0, "5x5x8/2"), torch.zeros(1, 1, 16, 16)).shape == (1, 512)


# The arms


def test_striding_is_computing_all_places_and_dropping_three_of_four(lesson, letters):
    strided, skipped = (lesson.network(lesson.QUICK, 3, layers) for layers in (lesson.ARMS["strided"], lesson.SKIPPED))
    assert torch.equal(weights(strided), weights(skipped))
    for (_, one), (_, other) in zip(
        strided.stages(letters.test.inputs), skipped.stages(letters.test.inputs)[1::2], strict=True
    ):
        torch.testing.assert_close(one, other)
    dense = [count_multiply_adds(model) - model.scores.weight.numel() for model in (strided, skipped)]
    assert dense[1] == 4 * dense[0]


def test_the_arms_differ_in_how_they_halve_and_share_first_weights(lesson):
    models = {arm: lesson.network(lesson.QUICK, 3, layers) for arm, layers in lesson.ARMS.items()}
    for arm in ("max pooled", "average pooled"):
        assert torch.equal(weights(models[arm]), weights(models["strided"]))
    assert [type(layer) for layer in models["max pooled"].layers][1::2] == [MaxPool2d] * 2
    assert [type(layer) for layer in models["average pooled"].layers][1::2] == [AveragePool2d] * 2
    assert not torch.equal(weights(models["strided"]), weights(lesson.network(lesson.QUICK, 4, lesson.ARMS["strided"])))
    wide, strided = ([layer.out_channels for layer in models[arm].layers] for arm in ("wide strided", "strided"))
    assert wide == [2 * kernels for kernels in strided] == [16, 32]
    costs = {arm: count_multiply_adds(model) for arm, model in models.items()}
    assert costs == {"strided": 66_560, "max pooled": 258_560, "average pooled": 258_560, "wide strided": 235_520}


def test_all_arms_see_the_same_batches(lesson, letters, monkeypatch):
    seen, take = [], Minibatches.__next__

    def noted(self):
        batch = take(self)
        seen[-1].append(batch[0])
        return batch

    monkeypatch.setattr(Minibatches, "__next__", noted)
    for layers in lesson.ARMS.values():
        seen.append([])
        lesson.trained(brief(lesson), 3, letters.train, layers, lr=0.05)
    assert len(seen[0]) == 5
    for other in seen[1:]:
        assert all(torch.equal(one, two) for one, two in zip(seen[0], other, strict=True))
    assert not torch.equal(seen[0][0], seen[0][1])
    seen.append([])
    lesson.trained(brief(lesson), 4, letters.train, layers, lr=0.05)
    assert not torch.equal(seen[0][0], seen[-1][0])


# What is measured


def test_what_is_kept_is_the_first_maps_of_half_the_side(lesson, letters):
    images = letters.test.inputs[:3]
    for layers, stage in {"5x5x4/2 5x5x2/2": 0, "5x5x4 max2 5x5x2 max2": 1}.items():
        model = lesson.network(lesson.QUICK, 0, layers)
        maps = model.stages(images)[stage][1]
        assert maps.shape == (3, 4, 8, 8)
        assert torch.equal(lesson.kept(model, images), maps.flatten(1).double())


def test_where_every_pixel_is_kept_little_is_lost_and_where_one_of_four_is_much(lesson, letters):
    # A kernel of 2 x 2 for each pixel of a cell keeps everything; then rebuilding is the identity, up to the pull.
    model = ConvNet("2x2x4/2", inputs=(1, 16, 16), padding="valid", generator=torch.Generator())
    model.layers[0].weight.data = torch.eye(4).view(4, 1, 2, 2)
    assert lesson.lost(model, letters.train, letters.test) < 0.02
    copies = lesson.rebuilt(model, letters.train, letters.test.inputs[:5])
    assert copies.shape == (5, 1, 16, 16)
    model.layers[0].weight.data[1:] = 0.0  # a pixel of four
    assert 0.1 < lesson.lost(model, letters.train, letters.test) < 0.9


def test_an_image_that_is_unknown_is_rebuilt_as_the_average_of_those_in_training(lesson, letters, monkeypatch):
    average = letters.train.inputs.mean(0).expand_as(letters.test.inputs)
    monkeypatch.setattr(lesson, "rebuilt", lambda model, train, images: average)
    assert lesson.lost(None, letters.train, letters.test) == pytest.approx(1)


def test_rebuilding_is_ridge_regression_on_training_images(lesson, letters):
    model = lesson.network(lesson.QUICK, 0, "5x5x2 max2")
    numbers, pixels = lesson.kept(model, letters.train.inputs).numpy(), letters.train.inputs.flatten(1).double().numpy()
    center, image = numbers.mean(0), pixels.mean(0)
    strength = 1e-3 * ((numbers - center) ** 2).sum(0).mean()
    # The twin: least squares with a further example for each number, which asks that its weight be 0.
    asked = np.vstack([numbers - center, strength**0.5 * np.eye(len(center))])
    wanted = np.vstack([pixels - image, np.zeros((len(center), len(image)))])
    slopes = np.linalg.lstsq(asked, wanted, rcond=None)[0]
    expected = image + (lesson.kept(model, letters.test.inputs).numpy() - center) @ slopes
    found = lesson.rebuilt(model, letters.train, letters.test.inputs).flatten(1).numpy()
    assert abs(found - expected).max() < 1e-8


def test_a_trial_judges_trained_networks_on_unseen_images(lesson, measured):
    config = brief(lesson)
    train, _, test = lesson.load(config, 1_000)
    for arm, layers in lesson.ARMS.items():
        model = lesson.trained(config, 1_000, train, layers, lr=0.05)
        assert measured[f"{arm}/accuracy"] == accuracy(model, test)
        assert measured[f"{arm}/multiply-adds"] == count_multiply_adds(model)
        assert measured[f"trained/{arm}/lost"] == lesson.lost(model, train, test)
    model = lesson.network(config, 1_000, "5x5x4 max2")
    assert measured["4/max pooled/lost"] == lesson.lost(model, train, test)
    assert 0 <= measured["skipped/error"] < 1e-4


def test_rates_are_chosen_by_validation_images_which_no_verdict_sees(lesson, letters):
    (score,) = lesson.tune(lesson.QUICK, 1_000, "max pooled", (0.05,))
    model = lesson.trained(lesson.QUICK, 1_000, letters.train, lesson.ARMS["max pooled"], lr=0.05)
    assert score == evaluate(model, letters.validation, lesson.cross_entropy)
    assert not torch.equal(letters.validation.inputs[:50], letters.test.inputs[:50])


def test_a_gain_is_accuracy_with_pooling_minus_accuracy_without():
    experiment, trials, _ = reference("stride_or_pooling")
    none = 0 * trials["strided/accuracy"]
    planted = {
        "max pooled/accuracy": none + 0.75,
        "strided/accuracy": none + 0.5,
        "wide strided/accuracy": none + 0.875,
    }
    planted |= {"average pooled/accuracy": none + 0.25}
    effects = {
        name: prediction(experiment, name).judge(replaced(trials, planted)).effect
        for name in ("same steps", "same cost", "average")
    }
    assert effects == pytest.approx({"same steps": 0.25, "same cost": -0.125, "average": -0.25})
