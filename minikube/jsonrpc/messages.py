"""Lines to JSON-RPC messages and back, both dialects (floor 1). Refuses to wait, see a clock, or know a method.

The dialect is a property of each message: `"jsonrpc": "2.0"` speaks 2.0, no such key speaks 1.0 as Go's
`net/rpc/jsonrpc` does (an error is a string, every request is answered, one without an id too). What cannot
be blamed on one message (a line that is no JSON, a refused connection) is answered in 2.0 form with a null id.

Strict: UTF-8 only, no NaN, no infinities, no lone surrogates, bounded nesting.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
REFUSED: Final = -32000
"""A bound of the server was passed: connections, time to the first line, size of an answer."""
UNAUTHORIZED: Final = -32001
NOT_FOUND: Final = -32004
STORE_UNAVAILABLE: Final = -32010
COMPACTED: Final = -32011

MAX_BATCH: Final = 256
MAX_NESTING: Final = 64

Params = list[Any] | dict[str, Any] | None
Dialect = Literal[1, 2]


class RpcError(Exception):
    """An error to be answered to the caller: what a method raises, and what decoding a bad request yields."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


class Request(Struct, frozen=True, gc=False):
    """One call. Decoded straight from the wire: `jsonrpc` is unset in dialect 1, `id` in a call that has none."""

    method: str
    params: Params = None
    id: int | str | float | UnsetType | None = UNSET
    jsonrpc: Literal["2.0"] | UnsetType = UNSET

    @property
    def dialect(self) -> Dialect:
        """1 or 2: how the answer is to be written."""
        return 1 if self.jsonrpc is UNSET else 2

    @property
    def is_notification(self) -> bool:
        """True when no answer may be sent: dialect 2 without an id."""
        return self.id is UNSET and self.jsonrpc is not UNSET


class UnusualIdRequest(Request, frozen=True, gc=False):
    """A dialect 1 request whose id is neither a number nor a string: echoed as it came, as Go's server does."""

    raw_id: bytes = b"null"


class InvalidRequest(Struct, frozen=True, gc=False):
    """A message that can be answered only with `error`, a whole line ready to send."""

    error: bytes


class Batch(Struct, frozen=True, gc=False):
    """A dialect 2 batch: its calls, and the answers already known for the elements that are none."""

    items: tuple[Request | InvalidRequest, ...]


Message = Request | InvalidRequest | Batch

_decode_request = msgspec.json.Decoder(Request).decode
_decode_any = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


_PLAIN_BYTES: Final = 2 * MAX_NESTING
"""A valid line of this length cannot nest too deep."""


def decode_request(line: bytes) -> Message:
    """Decode one line. Never raises: what is wrong comes back as `InvalidRequest`, its answer ready."""
    return _decode_one(line)


def decode_requests(lines: Sequence[bytes]) -> list[Message]:
    """Decode many lines, at least one; otherwise as `decode_request`. The common case runs without a loop in Python."""
    if max(map(len, lines)) <= _PLAIN_BYTES and b"".join(lines).isascii():
        try:
            return list(map(_decode_request, lines))
        except msgspec.DecodeError:
            pass
    return [_decode_one(line) for line in lines]


def _decode_one(line: bytes) -> Message:
    if len(line) <= _PLAIN_BYTES and line.isascii():
        try:
            return _decode_request(line)
        except msgspec.DecodeError:
            pass
    return _decode_carefully(line)


def _decode_carefully(line: bytes) -> Message:
    try:
        # The decoder skips the content of what it ignores; this refuses bad UTF-8 there too.
        line.decode("utf-8")
        value = _decode_any(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return InvalidRequest(encode_error(None, PARSE_ERROR, f"parse error: {error}"))
    except RecursionError:
        value = None
        deep = True
    else:
        deep = _is_deeper(value, MAX_NESTING)
    if deep:
        return InvalidRequest(
            encode_error(None, INVALID_REQUEST, f"invalid request: nested deeper than {MAX_NESTING} levels")
        )
    if isinstance(value, list):
        return _batch(value)
    return _request(value)


def _batch(values: list[Any]) -> Message:
    if not values:
        return InvalidRequest(encode_error(None, INVALID_REQUEST, "invalid request: the batch is empty"))
    if len(values) > MAX_BATCH:
        text = f"invalid request: a batch of {len(values)} calls; at most {MAX_BATCH} are taken at once"
        return InvalidRequest(encode_error(None, INVALID_REQUEST, text))
    return Batch(tuple(_request(value, in_batch=True) for value in values))


def _request(value: Any, *, in_batch: bool = False) -> Request | InvalidRequest:
    """Judge one decoded element and say what is wrong with it, in its own dialect."""
    if not isinstance(value, dict):
        return InvalidRequest(encode_error(None, INVALID_REQUEST, "invalid request: expected an object"))
    version = value.get("jsonrpc", UNSET)
    if version == "1.0" and not in_batch:
        version = UNSET  # some 1.0 clients name it
    if version != "2.0" and (in_batch or version is not UNSET):
        expected = 'expected "jsonrpc": "2.0"' + (" in every call of a batch" if in_batch else "")
        return InvalidRequest(encode_error(_answerable(value), INVALID_REQUEST, f"invalid request: {expected}"))
    id_ = value.get("id", UNSET)
    odd = isinstance(id_, bool | list | dict)
    if odd and version is not UNSET:
        return InvalidRequest(
            encode_error(None, INVALID_REQUEST, "invalid request: id must be a string, a number or null")
        )
    method, params = value.get("method"), value.get("params")
    plain_id = None if odd else id_
    request: Request = Request("", None, plain_id, version)
    if odd:
        request = UnusualIdRequest("", None, None, version, raw_id=_encode(id_))
    if not isinstance(method, str):
        return _refuse(request, "method must be a string")
    if params is not None and not isinstance(params, list | dict):
        return _refuse(request, "params must be an array or an object")
    return msgspec.structs.replace(request, method=method, params=params)


def _answerable(value: dict[str, Any]) -> Request:
    """A dialect 2 request with the id of a broken call, as far as it has a usable one."""
    id_ = value.get("id")
    return Request("", None, None if isinstance(id_, bool | list | dict) else id_, "2.0")


def _refuse(request: Request, why: str) -> InvalidRequest:
    if request.is_notification:
        # Not a valid notification, so it is answered: JSON-RPC 2.0, section 5, "Response object", id.
        request = msgspec.structs.replace(request, id=None)
    return InvalidRequest(encode_error(request, INVALID_REQUEST, f"invalid request: {why}"))


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, list | dict):
        return False
    if levels == 0:
        return True
    return any(_is_deeper(item, levels - 1) for item in (value.values() if isinstance(value, dict) else value))


# ---------------------------------------------------------------- answers


def splice_reply(request: Request, result: bytes) -> bytes:
    """The answer's line with `result`, JSON made earlier: a reply kept ready costs only this."""
    id_ = request.id
    if type(id_) is int and request.jsonrpc is UNSET:  # what Go sends, and so what has to be fast
        return b'{"id":%d,"result":%b,"error":null}\n' % (id_, result)
    raw_id = _raw_id(request)
    if request.jsonrpc is UNSET:
        return b'{"id":%b,"result":%b,"error":null}\n' % (raw_id, result)
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}\n' % (raw_id, result)


def encode_reply(request: Request, result: Any) -> bytes:
    """The answer's line. `result` is anything msgspec encodes; `Raw` goes in as it is."""
    return splice_reply(request, _encode(result))


class ReplyLine(bytes):
    """An answer's line that a method made itself."""


def mark_stale(line: bytes) -> ReplyLine:
    """The answer's line with `"stale":true` beside the result: from memory, while the store is away."""
    return ReplyLine(line[:-2] + b',"stale":true}\n')


def encode_error(request: Request | None, code: int, message: str, data: Any = None) -> bytes:
    """The error's line: an object in dialect 2, in dialect 1 a string. Without a request: dialect 2, null id."""
    if request is not None and request.jsonrpc is UNSET:
        # Go's client takes only a string, and an empty one for "unspecified error".
        return b'{"id":%b,"result":null,"error":%b}\n' % (_raw_id(request), _encode(message))
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    raw_id = b"null" if request is None else _raw_id(request)
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}\n' % (raw_id, _encode(error))


def join_batch(answers: Sequence[bytes]) -> bytes:
    """One line from the answers' lines of a batch; nothing when there are none (all were notifications)."""
    return b"[%b]\n" % b",".join(answer[:-1] for answer in answers) if answers else b""


def encode_notification(method: str, params: Any) -> bytes:
    """A dialect 2 notification's line. `params` may be `Raw`."""
    return b'{"jsonrpc":"2.0","method":%b,"params":%b}\n' % (_encode(method), _encode(params))


def _raw_id(request: Request) -> bytes:
    if isinstance(request, UnusualIdRequest):
        return request.raw_id
    return b"null" if request.id is UNSET else _encode(request.id)


# ---------------------------------------------------------------- the caller's side


class ErrorObject(Struct, frozen=True):
    """The error of a dialect 2 answer."""

    code: int
    message: str
    data: Any = None


class ServerMessage(Struct, frozen=True):
    """What a server sends: an answer (`id`, and `result` or `error`) or a notification (`method`, `params`)."""

    id: int | str | float | UnsetType | None = UNSET
    result: Raw | UnsetType = UNSET
    error: ErrorObject | str | None = None
    method: str = ""
    params: Raw | UnsetType = UNSET
    stale: bool = False
    """Answered from memory while the registry's store is away."""

    @property
    def is_notification(self) -> bool:
        """True for a message that answers nothing."""
        return bool(self.method)


_decode_incoming = msgspec.json.Decoder(ServerMessage).decode


def encode_request(id_: int | str | None, method: str, params: Any = (), dialect: Dialect = 2) -> bytes:
    """A call's line. In dialect 2 an id of None makes it a notification."""
    if dialect == 1:
        return b'{"method":%b,"params":%b,"id":%b}\n' % (_encode(method), _encode(params), _encode(id_))
    if id_ is None:
        return encode_notification(method, params)
    return b'{"jsonrpc":"2.0","method":%b,"params":%b,"id":%b}\n' % (_encode(method), _encode(params), _encode(id_))


def decode_reply(line: bytes) -> ServerMessage:
    """Decode a line from a server, either dialect. Raises ValueError when it is no answer and no notification."""
    try:
        if not line.isascii():
            line.decode("utf-8")
        incoming = _decode_incoming(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not a JSON-RPC answer: {error}") from None
    if not incoming.method and incoming.id is UNSET:
        raise ValueError("not a JSON-RPC answer: neither an id nor a method")
    return incoming
