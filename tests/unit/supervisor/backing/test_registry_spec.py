"""What the registry is told of the run that it belongs to."""

import os
from pathlib import Path

import pytest

from minikube.defaults import REDIS_ENV, REGISTRY_RUN_ENV
from minikube.errors import StartError
from minikube.manifest import HostPort, load_manifest
from minikube.registry import main as registry_main
from minikube.registry.config import RegistryConfig
from minikube.supervisor.backing.registry import later_start, registry_spec
from minikube.supervisor.backing.spec import with_address


def test_only_the_first_registry_of_a_run_withdraws_entries_whatever_their_time(tmp_path: Path) -> None:
    (tmp_path / "supervisor.toml").write_text("")
    manifest = load_manifest(tmp_path / "supervisor.toml")
    first = registry_spec(manifest, HostPort("127.0.0.1", 0), "redis://", "", {"PATH": "/bin"})
    assert first.env[REGISTRY_RUN_ENV] == f"inf {tmp_path}"
    later = later_start(first)
    assert {**later.env, REGISTRY_RUN_ENV: f"inf {tmp_path}"} == first.env
    assert REGISTRY_RUN_ENV not in later.env
    assert later.argv == first.argv


def test_a_registry_gets_the_settings_of_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / os.fsdecode(b"caf\xe9")
    directory.mkdir()
    for name in ("cert", "key"):
        (directory / name).write_text("")
    (directory / "supervisor.toml").write_text(
        '[redis]\nprefix = "{x}"\n[registry]\ntoken = "t"\nallow_checks = ["10.0.0.0/8", "*"]\ntls = {cert = "cert", key = "key"}\n'
    )
    manifest = load_manifest(directory / "supervisor.toml")
    spec = registry_spec(manifest, HostPort("::1", 7), "redis://r", "secret", {"MINIKUBE_REGISTRY_RELAY": "1"})
    configs: list[RegistryConfig] = []
    monkeypatch.setattr(registry_main, "run", configs.append)
    monkeypatch.setattr(os, "environ", spec.env)
    assert registry_main.main(*with_address(spec, "[::1]:8").argv[-2:]) == 0
    (config,) = configs
    assert (config.listen, config.redis_url, config.prefix) == (HostPort("::1", 8), "redis://r", "{x}")
    assert (config.token, config.supervisor_token, config.allow_checks) == ("t", "secret", ("10.0.0.0/8", "*"))
    assert (config.tls, config.run) == (manifest.registry.tls, f"inf {directory}")


def test_a_registry_that_cannot_start_says_why_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(config: RegistryConfig) -> bool:
        raise StartError(f"registry: cannot listen on {config.listen}: it is in use — stop what listens there")

    monkeypatch.setattr(registry_main, "run", fail)
    monkeypatch.setenv(REDIS_ENV, "redis://r")
    assert registry_main.main("127.0.0.1:80", "{}") == StartError.exit_code
    reason = "minikube: registry: cannot listen on 127.0.0.1:80: it is in use — stop what listens there\n"
    assert capsys.readouterr() == ("", reason)
