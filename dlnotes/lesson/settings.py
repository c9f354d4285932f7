"""Settings and seeds as a user writes them: ``--set train=500 sizes=1,2`` and ``--seeds 4-7``."""

import math
import typing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

from dlnotes.lesson.contents import UsageError

__all__ = ["as_dict", "config_from", "override", "seeds_from"]


def override(config: Any, settings: Sequence[str]) -> Any:
    """A config with some fields replaced, given as ``name=value``.

    The type of a value must be that of the field: a float may be written as an integer, a tuple as its items joined
    by commas.

    Raises:
        UsageError: an unknown name, or a value of another type.
    """
    types = typing.get_type_hints(type(config))
    given: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"--set expects name=value, not {setting!r}")
        if name not in types:
            known = ", ".join(f"{field.name} ({_words(types[field.name])})" for field in fields(config))
            raise UsageError(f"unknown setting {name!r}; known: {known}")
        try:
            given[name] = _parse(text, types[name])
        except ValueError:
            raise UsageError(f"the setting {name} must be {_words(types[name])}, not {text!r}") from None
    try:
        return replace(config, **given)
    except (ValueError, TypeError) as error:  # the lesson's own check of its settings
        raise UsageError(f"it cannot run with {' '.join(settings)}: {error}") from error


def _parse(text: str, kind: Any) -> Any:
    if typing.get_origin(kind) is tuple:
        return tuple(_parse(item, typing.get_args(kind)[0]) for item in text.split(","))
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(text)
        return text.lower() == "true"
    value = kind(text)
    if kind is float and not math.isfinite(value):
        raise ValueError(text)
    return value


def _words(kind: Any) -> str:
    if typing.get_origin(kind) is tuple:
        return f"{typing.get_args(kind)[0].__name__},{typing.get_args(kind)[0].__name__},…"
    return {int: "an int", float: "a float", bool: "true or false", str: "a text"}.get(kind, str(kind))


def as_dict(config: Any) -> dict[str, Any]:
    """A config as plain values, in the order of its fields."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(config).items()}


def config_from(config: Any, values: Mapping[str, Any]) -> Any:
    """The config that `as_dict` made plain, of the type of another."""
    return replace(config, **{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})


def seeds_from(text: str) -> range | tuple[int, ...]:
    """Seeds as a user writes them: ``12`` (the first twelve), ``4-7``, or ``0,3,9``.

    Raises:
        UsageError: anything else.
    """
    try:
        if "," in text:
            return tuple(sorted({_seed(part) for part in text.split(",")}))
        if "-" in text:
            first, last = (_seed(part) for part in text.split("-"))
            if first <= last:
                return range(first, last + 1)
        elif _seed(text) > 0:
            return range(_seed(text))
    except ValueError:
        pass
    raise UsageError(f"--seeds expects a number (12), a range (4-7) or a list (0,3,9), not {text!r}")


def _seed(text: str) -> int:
    if not text.strip().isdecimal() or int(text) >= 2**32:
        raise ValueError(text)
    return int(text)
