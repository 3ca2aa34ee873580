"""`minikube registry` as a process of its own beside a real Redis, and the commands that speak to it."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from minikube.cli.app import run
from tests.conforming import conforming
from tests.redis_server import RedisServer


@contextmanager
def registry_beside(redis_url: str) -> Iterator[subprocess.Popen[str]]:
    """Run a registry on a free port, and set MINIKUBE_REGISTRY to its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "minikube", "registry", "--listen", "127.0.0.1:0"],
        env={**os.environ, "REDIS_URL": redis_url},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.fullmatch(r"registry: listening on (127\.0\.0\.1:[0-9]+)\n", line)
        assert found, line
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MINIKUBE_REGISTRY", found[1])
            yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def registry(redis_server: RedisServer, project: Path) -> Iterator[subprocess.Popen[str]]:
    with registry_beside(redis_server.url) as process:
        yield process


@pytest.fixture
def port() -> Iterator[int]:
    """A port with a listener, so that a TCP check passes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


def test_register_get_instances_deregister(
    registry: subprocess.Popen[str], port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["get", "web"]) == 4
    assert capsys.readouterr().err.startswith("minikube: ")
    assert run(["register", "web", f"127.0.0.1:{port}", "--tag", "blue", "--meta", "team=a", "--json"]) == 0
    uuid = conforming("register", capsys.readouterr().out)["id"]
    assert re.fullmatch("[0-9a-f]{8}", uuid)
    assert run(["get", "web"]) == 0
    assert capsys.readouterr().out == f"127.0.0.1:{port}\n"
    assert run(["get", "web", "--json"]) == 0
    assert conforming("get", capsys.readouterr().out) == {"IP": "127.0.0.1", "Port": port, "Zone": ""}
    assert run(["instances"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:4] == ["web", uuid, "passing", f"127.0.0.1:{port}"]
    assert run(["instances", "web", "--json"]) == 0
    (instance,) = conforming("instances", capsys.readouterr().out)
    assert (instance["Tags"], instance["Meta"]) == (["blue"], {"team": "a"})
    assert run(["deregister", uuid, "--json"]) == 0
    assert conforming("deregister", capsys.readouterr().out) == {"id": uuid}
    assert run(["deregister", uuid]) == 4
    assert "no such instance" in capsys.readouterr().err
    assert run(["get", "we"]) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["get", ""], "minikube: NAME: expected a DNS label"),
        (["register", "Web", "127.0.0.1:80"], "minikube: NAME: expected a DNS label"),
        (["register", "web", "127.0.0.1:0"], "minikube: PORT: expected 1 to 65535, got 0"),
        (["register", "web", "127.0.0.1:80", "--id", "-"], "minikube: --id: expected 1 to 64 of"),
        (["register", "web", "127.0.0.1:80", "--interval", "x"], "minikube: --interval: expected a duration"),
        (["register", "web", "127.0.0.1:80", "--check", "x"], "minikube: --check: "),
    ],
)
def test_an_argument_that_the_registry_refuses_is_wrong_usage_in_the_commands_words(
    registry: subprocess.Popen[str], arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    assert capsys.readouterr().err.startswith(message)


def test_a_missing_or_wrong_token_names_the_variable_to_set(
    redis_server: RedisServer, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MINIKUBE_REGISTRY_TOKEN", "secret")
    with registry_beside(redis_server.url):
        assert run(["instances"]) == 0
        monkeypatch.setenv("MINIKUBE_REGISTRY_TOKEN", "guess")
        assert run(["instances"]) == 1
        assert "the registry's token is wrong — correct MINIKUBE_REGISTRY_TOKEN\n" in capsys.readouterr().err
        monkeypatch.delenv("MINIKUBE_REGISTRY_TOKEN")
        assert run(["instances"]) == 1
        assert "the registry's token is missing — set MINIKUBE_REGISTRY_TOKEN\n" in capsys.readouterr().err


def test_a_registry_that_cannot_reach_redis_is_not_taken_for_a_missing_one(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3 makes scripts start a registry."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with registry_beside(f"redis://127.0.0.1:{unused.getsockname()[1]}/0"):
            assert run(["instances"]) == 1
    error = capsys.readouterr().err
    assert "refused" in error
    assert "no registry there" not in error
    assert run(["instances", "--registry", "127.0.0.1:1"]) == 3


def test_a_list_of_registries_is_tried_in_turn_as_an_option_and_in_the_environment(
    registry: subprocess.Popen[str], port: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each option and variable that names a registry takes the list that the SDK takes."""
    one = os.environ["MINIKUBE_REGISTRY"]
    monkeypatch.setenv("MINIKUBE_REGISTRY", f"127.0.0.1:1, {one}")
    assert run(["register", "web", f"127.0.0.1:{port}"]) == 0
    monkeypatch.delenv("MINIKUBE_REGISTRY")
    for several in (f"127.0.0.1:1,{one}", f"{one},127.0.0.1:1"):
        capsys.readouterr()
        assert run(["get", "web", "--registry", several]) == 0
        assert capsys.readouterr().out == f"127.0.0.1:{port}\n"
    assert run(["get", "web", "--registry", "127.0.0.1:1,127.0.0.1:2"]) == 3
    assert run(["get", "web", "--registry", f"{one},"]) == 2
    assert "--registry: expected host:port" in capsys.readouterr().err


def test_term_ends_the_registry_cleanly(registry: subprocess.Popen[str]) -> None:
    registry.send_signal(signal.SIGTERM)
    assert registry.wait(30) == 0


@pytest.mark.parametrize(
    ("listen", "more", "message"),
    [
        ("", (), r"registry: cannot listen on 127\.0\.0\.1:[0-9]+: .*in use.* — stop what listens there or set .*"),
        ("nowhere.invalid:0", (), r".*nowhere\.invalid.*"),
        ("127.0.0.1:0", ("--tls-cert", "/etc/passwd", "--tls-key", "/etc/passwd"), "registry: tls: .* — check .*"),
        ("127.0.0.1:0", ("--redis", "redis://127.0.0.1:port/0"), "--redis: expected a port of 1 to 65535 .*"),
    ],
)
def test_a_registry_that_cannot_start_prints_one_line(
    registry: subprocess.Popen[str], listen: str, more: tuple[str, ...], message: str
) -> None:
    where = listen or os.environ["MINIKUBE_REGISTRY"]
    done = subprocess.run(
        [sys.executable, "-m", "minikube", "registry", "--listen", where, *more],
        env={**os.environ, "RES_OPTIONS": "timeout:1 attempts:1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (1, 2)
    (line,) = done.stderr.splitlines()
    assert re.fullmatch(f"minikube: {message}", line)
    assert done.stdout == ""


@pytest.mark.parametrize("url", ["redis://:s3cret@h", "redis+sentinel://s3cret@h/s", "redis://h/?password=s3cret"])
def test_a_password_on_the_command_line_is_a_warning(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["registry", "--redis", url, "--metrics", "0.0.0.0:1"]) == 2
    assert "every user of this machine can read a password on the command line" in capsys.readouterr().err
