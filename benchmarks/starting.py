"""What a program waits for before it begins: the import, and the letters. Each round is a process of its own."""

import subprocess
import sys
from collections.abc import Iterator

from benchmarks.clock import ROUNDS, ratio_of
from benchmarks.table import Row

__all__ = ["rows"]

IMPORT = """
import time
start = time.perf_counter()
import torch
after_torch = time.perf_counter()
import dlnotes.data, dlnotes.deep, dlnotes.evidence, dlnotes.linear, dlnotes.sweeps, dlnotes.training
print(time.perf_counter() - start, after_torch - start)
"""

LETTERS = """
import time
import torch
from dlnotes import data
torch.set_num_threads(1)
start = time.perf_counter()
data.letters(0, train=16_000, validation=2_000, test=2_000)
print(time.perf_counter() - start, 3)
"""


def rows() -> Iterator[Row]:
    """The import of all of the library beside that of PyTorch alone; 20,000 letters beside three seconds."""
    for what, program, goal in (
        ("the import of PyTorch and all of the library, and of PyTorch", IMPORT, 0.95),
        ("drawing 20,000 letters, fonts included, and 3 s", LETTERS, 1),
    ):
        run(program)  # so that the files are in memory
        yield Row(what, ratio_of([run(program) for _ in range(ROUNDS)]), goal)


def run(program: str) -> tuple[float, float]:
    """The two times that a program prints, in microseconds."""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    ours, theirs = (float(seconds) * 1e6 for seconds in ended.stdout.split())
    return ours, theirs
