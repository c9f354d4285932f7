"""Figures as files."""

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from dlnotes.lesson.figures import curves, figure_style, reference_line, save_figure, strips, tiles


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


def test_a_figure_says_what_it_shows_to_those_who_cannot_see_it(tmp_path):
    kept = save_figure(drawn(), tmp_path / "figure.svg", text='Squares "grow" & grow.').read_text("utf-8")
    assert kept.count("<svg ") == 1
    assert """<svg role="img" aria-label='Squares "grow" &amp; grow.' """ in kept
    assert 'aria-label="A title"' in save_figure(drawn(), tmp_path / "figure.svg").read_text("utf-8")


@pytest.fixture
def axes():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def test_curves_are_a_thin_line_for_each_seed_and_a_thick_one_for_their_mean(axes):
    values = np.array([[1.0, 4.0], [4.0, 16.0], [16.0, 1.0]])
    curves(axes, [0, 10], values, label="arm", color="C0")
    *seeds, mean = axes.lines
    assert [line.get_ydata().tolist() for line in seeds] == values.tolist()
    assert mean.get_ydata().tolist() == [7.0, 7.0]
    assert mean.get_linewidth() > 2 * seeds[0].get_linewidth()
    assert axes.get_legend_handles_labels()[1] == ["arm"]
    curves(axes, [0, 10], values, label="on logarithms", color="C1", geometric=True)
    assert axes.lines[-1].get_ydata() == pytest.approx([4.0, 4.0])


def test_the_bar_of_a_strip_is_at_the_mean_of_its_seeds(axes):
    strips(axes, {"one": np.array([1.0, 4.0, 16.0]), "other": np.array([2.0, 2.0, 2.0])}, label="gain", geometric=True)
    dots, bar, _, other = axes.lines
    assert dots.get_ydata().tolist() == [1.0, 4.0, 16.0]
    assert abs(dots.get_xdata()).max() <= 0.2
    assert bar.get_ydata() == pytest.approx([4.0, 4.0])
    assert other.get_xdata().mean() == pytest.approx(1.0)
    assert [one.get_text() for one in axes.get_xticklabels()] == ["one", "other"]
    assert axes.get_legend_handles_labels()[1] == ["gain"]  # once, and not for each group
    strips(axes, {"one": np.array([1.0, 4.0, 16.0])}, shift=0.3)
    assert axes.lines[-1].get_ydata() == pytest.approx([7.0, 7.0])
    assert axes.lines[-1].get_xdata().mean() == pytest.approx(0.3)


def test_an_empty_strip_is_left_out_and_the_legend_has_its_name_once():
    _, axes = plt.subplots()
    strips(axes, {"none": np.array([]), "some": np.array([1.0, 4.0]), "more": np.array([2.0])}, label="gain")
    assert axes.get_legend_handles_labels()[1] == ["gain"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["none", "some", "more"]
    assert len(axes.lines) == 4


def test_the_label_of_a_reference_line_stands_beside_the_axes_where_it_covers_nothing(axes):
    axes.plot([0, 1], [0, 2])
    reference_line(axes, 1.0, "equal")
    (label,) = axes.texts
    axes.figure.canvas.draw()
    assert label.get_window_extent().x0 >= axes.get_window_extent().x1
    reference_line(axes, 1.5)
    assert len(axes.texts) == 1


def test_tiles_stand_in_rows_each_in_its_own_range(axes):
    images = torch.stack([torch.eye(2), 10 * torch.eye(2), 3 + torch.eye(2)])
    tiles(axes, images, columns=2)
    (shown,) = axes.get_images()
    grid = np.ma.filled(shown.get_array(), np.nan)
    assert grid.shape == (7, 7)
    for down, right in ((1, 1), (1, 4), (4, 1)):
        np.testing.assert_allclose(grid[down : down + 2, right : right + 2], np.eye(2))
    assert np.isnan(grid[0]).all()  # between them


def test_tiles_in_one_range_can_be_compared_and_signed_ones_are_white_at_zero(axes):
    images = torch.stack([torch.eye(2), -2 * torch.eye(2)])
    tiles(axes, images, columns=2, signed=True, each=False)
    grid = np.ma.filled(axes.get_images()[0].get_array(), np.nan)
    np.testing.assert_allclose(grid[1:3, 1:3], [[0.75, 0.5], [0.5, 0.75]])
    np.testing.assert_allclose(grid[1:3, 4:6], [[0, 0.5], [0.5, 0]])
    tiles(axes, images.abs(), columns=2, each=False)
    grid = np.ma.filled(axes.get_images()[1].get_array(), np.nan)
    np.testing.assert_allclose(grid[1:3, 1:3], [[0.5, 0], [0, 0.5]])
