"""The SDK's trio, asyncio and blocking clients against a registry on a real socket: the same promises for each."""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import minikube
from minikube import aio, blocking
from minikube.jsonrpc.messages import Request, RpcError, encode_reply
from minikube.net.rpc.interface import RpcConnection
from minikube.net.rpc.server import serve_rpc
from tests.eventually import eventually, soon
from tests.ports import free_port


class FakeRegistry:
    """A registry in memory: every registered instance passes."""

    notifying_methods = frozenset({"Discovery.Watch"})

    def __init__(self, token: str = "") -> None:
        self.token = token
        self.instances: dict[str, dict[str, Any]] = {}
        self.revision = 0
        self.asked: list[tuple[str, Any]] = []
        self.peers: set[RpcConnection] = set()
        self.watchers: list[RpcConnection] = []
        self.oldest = 0
        self.takes_incarnation = True
        self.incarnation = 6
        self.silent = 0
        """How many watches more are not answered; until then nothing is."""

    def on_ended(self, request: Request, connection: RpcConnection) -> None:
        pass

    def on_handled(self, count: int, seconds: float) -> None:
        pass

    def try_fast(self, data: bytes, peer: RpcConnection) -> bytes | None:
        return None

    def handle_sync(self, request: Request, peer: RpcConnection) -> bytes | None:
        self.peers.add(peer)
        params: Any = request.params
        self.asked.append((request.method, params))
        if request.method == "Discovery.Authenticate":
            peer.authenticated = params[0] == self.token
            if not peer.authenticated:
                raise RpcError(-32001, "wrong token")
            return encode_reply(request, True)
        if self.token and not peer.authenticated:
            raise RpcError(-32001, "a token is needed")
        if request.method != "Discovery.Watch" or self.silent:
            self.silent -= request.method == "Discovery.Watch"
            return None
        if len(params) > 1 and params[1] < self.oldest:
            raise RpcError(-32011, "compacted")
        self.watchers.append(peer)
        resumed = len(params) > 1
        found = None if resumed else list(self.instances.values())
        return encode_reply(request, {"Watch": 1, "Revision": self.revision, "Instances": found})

    async def handle(self, request: Request, peer: RpcConnection) -> Any:
        params: Any = request.params
        if self.silent or request.method == "Discovery.Watch":
            await trio.sleep_forever()
        match request.method.removeprefix("Discovery."):
            case "Register":
                return self.put(params[0])
            case "Get":
                for instance in self.instances.values():
                    if instance["Name"] == params[0]:
                        return instance["Addr"]
                raise minikube.NotFound(f"{params[0]}: no passing instance")
            case "Deregister":
                return self.drop(params[0])
            case "Renew" if params[0] in self.instances:
                if len(params) > 3 and not self.takes_incarnation:
                    raise RpcError(-32602, "invalid params: expected at most 3 (Id, State, Output), got 4")
                if len(params) > 3 and params[3] != self.instances[params[0]]["Incarnation"]:
                    raise minikube.NotFound(f"{params[0]}: replaced")
                return True
            case "Renew":
                raise minikube.NotFound(f"{params[0]}: unknown")
            case "Instances":
                return list(self.instances.values())
            case "Services":
                return {"web": {"passing": 1}}
            case "Wait":
                return {"Revision": self.revision, "Instances": list(self.instances.values())}
            case "Maintenance" | "Sleep":
                await trio.sleep(0 if params else 10)
                return True
            case "Status":
                return {"Version": "1", "More": [1]}
        raise RpcError(-32601, f"no method {request.method}")

    def put(self, registration: dict[str, Any]) -> str:
        id_ = registration.get("Uuid") or f"{len(self.instances):08x}"
        plain = {key: registration[key] for key in ("Name", "Addr", "HealthCheck")}
        self.incarnation += 1
        self.instances[id_] = {**plain, "Uuid": id_, "State": "passing", "Incarnation": self.incarnation}
        self.notify("put", self.instances[id_])
        return str(id_)

    def drop(self, id_: str) -> bool:
        gone = self.instances.pop(id_, None)
        if gone:
            self.notify("gone", gone)
        return gone is not None

    def notify(self, kind: str, instance: dict[str, Any]) -> None:
        self.revision += 1
        change = {"Watch": 1, "Revision": self.revision, "Kind": kind, "Instance": instance}
        for peer in self.watchers:
            peer.notify("Discovery.Changed", change)

    def cut(self) -> None:
        """Lose every connection."""
        for peer in self.peers:
            peer.abort("cut")
        self.peers.clear()
        self.watchers.clear()

    def hang(self) -> None:
        """Say nothing, on no connection, to the next two watches either."""
        self.watchers.clear()
        self.oldest, self.silent = 99, 2

    def names(self) -> list[str]:
        return [instance["Name"] for instance in self.instances.values()]


@asynccontextmanager
async def serving(registry: FakeRegistry, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    async with trio.open_nursery() as nursery:
        ((host, port),) = await nursery.start(partial(serve_rpc, registry, ("127.0.0.1", port), tls=tls))
        yield f"{host}:{port}"
        nursery.cancel_scope.cancel()


class Background:
    """A registry in a thread of its own, for programs that are not trio."""

    def __init__(self, registry: FakeRegistry, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.registry = registry
        self._port = port
        self._tls = tls
        self.address = ""
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._main,))

    async def _main(self) -> None:
        self._token, self._stop = trio.lowlevel.current_trio_token(), trio.Event()
        async with serving(self.registry, self._port, self._tls) as self.address:
            self._ready.set()
            await self._stop.wait()

    def do(self, function: Callable[..., Any], *args: Any) -> Any:
        return trio.from_thread.run_sync(function, *args, trio_token=self._token)

    def __enter__(self) -> "Background":
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.do(self._stop.set)
        self._thread.join()


@contextmanager
def background(token: str = "") -> Iterator[Background]:
    with Background(FakeRegistry(token)) as running:
        yield running


REGISTRATION = minikube.Registration("web", minikube.Address("127.0.0.1", 80), "tcp://127.0.0.1:80", "0badcafe")


def test_blocking_every_method_has_its_shape() -> None:
    with background() as running, blocking.open_registry(running.address) as registry:
        assert registry.register(REGISTRATION) == "0badcafe"
        assert registry.get("web") == minikube.Address("127.0.0.1", 80)
        assert registry.renew("0badcafe")
        assert [type(instance) for instance in registry.instances("web")] == [minikube.Instance]
        assert registry.services() == {"web": {"passing": 1}}
        assert registry.wait("web", 0, 0.1).revision == 1
        assert registry.maintenance("0badcafe", True, "why")
        assert registry.status()["Version"] == "1"
        assert registry.call("Discovery.Status") == {"Version": "1", "More": [1]}
        assert registry.deregister("0badcafe", 7)
        with pytest.raises(minikube.NotFound, match="no passing instance"):
            registry.get("web")
        with pytest.raises(minikube.RemoteError, match="no method"):
            registry.call("Discovery.Nothing")


async def test_trio_every_method_has_its_shape() -> None:
    async with serving(FakeRegistry()) as address, minikube.open_registry(address) as registry:
        assert await registry.register(REGISTRATION) == "0badcafe"
        assert await registry.get("web") == minikube.Address("127.0.0.1", 80)
        assert await registry.renew("0badcafe")
        assert [type(instance) for instance in await registry.instances("web")] == [minikube.Instance]
        assert await registry.services() == {"web": {"passing": 1}}
        assert (await registry.wait("web", 0, 0.1)).revision == 1
        assert await registry.maintenance("0badcafe", True, "why")
        assert (await registry.status())["Version"] == "1"
        assert await registry.call("Discovery.Status") == {"Version": "1", "More": [1]}
        assert await registry.deregister("0badcafe", 7)
        with pytest.raises(minikube.NotFound, match="no passing instance"):
            await registry.get("web")
        with pytest.raises(minikube.RemoteError, match="no method"):
            await registry.call("Discovery.Nothing")


def test_asyncio_every_method_has_its_shape() -> None:
    async def main(address: str) -> None:
        async with aio.open_registry(address) as registry:
            assert await registry.register(REGISTRATION) == "0badcafe"
            assert await registry.get("web") == minikube.Address("127.0.0.1", 80)
            assert await registry.renew("0badcafe")
            assert [type(instance) for instance in await registry.instances("web")] == [minikube.Instance]
            assert await registry.services() == {"web": {"passing": 1}}
            assert (await registry.wait("web", 0, 0.1)).revision == 1
            assert await registry.maintenance("0badcafe", True, "why")
            assert (await registry.status())["Version"] == "1"
            assert await registry.call("Discovery.Status") == {"Version": "1", "More": [1]}
            assert await registry.deregister("0badcafe", 7)
            with pytest.raises(minikube.NotFound, match="no passing instance"):
                await registry.get("web")
            with pytest.raises(minikube.RemoteError, match="no method"):
                await registry.call("Discovery.Nothing")

    with background() as running:
        asyncio.run(main(running.address))


# ---------------------------------------------------------------- staying registered


async def test_trio_registered_for_the_length_of_the_block() -> None:
    registry = FakeRegistry()
    async with serving(registry) as address:
        async with minikube.registered("web", 80, address=address, tags=["a"]) as kept:
            await soon(lambda: kept.registered)
            assert await minikube.discover("web", address=address) == minikube.Address("127.0.0.1", 80)
            await soon(lambda: ("Discovery.Instances", ["web"]) in registry.asked)
        assert registry.asked[-1][0] == "Discovery.Deregister"
        assert registry.names() == []


def test_blocking_registered_for_the_length_of_the_block() -> None:
    with background() as running:
        with blocking.registered("web", 80, address=running.address, host="0.0.0.0") as kept:
            eventually(lambda: kept.registered)
            assert blocking.discover("web", address=running.address) == minikube.Address("127.0.0.1", 80)
        assert running.registry.names() == []


def test_asyncio_registered_for_the_length_of_the_block() -> None:
    async def main(running: Background) -> None:
        async with aio.registered("web", 80, address=running.address, host="0.0.0.0") as kept:
            while not kept.registered:
                await asyncio.sleep(0.005)
            assert await aio.discover("web", address=running.address) == minikube.Address("127.0.0.1", 80)
        assert running.registry.names() == []

    with background() as running:
        asyncio.run(main(running))


async def test_trio_deregisters_when_cancelled_and_lets_errors_through() -> None:
    registry = FakeRegistry()
    async with serving(registry) as address:
        with trio.CancelScope() as scope:
            async with minikube.registered("web", 80, address=address, host="0.0.0.0") as kept:
                await soon(lambda: kept.registered)
                scope.cancel()
                await trio.sleep_forever()
        assert registry.names() == []
        with pytest.raises(KeyError, match="mine"):
            async with minikube.registered("web", 80, address=address):
                raise KeyError("mine")


async def test_trio_registers_as_soon_as_a_registry_appears() -> None:
    port, registry = free_port(), FakeRegistry()
    async with minikube.registered("web", 80, address=f"127.0.0.1:{port}") as kept:
        await soon(lambda: kept.problem)
        async with serving(registry, port):
            await soon(lambda: kept.registered)


def test_blocking_leaves_quickly_when_there_is_no_registry() -> None:
    start = time.monotonic()
    with blocking.registered("web", 80, address=f"127.0.0.1:{free_port()}") as kept:
        eventually(lambda: kept.problem)
    assert time.monotonic() - start < 10


async def test_trio_registers_again_where_it_was_forgotten() -> None:
    registry = FakeRegistry()
    async with serving(registry) as address, minikube.registered("web", 80, address=address) as kept:
        await soon(lambda: ("Discovery.Instances", ["web"]) in registry.asked)
        registry.instances.clear()
        registry.cut()
        await soon(lambda: registry.names() == ["web"])
        assert kept.id == "00000000"


def test_blocking_registers_again_where_it_was_forgotten() -> None:
    with background() as running, blocking.registered("web", 80, address=running.address):
        eventually(lambda: ("Discovery.Instances", ["web"]) in running.registry.asked)
        running.do(running.registry.instances.clear)
        running.do(running.registry.cut)
        eventually(lambda: running.registry.names() == ["web"])


def test_asyncio_registers_again_where_it_was_forgotten() -> None:
    async def main(running: Background) -> None:
        async with aio.registered("web", 80, address=running.address):
            while ("Discovery.Instances", ["web"]) not in running.registry.asked:
                await asyncio.sleep(0.005)
            running.do(running.registry.instances.clear)
            running.do(running.registry.cut)
            while running.registry.names() != ["web"]:
                await asyncio.sleep(0.005)

    with background() as running:
        asyncio.run(asyncio.wait_for(main(running), 30))


# ---------------------------------------------------------------- connections


async def test_trio_a_lost_connection_is_replaced_unseen() -> None:
    registry = FakeRegistry()
    async with serving(registry) as address, minikube.open_registry(address) as client:
        await client.register(REGISTRATION)
        for _ in range(3):
            registry.cut()
            assert (await client.get("web")).Port == 80


def test_blocking_a_lost_connection_is_replaced_unseen() -> None:
    with background() as running, blocking.open_registry(running.address) as client:
        client.register(REGISTRATION)
        for _ in range(3):
            running.do(running.registry.cut)
            assert client.get("web").Port == 80


async def test_a_registry_that_restarts_is_waited_for() -> None:
    registry, port = FakeRegistry(), free_port()
    async with minikube.open_registry(f"127.0.0.1:{port}") as client:
        async with serving(registry, port):
            await client.register(REGISTRATION)

        async def come_back(*, task_status: trio.TaskStatus[None]) -> None:
            async with serving(registry, port):
                task_status.started()
                await trio.sleep_forever()

        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                assert (await client.get("web")).Port == 80
                nursery.cancel_scope.cancel()

            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            await nursery.start(come_back)


async def test_a_refused_connection_is_unavailable_at_once() -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(minikube.Unavailable, match="Connection refused") as caught:
        await minikube.discover("web", address=address)
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    with pytest.raises(minikube.Unavailable, match="Connection refused") as blocked:
        blocking.discover("web", address=address)
    assert isinstance(blocked.value.__cause__, ConnectionRefusedError)


def test_asyncio_a_refused_connection_is_unavailable_at_once() -> None:
    with pytest.raises(minikube.Unavailable) as caught:
        asyncio.run(aio.discover("web", address=f"127.0.0.1:{free_port()}"))
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


async def test_no_answer_in_time_is_unavailable_and_a_connection_that_is_silent_is_replaced() -> None:
    registry = FakeRegistry()
    async with serving(registry) as address, minikube.open_registry(address) as client:
        with pytest.raises(minikube.Unavailable, match="no answer"):
            await client.call("Discovery.Sleep", (), 0.05)
        assert (await client.status())["Version"] == "1"
        assert len(registry.peers) == 2


def test_asyncio_a_registry_that_accepts_and_never_replies_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the client first has to learn its own address from the connection."""

    async def main(port: int) -> None:
        async with aio.registered("web", 80, address=f"127.0.0.1:{port}", token="t", host="0.0.0.0") as keeper:
            while not keeper.problem:
                await asyncio.sleep(0.01)
            assert "no answer" in keeper.problem

    monkeypatch.setattr("minikube.sdk.asyncio.CALL_TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        asyncio.run(asyncio.wait_for(main(mute.getsockname()[1]), 30))


def test_no_answer_in_time_is_unavailable_everywhere() -> None:
    async def main(address: str) -> None:
        async with aio.open_registry(address) as client:
            with pytest.raises(minikube.Unavailable, match="no answer"):
                await client.call("Discovery.Sleep", (), 0.05)
            assert (await client.status())["Version"] == "1"

    with background() as running:
        with blocking.open_registry(running.address) as client:
            with pytest.raises(minikube.Unavailable, match="no answer"):
                client.call("Discovery.Sleep", (), 0.05)
            assert client.status()["Version"] == "1"
        asyncio.run(main(running.address))
        assert len(running.registry.peers) == 4, "who was silent is replaced"


async def test_the_token_is_sent_first_and_a_wrong_token_is_reported() -> None:
    registry = FakeRegistry("secret")
    async with serving(registry) as address:
        async with minikube.open_registry(address, token="secret") as client:
            assert (await client.status())["Version"] == "1"
        with pytest.raises(minikube.RemoteError, match="wrong token"):
            await minikube.discover("web", address=address, token="guess")
        with pytest.raises(minikube.RemoteError, match="wrong token"):
            async with minikube.watch("web", address=address, token="guess") as updates:
                await anext(updates)


def test_the_token_is_given_first_everywhere() -> None:
    async def main(address: str) -> None:
        async with aio.open_registry(address, token="secret") as client:
            assert (await client.status())["Version"] == "1"
        with pytest.raises(minikube.RemoteError, match="wrong token"):
            await aio.discover("web", address=address, token="guess")

    with background("secret") as running:
        with blocking.open_registry(running.address, token="secret") as client:
            assert client.status()["Version"] == "1"
        with pytest.raises(minikube.RemoteError, match="wrong token"):
            blocking.discover("web", address=running.address, token="guess")
        asyncio.run(main(running.address))


async def use_everywhere(address: str) -> list[str]:
    """Ask for the status and watch with each client; return the versions and the revisions of the snapshots."""

    def block() -> list[str]:
        with blocking.open_registry(address) as client, client.watch() as updates:
            return [client.status()["Version"], str(next(updates).revision)]

    async def with_asyncio() -> list[str]:
        async with aio.open_registry(address) as client, client.watch() as updates:
            return [(await client.status())["Version"], str((await anext(updates)).revision)]

    async with minikube.open_registry(address) as client, client.watch() as updates:
        found = [(await client.status())["Version"], str((await anext(updates)).revision)]
    found += await trio.to_thread.run_sync(block)
    return found + await trio.to_thread.run_sync(lambda: asyncio.run(with_asyncio()))


async def test_a_registry_that_needs_no_token_is_used_without_the_environments_where_it_does_not_know_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MINIKUBE_REGISTRY_TOKEN", "of:another:project")
    registry = FakeRegistry()
    async with serving(registry) as address:
        assert await use_everywhere(address) == ["1", "0"] * 3
        text = (
            f"the registry at {address} does not know the token in MINIKUBE_REGISTRY_TOKEN; it is used without a token"
        )
        assert caplog.messages == [text], "once, however often it connects"
        with pytest.raises(minikube.RemoteError, match="wrong token"):
            await minikube.discover("web", address=address, token="of:another:project")


async def test_a_registry_that_needs_a_token_refuses_the_environments_wrong_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MINIKUBE_REGISTRY_TOKEN", "guess")
    async with serving(FakeRegistry("secret")) as address:
        with pytest.raises(minikube.RemoteError, match="wrong token"):
            await minikube.discover("web", address=address)
        with pytest.raises(minikube.RemoteError, match="wrong token"):
            await trio.to_thread.run_sync(lambda: blocking.discover("web", address=address))
        with pytest.raises(minikube.RemoteError, match="wrong token"):
            await trio.to_thread.run_sync(lambda: asyncio.run(aio.discover("web", address=address)))
        with pytest.raises(minikube.RemoteError, match="wrong token"):
            async with minikube.watch("web", address=address) as updates:
                await anext(updates)
    assert not caplog.messages


# ---------------------------------------------------------------- watching


def other(name: str) -> dict[str, Any]:
    return {"Name": name, "Addr": {"IP": "127.0.0.1", "Port": 1}, "HealthCheck": "", "Uuid": name}


async def test_trio_a_watch_goes_on_over_lost_connections_without_a_gap() -> None:
    registry = FakeRegistry()
    async with serving(registry) as address, minikube.watch("*", address=address) as updates:
        assert isinstance(await anext(updates), minikube.WatchSnapshot)
        registry.put(other("a"))
        assert isinstance(change := await anext(updates), minikube.Change)
        assert (change.revision, change.instance.name) == (1, "a")
        registry.cut()
        async with trio.open_nursery() as nursery:

            async def follow() -> None:
                assert (await anext(updates)).revision == 2

            nursery.start_soon(follow)
            await soon(lambda: registry.watchers)
            assert registry.asked[-1] == ("Discovery.Watch", ["*", 1])
            registry.put(other("b"))
        registry.cut()
        registry.oldest = 99
        assert isinstance(again := await anext(updates), minikube.WatchSnapshot)
        assert [instance.name for instance in again.instances] == ["a", "b"]


def test_blocking_a_watch_goes_on_over_lost_connections_without_a_gap() -> None:
    with background() as running, blocking.watch("*", address=running.address) as updates:
        registry = running.registry
        assert isinstance(next(updates), minikube.WatchSnapshot)
        running.do(registry.put, other("a"))
        assert next(updates).revision == 1
        running.do(registry.cut)
        running.do(setattr, registry, "oldest", 99)
        assert isinstance(next(updates), minikube.WatchSnapshot)
        running.do(registry.put, other("b"))
        assert next(updates).revision == 2


def test_asyncio_a_watch_goes_on_over_lost_connections_without_a_gap() -> None:
    async def main(running: Background) -> None:
        registry = running.registry
        async with aio.watch("*", address=running.address) as updates:
            assert isinstance(await anext(updates), minikube.WatchSnapshot)
            running.do(registry.put, other("a"))
            assert (await anext(updates)).revision == 1
            running.do(registry.cut)
            running.do(setattr, registry, "oldest", 99)
            assert isinstance(await anext(updates), minikube.WatchSnapshot)
            running.do(registry.put, other("b"))
            assert (await anext(updates)).revision == 2

    with background() as running:
        asyncio.run(asyncio.wait_for(main(running), 30))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minikube.sdk.watch.QUIET_S", 0.05)
    monkeypatch.setattr("minikube.sdk.watch.REPLY_S", 0.2)


@pytest.mark.usefixtures("impatient")
async def test_trio_a_watch_leaves_a_registry_that_hangs() -> None:
    registry = FakeRegistry()
    async with serving(registry) as address, minikube.watch("*", address=address) as updates:
        assert isinstance(await anext(updates), minikube.WatchSnapshot)
        registry.hang()
        with trio.fail_after(30):
            assert isinstance(await anext(updates), minikube.WatchSnapshot)
        assert "Discovery.Status" in [method for method, _ in registry.asked]


@pytest.mark.usefixtures("impatient")
def test_blocking_a_watch_leaves_a_registry_that_hangs() -> None:
    with background() as running, blocking.watch("*", address=running.address) as updates:
        assert isinstance(next(updates), minikube.WatchSnapshot)
        running.do(running.registry.hang)
        assert isinstance(next(updates), minikube.WatchSnapshot)


@pytest.mark.usefixtures("impatient")
def test_asyncio_a_watch_leaves_a_registry_that_hangs() -> None:
    async def main(running: Background) -> None:
        async with aio.watch("*", address=running.address) as updates:
            assert isinstance(await anext(updates), minikube.WatchSnapshot)
            running.do(running.registry.hang)
            assert isinstance(await anext(updates), minikube.WatchSnapshot)

    with background() as running:
        asyncio.run(asyncio.wait_for(main(running), 30))
