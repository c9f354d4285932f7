"""Figures as files."""

import matplotlib as mpl
import pytest
from matplotlib import pyplot as plt

from dlnotes.lesson.figures import figure_style, save_figure


def drawn(title="A title"):
    with figure_style():
        drawing, axes = plt.subplots()
        axes.plot([1, 2, 3], [1, 4, 9], label="squares")
        axes.set_title(title)
        axes.legend()
    plt.close(drawing)
    return drawing


def test_equal_figures_are_equal_to_the_byte(tmp_path):
    one, other = (save_figure(drawn(), tmp_path / f"{name}.svg").read_bytes() for name in "ab")
    assert one == other
    assert b"<dc:date>" not in one


def test_an_axes_without_a_title_is_refused(tmp_path):
    with pytest.raises(ValueError, match="title"):
        save_figure(drawn(title=""), tmp_path / "figure.svg")
    assert not list(tmp_path.iterdir())


def test_the_style_ends_with_its_block():
    before = dict(mpl.rcParams)
    drawn()
    assert dict(mpl.rcParams) == before
