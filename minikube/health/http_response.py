"""The part of an HTTP/1.x answer that a probe needs: the status, the first 4 KiB, and where it ends (floor 2, pure).

Not a general parser (h11 is): it takes whatever begins with a status line, never more than `MAX_OUTPUT_BYTES` in
all, and when the end of the answer is not plain it says that the connection cannot be used again.
"""

import re

from minikube.health.state import MAX_OUTPUT_BYTES

_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: ([^\r\n]*))?\r?\n")
_HEAD_END = re.compile(rb"\r?\n\r?\n")


class HttpResponse:
    """Feed it what arrives (b"" for the end); `complete` says when enough is known, `output` what to show."""

    def __init__(self) -> None:
        self.status = 0
        self.complete = False
        self.reusable = False
        self._reason = ""
        self._buffer = b""
        self._room = MAX_OUTPUT_BYTES
        self._body_at = -1
        self._length = -1
        self._keep = False
        self._chunked = False

    def feed(self, data: bytes) -> None:
        """Raises EOFError where the peer closed without an answer, ValueError where it is no HTTP answer."""
        if not data:
            if not self._head_done():
                raise EOFError
            self.complete = True
            return
        self._buffer += data
        self._room -= len(data)
        full = self._room <= 0
        if not self._head_done():
            if full and (self._read_status() or self.status):
                self.complete = True
            elif full or self._buffer[:7] != b"HTTP/1."[: len(self._buffer)]:
                raise ValueError("the answer is not HTTP/1.x")
            return
        if self._chunked:
            ended, exact = _chunks(self._buffer[self._body_at :])[1:]
        else:
            have = len(self._buffer) - self._body_at
            ended, exact = 0 <= self._length <= have, have == self._length
        self.complete = ended or full
        self.reusable = ended and exact and self._keep

    @property
    def room(self) -> int:
        """How many more bytes may be read: 1xx answers have used theirs up."""
        return self._room

    @property
    def output(self) -> str:
        """`200 OK: body`, for people: undecodable bytes are replaced."""
        head = f"{self.status} {self._reason}".strip()
        body = self._buffer[self._body_at :] if self._body_at >= 0 else b""
        if self._chunked:
            body = _chunks(body)[0]
        text = body[: MAX_OUTPUT_BYTES - len(head) - 2].decode("utf-8", "replace").strip()
        return f"{head}: {text}" if text else head

    def _read_status(self) -> re.Match[bytes] | None:
        match = _STATUS.match(self._buffer)
        if match is not None:
            self.status = int(match[2])
            self._reason = (match[3] or b"").decode("latin-1").strip()
        return match

    def _head_done(self) -> bool:
        """Parse the head once it is whole, skipping 1xx answers (RFC 9110 section 15.2)."""
        if self._body_at >= 0:
            return True
        end = _HEAD_END.search(self._buffer)
        if end is None:
            return False
        match = self._read_status()
        if match is None:
            raise ValueError("the answer is not HTTP/1.x")
        if 100 <= self.status < 200 and self.status != 101:
            self._buffer = self._buffer[end.end() :]
            return self._head_done()
        self._read_headers(self._buffer[match.end() : end.start()], http11=match[1] == b"1")
        self._body_at = end.end()
        return True

    def _read_headers(self, block: bytes, *, http11: bool) -> None:
        self._keep = http11
        for line in block.lower().split(b"\n"):
            name, _, value = line.partition(b":")
            name, value = name.strip(), value.strip()
            if name == b"content-length" and value.isdigit():
                self._length = int(value[:18])
            elif name == b"transfer-encoding" and b"chunked" in value:
                self._chunked = True
            elif name == b"connection":
                self._keep = b"close" not in value and (http11 or b"keep-alive" in value)
        if self.status in (204, 304):
            self._length, self._chunked = 0, False
        elif self._chunked:
            self._length = -1


def _chunks(data: bytes) -> tuple[bytes, bool, bool]:
    """The body so far of a chunked coding (RFC 9112 section 7.1), whether it ended, and whether exactly at the end."""
    body = b""
    while True:
        line, newline, rest = data.partition(b"\r\n")
        size = line.partition(b";")[0].strip()
        if not newline or not re.fullmatch(rb"[0-9a-fA-F]{1,8}", size):
            return body, False, False
        length = int(size, 16)
        if length == 0:
            end = 0 if rest.startswith(b"\r\n") else rest.find(b"\r\n\r\n") + 2  # trailer fields come before it
            return body, end != 1, end + 2 == len(rest)
        body += rest[:length]
        data = rest[length + 2 :]
