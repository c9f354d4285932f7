"""Over-fitting: arms that differ in dropout alone, and that the lesson would not conclude its verdict from less."""

import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.training import Minibatches, accuracy, evaluate
from tests.trials import reference, replaced, verdicts


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("over_fitting"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def letters(lesson):
    return lesson.small_images(lesson.QUICK, 1_000, test=100)


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


# The arms


def test_dropout_of_zero_is_the_arm_without_dropout_to_the_bit(lesson, letters, monkeypatch):
    """Whatever the masks' generator has drawn: it is a generator of their own."""
    setting = lesson.Setting(300, 16, 30)
    train = lesson.first(letters[0], 300)
    without = lesson.trained(lesson.QUICK, 0, train, setting, p=lesson.ARMS["none"], lr=0.05)
    draw, used = lesson.stream, []

    def stream(seed, purpose):
        used.append(purpose)
        return draw(seed + 1, purpose) if purpose == "masks" else draw(seed, purpose)

    monkeypatch.setattr(lesson, "stream", stream)
    zero = lesson.trained(lesson.QUICK, 0, train, setting, p=0.0, lr=0.05)
    assert torch.equal(weights(without), weights(zero))
    assert sorted(used) == ["batches", "first weights", "masks"]
    half = lesson.trained(lesson.QUICK, 0, train, setting, p=lesson.ARMS["dropout"], lr=0.05)
    assert not torch.equal(weights(half), weights(zero))


def test_both_arms_start_from_the_same_weights_and_see_the_same_batches(lesson, letters, monkeypatch):
    seen = []

    class Noted(Minibatches):
        def __next__(self):
            batch = super().__next__()
            seen[-1].append(batch[0])
            return batch

    monkeypatch.setattr(lesson, "Minibatches", Noted)
    started = []
    for p in lesson.ARMS.values():
        seen.append([])
        lesson.trained(lesson.QUICK, 0, letters[0], lesson.Setting(800, 16, 20), p=p, lr=0.05)
        seen.append([])
        started.append(weights(lesson.trained(lesson.QUICK, 0, letters[0], lesson.Setting(800, 16, 1), p=p, lr=0.0)))
    assert torch.equal(*started)
    assert len(seen[0]) == len(seen[2]) == 20
    assert all(torch.equal(one, other) for one, other in zip(seen[0], seen[2], strict=True))
    assert not torch.equal(seen[0][0], seen[0][1])


def test_the_arms_are_called_what_they_are(lesson):
    assert lesson.ARMS == {"none": 0.0, "dropout": 0.5}


def test_the_sets_of_letters_are_the_first_of_the_largest(lesson, letters):
    settings = lesson.settings(lesson.Config())
    assert [setting.images for setting in settings.values()] == [100, 500, 2_000, 8_000, 8_000]
    assert settings["under-trained"] == (8_000, 16, 200)
    assert {settings[name][1:] for name in lesson.SETS} == {(256, 1_500)}
    some = lesson.first(letters[0], 50)
    assert torch.equal(some.inputs, letters[0].inputs[:50])
    assert torch.equal(some.targets, letters[0].targets[:50])


def test_validation_letters_choose_rates_and_test_letters_judge(lesson, letters):
    train, validation = lesson.small_images(lesson.QUICK, 1_000, validation=100)
    assert torch.equal(train.inputs, letters[0].inputs)
    assert train.inputs.shape == (800, 196)
    assert validation.inputs.shape == letters[1].inputs.shape == (100, 196)
    assert not torch.equal(validation.inputs, letters[1].inputs)


def test_the_rate_falls_to_zero(lesson, letters):
    setting = lesson.Setting(800, 16, 100)
    ends = [
        weights(lesson.trained(lesson.QUICK, 0, letters[0], setting._replace(steps=steps), p=0.0, lr=0.05))
        for steps in (1, 100)
    ]
    assert (ends[1] - ends[0]).norm() > 0.1  # it moves
    rates = []
    decay = lesson.linear.cosine_decay

    def noted(optimizer, steps):
        scheduler = decay(optimizer, steps)
        rates.append((optimizer, steps))
        return scheduler

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lesson.linear, "cosine_decay", noted)
        lesson.trained(lesson.QUICK, 0, letters[0], setting, p=0.0, lr=0.05)
    (optimizer, steps), *none = rates
    assert not none
    assert steps == 100
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)


# What is measured


def test_a_trial_measures_without_masks_on_both_parts(lesson):
    config = replace(lesson.QUICK, train=160, steps=10)
    measured = lesson.trial(config, 1_000)
    train, test = lesson.small_images(config, 1_000, test=config.test)
    setting = lesson.settings(config)["middle set"]
    lr = lesson.TUNED["letters/middle set/dropout"]
    model = lesson.trained(config, 1_000, lesson.first(train, 40), setting, p=0.5, lr=lr).eval()
    for place, examples in {"train": lesson.first(train, 40), "test": test}.items():
        loss = torch.nn.functional.cross_entropy(model(examples.inputs), examples.targets).item()
        assert measured[f"middle set/dropout/{place} loss"] == pytest.approx(loss, rel=1e-5)
        assert measured[f"middle set/dropout/{place} mistakes"] == pytest.approx(1 - accuracy(model, examples))
    assert evaluate(model, test, lesson.cross_entropy) != measured["middle set/none/test loss"]


def test_the_gap_is_the_loss_on_unseen_letters_minus_that_on_training_letters(lesson):
    trials = {"a/none/test loss": np.array([0.5, 0.25]), "a/none/train loss": np.array([0.125, 0.25])}
    assert lesson.gap(trials, "a", "none").tolist() == [0.375, 0.0]


# What the verdict rests on


def exchanged(trials):
    swap = {"none": "dropout", "dropout": "none"}
    names = {name: "/".join(swap.get(part, part) for part in name.split("/")) for name in trials}
    return replaced(trials, {name: trials[other] for name, other in names.items()})


def test_arms_exchanged_or_equal_are_not_supported():
    experiment, trials, _ = reference("over_fitting")
    assert verdicts(experiment, exchanged(trials))["2.12"] == "refuted"
    same = replaced(trials, {name: trials[name.replace("/dropout/", "/none/")] for name in trials})
    claims = [one for one in experiment.findings(same) if one.kind == "claim"]
    assert {one.verdict for one in claims} == {"refuted"}
    assert experiment.findings(same)[-1].verdict == "refuted"  # equal arms: the small network is not hindered


def test_a_gain_planted_where_none_is_predicted_refutes_the_limit():
    experiment, trials, _ = reference("over_fitting")
    for place, name in {4: "smallest set", 5: "largest set"}.items():
        for factor, verdict in {0.8: "refuted", 1.0: "supported"}.items():
            planted = {f"{name}/dropout/test loss": factor * trials[f"{name}/none/test loss"]}
            assert experiment.findings(replaced(trials, planted))[place].verdict == verdict


def test_a_gain_of_a_twentieth_is_not_called_a_tenth():
    experiment, trials, _ = reference("over_fitting")
    for place, what in {2: "loss", 3: "mistakes"}.items():
        planted = {f"middle set/dropout/test {what}": trials[f"middle set/none/test {what}"] / 1.05}
        judged = experiment.findings(replaced(trials, planted))[place]
        assert judged.verdict == "refuted"
        assert judged.judgement.effect == pytest.approx(1.05)
        assert math.isclose(judged.judgement.margin, 1.1)
