"""One style for all figures, the few ways in which they show seeds, and files that are the same to the byte.

What is drawn is handed in, and nothing here depends on a lesson. Matplotlib is imported where something is drawn.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dlnotes.files import write_whole

__all__ = ["curves", "figure_style", "reference_line", "save_figure", "strips", "tiles"]

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


def curves(
    axes: Any, x: Sequence[float], values: Any, *, label: str, color: str, linestyle: str = "-", geometric: bool = False
) -> None:
    """A thin line for each seed and a thick one for their mean.

    Args:
        axes: where to draw.
        x: the T places along the axis; of more, the first.
        values: an array (S, T): a curve for each of S seeds.
        label: what the mean is called in the legend.
        color: of all lines.
        linestyle: of all lines.
        geometric: take the mean of logarithms, for an axis that is logarithmic.
    """
    import numpy as np

    x = x[: values.shape[1]]
    axes.plot(x, values.T, color=color, linestyle=linestyle, linewidth=0.4, alpha=0.35)
    mean = np.exp(np.log(values).mean(0)) if geometric else values.mean(0)
    axes.plot(x, mean, color=color, linestyle=linestyle, label=label)


def strips(
    axes: Any,
    groups: Mapping[str, Any],
    *,
    color: str = "C2",
    label: str = "",
    shift: float = 0.0,
    width: float = 0.4,
    geometric: bool = False,
) -> None:
    """A strip for each group: a dot for each seed, in the order of the seeds, and a bar at their mean.

    Args:
        axes: where to draw; its ticks along x are set to the groups.
        groups: by the name of each group, an array with a number a seed; nothing is drawn for an empty one.
        color: of dots and bars.
        label: what they are called in the legend; nothing where it is empty.
        shift: how far to the right, so that several strips stand side by side in one place.
        width: of each strip; the places are 1 apart.
        geometric: take the mean of logarithms, for an axis that is logarithmic.
    """
    import numpy as np

    for place, values in enumerate(groups.values()):
        if not len(values):
            continue
        middle = place + shift
        dots = middle + np.linspace(-width / 2, width / 2, len(values))
        axes.plot(dots, values, "o", color=color, alpha=0.5, markersize=4)
        mean = np.exp(np.log(values).mean()) if geometric else values.mean()
        ends = [middle - 0.6 * width, middle + 0.6 * width]
        axes.plot(ends, [mean, mean], color=color, label=label or None)
        label = ""  # once in the legend
    axes.set_xticks(range(len(groups)), list(groups))


def reference_line(axes: Any, value: float, label: str = "") -> None:
    """A dotted line across, with its label beside the axes, where there is nothing that it could cover."""
    axes.axhline(value, color="0.4", linestyle=":", zorder=1)
    if label:
        place = axes.get_yaxis_transform()  # x as a share of the axes, y as data
        axes.text(1.01, value, label, transform=place, color="0.3", fontsize="small", va="center", clip_on=False)


def tiles(axes: Any, images: Any, *, columns: int, signed: bool = False, each: bool = True) -> None:
    """Draw small images side by side: kernels, feature maps, letters.

    Args:
        axes: where to draw; its ticks are removed.
        images: a tensor (N, H, W), from the left to the right and from the top down.
        columns: how many stand in a row.
        signed: for weights: blue below 0, red above it, white at 0. Otherwise white is the smallest and black the
            largest number.
        each: give every image the full range of colours; otherwise they share one, and can be compared.
    """
    import torch
    from torchvision.utils import make_grid

    size = images.abs() if signed else images
    size = size.flatten(1).amax(1) if each else size.amax().expand(len(images))
    low = -size if signed else images.flatten(1).amin(1) if each else images.amin().expand(len(images))
    shown = (images - low[:, None, None]) / (size - low).clamp(min=1e-12)[:, None, None]
    grid = make_grid(shown[:, None], nrow=columns, padding=1, pad_value=torch.nan)[0]
    colors = "RdBu_r" if signed else "Greys"
    axes.imshow(grid.numpy(), cmap=colors, vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[], facecolor="0.88")  # which shows between the images
    axes.spines[:].set_visible(False)
    axes.grid(False)


def save_figure(figure: Any, path: Path, *, text: str = "") -> Path:
    """Write a figure whole or not at all, without the date.

    Args:
        figure: a figure of Matplotlib.
        path: where to.
        text: what it shows, for those who cannot see it; the titles of its axes where it is empty.

    Raises:
        TypeError: something else than a figure.
        ValueError: an axes without a title: on the site it is the figure's description for those who cannot see it.
    """
    if not hasattr(figure, "savefig"):
        raise TypeError(f"the figure of a lesson must be a Matplotlib figure, not {type(figure).__name__}")
    from xml.sax.saxutils import quoteattr

    titles = [axes.get_title("left") for axes in figure.axes if axes.get_label() != "<colorbar>"]
    if not all(titles):
        raise ValueError("each axes of a lesson's figure needs a title (`axes.set_title`)")
    buffer = io.BytesIO()
    with figure_style():
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    spoken = f'<svg role="img" aria-label={quoteattr(text or ". ".join(titles))} '
    return write_whole(path, buffer.getvalue().decode().replace("<svg ", spoken, 1))
