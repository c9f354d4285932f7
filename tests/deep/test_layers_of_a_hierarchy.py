"""Layers of a hierarchy: what the lesson computes, and that it would not conclude it from less."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.randomness import stream
from tests.trials import judged, reference, replaced, verdicts

CONTROLS = {
    "class later": "test_the_order_of_the_peaks_decides",
    "ranks agree": "test_the_order_of_the_peaks_decides",
    "peaks of sum": "test_the_order_of_the_peaks_decides",
    "peaks of shuffled": "test_the_order_of_the_peaks_decides",
}


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("layers_of_a_hierarchy"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def measured(lesson):
    return lesson.trial(lesson.QUICK, 1_000)


# The hierarchy


def test_each_pair_is_written_for_one_symbol_at_most(lesson):
    writing = lesson.ways_to_write(lesson.Config(), 0)
    assert [tuple(pairs.shape) for pairs in writing] == [(8, 4, 2)] * 3
    for pairs in writing:
        assert len({tuple(pair) for pair in pairs.flatten(0, 1).tolist()}) == 32
        assert 0 <= pairs.min() <= pairs.max() < 8
    assert not torch.equal(writing[0], writing[1])  # each level has ways of its own


def test_from_the_signs_up_each_level_can_be_read_back(lesson):
    writing = lesson.ways_to_write(lesson.Config(), 0)
    levels = lesson.examples(writing, 500, stream(0, "examples"))
    assert [tuple(level.shape) for level in levels] == [(500, 8), (500, 4), (500, 2), (500, 1)]
    for below, above, pairs in zip(levels[:-1], levels[1:], reversed(writing), strict=True):
        read = {tuple(pair): symbol for symbol, ways in enumerate(pairs.tolist()) for pair in ways}
        found = [[read[tuple(pair)] for pair in one] for one in below.reshape(500, -1, 2).tolist()]
        assert found == above.tolist()
    ways = {tuple(pair) for pair in levels[-2][levels[-1][:, 0] == 3].tolist()}
    assert len(ways) == 4  # all ways are used


def test_the_inputs_say_which_sign_stands_where(lesson):
    code = lesson.encoded(torch.tensor([[2, 0]]), 4)
    assert code.tolist() == [[-0.25, -0.25, 0.75, -0.25, 0.75, -0.25, -0.25, -0.25]]


# The measure


def test_the_stages_are_what_the_network_computes(lesson):
    model = lesson.network(lesson.QUICK, 0)
    inputs = torch.randn(20, 64, generator=stream(0, "inputs"))
    stages = lesson.stages(model, inputs)
    assert [tuple(stage.shape) for stage in stages] == [(20, 64)] * 5
    assert torch.equal(stages[0], inputs)
    assert all((stage >= 0).all() for stage in stages[1:])
    assert torch.equal(model.layers[-1](stages[-1]), model(inputs))


def test_a_probe_reads_what_is_linear_and_not_what_is_not(lesson):
    """Of two coins a linear map can read each, and not whether they are equal."""
    coins = torch.randint(2, (3_000, 2), generator=stream(0, "coins"))
    equal = (coins[:, :1] == coins[:, 1:]).long()
    inputs, (first, second) = coins.float() * 5 + 2, (slice(2_000), slice(2_000, None))

    def read(symbols):
        return lesson.probe_accuracy(inputs[first], inputs[second], symbols[first], symbols[second], 2)

    assert read(coins) == 1  # of both places
    assert read(equal) == pytest.approx(0.5, abs=0.1)
    noise = torch.randint(2, (3_000, 1), generator=stream(0, "noise"))
    assert read(torch.cat([coins, noise], dim=1)) == pytest.approx((1 + 1 + 0.5) / 3, abs=0.05)


def test_a_probe_is_judged_by_examples_that_it_was_not_fitted_to(lesson):
    generator = stream(0, "noise")
    inputs = torch.randn(60, 50, generator=generator)
    symbols = torch.randint(2, (60, 1), generator=generator)
    assert lesson.probe_accuracy(inputs, inputs, symbols, symbols, 2) > 0.9
    others = torch.randn(2_000, 50, generator=generator)
    truth = torch.randint(2, (2_000, 1), generator=generator)
    assert lesson.probe_accuracy(inputs, others, symbols, truth, 2) == pytest.approx(0.5, abs=0.06)


def test_a_unit_that_is_always_silent_changes_no_probe(lesson):
    generator = stream(0, "numbers")
    inputs, symbols = torch.rand(400, 6, generator=generator), torch.randint(3, (400, 1), generator=generator)
    silent = torch.cat([inputs, torch.zeros(400, 2)], dim=1)
    one, other = (
        lesson.probe_accuracy(part[:300], part[300:], symbols[:300], symbols[300:], 3) for part in (inputs, silent)
    )
    assert one == other


def test_the_peak_is_the_first_stage_within_a_point_of_the_best(lesson):
    by_stage = np.array([[0.5, 0.8, 0.895, 0.9, 0.7], [0.9, 0.8, 0.7, 0.6, 0.5], [0.1, 0.2, 0.3, 0.4, 0.5]])
    assert lesson.peak(by_stage).tolist() == [2, 0, 4]


def test_the_rank_agreement_is_spearmans(lesson):
    """A stage that is named peaks; the class, at the end of LEVELS, is the highest level."""

    def agreement(*stages):
        rows = {f"x/{level}": np.eye(5)[[stage]] for level, stage in zip(lesson.LEVELS[1:], stages, strict=True)}
        return lesson.rank_agreement(rows, "x")[0]

    assert agreement(1, 3, 4) == pytest.approx(1)
    assert agreement(4, 3, 1) == pytest.approx(-1)
    assert agreement(1, 4, 4) == pytest.approx(np.sqrt(3) / 2)
    assert agreement(1, 4, 2) == pytest.approx(0.5)
    assert agreement(2, 2, 2) == 0


# The arms


def test_the_arms_have_the_same_first_weights_and_only_three_of_them_move(lesson, measured):
    start = lesson.network(lesson.QUICK, 1_000)
    again = lesson.network(lesson.QUICK, 1_000)
    assert all(torch.equal(one, other) for one, other in zip(start.parameters(), again.parameters(), strict=True))
    still = lesson.trial(replace(lesson.QUICK, lr=0.0), 1_000)
    for arm in lesson.ARMS[1:]:
        for level in lesson.LEVELS:
            # Not moved at all, an arm is the untrained one to the bit; the inputs are the same in all of them.
            assert still[f"{arm}/{level}"] == measured[f"untrained/{level}"] == still[f"untrained/{level}"]
            assert measured[f"{arm}/{level}"][0] == measured[f"untrained/{level}"][0]
        assert measured[f"{arm}/class"] != measured["untrained/class"]
    assert measured["hierarchy/class"] != measured["sum/class"] != measured["shuffled/class"]


def test_the_sum_is_learned_by_a_network_without_hidden_layers(lesson):
    """It needs no hierarchy; the class does."""
    config = replace(lesson.QUICK, train=4_000, hidden=0, steps=300)
    measured = lesson.trial(config, 1_000)
    assert measured["sum/training accuracy"] > 0.8
    assert measured["hierarchy/test accuracy"] < 0.5


# What the verdict rests on


def peaking(trials, arm, *stages):
    """Numbers of an arm whose lowest symbols, symbols between and class peak at these stages, on all seeds."""
    levels = zip(("lowest symbols", "symbols between", "class"), stages, strict=True)
    return {f"{arm}/{level}": np.tile(np.eye(5)[stage], (len(trials.seeds), 1)) for level, stage in levels}


@pytest.mark.parametrize(
    ("name", "arm", "in_order", "at_once", "reversed_"),
    [
        ("class later", "hierarchy", "supported", "refuted", "refuted"),
        ("ranks agree", "hierarchy", "supported", "refuted", "refuted"),
        ("peaks of sum", "sum", "refuted", "supported", "refuted"),
        ("peaks of shuffled", "shuffled", "refuted", "supported", "refuted"),
    ],
)
def test_the_order_of_the_peaks_decides(name, arm, in_order, at_once, reversed_):
    experiment, trials, _ = reference("layers_of_a_hierarchy")
    for stages, verdict in (((1, 2, 3), in_order), ((2, 2, 2), at_once), ((3, 2, 1), reversed_)):
        planted = peaking(trials, "untrained", 1, 1, 1) | peaking(trials, arm, *stages)
        assert judged(experiment, name, replaced(trials, planted)).verdict == verdict, stages


def test_with_an_untrained_network_in_its_place_the_claim_is_refuted():
    experiment, trials, _ = reference("layers_of_a_hierarchy")
    levels = [name.partition("/")[2] for name in trials if name.startswith("untrained/")]
    for arm in ("untrained", "sum"):
        exchanged = {f"hierarchy/{level}": trials[f"{arm}/{level}"] for level in levels}
        assert verdicts(experiment, replaced(trials, exchanged)) == {"2.03": "refuted"}


@pytest.mark.parametrize("arm", ["sum", "shuffled"])
def test_a_hierarchy_that_other_labels_bring_about_is_found(arm):
    experiment, trials, _ = reference("layers_of_a_hierarchy")
    planted = {name.replace("hierarchy", arm): trials[name] for name in trials if name.startswith("hierarchy/")}
    for name in (f"peaks of {arm}", f"symbols of {arm}"):
        assert judged(experiment, name, replaced(trials, planted)).verdict == "refuted"


def test_the_networks_learned_their_labels():
    """Otherwise the limits would hold because nothing was learned."""
    _, trials, _ = reference("layers_of_a_hierarchy")
    assert trials["hierarchy/test accuracy"].min() > 0.7
    assert trials["sum/training accuracy"].min() > 0.8
    assert trials["shuffled/training accuracy"].min() > 0.25  # twice as often as by guessing: by heart
