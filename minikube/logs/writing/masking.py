"""Secrets in output, replaced by `***`: also where they overlap, or have colours between their characters. Pure.

    mask = SecretMask(["hunter22"])
    mask.apply(b"it is hunter22")        b"it is ***"
    mask.safe_end(b"it is hunt")         6: what follows may be the beginning of a secret

Escape sequences are not seen while a secret is searched for, as a terminal does not show them.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

MASK = b"***"
SHORTEST_SECRET = 5
"""Shorter values are not masked: they would mask half of every line."""

_SEQUENCE = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]")
"""A control sequence of a terminal (ECMA-48, 5.4), such as a colour."""

_OPEN_SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*)?\Z")
"""A control sequence whose end has not been read yet."""


class _Text(NamedTuple):
    """Bytes without their escape sequences, and where each of them was in the original."""

    data: bytes
    starts: list[int]
    """Offsets in `data` at which escape sequences were left out."""
    removed: list[int]
    """The number of bytes that were left out up to each of `starts`."""

    def original(self, offset: int) -> int:
        """Return the original offset of the byte at `offset` in `data`."""
        return offset + self.removed[bisect_right(self.starts, offset) - 1]


def as_shown(data: bytes) -> bytes:
    """Return the data as a terminal shows it, without its escape sequences."""
    return _SEQUENCE.sub(b"", data) if b"\x1b" in data else data


def searched_forms(data: bytes) -> tuple[bytes, ...]:
    """Return the data in the forms in which a pattern is searched: as it is and, where that differs, as it is shown.

    Both have the same lines.
    """
    shown = as_shown(data)
    return (data,) if shown is data else (data, shown)


class SecretMask:
    """Masks secrets in bytes. Each line of a secret of several lines is a secret of its own."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        lines = (line for secret in secrets for line in secret.splitlines())
        found = {line.encode("utf-8", "surrogateescape") for line in lines if len(line) >= SHORTEST_SECRET}
        self._secrets = tuple(sorted(found))
        self.longest = max(map(len, self._secrets), default=0)
        """The length of the longest secret in bytes."""

    def apply(self, data: bytes) -> bytes:
        """Return `data` with every secret masked. Secrets that overlap become one mask, so that no part of one remains."""
        if not self._secrets:
            return data
        plain = as_shown(data)
        if not any(secret in plain for secret in self._secrets):
            return data
        text = _without_sequences(data)
        pieces, done = [], 0
        for start, end in self._spans(plain):
            first, last = text.original(start), text.original(end - 1) + 1
            # The colours inside of a secret go on after the mask: one of them may be the end of a colour.
            pieces += [data[done:first], MASK, *_SEQUENCE.findall(data[first:last])]
            done = last
        return b"".join((*pieces, data[done:]))

    def safe_end(self, data: bytes) -> int:
        """Return the offset up to which `data` may be cut off: before a secret, or escape sequence, that may not be complete."""
        cut = _OPEN_SEQUENCE.search(data)
        end = cut.start() if cut else len(data)
        if not self._secrets:
            return end
        text = _without_sequences(data[:end])
        tail = text.data[-self.longest :]
        held = max((_begun(secret, tail) for secret in self._secrets), default=0)
        if not held:
            return end
        hold = len(text.data) - held
        for start, stop in reversed(self._spans(text.data)):
            if start < hold < stop:  # a complete secret overlaps the one that has begun
                hold = start
        return text.original(hold)

    def _spans(self, data: bytes) -> list[tuple[int, int]]:
        """Return the places of all secrets in `data`, those that overlap or touch as one."""
        found = []
        for secret in self._secrets:
            at = data.find(secret)
            while at >= 0:
                found.append((at, at + len(secret)))
                at = data.find(secret, at + 1)
        spans: list[tuple[int, int]] = []
        for start, end in sorted(found):
            if spans and start <= spans[-1][1]:
                spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
            else:
                spans.append((start, end))
        return spans


def _without_sequences(data: bytes) -> _Text:
    parts, starts, removed = [], [0], [0]
    done = length = 0
    for match in _SEQUENCE.finditer(data) if b"\x1b" in data else ():
        parts.append(data[done : match.start()])
        length += match.start() - done
        done = match.end()
        starts.append(length)
        removed.append(done - length)
    return _Text(b"".join((*parts, data[done:])) if parts else data, starts, removed)


def _begun(secret: bytes, tail: bytes) -> int:
    """Return the length of the longest beginning of `secret`, but not all of it, with which `tail` ends."""
    for length in range(min(len(secret) - 1, len(tail)), 0, -1):
        if tail.endswith(secret[:length]):
            return length
    return 0
