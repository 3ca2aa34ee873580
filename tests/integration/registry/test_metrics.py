"""`minikube registry --metrics`: what Prometheus reads from a registry that runs alone, and which requests are refused."""

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families

from minikube.cli.app import run
from tests.eventually import eventually
from tests.integration.registry.registry_process import Client
from tests.redis_server import RedisServer


@contextmanager
def registry(redis_url: str, token: str = "") -> Iterator[tuple[int, str]]:
    """Start a registry; return its port and the URL of its metrics."""
    command = [sys.executable, "-m", "minikube", "registry", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]
    env = {**os.environ, "REDIS_URL": redis_url, **({"MINIKUBE_REGISTRY_TOKEN": token} if token else {})}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            port = re.fullmatch(r"registry: listening on 127\.0\.0\.1:([0-9]+)\n", process.stdout.readline())
            shown = re.fullmatch(
                r"registry: metrics on (http://127\.0\.0\.1:[0-9]+/metrics)\n", process.stdout.readline()
            )
            assert port
            assert shown
            yield int(port[1]), shown[1]
        finally:
            process.kill()


def ask(url: str, headers: dict[str, str] | None = None, method: str = "GET") -> tuple[int, str]:
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=headers or {}, method=method), timeout=20
        ) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_prometheus_reads_calls_and_process_metrics(redis_server: RedisServer) -> None:
    with registry(redis_server.url) as (port, url):
        eventually(lambda: "minikube_registry_stale 0.0" in ask(url)[1], 20, "Redis was read")
        client = Client(port)
        for _ in range(3):
            assert client.get("nobody") == 0
        client.close()
        status, text = ask(url)
        assert status == 200
        found = {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        assert found["minikube_registry_calls_total", "Discovery.Get", "not_found"] == 3
        assert found["process_resident_memory_bytes",] > 0
        assert ask(url, {"Host": "evil.example"})[0] == 421
        assert ask(url, {"Host": "["})[0] in (400, 421)
        assert ask(url, {"Origin": "null"})[0] == 403
        assert ask(url, method="POST")[0] == 405
        assert ask(url.replace("/metrics", "/"))[0] == 404


def test_metrics_need_the_registrys_token(redis_server: RedisServer) -> None:
    with registry(redis_server.url, "s3cret-token") as (_, url):
        assert ask(url)[0] == 401
        assert ask(url, {"Authorization": "Bearer wrong"})[0] == 401
        assert ask(url, {"Authorization": "Basic s3cret-token"})[0] == 401
        assert ask(url, {"Authorization": "Bearer s3cret-token"})[0] == 200


def test_metrics_beyond_loopback_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["registry", "--metrics", "0.0.0.0:9100"]) == 2
    assert capsys.readouterr().err == (
        "minikube: --metrics: 0.0.0.0:9100 is beyond loopback, where it has no TLS — use 127.0.0.1\n"
    )
    assert run(["registry", "--metrics", "here"]) == 2
    assert capsys.readouterr().err.startswith("minikube: --metrics: expected host:port")
