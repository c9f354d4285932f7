"""What a run leaves behind: a results file, lines for a terminal, and the tables that are made from results."""

import json
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dlnotes.lesson.answers import answers_of
from dlnotes.lesson.contents import CHECKOUT, Lesson, UsageError, lessons, notes, results_folder
from dlnotes.lesson.declared import declared_in
from dlnotes.lesson.sources import checksum_of_code, checksum_of_judge
from dlnotes.lesson.tuned import kept_for
from dlnotes.places import PACKAGE

__all__ = [
    "describe",
    "help_of",
    "is_current",
    "read_results",
    "readme_with_table",
    "summary",
    "table_of_measured",
    "table_of_verdicts",
]

SCHEMA = 2

# A claim and a limit have marks of their own: that a limit was shown is no point for the notes.
_SAID = {
    ("claim", "supported"): ("✓", "held"),
    ("claim", "refuted"): ("✗", "did not hold"),
    ("claim", "inconclusive"): ("?", "undecided"),
    ("limit", "supported"): ("◆", "where it fails, as predicted"),
    ("limit", "refuted"): ("◇", "predicted to fail here, and did not"),
    ("limit", "inconclusive"): ("◈", "predicted to fail here: undecided"),
}
_WIDTH = 110  # of what is printed


# ----------------------------------------------------------------------------------------------------------------
# On a terminal
# ----------------------------------------------------------------------------------------------------------------


def table_of_measured(trials: Mapping[str, Any]) -> str:
    """The numbers of all seeds as a table: mean, lowest, highest. Curves are left to the figure."""
    rows = [["measured", "mean", "lowest", "highest"]]
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
        return "\n".join([*lines, "", f"{len(results['seeds'])} seeds: too few for a verdict", ""])
    for row, answer in answers_of(lesson, results, _on_other_data(lesson), own=own_answers).items():
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
    lines += ["", "✓ ✗ ? a claim of the notes · ◆ ◇ ◈ a limit: where it is predicted to fail"]
    lines += [
        "[ ] 98 % interval · margin: the smallest effect that matters · p: how likely chance alone is as clear",
        "",
    ]
    return "\n".join(lines)


def _on_other_data(lesson: Lesson) -> Callable[[str], dict[str, Any] | None]:
    """By the name of a data set, the committed results of the lesson on it."""
    return lambda data: read_results(results_folder() / data / f"{lesson.name}.json")


def _finding_in_lines(finding: Mapping[str, Any]) -> list[str]:
    mark, said = _SAID[finding["kind"], finding["verdict"]]
    lines = _wrapped(finding["statement"], f"  {mark} {said}: ", rest=4)
    lines += _wrapped(effect_in_words(finding), "      ")
    return lines + (_wrapped(finding["because"], "      expected: ") if finding["because"] else [])


def _heading(results: Mapping[str, Any]) -> str:
    words = [results["title"], f"{len(results['seeds'])} seeds", f"{results['seconds']:.0f} s of one core"]
    if results["data"]:
        words.insert(1, results["data"]["name"])
    line = " · ".join(words)
    return f"{line}\n{'─' * len(line)}"


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
        mark, name = {"claim": "▸", "limit": "◇"}[one.kind], one.name or ""
        lines += _wrapped(filled_in.get(name, one.sentence or ""), f"  {mark} {one.row} {name}: ", rest=4)
    lines += ["  ▸ a claim of the notes · ◇ a limit: where it is predicted to fail", ""]
    return "\n".join([*lines, "settings (--set NAME=VALUE):", *(f"  {one}" for one in declared.settings)])


def effect_in_words(finding: Mapping[str, Any]) -> str:
    """The effect of a finding with its interval, its margin and its seeds."""
    effect, margin = finding["effect"], finding["margin"]
    if effect is None:
        return "not judged: a number is not finite"
    if finding["unit"] == "error":
        return f"largest error {effect:.2g} over {len(finding['seeds'])} seeds, tolerance {margin:g}"
    low, high = finding["interval"]
    times = " times" if finding["unit"] == "ratio" else ""
    words = f"{_of(finding)}{_number(effect)}{times} [{_number(low)}, {_number(high)}], margin {_number(margin)}"
    refuted = finding["verdict"] == "refuted"
    words += f", p against it {finding['p_against']:.2g}" if refuted else f", p {finding['p']:.2g}"
    seeds = finding["seeds"]
    return f"{words}, {len(seeds)} seeds from {_number(min(seeds))} to {_number(max(seeds))}" if seeds else words


def _of(finding: Mapping[str, Any]) -> str:
    return f"{finding['of']}: " if finding.get("of") else ""


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


def is_current(lesson: Lesson, results: Mapping[str, Any]) -> bool:
    """Whether results were measured and judged by the code as it is now, or by one that was found to give the same."""
    here = {"code": checksum_of_code(lesson.path, PACKAGE), "judge": checksum_of_judge(lesson.path, PACKAGE)}
    known = results, results.get("rechecked", {})
    data = (results["data"] or {}).get("name")
    tuned_alike = not results["tuned"] or results["tuned"] == kept_for(lesson.name, data)
    return tuned_alike and any(all(one.get(name) == checksum for name, checksum in here.items()) for one in known)


def summary(folders: Iterable[Path]) -> str:
    """The lessons with their rows, the time that they took and their last verdicts, for ``python -m lessons``.

    Args:
        folders: where results are looked for; those of the first count that has current ones, or else any.
    """
    rows = [("lesson", "chapter", "time", "rows and last verdict")]
    stale = False
    folders = list(folders)
    for lesson in lessons():
        found = [one for folder in folders if (one := _readable(folder / f"{lesson.name}.json"))]
        current = [one for one in found if is_current(lesson, one)]
        results = next(iter(current or found), None)
        verdicts = results["verdicts"] if results else {}
        old = bool(found) and not current
        stale |= old
        words = ", ".join(f"{row} {verdicts.get(row, '')}".strip() for row in lesson.rows)
        seconds = f"{results['seconds']:.0f} s" if results else "–"
        rows.append((lesson.name, lesson.chapter, seconds, words + (" *" if old else "")))
    lines = [_aligned(rows, to_the_left=4)]
    if stale:
        lines.append("* measured before the code was last changed")
    return "\n".join(lines)


def table_of_verdicts(folder: Path) -> str:
    """The verdicts of all rows that have one, as a Markdown table.

    Args:
        folder: where the results of the reference run lie.
    """
    lines = ["| row | the notes say | verdict | what was found | lesson |", "|---|---|---|---|---|"]
    stale = False
    for note in notes():
        lesson = next((one for one in lessons() if one.name == note.lesson), None)
        results = read_results(folder / f"{note.lesson}.json") if lesson else None
        if lesson is None or results is None or note.row not in results["verdicts"]:
            continue
        old = not is_current(lesson, results)
        stale |= old
        found = [
            f"{' '.join(_SAID[finding['kind'], finding['verdict']])}: {_escape(finding['statement'])} "
            f"({_short(finding)})"
            for finding in results["findings"]
            if finding["row"] == note.row
        ]
        answer = answers_of(lesson, results, _on_other_data(lesson))[note.row]
        said = "<br>".join([f"**{_escape(answer.sentence)}**"] * answer.is_own + found)
        link = f"[{lesson.name}](lessons/{lesson.chapter}/{lesson.name}.py)"
        verdict = f"**{results['verdicts'][note.row]}**{' *' if old else ''}"
        lines.append(f"| {note.row} | {_escape(note.statement)} | {verdict} | {said} | {link} |")
    if stale:
        lines += ["", "\\* measured before the code was last changed"]
    return "\n".join(lines)


def _short(finding: Mapping[str, Any]) -> str:
    if finding["effect"] is None:
        return "not judged"
    if finding["unit"] == "error":
        return f"error ≤ {finding['effect']:.1g}"
    times = "×" if finding["unit"] == "ratio" else ""
    low, high = finding["interval"]
    return f"{_escape(_of(finding))}{times}{_number(finding['effect'])} [{_number(low)}, {_number(high)}]"


def _escape(text: str) -> str:
    """A sentence that may stand in a cell of a Markdown table."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")


_BEGIN, _END = "<!-- verdicts: made by `python -m lessons report` -->", "<!-- end of verdicts -->"


def readme_with_table(readme: str, folder: Path) -> str:
    """The text of the README with its table of verdicts made anew from the results in a folder.

    Raises:
        UsageError: the two lines between which the table stands are missing.
    """
    before, begin, rest = readme.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise UsageError(f"README.md lacks the line {_BEGIN!r} or {_END!r}, between which the table stands")
    return f"{before}{_BEGIN}\n\n{table_of_verdicts(folder)}\n\n{_END}{after}"


def where(path: Path) -> str:
    """A path as short as it can be said: from here, where that is below here."""
    for base in (Path.cwd(), CHECKOUT):
        if path.is_relative_to(base):
            return str(path.relative_to(base)) if base == Path.cwd() else str(path)
    return str(path)
