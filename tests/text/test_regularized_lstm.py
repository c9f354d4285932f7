"""L2 and dropout of an LSTM: arms that differ in one place, and numbers that are what their names say."""

import math
import sys
from dataclasses import replace

import pytest
import torch

from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.lesson.tuned import tuned_settings
from dlnotes.text import CharacterModel


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("regularized_lstm"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture
def trainers(lesson, monkeypatch):
    """What each training was given, and the weights before its first step."""
    seen, made = [], lesson.trainer_of

    def noted(model, loss, batches, *rest):
        before = torch.cat([each.detach().flatten() for each in model.parameters()])
        taken, given = [], iter(batches)

        def watched():
            for batch in given:
                taken.append(batch)
                yield batch

        trainer = made(model, loss, watched(), *rest)
        seen.append({"model": model, "weights": before, "batches": taken, "trainer": trainer})
        return trainer

    monkeypatch.setattr(lesson, "trainer_of", noted)
    return seen


def read(lesson, arm, strength, seed=1_000):
    return lesson.read_on(lesson.QUICK, seed, arm, strength)


def remember(lesson, arm, config=None, seed=1_000):
    return lesson.remember(config or lesson.QUICK, seed, arm, 0.1, "validation")


# The arms


@pytest.mark.parametrize("arm", ["L2", "inputs and outputs", "state, fresh masks", "state, one mask"])
def test_a_cure_of_strength_0_is_none_to_the_bit_and_a_stronger_one_is_not(lesson, arm):
    none = read(lesson, "none", 0.0)
    assert read(lesson, arm, 0.0) == none
    assert read(lesson, arm, 0.3) != none


def test_all_arms_start_from_the_same_weights_and_see_the_same_batches(lesson, trainers):
    strengths = {"none": 0.0, "L2": 0.01, **dict.fromkeys(lesson.PLACES, 0.5)}
    for arm, strength in strengths.items():
        read(lesson, arm, strength)
    recalling = ("none", *lesson.PLACES, lesson.FRESH_CELL)
    for arm in recalling:
        remember(lesson, arm)
    for some in (trainers[: len(strengths)], trainers[len(strengths) :]):
        for one in some[1:]:
            assert torch.equal(one["weights"], some[0]["weights"])
            assert len(one["batches"]) == len(some[0]["batches"]) == 20
            for mine, first in zip(one["batches"], some[0]["batches"], strict=True):
                assert torch.equal(mine[0], first[0])
                assert torch.equal(mine[1], first[1])
        assert not torch.equal(some[0]["batches"][0][0], some[0]["batches"][1][0])


def test_each_arm_drops_in_its_place_alone(lesson, trainers):
    """4.20: ① inputs and outputs, ② the hidden state under fresh masks or one; the cell under none of them."""
    for arm in ("none", *lesson.PLACES):
        read(lesson, arm, 0.3)
    found = []
    for one in trainers:
        layer = one["model"].recurrent
        shares = [None if drop is None else drop.p for drop in (layer.dropout, layer.recurrent_dropout)]
        found.append((*shares, layer.variational))
    assert found == [(None, None, False), (0.3, None, False), (None, 0.3, False), (None, 0.3, True)]


def test_l2_takes_its_share_of_all_weights_and_no_other_arm_does(lesson, trainers):
    """4.19: without a gradient, a first step at the rate 1 leaves 1 - λ of each weight."""
    for arm in ("none", "L2", "strong L2", *lesson.PLACES):
        read(lesson, arm, 0.01)
    decays = [one["trainer"].optimizer.param_groups[0]["weight_decay"] for one in trainers]
    assert decays == [0.0, 0.01, 0.01, 0.0, 0.0, 0.0]
    model = CharacterModel(5, 8, generator=lesson.stream(0, "weights"))
    before = [each.detach().clone() for each in model.parameters()]
    ids = torch.zeros(1, 2, dtype=torch.int64)
    next(lesson.trainer_of(model, lambda scores, _: 0 * scores.sum(), iter([(ids, ids)]), 10, 1.0, 0.01))
    for each, weight in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(each.detach(), 0.99 * weight, rtol=0, atol=1e-6)


def test_the_rate_falls_to_zero(lesson, trainers):
    read(lesson, "none", 0.0)
    remember(lesson, "none")
    for one in trainers:
        assert one["trainer"].optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)


# The cell


def test_fresh_masks_on_the_cell_leave_what_the_example_says(lesson, trainers):
    """With f = 1 and nothing new: 1, 1.33, 1.78, 2.37 or 0; after twelve steps 3 % are left, and none in evaluation."""
    remember(lesson, lesson.FRESH_CELL)
    model = trainers[0]["model"].train()
    layer = model.recurrent
    for each in layer.parameters():
        each.data.zero_()
    layer.bias_ih_l0.data[32:64] = 50.0
    begin = (torch.zeros(1, 500, 32), torch.ones(1, 500, 32))

    @torch.no_grad()
    def cells(steps):
        return layer.along(torch.zeros(500, steps, 128), begin)[1][1]

    for steps, size in ((1, 1.33), (2, 1.78), (3, 2.37)):
        values = cells(steps)
        left = values[values > 0]
        assert left.unique().numpy() == pytest.approx(size, abs=0.005)
        assert len(left) / values.numel() == pytest.approx(0.75**steps, abs=0.02)
    assert (cells(12) > 0).double().mean().item() == pytest.approx(0.03, abs=0.01)
    assert round(0.75**12, 2) == 0.03
    model.eval()
    assert torch.equal(cells(12), begin[1])


@pytest.mark.parametrize("arm", ["state, fresh masks", "state, one mask"])
def test_masks_on_the_hidden_state_leave_the_cell_alone(lesson, trainers, arm):
    remember(lesson, arm)
    layer = trainers[0]["model"].train().recurrent
    for each in layer.parameters():
        each.data.zero_()
    layer.bias_ih_l0.data[32:64] = 50.0
    begin = (torch.ones(1, 5, 32), torch.ones(1, 5, 32))
    assert torch.equal(layer.along(torch.zeros(5, 12, 128), begin)[1][1], begin[1])


def test_the_memory_begins_with_forget_gates_that_keep_95_percent(lesson, trainers):
    remember(lesson, "none", replace(lesson.QUICK, memory_steps=1))
    assert trainers[0]["model"].recurrent.forget_bias == 3.0
    assert 1 / (1 + math.exp(-3.0)) == pytest.approx(0.95, abs=0.005)


# What is measured


def test_the_watched_texts_are_what_is_learned_and_two_stretches_behind_it(lesson):
    config = lesson.QUICK
    symbols, train, watched = lesson.load(config, 1_000)
    text = lesson.data.load_text(config.data, 1_000, train=1_500, validation=0, test=0)  # 1,050 + 200, and a fifth
    assert symbols == len(text.alphabet)
    assert torch.equal(train, text.train[:1_050])
    learned, validation, test = (torch.cat([rows.inputs, rows.targets[:, -1:]], 1).flatten() for rows in watched)
    assert torch.equal(learned, train[:100])
    known = [number for number in text.train[1_050:].tolist() if number in train]
    assert len(known) < 450  # some characters came first behind
    assert torch.cat([validation, test]).tolist() == known[:200]
    for rows in watched:
        assert rows.inputs.shape == rows.targets.shape == (20, 4)


def test_the_long_text_is_read_forty_times(lesson):
    config = lesson.Config()
    assert config.steps * 50 * 20 / config.train == 40


def test_bits_are_those_of_the_right_characters_without_masks(lesson, trainers):
    readings = read(lesson, "inputs and outputs", 0.5)
    assert len(readings) == 10
    model = trainers[0]["model"].eval()
    for bits, rows in zip(readings[-1], lesson.load(lesson.QUICK, 1_000)[2], strict=True):
        p = model(rows.inputs).softmax(2).gather(2, rows.targets[..., None])
        assert bits == pytest.approx(-p.log2().mean().item(), rel=1e-5)


def planted(lesson, monkeypatch):
    """Readings of three texts, two of which fall and rise; and notes of what was asked for."""
    asked = []
    curve = [[3.0, 3.5, 4.0], [2.0, 3.0, 3.75], [1.0, 3.25, 3.7]]

    def read_on(config, seed, arm, strength):
        asked.append((arm, strength))
        return curve

    monkeypatch.setattr(lesson, "read_on", read_on)
    monkeypatch.setattr(lesson, "remember", lambda *given: (given[2:], given[-1]))
    return asked


def test_a_trial_reports_the_last_test_bits_and_stops_early_by_validation(lesson, monkeypatch):
    asked = planted(lesson, monkeypatch)
    tuned = {"text/L2": 0.001, **{f"text/{place}": 0.3 for place in lesson.PLACES}}
    tuned |= {f"memory/{arm}": 0.1 for arm in ("none", *lesson.PLACES, lesson.FRESH_CELL)}
    measured = lesson.trial(lesson.QUICK, 0, tuned)
    assert dict(asked) == {"none": 0.0, "L2": 0.001, "strong L2": 0.016, **dict.fromkeys(lesson.PLACES, 0.3)}
    assert measured["text/none/bits"] == measured["text/L2/bits"] == 3.7
    assert measured["text/stopped early/bits"] == 3.75
    assert measured["text/none/train curve"] == [3.0, 2.0, 1.0]
    assert measured["memory/none/accuracy"] == "test"


def test_strengths_are_chosen_by_validation_text_and_rates_by_loss(lesson, monkeypatch):
    planted(lesson, monkeypatch)
    assert lesson.tune(lesson.QUICK, 1_000, "text/L2", (0.1, 0.2)) == [3.25, 3.25]
    assert lesson.tune(lesson.QUICK, 1_000, "memory/none", (0.1,)) == [("none", 0.1, "validation")]


def test_recall_is_judged_by_fresh_sequences_without_masks(lesson, trainers):
    loss, accuracy = remember(lesson, "inputs and outputs")
    inputs, targets = lesson.sequences(lesson.QUICK, 512, lesson.stream(1_000, "validation"))
    scores = trainers[0]["model"].eval()(inputs)[:, -1]
    assert loss == pytest.approx(torch.nn.functional.cross_entropy(scores, targets).item(), rel=1e-5)
    assert accuracy == (scores.argmax(1) == targets).double().mean().item()
    assert torch.equal(inputs[:, 0], targets)
    assert inputs.shape == (512, lesson.QUICK.delay + 1)
    assert not torch.equal(inputs[:16], trainers[0]["batches"][0][0])


def test_every_arm_had_six_candidates(lesson):
    assert {len(candidates) for candidates in lesson.TUNING.values()} == {6}
    kept = tuned_settings(contents.lesson_named("regularized_lstm"), lesson.Config()).values
    assert kept.keys() == lesson.TUNING.keys()
    assert all(kept[arm] in candidates for arm, candidates in lesson.TUNING.items())
