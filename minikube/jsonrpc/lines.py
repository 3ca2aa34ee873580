"""Bytes to lines, with a limit on their length. It only cuts: it does not read, wait or decode.

A line ends with `\\n`, and the last one with the stream; one `\\r` before it is dropped.
"""

MAX_LINE_BYTES = 65_536
"""Longest line that a server accepts, without its end (docs/registry.md, "Limits and errors of the protocol")."""


class LineTooLong(Exception):
    """Raised for a line longer than the limit. `lines` are the complete lines before it. The reader must not be used again."""

    def __init__(self, limit: int, lines: list[bytes]) -> None:
        super().__init__(f"line is longer than {limit} bytes")
        self.lines = lines


class LineReader:
    """Splits a stream of bytes into lines. It buffers at most one unfinished line, so its memory is limited."""

    __slots__ = ("_held", "_held_bytes", "max_line")

    def __init__(self, max_line: int = MAX_LINE_BYTES) -> None:
        self.max_line = max_line
        # Pieces are joined only when their line is complete, so that a line that arrives byte by byte costs linear time.
        self._held: list[bytes] = []
        self._held_bytes = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the complete lines, without newlines; buffer an unfinished one for the next call. Raise `LineTooLong`.

        The result does not depend on how the stream is split into calls.
        """
        lines = data.split(b"\n")
        rest = lines.pop()
        limit = self.max_line
        if not self._held and not rest and len(data) <= limit and b"\r" not in data:
            return lines  # the common case: whole lines that cannot be too long
        if lines and self._held:
            lines[0] = b"".join((*self._held, lines[0]))
            self._held.clear()
            self._held_bytes = 0
        for index, line in enumerate(lines):
            if line.endswith(b"\r"):
                lines[index] = line = line[:-1]
            if len(line) > limit:
                raise LineTooLong(limit, lines[:index])
        if rest:
            self._held.append(rest)
            self._held_bytes += len(rest)
            # A final `\r` may turn out to belong to the line's end, so it does not count yet.
            if self._held_bytes > limit and not (self._held_bytes == limit + 1 and rest.endswith(b"\r")):
                raise LineTooLong(limit, lines)
        return lines

    def finish(self) -> bytes:
        """Return the unfinished line at the end of the stream, empty if there is none. The reader is empty after it."""
        line = b"".join(self._held)
        self._held.clear()
        self._held_bytes = 0
        return line[:-1] if line.endswith(b"\r") else line

    @property
    def pending(self) -> int:
        """The number of buffered bytes of an unfinished line."""
        return self._held_bytes

    @property
    def pending_start(self) -> bytes:
        """The first received piece of the unfinished line; empty if there is none."""
        return self._held[0] if self._held else b""
