"""The rule of thirty: what the lesson computes, and that it would not conclude it from less."""

import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import binom

from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.linear import largest_disagreement, mcnemar_test, rule_of_thirty
from dlnotes.randomness import stream
from tests.trials import judged, reference, replaced

CONTROLS = {
    "net 30 significant": "test_a_net_30_beyond_the_edge_passes_and_is_not_significant",
    "net 30 holds": "test_a_gain_that_turns_into_a_loss_on_fresh_images_cannot_be_relied_on",
    "any 30 significant": "test_thirty_that_change_at_all_are_significant_where_most_of_them_are_gains",
    "mere disagreement": "test_trainings_that_disagree_in_one_direction_would_refute_that_they_merely_disagree",
    "trainings apart": "test_trainings_without_a_net_difference_pass_in_fewer_than_one_of_twenty_cases",
}


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("rule_of_thirty"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def measured(lesson):
    return lesson.trial(lesson.QUICK, 1_000, {"plain": 0.7})


# What the notes state, on paper


def luck(changed):
    """How often a balance of 30 or more comes of so many coins, one way or the other."""
    return 2 * binom.cdf((changed - 30) // 2, changed, 0.5)


def test_a_net_30_passes_by_luck_in_under_one_of_twenty_cases_up_to_218_flips_and_not_at_220():
    shares = [luck(changed) for changed in range(30, 221)]
    assert max(shares[:-1]) <= 0.05 < shares[-1]  # also where an odd number changed: 31 is then the least that passes


def test_at_the_edge_the_rule_and_the_test_change_places(measured):
    edge = largest_disagreement(30)
    for changed, stricter in ((edge, True), (edge + 2, False)):
        gained = (changed + 30) // 2
        assert rule_of_thirty(gained, changed - gained)
        assert (mcnemar_test(gained, changed - gained) <= 0.05) == stricter
        gained = (changed + 28) // 2
        assert not rule_of_thirty(gained, changed - gained)
    assert measured["exact/edge"] == edge
    assert measured["exact/largest p up to the edge"] == mcnemar_test((edge + 30) // 2, (edge - 30) // 2)


def test_without_pairing_30_of_ten_thousand_are_half_a_deviation_at_0_8_and_two_at_0_99(lesson):
    for accuracy, z in ((0.8, 0.53), (0.9, 0.71), (0.95, 0.99), (0.99, 2.31)):
        assert lesson.unpaired(accuracy) == pytest.approx(z, abs=0.005)
    higher, examples = 0.803, 10_000
    variance = (0.8 * 0.2 + higher * (1 - higher)) / examples
    assert lesson.unpaired(0.8) == pytest.approx(0.003 / math.sqrt(variance), rel=1e-12)


# The pieces of the lesson


def test_thrown_coins_pass_as_often_as_the_binomial_distribution_says(lesson, seed):
    draws = 20_000
    share = lesson.luck(replace(lesson.QUICK, draws=draws), seed)["coins/passed at 1000"]
    assert abs(share - luck(1_000)) <= 5 * math.sqrt(luck(1_000) * (1 - luck(1_000)) / draws)


def test_each_change_is_paired_with_the_plain_training_by_its_first_weights(lesson):
    config = replace(lesson.QUICK, steps=1)
    parts = lesson.load(config, 1_000)
    plain, same = (lesson.trained(config, 1_000, parts, [(1e-9, 0.0)] * 2)[: config.trainings] for _ in range(2))
    for part in (0, 1):
        for draw, (one, other) in enumerate(zip(plain, same, strict=True)):
            assert torch.equal(one[part], other[part])
            untrained = lesson.MLP([196, config.hidden, 10], generator=stream(1_000, f"weights {draw}"))
            assert torch.equal(one[part], untrained(parts[1 + part][0]).argmax(1))
        assert not torch.equal(plain[0][part], plain[1][part])


def test_the_networks_of_each_setting_come_one_after_the_other_in_the_order_of_their_draws(lesson):
    config = lesson.QUICK
    parts = lesson.load(config, 1_000)
    both = lesson.trained(config, 1_000, parts, [(1e-9, 0.0), (0.5, 0.0)])
    for setting, own in (((1e-9, 0.0), both[: config.trainings]), ((0.5, 0.0), both[config.trainings :])):
        for (one, _), (other, _) in zip(own, lesson.trained(config, 1_000, parts, [setting]), strict=True):
            assert (one == other).double().mean() > 0.99  # a sweep of more networks rounds in other places


def test_every_change_changes_something_and_so_do_other_first_weights(lesson, measured):
    for name in ("no change", *lesson.CHANGES):
        changed = np.add(measured[f"{name}/validation/gained"], measured[f"{name}/validation/lost"])
        pairs = math.comb(lesson.QUICK.trainings, 2) if name == "no change" else lesson.QUICK.trainings
        assert changed.shape == (pairs,)
        assert changed.min() > 0, name
        assert measured[f"{name}/validation/gained"] != measured[f"{name}/fresh/gained"]


def test_a_change_holds_where_the_next_first_weights_gain_on_fresh_images_as_these_did(lesson):
    measured = {"a/validation/gained": [[5, 5, 5]], "a/validation/lost": [[1, 9, 5]]}
    measured |= {"a/fresh/gained": [[3, 2, 2]], "a/fresh/lost": [[1, 1, 8]]}  # +2, +1, -6
    trials = {name: np.array(values, float) for name, values in measured.items()}
    # +4 before +1; -4 before -6; and 0, which holds nothing.
    assert lesson.pairs(trials, ["a"])["holds"].tolist() == [[[True, True, False]]]


def test_shares_are_taken_of_those_that_pass(lesson):
    what, among = np.array([[[1, 1, 0, 0]], [[1, 0, 0, 0]]], bool), np.array([[[1, 0, 1, 0]], [[0, 0, 0, 0]]], bool)
    first, second = lesson.share({"holds": what, "net": among}, "holds", "net")
    assert first == 0.5
    assert math.isnan(second)


# What the verdict rests on


CHANGES = ("twice the images", "centred inputs", "twice the units", "half the rate", "L2 penalty")


def planted(gained, lost, *, names=CHANGES, fresh=None):
    """The verdicts on the reference run, where all pairs of some names have the same flips; on fresh images others."""
    experiment, trials, _ = reference("rule_of_thirty")
    flips = {"validation": (gained, lost), "fresh": fresh or (gained, lost)}
    changes = {
        f"{name}/{part}/{way}": np.full_like(trials[f"{name}/{part}/{way}"], flips[part][place])
        for name in names
        for part in flips
        for place, way in enumerate(("gained", "lost"))
    }
    return lambda name: judged(experiment, name, replaced(trials, changes)).verdict


def test_a_net_60_of_160_is_significant_and_holds():
    verdict = planted(110, 50)
    for name in ("twice the images", "net 30 significant", "net 30 holds", "any 30 significant"):
        assert verdict(name) == "supported", name


def test_a_net_30_beyond_the_edge_passes_and_is_not_significant():
    assert planted(515, 485)("net 30 significant") == "refuted"


def test_a_gain_that_turns_into_a_loss_on_fresh_images_cannot_be_relied_on():
    verdict = planted(110, 50, fresh=(50, 110))
    assert (verdict("net 30 significant"), verdict("net 30 holds")) == ("supported", "refuted")


def test_thirty_that_change_at_all_are_significant_where_most_of_them_are_gains():
    cases = {(25, 5): "supported", (5, 25): "supported", (20, 10): "refuted", (25, 4): "inconclusive"}
    for flips, said in cases.items():
        verdict = planted(*flips)
        assert verdict("any 30 significant") == said, flips
        assert verdict("net 30 significant") == "inconclusive"  # none of them is a net 30


def test_changes_that_never_pass_say_nothing_of_the_rule():
    verdict = planted(10, 8)
    for name in ("net 30 significant", "net 30 holds", "any 30 significant"):
        assert verdict(name) == "inconclusive", name


def test_trainings_that_disagree_in_one_direction_would_refute_that_they_merely_disagree():
    assert planted(40, 0, names=["no change"])("mere disagreement") == "refuted"
    assert planted(20, 20, names=["no change"])("mere disagreement") == "supported"


def test_trainings_without_a_net_difference_pass_in_fewer_than_one_of_twenty_cases():
    assert planted(90, 90, names=["no change"])("trainings apart") == "refuted"
    assert planted(110, 70, names=["no change"])("trainings apart") == "supported"
