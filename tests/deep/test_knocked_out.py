"""Lost units: what the lesson computes, against numbers worked by hand, and that it would not conclude from less."""

import sys

import numpy as np
import pytest
import torch

from dlnotes.data import Examples
from dlnotes.deep import MLP
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.randomness import stream
from dlnotes.training import accuracy
from tests.trials import reference, replaced, verdicts


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("knocked_out"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def measured(lesson):
    return lesson.trial(lesson.QUICK, 1_000)


def by_hand(last, bias=(0.0, 0.0)):
    """A network that hands its inputs on to a last layer, as long as they are not negative."""
    last = torch.tensor(last)
    model = MLP([last.shape[1], last.shape[1], 2], generator=stream(0, "replaced at once"))
    model.layers[0].weight.data = torch.eye(last.shape[1])
    model.layers[1].weight.data, model.layers[1].bias.data = last, torch.tensor(bias)
    return model.eval()


# Losing units


def test_what_is_left_is_scaled_to_stand_for_all(lesson):
    model = by_hand([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 1.0]], bias=(0.5, 0.25))
    scores = lesson.scores_of(model, torch.ones(1, 4), torch.tensor([1, 3]))  # twice 2 + 4, and twice 1
    assert scores.tolist() == [[12.5, 2.25]]
    everything = lesson.scores_of(model, torch.ones(1, 4), torch.arange(4))
    assert torch.equal(everything, model(torch.ones(1, 4)))


def test_the_units_lost_are_the_first_of_each_order(lesson):
    model = by_hand([[3.0, 0.0], [0.0, 2.0]])  # the first unit says class 0, the second class 1
    test = Examples(torch.ones(1, 2), torch.tensor([0]))
    first, second = torch.tensor([0, 1]), torch.tensor([1, 0])
    assert lesson.knocked_out(model, test, [first], 0.0) == 1
    assert lesson.knocked_out(model, test, [first], 0.5) == 0
    assert lesson.knocked_out(model, test, [second], 0.5) == 1
    assert lesson.knocked_out(model, test, [first, second, second, second], 0.5) == 0.75


def test_halves_agree_where_units_are_duplicates_and_not_where_each_says_another_thing(lesson):
    order, inputs = [torch.arange(4)], torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]])
    duplicates = by_hand([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]])
    assert lesson.halves_agree(duplicates, inputs, order) == 1
    opposed = by_hand([[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0]])
    assert lesson.halves_agree(opposed, inputs, order) == 0
    assert lesson.halves_agree(opposed, inputs, [torch.arange(4), torch.tensor([0, 2, 1, 3])]) == 0.5 * (0 + 1)


def test_the_effective_rank_counts_directions(lesson):
    corners = torch.tensor([[a, b, c] for a in (0.0, 1.0) for b in (0.0, 1.0) for c in (0.0, 1.0)])
    assert lesson.effective_rank(corners) == pytest.approx(3)
    assert lesson.effective_rank(corners + 7) == pytest.approx(3)
    assert lesson.effective_rank(corners[:, :1].expand(-1, 3)) == pytest.approx(1)  # duplicates
    # Eigenvalues in the ratio 4 to 1: (4 + 1)² / (16 + 1).
    assert lesson.effective_rank(corners[:, :2] * torch.tensor([2.0, 1.0])) == pytest.approx(25 / 17)


def test_both_arms_lose_the_same_units_and_see_the_same_noise(lesson, measured, monkeypatch):
    config = lesson.QUICK
    one, other = lesson.loss_orders(config, 1_000), lesson.loss_orders(config, 1_000)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert len(one) == config.draws
    assert not torch.equal(one[0], one[1])
    assert sorted(one[0].tolist()) == list(range(config.width))
    # With equal arms every number of a trial is equal.
    monkeypatch.setattr(lesson, "ARMS", {"none": 0.0, "dropout": 0.0})
    monkeypatch.setattr(lesson, "TUNED", dict.fromkeys(lesson.TUNED, 0.064))
    same = lesson.trial(config, 1_000)
    for name in same:
        if name.startswith("none/"):
            assert same[name] == same[name.replace("none/", "dropout/")], name
    assert measured["none/accuracy by units lost"] != measured["dropout/accuracy by units lost"]


def test_with_all_units_it_is_the_networks_own_accuracy(measured):
    for arm in ("none", "dropout"):
        assert measured[f"{arm}/accuracy by units lost"][0] == measured[f"{arm}/accuracy"]


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


def test_the_mean_over_shares_is_that_of_trapezoids(lesson):
    level, falling = np.full(10, 0.5), np.linspace(1, 0, 10)
    assert lesson.mean_over_shares(np.array([level, falling])).tolist() == pytest.approx([0.5, 0.5])
    assert lesson.fall(np.array([[0.75, 0.5]])).tolist() == [[0.0, 0.25]]


def test_arms_exchanged_or_equal_are_refuted():
    experiment, trials, _ = reference("knocked_out")
    swap = {"none": "dropout", "dropout": "none"}
    names = {name: "/".join(swap.get(part, part) for part in name.split("/")) for name in trials}
    exchanged = replaced(trials, {name: trials[other] for name, other in names.items()})
    assert set(verdicts(experiment, exchanged).values()) == {"refuted"}
    same = replaced(trials, {name: trials[name.replace("dropout/", "none/")] for name in trials})
    judged = experiment.findings(same)
    assert {one.verdict for one in judged if one.kind == "claim"} == {"refuted"}
    assert [one.verdict for one in judged[-2:]] == ["supported"] * 2  # the same cost is the same


def test_a_curve_that_is_higher_and_falls_as_much_does_not_count_as_falling_less():
    experiment, trials, _ = reference("knocked_out")
    higher = {
        "dropout/accuracy by units lost": trials["none/accuracy by units lost"] + 0.05,
        "dropout/accuracy": trials["none/accuracy"] + 0.05,
    }
    judged = experiment.findings(replaced(trials, higher))
    assert [one.verdict for one in judged[:2]] == ["supported", "refuted"]
    assert judged[4].verdict == "refuted"


def test_a_planted_difference_of_twice_the_margin_is_found():
    experiment, trials, _ = reference("knocked_out")
    same = replaced(trials, {name: trials[name.replace("dropout/", "none/")] for name in trials})
    for sign in (1, -1):
        planted = {f"dropout/accuracy under {what}": sign * 0.04 for what in ("noise", "attack")}
        judged = experiment.findings(replaced(same, {name: same[name] + planted[name] for name in planted}))
        assert [one.verdict for one in judged[5:]] == ["refuted"] * 2
