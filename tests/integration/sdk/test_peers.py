"""What the three clients say when the other end is no registry, or TLS is on at one side only."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

import minikube
from minikube import aio, blocking
from tests.certificates import Certificates, make_certificates
from tests.eventually import eventually
from tests.integration.sdk.test_clients import Background, FakeRegistry, background


def blocking_status(address: str) -> object:
    with blocking.open_registry(address) as registry:
        return registry.status()


def trio_status(address: str) -> object:
    async def main() -> object:
        async with minikube.open_registry(address) as registry:
            return await registry.status()

    return trio.run(main)


def asyncio_status(address: str) -> object:
    async def main() -> object:
        async with aio.open_registry(address) as registry:
            return await registry.status()

    return asyncio.run(main())


Status = Callable[[str], object]
every_client = pytest.mark.parametrize("status", [blocking_status, trio_status, asyncio_status])


@contextmanager
def answering(greeting: bytes) -> Iterator[str]:
    """A server that answers whatever it reads with `greeting`, and ends the connection."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(1_000)
                connection.sendall(greeting)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def certificates(tmp_path: Path, need: Callable[[str], str]) -> Certificates:
    return make_certificates(tmp_path, need("openssl"))


@contextmanager
def tls_registry(files: Certificates, ca: Path | None = None) -> Iterator[Background]:
    """A registry with TLS; with `ca` it asks for a client certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    if ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(ca)
    with Background(FakeRegistry(), context) as running:
        yield running


@every_client
@pytest.mark.parametrize(
    ("greeting", "words"),
    [
        (
            b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
            r"it is an HTTP server \('HTTP/1.1 400 Bad Request'\)",
        ),
        (b"-ERR unknown command\r\n", r"it is a Redis server"),
        (b"", r"it closed the connection without an answer — is it a registry\?"),
    ],
)
def test_another_server_is_named(status: Status, greeting: bytes, words: str) -> None:
    with answering(greeting) as address, pytest.raises(minikube.Unavailable, match=words) as caught:
        status(address)
    assert address in str(caught.value)


@every_client
def test_a_registry_with_tls_is_spoken_to_without(status: Status, certificates: Certificates) -> None:
    told = pytest.raises(minikube.Unavailable, match=r"speaks TLS.* set MINIKUBE_REGISTRY_CA")
    with tls_registry(certificates) as running, told:
        status(running.address)


@every_client
def test_a_registry_without_tls_is_spoken_to_with_tls(
    status: Status, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIKUBE_REGISTRY_CA", str(certificates.ca))
    plain = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"parse error"}}\n'
    with (
        answering(plain) as address,
        pytest.raises(minikube.Unavailable, match=r"it does not speak TLS — unset MINIKUBE"),
    ):
        status(address)


@every_client
def test_a_certificate_of_another_ca_is_not_accepted(
    status: Status,
    certificates: Certificates,
    tmp_path: Path,
    need: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("MINIKUBE_REGISTRY_CA", str(make_certificates(tmp_path / "other", need("openssl")).ca))
    words = r"its certificate is not accepted: .* MINIKUBE_REGISTRY_CA must be"
    with tls_registry(certificates) as running, pytest.raises(minikube.Unavailable, match=words):
        status(running.address)


@every_client
def test_a_registry_that_wants_a_client_certificate_says_so(
    status: Status, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIKUBE_REGISTRY_CA", str(certificates.ca))
    words = r"client certificate[,]? .*set MINIKUBE_REGISTRY_CERT and MINIKUBE_REGISTRY_KEY"
    with tls_registry(certificates, certificates.ca) as running:
        with pytest.raises(minikube.Unavailable, match=words):
            status(running.address)
        monkeypatch.setenv("MINIKUBE_REGISTRY_CERT", str(certificates.cert))
        monkeypatch.setenv("MINIKUBE_REGISTRY_KEY", str(certificates.key))
        assert status(running.address) == {"Version": "1", "More": [1]}


@every_client
def test_with_the_right_ca_it_answers(
    status: Status, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIKUBE_REGISTRY_CA", str(certificates.ca))
    with tls_registry(certificates) as running:
        assert status(running.address) == {"Version": "1", "More": [1]}


@every_client
def test_a_host_without_an_address_is_named(status: Status) -> None:
    with pytest.raises(
        minikube.Unavailable, match=r"cannot connect to nowhere\.invalid:5555: the host's name cannot be resolved"
    ):
        status("nowhere.invalid:5555")


@every_client
def test_a_url_is_no_address(status: Status, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIKUBE_REGISTRY", "http://127.0.0.1:5555")
    with pytest.raises(
        minikube.UsageError, match=r"MINIKUBE_REGISTRY: .* write it without the scheme: '127.0.0.1:5555'"
    ):
        status("")


def blocking_call(address: str, method: str) -> None:
    with blocking.open_registry(address) as registry:
        registry.call(method, ())


def trio_call(address: str, method: str) -> None:
    async def main() -> None:
        async with minikube.open_registry(address) as registry:
            await registry.call(method, ())

    trio.run(main)


def asyncio_call(address: str, method: str) -> None:
    async def main() -> None:
        async with aio.open_registry(address) as registry:
            await registry.call(method, ())

    asyncio.run(main())


@pytest.mark.parametrize("call", [blocking_call, trio_call, asyncio_call])
def test_a_registry_without_a_method_is_called_older(call: Callable[[str, str], None]) -> None:
    with background() as running, pytest.raises(minikube.RemoteError) as caught:
        call(running.address, "Discovery.History")
    assert caught.value.code == -32601
    assert str(caught.value).startswith(f"the registry at {running.address} is older than this SDK and does not know")


def blocking_watches(address: str) -> None:
    with blocking.watch("web", address=address) as updates:
        next(updates)


def trio_watches(address: str) -> None:
    async def main() -> None:
        async with minikube.watch("web", address=address) as updates:
            await anext(updates)

    trio.run(main)


def asyncio_watches(address: str) -> None:
    async def main() -> None:
        async with aio.watch("web", address=address) as updates:
            await anext(updates)

    asyncio.run(main())


@pytest.mark.parametrize("watches", [blocking_watches, trio_watches, asyncio_watches])
def test_a_watch_of_no_registry_says_so_once(watches: Callable[[str], None], caplog: pytest.LogCaptureFixture) -> None:
    """A watch goes on for ever: without the line nothing would say why no update comes."""
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as address:
        port = int(address.rpartition(":")[2])
        thread = threading.Thread(target=partial(watches, address), daemon=True)
        thread.start()
        eventually(lambda: "is not a registry: it is an HTTP server" in caplog.text)
    registry = Background(FakeRegistry(), port=port)
    with registry:
        thread.join(30)
        assert not thread.is_alive(), "it has got its snapshot from the registry that came"
    assert caplog.text.count("it is an HTTP server") == 1


@contextmanager
def waiting_for_headers(*, is_http: bool) -> Iterator[str]:
    """A server that answers with the status line of HTTP once it has read an empty line, or never."""

    async def serve(stream: trio.SocketStream) -> None:
        received = b""
        async for data in stream:
            received += data
            if is_http and b"\r\n\r\n" in received:
                await stream.send_all(b"HTTP/1.0 200 OK\r\n\r\n")
                return

    async def main() -> None:
        with scope:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            places.append(listeners[0].socket.getsockname()[1])
            tokens.append(trio.lowlevel.current_trio_token())
            started.set()
            await trio.serve_listeners(serve, listeners)

    places: list[int] = []
    tokens: list[trio.lowlevel.TrioToken] = []
    scope, started = trio.CancelScope(), threading.Event()
    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    assert started.wait(10)
    yield f"127.0.0.1:{places[0]}"
    tokens[0].run_sync_soon(scope.cancel)
    thread.join()


def silent_blocking(address: str, token: str) -> None:
    with blocking.open_registry(address, token=token) as registry:
        registry.call("Discovery.Status", (), 0.2)


def silent_trio(address: str, token: str) -> None:
    async def main() -> None:
        async with minikube.open_registry(address, token=token) as registry:
            await registry.call("Discovery.Status", (), 0.2)

    trio.run(main)


def silent_asyncio(address: str, token: str) -> None:
    async def main() -> None:
        async with aio.open_registry(address, token=token) as registry:
            await registry.call("Discovery.Status", (), 0.2)

    asyncio.run(main())


@pytest.mark.parametrize("token", ["", "secret"])
@pytest.mark.parametrize("call", [silent_blocking, silent_trio, silent_asyncio])
def test_an_http_server_that_waits_for_more_lines_is_named(call: Callable[[str, str], None], token: str) -> None:
    with waiting_for_headers(is_http=True) as address:
        with pytest.raises(
            minikube.Unavailable, match=r"is not a registry: it is an HTTP server \('HTTP/1.0 "
        ) as caught:
            call(address, token)
        assert address in str(caught.value)


@pytest.mark.parametrize("call", [silent_blocking, silent_trio, silent_asyncio])
def test_a_server_that_never_answers_is_named_with_its_address(call: Callable[[str, str], None]) -> None:
    with (
        waiting_for_headers(is_http=False) as address,
        pytest.raises(minikube.Unavailable, match="no answer") as caught,
    ):
        call(address, "")
    assert address in str(caught.value)
