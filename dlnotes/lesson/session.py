"""Where a lesson runs: as a script, on a page of the site, or cell by cell in a notebook.

In a notebook the lesson's file says little of what ran: cells are edited, run twice, in another order, or beside
others. What ran is what the session has kept of its inputs.
"""

import codecs
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from dlnotes.lesson.sources import bare

__all__ = ["in_notebook", "is_session", "is_typed", "print_anywhere", "ran_other_code", "runs_the_script"]

# What a terminal that cannot show a character is given in its place; for all others, their numbers.
_PLAIN = {
    "✓": "yes",
    "✗": "no",
    "▸": ">",
    "▹": "limit",
    "◆": "limit",
    "◇": "no limit",
    "◈": "limit?",
    "·": "-",
    "–": "-",
    "─": "-",
    "×": "x",
    "÷": "/",
    "≤": "<=",
    "…": "...",
}

# Converters put this in front; it changes how figures are shown, and no number.
_SHOWS_FIGURES = re.compile(r"get_ipython\(\)\.run_line_magic\('matplotlib', '\w*'\)\s*")


def in_notebook() -> bool:
    """Whether this runs in a notebook, whose arguments are its own and whose output is no terminal."""
    return hasattr(_shell(), "kernel")  # ipykernel may be imported by programs that run notebooks, and are none


def print_anywhere() -> None:
    """Let what is printed go out in whatever encoding the terminal has, before anything was measured to be printed."""
    codecs.register_error("plain", _in_plain_characters)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            with suppress(OSError):  # a stream that was exchanged behind Python's back stays as it is
                stream.reconfigure(errors="plain")


def _in_plain_characters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    refused = error.object[error.start : error.end]
    plain = (_PLAIN.get(one) or one.encode("ascii", "backslashreplace").decode() for one in refused)
    return "".join(plain), error.end


def is_session() -> bool:
    """Whether code is typed here: in a notebook, in IPython, or at Python's own prompt."""
    return _shell() is not None or hasattr(sys, "ps1")


def is_typed(file: str) -> bool:
    """Whether code that says it is from this file was typed, or came through a pipe, and need not stand in it."""
    return is_session() or not Path(file).is_file()


def ran_other_code(script: Path) -> bool:
    """Whether this is a session that has run anything else than the lesson in this file."""
    return is_session() and not runs_the_script(script)


def runs_the_script(script: Path) -> bool:
    """Whether all that this session has run is the lesson in this file: its cells, each once, in their order.

    The last cell, which runs the lesson, may have been run again.
    """
    cells = _cells()
    if cells is None:
        return False
    while len(cells) > 1 and cells[-1] == cells[-2]:
        cells.pop()
    try:
        return bare("\n".join(cells)) == bare(script.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError):  # cells that are no Python
        return False


def _shell() -> Any:
    """The interactive session, if this is one: IPython's, which is that of notebooks too."""
    module = sys.modules.get("IPython")
    return None if module is None else module.get_ipython()


def _cells() -> list[str] | None:
    """All inputs that the session has run, in their order; None where it does not know."""
    shell = _shell()
    if shell is None:
        return None
    kept = [str(cell) for cell in shell.history_manager.input_hist_parsed[1:]]
    if not kept or "" in kept:  # inputs that %reset has made it forget
        return None
    return [cell for cell in kept if not _SHOWS_FIGURES.fullmatch(cell)]
