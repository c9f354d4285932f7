"""How sensitive AdaGrad and momentum are to the rate: exact facts, and that the lesson would not conclude from less."""

import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.linear import SGD, AdaGrad
from dlnotes.randomness import stream
from tests.trials import judged, reference, replaced


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("learning_rate_sensitivity"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def small(lesson):
    return replace(lesson.QUICK, train=200, steps=10)


@pytest.fixture(scope="module")
def problems(lesson, small):
    return lesson.load(small, 1_000)


# What the notes state


def end(make, curvatures, steps, *, units=1.0, loss=1.0):
    """The loss of the bowl ½ Σ h x², x = units · w, that is left of 1 in each x after so many steps."""
    units = torch.as_tensor(units, dtype=torch.float64)
    w = nn.Parameter(1 / units * torch.ones(len(curvatures), dtype=torch.float64))
    optimizer, h = make([w]), torch.tensor(curvatures, dtype=torch.float64)
    for _ in range(steps):
        w.grad = loss * units * h * (units * w.detach())
        optimizer.step()
    return (h * (units * w.detach()) ** 2).sum().item() / 2


def adagrad(lr):
    return lambda weights: AdaGrad(weights, lr=lr, eps=0.0)


def with_momentum(lr):
    return lambda weights: SGD(weights, lr=lr, momentum=0.9)


def test_adagrads_best_rate_does_not_move_with_the_unit_of_the_loss_and_that_of_momentum_does():
    bowl = [1.0, 0.3]
    for lr in (0.25, 1.0):
        assert end(adagrad(lr), bowl, 20, loss=1_000.0) == pytest.approx(end(adagrad(lr), bowl, 20))
    assert end(with_momentum(0.1), bowl, 20, loss=1_000.0) > 1e6
    assert end(with_momentum(1e-4), bowl, 20, loss=1_000.0) == pytest.approx(end(with_momentum(0.1), bowl, 20))


def test_units_that_are_ten_times_as_large_ask_for_a_tenth_of_the_rate_of_adagrad_and_a_hundredth_of_momentums():
    bowl = [1.0, 0.3]
    assert end(adagrad(0.05), bowl, 20, units=10.0) == pytest.approx(end(adagrad(0.5), bowl, 20))
    assert end(with_momentum(0.001), bowl, 20, units=10.0) == pytest.approx(end(with_momentum(0.1), bowl, 20))


def test_a_rate_a_thousand_times_too_large_does_not_make_adagrad_diverge_on_a_bowl():
    """It overshoots once, remembers that, and comes back; momentum's loss grows without end."""
    assert end(adagrad(1_000.0), [1.0], 2_000) < 0.5
    assert end(with_momentum(1_000.0), [1.0], 50) > 1e100


def test_two_losses_by_hand():
    """From 1 at the rate 0.5, on w²/2 and on a hundred times that; `end` gives the loss of w, h w²/2."""
    for loss in (1.0, 100.0):
        found = [end(adagrad(0.5), [1.0], steps, loss=loss) for steps in (1, 2)]
        assert found == pytest.approx([0.5**2 / 2, (0.5 - 0.25 / math.sqrt(1.25)) ** 2 / 2])
    descent = [end(lambda weights: SGD(weights, lr=0.5), [1.0], steps, loss=100.0) for steps in (1, 2)]
    assert descent == pytest.approx([49**2 / 2, 2_401**2 / 2])


# The pieces of the lesson


def test_a_range_is_measured_on_the_straight_lines_between_the_rates(lesson):
    steep = [2.0, 1.0, 0.0, 1.0, 2.0]
    assert lesson.octaves(steep) == pytest.approx(2 * lesson.WITHIN)
    flat = [1.0, 0.05, 0.0, 0.08, 0.12, 1.0]
    # To the left 1 and (0.1 - 0.05) / 0.95 octaves, to the right 1 and (0.1 - 0.08) / 0.04.
    assert lesson.octaves(flat) == pytest.approx(1 + 0.05 / 0.95 + 1 + 0.5)


def test_a_range_that_the_grid_does_not_end_is_not_known(lesson):
    assert math.isnan(lesson.octaves([1.0, 0.5, 0.0, 0.05]))
    assert math.isnan(lesson.octaves([0.0, 0.5, 1.0]))


def test_a_second_valley_does_not_widen_the_range(lesson):
    assert lesson.octaves([1.0, 0.05, 1.0, 0.0, 1.0]) == pytest.approx(0.2)


def test_one_rate_for_all_is_the_compromise_with_the_smallest_worst_loss(lesson):
    assert lesson.compromise([[0.0, 0.3, 1.0], [2.0, 0.9, 0.5]]) == pytest.approx(0.4)
    assert lesson.compromise([[0.2, 0.1, 1.0], [2.0, 0.5, 0.7]]) == 0.0


def test_each_topic_has_words_of_its_own_and_the_common_ones_say_nothing(lesson, seed):
    inputs, topics = lesson.bags(20_000, stream(seed, "bags"))
    assert inputs.shape == (20_000, 500)
    assert set(inputs.unique().tolist()) == {0.0, 1.0}
    own = torch.stack([inputs[:, 20 + 48 * topic : 68 + 48 * topic].sum(1) for topic in range(10)], dim=1)
    assert 1 <= own.sum(1).min() <= own.sum(1).max() == 5
    mine, other = own[range(20_000), topics], own[range(20_000), (topics + 1) % 10]
    frequency = 1 / np.arange(1, 49) / np.sum(1 / np.arange(1, 49))
    for found, share in ((mine, 0.55), (other, 0.05)):  # a word is missing where five draws miss it
        expected = (1 - (1 - share * frequency) ** 5).sum()
        assert found.mean().item() == pytest.approx(expected, abs=5 * found.std().item() / math.sqrt(20_000))
    shares = torch.stack([inputs[topics == topic, :20].mean(0) for topic in range(10)])
    assert (shares - 0.5).abs().max() < 6 * math.sqrt(0.25 / 1_800)
    first_and_last = inputs[:, [20, 67]].sum(0)
    assert first_and_last[0] > 20 * first_and_last[1] > 0  # 48 times as often, but for texts that have it twice


def test_pixels_in_units_of_their_own_are_the_same_pixels_multiplied(lesson, problems):
    for one, own in zip(problems["pixels"], problems["rescaled pixels"], strict=True):
        lit = one.inputs > 0.01
        units = (own.inputs / one.inputs).where(lit, math.nan)
        spread = units.nan_to_num(math.inf).amin(0), units.nan_to_num(-math.inf).amax(0)
        seen = lit.any(0)
        assert torch.allclose(spread[0][seen], spread[1][seen], rtol=1e-4)
        assert spread[0][seen].min() >= 0.0999
        assert spread[1][seen].max() <= 10.001
        assert torch.equal(one.targets, own.targets)
    assert spread[1][seen].max() / spread[0][seen].min() > 30


def test_training_and_validation_have_no_common_text(lesson, small, problems):
    texts, topics = lesson.bags(lesson.TEXTS, stream(1_000, "words"))
    train, validation = problems["words"]
    assert len(train.targets) == small.train
    assert len(validation.targets) == small.validation
    end = small.train + small.validation
    assert torch.equal(torch.cat([train.inputs, validation.inputs]), texts[:end])
    assert torch.equal(torch.cat([train.targets, validation.targets]), topics[:end])


def test_settings_that_need_more_texts_than_there_are_are_refused(lesson):
    with pytest.raises(ValueError, match="5,000 in all"):
        lesson.Config(train=4_500)


def test_the_arms_train_to_other_losses(lesson, small, problems):
    losses = [lesson.by_rate(small, 1_000, arm, *problems["pixels"]) for arm in lesson.ARMS]
    assert np.abs(np.subtract(*losses)).max() > 0.01


def test_a_model_that_diverges_counts_as_one_that_knows_nothing(lesson, small, problems, monkeypatch):
    monkeypatch.setattr(lesson, "RATES", (0.01, 1e38))
    losses = lesson.by_rate(small, 1_000, "SGD", *problems["rescaled pixels"])
    assert losses[0] < losses[1] == math.log(10)


# The controls of the verdict


def test_a_range_that_reaches_the_end_of_the_grid_is_inconclusive():
    experiment, trials, _ = reference("learning_rate_sensitivity")
    once = np.where(np.arange(len(trials.seeds)) == 5, math.nan, trials["words/AdaGrad/octaves of good rates"])
    assert (
        judged(experiment, "words", replaced(trials, {"words/AdaGrad/octaves of good rates": once})).verdict
        == "inconclusive"
    )


def test_the_committed_ranges_follow_from_the_committed_losses(lesson):
    _, trials, _ = reference("learning_rate_sensitivity")
    for name in lesson.PROBLEMS:
        for arm in lesson.ARMS:
            curves = trials[f"{name}/{arm}/loss by rate"]
            assert [lesson.octaves(list(curve)) for curve in curves] == pytest.approx(
                trials[f"{name}/{arm}/octaves of good rates"]
            )
