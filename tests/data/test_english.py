"""Lists of words: as long as said, without a word twice, and of words that an encyclopedia has."""

import os
from collections import Counter
from itertools import chain

import pytest

from dlnotes import data
from dlnotes.data import corpora


def test_no_word_is_in_two_categories():
    categories = data.word_categories()
    assert len(categories) == 12
    assert all(10 <= len(words) <= 12 for words in categories.values())
    assert max(Counter(chain(*categories.values())).values()) == 1
    assert "father" in categories["family"]


def test_no_word_is_twice_in_a_relation():
    relations = data.word_pairs()
    assert len(relations) == 8
    for pairs in relations.values():
        assert 11 <= len(pairs) <= 14
        assert max(Counter(chain(*pairs)).values()) == 1
    assert ("say", "said") in relations["present to past"]
    assert ("angola", "luanda") in relations["country to capital"]


def all_words():
    return {*chain(*data.word_categories().values()), *chain(*chain(*data.word_pairs().values()))}


def test_all_are_words_in_lower_case():
    for word in all_words():
        assert corpora._words(word) == [word]


def test_each_word_is_frequent_in_an_encyclopedia():
    if not (os.environ.get("DLNOTES_DATA") and corpora.is_there("text8")):
        pytest.skip("$DLNOTES_DATA names no folder with text8")
    counts = Counter(data.load_words("text8"))
    assert {word: counts[word] for word in all_words() if counts[word] < 20} == {}
