"""One seed measured again where code changed: the same bits keep both checksums, others are said."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from dlnotes.lesson import contents, report, runner
from dlnotes.lesson.cli import _checked, _script_parser, command_line


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The toy lesson with results of its own; it gives the script."""
    script = Path(shutil.copy(Path(__file__).parent / "toy.py", tmp_path))
    monkeypatch.setenv("DLNOTES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(contents, "results_folder", lambda: tmp_path / "results")
    options = _script_parser(lesson(script)).parse_args(["--out", str(tmp_path / "results")])
    runner.run([lesson(script)], _checked(options))
    return script


def lesson(script):
    return replace(contents.lesson_at(script), rows=("1.18",))


def kept(script):
    return json.loads((script.parent / "results" / "toy.json").read_text(encoding="utf-8"))


def change(script, old, new):
    text = script.read_text(encoding="utf-8")
    assert text.count(old) == 1
    script.write_text(text.replace(old, new), encoding="utf-8")


def records(script):
    return {path: path.read_bytes() for path in script.parent.glob("cache/records/toy/*/*")}


def test_where_nothing_changed_nothing_is_measured(toy, capsys, monkeypatch):
    monkeypatch.setenv("TOY_WAITS_AT", "0")  # measuring the seed would hang
    assert runner.recheck([lesson(toy)]) == 0
    assert f"measured and judged by today's code, {kept(toy)['code'][:12]}" in capsys.readouterr().out


def test_the_same_bits_keep_both_checksums_and_no_record(toy, capsys):
    before, there = kept(toy), records(toy)
    change(toy, "config.shift + 0.1 * drawn[0].item()", "0.1 * drawn[0].item() + config.shift")
    assert not report.is_current(lesson(toy), before)
    assert runner.recheck([lesson(toy)]) == 0
    after = kept(toy)
    assert after["code"] == before["code"]
    assert after["rechecked"]["seed"] == 0
    assert after["rechecked"]["code"] != before["code"]
    assert {**after, "rechecked": None} == {**before, "rechecked": None}
    printed = capsys.readouterr().out
    assert before["code"][:12] in printed
    assert after["rechecked"]["code"][:12] in printed
    assert "the same bits for seed 0, and the same findings" in printed
    assert report.is_current(lesson(toy), after)
    assert records(toy) == there


def test_other_bits_are_said_and_nothing_is_written(toy, capsys):
    before = kept(toy)
    change(toy, "0.1 * drawn", "0.2 * drawn")
    assert runner.recheck([lesson(toy)]) == 1
    assert "other numbers for seed 0: gain: run it again" in capsys.readouterr().out
    assert kept(toy) == before
    assert not report.is_current(lesson(toy), kept(toy))


def test_other_settings_than_those_of_the_results_are_said(toy, capsys):
    change(toy, "shift: float = 1.0", "shift: float = 2.0")
    assert runner.recheck([lesson(toy)]) == 1
    assert "numbers under another config" in capsys.readouterr().out


def test_another_margin_is_no_other_number_and_another_finding(toy, capsys):
    change(toy, "margin=0.5", "margin=0.6")
    assert runner.recheck([lesson(toy)]) == 1
    assert "the same numbers, and other findings or verdicts" in capsys.readouterr().out


def test_another_rule_of_verdicts_is_no_other_finding_and_another_verdict(toy, capsys, monkeypatch):
    change(toy, "0.1 * drawn", "1 * 0.1 * drawn")
    monkeypatch.setattr(runner, "verdict_of_row", lambda findings: "conditional")
    assert runner.recheck([lesson(toy)]) == 1
    assert "other findings or verdicts" in capsys.readouterr().out


def test_other_seeds_are_no_equal_run(toy, capsys):
    change(toy, "SEEDS = range(8)", "SEEDS = range(9)")
    assert runner.recheck([lesson(toy)]) == 1
    assert "numbers of other seeds" in capsys.readouterr().out


def test_a_zero_with_another_sign_is_another_bit(toy, capsys):
    path = toy.parent / "results" / "toy.json"
    before = kept(toy)
    before["seeds"]["0"]["never"] = -0.0
    path.write_text(json.dumps(before), encoding="utf-8")
    change(toy, 'float("nan")', "0.0")
    assert runner.recheck([lesson(toy)]) == 1
    assert "other numbers for seed 0: never" in capsys.readouterr().out


def test_a_lesson_that_cannot_be_read_does_not_keep_others_from_being_measured(toy, capsys):
    broken = toy.parent / "broken.py"
    broken.write_text('"""Broken."""\nSEEDS = range(12)\n', encoding="utf-8")
    shutil.copy(toy.parent / "results" / "toy.json", toy.parent / "results" / "broken.json")
    change(toy, "0.1 * drawn", "1 * 0.1 * drawn")
    assert runner.recheck([lesson(broken), lesson(toy)]) == 1
    printed = capsys.readouterr().out
    assert "broken: " in printed
    assert "toy: code" in printed


def test_a_lesson_without_results_is_named(toy, capsys):
    (toy.parent / "results" / "toy.json").unlink()
    assert runner.recheck([lesson(toy)]) == 1
    assert "toy: no results in" in capsys.readouterr().out


def test_ctrl_c_leaves_the_results_as_they_are(toy, capsys, monkeypatch):
    def interrupted(chosen):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "recheck", interrupted)
    assert command_line(["recheck", "momentum"], tour=()) == 130
    assert "the other lessons were not measured again" in capsys.readouterr().err


def test_the_runs_on_other_data_are_looked_at_too(toy, capsys, monkeypatch):
    monkeypatch.setenv("DLNOTES_DATA", str(toy.parent / "nothing"))
    (toy.parent / "results" / "mnist").mkdir()
    shutil.copy(toy.parent / "results" / "toy.json", toy.parent / "results" / "mnist")
    assert runner.recheck([lesson(toy)]) == 0
    first, second = capsys.readouterr().out.splitlines()[-2:]
    assert first.startswith("toy: measured and judged by today's code")
    assert second.startswith("mnist/toy: by today's code: ")
    assert "MNIST" in second
    change(toy, "0.1 * drawn", "0.2 * drawn")
    assert runner.recheck([lesson(toy)]) == 1
    assert "mnist/toy: not by today's code, and it cannot be measured again: " in capsys.readouterr().out


@pytest.mark.parametrize(("change_of", "said"), [("torch", "numbers under another environment"), ("", "the same bits")])
def test_another_version_is_said_and_a_package_that_came_since_is_none(toy, capsys, change_of, said):
    path = toy.parent / "results" / "toy.json"
    results = kept(toy)
    del results["environment"]["torchvision"]
    if change_of:
        results["environment"][change_of] = "0.1"
    path.write_text(json.dumps(results), encoding="utf-8")
    change(toy, "config.shift + 0.1 * drawn[0].item()", "0.1 * drawn[0].item() + config.shift")
    assert runner.recheck([lesson(toy)]) == bool(change_of)
    assert said in capsys.readouterr().out
