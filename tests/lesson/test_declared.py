"""What a lesson declares, read from its text, and what is wrong with it."""

from types import SimpleNamespace

import pytest

from dlnotes.lesson import contents
from dlnotes.lesson.declared import Effect, answer_filled_in, declared_in, faults_in, filled_in

HEAD = '''"""A lesson."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    data: str = "letters"  # which
    train: int = 2_000  # how many

    @property
    def half(self):
        return self.train // 2

    def double(self):
        return 2 * self.train


'''
SOUND = """PREDICTIONS = [
    claim("1.18", "faster", "Momentum is faster on {train:,} {data}.", lambda t: 1, arms=("a", "b")),
    limit(row="1.18", name="slower", sentence="SGD is faster on {half:,} of them.", judge=lambda t: 2),
]
ANSWERS = [answer("1.18", "On {data} {faster} times as fast.", given={"faster": "supported", "slower": "refuted"})]

# %%
# What to look at
# ---------------
# A dot for
# each seed.


def figure(trials):
    return None  # nothing
"""


@pytest.fixture
def lesson(tmp_path):
    def write(*changes, text=HEAD + SOUND):
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        path = tmp_path / "linear" / "toy.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_settings_predictions_answers_and_figure_are_read_without_running_anything(lesson):
    declared = declared_in(lesson())
    assert declared.settings == ('data: str = "letters"  # which', "train: int = 2_000  # how many")
    assert declared.names == {"data", "train", "half"}
    assert [(one.kind, one.row, one.name) for one in declared.predictions] == [
        ("claim", "1.18", "faster"),
        ("limit", "1.18", "slower"),
    ]
    assert declared.predictions[1].sentence == "SGD is faster on {half:,} of them."
    assert declared.answers[0].given == {"faster": "supported", "slower": "refuted"}
    assert declared.complete
    assert declared.shown == "A dot for each seed."
    assert not list(faults_in(lesson()))


def test_the_lessons_of_the_house_are_without_fault():
    for one in contents.lessons():
        assert not list(faults_in(one.path))
        assert declared_in(one.path).shown


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"Momentum is faster on {train:,} {data}."', '""', "the claim 'faster' lacks its sentence"),
        ('"slower", sent', '"faster", sent', "the limit 'faster' has the name of another"),
        ("{half:,}", "{quarter:,}", "'slower' is filled in from quarter, which no field or property of Config"),
        ("{half:,}", "{double}", "'slower' is filled in from double, which no field or property of Config"),
        ('"slower": "refuted"', '"slowest": "refuted"', "the answer to 1.18 rests on slowest, which no prediction"),
        ('"slower": "refuted"', '"slower": "refused"', "waits for refused: a finding is supported"),
        ('given={"faster": "supported", "slower": "refuted"}', "given={}", "rests on nothing"),
        ('"faster": "supported", ', "", "gives the size of faster and does not rest on it"),
        ("On {data} {faster} times", "On {data} {fastest} times", "filled in from fastest: neither a prediction"),
        ("{faster} times", "{faster:fewr} times", "writes faster as 'fewr': expected fewer, more, points"),
        ('answer("1.18"', 'answer("1.17"', "the answer to 1.17: no prediction is about that row"),
        ('"Momentum is', '"and momentum is', "begins with 'and'"),
        ('"Momentum is', '"It is', "begins with 'It'"),
        ('"Momentum is', '"So momentum is', "begins with 'So'"),
        ('"Momentum is', '"Nor, momentum is', "begins with 'Nor,'"),
        ('"Momentum is', '"momentum is', "is no full sentence"),
        ('faster on {train:,} {data}."', 'faster on {train:,} {data}"', "is no full sentence"),
        ('faster on {train:,} {data}."', 'faster on {train:, data."', "cannot be filled in"),
        ('"faster", "Mom', '"faster.", "Mom', "needs a name of plain words"),
        ('"faster", "Mom', '"train", "Mom', "has the name of a setting"),
        ('"Momentum is faster', 'f"Momentum is faster', "row, name and sentence must be plain texts"),
        ("PREDICTIONS = [", "PREDICTIONS = [] + [", "PREDICTIONS must be a list of claim"),
        ("PREDICTIONS = [", "PREDICTIONS = [*more, ", "PREDICTIONS must be a list of claim"),
        ("PREDICTIONS = [", "FINDINGS = [", "PREDICTIONS must be a list of claim"),
        ("given={", "given={**more, ", "the verdicts in `given` must be plain texts"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_name(lesson, old, new, said):
    faults = list(faults_in(lesson((old, new))))
    assert any(said in fault for fault in faults), faults
    assert all(fault.startswith("linear/toy.py") for fault in faults)


def test_a_lesson_that_predicts_nothing_is_told_so(lesson):
    text = f"{HEAD}PREDICTIONS = []\n"
    assert list(faults_in(lesson(text=text))) == [
        "linear/toy.py has no predictions: `PREDICTIONS` is a list of claims and limits"
    ]


def test_sentences_are_filled_in_from_fields_and_properties():
    config = SimpleNamespace(data="fashion_mnist", train=2_000, rate=0.5)
    assert filled_in("On {train:,} {data} at {rate:g}.", config) == "On 2,000 Fashion-MNIST images at 0.5."
    with pytest.raises(AttributeError, match="test"):
        filled_in("On {test}.", config)


def test_answers_are_filled_in_from_effects_and_settings():
    said = answer_filled_in(
        "On {train:,} {data} {long valley} times, {gap:.3f}, {steps:fewer} fewer, {steps:more} more, {gain:points}.",
        {"long valley": 6.512, "gap": 0.12345, "steps": 2.0, "gain": 0.0234},
        {"train": 2_000, "data": "letters"},
    )
    assert said == "On 2,000 letters 6.5 times, 0.123, 50 % fewer, 100 % more, 2.3."


@pytest.mark.parametrize(
    ("effect", "written"), [(6.51, "6.5"), (0.0531, "0.053"), (12.4, "12"), (1234.6, "1,235"), (-3.72, "-3.7")]
)
def test_an_effect_is_written_with_two_digits(effect, written):
    assert f"{Effect(effect)}" == written
