"""Would a lesson conclude the same from less? Each prediction is judged again by reference numbers that were changed.

A prediction that compares two arms: exchanged, it must turn; equal, it must fall; with an effect of twice the margin
planted, it must hold. One that expects no difference, or none for the better, holds where the arms are equal and falls
where the effect is planted. A prediction about one number follows that number to both sides of the margin. An identity
falls by one counter-example in any of the numbers that it reads.

Some predictions rest on more than such a change can say: on curves, ranks, the worst of several. They have a control of
their own, which the tests of the lesson list under `CONTROLS`.
"""

import ast
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from dlnotes.evidence import BETTER, NOT_BETTER, THE_SAME
from dlnotes.lesson import contents
from dlnotes.lesson.declared import declared_in
from tests.stale import there
from tests.trials import changed, equal, exchanged, names_read, reference, replaced, with_effect

LESSONS = [lesson.name for lesson in contents.lessons() if declared_in(lesson.path).predictions]


def own_controls(name):
    """What the tests of a lesson have under `CONTROLS`: the test that is the control of each such prediction."""
    path = Path(__file__).parents[1] / contents.lesson_named(name).chapter / f"test_{name}.py"
    body = ast.parse(path.read_text("utf-8")).body if path.is_file() else []
    found = [one.value for one in body if isinstance(one, ast.Assign) and ast.unparse(one.targets[0]) == "CONTROLS"]
    relative = path.relative_to(Path(__file__).parents[2])
    return {each: f"{relative}::{test}" for one in found for each, test in ast.literal_eval(one).items()}


OWN = {name: own_controls(name) for name in LESSONS}


@cache
def judged(name):
    """The predictions of a lesson that have no control of their own, with fewer trials and the judgement of these."""
    experiment, trials, _ = reference(name)
    trials = changed(trials, lambda one, kept=trials: kept[one], most=8)  # the fewest that can refute "the same"
    found = [one for one in experiment.predictions if one.name not in OWN[name]]
    for one in found:
        read = names_read(one, trials)
        for arm in one.arms:
            assert any(f"/{arm}/" in f"/{each}/" for each in read), f"{one.name!r} reads nothing of {arm!r}: {read}"
    return [(one, trials, one.judge(trials)) for one in found]


def those(name, belongs):
    """Those of them that some control is for."""
    return [(one, trials, judgement) for one, trials, judgement in judged(name) if belongs(one, judgement)]


def beyond(judgement):
    """An effect that is as far beyond the margin as the margin is from no effect: twice it, or its square.

    Where the margin is no effect at all, one that is small beside the numbers.
    """
    if judgement.unit == "ratio":
        return judgement.margin**2 if judgement.margin > 1 else 1.1
    return 2 * judgement.margin or 0.1


def nothing(judgement):
    return 1.0 if judgement.unit == "ratio" else 0.0


def is_pair(one, judgement):
    return bool(one.arms)


@pytest.mark.parametrize("name", LESSONS)
def test_with_its_arms_exchanged_a_prediction_turns(name):
    for one, trials, judgement in those(name, is_pair):
        if judgement.expects != BETTER or judgement.effect <= nothing(judgement):
            continue
        turned = one.judge(exchanged(trials, one.arms))
        assert turned.verdict != "supported", one.name
        if math.isfinite(turned.effect):
            assert turned.effect <= nothing(judgement), one.name
            assert turned.verdict == "refuted" or judgement.verdict != "supported", one.name


@pytest.mark.parametrize("name", LESSONS)
def test_with_equal_arms_a_prediction_of_a_difference_falls_and_one_of_none_holds(name):
    for one, trials, judgement in those(name, is_pair):
        same = one.judge(equal(trials, one.arms))
        assert same.effect == pytest.approx(nothing(judgement), abs=1e-12), one.name
        if judgement.expects != BETTER:
            assert same.verdict == "supported", one.name
        elif judgement.margin > nothing(judgement):
            assert same.verdict == "refuted", one.name
        else:
            assert same.verdict != "supported", one.name


@pytest.mark.parametrize("name", LESSONS)
def test_an_effect_of_twice_the_margin_is_found(name):
    for one, trials, judgement in those(name, is_pair):
        same, size = equal(trials, one.arms), beyond(judgement)
        less = 1 / size if judgement.unit == "ratio" else -size
        found = [one.judge(with_effect(same, one, effect)).verdict for effect in (size, less)]
        assert found == EXPECTED[judgement.expects], one.name


# The verdicts on an effect of twice the margin, and on one as large to the other side.
EXPECTED = {
    BETTER: ["supported", "refuted"],
    NOT_BETTER: ["refuted", "supported"],
    THE_SAME: ["refuted", "refuted"],
}


@pytest.mark.parametrize("name", LESSONS)
def test_an_identity_falls_by_one_counter_example_in_any_of_its_numbers(name):
    for one, trials, judgement in those(name, lambda _, judgement: judgement.unit == "error"):
        assert judgement.verdict == "supported", one.name
        for read in names_read(one, trials):
            array = trials[read].copy()
            array[5] = np.maximum(array[5], 0) + (2 * judgement.margin or 1.0)  # some are judged from 0 on
            again = one.judge(replaced(trials, {read: array}))
            assert again.verdict == "refuted", (one.name, read)


@pytest.mark.parametrize("name", LESSONS)
def test_a_prediction_about_one_number_follows_it_to_both_sides_of_the_margin(name):
    for one, trials, judgement in those(name, lambda one, judgement: not one.arms and judgement.unit != "error"):
        even = changed(trials, lambda read, kept=trials: np.broadcast_to(kept[read].mean(0), kept[read].shape))
        outside, far = EXPECTED[judgement.expects][0], beyond(judgement)
        within = {"supported": "refuted", "refuted": "supported"}[outside]
        near = math.sqrt(judgement.margin) if judgement.unit == "ratio" else judgement.margin / 2
        if judgement.margin == nothing(judgement):  # then the other side is there from nothing on
            near = 1 / far if judgement.unit == "ratio" else -far
        for effect, verdict in ((far, outside), (near, within)):
            assert one.judge(with_effect(even, one, effect)).verdict == verdict, (one.name, effect)


@pytest.mark.parametrize("name", LESSONS)
def test_a_control_of_its_own_is_there(name):
    predictions = {one.name for one in declared_in(contents.lesson_named(name).path).predictions}
    for one, test in OWN[name].items():
        assert one in predictions
        assert there(test), test
