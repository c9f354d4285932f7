"""The words that a model knows: who is in, in which order, and how often each is drawn."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from dlnotes.randomness import stream
from dlnotes.text import Vocabulary

TEXT = ["the", "cat", "sees", "the", "dog", "and", "the", "dog", "sees", "a", "cat"]


def slowly(words, min_count, max_size):
    """Who is in a vocabulary, found by taking the best of what is left, again and again."""
    left = [(word, words.count(word)) for word in set(words) if words.count(word) >= min_count]
    found = []
    while left and (max_size is None or len(found) < max_size):
        best = left[0]
        for entry in left:
            if entry[1] > best[1] or (entry[1] == best[1] and entry[0] < best[0]):
                best = entry
        left.remove(best)
        found.append(best)
    return found


@given(
    st.lists(st.sampled_from(["a", "b", "ba", "é", "don't", "𝄞", ""]), max_size=30),
    st.integers(1, 4),
    st.none() | st.integers(1, 8),
)
def test_words_are_those_that_came_often_enough_the_most_frequent_first(words, min_count, max_size):
    expected = slowly(words, min_count, max_size)
    if len(expected) < 2:
        with pytest.raises(ValueError, match="vocabulary"):
            Vocabulary.of(words, min_count, max_size)
        return
    for found in (
        Vocabulary.of(iter(words), min_count, max_size),
        Vocabulary(Counter(reversed(words)), min_count=min_count, max_size=max_size),  # inserted in another order
    ):
        assert list(zip(found.words, found.counts.tolist(), strict=True)) == expected
        assert len(found) == len(expected)
        assert found.counts.dtype == torch.int64


def test_a_text_becomes_numbers_and_back_without_the_words_that_are_not_known():
    vocabulary = Vocabulary.of(TEXT, min_count=2)
    assert vocabulary.words == ("the", "cat", "dog", "sees")
    ids = vocabulary.encode(iter(TEXT))
    assert ids.dtype == torch.int64
    assert vocabulary.decode(ids) == vocabulary.decode(ids.tolist()) == [word for word in TEXT if word in vocabulary]
    assert vocabulary.encode([]).shape == vocabulary.encode(["xyz"]).shape == (0,)
    assert [vocabulary.id(word) for word in vocabulary.words] == [0, 1, 2, 3]
    assert torch.equal(vocabulary.ids(iter(["sees", "the"])), torch.tensor([3, 0]))
    assert vocabulary.ids([]).dtype == torch.int64
    assert "the" in vocabulary
    assert "a" not in vocabulary
    assert 0 not in vocabulary
    assert repr(vocabulary) == "Vocabulary(4 words: 'the', 'cat', 'dog', ...)"


def test_words_that_are_not_known_are_named_with_the_spellings_nearest_to_them():
    vocabulary = Vocabulary.of(TEXT, min_count=1)
    message = r"not in the vocabulary of 6 words: 'teh' \(did you mean 'the'\?\), 'xyz'"
    with pytest.raises(ValueError, match=message):
        vocabulary.ids(["the", "teh", "xyz"])
    with pytest.raises(ValueError, match=r"'dogs' \(did you mean 'dog'\?\)"):
        vocabulary.id("dogs")


def test_frequent_words_are_kept_with_the_probability_of_the_program_word2vec():
    counts = {"the": 9_000, "cat": 700, "sat": 299, "mat": 1}
    found = Vocabulary(counts).keep_probabilities(0.02)
    assert found.dtype == torch.float64
    total = sum(counts.values())
    # As word2vec.c has it: (sqrt(cn / (sample * train_words)) + 1) * (sample * train_words) / cn
    expected = [min(1.0, (math.sqrt(cn / (0.02 * total)) + 1) * (0.02 * total) / cn) for cn in counts.values()]
    assert found.tolist() == pytest.approx(expected, rel=1e-14)
    assert found[2:].tolist() == [1.0, 1.0]
    # What was left out is not counted: the shares are those among the words that are in.
    few = Vocabulary(counts, max_size=2).keep_probabilities(0.02)
    assert few[0].item() == pytest.approx(math.sqrt(0.02 * 9_700 / 9_000) + 0.02 * 9_700 / 9_000, rel=1e-14)


def test_each_word_of_a_text_stays_or_goes_by_itself(seed):
    vocabulary = Vocabulary({"the": 6_000, "cat": 3_000, "sat": 1_000})
    text = torch.tensor([0, 1, 2]).repeat(4_000)
    numbered = torch.arange(len(text))  # which of them stay is seen where each has a number of its own
    keep = vocabulary.keep_probabilities(0.1)
    found = vocabulary.subsample(text, 0.1, stream(seed, "draws"))
    drawn = torch.rand(len(text), generator=stream(seed, "draws"), dtype=torch.float64)
    assert torch.equal(found, text[numbered[[number < keep[id] for number, id in zip(drawn, text, strict=True)]]])
    for count, probability in zip(found.bincount().tolist(), keep.tolist(), strict=True):
        assert min(binom.cdf(count, 4_000, probability), binom.sf(count - 1, 4_000, probability)) > 1e-5


def test_what_is_thinned_out_stays_on_its_device(device):
    vocabulary = Vocabulary({"the": 99, "cat": 1})
    text = torch.zeros(1_000, dtype=torch.int64, device=device)
    found = vocabulary.subsample(text, 0.01, stream(0, "draws"))
    assert found.device.type == device
    assert len(found) == len(vocabulary.subsample(text.cpu(), 0.01, stream(0, "draws")))
    assert vocabulary.subsample(text[:0], 0.01, stream(0, "draws")).shape == (0,)


def test_noise_is_the_counts_to_a_power():
    vocabulary = Vocabulary({"the": 81, "cat": 16, "sat": 1})
    assert vocabulary.noise().tolist() == pytest.approx([27 / 36, 8 / 36, 1 / 36], rel=1e-14)
    assert vocabulary.noise(1).tolist() == pytest.approx([81 / 98, 16 / 98, 1 / 98], rel=1e-14)
    assert vocabulary.noise(0.0).tolist() == pytest.approx([1 / 3] * 3, rel=1e-14)
    assert vocabulary.noise(1_000.0).tolist() == [1.0, 0.0, 0.0]  # 81^1000 is no number that a computer holds
    assert vocabulary.noise().dtype == torch.float64


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Vocabulary({}), ValueError, "there are no words to make a vocabulary of: expected a text of two"),
        (lambda: Vocabulary.of([]), ValueError, "there are no words to make a vocabulary of"),
        (lambda: Vocabulary.of(["a"] * 9), ValueError, "needs two different words or more, and there is one"),
        (
            lambda: Vocabulary.of([*"abbbbb", *"cc"]),
            ValueError,
            "of 3 words 1 came 5 times or more: give a lower min_count or a longer text",
        ),
        (lambda: Vocabulary({"a": 1, "b": 2}, max_size=1), ValueError, "give a max_size of 2 or more, not 1"),
        (lambda: Vocabulary({"a": 1, "b": 2}, max_size=0), ValueError, "max_size must be an int of 1 or more, not 0"),
        (lambda: Vocabulary({"a": 1, "b": 2}, min_count=0), ValueError, "min_count must be an int of 1 or more"),
        (lambda: Vocabulary({"a": 1, "b": -2}), ValueError, "the count of 'b' must be an int of 0 or more, not -2"),
        (lambda: Vocabulary({"a": 1, "b": 2.0}), ValueError, r"the count of 'b' must be an int of 0 or more, not 2\.0"),
        (lambda: Vocabulary({"a": 1, 2: 3}), TypeError, r"a word must be a str, not int \(2\)"),
        (lambda: Vocabulary(["a", "b"]), TypeError, "not list: Vocabulary.of counts the words of a text"),
        (lambda: Vocabulary.of("a text"), TypeError, "not one str: split the text first"),
    ],
)
def test_what_makes_no_vocabulary_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda v: v.ids("the cat"), TypeError, "not one str: split the text first"),
        (lambda v: v.encode("the cat"), TypeError, "not one str: split the text first"),
        (lambda v: v.decode([0, 4]), ValueError, "ids must be from 0 to 3, and there is a 4"),
        (lambda v: v.decode([-1]), ValueError, "ids must be from 0 to 3, and there is a -1"),
        (lambda v: v.keep_probabilities(0), ValueError, "sample must be a finite number above 0, not 0"),
        (lambda v: v.keep_probabilities(math.inf), ValueError, "sample must be a finite number above 0, not inf"),
        (lambda v: v.keep_probabilities("much"), TypeError, "sample must be a number, not str"),
        (lambda v: v.noise(math.nan), ValueError, "power must be finite, not nan"),
        (lambda v: v.subsample([0], 0.1, stream(0, "x")), TypeError, "ids must be a tensor, not list"),
        (
            lambda v: v.subsample(torch.zeros(2, 3), 0.1, stream(0, "x")),
            ValueError,
            r"ids must be int64 or int32 of shape \[N\], not torch\.float32 of \[2, 3\]",
        ),
        (
            lambda v: v.subsample(torch.tensor([0, 4]), 0.1, stream(0, "x")),
            ValueError,
            "ids must be from 0 to 3, and they go from 0 to 4",
        ),
    ],
)
def test_what_a_vocabulary_cannot_answer_is_refused(ask, error, message):
    with pytest.raises(error, match=message):
        ask(Vocabulary.of(TEXT, min_count=2))
