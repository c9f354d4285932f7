"""IDX files, the format of MNIST, read so that no byte is used before it was checked.

A file is read once, whole; its SHA-256 is compared with the known ones; and the very bytes that were checked are the
bytes that are parsed. Where the checksum is not a known one, a second look says what is wrong with the file.

An IDX file is a header of big-endian 32-bit numbers (a magic number that ends in the number of dimensions, then the
dimensions) and one byte a pixel or label (LeCun, Cortes & Burges, 1998, "The MNIST database of handwritten digits").
"""

import functools
import hashlib
import struct
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dlnotes.data.examples import DataError

__all__ = ["Checksum", "Content", "images", "labels", "longest", "pack", "packed_limit", "read", "unpack", "verify"]

_IMAGES = 0x00000803  # unsigned bytes in three dimensions
_LABELS = 0x00000801  # unsigned bytes in one
_SIDE = 28
_CLASSES = 10


class Checksum(NamedTuple):
    """What is known of a file: how many bytes it has once it is unpacked, and their SHA-256."""

    size: int
    sha256: str


class Content(NamedTuple):
    """The unpacked bytes of a file, and the SHA-256 that was computed from them."""

    unpacked: bytes
    sha256: str

    @classmethod
    def of(cls, unpacked: bytes) -> "Content":
        """The bytes with their checksum."""
        return cls(unpacked, hashlib.sha256(unpacked).hexdigest())


def read(path: Path, known: Collection[Checksum]) -> Content:
    """The unpacked bytes of a file, plain or ``.gz``, whose checksum is one of those known.

    A file that was read before, and has neither another size nor another date since, is not read again.

    Raises:
        DataError: the file cannot be read or unpacked, or holds anything else. The message names the file, what was
            expected and what was found.
    """
    limit = longest(known)
    try:
        status = path.stat()
        content = _read(path, status.st_size, status.st_mtime_ns, limit)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    return verify(content, path, known)


def verify(content: Content, path: Path, known: Collection[Checksum]) -> Content:
    """The content, if its checksum is one of those known; DataError, with ``path`` in the message, if not."""
    if content.sha256 not in {checksum.sha256 for checksum in known}:
        raise DataError(_damage(path, content, known))
    return content


def images(content: Content) -> NDArray[np.uint8]:
    """``(N, 28, 28)``, uint8: the pictures in the bytes of a file that was checked. Not to be written to."""
    return np.frombuffer(content.unpacked, np.uint8, offset=16).reshape(-1, _SIDE, _SIDE)


def labels(content: Content) -> NDArray[np.uint8]:
    """``(N,)``, uint8: the labels in the bytes of a file that was checked. Not to be written to."""
    return np.frombuffer(content.unpacked, np.uint8, offset=8)


def pack(array: NDArray[np.uint8]) -> bytes:
    """The IDX file that holds an array of bytes: the other direction.

    Example:
        >>> pack(np.array([3, 1, 2], np.uint8)).hex(" ", -4)
        '00000801 00000003 030102'
    """
    magic = 0x00000800 + array.ndim
    return struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.tobytes()


@functools.lru_cache(maxsize=8)  # two sets of four files; the largest is 47 MB
def _read(path: Path, size: int, modified: int, limit: int) -> Content:
    """Size and date are in the key, so that a file that changed is read, and judged, again."""
    if size > packed_limit(limit):
        raise DataError(f"{path} is too long: expected at most {limit:,} bytes, found {size:,}")
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = unpack(content, path, limit)
    return Content.of(content)


def longest(known: Collection[Checksum]) -> int:
    """How many unpacked bytes a file with one of these checksums has at most."""
    return max(checksum.size for checksum in known)


def packed_limit(limit: int) -> int:
    """How long the packed form of ``limit`` bytes may be: a little longer than what it holds, never much."""
    return limit + limit // 100 + 1024


def unpack(packed: bytes, path: Path, limit: int) -> bytes:
    """What a gzip file holds, if it is whole and no longer than ``limit`` bytes; DataError if not."""
    if not packed:
        raise DataError(f"{path} is empty: expected a gzip file, found 0 bytes")
    decoder = zlib.decompressobj(wbits=31)  # 31: a gzip header and its checksum
    try:
        content = decoder.decompress(packed, limit + 1)
    except zlib.error as error:
        hint = _page(packed) or str(error)
        raise DataError(f"{path} is no gzip file, or a damaged one: {hint}") from error
    if len(content) > limit:
        raise DataError(f"{path} holds too much: expected at most {limit:,} bytes once unpacked, found more")
    if not decoder.eof:
        raise DataError(
            f"{path} ends too early: expected a whole gzip file, found the first {len(packed):,} bytes of one"
        )
    return content


def _damage(path: Path, content: Content, known: Collection[Checksum]) -> str:
    """What is wrong with a file whose checksum is not known: its size, its header, its labels, or a byte somewhere."""
    found = len(content.unpacked)
    sizes = sorted({checksum.size for checksum in known})
    if found not in sizes:
        hint = _page(content.unpacked) or ("it is empty" if not found else _header(path, content.unpacked))
        expected = " or ".join(f"{size:,}" for size in sizes)
        return f"{path} is damaged: expected {expected} bytes, found {found:,}" + (f" ({hint})" if hint else "")
    hint = _header(path, content.unpacked) or _classes(path, content.unpacked)
    if hint:
        return f"{path} is damaged: {hint}"
    sums = " or ".join(sorted(checksum.sha256 for checksum in known if checksum.size == found))
    return (
        f"{path} is damaged: size and header are right, some other byte is not\n"
        f"  expected SHA-256 {sums}\n  found    SHA-256 {content.sha256}"
    )


def _page(content: bytes) -> str:
    """Servers answer with a page where a file has moved, and a page is what was then saved under the file's name."""
    return "it is a web page" if content.lstrip()[:1] == b"<" else ""


def _header(path: Path, content: bytes) -> str:
    """What is wrong with the header; nothing if it fits a file of images, or of labels, of this length."""
    is_images = "images" in path.name
    magic, numbers = (_IMAGES, 4) if is_images else (_LABELS, 2)
    if len(content) < 4 * numbers:
        return f"expected a header of {4 * numbers} bytes"
    first, count, *sides = struct.unpack_from(f">{numbers}I", content)
    if first != magic:
        return f"expected the magic number 0x{magic:08x}, found 0x{first:08x}"
    if is_images and sides != [_SIDE, _SIDE]:
        return f"expected images of {_SIDE}x{_SIDE} pixels, the header says {sides[0]}x{sides[1]}"
    there = (len(content) - 4 * numbers) // (_SIDE * _SIDE if is_images else 1)
    if count != there:
        return f"the header says {count:,} {'images' if is_images else 'labels'}, there are bytes for {there:,}"
    return ""


def _classes(path: Path, content: bytes) -> str:
    """What is wrong with the labels, in a file of labels."""
    if "images" in path.name:
        return ""
    wrong = [(place, label) for place, label in enumerate(content[8:]) if label >= _CLASSES]
    return f"expected labels from 0 to 9, found {wrong[0][1]} at place {wrong[0][0]:,}" if wrong else ""
