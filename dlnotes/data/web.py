"""Fetching a file over the network, bounded in time and in size, and checked before a byte of it is kept.

A server may drop the line, stall, send a page, send another file, or send for ever; torchvision's downloader, which
has no time limit and no size limit, hangs on some of these and fills the disk on others.
"""

import re
import socket
import threading
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from tqdm import tqdm

from dlnotes.data import idx
from dlnotes.data.examples import DataError
from dlnotes.data.idx import Checksum, Content

__all__ = ["fetch_file"]

PATIENCE = 20.0  # seconds, in each of which a server has to send
SLOWEST = 1_000  # bytes; what it takes to find and to reach it counts as well
CONNECTIONS = 10  # so often a line that drops is taken up again where it broke
PARTING = 2.0  # seconds for the thread of a transfer to end; only one that asks the name server needs longer


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
        """`_receive` in a thread, whose line is cut where too little comes.

        The clock cannot be left to the socket: it begins anew with each byte, and does not cover the name server.
        """
        answers: list[bool | Exception] = []
        line = _Line()

        def receive() -> None:
            try:
                answers.append(self._receive(line))
            except Exception as error:
                answers.append(error)
            finally:
                line.release()

        thread = threading.Thread(target=receive, name=f"download of {self.address}", daemon=True)
        thread.start()
        try:
            while not answers:
                before = self.received
                thread.join(PATIENCE)
                if not answers and self.received - before < SLOWEST * PATIENCE:
                    raise DataError(f"the server sends less than {SLOWEST:,} bytes a second")
        finally:  # Ctrl-C ends the wait as well, and in a notebook the process goes on
            line.cut_until_it_ends(thread)
        if isinstance(answers[0], Exception):
            raise answers[0]
        return answers[0]

    def _receive(self, line: "_Line") -> bool:
        """Go on from where ``content`` ends, and say whether it is whole now; False where the line dropped."""
        headers = {"User-Agent": "dlnotes"}
        if self.content and self.version:  # and not the rest of another file
            headers |= {"Range": f"bytes={len(self.content)}-", "If-Range": self.version}
        with _opener(line).open(Request(self.address, headers=headers), timeout=PATIENCE) as response:
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
                while chunk := response.read1(1 << 16):
                    self.content += chunk
                    self.received += len(chunk)
                    bar.update(len(chunk))
                    if len(self.content) > self.limit:
                        raise DataError(f"expected at most {self.limit:,} bytes, the server sends more")
        return whole is None or len(self.content) == whole


class _Line:
    """The connection of a transfer, which a redirect replaces by another, and which another thread can cut."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: socket.socket | None = None
        self._cut = False

    def connect(self, address: tuple[str, int], timeout: float, source: Any = None) -> socket.socket:
        """What `socket.create_connection` does, and holds the socket from before it is connected.

        Raises:
            OSError: no address can be reached, or the line was cut.
        """
        refusal = OSError(f"{address[0]} has no address")
        for family, kind, protocol, _, place in socket.getaddrinfo(*address, type=socket.SOCK_STREAM):
            try:
                connection = socket.socket(family, kind, protocol)
            except OSError as error:  # the name has an address of a family that this system does not speak
                refusal = error
                continue
            try:
                self._hold(connection)
                connection.settimeout(timeout)
                connection.connect(place)
                self._hold(connection)  # a cut in the moment before it connects has no effect
                return connection
            except OSError as error:
                connection.close()
                refusal = error
        raise refusal

    def _hold(self, connection: socket.socket) -> None:
        """Keep a second handle of the connection: TLS takes the first one over, and a response takes it from there."""
        with self._lock:
            if self._cut:
                raise ConnectionAbortedError("given up")
            if self._held is not None:
                self._held.close()
            self._held = connection.dup()

    def release(self) -> None:
        """Close the second handle: a connection ends when both are closed."""
        with self._lock:
            if self._held is not None:
                self._held.close()
                self._held = None

    def cut_until_it_ends(self, thread: threading.Thread) -> None:
        """End what the thread waits for or reads, and let nothing new be connected. It gets `PARTING` to end."""
        until = time.monotonic() + PARTING
        while thread.is_alive() and time.monotonic() < until:
            with self._lock:
                self._cut = True
                if self._held is not None:
                    with suppress(OSError):  # it is not connected yet, or no longer
                        self._held.shutdown(socket.SHUT_RDWR)
            thread.join(0.02)


def _opener(line: _Line) -> OpenerDirector:
    """What `urlopen` uses, proxies of the environment included, for HTTP and HTTPS alone and over this line."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(),
        UnknownHandler(),
        HTTPDefaultErrorHandler(),
        _Redirects(),
        HTTPErrorProcessor(),
        _Web(line),
    ):
        opener.add_handler(handler)
    return opener


class _Web(HTTPHandler, HTTPSHandler):
    """HTTP and HTTPS over a `_Line`."""

    def __init__(self, line: _Line) -> None:
        super().__init__()
        self._line: Final = line

    def do_open(self, http_class: Any, req: Request, **settings: Any) -> HTTPResponse:
        def connection(*address: Any, **more: Any) -> Any:
            made = http_class(*address, **more)
            made._create_connection = self._line.connect  # there is no public way to a socket that connects
            return made

        return super().do_open(connection, req, **settings)


class _Redirects(HTTPRedirectHandler):
    """Redirects without the page that comes with them, which urllib reads to its end: it may have none."""

    def http_error_302(self, req: Request, fp: Any, code: int, msg: str, headers: HTTPMessage) -> Any:
        fp.close()
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302
