"""The websocket `/v1/stream`: updates are complete and quick, and readers do not affect each other."""

import base64
import time
from dataclasses import replace

import pytest
import trio

from minikube.control.client import trio as client
from minikube.control.client.endpoint import Endpoint
from minikube.control.client.snapshot import apply_update, decode_update
from minikube.control.client.trio import open_stream
from minikube.errors import NothingRunning, RemoteError, Unavailable
from minikube.model import Delta, ProcessState, Snapshot
from minikube.net import websocket
from tests.eventually import STEP_S, soon
from tests.integration.control.control_server import TOKEN, ControlServer, instance, open_control

KEY = base64.b64encode(b"0123456789abcdef").decode()
HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade, close",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}


async def test_a_reader_gets_a_snapshot_and_then_deltas_that_lead_to_the_next_snapshot() -> None:
    async with open_control() as server, open_stream(server.endpoint) as stream:
        view = await anext(stream)
        assert view == server.store.snapshot
        assert isinstance(view, Snapshot)
        for number in range(20):
            server.store.put_instances(instance("aaaaaaaa", "product", restarts=number + 1))
            server.store.event("instance.restarted", "again", service="product")
            while view.revision < server.store.revision:
                update = await anext(stream)
                assert isinstance(update, Delta)
                view = apply_update(view, update)
            assert view == server.store.snapshot


async def test_an_exit_reaches_a_reader_with_the_next_update_during_many_changes() -> None:
    """It may come one update later if that update was on its way: at most 100 ms, as updates are sent every 50 ms.

    The test counts updates, because times depend on the machine; the median time must only be far below a second.
    """
    async with open_control() as server, open_stream(server.endpoint) as stream:
        view = apply_update(None, await anext(stream))
        store = server.store

        async def storm() -> None:
            for number in range(10_000):
                store.put_instances(instance("bbbbbbbb", "order", restarts=number))
                await trio.sleep(0.002)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(storm)
            took: list[float] = []
            for number in range(10):
                for _ in range(3):
                    view = apply_update(view, await anext(stream))
                state = ProcessState.EXITED if number % 2 == 0 else ProcessState.RUNNING
                begin = time.perf_counter()
                store.put_instances(instance("aaaaaaaa", "product", state))
                updates = 0
                while view.instances[0].state is not state:
                    view = apply_update(view, await anext(stream))
                    updates += 1
                assert updates <= 2
                took.append(time.perf_counter() - begin)
            nursery.cancel_scope.cancel()
        assert sorted(took)[len(took) // 2] < 1


async def test_a_reader_that_stalls_does_not_slow_others_and_catches_up() -> None:
    async with open_control() as server:
        store = server.store
        stalled = await _open_raw(server)
        async with open_stream(server.endpoint) as stream:
            view = apply_update(None, await anext(stream))
            for round_number in range(30):
                for number in range(100):
                    store.event("x.y", "z" * 2_000, service="product")
                    store.put_instances(instance(f"{number:08x}", "product", restarts=round_number))
                begin = time.perf_counter()
                while view.revision < store.revision:
                    view = apply_update(view, await anext(stream))
                assert time.perf_counter() - begin < 10
            assert view == store.snapshot
        messages = 0
        with trio.fail_after(30):
            behind: Snapshot | None = None
            async for update in _Frames(stalled):
                behind = apply_update(behind, update)
                messages += 1
                if behind.revision == store.revision:
                    break
        assert behind == store.snapshot
        assert messages < 35
        await stalled.aclose()


async def test_a_reader_that_takes_nothing_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "SEND_S", 0.2)
    async with open_control() as server:
        stalled = await _open_raw(server)
        with trio.fail_after(30):
            await _wait_readers(server, 1)
            while (await _metric(server, b"minikube_stream_clients")) != 0:
                for _ in range(200):
                    server.store.event("x.y", "z" * 2_000)
                await trio.sleep(0.01)
        await stalled.aclose()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 426),
        ({**HANDSHAKE, "Sec-WebSocket-Version": "8"}, 426),
        ({**HANDSHAKE, "Sec-WebSocket-Key": "short"}, 400),
        ({**HANDSHAKE, "Sec-WebSocket-Key": "\xff" * 24}, 400),
        ({**HANDSHAKE, "Connection": "close"}, 426),
        ({**HANDSHAKE, "Authorization": ""}, 401),
        ({**HANDSHAKE, "Origin": "null"}, 403),
        ({**HANDSHAKE, "Host": "evil.example"}, 421),
    ],
)
async def test_a_wrong_handshake_is_refused_and_the_server_goes_on(headers: dict[str, str], status: int) -> None:
    async with open_control() as server:
        assert (await server.ask("GET", "/v1/stream", headers=headers))[0] == status
        assert (await server.ask("GET", "/health"))[0] == 200


async def test_any_bytes_in_other_headers_of_a_handshake_are_harmless(caplog: pytest.LogCaptureFixture) -> None:
    async with open_control() as server:
        stream = await _open_raw(server, Cookie="\xff\xfe", **{"Sec-WebSocket-Protocol": "\x80", "X-Y": "\xe9"})
        assert isinstance(await anext(_Frames(stream)), Snapshot)
        await stream.aclose()
        assert (await server.ask("GET", "/health"))[0] == 200
        assert caplog.records == []


@pytest.mark.parametrize(
    "first_bytes",
    [
        b"\x81\x85\0\0\0\0hello",
        b"\x81\x05hello",
        b"\xff" * 100,
        b"\x81\xff" + b"\x7f" * 8 + b"\0" * 5_000,
        b"\x88\x80\0\0\0\0",
        b"",
    ],
)
async def test_a_reader_that_sends_a_message_or_breaks_the_protocol_ends_only_its_own_connection(
    first_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """In turn: text, an unmasked frame, random bytes, an endless frame, a close frame, an end of the connection."""
    async with open_control() as server, open_stream(server.endpoint) as other:
        await anext(other)
        stream = await _open_raw(server)
        frames = _Frames(stream)
        await anext(frames)
        if first_bytes:
            await stream.send_all(first_bytes)
        else:
            await stream.send_eof()
        with trio.fail_after(30):
            await _wait_readers(server, 1)
        await stream.aclose()
        server.store.event("x.y", "still here")
        assert isinstance(await anext(other), Delta)
        assert caplog.records == []


def _masked(opcode: int, payload: bytes = b"") -> bytes:
    """Return a client's frame."""
    size = bytes((0x80 | len(payload),)) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
    return bytes((opcode,)) + size + b"\0\0\0\0" + payload


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (_masked(0x88, b"\x03\xe8"), 1000),
        (_masked(0x88, b"\x03\xe9going"), 1001),
        (_masked(0x88, b"\x0f\xa0mine"), 4000),
        (_masked(0x88), None),
        (b"\x81\x05hello", 1002),
        (_masked(0xC1, b"reserved bit"), 1002),
        (_masked(0x83), 1002),
        (_masked(0x09, b"a ping in pieces"), 1002),
        (_masked(0x89, b"x" * 126), 1002),
        (_masked(0x80, b"continues nothing"), 1002),
        (_masked(0x88, b"\x03"), 1002),
        (_masked(0x88, b"\x03\xed"), 1002),
        (_masked(0x81, b"hello"), 1003),
        (_masked(0x82, b"\xff"), 1003),
        (_masked(0x01, b"hel") + _masked(0x89) + _masked(0x80, b"lo"), 1003),
        (_masked(0x81, b"\xff\xfe"), 1007),
        (_masked(0x01, b"\xc3") + _masked(0x80, b"x"), 1007),
        (_masked(0x88, b"\x03\xe8\xff"), 1007),
        (_masked(0x81, b"x" * 5_000), 1009),
        (_masked(0x82, b"x" * 60_000), 1009),
        (_masked(0x01, b"x" * 3_000) + _masked(0x00, b"x" * 3_000), 1009),
    ],
)
@pytest.mark.parametrize("by_byte", [False, True])
async def test_the_close_code_tells_why_the_stream_ends(sent: bytes, code: int | None, by_byte: bool) -> None:
    async with open_control() as server:
        stream = await _open_raw(server)
        if by_byte and len(sent) < 200:
            for byte in sent:
                await stream.send_all(bytes([byte]))
        else:
            await stream.send_all(sent)
        received = await _read_all(stream)
        assert received.endswith(b"\x88\x00" if code is None else b"\x88\x02" + code.to_bytes(2, "big"))
        assert received.count(b"\x88\x02") + received.count(b"\x88\x00") == 1


async def test_a_ping_is_answered_with_its_payload() -> None:
    async with open_control() as server:
        stream = await _open_raw(server)
        await stream.send_all(_masked(0x89, b"are you there") + _masked(0x8A, b"pong") + _masked(0x88, b"\x03\xe8"))
        received = await _read_all(stream)
        assert received.endswith(b"\x8a\x0dare you there\x88\x02\x03\xe8")


async def test_a_reader_is_told_when_the_server_stops() -> None:
    async with open_control() as server:
        stream = await _open_raw(server)
        await anext(_Frames(stream))
        server.end()
        assert await _read_all(stream) == b"\x88\x02\x03\xe9"


async def test_the_ports_own_origin_is_accepted_and_no_other() -> None:
    async with open_control() as server:
        own = server.endpoint.netloc
        stream = await _open_raw(server, Host=own, Origin=f"http://{own}")
        assert isinstance(await anext(_Frames(stream)), Snapshot)
        await stream.aclose()
        for origin in (
            "null",
            "http://evil.example",
            f"https://{own}",
            f"http://{own}.evil.example",
            "http://127.0.0.1",
            "",
        ):
            headers = {"Host": own, "Origin": origin or " "}
            assert (await server.ask("GET", "/v1/status", headers=headers))[0] == 403
        twice = {"Origin": f"http://{own}", "origin": f"http://{own}"}
        assert (await server.ask("GET", "/v1/status", headers=twice))[0] == 400
        assert (await server.ask("GET", "/v1/stream", headers={**HANDSHAKE, "Host": own, **twice}))[0] == 400


async def test_a_reader_gets_unavailable_when_the_supervisor_exits() -> None:
    async with open_control() as server:
        async with open_stream(server.endpoint) as stream:
            await anext(stream)
            server.end()
            with trio.fail_after(30), pytest.raises(Unavailable, match="closed the stream"):
                await anext(stream)
        with pytest.raises(NothingRunning):
            await open_stream(server.endpoint).__aenter__()


async def test_a_reader_with_a_wrong_token_gets_the_servers_error() -> None:
    async with open_control() as server:
        wrong = Endpoint(server.endpoint.host, server.endpoint.port, "cd" * 32)
        with pytest.raises(RemoteError, match="bearer token"):
            async with open_stream(wrong):
                pass


async def test_an_exception_of_the_block_is_not_wrapped_in_a_group() -> None:
    async with open_control() as server:
        with pytest.raises(KeyError):
            async with open_stream(server.endpoint):
                raise KeyError("mine")


async def _open_raw(server: ControlServer, **more: str) -> trio.SocketStream:
    """Open a websocket by hand: send the handshake and read nothing."""
    stream = await trio.open_tcp_stream(server.endpoint.host, server.endpoint.port)
    headers = {"Host": "localhost", "Authorization": f"Bearer {TOKEN}", **HANDSHAKE, **more}
    lines = ["GET /v1/stream HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    await stream.send_all("\r\n".join(lines).encode("latin-1"))
    return stream


async def _read_all(stream: trio.SocketStream) -> bytes:
    """Return everything until the server closes, and close the stream."""
    async with stream:
        with trio.fail_after(30):
            return b"".join([bytes(chunk) async for chunk in stream])


class _Frames:
    """Yield the updates on a websocket that was opened by hand."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._data = b""
        self._accepted = False

    def __aiter__(self) -> "_Frames":
        return self

    async def __anext__(self) -> Snapshot | Delta:
        while not self._accepted:
            await self._receive()
            head, end, rest = self._data.partition(b"\r\n\r\n")
            if end:
                assert head.startswith(b"HTTP/1.1 101")
                self._accepted, self._data = True, rest
        while (found := _frame_end(self._data)) is None:
            await self._receive()
        start, stop = found
        update = decode_update(self._data[start:stop])
        self._data = self._data[stop:]
        return update

    async def _receive(self) -> None:
        chunk = await self._stream.receive_some(1_048_576)
        if not chunk:
            raise StopAsyncIteration
        self._data += chunk


def _frame_end(data: bytes) -> tuple[int, int] | None:
    if len(data) < 10:
        return None
    size, start = data[1], 2
    if size > 125:
        start = 4 if size == 126 else 10
        size = int.from_bytes(data[2:start], "big")
    return (start, start + size) if len(data) >= start + size else None


async def _wait_readers(server: ControlServer, count: int) -> None:
    while await _metric(server, b"minikube_stream_clients") != count:
        await trio.sleep(STEP_S)


async def _metric(server: ControlServer, name: bytes) -> float:
    _, _, body = await server.ask("GET", "/metrics")
    return next(float(line.split()[1]) for line in body.splitlines() if line.startswith(name))


class PausedProxy:
    """A TCP proxy before a control API that stops forwarding while `paused`: the supervisor seems to be suspended."""

    def __init__(self, target: Endpoint) -> None:
        self._target = target
        self.paused = False
        self.resumed = trio.Event()
        self.endpoint = target

    async def serve(self, nursery: trio.Nursery) -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.endpoint = replace(self._target, port=listener.socket.getsockname()[1])
        nursery.start_soon(trio.serve_listeners, self._forward, [listener])

    async def _forward(self, client: trio.SocketStream) -> None:
        server = await trio.open_tcp_stream(self._target.host, self._target.port)
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(self._copy, client, server)
            await self._copy(server, client)
            nursery.cancel_scope.cancel()

    async def _copy(self, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        while data := await source.receive_some():
            if self.paused:
                await self.resumed.wait()
            await sink.send_all(data)


async def test_a_supervisor_that_does_not_answer_is_noticed_before_the_connection_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "PING_INTERVAL_S", 0.02)
    monkeypatch.setattr(client, "SILENT_S", 0.3)
    silences: list[bool] = []

    async def read(proxy: PausedProxy) -> None:
        async with open_stream(proxy.endpoint, silences.append) as stream:
            await anext(stream)
            proxy.paused = True
            await soon(lambda: silences == [True])
            proxy.paused = False
            proxy.resumed.set()
            await soon(lambda: silences == [True, False])
            monkeypatch.setattr(client, "PONG_S", 0.5)
            proxy.resumed, proxy.paused = trio.Event(), True
            await trio.sleep_forever()

    async with open_control() as server, trio.open_nursery() as nursery:
        proxy = PausedProxy(server.endpoint)
        await proxy.serve(nursery)
        with pytest.raises(Unavailable, match="the supervisor does not answer"):
            await read(proxy)
        assert silences == [True, False, True]
        nursery.cancel_scope.cancel()
