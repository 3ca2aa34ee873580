"""How the control API and the stream write JSON (floor 3): fast, and harmless to a terminal.

What others wrote (logs, names, errors) may carry characters that a terminal obeys: JSON escapes C0, and this escapes
DEL, C1 and the bidirectional ones too, so that the same text arrives and `curl` shows it safely. It refuses to change
any text, but for lone surrogates, which no UTF-8 can carry.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

_HIDDEN = re.compile(rb"\x7f|\xc2[\x80-\x9f]|\xd8\x9c|\xe2\x80[\x8e\x8f\xa8-\xae]|\xe2\x81[\xa6-\xa9]")
_encoder = msgspec.json.Encoder()


def encode(value: Any) -> bytes:
    """`value` as JSON in one line, without the line's end."""
    try:
        data = _encoder.encode(value)
    except UnicodeEncodeError:
        data = _encoder.encode(_mend(msgspec.to_builtins(value)))
    return _harmless(data)


def encode_lines(values: Sequence[Any]) -> bytes:
    """Each of `values` as JSON in a line of its own, with the line's end."""
    try:
        data = _encoder.encode_lines(values)
    except UnicodeEncodeError:
        return b"".join([encode(value) + b"\n" for value in values])
    return _harmless(data)


class EncodeCache:
    """Encodes an object once for many readers: the last `keep` different ones are remembered, by identity."""

    def __init__(self, make: Callable[[Any], bytes], keep: int = 8) -> None:
        self._make = make
        self._keep = keep
        self._made: dict[int, tuple[Any, bytes]] = {}

    def __call__(self, value: Any) -> bytes:
        known = self._made.get(id(value))
        if known is not None and known[0] is value:
            return known[1]
        data = self._make(value)
        if len(self._made) >= self._keep:
            del self._made[next(iter(self._made))]
        self._made[id(value)] = (value, data)
        return data


def _harmless(data: bytes) -> bytes:
    return data if data.isascii() and b"\x7f" not in data else _HIDDEN.sub(_escape, data)


def _escape(match: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % ord(match[0].decode())


def _mend(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_mend(key): _mend(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_mend(item) for item in value]
    return value
