"""The variables of an instance: its PATH, its Redis, its own interpreter, and strings with variables."""

import os
import sys
from pathlib import Path

import pytest

from minikube.errors import StartError
from minikube.manifest import Manifest, load_manifest
from minikube.project.environment import instance_environment, project_environment, service_path
from minikube.project.instance_ports import InstancePorts
from minikube.supervisor.runtime.interface import fill_command

OWN = str(Path(sys.executable).parent)


@pytest.mark.parametrize("path", ["/venv/bin:/usr/bin", "/usr/bin"])
def test_the_path_is_the_users_with_our_programs_last(path: str) -> None:
    assert service_path({"PATH": path}).split(os.pathsep) == [*path.split(":"), OWN]


def test_without_a_path_the_systems_programs_come_first() -> None:
    for environ in ({}, {"PATH": ""}):
        assert service_path(environ).split(os.pathsep) == [*os.defpath.split(":"), OWN]


def manifest(path: Path, text: str, environ: dict[str, str] | None = None) -> Manifest:
    (path / "supervisor.toml").write_text(text)
    return load_manifest(path / "supervisor.toml", environ or {})


def environment(loaded: Manifest, environ: dict[str, str] | None = None, port: int = 7070) -> dict[str, str]:
    """The variables of the first replica of service x."""
    base = project_environment(loaded, environ or {}, "127.0.0.1:5555", "unix:///ours")
    return instance_environment(base, loaded.services["x"], "id", "127.0.0.1", InstancePorts(port), "token", 2)


SERVICE = '[services.x]\ncommand = "run"\nport = 7070\n'


def test_an_instance_gets_the_projects_redis_as_two_variables(tmp_path: Path) -> None:
    env = environment(
        manifest(tmp_path, SERVICE), {"REDIS_URL": "redis://shell", "MINIKUBE_REDIS_URL": "redis://shell"}
    )
    assert env["REDIS_URL"] == env["MINIKUBE_REDIS_URL"] == "unix:///ours"


@pytest.mark.parametrize(
    ("file", "key"),
    [
        (".env", ""),
        ("x.env", 'env_file = "x.env"'),
        ("", 'env = { REDIS_URL = "redis://app:1/$$" }'),
    ],
)
def test_an_instance_has_the_redis_that_its_application_names(tmp_path: Path, file: str, key: str) -> None:
    if file:
        (tmp_path / file).write_text("REDIS_URL=redis://app:1/$\n")
    env = environment(manifest(tmp_path, SERVICE + key))
    assert (env["REDIS_URL"], env["MINIKUBE_REDIS_URL"]) == ("redis://app:1/$", "unix:///ours")


def test_strings_of_env_know_the_instance_and_its_env_file(tmp_path: Path) -> None:
    (tmp_path / "x.env").write_text("REDIS_URL=redis://file:1\nPASSWORD='a$$b${PORT}'\n")
    text = 'env_file = "x.env"\nenv = { URL = "${REDIS_URL}/1", NAME = "${SERVICE_NAME}-${REPLICA} $$HOME $HOME ${X:-$}" }\n'
    env = environment(manifest(tmp_path, SERVICE + text))
    assert (env["URL"], env["NAME"]) == ("redis://file:1/1", "x-2 $HOME $HOME $")
    assert env["PASSWORD"] == "a$$b${PORT}"


def test_our_interpreter_is_named_by_a_variable(tmp_path: Path) -> None:
    loaded = manifest(tmp_path, SERVICE + 'args = ["${MINIKUBE_PYTHON}"]\n')
    env = environment(loaded, {"MINIKUBE_PYTHON": "/other"})
    assert env["MINIKUBE_PYTHON"] == sys.executable
    assert fill_command(loaded.services["x"].command, env) == ("run", sys.executable)


def test_a_required_variable_without_a_value_keeps_an_instance_from_starting(tmp_path: Path) -> None:
    loaded = manifest(
        tmp_path, '[services.x]\ncommand = ["run", "${PORT:?set port}"]\nenv = { A = "${PORT:?set it}" }\n'
    )
    with pytest.raises(StartError, match="env: PORT is not set: set it"):
        environment(loaded, port=0)
    with pytest.raises(StartError, match="PORT is not set: set port"):
        fill_command(loaded.services["x"].argv, {})


def test_an_instance_has_its_named_ports_whatever_a_file_says(tmp_path: Path) -> None:
    """A file's value of such a variable is the application's own idea, as its PORT is."""
    (tmp_path / "x.env").write_text("PORT_DEBUG=1\nPORT_OTHER=2\nPORT=3\n")
    keys = 'env_file = "x.env"\nports = { debug = 9230 }\nenv = { URL = "at ${PORT_DEBUG}/${PORT}" }\n'
    loaded = manifest(tmp_path, SERVICE + keys)
    base = project_environment(loaded, {}, "127.0.0.1:5555", "unix:///ours")
    ports = InstancePorts(7070, {"debug": 9230})
    env = instance_environment(base, loaded.services["x"], "id", "127.0.0.1", ports, "")
    assert [env[name] for name in ("PORT_DEBUG", "PORT_OTHER", "PORT", "URL")] == ["9230", "2", "7070", "at 9230/7070"]
