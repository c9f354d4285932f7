"""Fetching a file over the network, bounded in time and in size, and checked before a byte of it is kept.

A server may drop the line, stall, send a page, send another file, or send for ever; torchvision's downloader, which
has no time limit and no size limit, hangs on some of these and fills the disk on others.
"""

import re
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tqdm import tqdm

from dlnotes.data import idx
from dlnotes.data.examples import DataError
from dlnotes.data.idx import Checksum, Content

__all__ = ["fetch_file"]

PATIENCE = 20.0  # seconds, in each of which a server has to send
SLOWEST = 1_000  # bytes; what it takes to find and to reach it counts as well
CONNECTIONS = 10  # so often a line that drops is taken up again where it broke


def fetch_file(name: str, mirrors: Sequence[str], known: Collection[Checksum]) -> Content:
    """The unpacked bytes of a file that is offered packed, from the first mirror that has them as they are known.

    Nothing is written.

    Args:
        name: the file's name; asked for with ``.gz`` at its end.
        mirrors: addresses of folders, each ending in a slash.
        known: the checksums that are accepted.

    Raises:
        DataError: no mirror gave the file; the message says of each what came instead.
    """
    limit = idx.longest(known)
    refusals = []
    for mirror in mirrors:
        address = f"{mirror}{name}.gz"
        try:
            packed = _Transfer(address, idx.packed_limit(limit)).finish()
            return idx.verify(Content.of(idx.unpack(packed, Path(f"{name}.gz"), limit)), Path(name), known)
        except DataError as error:
            refusals.append(f"  {address}: {error}")
    raise DataError("\n".join([f"{name} could not be downloaded", *refusals]))


@dataclass
class _Transfer:
    """What has come so far of the file at an address, which has at most ``limit`` bytes."""

    address: str
    limit: int
    content: bytearray = field(default_factory=bytearray)
    received: int = 0  # bytes, those of a beginning that was thrown away included
    version: str | None = None  # what the server calls this state of the file
    given_up: bool = False

    def finish(self) -> bytes:
        """All of it, over as many connections as it takes."""
        for _ in range(CONNECTIONS):
            before = self.received
            try:
                if self._receive_in_time():
                    return bytes(self.content)
            except HTTPError as error:
                error.close()  # it is an answer too, and holds a connection
                raise DataError(f"the server answered {error.code} {error.reason}") from error
            except (OSError, HTTPException, ValueError) as error:
                if self.received == before:  # not a line that dropped, but one that gives nothing
                    raise DataError(str(error) or type(error).__name__) from error
        raise DataError(f"the line dropped {CONNECTIONS} times, the last time after {len(self.content):,} bytes")

    def _receive_in_time(self) -> bool:
        """`_receive` in a thread, which is left to itself where too little comes.

        The clock cannot be left to the socket: it begins anew with each byte, and does not cover the name server.
        """
        answers: list[bool | Exception] = []

        def receive() -> None:
            try:
                answers.append(self._receive())
            except Exception as error:
                answers.append(error)

        thread = threading.Thread(target=receive, daemon=True)
        thread.start()
        while not answers:
            before = self.received
            thread.join(PATIENCE)
            if not answers and self.received - before < SLOWEST * PATIENCE:
                self.given_up = True
                raise DataError(f"the server sends less than {SLOWEST:,} bytes a second")
        if isinstance(answers[0], Exception):
            raise answers[0]
        return answers[0]

    def _receive(self) -> bool:
        """Go on from where ``content`` ends, and say whether it is whole now; False where the line dropped."""
        headers = {"User-Agent": "dlnotes"}
        if self.content and self.version:  # and not the rest of another file
            headers |= {"Range": f"bytes={len(self.content)}-", "If-Range": self.version}
        with urlopen(Request(self.address, headers=headers), timeout=PATIENCE) as response:
            if response.status != 206:
                self.content.clear()
            elif not re.match(rf"bytes {len(self.content)}-", response.headers.get("Content-Range", ""), re.IGNORECASE):
                raise ValueError(f"asked for the bytes from {len(self.content):,} on, the server sends others")
            tag = response.headers.get("ETag", "W/")
            self.version = response.headers.get("Last-Modified") if tag.startswith("W/") else tag
            announced = response.headers.get("Content-Length")
            whole = None if announced is None else len(self.content) + int(announced)
            if whole is not None and whole > self.limit:
                raise DataError(f"expected at most {self.limit:,} bytes, the server announces {whole:,}")
            name = self.address.rpartition("/")[2]
            bar = tqdm(total=whole, initial=len(self.content), desc=name, unit="B", unit_scale=True, disable=None)
            with bar:
                while not self.given_up and (chunk := response.read1(1 << 16)):
                    self.content += chunk
                    self.received += len(chunk)
                    bar.update(len(chunk))
                    if len(self.content) > self.limit:
                        raise DataError(f"expected at most {self.limit:,} bytes, the server sends more")
        return whole is None or len(self.content) == whole
