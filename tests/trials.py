"""Reference runs of lessons to be judged again, as they are and changed: what the controls of a verdict are made of."""

import json
import math
from collections.abc import Mapping
from functools import cache

import pytest

from dlnotes.evidence import verdict_of_row
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import Trials, experiment_of, trials_from


@cache
def experiment(name):
    """A lesson of the checkout, imported and checked once."""
    return experiment_of(contents.lesson_named(name))


@cache
def reference(name, data=""):
    """A lesson, the trials of its reference run, and the results file that keeps them: read once, so change none.

    Of the run on another data set, where one is named.
    """
    path = contents.results_folder() / data / f"{name}.json"
    if not path.is_file():
        pytest.fail(f"{name} has no reference run to change: python -m lessons run {name} --out results", pytrace=False)
    results = json.loads(path.read_text(encoding="utf-8"))
    return experiment(name), trials_from(results, experiment(name)), results


def batches_seen(module, monkeypatch):
    """A list of lists: the inputs of each batch that a module draws go to the last one. Append one for each arm."""
    seen = []

    class Noted(module.Minibatches):
        def __next__(self):
            batch = super().__next__()
            seen[-1].append(batch[0])
            return batch

    monkeypatch.setattr(module, "Minibatches", Noted)
    return seen


def changed(trials: Trials, change, *, most: int = 12) -> Trials:
    """The trials with each number replaced: `change(name)` is the array that stands under the name.

    Of the first twelve seeds, at most: for sixteen, the exact test would try sixteen times as many patterns of signs.
    """
    arrays = {name: change(name) for name in trials}
    seeds = trials.seeds[:most]
    measured = {
        seed: {name: array[place].tolist() for name, array in arrays.items()} for place, seed in enumerate(seeds)
    }
    return Trials(trials.config, measured, trials.tuned)


def replaced(trials: Trials, arrays: dict) -> Trials:
    """The trials with other arrays under the names that are keys of `arrays`."""
    return changed(trials, lambda name: arrays.get(name, trials[name]))


def prediction(experiment, name):
    """The prediction of that name."""
    return next(one for one in experiment.predictions if one.name == name)


def judged(experiment, name, trials):
    """The judgement of the prediction of that name."""
    return prediction(experiment, name).judge(trials)


def verdicts(experiment, trials, findings=None) -> dict:
    """The verdict of each row of a lesson; of findings that were judged before, if they are given."""
    findings = findings or experiment.findings(trials)
    return {row: verdict_of_row([one for one in findings if one.row == row]) for row in experiment.lesson.rows}


class Traced(Mapping):
    """Trials that note which names are read from them."""

    def __init__(self, trials):
        self.trials, self.config, self.seeds, self.read = trials, trials.config, trials.seeds, {}

    def __getitem__(self, name):
        self.read[name] = None
        return self.trials[name]

    def __iter__(self):
        return iter(self.trials)

    def __len__(self):
        return len(self.trials)


def names_read(one, trials):
    """The names of the measured numbers that a prediction rests on, in the order in which it reads them."""
    traced = Traced(trials)
    one.judge(traced)
    return list(traced.read)


# ----------------------------------------------------------------------------------------------------------------
# Controls
# ----------------------------------------------------------------------------------------------------------------


def counterpart(name, one, other):
    """The measured name with one arm in the place of the other; the name itself where it has neither of them."""
    path = f"/{name}/"
    if f"/{one}/" in path:
        return path.replace(f"/{one}/", f"/{other}/")[1:-1]
    return path.replace(f"/{other}/", f"/{one}/")[1:-1]


def exchanged(trials, arms):
    """The trials with the numbers of two arms exchanged, wherever both were measured."""

    def change(name):
        there = counterpart(name, *arms)
        return trials[there if there in trials else name]

    return changed(trials, change)


def equal(trials, arms):
    """The trials with the numbers of the first arm in both."""
    first, second = arms

    def change(name):
        there = counterpart(name, first, second)
        return trials[there if f"/{second}/" in f"/{name}/" and there in trials else name]

    return changed(trials, change)


def with_effect(trials, one, effect):
    """The trials with some numbers changed so that the effect that a prediction judges is this one.

    Multiplied, or moved: whichever gives the effect. The numbers are those that the prediction reads of its second arm
    where it compares two, and otherwise the first that it reads.
    """
    read = names_read(one, trials)
    names = [name for name in read if f"/{one.arms[1]}/" in f"/{name}/"] if one.arms else read[:1]
    here = one.judge(trials).effect
    step = one.judge(_moved(trials, names, 0.01)).effect - here
    factors = [effect / here, here / effect] if here and effect else []
    factors += [math.exp(effect - here), math.exp(here - effect)] if abs(effect - here) < 10 else []  # of a logarithm
    shifts = [effect, -effect, *([0.01 * (effect - here) / step] if step else [])]
    changes = [_times(trials, names, factor) for factor in factors] + [_moved(trials, names, by) for by in shifts]
    for made in changes:
        if math.isclose(one.judge(made).effect, effect, rel_tol=1e-6, abs_tol=1e-9):
            return made
    raise AssertionError(
        f"no change of {', '.join(names)} gives {one.name!r} the effect {effect}: it needs its own control"
    )


def _times(trials, names, factor):
    return replaced(trials, {name: trials[name] * factor for name in names})


def _moved(trials, names, by):
    return replaced(trials, {name: trials[name] + by for name in names})
