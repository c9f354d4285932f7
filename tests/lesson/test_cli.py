"""The command line as a user types at it: what it offers, what it says before it begins, and its exit codes."""

import pytest

from dlnotes import data
from dlnotes.lesson import contents, plans, runner
from dlnotes.lesson.cli import command_line
from dlnotes.lesson.experiment import experiment_of
from dlnotes.lesson.tuned import TunedSettings


@pytest.fixture
def planned(monkeypatch, tmp_path):
    """Type a run that measures nothing; returns the files that it would have written."""
    plans = []
    monkeypatch.setattr(runner, "run_seeds", lambda plan, **_: plans.append(plan.stem))

    def typed(*words):
        plans.clear()
        assert command_line(["run", *words, "--out", str(tmp_path)], tour=()) == 0
        return list(plans)

    return typed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "Momentum"], "near: momentum. Type: python -m lessons run momentum"),
        (["run", "dropout"], "about it: masks"),
        (["run", "1.99"], "the notes have no row 1.99"),
        (["test", "momentun"], "Type: python -m lessons test momentum"),
        (["tune", "momentun"], "Type: python -m lessons tune momentum"),
        (["recheck", "momentun"], "Type: python -m lessons recheck momentum"),
        (["momentum"], "Type: python -m lessons run momentum"),
        (["rnu", "momentum"], "unknown command 'rnu'. Type: python -m lessons run"),
        (["1.18"], "Type: python -m lessons run 1.18"),
        (
            ["run", "momentum", "--data", "fashon_mnist"],
            "no data set 'fashon_mnist'; near: fashion_mnist",
        ),
        (["run", "4.02"], "no lesson tests 4.02 yet"),
        (["tune", "temperature"], "the lesson temperature has nothing to tune"),
        (["download", "imagenet"], "no data set 'imagenet'; known: letters"),
        (["download", "mnits"], "no data set 'mnits'; near: mnist"),
        (["run", "over_fitting", "--set", "small=1"], "it cannot run with small=1: expected 0 < smallest ≤ small"),
        (["run", "knocked_out", "--quick", "--set", "draws=0"], "it cannot run with draws=0: stack expects"),
        (["run", "temperature", "--data", "mnist"], "the lesson temperature takes no --data"),
        (["run", "momentum", "--data", "mnist"], "knows no data set 'mnist'"),
        (
            ["run", "temperature", "chain_rule", "--data", "mnist"],
            "no lesson is left to run of temperature, chain_rule",
        ),
        (["run", "momentum", "--data", "text:notes.txt"], "the lesson momentum knows no data set 'text:notes.txt'"),
        (["run", "state_of_the_past", "--data", "letters"], "known: python_docs, tiny_shakespeare, text8, text:PATH"),
        (
            ["run", "state_of_the_past", "--data", "text:my notes.txt"],
            "`python -m lessons tune state_of_the_past --data 'text:my notes.txt'` chooses them",
        ),
        (["run", "momentum", "--data", "mnist", "--set", "data=letters"], "--data and --set data=… both name the data"),
        (["tune", "momentum", "--data", "all"], "settings are tuned for one data set at a time: --data NAME"),
        (["test", "4.02"], "the row 4.02 has no tests yet"),
        (["test", "4.02", "1.18"], "the row 4.02 has no tests yet"),
        (["run", "momentum", "masks", "--set", "train=5"], "--set changes the settings of one lesson: name one"),
    ],
)
def test_what_does_not_fit_is_one_line_with_what_is_near_and_exit_code_two(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("DLNOTES_CACHE", str(tmp_path))
    monkeypatch.setattr(contents, "output_folder", lambda: tmp_path)
    assert command_line(words, tour=()) == 2
    (line,) = [one for one in capsys.readouterr().err.splitlines() if not one.endswith("seeds to measure")]
    assert said in line


def test_a_run_of_everything_says_first_what_it_is_about_to_do(planned, capsys):
    assert planned() == [lesson.name for lesson in contents.lessons()]
    printed = capsys.readouterr().out
    assert printed.startswith(f"{len(contents.lessons())} runs of lessons: about ")
    assert "minutes with 1 process" in printed
    assert "Ctrl-C is safe" in printed


def test_a_run_of_one_lesson_begins_at_once(planned, capsys):
    assert planned("momentum") == ["momentum"]
    assert capsys.readouterr().out == ""


def test_a_run_on_other_data_has_a_folder_of_its_own(planned):
    assert planned("momentum", "--data", "not_mnist") == ["not_mnist/momentum"]
    assert planned("momentum", "--data", "not_mnist", "--seeds", "7") == ["not_mnist/momentum.exploratory"]
    assert planned("momentum", "--data", "letters") == ["momentum"]


def test_a_text_of_ones_own_is_known_by_its_path(planned, monkeypatch):
    rates = dict.fromkeys(experiment_of(contents.lesson_named("state_of_the_past")).tuning, 0.5)
    monkeypatch.setattr(plans, "tuned_settings", lambda *_: TunedSettings(rates))
    assert planned("state_of_the_past", "--data", "text:my plays/hamlet.txt") == [
        "text_my_plays_hamlet.txt/state_of_the_past"
    ]


def test_all_data_sets_are_those_that_are_there(planned, monkeypatch, capsys):
    monkeypatch.setattr(data, "available", lambda: ("letters", "mnist", "not_mnist"))
    assert planned("momentum", "temperature", "--data", "all") == ["momentum", "temperature", "not_mnist/momentum"]
    assert "left out: the lesson momentum knows no data set 'mnist'" in capsys.readouterr().out
    monkeypatch.setattr(data, "available", lambda: ("letters",))
    assert planned("momentum", "--data", "all") == ["momentum"]


def test_a_setting_of_one_lesson_holds_for_all_its_data(planned, monkeypatch):
    monkeypatch.setattr(data, "available", lambda: ("letters", "not_mnist"))
    words = ("momentum", "--data", "all", "--set", "train=500")
    assert planned(*words) == ["momentum.exploratory", "not_mnist/momentum.exploratory"]


def test_a_lesson_that_takes_no_data_is_left_out_of_many(planned, capsys):
    assert planned("momentum", "temperature", "--data", "not_mnist") == ["not_mnist/momentum"]
    assert "left out: the lesson temperature takes no --data" in capsys.readouterr().out


@pytest.mark.parametrize("words", ["momentum", "1.18", "lessons/linear/momentum.py", "momentum --seeds 3"])
def test_the_help_of_a_lesson_is_its_own_however_it_is_named(words, capsys, monkeypatch):
    monkeypatch.chdir(contents.CHECKOUT)
    assert command_line(["run", *words.split(), "--help"], tour=()) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("usage: python -m lessons run momentum")
    assert "small_rate: float" in printed


def test_the_end_of_tests_by_ctrl_c_is_said(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("subprocess.run", interrupted)
    assert command_line(["test", "1.07"], tour=()) == 130
    assert "interrupted: not all tests have run" in capsys.readouterr().err


def test_the_tests_of_a_row_run(capfd):
    assert command_line(["test", "1.07"], tour=()) == 0
    printed = capfd.readouterr().out
    assert "pytest tests/linear/" in printed
    assert " passed" in printed
