"""What there is: the statements of the notes, the lessons that test them, and where things lie.

Standard library alone, so that ``python -m lessons`` can answer before PyTorch is installed.
"""

import ast
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dlnotes import places
from dlnotes.places import PACKAGE

__all__ = [
    "CHAPTERS",
    "TITLES",
    "Lesson",
    "Note",
    "UsageError",
    "file_name_of",
    "lesson_at",
    "lesson_named",
    "lessons",
    "notes",
    "output_folder",
    "records_folder",
    "results_folder",
]

TITLES = {
    "linear": "From machine learning to deep learning",
    "deep": "Deep neural networks",
    "conv": "Convolutional networks",
    "text": "Deep models for text and sequences",
}
CHAPTERS = tuple(TITLES)

_RUNS_A_LESSON = "\n    lesson.main("

CHECKOUT = PACKAGE.parent


class UsageError(Exception):
    """Something was asked for that does not exist or does not fit: the message names it, and what is known."""


@dataclass(frozen=True)
class Note:
    """A statement of the notes, as `notes.toml` holds it."""

    row: str
    chapter: str
    name: str
    statement: str
    kind: str
    tier: str
    library: tuple[str, ...]
    lesson: str
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Lesson:
    """A lesson as it lies on the disk; nothing of it is imported.

    Attributes:
        name: its file's stem.
        chapter: its folder's name.
        path: its file.
        title: the first line of its docstring.
        rows: the statements that it tests.
    """

    name: str
    chapter: str
    path: Path
    title: str
    rows: tuple[str, ...]


@cache
def notes() -> tuple[Note, ...]:
    """The statements of the notes, in their order."""
    entries: list[dict[str, Any]] = tomllib.loads((PACKAGE / "notes.toml").read_text(encoding="utf-8"))["notes"]
    for entry in entries:
        if not isinstance(entry["lesson"], str):
            raise UsageError(
                f"the row {entry['row']} of notes.toml has one lesson, by its name, and not {entry['lesson']}"
            )
    return tuple(
        Note(**{**entry, "library": tuple(entry["library"]), "tests": tuple(entry["tests"])}) for entry in entries
    )


@cache
def lessons() -> tuple[Lesson, ...]:
    """The lessons of the checkout, in the order of the notes."""
    files = [path for path in (CHECKOUT / "lessons").glob("*/*.py") if not path.name.startswith(".")]
    # The rest are modules that lessons import.
    found = [lesson_at(path) for path in files if _RUNS_A_LESSON in path.read_text("utf-8", errors="replace")]
    return tuple(sorted(found, key=lambda one: (CHAPTERS.index(one.chapter), one.rows, one.name)))


def lesson_at(path: Path) -> Lesson:
    """The lesson in one file, also where it lies outside the checkout.

    Raises:
        UsageError: the file is no Python, or has no docstring to take a title from.
    """
    try:
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        raise UsageError(f"{path}{line}: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text in UTF-8: {error}") from error
    if not docstring:
        raise UsageError(f"{path} has no docstring: its first line is the lesson's title")
    rows = tuple(note.row for note in notes() if note.lesson == path.stem)
    chapter = path.parent.name if path.parent.name in CHAPTERS else CHAPTERS[0]
    return Lesson(path.stem, chapter, path, docstring.splitlines()[0], rows)


def lesson_named(name: str) -> Lesson:
    """The lesson of exactly that name; what a user typed is understood by `dlnotes.lesson.choosing`.

    Raises:
        UsageError: there is none.
    """
    for lesson in lessons():
        if lesson.name == name:
            return lesson
    raise UsageError(f"unknown lesson {name!r}; known: {', '.join(one.name for one in lessons())}")


def results_folder() -> Path:
    """Where the committed reference run lies."""
    return CHECKOUT / "results"


def output_folder() -> Path:
    """Where a run writes its results and figures unless told otherwise: ``output`` in the checkout, or right here."""
    return (places.checkout() or Path.cwd()) / "output"


def file_name_of(data: str) -> str:
    """A data set's name as a file or folder can have it: a text may be named by its path.

    Example:
        >>> file_name_of("fashion_mnist"), file_name_of("text:plays/hamlet.txt")
        ('fashion_mnist', 'text_plays_hamlet.txt')
    """
    return re.sub(r"[^\w.-]+", "_", data)[-100:]


def records_folder() -> Path:
    """Where the record of each seed is kept: below the cache, which ``$DLNOTES_CACHE`` can move."""
    return places.cache() / "records"
