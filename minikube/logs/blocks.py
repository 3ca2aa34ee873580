"""Blocks of a log's file (floor 3): forwards, backwards, and which of their lines are worth a look. No trio.

A block is whole lines without the last one's end. Taking a line apart costs a hundred times what looking through its bytes
does, so a query looks first. It refuses to decide: what is left out here is what the sieve would certainly not take.
"""

import os
from collections.abc import Iterator, Sequence

from minikube.logs.filter import LogFilter
from minikube.logs.format import OURS, texts_of, written_at

BLOCK = 65_536
"""Small enough that the thread which looks through one does not hold up the others."""


def sifted(block: bytes, sieve: LogFilter | None) -> tuple[list[bytes], Sequence[int]]:
    """The lines of a block, and the numbers of those that may be wanted. No lines where none is."""
    if sieve is None or not sieve.narrows:
        lines = block.split(b"\n")
        return lines, range(len(lines))
    if sieve.anywhere and not _has_json(block) and _is_utf8(block) and not sieve.is_in(block):
        return [], ()
    lines = block.split(b"\n")
    texts = texts_of(lines)
    if texts is None or not _is_utf8(texts):
        return lines, range(len(lines))
    found = sieve.suspects(texts)
    if sieve.levels and OURS.encode() in block:  # our own notices are warnings, whatever they say
        found = sorted({*found, *(number for number, line in enumerate(lines) if OURS.encode() in line)})
    return lines, found


def blocks_backwards(file: int, end: int) -> Iterator[tuple[int, bytes]]:
    """The whole lines before `end`, a block at a time with where it begins, the last one first."""
    at, data, whole = end, b"", False
    while at > 0:
        step = min(BLOCK, at)
        at -= step
        data = os.pread(file, step, at) + data
        if not whole:
            cut = data.rfind(b"\n")
            if cut < 0:
                data = b""
                continue
            data, whole = data[:cut], True
        begin = data.find(b"\n") + 1 if at else 0
        if at and not begin:
            continue
        yield at + begin, data[begin:]
        data = data[: begin - 1] if begin else b""


def offset_of(file: int, since: float) -> int:
    """Where a line begins that is not after the first one written at `since`, and close before it."""
    low, high = 0, os.fstat(file).st_size
    while since and high - low > BLOCK:
        middle = (low + high) // 2
        data = os.pread(file, BLOCK, middle)
        begin = data.find(b"\n") + 1
        stamp = written_at(data[begin : begin + 64]) if begin else 0.0
        if 0 < stamp < since:
            low = middle + begin
        else:
            high = middle
    return low


def count_lines(file: int, start: int) -> int:
    """The ends of lines from `start` on."""
    count = 0
    while data := os.pread(file, 16 * BLOCK, start):
        count += data.count(b"\n")
        start += len(data)
    return count


def _has_json(block: bytes) -> bool:
    """Whether a line may be JSON, or its text: what is looked for may then be written in another way."""
    return block.startswith(b"{") or b"\n{" in block or b" {" in block


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
