"""What every lesson shares: seeds and records, options, progress, tables, figures and files.

The only part of the package that prints, plots or parses. A lesson needs one name of it: `main`, on its last line.
"""

from dlnotes.lesson.cli import command_line
from dlnotes.lesson.cli import lesson_main as main

__all__ = ["command_line", "main"]
