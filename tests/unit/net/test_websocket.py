"""The websocket's handshake on connections that fail."""

import logging

import pytest
import trio
import trio.testing

from minikube.net import http_server as http
from minikube.net import websocket
from minikube.net.http_server import HttpLimits, Request, Upgrade
from minikube.net.websocket import open_frame_socket

HANDSHAKE = b"GET / HTTP/1.1\r\nHost: localhost\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"


async def stream_to(request: Request) -> Upgrade:
    async def run(stream: trio.abc.Stream, trailing: bytes) -> None:
        async with open_frame_socket(stream, request, trailing):
            raise AssertionError("nobody is there")

    return Upgrade(run)


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
