"""Lost units: what the lesson computes, against numbers worked by hand, and that it would not conclude from less."""

import sys

import numpy as np
import pytest
import torch

from dlnotes.deep import MLP
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.randomness import stream
from tests.trials import exchanged, judged, reference, replaced

CONTROLS = {
    "falls less": "test_a_curve_that_falls_less_is_told_from_one_that_is_higher",
}
TUNED = {"none": 0.032, "dropout": 0.128}


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("knocked_out"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def measured(lesson):
    return lesson.trial(lesson.QUICK, 1_000, TUNED)


def by_hand(last, bias=(0.0, 0.0)):
    """A network that hands its inputs on to a last layer, as long as they are not negative."""
    last = torch.tensor(last)
    model = MLP([last.shape[1], last.shape[1], 2], generator=stream(0, "replaced at once"))
    model.layers[0].weight.data = torch.eye(last.shape[1])
    model.layers[1].weight.data, model.layers[1].bias.data = last, torch.tensor(bias)
    return model.eval()


# Losing units


def test_what_is_left_is_scaled_to_stand_for_all(lesson):
    model = by_hand([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]], bias=(0.0, 11.0))
    units, two = torch.ones(1, 4), torch.tensor([1, 3])
    assert lesson.answers(model, units, two).tolist() == [0]  # twice 2 + 4 is above 11
    model.layers[1].bias.data[1] = 13.0
    assert lesson.answers(model, units, two).tolist() == [1]
    for bias in (9.0, 11.0):  # all of them: 10
        model.layers[1].bias.data[1] = bias
        assert torch.equal(lesson.answers(model, units, torch.arange(4)), model(units).argmax(1))


def test_the_units_lost_are_the_first_of_each_order(lesson):
    model = by_hand([[3.0, 0.0], [0.0, 2.0]])  # the first unit says class 0, the second class 1
    given = model, torch.ones(1, 2), torch.tensor([0])
    first, second = torch.tensor([0, 1]), torch.tensor([1, 0])
    assert lesson.accuracy_left(*given, [first], 0.0) == 1
    assert lesson.accuracy_left(*given, [first], 0.5) == 0
    assert lesson.accuracy_left(*given, [second], 0.5) == 1
    assert lesson.accuracy_left(*given, [first, second, second, second], 0.5) == 0.75


def test_halves_agree_where_units_are_duplicates_and_not_where_each_says_another_thing(lesson):
    order, units = [torch.arange(4)], torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]])
    duplicates = by_hand([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]])
    assert lesson.halves_agree(duplicates, units, order) == 1
    opposed = by_hand([[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0]])
    assert lesson.halves_agree(opposed, units, order) == 0
    assert lesson.halves_agree(opposed, units, [torch.arange(4), torch.tensor([0, 2, 1, 3])]) == 0.5 * (0 + 1)


def test_the_effective_rank_counts_directions(lesson):
    corners = torch.tensor([[a, b, c] for a in (0.0, 1.0) for b in (0.0, 1.0) for c in (0.0, 1.0)])
    assert lesson.effective_rank(corners) == pytest.approx(3)
    assert lesson.effective_rank(corners + 7) == pytest.approx(3)
    assert lesson.effective_rank(corners[:, :1].expand(-1, 3)) == pytest.approx(1)  # duplicates
    # Eigenvalues in the ratio 4 to 1: (4 + 1)² / (16 + 1).
    assert lesson.effective_rank(corners[:, :2] * torch.tensor([2.0, 1.0])) == pytest.approx(25 / 17)


def test_both_arms_lose_the_same_units(lesson, measured, monkeypatch):
    config = lesson.QUICK
    one, other = lesson.orders_of_loss(config, 1_000), lesson.orders_of_loss(config, 1_000)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert len(one) == config.draws
    assert not torch.equal(one[0], one[1])
    assert sorted(one[0].tolist()) == list(range(config.width))
    # With equal arms every number of a trial is equal.
    monkeypatch.setattr(lesson, "ARMS", {"none": 0.0, "dropout": 0.0})
    same = lesson.trial(config, 1_000, dict.fromkeys(TUNED, 0.064))
    for name in same:
        if name.startswith("none/"):
            assert same[name] == same[name.replace("none/", "dropout/")], name
    assert measured["none/accuracy by units lost"] != measured["dropout/accuracy by units lost"]


def test_with_all_units_it_is_the_networks_own_accuracy(measured):
    for arm in ("none", "dropout"):
        assert measured[f"{arm}/accuracy by units lost"][0] == measured[f"{arm}/accuracy"]


# What the verdict rests on


def test_the_mean_over_shares_is_that_of_trapezoids(lesson):
    level, falling = np.full(10, 0.5), np.linspace(1, 0, 10)
    assert lesson.mean_over_shares(np.array([level, falling])).tolist() == pytest.approx([0.5, 0.5])
    assert lesson.fall({"x/accuracy by units lost": np.array([[0.75, 0.5]])}, "x").tolist() == [[0.0, 0.25]]


def test_a_curve_that_falls_less_is_told_from_one_that_is_higher():
    experiment, trials, _ = reference("knocked_out")
    without = trials["none/accuracy by units lost"]
    assert judged(experiment, "falls less", exchanged(trials, ("none", "dropout"))).verdict == "refuted"
    flatter = without + 0.04 * (np.arange(10) > 0)  # 0.0378 on the mean over the shares
    for curves, verdict in ((without, "refuted"), (without + 0.05, "refuted"), (flatter, "supported")):
        changed = replaced(trials, {"dropout/accuracy by units lost": curves})
        assert judged(experiment, "falls less", changed).verdict == verdict
