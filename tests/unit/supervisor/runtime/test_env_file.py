"""The file with variables that is handed to an engine's `create`."""

from pathlib import Path

from minikube.supervisor.runtime.container.runtime import open_env_file


def test_values_reach_the_engine_as_the_environment_has_them_also_bytes_that_are_no_text(tmp_path: Path) -> None:
    with open_env_file(tmp_path, {"LANG": "é", "NAME": b"caf\xe9".decode("utf-8", "surrogateescape")}) as path:
        assert path is not None
        assert path.read_bytes() == b"LANG=\xc3\xa9\nNAME=caf\xe9\n"
        assert path.stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.iterdir())
