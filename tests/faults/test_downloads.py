"""Downloads from servers that behave badly: each ends, with the right file or an error, and leaves nothing running."""

import gzip
import random
import threading
import time

import pytest

from dlnotes.data import DataError, web
from dlnotes.data.idx import Checksum, Content
from dlnotes.files import write_whole
from tests.leftovers import threads_left
from tests.loopback import server

NAME = "train-images-idx3-ubyte"
FILE = random.Random(0).randbytes(60_000)
PACKED = gzip.compress(FILE)
KNOWN = {Checksum(len(FILE), Content.of(FILE).sha256)}
PATIENCE = 0.3


# Each answers one request. The chance is that of the download: the same for all of its requests.


def drops(request, chance):
    request.send(PACKED, upto=chance.randrange(len(PACKED)))


def drops_without_ranges(request, chance):
    request.send(PACKED, ranges=False, upto=chance.randrange(len(PACKED)) if chance.random() < 0.5 else None)


def announces_too_little(request, chance):
    request.head(Content_Length=chance.randrange(len(PACKED)))
    request.wfile.write(PACKED)


def announces_too_much(request, chance):
    request.head(Content_Length=len(PACKED) + chance.randrange(1, 10**12))
    request.wfile.write(PACKED)


def announces_nonsense(request, chance):
    request.head(Content_Length=chance.choice(["many", "-5", "1e9", ""]))
    request.wfile.write(PACKED)


def sends_a_wrong_byte(request, chance):
    place = chance.randrange(len(FILE))
    request.send(gzip.compress(FILE[:place] + bytes([FILE[place] ^ 1 << chance.randrange(8)]) + FILE[place + 1 :]))


def breaks_a_packed_byte(request, chance):
    place = chance.randrange(10, len(PACKED))  # the first ten are a header with a date and a system in it
    request.send(PACKED[:place] + bytes([PACKED[place] ^ 1 << chance.randrange(8)]) + PACKED[place + 1 :])


def sends_a_page(request, chance):
    page = b"<!DOCTYPE html><html>" + b"Moved. " * chance.randrange(10_000)
    if request.start:  # as if it were the rest of the file
        request.head(206, Content_Length=len(page), Content_Range=f"bytes {request.start}-{10**6}/{10**6}")
        request.wfile.write(page)
    elif chance.random() < 0.5:
        request.send(PACKED, upto=chance.randrange(1, len(PACKED)))
    else:
        request.send(page)


def sends_another_range(request, chance):
    if not request.start:
        request.send(PACKED, upto=chance.randrange(1, len(PACKED)))
        return
    start = max(0, request.start - chance.randrange(1, 1_000))
    request.head(206, Content_Length=len(PACKED) - start, Content_Range=f"bytes {start}-{len(PACKED) - 1}/*")
    request.wfile.write(PACKED[start:])


def sends_for_ever(request, chance):
    request.head()
    while True:
        request.wfile.write(PACKED)


def unpacks_for_ever(request, chance):
    request.send(gzip.compress(bytes(chance.randrange(10**6, 10**8)), 1))


def stalls(request, chance):
    if chance.random() < 0.5:
        request.head(Content_Length=len(PACKED))
        request.wfile.write(PACKED[: chance.randrange(len(PACKED))])
    request.pause(60)


def drips(request, chance):
    request.head(Content_Length=len(PACKED))
    for place in range(len(PACKED)):
        request.wfile.write(PACKED[place : place + 1])
        request.pause(PATIENCE / 5)


def drips_its_headers(request, chance):
    request.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(10_000):
        request.wfile.write(b"X-%d: more\r\n" % number)
        request.pause(PATIENCE / 5)


def says_go_on_for_ever(request, chance):
    while True:
        request.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def drips_the_length_of_a_chunk(request, chance):
    request.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;")
    while True:
        request.wfile.write(b"x")
        request.pause(PATIENCE / 5)


def never_ends_its_trailers(request, chance):
    request.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
    while True:
        request.wfile.write(b"X: more\r\n")
        request.pause(PATIENCE / 5)


def answers_an_error(request, chance):
    request.send_error(chance.choice([403, 404, 410, 429, 500, 503]))


def redirects(request, chance):
    request.head(302, Location=chance.choice([request.path, "file:///etc/passwd", "http://127.0.0.1:1/", "//"]))


def speaks_no_http(request, chance):
    request.wfile.write(chance.randbytes(chance.randrange(1, 1_000)))


BEHAVIOURS = {
    name.__name__.replace("_", " "): name
    for name in (
        drops,
        drops_without_ranges,
        announces_too_little,
        announces_too_much,
        announces_nonsense,
        sends_a_wrong_byte,
        breaks_a_packed_byte,
        sends_a_page,
        sends_another_range,
        sends_for_ever,
        unpacks_for_ever,
        stalls,
        drips,
        drips_its_headers,
        says_go_on_for_ever,
        drips_the_length_of_a_chunk,
        never_ends_its_trailers,
        answers_an_error,
        redirects,
        speaks_no_http,
    )
}


def outcome(address, path):
    """What became of a download, within 10 seconds: the content, or the error."""
    found = []

    def attempt():
        try:
            content = web.fetch_file(path.name, [address], KNOWN)
            write_whole(path, content.unpacked)
            found.append(content)
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(10)
    assert found, "the download hangs"
    return found[0]


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_a_download_from_a_bad_server_ends_with_the_right_file_or_an_error(behaviour, faults, tmp_path, monkeypatch):
    monkeypatch.setattr(web, "PATIENCE", PATIENCE)
    monkeypatch.setattr(web, "SLOWEST", 10_000)
    path, right, before = tmp_path / NAME, 0, threading.enumerate()
    for chance in faults("downloads from bad servers, twenty kinds", few=1, all=20):
        mine = random.Random(f"{behaviour} {chance.random()}")
        with server(lambda request, mine=mine: BEHAVIOURS[behaviour](request, mine)) as bad:
            came = outcome(bad.address, path)
        if isinstance(came, Content):
            assert behaviour.startswith(("drops", "announces nonsense"))
            assert path.read_bytes() == FILE
            path.unlink()
            right += 1
        else:
            assert isinstance(came, DataError), repr(came)
        assert not list(tmp_path.iterdir())
        assert not threads_left(before)
    idle, spent = 0.1, time.process_time()
    time.sleep(idle)
    assert time.process_time() - spent < idle / 2, "something goes on in this process"
    assert right or not behaviour.startswith("drops"), "a line that drops is no reason to give up"
