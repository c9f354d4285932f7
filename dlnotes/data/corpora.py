"""Texts: the documentation of Python, which is on every machine, and published ones, checked byte by byte.

A text comes as its characters and, for learning, as numbers: the place of each character in the alphabet of the text.
"""

import functools
import hashlib
import re
import unicodedata
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlnotes import places
from dlnotes.data.examples import DataError, MissingDataError
from dlnotes.data.idx import Checksum
from dlnotes.randomness import stream

__all__ = [
    "CORPORA",
    "NAMES",
    "PLANTED",
    "Corpus",
    "Text",
    "describe",
    "fingerprint",
    "is_text",
    "is_there",
    "load_text",
    "load_words",
    "read",
]

LONGEST = 200_000_000  # bytes of a text that is read: twice the whole of text8
HELD_OUT = 0.05  # of a text for validation, and as much for testing: its end


class Text(NamedTuple):
    """A text as numbers, in three parts: learn from one, choose by the next, judge on the last.

    Shape:
        train, validation and test (characters,), int64: the place of each character in ``alphabet``.

    Example:
        >>> text = Text("ab ", *torch.tensor([[0, 1, 2], [0, 0, 0], [1, 1, 1]]))
        >>> text.written(text.train), text.numbers("b a").tolist()
        ('ab ', [1, 2, 0])
    """

    alphabet: str
    train: Tensor
    validation: Tensor
    test: Tensor

    def written(self, numbers: Tensor) -> str:
        """The characters that numbers stand for."""
        return "".join(self.alphabet[number] for number in numbers.tolist())

    def numbers(self, characters: str) -> Tensor:
        """The numbers of characters: the other direction.

        Raises:
            ValueError: a character is not in the alphabet.
        """
        places = {character: place for place, character in enumerate(self.alphabet)}
        unknown = sorted(set(characters) - places.keys())
        if unknown:
            raise ValueError(f"the alphabet of this text has no {', '.join(map(repr, unknown[:5]))}")
        return torch.tensor([places[character] for character in characters], dtype=torch.int64, device="cpu")


class Piece(NamedTuple):
    """A file with a text, or the member of an archive, below the data root; and what is known of its bytes."""

    path: str
    member: str
    checksum: Checksum


class Corpus(NamedTuple):
    """What is known of a published text."""

    title: str
    about: str
    copies: dict[str, tuple[Piece, ...]]  # one piece that is split here, or three that came split


def _piece(path: str, member: str, size: int, sha256: str) -> Piece:
    return Piece(path, member, Checksum(size, sha256))


CORPORA = {
    "tiny_shakespeare": Corpus(
        "tiny Shakespeare",
        "1.1 million characters of plays by Shakespeare",
        {
            "as published": (
                _piece(
                    "tinyshakespeare/input.txt",
                    "",
                    1_115_394,
                    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
                ),
            )
        },
    ),
    "text8": Corpus(
        "text8",
        "English Wikipedia of 2006, only the letters a to z and blanks",
        {
            "its first 7.5 million characters": (
                _piece(
                    "text8/text8-prefix.zip",
                    "text8",
                    7_475_755,
                    "e0a6c272737b5a2b2f2ed5d6c23403cc06d9ce93b237674afd5bcfe4d2b98761",
                ),
            ),
        },
    ),
    "wikitext2": Corpus(
        "WikiText-2",
        "2 million words of good articles of English Wikipedia, in three parts",
        {
            "as published": tuple(
                _piece("wikitext-2/wikitext-2-rebuilt.zip", f"wikitext-2/wiki.{part}.tokens", size, sha256)
                for part, size, sha256 in (
                    ("train", 10_797_148, "9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f"),
                    ("valid", 1_121_681, "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8"),
                    ("test", 1_256_449, "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0"),
                )
            )
        },
    ),
}
"""The published texts, by name."""

NAMES = ("python_docs", *CORPORA)
"""Of all texts that are read, but for files that are named by their path, as ``text:PATH``."""

PLANTED = "planted"
"""The name of words that a lesson draws itself. They count as a text that is there on every machine."""

# What each kind of damage of an archive raises, in this order: no archive or a wrong checksum, bytes that do not
# unpack, no such member, an unknown way of packing, a sudden end, a flag that says "encrypted", a name that is no text.
_DAMAGED = (zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError, EOFError, RuntimeError, ValueError)


def load_text(
    name: str,
    seed: int,
    *,
    train: int | None = None,
    validation: int | None = None,
    test: int | None = None,
) -> Text:
    """A text as numbers. Its last twentieth is for testing, the one before for validation, the rest to learn from.

    Where fewer characters of a part are asked for than there are, they are a stretch of it that begins where the seed
    says. A text that came in three parts keeps them.

    Args:
        name: ``python_docs``, the documentation of Python's language as Python itself brings it along; a published
            text, one of `CORPORA`; or ``text:PATH``, any text file in UTF-8, or a zip archive (.zip) of one.
        seed: the experiment's seed, 0 or larger.
        train: how many characters to learn from; None is all.
        validation: how many for validation.
        test: how many for testing.

    Raises:
        MissingDataError: the text is not there; the message says where it would be and how to get it.
        DataError: it is damaged or not in UTF-8.
        ValueError: an unknown name, or more characters than there are.

    Example:
        >>> alphabet, train, _, test = load_text("python_docs", 0, train=1_000, test=100)
        >>> train.shape, test.shape, "e" in alphabet
        (torch.Size([1000]), torch.Size([100]), True)
    """
    parts = read(name)
    alphabet = "".join(sorted(set("".join(parts))))
    asked = {"train": train, "validation": validation, "test": test}
    numbers = []
    for (part, count), characters in zip(asked.items(), parts, strict=True):
        there = len(characters)
        count = there if count is None else count
        if type(count) is not int or not 0 <= count <= there:
            raise ValueError(f"{part} must be a number of characters from 0 to the {there:,} of {name}, not {count!r}")
        begin = int(torch.randint(there - count + 1, (), generator=stream(seed, f"stretch of {part}"), device="cpu"))
        numbers.append(_numbers(characters[begin : begin + count], alphabet))
    return Text(alphabet, *numbers)


def load_words(name: str) -> list[str]:
    """All words of a text, in their order and in lower case. A text that came in three parts is put together again.

    A word is a run of letters, with apostrophes inside: *don't*. Digits, signs, and the ``<unk>`` that stands for rare
    words in WikiText-2 are left out, as if they did not stand there.

    Args:
        name: as for `load_text`.

    Raises:
        MissingDataError: the text is not there; the message says where it would be and how to get it.
        DataError: it is damaged, not in UTF-8, or has no words.
        ValueError: an unknown name.

    Example:
        >>> words = load_words("python_docs")
        >>> len(words) > 50_000, words[:3]
        (True, ['the', 'assert', 'statement'])
    """
    words = [word for part in _found(name) for word in _words(part)]
    if not words:
        raise DataError(f"{name} has no words: expected a text with letters in it")
    return words


def _words(text: str) -> list[str]:
    # NFKC makes one letter of a letter and its accent, and a digit of a raised one.
    plain = unicodedata.normalize("NFKC", text.lower().replace("<unk>", " ")).replace("’", "'")
    return re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*", plain)


def read(name: str) -> tuple[str, str, str]:
    """The characters of a text: to learn from, for validation, for testing.

    Raises:
        MissingDataError, DataError, ValueError: as `load_text`.
    """
    found = _found(name)
    if len(found) == 3:
        return found[0], found[1], found[2]
    (whole,) = found
    held_out = int(len(whole) * HELD_OUT)
    end = len(whole) - 2 * held_out
    return whole[:end], whole[end : end + held_out], whole[end + held_out :]


def is_text(name: str) -> bool:
    """Whether a name is that of a text.

    Example:
        >>> is_text("text8"), is_text("text:notes.txt"), is_text("planted"), is_text("letters")
        (True, True, True, False)
    """
    return name in (PLANTED, *NAMES) or name.startswith("text:")


def is_there(name: str) -> bool:
    """Whether it can be read now, or is drawn.

    Raises:
        DataError: it is there and damaged.
    """
    if name == PLANTED:
        return True
    try:
        _found(name)
    except MissingDataError:
        return False
    return True


def describe(name: str) -> str:
    """In a sentence, which text would be read, or that it is drawn.

    Example:
        >>> describe("python_docs").startswith("Python's own documentation")
        True
    """
    if name == PLANTED:
        return "words drawn by the lesson itself, whose truth is known"
    characters = sum(map(len, _found(name)))
    if name == "python_docs":
        return f"Python's own documentation, {characters:,} characters"
    if name.startswith("text:"):
        return f"{_path(name)}, {characters:,} characters"
    copy, _ = _copy(name)
    return f"{CORPORA[name].title}, {copy}, {characters:,} characters; every byte checked"


def fingerprint(name: str) -> str:
    """A short text that changes when the text changes. Words that are drawn change with the code that draws them."""
    if name == PLANTED:
        return PLANTED
    digest = hashlib.sha256()
    for part in _found(name):
        digest.update(part.encode())
    return f"{name}: sha256 {digest.hexdigest()[:16]}"


def _found(name: str) -> tuple[str, ...]:
    """The one or three pieces of a text."""
    if name == "python_docs":
        return (_python_docs(),)
    if name.startswith("text:"):
        path = _path(name)
        try:
            if not path.is_file():
                raise MissingDataError(f"there is no text file {path}: expected text:PATH with the path of one")
            with path.open("rb") as file:
                packed = _unpacked(file, path) if path.suffix.lower() == ".zip" else file.read(LONGEST + 1)
        except OSError as error:
            raise DataError(f"{str(path)[:200]} cannot be read: {error.strerror or error}") from error
        if len(packed) > LONGEST:
            raise DataError(f"{path} is too long: expected at most {LONGEST:,} bytes of text")
        content = _decoded(packed, str(path))
        if len(content) < 100:
            raise DataError(f"{path} is too short: expected a text of 100 characters or more, found {len(content)}")
        return (content,)
    if name == PLANTED:
        raise ValueError("planted words are no text to be read: a lesson draws them, by data.class_chain for instance")
    if name not in CORPORA:
        raise ValueError(f"no text is called {name!r}; known are {', '.join(NAMES)} and text:PATH")
    _, pieces = _copy(name)
    return tuple(_checked(places.root() / piece.path, piece) for piece in pieces)


def _unpacked(file: BinaryIO, path: Path) -> bytes:
    """The bytes of the one text in an archive, or a byte more than the longest one may have."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) == 1:
                with archive.open(members[0]) as member:
                    return member.read(LONGEST + 1)
    except _DAMAGED as error:
        raise DataError(f"{path} is damaged: expected a zip archive with one text in it, found {error}") from error
    raise DataError(f"{path} is a zip archive with {len(members):,} files: expected one text alone")


def _path(name: str) -> Path:
    path = Path(name.removeprefix("text:"))
    try:
        return path.expanduser()
    except RuntimeError as error:  # no such user
        raise DataError(f"{path} cannot be read: {error}") from error


@functools.cache
def _python_docs() -> str:
    """The pages on Python's language that its ``help()`` shows, in the order of their names, in ASCII."""
    from pydoc_data.topics import topics

    pages = "\n\n".join(topics[name] for name in sorted(topics))
    return pages.translate(str.maketrans("‘’“”–—…", "''\"\"--.")).encode("ascii", "ignore").decode()


def _copy(name: str) -> tuple[str, tuple[Piece, ...]]:
    """The known copy of a text that lies in the data root, by its first file."""
    corpus, root = CORPORA[name], places.root()
    for copy, pieces in corpus.copies.items():
        if (root / pieces[0].path).is_file():
            return copy, pieces
    wanted = " or ".join(str(root / pieces[0].path) for pieces in corpus.copies.values())
    raise MissingDataError(
        f"{corpus.title} ({corpus.about}) is not on this machine: it was looked for in {wanted}. Put it there "
        "(data/README.md says where it is from), or name the folder that has it by DLNOTES_DATA. Any other text can be "
        "read as text:PATH"
    )


def _checked(path: Path, piece: Piece) -> str:
    try:
        status = path.stat()
        return _read(path, piece, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


@functools.lru_cache(maxsize=8)
def _read(path: Path, piece: Piece, size: int, modified: int) -> str:
    """Size and date are in the key, so that a file that changed is read, and judged, again."""
    expected = piece.checksum
    if piece.member:
        try:
            with zipfile.ZipFile(path) as archive, archive.open(piece.member) as file:
                content = file.read(expected.size + 1)
        except _DAMAGED as error:
            raise DataError(f"{path} is damaged: expected a zip archive with {piece.member}, found {error}") from error
    else:
        with path.open("rb") as file:
            content = file.read(expected.size + 1)
    found = hashlib.sha256(content).hexdigest()
    if len(content) != expected.size or found != expected.sha256:
        raise DataError(
            f"{path} is damaged, or another file: expected {expected.size:,} bytes with SHA-256 {expected.sha256}, "
            f"found {min(len(content), size):,} with {found}"
        )
    return _decoded(content, str(path))


def _decoded(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where} is not a text in UTF-8: byte {error.start:,} is 0x{content[error.start]:02x}. Save it as UTF-8"
        ) from error


def _numbers(characters: str, alphabet: str) -> Tensor:
    """The place of each character in a sorted alphabet."""
    codes = np.frombuffer(characters.encode("utf-32-le"), np.uint32)
    known = np.frombuffer(alphabet.encode("utf-32-le"), np.uint32)
    return torch.from_numpy(np.searchsorted(known, codes))
