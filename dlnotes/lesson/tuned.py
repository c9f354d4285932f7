"""Settings that were tuned: kept as data of the package, one file a lesson, and read from there by its trials.

They are chosen by ``python -m lessons tune``, which keeps the scores of all candidates as well. What a user has tuned
lies in the output folder; it is used where the package has nothing, and such a run is exploratory.
"""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dlnotes.files import write_whole
from dlnotes.lesson.contents import Lesson, UsageError, file_name_of, output_folder
from dlnotes.places import PACKAGE

__all__ = ["TunedSettings", "keep_tuned", "kept_for", "path_of", "tuned_settings"]

FOLDER = PACKAGE / "tuned"


class TunedSettings(NamedTuple):
    """The value that was chosen for each arm, and the file where that is not the package's."""

    values: Mapping[str, float]
    elsewhere: Path | None = None


def tuned_settings(lesson: Lesson, config: Any) -> TunedSettings:
    """The settings that were tuned for the data of a config.

    Raises:
        UsageError: there are none; the message says which command chooses them.
    """
    data = getattr(config, "data", None)
    if kept := kept_for(lesson.name, data):
        return TunedSettings(kept)
    own = output_folder() / "tuning" / f"{'.'.join(filter(None, [lesson.name, data and file_name_of(data)]))}.json"
    if found := _numbers(own, _read(own).get("winners", {})):
        return TunedSettings(found, own)
    option = f" --data {shlex.quote(data)}" if data else ""
    raise UsageError(
        f"the lesson {lesson.name} has no settings tuned for {data or 'it'}: `python -m lessons tune "
        f"{lesson.name}{option}` chooses them"
    )


def kept_for(lesson: str, data: str | None) -> dict[str, float]:
    """What the package keeps for a lesson and a data set; nothing where it keeps nothing."""
    path = path_of(lesson)
    return _numbers(path, _read(path).get(data or "", {}))


def keep_tuned(lesson: Lesson, data: str | None, winners: Mapping[str, float]) -> Path:
    """Make what was chosen the settings of the package."""
    path = path_of(lesson.name)
    kept = {**_read(path), data or "": dict(winners)}
    return write_whole(path, json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


def path_of(lesson: str) -> Path:
    """The package's file of a lesson's tuned settings."""
    return FOLDER / f"{lesson}.json"


def _numbers(path: Path, settings: Any) -> dict[str, float]:
    """Settings as numbers; what was not written by us is named."""
    try:
        return {str(arm): float(value) for arm, value in settings.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise UsageError(f"{path} has settings that are no numbers ({error}): tune again") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read ({error}): tune again") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path} is no file of tuned settings: tune again")
    return content
