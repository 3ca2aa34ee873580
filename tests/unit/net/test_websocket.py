"""The websocket's handshake on connections that fail."""

import logging

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from minikube.net import http_server as http
from minikube.net import websocket
from minikube.net.http_messages import HttpLimits, Request, Upgrade
from minikube.net.websocket import open_frame_socket

HANDSHAKE = b"GET / HTTP/1.1\r\nHost: localhost\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"


async def stream_to(request: Request) -> Upgrade:
    async def run(stream: trio.abc.Stream, trailing: bytes) -> None:
        async with open_frame_socket(stream, request, trailing):
            raise AssertionError("nobody is there")

    return Upgrade(run)


class Stalled(trio.abc.Stream):
    """A stream that takes a few bytes of the second send, and then nothing."""

    def __init__(self) -> None:
        self.taken = b""
        self.sends = 0

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.sends += 1
        self.taken += bytes(data[:4] if self.sends == 2 else data)
        if self.sends == 2:
            await trio.sleep_forever()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def test_no_close_frame_follows_a_part_of_a_frame(autojump_clock: MockClock) -> None:
    """The client would take it for the rest of the frame."""
    stream = Stalled()
    request = Request("GET", "/", headers=(("sec-websocket-key", "MDEyMzQ1Njc4OWFiY2RlZg=="),))
    async with open_frame_socket(stream, request) as socket:
        await socket.send_frame(websocket.text_frame(b"hello"))
    assert stream.taken.endswith(b"\r\n\r\n\x81\x05he")


@pytest.mark.parametrize("goes", [True, False])
async def test_a_client_that_closes_or_stalls_during_the_handshake_is_not_logged(
    goes: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(websocket, "HANDSHAKE_S", 0.05)
    reader, server = trio.testing.lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(http.contain_errors, http.serve_connection, server, stream_to, http.log_error, HttpLimits())
        await reader.send_all(HANDSHAKE)
        if goes:
            await reader.aclose()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
