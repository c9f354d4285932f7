"""Robust or not: what the lesson computes, against known cases, and that it would not conclude it from less."""

import sys

import pytest
import torch

from dlnotes.data import Examples
from dlnotes.deep import MLP
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.randomness import stream
from dlnotes.training import accuracy
from tests.trials import equal, judged, reference, replaced

CONTROLS = {
    "half lost": "test_a_cost_that_differs_by_twice_the_margin_is_found",
    "noisy pixels": "test_a_cost_that_differs_by_twice_the_margin_is_found",
    "gradient sign": "test_a_cost_that_differs_by_twice_the_margin_is_found",
}
TUNED = {"none": 0.032, "dropout": 0.128}


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("robust"))
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


# Half of the units


def test_the_accuracy_without_half_is_a_mean_over_halves(lesson):
    model = by_hand([[3.0, 0.0], [0.0, 2.0]])  # the first unit says class 0, the second class 1
    test = Examples(torch.ones(1, 2), torch.tensor([0]))
    first, second = torch.tensor([0]), torch.tensor([1])
    assert lesson.accuracy_without_half(model, test, [first]) == 1
    assert lesson.accuracy_without_half(model, test, [second]) == 0
    assert lesson.accuracy_without_half(model, test, [first, second, first, first]) == 0.75


def test_what_is_left_is_scaled_to_stand_for_all(lesson):
    model = by_hand([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]], bias=(0.0, 11.0))
    inputs, two = torch.ones(1, 4), torch.tensor([1, 3])
    assert lesson.answers(model, inputs, two).tolist() == [0]  # twice 2 + 4 is above 11
    model.layers[1].bias.data[1] = 13.0
    assert lesson.answers(model, inputs, two).tolist() == [1]


def test_both_arms_lose_the_same_units_and_see_the_same_noise(lesson, measured, monkeypatch):
    config = lesson.QUICK
    one, other = lesson.halves_left(config, 1_000), lesson.halves_left(config, 1_000)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert [len(half) for half in one] == [config.width // 2] * config.draws
    assert not torch.equal(one[0], one[1])
    # With equal arms every number of a trial is equal.
    monkeypatch.setattr(lesson, "ARMS", {"none": 0.0, "dropout": 0.0})
    same = lesson.trial(config, 1_000, dict.fromkeys(TUNED, 0.064))
    for name in same:
        if name.startswith("none/"):
            assert same[name] == same[name.replace("none/", "dropout/")], name
    assert measured["none/accuracy without half"] != measured["dropout/accuracy without half"]


# The attack


def test_the_attack_moves_each_pixel_by_its_size_and_the_loss_up(lesson):
    model = MLP([20, 16, 10], generator=stream(0, "weights"), dropout=0.5, masks=stream(0, "masks")).eval()
    test = Examples(torch.rand(50, 20, generator=stream(0, "inputs")), torch.arange(50) % 10)
    changed = lesson.attacked(model, test, 0.01)
    assert torch.allclose((changed.inputs - test.inputs).abs(), torch.tensor(0.01), atol=1e-6)
    assert torch.equal(changed.targets, test.targets)
    loss = torch.nn.functional.cross_entropy
    before, after = (loss(model(one.inputs), one.targets, reduction="none") for one in (test, changed))
    assert (after > before).all()
    assert model.layers[0].weight.dtype == torch.float32
    assert model.layers[0].weight.grad is None


def test_certainty_is_no_defence(lesson):
    """In single precision the gradient of this image is zero, and it would stay as it is."""
    model = by_hand([[60.0, 0.0], [0.0, 60.0]])
    test = Examples(torch.tensor([[1.0, 0.5]]), torch.tensor([0]))
    changed = lesson.attacked(model, test, 0.3)
    assert torch.allclose(changed.inputs, torch.tensor([[0.7, 0.8]]))
    assert accuracy(model, changed) == 0


# What the verdict rests on


@pytest.mark.parametrize(
    ("name", "what", "verdicts"),
    [
        ("half lost", "without half", ("refuted", "refuted", "supported")),
        ("noisy pixels", "under noise", ("supported", "refuted", "refuted")),
        ("gradient sign", "under attack", ("supported", "refuted", "refuted")),
    ],
)
def test_a_cost_that_differs_by_twice_the_margin_is_found(name, what, verdicts):
    experiment, trials, _ = reference("robust")
    same, after = equal(trials, ("none", "dropout")), f"dropout/accuracy {what}"
    for difference, verdict in zip((0.0, -0.04, 0.04), verdicts, strict=True):
        changed = replaced(same, {after: same[after] + difference})
        assert judged(experiment, name, changed).verdict == verdict, difference
    higher = replaced(same, {each: same[each] + 0.04 for each in ("dropout/accuracy", after)})  # and no less is lost
    assert judged(experiment, name, higher).verdict == verdicts[0]
