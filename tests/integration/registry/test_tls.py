"""A registry with TLS and a token: every flavour of the SDK and any TLS client can use it, and nothing else."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

import minikube
from minikube import aio, blocking
from tests.certificates import Certificates, make_certificates
from tests.eventually import eventually, soon
from tests.integration.registry.registry_process import Service
from tests.redis_server import RedisServer

TOKEN = "a-token-of-the-tests"


class Secured(NamedTuple):
    """A running registry with TLS and a token."""

    address: str
    files: Certificates
    process: "subprocess.Popen[str]"


@pytest.fixture
def secured(
    redis_server: RedisServer, tmp_path: Path, need: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Secured]:
    """Start a registry that also needs client certificates; set the environment variables that the SDK reads."""
    files = make_certificates(tmp_path, need("openssl"))
    command = [sys.executable, "-m", "minikube", "registry", "--listen", "127.0.0.1:0"]
    command += ["--tls-cert", str(files.cert), "--tls-key", str(files.key), "--tls-ca", str(files.ca)]
    environ = {**os.environ, "REDIS_URL": redis_server.url, "MINIKUBE_REGISTRY_TOKEN": TOKEN}
    process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        found = re.fullmatch(r"registry: listening on (127\.0\.0\.1:[0-9]+)\n", process.stdout.readline())
        assert found
        monkeypatch.setenv("MINIKUBE_REGISTRY", found[1])
        monkeypatch.setenv("MINIKUBE_REGISTRY_TOKEN", TOKEN)
        monkeypatch.setenv("MINIKUBE_REGISTRY_CA", str(files.ca))
        monkeypatch.setenv("MINIKUBE_REGISTRY_CERT", str(files.cert))
        monkeypatch.setenv("MINIKUBE_REGISTRY_KEY", str(files.key))
        with blocking.open_registry() as registry:
            eventually(lambda: not registry.status()["Stale"])
        yield Secured(found[1], files, process)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_every_flavour_of_the_sdk_connects(secured: Secured, service: Service) -> None:
    async def on_trio() -> minikube.Address:
        async with minikube.registered("web", service.port) as kept:
            await soon(lambda: kept.registered)
            async with minikube.watch("web") as updates:
                async for update in updates:
                    assert isinstance(update, minikube.WatchSnapshot)
                    assert [one.state for one in update.instances] == ["passing"]
                    return await minikube.discover("web")
        raise AssertionError

    async def on_asyncio() -> minikube.Address:
        async with aio.registered("web", service.port) as kept:
            while not kept.registered:
                await asyncio.sleep(0.01)
            return await aio.discover("web")

    expected = minikube.Address("127.0.0.1", service.port)
    assert trio.run(on_trio) == expected
    assert asyncio.run(on_asyncio()) == expected
    with blocking.registered("web", service.port) as kept:
        eventually(lambda: kept.registered)
        assert blocking.discover("web") == expected
    with pytest.raises(minikube.NotFound):
        blocking.discover("web")


def test_a_client_without_token_certificate_or_trust_is_refused(
    secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(minikube.RemoteError, match="the token is wrong"):
        blocking.discover("web", token="wrong")
    with pytest.raises(minikube.RemoteError, match="unauthorized"):
        blocking.discover("web", token="")
    monkeypatch.delenv("MINIKUBE_REGISTRY_CERT")
    with pytest.raises(minikube.Unavailable):
        blocking.discover("web")
    monkeypatch.delenv("MINIKUBE_REGISTRY_CA")
    with pytest.raises(minikube.Unavailable):
        blocking.discover("web")


def test_openssl_s_client_can_call_it(secured: Secured, need: Callable[[str], str]) -> None:
    command = [need("openssl"), "s_client", "-quiet", "-verify_return_error", "-connect", secured.address]
    command += ["-CAfile", str(secured.files.ca), "-cert", str(secured.files.cert), "-key", str(secured.files.key)]
    lines = [
        {"method": "Discovery.Get", "params": ["web"], "id": 1},
        {"method": "Discovery.Authenticate", "params": [TOKEN], "id": 2},
        {"method": "Discovery.Get", "params": ["web"], "id": 3},
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        answers = []
        for line in lines:
            client.stdin.write(f"{json.dumps(line)}\n")
            client.stdin.flush()
            answers.append(json.loads(client.stdout.readline()))
        client.kill()
    assert answers[0]["error"].startswith("unauthorized")
    assert answers[1] == {"id": 2, "result": True, "error": None}
    assert answers[2]["error"] == "web: no instance is registered"
