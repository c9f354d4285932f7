"""Flips between two classifiers, McNemar's test, and the rule of thirty."""

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from dlnotes.linear import Flips, discordant, largest_disagreement, mcnemar_test, rule_of_thirty
from dlnotes.training import accuracy
from tests import reference

counts = st.integers(0, 60)


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


def answers(seed, examples=200, classes=4):
    """Targets, and what two classifiers say that know something: class numbers (N,) each."""
    generator = chance(seed)
    targets = torch.randint(classes, (examples,), generator=generator)

    def said():
        guesses = torch.randint(classes, (examples,), generator=generator)
        return targets.where(torch.rand(examples, generator=generator) < 0.6, guesses)

    return targets, said(), said()


def scores_of(answers, classes=4):
    """Scores whose largest is at the answers' places."""
    noise = torch.rand(len(answers), classes, generator=chance(5))
    return noise + 2 * torch.nn.functional.one_hot(answers, classes)


# Counting flips


def test_of_four_examples_one_is_gained_and_two_are_lost():
    targets = torch.tensor([0, 1, 2, 3])
    flips = discordant(torch.tensor([9, 1, 2, 3]), torch.tensor([0, 1, 9, 9]), targets)
    assert flips == Flips(gained=1, lost=2) == (1, 2)
    assert (flips.net, flips.total) == (-1, 3)


def test_an_example_that_is_wrong_in_another_way_has_not_flipped():
    assert discordant(torch.tensor([1]), torch.tensor([2]), torch.tensor([0])) == (0, 0)


@given(st.integers(0, 1_000))
def test_flips_are_those_that_a_loop_counts(seed):
    targets, before, after = answers(seed)
    flips = discordant(before, after, targets)
    assert flips == reference.discordant(before.tolist(), after.tolist(), targets.tolist())
    assert all(type(count) is int for count in flips)


def test_scores_and_their_largest_places_give_the_same_flips():
    targets, before, after = answers(0)
    expected = discordant(before, after, targets)
    assert expected.gained != expected.lost
    for old in (before, scores_of(before)):
        for new in (after, scores_of(after)):
            assert discordant(old, new, targets) == expected


def test_the_net_gain_is_the_difference_of_two_accuracies():
    targets, before, after = answers(1)
    old, new = (accuracy(torch.nn.Identity(), (scores_of(said), targets)) for said in (before, after))
    assert discordant(before, after, targets).net == round(len(targets) * (new - old)) != 0


def test_exchanging_the_classifiers_exchanges_gains_and_losses():
    targets, before, after = answers(2)
    gained, lost = discordant(before, after, targets)
    assert discordant(after, before, targets) == (lost, gained)
    assert discordant(before, before, targets) == (0, 0)


def test_the_answers_are_not_modified_and_none_at_all_have_not_flipped():
    targets, before, after = answers(3)
    copies = [tensor.clone() for tensor in (before, after, targets)]
    discordant(before, after, targets)
    assert all(torch.equal(one, other) for one, other in zip((before, after, targets), copies, strict=True))
    nothing = targets[:0]
    assert discordant(nothing, nothing, nothing) == (0, 0)


@pytest.mark.parametrize("shape", [(3,), (5,), (3, 10), (4, 10, 1), (4, 0), ()])
def test_answers_that_do_not_fit_the_targets_are_refused(shape):
    targets, wrong = torch.zeros(4, dtype=torch.int64), torch.zeros(shape, dtype=torch.int64)
    said = rf"must be class numbers \(N,\) or scores \(N, K\) of the 4 targets, not of shape {re.escape(str(shape))}"
    with pytest.raises(ValueError, match=f"after {said}"):
        discordant(targets, wrong, targets)
    with pytest.raises(ValueError, match=f"before {said}"):
        discordant(wrong, targets, targets)


def test_one_hot_targets_are_refused():
    with pytest.raises(ValueError, match=r"targets must be class numbers of shape \(N,\), not \(4, 10\)"):
        discordant(torch.zeros(4), torch.zeros(4), torch.zeros(4, 10))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_class_numbers_must_be_integers(dtype):
    good, bad = torch.zeros(4, dtype=torch.int64), torch.zeros(4, dtype=dtype)
    for name, three in (("before", (bad, good, good)), ("after", (good, bad, good)), ("targets", (good, good, bad))):
        with pytest.raises(TypeError, match=rf"{name} of shape \(N,\) must be class numbers, .* not {dtype}"):
            discordant(*three)


def test_scores_that_are_nan_are_refused():
    targets, scores = torch.zeros(4, dtype=torch.int64), torch.zeros(4, 10)
    scores[2, 3] = math.nan
    with pytest.raises(ValueError, match="after has scores that are nan"):
        discordant(targets, scores, targets)


# McNemar's test


@pytest.mark.parametrize(
    ("gained", "lost", "p"), [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 2 / 32), (6, 0, 2 / 64), (7, 1, 18 / 256), (3, 3, 1.0)]
)
def test_probabilities_worked_by_hand(gained, lost, p):
    assert mcnemar_test(gained, lost) == pytest.approx(p, rel=1e-14)


@given(counts, counts)
def test_the_test_is_the_sum_over_all_throws_of_the_coins(gained, lost):
    assert mcnemar_test(gained, lost) == pytest.approx(float(reference.mcnemar(gained, lost)), rel=1e-12)


def test_hundreds_of_flips_keep_their_precision():
    for flips in ((124, 94), (125, 95), (600, 400), (30, 0)):
        assert mcnemar_test(*flips) == pytest.approx(float(reference.mcnemar(*flips)), rel=1e-11)


@given(counts, counts)
def test_it_is_scipys_binomial_test_and_does_not_say_which_way(gained, lost):
    p = mcnemar_test(gained, lost)
    assert p == pytest.approx(mcnemar_test(lost, gained), rel=1e-12)
    assert p == pytest.approx(binomtest(lost, gained + lost).pvalue if gained + lost else 1.0, rel=1e-12)
    assert 0 < p <= 1


@given(st.integers(1, 60), counts)
def test_at_the_same_net_gain_more_disagreement_is_weaker_evidence(net, lost):
    assert mcnemar_test(net + lost, lost) <= mcnemar_test(net + lost + 1, lost + 1) * (1 + 1e-12)


def test_fair_coins_are_called_significant_in_at_most_five_of_a_hundred_cases(seed):
    draws, flips = 20_000, 40
    heads = torch.randint(2, (draws, flips), generator=chance(seed)).sum(1)
    verdicts = torch.tensor([mcnemar_test(gained, flips - gained) <= 0.05 for gained in range(flips + 1)])
    share = verdicts[heads].double().mean().item()
    exact = float(sum(math.comb(flips, gained) for gained in range(flips + 1) if verdicts[gained])) / 2**flips
    assert 0.02 < exact <= 0.05
    assert abs(share - exact) < 5 * math.sqrt(exact * (1 - exact) / draws)


# The rule, in both readings


def test_net_counts_the_difference_and_total_the_sum():
    flips = {(30, 0): (True, True), (0, 30): (True, True), (29, 0): (False, False)}
    flips |= {(15, 15): (False, True), (21, 9): (False, True), (15, 14): (False, False), (130, 101): (False, True)}
    for (gained, lost), expected in flips.items():
        assert (rule_of_thirty(gained, lost), rule_of_thirty(gained, lost, reading="total")) == expected


@given(counts, counts, st.integers(1, 60))
def test_one_way_is_as_good_as_another_and_net_implies_total(gained, lost, threshold):
    for reading in ("net", "total"):
        said = rule_of_thirty(gained, lost, reading=reading, threshold=threshold)
        assert said == rule_of_thirty(lost, gained, reading=reading, threshold=threshold)
    if rule_of_thirty(gained, lost, threshold=threshold):
        assert rule_of_thirty(gained, lost, reading="total", threshold=threshold)


def test_thirty_flips_in_total_need_21_one_way():
    assert rule_of_thirty(21, 9, reading="total")
    assert mcnemar_test(21, 9) <= 0.05 < mcnemar_test(20, 10)


# The region in which a net gain is significant


def test_a_net_gain_of_30_is_significant_up_to_218_flips():
    significant = [n for n in range(30, 400, 2) if reference.mcnemar((n + 30) // 2, (n - 30) // 2) <= 0.05]
    assert largest_disagreement(30) == largest_disagreement() == significant[-1] == 218
    assert significant == list(range(30, 220, 2))


@given(st.integers(1, 40), st.sampled_from([0.01, 0.05, 0.2]))
def test_the_edge_is_where_the_slow_search_finds_it(net, alpha):
    lost = 0
    while reference.mcnemar(net + lost, lost) <= alpha:
        lost += 1
    assert largest_disagreement(net, alpha) == (net + 2 * (lost - 1) if lost else 0)


def test_the_edge_has_the_parity_of_the_net_gain():
    assert [largest_disagreement(net) for net in (5, 6, 7, 8)] == [0, 6, 9, 12]


def test_an_edge_of_tens_of_thousands_is_found_by_halving():
    edge = largest_disagreement(500)
    assert mcnemar_test((edge + 500) // 2, (edge - 500) // 2) <= 0.05
    assert mcnemar_test((edge + 502) // 2, (edge - 498) // 2) > 0.05
    assert edge == pytest.approx(500**2 / 3.8415, rel=0.01)  # the normal approximation


# What is refused


def test_numpys_integers_count_and_other_numbers_do_not():
    assert mcnemar_test(np.int64(6), np.int64(0)) == mcnemar_test(6, 0)
    for call in (mcnemar_test, rule_of_thirty):
        with pytest.raises(TypeError, match=r"gained must be an int, not float \(5\.0\)"):
            call(5.0, 0)
        with pytest.raises(ValueError, match="lost must be 0 or larger, not -1"):
            call(0, -1)


def test_thresholds_readings_and_levels_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="threshold must be 1 or larger, not 0"):
        rule_of_thirty(3, 4, threshold=0)
    with pytest.raises(ValueError, match="reading must be 'net' or 'total', not 'both'"):
        rule_of_thirty(3, 4, reading="both")
    with pytest.raises(ValueError, match="net must be 1 or larger, not 0"):
        largest_disagreement(0)
    for alpha in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match=f"alpha must be between 0 and 1, not {alpha}"):
            largest_disagreement(30, alpha)


def test_arrays_of_numpy_and_a_level_that_is_no_number_are_refused():
    classes = torch.tensor([0, 1])
    for place, name in enumerate(("before", "after", "targets")):
        given = [classes] * 3
        given[place] = classes.numpy()
        with pytest.raises(TypeError, match=f"^{name} must be a tensor, not a NumPy array"):
            discordant(*given)
    with pytest.raises(TypeError, match=r"^alpha must be a number, not str \('0\.05'\)"):
        largest_disagreement(30, "0.05")
