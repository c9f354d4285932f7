"""Processes that begin with all imported: forks of one that has imported what takes seconds.

It has one thread, so that a fork of it is sound, and it serves all tests of a run.
"""

import os
import runpy
import signal
import sys
from multiprocessing import current_process, get_context, resource_tracker
from pathlib import Path
from select import select
from traceback import walk_stack

import pytest

# The first optimizer imports torch._dynamo.
IMPORTED = ["pytest", "torch._dynamo", "dlnotes.deep", "dlnotes.lesson", "scipy.stats", "matplotlib.pyplot"]
FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(IMPORTED)


def start(folder, environment, *words, stderr=None):
    """Start Python in a folder, on a script or on ``-m`` and a module, and come back when it begins.

    Returns:
        The process, and a pipe with all that it writes; what goes to stderr is in a file, where one is given.
    """
    pipe, theirs = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=_run, args=(Path(folder), theirs, environment, words, stderr))
    process.start()
    theirs.close()
    assert select([pipe], [], [], 60)[0], "the run does not begin"
    return process, pipe


def end(process, pipe):
    """The exit code and all that was written, when the last process that could write has ended."""
    written = b""
    while select([pipe], [], [], 60)[0]:
        piece = os.read(pipe.fileno(), 65_536)
        if not piece:
            process.join(60)
            return process.exitcode, written.decode().removeprefix("begun\n")
        written += piece
    return pytest.fail("a process hangs")


def _run(folder, pipe, environment, words, stderr):
    os.dup2(pipe.fileno(), 1)
    os.dup2(pipe.fileno() if stderr is None else os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    pipe.close()
    # A run from a shell has a resource tracker of its own, which takes away what a killed run leaves. A fork has ours.
    tracker = resource_tracker._resource_tracker
    os.close(tracker._fd)
    tracker._fd = None
    tracker.ensure_running()
    current_process()._config["semprefix"] = f"/mp-{os.getpid()}"  # to know whose semaphores are left
    # A shell starts what runs in the background with Ctrl-C ignored, and that is inherited.
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))  # until the command line answers it
    os.chdir(folder)
    os.environ.update(environment)
    os.write(1, b"begun\n")
    try:
        if words[0] == "-m":
            sys.argv = list(words[1:])
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = [str(folder / words[0]), *words[1:]]
            runpy.run_path(sys.argv[0], run_name="__main__")
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    os._exit(code)  # without what Python does at its end, when signals are answered by Python and not by us


def _interrupt(number, frame):
    """Ctrl-C as Python answers it, by an exception; or by an end where the command line does not catch it."""
    if not any(inner.f_code.co_name == "_guarded" for inner, _ in walk_stack(frame)):
        os._exit(130)
    signal.default_int_handler(number, frame)
