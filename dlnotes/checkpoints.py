"""Checkpoints: states of training as files that are whole or not there, sealed, and free of code."""

import hashlib
import io
import os
from collections import Counter, OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dlnotes.files import write_whole

__all__ = ["CheckpointError", "load_checkpoint", "save_checkpoint"]


_PLAIN = {Tensor, nn.Parameter, str, bytes, int, float, bool, type(None)}
_SEAL = b"\nsha256:"
_SEAL_LENGTH = len(_SEAL) + 64


class CheckpointError(Exception):
    """A checkpoint is damaged, cut short, or was not written by `save_checkpoint`."""


def save_checkpoint(path: str | os.PathLike[str], state: Mapping[str, Any]) -> Path:
    """Write a state of plain dictionaries, numbers and tensors, whole or not at all, sealed with its SHA-256.

    The seal stands behind the archive that ``torch.save`` makes, in the same file, so that no crash can part the
    two; ``torch.load`` reads the file as well, without noticing damage.

    Raises:
        TypeError: something in the state is not plain; the message says where. Nothing is written.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = save_checkpoint(f"{folder.name}/run.pt", {"steps": 3, "w": torch.ones(2)})
        >>> load_checkpoint(path)
        {'steps': 3, 'w': tensor([1., 1.])}
        >>> folder.cleanup()
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"a checkpoint is made of a state, not of a {type(state).__name__}: give its state_dict()")
    _check_plain(state, "state")
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    archive = buffer.getvalue()
    return write_whole(path, archive + _SEAL + hashlib.sha256(archive).hexdigest().encode())


def _check_plain(value: Any, where: str) -> None:
    if type(value) in (dict, OrderedDict, Counter):  # the milestones of MultiStepLR are a Counter
        for name, one in value.items():
            _check_plain(name, f"a name in {where}")
            _check_plain(one, f"{where}[{name!r}]")
    elif type(value) in (list, tuple):
        for place, one in enumerate(value):
            _check_plain(one, f"{where}[{place}]")
    elif type(value) not in _PLAIN:  # the exact type: a subclass, such as NumPy's float64, could not be loaded
        advice = ": give its state_dict()" if hasattr(value, "state_dict") else ""
        raise TypeError(f"{where} must be plain (numbers, texts, tensors), not {type(value).__name__}{advice}")


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, onto the CPU, after checking each byte of it. No code in the file can run.

    ``torch.load`` alone does not check: most files with one flipped bit load, with wrong numbers in them.

    Raises:
        CheckpointError: the bytes do not fit their seal, or there is none.
        FileNotFoundError: there is no such file.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = save_checkpoint(f"{folder.name}/run.pt", {"steps": 3})
        >>> _ = path.write_bytes(path.read_bytes().replace(b"steps", b"stops"))
        >>> load_checkpoint(path)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        dlnotes.checkpoints.CheckpointError: ...run.pt is damaged: expected SHA-256 ...
        >>> folder.cleanup()
    """
    content = Path(path).read_bytes()
    archive, seal = content[:-_SEAL_LENGTH], content[-_SEAL_LENGTH:]
    found = hashlib.sha256(archive).hexdigest()
    if not seal.startswith(_SEAL):
        raise CheckpointError(f"{path} does not end with a checksum: cut short, or not written by save_checkpoint")
    expected = seal.removeprefix(_SEAL).decode("ascii", "replace")
    if found != expected:
        raise CheckpointError(f"{path} is damaged: expected SHA-256 {expected}, found {found}")
    loaded: dict[str, Any] = torch.load(io.BytesIO(archive), map_location="cpu", weights_only=True)
    return loaded
