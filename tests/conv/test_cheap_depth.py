"""Cheap depth: networks that differ in one layer, exact prices, and what is measured of them."""

import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from dlnotes.conv import ConvNet, PointwiseConv, count_multiply_adds, count_parameters
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.training import accuracy, evaluate
from tests.trials import batches_seen


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("cheap_depth"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def letters(lesson):
    return lesson.load(lesson.QUICK, 1_000)


def network(lesson, arm, **settings):
    parts = lesson.parts(replace(lesson.Config(), **settings), arm)
    return ConvNet(parts, inputs=(1, 14, 14), generator=torch.Generator().manual_seed(0))


# The text


def test_the_pixel_of_the_text():
    layer = PointwiseConv(3, 2, generator=torch.Generator())
    layer.weight.data = torch.tensor([[1.0, 0.0, -1.0], [-1.0, 2.0, 1.0]]).view(2, 3, 1, 1)
    pixel = layer(torch.tensor([2.0, 0.0, 1.0]).view(1, 3, 1, 1)).flatten()
    assert pixel.tolist() == [1.0, -1.0]
    assert pixel.relu().tolist() == [1.0, 0.0]


def test_a_1x1_layer_costs_a_ninth_of_a_3x3_layer_and_leaves_the_sizes_of_all_others_as_they_are(lesson):
    none, one, three = (network(lesson, arm) for arm in ("none", "1×1", "3×3"))
    prices = [
        count_multiply_adds(one) - count_multiply_adds(none),
        count_multiply_adds(three) - count_multiply_adds(none),
    ]
    assert prices == [7 * 7 * 16 * 16, 9 * 7 * 7 * 16 * 16] == [12_544, 112_896]
    assert count_parameters(one) - count_parameters(none) == 16 * 16 + 16
    assert count_parameters(three) - count_parameters(none) == 9 * 16 * 16 + 16
    images = torch.zeros(1, 1, 14, 14)
    shapes = {arm: [maps.shape for _, maps in network(lesson, arm).stages(images)] for arm in ("none", "1×1")}
    assert shapes["1×1"][:3] + shapes["1×1"][4:] == shapes["none"]
    assert shapes["1×1"][3] == shapes["1×1"][2]


def test_in_a_block_of_mobilenet_with_512_channels_1x1_makes_98_percent(lesson):
    block = lesson.mobilenet()[13:15]  # of as many channels going in as coming out
    each, mixing = (count_multiply_adds(*layer) / (14 * 14) for layer in block)
    assert [each, mixing] == [9 * 512, 512 * 512]
    assert mixing / (each + mixing) == pytest.approx(0.98, abs=0.005)


def test_mobilenet_has_the_published_sizes(lesson):
    """569 million multiply-adds, of which 94.86 % by 1×1; 4.2 million parameters."""
    layers = lesson.mobilenet()
    assert sum(count_multiply_adds(*layer) for layer in layers) == 568_740_352
    assert lesson.share_of_pointwise(layers) == pytest.approx(0.9486, abs=5e-5)
    assert round(sum(count_parameters(layer) for layer, _ in layers) / 1e6, 1) == 4.2
    images = torch.zeros(1, 3, 224, 224, device="meta")
    for layer, shape in layers[:-1]:  # each is given what the one before makes
        assert tuple(images.shape[1:]) == shape
        images = layer(images)
    assert images.shape == (1, 1024, 7, 7)


def test_the_share_of_1x1_counts_1x1_alone(lesson):
    with torch.device("meta"):
        layers = [(nn.Conv2d(2, 3, 1), (2, 5, 5)), (nn.Conv2d(3, 1, 2), (3, 5, 5)), (nn.Linear(16, 3), (16,))]
    assert lesson.share_of_pointwise(layers) == pytest.approx(150 / (150 + 192 + 48))


# The arms


def test_the_arms_differ_in_one_layer(lesson):
    assert {arm: lesson.parts(lesson.Config(), arm) for arm in lesson.ARMS} == {
        "none": "3x3x16 max2 3x3x16 max2",
        "wider": "3x3x16 max2 3x3x17 max2",
        "1×1": "3x3x16 max2 3x3x16 1x1x16 max2",
        "3×3": "3x3x16 max2 3x3x16 3x3x16 max2",
    }
    assert lesson.parts(lesson.Config(layers=2, maps=8), "1×1") == "3x3x8 max2 3x3x8 1x1x8 1x1x8 max2"


def test_the_wider_network_has_as_many_parameters_as_that_with_1x1_within_a_hundredth(lesson):
    wider, one = (count_parameters(network(lesson, arm)) for arm in ("wider", "1×1"))
    assert 0.99 < wider / one < 1


def test_all_arms_see_the_same_batches_and_begin_with_the_same_layers(lesson, letters, monkeypatch):
    seen = batches_seen(lesson, monkeypatch)
    config, models = replace(lesson.QUICK, steps=3), {}
    for arm in lesson.ARMS:
        seen.append([])
        models[arm] = lesson.trained(config, 0, letters.train, lesson.parts(config, arm), lr=0.0)
    for batches in seen[1:]:
        assert all(torch.equal(one, other) for one, other in zip(seen[0], batches, strict=True))
    assert not torch.equal(seen[0][0], seen[0][1])
    for arm in ("1×1", "3×3"):
        for layer in (0, 2):
            assert torch.equal(models[arm].layers[layer].weight, models["none"].layers[layer].weight)
    assert torch.equal(models["wider"].layers[0].weight, models["none"].layers[0].weight)


def test_the_rate_falls_to_zero_along_a_cosine(lesson, letters, monkeypatch):
    rates = []
    decay = lesson.linear.cosine_decay

    def noted(optimizer, steps):
        rates.append((optimizer, steps))
        return decay(optimizer, steps)

    monkeypatch.setattr(lesson.linear, "cosine_decay", noted)
    lesson.trained(lesson.QUICK, 0, letters.train, "3x3x4 max2", lr=0.05)
    ((optimizer, steps),) = rates
    assert steps == lesson.QUICK.steps
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)
    assert optimizer.param_groups[0]["momentum"] == 0.9


# What is measured


def test_a_trial_measures_mistakes_on_the_letters_that_judge(lesson, letters):
    measured = lesson.trial(lesson.QUICK, 1_000, dict.fromkeys(lesson.ARMS, 0.05) | {"1×1": 0.1})
    parts = lesson.parts(lesson.QUICK, "1×1")
    model = lesson.trained(lesson.QUICK, 1_000, letters.train, parts, lr=0.1)
    assert measured["1×1/mistakes"] == 1 - accuracy(model, letters.test)
    assert measured["1×1/multiply-adds"] == 155_104
    assert measured["none/multiply-adds"] == 142_560
    assert measured["1×1/parameters"] == count_parameters(model)
    assert measured["MobileNet/share of 1×1"] > 0.9


def test_rates_are_chosen_by_validation_letters_which_no_verdict_sees(lesson, letters):
    scores = lesson.tune(lesson.QUICK, 1_000, "3×3", (0.05, 0.1))
    models = [
        lesson.trained(lesson.QUICK, 1_000, letters.train, lesson.parts(lesson.QUICK, "3×3"), lr=lr)
        for lr in (0.05, 0.1)
    ]
    assert scores == [evaluate(model, letters.validation, lesson.cross_entropy) for model in models]
    assert not torch.equal(letters.validation.inputs[:50], letters.test.inputs[:50])
