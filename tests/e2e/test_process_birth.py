"""How `up` and its services start and end where the shell, the limits or PID 1 are unusual. The real command."""

import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.small import MINIKUBE, Small
from tests.eventually import eventually
from tests.untraced import untraced

TRAP = """command = ["sh", "-c", "trap 'echo reloaded' HUP; echo ready; while :; do sleep 0.05; done"]\n"""


Up = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def up() -> Iterator[Up]:
    started: list[subprocess.Popen[bytes]] = []

    def start(small: Small, *before: str, ignored: tuple[signal.Signals, ...] = ()) -> "subprocess.Popen[bytes]":
        def ignore() -> None:
            for number in ignored:
                signal.signal(number, signal.SIG_IGN)

        process = subprocess.Popen(
            [*before, *MINIKUBE, "up", "--plain"],
            cwd=small.directory,
            env=untraced(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=ignore,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def output_until(process: "subprocess.Popen[bytes]", text: str) -> str:
    """Read the output line by line until one has `text`; return all of it."""
    assert process.stdout is not None
    lines: list[str] = []
    while not lines or text not in lines[-1]:
        line = process.stdout.readline().decode()
        assert line, f"{text!r} is not in {''.join(lines)}"
        lines.append(line)
    return "".join(lines)


def test_a_detached_project_keeps_no_descriptor_of_the_command_that_started_it(tmp_path: Path) -> None:
    """A script that holds a lock or a pipe open while it calls `up -d` gets its end when the script ends."""
    read_end, write_end = os.pipe()
    with Small(tmp_path, '[services.a]\ncommand = ["sleep", "1000"]\n') as small, open(read_end, "rb") as reader:
        command = [*MINIKUBE, "up", "-d"]
        subprocess.run(command, cwd=small.directory, env=untraced(), pass_fds=(write_end,), check=True)
        os.close(write_end)
        os.set_blocking(read_end, False)
        assert reader.read(1) == b""


def test_what_was_ignored_when_up_was_started_stays_ignored_by_it_and_not_by_services(tmp_path: Path, up: Up) -> None:
    """With `nohup`, and where a script starts it in the background. TERM still ends it."""
    ignored = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
    with Small(tmp_path, f"[services.a]\n{TRAP}") as small:
        process = up(small, ignored=ignored)
        output_until(process, "ready")
        for number in ignored:
            process.send_signal(number)
        small.run("kill", "a", "--signal", "HUP")
        output_until(process, "reloaded")
        assert process.poll() is None
        process.terminate()
        assert "a stopped" in output_until(process, "stopped")
        assert process.wait(30) == 0


def test_a_service_obeys_hup_in_each_way_to_send_it(tmp_path: Path) -> None:
    """`kill`, `stop.signal`, and by `run`, `exec`, a health command and a stop command, which get no ignored signal either."""
    masks = "grep -q 'SigIgn:.0000000000000000' /proc/self/status"
    services = f"""
[services.a]
{TRAP}health = {{ command = ["sh", "-c", "{masks}"] }}
[services.b]
command = ["sleep", "600"]
stop = {{ signal = "HUP", timeout = "20s" }}
[services.c]
command = ["sleep", "600"]
stop = {{ command = ["sh", "-c", "{masks} && echo none is ignored"] }}
"""
    with Small(tmp_path, services) as small:
        small.up("--wait")
        small.run("kill", "a", "--signal", "HUP")
        eventually(lambda: "reloaded" in small.lines("a"))
        small.run("stop", "b", "c")
        assert [text for text in small.events() if "had to be killed" in text] == []
        assert any("none is ignored" in line for line in small.lines("c"))
        for command in ("run", "exec"):
            small.run(command, "a", "--", "sh", "-c", masks)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a pid namespace")
@pytest.mark.parametrize("options", [("--mount-proc",), ()], ids=["own proc", "foreign proc"])
def test_up_as_pid_1_reaps_orphans_and_ends_its_services(tmp_path: Path, up: Up, options: tuple[str, ...]) -> None:
    with Small(tmp_path, '[services.a]\ncommand = ["sh", "-c", "echo $$; exec sleep 600"]\n') as small:
        process = up(small, "unshare", "--pid", "--fork", "--kill-child", *options)
        output_until(process, "a started")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        first = int(children.read_text())
        # An orphan of the namespace that descends from nothing of the project: only PID 1 can reap it.
        enter = ["nsenter", f"--target={first}", "--pid", "--mount"]
        subprocess.run([*enter, "sh", "-c", "sleep 0.05 & exec true"], check=True)
        below = Path(f"/proc/{first}/task/{first}/children")

        def states() -> list[str]:
            found = []
            for pid in below.read_text().split():
                with suppress(FileNotFoundError, ProcessLookupError):  # it was reaped meanwhile
                    found.append(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0])
            return found

        eventually(lambda: len(states()) == 1 and "Z" not in states(), what="only the command line below PID 1")
        os.kill(first, signal.SIGTERM)
        text = output_until(process, "minikube | stopped")
        assert "a stopped: signal TERM" in text
        assert "survives" not in text
        assert process.wait(30) == 0


def test_few_descriptors_keep_some_services_waiting_and_every_command_working(tmp_path: Path) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, min(128, hard)))

    with Small(tmp_path, '[services.many]\ncommand = ["sleep", "600"]\nreplicas = 80\n') as small:
        done = subprocess.run(
            [*MINIKUBE, "up", "-d"],
            cwd=tmp_path,
            env=untraced(),
            preexec_fn=limit,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        eventually(lambda: "no file descriptor is left" in small.run("ps"), what="a clear reason")
        rows = small.status().instances
        running = [row for row in rows if row.pid]
        assert 10 < len(running) < 60
        assert {row.reason for row in rows if not row.pid} <= {
            "",
            "no file descriptor is left for it (the limit is 128) — raise it with `ulimit -n`; trying again",
        }
        assert Path("/proc", str(running[0].pid)).exists()
        small.run("scale", "many=5")
        eventually(lambda: len([row for row in small.status().instances if row.pid]) == 5)
        small.run("down")
        log = (tmp_path / ".minikube/logs/minikube.supervisor.log").read_text()
        assert "Traceback" not in log
        assert "Too many open files" not in log
