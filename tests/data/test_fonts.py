"""The masters: which faces are used, and that their pixels are the same everywhere."""

import shutil
from pathlib import Path

import matplotlib
import pytest
import torch

from dlnotes.data import fonts

FONTS = Path(matplotlib.get_data_path(), "fonts", "ttf")

# FreeType draws with integers, so that these hold on every machine. (Letters are drawn from the masters with floating
# point, whose last bits may differ between processors: they are compared between processes of one machine instead.)
CHECKSUMS = {
    "Matplotlib 3.10.9 (FreeType 2.6.1)": "b0ff4ee23401f8e558f1d7b7d6112aa4e5c82ee50e6ad5727633240a1a17e56a",
    "Matplotlib 3.11.2 (FreeType 2.14.3)": "447f8b8f3819ab766041f0d514477ead49aa4fbe5a0e5c7c33104f31e39ef029",
}


@pytest.fixture
def folder(tmp_path):
    """A folder of fonts, by the names of Matplotlib's; a pair (name, other) copies one under another name."""

    def fill(*names):
        for name in names:
            source, target = name if isinstance(name, tuple) else (name, name)
            if name == "LastResortHE-Regular" and not (FONTS / f"{name}.ttf").exists():
                continue  # Matplotlib has it since 3.11
            shutil.copy(FONTS / f"{source}.ttf", tmp_path / f"{target}.ttf")
        return tmp_path

    return fill


def test_masters_of_a_known_version_have_the_known_checksum():
    expected = CHECKSUMS.get(fonts.version())
    if expected is None:
        pytest.skip(f"the masters of {fonts.version()} are not on record; known are {', '.join(CHECKSUMS)}")
    assert fonts.masters().checksum == expected


def test_masters_are_pictures_of_ten_letters_in_many_faces():
    faces, families, pictures = fonts.masters()
    assert len(faces) == len(families) == len(pictures) >= 15
    assert len(set(faces)) == len(faces)
    assert pictures.shape[1:] == (10, fonts.SIDE, fonts.SIDE)
    assert pictures.dtype == torch.uint8
    assert len(set(families)) >= 5


def test_the_ten_letters_of_a_face_are_ten_different_pictures():
    for face, pictures in zip(fonts.masters().faces, fonts.masters().pictures, strict=True):
        assert len({picture.numpy().tobytes() for picture in pictures}) == 10, face


def test_each_letter_stands_in_the_middle_and_the_largest_of_a_face_has_the_stated_size():
    for face, pictures in zip(fonts.masters().faces, fonts.masters().pictures, strict=True):
        sides = []
        for picture in pictures:
            for inked in (picture.any(0).nonzero().flatten(), picture.any(1).nonzero().flatten()):
                before, after = int(inked[0]), fonts.SIDE - 1 - int(inked[-1])
                assert abs(before - after) <= 1, face
                sides.append(int(inked[-1] - inked[0]) + 1)
        assert abs(max(sides) - fonts.INK) <= 2, face


def test_only_text_faces_are_used(folder):
    # No letters at all, brackets in their place, one box for every letter, and a blank one.
    masters = fonts.draw_masters(folder("STIXSizOneSymReg", "cmex10", "LastResortHE-Regular", "STIXNonUni", "cmr10"))
    assert masters.faces == ("cmr10",)


def test_a_face_that_draws_a_blank_is_left_out(folder, monkeypatch):
    drawn = fonts._ink

    def without_j(font, letter, size):
        ink = drawn(font, letter, size)
        return ink[:0] if letter == "J" and font.family_name == "cmr10" else ink

    monkeypatch.setattr(fonts, "_ink", without_j)
    assert fonts.draw_masters(folder("cmr10", "cmtt10")).faces == ("cmtt10",)


def test_a_pixel_twin_is_left_out_and_the_first_of_the_two_is_kept(folder):
    masters = fonts.draw_masters(folder("cmr10", ("cmr10", "twin"), ("cmr10", "another"), "cmtt10"))
    assert masters.faces == ("another", "cmtt10")


def test_no_two_faces_in_use_are_near_the_limit_for_twins():
    pictures = fonts.masters().pictures
    apart = [fonts.difference(one, other) for place, one in enumerate(pictures) for other in pictures[:place]]
    assert min(apart) > 3 * fonts.TWINS


def test_a_folder_without_text_faces_is_an_error(folder):
    with pytest.raises(ValueError, match="expected TrueType fonts with the letters ABCDEFGHIJ"):
        fonts.draw_masters(folder("cmex10"))


def test_the_difference_is_of_ink_and_has_no_direction():
    one, other = torch.tensor([0, 200, 100], dtype=torch.uint8), torch.tensor([0, 50, 100], dtype=torch.uint8)
    assert fonts.difference(one, other) == fonts.difference(other, one) == 150 / 300
    assert fonts.difference(one, one) == 0


def test_masters_are_drawn_once_in_a_process():
    assert fonts.masters() is fonts.masters()


def test_the_checksum_covers_names_and_pixels():
    known = fonts.masters()
    pixels = known.pictures.clone()
    pixels[-1, -1, 30, 30] ^= 1
    assert known._replace(pictures=pixels).checksum != known.checksum
    assert known._replace(faces=(*known.faces[:-1], "other")).checksum != known.checksum
