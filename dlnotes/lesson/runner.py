"""A run from the plan to the files: measure what is missing, judge, draw, print, and keep."""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from dlnotes.evidence import Finding, verdict_of_row
from dlnotes.files import remove_stale_parts, write_whole
from dlnotes.lesson import contents, report
from dlnotes.lesson.contents import Lesson, UsageError
from dlnotes.lesson.declared import declared_in
from dlnotes.lesson.experiment import TrialError, Trials, trials_from
from dlnotes.lesson.figures import figure_style, save_figure
from dlnotes.lesson.plans import Options, Plan, plan_of, plan_of_tuning
from dlnotes.lesson.records import Record, to_json
from dlnotes.lesson.seeds import environment, measure_one, run_seeds, workers
from dlnotes.lesson.settings import as_dict
from dlnotes.lesson.tuned import keep_tuned
from dlnotes.lesson.tuning import winners_of

__all__ = ["recheck", "run", "tune"]


def run(
    chosen: Sequence[Lesson], options: Options, *, cells: ModuleType | None = None, as_page: bool = False
) -> list[Path]:
    """Run lessons one after another, and return the figures that were written.

    Args:
        chosen: the lessons.
        options: what is asked for.
        cells: where a notebook has run cells that are not those of its lesson, the module that they ran in.
        as_page: leave the figures open, for the page or the notebook that this runs in.
    """
    out = _writable(options.out or contents.output_folder())
    figures = []
    _check_settings(chosen, options)
    with workers(options.jobs) as pool:
        plans = _plans(chosen, options, cells)
        if len(plans) > 1:
            print(report.announcement(plans, jobs=options.jobs, quick=options.quick, out=out), flush=True)
        for plan in plans:
            with _settings_blamed(options):
                measured = run_seeds(plan, pool=pool, fresh=options.fresh)
                if measured:
                    figures.append(_report(plan, measured, out, show=options.show, as_page=as_page))
    return figures


def _plans(chosen: Sequence[Lesson], options: Options, cells: ModuleType | None) -> list[Plan]:
    """A plan for each lesson and each data set that is asked for, but for what a lesson of several cannot do."""
    alone = len(chosen) == 1
    every = options.data == "all"
    own = replace(options, data=None) if every else options
    plans = list(filter(None, (plan_of(lesson, own, alone=alone, cells=cells) for lesson in chosen)))
    if not plans:
        raise UsageError(f"no lesson is left to run of {', '.join(one.name for one in chosen)}")
    with_data = [plan for plan in plans if hasattr(plan.config, "data")] if every else []
    if with_data:
        from dlnotes import data

        for name in data.available():
            there = replace(options, data=name)
            others = [plan.lesson for plan in with_data if plan.config.data != name]
            plans += filter(None, (plan_of(lesson, there, alone=False, cells=cells) for lesson in others))
    return plans


def _check_settings(chosen: Sequence[Lesson], options: Options) -> None:
    if options.settings and len(chosen) > 1:
        raise UsageError("--set changes the settings of one lesson: name one")
    if options.data and any(setting.startswith("data=") for setting in options.settings):
        raise UsageError("--data and --set data=… both name the data: give one of them")


@contextmanager
def _settings_blamed(options: Options) -> Iterator[None]:
    """Where settings were given, say that it is they that do not fit: what the lesson itself declares does."""
    try:
        yield
    except (TrialError, BrokenExecutor):
        raise
    except (ValueError, TypeError, LookupError, ZeroDivisionError, RuntimeError) as error:
        if options.settings:
            reason = " ".join([_first_line(error), *getattr(error, "__notes__", [])])
            raise UsageError(f"it cannot run with {' '.join(options.settings)}: {reason}") from error
        raise


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _report(plan: Plan, measured: Mapping[int, Record], out: Path, *, show: bool, as_page: bool) -> Path:
    """Judge and draw what was measured, keep both, print them, and return the figure's file."""
    trials = Trials(plan.config, {seed: record.measured for seed, record in measured.items()}, plan.tuned)
    findings = plan.experiment.findings(trials)
    _check_rows(plan.lesson, findings)
    results = _results(plan, measured, findings if plan.is_judged else [])
    with figure_style():
        figure = plan.experiment.figure(trials)
    drawn = save_figure(figure, out / f"{plan.stem}.svg", text=declared_in(plan.lesson.path).shown)
    kept = write_whole(out / f"{plan.stem}.json", to_json(results))

    print(report.describe(plan.lesson, results, own_answers=not plan.experiment.variant))
    print(f"What was measured:\n\n{report.table_of_measured(trials)}")
    if results["findings"]:
        print(f"\nHow sure the findings are:\n\n{report.table_of_tests(results['findings'])}")
    if plan.exploratory:
        print(f"\nexploratory: {plan.exploratory}")
    if plan.experiment.doubt:
        print("all seeds were measured here, and no record of them is kept")
    if not plan.lesson.rows:
        print("\nno row of dlnotes/notes.toml names this lesson, so that none has its verdict or answer:", end=" ")
        print(f"lesson = {plan.lesson.name!r}")
    print(f"\nfigure   {report.where(drawn)}\nresults  {report.where(kept)}\n", flush=True)
    _show_or_close(figure, show=show, as_page=as_page)
    return drawn


def _results(plan: Plan, measured: Mapping[int, Record], findings: Sequence[Finding]) -> dict[str, Any]:
    """What is kept of a run: nothing of the day or the machine's name, so that but for the seconds equal runs agree."""
    lesson = plan.lesson
    return {
        "schema": report.SCHEMA,
        "lesson": lesson.name,
        "title": lesson.title,
        "rows": list(lesson.rows),
        "code": plan.experiment.code,
        "judge": plan.experiment.judge,
        "config": as_dict(plan.config),
        "derived": _derived(plan.config),
        "tuned": dict(plan.tuned),
        "data": _data_used(plan.config),
        "environment": environment(getattr(plan.config, "device", "cpu")),
        "seconds": round(math.fsum(record.seconds for record in measured.values()), 1),
        "verdicts": _verdicts(lesson, findings),
        "findings": [finding.as_dict() for finding in findings],
        "seeds": {str(seed): record.measured for seed, record in measured.items()},
    }


def _derived(config: Any) -> dict[str, Any]:
    """What sentences may be filled in from besides the settings themselves: properties that are plain values."""
    names = [name for name, value in vars(type(config)).items() if isinstance(value, property)]
    found = {name: getattr(config, name) for name in names}
    return {name: value for name, value in found.items() if isinstance(value, bool | int | float | str)}


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
    rows = [note.row for note in contents.notes()]
    if unknown := sorted(found - set(rows)):
        raise UsageError(
            f"the lesson {lesson.name} has findings on {', '.join(unknown)}, which the notes do not have; their rows "
            f"go from {rows[0]} to {rows[-1]}"
        )
    if missing := sorted(set(lesson.rows) - {finding.row for finding in findings if finding.kind == "claim"}):
        raise UsageError(
            f"notes.toml gives the lesson {lesson.name} the row {', '.join(missing)}: it has no claim on it"
        )


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
    if any(folder.glob(".*.part")) or any(
        folder.glob("*/.*.part")
    ):  # asked first, since it looks through all folders below, which may be a home's
        remove_stale_parts(folder)
    return folder


# ----------------------------------------------------------------------------------------------------------------
# Choosing settings
# ----------------------------------------------------------------------------------------------------------------


def tune(chosen: Sequence[Lesson], options: Options) -> None:
    """Score each lesson's candidates on its tuning seeds, and keep the scores and the winners.

    What is written into the folder of the reference run becomes the settings of the package.
    """
    _check_settings(chosen, options)
    if options.data == "all":
        raise UsageError("settings are tuned for one data set at a time: --data NAME")
    out = _writable((options.out or contents.output_folder()) / "tuning")
    with workers(options.jobs) as pool:
        for lesson in chosen:
            plan = plan_of_tuning(lesson, options)
            with _settings_blamed(options):
                records = run_seeds(plan, "tune", pool=pool, fresh=options.fresh)
            if records:
                _keep_winners(plan, records, out)


def _ends(candidates: Sequence[str]) -> tuple[str, ...]:
    """The smallest and the largest of several candidates, as they are written."""
    return (min(candidates, key=float), max(candidates, key=float)) if len(candidates) > 2 else ()


def _keep_winners(plan: Plan, records: Mapping[int, Record], out: Path) -> None:
    lesson, data = plan.lesson, getattr(plan.config, "data", None)
    scores = Trials(plan.config, {seed: record.measured for seed, record in records.items()})
    winners = winners_of(scores, data)
    content = {
        "lesson": lesson.name,
        "config": as_dict(plan.config),
        "data": _data_used(plan.config),
        "environment": environment(getattr(plan.config, "device", "cpu")),
        "seeds": list(plan.seeds),
        "winners": winners,
        "scores": {name: values.tolist() for name, values in scores.items()},
    }
    print(f"{lesson.title} · tuning · {len(plan.seeds)} seeds\n{report.table_of_measured(scores)}\n")
    for arm, winner in winners.items():
        tried = [name.rpartition("/")[2] for name in scores if name.removeprefix(f"{data}/").rpartition("/")[0] == arm]
        print(f"{arm}: {winner}{' (at the edge: there may be better ones beyond)' if winner in _ends(tried) else ''}")
    written = write_whole(out / f"{plan.stem}.json", to_json(content))
    print(f"\nscores    {report.where(written)}")
    arms = {name.removeprefix(f"{data}/").rpartition("/")[0] for name in scores}
    if lost := sorted(arms - winners.keys()):
        raise UsageError(
            f"no candidate of {', '.join(lost)} had a finite score on all {len(plan.seeds)} seeds, so that none can be "
            "chosen: other candidates are needed"
        )
    if out == contents.results_folder() / "tuning" and plan.stem == ".".join(filter(None, [lesson.name, data])):
        kept = keep_tuned(lesson, data, {arm: float(winner) for arm, winner in winners.items()})
        print(f"settings  {report.where(kept)}")
    print()


# ----------------------------------------------------------------------------------------------------------------
# Measuring one seed again
# ----------------------------------------------------------------------------------------------------------------


def recheck(chosen: Sequence[Lesson]) -> int:
    """Measure one seed again of each lesson whose code is not that of its results, and say whether the bits are.

    Where they are, and today's judge finds in the results what was found, the results file keeps the checksums of
    today's code beside those of the code that measured it. No record is read or written.

    Returns:
        1 where some lesson gives anything else, or has no results; 0 otherwise.
    """
    found = [_recheck(lesson) for lesson in chosen]
    return int(not all(found))


def _recheck(lesson: Lesson) -> bool:
    folder = contents.results_folder()
    here = folder / f"{lesson.name}.json"
    others = sorted(path for path in folder.glob(f"*/{lesson.name}.json") if path.parent.name != "tuning")
    found = [_recheck_one(lesson, path) for path in (here, *others)]
    return all(found)


def _recheck_one(lesson: Lesson, path: Path) -> bool:
    from dlnotes.data import DataError

    name = lesson.name if path.parent == contents.results_folder() else f"{path.parent.name}/{lesson.name}"
    options = Options(data=path.parent.name if name != lesson.name else None)
    try:
        results, plan = report.read_results(path), plan_of(lesson, options, alone=True)
        changed = _changed_since(plan, results) if results and plan else f"no results in {report.where(path.parent)}"
    except DataError as error:
        current = results is not None and report.is_current(lesson, results)
        said = "by today's code" if current else "not by today's code, and it cannot be measured again"
        print(f"{name}: {said}: {_first_line(error)}")
        return current
    except UsageError as error:
        results, changed = None, str(error)
    if results is None or plan is None:
        print(f"{name}: {changed}")
        return False
    here = {"code": plan.experiment.code, "judge": plan.experiment.judge}
    if not changed and report.is_current(lesson, results):
        print(f"{name}: measured and judged by today's code, {here['code'][:12]}")
        return True
    both = ", ".join(f"{name} {results[name][:12]} then and {here[name][:12]} now" for name in here)
    if changed:
        print(f"{name}: {both}: {changed}: run it again")
        return False
    results["rechecked"] = {**here, "seed": plan.seeds[0]}
    write_whole(path, to_json(results))
    print(f"{name}: {both}: the same bits for seed {plan.seeds[0]}, and the same findings")
    return True


def _changed_since(plan: Plan, results: Mapping[str, Any]) -> str:
    """What today's code would give otherwise than the results have it, in words; empty if nothing.

    One seed is measured, unless today's code is the code that measured.
    """
    today = environment(getattr(plan.config, "device", "cpu"))
    here = {
        "config": as_dict(plan.config),
        "tuned": dict(plan.tuned),
        "data": _data_used(plan.config),
        # A package that the results do not name has come to the environment since, and was not asked for by them.
        "environment": {name: today.get(name) for name in results["environment"]},
    }
    if other := [name for name, value in here.items() if results[name] != value]:
        return f"numbers under another {' and '.join(other)}"
    if list(results["seeds"]) != [str(seed) for seed in plan.seeds]:
        return "numbers of other seeds"
    if plan.experiment.code != results["code"] and (names := _other_numbers(plan, results)):
        return f"other numbers for seed {plan.seeds[0]}: {', '.join(names[:3])}{' …' if len(names) > 3 else ''}"
    findings = plan.experiment.findings(trials_from(results, plan.experiment))
    judged = json.loads(to_json([finding.as_dict() for finding in findings]))
    if judged != results["findings"] or _verdicts(plan.lesson, findings) != results["verdicts"]:
        return "the same numbers, and other findings or verdicts"
    return ""


def _other_numbers(plan: Plan, results: Mapping[str, Any]) -> list[str]:
    """The names whose numbers are not to the bit those of the results, for the first seed."""
    seed = plan.seeds[0]
    now, before = measure_one(plan, seed), trials_from(results, plan.experiment)
    texts = {name: to_json(value) for name, value in now.items()}  # 0 and -0 are equal, and not the same bits
    were = {name: to_json(before[name][before.seeds.index(seed)].tolist()) for name in before}
    return sorted(name for name in texts.keys() | were.keys() if texts.get(name) != were.get(name))
