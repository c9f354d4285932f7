"""Pooling and over-fitting: arms with the same weights and batches, judged without draws."""

import sys

import pytest
import torch

import dlnotes.conv.training
from dlnotes.conv import AveragePool2d, MaxPool2d, StochasticPool2d, count_parameters
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.lesson.tuned import tuned_settings
from dlnotes.training import accuracy, evaluate
from tests.trials import batches_seen, prediction, reference, replaced


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("pooling_and_over_fitting"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def letters(lesson):
    return lesson.load(lesson.QUICK, 1_000)


@pytest.fixture(scope="module")
def tuned(lesson):
    return tuned_settings(contents.lesson_named("pooling_and_over_fitting"), lesson.QUICK).values


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


# The idea


def test_the_example_by_hand():
    window = torch.tensor([[[[0.9, 0.1], [0.6, 0.4]]]])
    drawn = StochasticPool2d(2, generator=torch.Generator().manual_seed(0))
    numbers = drawn(window.expand(20_000, 1, 2, 2)).flatten()
    shares = [(numbers == number).float().mean().item() for number in window.flatten()]
    assert shares == pytest.approx([0.45, 0.05, 0.30, 0.20], abs=0.02)
    assert drawn.eval()(window).item() == pytest.approx(0.67)
    assert MaxPool2d(2)(window).item() == pytest.approx(0.9)
    assert AveragePool2d(2)(window).item() == pytest.approx(0.5)


# The arms


def test_all_arms_have_the_same_first_weights(lesson):
    started = [weights(lesson.network(3, layers)) for layers in lesson.ARMS.values()]
    assert len(started) == 4
    assert all(torch.equal(started[0], other) for other in started)
    assert len(started[0]) == count_parameters(lesson.network(3, lesson.ARMS["max"])) == 4_874
    assert not torch.equal(started[0], weights(lesson.network(4, lesson.ARMS["max"])))


def test_the_arms_are_what_they_are_called(lesson):
    kinds = {"max": MaxPool2d, "average": AveragePool2d, "stochastic": StochasticPool2d}
    images = torch.rand(1, 1, 12, 12, generator=torch.Generator())
    for arm, kind in kinds.items():
        layers = lesson.network(0, lesson.ARMS[arm]).layers
        assert [isinstance(layer, kind) for layer in layers] == [False, True, False, True]
        assert layers[0].windows.stride == (1, 1)
        sizes = [maps.shape[-1] for _, maps in lesson.network(0, lesson.ARMS[arm]).eval().stages(images)]
        assert sizes == [12, 6, 6, 3]
    strided = lesson.network(0, lesson.ARMS["strided"])
    assert [layer.windows.stride for layer in strided.layers] == [(2, 2), (2, 2)]
    assert [maps.shape[-1] for _, maps in strided.stages(images)] == [6, 3]


def test_all_arms_see_the_same_batches_though_one_draws(lesson, letters, monkeypatch):
    seen = batches_seen(dlnotes.conv.training, monkeypatch)
    for layers in lesson.ARMS.values():
        seen.append([])
        lesson.trained(lesson.QUICK, 0, letters.train, layers, lr=0.05)
    assert {len(each) for each in seen} == {lesson.QUICK.steps}
    assert all(torch.equal(*pair) for other in seen[1:] for pair in zip(seen[0], other, strict=True))
    assert not torch.equal(seen[0][0], seen[0][1])


def test_only_stochastic_pooling_depends_on_the_draws(lesson, letters, monkeypatch):
    draw = lesson.stream
    before = {arm: lesson.trained(lesson.QUICK, 0, letters.train, one, lr=0.05) for arm, one in lesson.ARMS.items()}
    monkeypatch.setattr(lesson, "stream", lambda seed, use: draw(seed + (use == "draws"), use))
    after = {arm: lesson.trained(lesson.QUICK, 0, letters.train, one, lr=0.05) for arm, one in lesson.ARMS.items()}
    same = {arm: torch.equal(weights(before[arm]), weights(after[arm])) for arm in lesson.ARMS}
    assert same == {"strided": True, "max": True, "average": True, "stochastic": False}


# What is measured


def test_all_arms_are_compared_at_one_rate_and_each_at_its_own(lesson, letters, tuned):
    measured = lesson.trial(lesson.QUICK, 1_000, tuned)
    for setting, lr in {"best rate": tuned["strided"], "same rate": lesson.QUICK.rate}.items():
        model = lesson.trained(lesson.QUICK, 1_000, letters.train, lesson.ARMS["strided"], lr=lr)
        assert measured[f"{setting}/strided/test mistakes"] == pytest.approx(1 - accuracy(model, letters.test))
        loss = evaluate(model, letters.test, lesson.cross_entropy)
        assert measured[f"{setting}/strided/test loss"] == pytest.approx(loss)
    assert measured["best rate/strided/test loss"] != measured["same rate/strided/test loss"]


def test_a_trial_measures_without_draws_on_training_letters_and_on_those_that_judge(lesson, letters, tuned):
    measured = lesson.trial(lesson.QUICK, 1_000, tuned)
    model = lesson.trained(lesson.QUICK, 1_000, letters.train, lesson.ARMS["stochastic"], lr=tuned["stochastic"])
    assert not model.training
    for place, examples in {"train": letters.train, "test": letters.test}.items():
        loss = torch.nn.functional.cross_entropy(model(examples.inputs), examples.targets).item()
        assert measured[f"best rate/stochastic/{place} loss"] == pytest.approx(loss, rel=1e-4)
        assert measured[f"best rate/stochastic/{place} mistakes"] == pytest.approx(1 - accuracy(model, examples))


def test_rates_are_chosen_by_validation_letters(lesson, letters):
    (score,) = lesson.tune(lesson.QUICK, 1_000, "max", (0.04,))
    model = lesson.trained(lesson.QUICK, 1_000, letters.train, lesson.ARMS["max"], lr=0.04)
    assert score == evaluate(model, letters.validation, lesson.cross_entropy)


def test_the_gap_is_the_loss_on_unseen_letters_minus_that_on_training_letters():
    experiment, trials, _ = reference("pooling_and_over_fitting")
    planted = {}
    for arm, unseen in {"max": 0.75, "strided": 0.5, "stochastic": 0.5}.items():
        zeros = 0 * trials["best rate/max/test loss"]
        for setting in ("best rate", "same rate"):
            planted |= {f"{setting}/{arm}/test loss": zeros + unseen, f"{setting}/{arm}/train loss": zeros + 0.25}
    changed = replaced(trials, planted)
    for name in ("gap", "gap at one rate", "stochastic gap"):
        assert prediction(experiment, name).judge(changed).effect == pytest.approx(2.0)
