"""The HTTP server with slow clients, in virtual time on streams in memory."""

import pytest
import trio
from trio.testing import MockClock, lockstep_stream_pair

from minikube.net.http_messages import HttpLimits, Reply, Request, error_reply
from minikube.net.http_server import serve_connection

BODY = b"x" * 1_000_000
SEND_S = 1.0


async def read_all(pause_s: float) -> bytes:
    """Return what a client receives of `BODY` that reads 16 KiB after each pause."""

    async def handler(request: Request) -> Reply:
        return Reply(200, BODY, "text/plain", (("Connection", "close"),))

    client, server = lockstep_stream_pair()
    limits = HttpLimits(send_s=SEND_S)
    got = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_connection, server, handler, lambda error: error_reply(500, str(error)), limits)
        await client.send_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while data := await client.receive_some(16_384):
            got += data
            await trio.sleep(pause_s)
    return got.partition(b"\r\n\r\n")[2]


async def test_a_slow_client_gets_the_whole_reply(autojump_clock: MockClock) -> None:
    """The time limit is for each piece, not for the whole reply."""
    assert await read_all(0.2) == BODY
    assert autojump_clock.current_time() > 10 * SEND_S


async def test_a_client_that_pauses_too_long_is_disconnected(autojump_clock: MockClock) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await read_all(SEND_S * 2)
    assert caught.group_contains(trio.BrokenResourceError, match="took nothing for 1 s")
