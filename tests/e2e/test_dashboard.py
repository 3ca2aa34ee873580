"""The dashboard on a real terminal (tmux): keys, a killed supervisor, a closed terminal, errors."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e import key_fuzz
from tests.e2e.pty_screen import Screen
from tests.e2e.running import MINIKUBE
from tests.eventually import eventually
from tests.ports import free_ports

SERVICES = f"""
[services.ticker]
command = ["{sys.executable}", "-uc", "import time\\nfor n in range(9999): print('INFO tick', n); time.sleep(0.2)"]

[services.helper]
command = ["sleep", "1000"]
depends_on = {{ ticker = "started" }}
"""


class Terminal:
    """A tmux server with one window."""

    def __init__(self, tmux: str, directory: Path, columns: int, rows: int) -> None:
        self._tmux = [tmux, "-S", str(directory / "tmux.sock"), "-f", "/dev/null"]
        self._env = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "LANG": "C.UTF-8"}
        size = ["-x", str(columns), "-y", str(rows)]
        self.tmux("new-session", "-d", "-s", "t", *size, "-c", str(directory), "sh")

    def tmux(self, *arguments: str) -> str:
        done = subprocess.run([*self._tmux, *arguments], capture_output=True, text=True, env=self._env, timeout=60)
        return done.stdout

    def type(self, *keys: str) -> None:
        self.tmux("send-keys", "-t", "t", *keys)

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p", "-t", "t")

    def wait_for(self, *words: str, within: float = 60.0) -> str:
        def seen() -> str:
            page = self.screen()
            return page if all(word in page for word in words) else ""

        try:
            return eventually(seen, within)
        except AssertionError:
            raise AssertionError(f"{words} not on\n{self.screen()}") from None

    def close(self) -> None:
        self.tmux("kill-server")


@pytest.fixture
def terminal(tmp_path: Path, need: Callable[[str], str]) -> Iterator[Terminal]:
    registry, control = free_ports(2)
    head = f'name = "t"\n[registry]\nlisten = "127.0.0.1:{registry}"\n[control]\nlisten = "127.0.0.1:{control}"\n'
    (tmp_path / "supervisor.toml").write_text(head + SERVICES)
    terminal = Terminal(need("tmux"), tmp_path, 80, 24)
    try:
        yield terminal
    finally:
        terminal.close()
        subprocess.run([MINIKUBE, "down", "--now"], cwd=tmp_path, capture_output=True, timeout=60)


def test_it_shows_and_kills_a_service_and_reconnects_after_the_supervisor_was_killed(
    terminal: Terminal, tmp_path: Path
) -> None:
    subprocess.run([MINIKUBE, "up", "-d"], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    terminal.type(f"{MINIKUBE} dashboard", "Enter")
    page = terminal.wait_for("ticker", "● running", "⇄ live")
    assert all(len(line) <= 80 for line in page.splitlines())
    terminal.type("l")
    terminal.wait_for("INFO tick", "⇣ following")
    terminal.type("Escape")
    terminal.wait_for("SERVICE")

    terminal.type("K")
    terminal.wait_for("Kill ticker?", "needed by: helper", "Cancel")
    terminal.type("Enter")  # the focus is on Cancel
    eventually(lambda: "Kill ticker?" not in terminal.screen(), what="the dialog is closed")
    terminal.type("K")
    terminal.wait_for("Kill ticker?")
    terminal.type("y")
    eventually(lambda: "Kill ticker?" not in terminal.screen(), what="the dialog is closed")
    terminal.type("e")
    terminal.wait_for("signal KILL", "ticker started")
    terminal.type("Escape")
    terminal.wait_for("SERVICE")

    supervisor = int((tmp_path / ".minikube" / "lock").read_text())
    os.kill(supervisor, signal.SIGKILL)
    terminal.wait_for("unreachable, reconnecting", "ticker")
    deadline = time.monotonic() + 60
    while subprocess.run([MINIKUBE, "up", "-d"], cwd=tmp_path, capture_output=True, timeout=60).returncode:
        assert time.monotonic() < deadline, "the next up does not start"
    terminal.wait_for("⇄ live", "ticker", "● running")
    terminal.type("q")
    terminal.wait_for("dashboard\n")
    assert "⇄ live" not in terminal.screen()


def test_it_exits_when_its_terminal_is_closed(terminal: Terminal, tmp_path: Path) -> None:
    subprocess.run([MINIKUBE, "up", "-d"], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    terminal.type(f"exec {MINIKUBE} dashboard", "Enter")
    terminal.wait_for("⇄ live")
    process = psutil.Process(int(terminal.tmux("display-message", "-p", "-t", "t", "#{pane_pid}")))
    assert "dashboard" in process.cmdline()
    terminal.close()
    eventually(lambda: not process.is_running(), what="the dashboard has ended")


def test_a_project_that_does_not_run_is_one_line_and_a_wrong_token_is_put_right(
    terminal: Terminal, tmp_path: Path
) -> None:
    terminal.type(f"{MINIKUBE} dashboard; echo code $?", "Enter")
    terminal.wait_for("nothing is running", "code 3")
    subprocess.run([MINIKUBE, "up", "-d"], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    token = tmp_path / ".minikube" / "token"
    right = token.read_text()
    token.write_text("0" * 64)
    eventually(lambda: token.read_text() == right, what="the supervisor has written its token again")
    terminal.type("clear", "Enter")
    terminal.type(f"{MINIKUBE} dashboard", "Enter")
    terminal.wait_for("⇄ live")


def test_after_a_crash_of_its_dashboard_up_goes_on_with_log_lines_in_a_usable_terminal(
    terminal: Terminal, tmp_path: Path
) -> None:
    """Also acts without a place for their output succeed, and Ctrl-C ends with 130."""
    screen = Screen(["up"], tmp_path)
    try:
        before = screen.modes()
        screen.wait_for("live")
        assert screen.modes() != before
        ticker = int((tmp_path / ".minikube" / "lock").read_text())
        screen.output = b""
        dashboard_of(screen.process.pid).kill()
        screen.wait_for("the project runs on")
        assert screen.modes() == before
        for off in ("?1049l", "?25h", "?1000l", "?2004l"):
            screen.wait_for(f"\x1b[{off}")
        screen.wait_for("INFO tick")
        report = (tmp_path / ".minikube" / "logs" / "minikube.dashboard.log").read_text()
        assert report.endswith("the dashboard ended: signal KILL\n")
        assert int((tmp_path / ".minikube" / "lock").read_text()) == ticker

        with open("/dev/full", "wb") as full:
            command = [MINIKUBE, "restart", "helper", "ticker"]
            done = subprocess.run(command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
        assert (done.returncode, done.stderr.count("no space left on device")) == (0, 1)
        screen.wait_for("ticker started")
        screen.send(b"\x03")
        assert screen.wait_exit() == 130
    finally:
        screen.close()


@pytest.mark.parametrize(("key", "code"), [("\x03", 130), ("TERM", 0), ("suspended", 0), ("KILL", -9), ("close", None)])
def test_the_end_of_up_and_its_dashboard_ends_the_project(
    key: str, code: int | None, terminal: Terminal, tmp_path: Path
) -> None:
    screen = Screen(["up"], tmp_path)
    try:
        screen.wait_for("live")
        supervisor = psutil.Process(int((tmp_path / ".minikube" / "lock").read_text()))
        helpers = [process for process in supervisor.children(recursive=True) if "sleep" in process.cmdline()]
        assert helpers
        dashboard = dashboard_of(screen.process.pid)
        if key == "suspended":
            dashboard.suspend()
        if key == "close":
            screen.close()
        elif key == "KILL":
            screen.process.kill()
        elif key in ("TERM", "suspended"):
            screen.process.terminate()
        else:
            screen.send(key.encode())
        assert screen.wait_exit() == code or code is None
        _, alive = psutil.wait_procs([supervisor, *helpers, dashboard], timeout=30)
        assert alive == []
        assert not (tmp_path / ".minikube" / "logs" / "minikube.dashboard.log").exists() or code is None
    finally:
        if key != "close":
            screen.close()


def test_a_stopped_dashboard_gives_the_terminal_back_and_comes_back(terminal: Terminal, tmp_path: Path) -> None:
    terminal.type("exec bash --norc -i", "Enter")
    terminal.type(f"{MINIKUBE} up", "Enter")
    terminal.wait_for("⇄ live")
    [up] = psutil.Process(int(terminal.tmux("display-message", "-p", "-t", "t", "#{pane_pid}"))).children()
    dashboard = dashboard_of(up.pid)
    for process, number in ((up, signal.SIGTSTP), (dashboard, signal.SIGTSTP), (dashboard, signal.SIGSTOP)):
        process.send_signal(number)
        eventually(lambda: up.status() == psutil.STATUS_STOPPED, what="the job is stopped")
        assert (
            terminal.tmux("display-message", "-p", "-t", "t", "#{alternate_on}") == f"{int(number == signal.SIGSTOP)}\n"
        )
        terminal.type("clear; fg", "Enter")
        eventually(lambda: dashboard.status() == psutil.STATUS_SLEEPING, what="the dashboard is continued")
        terminal.wait_for("⇄ live")
    for key, words in (("d", "command"), ("e", "ticker started"), ("l", "INFO tick"), ("Escape", "SERVICE")):
        terminal.type(key)  # no key gets lost
        terminal.wait_for(words)
    terminal.type("C-c")
    terminal.wait_for("stopped")


def test_random_keys_bytes_and_sizes_do_not_end_the_dashboard(terminal: Terminal, tmp_path: Path) -> None:
    """`python -m tests.e2e.key_fuzz` does the same for as long as wanted."""
    subprocess.run([MINIKUBE, "up", "-d"], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    assert [*key_fuzz.fuzz(tmp_path, 6.0, 7)] == []


def dashboard_of(up: int) -> psutil.Process:
    """Return the process of the dashboard that the `minikube up` with this pid shows."""
    return max(psutil.Process(up).children(), key=lambda process: process.create_time())
