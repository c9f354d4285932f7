"""What a reader sees on a terminal: the list of lessons, what a run found, and the help of a lesson."""

import json
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dlnotes.lesson.answers import answers_of
from dlnotes.lesson.contents import CHECKOUT, TITLES, Lesson, UsageError, lessons, notes, results_folder
from dlnotes.lesson.declared import declared_in
from dlnotes.lesson.sources import checksum_of_code, checksum_of_judge
from dlnotes.lesson.tuned import kept_for
from dlnotes.places import PACKAGE

__all__ = [
    "announcement",
    "describe",
    "effect_in_words",
    "help_of",
    "is_current",
    "on_other_data",
    "read_results",
    "summary",
    "table_of_measured",
    "table_of_tests",
    "where",
]

SCHEMA = 2

# A claim and a limit have marks of their own: that a limit was shown is no point for the notes.
SAID = {
    ("claim", "supported"): ("✓", "held"),
    ("claim", "refuted"): ("✗", "did not hold"),
    ("claim", "inconclusive"): ("?", "undecided"),
    ("limit", "supported"): ("◆", "fails here, as predicted"),
    ("limit", "refuted"): ("◇", "predicted to fail here, and did not"),
    ("limit", "inconclusive"): ("◈", "predicted to fail here: undecided"),
}
_WIDTH = 110  # of what is printed


# ----------------------------------------------------------------------------------------------------------------
# On a terminal
# ----------------------------------------------------------------------------------------------------------------


def table_of_measured(trials: Mapping[str, Any]) -> str:
    """The numbers of all seeds as a table: mean, lowest, highest. Curves are left to the figure."""
    rows = [["", "mean", "lowest", "highest"]]
    for name, values in trials.items():
        if values.ndim == 1:
            rows.append([name, *(_number(float(one)) for one in (values.mean(), values.min(), values.max()))])
    legend = "\n– : not reached, or not finite, on some seed" if any("–" in row[1:] for row in rows) else ""
    return _aligned(rows) + legend


def describe(lesson: Lesson, results: Mapping[str, Any], *, own_answers: bool = True) -> str:
    """A run in the order of a reader: the answers, what was predicted and found, and what the notes say.

    Args:
        lesson: the lesson.
        results: what the run left behind.
        own_answers: whether the answers in the lesson's file are about what ran.
    """
    lines = [_heading(results)]
    if not results["findings"]:
        few = f"{_seeds(results)}: too few for a verdict, and nothing is concluded from these numbers."
        return "\n".join([*lines, "", few, ""])
    for row, answer in answers_of(lesson, results, on_other_data(lesson), own=own_answers).items():
        lines += ["", *_wrapped(answer.sentence, f"  {row}  {results['verdicts'][row].upper():<12}  ")]
    lines += ["", "What was predicted, and found:"]
    statements = {note.row: note.statement for note in notes()}
    for row in dict.fromkeys(finding["row"] for finding in results["findings"]):
        verdict = "" if row in results["verdicts"] else " (without a verdict of this lesson)"
        lines += ["", *_wrapped(f"{statements[row]}{verdict}", f"  {row}  The notes: ")]
        those = [one for one in results["findings"] if one["row"] == row]
        for reading in dict.fromkeys(one["reading"] for one in those):
            lines += [f"  Read as: {reading}"] if reading else []
            lines += [line for one in those if one["reading"] == reading for line in _finding_in_lines(one)]
    return "\n".join([*lines, "", "✓ ✗ ? a claim of the notes · ◆ ◇ ◈ a limit: where it is predicted to fail", ""])


def table_of_tests(findings: Sequence[Mapping[str, Any]]) -> str:
    """The statistics behind each finding: its margin, the p-values on both sides of it, and the seeds' extremes."""
    rows = [["", "effect", "margin", "p", "p against", "lowest seed", "highest seed"]]
    for one in findings:
        judged = one["seeds"] and None not in one["seeds"]
        ends = [_number(end(one["seeds"])) for end in (min, max)] if judged else ["–", "–"]
        numbers = [_number(one["effect"]), _number(one["margin"]), *(_p(one[p]) for p in ("p", "p_against"))]
        rows.append([f"{one['row']} {one['name']}", *numbers, *ends])
    legend = "p: the chance of an effect as clear if the true one were the margin; p against: of one as clear below it"
    return f"{_aligned(rows)}\n\n{legend}\nsupported: p ≤ 0.01 · refuted: p against ≤ 0.01 · inconclusive: neither"


def _p(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"


def on_other_data(lesson: Lesson, folder: Path | None = None) -> Callable[[str], dict[str, Any] | None]:
    """By the name of a data set, the results of the lesson's reference run on it."""
    return lambda data: read_results((folder or results_folder()) / data / f"{lesson.name}.json")


def _finding_in_lines(finding: Mapping[str, Any]) -> list[str]:
    mark, said = SAID[finding["kind"], finding["verdict"]]
    lines = _wrapped(finding["statement"], f"  {mark} {said}: ", rest=4)
    lines += _wrapped(effect_in_words(finding), "      ")
    return lines + (_wrapped(finding["because"], "      expected: ") if finding["because"] else [])


def _heading(results: Mapping[str, Any]) -> str:
    words = [results["title"], _seeds(results), f"{results['seconds']:.0f} s of one core"]
    if results["data"]:
        words.insert(1, results["data"]["name"])
    line = " · ".join(words)
    return f"{line}\n{'─' * len(line)}"


def _seeds(results: Mapping[str, Any]) -> str:
    return f"{len(results['seeds'])} seed{'s' if len(results['seeds']) > 1 else ''}"


def _wrapped(text: str, first: str, rest: int | None = None) -> list[str]:
    """Lines of a text behind its first words; those that follow are indented as far, or by `rest`."""
    indent = " " * (len(first) if rest is None else rest)
    return textwrap.wrap(text, _WIDTH, initial_indent=first, subsequent_indent=indent, break_long_words=False)


def help_of(lesson: Lesson, folder: Path) -> str:
    """What a lesson predicts, filled in from the results in a folder where there are current ones, and its settings."""
    declared = declared_in(lesson.path)
    results = read_results(folder / f"{lesson.name}.json")
    known = results is not None and is_current(lesson, results)
    filled_in = {finding["name"]: finding["statement"] for finding in results["findings"]} if results and known else {}
    lines = ["predictions:"]
    for one in declared.predictions:
        mark, name = {"claim": "▸", "limit": "▹"}[one.kind], one.name or ""
        lines += _wrapped(filled_in.get(name, one.sentence or ""), f"  {mark} {one.row} {name}: ", rest=4)
    lines += ["  ▸ a claim of the notes · ▹ a limit: where it is predicted to fail", ""]
    return "\n".join([*lines, "settings (--set NAME=VALUE):", *(f"  {one}" for one in declared.settings)])


def effect_in_words(finding: Mapping[str, Any]) -> str:
    """The effect of a finding with its 98 % interval: "share left: 0.12 [0.1, 0.14]", or "6.5 times [5.6, 7.6]"."""
    effect = finding["effect"]
    if effect is None:
        return "not judged: a number is not finite"
    if finding["unit"] == "error":
        return f"largest error {effect:.2g}, tolerance {finding['margin']:g}"
    low, high = (_in_three_digits(end) for end in finding["interval"])
    times = " times" if finding["unit"] == "ratio" else ""
    what = f"{finding['of']}: " if finding.get("of") else ""
    return f"{what}{_in_three_digits(effect)}{times} [{low}, {high}]"


def _in_three_digits(value: float | None) -> str:
    """A number as a reader takes it in: three digits, and of a large one all before the point."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value) or abs(value) >= 1e6 or 0 < abs(value) < 0.001:
        return f"{value:.2g}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _number(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "–"
    if value == 0 or 0.001 <= abs(value) < 10_000:
        return f"{value:.4g}"
    return f"{value:.3g}"


def _aligned(rows: Sequence[Sequence[str]], *, to_the_left: int = 1) -> str:
    """Rows of words in columns, the first few of them to the left and the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            word.ljust(width) if column < to_the_left else word.rjust(width)
            for column, (word, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


# ----------------------------------------------------------------------------------------------------------------
# From results files
# ----------------------------------------------------------------------------------------------------------------


def read_results(path: Path) -> dict[str, Any] | None:
    """A results file; None where there is none.

    Raises:
        UsageError: it cannot be read as one.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not a results file ({error}): remove it, and run the lesson again") from error
    if content.get("schema") != SCHEMA:
        raise UsageError(f"{path} is of another version: remove it, and run the lesson again")
    return content


def _readable(path: Path) -> dict[str, Any] | None:
    """A results file, or None where there is none that this version can read: a list is no place to fail for it."""
    try:
        return read_results(path)
    except UsageError:
        return None


def is_current(lesson: Lesson, *runs: Mapping[str, Any]) -> bool:
    """Whether results were measured and judged by the code as it is now, or by one that was found to give the same.

    Args:
        lesson: the lesson that they are of.
        runs: its results, on one data set or on several; all of them have to be.
    """
    here = {"code": checksum_of_code(lesson.path, PACKAGE), "judge": checksum_of_judge(lesson.path, PACKAGE)}
    return all(
        (not results["tuned"] or results["tuned"] == kept_for(lesson.name, (results["data"] or {}).get("name")))
        and any(here.items() <= one.items() for one in (results, results.get("rechecked", {})))
        for results in runs
    )


def announcement(plans: Sequence[Any], *, jobs: int, quick: bool, out: Path) -> str:
    """What a run of several lessons is about to do, and how long that may take."""
    count = f"{len(plans)} runs of lessons"
    if quick:
        return f"{count}, small and in seconds each: they conclude nothing. Files go to {where(out)}.\n"
    kept = [_last_time(plan) for plan in plans]
    seconds = sum(filter(None, kept))
    took = f"about {_minutes(seconds / jobs)} with {jobs} {'process' if jobs == 1 else 'processes'} (see --jobs)"
    if not all(kept):
        took = f"{took}, and {kept.count(None)} of them nobody knows how long" if seconds else "nobody knows how long"
    return (
        f"{count}: {took}. Seeds that were measured before are not measured again.\n"
        f"Ctrl-C is safe: the same command goes on from there. Files go to {where(out)}.\n"
    )


def _last_time(plan: Any) -> float | None:
    """The seconds that a plan's seeds took in the reference run, or in that on letters; None if nobody knows."""
    folder, name = results_folder(), plan.lesson.name
    results = _readable((folder / plan.stem).parent / f"{name}.json") or _readable(folder / f"{name}.json")
    return results["seconds"] / len(results["seeds"]) * len(plan.seeds) if results else None


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 1 else "under 1 s"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"


def summary(folders: Iterable[Path]) -> str:
    """The lessons by chapter, each with its question, its time and its last verdicts, for ``python -m lessons``.

    Args:
        folders: where results are looked for; those of the first count that has current ones, or else any.
    """
    lines, stale, folders = [], False, list(folders)
    for number, (chapter, title) in enumerate(TITLES.items(), 1):
        those = [one for one in lessons() if one.chapter == chapter]
        lines += [f"{number}  {title} ({chapter})", ""]
        for lesson in those:
            found = [one for folder in folders if (one := _readable(folder / f"{lesson.name}.json"))]
            current = [one for one in found if is_current(lesson, one)]
            results = next(iter(current or found), None)
            old = bool(found) and not current
            stale |= old
            lines += [f"   {lesson.title}", f"      {_last_run(lesson, results)}{' *' if old else ''}"]
        lines.append("")
    if stale:
        lines += ["", "* measured before the code was last changed"]
    return "\n".join(lines).rstrip()


def _last_run(lesson: Lesson, results: Mapping[str, Any] | None) -> str:
    verdicts = results["verdicts"] if results else {}
    words = [f"{row} {verdicts.get(row, 'not run')}" for row in lesson.rows]
    took = [_seconds(results["seconds"])] if results else []
    return " · ".join([lesson.name, *took, *words])


def where(path: Path) -> str:
    """A path as short as it can be said: from here, where that is below here."""
    for base in (Path.cwd(), CHECKOUT):
        if path.is_relative_to(base):
            return str(path.relative_to(base)) if base == Path.cwd() else str(path)
    return str(path)
