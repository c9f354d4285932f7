"""One style for all figures, and files that are the same to the byte when the numbers are."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dlnotes.files import write_whole

__all__ = ["figure_style", "save_figure"]

# petroff6: the six colours that stay furthest apart under each of the common kinds of colour blindness, of those that
# Matplotlib ships. The lightest has little contrast on white: tell lines apart by marker or dash as well.
_STYLE = {
    "axes.formatter.min_exponent": 3,  # 0.1, 1, 10 and not powers
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "figure.constrained_layout.use": True,
    "figure.dpi": 110,
    "figure.facecolor": "white",
    "font.size": 10,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "savefig.facecolor": "white",
    "svg.hashsalt": "dlnotes",  # the ids in the file, which are random otherwise
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Draw in the package's style while the block lasts."""
    from matplotlib import pyplot as plt

    with plt.style.context(["default", "petroff6", _STYLE]):
        yield


def save_figure(figure: Any, path: Path) -> Path:
    """Write a figure whole or not at all, without the date.

    Raises:
        TypeError: something else than a figure.
        ValueError: an axes without a title: on the site it is the figure's description for those who cannot see it.
    """
    if not hasattr(figure, "savefig"):
        raise TypeError(f"the figure of a lesson must be a Matplotlib figure, not {type(figure).__name__}")
    if not all(axes.get_title("left") for axes in figure.axes if axes.get_label() != "<colorbar>"):
        raise ValueError("each axes of a lesson's figure needs a title (`axes.set_title`)")
    buffer = io.BytesIO()
    with figure_style():
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return write_whole(path, buffer.getvalue())
