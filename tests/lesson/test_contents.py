"""Which lessons are meant."""

import pytest

from dlnotes.lesson import contents
from dlnotes.lesson.contents import UsageError


def test_lessons_are_chosen_by_name_chapter_or_row_and_once():
    chosen = [lesson.name for lesson in contents.select(["momentum", "1.18", "1.02", "linear"])]
    assert chosen[:2] == ["momentum", "temperature"]
    assert len(chosen) == len(set(chosen))
    assert {"momentum", "temperature", "logistic_regression"} <= set(chosen)


def test_all_lessons_are_meant_where_none_is_named():
    assert contents.select([]) == list(contents.lessons())


@pytest.mark.parametrize(
    ("word", "said"), [("3.99", "unknown lesson, chapter or row"), ("4.26", "no lesson tests 4.26 yet")]
)
def test_what_is_meant_by_nothing_is_named(word, said):
    with pytest.raises(UsageError, match=said):
        contents.select([word])


def test_the_settings_of_a_lesson_are_listed_with_defaults_and_comments(capsys):
    from dlnotes.lesson import command_line

    assert command_line(["run", "momentum", "--help"], tour=()) == 0
    printed = capsys.readouterr().out
    assert "train: int = 4_000  # training images" in printed
    assert "▸ 1.18 images: A linear classifier of letters needs over a tenth more steps" in printed  # from the results
