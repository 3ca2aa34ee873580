"""The end of a removed log file, whose last lines the next file may repeat. No trio.

The writing thread notices only after a write that its file was removed, and then writes the same lines to a new file.
"""

import os
from itertools import takewhile

from minikube.logs.blocks import BLOCK

SEARCHED = 4 * 1024 * 1024
"""Bytes at the end of the removed file that are searched for repeated lines: at most one write."""


class RemovedFile:
    """Keeps a removed file open, and finds its lines in the file after it. Must be closed.

    `offset` is where in the removed file the first line stands that is written again; -1 if it must be found.
    """

    def __init__(self, file: int, offset: int) -> None:
        self._file = os.dup(file)
        self._offset = offset

    def skip_repeated(self, following: int, offset: int) -> int:
        """Return the offset in the file `following` behind the lines that it repeats from `offset` on.

        Closes the removed file at the first line that is no repetition; lines that are not written yet may be one.
        """
        while self._file >= 0 and (data := os.pread(following, BLOCK, offset)):
            if self._offset < 0:
                self._offset = self._find(data)
            repeated = _common_lines(data, os.pread(self._file, len(data), self._offset))
            if repeated < len(data):
                self.close()
            self._offset += repeated
            offset += repeated
        return offset

    def close(self) -> None:
        """Close the removed file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _find(self, data: bytes) -> int:
        """Return the offset of the last lines of the removed file that `data` begins with; its size if there are none."""
        size = os.fstat(self._file).st_size
        start = max(size - SEARCHED, 0)
        tail, first = os.pread(self._file, SEARCHED, start), data[: data.find(b"\n") + 1]
        at = tail.find(first) if first else -1
        while at >= 0:
            is_line = at == 0 or tail[at - 1 : at] == b"\n"
            if is_line and data.startswith(tail[at : at + len(data)]):
                return start + at
            at = tail.find(first, at + 1)
        return size


def _common_lines(one: bytes, other: bytes) -> int:
    """Return the length of the complete lines with which both begin, or of all if they are equal."""
    if one == other:
        return len(one)
    pairs = zip(one.split(b"\n")[:-1], other.split(b"\n")[:-1], strict=False)
    return sum(len(line) + 1 for line, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
