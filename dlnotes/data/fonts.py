"""The text fonts that come with Matplotlib, as pictures of the capital letters A to J.

Matplotlib brings its fonts along and draws them with its own FreeType, so that these pictures are the same wherever
the same version of Matplotlib is installed, whatever fonts the system has.
"""

import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.ft2font import FT2Font

__all__ = ["LETTERS", "Masters", "difference", "draw_masters", "masters", "version"]

LETTERS = "ABCDEFGHIJ"

# Pixels. A master has twice the side of the letters drawn from it: each pixel of a letter then falls between four
# of the master, and bilinear sampling averages them.
SIDE = 56
INK = 44  # the longer side of a face's largest letter

TWINS = 0.05  # faces that differ by less are one face; the closest two of Matplotlib 3.11 differ by 0.26

# Four fonts of one design, which their files do not say.
_FAMILIES = dict.fromkeys(("cmb10", "cmmi10", "cmr10", "cmti10"), "Computer Modern Roman")


class Masters(NamedTuple):
    """The faces that letters are drawn in, and a picture of each letter in each face.

    Shape:
        - pictures: ``(faces, 10, 56, 56)``, uint8; 0 is paper and 255 is ink.
    """

    faces: tuple[str, ...]
    families: tuple[str, ...]
    pictures: Tensor

    @property
    def checksum(self) -> str:
        """The SHA-256 of the faces' names and of every pixel."""
        digest = hashlib.sha256("\n".join(self.faces + self.families).encode())
        digest.update(self.pictures.numpy().tobytes())
        return digest.hexdigest()


@functools.cache
def masters() -> Masters:
    """The masters of every text face that Matplotlib brings along, drawn once in a process (0.1 s)."""
    import matplotlib

    return draw_masters(Path(matplotlib.get_data_path(), "fonts", "ttf"))


def draw_masters(folder: Path) -> Masters:
    """The masters of every text face in a folder of TrueType fonts, in the order of the files' names.

    A face is used if each of its glyphs for A to J is named after its letter (fonts of symbols have none, a blank or
    a bracket in its place), draws ink, and if the face is no pixel twin of one before it.

    Raises:
        ValueError: there is no text face in the folder.
    """
    from matplotlib.ft2font import FT2Font

    faces: dict[str, Tensor] = {}
    families: list[str] = []
    for path in sorted(folder.glob("*.ttf")):
        font = FT2Font(str(path))
        pictures = _draw(font) if _is_text(font) else None
        if pictures is not None and all(difference(pictures, other) >= TWINS for other in faces.values()):
            faces[path.stem] = pictures
            families.append(_FAMILIES.get(path.stem, font.family_name))
    if not faces:
        raise ValueError(f"expected TrueType fonts with the letters {LETTERS} in {folder}, found none")
    return Masters(tuple(faces), tuple(families), torch.stack(list(faces.values())))


def difference(one: Tensor, other: Tensor) -> float:
    """How far two pictures of the same letters differ: the ink by which they differ, over all ink in either.

    Example:
        >>> difference(torch.tensor([0, 9, 9]), torch.tensor([0, 9, 0]))
        0.5
    """
    apart = (one.int() - other.int()).abs().sum()
    return float(apart / torch.maximum(one, other).sum())


def version() -> str:
    """What the masters were drawn with, ``"Matplotlib 3.11.2 (FreeType 2.14.3)"``: nothing else decides their bits."""
    import matplotlib
    from matplotlib import ft2font

    return f"Matplotlib {matplotlib.__version__} (FreeType {ft2font.__freetype_version__})"


def _is_text(font: "FT2Font") -> bool:
    glyphs = {letter: font.get_char_index(ord(letter)) for letter in LETTERS}
    return all(index and font.get_glyph_name(index) == letter for letter, index in glyphs.items())


def _draw(font: "FT2Font") -> Tensor | None:
    """``(10, 56, 56)``: each letter in the middle of its picture, all ten at one size; None if one is blank."""
    trial = [_ink(font, letter, float(INK)) for letter in LETTERS]
    if not all(ink.numel() for ink in trial):
        return None
    size = INK * INK / max(max(ink.shape) for ink in trial)
    return torch.stack([_centred(_ink(font, letter, size)) for letter in LETTERS])


def _ink(font: "FT2Font", letter: str, size: float) -> Tensor:
    """The letter's picture cut to its ink, ``(height, width)``; the size is in pixels to the em."""
    from matplotlib.ft2font import LoadFlags

    font.set_size(size, 72)  # 72 points to the inch: a point is a pixel
    font.set_text(letter, 0.0, flags=LoadFlags.NO_HINTING)
    font.draw_glyphs_to_bitmap(antialiased=True)
    image = torch.tensor(font.get_image(), device="cpu")
    rows, columns = image.any(1).nonzero().flatten().tolist(), image.any(0).nonzero().flatten().tolist()
    if not rows:
        return image[:0, :0]
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _centred(ink: Tensor) -> Tensor:
    picture = torch.zeros(SIDE, SIDE, dtype=torch.uint8, device="cpu")
    height, width = ink.shape
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    picture[top : top + height, left : left + width] = ink
    return picture
