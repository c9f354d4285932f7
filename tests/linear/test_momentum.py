"""Momentum: how the arms differ, and what the lesson concludes where an arm does not arrive."""

import numpy as np

from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.lesson.tuned import tuned_settings
from tests.trials import judged, reference, replaced


def test_a_winner_that_does_not_arrive_is_inconclusive_and_a_loser_may_be_cut_off():
    experiment, trials, _ = reference("momentum")

    def cut_off(arm):
        missing = {f"κ=1000/{arm}/steps": np.full(len(trials.seeds), np.nan)}
        return judged(experiment, "long valley", replaced(trials, missing)).verdict

    assert (cut_off("momentum"), cut_off("SGD")) == ("inconclusive", "supported")


def test_the_two_arms_of_momentum_differ_from_the_second_step_on():
    experiment = experiment_of(contents.lesson_named("momentum"))
    tuned = tuned_settings(experiment.lesson, experiment.quick).values
    measured = experiment.trial(experiment.quick, 1_000, tuned)
    plain, with_momentum = (measured[f"κ=1000/{arm}/curve"] for arm in ("SGD", "momentum"))
    assert plain[0] == with_momentum[0]
    assert plain[1] != with_momentum[1]
