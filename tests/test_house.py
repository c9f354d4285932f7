"""The house: which way imports flow, what a lesson looks like, and that the tables agree with what is there."""

import ast
import importlib
import json
import re
import sys
from pathlib import Path

import pytest

from dlnotes.lesson import contents, report

CHECKOUT = Path(__file__).resolve().parents[1]
LIBRARY = CHECKOUT / "dlnotes"
LESSONS = sorted((CHECKOUT / "lessons").glob("*/*.py"))


def imported(path: Path) -> set[str]:
    """The dotted names that a file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def uses(path: Path, package: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for name in imported(path))


# ----------------------------------------------------------------------------------------------------------------
# Doors
# ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(LIBRARY.rglob("*.py")), ids=lambda path: str(path.relative_to(LIBRARY)))
def test_imports_flow_one_way(path):
    room = path.relative_to(LIBRARY).parts[0]
    if room in contents.CHAPTERS:
        closed = [*contents.CHAPTERS[contents.CHAPTERS.index(room) + 1 :], "lesson"]
    elif room == "lesson":
        closed = contents.CHAPTERS
    else:
        closed = [*contents.CHAPTERS, "lesson"]
    assert not [other for other in closed if uses(path, f"dlnotes.{other}")]
    assert not uses(path, "lessons")
    assert not uses(path, "tests")


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_imports_the_library_and_nothing_else_of_ours(path):
    ours = {name.split(".")[0] for name in imported(path)} & {"lessons", "tests"}
    assert not ours


def test_the_package_itself_does_nothing_that_a_number_could_depend_on():
    """It is no part of what a record depends on, so that a new version is no new measurement."""
    said, *lines = map(ast.unparse, ast.parse((LIBRARY / "__init__.py").read_text(encoding="utf-8")).body)
    assert said
    assert [line.partition(" = ")[0] for line in lines] == ["import time", "__version__", "_loaded_at"]


@pytest.mark.parametrize("path", sorted(LIBRARY.rglob("*.py")), ids=lambda path: str(path.relative_to(LIBRARY)))
def test_torchvision_is_imported_inside_functions_alone(path):
    waiting = list(ast.parse(path.read_text(encoding="utf-8")).body)
    while waiting:  # all that runs when the file is imported
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Import):
            assert not [alias for alias in node.names if alias.name.split(".")[0] == "torchvision"]
        if isinstance(node, ast.ImportFrom):
            assert node.module.split(".")[0] != "torchvision"
        waiting += ast.iter_child_nodes(node)


# ----------------------------------------------------------------------------------------------------------------
# The shape of a lesson
# ----------------------------------------------------------------------------------------------------------------


CELLS = ("The experiment", "What we expect", "What to look at", "Try it yourself")


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
class TestLesson:
    def test_opens_with_an_underlined_title_and_a_question(self, path):
        source = path.read_text(encoding="utf-8")
        docstring = ast.get_docstring(ast.parse(source))
        title, underline = docstring.splitlines()[:2]
        assert set(underline) == {"="}
        assert len(underline) >= len(title)
        assert title.endswith("?")
        cells = re.findall(r"\n# %%\n# (.*)\n# -+\n", source)
        assert [cell for cell in cells if cell in CELLS] == list(CELLS)  # in the order of a reader
        assert len(source.splitlines()) <= 250

    def test_says_each_prediction_once(self, path):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        for part in ("**The smallest difference", "**What would refute it.**", "**Time.**"):
            assert part not in docstring

    def test_is_made_of_cells_and_ends_with_its_own_name(self, path):
        source = path.read_text(encoding="utf-8")
        assert source.count("\n# %%\n") >= len(CELLS)
        assert source.endswith(f'\n\nif __name__ == "__main__":\n    lesson.main("{path.stem}")\n')
        assert "sys.exit" not in source  # it silently ends the building of pages

    def test_is_not_named_after_a_module(self, path):
        """Beside a script of that name, Python would find the script."""
        assert path.stem not in sys.stdlib_module_names
        assert importlib.util.find_spec(path.stem) is None

    def test_declares_its_seeds_and_tunes_on_others(self, path):
        tree = {
            node.targets[0].id: ast.unparse(node.value)
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        assert int(re.fullmatch(r"range\((\d+)\)", tree["SEEDS"])[1]) >= 12
        if "TUNING_SEEDS" in tree:
            first, last = map(
                int, re.fullmatch(r"range\((\d+), (\d+)\)", tree["TUNING_SEEDS"].replace("_", "")).groups()
            )
            assert 1_000 <= first < last

    def test_runs_in_its_quick_form(self, path, tmp_path, monkeypatch, capsys):
        from dlnotes.lesson.cli import command_line

        monkeypatch.setenv("DLNOTES_CACHE", str(tmp_path / "cache"))
        assert command_line(["run", path.stem, "--quick", "--out", str(tmp_path)], tour=()) == 0
        assert len(json.loads((tmp_path / f"{path.stem}.quick.json").read_text(encoding="utf-8"))["seeds"]) == 2
        assert (tmp_path / f"{path.stem}.quick.svg").stat().st_size > 10_000
        assert "2 seeds: too few for a verdict, and nothing is concluded" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["temperature"])
def test_the_verdicts_of_a_fast_lesson_are_those_of_the_reference_run(name, tmp_path, monkeypatch):
    from dlnotes.lesson.cli import command_line

    monkeypatch.setenv("DLNOTES_CACHE", str(tmp_path / "cache"))
    assert command_line(["run", name, "--out", str(tmp_path)], tour=()) == 0
    here = report.read_results(tmp_path / f"{name}.json")
    assert here["verdicts"] == report.read_results(contents.results_folder() / f"{name}.json")["verdicts"]


# ----------------------------------------------------------------------------------------------------------------
# Tables
# ----------------------------------------------------------------------------------------------------------------


def test_the_notes_have_89_statements_in_order():
    rows = [note.row for note in contents.notes()]
    sizes = {"1": 28, "2": 12, "3": 23, "4": 26}
    assert rows == [f"{chapter}.{number:02}" for chapter, size in sizes.items() for number in range(1, size + 1)]
    for note in contents.notes():
        assert note.chapter == contents.CHAPTERS[int(note.row[0]) - 1]
        assert note.kind in {"definition", "procedure", "rule", "empirical"}
        assert note.tier in {"A", "B", "C"}


@pytest.mark.parametrize("note", [note for note in contents.notes() if note.library], ids=lambda note: note.row)
def test_what_a_note_names_of_the_library_is_there(note):
    for dotted in note.library:
        module, _, name = dotted.rpartition(".")
        assert hasattr(importlib.import_module(module), name), dotted


def test_the_python_in_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (CHECKOUT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 2
    names = {}  # read from top to bottom, as in a notebook
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)  # noqa: S102 (our own README)
