"""The pages made from results: the README's tables, `ANSWERS.md` (an answer a line), `results/VERDICTS.md` (findings).

Standard library alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from dlnotes.lesson.answers import answers_of
from dlnotes.lesson.contents import CHECKOUT, TITLES, Lesson, Note, UsageError, lessons, notes
from dlnotes.lesson.declared import TEXTS_IN_WORDS, answer_filled_in, declared_in, in_words
from dlnotes.lesson.report import SAID, effect_in_words, is_current, on_other_data, read_results

__all__ = ["ANSWERS", "PAGE", "page_of_answers", "page_of_verdicts", "readme_with_table", "table_of_answers"]

ANSWERS, PAGE = "ANSWERS.md", "VERDICTS.md"

_VERDICTS = ("supported", "conditional", "refuted", "inconclusive")
_STALE = "\\* measured before the code was last changed"
_HEAD = ("| row | in short | verdict | answer | lesson |", "|---|---|---|---|---|")
_BEGIN, _END = "<!-- answers: made by `python -m lessons report --write` -->", "<!-- end of answers -->"


# ----------------------------------------------------------------------------------------------------------------
# The README's tables, and the page of answers
# ----------------------------------------------------------------------------------------------------------------


def readme_with_table(readme: str, folder: Path) -> str:
    """The text of the README with its tables made anew from the results in a folder: chapters, and what was refuted.

    Raises:
        UsageError: the two lines between which the table stands are missing.
    """
    before, begin, rest = readme.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise UsageError(f"README.md lacks the line {_BEGIN!r} or {_END!r}, between which the table stands")
    judged = list(_judged(folder))
    lines = [
        f"Tested so far: {len(judged)} of the {len(notes())} statements. [{ANSWERS}]({ANSWERS}) has an answer to each.",
        "",
        f"| chapter | {' | '.join(_VERDICTS)} |",
        f"|---|{'---|' * len(_VERDICTS)}",
    ]
    for title, rows in _by_chapter(judged):
        lines.append(f"| {title} | {' | '.join(map(str, _counts(rows)))} |")
    refuted = [one for one in judged if one.verdict == "refuted"]
    if refuted:
        lines += ["", "Refuted:", "", *_HEAD, *(_line(one, folder) for one in refuted)]
    return "\n".join([f"{before}{_BEGIN}", "", *lines, *_remark(refuted), "", f"{_END}{after}"])


_ABOVE_ANSWERS = """\
# The answers

*Conditional* means that a statement holds, but not everywhere: the answer says where. Steps are counted to a fixed
loss. A *nat* is the unit of the loss: guessing among ten classes costs 2.3. A *point* is 1 % of accuracy. The number of
a row leads to all its findings, with intervals, on further data, and with links to library and tests. Predictions,
margins and seeds were fixed before the run that counts: [how a verdict is made](GLOSSARY.md#how-a-verdict-is-made).
"""


def page_of_answers(folder: Path) -> str:
    """Each row that has a verdict with its answer, as a page of Markdown.

    Args:
        folder: where the results of the reference run lie.
    """
    return f"{_ABOVE_ANSWERS}\n{table_of_answers(folder)}\n"


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
    opened = " open"
    for title, rows in _by_chapter(judged):
        lines += ["", f"<details{opened}>", f"<summary><b>{title}</b>: {_tally(rows)}</summary>", "", *_HEAD]
        lines += [*(_line(one, folder) for one in rows), "", "</details>"]
        opened = ""
    return "\n".join([*lines, *_remark(judged)])


class _Judged(NamedTuple):
    """A row that has a verdict: its lesson, and the lesson's runs by the data's name in words, the default's first."""

    note: Note
    lesson: Lesson
    runs: dict[str, dict[str, Any]]
    is_old: bool

    @property
    def results(self) -> dict[str, Any]:
        """On the default data."""
        return next(iter(self.runs.values()))

    @property
    def verdict(self) -> str:
        """On the default data."""
        return str(self.results["verdicts"][self.note.row])


def _line(judged: _Judged, folder: Path) -> str:
    """The line of a row: its number, what it is about, the verdict, the answer, the lesson."""
    note, lesson = judged.note, judged.lesson
    answer = answers_of(lesson, judged.results, on_other_data(lesson, folder))[note.row]
    verdict = f"**{judged.verdict}**{' *' if judged.is_old else ''}"
    link = f"[{lesson.name}](lessons/{lesson.chapter}/{lesson.name}.py)"
    row = f"[{note.row}](results/{PAGE}#{note.row})"
    return f"| {row} | {_escape(note.name)} | {verdict} | {_escape(answer.sentence)} | {link} |"


def _remark(judged: Sequence[_Judged]) -> list[str]:
    """What the star means, where there is one."""
    return ["", _STALE] if any(one.is_old for one in judged) else []


def _by_chapter(judged: Sequence[_Judged]) -> Iterator[tuple[str, list[_Judged]]]:
    """The rows of each chapter, by its number and title."""
    for chapter, rows in groupby(judged, key=lambda one: one.note.chapter):
        of_chapter = list(rows)
        yield f"{of_chapter[0].note.row.partition('.')[0]} {TITLES[chapter]}", of_chapter


def _counts(judged: Sequence[_Judged]) -> list[int]:
    """How many of the rows have each verdict."""
    verdicts = [one.verdict for one in judged]
    return [verdicts.count(verdict) for verdict in _VERDICTS]


def _tally(judged: Sequence[_Judged]) -> str:
    """The same in words, without those that no row has: "9 supported, 24 conditional"."""
    return ", ".join(f"{count} {verdict}" for count, verdict in zip(_counts(judged), _VERDICTS, strict=True) if count)


def _judged(folder: Path) -> Iterator[_Judged]:
    """The rows that have a verdict, in the order of the notes."""
    of_lessons = {}
    for lesson in lessons():
        if results := read_results(folder / f"{lesson.name}.json"):
            runs = _runs(lesson, results, folder)
            of_lessons[lesson.name] = lesson, runs, not is_current(lesson, *runs.values())
    for note in notes():
        if note.lesson in of_lessons:
            judged = _Judged(note, *of_lessons[note.lesson])
            if note.row in judged.results["verdicts"]:
                yield judged


def _escape(text: str) -> str:
    """A sentence that may stand in a cell of a Markdown table."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")


# ----------------------------------------------------------------------------------------------------------------
# All findings
# ----------------------------------------------------------------------------------------------------------------


_INTRODUCTION = """\
# What was found

Every statement of the notes that was tested: the verdict, the answer, and each prediction with what came of it, on the
letters that the project draws, the words that it plants or the documentation of Python, and on each real data set that
was there. `make results` makes this page; words are explained in the [glossary](../GLOSSARY.md). An effect stands with
its 98 % interval over the seeds.

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
    for one in _judged(folder):
        if one.note.chapter != chapter:
            chapter = one.note.chapter
            lines += [f"## Chapter {one.note.row.partition('.')[0]}: {TITLES[chapter]}", ""]
        lines += _row(one, folder)
    return "\n".join(lines)


def _row(judged: _Judged, folder: Path) -> list[str]:
    note, lesson, runs, is_old = judged
    verdicts = {name: f"**{one['verdicts'][note.row]}**" for name, one in runs.items() if note.row in one["verdicts"]}
    old = " \\*" if is_old else ""
    said = " · ".join(f"{verdict} on {name}" if name else verdict for name, verdict in verdicts.items())
    answer = answers_of(lesson, judged.results, on_other_data(lesson, folder))[note.row]
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
        *(["", _STALE] if is_old else []),
        "",
    ]


def _name_of_data(results: Mapping[str, Any]) -> str:
    return in_words(results["data"]["name"]) if results["data"] else ""


def _runs(lesson: Lesson, results: dict[str, Any], folder: Path) -> dict[str, dict[str, Any]]:
    """The lesson's results and those of its runs on other data sets, by the data's name in words."""
    paths = sorted(path for path in folder.glob(f"*/{lesson.name}.json") if path.parent.name != "tuning")
    found = [results, *(other for path in paths if (other := read_results(path)))]
    return {_name_of_data(one): one for one in found}


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
