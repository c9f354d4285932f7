"""What counts as the code of a lesson."""

from pathlib import Path

import pytest

from dlnotes.lesson.catalog import PACKAGE, lesson_named
from dlnotes.lesson.sources import checksum_of_code, sources_of

LESSON = '''"""A lesson.

With an example: x = 1  # not a comment
"""
from dlnotes import softly


def trial(config, seed):
    """What it does."""
    text = "# not a comment"
    return softly.loud(text)  # a comment


def findings(trials):
    return []
'''


@pytest.fixture
def house(tmp_path) -> tuple[Path, Path]:
    """A lesson, and a library in which one file imports another."""
    library = tmp_path / "dlnotes"
    (library / "softly").mkdir(parents=True)
    (library / "__init__.py").write_text("")
    (library / "softly" / "__init__.py").write_text("from dlnotes.softly.deep import loud\n")
    (library / "softly" / "deep.py").write_text("def loud(text):\n    return text\n")
    (library / "unused.py").write_text("x = 1\n")
    script = tmp_path / "lesson.py"
    script.write_text(LESSON)
    return script, library


def changed(house, path: Path, old: str, new: str) -> bool:
    before = checksum_of_code(*house)
    source = path.read_text()
    assert source.count(old) == 1
    path.write_text(source.replace(old, new))
    return checksum_of_code(*house) != before


def test_files_imported_by_way_of_another_count(house):
    script, library = house
    assert sources_of(script, library) == [library / "softly" / "__init__.py", library / "softly" / "deep.py"]
    assert changed(house, library / "softly" / "deep.py", "return text", "return text.upper()")


def test_files_that_are_not_imported_do_not_count(house):
    assert not changed(house, house[1] / "unused.py", "x = 1", "x = 2")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("What it does.", "What it really does."),
        ("  # a comment", "  # another comment"),
        ("With an example", "With one example"),
        ("\n\n\ndef trial", "\n\n\n\ndef trial"),
        ("    return []", "    return [1]"),  # findings
    ],
)
def test_comments_docstrings_and_blank_lines_do_not_count(house, old, new):
    assert not changed(house, house[0], old, new)


def test_a_text_that_looks_like_a_comment_counts(house):
    assert changed(house, house[0], '"# not a comment"', '"# no comment"')


def test_a_real_lesson_depends_on_its_chapter_and_not_on_what_judges_shows_or_downloads():
    names = {path.relative_to(PACKAGE).as_posix() for path in sources_of(lesson_named("momentum").path, PACKAGE)}
    assert {"linear/optimizers.py", "training.py", "data/letters.py", "randomness.py"} <= names
    assert not {name for name in names if name.startswith("lesson/")} | ({"evidence.py", "data/web.py"} & names)
