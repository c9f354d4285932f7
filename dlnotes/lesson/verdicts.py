"""The pages that are made from results: the README's table, an answer a line, and `results/VERDICTS.md`, all findings.

Standard library alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from dlnotes.lesson.answers import answers_of
from dlnotes.lesson.contents import CHECKOUT, TITLES, Lesson, Note, UsageError, lessons, notes
from dlnotes.lesson.declared import TEXTS_IN_WORDS, answer_filled_in, declared_in, in_words
from dlnotes.lesson.report import SAID, effect_in_words, is_current, on_other_data, read_results

__all__ = ["PAGE", "page_of_verdicts", "readme_with_table", "table_of_answers"]

PAGE = "VERDICTS.md"

_VERDICTS = ("supported", "conditional", "refuted", "inconclusive")
_STALE = "\\* measured before the code was last changed"
_BEGIN, _END = "<!-- answers: made by `python -m lessons report --write` -->", "<!-- end of answers -->"


# ----------------------------------------------------------------------------------------------------------------
# The README's table
# ----------------------------------------------------------------------------------------------------------------


def readme_with_table(readme: str, folder: Path) -> str:
    """The text of the README with its table of answers made anew from the results in a folder.

    Raises:
        UsageError: the two lines between which the table stands are missing.
    """
    before, begin, rest = readme.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise UsageError(f"README.md lacks the line {_BEGIN!r} or {_END!r}, between which the table stands")
    return f"{before}{_BEGIN}\n\n{table_of_answers(folder)}\n\n{_END}{after}"


def table_of_answers(folder: Path) -> str:
    """Each row that has a verdict: what it is about, the verdict and the answer; a Markdown table a chapter.

    Chapters fold, the first one open, so that the page stays a page.

    Args:
        folder: where the results of the reference run lie.
    """
    judged = list(_judged(folder))
    count, tally = len(judged), _tally(judged)
    lines = [
        f"Tested so far: {count} of the {len(notes())} statements ({tally or 'none'}). Click a chapter to open it."
    ]
    stale, opened = False, " open"
    for chapter, rows in groupby(judged, key=lambda one: one[0].chapter):
        of_chapter = list(rows)
        title = f"{of_chapter[0][0].row.partition('.')[0]} {TITLES[chapter]}"
        lines += ["", f"<details{opened}>", f"<summary><b>{title}</b>: {_tally(of_chapter)}</summary>", ""]
        opened = ""
        lines += ["| row | in short | verdict | answer | lesson |", "|---|---|---|---|---|"]
        for note, lesson, results in of_chapter:
            old = not _are_current(lesson, _runs(lesson, results, folder))
            stale |= old
            answer = answers_of(lesson, results, on_other_data(lesson, folder))[note.row]
            verdict = f"**{results['verdicts'][note.row]}**{' *' if old else ''}"
            link = f"[{lesson.name}](lessons/{lesson.chapter}/{lesson.name}.py)"
            row = f"[{note.row}](results/{PAGE}#{note.row})"
            lines.append(f"| {row} | {_escape(note.name)} | {verdict} | {_escape(answer.sentence)} | {link} |")
        lines += ["", "</details>"]
    return "\n".join([*lines, *(["", _STALE] if stale else [])])


_Judged = tuple[Note, Lesson, dict[str, Any]]


def _tally(judged: Sequence[_Judged]) -> str:
    """How many of the rows have each verdict: "9 supported, 24 conditional"."""
    verdicts = [results["verdicts"][note.row] for note, _, results in judged]
    return ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in _VERDICTS if verdict in verdicts)


def _judged(folder: Path) -> Iterator[_Judged]:
    """The rows that have a verdict, in the order of the notes, each with its lesson and its results."""
    by_name = {lesson.name: lesson for lesson in lessons()}
    for note in notes():
        lesson = by_name.get(note.lesson)
        results = read_results(folder / f"{note.lesson}.json") if lesson else None
        if lesson and results and note.row in results["verdicts"]:
            yield note, lesson, results


def _escape(text: str) -> str:
    """A sentence that may stand in a cell of a Markdown table."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")


# ----------------------------------------------------------------------------------------------------------------
# All findings
# ----------------------------------------------------------------------------------------------------------------


_INTRODUCTION = """\
# What was found

Every statement of the notes that was tested: the verdict, the answer, and each prediction with what came of it, on the
letters that the project draws or the documentation of Python, and on each real data set that was there. `make results`
makes this page; words are explained in the [glossary](../GLOSSARY.md). An effect stands with its 98 % interval over the
seeds.

✓ a claim of the notes held · ✗ it did not · ? undecided · ◆ a limit: they fail there, as predicted · ◇ they were
predicted to fail there, and did not · ◈ undecided
"""


def page_of_verdicts(folder: Path) -> str:
    """All findings of each row that has a verdict, with a column for each data set, as Markdown.

    Args:
        folder: where the results of the reference run lie, and in it those on other data sets.
    """
    lines = [_INTRODUCTION]
    chapter = ""
    for note, lesson, results in _judged(folder):
        if note.chapter != chapter:
            chapter = note.chapter
            lines += [f"## Chapter {note.row.partition('.')[0]}: {TITLES[chapter]}", ""]
        lines += _row(note, lesson, results, folder)
    return "\n".join(lines)


def _row(note: Note, lesson: Lesson, results: dict[str, Any], folder: Path) -> list[str]:
    runs = _runs(lesson, results, folder)
    verdicts = {name: f"**{one['verdicts'][note.row]}**" for name, one in runs.items() if note.row in one["verdicts"]}
    old = "" if _are_current(lesson, runs) else " \\*"
    said = " · ".join(f"{verdict} on {name}" if name else verdict for name, verdict in verdicts.items())
    answer = answers_of(lesson, results, on_other_data(lesson, folder))[note.row]
    return [
        f'<a id="{note.row}"></a>',
        "",
        f"### {note.row} {note.name}",
        "",
        f"*The notes:* {_escape(note.statement)}",
        "",
        f"{said}{old}. {_escape(answer.sentence)}",
        "",
        *_table(note, lesson, runs),
        "",
        _links(note, lesson),
        *(["", _STALE] if old else []),
        "",
    ]


def _name_of_data(results: Mapping[str, Any]) -> str:
    return in_words(results["data"]["name"]) if results["data"] else ""


def _runs(lesson: Lesson, results: dict[str, Any], folder: Path) -> dict[str, dict[str, Any]]:
    """The lesson's results and those of its runs on other data sets, by the data's name in words."""
    paths = sorted(path for path in folder.glob(f"*/{lesson.name}.json") if path.parent.name != "tuning")
    found = [results, *(other for path in paths if (other := read_results(path)))]
    return {_name_of_data(one): one for one in found}


def _are_current(lesson: Lesson, runs: Mapping[str, dict[str, Any]]) -> bool:
    return all(is_current(lesson, one) for one in runs.values())


def _table(note: Note, lesson: Lesson, runs: Mapping[str, dict[str, Any]]) -> list[str]:
    """A line for each prediction of the row, with what came of it in each run."""
    first = next(iter(runs.values()))
    sentences = _sentences(lesson, first)
    findings = [{one["name"]: one for one in run["findings"]} for run in runs.values()]
    lines = [f"| predicted | {' | '.join(name or 'found' for name in runs)} |", f"|---|{'---|' * len(runs)}"]
    for name, one in findings[0].items():
        if one["row"] == note.row:
            reading = f"*{_escape(one['reading'])}:* " if one["reading"] else ""
            cells = [_cell(of_run.get(name)) for of_run in findings]
            lines.append(f"| {reading}{_escape(sentences.get(name, one['statement']))} | {' | '.join(cells)} |")
    return lines


def _sentences(lesson: Lesson, results: Mapping[str, Any]) -> dict[str, str]:
    """The predictions filled in from the settings, and about "images" or "text" where they would name one data set."""
    if not results["data"]:
        return {}
    kind = "text" if results["data"]["name"] in TEXTS_IN_WORDS else "images"
    settings = {**results["config"], **results.get("derived", {}), "data": kind}
    return {
        one.name: answer_filled_in(one.sentence, {}, settings)
        for one in declared_in(lesson.path).predictions
        if one.name and one.sentence
    }


def _cell(finding: Mapping[str, Any] | None) -> str:
    if finding is None:
        return "–"
    mark, words = SAID[finding["kind"], finding["verdict"]]
    return f"{mark} {words}: {_escape(effect_in_words(finding))}"


def _links(note: Note, lesson: Lesson) -> str:
    """Where the row's pieces of the library, its tests and its lesson are."""
    pieces = [f"[{name}]({_to_file(_module_of(name))})" for name in note.library]
    files = dict.fromkeys(test.partition("::")[0] for test in note.tests)
    tests = [f"[{Path(file).name}](../{file})" for file in files]
    own = f"[{lesson.name}](../lessons/{lesson.chapter}/{lesson.name}.py)"
    return " · ".join([f"lesson {own}", *_listed("library", pieces), *_listed("tests", tests)])


def _listed(what: str, links: Sequence[str]) -> list[str]:
    return [f"{what} {', '.join(links)}"] if links else []


def _to_file(module: Path) -> str:
    return f"../{module.relative_to(CHECKOUT).as_posix()}"


def _module_of(name: str) -> Path:
    """The file in which a dotted name of the library is defined."""
    package, _, piece = name.rpartition(".")
    folder = CHECKOUT.joinpath(*package.split("."))
    if folder.with_suffix(".py").is_file():
        return folder.with_suffix(".py")
    defined = (f"def {piece}(", f"class {piece}(", f"class {piece}:")
    files = sorted(folder.glob("*.py")) if folder.is_dir() else []
    return next((file for file in files if any(f"\n{one}" in file.read_text("utf-8") for one in defined)), folder)
