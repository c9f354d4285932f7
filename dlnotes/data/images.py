"""Real pictures in ten classes: Fashion-MNIST, MNIST, notMNIST.

The files are those that everybody uses, in the folders where torchvision puts them. They are read here because
torchvision checks the archive that it downloads, and then trusts any unpacked file that has the right name; and they
are fetched here (`dlnotes.data.web`) because its downloads have no limit of time or size.
"""

import contextlib
import errno
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dlnotes import places
from dlnotes.data import idx, notmnist, web
from dlnotes.data.examples import DataError, Examples, MissingDataError, Parts, check_count
from dlnotes.data.idx import Checksum, Content
from dlnotes.data.known import FASHION_MNIST, MNIST, NOT_MNIST, TEST, TRAIN, Copy, ImageSet
from dlnotes.files import remove_stale_parts, write_whole
from dlnotes.randomness import stream

__all__ = ["Found", "fashion_mnist", "fetch", "find", "mnist", "not_mnist"]

Place = str | os.PathLike[str] | None


class Found(NamedTuple):
    """A set that was found and checked: which known copy it is, where, and its four files."""

    copy: Copy
    folder: Path
    files: dict[str, Content]


def fashion_mnist(
    seed: int,
    *,
    train: int | None = None,
    validation: int = 2_000,
    test: int | None = None,
    root: Place = None,
    download: bool = False,
) -> Parts:
    """Fashion-MNIST: photographs of clothes, 60,000 to learn from and 10,000 to test on.

    Training and validation examples are drawn from the training file in an order that the seed gives, without
    replacement: training from its start, validation from its end. Asking for more of one changes none of the other.
    Test examples come from the test file, in an order of their own.

    Args:
        seed: the experiment's seed, 0 or larger.
        train: how many examples; None is all that validation leaves.
        validation: how many examples.
        test: how many examples; None is all.
        root: the folder that holds ``FashionMNIST/raw``; None is the data root (`dlnotes.data.root`).
        download: fetch the set (30 MB) if it is not there. Without it the root is only read.

    Returns:
        Three `Examples`: inputs ``(N, 1, 28, 28)`` in [0, 1], targets ``(N,)`` from T-shirt (0) to ankle boot (9).

    Raises:
        MissingDataError: the set is not there; the message says where it would be and how to get it.
        DataError: a file is damaged: its SHA-256 is not the known one.
        ValueError: more examples are asked for than there are, or a negative number.

    Example:
        >>> from dlnotes import data
        >>> inputs, targets = data.fashion_mnist(0, train=5_000).train  # doctest: +SKIP

    Source:
        Xiao, Rasul & Vollgraf, 2017, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
        algorithms".
    """
    return _parts(FASHION_MNIST, seed, train, validation, test, root, download)


def mnist(
    seed: int,
    *,
    train: int | None = None,
    validation: int = 2_000,
    test: int | None = None,
    root: Place = None,
    download: bool = False,
) -> Parts:
    """MNIST: handwritten digits, 60,000 to learn from and 10,000 to test on.

    Arguments, result and errors are those of `fashion_mnist`; the folder is ``MNIST/raw``, the target the digit.

    Source:
        LeCun, Bottou, Bengio & Haffner, 1998, "Gradient-based learning applied to document recognition".
    """
    return _parts(MNIST, seed, train, validation, test, root, download)


def not_mnist(
    seed: int,
    *,
    train: int | None = None,
    validation: int = 2_000,
    test: int | None = None,
    root: Place = None,
    download: bool = False,
) -> Parts:
    """The small set of notMNIST: the capitals A to J in fonts from the web, 16,724 to learn from and 2,000 to test on.

    Arguments, result and errors are those of `fashion_mnist`; the folder is ``NotMNIST``, and target 0 is the A.
    Nobody offers the set in a form that can be fetched and checked, so that ``download=True`` only says what to do:
    put the archive ``notMNIST_small.tar.gz`` into that folder. It is read in memory, once, and the four files made
    from it are kept in the cache. About 4 % of the test letters have an identical twin among the training letters.

    Source:
        Bulatov, 2011, "notMNIST dataset".
    """
    return _parts(NOT_MNIST, seed, train, validation, test, root, download)


def find(images: ImageSet, root: Place = None) -> Found:
    """The four files of a set, checked: from the data root, else from the cache, else made from the archive.

    Raises:
        MissingDataError: no such set there.
        DataError: a file is damaged, or the four belong to different copies.
    """
    home = places.root(root) / images.folder
    if paths := _files(home / "raw"):
        return _check(images, home / "raw", {name: _read(images, name, path) for name, path in paths.items()})
    for archive in (home / name for name in images.archives):
        if archive.is_file():
            return _from_archive(images, archive)
    raise MissingDataError(_missing(images, home))


def fetch(images: ImageSet, root: Place = None) -> Found:
    """The set, checked; each of its files that is not there, or is damaged, is downloaded first.

    Raises:
        DataError: nobody offers it, it could not be downloaded, or what came is not the known set.
        OSError: the folder cannot be written to, or the disk is full.
    """
    try:
        return find(images, root)
    except DataError:
        if not images.mirrors:
            raise
    folder = places.root(root) / images.folder / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):  # said before anything is fetched
        raise PermissionError(errno.EACCES, "the set cannot be put there", str(folder))
    remove_stale_parts(folder)
    for name in TRAIN + TEST:
        plain, packed = folder / name, folder / f"{name}.gz"
        if not _sound(images, name, plain if plain.exists() else packed):  # the one that `find` takes
            content = _sound(images, name, packed) or web.fetch_file(name, images.mirrors, _checksums(images, name))
            write_whole(plain, content.unpacked)
    return find(images, root)


def _parts(
    images: ImageSet, seed: int, train: int | None, validation: int, test: int | None, root: Place, download: bool
) -> Parts:
    found = fetch(images, root) if download else find(images, root)
    pixels, labels = _arrays(found, TRAIN)
    test_pixels, test_labels = _arrays(found, TEST)
    train, validation, test = _counts(images, (train, validation, test), (len(labels), len(test_labels)))
    order = torch.randperm(len(labels), generator=stream(seed, f"{images.name}/train"), device="cpu").numpy()
    test_order = torch.randperm(len(test_labels), generator=stream(seed, f"{images.name}/test"), device="cpu").numpy()
    return Parts(
        _examples(pixels, labels, order[:train]),
        _examples(pixels, labels, order[::-1][:validation]),
        _examples(test_pixels, test_labels, test_order[:test]),
    )


def _counts(
    images: ImageSet, asked: tuple[int | None, int, int | None], there: tuple[int, int]
) -> tuple[int, int, int]:
    """How many examples each part gets; ValueError where that is more than there are."""
    train, validation, test = asked
    check_count("validation", validation)
    train = max(0, there[0] - validation) if train is None else check_count("train", train)
    test = there[1] if test is None else check_count("test", test)
    if train + validation > there[0]:
        raise ValueError(
            f"{images.name} has {there[0]:,} training examples, "
            f"but train={train:,} and validation={validation:,} ask for {train + validation:,}"
        )
    if test > there[1]:
        raise ValueError(f"{images.name} has {there[1]:,} test examples, but test={test:,} asks for more")
    return train, validation, test


def _arrays(found: Found, names: tuple[str, str]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    return idx.images(found.files[names[0]]), idx.labels(found.files[names[1]])


def _examples(pixels: NDArray[np.uint8], labels: NDArray[np.uint8], rows: NDArray[np.int64]) -> Examples:
    inputs = torch.from_numpy(pixels[rows]).unsqueeze(1).float().div_(255)
    return Examples(inputs, torch.from_numpy(labels[rows]).long())


def _files(folder: Path) -> dict[str, Path] | None:
    """The four files, each plain or packed; None unless all are there."""
    packed = {name: folder / f"{name}.gz" for name in TRAIN + TEST}
    plain = {name: folder / name for name in TRAIN + TEST}
    there = {name: path for files in (packed, plain) for name, path in files.items() if path.exists()}  # plain wins
    return there if len(there) == len(plain) else None


def _read(images: ImageSet, name: str, path: Path) -> Content:
    return idx.read(path, _checksums(images, name))


def _sound(images: ImageSet, name: str, path: Path) -> Content | None:
    """What a file holds, if it is there and known."""
    try:
        return _read(images, name, path)
    except DataError:
        return None


def _checksums(images: ImageSet, name: str) -> set[Checksum]:
    return {copy.files[name] for copy in images.copies}


def _check(images: ImageSet, folder: Path, files: dict[str, Content]) -> Found:
    """Four files that are each known must also be of one copy: images and labels of two would not fit together."""
    for copy in images.copies:
        if all(files[name].sha256 == checksum.sha256 for name, checksum in copy.files.items()):
            return Found(copy, folder, files)
    raise DataError(f"{folder} mixes files of different copies of {images.title}: get all four from one place")


def _from_archive(images: ImageSet, archive: Path) -> Found:
    """The set from the cache where it is there and whole, else made from the archive and put there."""
    folder = places.cache() / images.folder
    if paths := _files(folder):
        with contextlib.suppress(DataError):  # a cache may be damaged, or be of an earlier rule: it is made again
            return _check(images, folder, {name: _read(images, name, path) for name, path in paths.items()})
    files = {
        name: idx.verify(Content.of(made), archive / name, _checksums(images, name))
        for name, made in notmnist.from_archive(archive).items()
    }
    found = _check(images, archive.parent, files)
    with contextlib.suppress(OSError):  # without a cache that can be written to, it costs two seconds every time
        for name, content in files.items():
            write_whole(folder / name, content.unpacked)
    return found


def _missing(images: ImageSet, home: Path) -> str:
    there = {path.name.removesuffix(".gz") for path in (home / "raw").glob("*-ubyte*")}
    absent = ", ".join(name for name in TRAIN + TEST if name not in there)
    lines = [
        f"{images.title} is not there ({images.about})",
        f"  looked in:  {home / 'raw'}",
        f"  for:        {absent} (as it is, or .gz)",
    ]
    if images.archives:
        lines += [f"  and for:    {home / name}" for name in images.archives]
        lines += [f"  to get it:  put {images.archives[0]} there, from {images.source}"]
    else:
        lines += [f"  to get it:  python -m lessons download {images.name}"]
        lines += [f"              or in Python dlnotes.data.{images.name}(0, download=True)"]
    lines += [f"  or set $DLNOTES_DATA to a folder that holds {images.folder}/raw"]
    return "\n".join(lines)
