"""A lesson on a full disk, or on one that is read-only, ends in one plain line and harms no earlier result."""

import json
import os
import random
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = os.sysconf("SC_PAGE_SIZE")  # what a disk in memory deals out
LEFT = {"toy.quick.json": b"an earlier run's results", "toy.quick.svg": b"an earlier run's figure"}


@pytest.fixture(scope="module", autouse=True)
def fonts(tmp_path_factory):
    """Matplotlib's list of fonts, which it would make, and write, in the middle of a test."""
    folder = tmp_path_factory.mktemp("matplotlib")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLCONFIGDIR", str(folder))
        subprocess.run([sys.executable, "-c", "import matplotlib.pyplot"], check=True)
        yield


@pytest.fixture
def folder(tmp_path):
    """A folder with the toy lesson, an empty cache, and results that an earlier run left."""
    shutil.copy(CHECKOUT / "tests" / "lesson" / "toy.py", tmp_path)
    for name in ("cache", "out"):
        (tmp_path / name).mkdir()
    for name, content in LEFT.items():
        (tmp_path / "out" / name).write_bytes(content)
    return tmp_path


def ended(command, folder, **options):
    """The exit code and the lines on stderr of a command; an output that is buffered, as users have it."""
    environment = {**os.environ, "DLNOTES_CACHE": str(folder / "cache"), "PYTHONPATH": str(CHECKOUT)}
    environment.pop("PYTHONUNBUFFERED", None)
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "timeout": 120, **options}
    process = subprocess.run(command, cwd=folder, env=environment, check=False, **options)
    return process.returncode, process.stderr.splitlines()


LESSON = [sys.executable, "toy.py", "--quick", "--out", "out"]
HELP = [sys.executable, "-m", "lessons", "--help"]


def with_mounts(mounts, command, then=":"):
    """The command among mounts that nobody else sees and that end with it, and one more shell command behind it."""
    script = f'set -e; {mounts}; code=0; "$@" || code=$?; {then}; exit $code'
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", *command]


@pytest.fixture
def may_mount(folder):
    try:
        return ended(with_mounts("mount -t tmpfs none cache", ["true"]), folder) == (0, [])
    except FileNotFoundError:  # there is no `unshare`
        return False


def assert_one_line(code, error, *words):
    """One line says it, behind the one with which every run begins."""
    lines = [line for line in error if line != "toy: 2 of 2 seeds to measure"]
    assert len(lines) == 1, error
    assert lines[0].startswith("lessons: ")
    for word in words:
        assert str(word) in lines[0]
    assert code == 1


def assert_whole(folder):
    """Nothing unfinished lies below the folder, and each record can be read. Returns how many there are."""
    assert not list(folder.rglob("*.part"))
    records = list(folder.rglob("seed-*.json"))
    assert all(json.loads(record.read_text("utf-8"))["measured"] for record in records)
    return len(records)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["out", "cache"])
def test_a_full_disk_is_one_line_and_harms_no_earlier_result(folder, may_mount, faults, name):
    for same in faults("full disks", few=1, all=12):
        chance = random.Random(f"{name} {same.random()}")
        if may_mount and chance.random() < 0.7:
            # The results have a page each, the figure needs five more; the records have a page each, and there are
            # two of them. The disk ends with the run, so that what was on it is copied away.
            pages = len(LEFT) + chance.randrange(5) if name == "out" else 1
            disk = f"cp -a {name} old; mount -t tmpfs -o size={pages * PAGE} none {name}; cp -a old/. {name}"
            code, error = ended(with_mounts(disk, LESSON, f"cp -a {name} kept"), folder)
            assert_one_line(code, error, folder / name, "No space left on device")
            assert contents(folder / ("kept" if name == "out" else "out")) == LEFT
            assert assert_whole(folder) == (2 if name == "out" else pages)
        else:
            # Without a disk of its own: no file may grow as long as a record (700 bytes), or as the figure (20 kB).
            most = chance.randrange(2_000, 15_000) if name == "out" else chance.randrange(600)
            limit = (most, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
            code, error = ended(
                LESSON, folder, preexec_fn=lambda limit=limit: resource.setrlimit(resource.RLIMIT_FSIZE, limit)
            )
            assert_one_line(code, error, folder / name, "File too large")
            assert contents(folder / "out") == LEFT
            assert assert_whole(folder) == (2 if name == "out" else 0)
        for made in ("cache", "old", "kept"):
            shutil.rmtree(folder / made, ignore_errors=True)
        (folder / "cache").mkdir()


def test_a_read_only_folder_is_one_line_and_harms_no_earlier_result(folder, may_mount, faults):
    if not may_mount:
        pytest.skip("this system lets no user mount a folder read-only")
    for chance in faults("read-only folders", few=1, all=6):
        name, reason = chance.choice([("out", "it is read-only"), ("cache", "Read-only file system")])
        code, error = ended(with_mounts(f"mount --bind {name} {name}; mount -o remount,ro,bind {name}", LESSON), folder)
        assert_one_line(code, error, folder / name, reason)
        assert contents(folder / "out") == LEFT
        assert contents(folder / "cache") == {}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("command", [LESSON, HELP], ids=["a lesson", "the help"])
def test_what_cannot_be_printed_is_one_line(folder, faults, command):
    for _ in faults("full disks", few=1, all=1):
        with open("/dev/full", "w") as full:
            code, error = ended(command, folder, stdout=full)
        assert_one_line(code, error, "not all of the output could be written", "No space left on device")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_for_the_output_hides_no_other_error(folder, faults):
    for _ in faults("full disks", few=1, all=1):
        with open("/dev/full", "w") as full:
            code, error = ended([*LESSON, "--set", "points=0"], folder, stdout=full)
        assert code == 2
        assert "it cannot run with points=0: the curve is empty" in error[-1]


def test_a_command_without_an_output_is_no_error(folder):
    code, error = ended(["sh", "-c", '"$@" >&-', "sh", *HELP], folder)
    assert code == 0
    assert error[0].startswith("usage: ")  # argparse's other way out
