"""The bugs that are planted, as the files beside this one list them. Standard library alone."""

import tomllib
from pathlib import Path

__all__ = ["KEYS", "LISTS", "bugs_in"]

KEYS = {"file", "old", "new", "test", "why"}  # what linear.toml explains at its top
LISTS = sorted(Path(__file__).parent.glob("*.toml"))


def bugs_in(listed: Path) -> list[dict[str, str]]:
    """The bugs of one list, in its order: a dictionary with `KEYS` for each."""
    return tomllib.loads(listed.read_text("utf-8"))["mutants"]
