"""A lesson gives the same files whatever interrupts it, in whatever order Python hashes, and by however many ranks."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest

from dlnotes.lesson.contents import CHECKOUT, lessons
from tests import forks

CODES = {signal.SIGINT: 130, signal.SIGKILL: -9, signal.SIGTERM: 143}
SECONDS = re.compile(r'"seconds": [\d.]+')


def start(folder, *words):
    """Start the lesson, or go on with it; come back when it begins, with the process and what it writes to."""
    folder.mkdir(exist_ok=True)
    command = ["-m", "lessons", "run", "temperature", "--out", str(folder / "out"), *words]
    return forks.start(folder, {**os.environ, "DLNOTES_CACHE": str(folder / "cache")}, *command)


def files(folder):
    """The contents of all files below a folder, by name, without the seconds in them."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): SECONDS.sub("", path.read_text("utf-8")) for path in found}


def whole_files(folder):
    return {name: content for name, content in files(folder).items() if not name.endswith(".part")}


def parts(folder):
    return set(folder.rglob(".*.part"))


def semaphores(process):
    """The semaphores of a run, where they are files (on Linux)."""
    return list(Path("/dev/shm").glob(f"sem.mp-{process.pid}-*"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A function: the files of a run with so many jobs that nobody disturbs, and the seconds that it takes."""

    @cache
    def run(jobs):
        folder = tmp_path_factory.mktemp("undisturbed")
        process, before = start(folder, "--jobs", str(jobs)), time.perf_counter()
        code, written = forks.end(*process)
        assert code == 0, written
        seconds = time.perf_counter() - before
        assert jobs == 1 or files(folder) == run(1)[0]
        return files(folder), seconds

    return run


def wait_for_a_file(chance, folder, process, expected):
    """Until the run begins to write some file that is missing."""
    missing = sorted(name for name in expected if not (folder / name).exists())
    if not missing:
        return
    path = folder / chance.choice(missing)
    unfinished = f".{path.name}.*"
    stale = list(path.parent.glob(unfinished))
    while process.is_alive() and not path.exists() and list(path.parent.glob(unfinished)) in ([], stale):
        time.sleep(0.001)


def wait_for_the_dead(folder):
    """A worker without a parent counts as alive, and its part as wanted, until the system notices that it has ended."""
    for part in folder.rglob(".*.part"):
        writer = int(part.stem.rpartition("-")[2])
        with suppress(ProcessLookupError):
            for _ in range(6_000):
                os.kill(writer, 0)
                time.sleep(0.01)


def test_a_lesson_that_is_interrupted_keeps_whole_records_and_goes_on_to_the_same_files(tmp_path, faults, undisturbed):
    (expected, _), lives, folder = undisturbed(1), 0, tmp_path / "0"
    for number, chance in enumerate(faults("signals to a lesson run", few=2, all=100)):
        # All pairs of signal, jobs and moment within twelve rounds; to be killed with two jobs within the first two.
        how, jobs, code = list(CODES)[number % 3], 1 + number % 2, 0
        while code == 0:
            stale, run = parts(folder), start(folder, "--jobs", str(jobs))
            if number // 2 % 2:
                time.sleep(chance.random() * undisturbed(jobs)[1])
            else:
                wait_for_a_file(chance, folder, run[0], expected)
            with suppress(ProcessLookupError):  # it has ended
                os.kill(run[0].pid, how)
            code, written = forks.end(*run)
            wait_for_the_dead(folder)
            assert code in (0, CODES[how]), written
            # Python reports a signal that comes while it runs a finalizer, forgets it, and the run reaches its end.
            assert code == 0 or "Traceback" not in written, written
            assert whole_files(folder).items() <= expected.items()
            assert not semaphores(run[0]), "the resource tracker has not taken them away"
            if "seeds to measure" in written:
                assert not stale & parts(folder), "what an earlier run left unfinished is still there"
            if code == 0:  # it ended before
                assert files(folder) == expected
                lives += 1
                folder = tmp_path / str(lives)
    assert forks.end(*start(folder))[0] == 0
    assert files(folder) == expected


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    """The files of lessons in their quick form: by one process, and with another hash seed by two ranks under torchrun.

    Beside the files of each, what was printed.
    """
    chosen = [] if os.environ.get("DLNOTES_FAULTS") == "all" else ["temperature"]  # none named is all of them
    folders = [tmp_path_factory.mktemp("twice") for _ in range(2)]
    lesson = [["-m", "lessons", "run", *chosen, "--quick", "--out", str(folder / "out")] for folder in folders]
    alone, shared = ({**os.environ, "DLNOTES_CACHE": str(folder / "cache")} for folder in folders)
    shared |= {"PYTHONHASHSEED": "2" if alone.get("PYTHONHASHSEED") == "1" else "1", "OMP_NUM_THREADS": "1"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"]
    with subprocess.Popen(
        [*torchrun, *lesson[1]], cwd=CHECKOUT, env=shared, stdout=subprocess.PIPE, text=True
    ) as ranks:
        code, printed = forks.end(*forks.start(folders[0], alone, *lesson[0]))
        assert code == 0, printed
        printed_by_ranks, _ = ranks.communicate(timeout=1_800)
        assert ranks.returncode == 0
    return [(files(folders[0] / "out"), printed), (files(folders[1] / "out"), printed_by_ranks)]


def of_lesson(name, written):
    found = {file: content for file, content in written.items() if file.startswith(f"{name}.quick.")}
    assert len(found) == 2, f"not a figure and a file of results: {sorted(found)}"
    return found


def names():
    """The lessons, a fast one first."""
    return sorted((lesson.name for lesson in lessons()), key=lambda name: name != "temperature")


def test_the_order_in_which_python_hashes_changes_no_file_of_a_lesson(faults, twice):
    (once, _), (again, _) = twice
    for _, name in zip(faults("lessons run with another hash seed", few=1, all=len(lessons())), names(), strict=False):
        assert of_lesson(name, once) == of_lesson(name, again)


def test_two_ranks_under_torchrun_write_the_files_that_one_process_writes(faults, twice):
    (once, _), (shared_out, printed) = twice
    assert printed.count("\nresults  ") == len(once) / 2, "each lesson is reported once, by one of the ranks"
    for _, name in zip(faults("lessons shared out by torchrun", few=1, all=len(lessons())), names(), strict=False):
        assert of_lesson(name, once) == of_lesson(name, shared_out)
