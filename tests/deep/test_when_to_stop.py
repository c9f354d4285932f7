"""When to stop: what the rules read from a run."""

import sys

import pytest
import torch

from dlnotes import data
from dlnotes.deep import MLP, EarlyStopping
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.linear import SGD, cross_entropy
from dlnotes.randomness import stream
from dlnotes.training import Minibatches, Trainer, evaluate


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("when_to_stop"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def measured(lesson):
    return lesson.trial(lesson.QUICK, 1_000)


def parts_of(config, seed, count):
    """What a trial learns from, stops by and is judged by, with all labels right."""
    sizes = {"train": count, "validation": config.validation, "test": config.test}
    return data.load(config.data, seed, **sizes, side=14, flat=True)


# The pieces of the lesson


def test_each_rule_stops_and_gives_back_where_it_does_by_hand(lesson):
    losses = [0.9, 0.7, 0.8, 0.6, 0.65, 0.7, 0.61, 0.5] + [0.55] * 12
    assert lesson.stops(losses) == {
        "to the end": (20, 20),
        "patience 1": (3, 2),  # 0.8 is the first that is no better
        "notes' rule": (3, 3),  # and its weights are kept
        "patience 3": (7, 4),  # 0.65, 0.7 and 0.61 are no better than 0.6
        "patience 10": (18, 8),  # ten of 0.55 are no better than 0.5
    }


def test_a_run_that_only_improves_is_ended_by_its_end(lesson):
    assert set(lesson.stops([3.0, 2.0, 1.0]).values()) == {(3, 3)}


def test_that_share_of_the_labels_is_another_one(lesson):
    labels = torch.arange(10).repeat(50)
    found = lesson.mislabelled(labels, 0.2, 0)
    assert (found != labels).sum() == 100
    assert found.min() >= 0
    assert found.max() <= 9
    assert len(((found - labels) % 10).unique()) == 10  # wrong ones are any of the other nine
    assert torch.equal(lesson.mislabelled(labels, 0.0, 0), labels)
    assert torch.equal(lesson.mislabelled(labels, 0.2, 0), found)
    assert not torch.equal(lesson.mislabelled(labels, 0.2, 1), found)


def test_only_training_labels_are_wrong_and_the_parts_are_told_apart(lesson, monkeypatch):
    given = []
    monkeypatch.setattr(lesson, "all_rules", lambda config, seed, *parts: given.append(parts) or {})
    lesson.trial(lesson.QUICK, 1_000)
    for (train, validation, test, _), count, wrong in zip(given, (200, 400), (40, 0), strict=True):
        clean = parts_of(lesson.QUICK, 1_000, count)
        assert (train.targets != clean[0].targets).sum() == wrong
        for part, as_drawn, size in ((validation, clean[1], 100), (test, clean[2], 200)):
            assert torch.equal(part.targets, as_drawn.targets)
            assert part.inputs.shape == (size, 196)
    assert given[0][3] == given[1][3]  # as many steps in both settings


def test_the_run_that_is_read_is_the_one_that_would_have_been_stopped(lesson, measured):
    """A training that really ends, and really restores, arrives at the numbers that were read from the long one."""
    config, seed = lesson.QUICK, 1_000
    train, validation, test = parts_of(config, seed, config.few)
    labels = lesson.mislabelled(train.targets, config.wrong, seed)
    for patience in (1, 3):
        model = MLP([196, config.width, 10], generator=stream(seed, "weights"))
        batches = Minibatches((train.inputs, labels), config.batch_size, stream(seed, "batches"))
        stopper = EarlyStopping(model, patience)
        for step in Trainer(model, cross_entropy, SGD(model.parameters(), lr=config.lr, momentum=0.9), batches):
            stops = step.number % 4 == 0 and stopper.should_stop(evaluate(model, validation, cross_entropy))
            if stops or step.number == config.evaluations * 4:
                break
        assert step.number == measured[f"few, wrong/patience {patience}/steps"]
        if patience == 1:
            assert evaluate(model, test, cross_entropy) == measured["few, wrong/notes' rule/loss"]
        stopper.restore()
        assert evaluate(model, test, cross_entropy) == measured[f"few, wrong/patience {patience}/loss"]


def test_looking_after_each_step_stops_at_the_first_bump(lesson, measured):
    config, seed = lesson.QUICK, 1_000
    train, validation, test = parts_of(config, seed, config.few)
    labels = lesson.mislabelled(train.targets, config.wrong, seed)
    model = MLP([196, config.width, 10], generator=stream(seed, "weights"))
    batches = Minibatches((train.inputs, labels), config.batch_size, stream(seed, "batches"))
    before = float("inf")
    trainer = Trainer(model, cross_entropy, SGD(model.parameters(), lr=config.lr, momentum=0.9), batches)
    for _ in trainer:
        now = evaluate(model, validation, cross_entropy)
        if now >= before:
            break
        before = now
    assert trainer.steps == measured["few, wrong/each step/steps"] < config.evaluations * 4
    assert evaluate(model, test, cross_entropy) == measured["few, wrong/each step/loss"]
