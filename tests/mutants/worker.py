"""A process that has imported what tests import, and runs tests in forks of itself: `python worker.py` in a checkout.

It reads a line for each run, a JSON list of the ids of tests, and answers with a line of JSON:

    exit        the exit code of pytest; null where the run did not end by itself
    failed in   the phases in which a test failed: "setup", "call", "teardown"
    printed     what pytest said

A run costs a fraction of a second, most of it for the tests: what a fork had to import from other packages, the worker
imports afterwards, so that the next forks have it. The checkout's own modules are imported in the forks alone, which
is where the bugs are. torch refuses to go backward in the fork of a process that went backward before, and a worker
that only imports never does.
"""

import contextlib
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

SECONDS = 60  # a test, after which one that a bug has made endless is given up
# Without the plugins and the doctests of an ordinary run (the environment of the worker says so too): they take as long
# as most tests, and judge nothing here.
OPTIONS = ["-q", "--tb=line", "--assert=plain", "-o", "addopts=", "--import-mode=importlib", "-p", "no:cacheprovider"]


class Phases:
    """A plugin of pytest that notes in which phases tests fail."""

    def __init__(self):
        self.failed = set()

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failed.add(report.when)


def run_here(tests, folder):
    """Run tests in this process, and write down in a folder how it went."""
    before, phases = set(sys.modules), Phases()
    status = pytest.main([*tests, *OPTIONS, f"--basetemp={folder}/tests"], plugins=[phases])
    imported = [name for name in list(sys.modules) if name not in before and of_others(sys.modules[name])]
    outcome = {"exit": status, "failed in": sorted(phases.failed), "imported": imported}
    Path(folder, "answer").write_text(json.dumps(outcome))


def of_others(module):
    """Whether a module is from another package, and not from the checkout, where the bugs are."""
    origin = getattr(getattr(module, "__spec__", None), "origin", None)
    return origin is not None and not Path(origin).is_relative_to(Path.cwd())


def run_in_a_fork(tests, folder, printed):
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        signal.alarm(SECONDS * len(tests))
        for stream in (1, 2):
            os.dup2(printed.fileno(), stream)
        run_here(tests, folder)
    finally:
        os._exit(0)


def run_in_a_process(tests, folder, printed):
    """For systems that cannot fork: the same, and slow."""
    command = [sys.executable, "-P", __file__, folder, *tests]
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(command, stdout=printed, stderr=printed, timeout=SECONDS * len(tests), check=False)


def serve():
    importlib.import_module("torch._dynamo")  # what takes longest, before the first answer is waited for
    run = run_in_a_fork if hasattr(os, "fork") else run_in_a_process
    for line in sys.stdin:
        gc.freeze()  # so that collections in the forks do not copy all that is loaded
        with tempfile.TemporaryDirectory() as folder, open(Path(folder, "printed"), "w+b") as printed:
            answer = Path(folder, "answer")
            run(json.loads(line), folder, printed)
            ended = {"exit": None, "failed in": [], "imported": []}
            outcome = json.loads(answer.read_text()) if answer.exists() else ended
            printed.seek(0)
            text = printed.read().decode("utf-8", "replace")
        imported = outcome.pop("imported")
        sys.stdout.write(json.dumps({**outcome, "printed": text}) + "\n")
        sys.stdout.flush()
        for name in imported if run is run_in_a_fork else []:
            with contextlib.suppress(Exception):  # a test may have put it there, and only a fork would notice
                importlib.import_module(name)
    os._exit(0)  # there is nothing to clean up, and torch takes a second for it


if __name__ == "__main__":
    if sys.argv[1:]:
        run_here(sys.argv[2:], sys.argv[1])
    else:
        serve()
