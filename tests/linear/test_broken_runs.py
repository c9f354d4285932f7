"""Broken trainings: what the lesson computes, and that it would not conclude it from less."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.lesson.tuned import tuned_settings
from dlnotes.linear import SGD, cross_entropy
from tests.trials import judged, reference, replaced

CONTROLS = {
    "all broken": "test_a_training_that_is_not_broken_refutes_that_all_are",
    "30 times": "test_a_rate_too_high_that_is_not_repaired_refutes_that_it_is",
    "120 times": "test_a_rate_too_high_that_is_not_repaired_refutes_that_it_is",
    "500 times": "test_a_rate_too_high_that_is_not_repaired_refutes_that_it_is",
    "rate too low": "test_a_training_that_is_repaired_refutes_that_it_is_not",
    "weights zero": "test_a_training_that_is_repaired_refutes_that_it_is_not",
    "dead units": "test_a_training_that_is_repaired_refutes_that_it_is_not",
    "shuffled labels": "test_a_training_that_is_repaired_refutes_that_it_is_not",
    "grey values": "test_a_training_that_is_repaired_refutes_that_it_is_not",
}


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("broken_runs"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def images(lesson):
    return lesson.load(lesson.QUICK, 1_000, test=lesson.QUICK.test)


@pytest.fixture(scope="module")
def measured(lesson):
    tuned = tuned_settings(contents.lesson_named("broken_runs"), lesson.QUICK).values
    return lesson.trial(lesson.QUICK, 1_000, tuned)


# What is exactly so


@pytest.mark.parametrize("name", ["all weights zero", "ReLUs never active"])
@pytest.mark.parametrize("rate", [10.0, 0.1, 1e-3])
def test_no_rate_moves_hidden_weights_without_a_gradient(lesson, images, name, rate):
    model = lesson.network(lesson.QUICK, lesson.BROKEN[name], 0)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = SGD(model.parameters(), lr=rate, momentum=0.9)
    inputs, targets = images[0]
    for _ in range(3):
        optimizer.zero_grad()
        cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    *still, moved = [not torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True)]
    assert still == [False, False, False]
    assert moved  # the last biases


def test_the_curvature_grows_by_the_square_of_the_size_of_the_inputs(lesson, images):
    """Why inputs 255 times as large need a rate that is lowered nearly five times by ten."""
    inputs, targets = images[0].inputs[:50].double(), images[0].targets[:50]
    scores = torch.zeros(10, 196, dtype=torch.float64)  # a linear map at zero: its curvature there is exactly c²

    def curvature(scale):
        def loss(w):
            return torch.nn.functional.cross_entropy(scale * inputs @ w.T, targets)

        along = torch.ones_like(scores) * torch.arange(10)[:, None]
        _, product = torch.autograd.functional.hvp(loss, scores, along)
        return (product * along).sum().item()

    assert curvature(255.0) == pytest.approx(255**2 * curvature(1.0))
    assert 10**4 < 255**2 < 10**5


# The pieces of the lesson


def test_each_training_is_broken_in_one_way(lesson):
    for run in lesson.BROKEN.values():
        assert sum(getattr(run, field) != getattr(lesson.Run(), field) for field in ("rate", "spoil", "images")) == 1
    assert len(lesson.BROKEN) == 8


def test_no_lowered_rate_is_the_sound_one_again(lesson):
    """Otherwise a repair would be the sound training itself."""
    for run in lesson.BROKEN.values():
        assert all(run.rate / 10**tenths != 1.0 for tenths in lesson.TENTHS if run.rate > 1)


def test_all_start_from_the_same_weights_but_those_that_are_spoiled(lesson):
    first = lesson.network(lesson.QUICK, lesson.Run(), 0)
    other = lesson.network(lesson.QUICK, lesson.BROKEN["inputs of 0 to 255"], 0)
    dead = lesson.network(lesson.QUICK, lesson.BROKEN["ReLUs never active"], 0)
    zero = lesson.network(lesson.QUICK, lesson.BROKEN["all weights zero"], 0)
    assert all(torch.equal(*pair) for pair in zip(first.parameters(), other.parameters(), strict=True))
    same = [torch.equal(*pair) for pair in zip(first.parameters(), dead.parameters(), strict=True)]
    assert same == [True, False, True, True]
    assert not any(parameter.any() for parameter in zero.parameters())
    assert not torch.equal(first.layers[0].weight, lesson.network(lesson.QUICK, lesson.Run(), 1).layers[0].weight)


def test_the_biases_outweigh_any_image(lesson, images):
    model = lesson.network(lesson.Config(), lesson.BROKEN["ReLUs never active"], 0)
    hidden = model.layers[0]
    assert (hidden.weight.clamp(min=0).sum(1) + hidden.bias < 0).all()  # even an image that is white where it helps
    assert images[0].inputs.max() <= 1


def test_labels_are_shuffled_in_training_alone(lesson, images):
    train, _, test = images
    shuffled = lesson.images_of("shuffled labels", train, shuffled_by=0)
    assert torch.equal(shuffled.inputs, train.inputs)
    assert torch.equal(shuffled.targets.bincount(), train.targets.bincount())
    assert (shuffled.targets == train.targets).float().mean() < 0.2
    assert torch.equal(lesson.images_of("shuffled labels", test).targets, test.targets)


def test_grey_values_are_trained_on_and_judged_by(lesson, images):
    for seed in (0, None):
        part = lesson.images_of("grey values", images[0], shuffled_by=seed)
        assert torch.equal(part.inputs, 255 * images[0].inputs)
        assert torch.equal(part.targets, images[0].targets)
    assert lesson.images_of("sound", images[0], shuffled_by=0) is images[0]


def test_models_side_by_side_train_at_their_own_rates(lesson, images):
    models = [lesson.network(lesson.QUICK, lesson.Run(), 0) for _ in range(3)]
    before = models[0].layers[0].weight.detach().clone()
    losses = lesson.fit(replace(lesson.QUICK, steps=1), 0, images[0], models, [0.0, 1e-3, 1e-2])
    still, little, tenfold = ((model.layers[0].weight.detach() - before).norm().item() for model in models)
    assert len(losses) == 1
    assert len(set(losses[0])) == 1  # before the first step they are the same
    assert still == 0
    assert tenfold == pytest.approx(10 * little, rel=1e-2)


def test_each_time_the_rate_is_a_tenth_of_what_it_was(lesson, monkeypatch):
    asked = {}

    def remember(config, seed, images, models, rates):
        asked[len(models)] = rates

    monkeypatch.setattr(lesson, "fit", remember)
    best = 0.25
    lesson.trial(lesson.QUICK, 1_000, {"sound": best})
    sound, *others = asked[25]  # and six that train on the same images, at four rates each
    assert sound == best
    assert others[:4] == pytest.approx([30 * best, 3 * best, 0.3 * best, 0.03 * best])
    assert asked[4] == pytest.approx([best, best / 10, best / 100, best / 1_000])


def test_the_arms_differ(lesson, measured):
    assert measured["sound/lowered 0 times/test"] > 0.5
    assert measured["rate 500 times too high/lowered 0 times/test"] < 0.2
    assert measured["rate 120 times too high/lowered 2 times/test"] > 0.5
    assert measured["sound/lowered 0 times/test"] != measured["sound/lowered 0 times/validation"]


def test_answers_that_are_no_numbers_count_as_a_guess(lesson, images):
    model = lesson.network(lesson.QUICK, lesson.Run(), 0)
    assert lesson.accuracy_of(model, images[1]) != lesson.CHANCE
    model.layers[1].bias.data[0] = torch.nan
    assert lesson.accuracy_of(model, images[1]) == lesson.CHANCE


# What the verdict rests on


def test_the_remedy_is_the_rate_that_validation_images_prefer(lesson):
    _, trials, _ = reference("broken_runs")
    seeds, name = len(trials.seeds), "all weights zero"
    planted = {f"{name}/lowered {tenths} times/validation": np.full(seeds, tenths == 2) for tenths in range(1, 4)}
    planted |= {f"{name}/lowered {tenths} times/test": np.full(seeds, tenths / 10) for tenths in range(1, 4)}
    planted[f"{name}/lowered 0 times/validation"] = np.full(seeds, 2.0)  # as it is, it is no remedy
    planted["sound/lowered 0 times/test"] = np.full(seeds, 0.9)
    assert lesson.remedied(replaced(trials, planted), name) == pytest.approx(np.full(seeds, 0.1 / 0.8))


def with_scores(trials, name, share, tenths=(1, 2, 3)):
    """Trials in which a training reaches a share of the sound score."""
    reached = 0.1 + share * (trials["sound/lowered 0 times/test"] - 0.1)
    return replaced(trials, {f"{name}/lowered {one} times/test": reached for one in tenths})


def test_a_rate_too_high_that_is_not_repaired_refutes_that_it_is():
    experiment, trials, _ = reference("broken_runs")
    for times in ("30 times", "120 times", "500 times"):
        for share, verdict in ((0.8, "refuted"), (1.0, "supported")):
            planted = with_scores(trials, f"rate {times} too high", share)
            assert judged(experiment, times, planted).verdict == verdict


def test_a_training_that_is_not_broken_refutes_that_all_are(lesson):
    experiment, trials, _ = reference("broken_runs")
    for name in lesson.BROKEN:
        for share, verdict in ((0.95, "refuted"), (0.85, "supported")):
            assert judged(experiment, "all broken", with_scores(trials, name, share, tenths=[0])).verdict == verdict


@pytest.mark.parametrize(
    ("predicted", "name"),
    [
        ("rate too low", "rate 1,000 times too low"),
        ("weights zero", "all weights zero"),
        ("dead units", "ReLUs never active"),
        ("shuffled labels", "labels shuffled"),
        ("grey values", "inputs of 0 to 255"),
    ],
)
def test_a_training_that_is_repaired_refutes_that_it_is_not(predicted, name):
    experiment, trials, _ = reference("broken_runs")
    for share, verdict in ((1.0, "refuted"), (0.8, "supported")):
        assert judged(experiment, predicted, with_scores(trials, name, share)).verdict == verdict
