"""IDX files: what is read is what was checked, and every kind of damage is refused in words that fit it."""

import gzip
import hashlib
import struct
import tracemalloc

import numpy as np
import pytest

from dlnotes.data import DataError, idx
from dlnotes.data.idx import Checksum, Content

COUNT = 20
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, 28, 28), dtype=np.uint8)
LABELS = np.arange(COUNT, dtype=np.uint8) % 10
GOOD = {"train-images-idx3-ubyte": idx.pack(PIXELS), "train-labels-idx1-ubyte": idx.pack(LABELS)}
IMAGES, LABEL_FILE = GOOD


def known(name):
    return {Checksum(len(GOOD[name]), hashlib.sha256(GOOD[name]).hexdigest())}


def changed(content, place, value):
    return content[:place] + bytes([value]) + content[place + 1 :]


def flipped(content, place, bit=0):
    return changed(content, place, content[place] ^ (1 << bit))


# kind: the file, what it holds instead, and the words that must say so
DAMAGE = {
    "truncated": (IMAGES, GOOD[IMAGES][:-100], r"expected 15,696 bytes, found 15,596"),
    "cut inside the header": (
        IMAGES,
        GOOD[IMAGES][:9],
        r"expected 15,696 bytes, found 9 \(expected a header of 16 bytes",
    ),
    "extended": (IMAGES, GOOD[IMAGES] + b"more", r"expected 15,696 bytes, found 15,700"),
    "header bit": (IMAGES, flipped(GOOD[IMAGES], 3), r"expected the magic number 0x00000803, found 0x00000802"),
    "count in the header": (IMAGES, changed(GOOD[IMAGES], 7, 21), r"the header says 21 images, there are bytes for 20"),
    "HTML page": (IMAGES, b"<!DOCTYPE html><html>Moved</html>", r"expected 15,696 bytes, found 33 \(it is a web page"),
    "empty": (IMAGES, b"", r"found 0"),
    "label > 9": (
        LABEL_FILE,
        changed(GOOD[LABEL_FILE], 8 + 7, 10),
        r"expected labels from 0 to 9, found 10 at place 7",
    ),
    "fewer labels than images": (LABEL_FILE, idx.pack(LABELS[:-1]), r"expected 28 bytes, found 27"),
    "14x56": (
        IMAGES,
        idx.pack(PIXELS.reshape(COUNT, 14, 56)),
        r"expected images of 28x28 pixels, the header says 14x56",
    ),
    "pixel bit flip": (
        IMAGES,
        flipped(GOOD[IMAGES], 5000, 3),
        r"some other byte is not\n  expected SHA-256 \w{64}\n  found",
    ),
    "zeroed tail": (IMAGES, GOOD[IMAGES][:-900] + bytes(900), r"some other byte is not"),
}


@pytest.fixture
def place(tmp_path):
    def put(name, content):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return put


@pytest.mark.parametrize("name", GOOD)
def test_a_whole_file_is_read_plain_or_packed(place, name):
    for path in (place(name, GOOD[name]), place(f"{name}.gz", gzip.compress(GOOD[name]))):
        assert idx.read(path, known(name)) == Content.of(GOOD[name])


def test_packing_and_reading_are_each_other_s_inverse():
    assert np.array_equal(idx.images(Content.of(idx.pack(PIXELS))), PIXELS)
    assert np.array_equal(idx.labels(Content.of(idx.pack(LABELS))), LABELS)
    assert struct.unpack(">4I", idx.pack(PIXELS)[:16]) == (2051, COUNT, 28, 28)
    assert struct.unpack(">2I", idx.pack(LABELS)[:8]) == (2049, COUNT)


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_refused_and_named(place, kind):
    name, content, words = DAMAGE[kind]
    path = place(name, content)
    with pytest.raises(DataError, match=words) as refusal:
        idx.read(path, known(name))
    assert str(path) in str(refusal.value)
    assert str(refusal.value).count("\n") <= 2


@pytest.mark.parametrize("kind", [kind for kind in DAMAGE if kind != "extended"])
def test_damage_inside_a_packed_file_is_refused_and_named(place, kind):
    name, content, words = DAMAGE[kind]
    with pytest.raises(DataError, match=words):
        idx.read(place(f"{name}.gz", gzip.compress(content)), known(name))


PACKED = gzip.compress(GOOD[IMAGES])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty: expected a gzip file, found 0 bytes"),
        (b"<html>gone</html>", "is no gzip file, or a damaged one: it is a web page"),
        (b"PK\x03\x04 a zip file", "is no gzip file, or a damaged one"),
        (PACKED[: len(PACKED) // 2], "ends too early"),
        (PACKED[:-3], "ends too early"),
        (flipped(PACKED, len(PACKED) - 6), "is no gzip file, or a damaged one"),  # its own checksum
        (gzip.compress(GOOD[IMAGES] + b"x"), "holds too much: expected at most 15,696 bytes"),
        (gzip.compress(bytes(50_000_000)), "is too long|holds too much"),
    ],
    ids=["empty", "page", "zip", "half", "no end", "gzip checksum", "a byte too many", "bomb"],
)
def test_a_bad_gzip_file_is_refused_and_named(place, content, words):
    path = place(f"{IMAGES}.gz", content)
    with pytest.raises(DataError, match=words) as refusal:
        idx.read(path, known(IMAGES))
    assert str(path) in str(refusal.value)


def test_a_bomb_is_never_unpacked_beyond_the_limit(place):
    bomb = gzip.compress(bytes(10_000_000))  # about 10 kB: it passes for a packed file of images
    path = place(f"{IMAGES}.gz", bomb)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="holds too much"):
            idx.unpack(bomb, path, limit=1000)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 200_000
    with pytest.raises(DataError, match="holds too much"):
        idx.read(path, known(IMAGES))


def test_a_file_that_is_far_too_long_is_not_even_read(place, monkeypatch):
    path = place(IMAGES, bytes(100_000))
    monkeypatch.setattr(type(path), "read_bytes", lambda self: pytest.fail("read 100,000 bytes where 15,696 are right"))
    with pytest.raises(DataError, match="is too long: expected at most 15,696 bytes, found 100,000"):
        idx.read(path, known(IMAGES))


def test_every_single_bit_of_a_file_matters(place):
    chance = np.random.default_rng(1)
    for where, bit in zip(chance.integers(0, len(GOOD[LABEL_FILE]), 40), chance.integers(0, 8, 40), strict=True):
        with pytest.raises(DataError):
            idx.verify(Content.of(flipped(GOOD[LABEL_FILE], where, bit)), place(LABEL_FILE, b""), known(LABEL_FILE))


def test_a_file_that_is_not_there_or_is_a_folder_is_a_data_error(tmp_path):
    (tmp_path / IMAGES).mkdir()
    for path in (tmp_path / IMAGES, tmp_path / "nothing"):
        with pytest.raises(DataError, match="cannot be read"):
            idx.read(path, known(IMAGES))


def test_a_file_that_changes_is_read_and_judged_again(place):
    assert idx.read(place(IMAGES, GOOD[IMAGES]), known(IMAGES))
    with pytest.raises(DataError, match="some other byte"):
        idx.read(place(IMAGES, flipped(GOOD[IMAGES], 600)), known(IMAGES))


def test_one_of_several_known_checksums_suffices(place):
    other = Checksum(99, "0" * 64)
    assert idx.read(place(IMAGES, GOOD[IMAGES]), {other, *known(IMAGES)}).unpacked == GOOD[IMAGES]
    with pytest.raises(DataError, match="expected 99 or 15,696 bytes, found 15,695"):
        idx.read(place(IMAGES, GOOD[IMAGES][1:]), {other, *known(IMAGES)})
