"""What counts as the code of a lesson."""

from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from dlnotes.lesson.contents import lesson_named
from dlnotes.lesson.sources import bare, checksum_of_code, checksum_of_judge, sources_of
from dlnotes.places import PACKAGE

LESSON = '''"""A lesson.

With an example: x = 1  # not a comment
"""
from dlnotes import softly

SHOWN = 5


def trial(config, seed):
    """What it does."""
    text = "# not a comment"
    return softly.loud(text)  # a comment


def helper(t):
    return t["loud"]


PREDICTIONS = [claim("1.01", "loud", "It is loud.", lambda t: difference(helper(t), margin=0.5))]
ANSWERS = [answer("1.01", "Yes.", given={"loud": "supported"})]


def figure(trials):
    return SHOWN
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
    (library / "evidence.py").write_text("x = 1\n")
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
    assert sources_of(script, library).files == {
        "dlnotes.softly": library / "softly" / "__init__.py",
        "dlnotes.softly.deep": library / "softly" / "deep.py",
    }
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
        ("margin=0.5", "margin=0.6"),  # what is predicted
        ("Yes.", "No."),  # what is said of it
        ("return SHOWN", "return 2 * SHOWN"),  # how it looks
        ("SHOWN = 5", "SHOWN = 6"),  # what only the figure uses
        ('return t["loud"]', 'return 2 * t["loud"]'),  # what only a prediction uses
    ],
)
def test_comments_docstrings_and_blank_lines_do_not_count(house, old, new):
    assert not changed(house, house[0], old, new)


def test_a_text_that_looks_like_a_comment_counts(house):
    assert changed(house, house[0], '"# not a comment"', '"# no comment"')


def test_a_real_lesson_depends_on_its_chapter_and_not_on_what_judges_shows_or_downloads():
    sources = sources_of(lesson_named("momentum").path, PACKAGE)
    names = {path.relative_to(PACKAGE).as_posix() for path in sources.files.values()}
    assert {"linear/optimizers.py", "training.py", "data/letters.py", "randomness.py"} <= names
    assert not {name for name in names if name.startswith("lesson/")} | ({"evidence.py", "data/web.py"} & names)
    assert not sources.packages | sources.unknown
    assert not sources.doubt


# ----------------------------------------------------------------------------------------------------------------
# What else a lesson imports
# ----------------------------------------------------------------------------------------------------------------


def lesson_that(script: Path, *lines: str) -> Path:
    script.write_text("\n".join(['"""A lesson."""', *lines]))
    return script


def test_the_packages_that_a_module_lies_in_count_since_python_runs_them_too(house):
    script, library = house
    lesson_that(script, "from dlnotes.softly.deep import loud")
    assert changed(house, library / "softly" / "__init__.py", "import loud", "import loud as soft")


@pytest.mark.parametrize(
    "line", ["import student", "from student import loud", "def f():\n    from student.inner import loud"]
)
def test_a_module_beside_the_lesson_and_what_it_imports_counts(house, line):
    script, _ = house
    inner = script.parent / "student" / "inner.py"
    inner.parent.mkdir()
    inner.write_text("from . import more\n\ndef loud(text):\n    return text\n")
    (inner.parent / "__init__.py").write_text("from student.inner import loud\n")
    (inner.parent / "more.py").write_text("x = 1\n")
    lesson_that(script, line)
    assert sorted(sources_of(*house).files) == ["student", "student.inner", "student.more"]
    assert changed(house, inner, "return text", "return text.upper()")
    assert changed(house, inner.parent / "more.py", "x = 1", "x = 2")
    assert changed(house, inner.parent / "__init__.py", "import loud", "import loud as soft")
    assert not changed(house, inner, "def loud", "# a comment\ndef loud")


@pytest.mark.parametrize(
    "around",
    [
        "if LOUD:\n    {}",
        "if LOUD:\n    pass\nelse:\n    {}",
        "for _ in ():\n    pass\nelse:\n    {}",
        "try:\n    {}\nfinally:\n    pass",
        "try:\n    pass\nexcept ImportError:\n    {}",
        "try:\n    pass\nfinally:\n    {}",
        "match LOUD:\n    case _:\n        {}",
        "with LOUD:\n    class A:\n        async def f():\n            {}",
    ],
)
def test_an_import_counts_wherever_a_statement_may_stand(house, around):
    (house[0].parent / "student.py").write_text("x = 1\n")
    lesson_that(house[0], around.format("import student"))
    assert list(sources_of(*house).files) == ["student"]


def test_a_module_found_elsewhere_counts_and_an_installed_one_by_its_version(house, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "student_of_the_house.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(elsewhere)
    sources = sources_of(lesson_that(house[0], "import student_of_the_house, hypothesis, torch, os"), house[1])
    assert sources.files == {"student_of_the_house": elsewhere / "student_of_the_house.py"}
    assert sources.packages == {"hypothesis"}
    assert not sources.unknown
    assert not sources.doubt


def test_what_is_found_nowhere_is_said(house):
    assert sources_of(lesson_that(house[0], "import no_such_module"), house[1]).unknown == {"no_such_module"}
    assert "relatively" in sources_of(lesson_that(house[0], "from . import student"), house[1]).doubt


def test_a_module_beside_the_lesson_with_the_name_of_pythons_own_counts(house):
    (house[0].parent / "sched.py").write_text("x = 1\n")
    assert sources_of(lesson_that(house[0], "import sched"), house[1]).files == {"sched": house[0].parent / "sched.py"}


def test_a_folder_beside_the_lesson_does_not_hide_a_module_of_its_name(house, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "student_tools.py").write_text("x = 1\n")
    (house[0].parent / "student_tools").mkdir()
    monkeypatch.syspath_prepend(elsewhere)
    sources = sources_of(lesson_that(house[0], "import student_tools"), house[1])
    assert sources.files == {"student_tools": elsewhere / "student_tools.py"}


def test_predictions_and_what_they_use_count_where_a_trial_uses_them(house):
    for name, old, new in (
        ("figure", "return SHOWN", "return 2 * SHOWN"),
        ("SHOWN", "SHOWN = 5", "SHOWN = 6"),
        ("helper", 'return t["loud"]', 'return 2 * t["loud"]'),
        ("PREDICTIONS", "margin=0.5", "margin=0.6"),
    ):
        house[0].write_text(f"{LESSON}\n\ndef tune(config, seed):\n    return {name}\n")
        assert changed(house, house[0], old, new), name


def test_what_the_runner_takes_from_a_lesson_counts_though_a_figure_uses_it(house):
    house[0].write_text(LESSON.replace("SHOWN", "SEEDS"))
    assert changed(house, house[0], "SEEDS = 5", "SEEDS = 6")


@pytest.mark.parametrize(
    "line",
    [
        "return globals()",
        "return trial.__globals__['SHOWN']",
        "return getattr(sys.modules['lesson'], 'SHOWN')",
        "return getattr(sys.modules[__name__], 'SHOWN')",
        "global SHOWN",
    ],
)
def test_where_names_may_be_found_by_their_text_all_of_it_counts(house, line):
    house[0].write_text(f"{LESSON}\n\ndef tune(config, seed):\n    {line}\n")
    assert changed(house, house[0], "SHOWN = 5", "SHOWN = 6")


@pytest.mark.parametrize(
    ("value", "other"),
    [
        ("(STEPS := 100) // 4", "(STEPS := 200) // 4"),
        ("ARMS.pop(0)", "ARMS.pop(1)"),
        ("[1 for one in [2] if (STEPS := 100)]", "[1 for one in [2] if (STEPS := 200)]"),
        ("[T.setdefault('x', 3)]", "[T.setdefault('x', 4)]"),
        ("setattr(softly, 'x', 1)", "setattr(softly, 'x', 2)"),
    ],
)
def test_an_assignment_that_does_more_than_to_name_a_value_counts(house, value, other):
    house[0].write_text(LESSON.replace("SHOWN = 5", f"SHOWN = {value}"))
    assert changed(house, house[0], value, other)


def test_a_prediction_that_binds_a_name_on_its_way_counts(house):
    house[0].write_text(LESSON.replace('"loud", "It is loud."', '"loud", (ARMS := "It is loud.")'))
    assert changed(house, house[0], "It is loud.", "It is louder.")


def test_a_prediction_belongs_to_the_judge_and_an_answer_to_nobody(house):
    before = checksum_of_judge(*house)
    for old, new, counts in (
        ("margin=0.5", "margin=0.6", True),
        ('return t["loud"]', 'return 2 * t["loud"]', True),
        ("Yes.", "No.", False),
        ("return SHOWN", "return 2 * SHOWN", False),
        ("SHOWN = 5", "SHOWN = 6", False),
    ):
        house[0].write_text(LESSON.replace(old, new))
        assert (checksum_of_judge(*house) != before) == counts, old


@pytest.mark.parametrize(
    "line",
    [
        'exec("x = 1")',
        'x = eval("1")',
        'student = __import__("student")',
        "import importlib",
        "from importlib import import_module as bring",
        "import runpy",
        "import pkgutil",
        "import dlnotes",
    ],
)
def test_what_can_run_code_unseen_leaves_a_doubt(house, line):
    assert "lesson.py" in sources_of(lesson_that(house[0], line), house[1]).doubt
    (house[0].parent / "student.py").write_text(line)
    assert "student.py" in sources_of(lesson_that(house[0], "import student"), house[1]).doubt


def test_a_module_that_is_no_python_source_leaves_a_doubt(house):
    (house[0].parent / f"student{EXTENSION_SUFFIXES[0]}").touch()
    assert "no Python source" in sources_of(lesson_that(house[0], "import student"), house[1]).doubt


# ----------------------------------------------------------------------------------------------------------------
# What is left of a text
# ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "left"),
    [
        ('"""Doc."""\nx = 1  # c\n\n\ny = 2   \n', "x = 1\ny = 2"),
        ('def f(): "κ"; return 2  # c', "def f(): ; return 2"),
        ('x = """a  # no comment\n\n b  \n"""  # c\n', 'x = """a  # no comment\n\n b  \n"""'),
        ('x = f"""{1}  \n\n """\n', 'x = f"""{1}  \n\n """'),
        ('class A:\n    """Doc.\n\n    More.\n    """\n\n    x = 1\n', "class A:\n    x = 1"),
        ("x = '\u2028'  # c\ny = 1  # d\n", "x = '\u2028'\ny = 1"),
        ('def figure(t):\n    "Doc."\n    return 1\n\n\nx = 1\n', "x = 1"),
        ("import a, b\nimport c\nx = a\nANSWERS = [b, c]\n", "import a\nx = a"),
        (
            "from a import (\n    b,\n    c as d,\n    e,\n)\nx = d + e\nANSWERS = [b, d]",
            "from a import c as d, e\nx = d + e",
        ),
        ("A = 1234567; C = 3; B = 2\ndef figure(t):\n    return A + C\n", "; ; B = 2"),
        ("@a\ndef f():\n    pass\nANSWERS = [f, g.h]\ng.h = 1\n", "@a\ndef f():\n    pass\ng.h = 1"),
    ],
)
def test_comments_docstrings_and_blank_lines_go_and_all_else_stays_to_the_letter(source, left):
    assert bare(source, frozenset({"figure", "ANSWERS"})) == left
