"""Files that are there whole or not at all.

A program can be killed between any two instructions. Everything the package keeps (records, results, figures,
checkpoints, unpacked data) is therefore written beside its final place, flushed to the disk, and renamed: the
rename is the one instruction after which the new file exists, and before which the old one does.
"""

import os
import socket
from pathlib import Path

__all__ = ["remove_stale_parts", "write_whole"]

_PART = ".part"


def write_whole(path: str | os.PathLike[str], content: bytes | str) -> Path:
    """Write ``content`` to ``path`` so that a reader sees the old file or the new one, never half of one.

    Folders on the way are made. Text is written as UTF-8. An interrupted call (Ctrl-C, a full disk) removes its
    unfinished part; one that was killed leaves it to `remove_stale_parts`.

    Raises:
        OSError: the folder cannot be written to, or the disk is full. What ``path`` held before is intact.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> write_whole(f"{folder.name}/deep/er/note.txt", "kept").read_text()
        'kept'
        >>> folder.cleanup()
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Host and process in the name: two ranks that share a folder never write into the same part.
    part = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}{_PART}")
    try:
        with open(part, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a full disk says it without saying where
            error.filename = str(path)
        raise
    _sync_folder(path.parent)
    return path


def remove_stale_parts(folder: str | os.PathLike[str]) -> int:
    """Remove the unfinished parts below ``folder`` whose writers are dead, and return how many there were.

    A part that belongs to a living process, or to another machine that shares the folder, is left alone.
    """
    mine = f".{socket.gethostname()}-"
    removed = 0
    for part in Path(folder).rglob(f".*{_PART}"):
        _, found, writer = part.name.removesuffix(_PART).rpartition(mine)
        if found and writer.isdigit() and not _is_alive(int(writer)):
            part.unlink(missing_ok=True)
            removed += 1
    return removed


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)  # signal 0 asks, and sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:  # alive, and somebody else's
        return True
    return True


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system lets a folder be opened (POSIX does, Windows does not)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
