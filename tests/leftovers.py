"""Nothing that a test starts outlives it: a run that leaves threads or processes behind has failed, and names them.

A plugin of pytest, which `tests/conftest.py` brings in. Under pytest-xdist each worker looks at itself at its end, and
the process that began the run reports what they found.
"""

import os
import threading
import time
from pathlib import Path

import pytest
import tqdm

SECONDS = 5  # for what ends by itself
MARK = "DLNOTES_TEST_PROCESS"  # in the environment of whatever this process starts, and of what that starts
HELPERS = ("from multiprocessing.resource_tracker import main", "from multiprocessing.forkserver import main")

_BEFORE: set[threading.Thread] = set()
_LEFT: list[str] = []


def threads_left(before):
    """The threads that were not there before, once they have had their time to end."""
    until = time.monotonic() + SECONDS
    while (left := set(threading.enumerate()) - set(before)) and time.monotonic() < until:
        time.sleep(0.01)
    return left


def processes_left():
    """What this process started and what that started, once it has had its time to end: a line for each."""
    until = time.monotonic() + SECONDS
    while (left := _processes()) and time.monotonic() < until:
        time.sleep(0.05)
    return left


def _processes():
    """Linux alone lists processes as files; elsewhere nothing is found."""
    mine, found = str(os.getpid()), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text("utf-8").rpartition(")")[2].split()[:2]
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
            environment = (folder / "environ").read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:  # it has ended, or is somebody else's
            continue
        ours = parent == mine or f"{MARK}={mine}" in environment
        helper = parent == mine and any(words in command for words in HELPERS)  # these end when this process ends
        if ours and not helper and state != "Z" and folder.name != mine:
            test = next((line for line in environment if line.startswith("PYTEST_CURRENT_TEST=")), "")
            found.append(f"process {folder.name}: {command} {test}".strip())
    return found


def _shares_out(config):
    """Whether pytest-xdist runs the tests in other processes."""
    return config.pluginmanager.hasplugin("dsession")


def pytest_sessionstart(session):
    tqdm.tqdm.monitor_interval = 0  # its thread would live as long as the process
    _BEFORE.update(threading.enumerate())
    if not _shares_out(session.config):
        os.environ[MARK] = str(os.getpid())


def pytest_sessionfinish(session):
    if not _shares_out(session.config):
        _LEFT.extend(f"thread {thread.name!r}" for thread in threads_left(_BEFORE))
        _LEFT.extend(processes_left())
    if hasattr(session.config, "workeroutput"):  # this is a worker of pytest-xdist
        session.config.workeroutput["left"] = _LEFT
    elif _LEFT and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    _LEFT.extend(getattr(node, "workeroutput", {}).get("left", []))


def pytest_terminal_summary(terminalreporter):
    if _LEFT:
        terminalreporter.section("left behind by tests", red=True)
        for line in _LEFT:
            terminalreporter.write_line(line, red=True)
