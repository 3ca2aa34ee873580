"""Cutting bytes into lines: the pieces do not matter, and memory is limited."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikube.jsonrpc.lines import LineReader, LineTooLong


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def read(pieces: list[bytes], limit: int) -> tuple[list[bytes], bool]:
    reader, lines = LineReader(limit), []
    for piece in pieces:
        try:
            lines += reader.feed(piece)
        except LineTooLong as error:
            return lines + error.lines, True
    return lines, False


@given(
    st.binary(max_size=60).map(lambda b: b.replace(b"a", b"\n").replace(b"b", b"\r\n")), st.lists(st.integers(0, 99))
)
def test_the_lines_do_not_depend_on_the_pieces(data: bytes, places: list[int]) -> None:
    assert read(cut(data, places), 100) == read([data], 100)


@given(
    st.lists(st.sampled_from([b"", b"abc", b"abcd", b"abcde", b"abcd\r", b"\r", b"ab\rc"]), min_size=1, max_size=6),
    st.lists(st.integers(0, 99)),
)
def test_the_limit_does_not_depend_on_the_pieces(parts: list[bytes], places: list[int]) -> None:
    data = b"\n".join(parts) + b"\n"
    assert read(cut(data, places), 4) == read([data], 4)


def test_both_line_ends_are_accepted() -> None:
    assert LineReader().feed(b"one\r\ntwo\n\n") == [b"one", b"two", b""]


def test_only_one_carriage_return_belongs_to_the_line_end() -> None:
    assert LineReader().feed(b"one\r\r\n") == [b"one\r"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_line_of_exactly_the_limit_is_accepted(end: bytes) -> None:
    assert LineReader(4).feed(b"abcd" + end) == [b"abcd"]
    assert read([b"abcd", end[:1], end[1:]], 4) == ([b"abcd"], False)


def test_a_longer_line_raises_and_the_lines_before_it_are_kept() -> None:
    with pytest.raises(LineTooLong, match="longer than 4 bytes") as caught:
        LineReader(4).feed(b"ok\nabcde\nno\n")
    assert caught.value.lines == [b"ok"]


def test_a_line_without_an_end_raises_as_soon_as_it_exceeds_the_limit() -> None:
    reader = LineReader(4)
    assert reader.feed(b"ok\nabcd") == [b"ok"]
    assert reader.pending == 4
    with pytest.raises(LineTooLong):
        reader.feed(b"e")
    assert reader.pending <= 5
