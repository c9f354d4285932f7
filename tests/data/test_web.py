"""Fetching a file from a server on loopback: where the line drops, mirrors, and what is said of each that fails."""

import gc
import gzip
import random
import socket
import sys
import threading
import time
import warnings
from contextlib import closing, contextmanager

import pytest

from dlnotes.data import DataError, web
from dlnotes.data.idx import Checksum, Content
from tests.loopback import server

NAME = "train-images-idx3-ubyte"
FILE = random.Random(0).randbytes(200_000)
PACKED = gzip.compress(FILE)
KNOWN = {Checksum(len(FILE), Content.of(FILE).sha256)}


@pytest.fixture
def fetch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *addresses: web.fetch_file(NAME, addresses, KNOWN)


def test_what_comes_is_the_unpacked_file_and_nothing_is_written(fetch, tmp_path):
    with server(lambda request: request.send(PACKED)) as healthy:
        assert fetch(healthy.address) == Content.of(FILE)
    assert healthy.asked == [(f"/{NAME}.gz", None)]
    assert not list(tmp_path.iterdir())


def test_a_line_that_drops_is_taken_up_where_it_broke_and_no_byte_is_sent_twice(fetch):
    with server(lambda request: request.send(PACKED, upto=50_000)) as dropping:
        assert fetch(dropping.address) == Content.of(FILE)
    assert [asked for _, asked in dropping.asked] == [
        None,
        "bytes=50000-",
        "bytes=100000-",
        "bytes=150000-",
        "bytes=200000-",
    ]


def test_a_server_without_ranges_begins_again(fetch):
    def answer(request):
        request.send(PACKED, ranges=False, upto=None if request.start else 70_000)

    with server(answer) as simple:
        assert fetch(simple.address) == Content.of(FILE)
    assert len(simple.asked) == 2


def test_the_rest_of_another_file_is_not_put_behind_the_beginning_of_one(fetch):
    other = gzip.compress(FILE[::-1])

    def answer(request):
        if request.start:
            request.send(PACKED, version="2")
        else:
            request.send(other, upto=70_000, version="1")

    with server(answer) as changing:
        assert fetch(changing.address) == Content.of(FILE)
    assert len(changing.asked) == 2


def test_a_server_that_does_not_say_which_state_of_the_file_it_sends_begins_again(fetch):
    def answer(request):
        first = len(nameless.asked) == 1
        request.head(Content_Length=len(PACKED), ETag='W/"weak"')
        request.wfile.write(PACKED[: 70_000 if first else None])

    with server(answer) as nameless:
        assert fetch(nameless.address) == Content.of(FILE)
    assert [asked for _, asked in nameless.asked] == [None, None]


def test_a_server_that_says_no_length_is_believed_when_the_checksum_fits(fetch):
    def answer(request):
        request.head()
        request.wfile.write(PACKED)

    with server(answer) as silent:
        assert fetch(silent.address) == Content.of(FILE)


def test_a_mirror_that_has_another_file_is_passed_over(fetch):
    with (
        server(lambda request: request.send(b"<html>Moved</html>")) as moved,
        server(lambda request: request.send(PACKED)) as healthy,
    ):
        assert fetch(moved.address, healthy.address) == Content.of(FILE)
    assert len(moved.asked) == len(healthy.asked) == 1


def test_where_all_mirrors_fail_it_is_said_of_each_what_came(fetch):
    with (
        server(lambda request: request.send(b"<html>Moved</html>")) as moved,
        server(lambda request: request.send_error(404)) as gone,
        server(lambda request: request.send(gzip.compress(FILE[::-1]))) as other,
    ):
        addresses = [one.address for one in (moved, gone, other)]
        with pytest.raises(DataError) as refusal:
            fetch(*addresses)
    first, *lines = str(refusal.value).splitlines()
    assert first == f"{NAME} could not be downloaded"
    for address, words in zip(addresses, ("it is a web page", "404 Not Found", "is damaged"), strict=True):
        assert any(line.startswith(f"  {address}{NAME}.gz: ") and words in line for line in lines)


def test_a_server_that_is_not_there_is_a_data_error(fetch):
    with server(None) as closed:
        pass
    with pytest.raises(DataError, match="refused"):
        fetch(closed.address)


def test_a_line_that_always_drops_is_given_up(fetch, monkeypatch):
    monkeypatch.setattr(web, "CONNECTIONS", 3)
    with (
        server(lambda request: request.send(PACKED, upto=100)) as dropping,
        pytest.raises(DataError, match="dropped 3 times, the last time after 300 bytes"),
    ):
        fetch(dropping.address)
    assert len(dropping.asked) == 3


def test_a_rest_that_begins_elsewhere_is_refused(fetch):
    def answer(request):
        if not request.start:
            request.send(PACKED, upto=1_000)
        else:
            request.head(206, Content_Length=len(PACKED) - 999, Content_Range=f"bytes 999-{len(PACKED) - 1}/*")
            request.wfile.write(PACKED[999:])

    with (
        server(answer) as confused,
        pytest.raises(DataError, match="asked for the bytes from 1,000 on, the server sends others"),
    ):
        fetch(confused.address)


def test_more_than_the_file_can_have_is_not_received(fetch):
    def announced(request):
        request.head(Content_Length=300_000)
        request.wfile.write(PACKED)

    def unannounced(request):
        request.head()
        request.wfile.write(PACKED * 2)

    for answer, words in ((announced, "the server announces 300,000"), (unannounced, "the server sends more")):
        with server(answer) as endless, pytest.raises(DataError, match=f"expected at most 203,024 bytes, .*{words}"):
            fetch(endless.address)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda request: request.head(302, Location=request.path), "302"),
        (lambda request: request.head(302, Location="file:///etc/passwd"), "302"),
        (lambda request: request.head(404, Content_Length=10**6), "404"),  # with a page that does not come
    ],
)
def test_an_answer_that_is_an_error_leaves_no_connection_open(fetch, answer, said):
    with server(answer) as refusing:
        with warnings.catch_warnings(record=True) as left:
            warnings.simplefilter("always", ResourceWarning)
            with pytest.raises(DataError, match=said):
                fetch(refusing.address)
            gc.collect()
        assert not [str(one.message) for one in left]


def test_the_page_of_a_redirect_is_not_read(fetch):
    """It may be endless, and urllib keeps it all in memory."""
    sent = []

    def answer(request):
        if request.path.startswith("/sound/"):
            request.send(PACKED)
            return
        request.head(302, Location=f"/sound/{NAME}.gz")
        for _ in range(1_000):
            request.wfile.write(bytes(1 << 16))
            sent.append(1 << 16)

    with server(answer) as redirecting:
        assert fetch(redirecting.address) == Content.of(FILE)
    assert sum(sent) < 20_000_000, "more than the system itself takes in"


@pytest.mark.parametrize("elsewhere", ["file:///etc/passwd", "ftp://127.0.0.1/", "data:,text"])
def test_a_redirect_leads_to_the_web_or_nowhere(fetch, elsewhere):
    with (
        server(lambda request: request.head(302, Location=elsewhere)) as redirecting,
        pytest.raises(DataError, match=r"302|unknown url type"),
    ):
        fetch(redirecting.address)


def test_a_proxy_of_the_environment_is_used(fetch, monkeypatch):
    with server(lambda request: request.send(PACKED)) as proxy:
        monkeypatch.setenv("http_proxy", proxy.address)
        assert fetch("http://no-such-host.invalid/") == Content.of(FILE)
    assert proxy.asked == [(f"http://no-such-host.invalid/{NAME}.gz", None)]


# ----------------------------------------------------------------------------------------------------------------
# Giving up
# ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def patience(monkeypatch):
    """So little of it that a test does not last, and sockets that wait for ever: a thread ends if its line is cut."""
    monkeypatch.setattr(web, "PATIENCE", 0.2)
    monkeypatch.setattr(web, "PARTING", 30.0)
    monkeypatch.setattr(socket.socket, "settimeout", lambda *_: None)


def downloading():
    return [thread for thread in threading.enumerate() if thread.name.startswith("download of ")]


@contextmanager
def a_full_house():
    """The address of a server that accepts no connection, and has no room for one more that waits."""
    with closing(socket.socket()) as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for guest in waiting:
            guest.setblocking(False)
            guest.connect_ex(busy.getsockname())
        time.sleep(0.05)
        yield f"http://127.0.0.1:{busy.getsockname()[1]}/"
        for guest in waiting:
            guest.close()


def goes_on_for_ever(request):
    while True:
        request.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def redirects_when_it_is_too_late(request):
    if request.path.endswith("/late"):
        request.send(PACKED)
    else:
        request.server.ends.wait(1)
        request.head(302, Location="/late")


def sends_a_byte_now_and_then(request):
    request.head()
    while True:
        request.wfile.write(b"x")
        request.pause(0.05)


def says_nothing(request):
    request.pause(60)


@pytest.mark.parametrize(
    "answer", [goes_on_for_ever, redirects_when_it_is_too_late, sends_a_byte_now_and_then, says_nothing]
)
def test_giving_up_ends_the_thread_that_reads(fetch, patience, answer):
    with server(answer) as bad:
        with pytest.raises(DataError, match="less than 1,000 bytes a second"):
            fetch(bad.address)
        assert not downloading()
    assert len(bad.asked) == 1


def test_giving_up_ends_the_thread_that_connects(fetch, patience):
    if sys.platform != "linux":
        pytest.skip("elsewhere nothing but the clock of the socket ends it")
    with a_full_house() as address, pytest.raises(DataError, match="less than 1,000 bytes a second"):
        fetch(address)
    assert not downloading()


def test_giving_up_ends_the_thread_that_agrees_on_a_cipher(fetch, patience):
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:  # the system accepts for it
        address = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(DataError, match="less than 1,000 bytes a second"):
            fetch(address)
    assert not downloading()


def test_a_name_that_is_found_too_late_is_not_connected_to(fetch, monkeypatch):
    monkeypatch.setattr(web, "PATIENCE", 0.1)
    monkeypatch.setattr(web, "PARTING", 0.1)
    found = threading.Event()
    with server(lambda request: request.send(PACKED)) as late:

        def look_up(*_, **__):
            found.wait(60)
            return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", late.server_port))]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        with pytest.raises(DataError, match="less than 1,000 bytes a second"):
            fetch("http://slow-to-find.invalid/")
        (thread,) = downloading()  # nothing but the name server can end this
        found.set()
        thread.join(10)
        assert not thread.is_alive()
        assert not late.connections


def test_ctrl_c_ends_the_download(fetch, patience, monkeypatch):
    def interrupted(thread, seconds=None, join=threading.Thread.join):
        if thread in downloading() and not pressed:
            join(thread, 0.1)
            pressed.append(True)
            raise KeyboardInterrupt
        join(thread, seconds)

    pressed = []
    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with server(says_nothing) as silent:
        with pytest.raises(KeyboardInterrupt):
            fetch(silent.address)
        assert not downloading()
