"""What the registry is told of the run that it belongs to."""

from pathlib import Path

from minikube.defaults import REGISTRY_RUN_ENV
from minikube.manifest import HostPort, load_manifest
from minikube.registry.earlier_run import EarlierRun
from minikube.supervisor.backing.registry import first_start, registry_spec


def test_the_first_registry_of_a_run_differs_from_later_ones_in_the_time_before_which_entries_are_of_an_earlier_run(
    tmp_path: Path,
) -> None:
    (tmp_path / "supervisor.toml").write_text("")
    later = registry_spec(load_manifest(tmp_path / "supervisor.toml"), HostPort("127.0.0.1", 0), "redis://", "", {})
    first = first_start(later)
    assert first.argv == later.argv
    assert {name for name in first.env if first.env[name] != later.env[name]} == {REGISTRY_RUN_ENV}
    for spec, has_time in ((first, False), (later, True)):
        since, _, directory = spec.env[REGISTRY_RUN_ENV].partition(" ")
        assert directory == str(tmp_path)
        assert (float(since) < float("inf")) == has_time
        assert vars(EarlierRun.parse(spec.env[REGISTRY_RUN_ENV], "machine"))["_since"] == float(since)
