"""A run from the options to the files: measure what is missing, judge, draw, print, and keep."""

import argparse
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from dlnotes.evidence import MOST_SEEDS, Finding, verdict_of_row
from dlnotes.files import remove_stale_parts, write_whole
from dlnotes.lesson import catalog, report
from dlnotes.lesson.catalog import Lesson, UsageError
from dlnotes.lesson.experiment import QUICK_SEEDS, Experiment, Trials, as_dict, experiment_of, override
from dlnotes.lesson.figures import figure_style, save_figure
from dlnotes.lesson.records import Record, to_json
from dlnotes.lesson.seeds import Rank, environment, records_of, run_seeds, workers

__all__ = ["run", "tune"]

# With fewer, no exact test of signs can reach 1 %: one of 2⁶ patterns is 1.6 %.
FEWEST_SEEDS = 7


def run(
    chosen: Sequence[Lesson],
    options: argparse.Namespace,
    *,
    cells: ModuleType | None = None,
    as_page: bool = False,
) -> list[Path]:
    """Run lessons one after another, and return the figures that were written.

    Args:
        chosen: the lessons.
        options: what the command line gave.
        cells: where a notebook has run cells that are not those of its lesson, the module that they ran in.
        as_page: leave the figures open, for the page or the notebook that this runs in.
    """
    if options.seeds is not None and len(options.seeds) > MOST_SEEDS:
        raise UsageError(f"at most {MOST_SEEDS} seeds can be judged by an exact test, not {len(options.seeds)}")
    if options.fresh and Rank().count > 1:
        raise UsageError("--fresh is for one process: ranks cannot tell old records from each other's new ones")
    out = _writable(options.out or catalog.output_folder())
    with workers(options.jobs) as pool:
        plans = [_plan(lesson, options, cells, alone=len(chosen) == 1) for lesson in chosen]
        with _settings_blamed(options):
            return [figure for plan in plans if plan for figure in _run_one(*plan, options, out, pool, as_page)]


@contextmanager
def _settings_blamed(options: argparse.Namespace) -> Iterator[None]:
    """Where settings were given, say that it is they that do not fit: what the lesson itself declares does."""
    try:
        yield
    except (ValueError, TypeError, LookupError, ZeroDivisionError) as error:
        if options.set:
            raise UsageError(f"it cannot run with {' '.join(options.set)}: {error}") from error
        raise


def _plan(
    lesson: Lesson, options: argparse.Namespace, cells: ModuleType | None = None, *, alone: bool
) -> tuple[Experiment, Any, Sequence[int]] | None:
    """The lesson, its settings and its seeds; None where it lacks an option that is given to many lessons at once."""
    experiment = experiment_of(lesson, cells)
    config = experiment.quick if options.quick else experiment.config
    for option in ("data", "device"):
        value = getattr(options, option)
        if value is None:
            continue
        if not hasattr(config, option):
            if alone:
                raise UsageError(f"the lesson {lesson.name} takes no --{option}: it has no setting of that name")
            print(f"{lesson.name}: left out, since it takes no --{option}\n")
            return None
        config = replace(config, **{option: value})
    if options.set and not alone:
        raise UsageError("--set changes the settings of one lesson: name one")
    config = override(config, options.set)
    if getattr(config, "data", None):
        _check_data(config.data, experiment)
    if options.seeds is not None:
        return experiment, config, options.seeds
    return experiment, config, QUICK_SEEDS if options.quick else experiment.seeds


def _check_data(name: str, experiment: Experiment) -> None:
    from dlnotes import data

    known = experiment.data or data.names()
    if name not in known:
        raise UsageError(f"the lesson {experiment.lesson.name} knows no data set {name!r}; known: {', '.join(known)}")


def _run_one(
    experiment: Experiment,
    config: Any,
    seeds: Sequence[int],
    options: argparse.Namespace,
    out: Path,
    pool: ProcessPoolExecutor | None,
    as_page: bool,
) -> list[Path]:
    lesson, rank = experiment.lesson, Rank()
    with records_of(experiment, config, "trial") as records:
        run_seeds(experiment, config, rank.share(seeds), records=records, pool=pool, fresh=options.fresh)
        measured = {seed: record for seed in seeds if (record := records.read(seed))}
        # Among several ranks, whoever wrote the last record reports: all that see them complete agree on who that is.
        if len(measured) < len(seeds) or max(seeds, key=records.written) not in rank.share(seeds):
            return []

    trials = Trials(config, {seed: record.measured for seed, record in measured.items()})
    findings = list(experiment.findings(trials))
    _check_rows(lesson, findings)
    declared = config == experiment.config and list(seeds) == list(experiment.seeds)
    judged = not options.quick and len(seeds) >= FEWEST_SEEDS
    results = _results(experiment, config, measured, findings if judged else [])
    stem = _stem(config, experiment, quick=options.quick, declared_seeds=list(seeds) == list(experiment.seeds))
    with figure_style():
        figure = experiment.figure(trials)
    drawn = save_figure(figure, out / f"{stem}.svg")
    kept = write_whole(out / f"{stem}.json", to_json(results))

    print(_heading(lesson, config, seeds, results["seconds"]))
    print(report.table_of_measured(trials), end="\n\n")
    print(report.describe(results) if results["findings"] else f"{len(seeds)} seeds: too few for a verdict")
    if experiment.variant:
        print(f"\nexploratory: {experiment.variant}; the verdict of {lesson.name} stays as it was")
    elif not declared:
        print("\nexploratory: other seeds, settings or data than the lesson declares; its own verdict stays as it was")
    if experiment.doubt:
        print("all seeds were measured here, and no record of them is kept")
    if not lesson.rows:
        print(
            f"\nno row of dlnotes/notes.toml names this lesson, so that none has its verdict: lesson = {lesson.name!r}"
        )
    print(f"\nfigure   {report.where(drawn)}\nresults  {report.where(kept)}\n", flush=True)
    _show_or_close(figure, show=options.show, as_page=as_page)
    return [drawn]


def _results(
    experiment: Experiment, config: Any, measured: Mapping[int, Record], findings: Sequence[Finding]
) -> dict[str, Any]:
    """What is kept of a run: nothing of the day or the machine's name, so that but for the seconds equal runs agree."""
    lesson = experiment.lesson
    return {
        "schema": report.SCHEMA,
        "lesson": lesson.name,
        "title": lesson.title,
        "rows": list(lesson.rows),
        "code": experiment.code,
        "judge": experiment.judge,
        "config": as_dict(config),
        "data": _data_used(config),
        "environment": environment(getattr(config, "device", "cpu")),
        "seconds": round(math.fsum(record.seconds for record in measured.values()), 1),
        "verdicts": _verdicts(lesson, findings),
        "findings": [finding.as_dict() for finding in findings],
        "seeds": {str(seed): record.measured for seed, record in measured.items()},
    }


def _data_used(config: Any) -> dict[str, str] | None:
    from dlnotes import data

    name = getattr(config, "data", None)
    return {"name": name, "checksum": data.fingerprint(name)} if name else None


def _verdicts(lesson: Lesson, findings: Sequence[Finding]) -> dict[str, str]:
    """The verdicts on the rows that the notes' table gives the lesson; findings on other rows are shown alone."""
    return {row: verdict_of_row(one for one in findings if one.row == row) for row in lesson.rows if findings}


def _check_rows(lesson: Lesson, findings: Sequence[Finding]) -> None:
    """A lesson judges each row that the notes' table gives it, and may have findings on other rows of the notes."""
    found = {finding.row for finding in findings}
    rows = [note.row for note in catalog.notes()]
    if unknown := sorted(found - set(rows)):
        raise UsageError(
            f"the lesson {lesson.name} has findings on {', '.join(unknown)}, which the notes do not have; their rows "
            f"go from {rows[0]} to {rows[-1]}"
        )
    if missing := sorted(set(lesson.rows) - {finding.row for finding in findings if finding.kind == "claim"}):
        raise UsageError(
            f"notes.toml gives the lesson {lesson.name} the row {', '.join(missing)}: it has no claim on it"
        )


def _stem(config: Any, experiment: Experiment, *, quick: bool, declared_seeds: bool) -> str:
    """The name of the result files. Only a declared run has the lesson's own, so that no other can replace it."""
    parts = [experiment.lesson.name]
    declared = getattr(experiment.config, "data", None)
    if declared is not None and config.data != declared:
        parts.append(config.data)
        config = replace(config, data=declared)
    if quick:
        parts.append("quick")
    elif config != experiment.config or not declared_seeds or experiment.variant:
        parts.append("exploratory")
    return ".".join(parts)


def _heading(lesson: Lesson, config: Any, seeds: Sequence[int], seconds: float) -> str:
    words = [lesson.title, f"{len(seeds)} seeds", f"{seconds:.0f} s of one core"]
    if getattr(config, "data", None):
        words.insert(1, config.data)
    line = " · ".join(words)
    return f"{line}\n{'─' * len(line)}"


def _show_or_close(figure: Any, *, show: bool, as_page: bool) -> None:
    from matplotlib import pyplot as plt

    if as_page:
        return
    if show:
        if plt.get_backend().lower() == "agg":
            print("--show: there is no screen to open a window on; the figure is in the file above")
        else:
            plt.show()
    plt.close(figure)


def _writable(folder: Path) -> Path:
    """The folder, made where it is missing: what cannot be written is said before anything is measured."""
    folder = folder.expanduser().resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("it is read-only")
    except OSError as error:
        raise OSError(f"nothing can be written into {folder} ({error}): give another folder with --out") from error
    if any(folder.glob(".*.part")):  # asked first, since it looks through all folders below, which may be a home's
        remove_stale_parts(folder)
    return folder


# ----------------------------------------------------------------------------------------------------------------
# Choosing settings
# ----------------------------------------------------------------------------------------------------------------


def tune(chosen: Sequence[Lesson], options: argparse.Namespace) -> None:
    """Run each lesson's ``tune`` on its tuning seeds, and keep the mean score of each candidate and the winners.

    ``tune`` scores candidates as ``"arm/candidate"``, lower is better; one that was not finite on some seed cannot win.
    """
    out = _writable((options.out or catalog.output_folder()) / "tuning")
    with workers(options.jobs) as pool:
        for lesson in chosen:
            planned = _plan(lesson, options, alone=len(chosen) == 1)
            if planned is None:
                continue
            experiment, config, _ = planned
            if experiment.tune is None:
                raise UsageError(f"the lesson {lesson.name} has nothing to tune")
            seeds = experiment.tuning_seeds if options.seeds is None else options.seeds
            if set(seeds) & set(experiment.seeds):
                raise UsageError(f"settings are chosen on seeds that the verdict of {lesson.name} does not see")
            with _settings_blamed(options), records_of(experiment, config, "tune") as records:
                run = run_seeds(
                    experiment, config, seeds, records=records, function="tune", pool=pool, fresh=options.fresh
                )
            scores = Trials(config, {seed: record.measured for seed, record in run.items()})
            winners = _winners(scores)
            content = {
                "lesson": lesson.name,
                "config": as_dict(config),
                "data": _data_used(config),
                "environment": environment(getattr(config, "device", "cpu")),
                "seeds": list(seeds),
                "winners": winners,
                "scores": {name: values.tolist() for name, values in scores.items()},
            }
            print(f"{lesson.title} · tuning · {len(seeds)} seeds\n{report.table_of_measured(scores)}\n")
            for arm, winner in winners.items():
                print(f"{arm}: {winner}")
            same_seeds = list(seeds) == list(experiment.tuning_seeds)
            name = _stem(config, experiment, quick=options.quick, declared_seeds=same_seeds)
            if name == lesson.name and hasattr(config, "data"):
                name = f"{name}.{config.data}"
            print(f"\nscores  {report.where(write_whole(out / f'{name}.json', to_json(content)))}\n")


def _winners(scores: Mapping[str, Any]) -> dict[str, str]:
    """The candidate of each arm with the lowest mean score."""
    best: dict[str, tuple[float, str]] = {}
    for name, values in scores.items():
        arm, _, candidate = name.rpartition("/")
        mean = float(values.mean())
        if math.isfinite(mean) and (arm not in best or mean < best[arm][0]):
            best[arm] = mean, candidate
    return {arm: candidate for arm, (_, candidate) in best.items()}
