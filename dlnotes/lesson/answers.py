"""A row's answer in a sentence or two: the lesson's own where its findings are as it was written for, else a plain one.

Standard library alone: answers are read from the lesson's text and filled in from results.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from dlnotes.lesson.contents import Lesson
from dlnotes.lesson.declared import DeclaredAnswer, answer_filled_in, declared_in, two_digits

__all__ = ["RowAnswer", "answers_of"]

Results = Mapping[str, Any]


class RowAnswer(NamedTuple):
    """What is said of a row, and whether it is the lesson's own sentence."""

    sentence: str
    is_own: bool


def answers_of(
    lesson: Lesson, results: Results, of_data: Callable[[str], Results | None] = lambda name: None, *, own: bool = True
) -> dict[str, RowAnswer]:
    """The answer to each row that has a verdict.

    Args:
        lesson: the lesson.
        results: what a run of it left behind.
        of_data: the results of the lesson on another data set, by its name; None where there are none.
        own: whether the answers that stand in the lesson's file may be shown.
    """
    declared = declared_in(lesson.path).answers if own else ()
    said = {}
    for row in results["verdicts"]:
        fitting = (_own(one, results, of_data) for one in declared if one.row == row)
        sentence = next(filter(None, fitting), "")
        said[row] = RowAnswer(sentence or _plain(row, results), bool(sentence))
    return said


def _own(one: DeclaredAnswer, results: Results, of_data: Callable[[str], Results | None]) -> str:
    """The answer filled in; empty where a finding that it rests on has another verdict, or is not there."""
    effects = {}
    for key, verdict in (one.given or {}).items():
        data, _, name = key.rpartition("/")
        those = of_data(data) if data else results
        finding = next((found for found in those["findings"] if found["name"] == name), None) if those else None
        if finding is None or finding["verdict"] != verdict:
            return ""
        if finding["effect"] is not None:
            effects[key] = finding["effect"]
    try:
        return answer_filled_in(one.sentence or "", effects, {**results["config"], **results.get("derived", {})})
    except KeyError:  # of results that are older than a setting, or an effect that is not finite
        return ""


def _plain(row: str, results: Results) -> str:
    """What was predicted and what was found, of the finding that the verdict hangs on."""
    findings = [found for found in results["findings"] if found["row"] == row]
    verdict = results["verdicts"][row]
    limits = [found for found in findings if found["kind"] == "limit"]
    claims = [found for found in findings if found not in limits] or limits
    if verdict in ("refuted", "inconclusive"):
        open_ones = [one for one in claims if one["verdict"] != "supported"]
        decisive = next((one for one in claims if one["verdict"] == verdict), (open_ones or claims)[0])
        return f"Predicted: {decisive['statement']} Found: {_found(decisive)}."
    held = f"Found as predicted: {claims[0]['statement']}"
    shown = [one for one in limits if one["verdict"] == "supported"]
    refuted = [one for one in claims if one["verdict"] == "refuted"]  # in another reading
    if verdict == "conditional" and (shown or refuted):
        return f"{held} But {_lowered(shown[0]['statement']) if shown else 'not: ' + refuted[0]['statement']}"
    return held


def _found(finding: Mapping[str, Any]) -> str:
    if finding["effect"] is None:
        return "numbers that are not finite"
    size = two_digits(finding["effect"]) + (" times" if finding["unit"] == "ratio" else "")
    what = f"{finding['of']}: {size}" if finding["of"] else size
    return f"{what}, {finding['verdict']}"


def _lowered(sentence: str) -> str:
    first, _, rest = sentence.partition(" ")
    return f"{first.lower() if first.istitle() else first} {rest}"
