"""Logs as a user meets them: real services, the real command, restarts, rotation, a full disk."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from minikube.logs.instance_log import MAX_BLOCK_S, InstanceLog
from minikube.logs.writing.writer import LogWriter
from minikube.manifest import LogSpec
from tests.e2e.running import MINIKUBE
from tests.e2e.small import Small
from tests.eventually import eventually
from tests.ports import free_ports
from tests.untraced import untraced

COUNTER = """
import itertools, os, sys, time
for number in itertools.count():
    print("INFO", os.environ["INSTANCE_ID"], os.getpid(), number, flush=True)
    if number % 10 == 9:
        print("ERROR tenth\\n  and more of it", file=sys.stderr, flush=True)
    time.sleep(0.01)
"""

SERVICES = f"""
[services.counter]
command = ["{sys.executable}", "counter.py"]
logs = {{ max_size = "4K", keep = 3 }}
stop = {{ timeout = "2s" }}

[services.silent]
command = ["sh", "-c", "echo last words >&2; exec >&- 2>&-; exec sleep 1000"]

[services.twin]
command = ["sh", "-c", "echo '{{\\"level\\":\\"warn\\",\\"msg\\":\\"twin\\"}}'; printf half; exec sleep 1000"]
replicas = 2
logs = {{ format = "json" }}
"""


def minikube(directory: Path, *arguments: str, code: int = 0) -> str:
    env = dict(os.environ) if arguments[0] == "up" else untraced()
    done = subprocess.run([MINIKUBE, *arguments], cwd=directory, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr if code else done.stdout


@contextmanager
def up(directory: Path, services: str) -> Iterator[Path]:
    registry, control = free_ports(2)
    head = f'name = "t"\n[registry]\nlisten = "127.0.0.1:{registry}"\n[control]\nlisten = "127.0.0.1:{control}"\n'
    (directory / "supervisor.toml").write_text(head + services)
    try:
        minikube(directory, "up", "-d")
        yield directory
    finally:
        minikube(directory, "down", "--now")


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("talking")
    (directory / "counter.py").write_text(COUNTER)
    with up(directory, SERVICES):
        for instance, text in (("counter", "tenth"), ("silent", "last words"), ("twin-1", "twin"), ("twin-2", "twin")):
            eventually(lambda name=instance, text=text: text in minikube(directory, "logs", name))  # type: ignore[misc]
        yield directory


def test_one_or_all_are_shown_narrowed_and_in_order(talking: Path) -> None:
    everyone = minikube(talking, "logs", "--tail", "all").splitlines()
    assert {line.partition(" |")[0].strip() for line in everyone} == {"counter", "silent", "twin-1", "twin-2"}
    assert "silent   | last words" in everyone
    records = [json.loads(line) for line in minikube(talking, "logs", "counter", "--json", "-n", "all").splitlines()]
    assert {tuple(record) for record in records} == {("time", "service", "instance", "stream", "line", "level")}
    assert [record["time"] for record in records] == sorted(record["time"] for record in records)
    # The first line that is kept may go on from one that was rotated away, and with it its level.
    assert {record["level"] for record in records[1:]} == {"info", "error"}
    errors = minikube(talking, "logs", "counter", "--no-prefix", "--level", "error", "--since", "1h").splitlines()
    assert set(errors) == {"ERROR tenth", "  and more of it"}
    assert (
        minikube(talking, "logs", "twin", "--grep", "^twin$", "--no-prefix").splitlines()
        == ['{"level":"warn","msg":"twin"}'] * 2
    )
    assert minikube(talking, "logs", "twin-2", "--tail", "0") == ""
    # Valkey and Redis since 7.2 begin with "Ready", Redis 7.0 says "The server is now ready".
    assert "ready to accept connections" in minikube(talking, "logs", "redis").lower()
    assert minikube(talking, "logs", "counter", "--until", "1h", "-n", "5") == ""


def test_a_service_may_have_the_name_of_a_part(tmp_path: Path) -> None:
    say = 'command = ["sh", "-c", "echo mine; exec sleep 1000"]\n'
    names = ("dashboard", "redis", "registry", "supervisor")
    with Small(tmp_path, "".join(f"[services.{name}]\n{say}" for name in names)) as small:
        small.up("--wait")
        shown = [f"{name:<10} | mine" for name in names]
        for _ in range(2):
            assert sorted(small.run("logs").splitlines()) == shown
            assert small.run("logs", "redis", "--no-prefix") == "mine\n"
            assert "minikube.redis | " in small.run("logs", "minikube.redis")
            small.run("down", code=None)


def test_an_invalid_query_is_an_error(talking: Path) -> None:
    assert "grep: ( is not a valid pattern: missing )" in minikube(talking, "logs", "--grep", "(", code=2)
    assert "level: expected a level, one of" in minikube(talking, "logs", "--level", "loud", code=2)
    assert "--since: expected a moment such as" in minikube(talking, "logs", "--since", "soon", code=2)
    assert "nobody: no such service" in minikube(talking, "logs", "nobody", code=4)


def test_a_service_that_closes_its_output_runs_on(talking: Path) -> None:
    def row() -> dict[str, object]:
        rows = json.loads(minikube(talking, "ps", "--json"))
        return next(row for row in rows if row["name"] == "silent")

    # Without a check it counts as starting for its first second.
    eventually(lambda: row()["state"] != "starting", what="silent has started")
    assert (row()["state"], row()["restarts"]) == ("running", 0)


def test_following_outlives_restarts_and_rotation_and_misses_nothing(talking: Path) -> None:
    """The files turn over about ten times a second's worth of lines; a restart falls in between."""
    follower = subprocess.Popen(
        [MINIKUBE, "logs", "-f", "counter", "--tail", "0", "--no-prefix", "--level", "info", "--grep", "^INFO"],
        cwd=talking,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert follower.stdout is not None
    seen: dict[str, list[int]] = {}
    try:
        for line in follower.stdout:
            _, _, pid, number = line.split()
            seen.setdefault(pid, []).append(int(number))
            if len(seen) == 1 and len(seen[pid]) == 100:
                minikube(talking, "restart", "counter")
            if len(seen) == 2 and len(seen[pid]) == 100:
                break
    finally:
        follower.kill()
        follower.wait()
        follower.stdout.close()
    first, second = seen.values()
    assert first == list(range(first[0], first[0] + len(first)))
    assert second == list(range(len(second)))


def test_a_log_that_is_removed_or_cleared_goes_on_and_followers_with_it(talking: Path) -> None:
    follower = subprocess.Popen(
        [MINIKUBE, "logs", "-f", "counter", "--tail", "0", "--no-prefix"],
        cwd=talking,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert follower.stdout is not None
    log = talking / ".minikube" / "logs" / "counter.log"
    try:
        follower.stdout.readline()
        log.unlink()
        eventually(log.exists)
        eventually(lambda: "counter.log was removed or moved" in minikube(talking, "events", "counter"))
        minikube(talking, "logs", "--clear", "counter")
        # Past what may still be in the pipe.
        before = int(minikube(talking, "logs", "counter", "--no-prefix", "--grep", "^INFO", "-n", "1").split()[-1])
        number = -1
        while number <= before:
            line = follower.stdout.readline()
            assert line
            number = int(line.split()[3]) if line.startswith("INFO") else number
    finally:
        follower.kill()
        follower.wait()
        follower.stdout.close()
    minikube(talking, "logs", "--clear", "nobody", code=4)
    assert "takes names only" in minikube(talking, "logs", "--clear", "--tail", "3", code=2)


def test_followers_of_a_silent_service_end_at_their_time_and_with_their_reader(talking: Path) -> None:
    minikube(talking, "logs", "-f", "silent", "--until", "1s")
    for command, pattern in (("logs -f silent", "words"), ("events -f", "started"), ("ps -w --json", "silent")):
        pipe = f"{MINIKUBE} {command} | grep -qm1 {pattern}; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(
            ["bash", "-c", pipe], cwd=talking, env=untraced(), capture_output=True, text=True, timeout=60
        )
        assert (done.stdout, done.stderr) == ("141\n", ""), command


def test_a_line_without_its_newline_is_shown(talking: Path) -> None:
    eventually(lambda: minikube(talking, "logs", "twin-1", "--no-prefix").endswith("\nhalf\n"))
    *_, last = minikube(talking, "logs", "twin-1", "--json").splitlines()
    assert json.loads(last)["partial"] is True


def test_what_was_kept_is_shown_when_nothing_runs(tmp_path: Path) -> None:
    assert "nothing is running" in minikube(tmp_path, "logs", code=3)
    service = '[services.once]\ncommand = ["sh", "-c", "echo ERROR gone; echo fine"]\nrestart = "never"\nreplicas = 2\n'
    with up(tmp_path, service):
        eventually(lambda: minikube(tmp_path, "logs").count("fine") == 2)
    assert minikube(tmp_path, "logs", "once", "--level", "error").count("ERROR gone\n") == 2
    assert minikube(tmp_path, "logs", "once-2", "-n", "1", "--no-prefix") == "fine\n"
    assert "nobody: no such service" in minikube(tmp_path, "logs", "nobody", code=4)
    assert "is not a valid pattern" in minikube(tmp_path, "logs", "--grep", "(", code=2)
    assert "nobody: no such service" in minikube(tmp_path, "logs", "--clear", "nobody", code=4)
    # An older version kept what Redis printed under this name.
    (tmp_path / ".minikube/logs/redis.log").write_text("2026-11-23T00:00:00.000000Z stdout Ready\n")
    minikube(tmp_path, "logs", "--clear", "once-1")
    assert minikube(tmp_path, "logs").splitlines() == ["once-2   | ERROR gone", "once-2   | fine"]
    minikube(tmp_path, "logs", "--clear")
    assert minikube(tmp_path, "logs") == ""


# ---------------------------------------------------------------- disks


FLOOD = """
import itertools, os, sys
for number in itertools.count():
    print(number, "x" * 1000, flush=True)
    if number % 100 == 0:
        with open("progress", "w") as file:
            file.write(str(number))
"""


def test_a_full_disk_blocks_no_service_and_dropped_lines_are_reported(tmp_path: Path, small_disk: Path) -> None:
    (tmp_path / "flood.py").write_text(FLOOD)
    (tmp_path / ".minikube").mkdir(mode=0o700)
    (tmp_path / ".minikube" / "logs").symlink_to(small_disk)
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 1_700_000)
    with up(tmp_path, f'[services.flood]\ncommand = ["{sys.executable}", "flood.py"]\n'):
        eventually(lambda: "output is not kept: No space left on device" in minikube(tmp_path, "events"))
        before = _progress(tmp_path)
        eventually(lambda: _progress(tmp_path) > before + 5_000, what="the service goes on")
        filler.unlink()
        eventually(lambda: "lines dropped: No space left" in minikube(tmp_path, "logs", "--grep", "dropped"))
        assert "output is kept again" in minikube(tmp_path, "events")


def _progress(directory: Path) -> int:
    try:
        return int((directory / "progress").read_text() or 0)
    except OSError:
        return 0


class Stuck(InstanceLog):
    """A disk that takes nothing for as long as `gate` is shut."""

    gate = threading.Event()

    def write(self, data: bytes) -> None:
        self.gate.wait()
        super().write(data)


def _printing(count: int, size: int) -> "subprocess.Popen[bytes]":
    argv = [sys.executable, "-c", f"for n in range({count}): print(n, 'x' * {size})"]
    child = subprocess.Popen(argv, stdout=subprocess.PIPE)
    assert child.stdout is not None
    os.set_blocking(child.stdout.fileno(), False)
    return child


async def test_a_disk_that_hangs_holds_a_child_up_once_and_shortly(tmp_path: Path) -> None:
    writer = LogWriter(lambda: None)
    capture = Stuck("a", "a", tmp_path / "a.log", writer, LogSpec(1 << 30))
    count, size = 40_000, 1_000
    child = _printing(count, size)
    assert child.stdout is not None
    began = trio.current_time()
    await capture.read(child.stdout.fileno(), "stdout")
    assert trio.current_time() - began < MAX_BLOCK_S + 5.0
    assert child.wait() == 0
    child.stdout.close()
    assert capture.pending < 2 * count * size // 3
    assert capture.dropped > 0
    capture.gate.set()
    capture.feed("stdout", b"")
    writer.close(5.0)
    assert capture.path.read_bytes().count(b" stdout ") == count - capture.dropped
