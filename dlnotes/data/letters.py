"""Letters: the capitals A to J in many typefaces, bent and noised, and judged on faces that were never seen.

A small, offline notMNIST. Learning which pixels make an A in sixteen thousand pictures is easy; knowing an A in a
face that was held out is what the accuracy on test letters measures.

**The split is by face and is redrawn for each seed.** Which faces are held out moves a linear classifier by points; a
fixed split would hide that, and the spread over seeds has to show it. With a *face* held out, its relatives (the
bold, the slanted) may be among the training faces; ``unseen="family"`` holds out whole families. Both were measured
(``data/README.md`` has the table): families are two points harder for a linear classifier and for networks. But eight
families allow only 28 different test sets, of two to eight faces, where faces allow a hundred thousand; and over
families a linear classifier's accuracy spreads twice as far. Faces are therefore the default: seeds are then nearly
independent draws, and fewer of them tell two methods apart.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from dlnotes.data.examples import Examples, Parts, check_count
from dlnotes.data.fonts import LETTERS, masters
from dlnotes.randomness import stream

__all__ = ["STANDARD", "Distortion", "Faces", "letters", "split_faces"]

SIDE = 28  # pixels

# Letters are drawn this many at a time and the last ones thrown away, so that the first n are the same for every count.
_CHUNK = 500
_PLACE: Any = {"dtype": torch.float32, "device": "cpu"}  # whatever PyTorch's defaults are
_NODES = 4  # a field of 4 x 4 displacements bends a letter without tearing it

# How many faces, or families, go to the test and to the validation letters. The rest is for training.
_HELD_OUT = {"face": (6, 4), "family": (2, 1)}


@dataclass(frozen=True)
class Distortion:
    """How much one picture of a letter differs from another: each field is the largest amount, either way.

    The amounts are drawn uniformly between minus and plus the field, for each letter on its own; noise is Gaussian.
    Another distortion under the same seed gives the same letters of the same faces, each bent the same way, further.

    Raises:
        ValueError: a field is negative, not finite, or too large to leave a letter in the picture.
        TypeError: a field is not a number.

    Example:
        >>> Distortion(noise=0.0).rotation
        8.0
    """

    rotation: float = 8.0  # degrees, up to 180
    scale: float = 0.12  # of the letter's width and of its height, below 1
    shear: float = 0.12  # of the height, that the top moves sideways against the bottom, up to 1
    shift: float = 0.05  # of the picture's side, across and down, up to 0.5
    elastic: float = 0.05  # of the picture's side, that a node of a 4 x 4 net moves across and down, up to 0.5
    noise: float = 0.35  # standard deviation of what is added to each pixel, in grey values from 0 to 1; up to 10

    def __post_init__(self) -> None:
        largest = {"rotation": 180.0, "scale": 0.99, "shear": 1.0, "shift": 0.5, "elastic": 0.5, "noise": 10.0}
        for field in fields(self):
            amount = getattr(self, field.name)
            if isinstance(amount, bool) or not isinstance(amount, int | float):
                raise TypeError(f"{field.name} must be a number, not {type(amount).__name__} ({amount!r})")
            if not 0 <= amount <= largest[field.name]:
                raise ValueError(f"{field.name} must be between 0 and {largest[field.name]:g}, not {amount}")


STANDARD = Distortion()
"""The distortion at which the lessons use letters."""


class Faces(NamedTuple):
    """The typefaces of each part, by name; no face is in two."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def letters(
    seed: int,
    *,
    train: int = 16_000,
    validation: int = 2_000,
    test: int = 2_000,
    distortion: Distortion = STANDARD,
    unseen: Literal["face", "family"] = "face",
) -> Parts:
    """The capital letters A to J, drawn in typefaces that differ between training, validation and test.

    Each part has a random stream of its own: asking for more of one changes no other, and its first n letters are the
    same however many are asked for. Any ten letters in a row, from a multiple of ten, are the ten classes in a random
    order.

    Args:
        seed: the experiment's seed, 0 or larger. It draws the split of the faces, too.
        train: how many letters.
        validation: how many letters.
        test: how many letters.
        distortion: how much letters of one class differ.
        unseen: what the parts do not share: a ``"face"``, or a whole ``"family"`` of them.

    Returns:
        Three `Examples`: inputs ``(N, 1, 28, 28)``, float32 in [0, 1], 0 for paper; targets ``(N,)``, int64, 0 for A.

    Raises:
        TypeError: a count is not an ``int``.
        ValueError: a count or the seed is negative; ``unseen`` is another word.

    Example:
        >>> inputs, targets = letters(0, train=20, validation=0, test=0).train
        >>> inputs.shape, sorted(targets[:10].tolist())
        (torch.Size([20, 1, 28, 28]), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])

    Source:
        After Bulatov, 2011, "notMNIST dataset". The elastic field is a coarse one of Simard, Steinkraus & Platt, 2003,
        "Best practices for convolutional neural networks applied to visual document analysis".
    """
    counts = {"train": train, "validation": validation, "test": test}
    for part, count in counts.items():
        check_count(part, count)
    faces = split_faces(seed, unseen=unseen)._asdict()
    drawn = (_draw(counts[part], faces[part], stream(seed, f"letters/{part}"), distortion) for part in counts)
    return Parts(*drawn)


def split_faces(seed: int, *, unseen: Literal["face", "family"] = "face") -> Faces:
    """Which faces `letters` draws each part in, under this seed.

    Example:
        >>> faces = split_faces(0)
        >>> set(faces.train) & set(faces.test)
        set()

    Raises:
        ValueError: the seed is negative, or ``unseen`` neither ``"face"`` nor ``"family"``.
    """
    if unseen not in _HELD_OUT:
        raise ValueError(f"unseen must be 'face' or 'family', not {unseen!r}")
    known = masters()
    # In either case a face belongs to a group, and groups are what is shared out.
    groups = dict(zip(known.faces, known.faces if unseen == "face" else known.families, strict=True))
    distinct = sorted(set(groups.values()))
    order = torch.randperm(len(distinct), generator=stream(seed, f"letters/{unseen}"), device="cpu")
    test, validation = _HELD_OUT[unseen]
    shuffled = [distinct[place] for place in order.tolist()]

    def faces(chosen: Sequence[str]) -> tuple[str, ...]:
        return tuple(face for face, group in groups.items() if group in chosen)

    return Faces(
        faces(shuffled[test + validation :]), faces(shuffled[test : test + validation]), faces(shuffled[:test])
    )


def _draw(count: int, faces: tuple[str, ...], generator: Generator, distortion: Distortion) -> Examples:
    known = masters()
    rows = [known.faces.index(face) for face in faces]
    pictures = known.pictures[rows].float() / 255
    inputs = torch.empty(count, 1, SIDE, SIDE, **_PLACE)
    targets = torch.empty(count, dtype=torch.int64, device="cpu")
    for start in range(0, count, _CHUNK):
        wanted = min(_CHUNK, count - start)
        drawn, classes = _chunk(pictures, generator, distortion)
        inputs[start : start + wanted] = drawn[:wanted]
        targets[start : start + wanted] = classes[:wanted]
    return Examples(inputs, targets)


def _chunk(pictures: Tensor, generator: Generator, distortion: Distortion) -> tuple[Tensor, Tensor]:
    """The next letters, ``(500, 1, 28, 28)``, and their classes; pictures are ``(faces, 10, 56, 56)``."""
    classes = torch.rand(_CHUNK // len(LETTERS), len(LETTERS), generator=generator, **_PLACE).argsort(1).flatten()
    faces = torch.randint(len(pictures), (_CHUNK,), generator=generator, device="cpu")
    grid = _grid(generator, distortion)
    noise = torch.randn(_CHUNK, 1, SIDE, SIDE, generator=generator, **_PLACE)
    letters = F.grid_sample(pictures[faces, classes].unsqueeze(1), grid, mode="bilinear", align_corners=False)
    return letters.add_(noise, alpha=distortion.noise).clamp_(0, 1), classes


def _grid(generator: Generator, distortion: Distortion) -> Tensor:
    """Where each pixel of each letter looks in its master, ``(500, 28, 28, 2)`` in [-1, 1]: x, y = M·(u - t) + bend."""

    def amounts(largest: float, *shape: int) -> Tensor:
        return (2 * torch.rand(_CHUNK, *shape, generator=generator, **_PLACE) - 1) * largest

    # Lengths that are given as fractions of the side are doubled: from -1 to 1 it measures 2.
    turn = amounts(math.radians(distortion.rotation))
    stretch = 1 + amounts(distortion.scale, 2, 1)
    shear = amounts(distortion.shear)
    shift = amounts(2 * distortion.shift, 2, 1)
    nodes = amounts(2 * distortion.elastic, 2, _NODES, _NODES)

    none = torch.zeros_like(turn)
    rotation = _matrix(turn.cos(), turn.sin(), -turn.sin(), turn.cos())
    matrix = _matrix(none + 1, shear, none, none + 1) @ rotation / stretch  # (500, 2, 2)
    affine = torch.cat([matrix, -matrix @ shift], 2)  # (500, 2, 3)
    bend = F.interpolate(nodes, size=(SIDE, SIDE), mode="bicubic", align_corners=True)  # (500, 2, 28, 28)
    return F.affine_grid(affine, [_CHUNK, 1, SIDE, SIDE], align_corners=False) + bend.movedim(1, 3)


def _matrix(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """The 2 x 2 matrices ((a, b), (c, d)): ``(N,)`` four times gives ``(N, 2, 2)``."""
    return torch.stack([a, b, c, d], 1).view(-1, 2, 2)
