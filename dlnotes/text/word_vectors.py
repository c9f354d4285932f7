"""Words with their vectors, as one holds them after training: to ask, to save, and to load from other programs.

Files have the two formats of the word2vec program, which gensim and others read and write. Both begin with a line that
says how many words and how many numbers of each there are. Then, for each word:

========  ==========================================================================================
text      the word, and its numbers in decimal, between blanks; the end of the line
binary    the word, a blank, its numbers as float32 (little-endian); some programs write an end of line
========  ==========================================================================================

Words are in UTF-8 and have no blanks in them.
"""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import torch
from torch import Tensor

from dlnotes.arguments import check_tensor
from dlnotes.data.examples import DataError, MissingDataError
from dlnotes.files import write_whole
from dlnotes.text.likeness import Measure, Neighbours, analogy_neighbours, nearest, unit_vectors
from dlnotes.text.spelling import unknown_words

__all__ = ["WordVectors"]

LONGEST_HEADER = 100  # bytes
INFINITE = float.fromhex("0x1.ffffffp127")  # from here on, a number is infinite in float32
SAMPLE = 2**16  # bytes that are looked at to tell text from binary


class WordVectors:
    """The vectors of words, to be asked by word.

    Args:
        words: each once. In the order of their frequency, the most frequent first, they serve `analogy_accuracy` best.
        vectors: a row for each word. They are copied, so that training may go on.

    Shape:
        vectors (V, D), of floating point.

    Raises:
        TypeError: words that are no texts, or vectors that are no tensor of floating point.
        ValueError: no words, a word twice, another number of rows, or numbers that are not finite.

    Example:
        >>> numbers = torch.tensor([[1.0, 0.0], [1.0, 1.0], [-1.0, 0.0], [-1.0, 1.0]])
        >>> vectors = WordVectors(["man", "king", "woman", "queen"], numbers)
        >>> vectors["king"], len(vectors), "duke" in vectors
        (tensor([1., 1.]), 4, False)
        >>> [(word, round(score, 3)) for word, score in vectors.nearest("king", 2)]
        [('man', 0.707), ('queen', 0.0)]
        >>> [(word, round(score, 3)) for word, score in vectors.analogy("man", "king", "woman", count=1)]
        [('queen', 0.96)]
    """

    def __init__(self, words: Sequence[str], vectors: Tensor) -> None:
        check_tensor("vectors", vectors)
        if not vectors.is_floating_point():
            raise TypeError(f"vectors must be of floating point, not {vectors.dtype}")
        self.words = _several(words)
        if vectors.ndim != 2 or not self.words or len(vectors) != len(self.words) or not vectors.shape[1]:
            raise ValueError(
                f"vectors must have a row of one number or more for each of {len(self.words):,} words (one or more), "
                f"not be {tuple(vectors.shape)}"
            )
        self.vectors = vectors.detach().clone()
        self._ids = {word: place for place, word in enumerate(self.words)}
        if len(self._ids) < len(self.words):
            twice = next(word for place, word in enumerate(self.words) if self._ids[word] != place)
            raise ValueError(f"each word must be there once, and {twice!r} is there more than once")
        finite = self.vectors.isfinite().all(1)
        if not finite.all():
            raise ValueError(f"vectors must be finite, and that of {self.words[int(finite.int().argmin())]!r} is not")

    def __len__(self) -> int:
        """How many words there are."""
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        """Whether a word has a vector."""
        return word in self._ids

    def __getitem__(self, word: str) -> Tensor:
        """The vector of a word, (D,).

        Raises:
            ValueError: the word is not known; the message names the spellings nearest to it.
        """
        return self.vectors[self._id(word)]

    def __repr__(self) -> str:
        return f"WordVectors({len(self):,} words, {self.vectors.shape[1]} numbers each)"

    def ids(self, words: Iterable[str]) -> Tensor:
        """The rows of words, (N,), int64.

        Raises:
            TypeError: one text where several words are expected.
            ValueError: words that are not known; the message names them, and the spellings nearest to them.

        Example:
            >>> vectors = WordVectors(["king", "queen"], torch.eye(2))
            >>> vectors.ids(["queen", "king"])
            tensor([1, 0])
            >>> vectors.ids(["quen"])
            Traceback (most recent call last):
            ValueError: not in the vocabulary of 2 words: 'quen' (did you mean 'queen'?)
        """
        wanted = _several(words)
        unknown = [word for word in wanted if word not in self._ids]
        if unknown:
            raise ValueError(unknown_words(unknown, self.words))
        return torch.tensor([self._ids[word] for word in wanted], dtype=torch.int64, device=self.vectors.device)

    def nearest(self, word: str, count: int = 10, *, measure: Measure = "cosine") -> list[tuple[str, float]]:
        """The words nearest to a word, without itself, with how near they are; see `dlnotes.text.similarity`.

        Raises:
            ValueError: the word is not known, there are not so many others, or another measure.
        """
        itself = self.ids([word])
        return self._named(nearest(self.vectors[itself], self.vectors, count, measure=measure, exclude=itself[None]))

    def analogy(
        self,
        a: str,
        b: str,
        c: str,
        count: int = 5,
        *,
        measure: Measure = "cosine",
        method: Literal["add", "multiply"] = "add",
        exclude: bool = True,
        normalize: bool = True,
    ) -> list[tuple[str, float]]:
        """What c is to, as a is to b: the best answers and their scores; see `dlnotes.text.analogy`.

        Raises:
            ValueError: a word is not known, there are not so many answers, or another measure or method.
        """
        questions = self.ids([a, b, c])[None]
        answers = analogy_neighbours(
            self.vectors, questions, count, measure=measure, method=method, exclude=exclude, normalize=normalize
        )
        return self._named(answers)

    def normalized(self) -> "WordVectors":
        """The same words, their vectors scaled to length 1; those of zeros stay as they are.

        Example:
            >>> WordVectors(["king"], torch.tensor([[3.0, 4.0]])).normalized()["king"]
            tensor([0.6000, 0.8000])
        """
        return WordVectors(self.words, unit_vectors(self.vectors))

    def save(self, path: str | os.PathLike[str], *, binary: bool = False) -> Path:
        """Write a file that word2vec, gensim and others read, whole or not at all. Numbers are kept as float32.

        Args:
            path: the file. What it held before is replaced.
            binary: whether to write numbers as they are stored. As text they have the nine digits that float32 needs.

        Raises:
            ValueError: a word that is empty, has blanks or ends of lines in it, or cannot be written as UTF-8; a number
                too large for float32.
            OSError: the folder cannot be written to, or the disk is full.

        Example:
            >>> import tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     path = WordVectors(["king", "queen"], torch.eye(2) / 3).save(f"{folder}/words.txt")
            ...     print(path.read_text())
            ...     WordVectors.load(path)["queen"]
            2 2
            king 0.333333343 0
            queen 0 0.333333343
            <BLANKLINE>
            tensor([0.0000, 0.3333])
        """
        words = [_bytes_of(word) for word in self.words]
        numbers = self.vectors.to("cpu", torch.float32).numpy().astype("<f4", copy=False)
        finite = np.isfinite(numbers).all(1)
        if not finite.all():
            raise ValueError(f"the vector of {self.words[int(finite.argmin())]!r} is too large for float32")
        header = b"%d %d\n" % numbers.shape
        if binary:  # word2vec writes the ends of lines too, and gensim reads them
            lines = [b"%s %s\n" % (word, row.tobytes()) for word, row in zip(words, numbers, strict=True)]
        else:
            form = b"%s" + b" %.9g" * numbers.shape[1] + b"\n"
            lines = [form % (word, *row.tolist()) for word, row in zip(words, numbers, strict=True)]
        return write_whole(path, b"".join([header, *lines]))

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, binary: bool | None = None) -> "WordVectors":
        """Read a file of word2vec, gensim or `save`. Numbers become float32.

        Args:
            path: the file.
            binary: whether it is binary; None finds out by looking.

        Raises:
            MissingDataError: there is no such file.
            DataError: it cannot be read, or is not such a file: the message has its path, and the line, or the number
                of the word and the byte at which it begins.
        """
        path = Path(path)
        try:
            with path.open("rb") as file:
                words, numbers = _read(file, path, binary)
        except FileNotFoundError:
            raise MissingDataError(f"there is no file {path}: expected one with word vectors") from None
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
        return cls(words, torch.from_numpy(numbers))

    def _id(self, word: str) -> int:
        if word not in self._ids:
            raise ValueError(unknown_words([word], self.words))
        return self._ids[word]

    def _named(self, found: Neighbours) -> list[tuple[str, float]]:
        """The words of one query, and their scores."""
        return [
            (self.words[row], score) for row, score in zip(found.ids[0].tolist(), found.scores[0].tolist(), strict=True)
        ]


def _several(words: Iterable[str]) -> tuple[str, ...]:
    if isinstance(words, str):
        raise TypeError(f"words must be several texts, not one: [{words[:20]!r}]")
    several = tuple(words)
    for word in several:
        if not isinstance(word, str):
            raise TypeError(f"a word must be a str, not {type(word).__name__} ({word!r})")
    return several


def _bytes_of(word: str) -> bytes:
    """A word as it is written; refused where it would not be read again."""
    try:
        written = word.encode()
    except UnicodeEncodeError:
        raise ValueError(f"the word {word!r} cannot be written as UTF-8") from None
    if written.split() != [written]:
        raise ValueError(f"a word must have no blanks or ends of lines in it, and not be empty, to be saved: {word!r}")
    return written


def _read(file: BinaryIO, path: Path, binary: bool | None) -> tuple[list[str], np.ndarray]:
    header = file.readline(LONGEST_HEADER)
    promised = re.fullmatch(rb"\s*([0-9]+)\s+([0-9]+)\s*\n", header)
    count, size = (int(number) for number in promised.groups()) if promised else (0, 0)
    if not count or not size:
        raise DataError(
            f"{path}, line 1: expected how many words there are and how many numbers of each, as in '70000 128', "
            f"found {header.rstrip().decode(errors='replace')!r}. Vectors of GloVe lack this line: add it"
        )
    if binary is None:
        binary = _is_binary(file, size)
    there = os.fstat(file.fileno()).st_size - len(header)
    # Before any memory is asked for. At least a letter, and a blank or the end of the line; and of each number.
    needed = count * (2 + (4 if binary else 2) * size)
    if there < needed:
        raise DataError(
            f"{path}, line 1: {count:,} words of {size:,} numbers take {needed:,} bytes or more, and {there:,} bytes "
            "follow: expected a first line that is true, and the whole file"
        )
    return (_read_binary if binary else _read_text)(file, path, count, size)


def _is_binary(file: BinaryIO, size: int) -> bool:
    """Whether numbers are stored as they are: the first line is none of text, and has bytes in it that no text has."""
    start = file.tell()
    line = file.readline()
    file.seek(start)
    sample = file.read(SAMPLE)
    file.seek(start)
    fields = line.split()
    if len(fields) == size + 1 and _wrong_number(fields[1:]) is None:
        return False
    numbers = line.partition(b" ")[2]
    return bool(re.search(rb"[\x00-\x08\x0e-\x1f]", sample) or re.search(rb"[\x80-\xff]", numbers))


def _read_text(file: BinaryIO, path: Path, count: int, size: int) -> tuple[list[str], np.ndarray]:
    numbers = np.empty((count, size), np.float32)
    lines: dict[str, int] = {}  # of each word
    for row in range(count):
        line, where = file.readline(), f"{path}, line {row + 2:,}"
        fields = line.split()
        if not line:
            raise DataError(f"{path} ends after {row:,} words: expected {count:,}, as its first line says")
        if not line.endswith(b"\n"):  # the last number may have lost digits
            raise DataError(f"{where}: expected an end of the line, found the end of the file, which may be cut off")
        if len(fields) != size + 1:
            found = f"a word and {len(fields) - 1:,}" if fields else "nothing"
            raise DataError(f"{where}: expected a word and {size:,} numbers between blanks, found {found}")
        _add(lines, fields[0], row + 2, where, "line")
        wrong = _store(numbers[row], fields[1:])
        if wrong is not None:
            raise DataError(f"{where}: expected finite numbers of float32, found {wrong.decode(errors='replace')!r}")
    if any(line.strip() for line in file):
        raise DataError(f"{path} goes on after {count:,} words: expected no more, as its first line says")
    return list(lines), numbers


def _read_binary(file: BinaryIO, path: Path, count: int, size: int) -> tuple[list[str], np.ndarray]:
    numbers = np.empty((count, size), np.float32)
    places: dict[str, int] = {}  # of each word, from 1
    before = file.tell()
    content = file.read()
    start = 0
    for row in range(count):
        start += content[start : start + 1] == b"\n"  # which word2vec writes after each vector, and gensim does not
        where = f"{path}, word {row + 1:,} at byte {before + start:,}"
        blank = content.find(b" ", start)
        end = blank + 1 + 4 * size
        if blank < 0 or end > len(content):
            raise DataError(f"{where}: expected a word, a blank and {4 * size:,} bytes, found the end of the file")
        _add(places, content[start:blank], row + 1, where, "place")
        numbers[row] = np.frombuffer(content, "<f4", size, blank + 1)
        if not np.isfinite(numbers[row]).all():
            raise DataError(f"{where}: expected finite numbers, found {numbers[row][~np.isfinite(numbers[row])][0]}")
        start = end
    if content[start:] not in (b"", b"\n"):
        raise DataError(f"{path} goes on after {count:,} words: expected no more, as its first line says")
    return list(places), numbers


def _add(places: dict[str, int], written: bytes, place: int, where: str, kind: str) -> None:
    """The next word, at its place."""
    try:
        word = written.decode()
    except UnicodeDecodeError:
        raise DataError(f"{where}: expected a word in UTF-8, found {written[:50]!r}") from None
    if not word:
        raise DataError(f"{where}: expected a word, found a blank")
    if word in places:
        raise DataError(f"{where}: expected each word once, found {word!r}, which is in {kind} {places[word]:,} too")
    places[word] = place


def _store(row: np.ndarray, fields: list[bytes]) -> bytes | None:
    """Numbers written in decimal, as float32; the first that is none or is not finite, where there is one."""
    try:
        with np.errstate(over="ignore"):  # said as an error of the file below
            row[:] = [*map(float, fields)]
    except ValueError:
        return _wrong_number(fields)
    return None if np.isfinite(row).all() and b"_" not in b"".join(fields) else _wrong_number(fields)


def _wrong_number(fields: list[bytes]) -> bytes | None:
    for field in fields:
        try:
            if (
                b"_" in field or not abs(float(field)) < INFINITE
            ):  # Python reads 1_000 as a number; no other program does
                return field
        except ValueError:
            return field
    return None
