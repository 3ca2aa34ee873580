"""Parse the part of an HTTP/1.x response that a probe needs: its status, its first 4 KiB, and where it ends. Pure.

It is not a general parser (h11 is): it accepts anything that begins with a status line and reads at most
`MAX_OUTPUT_BYTES`. Where the end of the response is uncertain, the connection is not reusable.
"""

import re

from minikube.health.state import MAX_OUTPUT_BYTES

_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: ([^\r\n]*))?\r?\n")
_HEAD_END = re.compile(rb"\r?\n\r?\n")


class HttpResponse:
    """Parses one HTTP/1.x response from received bytes. Call `feed` until it is `complete`."""

    def __init__(self) -> None:
        self.status = 0
        self.complete = False
        """Whether enough is received: the whole response, or as much of it as a probe reads."""
        self.reusable = False
        """Whether the connection can carry another request."""
        self._reason = ""
        self._buffer = b""
        self._room = MAX_OUTPUT_BYTES
        self._body_start = -1
        self._content_length = -1
        self._keep_alive = False
        self._chunked = False

    def feed(self, data: bytes) -> None:
        """Parse received bytes; `b""` means that the server closed the connection.

        Raises EOFError if the server closed it before a response, ValueError if the bytes are not an HTTP/1.x response.
        """
        if not data:
            if not self._parse_head():
                raise EOFError
            self.complete = True
            return
        self._buffer += data
        self._room -= len(data)
        is_full = self._room <= 0
        if not self._parse_head():
            if is_full and (self._read_status() or self.status):
                self.complete = True
            elif is_full or self._buffer[:7] != b"HTTP/1."[: len(self._buffer)]:
                raise ValueError("the answer is not HTTP/1.x")
            return
        if self._chunked:
            has_ended, is_exact = _decode_chunks(self._buffer[self._body_start :])[1:]
        else:
            received = len(self._buffer) - self._body_start
            has_ended, is_exact = 0 <= self._content_length <= received, received == self._content_length
        self.complete = has_ended or is_full
        self.reusable = has_ended and is_exact and self._keep_alive

    @property
    def room(self) -> int:
        """The number of bytes that may still be received, interim 1xx responses included."""
        return self._room

    @property
    def output(self) -> str:
        """The response as text, `200 OK: body`. Bytes that are not UTF-8 are replaced."""
        head = f"{self.status} {self._reason}".strip()
        body = self._buffer[self._body_start :] if self._body_start >= 0 else b""
        if self._chunked:
            body = _decode_chunks(body)[0]
        text = body[: MAX_OUTPUT_BYTES - len(head) - 2].decode("utf-8", "replace").strip()
        return f"{head}: {text}" if text else head

    def _read_status(self) -> re.Match[bytes] | None:
        match = _STATUS.match(self._buffer)
        if match is not None:
            self.status = int(match[2])
            self._reason = (match[3] or b"").decode("latin-1").strip()
        return match

    def _parse_head(self) -> bool:
        """Parse the head as soon as it is whole; return whether it is parsed. Skip 1xx responses (RFC 9110, 15.2)."""
        if self._body_start >= 0:
            return True
        end = _HEAD_END.search(self._buffer)
        if end is None:
            return False
        match = self._read_status()
        if match is None:
            raise ValueError("the answer is not HTTP/1.x")
        if 100 <= self.status < 200 and self.status != 101:
            self._buffer = self._buffer[end.end() :]
            return self._parse_head()
        self._read_headers(self._buffer[match.end() : end.start()], is_http11=match[1] == b"1")
        self._body_start = end.end()
        return True

    def _read_headers(self, block: bytes, *, is_http11: bool) -> None:
        self._keep_alive = is_http11
        for line in block.lower().split(b"\n"):
            name, _, value = line.partition(b":")
            name, value = name.strip(), value.strip()
            if name == b"content-length" and value.isdigit():
                self._content_length = int(value[:18])  # int() of a header of any length would take long
            elif name == b"transfer-encoding" and b"chunked" in value:
                self._chunked = True
            elif name == b"connection":
                self._keep_alive = b"close" not in value and (is_http11 or b"keep-alive" in value)
        if self.status in (204, 304):
            self._content_length, self._chunked = 0, False
        elif self._chunked:
            self._content_length = -1


def _decode_chunks(data: bytes) -> tuple[bytes, bool, bool]:
    """Decode a chunked body (RFC 9112, 7.1). Return the body so far, whether it ended, and whether `data` ends with it."""
    body = b""
    while True:
        line, newline, rest = data.partition(b"\r\n")
        size = line.partition(b";")[0].strip()
        if not newline or not re.fullmatch(rb"[0-9a-fA-F]{1,8}", size):
            return body, False, False
        length = int(size, 16)
        if length == 0:
            # Trailer fields may stand before the empty line that ends the body.
            end = 0 if rest.startswith(b"\r\n") else rest.find(b"\r\n\r\n") + 2
            return body, end != 1, end + 2 == len(rest)
        body += rest[:length]
        data = rest[length + 2 :]
