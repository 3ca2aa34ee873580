"""The RPC server and its client on real sockets: ordinary calls, errors, limits and hostile clients."""

import json
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from minikube.errors import NotFound, Unavailable
from minikube.jsonrpc.calls import ConnectionLost
from minikube.net.background import open_background_nursery
from minikube.net.rpc.client import RpcClient, connect
from minikube.net.rpc.connection import ServerConnection
from minikube.net.rpc.limits import RpcLimits
from minikube.net.rpc.server import serve_rpc
from tests.certificates import make_certificates
from tests.eventually import soon
from tests.integration.net.rpc_server import SampleService, call_line, raw, serving
from tests.ports import free_port

Serve = Callable[..., Any]


# ---------------------------------------------------------------- the ordinary


async def test_one_connection_serves_both_dialects() -> None:
    async with serving(SampleService()) as address, raw(address) as client:
        await client.send('{"method":"ready","params":[],"id":1}', call_line("ready", "x"), call_line("echo", 2, "a"))
        assert await client.line() == {"id": 1, "result": "ready", "error": None}
        assert await client.line() == {"jsonrpc": "2.0", "id": "x", "result": "ready"}
        assert await client.line() == {"jsonrpc": "2.0", "id": 2, "result": ["a"]}


async def test_replies_come_out_of_order_when_a_call_waits() -> None:
    async with serving(SampleService()) as address, raw(address) as client:
        await client.send(call_line("wait", 1, "g"), call_line("ready", 2), call_line("open", 3, "g"))
        assert [(await client.line())["id"] for _ in range(3)] == [2, 3, 1]


async def test_a_request_may_arrive_in_any_pieces() -> None:
    async with serving(SampleService()) as address, raw(address) as client:
        for byte in b'\n\r\n{"method":"ready","id":1}\r\n':
            await client.stream.send_all(bytes([byte]))
        assert (await client.line())["id"] == 1


async def test_all_calls_of_one_receive_are_answered_in_order() -> None:
    async with serving(SampleService()) as address, raw(address) as client:
        await client.send(*[call_line("ready", number) for number in range(500)])
        assert [(await client.line())["id"] for _ in range(500)] == list(range(500))


async def test_a_notification_is_handled_and_gets_no_reply() -> None:
    service = SampleService()
    async with serving(service) as address, raw(address) as client:
        quiet = '{"jsonrpc":"2.0","method":"%s","params":["g"]}'
        await client.send(quiet % "open", quiet % "ready", quiet % "nothing", call_line("ready", 9))
        assert (await client.line())["id"] == 9
        await soon(lambda: service.gate("g").is_set())


async def test_a_batch_gets_one_array_as_its_reply() -> None:
    async with serving(SampleService()) as address, raw(address) as client:
        quiet = '{"jsonrpc":"2.0","method":"%s","params":["g"]}'
        await client.send(f"[{call_line('ready', 1)},{call_line('missing.now', 2)},{quiet % 'ready'},7]")
        answers = await client.line()
        assert [answer["id"] for answer in answers] == [1, 2, None]
        assert answers[1]["error"]["code"] == -32004
        await client.send(
            f"[{call_line('wait', 1, 'g')},{call_line('ready', 2)},{quiet % 'echo'},{call_line('open', 3, 'g')}]"
        )
        assert [(answer["id"], answer["result"]) for answer in await client.line()] == [
            (1, "g"),
            (2, "ready"),
            (3, True),
        ]


async def test_a_batch_of_notifications_gets_no_reply() -> None:
    async with serving(SampleService()) as address, raw(address) as client:
        quiet = '{"jsonrpc":"2.0","method":"%s","params":["g"]}'
        await client.send(f"[{quiet % 'ready'}]", f"[{quiet % 'echo'}]", call_line("ready", 5))
        assert (await client.line())["id"] == 5


async def test_calls_sent_before_half_closing_get_their_replies() -> None:
    """So `echo … | nc` works as a client."""
    async with serving(SampleService()) as address, raw(address) as client:
        await client.send(call_line("echo", 1, "a"))
        await client.stream.send_eof()
        assert (await client.line())["result"] == ["a"]
        assert await client.ended()


async def test_the_reply_to_a_watch_comes_before_its_notifications() -> None:
    service = SampleService()
    async with serving(service) as address, raw(address) as client:
        await client.send(call_line("watch", 1))
        assert (await client.line())["result"] == "snapshot"
        assert (await client.line())["params"] == [1]
        service.connections[0].notify("later", b'{"a":2}')
        service.connections[0].send(b'{"whole":"line"}\n')
        assert await client.line() == {"jsonrpc": "2.0", "method": "later", "params": {"a": 2}}
        assert await client.line() == {"whole": "line"}


@pytest.mark.parametrize("others", [[], [call_line("wait", 2, "g")]])
async def test_the_reply_to_a_batch_comes_before_the_notifications_of_its_calls(others: list[str]) -> None:
    async with serving(SampleService()) as address, raw(address) as client:
        await client.send(f"[{','.join([call_line('watch', 1), *others])}]", call_line("open", 3, "g"))
        lines = [await client.line() for _ in range(3)]
        batch, notification = [line for line in lines if not (isinstance(line, dict) and line.get("id") == 3)]
        assert [answer["result"] for answer in batch] == ["snapshot", "g"][: 1 + len(others)]
        assert notification["params"] == [1]


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("kind", "code", "message"),
    [
        ("rpc", -1, "own"),
        ("remote", -2, "theirs"),
        ("missing", -32004, "not there"),
        ("away", -32010, "away"),
        ("usage", -32602, "wrong"),
        ("ours", -32000, "ours"),
        ("bug", -32603, "internal error"),
    ],
)
async def test_an_exception_of_a_method_becomes_the_right_error_code(kind: str, code: int, message: str) -> None:
    async with serving(SampleService()) as address, raw(address) as client:
        await client.send(call_line("raise", 1, kind))
        error = (await client.line())["error"]
        assert (error["code"], error["message"]) == (code, message)
        await client.send(f'{{"method":"raise","params":["{kind}"],"id":2}}')
        assert await client.line() == {"id": 2, "result": None, "error": message}


async def test_an_unexpected_exception_fails_its_call_only_and_reveals_nothing() -> None:
    async with serving(SampleService()) as address, raw(address) as client:
        await client.send(call_line("broken.now", 1), call_line("unencodable", 2), call_line("ready", 3))
        lines = sorted([await client.line() for _ in range(3)], key=lambda line: int(line["id"]))
        assert [line.get("error", {}).get("message") for line in lines] == ["internal error", "internal error", None]


async def test_json_that_is_no_request_does_not_end_the_connection() -> None:
    async with serving(SampleService()) as address, raw(address) as client:
        await client.send("7", "", '"text"', "[]", '{"id":4}', call_line("ready", 5))
        lines = [await client.line() for _ in range(5)]
        assert [line["id"] for line in lines] == [None, None, None, 4, 5]
        assert [line["error"]["code"] for line in lines[:3]] == [-32600] * 3


# ---------------------------------------------------------------- bounds


async def test_a_line_over_the_limit_is_refused_and_ends_the_connection() -> None:
    async with serving(SampleService()) as address, raw(address) as client:
        await client.send(call_line("ready", 1))
        assert (await client.line())["id"] == 1
        with trio.move_on_after(5):
            await client.stream.send_all(b'"' + b"x" * 200_000)
        assert "longer than 65536 bytes" in (await client.line())["error"]["message"]
        assert await client.ended()


async def test_lines_before_one_that_is_too_long_get_their_replies() -> None:
    async with serving(SampleService()) as address, raw(address) as client:
        await client.send(call_line("ready", 1), call_line("echo", 2), b"x" * 65_537)
        lines = [await client.line() for _ in range(3)]
        assert {line["id"] for line in lines} == {1, 2, None}


@pytest.mark.parametrize("sent", [b"", b'{"half a line', b"\n\r\n\n"])
async def test_a_client_that_sends_no_full_line_gets_an_error_and_is_disconnected(sent: bytes) -> None:
    async with (
        serving(SampleService(), limits=RpcLimits(first_line_s=0.1, linger_s=0.1)) as address,
        raw(address) as client,
    ):
        if sent:
            await client.stream.send_all(sent)
        assert "no full line within 0.1 s" in (await client.line())["error"]["message"]
        assert await client.ended()


async def test_after_its_first_line_a_client_may_stay_silent() -> None:
    async with serving(SampleService(), limits=RpcLimits(first_line_s=1.0)) as address, raw(address) as client:
        await client.send(call_line("ready", 1))
        await client.line()
        with trio.move_on_after(2.0) as scope:
            await client.stream.receive_some(1)
        assert scope.cancelled_caught


async def test_each_of_many_refused_connections_gets_an_error_and_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minikube.net.rpc.server.MAX_REFUSED", 1)
    limits = RpcLimits(connections=0, linger_s=60, half_closed_s=60)
    async with serving(SampleService(), limits=limits) as address, AsyncExitStack() as stack:
        open_files = len(os.listdir("/proc/self/fd"))
        clients = [await stack.enter_async_context(raw(address)) for _ in range(5)]
        for client in clients:
            assert "too many" in (await client.line())["error"]["message"]
            assert await client.ended()
        assert len(os.listdir("/proc/self/fd")) - open_files == len(clients) + 1


async def test_a_connection_that_is_reset_before_it_is_accepted_ends_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accept, lost = socket.socket.accept, []

    class Lost(socket.socket):
        def setsockopt(self, *args: Any) -> Any:
            lost.append(self)
            raise OSError(22, "Invalid argument")

    def accept_lost(self: socket.socket) -> Any:
        sock, address = accept(self)
        return (sock, address) if lost else (Lost(fileno=sock.detach()), address)

    async with serving(SampleService()) as address:
        monkeypatch.setattr(socket.socket, "accept", accept_lost)
        async with raw(address) as client, raw(address) as other:
            assert await client.ended()
            await other.send(call_line("ready", 1))
            assert (await other.line())["id"] == 1
    assert lost


async def test_the_number_of_waiting_calls_is_limited_and_further_calls_are_handled_later() -> None:
    service = SampleService()
    async with serving(service, limits=RpcLimits(in_flight=4)) as address, raw(address) as client:
        await client.send(*[call_line("wait", number, "g") for number in range(20)])
        await soon(lambda: service.running == 4)
        await client.send(call_line("ready", 99))
        service.gate("g").set()
        answered = [(await client.line())["id"] for _ in range(21)]
        assert sorted(answered) == [*range(20), 99]
        assert service.most == 4


async def test_the_server_stops_reading_from_a_client_that_does_not_read() -> None:
    service = SampleService()
    async with serving(service, limits=RpcLimits(stall_s=60)) as address, raw(address) as client:
        await client.send(*[call_line("big", number) for number in range(300)], call_line("watch", 300))
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert not service.connections
        assert [(await client.line())["id"] for _ in range(301)] == list(range(301))


async def test_a_client_that_reads_nothing_for_too_long_is_disconnected() -> None:
    service = SampleService()
    async with serving(service, limits=RpcLimits(stall_s=0.1)) as address, raw(address) as client:
        await client.send(call_line("watch", 1), *[call_line("big", number) for number in range(300)])
        await soon(lambda: bool(service.connections))
        with trio.fail_after(30):
            await service.connections[0].closed.wait()
        service.connections[0].notify("into", "the void")


async def test_a_client_that_does_not_read_its_notifications_is_disconnected() -> None:
    service = SampleService()
    async with (
        serving(service, limits=RpcLimits(backlog=1_000_000)) as address,
        raw(address) as slow,
        raw(address) as quick,
    ):
        for client in (slow, quick):
            await client.send(call_line("watch", 1))
            await client.line()
            await client.line()
        line, sent = json.dumps("x" * 1000).encode(), 0
        while not service.connections[0].closed.is_set():
            for connection in service.connections:
                connection.notify("n", line)
            sent += 1
            assert service.connections[0].unsent < 1_100_000  # type: ignore[attr-defined]
            await quick.line()
        await quick.send(call_line("ready", 2))
        assert (await quick.line())["id"] == 2


async def test_the_reply_to_a_batch_has_a_size_limit() -> None:
    async with serving(SampleService(), limits=RpcLimits(backlog=150_000)) as address, raw(address) as client:
        await client.send(f"[{call_line('big', 1)},{call_line('big', 2)}]")
        assert "the answer to the batch has" in (await client.line())["error"]["message"]


async def test_all_waiting_batches_of_a_connection_share_a_size_limit() -> None:
    """Each batch holds 100 KB until its other call is done. The third is refused, and its waiting calls are cancelled."""
    service = SampleService()
    async with serving(service, limits=RpcLimits(backlog=250_000)) as address, raw(address) as client:
        await client.send(*[f"[{call_line('big', n)},{call_line('wait', 10 + n, 'g')}]" for n in range(2)])
        await soon(lambda: service.running == 2)
        await client.send(f"[{call_line('big', 2)},{call_line('wait', 12, 'g')},{call_line('wait', 13, 'g')}]")
        assert "the answer to the batch has 300" in (await client.line())["error"]["message"]
        assert service.running == 2
        service.gate("g").set()
        answers = [await client.line() for _ in range(2)]
        assert sorted(answer["id"] for batch in answers for answer in batch) == [0, 1, 10, 11]
        await client.send(f"[{call_line('big', 4)},{call_line('big', 5)},{call_line('wait', 14, 'g')}]")
        assert len(await client.line()) == 3


# ---------------------------------------------------------------- ends


async def test_the_calls_and_tasks_of_a_connection_end_with_it() -> None:
    service = SampleService()
    async with serving(service, limits=RpcLimits(half_closed_s=0.1)) as address:
        async with raw(address) as client:
            await client.send(call_line("task", 1, "wait"), call_line("wait", 2, "g"), f"[{call_line('wait', 3, 'g')}]")
            await client.line()
            await soon(lambda: service.running == 2)
        await soon(lambda: service.running == 0)
        with trio.fail_after(30):
            await service.ended.wait()


async def test_a_task_that_fails_ends_its_connection_only() -> None:
    async with serving(SampleService()) as address, raw(address) as client, raw(address) as other:
        await client.send(call_line("task", 1, "fail"))
        assert await client.ends()
        await other.send(call_line("ready", 1))
        assert (await other.line())["id"] == 1


async def test_a_reset_connection_does_not_affect_others() -> None:
    service = SampleService()
    async with serving(service) as address, raw(address) as other:
        for _ in range(20):
            sock = socket.create_connection(address)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.sendall(call_line("big").encode() + b"\n" + call_line("echo").encode() + b"\n")
            sock.close()
        await other.send(call_line("echo", 1))
        assert (await other.line())["id"] == 1


async def test_an_unexpected_exception_in_the_server_ends_one_connection_only(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(SampleService()) as address, raw(address) as other:
        await other.send(call_line("ready", 1))
        await other.line()
        with monkeypatch.context() as patch, socket.create_connection(address) as victim:
            patch.setattr(ServerConnection, "feed", lambda self, data: 1 / 0)
            await trio.testing.wait_all_tasks_blocked(0.02)
            victim.sendall(b"x\n")
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert victim.recv(1) == b""
        await other.send(call_line("ready", 2))
        assert (await other.line())["id"] == 2


async def test_serving_on_a_port_that_is_taken_raises_oserror() -> None:
    async with serving(SampleService()) as address:
        with pytest.raises(OSError, match="in use"):
            await serve_rpc(SampleService(), address)


async def test_the_server_retries_when_file_descriptors_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    accept, failures = socket.socket.accept, [24, 104]

    def exhausted(self: socket.socket) -> Any:
        if failures:
            raise OSError(failures.pop(0), "none left")
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", exhausted)
    async with serving(SampleService()) as address, raw(address) as client:
        await client.send(call_line("ready", 1))
        assert (await client.line())["id"] == 1
    assert not failures


# ---------------------------------------------------------------- the client's side


@asynccontextmanager
async def open_rpc(host: str, port: int, **options: Any) -> AsyncIterator[RpcClient]:
    """Connect, and run the client's reading task until the block ends."""
    client = RpcClient(await connect(host, port, **options))
    try:
        async with open_background_nursery() as nursery:
            nursery.start_soon(client.read)
            yield client
    finally:
        await client.aclose()


async def test_many_tasks_share_a_connection() -> None:
    async with serving(SampleService()) as address, open_rpc(*address) as connection:
        results: dict[int, Any] = {}

        async def ask(number: int) -> None:
            results[number] = await connection.call("echo", [number], kind=list[int])

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(ask, number)
        assert results == {number: [number] for number in range(50)}
        assert connection.local_host == "127.0.0.1"


async def test_an_exception_of_the_block_is_not_wrapped_in_a_group() -> None:
    async with serving(SampleService()) as address:
        with pytest.raises(NotFound, match="no such thing"):
            async with open_rpc(*address) as connection:
                await connection.call("missing.now")


async def test_a_call_without_a_reply_in_time_is_unavailable_and_the_connection_goes_on() -> None:
    async with serving(SampleService()) as address, open_rpc(*address) as connection:
        with pytest.raises(Unavailable, match="no answer from the server within"):
            await connection.call("wait", ["g"], timeout=0.05)
        await connection.call("open", ["g"])
        assert await connection.call("ready") == "ready"


async def test_the_client_ignores_notifications() -> None:
    async with serving(SampleService()) as address, open_rpc(*address) as connection:
        await connection.call("watch")
        assert await connection.call("ready") == "ready"


async def test_calls_under_way_raise_when_the_connection_is_lost() -> None:
    service = SampleService()
    async with serving(service) as address, open_rpc(*address) as connection:
        await connection.call("watch")
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(ConnectionLost):
                    await connection.call("wait", ["g"])

            nursery.start_soon(ask)
            await soon(lambda: service.running == 1)
            service.connections[0].abort("for the test")
        with pytest.raises(ConnectionLost, match="closed"):
            await connection.call("ready")


async def test_a_refused_connection_is_an_error_with_its_reason() -> None:
    with pytest.raises(ConnectionLost, match="Connection refused"):
        async with open_rpc("127.0.0.1", free_port()):
            pass


async def test_a_server_that_does_not_answer_the_tls_handshake_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(ConnectionLost, match="within"):
        async with open_rpc(*server.getsockname(), tls=ssl.create_default_context(), timeout=0.05):
            pass


# ---------------------------------------------------------------- TLS


@pytest.fixture(scope="module")
def contexts(
    tmp_path_factory: pytest.TempPathFactory, need: Callable[[str], str]
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    need("openssl")
    files = make_certificates(tmp_path_factory.mktemp("tls"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.cert, files.key)
    return server, ssl.create_default_context(cafile=str(files.ca))


async def test_calls_work_over_tls(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    server, client = contexts
    service = SampleService()
    async with serving(service, tls=server) as address, open_rpc(*address, tls=client) as connection:
        assert await connection.call("ready") == "ready"
        assert len(await connection.call("big", kind=str)) == 100_000
        assert await connection.call("echo", ["x" * 50_000], kind=list[str]) == ["x" * 50_000]
        assert connection.local_host == "127.0.0.1"


async def test_plain_text_to_a_tls_port_ends_that_connection_only(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    server, client = contexts
    async with serving(SampleService(), tls=server) as address, open_rpc(*address, tls=client) as connection:
        async with raw(address) as stranger:
            await stranger.send(call_line("ready", 1))
            assert await stranger.ends()
        assert await connection.call("ready") == "ready"


async def test_a_tls_connection_that_is_closed_properly_ends(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    server, client = contexts
    service = SampleService()
    async with serving(service, tls=server) as address:
        stream = trio.SSLStream(await trio.open_tcp_stream(*address), client, server_hostname="127.0.0.1")
        await stream.send_all(call_line("watch").encode() + b"\n")
        await stream.receive_some(100)
        await stream.aclose()
        with trio.fail_after(30):
            await service.connections[0].closed.wait()


async def test_the_tls_handshake_counts_towards_the_time_to_the_first_line(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    server, _ = contexts
    limits = RpcLimits(first_line_s=0.1, linger_s=0.1)
    async with serving(SampleService(), tls=server, limits=limits) as address, raw(address) as client:
        assert await client.ended()
