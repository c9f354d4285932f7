"""Data sets by name: what a lesson's ``--data`` option and the records of its trials go by."""

import hashlib
from collections.abc import Callable

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d

from dlnotes.data import corpora, images
from dlnotes.data.examples import Examples, MissingDataError, Parts, check_count
from dlnotes.data.fonts import masters, version
from dlnotes.data.known import FASHION_MNIST, MNIST, NOT_MNIST
from dlnotes.data.letters import letters

__all__ = ["available", "describe", "download", "fingerprint", "load", "names", "texts"]

_DRAWN: dict[str, Callable[..., Parts]] = {"letters": letters}
_READ: dict[str, Callable[..., Parts]] = {
    "fashion_mnist": images.fashion_mnist,
    "mnist": images.mnist,
    "not_mnist": images.not_mnist,
}
_KNOWN = {known.name: known for known in (FASHION_MNIST, MNIST, NOT_MNIST)}


def names() -> tuple[str, ...]:
    """The names of sets of pictures, which `load` reads.

    Example:
        >>> names()
        ('letters', 'fashion_mnist', 'mnist', 'not_mnist')
    """
    return (*_DRAWN, *_READ)


def texts() -> tuple[str, ...]:
    """The names of texts: of words that a lesson draws itself, and of those that are read; the last is any file.

    Example:
        >>> texts()
        ('planted', 'python_docs', 'tiny_shakespeare', 'text8', 'wikitext2', 'text:PATH')
    """
    return (corpora.PLANTED, *corpora.NAMES, "text:PATH")


def available() -> tuple[str, ...]:
    """The names of the sets and texts that can be used now: on every machine, or because they lie in the data root.

    Raises:
        DataError: a set lies there and is damaged.

    Example:
        >>> "letters" in available()
        True
    """
    pictures = tuple(name for name in names() if name in _DRAWN or _is_there(name))
    return pictures + tuple(filter(corpora.is_there, (corpora.PLANTED, *corpora.NAMES)))


def _is_there(name: str) -> bool:
    try:
        images.find(_KNOWN[name])
    except MissingDataError:
        return False
    return True


def load(
    name: str,
    seed: int,
    *,
    train: int | None = None,
    validation: int | None = None,
    test: int | None = None,
    side: int | None = None,
    flat: bool = False,
) -> Parts:
    """The data set of that name, in three parts; None is what the set's own function does without the argument.

    Args:
        name: one of `names`.
        seed: the experiment's seed, 0 or larger.
        train: how many training examples.
        validation: how many validation examples.
        test: how many test examples.
        side: pixels along a side, at most as many as the images have: each new pixel is the mean of those that it
            covers. 14 is enough for most questions, and several times as fast as 28.
        flat: images as rows of numbers, (N, C · side · side) in place of (N, C, side, side).

    Raises:
        ValueError: the name is not known, more examples are asked for than there are, or larger images.
        DataError: the set is missing or damaged.

    Example:
        >>> load("letters", 0, train=100, test=10).train.inputs.shape
        torch.Size([100, 1, 28, 28])
        >>> load("letters", 0, train=100, test=10, side=14, flat=True).train.inputs.shape
        torch.Size([100, 196])
    """
    counts = {"train": train, "validation": validation, "test": test}
    given = {part: check_count(part, count) for part, count in counts.items() if count is not None}
    parts = ({**_DRAWN, **_READ})[_checked(name)](seed, **given)
    if side is None and not flat:
        return parts
    return Parts(*(Examples(_resized(part.inputs, side, flat=flat), part.targets) for part in parts))


def _resized(images: Tensor, side: int | None, *, flat: bool) -> Tensor:
    """Images (N, C, H, H) at another size, as they are or as rows."""
    here = images.shape[-1]
    if side is not None and not 1 <= side <= here:
        raise ValueError(f"side must be from 1 to the {here} pixels that the images have, not {side}")
    if side is not None and side != here:
        whole = not here % side
        images = avg_pool2d(images, here // side) if whole else adaptive_avg_pool2d(images, side)
    return images.flatten(1) if flat else images


def describe(name: str) -> str:
    """In a sentence, which data would be used.

    Raises:
        DataError: the set is missing or damaged.
        ValueError: the name is not known.
    """
    if corpora.is_text(name):
        return corpora.describe(name)
    if _checked(name) in _DRAWN:
        return f"letters, drawn from {len(masters().faces)} faces that {version()} brings along"
    found = images.find(_KNOWN[name])
    return f"{_KNOWN[name].title}, {found.copy.name}, in {found.folder}; every byte checked"


def fingerprint(name: str) -> str:
    """A short text that changes when the data that would be used changes: a record is kept under it.

    Raises:
        DataError: the set is missing or damaged.
        ValueError: the name is not known.

    Example:
        >>> fingerprint("letters") == fingerprint("letters")
        True
    """
    if corpora.is_text(name):
        return corpora.fingerprint(name)
    if _checked(name) in _DRAWN:
        return f"letters: {version()}, sha256 {_short(masters().checksum)}"
    found = images.find(_KNOWN[name])
    sums = "".join(found.files[file].sha256 for file in sorted(found.files))
    return f"{name}: {found.copy.name}, sha256 {_short(hashlib.sha256(sums.encode()).hexdigest())}"


def download(name: str) -> str:
    """Fetch a set into the data root if it is not there, check it, and return what `describe` says of it.

    Texts are not fetched: what is missing says where it would have to be.

    Raises:
        DataError: it could not be fetched, nobody offers it, or what came is not the known set.
    """
    if not corpora.is_text(name) and _checked(name) not in _DRAWN:
        images.fetch(_KNOWN[name])
    return describe(name)


def _checked(name: str) -> str:
    if corpora.is_text(name):
        how = "a lesson draws its words" if name == corpora.PLANTED else "data.load_text reads it"
        raise ValueError(f"{name} is a text, not a set of pictures: {how}")
    if name not in names():
        raise ValueError(f"no data set is called {name!r}; known are {', '.join(names())}")
    return name


def _short(checksum: str) -> str:
    return checksum[:16]
