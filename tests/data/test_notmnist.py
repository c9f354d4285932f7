"""notMNIST from its archive: the rule of the split, and what a hostile archive can't do."""

import hashlib
import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dlnotes.data import DataError, idx, images, notmnist
from dlnotes.data.idx import Checksum, Content
from dlnotes.data.known import NOT_MNIST, TEST, TRAIN, Copy, ImageSet

LETTERS = "ABCDEFGHIJ"


def png(value, size=(28, 28), mode="L", kind="png"):
    file = io.BytesIO()
    Image.new(mode, size, value).save(file, kind)
    return file.getvalue()


def pictures(each=5):
    """A small archive's members: each picture is of one grey value, its number."""
    names = [f"{letter}/font {place}.png" for letter in LETTERS for place in range(each)]
    return {name: png(number) for number, name in enumerate(names)}


@pytest.fixture
def archive(tmp_path, monkeypatch):
    monkeypatch.setattr(notmnist, "TESTS_PER_CLASS", 2)

    def build(members, name="notMNIST_small.tar.gz"):
        path = tmp_path / "root" / "NotMNIST" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, "w:gz") as tar:
            for member, content in members.items():
                info = tarfile.TarInfo(member if member.startswith(("/", ".")) else f"notMNIST_small/{member}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        return path

    return build


def sha1(text):
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def test_the_split_is_by_the_sha1_of_the_name():
    names = [f"{letter}/{place}.png" for letter in LETTERS for place in range(230)]
    train, test = notmnist.split_names(names)
    assert sorted(train + test) == sorted(names)
    for letter in LETTERS:
        tests = [sha1(name) for name in test if name[0] == letter]
        trains = [sha1(name) for name in train if name[0] == letter]
        assert len(tests) == 200
        assert max(tests) < min(trains)
    for part in (train, test):
        assert part == sorted(part, key=lambda name: sha1(f"order:{name}"))


def test_the_order_of_the_names_does_not_matter():
    names = [f"{letter}/{place}.png" for letter in LETTERS for place in range(210)]
    assert notmnist.split_names(names) == notmnist.split_names(names[::-1])


def test_the_files_hold_every_picture_with_its_label(archive):
    files = notmnist.from_archive(archive(pictures()))
    for (pixels, labels), count in ((TRAIN, 30), (TEST, 20)):
        grey = idx.images(Content.of(files[pixels]))
        assert grey.shape == (count, 28, 28)
        assert np.array_equal(grey[:, 3, 9] // 5, idx.labels(Content.of(files[labels])))


def test_the_two_broken_pictures_are_skipped_by_name_and_no_other(archive):
    members = pictures()
    assert len(notmnist.BROKEN) == 2
    files = notmnist.from_archive(archive(members | dict.fromkeys(notmnist.BROKEN, b"")))
    assert files == notmnist.from_archive(archive(members))
    with pytest.raises(DataError, match=r"damaged picture, 'notMNIST_small/C/other.png'"):
        notmnist.from_archive(archive(members | {"C/other.png": b""}))


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (png(1)[:40], "damaged picture"),
        (png(1, kind="bmp"), "damaged picture"),
        (png(1, size=(28, 29)), "expected grey pixels, 28x28; found L pixels, 28x29"),
        (png((1, 2, 3), mode="RGB"), "found RGB pixels"),
        (bytes(20_000), "holds too much: .* found 'notMNIST_small/B/odd.png' of 20,000 bytes"),
    ],
    ids=["cut", "bitmap", "size", "colour", "long"],
)
def test_a_picture_that_is_none_is_refused_and_named(archive, member, words):
    with pytest.raises(DataError, match=words):
        notmnist.from_archive(archive(pictures() | {"B/odd.png": member}))


def test_an_archive_with_too_many_members_is_refused(archive, monkeypatch):
    monkeypatch.setattr(notmnist, "MEMBERS", 49)
    with pytest.raises(DataError, match="holds too much: expected at most 49 members"):
        notmnist.from_archive(archive(pictures()))


def test_an_archive_that_unpacks_to_too_much_is_refused(archive, monkeypatch):
    monkeypatch.setattr(notmnist, "ARCHIVE_BYTES", 2000)
    with pytest.raises(DataError, match="holds too much"):
        notmnist.from_archive(archive(pictures()))


def test_headers_that_are_longer_than_any_picture_are_refused(archive):
    name = "A/" + "long" * 20_000 + ".png"
    with pytest.raises(DataError, match="holds too much: expected at most 65,536 bytes for a picture with its headers"):
        notmnist.from_archive(archive(pictures() | {name: png(9)}))


def test_a_picture_that_is_too_large_for_pillow_is_refused_and_named(archive, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 28 * 28 // 3)
    with pytest.raises(DataError, match=r"damaged picture, 'notMNIST_small/A/font 0\.png': .*bomb"):
        notmnist.from_archive(archive(pictures()))


@pytest.mark.parametrize("damage", ["half", "page", "empty"])
def test_a_damaged_archive_is_refused_and_named(archive, damage):
    path = archive(pictures())
    whole = path.read_bytes()
    path.write_bytes({"half": whole[: len(whole) // 2], "page": b"<html>", "empty": b""}[damage])
    with pytest.raises(DataError, match=r"notMNIST_small.tar.gz is damaged, or no archive"):
        notmnist.from_archive(path)


def test_nothing_is_written_beside_the_archive_or_above_it(archive, tmp_path):
    path = archive(pictures() | {"../../../A/escape.png": png(9), "/A/absolute.png": png(9)})
    before = sorted(tmp_path.rglob("*"))
    notmnist.from_archive(path)
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("/A/absolute.png").exists()


@pytest.fixture
def known(archive, tmp_path, monkeypatch):
    """The small archive in the data root, and a set whose known copy is what it gives."""
    monkeypatch.setenv("DLNOTES_DATA", str(tmp_path / "root"))
    monkeypatch.setenv("DLNOTES_CACHE", str(tmp_path / "cache"))
    files = notmnist.from_archive(archive(pictures()))
    sums = {name: Checksum(len(content), hashlib.sha256(content).hexdigest()) for name, content in files.items()}
    return ImageSet("not_mnist", "notMNIST", "letters", "NotMNIST", (Copy("ours", sums),), NOT_MNIST.archives, "a blog")


def test_what_is_made_is_kept_in_the_cache_and_the_archive_not_read_again(known, tmp_path, monkeypatch):
    first = images.find(known)
    assert sorted(path.name for path in (tmp_path / "cache" / "NotMNIST").iterdir()) == sorted(TRAIN + TEST)
    monkeypatch.setattr(notmnist, "from_archive", lambda path: pytest.fail("the cache is there"))
    again = images.find(known)
    assert again.files == first.files
    assert again.folder == tmp_path / "cache" / "NotMNIST"


def test_a_damaged_cache_is_made_again(known, tmp_path):
    images.find(known)
    damaged = tmp_path / "cache" / "NotMNIST" / TRAIN[0]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert images.find(known).copy.name == "ours"
    assert damaged.stat().st_size == known.copies[0].files[TRAIN[0]].size


def test_a_cache_that_cannot_be_written_is_done_without(known, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert images.find(known).copy.name == "ours"


def test_an_archive_of_other_pictures_is_refused(known, archive):
    archive(pictures() | {"A/font 0.png": png(77)})
    with pytest.raises(DataError, match="some other byte is not"):
        images.find(known)


def test_both_names_of_the_archive_are_known_and_a_missing_one_is_asked_for(known, archive, tmp_path):
    path = tmp_path / "root" / "NotMNIST" / "notMNIST_small.tar.gz"
    path.rename(path.with_name("notMNIST_small-rebuilt.tar.gz"))
    assert images.find(known).copy.name == "ours"
    path.with_name("notMNIST_small-rebuilt.tar.gz").unlink()
    with pytest.raises(DataError, match=r"put notMNIST_small.tar.gz there, from a blog") as missing:
        images.fetch(known)
    assert str(path) in str(missing.value)


def test_the_real_archive_gives_the_known_files(tmp_path, monkeypatch):
    root = os.environ.get("DLNOTES_DATA")
    there = [path for name in NOT_MNIST.archives if root and (path := Path(root, "NotMNIST", name)).is_file()]
    if not there:
        pytest.skip("$DLNOTES_DATA names no folder with notMNIST's archive")
    for name, content in notmnist.from_archive(there[0]).items():
        assert Content.of(content).sha256 == NOT_MNIST.copies[0].files[name].sha256
