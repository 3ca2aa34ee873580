"""The caller's half of a conversation (floor 1): calls out, answers and notifications in. Refuses to wait or connect.

One `ClientProtocol` lives as long as one connection. Every face of the SDK (trio, blocking, asyncio) talks through it.
"""

from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET, Raw

from minikube.errors import MinikubeError, NotFound, RemoteError, Unavailable, UsageError
from minikube.jsonrpc import messages as jsonrpc
from minikube.jsonrpc.lines import MAX_LINE_BYTES, LineReader, LineTooLong
from minikube.jsonrpc.messages import ServerMessage

MAX_ANSWER_BYTES: Final = 67_108_864
"""A snapshot of tens of thousands of instances is one line; past this the server is not one of ours."""

T = TypeVar("T")


class ConnectionLost(Unavailable):
    """There is no connection (any more). Unlike a time-out, connecting again and repeating the call may well work."""


class ClientProtocol:
    """Numbers calls, and cuts and decodes what comes back."""

    def __init__(self, max_line: int = MAX_ANSWER_BYTES) -> None:
        self.stale = False
        """Whether the last answer was from the registry's memory, its store being away."""
        self._refusal: ServerMessage | None = None
        self._last = 0
        self._reader = LineReader(max_line)

    def encode(self, method: str, params: Any = ()) -> tuple[int, bytes]:
        """The id and the line of a new call.

        Raises UsageError for one that is too long: the server would end the connection, with everybody else's calls.
        """
        self._last += 1
        line = jsonrpc.encode_request(self._last, method, params)
        if (size := len(line) - 1) > MAX_LINE_BYTES:
            raise UsageError(f"{method}: the call is {size:,} bytes, at most {MAX_LINE_BYTES:,} are taken — shorten it")
        return self._last, line

    def feed(self, data: bytes) -> list[ServerMessage]:
        """What `data` completes, in order. Raises ConnectionLost when it is not JSON-RPC: nothing can follow."""
        try:
            arrived = [jsonrpc.decode_reply(line) for line in self._reader.feed(data) if line]
        except (LineTooLong, ValueError) as error:
            raise ConnectionLost(f"the server does not speak JSON-RPC: {error}") from None
        for incoming in arrived:
            if not incoming.is_notification:
                self.stale = incoming.stale
            if incoming.id is None and incoming.error:
                self._refusal = incoming
        return arrived

    @property
    def refused(self) -> bool:
        """Whether the server has said that it is done with this connection, by an error that has no id: too many are
        open, too slow. What was asked and not answered never will be."""
        return self._refusal is not None

    def lost(self, text: str) -> Unavailable:
        """What to raise for a call that gets no answer, the connection being at its end: the server's own word where
        there was one, as Unavailable: another connection at once would be told the same. Else ConnectionLost with `text`."""
        said = error_of(self._refusal) if self._refusal else None
        return Unavailable(str(said)) if said else ConnectionLost(text)


def error_of(incoming: ServerMessage) -> MinikubeError | None:
    """The error that an answer carries, as the project's own; None for a good answer."""
    error = incoming.error
    if error is None:
        return (
            None if incoming.result is not UNSET else RemoteError(jsonrpc.INTERNAL_ERROR, "an answer without a result")
        )
    if isinstance(error, str):
        return RemoteError(jsonrpc.INTERNAL_ERROR, error)
    match error.code:
        case jsonrpc.NOT_FOUND:
            return NotFound(error.message)
        case jsonrpc.STORE_UNAVAILABLE:
            return Unavailable(error.message)
        case code:
            return RemoteError(code, error.message)


def result_of(incoming: ServerMessage, kind: type[T]) -> T:
    """The result as `kind`. Raises the error that the answer carries, or RemoteError for a result of another shape."""
    if error := error_of(incoming):
        raise error
    return decode_as(incoming.result, kind)


def decode_as(raw: Raw | Any, kind: type[T]) -> T:
    """Decode JSON as `kind`. Raises RemoteError when it is something else."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RemoteError(jsonrpc.INTERNAL_ERROR, f"an answer of another shape than expected: {error}") from None
