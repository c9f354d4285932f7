"""Over-fitting: arms that differ in dropout alone, and numbers that are measured without masks."""

import sys
from dataclasses import replace

import pytest
import torch

from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.lesson.tuned import tuned_settings
from dlnotes.training import accuracy, evaluate
from tests.trials import batches_seen, prediction, reference, replaced


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("over_fitting"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def letters(lesson):
    return lesson.load(lesson.QUICK, 1_000)


@pytest.fixture(scope="module")
def tuned(lesson):
    return tuned_settings(contents.lesson_named("over_fitting"), lesson.QUICK).values


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


# The arms


def test_dropout_of_zero_is_the_arm_without_dropout_to_the_bit(lesson, letters, monkeypatch):
    """Whatever the masks' generator has drawn: it is a generator of their own."""
    setting = 16, 30
    train = lesson.first(letters.train, 300)
    without = lesson.trained(lesson.QUICK, 0, train, *setting, p=lesson.ARMS["none"], lr=0.05)
    draw, used = lesson.stream, []

    def stream(seed, purpose):
        used.append(purpose)
        return draw(seed + 1, purpose) if purpose == "masks" else draw(seed, purpose)

    monkeypatch.setattr(lesson, "stream", stream)
    zero = lesson.trained(lesson.QUICK, 0, train, *setting, p=0.0, lr=0.05)
    assert torch.equal(weights(without), weights(zero))
    assert sorted(used) == ["batches", "first weights", "masks"]
    half = lesson.trained(lesson.QUICK, 0, train, *setting, p=lesson.ARMS["dropout"], lr=0.05)
    assert not torch.equal(weights(half), weights(zero))


def test_both_arms_start_from_the_same_weights_and_see_the_same_batches(lesson, letters, monkeypatch):
    seen = batches_seen(lesson, monkeypatch)
    started = []
    for p in lesson.ARMS.values():
        seen.append([])
        lesson.trained(lesson.QUICK, 0, letters.train, 16, 20, p=p, lr=0.05)
        seen.append([])
        model = lesson.trained(lesson.QUICK, 0, letters.train, 16, 1, p=p, lr=0.0)
        started.append(weights(model))
    assert torch.equal(*started)
    assert len(seen[0]) == len(seen[2]) == 20
    assert all(torch.equal(one, other) for one, other in zip(seen[0], seen[2], strict=True))
    assert not torch.equal(seen[0][0], seen[0][1])


def test_the_arms_are_called_what_they_are(lesson):
    assert lesson.ARMS == {"none": 0.0, "dropout": 0.5}


def test_the_sets_of_letters_are_the_first_of_the_largest(lesson, letters):
    settings = lesson.settings(lesson.Config())
    assert [setting[0] for setting in settings.values()] == [100, 500, 2_000, 8_000, 8_000]
    assert settings["under-trained"] == (8_000, 16, 200)
    assert {settings[name][1:] for name in lesson.SETS} == {(256, 1_500)}
    some = lesson.first(letters.train, 50)
    assert torch.equal(some.inputs, letters.train.inputs[:50])
    assert torch.equal(some.targets, letters.train.targets[:50])


def test_sets_that_do_not_lie_within_each_other_are_refused(lesson):
    for wrong in ({"middle": 9_000}, {"smallest": 0}, {"small": 50}):
        with pytest.raises(ValueError, match="0 < smallest ≤ small ≤ middle ≤ train"):
            replace(lesson.Config(), **wrong)


def test_the_rate_falls_to_zero(lesson, letters, monkeypatch):
    ends = [weights(lesson.trained(lesson.QUICK, 0, letters.train, 16, steps, p=0.0, lr=0.05)) for steps in (1, 100)]
    assert (ends[1] - ends[0]).norm() > 0.1  # it moves
    rates = []
    decay = lesson.linear.cosine_decay
    monkeypatch.setattr(
        lesson.linear,
        "cosine_decay",
        lambda optimizer, steps: rates.append((optimizer, steps)) or decay(optimizer, steps),
    )
    lesson.trained(lesson.QUICK, 0, letters.train, 16, 100, p=0.0, lr=0.05)
    ((optimizer, steps),) = rates
    assert steps == 100
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)


# What is measured


def test_a_trial_measures_without_masks_on_training_letters_and_on_those_that_judge(lesson, tuned):
    config = replace(lesson.QUICK, train=160, middle=40, small=10, smallest=10, steps=10)
    measured = lesson.trial(config, 1_000, tuned)
    train, _, test = lesson.load(config, 1_000)
    _, *setting = lesson.settings(config)["middle set"]
    lr = tuned["middle set/dropout"]
    model = lesson.trained(config, 1_000, lesson.first(train, 40), *setting, p=0.5, lr=lr).eval()
    for place, examples in {"train": lesson.first(train, 40), "test": test}.items():
        loss = torch.nn.functional.cross_entropy(model(examples.inputs), examples.targets).item()
        assert measured[f"middle set/dropout/{place} loss"] == pytest.approx(loss, rel=1e-5)
        assert measured[f"middle set/dropout/{place} mistakes"] == pytest.approx(1 - accuracy(model, examples))
    assert evaluate(model, test, lesson.cross_entropy) != measured["middle set/none/test loss"]


def test_rates_are_chosen_by_validation_letters_which_no_verdict_sees(lesson, letters):
    _, *setting = lesson.settings(lesson.QUICK)["small set"]
    (score,) = lesson.tune(lesson.QUICK, 1_000, "small set/dropout", (0.064,))
    model = lesson.trained(lesson.QUICK, 1_000, lesson.first(letters.train, 50), *setting, p=0.5, lr=0.064)
    assert score == evaluate(model, letters.validation, lesson.cross_entropy)
    assert not torch.equal(letters.validation.inputs[:50], letters.test.inputs[:50])


def test_the_gap_is_the_loss_on_unseen_letters_minus_that_on_training_letters():
    experiment, trials, _ = reference("over_fitting")
    planted = {}
    for arm, unseen in {"none": 0.75, "dropout": 0.5}.items():
        planted |= {
            f"middle set/{arm}/{place} loss": 0 * trials["middle set/none/test loss"] + loss
            for place, loss in {"test": unseen, "train": 0.25}.items()
        }
    assert prediction(experiment, "gap").judge(replaced(trials, planted)).effect == pytest.approx(2.0)
