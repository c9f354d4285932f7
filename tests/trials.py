"""Reference runs of lessons to be judged again, as they are and changed: what the controls of a verdict are made of."""

import json
from functools import cache

from dlnotes.evidence import verdict_of_row
from dlnotes.lesson import catalog
from dlnotes.lesson.experiment import Trials, experiment_of, trials_from


@cache
def reference(name):
    """A lesson, the trials of its reference run, and the results file that keeps them: read once, so change none."""
    experiment = experiment_of(catalog.lesson_named(name))
    results = json.loads((catalog.results_folder() / f"{name}.json").read_text(encoding="utf-8"))
    return experiment, trials_from(results, experiment), results


def changed(trials: Trials, change) -> Trials:
    """The trials with each number replaced: `change(name)` is the array that stands under the name.

    Of the first twelve seeds: for sixteen, the exact test would try sixteen times as many patterns of signs.
    """
    arrays = {name: change(name) for name in trials}
    seeds = trials.seeds[:12]
    measured = {
        seed: {name: array[place].tolist() for name, array in arrays.items()} for place, seed in enumerate(seeds)
    }
    return Trials(trials.config, measured)


def replaced(trials: Trials, arrays: dict) -> Trials:
    """The trials with other arrays under the names that are keys of `arrays`."""
    return changed(trials, lambda name: arrays.get(name, trials[name]))


def verdicts(experiment, trials) -> dict:
    """The verdict of each row of a lesson."""
    findings = experiment.findings(trials)
    return {row: verdict_of_row([one for one in findings if one.row == row]) for row in experiment.lesson.rows}
