"""What the registry is told of the run that it belongs to."""

from pathlib import Path

from minikube.defaults import REGISTRY_RUN_ENV
from minikube.manifest import HostPort, load_manifest
from minikube.supervisor.backing.registry import later_start, registry_spec


def test_only_the_first_registry_of_a_run_withdraws_entries_whatever_their_time(tmp_path: Path) -> None:
    (tmp_path / "supervisor.toml").write_text("")
    manifest = load_manifest(tmp_path / "supervisor.toml")
    first = registry_spec(manifest, HostPort("127.0.0.1", 0), "redis://", "", {"PATH": "/bin"})
    assert first.env[REGISTRY_RUN_ENV] == f"inf {tmp_path}"
    later = later_start(first)
    assert {**later.env, REGISTRY_RUN_ENV: f"inf {tmp_path}"} == first.env
    assert REGISTRY_RUN_ENV not in later.env
    assert later.argv == first.argv
