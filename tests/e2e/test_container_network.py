"""Containers, processes and this machine reach each other in every direction, with Docker and with Podman."""

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from minikube.model import CheckState
from tests.e2e.engine import Base, docker
from tests.e2e.podman import IMAGE, Podman
from tests.e2e.reach import LOOK, SERVE
from tests.e2e.small import Small
from tests.eventually import eventually
from tests.redis_server import RedisServer

pytestmark = pytest.mark.timeout(300)


class EngineUnderTest(NamedTuple):
    """An engine, and an image with Python that it has."""

    kind: str
    image: str
    run: Callable[..., str]


@pytest.fixture(scope="module", params=["docker", "podman"])
def engine(request: pytest.FixtureRequest, base: Base) -> Iterator[EngineUnderTest]:
    if request.param == "docker":
        yield EngineUnderTest("docker", base.name, docker)
        return
    podman: Podman = request.getfixturevalue("podman")

    def run(*words: str) -> str:
        done = podman.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    yield EngineUnderTest("podman", IMAGE, run)


CONTAINER = 'image = "IMAGE"\nvolumes = ["./serve.py:/serve.py:ro", "./look.py:/look.py:ro"]\n'
SERVICES = f"""
[redis]
url = "redis://127.0.0.1:REDIS/0"

[containers]
engine = "ENGINE"

[services.web]
{CONTAINER}command = ["python3", "/serve.py", "${{HOST}}", "${{PORT}}"]
port = "auto"
container_port = 8000
health = "/"
replicas = 2

[services.cache]
{CONTAINER}command = ["python3", "/serve.py", "${{HOST}}", "9000", "${{PORT_STATS}}"]
ports = {{ stats = {{ port = "auto", container_port = 9001, protocol = "udp" }} }}

[services.hosted]
{CONTAINER}command = ["python3", "/serve.py", "${{HOST}}", "${{PORT}}"]
network = "host"
port = "auto"
health = "/"

[services.api]
command = ["python3", "serve.py", "${{HOST}}", "${{PORT}}", "${{PORT_ADMIN}}"]
port = "auto"
ports = {{ admin = "auto" }}
health = "/"

[services.wild]
command = ["python3", "serve.py", "0.0.0.0", "${{PORT}}"]
port = "auto"
health = "/"
"""


class Shop(Small):
    """The services of this file, and what each of them finds."""

    def wait_passing(self) -> None:
        eventually(
            lambda: all(
                row.state == "running" and row.check in (CheckState.PASSING, None) for row in self.status().instances
            ),
            what="everything passes",
        )

    def ids(self) -> dict[str, str]:
        return {row.name: row.id for row in self.status().instances}

    def published(self, name: str) -> str:
        row = self.instance(name)
        assert row is not None
        return row.published or row.address

    def look(self, place: str, expected: dict[str, str]) -> None:
        """Assert that `expected`, address → instance name, and all services by `Get`, are found from an instance."""
        ids = self.ids()
        script = [str(self.directory / "look.py")] if place in ("api", "wild") else ["/look.py"]
        services = {"web": {ids["web-1"], ids["web-2"]}} | {name: {ids[name]} for name in ("api", "wild", "hosted")}
        words = ("python3", *script, json.dumps([*expected]), json.dumps([*services]))
        found: dict[str, Any] = json.loads(self.run("exec", place, "--", *words).splitlines()[-1])
        assert found["visited"] == {address: ids[name] for address, name in expected.items()}, place
        assert {name for name, ids in services.items() if found["got"][name] not in ids} == set(), (place, found)
        assert found["redis"] == "+PONG"
        if place.startswith("web"):
            assert "a caller whose user is not known may not change it" in found["forbidden"]
        assert found["allowed"] is True

    def look_from_the_network(self) -> None:
        """Look from a container of the network, at all services by name."""
        ports = {name: self.published(name).rpartition(":")[2] for name in ("api", "wild", "hosted")}
        api = self.instance("api")
        assert api is not None
        by_name = {"web-1:8000": "web-1", "web-2:8000": "web-2", "cache:9000": "cache"}
        by_name |= {f"{name}:{port}": name for name, port in ports.items()} | {f"api:{api.ports['admin']}": "api"}
        self.look("web-1", by_name)

    def look_around(self) -> None:
        """Look from a container of the network, from one without, from a process, and from this machine."""
        self.look_from_the_network()
        cache = self.instance("cache")
        assert cache is not None
        published = {self.published(name): name for name in ("web-1", "web-2", "api", "wild", "hosted")}
        self.look("hosted", published)
        self.look("api", published)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(30)
            sock.sendto(b"udp", ("127.0.0.1", cache.ports["stats"]))
            assert sock.recv(100) == b"udp"


def test_everything_is_reached_from_everywhere_also_after_kills(tmp_path: Path, engine: EngineUnderTest) -> None:
    """By name, by `Get` and where it is published; the registry gives rights to a token only; a stop leaves no network.

    A network that vanished is made again.
    """
    (tmp_path / "serve.py").write_text(SERVE)
    (tmp_path / "look.py").write_text(LOOK)
    (redis_dir := tmp_path / "redis").mkdir()
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    text = SERVICES.replace("IMAGE", engine.image).replace("ENGINE", engine.kind).replace("REDIS", str(port))
    with RedisServer(redis_dir, port=port), Shop(tmp_path, text) as shop:
        shop.run("up", "-d")
        shop.wait_passing()
        shop.look_around()
        row = shop.instance("web-1")
        assert row is not None
        assert row.address.endswith(":8000")
        assert not row.address.startswith("127.")
        assert row.published.startswith("127.0.0.1:")
        assert row.published in shop.run("ps")
        assert row.address in shop.run("describe", "web-1")
        assert "containers do not reach" not in "\n".join(shop.events())

        registry = next(part.pid for part in shop.status().parts if part.name == "registry")
        before = {name: shop.pid(name) for name in ("web-1", "api", "hosted")}
        for pid in (*before.values(), registry):
            os.kill(pid, signal.SIGKILL)
        for name, pid in before.items():
            eventually(lambda name=name, pid=pid: shop.pid(name) != pid, what=f"another {name}")  # type: ignore[misc]
        shop.wait_passing()
        shop.look_around()

        # What `docker network prune` does, and what is wrong with a network afterwards.
        shop.run("stop", "web", "cache")
        mine = ("--filter", "label=mini-kube-discovery.mark")
        engine.run("network", "rm", engine.run("network", "ls", "--quiet", *mine))
        shop.run("start", "web", "cache", code=None)
        shop.wait_passing()
        shop.look_from_the_network()
        shop.run("down")
    assert engine.run("ps", "--all", "--quiet", *mine) == engine.run("network", "ls", "--quiet", *mine) == ""
