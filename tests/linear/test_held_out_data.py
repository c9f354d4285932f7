"""Why three sets: what can be said exactly, and that the lesson would not conclude it from less."""

import itertools
import math
import sys
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import avg_pool2d

from dlnotes.data import letters
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.linear import LogisticClassifier, split, train_classifier
from dlnotes.randomness import stream
from dlnotes.training import accuracy
from tests.trials import judged, reference, replaced


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("held_out_data"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def measured(lesson):
    return lesson.trial(lesson.QUICK, 1_000)


# What the notes state


def test_choosing_on_two_examples_makes_the_better_of_two_coins_look_better_and_a_third_set_does_not():
    """All 256 ways for two fair coins to be right or wrong about two validation and two test examples."""
    seemed, tested = [], []
    for flat in itertools.product((0, 1), repeat=8):
        coins = [flat[:4], flat[4:]]
        best = max(coins, key=lambda right: sum(right[:2]))
        seemed.append(sum(best[:2]) / 2)
        tested.append(sum(best[2:]) / 2)
    assert sum(seemed) / 256 == 0.6875
    assert sum(tested) / 256 == 0.5


def test_a_classifier_with_more_inputs_than_examples_learns_labels_that_mean_nothing(seed):
    inputs = torch.randn(4_030, 60, generator=stream(seed, "inputs"))
    labels = torch.randint(2, (4_030,), generator=stream(seed, "labels"))
    train, unseen = split((inputs, labels), (30, 4_000), generator=stream(seed, "parts"))
    model = LogisticClassifier(60, 2)
    train_classifier(model, train, generator=stream(seed, "batches"), steps=300)
    assert accuracy(model, train) == 1
    assert abs(accuracy(model, unseen) - 0.5) < 5 * math.sqrt(0.25 / 4_000)


# The pieces of the lesson


def table(*rows):
    return torch.tensor(rows, dtype=torch.float32)


def winners(lesson, right, among, examples, test):
    config = replace(lesson.QUICK, test=test, deals=50)
    return lesson.winners(config, right, among, examples, stream(0, "deals"))


def test_the_classifier_that_is_best_on_validation_is_the_one_that_is_tested(lesson):
    right = table([0] * 30, [1] * 30, [0] * 30)
    assert winners(lesson, right, 3, 10, 10) == [[1, 1, 1]] * 50


def test_validation_test_and_the_rest_are_different_columns(lesson):
    """One classifier is right about 10 of 30: the three accuracies share them out."""
    right = table([1] * 10 + [0] * 20)
    for validation, test, truth in winners(lesson, right, 1, 6, 9):
        assert round(6 * validation + 9 * test + 15 * truth, 4) == 10


def test_the_choice_is_among_as_many_as_asked_for_and_not_always_the_same(lesson):
    right = table([0] * 30, [1] * 30)
    assert {truth for _, _, truth in winners(lesson, right, 1, 10, 10)} == {0, 1}


def test_the_vote_keeps_the_guesses_that_the_asked_labels_find_good_and_no_others(lesson):
    """Guesses that are right about the asked labels alone, and others that are right about the rest alone."""
    truth = torch.randint(10, (2_000,), generator=stream(0, "truth"), dtype=torch.uint8)
    wrong = (truth + 1) % 10
    asked = torch.cat([truth[:500], wrong[500:]])
    fresh = torch.cat([wrong[:500], truth[500:]])
    guesses = torch.stack([asked, fresh, fresh, *[wrong] * 997])
    voted = lesson.asked_again(guesses, truth, 500)
    assert (voted["re-use/score"], voted["re-use/truth"]) == (1, 0)


def test_a_stronger_penalty_and_another_rate_give_other_classifiers(lesson):
    config = replace(lesson.QUICK, train=100, pool=800, test=100, steps=40)
    images, labels = letters(1_000, train=200, validation=0, test=0).train
    examples = avg_pool2d(images, 2).flatten(1), labels
    models, right = lesson.trained_on(config, examples, examples, stream(0, "batches"))
    assert right.shape == (lesson.LOOKS * len(lesson.SETTINGS), 200)
    for look in right.split(len(lesson.SETTINGS)):
        assert set(look.unique().tolist()) == {0, 1}
    last = {setting: models[place].weight for place, setting in enumerate(lesson.SETTINGS)}
    assert last[1.0, 1e-1].norm() < 0.9 * last[1.0, 0.0].norm()
    assert last[0.03, 0.0].norm() < 0.9 * last[1.0, 0.0].norm()


def test_some_images_have_a_twin_in_training_and_they_are_known_by_heart(lesson):
    images, labels = letters(1_000, train=800, validation=0, test=0).train
    pool = avg_pool2d(images, 2).flatten(1), labels, torch.arange(800)
    config = replace(lesson.QUICK, train=200, steps=300)
    found = lesson.twins(config, pool, stream(0, "twins"))
    # Of 800 places 200 are in training: a fourth of the 400 test images has its twin there.
    assert abs(found["twins/share"] - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 400)
    assert found["twins/accuracy with"] > 0.97
    assert found["twins/accuracy without"] < found["twins/accuracy with"] - 0.1


def test_the_three_scores_of_a_winner_differ(measured):
    for name in ("trained", "guessing", "two settings"):
        assert len({measured[f"{name}/{what}"] for what in ("validation", "test", "truth")}) == 3


def test_choosing_among_one_costs_nothing_and_among_more_it_does(lesson, measured):
    deviation = math.sqrt(0.09 / lesson.QUICK.validation / lesson.QUICK.deals)
    one, *_, hundred = measured["guessing/curve"]
    assert abs(one) < 5 * deviation
    assert hundred > 0.05


def test_settings_that_leave_nothing_to_measure_are_refused(lesson):
    with pytest.raises(ValueError, match="the pool must leave 100 images"):
        lesson.Config(pool=3_000)
    with pytest.raises(ValueError, match="steps must be a multiple of 4, not 2"):
        lesson.Config(steps=2)


# What the verdict rests on


def test_an_optimism_of_twice_the_margin_is_found_and_one_of_half_of_it_is_not():
    experiment, trials, _ = reference("held_out_data")
    spread = torch.linspace(-0.003, 0.003, len(trials.seeds)).numpy()
    for points, verdict in ((0.02, "supported"), (0.005, "refuted")):
        planted = replaced(trials, {"trained/validation": trials["trained/truth"] + points + spread})
        assert judged(experiment, "best of many", planted).verdict == verdict
