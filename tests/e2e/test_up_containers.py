"""The shop in containers, run by the real command: the same promises as for processes, and no container left."""

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from minikube.engine.command import project_mark
from tests.e2e.engine import Built, docker
from tests.e2e.running import ROOT, http, running
from tests.eventually import eventually

pytestmark = pytest.mark.timeout(600)

AUTO = """
[services.many]
image = "IMAGE"
command = ["python", "-m", "http.server", "${PORT}", "--bind", "${HOST}"]
runtime = "container"
port = "auto"
health = "/"
stop = { timeout = "40s" }

[services.fixed]
image = "IMAGE"
command = ["python", "-m", "http.server", "8000"]
runtime = "container"
port = "auto"
container_port = 8000
health = "/"
init = true
cwd = "/pages"
volumes = ["./pages:/pages:ro"]
env = { API_KEY = "hidden-value", PATH = "/opt/minikube/bin:/usr/bin:/bin" }
stop = { command = ["python", "-c", "import time; time.sleep(4321)"], timeout = "1s" }
limits = { memory = "64M", cpus = 0.5, pids = 50, nofile = 256 }

[services.checked]
image = "IMAGE"
network = "host"
command = ["sleep", "1000"]
runtime = "container"
init = true
health = { command = ["sh", "-c", "test -e /tmp/ok || sleep 5432"], interval = "500ms", timeout = "1s" }

[services.greedy]
image = "IMAGE"
network = "host"
command = ["python", "-c", "bytearray(200_000_000)"]
runtime = "container"
limits = { memory = "32M" }
"""

WRONG = """
[services.missing]
image = "localhost:1/no-such-image:1"
pull = "never"

[services.unbuildable]
build = "./unbuildable"

[services.nocommand]
image = "IMAGE"
command = ["no-such-program"]
runtime = "container"

[services.claimed]
image = "IMAGE"

[services.novolume]
image = "IMAGE"
volumes = ["./not-there:/data:ro"]
"""


class boxed(running):
    """The shop of `containers.toml`, with images that are built already, or built again with `anew`.

    `processes` names those that run as processes all the same.
    """

    def __init__(
        self, directory: Path, built: Built, extra: str = "", *, processes: tuple[str, ...] = (), anew: bool = False
    ) -> None:
        super().__init__(directory)
        text = self.translate((ROOT / "containers.toml").read_text()).replace(
            'context = "."', f'context = "{built.context}"'
        )
        for name in () if anew else ("product", "order"):
            text = text.replace(f"[services.{name}]", f'[services.{name}]\nimage = "{built.tags[name]}"')
        for name in processes:
            words = f'command = ["${{MINIKUBE_PYTHON}}", "-m", "services.{name}"]\ncwd = "{ROOT}"\nruntime = "process"'
            text = text.replace(f"[services.{name}]", f"[services.{name}]\n{words}")
        for name in ("registry", "control"):
            text += f'\n[{name}]\nlisten = "127.0.0.1:{self.ports[name]}"\n'
        self.manifest.write_text(text + extra.replace("IMAGE", built.tags["product"]))
        self.mark = project_mark(directory / ".minikube")

    def containers(self) -> list[str]:
        """Names of all that the engine has of this project, running or not."""
        form = ("--format", "{{.Names}}")
        return docker("ps", "--all", "--filter", f"label=mini-kube-discovery.mark={self.mark}", *form).split()

    def __enter__(self) -> "boxed":
        self.start()
        try:
            self.wait_passing("product", "order", within=120)
        except BaseException:
            self.end()
            raise
        return self

    def container(self, instance: str) -> str:
        return next(name for name in self.containers() if name.endswith(f"-{instance}"))

    def end(self) -> None:
        super().end()
        if left := self.containers():
            docker("rm", "--force", *left)
        if made := docker("image", "ls", "--quiet", f"minikube-shop-{self.mark[:8]}-*").split():
            docker("image", "rm", "--force", *set(made))


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, built: Built) -> None:
    """Set the variables that containers.toml takes from the environment."""
    monkeypatch.setenv("BASE", built.base)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")


@pytest.fixture
def shop(tmp_path: Path, built: Built) -> Iterator[boxed]:
    with boxed(tmp_path, built, anew=True) as project:
        yield project


def command_lines() -> str:
    """Return the command lines of all processes of this machine."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
            except OSError:
                continue
    return "\n".join(found)


def test_the_shop_in_containers_keeps_every_promise(shop: boxed) -> None:
    """Ten apples are sold and no eleventh; kill, hang and stop work as with processes; no container is left."""
    assert {row["kind"] for row in shop.status()["services"]} == {"container"}
    answers = [shop.http("order", "/purchase/aaa") for _ in range(11)]
    assert [answer.status for answer in answers] == [200] * 10 + [409]
    assert len(shop.containers()) == 2
    with shop.redis() as client:
        (key,) = client.keys("{minikube}:instance:product:*")
        assert client.hgetall(key)["addr"] == shop.instance("product")["address"]
    assert shop.instance("product")["address"].partition(":")[0] not in ("", "127.0.0.1", "0.0.0.0")
    assert shop.instance("product")["published"] == f"127.0.0.1:{shop.ports['product']}"

    before = shop.instance("product")
    change = shop.kill_and_watch("product")
    assert (change.kind, change.instance.uuid) == ("gone", before["id"])
    eventually(lambda: shop.instance("product")["pid"] != before["pid"], what="its end on the board")
    shop.wait_passing("product")
    row = shop.instance("product")
    assert (row["restarts"], row["pid"] != before["pid"]) == (1, True)
    eventually(lambda: shop.http("order", "/purchase/bbb").status == 200)

    docker("pause", shop.container("product"))
    eventually(lambda: not shop.found("product"))
    eventually(lambda: shop.http("order", "/purchase/bbb").status == 503, what="the order service was told, too")
    assert "retry-after" in shop.http("order", "/purchase/bbb").headers
    docker("unpause", shop.container("product"))
    eventually(lambda: shop.found("product"))
    assert shop.instance("product")["restarts"] == 1

    shop.run("stop", "product")
    eventually(lambda: not shop.found("product"))
    assert [name.rpartition("-")[2] for name in shop.containers()] == ["order"]
    shop.run("start", "product")
    shop.wait_passing("product")
    assert "listening on" in shop.run("logs", "product")
    assert shop.stop() == 0
    assert shop.containers() == []
    assert shop.processes() == []
    assert not (shop.directory / ".minikube" / "containers.json").exists()


def test_kill_9_of_the_supervisor_leaves_no_container(tmp_path: Path, built: Built) -> None:
    """The guardian removes them; where it was killed too, the next `up` does. The stock stays the same."""
    with boxed(tmp_path, built) as shop:
        assert shop.http("order", "/purchase/aaa").body["remaining"] == 9
        os.kill(shop.status()["pid"], signal.SIGKILL)
        eventually(lambda: shop.containers() == [], what="no container")
        assert shop.up is not None
        assert shop.up.wait(timeout=60) != 0
        shop.start()
        shop.wait_passing("product", "order")
        assert shop.http("order", "/purchase/aaa").body["remaining"] == 8

        pids = json.loads((tmp_path / ".minikube" / "supervisor.json").read_text())
        before = docker("inspect", "--format", "{{.Id}}", shop.container("product"))
        os.kill(pids["guardian_pid"], signal.SIGKILL)
        os.kill(pids["pid"], signal.SIGKILL)
        shop.up.wait(timeout=60)
        shop.start()
        shop.wait_passing("product", "order")
        assert docker("inspect", "--format", "{{.Id}}", shop.container("product")) != before
        assert shop.http("order", "/purchase/aaa").body["remaining"] == 7


@pytest.mark.parametrize("process", ["product", "order"])
def test_processes_and_containers_find_each_other(tmp_path: Path, built: Built, process: str) -> None:
    with boxed(tmp_path, built, processes=(process,)) as shop:
        kinds = {row["name"]: row["kind"] for row in shop.status()["services"]}
        assert kinds == {"product": "container", "order": "container"} | {process: "process"}
        assert shop.http("order", "/purchase/aaa").body["remaining"] == 9
        assert len(shop.containers()) == 1
        assert shop.stop() == 0
        assert shop.containers() == []


def test_replicas_have_addresses_of_their_own_and_no_network_is_left(tmp_path: Path, built: Built) -> None:
    """Each container is registered at its own address, all at one port; processes reach them; the guardian removes the network."""
    shop = boxed(tmp_path, built, processes=("order",))
    fixed = f"port = {shop.ports['product']}\n"
    own = "port = 'auto'\ncontainer_port = 7070\nreplicas = 2\n"
    shop.manifest.write_text(shop.manifest.read_text().replace(fixed, own))
    with shop:
        rows = [row for row in shop.status()["instances"] if row["service"] == "product"]
        addresses = {row["address"] for row in rows}
        assert len(addresses) == len({row["published"] for row in rows}) == 2
        assert {address.rpartition(":")[2] for address in addresses} == {"7070"}
        assert not any(address.startswith("127.") for address in addresses)
        answers = [shop.http("order", "/purchase/aaa").status for _ in range(11)]
        assert answers == [200] * 10 + [409]
        os.kill(shop.status()["pid"], signal.SIGKILL)
        networks = ("network", "ls", "--quiet", "--filter", f"label=mini-kube-discovery.mark={shop.mark}")
        eventually(lambda: shop.containers() == [] and docker(*networks) == "", what="no container, no network")


def test_every_key_of_the_manifest_reaches_the_container(tmp_path: Path, built: Built) -> None:
    """Ports, volumes, variables, limits, scale and stop; no secret on a command line."""
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "index.html").write_text("null")
    with boxed(tmp_path, built, AUTO) as shop:
        shop.wait_passing("many", "fixed")
        at = shop.instance("fixed")["published"]
        config = json.loads(docker("inspect", "--format", "{{json .HostConfig}}", shop.container("fixed")))
        assert config["PortBindings"] == {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": at.rpartition(":")[2]}]}
        assert (config["Memory"], config["NanoCpus"], config["PidsLimit"]) == (64 << 20, 500_000_000, 50)
        assert config["Ulimits"] == [{"Name": "nofile", "Hard": 256, "Soft": 256}]
        env = docker("exec", shop.container("fixed"), "env").splitlines()
        assert {"API_KEY=hidden-value", "PORT=8000", "HOST=0.0.0.0"} <= set(env)
        assert "hidden-value" not in command_lines()
        eventually(lambda: "out of memory" in shop.instance("greedy").get("reason", ""), what="out of memory")

        eventually(lambda: "no end within 1 s" in shop.instance("checked")["output"], what="a check's time-out")
        docker("exec", shop.container("checked"), "touch", "/tmp/ok")
        eventually(lambda: shop.instance("checked")["check"] == "passing", what="a passing command")
        assert "sleep 5432" not in command_lines()

        shop.run("scale", "many=3")
        eventually(lambda: len({shop.rpc("Discovery.Get", "many")["result"]["IP"] for _ in range(6)}) == 3)
        began = time.monotonic()
        shop.run("scale", "many=1")
        assert time.monotonic() - began < 30, "the first process handles no TERM: it is not waited for"
        assert sum("-many" in name for name in shop.containers()) == 1
        shop.run("stop", "fixed")
        assert "4321" not in command_lines()
        shop.run("kill", "many")
        eventually(lambda: shop.instance("many")["restarts"] == 1)
        shop.wait_passing("many")


def test_a_container_that_cannot_run_has_a_reason_in_one_line_and_the_others_run(tmp_path: Path, built: Built) -> None:
    (tmp_path / "unbuildable").mkdir()
    (tmp_path / "unbuildable" / "Dockerfile").write_text(f"FROM {built.base}\nRUN echo no; exit 3\n")
    shop = boxed(tmp_path, built, WRONG)
    stranger = docker("create", "--name", f"minikube-shop-{shop.mark[:8]}-claimed", built.base, "true")
    with shop:
        reasons = {
            "claimed": "a container that this project did not create is called",
            "missing": "no image localhost:1/no-such-image:1 here",
            "unbuildable": "non-zero code: 3",
            "nocommand": '"no-such-program": executable file not found',
            "novolume": f"volumes: {tmp_path}/not-there does not exist, and is mounted read-only",
        }
        for name, words in reasons.items():
            eventually(lambda name=name: shop.instance(name).get("state") == "fatal", what=name)  # type: ignore[misc]
            reason = shop.instance(name)["reason"]
            assert words in reason
            assert "\n" not in reason
        assert shop.http("order", "/purchase/aaa").status == 200
        assert docker("rm", stranger) == stranger, "a stranger's container is left alone"
        build = shop.run("build", "unbuildable", code=1)
        assert "unbuildable | no" in build.replace("  ", " ")


def test_a_saved_source_is_built_and_a_failed_build_changes_nothing(tmp_path: Path, built: Built) -> None:
    source = tmp_path / "site"
    source.mkdir()
    dockerfile = f"FROM {built.tags['product']}\nCOPY page /page\nCMD cd /page && exec python -m http.server $PORT\n"
    (source / "Dockerfile").write_text(dockerfile)
    (source / "page").mkdir()
    (source / "page" / "index.html").write_text("1")
    extra = '\n[services.site]\nbuild = "./site"\nport = "auto"\nhealth = "/"\nwatch = ["site"]\n'
    with boxed(tmp_path, built, extra) as shop:
        shop.wait_passing("site")
        first = shop.instance("site")
        assert http(int(first["published"].rpartition(":")[2]), "/").body == 1
        (source / "Dockerfile").write_text(dockerfile + "RUN exit 3\n")
        eventually(lambda: "non-zero code: 3" in shop.run("events"), what="a failed build")
        assert shop.instance("site")["pid"] == first["pid"]
        (source / "page" / "index.html").write_text("2")
        (source / "Dockerfile").write_text(dockerfile)
        eventually(lambda: shop.instance("site")["pid"] not in (0, first["pid"]), what="a new container")
        shop.wait_passing("site")
        assert http(int(shop.instance("site")["published"].rpartition(":")[2]), "/").body == 2
        docker("image", "rm", "--force", f"minikube-shop-{shop.mark[:8]}-site")


def test_without_an_engine_processes_run_and_containers_wait(
    tmp_path: Path, built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = '\n[services.page]\ncommand = ["python", "-m", "http.server", "${PORT}"]\nport = "auto"\nhealth = "/"\n'
    shop = boxed(tmp_path, built, extra)
    with monkeypatch.context() as patch:
        patch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
        shop.start()
    try:
        shop.wait_passing("page")
        eventually(lambda: "does not answer" in shop.instance("product").get("reason", ""))
        assert shop.instance("product")["state"] == "backoff"
        assert "start it" in shop.instance("product")["reason"]
        assert shop.stop() == 0
    finally:
        shop.end()


def test_parallel_purchases_lose_nothing_when_a_container_is_killed(tmp_path: Path, built: Built) -> None:
    with boxed(tmp_path, built) as shop:
        shop.http("product", "/product/many", "PUT", b'{"name": "thing", "quantity": 30}')
        with ThreadPoolExecutor(12) as pool:
            answers = pool.map(shop.buy, ["many"] * 40)
            eventually(lambda: shop.http("product", "/product/many").body["quantity"] < 25)
            os.kill(shop.instance("product")["pid"], signal.SIGKILL)
            counted = list(answers)
        shop.wait_passing("product")
        shop.assert_sold("many", 30, counted)
