"""The control API on a real socket: its requests, its clients, and what it refuses."""

import re
import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from msgspec.structs import replace

from minikube.control.api import Api
from minikube.control.client import trio as live
from minikube.control.client.blocking import LATEST, ControlClient, LogQuery
from minikube.control.client.endpoint import Endpoint
from minikube.control.client.messages import EventsReply, ServiceReply
from minikube.control.server import serve_control
from minikube.control.state_store import StateStore
from minikube.errors import NotFound, NothingRunning, RemoteError, StartError, Unavailable, UsageError
from minikube.model import Address, CheckState, Event, Instance, LogLine, Snapshot
from minikube.net.auth import allowed_hosts, parse_host_header
from minikube.net.http_messages import HttpLimits
from tests.documents import section
from tests.eventually import soon
from tests.integration.control.control_server import TOKEN, ControlServer, RecordedCommands, instance, open_control


async def get_service(server: ControlServer, name: str) -> ServiceReply:
    status, _, body = await server.ask("GET", f"/v1/services/{name}")
    assert status == 200
    return msgspec.json.decode(body, type=ServiceReply)


def log_texts(client: ControlClient, names: Sequence[str] = (), query: LogQuery = LATEST) -> list[str]:
    return [line.line for batch in client.log_batches(names, query) for line in batch]


async def test_status_returns_the_stores_snapshot() -> None:
    async with open_control() as server:
        status, head, body = await server.ask("GET", "/v1/status")
        assert (status, msgspec.json.decode(body, type=Snapshot)) == (200, server.store.snapshot)
        assert b"application/json" in head
        assert b"no-store" in head


async def test_a_status_request_waits_for_the_next_revision_or_until_its_time_is_over() -> None:
    async with open_control() as server:
        revision = server.store.revision
        status, _, body = await server.ask("GET", f"/v1/status?after={revision}&wait=0.05")
        assert (status, msgspec.json.decode(body, type=Snapshot).revision) == (200, revision)
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                _, _, body = await server.ask("GET", f"/v1/status?after={revision}&wait=30")
                assert msgspec.json.decode(body, type=Snapshot).revision == revision + 1

            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked(0.05)
            server.store.event("x.y", "now")


async def test_a_service_is_returned_with_its_instances_events_and_dependents() -> None:
    async with open_control() as server:
        server.store.event("instance.exited", "exit 1", service="product", instance="aaaaaaaa")
        for name in ("product", "aaaaaaaa"):
            status, _, body = await server.ask("GET", f"/v1/services/{name}")
            reply = msgspec.json.decode(body, type=ServiceReply)
            assert status == 200
            assert [row.id for row in reply.instances] == ["aaaaaaaa"]
            assert [event.message for event in reply.events] == ["exit 1"]
            assert reply.dependents == ("order",)
            assert reply.settings == {"user": "www", "limits": {"memory": 64 << 20}}
        status, _, body = await server.ask("GET", "/v1/services/products")
        assert (status, msgspec.json.decode(body)) == (
            404,
            {"error": "products: no such service or instance — `minikube ps` lists them"},
        )


async def test_events_are_returned_from_a_number_on_and_can_be_followed() -> None:
    async with open_control() as server:
        for number in range(3):
            server.store.event("x.y", f"event {number + 1}")
        _, _, body = await server.ask("GET", "/v1/events?since=1")
        reply = msgspec.json.decode(body, type=EventsReply)
        assert ([event.number for event in reply.events], reply.last, reply.missed) == ([2, 3], 3, False)
        _, _, body = await server.ask("GET", "/v1/events?since=3&wait=0.05")
        assert msgspec.json.decode(body, type=EventsReply) == EventsReply((), 3)
        seen: list[Event] = []

        def follow() -> None:
            with ControlClient(server.endpoint) as client:
                for event in client.follow_events(2):
                    seen.append(event)
                    if len(seen) == 2:
                        return
                    trio.from_thread.run_sync(server.store.event, "x.y", "event 4")

        await trio.to_thread.run_sync(follow)
        assert [event.number for event in seen] == [3, 4]


@pytest.mark.parametrize(
    ("path", "body", "call"),
    [
        ("/v1/services/product/start", b"", ("start", "product")),
        ("/v1/services/product/stop", b"{}", ("stop", "product")),
        ("/v1/services/product/restart", b"", ("restart", "product")),
        ("/v1/services/product-2/kill", b"", ("kill", "product-2", "KILL")),
        ("/v1/services/product/kill", b'{"signal": "HUP"}', ("kill", "product", "HUP")),
        ("/v1/services/product/scale", b'{"replicas": 3}', ("scale", "product", 3)),
        ("/v1/services/product/maintenance", b"", ("maintenance", "product", True, "")),
        (
            "/v1/services/product/maintenance",
            b'{"on": false, "reason": "done"}',
            ("maintenance", "product", False, "done"),
        ),
        ("/v1/shutdown", b"", ("shutdown", False)),
        ("/v1/shutdown", b'{"now": true}', ("shutdown", True)),
    ],
)
async def test_every_command_is_passed_to_the_supervisor(path: str, body: bytes, call: tuple[Any, ...]) -> None:
    async with open_control() as server:
        status, _, answer = await server.ask("POST", path, body)
        assert msgspec.json.decode(answer)["ok"] is True
        assert status == (202 if "shutdown" in path else 200)
        assert server.commands.calls == [call]


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "message"),
    [
        ("GET", "/", b"", 404, "no such path: / — docs/cli.md lists all"),
        ("GET", "/v1/services/", b"", 404, "no such path: /v1/services/ — docs/cli.md lists all"),
        ("POST", "/v1/services/product/explode", b"", 404, "no such path: /v1/services/product/explode"),
        ("GET", "/v1/%1b[31m", b"", 404, r"\x1b[31m"),
        ("POST", "/v1/services/nobody/stop", b"", 404, "nobody"),
        ("GET", "/v1/services/nobody/logs", b"", 404, "nobody"),
        ("GET", "/v1/services/product/stop", b"", 405, "takes POST, not GET"),
        ("DELETE", "/v1/status", b"", 405, "takes GET, HEAD, not DELETE"),
        ("OPTIONS", "/v1/status", b"", 405, "takes GET, HEAD, not OPTIONS"),
        ("POST", "/v1/services/product/scale", b"", 400, "replicas"),
        ("POST", "/v1/services/product/scale", b'{"replicas": -1}', 400, "replicas"),
        ("POST", "/v1/services/product/scale", b'{"replicas": 1, "x": 1}', 400, "unknown field"),
        ("POST", "/v1/services/product/scale", b'{"replicas": NaN}', 400, "malformed"),
        ("POST", "/v1/services/product/kill", b'{"signal": "kill -9"}', 400, "signal"),
        ("POST", "/v1/services/product/kill", b'{"signal": "KILL\\n"}', 400, "signal"),
        ("POST", "/v1/services/product/stop", b'{"a":' + b"[" * 60_000, 400, "wrong JSON in the request's body"),
        ("POST", "/v1/services/product/maintenance", b'{"reason": "\xff"}', 400, "wrong JSON in the request's body"),
        ("GET", "/v1/events?since=x", b"", 400, "since must be a whole number"),
        ("GET", "/v1/events?sinc=1", b"", 400, "unknown parameter sinc, expected since, wait, follow"),
        ("GET", "/v1/events?since=1&since=2", b"", 400, "given twice"),
        ("GET", "/v1/status?wait=1e9", b"", 400, "wait must be seconds"),
        ("GET", "/v1/status?wait=%D9%A3", b"", 400, "wait must be seconds"),
        ("GET", "/v1/events?since=%D9%A3", b"", 400, "since must be a whole number"),
        ("GET", "/v1/logs?tail=-1", b"", 400, "tail"),
        ("GET", "/v1/logs?grep=(", b"", 400, "grep: ( is not a valid pattern: missing )"),
        ("GET", "/v1/logs?level=loud", b"", 400, "level: expected a level"),
        ("GET", "/v1/services/product/logs?since=soon", b"", 400, "since: expected a moment"),
        ("GET", "/v1/services/product/logs?until=soon", b"", 400, "until: expected a moment"),
        ("GET", "/v1/logs?follow=maybe", b"", 400, "follow must be true or false"),
        ("POST", "/v1/apply", b"", 400, "not supported yet"),
        ("GET", "http://localhost/v1/status", b"", 400, "must be a path"),
    ],
)
async def test_a_wrong_request_gets_an_http_status_and_a_json_error(
    method: str, target: str, body: bytes, status: int, message: str
) -> None:
    async with open_control() as server:
        got, head, answer = await server.ask(method, target, body)
        assert got == status
        assert message in msgspec.json.decode(answer)["error"]
        assert b"application/json" in head
        assert (status == 405) == (b"Allow:" in head or b"allow:" in head)
        assert server.commands.calls == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": "Bearer " + "cd" * 32}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        ({"Authorization": f"Bearer {TOKEN}x"}, 401),
        ({"Authorization": f"Bearer {TOKEN[:-1]}"}, 401),
        ({"Authorization": "Bearer \xff\xfe"}, 401),
        ({"Host": "evil.example"}, 421),
        ({"Host": "localhost.evil.example:5556"}, 421),
        ({"Host": "127.0.0.1@evil.example"}, 421),
        ({"Host": "[::1"}, 421),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:5556"}, 403),
    ],
)
@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", "/v1/status"), ("POST", "/v1/shutdown"), ("GET", "/v1/stream"), ("GET", "/nowhere"), ("OPTIONS", "/v1")],
)
async def test_requests_without_the_token_and_from_web_pages_are_refused(
    headers: dict[str, str], status: int, method: str, target: str
) -> None:
    async with open_control() as server:
        got, _, body = await server.ask(method, target, headers=headers)
        assert got == status
        assert "error" in msgspec.json.decode(body)
        assert server.commands.calls == []


async def test_health_needs_no_token_but_refuses_web_pages() -> None:
    async with open_control() as server:
        assert (await server.ask("GET", "/health", headers={"Authorization": ""}))[0] == 200
        assert (await server.ask("GET", "/health", headers={"Authorization": "", "Origin": "null"}))[0] == 403
        assert (await server.ask("GET", "/health", headers={"Host": "evil.example"}))[0] == 421
        status, _, body = await server.ask("HEAD", "/health")
        assert (status, body) == (200, b"")


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("LocalHost:80", "localhost"),
        ("[::1]:5556", "::1"),
        ("[::1]", "::1"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]x", ""),
        ("a:b", ""),
        ("", ""),
    ],
)
def test_a_malformed_host_header_names_no_host(header: str, name: str) -> None:
    assert parse_host_header(header) == name


def test_a_listener_on_all_addresses_accepts_any_ip_address_but_no_foreign_name() -> None:
    assert "*" in allowed_hosts("0.0.0.0", "here")
    assert "*" not in allowed_hosts("127.0.0.1", "here")
    assert "here" in allowed_hosts("::", "Here")


SMALL = HttpLimits(header_bytes=4_096, body_bytes=100, send_s=30.0, connections=2)
SHORT = replace(SMALL, request_s=0.2, idle_s=0.2)


async def test_a_request_that_arrives_too_slowly_gets_a_408() -> None:
    async with open_control(SHORT) as server:
        for start in (
            b"",
            b"GET /v1/status HTTP/1.1\r\nHost: lo",
            b"POST /v1/shutdown HTTP/1.1\r\nHost: localhost\r\n",
        ):
            assert (await server.send(start)).startswith(b"HTTP/1.1 408 ")
        async with await trio.open_tcp_stream(server.endpoint.host, server.endpoint.port) as stream:
            with trio.fail_after(30):
                answer = b""
                for byte in b"GET / HTTP/1.1\r\nX: " + b"y" * 1_000:
                    await stream.send_all(bytes([byte]))
                    with trio.move_on_after(0.01):
                        answer = bytes(await stream.receive_some(100))
                    if answer:
                        break
            assert answer.startswith(b"HTTP/1.1 408 ")


async def test_an_idle_connection_is_closed_without_an_error() -> None:
    """This holds even if the time for a request and the time between two requests are the same."""
    async with open_control(SHORT) as server:
        request = f"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
        assert (await server.send(request)).count(b"HTTP/1.1 ") == 1


async def test_headers_and_bodies_over_their_limits_are_refused() -> None:
    async with open_control(SMALL) as server:
        many = b"".join(b"X-%d: y\r\n" % number for number in range(5_000))
        huge = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
        assert (await server.send(huge + many)).startswith(b"HTTP/1.1 431 ")
        assert (await server.send(huge + b"X: " + b"y" * 100_000)).startswith(b"HTTP/1.1 431 ")
        assert (await server.send(b"GET /" + b"y" * 100_000)).startswith(b"HTTP/1.1 431 ")
        assert (await server.ask("POST", "/v1/shutdown", b"x" * 101))[0] == 413
        chunked = b"POST /v1/shutdown HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert (await server.send(chunked + b"65\r\n" + b"x" * 101 + b"\r\n")).startswith(b"HTTP/1.1 413 ")
        assert server.commands.calls == []


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding : chunked\r\n\r\n",
        b"GET \xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
async def test_input_that_is_not_http_gets_a_json_error(raw: bytes) -> None:
    async with open_control() as server:
        head, _, body = (await server.send(raw)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert "error" in msgspec.json.decode(body)
        assert (await server.ask("GET", "/health"))[0] == 200


async def test_a_connection_with_the_token_is_closed_for_room_after_those_without() -> None:
    async with open_control(SMALL) as server:
        address = (server.endpoint.host, server.endpoint.port)
        async with await trio.open_tcp_stream(*address) as ours, await trio.open_tcp_stream(*address) as other:
            request = f"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
            await ours.send_all(request)
            assert b" 200 " in await ours.receive_some(10_000)
            for _ in range(3):
                await other.send_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert b" 200 " in await other.receive_some(10_000)
            assert (await server.ask("GET", "/health"))[0] == 200
            assert (await other.receive_some(10_000)).startswith(b"HTTP/1.1 503 ")
            await ours.send_all(request)
            assert b" 200 " in await ours.receive_some(10_000)


async def test_a_service_with_many_events_does_not_hide_those_of_another_service() -> None:
    async with open_control() as server:
        for number in range(60):
            server.store.event("a", f"quiet {number}", service="product", instance="product-1")
        for number in range(300):
            server.store.event("a", f"noise {number}", service="order")
        reply = await get_service(server, "product")
        assert [event.message for event in reply.events] == [f"quiet {number}" for number in range(10, 60)]
        other = await get_service(server, "order")
        assert [event.message for event in other.events] == [f"noise {number}" for number in range(250, 300)]


async def test_a_connection_serves_many_requests_even_if_they_are_sent_together() -> None:
    async with open_control(SMALL) as server:
        request = f"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
        last = request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        answer = await server.send(request * 4 + last)
        assert answer.count(b"HTTP/1.1 200 ") == 5


async def test_an_error_after_a_head_request_has_a_body(caplog: pytest.LogCaptureFixture) -> None:
    async with open_control(SHORT) as server:
        head = b"HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
        assert b'{"error":"not HTTP' in await server.send(head + b"nonsense\r\n\r\n")
        assert b'{"error":"the request was not' in await server.send(head + b"GET / HT")
        assert caplog.records == []


async def test_an_unexpected_exception_is_logged_and_sent_as_a_500_without_details(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(self: RecordedCommands, name: str) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(RecordedCommands, "stop", fail)
    async with open_control() as server:
        status, _, body = await server.ask("POST", "/v1/services/product/stop")
        assert status == 500
        assert b"secret" not in body
        assert "ZeroDivisionError" in caplog.text


async def test_a_port_that_is_taken_is_a_start_error_that_names_the_address() -> None:
    async with open_control() as server:
        with pytest.raises(StartError, match=f"127.0.0.1:{server.endpoint.port}.*control.listen"):
            await serve_control(
                StateStore("x"), RecordedCommands(), host="127.0.0.1", port=server.endpoint.port, token=TOKEN
            )


# ---------------------------------------------------------------- the clients


async def test_the_blocking_client_reads_state_and_runs_commands() -> None:
    async with open_control() as server:

        def use() -> None:
            with ControlClient(server.endpoint) as client:
                assert client.status().project == "shop"
                assert [row.id for row in client.service("product").instances] == ["aaaaaaaa"]
                assert log_texts(client, ["product"], LogQuery(tail=2)) == ["line 3", "line 4"]
                assert len(log_texts(client)) == 5
                client.restart("product")
                client.kill("product", "TERM")
                client.scale("product", 2)
                client.maintenance("product", True, "a look inside")
                client.shutdown(now=True)
                with pytest.raises(NotFound, match="nobody"):
                    client.stop("nobody")
                with pytest.raises(NotFound, match="nobody"):
                    next(client.log_batches(["nobody"]))
                with pytest.raises(UsageError, match="not supported"):
                    client.apply()
            wrong = Endpoint(server.endpoint.host, server.endpoint.port, "cd" * 32)
            with pytest.raises(RemoteError, match="bearer token"):
                ControlClient(wrong).status()

        await trio.to_thread.run_sync(use)
        assert server.commands.calls[-1] == ("shutdown", True)
    with pytest.raises(NothingRunning):
        ControlClient(server.endpoint).status()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 99\r\n\r\n{", "no answer from the supervisor"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", "did not complete its reply"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}\n", "malformed"),
    ],
)
def test_an_incomplete_or_malformed_reply_is_unavailable(answer: bytes, words: str) -> None:
    with serving_bytes(answer) as endpoint, ControlClient(endpoint) as client:
        with pytest.raises(Unavailable, match=words):
            client.status()
        with pytest.raises(Unavailable, match=words):
            list(client.log_batches())


def test_a_response_that_follows_ends_when_the_supervisor_exits_but_not_at_malformed_lines() -> None:
    line = msgspec.json.encode(LogLine(0.0, "x", "x", "stdout", "hello"))
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with serving_bytes(head + b'%x\r\n%b\n{"t\r\n' % (len(line) + 4, line)) as endpoint:
        assert log_texts(ControlClient(endpoint), query=LogQuery(follow=True)) == ["hello"]
    with serving_bytes(head + b"3\r\n{}\n\r\n") as endpoint, pytest.raises(Unavailable, match="malformed"):
        list(ControlClient(endpoint).log_batches(query=LogQuery(follow=True)))


def test_a_log_search_times_out_only_without_keep_alive_lines() -> None:
    line = msgspec.json.encode(LogLine(0.0, "x", "x", "stdout", "hello"))
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    signs = b"1\r\n\n\r\n" * 3
    with serving_bytes(head + signs + b"%x\r\n%b\n\r\n0\r\n\r\n" % (len(line) + 1, line)) as endpoint:
        assert log_texts(ControlClient(endpoint)) == ["hello"]
    with (
        socket.create_server(("127.0.0.1", 0)) as hung,
        ControlClient(Endpoint("127.0.0.1", hung.getsockname()[1], TOKEN, pid=7), timeout=0.2) as client,
        ThreadPoolExecutor(1) as server,
    ):

        def begin_to_answer() -> socket.socket:
            peer = hung.accept()[0]
            peer.recv(65_536)
            peer.sendall(head + signs)
            return peer

        answering = server.submit(begin_to_answer)
        with pytest.raises(Unavailable, match=r"\(pid 7\) does not answer"):
            list(client.log_batches())
        answering.result().close()


async def test_a_log_search_that_has_found_nothing_yet_sends_keep_alive_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minikube.control.api.KEEPALIVE_S", 0.01)
    async with open_control() as server:
        server.commands.searching = trio.Event()
        stream = await _ask_and_stall(server, "/v1/logs?tail=1&grep=x")
        with trio.fail_after(10):
            data = b""
            while not data.endswith(b"\n\r\n1\r\n\n\r\n"):
                data += await stream.receive_some()
            server.commands.searching.set()
            data = b"".join([bytes(chunk) async for chunk in stream])
        assert b"line 4" in data
        await stream.aclose()


@contextmanager
def serving_bytes(answer: bytes) -> Iterator[Endpoint]:
    """Serve a supervisor that sends these bytes as its reply to any request, and closes the connection."""

    def serve() -> None:
        with suppress(OSError):  # closed: over
            while True:
                with listener.accept()[0] as peer:
                    peer.recv(65_536)
                    peer.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Endpoint("127.0.0.1", listener.getsockname()[1], TOKEN)
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


async def test_the_trio_client_runs_commands() -> None:
    async with open_control() as server:
        await live.send_command(server.endpoint, "kill", "product", signal="TERM")
        assert server.commands.calls == [("kill", "product", "TERM")]
        with pytest.raises(NotFound):
            await live.send_command(server.endpoint, "stop", "nobody")
    with pytest.raises(NothingRunning):
        await live.send_command(server.endpoint, "stop", "product")


async def test_a_client_that_follows_logs_gets_new_lines_and_leaves_no_task_behind() -> None:
    async with open_control() as server:
        lines: list[LogLine] = []
        async with live.follow_logs(server.endpoint, ["product"], tail=1) as logs:
            lines += await logs.read_batch()
            server.commands.more.set()
            lines += await logs.read_batch()
            assert server.commands.followers == 1
        assert [line.line for line in lines] == ["line 4", "afterwards"]
        await soon(lambda: not server.commands.followers)


async def test_logs_are_cleared_by_name_also_those_of_a_removed_instance() -> None:
    async with open_control() as server:
        for target, code, cleared in (
            ("/v1/logs", 200, ["order", "product"]),
            ("/v1/services/product/logs", 200, ["product"]),
            ("/v1/logs?name=product&name=product-9", 200, ["product", "product-9"]),
            ("/v1/logs?name=product&name=nope", 404, []),
            ("/v1/logs?tail=3", 400, []),
        ):
            status, _, body = await server.ask("DELETE", target)
            assert (status, msgspec.json.decode(body).get("cleared", [])) == (code, cleared)
        assert (await server.ask("GET", "/v1/services/product-9/logs"))[0] == 200
        assert [call[1:] for call in server.commands.calls] == [(), ("product",), ("product", "product-9")]


async def test_a_log_response_that_does_not_follow_ends_after_all_lines() -> None:
    async with open_control() as server:
        server.commands.lines = [LogLine(0.0, "x", "x", "stdout", f"{number} \x1b[31m") for number in range(50_000)]
        async with live.follow_logs(server.endpoint, tail=100_000, follow=False) as logs:
            count = 0
            while batch := await logs.read_batch():
                count += len(batch)
        assert count == 50_000


async def test_a_client_that_stops_reading_logs_is_disconnected(
    caplog: pytest.LogCaptureFixture,
) -> None:
    limits = HttpLimits(send_s=0.3)
    async with open_control(limits) as server:
        server.commands.lines = [LogLine(0.0, "x", "x", "stdout", "y" * 1_000)] * 20_000
        stalled = await _ask_and_stall(server, "/v1/logs?tail=100000&follow=true")
        await soon(lambda: server.commands.followers)
        assert (await server.ask("GET", "/v1/status"))[0] == 200
        await soon(lambda: not server.commands.followers)
        await stalled.aclose()
        assert caplog.records == []


async def _ask_and_stall(server: ControlServer, target: str) -> trio.SocketStream:
    stream = await trio.open_tcp_stream(server.endpoint.host, server.endpoint.port)
    await stream.send_all(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
    return stream


async def test_metrics_show_the_state_store() -> None:
    async with open_control() as server:
        server.store.put_instances(instance("aaaaaaaa", "product", restarts=3))
        status, head, body = await server.ask("GET", "/metrics")
        assert (status, b"text/plain" in head) == (200, True)
        assert b'minikube_instance_restarts_total{instance_name="product",service="product"} 3.0\n' in body
        assert b"minikube_registry_up 0.0\n" in body
        _, head, body = await server.ask("GET", "/metrics", headers={"Accept": "application/openmetrics-text"})
        assert (b"openmetrics" in head, body.endswith(b"# EOF\n")) == (True, True)


async def test_service_discovery_lists_passing_instances() -> None:
    async with open_control() as server:
        address = Address("127.0.0.1", 7070)
        server.commands.known = [
            Instance("aaaaaaaa", "product", address, "ttl:", CheckState.PASSING, ("v1",)),
            Instance("bbbbbbbb", "order", address, "ttl:", CheckState.CRITICAL),
        ]
        for query, count in (("", 1), ("?service=product&tag=v1", 1), ("?tag=v2", 0), ("?service=order", 0)):
            status, head, body = await server.ask("GET", f"/v1/sd{query}")
            assert (status, len(msgspec.json.decode(body))) == (200, count)
            assert b"application/json" in head
        assert (await server.ask("GET", "/v1/sd", headers={"Authorization": ""}))[0] == 401
        assert (await server.ask("GET", "/v1/sd?tags=v1"))[0] == 400


SECTION = section("docs/cli.md", "## The control API")


def documented_requests() -> list[tuple[str, str]]:
    """Return method and path of each request in the table of docs/cli.md, with NAME filled in."""
    found: list[tuple[str, str]] = []
    for row in re.findall(r"(?m)^\| (`(?:GET|POST).*?) \|", SECTION):
        path = ""
        for word in re.findall(r"`([^`]+)`", row):
            method, _, target = word.rpartition(" ")
            path = target if method else f"{path.rpartition('/')[0]}{target}"
            found.append((method or found[-1][0], path.replace("NAME", "product").partition("?")[0]))
    return found


async def test_the_documentation_lists_every_request_and_no_other() -> None:
    async with open_control() as server:
        listed = documented_requests()
        for method, path in listed:
            assert (await server.ask("PUT", path))[0] == 405, f"docs/cli.md lists {path}, which does not exist"
            assert f"takes {method}".encode() in (await server.ask("PUT", path))[2]
        api = Api(server.store, server.commands, token=TOKEN, hosts=frozenset())
        acts = {f"/v1/services/product/{act}" for act in api._service_commands}
        assert {path for _, path in listed} == {*api._endpoints, *acts, *PATHS}


PATHS = ("/v1/services/product", "/v1/services/product/logs")
