"""Probes over real sockets: which responses pass, which fail, and that no probe outlasts its time-out."""

import ipaddress
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from minikube.health.prober import Prober
from minikube.health.refused_addresses import refusal
from minikube.health.state import MAX_OUTPUT_BYTES, Outcome
from tests.ports import free_port

Behaviour = Callable[[trio.SocketStream], Awaitable[None]]


class Server:
    """A TCP server that handles every connection with `behave`, and counts the connections."""

    def __init__(self, behave: Behaviour) -> None:
        self.behave = behave
        self.connections = 0
        self.port = 0

    async def handle(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        with suppress(trio.BrokenResourceError):
            await self.behave(stream)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/health"


@asynccontextmanager
async def serving(behave: Behaviour) -> AsyncIterator[Server]:
    server = Server(behave)
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, server.handle, 0, host="127.0.0.1"))
        server.port = listener.socket.getsockname()[1]
        yield server
        nursery.cancel_scope.cancel()


def responds(response: bytes) -> Behaviour:
    """Return a behaviour that reads one request, sends `response`, and closes."""

    async def behave(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(response)

    return behave


@contextmanager
def no_descriptors() -> Iterator[None]:
    """This process can open nothing inside the `with` block."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("scheme", ["http", "tcp"])
async def test_a_probe_for_which_there_is_no_descriptor_tells_nothing(scheme: str) -> None:
    prober = Prober()
    async with serving(responds(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as server:
        url = server.url.replace("http", scheme)
        with no_descriptors():
            result = await prober.probe(url, 5)
        assert result.outcome is Outcome.UNKNOWN
        assert "open files" in result.output
        assert (await prober.probe(url, 5)).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, Outcome.PASS), (204, Outcome.PASS), (299, Outcome.PASS), (300, Outcome.FAIL), (404, Outcome.FAIL)],
)
async def test_a_status_from_200_to_299_passes(status: int, outcome: Outcome) -> None:
    async with serving(responds(b"HTTP/1.1 %d Word\r\nContent-Length: 2\r\n\r\nhi" % status)) as server:
        result = await Prober().probe(server.url, 5)
        assert result.outcome is outcome
        assert result.output.startswith(f"{status} Word")


async def test_a_redirect_fails_and_is_not_followed() -> None:
    async with serving(responds(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as other:
        moved = f"HTTP/1.1 302 Found\r\nLocation: {other.url}\r\nContent-Length: 0\r\n\r\n"
        async with serving(responds(moved.encode())) as server:
            result = await Prober().probe(server.url, 5)
            assert (result.outcome, result.output) == (Outcome.FAIL, "302 Found")
        assert other.connections == 0


async def test_at_most_4_kib_of_an_endless_response_is_read() -> None:
    ended = trio.Event()

    async def behave(stream: trio.SocketStream) -> None:
        try:
            await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                await stream.send_all(b"x" * 65_536)
        finally:
            ended.set()

    async with serving(behave) as server:
        result = await Prober().probe(server.url, 5)
        assert result.outcome is Outcome.PASS
        assert len(result.output.encode()) <= MAX_OUTPUT_BYTES
        with trio.fail_after(30):
            await ended.wait()


@pytest.mark.parametrize(
    ("response", "word"),
    [
        (b"", "closed before an answer"),
        (b"HTTP/1.1 200 OK\r\nConte", "closed before an answer"),
        (b"SSH-2.0-OpenSSH\r\n", "not HTTP"),
        (b"\x16\x03\x01 tls", "not HTTP"),
    ],
)
async def test_a_connection_without_a_response_fails_at_once(response: bytes, word: str) -> None:
    async with serving(responds(response)) as server:
        result = await Prober().probe(server.url, 5)
        assert result.outcome is Outcome.FAIL
        assert word in result.output


async def test_a_refused_connection_fails_at_once() -> None:
    port = free_port()
    for url in (f"http://127.0.0.1:{port}/", f"tcp://127.0.0.1:{port}"):
        result = await Prober().probe(url, 60)
        assert (result.outcome, result.output) == (Outcome.FAIL, "connection refused")
        assert result.seconds < 10


async def respond_slowly(stream: trio.SocketStream) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nX: " + b"y" * 4_000:
        await stream.send_all(bytes([byte]))
        await trio.sleep(0.02)


async def silence(stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


@pytest.mark.parametrize("behave", [respond_slowly, silence])
async def test_the_whole_exchange_has_one_timeout(behave: Behaviour) -> None:
    async with serving(behave) as server:
        result = await Prober().probe(server.url, 0.2)
        assert (result.outcome, result.output) == (Outcome.TIMEOUT, "no answer within 0.2 s")
        assert 0.2 <= result.seconds < 10


async def test_a_tcp_check_passes_when_it_connects() -> None:
    async with serving(silence) as server:
        result = await Prober().probe(f"tcp://127.0.0.1:{server.port}", 5)
        assert (result.outcome, result.output) == (Outcome.PASS, "connected")


async def test_idle_connections_are_reused_and_replaced_once_the_server_closed_them() -> None:
    requests = 0

    async def behave(stream: trio.SocketStream) -> None:
        nonlocal requests
        for _ in range(3):
            if not await stream.receive_some():
                return
            requests += 1
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with serving(behave) as server:
        prober = Prober(max_idle=8)
        prober.remember(server.url)
        for _ in range(7):
            assert (await prober.probe(server.url, 5)).outcome is Outcome.PASS
        assert (server.connections, requests) == (3, 7)
        prober.forget(server.url)


async def test_two_probes_of_one_url_keep_one_connection() -> None:
    both, open_now = trio.Event(), 0

    async def behave(stream: trio.SocketStream) -> None:
        nonlocal open_now
        open_now += 1
        if open_now == 2:
            both.set()
        while await stream.receive_some():
            await both.wait()
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        open_now -= 1

    async with serving(behave) as server:
        prober = Prober(max_idle=8)
        prober.remember(server.url)
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(prober.probe, server.url, 5)
        with trio.fail_after(30):
            while open_now != 1:
                await trio.sleep(0.01)
        assert (await prober.probe(server.url, 5)).outcome is Outcome.PASS
        prober.forget(server.url)
        with trio.fail_after(30):
            while open_now:
                await trio.sleep(0.01)


@pytest.mark.parametrize("users", [1, 2])
async def test_a_connection_of_a_forgotten_instance_is_closed_also_while_it_is_probed(users: int) -> None:
    asked, may_answer, open_now = trio.Event(), trio.Event(), 0

    async def behave(stream: trio.SocketStream) -> None:
        nonlocal open_now
        open_now += 1
        while await stream.receive_some():
            asked.set()
            await may_answer.wait()
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        open_now -= 1

    async with serving(behave) as server:
        prober = Prober(max_idle=8)
        for _ in range(users):
            prober.remember(server.url)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(prober.probe, server.url, 5)
            await asked.wait()
            prober.forget(server.url)
            may_answer.set()
        assert len(prober._idle) == users - 1, "it is kept for the other instance with the same URL only"
        if users == 2:
            prober.forget(server.url)
        with trio.fail_after(30):
            while open_now:
                await trio.sleep(0.01)
        assert not prober._idle
        assert not prober._users
        assert not prober._parsed


def link_local() -> tuple[str, str]:
    """Return a link-local address of this machine and its interface."""
    for line in Path("/proc/net/if_inet6").read_text().splitlines():
        digits, _, _, scope, _, interface = line.split()
        if scope == "20":
            return str(ipaddress.IPv6Address(int(digits, 16))), interface
    pytest.skip("this machine has no link-local IPv6 address")


@pytest.mark.parametrize("percent", ["%25", "%"])
async def test_an_address_with_a_zone_is_probed_and_the_zone_is_not_sent(percent: str) -> None:
    address, interface = link_local()
    requests: list[bytes] = []

    async def behave(stream: trio.SocketStream) -> None:
        requests.append(bytes(await stream.receive_some()))
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    listeners = await trio.open_tcp_listeners(0, host=f"{address}%{interface}")
    port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, behave, listeners)
        host = f"[{address}{percent}{interface}]:{port}"
        for url in (f"http://{host}/health", f"tcp://{host}"):
            result = await Prober().probe(url, 5)
            assert result.outcome is Outcome.PASS, result.output
        nursery.cancel_scope.cancel()
    assert f"Host: [{address}]:{port}\r\n".encode() in requests[0]


# ---------------------------------------------------------------- refused addresses


class Names(trio.abc.HostnameResolver):
    """A resolver with the addresses of `shop`: one list for each time that it is asked, the last one again and again."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def getaddrinfo(self, host: Any, port: Any, *_: Any, **__: Any) -> list[Any]:
        await trio.lowlevel.checkpoint()
        assert host == b"shop"
        self.asked += 1
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [socket.getaddrinfo(one, port, type=socket.SOCK_STREAM)[0] for one in addresses]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        raise NotImplementedError


@pytest.fixture
async def shop() -> AsyncIterator[Server]:
    async with serving(responds(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")) as server:
        yield server


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("169.254.169.254", "a link-local address"),
        ("::ffff:169.254.169.254", "a link-local address"),
        ("fd00:ec2::254", "the address of a cloud's metadata service"),
        ("0.0.0.0", "no address of a host"),
        ("::", "no address of a host"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https", "tcp"])
async def test_a_name_is_not_probed_at_an_address_that_is_refused(scheme: str, address: str, reason: str) -> None:
    trio.socket.set_custom_hostname_resolver(Names([address]))
    result = await Prober(refusal=refusal).probe(f"{scheme}://shop:80", 5)
    assert result.outcome is Outcome.FAIL
    assert result.output == f"not probed: shop is {address}, {reason}"


@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "[::ffff:a9fe:a9fe]", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518"],
)
async def test_no_notation_of_a_refused_address_is_probed(host: str) -> None:
    result = await Prober(refusal=refusal).probe(f"http://{host}:80/", 5)
    assert result.outcome is Outcome.FAIL
    assert result.output.startswith("not probed: ")
    assert result.output.endswith(", a link-local address")


async def test_a_name_is_judged_anew_at_each_probe_by_the_address_that_is_connected_to(shop: Server) -> None:
    """DNS rebinding: the name is resolved once for each connection, and nothing resolves it between judging and connecting."""
    names = Names(["127.0.0.1"], ["169.254.169.254"], ["127.0.0.1"])
    trio.socket.set_custom_hostname_resolver(names)
    prober = Prober(refusal=refusal)
    outcomes = [(await prober.probe(f"http://shop:{shop.port}/", 5)).outcome for _ in range(3)]
    assert outcomes == [Outcome.PASS, Outcome.FAIL, Outcome.PASS]
    assert (names.asked, shop.connections) == (3, 2)


async def test_a_host_with_a_refused_and_another_address_is_probed_at_the_other(shop: Server) -> None:
    trio.socket.set_custom_hostname_resolver(Names(["169.254.169.254", "127.0.0.1"]))
    result = await Prober(refusal=refusal).probe(f"tcp://shop:{shop.port}", 5)
    assert result.outcome is Outcome.PASS


async def test_the_addresses_of_a_host_are_tried_until_one_answers(shop: Server) -> None:
    """The first refuses, or does not answer; where all refuse, that is the result."""
    prober = Prober()
    trio.socket.set_custom_hostname_resolver(Names(["127.0.0.2", "127.0.0.1"]))
    assert (await prober.probe(f"tcp://shop:{shop.port}", 5)).outcome is Outcome.PASS
    trio.socket.set_custom_hostname_resolver(Names(["127.0.0.2", "127.0.0.3"]))
    result = await prober.probe(f"tcp://shop:{shop.port}", 5)
    assert (result.outcome, result.output) == (Outcome.FAIL, "connection refused")
    silent = ("127.0.0.4", shop.port)
    with socket.create_server(silent, backlog=0), socket.create_connection(silent):  # its queue is full
        trio.socket.set_custom_hostname_resolver(Names(["127.0.0.4", "127.0.0.1"]))
        assert (await prober.probe(f"tcp://shop:{shop.port}", 5)).outcome is Outcome.PASS
