"""The installed command from `init` to `down`, in an empty directory, as a newcomer types it."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.eventually import eventually
from tests.ports import free_ports

MINIKUBE = [sys.executable, "-m", "minikube"]
PATIENCE_S = 60


def minikube(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*MINIKUBE, *arguments], capture_output=True, text=True, timeout=PATIENCE_S, check=False)


@pytest.fixture
def first_project(project: Path) -> Iterator[Path]:
    """The project that `init` writes, on its own ports; it is stopped after the test, also after a failure."""
    assert minikube("init").returncode == 0
    registry, control = free_ports(2)
    manifest = project / "supervisor.toml"
    listen = f'[registry]\nlisten = "127.0.0.1:{registry}"\n[control]\nlisten = "127.0.0.1:{control}"\n'
    manifest.write_text(manifest.read_text().replace("[services.web]", f"{listen}\n[services.web]"))
    yield project
    minikube("down", "--now")


def pids_of(project: Path) -> set[int]:
    """Return the pids of processes whose working directory is the project."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if (entry / "cwd").readlink() == project and (entry / "cmdline").read_bytes():
                    found.add(int(entry.name))
            except OSError:
                continue
    return found


def test_a_first_project_is_started_inspected_and_stopped(first_project: Path) -> None:
    up = minikube("up", "-d", "--wait")
    assert (up.returncode, up.stderr) == (0, "")
    assert "running: control API http://127.0.0.1:" in up.stdout
    rows = json.loads(minikube("ps", "--json").stdout)
    assert [(row["name"], row["state"], row["check"]) for row in rows] == [
        ("web-1", "running", "passing"),
        ("web-2", "running", "passing"),
        ("clock", "running", None),
    ]
    addresses = {minikube("get", "web").stdout.strip() for _ in range(4)}
    assert addresses == {row["address"] for row in rows[:2]}
    assert minikube("get", "nope").returncode == 4
    again = minikube("up", "-d")
    assert again.returncode == 1
    assert "is running already" in again.stderr
    assert minikube("stop", "clock").stdout == "clock stopped\n"
    assert minikube("kill", "nope").returncode == 4
    assert minikube("events").stdout.count("web-1") >= 1
    down = minikube("down")
    assert (down.returncode, down.stdout) == (0, "stopped\n")
    assert pids_of(first_project) == set()
    assert minikube("ps").returncode == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_without_a_terminal_log_lines_are_printed_until_a_signal(first_project: Path, number: signal.Signals) -> None:
    up = subprocess.Popen([*MINIKUBE, "up"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert up.stdout is not None
    wanted = {r"clock +\| web at 127\.0\.0\.1:\d+ answers 200\n", r"minikube \| web-1 is passing\n"}
    for line in up.stdout:  # lines and events are read by two threads: either may be first
        wanted -= {pattern for pattern in wanted if re.fullmatch(pattern, line)}
        if not wanted:
            break
    assert not wanted
    up.send_signal(number)
    out, err = up.communicate(timeout=PATIENCE_S)
    assert (up.returncode, err) == (130 if number == signal.SIGINT else 0, "")
    assert out.endswith("minikube | stopped\n")
    assert pids_of(first_project) == set()


def test_everything_ends_when_up_is_killed(first_project: Path) -> None:
    up = subprocess.Popen([*MINIKUBE, "up", "--plain"], stdout=subprocess.PIPE, text=True)
    assert up.stdout is not None
    for line in up.stdout:
        if "clock started" in line:
            break
    up.kill()
    up.wait()
    up.stdout.close()
    eventually(lambda: not pids_of(first_project), what="no process of the project is alive")


def test_everything_ends_when_what_reads_the_output_has_ended(first_project: Path) -> None:
    up = subprocess.Popen([*MINIKUBE, "up", "--plain"], stdout=subprocess.PIPE, text=True)
    assert up.stdout is not None
    assert up.stdout.readline()
    up.stdout.close()
    assert up.wait(PATIENCE_S) == 141
    assert pids_of(first_project) == set()


def test_ctrl_c_ends_every_command_with_130_and_without_a_traceback(first_project: Path) -> None:
    minikube("up", "-d")
    for words in ("registry --listen 127.0.0.1:0 --redis unix:///nowhere.sock", "logs -f", "ps -w --json"):
        command = [*MINIKUBE, *words.split()]
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert running.stdout is not None
        assert running.stdout.readline()  # it runs
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=PATIENCE_S)
        assert (words, running.returncode) == (words, 130)
        assert "Traceback" not in err
