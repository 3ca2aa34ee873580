"""The client's side of a JSON-RPC connection without its socket: calls out, replies and notifications in. It never waits.

The SDK's clients for trio, threads and asyncio all use one `ClientProtocol` per connection.
"""

from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET, Raw

from minikube.errors import MinikubeError, NotFound, RemoteError, Unavailable, UsageError
from minikube.jsonrpc import messages as jsonrpc
from minikube.jsonrpc.lines import MAX_LINE_BYTES, LineReader, LineTooLong
from minikube.jsonrpc.messages import ServerMessage

MAX_REPLY_BYTES: Final = 67_108_864
"""Longest reply. A snapshot of tens of thousands of instances, all in one line, is shorter."""

T = TypeVar("T")


class ConnectionLost(Unavailable):
    """The connection is closed or could not be opened. A new connection may succeed."""


class ClientProtocol:
    """Encodes the calls of a client with increasing ids, and decodes the server's messages."""

    def __init__(self, max_line: int = MAX_REPLY_BYTES) -> None:
        self.stale = False
        """Whether the last reply came from the registry's memory because its store is unreachable."""
        self._refusal: ServerMessage | None = None
        self._last_id = 0
        self._reader = LineReader(max_line)

    def encode(self, method: str, params: Any = ()) -> tuple[int, bytes]:
        """Return the id and the line of a new call. Raise `UsageError` if the line is longer than a server accepts."""
        self._last_id += 1
        line = jsonrpc.encode_request(self._last_id, method, params)
        # Not left to the server: it would end the connection, and with it the calls of other tasks.
        if (size := len(line) - 1) > MAX_LINE_BYTES:
            raise UsageError(f"{method}: the call is {size:,} bytes, at most {MAX_LINE_BYTES:,} are taken — shorten it")
        return self._last_id, line

    def feed(self, data: bytes) -> list[ServerMessage]:
        """Return the messages in received bytes, in order; buffer an incomplete message for the next call.

        Raise `ConnectionLost` if they are not JSON-RPC: the connection cannot be used any more.
        """
        try:
            messages = [jsonrpc.decode_reply(line) for line in self._reader.feed(data) if line]
        except (LineTooLong, ValueError) as error:
            raise ConnectionLost(f"the server does not speak JSON-RPC: {error}") from None
        for message in messages:
            if not message.is_notification:
                self.stale = message.stale
            if message.id is None and message.error:
                self._refusal = message
        return messages

    @property
    def refused(self) -> bool:
        """Whether the server has ended the connection with an error that has no id, such as "too many connections".

        Pending calls get no reply then.
        """
        return self._refusal is not None

    def lost_error(self, text: str) -> Unavailable:
        """Return the error to raise for a call that gets no reply because the connection has ended.

        It is `ConnectionLost` with `text`, or `Unavailable` with the server's reason if the server has ended the
        connection: a new connection would be refused for the same reason, unless it was closed to make room for others.
        """
        reason = error_of(self._refusal) if self._refusal else None
        if isinstance(reason, RemoteError) and reason.code == jsonrpc.CLOSED_FOR_ROOM:
            return ConnectionLost(str(reason))
        return Unavailable(str(reason)) if reason else ConnectionLost(text)


def error_of(message: ServerMessage) -> MinikubeError | None:
    """Return the error of a reply as an error of `minikube.errors`, or None if the reply has a result."""
    error = message.error
    if error is None:
        has_result = message.result is not UNSET
        return None if has_result else RemoteError(jsonrpc.INTERNAL_ERROR, "the reply has no result")
    if isinstance(error, str):
        return RemoteError(jsonrpc.INTERNAL_ERROR, error)
    match error.code:
        case jsonrpc.NOT_FOUND:
            return NotFound(error.message)
        case jsonrpc.STORE_UNAVAILABLE:
            return Unavailable(error.message)
        case code:
            return RemoteError(code, error.message)


def result_of(message: ServerMessage, kind: type[T]) -> T:
    """Return the result of a reply decoded as the type `kind`. Raise the reply's error, or `RemoteError` if it does not fit."""
    if error := error_of(message):
        raise error
    return decode_as(message.result, kind)


def decode_as(raw: Raw | Any, kind: type[T]) -> T:
    """Return the JSON value decoded as the type `kind`. Raise `RemoteError` if it does not fit."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RemoteError(jsonrpc.INTERNAL_ERROR, f"the result has an unexpected type: {error}") from None
