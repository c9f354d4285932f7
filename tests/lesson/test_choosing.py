"""Which lessons and tests are meant by what a user types."""

import pytest

from dlnotes.lesson import choosing, contents
from dlnotes.lesson.choosing import nearest, select
from dlnotes.lesson.contents import UsageError


def names(*words):
    return [lesson.name for lesson in select(words)]


def test_lessons_are_chosen_by_name_chapter_or_row_and_once():
    chosen = names("momentum", "1.18", "1.02", "linear")
    assert chosen[:2] == ["momentum", "temperature"]
    assert len(chosen) == len(set(chosen))
    assert {"momentum", "temperature", "logistic_regression"} <= set(chosen)


def test_all_lessons_are_meant_where_none_is_named_in_the_order_of_the_notes():
    assert select([]) == list(contents.lessons())
    firsts = [lesson.rows[0] for lesson in contents.lessons()]
    assert firsts == sorted(firsts)


def test_a_path_to_a_lesson_means_the_lesson(monkeypatch):
    assert names("lessons/linear/momentum.py") == names(str(contents.lesson_named("momentum").path)) == ["momentum"]
    monkeypatch.chdir(contents.CHECKOUT / "lessons" / "linear")
    assert select(["momentum.py"]) == [contents.lesson_named("momentum")]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("Momentum", "unknown lesson, chapter or row 'Momentum'; near: momentum. Type: python -m lessons run momentum"),
        ("momentun", "near: momentum. Type: python -m lessons run momentum"),
        ("overfitting", "near: over_fitting"),
        ("Linear", "near: linear. Type: python -m lessons run linear"),
        ("dropout", "no lesson is called 'dropout'; about it: masks (*knocked_out (*over_fitting (Does "),
        ("early stopping", "about it: when_to_stop ("),
        ("3.99", "the notes have no row 3.99: they go from 3.01 to 3.23"),
        ("1.9", "they go from 1.01 to 1.28; near: 1.09. Type: python -m lessons run 1.09"),
        ("1.", "they go from 1.01 to 1.28"),
        ("the", "no lesson is called 'the'; about it: *, and * more. Type: python -m lessons run"),
        ("~nobody-here/x.py", "there is no file '~nobody-here/x.py': "),
        ("9.01", "they go from 1.01 to 4.26"),
        ("4.02", "no lesson tests 4.02 yet ("),
        ("", "unknown lesson, chapter or row '', and no lesson is about it. Type: python -m lessons"),
        ("xylophone", "'xylophone', and no lesson is about it"),
        ("lessons/linear/momentun.py", "there is no file lessons/linear/momentun.py; near: momentum. Type: "),
        (__file__, "is no lesson: the last line of one is"),
    ],
)
def test_what_is_meant_by_nothing_is_named_in_a_line_with_what_is_near(word, said):
    with pytest.raises(UsageError) as caught:
        select([word])
    assert "\n" not in str(caught.value)
    places = [str(caught.value).find(part) for part in said.split("*")]
    assert places == sorted(places)
    assert places[0] >= 0, str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xfe", b'"""A lesson."""\n\x00', b'"""A lesson.'])
def test_a_file_that_is_no_python_is_named(content, tmp_path):
    (tmp_path / "odd.py").write_bytes(content)
    with pytest.raises(UsageError, match=r"odd\.py"):
        select([str(tmp_path / "odd.py")])


def test_two_lessons_of_one_name_are_refused(tmp_path):
    copy = tmp_path / "momentum.py"
    copy.write_text(contents.lesson_named("momentum").path.read_text(encoding="utf-8"), encoding="utf-8")
    assert select([str(copy)])[0].path == copy
    with pytest.raises(UsageError, match="two lessons are called momentum"):
        select(["momentum", str(copy)])


def test_a_chapter_is_meant_by_its_number_and_its_folder():
    assert names("2") == names("lessons/deep") == names("lessons/deep/") == names("deep")


def test_what_to_type_is_the_command_that_was_typed():
    with pytest.raises(UsageError, match="Type: python -m lessons tune momentum"):
        select(["momentun"], command="tune")


def test_the_tests_of_a_row_are_those_that_the_notes_name():
    assert choosing.tests_of(["1.18"]) == list(next(note.tests for note in contents.notes() if note.row == "1.18"))


def test_the_tests_of_a_lesson_are_its_file_and_those_of_its_rows_and_none_comes_twice():
    found = choosing.tests_of(["momentum", "1.16"])
    assert "tests/linear/test_momentum.py" in found
    assert any(one.startswith("tests/linear/test_optimizers.py::") for one in found)
    assert len(found) == len(set(found))
    assert not [one for one in found if one.startswith("tests/linear/test_momentum.py::")]
    assert choosing.tests_of(["linear", "1.18", "momentum"]) == ["tests/linear"]


def test_the_tests_of_a_chapter_are_its_folder():
    assert choosing.tests_of(["deep"]) == ["tests/deep"]


@pytest.mark.parametrize(
    ("word", "said"),
    [("4.02", "the row 4.02 has no tests yet"), ("Deep", "near: deep")],
)
def test_tests_that_are_not_there_are_said_to_be_missing(word, said):
    with pytest.raises(UsageError, match=said):
        choosing.tests_of([word])


def test_where_the_tests_were_not_brought_along_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(choosing, "CHECKOUT", tmp_path)
    with pytest.raises(UsageError, match="there are no tests of text yet"):
        choosing.tests_of(["text"])


def test_capitals_and_hyphens_do_not_matter_to_what_is_near():
    assert nearest("Fashion-MNIST", ["letters", "fashion_mnist", "mnist"])[0] == "fashion_mnist"
    assert nearest("xylophone", ["letters", "fashion_mnist"]) == []


def test_the_settings_of_a_lesson_are_listed_with_defaults_and_comments(capsys):
    from dlnotes.lesson import command_line

    assert command_line(["run", "momentum", "--help"], tour=()) == 0
    printed = capsys.readouterr().out
    assert "train: int = 4_000  # training images" in printed
    assert "▸ 1.18 images: A linear classifier of letters needs over a tenth more steps" in printed  # from the results
