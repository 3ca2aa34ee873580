"""`exec` in a container: it becomes the engine's own command, with no value on the command line."""

import os
from pathlib import Path
from typing import Any

import pytest

from minikube.cli import run
from minikube.manifest import load_manifest
from minikube.model import InstanceView, ProcessState, Snapshot
from minikube.supervisor.engine import container_name, mark_of


class Became(Exception):
    """Nothing of ours comes after an exec."""


def test_exec_in_a_container_is_the_engines_exec(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = project / "docker"
    engine.write_text("#!/bin/sh\n")
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", str(project))
    (project / "supervisor.toml").write_text('name = "shop"\n[services.web]\nimage = "nginx"\n')
    manifest = load_manifest(project / "supervisor.toml")
    web = InstanceView("0badcafe", "web", "web", ProcessState.RUNNING, pid=5)
    board = Snapshot("shop", 1, 0.0, 0.0, "", 1, instances=(web,))
    monkeypatch.setattr(run, "_look", lambda _: (manifest, board))
    became: list[Any] = []

    def become(*how: Any) -> None:
        became.append(how)
        raise Became

    monkeypatch.setattr(os, "execve", become)
    with pytest.raises(Became):
        run.exec_command.main(["-e", "KEY=hunter2", "web", "--", "ls", "-l"], standalone_mode=False)
    program, words, env = became[0]
    name = container_name("shop", mark_of(project / ".minikube"), "web")
    assert program == str(engine)
    assert words == [str(engine), "exec", "--interactive", "--env", "KEY", name, "ls", "-l"]
    assert env["KEY"] == "hunter2"
    became.clear()
    with pytest.raises(Became):
        run.shell_command.main(["web"], standalone_mode=False)
    assert became[0][1][-2:] == [name, "/bin/sh"]
