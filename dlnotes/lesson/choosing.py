"""Which lessons a user means by a name, a row, a chapter or a file, and what to offer for any other word.

Standard library alone.
"""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

from dlnotes.lesson.contents import CHAPTERS, CHECKOUT, Lesson, UsageError, lesson_at, lessons, notes

__all__ = ["nearest", "select", "tests_of", "unknown_data"]

_OFFERED = 6  # lessons about a word that are named, at most


def select(wanted: Sequence[str], *, command: str = "run") -> list[Lesson]:
    """The lessons that are meant by names, chapters, rows and files; all of them where nothing is given.

    Args:
        wanted: what was typed.
        command: the command that it was typed behind; an error says what to type in its place.

    Raises:
        UsageError: a word that is none of these. The message offers the lessons that are near, or about the word.
    """
    chosen: dict[Path, Lesson] = {}
    for word in wanted or [one.name for one in lessons()]:
        chosen |= {one.path: one for one in _meant(word, command)}
    names = [one.name for one in chosen.values()]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"two lessons are called {', '.join(twice)}, and so would their files be: run one at a time")
    return list(chosen.values())


def tests_of(wanted: Sequence[str]) -> list[str]:
    """The tests of rows, lessons and chapters, as pytest takes them, from the root of the checkout.

    Of a row those that `notes.toml` names, which hold the statement; of a lesson those of its rows and its own file;
    of a chapter all.

    Raises:
        UsageError: a word that means no row, lesson or chapter, or a row without tests.
    """
    found: dict[str, None] = {}
    for word in wanted:
        note = next((one for one in notes() if one.row == word), None)
        if note and not note.tests:
            raise UsageError(
                f"the row {word} has no tests yet ({note.name}). Type: python -m lessons, for what there is"
            )
        if note:
            tests = list(note.tests)
        elif chapter := _chapter(word):
            tests = [f"tests/{chapter}"]
        else:
            (lesson,) = _meant(word, "test")
            tests = [f"tests/{lesson.chapter}/test_{lesson.name}.py"]
            tests += [test for one in notes() if one.lesson == lesson.name for test in one.tests]
        there = [test for test in tests if (CHECKOUT / test.partition("::")[0]).exists()]
        if not there:
            raise UsageError(f"there are no tests of {word} yet. Type: python -m lessons, for what there is")
        found |= dict.fromkeys(there)
    return _without_parts(found)


def nearest(word: str, known: Iterable[str]) -> list[str]:
    """The known words that are spelled most like another, whatever its capitals; the best first, three at most.

    Example:
        >>> nearest("Fashon-MNIST", ["letters", "fashion_mnist"])
        ['fashion_mnist']
    """
    spelled = {one.casefold(): one for one in known}
    plain = word.casefold().replace("-", "_").replace(" ", "_")
    return [spelled[one] for one in get_close_matches(plain, spelled, cutoff=0.65)]


def unknown_data(name: str, known: Sequence[str]) -> str:
    """What to say of a data set that is not among the known ones; empty where it is.

    Example:
        >>> unknown_data("shakespeare", ["python_docs", "tiny_shakespeare"])
        "no data set 'shakespeare'; near: tiny_shakespeare; known: python_docs, tiny_shakespeare"
        >>> unknown_data("text:notes.txt", ["python_docs", "text:PATH"])
        ''
    """
    if name in known or ("text:PATH" in known and name.startswith("text:")):
        return ""
    near = f"; near: {', '.join(found)}" if (found := nearest(name, known)) else ""
    return f"no data set {name!r}{near}; known: {', '.join(known)}"


def _meant(word: str, command: str) -> list[Lesson]:
    if found := [one for one in lessons() if word == one.name or word in one.rows]:
        return found
    if chapter := _chapter(word):
        return [one for one in lessons() if one.chapter == chapter]
    if word.endswith(".py") or "/" in word or "\\" in word:
        return [_in_file(word, command)]
    if note := next((one for one in notes() if one.row == word), None):
        raise UsageError(f"no lesson tests {word} yet ({note.name}). Type: python -m lessons, for what there is")
    names = [*(one.name for one in lessons()), *CHAPTERS]
    if word.casefold() not in names and (about := _about(word)):
        offered = ", ".join(f"{one.name} ({one.title})" for one in about[:_OFFERED])
        offered += f", and {len(about) - _OFFERED} more" if len(about) > _OFFERED else ""
        raise UsageError(f"no lesson is called {word!r}; about it: {offered}. Type: {_typed(command, about[0].name)}")
    if word.replace(".", "").isdecimal():
        rows = [note.row for note in notes()]
        rows = [row for row in rows if row.partition(".")[0] == word.partition(".")[0]] or rows
        chapter, _, number = word.partition(".")
        meant = f"{chapter}.{number.zfill(2)}"
        near = f"; near: {meant}. Type: {_typed(command, meant)}" if meant in rows else ""
        raise UsageError(f"the notes have no row {word}: they go from {rows[0]} to {rows[-1]}{near}")
    near = _near(word, names, command) or ", and no lesson is about it. Type: python -m lessons, which lists them"
    raise UsageError(f"unknown lesson, chapter or row {word!r}{near}")


def _chapter(word: str) -> str:
    """The chapter that is meant by its name, its number or its folder; empty if none is."""
    name = word.replace("\\", "/").rstrip("/").removeprefix("lessons/")
    if name.isdecimal() and 1 <= int(name) <= len(CHAPTERS):
        return CHAPTERS[int(name) - 1]
    return name if name in CHAPTERS else ""


def _in_file(word: str, command: str) -> Lesson:
    try:
        path = Path(word).expanduser().resolve()
        there = path.is_file()
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(f"there is no file {word!r}: {error}") from error
    if not there:
        raise UsageError(f"there is no file {word}{_near(path.stem, [one.name for one in lessons()], command)}")
    lesson = next((one for one in lessons() if one.path.resolve() == path), None) or lesson_at(path)
    if f'lesson.main("{path.stem}")' not in path.read_text(encoding="utf-8"):
        raise UsageError(f'{word} is no lesson: the last line of one is lesson.main("{path.stem}")')
    return lesson


def _about(word: str) -> list[Lesson]:
    """The lessons whose title, or the statements that they test, have the word in them."""
    sought = word.casefold().replace("_", " ").replace("-", " ").strip()
    if len(sought) < 3:
        return []
    statements: dict[str, str] = {}
    for note in notes():
        statements[note.lesson] = f"{statements.get(note.lesson, '')} {note.name} {note.statement}"
    texts = {one.name: f"{one.title} {statements.get(one.name, '')}" for one in lessons()}
    begins = re.compile(rf"\b{re.escape(sought)}")
    return [one for one in lessons() if begins.search(texts[one.name].casefold().replace("-", " "))]


def _near(word: str, known: Iterable[str], command: str) -> str:
    if found := nearest(word, known):
        return f"; near: {', '.join(found)}. Type: {_typed(command, found[0])}"
    return ""


def _typed(command: str, name: str) -> str:
    return f"python -m lessons {command} {name}"


def _without_parts(tests: Iterable[str]) -> list[str]:
    """The tests without those that a whole file or folder among them has anyway."""
    chosen = list(tests)
    whole = [one for one in chosen if "::" not in one]
    paths = {one: one.partition("::")[0] for one in chosen}
    return [
        one
        for one in chosen
        if not any(other != one and (paths[one] == other or paths[one].startswith(f"{other}/")) for other in whole)
    ]
