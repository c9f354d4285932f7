"""The lesson on masks: what it counts, and what its verdict would not be concluded from."""

import math
import sys

import pytest
import torch

from dlnotes.data import Examples
from dlnotes.deep import MLP
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.randomness import stream
from tests.trials import judged, reference, replaced

CONTROLS = {
    "half dropped": "test_a_share_is_followed_to_both_sides_of_a_half",
    "next example": "test_a_share_is_followed_to_both_sides_of_a_half",
    "next call": "test_a_share_is_followed_to_both_sides_of_a_half",
    "next unit": "test_a_share_is_followed_to_both_sides_of_a_half",
}


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("masks"))
    return sys.modules[experiment.trial.__module__]


@pytest.mark.parametrize(
    ("prediction", "share"),
    [
        ("half dropped", "masks/share of zeros"),
        ("next example", "neighbouring examples/share that agrees"),
        ("next call", "neighbouring calls/share that agrees"),
        ("next unit", "neighbouring units/share that agrees"),
    ],
)
def test_a_share_is_followed_to_both_sides_of_a_half(prediction, share):
    experiment, trials, _ = reference("masks")
    assert judged(experiment, prediction, trials).verdict == "supported"
    for mean, verdict in ((0.48, "refuted"), (0.495, "supported"), (0.505, "supported"), (0.52, "refuted")):
        moved = replaced(trials, {share: trials[share] - trials[share].mean() + mean})
        assert judged(experiment, prediction, moved).verdict == verdict, mean


def test_counts_of_masks_that_are_known(lesson):
    kept = torch.tensor([[[True, False], [True, False]], [[True, True], [False, False]]])  # (calls, examples, units)
    found = lesson.count(kept)
    assert found["masks/share of zeros"] == 0.5
    assert found["neighbouring examples/share that agrees"] == 0.5  # first call: both entries; second call: none
    assert found["neighbouring calls/share that agrees"] == 0.5
    assert found["neighbouring units/share that agrees"] == 0.5
    assert found["masks/drawn again"] == 1


@pytest.mark.parametrize("p", [0.4, 0.6])
def test_other_shares_are_seen(lesson, p):
    assert lesson.count(lesson.draw_masks(0, p))["masks/share of zeros"] == pytest.approx(p, abs=0.01)


def test_the_distance_is_that_of_all_masks_together(lesson):
    model = MLP([3, 3, 3, 2], generator=stream(0, "weights"), dropout=0.5, masks=stream(0, "masks"))
    for layer in model.layers:
        layer.bias.data.fill_(0.1)
    x = torch.randn(5, 3, generator=stream(0, "x"))
    h = torch.relu(model.layers[0](x))
    total = torch.zeros(5, 2)
    for code in range(64):  # all masks of two layers of three units
        bits = torch.tensor([code >> place & 1 for place in range(6)])
        second = torch.relu(model.layers[1](h * bits[:3] * 2)) * bits[3:] * 2
        total += model.layers[2](second) / 64
    whole = model.eval()(x)
    expected = ((total - whole).square().mean() / whole.square().mean()).sqrt().item()
    assert expected > 0.05
    assert lesson.distance(model, x, 5_000) == pytest.approx(expected, rel=0.1)


def test_nothing_is_apart_without_dropout(lesson):
    model = MLP([3, 4, 2], generator=stream(0, "weights"))
    inputs = torch.randn(5, 3, generator=stream(0, "x"))
    assert abs(lesson.distance(model, inputs, 10)) < 1e-6
    targets = model(inputs).argmax(1)
    assert lesson.accuracy_with_masks(model, Examples(inputs, targets)) == 1.0


def test_masks_that_are_on_are_drawn(lesson):
    model = MLP([3, 4, 2], generator=stream(0, "weights"), dropout=0.5, masks=stream(0, "masks"))
    before = model.dropout.generator.get_state()
    lesson.accuracy_with_masks(model.eval(), Examples(torch.ones(5, 3), torch.zeros(5)))
    assert not torch.equal(model.dropout.generator.get_state(), before)
    assert not math.isnan(lesson.distance(model, torch.ones(5, 3), 4))
