"""A web server on loopback whose every answer is the test's own."""

import http.server
import os
import socket
import threading
from contextlib import contextmanager, suppress
from unittest import mock


class Request(http.server.BaseHTTPRequestHandler):
    """A request, with what a test needs to answer it well or badly."""

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range")))
        self.server.answer(self)

    @property
    def start(self) -> int:
        """The first byte that is asked for."""
        return int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))

    def head(self, status=200, **headers):
        """Send the status and the headers; ``Content_Length=3`` is ``Content-Length: 3``."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def send(self, content, *, ranges=True, upto=None, version="1"):
        """Answer as a sound server does, with the range that is asked for; or drop the line after ``upto`` bytes."""
        start = self.start if ranges and self.headers.get("If-Range") in (None, f'"{version}"') else 0
        more = {"Content_Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        self.head(206 if start else 200, Content_Length=len(content) - start, ETag=f'"{version}"', **more)
        self.wfile.write(content[start:][:upto])

    def pause(self, seconds):
        """Sleep, or end the answer when the server ends."""
        if self.server.ends.wait(seconds):
            raise ConnectionAbortedError

    def handle(self):
        try:
            super().handle()
        except ConnectionError:  # the client has seen enough
            self.close_connection = True

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    """A thread for each request, and an end that ends them all."""

    daemon_threads = False  # threads that are no daemons are waited for

    def __init__(self, answer):
        super().__init__(("127.0.0.1", 0), Request)
        self.answer, self.asked, self.connections, self.ends = answer, [], [], threading.Event()
        self.address = f"http://127.0.0.1:{self.server_port}/"

    def process_request(self, request, client_address):
        self.connections.append(request)
        super().process_request(request, client_address)

    def server_close(self):
        self.ends.set()
        for connection in self.connections:
            with suppress(OSError):  # it has ended
                connection.shutdown(socket.SHUT_RDWR)
        super().server_close()


@contextmanager
def server(answer):
    """The server while the block runs: ``address``, and ``asked``, a path and a range for each request."""
    running = Server(answer)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        with mock.patch.dict(os.environ, no_proxy="127.0.0.1"):
            yield running
    finally:
        running.shutdown()
        thread.join()
        running.server_close()
