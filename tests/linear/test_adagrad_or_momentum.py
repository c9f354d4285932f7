"""AdaGrad beside momentum: exact facts, and that the lesson would not conclude from less."""

import json
import math
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.lesson.tuned import tuned_settings
from dlnotes.linear import AdaGrad
from dlnotes.randomness import stream


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("adagrad_or_momentum"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def small(lesson):
    return replace(lesson.QUICK, train=200, steps=10)


@pytest.fixture(scope="module")
def problems(lesson, small):
    return lesson.load(small, 1_000)


# What the notes state


def test_on_one_gradient_in_a_hundred_adagrad_goes_ten_times_as_far_as_its_common_rate_would():
    """A rare word: AdaGrad's t-th step along it is α/√t with t its own count, and not that of all steps."""
    w = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    optimizer = AdaGrad([w], lr=1.0)
    for step in range(1, 101):
        before = w.detach().clone()
        w.grad = torch.tensor([1.0, float(step == 100)], dtype=torch.float64)
        optimizer.step()
    common, rare = (before - w.detach()).tolist()
    assert (common, rare) == pytest.approx((0.1, 1.0))


# The pieces of the lesson


def test_each_topic_has_words_of_its_own_and_the_common_ones_say_nothing(lesson, seed):
    inputs, topics = lesson.bags([20_000, 0, 0], stream(seed, "bags")).train
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


def test_both_optimizers_have_the_same_number_of_settings_and_the_same_rates(lesson):
    ours, theirs = lesson.SETTINGS["SGD"], lesson.SETTINGS["AdaGrad"]
    assert len(ours) == len(theirs) == 48
    assert [(one.group["lr"], one.decays) for one in ours] == [(one.group["lr"], one.decays) for one in theirs]
    assert len({(*one.group.values(), one.decays) for one in ours}) == 48
    assert {one.group["momentum"] for one in ours} == {0.9, 0.99}


@pytest.mark.parametrize("name", ["letters", "fashion_mnist", "not_mnist"])
def test_no_chosen_rate_lies_at_the_end_of_the_grid(lesson, name):
    ends = {lesson.RATES[0], lesson.RATES[-1]}
    tuned = tuned_settings(contents.lesson_named("adagrad_or_momentum"), lesson.Config(data=name)).values
    assert tuned.keys() == {f"{case}/{arm}" for case in lesson.CASES for arm in lesson.ARMS}
    for place, number in tuned.items():
        assert lesson.SETTINGS[place.partition("/")[2]][int(number)].group["lr"] not in ends, place


def test_models_trained_side_by_side_are_those_trained_alone_and_the_optimizers_differ(lesson, small, problems):
    settings = [lesson.Setting({"lr": lr}, decays=True) for lr in (0.01, 0.1)]

    def weights(arm, *some):
        models = lesson.trained(small, 1_000, "network", arm, problems["network"].train, some)
        return [torch.cat([parameter.detach().flatten() for parameter in model.parameters()]) for model in models]

    for arm in lesson.ARMS:
        together, (alone,) = weights(arm, *settings), weights(arm, settings[1])
        assert torch.allclose(together[1], alone, atol=1e-5)
        assert (together[0] - together[1]).abs().max() > 0.01
    assert (weights("SGD", settings[1])[0] - weights("AdaGrad", settings[1])[0]).abs().max() > 0.01


def test_a_rate_that_decays_ends_at_zero_and_trains_to_other_weights(lesson, small, problems):
    def weight(decays):
        setting = lesson.Setting({"lr": 0.1, "momentum": 0.9}, decays)
        (model,) = lesson.trained(small, 1_000, "words", "SGD", problems["words"].train, [setting])
        return model.weight

    assert (weight(True) - weight(False)).abs().max() > 0.01


def test_a_model_that_diverges_is_none(lesson, small, problems):
    huge = [lesson.Setting({"lr": 1e38, "momentum": 0.9}, decays=False)]
    assert lesson.trained(small, 1_000, "linear", "SGD", problems["linear"].train, huge) == [None]


def test_scores_of_the_tuning_come_in_the_order_of_the_candidates(lesson, small):
    """Numbers 6 and 18 have the same rate of 1/8, without decay and with it; 0 is too small to learn anything."""
    scores = lesson.tune(small, 1_000, "linear/SGD", (18, 6, 0))
    assert scores == [*lesson.tune(small, 1_000, "linear/SGD", (18,)), *lesson.tune(small, 1_000, "linear/SGD", (6, 0))]
    assert scores[2] > max(scores[:2])


# The scores of the tuning


def test_the_scores_of_the_tuning_are_there_for_all_settings():
    folder = contents.results_folder() / "tuning"
    for name in ("letters", "fashion_mnist", "not_mnist"):
        scores = json.loads((folder / f"adagrad_or_momentum.{name}.json").read_text(encoding="utf-8"))["scores"]
        of_each = Counter(score.rpartition("/")[0] for score in scores)
        assert len(of_each) >= 4
        assert set(of_each.values()) == {48}
