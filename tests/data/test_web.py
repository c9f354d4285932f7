"""Fetching a file from a server on loopback: where the line drops, mirrors, and what is said of each that fails."""

import gc
import gzip
import random
import warnings

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


@pytest.mark.parametrize("elsewhere", ["", "file:///etc/passwd"])
def test_an_answer_that_is_an_error_leaves_no_connection_open(fetch, elsewhere):
    with server(lambda request: request.head(302, Location=elsewhere or request.path)) as redirecting:
        with warnings.catch_warnings(record=True) as left:
            warnings.simplefilter("always", ResourceWarning)
            with pytest.raises(DataError, match="302"):
                fetch(redirecting.address)
            gc.collect()
        assert not [str(one.message) for one in left]
