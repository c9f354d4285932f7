"""The record of each seed: one small file, written whole or not at all, that a later run need not measure again."""

import hashlib
import json
import math
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from dlnotes.files import write_whole

__all__ = ["Record", "Records", "nan_for_null", "to_json"]

SCHEMA = 1

_LIST_OF_NUMBERS = re.compile(r"\[\n[-+.\deE,\snul]*\]")


class Record(NamedTuple):
    """What one trial measured, and the seconds that it took."""

    measured: dict[str, float | list[float]]
    seconds: float


class Records:
    """The records of one lesson under one key: what its numbers depend on.

    Args:
        folder: where all records lie.
        lesson: the lesson's name.
        key: code, config, device, data and versions, as plain values.
    """

    def __init__(self, folder: Path, lesson: str, key: dict[str, Any]) -> None:
        digest = hashlib.sha256(to_json(key).encode()).hexdigest()[:16]
        self.folder = folder / lesson / digest
        self._key = key

    def read(self, seed: int) -> Record | None:
        """The record of a seed; None where there is none, or none that can be read."""
        try:
            content = json.loads(self._path(seed).read_text(encoding="utf-8"))
            if (content["schema"], content["seed"]) != (SCHEMA, seed):
                return None
            measured = {name: nan_for_null(value) for name, value in content["measured"].items()}
            return Record(measured, float(content["seconds"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):  # missing, or not one of ours
            return None

    def write(self, seed: int, record: Record) -> None:
        """Keep the record of a seed."""
        content = {
            "schema": SCHEMA,
            "seed": seed,
            "measured": record.measured,
            "seconds": round(record.seconds, 3),
            "key": self._key,
        }
        # The time is set after the record can be seen, so that of several ranks the last one sees all others' records.
        os.utime(write_whole(self._path(seed), to_json(content)))

    def remove(self, seed: int) -> None:
        """Forget the record of a seed, if there is one."""
        self._path(seed).unlink(missing_ok=True)

    def last(self, seeds: Iterable[int]) -> int:
        """The seed whose record was written last; of several at one time the largest."""
        return max(seeds, key=lambda seed: (self._path(seed).stat().st_mtime_ns, seed))

    def _path(self, seed: int) -> Path:
        return self.folder / f"seed-{seed:04}.json"


def to_json(content: Any) -> str:
    """JSON as all our files have it: a line a name, lists of numbers on one line, null for what is not finite."""
    text = json.dumps(_null_for_nan(content), indent=1, ensure_ascii=False, allow_nan=False)
    return _LIST_OF_NUMBERS.sub(lambda found: " ".join(found[0].split()), text) + "\n"


def _null_for_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _null_for_nan(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_null_for_nan(one) for one in value]
    return value


def nan_for_null(value: Any) -> Any:
    """A measured number, or a list of them, as they were before `to_json`."""
    if isinstance(value, list):
        return [nan_for_null(one) for one in value]
    return math.nan if value is None else value
