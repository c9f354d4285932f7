"""The runner, tried on a toy lesson: what it writes, what it keeps, and what it says when something is wrong."""

import argparse
import io
import json
import os
import py_compile
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import dlnotes
from dlnotes import data
from dlnotes.lesson import contents, runner, seeds, session
from dlnotes.lesson.cli import _checked, _script_parser, command_line
from dlnotes.lesson.contents import UsageError

TOY = Path(__file__).parent / "toy.py"


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A copy of the toy lesson with a cache and an output folder of its own; call it with options."""
    script = Path(shutil.copy(TOY, tmp_path / "toy.py"))
    monkeypatch.setenv("DLNOTES_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def run(*words: str, doing=runner.run, rows=("1.18",)) -> Path:
        lesson = replace(contents.lesson_at(script), rows=rows)
        options: argparse.Namespace = _script_parser(lesson).parse_args([*words, "--out", str(tmp_path / "out")])
        doing([lesson], _checked(options))
        return tmp_path / "out"

    run.script = script
    return run


def results(folder: Path, name: str = "toy") -> dict:
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def records(toy) -> list[Path]:
    return sorted(toy.script.parent.glob("cache/records/toy/*/seed-*.json"))


def test_a_declared_run_writes_results_and_figure_and_judges(toy, capsys):
    kept = results(toy())
    assert kept["verdicts"] == {"1.18": "supported"}
    assert list(kept["seeds"]) == [str(seed) for seed in range(8)]
    assert kept["findings"][0]["seeds"] == [kept["seeds"][str(seed)]["gain"] for seed in range(8)]
    assert kept["config"]["sizes"] == [1, 2]
    assert kept["data"]["name"] == "letters"
    assert kept["environment"]["torch"] == torch.__version__.split("+")[0]
    printed = capsys.readouterr().out
    assert "1.18  SUPPORTED     The gain is 0.9 on letters." in printed
    assert printed.index("The gain is 0.9") < printed.index("✓ held: The gain on 3 points of letters is larger")
    assert "exploratory" not in printed
    assert (toy.script.parent / "out" / "toy.svg").read_text(encoding="utf-8").count("<svg") == 1


def test_a_lesson_that_no_row_names_shows_its_findings_and_has_no_verdict(toy, capsys):
    kept = results(toy(rows=()))
    assert kept["verdicts"] == {}
    assert [finding["verdict"] for finding in kept["findings"]] == ["supported"]
    printed = capsys.readouterr().out
    assert "✓ held: The gain on 3 points of letters is larger than one half." in printed
    assert "(without a verdict of this lesson)" in printed
    assert "no row of dlnotes/notes.toml names this lesson" in printed


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("1.99", "the lesson toy has findings on 1.99, which the notes do not have; their rows go from 1.01 to 4.26"),
        ("1.17", "notes.toml gives the lesson toy the row 1.18: it has no claim on it"),
    ],
)
def test_a_finding_on_a_row_that_is_not_there_and_a_row_without_a_claim_are_errors(toy, row, said):
    toy.script.write_text(toy.script.read_text(encoding="utf-8").replace('"1.18"', f'"{row}"'), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        toy("--seeds", "2")
    assert str(caught.value) == said
    assert not (toy.script.parent / "out" / "toy.exploratory.json").exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("]\nANSWERS", "]\nPREDICTIONS += PREDICTIONS\nANSWERS", "others than those that stand in its list"),
        ("{points}", "{sizes:,}", "the claim 'larger gain' cannot be filled in: unsupported format string"),
        (
            "    )\n]",
            '    ),\n    limit("1.18", "less", "It is.", lambda t: 1, reading="b"),\n]',
            "no claim of 1.18 has the reading 'b' of 'less'",
        ),
        (
            "    )\n]",
            '    ),\n    claim("1.18", "less", "Less.", lambda t: 1, reading="b"),\n]',
            "'larger gain' has no reading, and others of 1.18 have one",
        ),
    ],
)
def test_what_could_not_be_judged_or_said_afterwards_is_said_before_anything_is_measured(toy, old, new, said):
    text = toy.script.read_text(encoding="utf-8").replace("import answer, claim", "import answer, claim, limit")
    assert text.count(old) == 1
    toy.script.write_text(text.replace(old, new).replace('"It is."', '"Less is."'), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        toy("--seeds", "2")
    assert said in str(caught.value)
    assert not records(toy)


def test_what_is_not_finite_is_null_in_files_and_nan_in_trials(toy):
    assert results(toy())["seeds"]["0"]["never"] is None


def test_a_second_run_measures_nothing_and_writes_the_same_bytes(toy, monkeypatch):
    out = toy()
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setenv("TOY_WAITS_AT", "0")  # measuring seed 0 again would hang
    assert {path.name: path.read_bytes() for path in toy().iterdir()} == before


def test_a_further_seed_is_all_that_a_longer_run_measures(toy):
    toy("--seeds", "3")
    first = {path: path.stat().st_mtime_ns for path in records(toy)}
    toy("--seeds", "5")
    assert len(records(toy)) == 5
    assert all(path.stat().st_mtime_ns == when for path, when in first.items())


def test_fresh_measures_again(toy):
    toy("--seeds", "2")
    first = [path.stat().st_mtime_ns for path in records(toy)]
    toy("--seeds", "2", "--fresh")
    assert all(path.stat().st_mtime_ns > when for path, when in zip(records(toy), first, strict=True))


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"schema": 1, "seed": 2}', b"\xff\xfe"])
def test_a_damaged_record_is_measured_again(toy, damage):
    kept = results(toy())
    records(toy)[2].write_bytes(damage)
    assert results(toy())["seeds"] == kept["seeds"]


def test_a_record_of_another_seed_is_not_taken(toy):
    kept = results(toy())
    shutil.copy(records(toy)[2], records(toy)[3])
    assert results(toy())["seeds"] == kept["seeds"]


@pytest.mark.parametrize(
    ("old", "new", "measured_again"),
    [
        ("0.1 * drawn", "0.2 * drawn", True),
        ("in no time", "in less than no time", False),  # the docstring
        ("# of the curve", "# of the drawn curve", False),  # a comment
        ("margin=0.5", "margin=0.6", False),  # how it is judged
        ("The gain is {", "The size is {", False),  # what is said of it
        ("What was drawn", "Drawn", False),  # how it looks
    ],
)
def test_a_record_depends_on_the_code_that_measures_and_on_no_other(toy, old, new, measured_again):
    toy("--seeds", "1")
    source = toy.script.read_text(encoding="utf-8")
    assert source.count(old) == 1
    toy.script.write_text(source.replace(old, new), encoding="utf-8")
    toy("--seeds", "1")
    assert len(records(toy)) == (2 if measured_again else 1)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("--seeds", "4"), "toy.exploratory"),
        (("--set", "shift=2"), "toy.exploratory"),
        (("--set", "points=4", "sizes=3,4", "loud=false"), "toy.exploratory"),
        (("--quick",), "toy.quick"),
    ],
)
def test_no_other_run_can_replace_the_declared_one(toy, words, name, capsys):
    out = toy(*words)
    assert not (out / "toy.json").exists()
    assert results(out, name)
    printed = capsys.readouterr().out
    assert "exploratory" in printed or "too few seeds" in printed


def test_quick_gives_no_verdict(toy):
    kept = results(toy("--quick"), "toy.quick")
    assert len(kept["seeds"]) == 2
    assert kept["findings"] == []
    assert kept["verdicts"] == {}


def test_settings_reach_the_trial_with_their_types(toy):
    kept = results(toy("--set", "shift=2", "points=5", "--set", "sizes=7"), "toy.exploratory")
    assert kept["config"]["shift"] == 2.0
    assert kept["config"]["sizes"] == [7]
    assert len(kept["seeds"]["0"]["curve"]) == 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--set", "shfit=2"), "unknown setting 'shfit'; known: shift (a float), points (an int)"),
        (("--set", "points=2.5"), "the setting points must be an int, not '2.5'"),
        (("--set", "shift=much"), "the setting shift must be a float, not 'much'"),
        (("--set", "shift=nan"), "the setting shift must be a float, not 'nan'"),
        (("--set", "loud=1"), "the setting loud must be true or false, not '1'"),
        (("--set", "sizes=1,two"), "the setting sizes must be int,int,…, not '1,two'"),
        (("--set", "points"), "--set expects name=value, not 'points'"),
        (("--seeds", "many"), "--seeds expects a number (12), a range (4-7) or a list (0,3,9), not 'many'"),
        (("--seeds", "7-4"), "not '7-4'"),
        (("--seeds", "0"), "not '0'"),
        (("--seeds", "-3"), "--seeds"),
        (("--quick", "--seeds", "2"), "--quick has seeds of its own"),
        (("--seeds", ""), "--seeds expects"),
        (("--seeds", "99999999999999999999"), "--seeds expects"),
        (("--data", ""), "no data set ''"),
        (("--seeds", "21"), "at most 20 seeds can be judged by an exact test, not 21"),
        (("--set", "data=mnits"), "no data set 'mnits'"),
        (("--set", "points=-1"), "it cannot run with points=-1: points must be 0 or more, not -1"),
        (("--jobs", "0"), "expects a number of 1 or more, not '0'"),
        (("--data", "mnits"), "no data set 'mnits'; near: mnist"),
        (("--device", "abacus"), "the device 'abacus' cannot be used here"),
        (("--colour", "red"), "unrecognized arguments: --colour red"),
    ],
)
def test_a_wrong_option_is_named_beside_what_is_known(toy, words, said):
    with pytest.raises(UsageError) as caught:
        toy(*words)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_trial_that_draws_from_the_global_generator_is_refused(toy, request):
    state = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="global generator"):
        toy("--set", "loud=true")
    torch.set_rng_state(state)


def test_a_folder_that_cannot_be_made_is_said_before_anything_is_measured(toy, tmp_path):
    (tmp_path / "out").write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(OSError, match="out"):
        toy()
    assert not records(toy)


def test_what_a_killed_run_left_in_the_output_folder_is_removed_at_the_next_start(toy, tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    out = toy("--seeds", "1")
    left, living = (out / f".toy.json.{socket.gethostname()}-{process}.part" for process in (ended.pid, os.getpid()))
    left.touch()
    living.touch()
    toy("--seeds", "1")
    assert not left.exists()
    assert living.exists()


def test_a_copy_of_a_lesson_that_differs_from_it_never_has_its_name(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DLNOTES_CACHE", str(tmp_path / "cache"))
    copy = Path(shutil.copy(contents.lesson_named("temperature").path, tmp_path))
    options = _script_parser(contents.lesson_at(copy)).parse_args(["--out", str(tmp_path / "out")])
    runner.run([contents.lesson_at(copy)], _checked(options))
    declared = results(tmp_path / "out", "temperature")
    assert "exploratory" not in capsys.readouterr().out
    copy.write_text(copy.read_text(encoding="utf-8").replace("close: float = 0.99", "close: float = 0.9"))
    runner.run([contents.lesson_at(copy)], _checked(options))
    assert "is not lessons/linear/temperature.py; the verdict of temperature stays as it was" in capsys.readouterr().out
    assert results(tmp_path / "out", "temperature.exploratory")["config"]["close"] == 0.9
    assert results(tmp_path / "out", "temperature") == declared


def test_of_two_modules_of_one_name_none_is_taken_for_the_other(toy, tmp_path, monkeypatch):
    (tmp_path / "student.py").write_text("right = 1\n", encoding="utf-8")
    monkeypatch.setitem(sys.modules, "student", SimpleNamespace(__file__="elsewhere/student.py", right=2))
    source = toy.script.read_text(encoding="utf-8")
    toy.script.write_text(source.replace("import torch\n", "import torch\nfrom student import right\n", 1), "utf-8")
    with pytest.raises(UsageError, match="two modules are called student"):
        toy()
    assert not records(toy)


def test_where_not_all_code_can_be_known_no_record_is_read_or_written(toy, capsys):
    toy("--seeds", "2")
    before = records(toy)
    source = toy.script.read_text(encoding="utf-8")
    toy.script.write_text(source.replace("return {", 'exec("config.shift")\n    return {', 1), "utf-8")
    for _ in range(2):
        toy("--seeds", "2")
        printed = capsys.readouterr()
        assert "2 of 2 seeds to measure" in printed.err
    assert "exploratory: toy.py uses exec" in printed.out
    assert "all seeds were measured here, and no record of them is kept" in printed.out
    assert records(toy) == before
    assert not list(toy.script.parent.glob("out/toy.json"))
    toy(doing=runner.tune)
    assert records(toy) == before
    assert not (toy.script.parent / "out" / "tuning" / "toy.letters.json").exists()


def test_a_session_that_changed_the_library_keeps_no_record_however_the_lesson_is_started(toy, monkeypatch, capsys):
    shell = SimpleNamespace(history_manager=SimpleNamespace(input_hist_parsed=["", "linear.softmax = wrong"]))
    monkeypatch.setattr(session, "_shell", lambda: shell)
    toy("--seeds", "2")
    assert "exploratory: this session has run other code than toy.py as it stands" in capsys.readouterr().out
    assert not records(toy)


def test_a_module_that_is_loaded_late_and_was_not_read_keeps_no_record(toy, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "late_student.py").write_text("right = 1\n", encoding="utf-8")
    lines = f"    import sys\n\n    sys.path.append({str(elsewhere)!r})\n    from late_student import right\n\n"
    source = toy.script.read_text(encoding="utf-8")
    toy.script.write_text(source.replace("    drawn = torch.randn(", f"{lines}    drawn = torch.randn(", 1), "utf-8")
    monkeypatch.setattr(sys, "path", sys.path[:])
    with pytest.raises(UsageError, match="seed 0 of toy is not kept: it imports late_student"):
        toy("--seeds", "2")
    del sys.modules["late_student"]
    assert not records(toy)


def test_a_compiled_file_that_is_not_of_the_text_is_refused(toy, tmp_path, monkeypatch):
    """Python trusts one by the time and the size of the source, which archives and copies may keep."""
    helper = tmp_path / "old_student.py"
    helper.write_text("right = 1\n", encoding="utf-8")
    compiled = py_compile.compile(str(helper))
    time = helper.stat()
    helper.write_text("right = 2\n", encoding="utf-8")
    os.utime(helper, ns=(time.st_atime_ns, time.st_mtime_ns))
    assert compiled
    monkeypatch.setattr(dlnotes, "_loaded_at", float("inf"))  # as in a process that begins now
    monkeypatch.setattr(sys, "path", sys.path[:])
    source = toy.script.read_text(encoding="utf-8")
    toy.script.write_text(source.replace("import torch\n", "import old_student\nimport torch\n", 1), "utf-8")
    with pytest.raises(UsageError, match=r"old_student\.py was changed after this process had begun"):
        toy("--seeds", "2")
    assert sys.modules.pop("old_student").right == 1


def test_a_lesson_that_runs_itself_whenever_it_is_imported_runs_once(toy):
    source = toy.script.read_text(encoding="utf-8")
    toy.script.write_text(source.replace('if __name__ == "__main__":\n    lesson', "lesson"), "utf-8")
    assert len(results(toy("--seeds", "2"), "toy.exploratory")["seeds"]) == 2


def test_ranks_do_not_share_records_of_code_that_is_not_known(toy, monkeypatch):
    toy.script.write_text(toy.script.read_text(encoding="utf-8") + "    import runpy\n", "utf-8")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match=r"ranks cannot share out the seeds of toy: .*imports runpy"):
        toy()


def test_the_versions_of_packages_that_a_lesson_imports_belong_to_its_records(toy, monkeypatch):
    source = toy.script.read_text(encoding="utf-8")
    toy.script.write_text(source.replace("import torch\n", "import hypothesis\nimport torch\n", 1), "utf-8")
    toy("--seeds", "1")
    key = results(records(toy)[0].parent, records(toy)[0].stem)["key"]
    assert key["packages"]["hypothesis"].startswith(f"hypothesis {version('hypothesis')}, files ")
    other = SimpleNamespace(name="hypothesis", version=version("hypothesis"), read_text=lambda name: "other files")
    monkeypatch.setattr(seeds, "distribution", lambda name: other)
    toy("--seeds", "1")
    assert len(records(toy)) == 2


def test_output_that_a_terminal_cannot_show_ends_no_run(toy, monkeypatch):
    shown = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", shown)
    out = toy.script.parent / "out"
    assert command_line(["run", "temperature", "--quick", "--out", str(out)], tour=()) == 0
    shown.seek(0)
    printed = shown.read()
    assert "What does temperature do to softmax? - 2 seeds" in printed
    assert "x10/entropy gained" in printed
    assert "\\xf710" not in printed


def test_tuning_keeps_all_scores_and_names_the_winner_of_each_arm(toy, capsys):
    out = toy(doing=runner.tune)
    kept = results(out / "tuning", "toy.letters")
    assert kept["winners"] == {"slow": "0.2", "fast": "0.2"}  # what was not finite on a seed cannot win
    assert kept["scores"]["slow/0.1"] == [None, None, None]
    assert results(toy(doing=runner.tune) / "tuning", "toy.letters") == kept  # read back from the records
    assert kept["seeds"] == [1_000, 1_001, 1_002]
    assert "fast: 0.2" in capsys.readouterr().out


def test_tuning_on_other_terms_cannot_replace_the_declared_one(toy):
    assert results(toy("--seeds", "1000-1001", doing=runner.tune) / "tuning", "toy.letters.exploratory")
    assert not (toy.script.parent / "out" / "tuning" / "toy.letters.json").exists()


def test_tuning_on_seeds_of_the_verdict_is_refused(toy):
    with pytest.raises(UsageError, match="seeds that the verdict of toy does not see"):
        toy("--seeds", "7-9", doing=runner.tune)


def test_a_setting_that_a_trial_cannot_run_with_is_named(toy):
    with pytest.raises(UsageError, match="it cannot run with points=0: the curve is empty"):
        toy("--set", "points=0")


def test_a_lesson_of_planted_words_runs_on_them_and_on_each_text_that_it_knows(toy, capsys, monkeypatch):
    monkeypatch.setattr(data, "available", lambda: ("letters", "planted", "python_docs"))
    text = toy.script.read_text("utf-8").replace('data: str = "letters"', 'data: str = "planted"')
    toy.script.write_text(text.replace("QUICK =", 'DATA = ("planted", "python_docs", "text:PATH")\nQUICK ='), "utf-8")
    out = toy("--data", "all")
    assert results(out)["data"] == {"name": "planted", "checksum": "planted"}
    assert results(out / "python_docs")["data"]["name"] == "python_docs"
    assert sorted(path.parent.name for path in out.rglob("toy.json")) == ["out", "python_docs"]
    printed = capsys.readouterr().out
    assert "1.18  SUPPORTED     The gain is 0.9 on planted words." in printed
    assert "knows no data set 'letters'" in printed
    assert len(records(toy)) == 16


def test_a_missing_data_set_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DLNOTES_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setenv("DLNOTES_CACHE", str(tmp_path))
    words = ["run", "logistic_regression", "--data", "fashion_mnist", "--out", str(tmp_path / "out")]
    assert command_line(words, tour=()) == 1
    error = capsys.readouterr().err
    assert "nowhere" in error
    assert "download" in error
    assert not list(tmp_path.rglob("seed-*.json"))
