"""Data sets by name."""

import hashlib

import pytest
import torch

from dlnotes import data
from dlnotes.data import catalogue, corpora, fonts, images
from dlnotes.data.examples import DataError, MissingDataError
from dlnotes.data.idx import Checksum


@pytest.fixture(autouse=True)
def empty_root(tmp_path, monkeypatch):
    monkeypatch.setenv("DLNOTES_DATA", str(tmp_path))


def test_every_name_is_a_function_of_the_package():
    assert data.names() == ("letters", "fashion_mnist", "mnist", "not_mnist")
    assert all(callable(getattr(data, name)) for name in data.names())


def test_a_set_that_is_missing_is_not_available_and_a_damaged_one_is_said_to_be(tmp_path):
    assert data.available() == ("letters", "planted", "python_docs")
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name in images.MNIST.copies[0].files:
        (folder / name).write_bytes(b"no picture")
    with pytest.raises(DataError):
        data.available()


def test_a_text_is_described_and_marked_as_the_text_that_would_be_read(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("first this, then that. " * 10)
    name = f"text:{path}"
    before = data.fingerprint(name)
    assert data.describe(name) == data.download(name) == f"{path}, 230 characters"
    path.write_text("First this, then that. " * 10)
    assert data.fingerprint(name) != before
    assert data.fingerprint("python_docs").startswith("python_docs: sha256 ")


def test_a_published_text_is_available_where_it_lies_and_is_not_fetched(tmp_path, monkeypatch):
    assert "text8" in data.texts()
    for ask in (data.describe, data.fingerprint, data.download):
        with pytest.raises(MissingDataError, match=r"text8 .* is not on this machine: it was looked for in"):
            ask("text8")
    content = b"anarchism originated as a term of abuse " * 5
    (tmp_path / "a.txt").write_bytes(content)
    piece = corpora.Piece("a.txt", "", Checksum(len(content), hashlib.sha256(content).hexdigest()))
    monkeypatch.setitem(corpora.CORPORA, "text8", corpora.Corpus("text8", "a text", {"a copy": (piece,)}))
    assert data.available() == ("letters", "planted", "python_docs", "text8")
    assert data.download("text8").startswith("text8, a copy, 200 characters")


def test_planted_words_are_a_text_that_is_always_there_and_never_read():
    assert "planted" in data.texts()
    assert "planted" in data.available()
    assert (
        data.describe("planted") == data.download("planted") == "words drawn by the lesson itself, whose truth is known"
    )
    assert data.fingerprint("planted") == "planted"
    for ask in (lambda: data.load_text("planted", 0), lambda: data.load_words("planted")):
        with pytest.raises(ValueError, match="planted words are no text to be read: a lesson draws them"):
            ask()
    with pytest.raises(ValueError, match="planted is a text, not a set of pictures: a lesson draws its words"):
        data.load("planted", 0)


def test_a_name_gives_what_its_function_gives():
    ours, theirs = (
        data.load("letters", 4, train=30, validation=20, test=10),
        data.letters(4, train=30, validation=20, test=10),
    )
    assert all(
        one.inputs.equal(other.inputs) and one.targets.equal(other.targets)
        for one, other in zip(ours, theirs, strict=True)
    )


def test_what_is_not_given_is_left_to_the_function(monkeypatch):
    calls = []
    monkeypatch.setitem(catalogue._READ, "mnist", lambda seed, **counts: calls.append((seed, counts)))
    data.load("mnist", 3, train=7)
    data.load("mnist", 3, validation=0)
    data.load("mnist", 3)
    assert calls == [(3, {"train": 7}), (3, {"validation": 0}), (3, {})]


@pytest.mark.parametrize("ask", [lambda name: data.load(name, 0), data.describe, data.fingerprint, data.download])
def test_an_unknown_name_is_refused_with_the_known_ones(ask):
    with pytest.raises(ValueError, match=r"'cifar'; known are letters, fashion_mnist, mnist, not_mnist"):
        ask("cifar")


@pytest.mark.parametrize("ask", [lambda name: data.load(name, 0), data.describe, data.fingerprint])
@pytest.mark.parametrize("name", ["fashion_mnist", "mnist", "not_mnist"])
def test_a_missing_set_says_so_whatever_is_asked(ask, name):
    with pytest.raises(MissingDataError, match="is not there"):
        ask(name)


def test_a_missing_set_is_a_data_error():
    assert issubclass(MissingDataError, DataError)


def test_letters_need_no_download():
    assert data.download("letters") == data.describe("letters")
    assert f"{len(fonts.masters().faces)} faces" in data.describe("letters")


def test_the_fingerprint_of_letters_changes_with_a_pixel_and_with_matplotlib(monkeypatch):
    before = data.fingerprint("letters")
    known = fonts.masters()
    changed = known._replace(pictures=known.pictures.clone())
    changed.pictures[0, 0, 28, 28] ^= 1
    monkeypatch.setattr(catalogue, "masters", lambda: changed)
    assert data.fingerprint("letters") != before
    monkeypatch.setattr(catalogue, "masters", lambda: known)
    assert data.fingerprint("letters") == before
    monkeypatch.setattr(catalogue, "version", lambda: "Matplotlib 9")
    assert data.fingerprint("letters") != before


def test_the_fingerprint_of_files_changes_with_the_copy_and_with_a_byte(monkeypatch, tmp_path):
    def found(name, **files):
        contents = {file: data.idx.Content.of(content) for file, content in files.items()}
        monkeypatch.setattr(images, "find", lambda known: images.Found(data.known.Copy(name, {}), tmp_path, contents))
        return data.fingerprint("mnist")

    first = found("as published", a=b"1", b=b"2")
    assert first == found("as published", b=b"2", a=b"1")
    assert first.startswith("mnist: as published")
    assert len({first, found("another", a=b"1", b=b"2"), found("as published", a=b"1", b=b"3")}) == 3


def test_images_come_at_another_size_and_as_rows():
    full, half, rows = (
        data.load("letters", 3, train=20, validation=5, test=4, **how)
        for how in ({}, {"side": 14}, {"side": 14, "flat": True})
    )
    for whole, small, row in zip(full, half, rows, strict=True):
        count = len(whole.targets)
        assert torch.equal(whole.targets, small.targets)
        assert small.inputs.shape == (count, 1, 14, 14)
        assert row.inputs.shape == (count, 196)
        blocks = whole.inputs.reshape(count, 14, 2, 14, 2).mean((2, 4))
        assert torch.allclose(row.inputs.view(count, 14, 14), blocks)
        assert torch.equal(row.inputs, small.inputs.flatten(1))
    uneven = data.load("letters", 3, train=20, side=10).train.inputs
    assert uneven.shape == (20, 1, 10, 10)
    assert uneven.mean() == pytest.approx(full.train.inputs.mean().item(), rel=0.1)
    same = data.load("letters", 3, train=20, side=28, flat=True).train.inputs
    assert torch.equal(same, full.train.inputs.flatten(1))


@pytest.mark.parametrize("side", [0, -1, 29])
def test_images_cannot_be_made_larger_than_they_are(side):
    with pytest.raises(ValueError, match=f"side must be from 1 to the 28 pixels that the images have, not {side}"):
        data.load("letters", 0, train=1, side=side)
