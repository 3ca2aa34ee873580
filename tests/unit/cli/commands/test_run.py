"""`exec` and `shell`: in a container they become the engine's `exec`; and the advice for an instance that does not run."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from minikube.cli.commands import run
from minikube.engine.command import container_name, project_mark
from minikube.errors import MinikubeError, NothingRunning, UsageError
from minikube.manifest import load_manifest
from minikube.model import InstanceView, ProcessState, ServiceView, Snapshot


class Executed(Exception):
    """Raised in place of `execve`, which does not return."""


@pytest.fixture
def signals_restored() -> Iterator[None]:
    """Set the signal actions again that this process has lost to a program that never replaced it."""
    ignored = [number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN]
    handled = {signal.SIGINT: signal.getsignal(signal.SIGINT)}
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
    for number, handler in handled.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals_restored")
def test_exec_in_a_container_becomes_the_engines_exec_with_no_value_on_its_command_line(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = project / "docker"
    engine.write_text("#!/bin/sh\n")
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", str(project))
    (project / "supervisor.toml").write_text('name = "shop"\n[services.web]\nimage = "nginx"\n')
    manifest = load_manifest(project / "supervisor.toml")
    web = InstanceView("0badcafe", "web", "web", ProcessState.RUNNING, pid=5)
    snapshot = Snapshot("shop", 1, 0.0, 0.0, "", 1, instances=(web,))
    monkeypatch.setattr(run, "read_project", lambda _: run.Project(manifest, snapshot))
    executed: list[Any] = []

    def execve(program: bytes, words: list[bytes], env: dict[bytes, bytes]) -> None:
        texts = {os.fsdecode(name): os.fsdecode(value) for name, value in env.items()}
        executed.append((os.fsdecode(program), [os.fsdecode(word) for word in words], texts))
        raise Executed

    monkeypatch.setattr(os, "execve", execve)
    with pytest.raises(Executed):
        run.exec_command.main(["-e", "KEY=hunter2", "web", "--", "ls", "-l"], standalone_mode=False)
    program, words, env = executed[0]
    name = container_name("shop", project_mark(project / ".minikube"), "web")
    assert program == str(engine)
    assert words == [str(engine), "exec", "--interactive", "--env", "KEY", name, "ls", "-l"]
    assert env["KEY"] == "hunter2"
    executed.clear()
    with pytest.raises(Executed):
        run.shell_command.main(["web"], standalone_mode=False)
    assert executed[0][1][-2:] == [name, "/bin/sh"]


@pytest.mark.parametrize(
    ("name", "advice", "advice_while_running"),
    [
        ("web-1", "`minikube up` starts it", "`minikube start web-1` starts it"),
        (
            "api-2",
            "`minikube run api -- COMMAND` needs no running project",
            "`minikube start api-2` starts it, or use `minikube run api -- COMMAND`",
        ),
    ],
)
def test_an_instance_that_does_not_run_is_an_error_with_advice_that_works(
    project: Path, monkeypatch: pytest.MonkeyPatch, name: str, advice: str, advice_while_running: str
) -> None:
    (project / "supervisor.toml").write_text(
        '[services.web]\nimage = "nginx"\nreplicas = 2\n[services.api]\ncommand = "run"\nreplicas = 2\n'
    )
    with pytest.raises(NothingRunning) as not_running:
        run.exec_command.main([name, "--", "ls"], standalone_mode=False)
    assert str(not_running.value).endswith(f"nothing is running — {advice}")
    view = InstanceView("0badcafe", name[:3], name, ProcessState.STOPPED)
    snapshot = Snapshot("shop", 1, 0.0, 0.0, "", 1, instances=(view,))
    monkeypatch.setattr(
        run, "read_project", lambda _: run.Project(load_manifest(project / "supervisor.toml"), snapshot)
    )
    with pytest.raises(MinikubeError) as no_instance:
        run.exec_command.main([name, "--", "ls"], standalone_mode=False)
    assert str(no_instance.value) == f"{name}: no instance is running — {advice_while_running}"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("-m", "c.toml", "--", "sh", "-m"), (("sh", "-m"), ("given", "c.toml"), ("A=0",))),
        (("-mc.toml", "-eB=1=2", "sh", "--", "x"), (("sh", "--", "x"), ("given", "c.toml"), ("A=0", "B=1=2"))),
        (("--manifest=c.toml", "--env", "B=1", "--"), ((), ("given", "c.toml"), ("A=0", "B=1"))),
        (("--", "-m", "x"), (("-m", "x"), ("given",), ("A=0",))),
        (("ls", "-m", "x"), (("ls", "-m", "x"), ("given",), ("A=0",))),
    ],
)
def test_options_between_the_name_and_the_command_are_taken_out_of_the_command(
    words: tuple[str, ...], expected: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
) -> None:
    command, manifest, variables = expected
    options = run.take_late_options(run.RunOptions("web", words, ("A=0",), ("given",)))
    assert options == run.RunOptions("web", command, variables, manifest)


@pytest.mark.parametrize(
    ("words", "message"), [(("-m",), "-m: expected a value"), (("-x", "ls"), "-x: no such option")]
)
def test_an_unknown_option_before_the_command_is_an_error(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run.take_late_options(run.RunOptions("web", words, (), ()))


def test_a_command_that_a_container_does_not_have_is_an_error_of_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = project / "docker"
    engine.write_text("#!/bin/sh\necho missing\n")
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", str(project))
    (project / "supervisor.toml").write_text('name = "shop"\n[services.web]\nimage = "nginx"\n')
    manifest = load_manifest(project / "supervisor.toml")
    web = InstanceView("0badcafe", "web", "web", ProcessState.RUNNING, pid=os.getpid())
    snapshot = Snapshot("shop", 1, 0.0, 0.0, "", 1, instances=(web,))
    monkeypatch.setattr(run, "read_project", lambda _: run.Project(manifest, snapshot))
    with pytest.raises(SystemExit) as exit:
        run.exec_command.main(["web", "no-such-program", "-x"], standalone_mode=False)
    assert exit.value.code == 127
    assert capsys.readouterr().err == "minikube: command not found in web's container: no-such-program\n"


def test_exec_works_in_a_container_whose_pid_no_engine_tells(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rootless Podman without control groups reports none."""
    view = InstanceView("0badcafe", "web", "web", ProcessState.RUNNING)
    services = (ServiceView("web", kind="container"), ServiceView("api"))
    snapshot = Snapshot("shop", 1, 0.0, 0.0, "", 1, services=services, instances=(view,))
    assert run._find_instance(snapshot, "web") is view
    process = InstanceView("0badcaff", "api", "api", ProcessState.RUNNING)
    assert run._find_instance(structs.replace(snapshot, instances=(process,)), "api") is None
