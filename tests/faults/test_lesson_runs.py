"""A lesson gives the same files whatever interrupts it, in whatever order Python hashes, and by however many ranks."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import cache
from multiprocessing import current_process, get_context, resource_tracker
from pathlib import Path
from select import select
from traceback import walk_stack

import pytest

from dlnotes.lesson import command_line
from dlnotes.lesson.contents import CHECKOUT, lessons

# A fork of a process that has imported what takes long, and has one thread, begins at once. One such process serves all
# tests, so that other files name the same modules. The first optimizer imports torch._dynamo.
IMPORTED = ["pytest", "torch._dynamo", "dlnotes.deep", "dlnotes.lesson", "scipy.stats", "matplotlib.pyplot"]
get_context("forkserver").set_forkserver_preload(IMPORTED)

CODES = {signal.SIGINT: 130, signal.SIGKILL: -9, signal.SIGTERM: 143}
SECONDS = re.compile(r'"seconds": [\d.]+')


def run_lesson(folder: Path, pipe, words: tuple[str, ...]) -> None:
    """What `python -m lessons run temperature` does, in a process that has imported PyTorch before."""
    for stream in (1, 2):
        os.dup2(pipe.fileno(), stream)
    pipe.close()
    # A run from a shell has a resource tracker of its own, which takes away what a killed run leaves. A fork has ours.
    tracker = resource_tracker._resource_tracker
    os.close(tracker._fd)
    tracker._fd = None
    tracker.ensure_running()
    current_process()._config["semprefix"] = f"/mp-{os.getpid()}"  # to know whose semaphores are left
    # A shell starts what runs in the background with Ctrl-C ignored, and that is inherited.
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))  # until the command line answers it
    os.environ["DLNOTES_CACHE"] = str(folder / "cache")
    os.write(1, b"begun\n")
    try:
        code = command_line(["run", "temperature", "--out", str(folder / "out"), *words], tour=())
    except SystemExit as ended:
        code = ended.code
    os._exit(code)  # without what Python does at its end, when signals are answered by Python and not by us


def interrupt(number, frame):
    """Ctrl-C as Python answers it, by an exception; or by an end where the command line does not catch it."""
    if not any(inner.f_code.co_name == "_guarded" for inner, _ in walk_stack(frame)):
        os._exit(130)
    signal.default_int_handler(number, frame)


def start(folder, *words):
    """Start the lesson, or go on with it; come back when it begins, with the process and what it writes to."""
    context = get_context("forkserver")
    pipe, theirs = context.Pipe(duplex=False)
    process = context.Process(target=run_lesson, args=(folder, theirs, words))
    process.start()
    theirs.close()
    assert select([pipe], [], [], 60)[0], "the lesson does not begin"
    return process, pipe


def end(process, pipe):
    """The exit code and all that was written, when the last process that could write has ended."""
    written = b""
    while select([pipe], [], [], 60)[0]:
        piece = os.read(pipe.fileno(), 65_536)
        if not piece:
            process.join(60)
            return process.exitcode, written.decode()
        written += piece
    return pytest.fail("a process hangs")


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
        code, written = end(*process)
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
            code, written = end(*run)
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
    assert end(*start(folder))[0] == 0
    assert files(folder) == expected


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    """The files of lessons in their quick form: by one process, and with another hash seed by two ranks under torchrun.

    Beside the files of each, what was printed.
    """
    chosen = [] if os.environ.get("DLNOTES_FAULTS") == "all" else ["temperature"]  # none named is all of them
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"]
    processes = []
    for seed, words in (("1", []), ("2", torchrun)):
        folder = tmp_path_factory.mktemp("twice")
        command = [sys.executable, *words, "-m", "lessons", "run", *chosen, "--quick", "--out", str(folder / "out")]
        mine = {"DLNOTES_CACHE": str(folder / "cache"), "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"}
        with open(folder / "printed", "w") as printed:
            process = subprocess.Popen(command, cwd=CHECKOUT, env={**os.environ, **mine}, stdout=printed)
        processes.append((process, folder))
    try:
        for process, _ in processes:
            assert process.wait(timeout=1_800) == 0
    finally:
        for process, _ in processes:
            process.kill()
            process.wait()
    return [(files(folder / "out"), (folder / "printed").read_text("utf-8")) for _, folder in processes]


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
