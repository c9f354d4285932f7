"""notMNIST's four files, made from its archive of pictures.

The archive holds a folder a letter and a PNG a font (Bulatov, 2011). It has no split, so that one is made by a rule
which depends on nothing but the file names: in each class the 200 pictures whose names have the smallest SHA-1 are
for testing, the rest for training, and each file is ordered by another SHA-1 of the names. Nothing is unpacked to
the disk.
"""

import gzip
import hashlib
import io
import tarfile
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dlnotes.data import idx
from dlnotes.data.examples import DataError
from dlnotes.data.known import TEST, TRAIN

__all__ = ["BROKEN", "from_archive", "split_names"]

CLASSES = "ABCDEFGHIJ"
TESTS_PER_CLASS = 200

# Two pictures of the archive are empty files, as everybody who has opened it reports.
BROKEN = frozenset(
    {
        "A/RGVtb2NyYXRpY2FCb2xkT2xkc3R5bGUgQm9sZC50dGY=.png",
        "F/Q3Jvc3NvdmVyIEJvbGRPYmxpcXVlLnR0Zg==.png",
    }
)

MEMBERS = 20_000  # the archive has 18,726 pictures in 11 folders
MEMBER_BYTES = 16_384  # the largest picture has about 1,000
ROOM = 65_536  # for a member and all the headers before it; tarfile reads 10,240 bytes ahead
ARCHIVE_BYTES = 64 * 1024 * 1024


def from_archive(path: Path) -> dict[str, bytes]:
    """The four IDX files, by name, from ``notMNIST_small.tar.gz``.

    Raises:
        DataError: the archive cannot be read, is larger than the known one could be, or holds something else.
    """
    try:
        pictures = _pictures(path)
    except (DataError, ImportError, MemoryError):
        raise
    except Exception as error:  # whatever the file makes the code of tarfile meet, it is the file that is wrong
        raise DataError(f"{path} is damaged, or no archive: {str(error) or type(error).__name__}") from error
    train, test = split_names(pictures)
    if not train:  # and then np.stack has nothing to stack
        raise DataError(f"{path} holds too little: expected thousands of pictures, found {len(pictures)}")
    files = {}
    for names, (images, labels) in ((train, TRAIN), (test, TEST)):
        files[images] = idx.pack(np.stack([pictures[name] for name in names]))
        files[labels] = idx.pack(np.array([CLASSES.index(name[0]) for name in names], np.uint8))
    return files


def split_names(names: Collection[str]) -> tuple[list[str], list[str]]:
    """Training and test names, in order, from names such as ``"A/font.png"``."""
    train, test = [], []
    by_class = {letter: sorted((n for n in names if n[0] == letter), key=_sha1) for letter in CLASSES}
    for members in by_class.values():
        test += members[:TESTS_PER_CLASS]
        train += members[TESTS_PER_CLASS:]
    return sorted(train, key=_place), sorted(test, key=_place)


def _sha1(name: str) -> str:
    # A way to shuffle that every language has; nothing is kept secret by it.
    return hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()


def _place(name: str) -> str:
    return _sha1(f"order:{name}")


class _Limited(io.RawIOBase):
    """A stream that ends in a DataError where it, or one member, is longer than it could be, whatever headers say."""

    def __init__(self, file: gzip.GzipFile, path: Path) -> None:
        self._file, self._path, self._left, self._room = file, path, ARCHIVE_BYTES, ROOM

    def read(self, size: int = -1, /) -> bytes:
        most = min(self._left, self._room) + 1
        content = self._file.read(min(size, most) if size >= 0 else most)
        self._left -= len(content)
        self._room -= len(content)
        if self._left < 0:
            raise DataError(f"{self._path} holds too much: expected at most {ARCHIVE_BYTES:,} bytes once unpacked")
        if self._room < 0:
            raise DataError(
                f"{self._path} holds too much: expected at most {ROOM:,} bytes for a picture with its headers"
            )
        return content

    def next_member(self) -> None:
        """Give the next member its room."""
        self._room = ROOM


def _pictures(path: Path) -> dict[str, NDArray[np.uint8]]:
    """Every readable picture, ``(28, 28)``, by its name from the folder of its letter on."""
    pictures = {}
    # tarfile's own "r|gz" takes half an archive for a whole one; gzip says that the other half is missing.
    with gzip.open(path) as file:
        limited = _Limited(file, path)
        with tarfile.open(fileobj=limited, mode="r|", errors="strict") as archive:
            for place, member in enumerate(archive):
                limited.next_member()
                if place >= MEMBERS or member.size > MEMBER_BYTES:
                    raise DataError(
                        f"{path} holds too much: expected at most {MEMBERS:,} members of {MEMBER_BYTES:,} bytes, "
                        f"found {member.name!r:.100} of {member.size:,} bytes at place {place:,}"
                    )
                name = "/".join(member.name.split("/")[-2:])
                if member.isfile() and name not in BROKEN:
                    pictures[name] = _picture(archive, member, path)
    return pictures


def _picture(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> NDArray[np.uint8]:
    from PIL import Image

    file = archive.extractfile(member)
    content = file.read() if file else b""
    try:
        # Only this format: Pillow would otherwise try its fifty others on whatever the archive holds.
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            if image.size == (28, 28) and image.mode == "L":
                return np.array(image)
            found = f"{image.mode} pixels, {image.size[0]}x{image.size[1]}"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} holds a damaged picture, {member.name!r:.100}: {error}") from error
    raise DataError(
        f"{path} holds a picture of another kind, {member.name!r:.100}: expected grey pixels, 28x28; found {found}"
    )
