"""`exec`: in a container it becomes the engine's own command, with no value on the command line; its advice works."""

import os
from pathlib import Path
from typing import Any

import pytest

from minikube.cli.commands import run
from minikube.engine.command import container_name, project_mark
from minikube.errors import MinikubeError, NothingRunning, UsageError
from minikube.manifest import load_manifest
from minikube.model import InstanceView, ProcessState, Snapshot


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
    name = container_name("shop", project_mark(project / ".minikube"), "web")
    assert program == str(engine)
    assert words == [str(engine), "exec", "--interactive", "--env", "KEY", name, "ls", "-l"]
    assert env["KEY"] == "hunter2"
    became.clear()
    with pytest.raises(Became):
        run.shell_command.main(["web"], standalone_mode=False)
    assert became[0][1][-2:] == [name, "/bin/sh"]


@pytest.mark.parametrize(
    ("name", "idle", "stopped"),
    [
        ("web-1", "`minikube up` starts it", "`minikube start web-1` starts it"),
        (
            "api-2",
            "`minikube run api -- COMMAND` needs nothing running",
            "`minikube start api-2` starts it, or use `minikube run api -- COMMAND`",
        ),
    ],
)
def test_what_does_not_run_comes_with_advice_that_works(
    project: Path, monkeypatch: pytest.MonkeyPatch, name: str, idle: str, stopped: str
) -> None:
    (project / "supervisor.toml").write_text(
        '[services.web]\nimage = "nginx"\nreplicas = 2\n[services.api]\ncommand = "run"\nreplicas = 2\n'
    )
    with pytest.raises(NothingRunning) as nothing:
        run.exec_command.main([name, "--", "ls"], standalone_mode=False)
    assert str(nothing.value).endswith(f"nothing is running — {idle}")
    view = InstanceView("0badcafe", name[:3], name, ProcessState.STOPPED)
    board = Snapshot("shop", 1, 0.0, 0.0, "", 1, instances=(view,))
    monkeypatch.setattr(run, "_look", lambda _: (load_manifest(project / "supervisor.toml"), board))
    with pytest.raises(MinikubeError) as none:
        run.exec_command.main([name, "--", "ls"], standalone_mode=False)
    assert str(none.value) == f"{name}: no instance is running — {stopped}"


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("-m", "c.toml", "--", "sh", "-m"), (("sh", "-m"), "c.toml", ("A=0",))),
        (("-mc.toml", "-eB=1=2", "sh", "--", "x"), (("sh", "--", "x"), "c.toml", ("A=0", "B=1=2"))),
        (("--manifest=c.toml", "--env", "B=1", "--"), ((), "c.toml", ("A=0", "B=1"))),
        (("--", "-m", "x"), (("-m", "x"), "given", ("A=0",))),
        (("ls", "-m", "x"), (("ls", "-m", "x"), "given", ("A=0",))),
    ],
)
def test_options_behind_the_name_are_ours_until_the_command(words: tuple[str, ...], meant: object) -> None:
    assert run._late_options(words, "given", ("A=0",)) == meant


@pytest.mark.parametrize(("words", "told"), [(("-m",), "-m: expected a value"), (("-x", "ls"), "-x: no such option")])
def test_what_is_no_option_of_ours_is_no_command_either(words: tuple[str, ...], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        run._late_options(words, None, ())


def test_a_command_that_a_container_does_not_have_is_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = project / "docker"
    engine.write_text("#!/bin/sh\necho missing\n")
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", str(project))
    (project / "supervisor.toml").write_text('name = "shop"\n[services.web]\nimage = "nginx"\n')
    manifest = load_manifest(project / "supervisor.toml")
    web = InstanceView("0badcafe", "web", "web", ProcessState.RUNNING, pid=os.getpid())
    board = Snapshot("shop", 1, 0.0, 0.0, "", 1, instances=(web,))
    monkeypatch.setattr(run, "_look", lambda _: (manifest, board))
    with pytest.raises(SystemExit) as ended:
        run.exec_command.main(["web", "no-such-program", "-x"], standalone_mode=False)
    assert ended.value.code == 127
    assert capsys.readouterr().err == "minikube: command not found in web's container: no-such-program\n"
