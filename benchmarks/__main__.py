"""``python -m benchmarks``: each ratio with its spread and what it should be; one thread on both sides."""

import argparse
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import torch

from benchmarks import convolutions, decoding, recurrent, softmax, starting, steps, sweeps, table, training, words
from benchmarks.clock import ROUNDS
from dlnotes.files import write_whole
from dlnotes.lesson.records import to_json
from dlnotes.lesson.seeds import environment
from dlnotes.lesson.session import print_anywhere

HERE = Path(__file__).parent
PARTS: dict[str, ModuleType] = {
    "training": training,
    "steps": steps,
    "convolutions": convolutions,
    "recurrent": recurrent,
    "decoding": decoding,
    "softmax": softmax,
    "words": words,
    "sweeps": sweeps,
    "starting": starting,
}


def main() -> None:
    """Take the times, print a line for each pair, and keep what all of them gave."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="How fast the library is beside what one would use instead: ratios of times, theirs over ours.",
    )
    parser.add_argument(
        "part",
        nargs="*",
        help=f"{', '.join(PARTS)}; without one all are measured, and only then kept",
    )
    chosen = parser.parse_args().part
    if unknown := set(chosen) - PARTS.keys():
        parser.error(f"unknown part {', '.join(sorted(unknown))}; known: {', '.join(PARTS)}")

    print_anywhere()
    torch.set_num_threads(1)
    print(f"the time of theirs over ours: median [smallest, largest] of {ROUNDS} rounds; torch {torch.__version__}")
    rows = list(printed(chosen or list(PARTS)))
    if not chosen:
        peers = {name: version(name) for name in ("scikit-learn", "keras", "transformers", "gensim")}
        content = table.kept(rows, {**environment("cpu"), **peers})
        write_whole(HERE / "results.json", to_json(content))
        page = HERE / "README.md"
        write_whole(page, table.page(page.read_text("utf-8"), content))
        missed, goals = sum(row.met is False for row in rows), sum(row.met is not None for row in rows)
        print(f"{missed} of {goals} goals are missed; kept in benchmarks/README.md")


def printed(parts: list[str]) -> Iterator[table.Row]:
    """The rows of some parts, printed as they come."""
    for part in parts:
        for row in PARTS[part].rows():
            print(row, flush=True)
            yield row


if __name__ == "__main__":
    main()
