"""Fetching a file over the network, bounded in time and in size, and checked before a byte of it is kept.

A server may drop the line, stall, send a page, send another file, or send for ever; torchvision's downloader, which
has no time limit and no size limit, hangs on some of these and fills the disk on others.
"""

import re
import time
from collections.abc import Collection, Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tqdm import tqdm

from dlnotes.data import idx
from dlnotes.data.examples import DataError
from dlnotes.data.idx import Checksum, Content

__all__ = ["fetch_file"]

PATIENCE = 20.0  # seconds: for a connection, for the next byte, and for each further SLOWEST bytes a second of it
SLOWEST = 1_000
CONNECTIONS = 10  # a line that drops is taken up again where it broke, this often
_CHUNK = 1 << 16


def fetch_file(path: Path, mirrors: Sequence[str], known: Collection[Checksum]) -> Content:
    """The unpacked bytes of the gzip file of ``path``'s name, from the first mirror that has them as they are known.

    Nothing is written.

    Args:
        path: where the file will be kept; its name is what is asked for, with ``.gz`` at its end.
        mirrors: addresses of folders, each ending in a slash.
        known: the checksums that are accepted.

    Raises:
        DataError: no mirror gave the file; the message says of each what came instead.
    """
    limit = idx.longest(known)
    refusals = []
    for mirror in mirrors:
        address = f"{mirror}{path.name}.gz"
        try:
            return idx.verify(Content.of(idx.unpack(_packed(address, limit), path, limit)), path, known)
        except DataError as error:
            refusals.append(f"  {address}: {error}")
    raise DataError("\n".join([f"{path.name} could not be downloaded", *refusals]))


def _packed(address: str, limit: int) -> bytes:
    """What lies at an address, however often the line drops, if it is at most about ``limit`` bytes."""
    content = bytearray()
    for _ in range(CONNECTIONS):
        before = len(content)
        try:
            if _receive(address, content, idx.packed_limit(limit)):
                return bytes(content)
        except HTTPError as error:
            raise DataError(f"the server answered {error.code} {error.reason}") from error
        except (OSError, HTTPException, ValueError) as error:
            if len(content) <= before:  # not a line that dropped, but one that gives nothing
                raise DataError(str(error) or type(error).__name__) from error
    raise DataError(f"the line dropped {CONNECTIONS} times, the last time after {len(content):,} bytes")


def _receive(address: str, content: bytearray, limit: int) -> bool:
    """Go on with ``content`` from where it ends, and say whether it is whole; False where the line dropped."""
    headers = {"User-Agent": "dlnotes", **({"Range": f"bytes={len(content)}-"} if content else {})}
    with urlopen(Request(address, headers=headers), timeout=PATIENCE) as response:
        if response.status != 206:
            content.clear()  # the server knows no ranges, and begins at the beginning
        elif not re.match(rf"bytes {len(content)}-", response.headers.get("Content-Range", "")):
            raise ValueError(f"asked for the bytes from {len(content):,} on, the server sends others")
        announced = response.headers.get("Content-Length")
        whole = None if announced is None else len(content) + int(announced)
        if whole is not None and whole > limit:
            raise DataError(f"expected at most {limit:,} bytes, the server announces {whole:,}")
        name = address.rpartition("/")[2]
        with tqdm(total=whole, initial=len(content), desc=name, unit="B", unit_scale=True, disable=None) as bar:
            since, received = time.monotonic(), 0
            while chunk := response.read1(_CHUNK):
                content += chunk
                bar.update(len(chunk))
                if len(content) > limit:
                    raise DataError(f"expected at most {limit:,} bytes, the server sends more")
                received += len(chunk)
                if (passed := time.monotonic() - since) > PATIENCE:
                    if received < SLOWEST * passed:
                        raise DataError(f"the server sends less than {SLOWEST:,} bytes a second")
                    since, received = time.monotonic(), 0
    return whole is None or len(content) == whole
