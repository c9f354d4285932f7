"""The runner in processes of its own: interrupted, killed, and without PyTorch."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dlnotes.lesson import contents, runner
from dlnotes.lesson.cli import _checked, _script_parser
from tests import forks

CHECKOUT = Path(__file__).resolve().parents[2]
TOY = Path(__file__).parent / "toy.py"


@pytest.fixture
def surroundings(tmp_path):
    """An environment with a cache of its own, and in which the toy waits at seed 2 until it is ended."""
    shutil.copy(TOY, tmp_path)
    mine = {"DLNOTES_CACHE": str(tmp_path / "cache"), "TOY_WAITS_AT": "2", "TOY_WAITS": str(tmp_path / "waiting")}
    return {**os.environ, **mine}


def start(folder: Path, environment: dict, *words: str):
    """Start the toy and come back when it waits at seed 2."""
    process, pipe = forks.start(folder, environment, "toy.py", "--out", "out", *words, stderr=folder / "stderr")
    while not (folder / "waiting").exists():
        assert process.is_alive(), (folder / "stderr").read_text("utf-8")
        time.sleep(0.05)
    return process, pipe


def seeds_kept(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("cache/records/toy/*/seed-*.json"))


@pytest.fixture
def finish(tmp_path, surroundings, monkeypatch):
    """Run the toy again to its end, undisturbed: here, where PyTorch is imported already."""

    def run() -> dict:
        monkeypatch.setenv("DLNOTES_CACHE", surroundings["DLNOTES_CACHE"])
        monkeypatch.chdir(tmp_path)
        lesson = contents.lesson_at(tmp_path / "toy.py")
        runner.run([lesson], _checked(_script_parser(lesson).parse_args(["--out", "out"])))
        return json.loads((tmp_path / "out" / "toy.json").read_text(encoding="utf-8"))

    return run


def test_ctrl_c_is_one_line_and_code_130_and_keeps_the_seeds_that_had_ended(tmp_path, surroundings, finish):
    process, pipe = start(tmp_path, surroundings)
    os.kill(process.pid, signal.SIGINT)
    assert forks.end(process, pipe)[0] == 130
    error = (tmp_path / "stderr").read_text("utf-8").splitlines()
    assert [line for line in error if "resource_tracker" not in line] == [  # which tidies up behind a fork
        "toy: 8 of 8 seeds to measure",
        "lessons: interrupted: the seeds that had ended are kept, and the same command goes on from there",
    ]
    assert seeds_kept(tmp_path) == ["seed-0000", "seed-0001"]
    assert not (tmp_path / "out" / "toy.json").exists()
    assert len(finish()["seeds"]) == 8


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])  # SIGKILL: tests/faults
def test_however_a_run_with_two_jobs_ends_no_worker_outlives_it(tmp_path, surroundings, finish, how):
    process, pipe = start(tmp_path, surroundings, "--jobs", "2")
    os.kill(process.pid, how)  # to the parent alone, as `kill` does
    code, _ = forks.end(process, pipe)  # comes back when the last process that holds the pipe has ended
    assert code == {signal.SIGINT: 130, signal.SIGTERM: 143}[how]
    assert seeds_kept(tmp_path)
    assert "seed-0002" not in seeds_kept(tmp_path)
    # A worker that is ended while it writes leaves its part, and the next start removes it.
    assert len(finish()["seeds"]) == 8
    assert not list(tmp_path.rglob("*.part"))


def test_the_list_and_the_help_need_the_standard_library_alone():
    for words in (["list"], ["--help"], ["run", "--help"]):
        command = [sys.executable, "-S", "-m", "lessons", *words]  # -S: without the installed packages
        ended = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
        assert "momentum" in ended.stdout
