"""The blocking client under threads: no call waits for another thread's, and every reply reaches its own thread."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import minikube
from minikube import blocking
from minikube.sdk import requests
from minikube.sdk.blocking_connection import Connection
from minikube.sdk.peer import RegistryProtocol
from minikube.sdk.session import RegistryAddress
from tests.certificates import make_certificates
from tests.eventually import eventually
from tests.integration.sdk.test_clients import REGISTRATION, Background, FakeRegistry, background, other

COUNT = 12


def started(*works: Callable[[], Any]) -> list[threading.Thread]:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    return threads


def joined(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture(params=["plain", "TLS"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, need: Callable[[str], str]) -> Iterator[Background]:
    """A registry with services 0 to 11, each at the port of its number and 1,000; without and with TLS."""
    context = None
    if request.param == "TLS":
        files = make_certificates(tmp_path, need("openssl"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.cert, files.key)
        monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
        monkeypatch.setenv("MINIKUBE_REGISTRY_CA", str(files.ca))
    with Background(FakeRegistry(), context) as running:
        for number in range(COUNT):
            address = {"IP": "127.0.0.1", "Port": 1_000 + number}
            running.do(running.registry.put, {**other(f"s{number}"), "Addr": address})
        yield running


def asks(registry: blocking.Registry, number: int, times: int) -> None:
    assert {registry.get(f"s{number}").Port for _ in range(times)} == {1_000 + number}


def test_a_long_poll_stalls_no_other_thread(shop: Background) -> None:
    with blocking.open_registry(shop.address) as registry:
        asks(registry, 0, 1)
        failures: list[Exception] = []

        def poll() -> None:
            try:
                registry.call("Discovery.Sleep", (), 2.0)
            except minikube.Unavailable as error:
                failures.append(error)

        pollers = started(*[poll] * COUNT)
        eventually(lambda: [method for method, _ in shop.registry.asked].count("Discovery.Sleep") == COUNT)
        start = time.monotonic()
        asks(registry, 3, 100)
        assert time.monotonic() - start < 1.5, "100 lookups during the long polls"
        joined(pollers)
        assert len(failures) == COUNT, "each long poll has had its own time-out"


def test_every_reply_reaches_the_thread_that_asked(shop: Background) -> None:
    wrong: list[BaseException] = []
    with blocking.open_registry(shop.address) as registry:

        def work(number: int) -> None:
            try:
                asks(registry, number, 150)
            except BaseException as error:
                wrong.append(error)

        joined(started(*[partial(work, number) for number in range(COUNT)]))
    assert wrong == []
    assert len(shop.registry.peers) == 1, "they shared one connection"


def test_threads_go_on_over_lost_connections(shop: Background) -> None:
    wrong: list[BaseException] = []
    with blocking.open_registry(shop.address) as registry:

        def work(number: int) -> None:
            try:
                for _ in range(30):
                    asks(registry, number, 1)
                    time.sleep(0.005)
            except BaseException as error:
                wrong.append(error)

        threads = started(*[partial(work, number) for number in range(4)])
        for _ in range(5):
            time.sleep(0.03)
            shop.do(shop.registry.cut)
        joined(threads)
    assert wrong == []


def test_closing_the_connection_ends_the_calls_of_other_threads() -> None:
    ours, theirs = socket.socketpair()
    connection = Connection(ours, RegistryAddress("127.0.0.1", 1), RegistryProtocol("the test"))
    threads = started(*[partial(refused, connection, requests.status())] * 3)
    received = b""
    while received.count(b"\n") < 3:
        received += theirs.recv(1_000)
    connection.close()
    start = time.monotonic()
    joined(threads)
    assert time.monotonic() - start < 5, "not after their time-out"
    assert theirs.recv(1) == b"", "and the socket is closed"
    theirs.close()


def test_a_call_that_is_interrupted_hurts_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt may come between the receive and the decoding of other threads' replies: they are sent again."""
    with background() as running, blocking.open_registry(running.address) as registry:
        registry.register(REGISTRATION)
        feed = registry._connection._calls.feed  # type: ignore[union-attr]
        interrupts = [KeyboardInterrupt()]

        def interrupted(data: bytes) -> Any:
            if interrupts:
                raise interrupts.pop()
            return feed(data)

        monkeypatch.setattr(registry._connection._calls, "feed", interrupted)  # type: ignore[union-attr]
        with pytest.raises(KeyboardInterrupt):
            registry.get("web")
        assert registry.get("web").Port == 80
        assert len(running.registry.peers) == 2


def test_a_line_that_is_sent_in_pieces_stays_whole() -> None:
    """A registry that reads slowly takes a long line in pieces; other threads' lines do not get in between."""
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
    connection = Connection(ours, RegistryAddress("127.0.0.1", 1), RegistryProtocol("the test"))
    received = bytearray()
    calls = [requests.other("Discovery.Echo", (letter * 40_000,)) for letter in "abc"]
    threads = started(*[partial(refused, connection, call) for call in calls])
    theirs.settimeout(0.5)
    try:
        while data := theirs.recv(1_000):
            received += data
            time.sleep(0.001)
    except TimeoutError:
        pass
    connection.close()
    joined(threads)
    theirs.close()
    lines = received.decode().splitlines()
    assert sorted(line.count(letter) >= 40_000 for line in lines for letter in "abc") == [False] * 6 + [True] * 3


def refused(connection: Connection, call: Any) -> None:
    with pytest.raises(minikube.Unavailable):
        connection.call(call, time.monotonic() + 20)
