"""Files that are there whole or not at all: interrupted, killed, and on a full disk."""

import errno
import os
import resource
import socket
import stat
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from dlnotes.files import remove_stale_parts, write_whole

HOST = socket.gethostname()


@pytest.fixture
def note(tmp_path):
    """A file that holds ``old``."""
    path = tmp_path / "note.txt"
    path.write_text("old")
    return path


def raising(error):
    """A function that raises ``error`` whatever it is given."""

    def fail(*arguments, **named):
        raise error

    return fail


def parts(folder):
    return sorted(folder.rglob("*.part"))


# Writing


def test_bytes_are_written_as_they_are_and_the_path_is_returned(tmp_path):
    content = bytes(range(256)) * 300
    path = write_whole(tmp_path / "bytes", content)
    assert path == tmp_path / "bytes"
    assert path.read_bytes() == content


def test_text_is_written_as_utf_8_and_its_line_ends_are_kept(tmp_path):
    assert write_whole(str(tmp_path / "text"), "µ ≤ 1\r\n\n").read_bytes() == b"\xc2\xb5 \xe2\x89\xa4 1\r\n\n"


def test_folders_on_the_way_are_made(tmp_path):
    assert write_whole(tmp_path / "deep" / "er" / "note", "kept").read_text() == "kept"


def test_an_old_file_is_replaced_whole_and_nothing_else_is_left(note):
    write_whole(note, "n")
    assert note.read_text() == "n"
    assert list(note.parent.iterdir()) == [note]


def test_the_content_is_on_the_disk_before_the_rename_and_the_rename_after_it(note, monkeypatch):
    seen = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(descriptor):
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        seen.append(("fsync", "folder" if is_folder else parts(note.parent)[0].read_text(), note.read_text()))
        fsync(descriptor)

    def watched_replace(source, target):
        replace(source, target)
        seen.append(("rename", "", note.read_text()))

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    write_whole(note, "new")
    assert seen == [("fsync", "new", "old"), ("rename", "", "new"), ("fsync", "folder", "new")]


def test_no_file_stays_open(tmp_path):
    def next_descriptor():
        descriptor = os.open(os.devnull, os.O_RDONLY)
        os.close(descriptor)
        return descriptor

    before = next_descriptor()
    write_whole(tmp_path / "note", "kept")
    assert next_descriptor() == before


# Interrupted


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), RuntimeError(), OSError(errno.ENOSPC, "No space left")], ids=repr
)
def test_an_interrupted_write_leaves_the_old_file_and_no_part(note, monkeypatch, step, error):
    monkeypatch.setattr(os, step, raising(error))
    with pytest.raises(type(error)):
        write_whole(note, "new")
    assert note.read_text() == "old"
    assert parts(note.parent) == []


def test_a_file_that_does_not_fit_leaves_the_old_file_and_no_part(note):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: '.*note\.txt'"):
            write_whole(note, b"x" * 200_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert note.read_text() == "old"
    assert parts(note.parent) == []


@contextmanager
def as_nobody():
    """Without root's right to write everywhere, where the tests run as root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_folder_that_cannot_be_written_to_is_an_os_error():
    with tempfile.TemporaryDirectory() as folder:
        note = Path(folder) / "note.txt"
        note.write_text("old")
        os.chmod(folder, 0o555)
        with as_nobody(), pytest.raises(PermissionError):
            write_whole(note, "new")
        os.chmod(folder, 0o755)
        assert note.read_text() == "old"
        assert parts(note.parent) == []


def test_a_file_where_a_folder_should_be_is_an_os_error(note):
    with pytest.raises(OSError, match=r"note\.txt"):
        write_whole(note / "below", "new")
    assert note.read_text() == "old"


# Killed

WRITER = """
import os, signal, sys
from dlnotes.files import write_whole

def stop_here(descriptor):
    print("in the middle", flush=True)
    signal.pause()

os.fsync = stop_here
write_whole(sys.argv[1], "new")
"""


@contextmanager
def writer_in_the_middle(path):
    """A process that has written its part, and stands before the flush until it is killed."""
    with subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout.readline() == "in the middle\n"
            yield writer
        finally:
            writer.kill()


def test_a_killed_writer_leaves_the_old_file_and_a_part_that_is_removed_later(note):
    with writer_in_the_middle(note):
        pass
    assert note.read_text() == "old"
    assert len(parts(note.parent)) == 1
    assert remove_stale_parts(note.parent) == 1
    assert list(note.parent.iterdir()) == [note]


def test_the_part_of_a_living_writer_stays(note):
    with writer_in_the_middle(note) as writer:
        assert remove_stale_parts(note.parent) == 0
        assert [part.name for part in parts(note.parent)] == [f".note.txt.{HOST}-{writer.pid}.part"]


@pytest.fixture(scope="module")
def dead():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_stale_parts_are_found_in_folders_below(tmp_path, dead):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "a" / "b"):
        (folder / f".x.{HOST}-{dead}.part").touch()
    assert remove_stale_parts(tmp_path) == 2
    assert parts(tmp_path) == []


@pytest.mark.parametrize(
    "name",
    [
        ".note.txt.elsewhere-{dead}.part",  # another machine's
        ".note.txt.not{host}-{dead}.part",  # a machine's whose name ends like ours
        ".note.txt.{host}-{dead}x.part",  # no process
        ".note.part",  # not ours at all
        "note.txt.{host}-{dead}.part",
        ".note.txt.{host}-{dead}",
    ],
)
def test_what_is_not_a_dead_writers_part_stays(tmp_path, dead, name):
    path = tmp_path / name.format(host=HOST, dead=dead)
    path.touch()
    assert remove_stale_parts(tmp_path) == 0
    assert path.exists()


def test_a_part_of_somebody_elses_living_process_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "kill", raising(PermissionError()))
    part = tmp_path / f".x.{HOST}-1.part"
    part.touch()
    assert remove_stale_parts(tmp_path) == 0
    assert part.exists()


def test_a_living_process_is_asked_and_not_disturbed(tmp_path, monkeypatch):
    sent = []
    monkeypatch.setattr(os, "kill", lambda process, signal: sent.append((process, signal)))
    (tmp_path / f".x.{HOST}-1.part").touch()
    remove_stale_parts(tmp_path)
    assert sent == [(1, 0)]


def test_a_part_that_another_process_removes_first_is_no_error(tmp_path, monkeypatch):
    part = tmp_path / f".x.{HOST}-1.part"
    part.touch()

    def removed_meanwhile(process, signal):
        part.unlink()
        raise ProcessLookupError

    monkeypatch.setattr(os, "kill", removed_meanwhile)
    remove_stale_parts(tmp_path)
    assert not part.exists()


def test_two_processes_that_write_one_file_have_parts_of_their_own(note):
    with writer_in_the_middle(note), writer_in_the_middle(note):
        assert len(parts(note.parent)) == 2
        write_whole(note, "mine")
        assert len(parts(note.parent)) == 2
    assert note.read_text() == "mine"
