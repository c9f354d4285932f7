"""What every lesson shares: predictions and answers, seeds and records, options, progress, tables, figures and files.

The only part of the package that prints, plots or parses. A lesson takes from it what its predictions, its answers and
its figure are made of, and `main`, on its last line.
"""

from dlnotes.lesson.cli import command_line
from dlnotes.lesson.cli import lesson_main as main
from dlnotes.lesson.figures import curves, reference_line, strips, tiles
from dlnotes.lesson.predictions import answer, claim, limit

__all__ = [
    "answer",
    "claim",
    "command_line",
    "curves",
    "limit",
    "main",
    "reference_line",
    "strips",
    "tiles",
]
