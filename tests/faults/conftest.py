"""How many faults are injected, and the table of what became of them.

A test asks for `faults` and loops over it; each round gets a source of chance of its own. ``make test`` injects a few
of each kind; ``make faults`` sets ``DLNOTES_FAULTS=all``, injects all of them, and writes the table into README.md.
"""

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tqdm import tqdm

from dlnotes.files import write_whole

ALL = os.environ.get("DLNOTES_FAULTS") == "all"
PAGE = Path(__file__).parent / "README.md"
MARK = "<!-- `make faults` writes what follows -->\n"

_TALLY: dict[str, list[int]] = {}


@pytest.fixture
def faults():
    """``for chance in faults("kills of a training run", few=4, all=200)``: a `random.Random` for each fault.

    A fault counts as injected when its round begins, and as withstood when the loop comes back for the next one.
    """

    def inject(kind: str, *, few: int, all: int) -> Iterator[random.Random]:
        counts = _TALLY.setdefault(kind, [0, 0])
        for number in tqdm(range(all if ALL else few), desc=kind, file=sys.stderr, disable=None, leave=False):
            counts[0] += 1
            yield random.Random(f"{kind} {number}")
            counts[1] += 1

    return inject


def pytest_terminal_summary(terminalreporter, exitstatus, config):
    if not ALL or not _TALLY:
        return
    lines = ["| fault | injected | withstood |", "|---|--:|--:|"]
    lines += [f"| {kind} | {injected:,} | {withstood:,} |" for kind, (injected, withstood) in _TALLY.items()]
    table = "\n".join(lines)
    terminalreporter.section("faults")
    terminalreporter.write_line(table)
    parts = {"deselected", "skipped"} & terminalreporter.stats.keys()
    if config.args == ["tests/faults"] and exitstatus == pytest.ExitCode.OK and not parts:  # all of them, to the end
        written, mark, _ = PAGE.read_text("utf-8").partition(MARK)
        assert mark, f"{PAGE} lacks the line {MARK.strip()}"
        write_whole(PAGE, f"{written}{mark}\n{table}\n")
