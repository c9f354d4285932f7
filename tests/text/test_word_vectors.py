"""Word vectors to ask, and their files: read again to the bit, by other programs too, or refused with a reason."""

import os
import re
import struct
from pathlib import Path

import hypothesis.strategies as some
import numpy as np
import pytest
import torch
from hypothesis import example, given

from dlnotes.data import DataError, MissingDataError
from dlnotes.randomness import stream
from dlnotes.text import WordVectors, analogy, nearest

WORDS = ["man", "woman", "king", "queen", "boy", "girl"]


def numbers(rows=6, columns=3, purpose="vectors", seed=0, dtype=torch.float32):
    return torch.randn(rows, columns, generator=stream(seed, purpose), dtype=dtype)


@pytest.fixture
def vectors():
    return WordVectors(WORDS, numbers())


# --- To ask ---


def test_a_word_has_its_row(vectors):
    assert len(vectors) == 6
    assert "king" in vectors
    assert "King" not in vectors
    assert 2 not in vectors
    assert torch.equal(vectors["king"], numbers()[2])
    assert vectors.ids(word for word in ("queen", "man", "queen")).tolist() == [3, 0, 3]
    assert vectors.ids([]).dtype == torch.int64
    assert repr(vectors) == "WordVectors(6 words, 3 numbers each)"


def test_training_goes_on_without_the_vectors():
    weight = torch.nn.Parameter(numbers())
    vectors = WordVectors(tuple(WORDS), weight)
    with torch.no_grad():
        weight.zero_()
    assert torch.equal(vectors.vectors, numbers())
    assert not vectors.vectors.requires_grad


@pytest.mark.parametrize("measure", ["cosine", "l2", "dot"])
def test_the_nearest_words_are_the_nearest_vectors_without_the_word_itself(measure, vectors, device):
    on_device = WordVectors(WORDS, numbers().to(device))
    given_words = on_device.nearest("king", 5, measure=measure)
    found = nearest(numbers()[2:3], numbers(), 5, measure=measure, exclude=torch.tensor([[2]]))
    assert [word for word, _ in given_words] == [WORDS[row] for row in found.ids[0]]
    assert [score for _, score in given_words] == pytest.approx(found.scores[0].tolist(), abs=1e-5)
    assert "king" not in dict(given_words)
    assert all(type(score) is float for _, score in given_words)


def test_an_analogy_of_words_is_one_of_rows(vectors):
    found = vectors.analogy("man", "king", "woman", count=3)
    assert WORDS.index(found[0][0]) == analogy(numbers(), torch.tensor([[0, 2, 1]])).item()
    assert not {"man", "king", "woman"} & dict(found).keys()
    with_all = vectors.analogy("man", "king", "woman", count=6, exclude=False, measure="l2", normalize=False)
    assert sorted(word for word, _ in with_all) == sorted(WORDS)
    assert len(vectors.analogy("man", "king", "woman", count=2, method="multiply")) == 2


def test_ten_neighbours_are_more_than_six_words_have(vectors):
    with pytest.raises(ValueError, match="count must be at most the 5 of 6 vectors without the 1 excluded, not 10"):
        vectors.nearest("king")


def test_normalized_vectors_have_length_1(vectors):
    unit = vectors.normalized()
    assert unit.words == vectors.words
    torch.testing.assert_close(unit.vectors, vectors.vectors / vectors.vectors.norm(dim=1, keepdim=True))
    assert torch.equal(vectors.vectors, numbers())


@pytest.mark.parametrize(
    "ask",
    [
        lambda v: v["kign"],
        lambda v: v.ids(["man", "kign"]),
        lambda v: v.nearest("kign"),
        lambda v: v.analogy("man", "kign", "boy"),
    ],
)
def test_an_unknown_word_is_named_with_the_spelling_that_was_meant(ask, vectors):
    with pytest.raises(ValueError, match=re.escape("not in the vocabulary of 6 words: 'kign' (did you mean 'king'?)")):
        ask(vectors)


@pytest.mark.parametrize(
    ("words", "rows", "error", "message"),
    [
        ("man", numbers(3), TypeError, "words must be several texts, not one: ['man']"),
        (["man", 3], numbers(2), TypeError, "a word must be a str, not int (3)"),
        (["man", "boy", "man"], numbers(3), ValueError, "each word must be there once, and 'man' is there more than"),
        ([], numbers(0), ValueError, "a row of one number or more for each of 0 words (one or more), not be (0, 3)"),
        (["man"], numbers(2), ValueError, "a row of one number or more for each of 1 words"),
        (["man"], numbers(1, 0), ValueError, "a row of one number or more for each of 1 words"),
        (["man"], numbers(1)[0], ValueError, "a row of one number or more for each of 1 words"),
        (["man"], [[1.0]], TypeError, "vectors must be a tensor, not list"),
        (["man"], numbers(1).long(), TypeError, "vectors must be of floating point, not torch.int64"),
        (["man", "boy"], numbers(2) / torch.tensor([[1.0], [0.0]]), ValueError, "finite, and that of 'boy' is not"),
    ],
)
def test_what_are_no_word_vectors_is_refused(words, rows, error, message):
    with pytest.raises(error, match=re.escape(message)):
        WordVectors(words, rows)


def test_one_text_is_not_taken_for_its_letters(vectors):
    with pytest.raises(TypeError, match="words must be several texts, not one"):
        vectors.ids("man")


# --- Files ---

ALL_FLOATS = some.floats(width=32, allow_nan=False, allow_infinity=False)
SPELLINGS = some.text(some.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda word: word.encode().split() == [word.encode()]
)


@pytest.mark.parametrize("binary", [False, True])
@example(content={"needs": (1000 + 2**-14, 0.1), "nine_digits": (1000 + 2**-13, -0.0)})
@given(content=some.dictionaries(SPELLINGS, some.tuples(ALL_FLOATS, ALL_FLOATS), min_size=1))
def test_a_file_is_read_as_it_was_written_to_the_bit(tmp_path_factory, binary, content):
    path = tmp_path_factory.mktemp("files") / "words"
    rows = torch.tensor(list(content.values()), dtype=torch.float32)
    WordVectors(list(content), rows).save(path, binary=binary)
    found = WordVectors.load(path, binary=binary)
    assert found.words == tuple(content)
    assert found.vectors.dtype == torch.float32
    assert found.vectors.numpy().tobytes() == rows.numpy().tobytes()  # also -0.0


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("words", [["man", "woman", "king"], ["Zürich", "東京", "new_york"], ["\x13", "a\x00b", "1e3"]])
def test_whether_it_is_binary_is_found_by_looking(words, binary, tmp_path, seed):
    saved = WordVectors(words, numbers(3, 8, seed=seed))
    found = WordVectors.load(saved.save(tmp_path / "words", binary=binary))
    assert found.words == saved.words
    assert torch.equal(found.vectors, saved.vectors)


EXACT = [[1.0, -2.5, 0.1], [3e-42, -0.0, 3.4028235e38]]
PACKED = [struct.pack("<3f", *row) for row in EXACT]


@pytest.mark.parametrize(
    "content",
    [
        b"2 3\nking 1 -2.5 0.1\nqueen 3e-42 -0.0 3.4028235e38\n",
        b"2 3\nking 1.000000 -2.500000 0.100000 \nqueen 3e-42 -0.0 3.4028235e+38 \n",  # word2vec: a blank at the end
        b"2\t3\r\nking\t1\t-2.5\t0.1\r\nqueen\t3e-42\t-0.0\t3.4028235e38\r\n\r\n",
        b"2 3\nking " + PACKED[0] + b"queen " + PACKED[1],  # gensim
        b"2 3\nking " + PACKED[0] + b"\nqueen " + PACKED[1] + b"\n",  # word2vec
    ],
)
def test_files_of_other_programs_are_read(content, tmp_path):
    Path(tmp_path, "words").write_bytes(content)
    found = WordVectors.load(str(tmp_path / "words"))
    assert found.words == ("king", "queen")
    assert torch.equal(found.vectors, torch.tensor(EXACT))


def test_the_files_are_those_of_word2vec(tmp_path):
    vectors = WordVectors(["king", "queen"], torch.tensor(EXACT))
    expected = b"2 3\nking 1 -2.5 0.100000001\nqueen 3.00018001e-42 -0 3.40282347e+38\n"
    assert vectors.save(tmp_path / "words.txt").read_bytes() == expected
    expected = b"2 3\nking " + PACKED[0] + b"\nqueen " + PACKED[1] + b"\n"
    assert vectors.save(str(tmp_path / "words.bin"), binary=True).read_bytes() == expected


@pytest.mark.parametrize("binary", [False, True])
def test_gensim_reads_what_is_saved_and_what_it_saves_is_read(binary, tmp_path):
    models = pytest.importorskip("gensim.models")
    ours = WordVectors([*WORDS, "Zürich", "15\u00a0km"], numbers(8, 50))
    theirs = models.KeyedVectors.load_word2vec_format(ours.save(tmp_path / "ours", binary=binary), binary=binary)
    assert theirs.index_to_key == list(ours.words)
    assert theirs.vectors.tobytes() == ours.vectors.numpy().tobytes()
    theirs.save_word2vec_format(tmp_path / "theirs", binary=binary)
    again = WordVectors.load(tmp_path / "theirs")
    assert again.words == ours.words
    assert torch.equal(again.vectors, ours.vectors)


def test_numbers_of_double_precision_are_kept_as_float32(tmp_path):
    vectors = WordVectors(WORDS, numbers(dtype=torch.float64))
    found = WordVectors.load(vectors.save(tmp_path / "words"))
    assert torch.equal(found.vectors, vectors.vectors.float())


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("word", ["", "new york", "new\nyork", "\tman", "man\r"])
def test_a_word_that_could_not_be_read_again_is_not_saved(word, binary, tmp_path):
    path = WordVectors(WORDS, numbers()).save(tmp_path / "words")
    before = path.read_bytes()
    with pytest.raises(ValueError, match="a word must have no blanks or ends of lines in it, and not be empty"):
        WordVectors(["man", word], numbers(2)).save(path, binary=binary)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["words"]


def test_words_and_numbers_that_files_cannot_hold_are_not_saved(tmp_path):
    with pytest.raises(ValueError, match=r"the word '\\ud800' cannot be written as UTF-8"):
        WordVectors(["\ud800"], numbers(1)).save(tmp_path / "words")
    with pytest.raises(ValueError, match="the vector of 'boy' is too large for float32"):
        WordVectors(["man", "boy"], torch.tensor([[1.0], [1e39]], dtype=torch.float64)).save(tmp_path / "words")
    assert not os.listdir(tmp_path)


ROW = struct.pack("<2f", 1.5, -2.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ", line 1: expected how many words there are and how many numbers of each, as in '70000 128', found ''"),
        (
            b"the 0.1 0.2\nof 0.3 0.4\n",
            ", line 1: expected how many .* found 'the 0.1 0.2'. Vectors of GloVe",
        ),
        (b"2 2", ", line 1: expected how many words"),
        (b"-2 2\n", ", line 1: expected how many words"),
        (b"0 2\n", ", line 1: expected how many words"),
        (b"2 0\nking\nqueen\n", ", line 1: expected how many words"),
        (b"2 2 2\nking 1 2\nqueen 3 4\n", ", line 1: expected how many words"),
        (b"9" * 10_000 + b" 2\nking 1 2\n", ", line 1: expected how many words"),
        (b"2 2\nking 1\nqueen 3 4\n", ", line 2: expected a word and 2 numbers between blanks, found a word and 1"),
        (b"2 2\nking 1 2\nqueen 3 4 5\n", ", line 3: expected a word and 2 numbers between blanks, found a word and 3"),
        (b"3 2\nking 1 2\n\nqueen 3 4\n", ", line 3: expected a word and 2 numbers between blanks, found nothing"),
        (b"2 2\n 1 2 \nqueen 3 4\n", ", line 2: expected a word and 2 numbers between blanks, found a word and 1"),
        (b"2 2\nking 1 two\nqueen 3 4\n", ", line 2: expected finite numbers of float32, found 'two'"),
        (b"2 2\nking 1 2\nqueen 3 1_0\n", ", line 3: expected finite numbers of float32, found '1_0'"),
        (b"2 2\nking 1 2\nqueen nan 4\n", ", line 3: expected finite numbers of float32, found 'nan'"),
        (b"2 2\nking 1 -inf\nqueen 3 4\n", ", line 2: expected finite numbers of float32, found '-inf'"),
        (b"2 2\nking 1 1e39\nqueen 3 4\n", ", line 2: expected finite numbers of float32, found '1e39'"),
        (b"2 2\nking 1 2\nking 3 4\n", ", line 3: expected each word once, found 'king', which is in line 2 too"),
        (b"2 2\nk\xffng 1 2\nqueen 3 4\n", r", line 2: expected a word in UTF-8, found b'k\\xffng'"),
        (b"3 2\nking 1 2.5\nqueen 3 4.5\n", " ends after 2 words: expected 3, as its first line says"),
        (b"1 2\nking 1 2\nqueen 3 4\n", " goes on after 1 words: expected no more, as its first line says"),
        (b"2 2\nking 1 2\nqueen 3 4.25", ", line 3: expected an end of the line, found the end of the file"),
        (b"4 2\nking 1 2\n", ", line 1: 4 words of 2 numbers take 24 bytes or more, and 9 bytes follow"),
        (
            b"2 2\nking " + ROW + b"queen " + ROW[:-1],
            ", word 2 at byte 17: expected a word, a blank and 8 bytes, found",
        ),
        (
            b"2 2\nking " + ROW + b"\nqueen___",
            ", word 2 at byte 18: expected a word, a blank and 8 bytes",
        ),
        (b"2 2\nking " + ROW + b"\nking " + ROW, ", word 2 at byte 18: .* found 'king', which is in place 1 too"),
        (b"2 2\nking " + ROW + b" " + ROW + b"  ", ", word 2 at byte 17: expected a word, found a blank"),
        (b"2 2\nking " + ROW + b"\xff " + ROW, r", word 2 at byte 17: expected a word in UTF-8, found b'\\xff'"),
        (b"1 2\nking " + ROW + b"\nqueen " + ROW, " goes on after 1 words: expected no more"),
        (
            b"2 2\nking " + ROW + b"\nqueen " + struct.pack("<2f", 1, np.nan),
            ", word 2 at byte 18: .* found nan",
        ),
        (b"1 2\nking " + struct.pack("<2f", -np.inf, 1), ", word 1 at byte 4: expected finite numbers, found -inf"),
    ],
)
def test_a_bad_file_is_refused_with_its_place(content, message, tmp_path):
    path = Path(tmp_path, "words")
    path.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(str(path)) + message):
        WordVectors.load(path)


@pytest.mark.parametrize("binary", [None, False, True])
def test_a_first_line_that_promises_too_much_asks_for_no_memory(binary, tmp_path, monkeypatch):
    monkeypatch.setattr(np, "empty", lambda *_, **__: pytest.fail("memory was asked for"))
    Path(tmp_path, "words").write_bytes(b"99999999999 99999999\nking 1 2\n")
    with pytest.raises(DataError, match=r"99,999,999,999 words of 99,999,999 numbers take .* and 9 bytes"):
        WordVectors.load(tmp_path / "words", binary=binary)


@pytest.mark.parametrize(("binary", "optional"), [(False, 0), (True, 1)])
def test_a_file_that_is_cut_off_at_any_byte_is_refused(binary, optional, tmp_path):
    """Gensim leaves the end of the last line out of binary files."""
    path = WordVectors(["king", "queen"], numbers(2)).save(tmp_path / "words", binary=binary)
    content = path.read_bytes()
    for length in range(len(content) - optional):
        path.write_bytes(content[:length])
        with pytest.raises(DataError):
            WordVectors.load(path, binary=binary)


def test_what_cannot_be_read_is_said(tmp_path):
    with pytest.raises(MissingDataError, match=r"there is no file .*words: expected one with word vectors"):
        WordVectors.load(tmp_path / "words")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        WordVectors.load(tmp_path)
