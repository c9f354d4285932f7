"""Fast starts and good ends, and what the lesson on them would not conclude from less."""

import sys

import numpy as np
import pytest
import torch

from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.linear import SGD
from dlnotes.randomness import stream
from tests.trials import changed, judged, reference, replaced

CONTROLS = {
    "fastest nine": "test_an_end_in_the_order_of_the_start_refutes_that_the_fastest_nine_are_in_another",
    "whole range": "test_an_end_without_any_order_takes_the_limit_away",
}


def losses_on_a_noisy_bowl(seed, lr, steps):
    """The mean of ½ w² over 1,000 runs with noisy gradients, after each step."""
    w, generator = torch.nn.Parameter(torch.full((1_000,), 3.0, dtype=torch.float64)), stream(seed, "noise")
    optimizer, losses = SGD([w], lr=lr), []
    for _ in range(steps):
        w.grad = w.detach() + torch.randn(1_000, generator=generator, dtype=torch.float64)
        optimizer.step()
        losses.append(w.detach().square().mean().item() / 2)
    return losses


def test_on_a_noisy_bowl_the_faster_start_ends_behind(seed):
    """The rate 0.8 is ahead after three steps, and stays at its floor, which is eight times that of 0.15."""
    fast, slow = (losses_on_a_noisy_bowl(seed, lr, 60) for lr in (0.8, 0.15))
    assert fast[2] < 0.5 * slow[2]
    assert fast[-1] > 4 * slow[-1]


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("fast_starts"))
    return sys.modules[experiment.trial.__module__]


def test_ranks_that_agree_give_one_and_reversed_ones_minus_one(lesson):
    early = np.array([[1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]])
    assert lesson.rank_correlations(early, early**3) == pytest.approx([1, 1])
    assert lesson.rank_correlations(early, -early) == pytest.approx([-1, -1])


def test_the_settings_differ_in_rate_and_schedule_and_start_alike():
    experiment = experiment_of(contents.lesson_named("fast_starts"))
    measured = experiment.trial(experiment.quick, 1_000)
    assert repr(measured) == repr(experiment.trial(experiment.quick, 1_000))
    final = [loss for name in ("constant", "exponential", "cosine") for loss in measured[f"{name}/final"]]
    assert len(set(final)) == len(final) == 27
    assert measured["best final loss"] == min(final)
    early = [loss for name in ("constant", "exponential", "cosine") for loss in measured[f"{name}/early"]]
    assert measured["final loss of the fastest starter"] == final[int(np.argmin(early))]


# Controls


def test_an_end_in_the_order_of_the_start_refutes_that_the_fastest_nine_are_in_another():
    experiment, trials, _ = reference("fast_starts")
    ordered = changed(trials, lambda name: trials[name.replace("/final", "/early")])
    assert judged(experiment, "fastest nine", ordered).verdict == "refuted"
    assert judged(experiment, "whole range", ordered).verdict == "supported"


def test_an_end_without_any_order_takes_the_limit_away():
    experiment, trials, _ = reference("fast_starts")
    generator = np.random.default_rng(0)
    shape = trials["cosine/final"].shape
    random = {f"{name}/final": generator.random(shape) for name in ("constant", "exponential", "cosine")}
    assert judged(experiment, "whole range", trials).verdict == "supported"
    assert judged(experiment, "whole range", replaced(trials, random)).verdict == "refuted"
    assert judged(experiment, "fastest nine", replaced(trials, random)).verdict == "supported"


def test_settings_that_diverged_rank_last(lesson):
    _, trials, _ = reference("fast_starts")
    lost = trials["constant/final"].copy()
    lost[:, 0] = np.nan
    _, final = lesson.all_settings(replaced(trials, {"constant/final": lost}))
    assert np.isinf(final[:, 0]).all()
    assert np.isfinite(lesson.rank_correlations(trials["cosine/early"], trials["cosine/final"])).all()
