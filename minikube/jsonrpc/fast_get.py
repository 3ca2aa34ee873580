"""The calls that have to be fast, found in the bytes of a whole receive (floor 1). Refuses everything else.

What Go's `net/rpc/jsonrpc` sends to look up a name is always the same but for the name and the number: nothing has
to be decoded to know it, and nothing encoded to answer it. All of a receive is taken in one go without a loop in
Python: 0.5 µs a call, where decoding and answering each takes 1.2 µs; one alone 1.2 µs instead of 2.8.

A shortcut, not a dialect: whatever is taken here, `jsonrpc` takes too and answers with the same bytes. A test holds that.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import chain, repeat


class FastGetMatcher:
    """Finds the dialect 1 calls of one method with one plain word."""

    def __init__(self, method: str) -> None:
        self._start = b'{"method":"%b","params":["' % method.encode("ascii")
        # Words and numbers that have one spelling only: no escapes, no leading zeros, nothing beyond an int64.
        line = rb'^%b([a-z0-9-]{1,63})"\],"id":(0|[1-9][0-9]{0,17})\}\n' % re.escape(self._start)
        self._match = re.compile(line).fullmatch
        self._find = re.compile(line, re.MULTILINE).findall

    def find_one(self, data: bytes) -> tuple[bytes, bytes] | None:
        """The word and the id, where `data` is one such call and nothing else."""
        match = self._match(data)
        return None if match is None else match.group(1, 2)  # type: ignore[return-value]

    def find(self, data: bytes) -> tuple[Sequence[bytes], Sequence[bytes]] | None:
        """The words and the ids of the calls, in order; None unless `data` is whole lines of such calls, and at least one.

        A match is a whole line with its end, so as many matches as line ends leave room for nothing else.
        """
        if not data.startswith(self._start) or not data.endswith(b"\n"):
            return None
        calls = self._find(data)
        if len(calls) != data.count(b"\n"):
            return None
        words, ids = zip(*calls, strict=True)
        return words, ids


def format_reply(id_: bytes, result: bytes) -> bytes:
    """The answer's line, as `jsonrpc.splice_reply` writes it."""
    return b'{"id":%b,"result":%b,"error":null}\n' % (id_, result)


def format_replies(ids: Iterable[bytes], results: Iterable[bytes]) -> bytes:
    """The answers' lines, as `jsonrpc.splice_reply` writes each."""
    replies = zip(repeat(b'{"id":'), ids, repeat(b',"result":'), results, repeat(b',"error":null}\n'), strict=False)
    return b"".join(chain.from_iterable(replies))
