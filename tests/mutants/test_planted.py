"""Every planted bug is caught by the test that is named for it: `make mutants`, or `make mutants ONLY=linear`.

The bugs are listed in the *.toml beside this file, a table for each (the keys are explained at the top of linear.toml):

    [[mutants]]
    file = "dlnotes/linear/softmax.py"
    old = "shifted / temperature"
    new = "shifted * temperature"
    test = "tests/linear/test_softmax.py::test_a_temperature_divides_the_scores"
    why = "the temperature multiplies"

A bug is planted in a copy of the repository, never in the repository. It counts as caught when the named test runs and
fails in its call phase: a file that no longer imports, a name that is not defined, a test that is not there or a
fixture that breaks catch nothing. The same tests pass in the copy without a bug: it is the bug that they catch. That a
list is in order, each text to change still there and the named test too, is part of `make check` (tests/stale.py).

Where pytest runs in several processes, each has a copy and a worker (worker.py) of its own. pytest looks into this
folder only where it is named: pyproject.toml says so.
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.bugs import LISTS, bugs_in

ROOT = Path(__file__).parents[2]
MOMENTS = itertools.count(1)


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def run(copy):
    """A function that runs tests of the copy, by their ids, in the worker."""
    quick = {"HYPOTHESIS_PROFILE": "mutants", "DLNOTES_TEST_SEED": "0", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    with subprocess.Popen(
        [sys.executable, "-P", Path(__file__).with_name("worker.py")],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy), "PYTEST_ADDOPTS": "", **quick},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as worker:

        def ask(tests):
            print(json.dumps(tests), file=worker.stdin, flush=True)
            return json.loads(worker.stdout.readline())

        yield ask
        worker.stdin.close()


@pytest.mark.parametrize("listed", LISTS, ids=lambda listed: listed.stem)
def test_the_named_tests_pass_in_the_copy_without_a_bug(listed, run):
    answer = run(sorted({bug["test"] for bug in bugs_in(listed)}))
    assert answer["exit"] == pytest.ExitCode.OK, answer["printed"]


@pytest.mark.parametrize(
    "bug", [pytest.param(bug, id=f"{listed.stem}: {bug['why']}") for listed in LISTS for bug in bugs_in(listed)]
)
def test_the_bug_is_caught(bug, copy, run):
    path = copy / bug["file"]
    sound, status = path.read_text("utf-8"), path.stat()
    try:
        path.write_text(sound.replace(bug["old"], bug["new"]), "utf-8")
        # Python trusts a compiled file whose time and size are those of the source: no two bugs have the same time.
        os.utime(path, (0, next(MOMENTS)))
        answer = run([bug["test"], "-x"])
    finally:
        path.write_text(sound, "utf-8")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    caught = answer["exit"] == pytest.ExitCode.TESTS_FAILED and "call" in answer["failed in"]
    if not caught or "NameError" in answer["printed"]:
        planted = f"{bug['file']}: {bug['old']!r} made {bug['new']!r}"
        pytest.fail(f"NOT CAUGHT: {planted}\nby {bug['test']}, which said\n{answer['printed']}", pytrace=False)
