"""Sets of pictures: found where they should be, checked, dealt out by the seed; and what is said when they are not."""

import gzip
import hashlib
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from dlnotes import places
from dlnotes.data import DataError, MissingDataError, catalogue, idx, images
from dlnotes.data.idx import Checksum
from dlnotes.data.known import FASHION_MNIST, MNIST, NOT_MNIST, TEST, TRAIN, Copy, ImageSet
from tests.loopback import server

TRAINING, TESTING = 50, 30


def made(first, count):
    """Pictures whose first pixel is their number, so that each can be recognised; labels are number modulo ten."""
    pixels = np.zeros((count, 28, 28), np.uint8)
    pixels[:, 0, 0] = np.arange(first, first + count)
    return idx.pack(pixels), idx.pack(np.arange(first, first + count, dtype=np.uint8) % 10)


FILES = dict(zip(TRAIN + TEST, (*made(0, TRAINING), *made(100, TESTING)), strict=True))


def copy_of(name, files):
    return Copy(name, {file: Checksum(len(b), hashlib.sha256(b).hexdigest()) for file, b in files.items()})


SMALL = ImageSet("fashion_mnist", "Small", "pictures for tests", "FashionMNIST", (copy_of("ours", FILES),))


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """No data but what the test puts there."""
    monkeypatch.setenv("DLNOTES_DATA", str(tmp_path / "root"))
    monkeypatch.setenv("DLNOTES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(images, "FASHION_MNIST", SMALL)


@pytest.fixture
def put(tmp_path):
    def write(root="root", files=FILES, pack=False):
        folder = tmp_path / root / "FashionMNIST" / "raw"
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / (f"{name}.gz" if pack else name)).write_bytes(gzip.compress(content) if pack else content)
        return folder

    return write


def numbers(examples):
    return (examples.inputs[:, 0, 0, 0] * 255).round().long().tolist()


# What comes


@pytest.mark.parametrize("pack", [False, True])
def test_shapes_types_and_range(put, pack):
    put(pack=pack)
    parts = images.fashion_mnist(0, validation=10)
    for part, count in zip(parts, (40, 10, 30), strict=True):
        assert part.inputs.shape == (count, 1, 28, 28)
        assert part.inputs.dtype == torch.float32
        assert part.targets.dtype == torch.int64
        assert 0 <= part.inputs.min() <= part.inputs.max() <= 1


def test_each_picture_keeps_its_label_and_its_grey_value(put):
    put()
    for part in images.fashion_mnist(3, validation=10):
        assert [number % 10 for number in numbers(part)] == part.targets.tolist()


def test_training_and_validation_are_disjoint_and_all_of_the_training_file(put):
    put()
    for seed in range(5):
        train, validation, test = map(numbers, images.fashion_mnist(seed, validation=20))
        assert sorted(train + validation) == list(range(TRAINING))
        assert sorted(test) == list(range(100, 100 + TESTING))


def test_the_seed_gives_the_order(put):
    put()
    assert numbers(images.fashion_mnist(4, validation=9).train) == numbers(images.fashion_mnist(4, validation=9).train)
    for part in range(3):
        assert numbers(images.fashion_mnist(4, validation=9)[part]) != numbers(
            images.fashion_mnist(5, validation=9)[part]
        )


def test_the_defaults_of_dtype_and_device_change_nothing(put):
    put()
    expected = images.fashion_mnist(4, validation=9)
    try:
        torch.set_default_dtype(torch.float64)
        with torch.device("meta"):
            found = images.fashion_mnist(4, validation=9)
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_more_of_one_part_changes_no_other_and_only_adds_to_its_own(put):
    put()
    small = images.fashion_mnist(1, train=10, validation=5, test=7)
    large = images.fashion_mnist(1, train=30, validation=15, test=20)
    for few, many in zip(small, large, strict=True):
        assert numbers(few) == numbers(many)[: len(few.targets)]


def test_what_comes_may_be_written_to_without_changing_what_comes_next(put):
    put()
    images.fashion_mnist(0, validation=5).train.inputs.zero_()
    assert images.fashion_mnist(0, validation=5).train.inputs.max() > 0


def test_asking_for_more_than_there_is_names_the_numbers(put):
    put()
    with pytest.raises(ValueError, match="50 training examples, but train=45 and validation=6 ask for 51"):
        images.fashion_mnist(0, train=45, validation=6)
    with pytest.raises(ValueError, match="50 training examples, but train=0 and validation=2,000"):
        images.fashion_mnist(0)
    with pytest.raises(ValueError, match="30 test examples, but test=31"):
        images.fashion_mnist(0, validation=5, test=31)
    with pytest.raises(ValueError, match="train must be 0 examples or more, not -1"):
        images.fashion_mnist(0, train=-1, validation=5)
    with pytest.raises(TypeError, match="test must be a number of examples"):
        images.fashion_mnist(0, validation=5, test=2.0)


# Where it comes from


def test_the_argument_goes_before_the_variable(put, tmp_path):
    put("elsewhere")
    with pytest.raises(MissingDataError):
        images.fashion_mnist(0, validation=5)
    assert images.fashion_mnist(0, validation=5, root=tmp_path / "elsewhere").train


def test_the_variable_goes_before_the_checkout_and_the_checkout_before_the_user_s_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert places.root() == tmp_path / "root"
    assert places.cache() == tmp_path / "cache"
    monkeypatch.setenv("DLNOTES_DATA", "")
    monkeypatch.delenv("DLNOTES_CACHE")
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(places, "PACKAGE", tmp_path / "dlnotes")
    assert places.root() == tmp_path / "data"
    assert places.cache() == tmp_path / "data" / "cache"
    (tmp_path / "pyproject.toml").unlink()
    assert places.root() == tmp_path / "home" / "dlnotes" / "data"
    assert places.cache() == tmp_path / "home" / "dlnotes" / "cache"


def test_a_home_folder_may_be_written_as_a_tilde(monkeypatch):
    monkeypatch.setenv("DLNOTES_DATA", "~/sets")
    assert places.root() == places.Path.home() / "sets"


def test_an_unpacked_file_goes_before_a_packed_one(put):
    folder = put(pack=True)
    put()
    (folder / f"{TRAIN[0]}.gz").write_bytes(b"not looked at")
    assert images.find(SMALL).copy.name == "ours"


def test_the_root_is_only_read(put, tmp_path):
    put(pack=True)
    before = sorted(tmp_path.rglob("*"))
    images.fashion_mnist(0, validation=5)
    assert sorted(tmp_path.rglob("*")) == before


def test_it_says_which_of_several_known_copies_was_found(put):
    other = dict(zip(TRAIN + TEST, (*made(200, 40), *made(7, 12)), strict=True))
    both = ImageSet("fashion_mnist", "Small", "", "FashionMNIST", (*SMALL.copies, copy_of("the other", other)))
    put(files=other)
    assert images.find(both).copy.name == "the other"
    put(files={TEST[1]: FILES[TEST[1]]})
    with pytest.raises(DataError, match="mixes files of different copies of Small"):
        images.find(both)


# What is said when it is missing or damaged


def test_a_missing_set_says_what_it_is_where_it_was_looked_for_and_how_to_get_it(tmp_path):
    with pytest.raises(MissingDataError) as missing:
        images.fashion_mnist(0)
    message = str(missing.value)
    for part in (
        "Small is not there (pictures for tests)",
        str(tmp_path / "root" / "FashionMNIST" / "raw"),
        *TRAIN,
        *TEST,
        "python -m lessons download fashion_mnist",
        "dlnotes.data.fashion_mnist(0, download=True)",
        "$DLNOTES_DATA",
    ):
        assert part in message
    assert message.count("\n") <= 6


def test_only_what_is_missing_is_named(put):
    put(files={name: FILES[name] for name in TRAIN}, pack=True)
    with pytest.raises(MissingDataError) as missing:
        images.fashion_mnist(0)
    assert TEST[0] in str(missing.value)
    assert TRAIN[0] not in str(missing.value)


@pytest.mark.parametrize("name", TRAIN + TEST)
def test_damage_to_any_of_the_four_files_is_refused(put, name):
    folder = put()
    (folder / name).write_bytes(FILES[name][:-1] + bytes([FILES[name][-1] ^ 1]))
    with pytest.raises(DataError, match=name) as refusal:
        images.fashion_mnist(0, validation=5)
    assert not isinstance(refusal.value, MissingDataError)


# Download


@pytest.fixture
def mirror(monkeypatch):
    """A server that offers what the test leaves in ``offers``, and of which the set knows."""
    offers = dict(FILES)

    def answer(request):
        name = request.path.removeprefix("/").removesuffix(".gz")
        if name in offers:
            request.send(gzip.compress(offers[name]))
        else:
            request.send_error(404)

    with server(answer) as running:
        running.offers = offers
        monkeypatch.setattr(images, "FASHION_MNIST", replace(SMALL, mirrors=(running.address,)))
        yield running


def test_nothing_is_downloaded_unless_asked_for(mirror):
    with pytest.raises(MissingDataError):
        images.fashion_mnist(0)
    assert not mirror.asked


def test_a_missing_set_is_downloaded_and_checked_once(mirror, tmp_path):
    assert images.fashion_mnist(0, validation=5, download=True)
    assert images.fashion_mnist(0, validation=5, download=True)
    assert [path for path, _ in mirror.asked] == [f"/{name}.gz" for name in TRAIN + TEST]
    folder = tmp_path / "root" / "FashionMNIST" / "raw"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES


def test_a_download_goes_where_it_is_asked_to_go(mirror, tmp_path):
    assert images.fashion_mnist(0, validation=5, root=tmp_path / "elsewhere", download=True)
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("pack", [False, True])
def test_only_the_damaged_file_is_replaced_by_a_download(put, mirror, pack):
    folder = put(pack=pack)
    damaged = folder / (f"{TRAIN[0]}.gz" if pack else TRAIN[0])
    damaged.write_bytes(damaged.read_bytes()[:99])
    assert images.fashion_mnist(0, validation=5, download=True)
    assert [path for path, _ in mirror.asked] == [f"/{TRAIN[0]}.gz"]
    assert (folder / TRAIN[0]).read_bytes() == FILES[TRAIN[0]]


def test_a_sound_packed_file_beside_a_damaged_one_is_used(put, mirror):
    folder = put(pack=True)
    (folder / TRAIN[0]).write_bytes(FILES[TRAIN[0]][:99])
    assert images.fashion_mnist(0, validation=5, download=True)
    assert not mirror.asked
    assert (folder / TRAIN[0]).read_bytes() == FILES[TRAIN[0]]


def test_a_folder_that_cannot_be_written_to_is_said_before_anything_is_fetched(put, mirror, monkeypatch):
    folder = put(files={})
    monkeypatch.setattr(os, "access", lambda path, mode: path != folder)
    with pytest.raises(PermissionError, match=r"cannot be put there: .*FashionMNIST/raw"):
        images.fashion_mnist(0, download=True)
    assert not mirror.asked


def test_a_download_that_brings_something_else_is_refused_and_keeps_what_came_before_it(mirror, tmp_path):
    mirror.offers[TEST[0]] = b"<html>"
    with pytest.raises(DataError, match="it is a web page"):
        images.fashion_mnist(0, validation=5, download=True)
    folder = tmp_path / "root" / "FashionMNIST" / "raw"
    assert sorted(path.name for path in folder.iterdir()) == sorted(TRAIN)
    mirror.offers[TEST[0]] = FILES[TEST[0]]
    assert images.fashion_mnist(0, validation=5, download=True)
    assert [path for path, _ in mirror.asked].count(f"/{TRAIN[0]}.gz") == 1


def test_a_download_that_fails_is_a_data_error(mirror):
    mirror.offers.clear()
    with pytest.raises(DataError, match=f"{TRAIN[0]} could not be downloaded\n  {mirror.address}.*404 Not Found"):
        images.fashion_mnist(0, download=True)


# What is known


@pytest.mark.parametrize("known", [FASHION_MNIST, MNIST, NOT_MNIST], ids=lambda known: known.name)
def test_every_known_set_has_four_checksums_of_unpacked_files(known):
    assert getattr(images, known.name)
    for copy in known.copies:
        assert set(copy.files) == {*TRAIN, *TEST}
        assert len({checksum.sha256 for checksum in copy.files.values()}) == 4
        assert all(len(bytes.fromhex(checksum.sha256)) == 32 for checksum in copy.files.values())
        assert copy.files[TRAIN[0]].size == 16 + 784 * (copy.files[TRAIN[1]].size - 8)


@pytest.mark.parametrize("known", [FASHION_MNIST, MNIST, NOT_MNIST], ids=lambda known: known.name)
def test_the_real_set_is_read_where_it_is_there(known, monkeypatch):
    if REAL is None:
        pytest.skip("$DLNOTES_DATA names no folder with real data")
    monkeypatch.setenv("DLNOTES_DATA", REAL)
    monkeypatch.setattr(images, "FASHION_MNIST", FASHION_MNIST)
    try:
        parts = catalogue.load(known.name, 0, train=1000, validation=1000, test=1000)
    except MissingDataError as missing:
        pytest.skip(str(missing).splitlines()[0])
    for part in parts:
        assert part.inputs.shape == (1000, 1, 28, 28)
        assert torch.bincount(part.targets, minlength=10).min() > 50
        assert 0.1 < part.inputs.mean() < 0.6


REAL = os.environ.get("DLNOTES_DATA")  # before the fixture above hides it
