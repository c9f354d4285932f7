"""Momentum: the formulas worked by hand, arms that differ in momentum and rate alone, and what did not arrive."""

import math
import sys
from itertools import islice, pairwise

import numpy as np
import pytest
import torch

from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.lesson.tuned import tuned_settings
from dlnotes.measuring import steps_until
from tests.trials import batches_seen, judged, reference, replaced


@pytest.fixture(scope="module")
def lesson():
    return sys.modules[experiment_of(contents.lesson_named("momentum")).trial.__module__]


# The formulas


def test_the_two_rows_of_the_opening_are_what_momentum_gives(lesson):
    rows = {}
    for name, gradients in {"along": [1, 1, 1, 1, 1], "across": [1, -1, 1, -1, 1]}.items():
        accumulated, rows[name] = 0.0, []
        for gradient in gradients:
            accumulated = 0.9 * accumulated + gradient
            rows[name].append(f"{accumulated:.2f}")
    shown = [
        line.split("M")[1].split("…")[0].split() for line in lesson.__doc__.splitlines() if line.strip()[:2] == "g "
    ]
    assert [[f"{float(one):.2f}" for one in row] for row in shown] == [rows["along"], rows["across"]]
    assert pytest.approx(10) == 1 / (1 - 0.9)
    assert pytest.approx(0.53, abs=0.005) == 1 / (1 + 0.9)


def test_theory_says_what_the_opening_says():
    steps = math.log(1e-4) / math.log(0.9)  # the loss falls by the square of √0.9 a step
    assert steps == pytest.approx(87, abs=0.5)
    assert math.log(1e4) / 4 == pytest.approx(2.3, abs=0.01)  # steps over κ: the error falls by 1 - 2/κ a step
    assert steps / 2.3 == pytest.approx(38, abs=0.5)
    root = math.sqrt(0.9)
    assert ((1 + root) / (1 - root)) ** 2 == pytest.approx(1_400, rel=0.05)


def test_a_valley_is_steep_across_and_flat_along(lesson):
    w = torch.zeros(50, dtype=torch.float64)
    for place, curvature in ((0, 1 / 1_000), (49, 1.0)):
        w[:] = 0
        w[place] = 2.0
        assert lesson.valley(1_000, w).item() == pytest.approx(curvature * 2)


@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_the_losses_in_a_valley_are_those_of_the_formula(lesson, beta):
    h = torch.logspace(-1, 0, 50, dtype=torch.float64)
    w, accumulated, expected = lesson.start(3), 0.0, []
    for _ in range(12):
        expected.append((h * w**2).sum().item() / 2)
        accumulated = beta * accumulated + h * w
        w = w - 0.1 * accumulated
    assert list(lesson.in_valley(10, 3, 11, lr=0.1, beta=beta)) == pytest.approx(expected, rel=1e-12)


def test_a_rate_that_is_too_large_never_arrives(lesson):
    losses = lesson.in_valley(10, 0, 2_000, lr=2.5, beta=0.0)
    assert math.isnan(steps_until(1e-4, losses, window=10, relative=True))


def test_the_printed_formula_adds_up_changes_of_the_rate(lesson):
    rates = [0.1 / (1 + step / 10) for step in range(31)]
    moved = accumulated = 0.0
    for before, rate in pairwise(rates):
        accumulated = 0.9 * accumulated + (rate - before)
        moved -= rate * accumulated
    w = lesson.start(0)
    left = lesson.valley(10, w + moved) / lesson.valley(10, w)
    assert lesson.as_printed(0, 30) == pytest.approx(left.item(), rel=1e-12)
    assert moved > 0  # the same way for all weights, whatever their gradients


def test_momentum_sums_a_steady_gradient_and_does_not_average_it(lesson):
    assert lesson.along_one_gradient(0, 1) == pytest.approx(1.0)
    assert lesson.along_one_gradient(0, 200) == pytest.approx((1 - 0.9**200) / 0.1, rel=1e-12)


# The arms


def test_the_arms_start_alike_and_differ_from_the_second_step_on(lesson):
    tuned = tuned_settings(contents.lesson_named("momentum"), lesson.QUICK).values
    measured = lesson.trial(lesson.QUICK, 1_000, tuned)
    plain, with_momentum = (measured[f"κ=1000/{arm}/curve"] for arm in ("SGD", "momentum"))
    assert plain[0] == with_momentum[0] == 1
    assert plain[1] != with_momentum[1]
    assert measured["κ=10/SGD/steps"] == steps_until(
        1e-4, lesson.in_valley(10, 1_000, 200, lr=tuned["κ=10/SGD"], beta=0.0), window=10, relative=True
    )


def test_both_arms_see_the_same_images_in_the_same_batches(lesson, monkeypatch):
    seen = batches_seen(lesson, monkeypatch)
    images = lesson.data.load("letters", 0, train=300, test=0).train
    ends = []
    for beta in lesson.ARMS.values():
        seen.append([])
        ends.append(list(islice(lesson.on_images(lesson.QUICK, 0, images, lr=0.1, beta=beta), 6)))
    assert len(seen[0]) == 5
    assert all(torch.equal(one, other) for one, other in zip(*seen, strict=True))
    assert ends[0][0] == ends[1][0] == pytest.approx(math.log(10))
    assert ends[0][2] != ends[1][2]


# What the verdict rests on


def test_a_winner_that_does_not_arrive_is_inconclusive_and_a_loser_may_be_cut_off():
    experiment, trials, _ = reference("momentum")

    def cut_off(arm):
        missing = {f"κ=1000/{arm}/steps": np.full(len(trials.seeds), np.nan)}
        return judged(experiment, "long valley", replaced(trials, missing)).verdict

    assert (cut_off("momentum"), cut_off("SGD")) == ("inconclusive", "supported")
