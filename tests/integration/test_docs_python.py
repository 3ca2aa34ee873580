"""The Python programs of the documentation do what they say beside a real registry, also when it is killed and comes back."""

import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest
import trio

import minikube
from minikube import ChangeKind, WatchSnapshot
from tests.documents import program
from tests.eventually import eventually, soon
from tests.integration.registry.registry_process import Client, Registry, Service, services
from tests.ports import free_port
from tests.redis_server import RedisServer
from tests.untraced import untraced

LOOKUP, BLOCKING, LIFESPAN = map(program, ("find.py", "web.py", "api.py"))
WATCHES = [program(f"watch_{face}.py") for face in ("trio", "blocking", "asyncio")]


@pytest.fixture
def registry(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    made = Registry(redis_server.url)
    try:
        monkeypatch.setenv("MINIKUBE_REGISTRY", f"127.0.0.1:{made.start().port}")
        yield made
    finally:
        made.close()


@pytest.fixture
def product(registry: Registry) -> Iterator[Service]:
    with services(1) as (made,):
        registry.ready().call("Register", made.registration("product"))
        yield made


def run(source: str, port: int) -> "subprocess.Popen[str]":
    environ = {**untraced(), "SERVICE_NAME": "web", "INSTANCE_ID": "0badcafe", "PORT": str(port), "HOST": "127.0.0.1"}
    environ["PYTHONUNBUFFERED"] = "1"
    return subprocess.Popen([sys.executable, "-c", source], env=environ, stdout=subprocess.PIPE, text=True)


def test_the_lookup_prints_the_address(product: Service) -> None:
    with run(LOOKUP, 8080) as process:
        out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, f"product is at 127.0.0.1:{product.port}\n")


def test_the_lifespan_registers_and_deregisters(
    registry: Registry, product: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"SERVICE_NAME": "web", "PORT": "8080", "HOST": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    stay = "async with lifespan(None):\n        await asyncio.to_thread(input)"
    use = f"\nimport asyncio\nasync def main():\n    {stay}\nasyncio.run(main())"
    client = registry.client()
    with subprocess.Popen(
        [sys.executable, "-c", LIFESPAN + use], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        eventually(lambda: client.call("Services").get("web"), what="it is registered")
        process.communicate("\n", timeout=60)
    assert process.returncode == 0
    assert "web" not in client.call("Services"), "it has left"


def test_the_blocking_program_survives_the_registrys_death(registry: Registry, product: Service) -> None:
    port = free_port()
    client = registry.client()

    def says() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as reply:
            return str(reply.read().decode())

    with run(BLOCKING, port) as process:
        try:
            eventually(lambda: client.get("web") == port)
            assert says() == f"product is at 127.0.0.1:{product.port}\n"
            registry.kill()
            again = registry.start().ready()
            assert again.get("web") == port
            assert again.call("Deregister", "0badcafe") is True
            eventually(lambda: again.get("web") == port, what="it registers again where it is unknown")
            assert says() == f"product is at 127.0.0.1:{product.port}\n"
        finally:
            process.kill()
    eventually(lambda: again.get("web") == 0, what="the dead are noticed")


@pytest.mark.parametrize("source", WATCHES, ids=["trio", "blocking", "asyncio"])
def test_the_programs_that_watch_print_the_instances_then_the_changes(source: str, registry: Registry) -> None:
    client = registry.ready()
    with services(1) as (product,), run(source, 8080) as watcher:
        try:
            assert watcher.stdout is not None
            assert watcher.stdout.readline() == "now []\n"
            id_ = client.call("Register", product.registration("product"))
            here = f"127.0.0.1:{product.port}"
            update = next(line for line in watcher.stdout if "passing" in line)
            assert update == f"put {here} passing\n"
            assert client.call("Deregister", id_) is True
            assert next(line for line in watcher.stdout if "gone" in line).startswith(f"gone {here} ")
        finally:
            watcher.kill()


async def test_a_watch_goes_on_across_the_registrys_death(registry: Registry) -> None:
    client: Client = registry.ready()
    seen: list[tuple[str, int]] = []

    async def watch() -> None:
        async with minikube.watch("job") as updates:
            async for update in updates:
                if isinstance(update, WatchSnapshot):
                    seen.extend(("put", one.addr.Port) for one in update.instances)
                    started.set()
                elif update.kind is ChangeKind.PUT and update.instance.state == "passing":
                    seen.append(("put", update.instance.addr.Port))
                elif update.kind is ChangeKind.GONE:
                    seen.append(("gone", update.instance.addr.Port))

    def register(caller: Client, port: int) -> None:
        one = {"Name": "job", "Addr": f"127.0.0.1:{port}", "HealthCheck": "ttl:", "Lease": "60s", "Uuid": f"job-{port}"}
        caller.call("Register", one)

    async with trio.open_nursery() as nursery:
        started = trio.Event()
        nursery.start_soon(watch)
        await started.wait()
        for port in (1, 2):
            register(client, port)
        registry.kill()
        again = await trio.to_thread.run_sync(lambda: registry.start().ready())
        again.call("Deregister", "job-1")
        register(again, 3)
        await soon(lambda: len(seen) == 4)
        nursery.cancel_scope.cancel()
    assert seen == [("put", 1), ("put", 2), ("gone", 1), ("put", 3)], "each once and in order"
