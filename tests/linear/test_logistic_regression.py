"""Logistic regression: a control that the generic ones do not give."""

import numpy as np

from tests.trials import judged, reference, replaced

CONTROLS = {"never up": "test_descent_that_once_goes_up_is_not_monotone"}


def test_descent_that_once_goes_up_is_not_monotone():
    experiment, trials, _ = reference("logistic_regression")
    name = "steps of 1/L/largest rise"
    assert trials[name].max() < 0  # each step goes down, so that no small change of a number makes it rise
    for rise, verdict in ((2e-6, "refuted"), (0.5e-6, "supported")):
        once = np.where(np.arange(len(trials.seeds)) == 5, rise, trials[name])
        assert judged(experiment, "never up", replaced(trials, {name: once})).verdict == verdict
