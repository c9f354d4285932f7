"""Data sets by name: what a lesson's ``--data`` option and the records of its trials go by."""

import hashlib
from collections.abc import Callable

from dlnotes.data import images
from dlnotes.data.examples import Parts, check_count
from dlnotes.data.fonts import masters, version
from dlnotes.data.known import FASHION_MNIST, MNIST, NOT_MNIST
from dlnotes.data.letters import letters

__all__ = ["describe", "download", "fingerprint", "load", "names"]

_DRAWN: dict[str, Callable[..., Parts]] = {"letters": letters}
_READ: dict[str, Callable[..., Parts]] = {
    "fashion_mnist": images.fashion_mnist,
    "mnist": images.mnist,
    "not_mnist": images.not_mnist,
}
_KNOWN = {known.name: known for known in (FASHION_MNIST, MNIST, NOT_MNIST)}


def names() -> tuple[str, ...]:
    """The names that `load` knows.

    Example:
        >>> names()
        ('letters', 'fashion_mnist', 'mnist', 'not_mnist')
    """
    return (*_DRAWN, *_READ)


def load(
    name: str, seed: int, *, train: int | None = None, validation: int | None = None, test: int | None = None
) -> Parts:
    """The data set of that name, in three parts; None is what the set's own function does without the argument.

    Raises:
        ValueError: the name is not known, or more examples are asked for than there are.
        DataError: the set is missing or damaged.

    Example:
        >>> load("letters", 0, train=100, test=10).train.inputs.shape
        torch.Size([100, 1, 28, 28])
    """
    counts = {"train": train, "validation": validation, "test": test}
    given = {part: check_count(part, count) for part, count in counts.items() if count is not None}
    return ({**_DRAWN, **_READ})[_checked(name)](seed, **given)


def describe(name: str) -> str:
    """In a sentence, which data `load` would use.

    Raises:
        DataError: the set is missing or damaged.
    """
    if _checked(name) in _DRAWN:
        return f"letters, drawn from {len(masters().faces)} faces that {version()} brings along"
    found = images.find(_KNOWN[name])
    return f"{_KNOWN[name].title}, {found.copy.name}, in {found.folder}; every byte checked"


def fingerprint(name: str) -> str:
    """A short text that changes when the data that `load` would use changes: a record is kept under it.

    Raises:
        DataError: the set is missing or damaged.

    Example:
        >>> fingerprint("letters") == fingerprint("letters")
        True
    """
    if _checked(name) in _DRAWN:
        return f"letters: {version()}, sha256 {_short(masters().checksum)}"
    found = images.find(_KNOWN[name])
    sums = "".join(found.files[file].sha256 for file in sorted(found.files))
    return f"{name}: {found.copy.name}, sha256 {_short(hashlib.sha256(sums.encode()).hexdigest())}"


def download(name: str) -> str:
    """Fetch a set into the data root if it is not there, check it, and return what `describe` says of it.

    Raises:
        DataError: it could not be fetched, nobody offers it, or what came is not the known set.
    """
    if _checked(name) not in _DRAWN:
        images.fetch(_KNOWN[name])
    return describe(name)


def _checked(name: str) -> str:
    if name not in names():
        raise ValueError(f"no data set is called {name!r}; known are {', '.join(names())}")
    return name


def _short(checksum: str) -> str:
    return checksum[:16]
