"""The part of an HTTP answer that a probe reads: right however it arrives, and never more than 4 KiB of it."""

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
def test_an_answer_is_the_same_in_any_pieces(
    wire: bytes, status: int, output: str, reusable: bool, data: st.DataObject
) -> None:
    answer = HttpResponse()
    at = 0
    while at < len(wire):
        assert not answer.complete
        step = data.draw(st.integers(1, len(wire) - at))
        answer.feed(wire[at : at + step])
        at += step
    assert (answer.complete, answer.status, answer.output) == (True, status, output)
    assert answer.reusable is reusable


def test_without_a_length_the_end_is_the_end_of_the_connection() -> None:
    answer = HttpResponse()
    answer.feed(b"HTTP/1.1 200 OK\r\n\r\nhel")
    assert not answer.complete
    answer.feed(b"lo")
    answer.feed(b"")
    assert answer.complete
    assert not answer.reusable
    assert answer.output == "200 OK: hello"


@pytest.mark.parametrize("wire", [b"", b"HTTP/1.1 200 OK\r\n", b"HT"])
def test_closed_before_an_answer(wire: bytes) -> None:
    answer = HttpResponse()
    if wire:
        answer.feed(wire)
    with pytest.raises(EOFError):
        answer.feed(b"")


@pytest.mark.parametrize(
    "wire", [b"SSH-2.0-x\r\n", b"HTTP/2 200\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 999 x\r\n\r\n"]
)
def test_what_is_no_http(wire: bytes) -> None:
    with pytest.raises(ValueError, match=r"HTTP/1\.x"):
        HttpResponse().feed(wire)


def test_no_more_than_4_kib_is_read() -> None:
    answer = HttpResponse()
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    answer.feed(head)
    assert answer.room == MAX_OUTPUT_BYTES - len(head)
    answer.feed(b"x" * answer.room)
    assert answer.complete
    assert not answer.reusable
    assert len(answer.output.encode()) <= MAX_OUTPUT_BYTES


def test_a_head_beyond_the_bound_still_tells_its_status() -> None:
    answer = HttpResponse()
    answer.feed((b"HTTP/1.1 500 Oh\r\nX: " + b"x" * MAX_OUTPUT_BYTES)[:MAX_OUTPUT_BYTES])
    assert answer.complete
    assert answer.output == "500 Oh"


def test_answers_before_the_answer_are_counted_too() -> None:
    """A stream of `100 Continue` without an end is read no further than any other answer."""
    answer, read = HttpResponse(), 0
    stream = b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000
    while not answer.complete:
        piece = stream[read : read + min(answer.room, 1_000)]
        answer.feed(piece)
        read += len(piece)
    assert read == MAX_OUTPUT_BYTES
    assert (answer.status, answer.output, answer.reusable) == (100, "100 Continue", False)
