"""What people say of words, in published files, and how well word vectors agree with it."""

import csv
import itertools
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from dlnotes.arguments import check_counts
from dlnotes.data.examples import DataError, MissingDataError
from dlnotes.text.likeness import Measure, analogy_neighbours, similarity
from dlnotes.text.word_vectors import WordVectors

__all__ = [
    "AnalogyScores",
    "Question",
    "RankCorrelation",
    "RatedPair",
    "analogy_accuracy",
    "read_analogies",
    "read_similarities",
    "similarity_correlation",
]

SPELLINGS = 5  # first answers that are looked through for one that is no other spelling of the question's words


class Question(NamedTuple):
    """An analogy whose answer is known: a is to b as c is to d."""

    section: str
    words: tuple[str, str, str, str]


class RatedPair(NamedTuple):
    """Two words, and how similar people find them."""

    one: str
    other: str
    rating: float


class AnalogyScores(NamedTuple):
    """How many analogies were answered rightly.

    ``left_out`` are those with a word that has no vector; they are not among ``asked``. ``accuracy`` is the share of
    ``asked`` that are ``right``; nan for a section of which none was asked. ``sections`` has the same for each section,
    in the order of the questions.
    """

    accuracy: float
    right: int
    asked: int
    left_out: int
    sections: dict[str, "AnalogyScores"]


class RankCorrelation(NamedTuple):
    """Spearman's rank correlation, over how many pairs, and how many were left out: those without vectors."""

    rho: float
    used: int
    left_out: int


def read_analogies(path: str | os.PathLike[str]) -> list[Question]:
    r"""The questions of a file in the format of ``questions-words.txt``, in lower case.

    A line ``: family`` begins a section. Every other line has four words between blanks, *boy girl brother sister*: the
    last is what the first three ask for. Empty lines and those that begin with ``//`` are left out.

    Raises:
        MissingDataError: there is no such file.
        DataError: it cannot be read, is not in UTF-8, or has no questions; or a line has other than four words, or
            stands before the first section. The message has the number of the line.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "questions.txt")
        ...     _ = path.write_text(": capitals\nAthens Greece Oslo Norway\n")
        ...     read_analogies(path)
        [Question(section='capitals', words=('athens', 'greece', 'oslo', 'norway'))]

    Source: Tomas Mikolov, Kai Chen, Greg Corrado and Jeffrey Dean, "Efficient estimation of word representations in
    vector space", 2013, whose 19,544 questions are the file of this name.
    """
    questions: list[Question] = []
    section = None
    for number, line in _lines(path):
        words = line.lower().split()
        if not words or line.startswith("//"):
            continue
        if line.startswith(":"):
            section = line[1:].strip()
        elif section is None:
            raise DataError(f"{path}, line {number:,}: expected a section first, as in ': family', found {line[:60]!r}")
        elif len(words) != 4:
            raise DataError(f"{path}, line {number:,}: expected four words, found {len(words)}: {line[:60]!r}")
        else:
            questions.append(Question(section, (words[0], words[1], words[2], words[3])))
    if not questions:
        raise DataError(f"{path} has no questions: expected lines of four words")
    return questions


def read_similarities(path: str | os.PathLike[str]) -> list[RatedPair]:
    r"""The pairs of a file in the format of WordSim-353, in lower case.

    Two words and a number, with commas or tabs between them; further columns are not read. The first line may be a
    header. Empty lines and those that begin with ``#`` are left out.

    Raises:
        MissingDataError: there is no such file.
        DataError: it cannot be read, is not in UTF-8, or has no pairs; or a line has no two words and a number. The
            message has the number of the line.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "pairs.csv")
        ...     _ = path.write_text("Word 1,Word 2,Human (mean)\r\nlove,sex,6.77\r\ntiger,Cat,7.35\r\n")
        ...     read_similarities(path)
        [RatedPair(one='love', other='sex', rating=6.77), RatedPair(one='tiger', other='cat', rating=7.35)]

    Source: Lev Finkelstein et al., "Placing search in context: the concept revisited", 2002.
    """
    pairs: list[RatedPair] = []
    first = True
    for number, line in _lines(path):
        if not line.strip() or line.startswith("#"):
            continue
        columns = [column.strip() for column in next(csv.reader([line], delimiter="\t" if "\t" in line else ","))]
        rating = _number(columns[2]) if len(columns) > 2 else None
        if rating is not None and columns[0] and columns[1]:
            pairs.append(RatedPair(columns[0].lower(), columns[1].lower(), rating))
        elif not first or len(columns) < 3:
            raise DataError(f"{path}, line {number:,}: expected two words and a number, found {line[:60]!r}")
        first = False
    if not pairs:
        raise DataError(f"{path} has no pairs: expected lines of two words and a number")
    return pairs


def analogy_accuracy(
    vectors: WordVectors,
    questions: Sequence[Question],
    *,
    most_frequent: int | None = None,
    exclude: bool = True,
    measure: Measure = "cosine",
    method: Literal["add", "multiply"] = "add",
) -> AnalogyScores:
    """How many analogies word vectors answer rightly; `dlnotes.text.analogy` says how they are answered.

        accuracy = questions whose nearest word is d / questions asked

    A question is asked if all of its words have a vector. Capitals make no difference: of several spellings of a word
    the first one counts, and none of them answers a question that has the word in it. As gensim's
    ``evaluate_word_analogies`` does.

    Args:
        vectors: words with their vectors.
        questions: what `read_analogies` gives.
        most_frequent: only the first so many words are known, which are the most frequent ones where words are in the
            order of their frequency; None is all.
        exclude: whether the words of the question cannot be the answer, as is usual.
        measure: of nearness, as `dlnotes.text.similarity` says.
        method: ``"add"`` or ``"multiply"``, as `dlnotes.text.analogy` says.

    Raises:
        ValueError: no question has all its words among those known, a number below 1, or another measure or method.

    Example:
        >>> numbers = torch.tensor([[1.0, 0.0], [1.0, 1.0], [-1.0, 0.0], [-1.0, 1.0]])
        >>> vectors = WordVectors(["man", "king", "woman", "queen"], numbers)
        >>> family = [("man", "woman", "king", "queen"), ("man", "woman", "boy", "girl")]
        >>> analogy_accuracy(vectors, [Question("family", words) for words in family])[:4]
        (1.0, 1, 1, 1)

    Source: as `read_analogies` and `dlnotes.text.analogy` have it.
    """
    rows = _rows_by_word(vectors, most_frequent)
    asked = [all(word.lower() in rows for word in question.words) for question in questions]
    if not any(asked):
        raise ValueError(f"none of {len(questions):,} questions has all its words among the {len(rows):,} known")
    known = vectors.words[:most_frequent]
    ids = torch.tensor(
        [[rows[word.lower()] for word in question.words] for question in itertools.compress(questions, asked)],
        device=vectors.vectors.device,
    )
    found = analogy_neighbours(
        vectors.vectors[: len(known)],
        ids[:, :3],
        max(1, min(SPELLINGS, len(known) - 3)) if exclude else 1,
        measure=measure,
        method=method,
        exclude=exclude,
    )
    spelled = torch.tensor([rows[word.lower()] for word in known], device=ids.device)  # the first spelling of each
    answers = spelled[found.ids]
    allowed = torch.ones_like(answers, dtype=torch.bool)
    if exclude:
        allowed = (answers[:, :, None] != ids[:, None, :3]).all(2)
    first = allowed.int().argmax(1, keepdim=True)
    right = (allowed & (answers == ids[:, 3:])).gather(1, first)[:, 0]
    verdicts = iter(right.tolist())
    given = [next(verdicts) if is_asked else None for is_asked in asked]
    by_section: dict[str, list[bool | None]] = {}
    for question, verdict in zip(questions, given, strict=True):
        by_section.setdefault(question.section, []).append(verdict)
    return _scores(given)._replace(sections={section: _scores(each) for section, each in by_section.items()})


def similarity_correlation(
    vectors: WordVectors,
    pairs: Sequence[RatedPair],
    *,
    most_frequent: int | None = None,
    measure: Measure = "cosine",
) -> RankCorrelation:
    """Whether word vectors order pairs of words by similarity as people do: Spearman's rank correlation.

        ρ = the correlation of the ranks of the ratings with the ranks of the similarities

    Pairs with a word that has no vector are left out. Capitals make no difference, as in `analogy_accuracy`.

    Args:
        vectors: words with their vectors.
        pairs: what `read_similarities` gives.
        most_frequent: only the first so many words are known; None is all.
        measure: as `dlnotes.text.similarity` says.

    Raises:
        ValueError: fewer than two pairs with vectors, or ratings or similarities that are all the same; a number below
            1, or another measure.

    Example:
        >>> numbers = torch.tensor([[1.0, 0.0], [1.0, 0.5], [-1.0, 1.0]])
        >>> vectors = WordVectors(["king", "queen", "cabbage"], numbers)
        >>> pairs = [("king", "queen", 8.6), ("queen", "cabbage", 0.5), ("king", "cabbage", 0.2), ("king", "duke", 8.0)]
        >>> similarity_correlation(vectors, [RatedPair(*pair) for pair in pairs])
        RankCorrelation(rho=1.0, used=3, left_out=1)

    Source: Charles Spearman, "The proof and measurement of association between two things", 1904.
    """
    from scipy.stats import spearmanr

    rows = _rows_by_word(vectors, most_frequent)
    used = [pair for pair in pairs if pair.one.lower() in rows and pair.other.lower() in rows]
    if len(used) < 2:
        raise ValueError(f"two pairs or more must have both words among the {len(rows):,} known, not {len(used)}")
    numbers = vectors.vectors.cpu().double()
    # One by one: in a product of matrices the same pair, rated twice, may differ in its last bit from place to place.
    found = [
        float(similarity(numbers[rows[pair.one.lower()], None], numbers[rows[pair.other.lower()], None], measure))
        for pair in used
    ]
    ratings = [pair.rating for pair in used]
    for name, each in (("ratings", ratings), ("similarities", found)):
        if len(set(each)) == 1:
            raise ValueError(f"the {name} of all {len(used):,} pairs are {each[0]}: there is nothing to order")
    return RankCorrelation(float(spearmanr(ratings, found).statistic), len(used), len(pairs) - len(used))


def _rows_by_word(vectors: WordVectors, most_frequent: int | None) -> dict[str, int]:
    """The first row of each word, in lower case."""
    if most_frequent is not None:
        check_counts(most_frequent=most_frequent)
    rows: dict[str, int] = {}
    for row, word in enumerate(vectors.words[:most_frequent]):
        rows.setdefault(word.lower(), row)
    return rows


def _scores(given: list[bool | None]) -> AnalogyScores:
    """Of answers that are right or wrong, or None where nothing was asked."""
    asked = [each for each in given if each is not None]
    accuracy = sum(asked) / len(asked) if asked else math.nan
    return AnalogyScores(accuracy, sum(asked), len(asked), len(given) - len(asked), {})


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, str]]:
    """The lines of a text, and their numbers from 1."""
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise MissingDataError(f"there is no file {path}: expected a text") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            yield number, line.decode().rstrip("\r")
        except UnicodeDecodeError:
            raise DataError(f"{path}, line {number:,}: expected UTF-8, found {line[:60]!r}") from None
