"""The lessons of the chapter would not conclude what they do from less than the reference run shows."""

import numpy as np

from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from tests.trials import changed, reference, verdicts


def test_with_the_arms_exchanged_momentum_is_not_faster():
    experiment, trials, _ = reference("momentum")
    other = {"SGD": "momentum", "momentum": "SGD"}

    def exchange(name):
        setting, _, rest = name.partition("/")
        arm, slash, what = rest.partition("/")
        return trials[f"{setting}/{other[arm]}{slash}{what}" if arm in other else name]

    assert verdicts(experiment, trials)["1.18"] == "conditional"
    assert verdicts(experiment, changed(trials, exchange))["1.18"] == "refuted"


def test_equal_arms_show_neither_a_gain_nor_a_loss_by_momentum():
    experiment, trials, _ = reference("momentum")
    findings = experiment.findings(changed(trials, lambda name: trials[name.replace("/momentum/", "/SGD/")]))
    judged = [finding.verdict for finding in findings if finding.row == "1.18"]
    assert judged == ["refuted", "refuted", "refuted", "supported"]  # no tenth, no tenth, no factor of two, the same


def test_a_planted_difference_of_twice_the_margin_is_found_at_small_rates():
    experiment, trials, _ = reference("momentum")
    slower = trials["small rates/SGD/steps"] * 1.21
    planted = changed(trials, lambda name: slower if name == "small rates/SGD/steps" else trials[name])
    assert experiment.findings(planted)[-1].verdict == "refuted"


def test_a_winner_that_does_not_arrive_is_inconclusive_and_a_loser_may_be_cut_off():
    experiment, trials, _ = reference("momentum")

    def cut_off(arm):
        missing = np.full(len(trials.seeds), np.nan)
        cut = changed(trials, lambda name: missing if name == f"κ=1000/{arm}/steps" else trials[name])
        return experiment.findings(cut)[6].verdict

    assert "1 to 1,000" in experiment.findings(trials)[6].statement
    assert (cut_off("momentum"), cut_off("SGD")) == ("inconclusive", "supported")


def test_the_two_arms_of_momentum_differ_from_the_second_step_on():
    experiment = experiment_of(contents.lesson_named("momentum"))
    measured = experiment.trial(experiment.quick, 1_000)
    plain, with_momentum = (measured[f"κ=1000/{arm}/curve"] for arm in ("SGD", "momentum"))
    assert plain[0] == with_momentum[0]
    assert plain[1] != with_momentum[1]


def test_letters_with_shuffled_labels_would_not_support_that_labels_are_learned():
    experiment, trials, _ = reference("logistic_regression")
    shuffled = trials["SGD, shuffled labels/test accuracy"]
    control = changed(trials, lambda name: shuffled if name == "SGD/test accuracy" else trials[name])
    assert verdicts(experiment, control)["1.06"] == "refuted"


def test_descent_that_once_goes_up_is_not_monotone():
    experiment, trials, _ = reference("logistic_regression")
    name = "descent 1/L/largest rise"
    once = np.where(np.arange(len(trials.seeds)) == 5, 1e-3, trials[name])
    assert (
        verdicts(experiment, changed(trials, lambda other: once if other == name else trials[other]))["1.09"]
        == "refuted"
    )


def test_temperature_is_refuted_by_one_counter_example():
    experiment, trials, _ = reference("temperature")
    for row, name in (
        ("1.02", "softmax: far from a sum of 1"),
        ("1.03", "×10: entropy gained"),
        ("1.04", "÷10: entropy lost"),
    ):
        once = np.where(np.arange(len(trials.seeds)) == 5, 1e-3, trials[name])
        assert (
            verdicts(experiment, changed(trials, lambda n, name=name, once=once: once if n == name else trials[n]))[row]
            == "refuted"
        )
