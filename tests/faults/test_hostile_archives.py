"""A hostile archive in notMNIST's place writes nothing, is not believed, and costs little memory."""

import gzip
import hashlib
import signal
import struct
import tarfile
import tracemalloc
import zlib
from contextlib import contextmanager

import pytest

from dlnotes.data import DataError, images, notmnist
from dlnotes.data.idx import Checksum
from dlnotes.data.known import NOT_MNIST, TEST, TRAIN, Copy, ImageSet
from tests.data.test_notmnist import pictures, png

MEMORY = 150_000_000  # bytes; a header may cost twice notmnist.ARCHIVE_BYTES before it is too long to be believed
SECONDS = 60
END = bytes(1024)


def member(name, content=b"", *, kind=tarfile.REGTYPE, link="", size=None):
    """A member as it stands in an archive; ``size`` is what its header announces, if not the truth."""
    header = tarfile.TarInfo(name)
    header.type, header.linkname, header.size = kind, link, len(content) if size is None else size
    return header.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def with_header(**fields):
    """A picture behind a header that tells more about it (POSIX's pax format)."""
    header = tarfile.TarInfo("notMNIST_small/A/more.png")
    header.pax_headers = {name.replace("_", "."): text for name, text in fields.items()}
    return header.create_pax_header(header.get_info(), "utf-8")


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


PICTURE = png(7)
SOUND = b"".join(member(f"notMNIST_small/{name}", content) for name, content in pictures().items())
HUGE = PICTURE[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)) + PICTURE[33:]
TALKATIVE = PICTURE[:33] + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(15_000_000))) + PICTURE[33:]

# name: what stands in the archive behind the pictures that belong there, given the path of a file outside, which must
# survive. Of these the member is passed over, and the set is sound:
PASSED_OVER = {
    "a link to a file outside": lambda outside: member("A/font 0.png", kind=tarfile.SYMTYPE, link=str(outside)),
    "a second name for a file outside, then content for it": lambda outside: (
        member("notMNIST_small/new.png", kind=tarfile.LNKTYPE, link=str(outside))
        + member("notMNIST_small/new.png", PICTURE)
    ),
    "a device and two pipes": lambda outside: b"".join(
        member(f"notMNIST_small/A/{kind[0]}.png", kind=kind)
        for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
    ),
    "200 MB of zeros behind the end": lambda outside: END + bytes(200_000_000),
}
# And these are refused.
REFUSED = {
    "a path that climbs out of the folder": lambda outside: member(f"../../outside/A/{outside.name}", PICTURE),
    "an absolute path": lambda outside: member(str(outside), PICTURE),
    "a folder that is a link, and a file in it": lambda outside: (
        member("notMNIST_small/more/A", kind=tarfile.SYMTYPE, link=str(outside.parent))
        + member(f"notMNIST_small/more/A/{outside.name}", PICTURE)
    ),
    "200 MB of zeros in a picture": lambda outside: member("notMNIST_small/A/zeros.png", bytes(200_000_000)),
    "a picture that announces 5 GB": lambda outside: member("notMNIST_small/A/long.png", size=5 * 2**30),
    "a picture of less than nothing": lambda outside: member("notMNIST_small/A/negative.png", size=-1024),
    "a name of 200 MB": lambda outside: member("name", b"a" * 200_000_000, kind=tarfile.GNUTYPE_LONGNAME),
    "a header of 200 MB": lambda outside: member("header", bytes(200_000_000), kind=tarfile.XHDTYPE),
    "25,000 headers, each for the next": lambda outside: member("header", kind=tarfile.XHDTYPE) * 25_000,
    "25,000 empty folders": lambda outside: member("notMNIST_small/A", kind=tarfile.DIRTYPE) * 25_000,
    "a map of holes that is none": lambda outside: with_header(GNU_sparse_map="here,there"),
    "a map of 12 million holes": lambda outside: (
        with_header(GNU_sparse_major="1", GNU_sparse_minor="0") + b"99999999\n" + b"0\n" * 25_000_000
    ),
    "a name that is no text": lambda outside: member("notMNIST_small/A/\udcff.png", PICTURE),
    "a picture that announces 50,000x50,000 pixels": lambda outside: member("notMNIST_small/A/huge.png", HUGE),
    "a picture with 15 MB of text": lambda outside: member("notMNIST_small/A/talkative.png", TALKATIVE),
}


@contextmanager
def bounded():
    """Fails what needs more memory, or more time than a hang deserves."""

    def give_up(number, frame):
        raise AssertionError(f"not done after {SECONDS} seconds")

    handler, left = signal.signal(signal.SIGALRM, give_up), signal.alarm(SECONDS)
    tracemalloc.start()
    try:
        yield
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        signal.signal(signal.SIGALRM, handler)
        signal.alarm(left)
    assert most < MEMORY


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The folder of the archive; beside it, a file outside and a folder for the cache."""
    monkeypatch.setenv("DLNOTES_DATA", str(tmp_path / "root"))
    monkeypatch.setenv("DLNOTES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(notmnist, "TESTS_PER_CLASS", 2)
    home, outside = tmp_path / "root" / "NotMNIST", tmp_path / "outside" / "A"
    for folder in (home, outside, tmp_path / "cache"):
        folder.mkdir(parents=True)
    (outside / "mine.png").write_bytes(b"must survive")
    return home


def archive(home, *content):
    """An archive of the pictures that belong there and of what else is given."""
    path = home / "notMNIST_small.tar.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(SOUND)
        for part in content:
            file.write(part)
        file.write(END)
    return path


@pytest.fixture
def known(home):
    """The set whose known copy is what the sound archive gives."""
    files = notmnist.from_archive(archive(home))
    sums = {name: Checksum(len(content), hashlib.sha256(content).hexdigest()) for name, content in files.items()}
    return ImageSet("not_mnist", "notMNIST", "letters", "NotMNIST", (Copy("ours", sums),), NOT_MNIST.archives, "a blog")


def tree(folder):
    """Everything below a folder: what is a file with its content."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("name", PASSED_OVER)
def test_what_is_no_picture_is_passed_over_and_nothing_else_is_written(home, known, faults, tmp_path, name):
    for _ in faults("hostile archives", few=1, all=1):
        archive(home, PASSED_OVER[name](tmp_path / "outside" / "A" / "mine.png"))
        before = tree(tmp_path)
        with bounded():
            assert images.find(known).copy.name == "ours"
        cache = tmp_path / "cache" / "NotMNIST"
        assert tree(tmp_path).keys() - before.keys() == {cache, *(cache / file for file in TRAIN + TEST)}
        assert before.items() <= tree(tmp_path).items()


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_archive_is_refused_and_nothing_is_written(home, known, faults, tmp_path, name):
    for _ in faults("hostile archives", few=1, all=1):
        path = archive(home, REFUSED[name](tmp_path / "outside" / "A" / "mine.png"))
        before = tree(tmp_path)
        with bounded(), pytest.raises(DataError) as refusal:
            images.find(known)
        assert str(path) in str(refusal.value)
        assert len(str(refusal.value)) < 1_000
        assert tree(tmp_path) == before


@pytest.mark.parametrize("content", [END, member("notMNIST_small/A/only.png", PICTURE) + END], ids=["none", "one"])
def test_an_archive_of_too_few_pictures_is_refused(home, known, faults, content):
    for _ in faults("hostile archives", few=1, all=1):
        path = home / "notMNIST_small.tar.gz"
        path.write_bytes(gzip.compress(content))
        with bounded(), pytest.raises(DataError, match=r"notMNIST_small\.tar\.gz"):
            images.find(known)
