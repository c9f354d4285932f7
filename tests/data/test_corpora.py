"""Texts by name: read whole, checked byte by byte, and never the wrong ones."""

import hashlib
import itertools
import os
import zipfile

import pytest
import torch

from dlnotes import data
from dlnotes.data import DataError, MissingDataError, corpora
from dlnotes.data.corpora import Corpus, Piece
from dlnotes.data.idx import Checksum


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A data root with a published text of 400 characters, and one in three parts inside an archive."""
    monkeypatch.setenv("DLNOTES_DATA", str(tmp_path))
    whole = ("ab c" * 100).encode()
    (tmp_path / "one.txt").write_bytes(whole)
    parts = {"train": b"x" * 50, "valid": b"y" * 20, "test": b"zz" * 5}
    with zipfile.ZipFile(tmp_path / "three.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(f"{name}.txt", content)

    def piece(path, member, content):
        return Piece(path, member, Checksum(len(content), hashlib.sha256(content).hexdigest()))

    known = {
        "one": Corpus("One", "a text", {"whole": (piece("one.txt", "", whole),)}),
        "three": Corpus(
            "Three", "parts", {"packed": tuple(piece("three.zip", f"{name}.txt", parts[name]) for name in parts)}
        ),
    }
    monkeypatch.setattr(corpora, "CORPORA", known)
    return tmp_path


def test_a_text_is_split_at_its_end(root):
    alphabet, *parts = data.load_text("one", 0)
    assert alphabet == " abc"
    assert list(map(len, parts)) == [360, 20, 20]
    text = data.Text(alphabet, *parts)
    assert "".join(map(text.written, parts)) == "ab c" * 100
    assert parts[0].dtype == torch.int64


def test_a_text_in_three_parts_keeps_them(root):
    text = data.load_text("three", 0)
    assert [text.written(part) for part in text[1:]] == ["x" * 50, "y" * 20, "z" * 10]


def test_the_seed_says_which_stretch_is_taken(root):
    found = [data.load_text("one", seed, train=30, validation=5, test=7) for seed in (0, 0, 1)]
    for text in found:
        assert text.alphabet == " abc"  # of the whole text
        assert list(map(len, text[1:])) == [30, 5, 7]
        assert text.written(text.train) in "ab c" * 100
    assert torch.equal(found[0].train, found[1].train)
    assert len({tuple(data.load_text("one", seed, train=300).train.tolist()) for seed in range(30)}) == 4
    with pytest.raises(ValueError, match="train must be a number of characters from 0 to the 360 of one, not 361"):
        data.load_text("one", 0, train=361)
    with pytest.raises(ValueError, match="test must be a number of characters from 0 to the 20 of one, not -1"):
        data.load_text("one", 0, test=-1)


def test_pythons_own_documentation_is_on_every_machine_and_in_ascii():
    text = data.load_text("python_docs", 0)
    assert sum(map(len, text[1:])) > 300_000
    assert text.alphabet.isascii()
    assert "statement" in text.written(text.train)
    assert corpora.is_there("python_docs")


def test_any_file_in_utf_8_is_a_text(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "naïve café — 𝄞 ".encode() * 20)  # with a byte-order mark
    text = data.load_text(f"text:{path}", 0)
    assert text.alphabet == "".join(sorted(set("naïve café — 𝄞 ")))
    assert text.written(text.train).startswith("naïve café — 𝄞 naïve")
    assert str(path) in corpora.describe(f"text:{path}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"good " * 30 + b"\xff\xfe", "is not a text in UTF-8: byte 150 is 0xff"),
        (b"short", "is too short: expected a text of 100 characters or more, found 5"),
    ],
)
def test_a_file_that_is_no_text_is_refused(tmp_path, content, message):
    path = tmp_path / "mine.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        data.load_text(f"text:{path}", 0)


def test_a_file_that_is_too_long_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "mine.txt"
    path.write_bytes(b"a" * 500)
    monkeypatch.setattr(corpora, "LONGEST", 499)
    with pytest.raises(DataError, match="is too long: expected at most 499 bytes"):
        data.load_text(f"text:{path}", 0)


def test_a_path_that_cannot_be_read_is_said_in_a_line(tmp_path):
    for path in ("a" * 5_000, "~no-such-user/x"):
        with pytest.raises(DataError, match="cannot be read"):
            data.load_text(f"text:{path}", 0)


def test_a_text_is_no_set_of_pictures():
    with pytest.raises(ValueError, match=r"python_docs is a text, not a set of pictures: data\.load_text reads it"):
        data.load("python_docs", 0)


def test_characters_become_numbers_and_back(root):
    text = data.load_text("one", 0)
    assert text.written(text.numbers("cab a")) == "cab a"
    with pytest.raises(ValueError, match="the alphabet of this text has no 'x', 'z'"):
        text.numbers("zax")


def test_what_is_missing_says_where_it_was_looked_for(root):
    (root / "one.txt").unlink()
    assert not corpora.is_there("one")
    with pytest.raises(
        MissingDataError, match=r"One \(a text\) is not on this machine: it was looked for in .*one\.txt"
    ):
        data.load_text("one", 0)
    with pytest.raises(MissingDataError, match=r"there is no text file .*nowhere"):
        data.load_text("text:nowhere", 0)
    with pytest.raises(ValueError, match=r"no text is called 'two'; known are python_docs, .*text8, .* and text:PATH"):
        data.load_text("two", 0)


@pytest.mark.parametrize("change", ["a byte", "cut short", "longer"])
def test_other_bytes_are_refused(root, change):
    path = root / "one.txt"
    content = path.read_bytes()
    wrong = {"a byte": b"B" + content[1:], "cut short": content[:-1], "longer": content + b"a"}[change]
    path.write_bytes(wrong)
    with pytest.raises(DataError, match="is damaged, or another file: expected 400 bytes with SHA-256"):
        data.load_text("one", 0)


@pytest.mark.parametrize("content", [b"no archive", b""])
def test_a_damaged_archive_is_refused(root, content):
    (root / "three.zip").write_bytes(content)
    with pytest.raises(DataError, match=r"three\.zip is damaged: expected a zip archive with train\.txt"):
        data.load_text("three", 0)


def test_a_flipped_bit_in_an_archive_is_found(root):
    path = root / "three.zip"
    content = bytearray(path.read_bytes())
    place = content.index(b"train.txt") + len("train.txt") + 2  # in the packed bytes
    content[place] ^= 0x10
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"three\.zip is damaged"):
        data.load_text("three", 0)


def test_another_text_has_another_fingerprint(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("one text " * 20)
    before = corpora.fingerprint(f"text:{path}")
    assert before == corpora.fingerprint(f"text:{path}")
    path.write_text("two text " * 20)
    assert corpora.fingerprint(f"text:{path}") != before


def text_of(tmp_path, content):
    path = tmp_path / "mine.txt"
    path.write_text(content + "\n" + "1 2 3 " * 20, encoding="utf-8")
    return f"text:{path}"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("The cat's CAT, sat; (on) the-mat.", ["the", "cat's", "cat", "sat", "on", "the", "mat"]),
        ("don't 'quote' rock'n'roll dogs' o''clock", ["don't", "quote", "rock'n'roll", "dogs", "o", "clock"]),
        ("don’t", ["don't"]),
        ("in 1984 a2b x_y km² ½ Ⅷ 3rd", ["in", "a", "b", "x", "y", "km", "viii", "rd"]),
        ("naïve cafe\u0301s ÉTÉ straße Привет 戦場", ["naïve", "cafés", "été", "straße", "привет", "戦場"]),
        ("Valkyria 's <unk> @-@ unk", ["valkyria", "s", "unk"]),
        ("one\ntwo\r\n\tthree\u00a0four\u2014five", ["one", "two", "three", "four", "five"]),
    ],
)
def test_words_are_runs_of_letters_in_lower_case(tmp_path, content, words):
    assert data.load_words(text_of(tmp_path, content)) == words


def test_the_words_of_all_parts_come_one_after_another(root):
    assert data.load_words("one") == ["ab", *["cab"] * 99, "c"]
    assert data.load_words("three") == ["x" * 50, "y" * 20, "z" * 10]  # no word goes over the end of a part


def test_a_text_without_words_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"mine\.txt has no words: expected a text with letters in it"):
        data.load_words(text_of(tmp_path, "1 + 1 = 2 <unk>"))


def archive_of(path, members, packing=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return f"text:{path}"


LONG = "a text of the words in it, " * 5


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("name", ["mine.zip", "MINE.ZIP"])
def test_an_archive_of_one_text_is_that_text(tmp_path, name, packing):
    name = archive_of(tmp_path / name, {"folder/": "", "folder/text": LONG}, packing)
    assert data.load_words(name) == ["a", "text", "of", "the", "words", "in", "it"] * 5
    assert corpora.describe(name) == f"{name.removeprefix('text:')}, {len(LONG)} characters"


def test_an_archive_of_several_texts_or_none_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"mine\.zip is a zip archive with 2 files: expected one text alone"):
        data.load_words(archive_of(tmp_path / "mine.zip", {"a": LONG, "b": LONG}))
    with pytest.raises(DataError, match=r"mine\.zip is a zip archive with 0 files: expected one text alone"):
        data.load_words(archive_of(tmp_path / "mine.zip", {}))


def test_a_text_that_is_too_long_when_unpacked_is_not_unpacked(tmp_path, monkeypatch):
    name = archive_of(tmp_path / "mine.zip", {"a": "a" * 1_000_000})
    assert os.path.getsize(tmp_path / "mine.zip") < 2_000
    monkeypatch.setattr(corpora, "LONGEST", 5_000)
    with pytest.raises(DataError, match="is too long: expected at most 5,000 bytes of text"):
        data.load_words(name)


def read_or_refused(name):
    try:
        assert "".join(corpora.read(name)) == LONG
    except DataError:
        return "error"
    return "text"


def test_of_a_damaged_archive_comes_the_whole_text_or_an_error(tmp_path):
    """Each byte changed, and each end cut off."""
    path = tmp_path / "mine.zip"
    name, content = archive_of(path, {"text": LONG}), path.read_bytes()
    cut = [content[:end] for end in range(len(content))]
    flipped = [
        content[:place] + bytes([content[place] ^ flip]) + content[place + 1 :]
        for place, flip in itertools.product(range(len(content)), (0x01, 0x80, 0xFF))
    ]
    found = {"text": 0, "error": 0}
    for damaged in (*cut, *flipped):
        path.write_bytes(damaged)
        found[read_or_refused(name)] += 1
    assert found["error"] > len(cut) + len(flipped) // 2
    archive_of(path, {"text": b"\xff" * 200})
    with pytest.raises(DataError, match=r"mine\.zip is not a text in UTF-8: byte 0 is 0xff"):
        data.load_words(name)
