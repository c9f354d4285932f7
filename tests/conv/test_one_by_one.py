"""The 1×1 lesson: arms that differ in a layer or in a ReLU alone, and the numbers of the page."""

import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from dlnotes.conv import Conv2d, PointwiseConv, count_parameters, patches
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.linear import LogisticClassifier
from dlnotes.training import accuracy, evaluate
from tests.trials import batches_seen

PATCHES = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]]).view(4, 1, 1, 2)
RATES = {"conv": 0.8, "conv + 1×1": 0.1, "conv + ReLU + 1×1": 0.4}


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("one_by_one"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def config(lesson):
    return replace(lesson.QUICK, train=100, validation=50, test=80, steps=5)


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def layer(made, weight, bias=0.0):
    made.weight.data = torch.tensor(weight).view(made.weight.shape)
    nn.init.constant_(made.bias, bias)
    return made


# The page


def test_the_two_kernels_of_the_page_are_exclusive_or():
    first = Conv2d(1, 2, (1, 2), generator=torch.Generator())
    first.weight.data, first.bias.data = torch.ones(2, 1, 1, 2), torch.tensor([0.0, -1.0])
    maps = first(PATCHES).relu()
    assert maps.flatten(1).T.tolist() == [[0, 1, 1, 2], [0, 0, 0, 1]]
    mix = layer(PointwiseConv(2, 1, generator=torch.Generator()), [1.0, -2.0])
    assert mix(maps).flatten().tolist() == [0, 1, 1, 0]


def test_no_line_gets_four_patches_right():
    """The scores of the two pairs add up to the same, whatever the weights."""
    a, b, c = torch.randn(3, 10_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    right = torch.stack([c < 0, b + c > 0, a + c > 0, a + b + c < 0]).sum(0)
    assert right.max() == 3
    torch.testing.assert_close(c + (a + b + c), (b + c) + (a + c))


def test_two_kernels_without_a_relu_are_the_one_of_the_page():
    first = layer(Conv2d(1, 2, (1, 2), generator=torch.Generator()), [1.0, 2, 3, 0])
    mix = layer(PointwiseConv(2, 1, generator=torch.Generator()), [2.0, -1.0])
    one = layer(Conv2d(1, 1, (1, 2), generator=torch.Generator()), [-1.0, 4])
    assert torch.equal(mix(first(PATCHES)), one(PATCHES))
    assert not torch.equal(mix(first(-PATCHES).relu()), one(-PATCHES))


# 3.18: a linear classifier of a patch


def test_a_convolution_is_a_linear_classifier_of_each_patch():
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 3, 7, 6, generator=generator, dtype=torch.float64)
    convolution = Conv2d(3, 4, 3, generator=generator, dtype=torch.float64)
    classifier = LogisticClassifier(27, 4, dtype=torch.float64)
    classifier.load_state_dict({"weight": convolution.weight.flatten(1), "bias": convolution.bias})
    for row, column in ((0, 0), (2, 3), (4, 1)):
        patch = image[:, :, row : row + 3, column : column + 3]
        torch.testing.assert_close(classifier(patch), convolution(image)[:, :, row, column])


def test_what_should_be_equal_is_equal_and_another_patch_is_not(lesson, monkeypatch):
    measured = lesson.identities(1_000)
    assert max(measured.values()) < 1e-12
    monkeypatch.setattr(lesson, "patches", lambda images, k: patches(images.flip(-1), k))
    assert lesson.identities(1_000)["patch classifier/error"] > 0.1


# 3.19: the arms


def test_the_arms_differ_in_the_1x1_and_in_the_relu_alone(lesson):
    arms = {arm: lesson.network(arm, (1, 2), 8, 1, torch.Generator().manual_seed(0)) for arm in lesson.ARMS}
    assert [[type(part) for part in arm] for arm in arms.values()] == [
        [Conv2d],
        [Conv2d, PointwiseConv],
        [Conv2d, nn.ReLU, PointwiseConv],
    ]
    alone, linear, mini = arms.values()
    assert torch.equal(weights(linear), weights(mini))
    assert count_parameters(alone) == 3
    inputs = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    assert torch.equal(mini[0](inputs), linear[0](inputs))
    assert not torch.equal(mini(inputs), linear(inputs))
    torch.testing.assert_close(-linear(inputs), linear(-inputs))  # biases are 0 at the start: a linear map


def test_all_arms_see_the_same_batches(lesson, config, monkeypatch):
    seen = batches_seen(lesson, monkeypatch)
    train, *_ = lesson.load(config, 1_000)
    for train_arm in (
        lambda arm: lesson.voter(config, 1_000, arm, train, 0.1),
        lambda arm: lesson.marker(config, 1_000, arm, 0),
    ):
        seen.clear()
        for arm in lesson.ARMS:
            seen.append([])
            train_arm(arm)
        assert len(seen[0]) in (config.steps, config.coin_steps)
        for other in seen[1:]:
            assert all(torch.equal(one, two) for one, two in zip(seen[0], other, strict=True))


def test_places_are_marked_where_neighbours_differ(lesson):
    tosses, differ = lesson.coins(1_000, "coins")
    assert tosses.shape == (400, 1, 8, 8)
    assert set(tosses.unique().tolist()) == {0, 1}
    assert torch.equal(differ, (tosses[..., :-1] - tosses[..., 1:]).abs())
    assert differ.mean() == pytest.approx(0.5, abs=0.02)
    assert not torch.equal(tosses, lesson.coins(1_000, "unseen coins").inputs)


def test_the_share_right_is_of_unseen_tosses_and_of_the_best_and_the_worst_start(lesson, config):
    measured = lesson.trial(replace(config, starts=3, coin_steps=20), 1_000, RATES)
    tosses, differ = lesson.coins(1_000, "unseen coins")
    for arm in lesson.ARMS:
        models = [lesson.marker(replace(config, coin_steps=20), 1_000, arm, start) for start in range(3)]
        shares = [1 - ((model(tosses) > 0).float() - differ).abs().mean().item() for model in models]
        assert measured[f"xor/{arm}/best start"] == pytest.approx(max(shares))
        assert measured[f"xor/{arm}/worst start"] == pytest.approx(min(shares))
    _, _, test = lesson.load(config, 1_000)
    train, *_ = lesson.load(config, 1_000)
    for arm, lr in RATES.items():
        model = lesson.voter(config, 1_000, arm, train, lr)
        assert measured[f"votes/{arm}/mistakes"] == pytest.approx(1 - accuracy(model, test))


def test_the_vote_is_the_mean_of_the_scores_of_all_patches(lesson, config):
    train, *_ = lesson.load(config, 1_000)
    model = lesson.voter(config, 1_000, "conv + ReLU + 1×1", train, 0.1)
    image = train.inputs[:1]
    votes = [model[0](image[..., i : i + 5, j : j + 5]).flatten() for i in range(10) for j in range(10)]
    torch.testing.assert_close(model(image)[0], torch.stack(votes).mean(0))


def test_pixels_are_scaled_by_the_training_images(lesson, config):
    train, _, test = lesson.load(config, 1_000)
    assert train.inputs.mean() == pytest.approx(0, abs=1e-4)
    assert train.inputs.std() == pytest.approx(1, abs=1e-4)
    assert train.inputs.min() == test.inputs.min()  # paper is the same number in both


def test_rates_are_chosen_by_validation_images(lesson, config):
    (score,) = lesson.tune(config, 1_000, "conv", (0.1,))
    train, validation, _ = lesson.load(config, 1_000)
    model = lesson.voter(config, 1_000, "conv", train, 0.1)
    assert score == evaluate(model, validation, lesson.cross_entropy)
    assert {len(rates) for rates in lesson.TUNING.values()} == {6}


# 3.21: a matrix product


def test_a_1x1_convolution_is_a_linear_layer_over_channels():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    pointwise = PointwiseConv(3, 6, generator=generator, dtype=torch.float64)
    nn.init.normal_(pointwise.bias, generator=generator)
    product = torch.einsum("oc,nchw->nohw", pointwise.weight[:, :, 0, 0], inputs) + pointwise.bias[:, None, None]
    torch.testing.assert_close(pointwise(inputs), product)
    convolution = Conv2d(3, 6, 1, generator=generator, dtype=torch.float64)
    convolution.load_state_dict(pointwise.state_dict())
    torch.testing.assert_close(pointwise(inputs), convolution(inputs))


@pytest.mark.parametrize("k", [3, 5])
def test_a_1x1_convolution_has_one_of_k_squared_of_the_weights(k):
    one = PointwiseConv(7, 6, bias=False, generator=torch.Generator())
    other = Conv2d(7, 6, k, bias=False, generator=torch.Generator())
    assert count_parameters(other) == k * k * count_parameters(one) == k * k * 42
