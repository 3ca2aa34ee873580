"""HttpResponse: the same result however the bytes arrive, and never more than 4 KiB read."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikube.health.http_response import HttpResponse
from minikube.health.state import MAX_OUTPUT_BYTES

WHOLE = [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "200 OK: ok", True),
    (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nConnection: close\r\n\r\nok", 200, "200 OK: ok", False),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "200 OK: ok", False),
    (b"HTTP/1.1 204 No Content\r\n\r\n", 204, "204 No Content", True),
    (b"HTTP/1.1 503\r\nContent-Length: 0\r\n\r\n", 503, "503", True),
    (b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", 302, "302 Found", True),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", 200, "200 OK: x", True),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n1;a=b\r\n!\r\n0\r\n\r\n",
        200,
        "200 OK: ok!",
        True,
    ),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\nZ: 1\r\n\r\n", 200, "200 OK", True),
    (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 200, "200 OK: ok", True),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\xff\xfeA", 200, "200 OK: \ufffd\ufffdA", True),
]


@pytest.mark.parametrize(("wire", "status", "output", "reusable"), WHOLE)
@given(st.data())
def test_a_response_parses_the_same_in_any_pieces(
    wire: bytes, status: int, output: str, reusable: bool, data: st.DataObject
) -> None:
    cuts = data.draw(st.one_of(st.just(set(range(1, len(wire)))), st.sets(st.integers(1, len(wire) - 1))))
    response = HttpResponse()
    for begin, end in pairwise([0, *sorted(cuts), len(wire)]):
        assert not response.complete
        response.feed(wire[begin:end])
    assert (response.complete, response.status, response.output) == (True, status, output)
    assert response.reusable is reusable


def test_a_response_without_a_length_ends_with_the_connection() -> None:
    response = HttpResponse()
    response.feed(b"HTTP/1.1 200 OK\r\n\r\nhel")
    assert not response.complete
    response.feed(b"lo")
    response.feed(b"")
    assert response.complete
    assert not response.reusable
    assert response.output == "200 OK: hello"


@pytest.mark.parametrize("wire", [b"", b"HTTP/1.1 200 OK\r\n", b"HT"])
def test_a_connection_closed_before_a_response_raises_eof(wire: bytes) -> None:
    response = HttpResponse()
    if wire:
        response.feed(wire)
    with pytest.raises(EOFError):
        response.feed(b"")


@pytest.mark.parametrize(
    "wire", [b"SSH-2.0-x\r\n", b"HTTP/2 200\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 999 x\r\n\r\n"]
)
def test_bytes_that_are_no_http_are_refused(wire: bytes) -> None:
    with pytest.raises(ValueError, match=r"HTTP/1\.x"):
        HttpResponse().feed(wire)


def test_no_more_than_4_kib_is_read() -> None:
    response = HttpResponse()
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    response.feed(head)
    assert response.room == MAX_OUTPUT_BYTES - len(head)
    response.feed(b"x" * response.room)
    assert response.complete
    assert not response.reusable
    assert len(response.output.encode()) <= MAX_OUTPUT_BYTES


def test_the_status_of_a_head_longer_than_the_bound_is_read() -> None:
    response = HttpResponse()
    response.feed((b"HTTP/1.1 500 Oh\r\nX: " + b"x" * MAX_OUTPUT_BYTES)[:MAX_OUTPUT_BYTES])
    assert response.complete
    assert response.output == "500 Oh"


def test_interim_responses_count_toward_the_bound() -> None:
    """An endless stream of `100 Continue` is read no further than any other response."""
    response, read = HttpResponse(), 0
    stream = b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000
    while not response.complete:
        piece = stream[read : read + min(response.room, 1_000)]
        response.feed(piece)
        read += len(piece)
    assert read == MAX_OUTPUT_BYTES
    assert (response.status, response.output, response.reusable) == (100, "100 Continue", False)
