"""Answers: shown while their findings stand, and a plain sentence in their place where they do not."""

import json

import pytest

from dlnotes.lesson import contents
from dlnotes.lesson.answers import answers_of
from dlnotes.lesson.contents import lesson_at
from dlnotes.lesson.declared import declared_in
from dlnotes.lesson.report import on_other_data, read_results

LESSON = '''"""A lesson."""
PREDICTIONS = [
    claim("1.18", "faster", "Momentum is faster.", lambda t: 1),
    claim("1.18", "surer", "Momentum is surer.", lambda t: 1),
    limit("1.18", "slower", "In a round valley it is slower.", lambda t: 1),
]
ANSWERS = [
    answer("1.18", "{faster} times as fast on {data}, and {not_mnist/faster} on others.",
           given={"faster": "supported", "not_mnist/faster": "refuted"}),
    answer("1.18", "{faster} times as fast on {data}.", given={"faster": "supported", "slower": "supported"}),
]
'''


def finding(name, verdict, effect=2.5, kind="claim", **more):
    return {
        "row": "1.18",
        "name": name,
        "kind": kind,
        "verdict": verdict,
        "effect": effect,
        "statement": f"The {name} one is.",
        "unit": "ratio",
        "of": "",
        **more,
    }


def results(verdict="conditional", faster="supported", surer="supported", slower="supported", **more):
    findings = [finding("faster", faster, **more), finding("surer", surer), finding("slower", slower, kind="limit")]
    return {"verdicts": {"1.18": verdict}, "findings": findings, "config": {"data": "letters"}}


@pytest.fixture
def lesson(tmp_path):
    path = tmp_path / "toy.py"
    path.write_text(LESSON, encoding="utf-8")
    return lesson_at(path)


def test_an_answer_is_shown_while_its_findings_are_as_it_was_written_for(lesson):
    assert answers_of(lesson, results())["1.18"] == ("2.5 times as fast on letters.", True)
    for other in (results(faster="refuted"), results(slower="refuted"), results(slower="inconclusive")):
        assert not answers_of(lesson, other)["1.18"].is_own


def test_an_answer_may_rest_on_a_run_with_other_data(lesson):
    others = {"not_mnist": results(faster="refuted", effect=0.8)}
    said = answers_of(lesson, results(), others.get)["1.18"]
    assert said == ("2.5 times as fast on letters, and 0.8 on others.", True)
    others = {"not_mnist": results(faster="supported")}
    assert answers_of(lesson, results(), others.get)["1.18"].sentence == "2.5 times as fast on letters."


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (results("supported", slower="refuted"), "Found as predicted: The faster one is."),
        (results("refuted", surer="refuted"), "Predicted: The surer one is. Found: 2.5 times, refuted."),
        (  # one of two is refuted, and no more so after Holm's correction
            results("inconclusive", surer="refuted"),
            "Predicted: The surer one is. Found: 2.5 times, refuted.",
        ),
        (
            results("inconclusive", faster="inconclusive", effect=None),
            "Predicted: The faster one is. Found: numbers that are not finite.",
        ),
    ],
)
def test_where_no_answer_fits_what_was_predicted_and_found_stands_in(lesson, run, said):
    lesson.path.write_text(LESSON.replace('"slower": "supported"', '"slower": "refuted", "surer": "inconclusive"'))
    assert answers_of(lesson, run)["1.18"] == (said, False)


def test_what_stands_in_the_file_is_no_answer_to_what_other_cells_measured(lesson):
    assert not answers_of(lesson, results(), own=False)["1.18"].is_own


def test_an_answer_that_cannot_be_filled_in_is_not_shown(lesson):
    lesson.path.write_text(LESSON.replace("{faster} times as fast on {data}.", "{faster} times on {train:,} {data}."))
    old = results()
    assert not answers_of(lesson, old)["1.18"].is_own
    assert answers_of(lesson, {**old, "derived": {"train": 2_000}})["1.18"].sentence == "2.5 times on 2,000 letters."
    assert not answers_of(lesson, {**results(effect=None), "derived": {"train": 2_000}})["1.18"].is_own


def test_a_plain_answer_to_a_conditional_row_says_both_sides(lesson):
    lesson.path.write_text(LESSON.partition("ANSWERS")[0])
    said = answers_of(lesson, results())["1.18"].sentence
    assert said == "Found as predicted: The faster one is. But the slower one is."
    said = answers_of(lesson, results(surer="refuted", slower="refuted"))["1.18"].sentence
    assert said == "Found as predicted: The faster one is. But not: The surer one is."


def test_every_row_with_a_verdict_has_an_answer_of_its_own():
    without = set()
    for lesson in contents.lessons():
        kept = json.loads((contents.results_folder() / f"{lesson.name}.json").read_text(encoding="utf-8"))
        without |= {row for row, answer in answers_of(lesson, kept, on_other_data(lesson)).items() if not answer.is_own}
    assert without == set()


def test_the_answer_to_a_row_says_so_where_its_verdict_is_another_on_other_data():
    folder = contents.results_folder()
    silent = []
    paths = sorted(path for path in folder.glob("*/*.json") if path.parent.name != "tuning")
    assert paths
    for path in paths:
        lesson, data = contents.lesson_named(path.stem), path.parent.name
        here, there = (read_results(one)["verdicts"] for one in (folder / path.name, path))
        answers = {one.row: one.given for one in declared_in(lesson.path).answers}
        changed = [row for row in here if there[row] != here[row]]
        silent += [(row, data) for row in changed if not any(key.startswith(f"{data}/") for key in answers[row])]
    assert silent == []
