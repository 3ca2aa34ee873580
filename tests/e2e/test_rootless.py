"""An engine without root: containers find each other by name, and are registered where they are published."""

import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.reach import LOOK, SERVE
from tests.e2e.rootless import IMAGE, rootless_podman
from tests.e2e.small import Small
from tests.eventually import eventually
from tests.redis_server import RedisServer

pytestmark = pytest.mark.timeout(300)

VOLUMES = ["/usr:/usr:ro", "./serve.py:/serve.py:ro", "./look.py:/look.py:ro"]
CONTAINER = f"""image = "{IMAGE}"
volumes = {json.dumps(VOLUMES)}
command = ["python3", "/serve.py", "${{HOST}}", "${{PORT:-9000}}"]
stop = {{ signal = "KILL" }}
"""
SERVICES = f"""
[redis]
url = "redis://127.0.0.1:REDIS/0"

[containers]
engine = "podman"

[services.web]
{CONTAINER}port = "auto"
container_port = 8000
health = "/"

[services.cache]
{CONTAINER}
[services.hosted]
{CONTAINER}network = "host"
port = "auto"
health = "/"

[services.api]
command = ["python3", "serve.py", "${{HOST}}", "${{PORT}}"]
port = "auto"
health = "/"
"""
FETCH = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode())"


@pytest.fixture
def directory(need: Callable[[str], str], as_root: None) -> Iterator[Path]:
    with rootless_podman(need) as found:
        (found / "project").mkdir()
        yield found / "project"


def test_containers_of_an_engine_without_root_are_published_and_find_each_other(directory: Path) -> None:
    """One event says what is not reached; `network = "host"` reaches all, as the event says."""
    (directory / "serve.py").write_text(SERVE)
    (directory / "look.py").write_text(LOOK)
    (redis_dir := directory / "redis").mkdir()
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with RedisServer(redis_dir, port=port), Small(directory, SERVICES.replace("REDIS", str(port))) as project:
        project.run("up", "-d", "--wait", "--timeout", "120s")
        rows = {row.name: row for row in project.status().instances}
        web, api = rows["web"], rows["api"]
        assert web.address.startswith("127.0.0.1:")
        assert web.published == ""
        address = project.run("get", "web").strip()
        assert address == web.address
        done = subprocess.run(["python3", "-c", FETCH, f"http://{address}"], capture_output=True, text=True)
        assert done.stdout.strip() == web.id
        assert project.run("exec", "web", "--", "python3", "-c", FETCH, "http://cache:9000").strip() == rows["cache"].id
        places = json.dumps([api.address, web.address]), json.dumps(["web", "api", "hosted"])
        found = json.loads(project.run("exec", "hosted", "--", "python3", "/look.py", *places).splitlines()[-1])
        assert found["visited"] == {api.address: api.id, web.address: web.id}
        assert found["got"] == {name: rows[name].id for name in ("web", "api", "hosted")}
        assert (found["allowed"], found["redis"]) == (True, "+PONG")
        (event,) = project.events("containers.engine")
        assert event.startswith("podman runs without root")
        assert 'set network = "host"' in event
        project.run("down")
    eventually(lambda: subprocess.run(["podman", "ps", "-aq"], capture_output=True).stdout == b"", what="no container")
    mine = ("--filter", "label=mini-kube-discovery.mark")
    assert subprocess.run(["podman", "network", "ls", "-q", *mine], capture_output=True).stdout == b""
