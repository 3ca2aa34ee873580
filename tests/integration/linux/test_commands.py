"""Commands that a short command or the guardian waits for: how they are born, and that none is left when the wait ends."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minikube.linux import commands, processes
from minikube.linux.commands import OUTPUT_LIMIT, CommandResult, run_command, run_commands
from tests.paths import ROOT

PATIENCE_S = 20.0

BIRTH = """
import json, os, pathlib
status = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
listing = {int(name) for name in os.listdir("/proc/self/fd")} - {3}
print(json.dumps({
    "ignored": status["SigIgn"].strip(), "blocked": status["SigBlk"].strip(), "stdin": os.readlink("/proc/self/fd/0"),
    "descriptors": sorted(listing), "leads": os.getsid(0) == os.getpid(),
}))
"""
"""Prints how a process was born. 3 is the descriptor of the listing itself. Python ignores PIPE and XFSZ itself."""


@pytest.fixture
def leaked() -> Iterator[int]:
    """A descriptor that children inherit, as a shell's `9<file`."""
    found = os.open(os.devnull, os.O_RDONLY)
    os.dup2(found, 97, inheritable=True)
    os.close(found)
    yield 97
    os.close(97)


def wait_dead(pid: int) -> None:
    end = time.monotonic() + PATIENCE_S
    while processes.is_alive(pid):
        assert time.monotonic() < end, f"{pid} is alive"
        time.sleep(0.01)


def wait_pid(path: Path) -> int:
    end = time.monotonic() + PATIENCE_S
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < end, f"{path} was not written"
        time.sleep(0.01)
    return int(path.read_text())


@pytest.mark.usefixtures("leaked")
def test_a_command_is_born_with_its_streams_only_and_the_signals_of_the_shell() -> None:
    """What Python ignores is reset; no descriptor of the caller is inherited; stdin has an end."""
    born = json.loads(run_command([sys.executable, "-SIc", BIRTH], timeout=PATIENCE_S).stdout)
    python = 1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1
    assert int(born["ignored"], 16) & ~python == 0
    assert born | {"ignored": ""} == {
        "ignored": "",
        "blocked": "0000000000000000",
        "stdin": os.devnull,
        "descriptors": [0, 1, 2],
        "leads": True,
    }
    shell = run_command(["grep", "SigIgn", "/proc/self/status"], timeout=PATIENCE_S)
    assert int(shell.stdout.split()[1], 16) & python == 0


def test_a_time_out_ends_the_whole_group_also_a_member_that_ignores_term(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    script = f"(trap '' TERM; sh -c 'echo $PPID > {file}; exec sleep 100'; :) & wait"
    began = time.monotonic()
    result = run_command(["sh", "-c", script], timeout=0.3)
    assert result == CommandResult(None, error="did not end in 0.3 s")
    assert time.monotonic() - began < 5
    wait_dead(wait_pid(file))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_that_ends_the_caller_ends_the_group_of_its_command(number: int, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    script = f"sh -c 'echo $$ > {file}; exec sleep 100' & wait"
    code = f"from minikube.linux.commands import run_command; run_command(['sh', '-c', {script!r}], timeout=None)"
    caller = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL)
    pid = wait_pid(file)
    caller.send_signal(number)
    assert caller.wait(PATIENCE_S) == -number
    wait_dead(pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_start_of_a_command_ends_it_too(number: int, tmp_path: Path) -> None:
    code = f"""
import os
from minikube.linux import commands

real = commands.spawn

def spawn(*arguments, **options):
    process = real(*arguments, **options)
    with open({str(tmp_path / "pid")!r}, "w") as file:
        print(process.pid, file=file)
    os.kill(os.getpid(), {number:d})
    return process

commands.spawn = spawn
commands.run_command(["sleep", "100"], timeout=None)
"""
    caller = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL, timeout=PATIENCE_S)
    assert caller.returncode == -number
    wait_dead(wait_pid(tmp_path / "pid"))


def test_what_a_command_leaves_behind_neither_holds_it_up_nor_is_ended(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    result = run_command(
        ["sh", "-c", f"(while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; sh -c 'echo $PPID > {file}') & echo done"],
        timeout=None,
    )
    assert result == CommandResult(0, "done\n")
    (tmp_path / "go").touch()
    assert wait_pid(file)


def test_output_is_bounded_and_a_command_that_writes_more_goes_on() -> None:
    result = run_command(["sh", "-c", "head -c 3000000 /dev/zero; echo last >&2"], timeout=PATIENCE_S)
    assert (result.status, len(result.stdout), result.stderr) == (0, OUTPUT_LIMIT, "last\n")


def test_lines_of_both_streams_come_while_the_command_runs_also_one_without_an_end() -> None:
    lines: list[str] = []
    script = "echo one; echo two >&2; head -c 600000 /dev/zero | tr '\\0' x; echo; printf three"
    assert run_command(["sh", "-c", script], timeout=PATIENCE_S, on_line=lines.append) == CommandResult(0)
    assert [line for line in lines if line and "x" not in line] == ["one", "two", "three"]
    assert sum(line.count("x") for line in lines) == 600_000
    assert max(map(len, lines)) < OUTPUT_LIMIT + commands.READ_BYTES + 1


def test_commands_run_side_by_side_and_one_that_cannot_start_hinders_no_other(tmp_path: Path) -> None:
    """Each of the others waits for the other at a pipe."""
    os.mkfifo(tmp_path / "pipe")
    writes, reads = f"echo x > {tmp_path}/pipe", f"cat {tmp_path}/pipe; exit 7"
    results = run_commands([["sh", "-c", writes], ["/nonexistent"], ["sh", "-c", reads]], timeout=PATIENCE_S)
    assert results == [
        CommandResult(0),
        CommandResult(None, error="no such file or directory"),
        CommandResult(7, "x\n"),
    ]


def test_a_command_that_writes_without_end_is_ended_at_the_time_out() -> None:
    """There is always something to read then. Also what a command has left behind may write without end."""
    assert run_command(["yes"], timeout=0.2) == CommandResult(None, error="did not end in 0.2 s")
    left = run_command(["sh", "-c", "yes & echo done >&2"], timeout=PATIENCE_S)
    assert (left.status, left.stderr) == (0, "done\n")


def test_without_descriptors_the_result_says_so() -> None:
    """Wherever they run out; the limit is raised until there are enough."""
    before = os.listdir("/proc/self/fd")
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    results: list[CommandResult] = []
    while not results or results[-1].status is None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + len(results), hard))
        try:
            results.append(run_command(["true"], timeout=PATIENCE_S))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert {result.error for result in results[:-1]} == {"too many open files"}
    assert len(results) > 5
    assert results[-1] == CommandResult(0)
    assert os.listdir("/proc/self/fd") == before


def test_no_descriptor_stays_open() -> None:
    before = os.listdir("/proc/self/fd")
    run_commands([["true"], ["/nonexistent"], ["sleep", "9"]], timeout=0.1)
    assert os.listdir("/proc/self/fd") == before


def test_only_one_module_starts_programs() -> None:
    """The product has no second way to start a program: what a child gets before exec is set in one place."""
    ways = ("import subprocess", "os.system(", "os.popen(", "create_subprocess", "import multiprocessing", "pty.spawn")
    sources = [path for name in ("minikube", "tui", "services") for path in (ROOT / name).rglob("*.py")]
    found = [str(path.relative_to(ROOT)) for path in sources if any(way in path.read_text() for way in ways)]
    assert found == ["minikube/linux/commands.py"]
