"""A fast path for lookups: finds and answers the calls of a whole receive without decoding them.

Go's `net/rpc/jsonrpc` always sends a lookup in the same bytes, but for the name and the id. A regular expression finds them,
and the replies are joined, without a Python loop: 0.5 µs per call of many, instead of 1.2 µs; 1.2 µs for a single call,
instead of 2.8 µs.

It refuses to handle any other spelling: those calls take the normal path, which replies with the same bytes. A test checks
that both paths agree.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import chain, repeat


class FastGetMatcher:
    """Recognizes JSON-RPC 1.0 calls of one method with one parameter, a service name, without decoding JSON."""

    def __init__(self, method: str) -> None:
        self._start = b'{"method":"%b","params":["' % method.encode("ascii")
        # Only names and ids that have a single spelling: no escapes, no leading zeros, no id beyond an int64.
        line = rb'^%b([a-z0-9-]{1,63})"\],"id":(0|[1-9][0-9]{0,17})\}\n' % re.escape(self._start)
        self._match = re.compile(line).fullmatch
        self._find = re.compile(line, re.MULTILINE).findall

    def match_one(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Return the service name and the call's id (as JSON) if `data` is exactly one such call, else None."""
        match = self._match(data)
        return None if match is None else match.group(1, 2)  # type: ignore[return-value]

    def match_all(self, data: bytes) -> tuple[Sequence[bytes], Sequence[bytes]] | None:
        """Return the service names and the ids of all calls, in order, if `data` consists of one or more such calls; else None."""
        if not data.startswith(self._start) or not data.endswith(b"\n"):
            return None
        calls = self._find(data)
        # Each match is a whole line with its end: if there are as many as line ends, there is nothing else in `data`.
        if len(calls) != data.count(b"\n"):
            return None
        names, ids = zip(*calls, strict=True)
        return names, ids


def format_reply(id_: bytes, result: bytes) -> bytes:
    """Return the reply line: the same bytes as those of `messages.splice_reply`."""
    return b'{"id":%b,"result":%b,"error":null}\n' % (id_, result)


def format_replies(ids: Iterable[bytes], results: Iterable[bytes]) -> bytes:
    """Return the reply lines, each as `format_reply` makes it, joined."""
    replies = zip(repeat(b'{"id":'), ids, repeat(b',"result":'), results, repeat(b',"error":null}\n'), strict=False)
    return b"".join(chain.from_iterable(replies))
