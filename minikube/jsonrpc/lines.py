"""Bytes to lines, bounded (floor 1). Refuses to read, wait or decode: it only cuts.

A line ends with `\\n`; one `\\r` before it is dropped. Memory held is at most one unfinished line of
`max_line` bytes: a peer that sends more without an end is refused, whatever the pieces it arrives in.
"""

MAX_LINE_BYTES = 65_536
"""The longest line (docs/registry.md, "Limits and errors of the protocol"), counted without its end."""


class LineTooLong(Exception):
    """A line passed the bound. The reader is of no use afterwards; `lines` are the whole ones before it."""

    def __init__(self, limit: int, lines: list[bytes]) -> None:
        super().__init__(f"line is longer than {limit} bytes")
        self.lines = lines


class LineReader:
    """Cuts a stream of bytes into lines. However the stream is split, the lines are the same."""

    __slots__ = ("_held", "_held_bytes", "max_line")

    def __init__(self, max_line: int = MAX_LINE_BYTES) -> None:
        self.max_line = max_line
        self._held: list[bytes] = []
        self._held_bytes = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that `data` completes, without their ends. Raises LineTooLong."""
        lines = data.split(b"\n")
        rest = lines.pop()
        longest = self.max_line
        if not self._held and not rest and len(data) <= longest and b"\r" not in data:
            return lines  # the common case: whole lines, none of which can be too long
        if lines and self._held:
            lines[0] = b"".join((*self._held, lines[0]))
            self._held.clear()
            self._held_bytes = 0
        # Pieces are kept in a list and joined once: a line that trickles in byte by byte stays linear.
        for index, line in enumerate(lines):
            if line.endswith(b"\r"):
                lines[index] = line = line[:-1]
            if len(line) > longest:
                raise LineTooLong(longest, lines[:index])
        if rest:
            self._held.append(rest)
            self._held_bytes += len(rest)
            # A `\r` may still turn out to belong to the end.
            if self._held_bytes > longest and not (self._held_bytes == longest + 1 and rest.endswith(b"\r")):
                raise LineTooLong(longest, lines)
        return lines

    @property
    def pending(self) -> int:
        """Bytes held of an unfinished line."""
        return self._held_bytes
