"""What will be run: a lesson with its settings and seeds, and whether that is the run whose verdict counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from dlnotes.evidence import MOST_SEEDS
from dlnotes.lesson.choosing import unknown_data
from dlnotes.lesson.contents import Lesson, UsageError, file_name_of
from dlnotes.lesson.experiment import Experiment, experiment_of
from dlnotes.lesson.settings import override
from dlnotes.lesson.tuned import TunedSettings, tuned_settings

__all__ = ["LacksOptionError", "Options", "Plan", "plan_of", "plan_of_tuning"]

QUICK_SEEDS = range(2)

# With fewer, no exact test of signs can reach 1 %: one of 2⁶ patterns is 1.6 %.
FEWEST_SEEDS = 7


class LacksOptionError(UsageError):
    """A lesson cannot be run as it was asked for, though others may: of many, it is left out."""


@dataclass(frozen=True)
class Options:
    """What a user may ask of a run.

    Attributes:
        quick: two seeds of a small variant, without a verdict.
        seeds: which seeds; None are those of the lesson.
        jobs: processes at work at the same time.
        data: another data set than the lesson's own; "all" is its own, and after it each one that is there.
        device: another device than the lesson's own.
        settings: changes of the lesson's settings, each ``name=value``.
        out: where results and figure go; None is the output folder.
        show: open the figure in a window.
        fresh: measure again what has a record.
    """

    quick: bool = False
    seeds: Sequence[int] | None = None
    jobs: int = 1
    data: str | None = None
    device: str | None = None
    settings: tuple[str, ...] = ()
    out: Path | None = None
    show: bool = False
    fresh: bool = False


@dataclass(frozen=True)
class Plan:
    """A run that was not begun yet.

    Attributes:
        experiment: the lesson.
        config: its settings.
        seeds: its seeds.
        tuned: the settings that were tuned for its data; empty where its trials take none.
        stem: the name of its files. Only a declared run has the lesson's own, so that no other can replace it.
        exploratory: why its verdict is not the lesson's own, in words; empty where it is.
        is_judged: whether its seeds are enough for a verdict.
    """

    experiment: Experiment
    config: Any
    seeds: Sequence[int]
    tuned: Mapping[str, float]
    stem: str
    exploratory: str
    is_judged: bool

    @property
    def lesson(self) -> Lesson:
        """The lesson that is run."""
        return self.experiment.lesson


def plan_of(lesson: Lesson, options: Options, *, alone: bool, cells: ModuleType | None = None) -> Plan | None:
    """The run that a user asks for; None where many lessons are, and this one lacks an option that is given.

    Args:
        lesson: the lesson.
        options: what is asked for.
        alone: whether no other lesson is.
        cells: where a notebook has run cells that are not those of the lesson, the module that they ran in.

    Raises:
        UsageError: an option does not fit the lesson.
    """
    if options.seeds is not None and len(options.seeds) > MOST_SEEDS:
        raise UsageError(f"at most {MOST_SEEDS} seeds can be judged by an exact test, not {len(options.seeds)}")
    experiment = experiment_of(lesson, cells)
    try:
        config = _config(experiment, options)
        tuned = _tuned(experiment, config)
    except LacksOptionError as error:
        if alone:
            raise
        print(f"left out: {error}")
        return None
    own = QUICK_SEEDS if options.quick else experiment.seeds
    seeds = own if options.seeds is None else options.seeds
    same_seeds = list(seeds) == list(experiment.seeds)
    exploratory = ""
    if experiment.variant:
        exploratory = f"{experiment.variant}; the verdict of {lesson.name} stays as it was"
    elif tuned.elsewhere:
        exploratory = f"settings that were tuned in {tuned.elsewhere}; the lesson's own verdict stays as it was"
    elif same_seeds and _on_own_data(experiment, config) == experiment.config != config:
        exploratory = f"other data than {experiment.config.data}, on which the lesson's own verdict rests"
    elif config != experiment.config or not same_seeds:
        exploratory = "other seeds, settings or data than the lesson declares; its own verdict stays as it was"
    is_own = same_seeds and not experiment.variant and not tuned.elsewhere
    stem = _stem(experiment, config, quick=options.quick, is_own=is_own)
    judged = not options.quick and len(seeds) >= FEWEST_SEEDS
    return Plan(experiment, config, seeds, tuned.values, stem, exploratory, judged)


def plan_of_tuning(lesson: Lesson, options: Options) -> Plan:
    """The same for the choice of settings, on seeds that no verdict sees."""
    experiment = experiment_of(lesson)
    if experiment.tune is None:
        raise UsageError(f"the lesson {lesson.name} has nothing to tune")
    config = _config(experiment, options)
    seeds = experiment.tuning_seeds if options.seeds is None else options.seeds
    if set(seeds) & set(experiment.seeds):
        raise UsageError(f"settings are chosen on seeds that the verdict of {lesson.name} does not see")
    is_own = list(seeds) == list(experiment.tuning_seeds) and not experiment.variant
    folder, _, stem = _stem(experiment, config, quick=options.quick, is_own=is_own).rpartition("/")
    if hasattr(config, "data"):  # the scores of all data sets lie in one folder
        stem = f"{lesson.name}.{folder or file_name_of(config.data)}{stem.removeprefix(lesson.name)}"
    return Plan(experiment, config, seeds, {}, stem, "", is_judged=False)


def _config(experiment: Experiment, options: Options) -> Any:
    """The lesson's settings with what the options change."""
    lesson = experiment.lesson
    config = experiment.quick if options.quick else experiment.config
    for option, value in (("data", options.data), ("device", options.device)):
        if value is None:
            continue
        if not hasattr(config, option):
            raise LacksOptionError(f"the lesson {lesson.name} takes no --{option}: it has no setting of that name")
        config = replace(config, **{option: value})
    config = override(config, options.settings)
    if getattr(config, "data", None) is not None:
        _check_data(config.data, experiment)
    return config


def _check_data(name: str, experiment: Experiment) -> None:
    from dlnotes import data

    if unknown := unknown_data(name, experiment.data or data.names()):
        raise LacksOptionError(f"the lesson {experiment.lesson.name} knows {unknown}")


def _tuned(experiment: Experiment, config: Any) -> TunedSettings:
    """The tuned settings that the trials are given: none where they take none, and else one for each arm."""
    if not experiment.is_tuned:
        return TunedSettings({})
    name = experiment.lesson.name
    try:
        found = tuned_settings(experiment.lesson, config)
    except UsageError as error:
        raise LacksOptionError(str(error)) from error
    if missing := sorted((experiment.tuning or {}).keys() - found.values.keys()):
        raise UsageError(f"{name} has no setting tuned for {', '.join(missing)}: `python -m lessons tune {name}` again")
    return found


def _stem(experiment: Experiment, config: Any, *, quick: bool, is_own: bool) -> str:
    """The name of the files of a run: the lesson's, in a folder for another data set, and what kind of run it is."""
    stem = experiment.lesson.name
    if getattr(config, "data", None) != getattr(experiment.config, "data", None):
        stem = f"{file_name_of(config.data)}/{stem}"
    if quick:
        return f"{stem}.quick"
    return stem if _on_own_data(experiment, config) == experiment.config and is_own else f"{stem}.exploratory"


def _on_own_data(experiment: Experiment, config: Any) -> Any:
    return replace(config, data=experiment.config.data) if hasattr(config, "data") else config
