"""Every planted bug is caught by the test that is named for it.

The bugs are listed in tests/mutants/*.toml, a table for each (the keys are explained at the top of linear.toml):

    [[mutants]]
    file = "dlnotes/linear/softmax.py"
    old = "shifted / temperature"
    new = "shifted * temperature"
    test = "tests/linear/test_softmax.py::test_a_temperature_divides_the_scores"
    why = "the temperature multiplies"

A bug is planted in a copy of the repository, never in the repository. It counts as caught when the named test runs and
fails in its call phase: a file that no longer imports, a name that is not defined, a test that is not there or a
fixture that breaks catch nothing. The same tests pass in the copy without a bug: it is the bug that they catch.

Tests run in forks of a worker that has torch loaded (this file, run as a script): a fraction of a second each. The
worker is a fresh process, because torch refuses to go backward in the fork of a process that went backward before.
"""

import ast
import contextlib
import gc
import importlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
KEYS = {"file", "old", "new", "test", "why"}
SECONDS = 60  # a test, after which one that a bug has made endless is given up

# ----------------------------------------------------------------------------------------------------------------
# The tests
# ----------------------------------------------------------------------------------------------------------------

LISTED = sorted((ROOT / "tests" / "mutants").glob("*.toml"))
MUTANTS = [
    pytest.param(mutant, id=f"{listed.stem}: {mutant['why']}")
    for listed in LISTED
    for mutant in tomllib.loads(listed.read_text("utf-8"))["mutants"]
]
MOMENTS = itertools.count(1)
each_mutant = pytest.mark.parametrize("mutant", MUTANTS)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The repository again, to plant bugs in: files and code copied, the other folders linked."""
    folder = tmp_path_factory.mktemp("repository")
    for entry in ROOT.iterdir():
        if entry.name in ("dlnotes", "lessons", "tests"):
            shutil.copytree(entry, folder / entry.name)
        elif entry.is_file():
            shutil.copy2(entry, folder)
        elif not entry.name.startswith("."):
            (folder / entry.name).symlink_to(entry)
    return folder


@pytest.fixture(scope="module")
def run(copy):
    """A function that runs tests of the copy, by their ids, in the worker."""
    environment = {**os.environ, "PYTHONPATH": str(copy), "HYPOTHESIS_PROFILE": "mutants", "DLNOTES_TEST_SEED": "0"}
    with subprocess.Popen(
        [sys.executable, "-P", __file__],
        cwd=copy,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as worker:

        def ask(tests):
            print(json.dumps(tests), file=worker.stdin, flush=True)
            return json.loads(worker.stdout.readline())

        yield ask
        worker.stdin.close()


def test_each_bug_has_words_of_its_own():
    assert len({mutant.id for mutant in MUTANTS}) == len(MUTANTS) > 0


@each_mutant
def test_the_text_to_change_occurs_once(mutant):
    assert mutant.keys() == KEYS
    assert mutant["file"].startswith(("dlnotes/", "lessons/"))
    assert (ROOT / mutant["file"]).read_text("utf-8").count(mutant["old"]) == 1
    assert mutant["old"] != mutant["new"]


@each_mutant
def test_the_bug_is_python(mutant):
    ast.parse((ROOT / mutant["file"]).read_text("utf-8").replace(mutant["old"], mutant["new"]))


@pytest.mark.parametrize("listed", LISTED, ids=lambda listed: listed.stem)
def test_the_named_tests_pass_in_the_copy_without_a_bug(listed, run):
    answer = run(sorted({mutant["test"] for mutant in tomllib.loads(listed.read_text("utf-8"))["mutants"]}))
    assert answer["exit"] == pytest.ExitCode.OK, answer["printed"]


@each_mutant
def test_the_bug_is_caught(mutant, copy, run):
    path = copy / mutant["file"]
    sound, status = path.read_text("utf-8"), path.stat()
    try:
        path.write_text(sound.replace(mutant["old"], mutant["new"]), "utf-8")
        # Python trusts a compiled file whose time and size are those of the source: no two bugs have the same time.
        os.utime(path, (0, next(MOMENTS)))
        answer = run([mutant["test"], "-x"])
    finally:
        path.write_text(sound, "utf-8")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert answer["exit"] == pytest.ExitCode.TESTS_FAILED, answer["printed"]
    assert "call" in answer["failed in"], answer["printed"]
    assert "NameError" not in answer["printed"]


# ----------------------------------------------------------------------------------------------------------------
# The worker
# ----------------------------------------------------------------------------------------------------------------


class Phases:
    """A plugin of pytest that notes in which phases tests fail."""

    def __init__(self):
        self.failed = set()

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failed.add(report.when)


def run_here(tests, answer):
    """Run tests in this process and write down how it went."""
    phases = Phases()
    quick = ["-q", "--tb=line", "--assert=plain", "-p", "no:cacheprovider"]
    status = pytest.main([*tests, *quick], plugins=[phases])
    Path(answer).write_text(json.dumps({"exit": status, "failed in": sorted(phases.failed)}))


def run_in_a_fork(tests, answer, printed):
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        signal.alarm(SECONDS * len(tests))
        for stream in (1, 2):
            os.dup2(printed.fileno(), stream)
        run_here(tests, answer)
    finally:
        os._exit(0)


def run_in_a_process(tests, answer, printed):
    """For systems that cannot fork: the same, and slow."""
    command = [sys.executable, "-P", __file__, answer, *tests]
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(command, stdout=printed, stderr=printed, timeout=SECONDS * len(tests), check=False)


def serve():
    """Answer each line of test ids, a JSON list, by a line of JSON."""
    for module in ("torch._dynamo", "hypothesis", "scipy.stats", "matplotlib"):
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    run = run_in_a_fork if hasattr(os, "fork") else run_in_a_process
    gc.freeze()  # so that collections in the forks do not copy all that is loaded
    for line in sys.stdin:
        with tempfile.TemporaryDirectory() as folder, open(Path(folder, "printed"), "w+b") as printed:
            answer = Path(folder, "answer")
            run(json.loads(line), str(answer), printed)
            outcome = json.loads(answer.read_text()) if answer.exists() else {"exit": None, "failed in": []}
            printed.seek(0)
            text = printed.read().decode("utf-8", "replace")
            sys.stdout.write(json.dumps({**outcome, "printed": text}) + "\n")
            sys.stdout.flush()
    os._exit(0)  # there is nothing to clean up, and torch takes a second for it


if __name__ == "__main__":
    if sys.argv[1:]:
        run_here(sys.argv[2:], sys.argv[1])
    else:
        serve()
