"""What no longer agrees with the code: planted bugs, tests that are named, predictions, results, pages made of them.

`make check` runs it, as `python -m tests.stale`: a line for each, which says what mends it, and exit code 1 where there
is one. The standard library alone, and nothing is run.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache

from dlnotes.lesson import contents, report, verdicts
from dlnotes.lesson.declared import TEXTS_IN_WORDS, declared_in, faults_in
from dlnotes.lesson.tuned import kept_for, path_of
from tests.mutants.bugs import KEYS, LISTS, bugs_in

ROOT = contents.CHECKOUT


@cache
def functions(path: str) -> frozenset[str]:
    """The functions of a file, "function" or "Class::function"; empty where it cannot be read."""
    try:
        body = ast.parse((ROOT / path).read_text("utf-8")).body
    except (OSError, SyntaxError):
        return frozenset()
    of_classes = [(f"{one.name}::", part) for one in body if isinstance(one, ast.ClassDef) for part in one.body]
    found = [("", one) for one in body] + of_classes
    return frozenset(f"{where}{one.name}" for where, one in found if isinstance(one, ast.FunctionDef))


def there(test: str) -> bool:
    """Whether there is such a test; of ``file::function[parameter]`` the function."""
    path, _, name = test.partition("[")[0].partition("::")
    return name in functions(path)


def bugs() -> Iterator[str]:
    """Planted bugs that cannot be planted, or that no test is there to catch."""
    seen = set()
    for listed in LISTS:
        try:
            bugs = bugs_in(listed)
        except (tomllib.TOMLDecodeError, KeyError) as error:
            yield f"tests/mutants/{listed.name} cannot be read ({error}): mend its TOML"
            continue
        for number, bug in enumerate(bugs, 1):
            name = f"the planted bug {listed.stem}: {bug['why']!r}" if "why" in bug else f"bug {number}"
            mend = f"mend it in tests/mutants/{listed.name}, and try: make mutants ONLY={listed.stem}"
            yield from (f"{name} {wrong}: {mend}" for wrong in faults_of(bug))
            if (listed.stem, bug.get("why")) in seen:
                yield f"{name} stands twice: give each words of its own in tests/mutants/{listed.name}"
            seen.add((listed.stem, bug.get("why")))


def faults_of(bug: dict[str, str]) -> Iterator[str]:
    if bug.keys() != KEYS or not all(isinstance(value, str) for value in bug.values()):
        yield f"has the keys {', '.join(bug)} where {', '.join(sorted(KEYS))} are needed, each a text"
        return
    path = ROOT / bug["file"]
    if not bug["file"].startswith(("dlnotes/", "lessons/")) or not path.is_file():
        yield f"is in {bug['file']}, which is no file of dlnotes or lessons"
        return
    source = path.read_text("utf-8")
    if (times := source.count(bug["old"])) != 1:
        yield f"changes a text that {bug['file']} has {times} times"
    elif bug["old"] == bug["new"]:
        yield "changes nothing"
    else:
        try:
            ast.parse(source.replace(bug["old"], bug["new"]))
        except SyntaxError as error:
            yield f"leaves no Python ({error.msg})"
    if not there(bug["test"]):
        yield f"names {bug['test']}, which is not there"


def rows() -> Iterator[str]:
    """Rows of the notes that name a lesson or a test that is not there."""
    chapters = {lesson.name: lesson.chapter for lesson in contents.lessons()}
    for note in contents.notes():
        wrong = [f"names {test}, which is not there" for test in note.tests if not there(test)]
        if note.lesson and chapters.get(note.lesson) != note.chapter:
            wrong.append(f"names {note.lesson}, which is no lesson of {note.chapter}")
        if note.lesson and not note.tests:
            wrong.append("names a lesson and no test of its own")
        yield from (f"the row {note.row} {words}: mend it in dlnotes/notes.toml" for words in wrong)


def predictions() -> Iterator[str]:
    """Predictions and answers that cannot be read, or lean on what is not there."""
    for lesson in contents.lessons():
        yield from (f"lessons/{fault}" for fault in faults_in(lesson.path))


def results() -> Iterator[str]:
    """Lessons without results, or with results of other code or for other rows."""
    for lesson in contents.lessons():
        path = contents.results_folder() / f"{lesson.name}.json"
        mend = f"python -m lessons run {lesson.name} --out results, or make results for all"
        try:
            kept = report.read_results(path)
        except contents.UsageError as error:
            yield str(error)
            continue
        if kept is None or not path.with_suffix(".svg").is_file():
            yield f"the lesson {lesson.name} has no results, or no figure: {mend}"
        elif not report.is_current(lesson, kept):
            yield f"results/{lesson.name}.json was measured or judged by other code than that of today: {mend}"
        elif set(kept["verdicts"]) != set(lesson.rows):
            yield f"results/{lesson.name}.json judges other rows than dlnotes/notes.toml gives the lesson: {mend}"
        if not lesson.rows:
            yield f"no row names the lesson {lesson.name}: set `lesson` at its rows of dlnotes/notes.toml"


def results_on_other_data() -> Iterator[str]:
    """The same on other data sets: each lesson that takes one has results on all of them that any has."""
    for folder in sorted(path for path in contents.results_folder().iterdir() if path.is_dir()):
        if folder.name == "tuning":
            continue
        lessons = {one.name: one for one in contents.lessons() if takes_data(one, folder.name)}
        mend = f"python -m lessons run NAME --data {folder.name} --out results, or make results for all"
        for name in sorted(lessons.keys() | {path.stem for path in folder.glob("*.json")}):
            path = folder / f"{name}.json"
            try:
                kept = report.read_results(path)
            except contents.UsageError as error:
                yield str(error)
                continue
            if name not in lessons:
                yield f"results/{folder.name}/{name}.json is of no lesson that takes --data: remove it"
            elif kept is None:
                yield f"the lesson {name} has no results on {folder.name}: {mend}"
            elif not report.is_current(lessons[name], kept):
                yield f"results/{folder.name}/{name}.json was measured or judged by other code than today's: {mend}"
            elif set(kept["verdicts"]) != set(lessons[name].rows):
                yield f"results/{folder.name}/{name}.json judges other rows than dlnotes/notes.toml gives it: {mend}"


def takes_data(lesson: contents.Lesson, name: str) -> bool:
    """Whether a lesson can be run on a data set: it has the setting, does not leave it out, and is tuned for it."""
    if "data" not in declared_in(lesson.path).names or (
        path_of(lesson.name).is_file() and not kept_for(lesson.name, name)
    ):
        return False
    known = re.search(r"^DATA = (\(.*\))$", lesson.path.read_text("utf-8"), re.MULTILINE)
    return name in ast.literal_eval(known[1]) if known else name not in TEXTS_IN_WORDS  # or else it takes any pictures


def pages() -> Iterator[str]:
    """The README's tables and the pages of answers and verdicts, where they are not made from the results."""
    folder = contents.results_folder()
    paths = ROOT / "README.md", ROOT / verdicts.ANSWERS, folder / verdicts.PAGE
    written = [path.read_text("utf-8") if path.is_file() else "" for path in paths]
    try:
        made = [verdicts.readme_with_table(written[0], folder)]
        made += [make(folder) for make in (verdicts.page_of_answers, verdicts.page_of_verdicts)]
    except contents.UsageError as error:
        yield f"the table of answers cannot be made: {error}"
        return
    names = "README.md's table of answers", verdicts.ANSWERS, f"results/{verdicts.PAGE}"
    for what, one, other in zip(names, written, made, strict=True):
        if one != other:
            yield f"{what} is not that of results/: python -m lessons report --write"


if __name__ == "__main__":
    stale = [line for check in (bugs, rows, predictions, results, results_on_other_data, pages) for line in check()]
    if stale:
        print(*stale, sep="\n")
        print(f"{len(stale)} stale")
    sys.exit(bool(stale))
