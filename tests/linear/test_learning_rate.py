"""Which rates work, what a curve shows, and what the lesson on the learning rate would not conclude from less."""

import math
import sys
from itertools import islice, repeat

import numpy as np
import pytest
import torch
from torch import nn

from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.linear import SGD
from dlnotes.sweeps import Sweep
from tests.trials import judged, reference, replaced

CONTROLS = {
    "between trainings": "test_tasks_with_the_same_best_rate_refute_that_rates_are_hard_to_know",
    "wrong rate": "test_a_rate_that_costs_nothing_when_wrong_refutes_it_too",
    "reused rate": "test_the_rate_of_another_draw_is_looked_up_where_it_stands",
    "false alarm": "test_draws_are_counted_that_look_unstable_at_the_best_rate",
}


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("learning_rate"))
    return sys.modules[experiment.trial.__module__]


class Bowl(nn.Module):
    """½ h w²: descent multiplies w by 1 - lr · h."""

    def __init__(self, curvature):
        super().__init__()
        self.curvature, self.w = curvature, nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, inputs):
        return self.curvature * self.w**2 / 2


def test_the_best_rate_of_a_bowl_is_made_by_its_curvature():
    """At 1 / h one step arrives, below 2 / h descent converges, above it diverges: knowing h is knowing the rate."""
    rates = [0.25, 0.5, 1.0, 1.5, 1.9, 2.1]
    for curvature in (0.01, 1.0, 100.0):
        bowls = [Bowl(curvature) for _ in rates]
        groups = [
            {"params": bowl.parameters(), "lr": rate / curvature} for bowl, rate in zip(bowls, rates, strict=True)
        ]
        sweep = Sweep(bowls, lambda loss, _: loss, SGD(groups, lr=1.0), repeat((torch.zeros(1), torch.zeros(1))))
        list(islice(sweep, 20))
        found = [abs(bowl.w.item()) for bowl in bowls]
        assert found == pytest.approx([abs(1 - rate) ** 20 for rate in rates], rel=1e-6, abs=1e-12)
        assert int(np.argmin(found)) == 2
        assert found[-1] > 1


def test_curves_that_are_known_to_be_bad_are_read_as_such(lesson):
    steps, start = np.arange(20), 2.3
    assert lesson.reading(start * 0.6**steps, start) == "good"
    assert lesson.reading(start * 0.99**steps, start) == "slow"
    assert lesson.reading(start - 0.05 * steps, start) == "slow"
    assert lesson.reading(np.where(steps == 1, 3.0, start * 0.6**steps), start) == "unstable"
    assert lesson.reading(start * 1.01**steps, start) == "unstable"
    assert lesson.reading(np.where(steps > 15, math.nan, start * 0.6**steps), start) == "unstable"


def test_the_points_of_a_curve_are_means_of_windows(lesson):
    assert lesson.smooth(np.arange(11.0), 3).tolist() == [1.0, 4.0, 7.0]
    assert np.isnan(lesson.smooth(np.array([1.0, 1.0, 1.0, math.nan]), 2)).tolist() == [False, True]


def test_the_tasks_differ_and_the_same_seed_gives_the_same_numbers():
    experiment = experiment_of(contents.lesson_named("learning_rate"))
    measured = experiment.trial(experiment.quick, 1_000)
    assert repr(measured) == repr(
        experiment.trial(experiment.quick, 1_000)
    )  # nan is no number, but equal to itself here
    losses = {tuple(measured[f"{task}/losses"]) for task in ("linear", "normalised inputs", "batches of 8", "network")}
    assert len(losses) == 4


# Controls


def test_tasks_with_the_same_best_rate_refute_that_rates_are_hard_to_know(lesson):
    experiment, trials, _ = reference("learning_rate")
    alike = {f"{task}/best rate": trials["linear/best rate"] for task in lesson.TASKS}
    assert judged(experiment, "between trainings", replaced(trials, alike)).verdict == "refuted"
    for factor in (1 / 16, 16):  # one of them is enough, to either side
        apart = alike | {"network/best rate": factor * trials["linear/best rate"]}
        assert judged(experiment, "between trainings", replaced(trials, apart)).verdict == "supported"


def test_a_rate_that_costs_nothing_when_wrong_refutes_it_too():
    experiment, trials, _ = reference("learning_rate")
    harmless = {"network/loss at an eighth or eightfold": 1.01 * trials["network/loss at the best"]}
    assert judged(experiment, "wrong rate", trials).verdict == "supported"
    assert judged(experiment, "wrong rate", replaced(trials, harmless)).verdict == "refuted"


def test_the_rate_of_another_draw_is_looked_up_where_it_stands(lesson):
    experiment, trials, _ = reference("learning_rate")
    best = {f"{task}/best rate": np.full(len(trials.seeds), lesson.RATES[3]) for task in lesson.TASKS}
    for there, verdict in ((5.0, "refuted"), (1.5, "supported")):
        losses = np.ones((len(trials.seeds), len(lesson.RATES)))
        losses[:, 3] = there
        control = replaced(trials, best | {f"{task}/losses": losses for task in lesson.TASKS})
        assert lesson.reused(control).tolist() == pytest.approx([there] * 12)
        assert judged(experiment, "reused rate", control).verdict == verdict


def test_draws_are_counted_that_look_unstable_at_the_best_rate():
    experiment, trials, _ = reference("learning_rate")
    for unstable, verdict in ((12, "supported"), (7, "inconclusive"), (0, "refuted")):
        draws = (np.arange(len(trials.seeds)) < unstable).astype(float)
        control = replaced(trials, {"linear/the best looks unstable": draws})
        assert judged(experiment, "false alarm", control).verdict == verdict
