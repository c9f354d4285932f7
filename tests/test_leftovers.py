"""A run of tests fails when it leaves something running, and says what."""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEAVES = """\
import multiprocessing, subprocess, sys, threading, time

sleep = [sys.executable, "-c", "import time; time.sleep(20)"]

def test_thread():
    threading.Thread(target=time.sleep, args=(20,), name="forgotten", daemon=True).start()

def test_process():
    subprocess.Popen(sleep)

def test_process_without_a_parent():
    subprocess.run(["sh", "-c", '"$@" >/dev/null 2>&1 &', "sh", *sleep])

def test_fork():
    multiprocessing.get_context("forkserver").Process(target=time.sleep, args=(20,), daemon=True).start()
"""
LEAVES_NOTHING = """\
import concurrent.futures, multiprocessing, subprocess, sys, threading, time

def test_what_ends():
    threading.Thread(target=time.sleep, args=(0.2,)).start()
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.2)"])
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("forkserver")) as pool:
        assert pool.submit(abs, -1).result() == 1
"""


def run(folder, tests, *words):
    """The exit code and the output of a run of these tests."""
    (folder / "test_it.py").write_text(tests, "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.leftovers", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([*command, "test_it.py"], cwd=folder, env=environment, capture_output=True, text=True)
    return ended.returncode, ended.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists processes as files")
@pytest.mark.parametrize("words", [["-p", "no:xdist"], ["-n", "1"]], ids=["in one process", "with pytest-xdist"])
def test_a_run_that_leaves_something_running_fails_and_names_it(tmp_path, words):
    if "-n" in words:
        pytest.importorskip("xdist")
    (tmp_path / "conftest.py").write_text("from tests import leftovers\n\nleftovers.SECONDS = 1\n", "utf-8")
    code, output = run(tmp_path, LEAVES, *words)
    passed, _, left = output.partition("left behind by tests")
    assert "...." in passed
    assert code == 1
    assert left.count("thread ") == left.count("thread 'forgotten'") == 1
    processes = [line for line in left.splitlines() if line.startswith("process ")]
    for process in re.findall(r"^process (\d+): ", left, re.MULTILINE):
        with suppress(ProcessLookupError):  # the fork ends with its parent
            os.kill(int(process), signal.SIGKILL)
    assert len(processes) == 3
    for test in ("test_process ", "test_process_without_a_parent ", "forkserver"):
        assert any(test in line for line in processes)


def test_a_run_that_leaves_nothing_running_passes(tmp_path):
    code, output = run(tmp_path, LEAVES_NOTHING, "-p", "no:xdist")
    assert code == 0, output
    assert "left behind" not in output
