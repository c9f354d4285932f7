"""Pooling windows: arms that differ in the pooling alone, and definitions that are checked against loops and hand."""

import sys
from itertools import product

import pytest
import torch

import dlnotes.conv.training
from dlnotes.conv import AveragePool2d, Conv2d, ConvNet, MaxPool2d, count_parameters
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.lesson.tuned import tuned_settings
from dlnotes.training import accuracy, evaluate
from tests.trials import batches_seen


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("pooling_windows"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def letters(lesson):
    return lesson.load(lesson.QUICK, 1_000)


@pytest.fixture(scope="module")
def tuned(lesson):
    return tuned_settings(contents.lesson_named("pooling_windows"), lesson.QUICK).values


RESPONSES = torch.tensor([[1.0, 0.0, 2.0, 1.0], [4.0, 2.0, 0.0, 1.0], [0.0, 1.0, 3.0, 2.0], [1.0, 2.0, 2.0, 5.0]])


# The statements of the notes


def test_the_example_by_hand():
    maps = RESPONSES[None, None]
    assert MaxPool2d(2)(maps)[0, 0].tolist() == [[4, 2], [2, 5]]
    assert AveragePool2d(2)(maps)[0, 0].tolist() == [[1.75, 1], [1, 3]]
    assert MaxPool2d(4)(maps).item() == 5
    assert AveragePool2d(4)(maps).item() == pytest.approx(1.69, abs=0.005)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("kind", [MaxPool2d, AveragePool2d])
@pytest.mark.parametrize(("k", "s"), [(2, 2), (3, 2), (2, 3), (4, 4), (3, 1)])
def test_pooling_merges_the_responses_of_a_convolution_that_moves_by_one_pixel(kind, k, s, fused):
    """Row 3.10, window by window: the same as a convolution of just the pixels that this window has seen."""
    images = torch.randn(2, 3, 11, 11, generator=torch.Generator().manual_seed(k), dtype=torch.float64)
    layer = Conv2d(3, 2, 3, generator=torch.Generator().manual_seed(s), dtype=torch.float64)
    pooled = kind(k, s, fused=fused)(layer(images))
    merge = torch.amax if kind is MaxPool2d else torch.mean
    for i, j in product(range(pooled.shape[2]), range(pooled.shape[3])):
        seen = images[..., s * i : s * i + k + 2, s * j : s * j + k + 2]
        torch.testing.assert_close(pooled[..., i, j], merge(layer(seen), (2, 3)), rtol=0, atol=1e-12)
    assert pooled.shape[2] == (9 - k) // s + 1


def test_the_gradient_of_a_maximum_is_one_at_the_place_that_won_and_zero_elsewhere():
    maps = RESPONSES[None, None].clone().requires_grad_()
    MaxPool2d(2)(maps).sum().backward()
    won = maps.grad[0, 0]
    assert won.sum() == 4
    assert won[1, 0] == won[0, 2] == won[3, 1] == won[3, 3] == 1


@pytest.mark.parametrize("pooling", ["max2", "max4/2", "average4"])
def test_pooling_has_no_parameters_but_the_classifier_shrinks(lesson, pooling):
    assert not list(MaxPool2d(2).parameters())
    assert count_parameters(lesson.network(0, pooling, "global")) == count_parameters(lesson.network(0, "", "global"))
    whole = lesson.network(0, pooling)
    assert count_parameters(lesson.network(0, "")) - count_parameters(whole) == 10 * (
        12 * 12 * 16 - whole.scores.in_features
    )


def test_average_pooling_is_linear_and_never_above_the_largest():
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 1, 2, 8, 8, generator=generator, dtype=torch.float64)
    mean = AveragePool2d(4, 2)
    torch.testing.assert_close(mean(3 * one + other), 3 * mean(one) + mean(other))
    assert (mean(one) <= MaxPool2d(4, 2)(one)).all()
    assert not torch.allclose(MaxPool2d(4, 2)(one + other), MaxPool2d(4, 2)(one) + MaxPool2d(4, 2)(other))


def test_window_and_stride_are_two_settings_that_are_chosen_by_themselves():
    sizes = {(k, s): MaxPool2d(k, s)(torch.zeros(1, 1, 12, 12)).shape[2] for k, s in product((2, 4), (2, 4))}
    assert sizes == {(2, 2): 6, (4, 2): 5, (2, 4): 3, (4, 4): 3}


# The arms


def test_the_arms_are_all_pairs_of_window_and_stride_and_differ_in_the_pooling_alone(lesson):
    assert len(lesson.ARMS) == 8
    for (kind, layer), k, s in product({"max": MaxPool2d, "average": AveragePool2d}.items(), (2, 4), (2, 4)):
        first, pooling, second = lesson.network(0, lesson.ARMS[f"{kind} k{k} s{s}"]).layers
        assert isinstance(pooling, layer)
        assert (pooling.windows.size, pooling.windows.stride) == ((k, k), (s, s))
        plain = lesson.network(0, "max2").layers
        assert torch.equal(first.weight, plain[0].weight)
        assert torch.equal(second.weight, plain[2].weight)
    assert not torch.equal(lesson.network(1, "max2").layers[0].weight, plain[0].weight)


def test_the_arms_see_the_same_batches(lesson, letters, monkeypatch):
    seen = batches_seen(dlnotes.conv.training, monkeypatch)
    for pooling in ("max2", "average4"):
        seen.append([])
        lesson.trained(lesson.QUICK, 0, letters.train, pooling, lr=0.05)
    assert len(seen[0]) == len(seen[1]) == lesson.QUICK.steps
    assert all(torch.equal(one, other) for one, other in zip(*seen, strict=True))
    assert not torch.equal(seen[0][0], seen[0][1])


def test_a_convolution_alone_gets_the_same_first_weights_whatever_the_classifier_sees(lesson):
    assert isinstance(lesson.network(0, ""), ConvNet)
    assert torch.equal(lesson.network(0, "").layers[1].weight, lesson.network(0, "max4").layers[2].weight)


# What is measured


def test_a_trial_counts_mistakes_on_the_letters_that_judge(lesson, letters, tuned):
    measured = lesson.trial(lesson.QUICK, 1_000, tuned)
    arm = "average k4 s2"
    model = lesson.trained(lesson.QUICK, 1_000, letters.train, "average4/2", lr=tuned[arm])
    assert measured[f"{arm}/mistakes"] == pytest.approx(1 - accuracy(model, letters.test))
    assert measured["whole network/no pooling/parameters"] == 26_474
    assert measured["whole network/max/parameters"] == 9_194
    assert measured["ending in means/max/parameters"] == measured["ending in means/no pooling/parameters"] == 3_594


def test_rates_are_chosen_by_validation_letters(lesson, letters):
    (score,) = lesson.tune(lesson.QUICK, 1_000, "max k4 s4", (0.04,))
    model = lesson.trained(lesson.QUICK, 1_000, letters.train, "max4", lr=0.04)
    assert score == evaluate(model, letters.validation, lesson.cross_entropy)


@pytest.mark.parametrize(
    ("layer", "wrong", "falls"),
    [
        ("MaxPool2d", lambda k, s: AveragePool2d(k, s), {"pooling/error", "max/error", "max/gradient error"}),
        ("MaxPool2d", lambda k, s: lambda maps: -MaxPool2d(k, s)(-maps), {"max/error", "average/above the largest"}),
        ("AveragePool2d", lambda k, s: MaxPool2d(k, s), {"average/error"}),
    ],
    ids=["a mean for the largest", "the smallest for the largest", "the largest for the mean"],
)
def test_another_pooling_falls(lesson, monkeypatch, layer, wrong, falls):
    right = lesson.identities(0)
    assert max(right.values()) < 1e-12
    monkeypatch.setattr(lesson, layer, wrong)
    measured = lesson.identities(0)
    assert all(measured[name] > 0.01 for name in falls)
