"""What `make check` says of each thing that no longer agrees with the code, in a small checkout that is made for it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
TOPIC = "def double(number):\n    return 2 * number\n"
TESTS = "def test_twice():\n    pass\n\n\nclass TestHalf:\n    def test_half(self):\n        pass\n"
BUG = {
    "file": "dlnotes/topic.py",
    "old": "2 *",
    "new": "3 *",
    "test": "tests/test_topic.py::test_twice",
    "why": "three",
}
NOTE = {"row": "1.99", "chapter": "linear", "name": "gain", "statement": "A gain.", "kind": "rule", "tier": "A"}
NOTE |= {"library": [], "lesson": "toy", "tests": ["tests/test_topic.py::TestHalf::test_half"]}
OURS = ("dlnotes/__init__.py", "dlnotes/evidence.py", "dlnotes/files.py", "dlnotes/places.py", "dlnotes/lesson/*.py")
OURS += ("tests/stale.py",)
# Writes results of the lesson, with the checksums of its code; a program, since it works for the checkout it runs in.
MEASURED = """
import json
from dlnotes.lesson import contents, report, sources, verdicts
script, package = contents.lesson_named("toy").path, contents.PACKAGE
code, judge = sources.checksum_of_code(script, package), sources.checksum_of_judge(script, package)
content = {"schema": report.SCHEMA, "code": code, "judge": judge, "verdicts": {"1.99": "supported"}, "findings": []}
finding = {"row": "1.99", "kind": "claim", "name": "gain", "statement": "A gain.", "verdict": "supported"}
finding |= {"effect": 1.0, "interval": [0, 2], "unit": "difference", "of": "", "reading": "", "because": ""}
content |= {"data": None, "tuned": {}, "config": {}, "findings": [finding]}
folder = contents.results_folder()
(folder / "toy.json").write_text(json.dumps(content))
(folder / "toy.svg").touch()
(folder / "mnist").mkdir()
(folder / "mnist" / "toy.json").write_text(json.dumps(content | {"data": {"name": "mnist"}}))
readme = contents.CHECKOUT / "README.md"
readme.write_text(verdicts.readme_with_table(verdicts._BEGIN + verdicts._END, folder))
(contents.CHECKOUT / verdicts.ANSWERS).write_text(verdicts.page_of_answers(folder))
(folder / verdicts.PAGE).write_text(verdicts.page_of_verdicts(folder))
"""


def python(folder, *words):
    """Python without its installed packages: what runs here cannot import PyTorch."""
    return subprocess.run([sys.executable, "-S", *words], cwd=folder, capture_output=True, text=True, check=False)


def table(name, entry):
    return f"[[{name}]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in entry.items())


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A checkout with one topic, one test file, one bug, one row, and one lesson with its results."""
    made = tmp_path_factory.mktemp("checkout")
    for folder in ("dlnotes/lesson", "tests/mutants", "lessons/linear", "results"):
        (made / folder).mkdir(parents=True)
    for source in OURS:
        for path in CHECKOUT.glob(source):
            shutil.copy(path, made / path.relative_to(CHECKOUT))
    shutil.copy(CHECKOUT / "tests/mutants/bugs.py", made / "tests/mutants")
    shutil.copy(CHECKOUT / "tests/lesson/toy.py", made / "lessons/linear")
    (made / "dlnotes/topic.py").write_text(TOPIC)
    (made / "tests/test_topic.py").write_text(TESTS)
    (made / "tests/mutants/topic.toml").write_text(table("mutants", BUG))
    (made / "dlnotes/notes.toml").write_text(table("notes", NOTE))
    measured = python(made, "-c", MEASURED)
    assert measured.returncode == 0, measured.stderr
    return made


@pytest.fixture
def checkout(sound, tmp_path):
    """A copy of it, to be changed."""
    return shutil.copytree(sound, tmp_path / "checkout")


def said(checkout):
    """What is said to be stale, a line for each thing; the exit code tells whether there is one."""
    ended = python(checkout, "-m", "tests.stale")
    assert ended.stderr == ""
    *lines, _ = [*ended.stdout.splitlines(), ""] if ended.returncode == 0 else ended.stdout.splitlines()
    assert ended.returncode == bool(lines)
    return lines


def test_a_checkout_that_agrees_with_itself_needs_no_word_and_no_installed_package(checkout):
    assert said(checkout) == []


def test_each_bug_that_cannot_be_planted_is_named_with_its_list(checkout):
    wrong = {
        "has the keys file, old, new, test, why, because where": {"because": "a key too many"},
        "has the keys": {"old": 2},
        "is in dlnotes/topics.py, which is no file of dlnotes or lessons": {"file": "dlnotes/topics.py"},
        "is in tests/test_topic.py, which is no file of dlnotes or lessons": {"file": "tests/test_topic.py"},
        "changes a text that dlnotes/topic.py has 0 times": {"old": "4 *"},
        "changes a text that dlnotes/topic.py has 2 times": {"old": "number"},
        "changes nothing": {"new": "2 *"},
        "leaves no Python": {"new": "2 * ("},
        "names tests/test_topic.py::test_thrice, which is": {"test": "tests/test_topic.py::test_thrice"},
        "names tests/test_topic.py::test_half, which is": {"test": "tests/test_topic.py::test_half"},
        "names tests/test_other.py::test_twice, which is": {"test": "tests/test_other.py::test_twice"},
    }
    listed = [table("mutants", BUG | changes | {"why": f"bug {n}"}) for n, changes in enumerate(wrong.values())]
    (checkout / "tests/mutants/topic.toml").write_text("".join(listed))
    for number, (line, expected) in enumerate(zip(said(checkout), wrong, strict=True)):
        assert line.startswith(f"the planted bug topic: 'bug {number}' {expected}")
        assert line.endswith("mend it in tests/mutants/topic.toml, and try: make mutants ONLY=topic")


def test_two_bugs_with_the_same_words_and_a_list_that_is_no_toml_are_named(checkout):
    (checkout / "tests/mutants/topic.toml").write_text(2 * table("mutants", BUG))
    (checkout / "tests/mutants/other.toml").write_text("[[mutants]\n")
    other, topic = said(checkout)
    assert other.startswith("tests/mutants/other.toml cannot be read")
    assert topic.startswith("the planted bug topic: 'three' stands twice")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"tests": ["tests/test_topic.py::TestHalf::test_third"]}, "names tests/test_topic.py::TestHalf::test_third"),
        ({"tests": []}, "names a lesson and no test of its own"),
        ({"chapter": "deep"}, "names toy, which is no lesson of deep"),
    ],
)
def test_a_row_that_names_what_is_not_there_is_named(checkout, changes, expected):
    (checkout / "dlnotes/notes.toml").write_text(table("notes", NOTE | changes))
    line, *others = said(checkout)
    assert all(other.endswith("python -m lessons report --write") for other in others)  # the pages name them, too
    assert line.startswith(f"the row 1.99 {expected}")
    assert line.endswith("mend it in dlnotes/notes.toml")


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("lessons/linear/toy.py", "0.1 * drawn", "0.2 * drawn", "was measured or judged by other code"),
        ("dlnotes/evidence.py", "return", "pass; return", "was measured or judged by other code"),
        ("results/toy.json", '"1.99"', '"1.98"', "judges other rows than dlnotes/notes.toml gives the lesson"),
    ],
)
def test_results_of_other_code_or_of_other_rows_are_named_with_the_command_that_measures_again(
    checkout, file, old, new, expected
):
    path = checkout / file
    assert old in path.read_text("utf-8")
    path.write_text(path.read_text("utf-8").replace(old, new, 1), "utf-8")
    line, *others = said(checkout)
    assert line.startswith(f"results/toy.json {expected}")
    assert line.endswith("python -m lessons run toy --out results, or make results for all")
    assert all(other.endswith("python -m lessons report --write") for other in others[-2:])  # they mark what is stale


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("The gain on {points}", "And the gain on {points}", "the claim 'larger gain' begins with 'And'"),
        ("The gain on {points}", "The gain on {dots}", "is filled in from dots, which no field or property of Config"),
        ('"The gain on {points} points of {data} is larger than one half."', '""', "lacks its sentence"),
        (
            "PREDICTIONS = [\n",
            'PREDICTIONS = [\n    claim("1.18", "larger gain", "One.", 1),\n',
            "has the name of another",
        ),
        ('given={"larger gain"', 'given={"no gain"', "rests on no gain, which no prediction is called"),
    ],
)
def test_a_prediction_that_cannot_be_read_and_an_answer_without_a_ground_are_named(checkout, old, new, expected):
    path = checkout / "lessons/linear/toy.py"
    text = path.read_text("utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), "utf-8")
    (line,) = [one for one in said(checkout) if one.startswith("lessons/linear/toy.py, line")][:1]
    assert expected in line


def test_a_lesson_without_results_and_one_without_its_figure_are_named(checkout):
    (checkout / "results/toy.svg").unlink()
    (line,) = said(checkout)
    assert line.startswith("the lesson toy has no results, or no figure: python -m lessons run toy --out results")
    (checkout / "results/toy.json").unlink()
    assert said(checkout)[0] == line


def test_a_damaged_results_file_is_named(checkout):
    (checkout / "results/toy.json").write_text("{")
    assert all(re.search(r"toy\.json is not a results file .*run the lesson again", line) for line in said(checkout))


def test_a_lesson_that_no_row_names_is_named(checkout):
    (checkout / "dlnotes/notes.toml").write_text(table("notes", NOTE | {"lesson": ""}))
    assert "no row names the lesson toy: set `lesson` at its rows of dlnotes/notes.toml" in said(checkout)


def test_a_readme_with_another_table_and_one_with_no_place_for_it_are_named(checkout):
    page = checkout / "README.md"
    text = page.read_text("utf-8")
    page.write_text(text.replace("| 1 | 0 | 0 | 0 |", "| 0 | 1 | 0 | 0 |"), "utf-8")
    assert said(checkout) == ["README.md's table of answers is not that of results/: python -m lessons report --write"]
    page.write_text("# dlnotes\n", "utf-8")
    (line,) = said(checkout)
    assert line.startswith("the table of answers cannot be made: README.md lacks the line")


def test_a_page_of_answers_that_is_not_made_from_the_results_is_named(checkout):
    page = checkout / "ANSWERS.md"
    page.write_text(page.read_text("utf-8").replace("A gain.", "A loss."), "utf-8")
    assert said(checkout) == ["ANSWERS.md is not that of results/: python -m lessons report --write"]


def test_a_page_of_verdicts_that_is_not_made_from_the_results_is_named(checkout):
    (checkout / "results/VERDICTS.md").unlink()
    assert said(checkout) == ["results/VERDICTS.md is not that of results/: python -m lessons report --write"]


def test_results_on_other_data_that_are_old_missing_or_of_no_lesson_are_named(checkout):
    path = checkout / "results/mnist/toy.json"
    sound = path.read_text("utf-8")
    path.write_text(re.sub('"code": "[0-9a-f]{4}', '"code": "0000', sound), "utf-8")
    line = said(checkout)[0]
    assert line.startswith(
        "results/mnist/toy.json was measured or judged by other code than today's: python -m lessons"
    )
    assert "run NAME --data mnist --out results" in line
    path.rename(path.with_stem("toys"))
    found = said(checkout)
    assert found[0].startswith("the lesson toy has no results on mnist: python -m lessons run NAME --data mnist")
    assert found[1] == "results/mnist/toys.json is of no lesson that takes --data: remove it"
    path.with_stem("toys").write_text("{")
    assert "mnist/toys.json is not a results file" in said(checkout)[1]
