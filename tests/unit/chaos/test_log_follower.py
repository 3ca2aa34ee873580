"""Which lines a follower of a log lacks."""

from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.log_follower import LATE_S, LineCounter


def lost(*lines: str) -> list[str]:
    counter = LineCounter()
    for line in lines:
        counter.feed(line.encode(), 0)
    assert counter.lost(LATE_S) == []
    found = [text for text, _ in counter.lost(LATE_S + 1)]
    assert counter.lost(2 * LATE_S) == []
    return found


def test_a_gap_is_named_and_a_notice_allows_one() -> None:
    assert lost("flood | line 7 of 3", "flood | line 8 of 3", "flood | line 11 of 3") == ["lines 9 to 10 of pid 3"]
    assert lost("line 7 of 3", "2 lines were dropped", "line 10 of 3", "line 12 of 3") == ["lines 11 to 11 of pid 3"]


def test_the_next_process_begins_with_its_first_line() -> None:
    assert lost("line 7 of 3", "line 1 of 4", "line 2 of 4") == []
    assert lost("line 7 of 3", "line 2 of 4") == ["lines 1 to 1 of pid 4"]


def test_a_follower_that_begins_again_begins_anywhere() -> None:
    counter = LineCounter()
    counter.feed(b"line 7 of 3", 0)
    counter.restart()
    counter.feed(b"line 90 of 3", 0)
    counter.feed(b"line 92 of 3", 1)
    assert counter.lost(9) == [("lines 91 to 91 of pid 3", 1)]
    counter.restart()
    counter.feed(b"line 92 of 3", 10)
    assert counter.repeated == 0, "the last line, with which it begins"
    counter.feed(b"line 92 of 3", 10)
    assert counter.repeated == 1


@given(st.permutations(range(1, 9)), st.lists(st.integers(1, 8)))
def test_lines_that_come_late_or_twice_are_not_lost(order: list[int], again: list[int]) -> None:
    counter = LineCounter()
    for number in (1, *order, *again):
        counter.feed(f"line {number} of 3".encode(), 0)
    assert counter.lost(100) == []
    assert counter.repeated == 1 + len(again)
