"""What a process has from its first instruction, and why it was not started. Real processes."""

import errno
import os
import resource
import signal
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import trio

from minikube.errors import ResourceExhausted, StartError
from minikube.linux import processes
from minikube.linux.cgroup import Group
from minikube.linux.credentials import Credentials
from minikube.linux.exec_context import ExecFailure
from minikube.supervisor.runtime.pipes import collect
from minikube.supervisor.runtime.process.fork_client import ForkServer, ProcessStart, execute_server
from minikube.supervisor.runtime.process.fork_exec import Command, exec_context
from minikube.supervisor.runtime.process.process import Process
from minikube.supervisor.runtime.process.process_table import ProcessTable
from tests.eventually import eventually, soon
from tests.integration.supervisor.commands import command, end, kill_fork_servers

WAYS: dict[str, dict[str, Any]] = {
    "spawned": {},
    "forked": {"rlimits": {"core": 0}},
    "other user": {"credentials": Credentials(65534, 65534, (65534, 4242))},
}
"""A fork server has two ways of starting a process; the second is for attributes that only the process itself can set."""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to change the user")


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    return WAYS[request.param]


async def output(table: ProcessTable, process: Process) -> str:
    """Read what a process writes until it ends, and forget it."""
    data = bytearray()
    with trio.fail_after(30):
        await collect(process.stdout, data, 65_536)
        await process.wait_exit()
    table.forget(process)
    return data.decode()


@pytest.fixture
def careless_parent() -> Iterator[None]:
    """Ignore and block signals in this process, as the program that runs `up` may do."""
    ignored = (signal.SIGHUP, signal.SIGTSTP, signal.SIGUSR1, signal.SIGPIPE, signal.SIGRTMIN)
    before = [signal.signal(number, signal.SIG_IGN) for number in ignored]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGQUIT))
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for number, action in zip(ignored, before, strict=True):
        signal.signal(number, action)


async def test_every_signal_has_its_default_action_and_none_is_blocked(
    careless_parent: None, process_table: ProcessTable, way: Mapping[str, Any]
) -> None:
    process = await process_table.start(command("cat", "/proc/self/status", **way))
    masks = dict(line.split(":\t") for line in (await output(process_table, process)).splitlines() if "Sig" in line)
    assert {name: int(masks[name], 16) for name in ("SigBlk", "SigIgn", "SigCgt")} == dict.fromkeys(
        ("SigBlk", "SigIgn", "SigCgt"), 0
    )


@pytest.fixture
def low_file_limit() -> Iterator[int]:
    """Lower the soft limit on open files, as a shell does, and return it."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(777, before[1]), before[1]))
    yield min(777, before[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_a_process_has_the_limits_of_the_shell_and_not_those_that_the_supervisor_raised(
    low_file_limit: int, process_table: ProcessTable, way: Mapping[str, Any]
) -> None:
    process_table.raise_file_limit()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard > low_file_limit
    process = await process_table.start(command("sh", "-c", "ulimit -Sn; ulimit -Hn", **way))
    assert (await output(process_table, process)).split() == [str(low_file_limit), str(hard)]


def soft_file_limit(pid: int) -> int:
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return int(next(line.split()[3] for line in lines if line.startswith("Max open files")))


async def test_a_limit_that_a_start_script_sets_stays(
    low_file_limit: int, process_table: ProcessTable, way: Mapping[str, Any]
) -> None:
    process_table.raise_file_limit()
    process = await process_table.start(command("sh", "-c", "ulimit -Sn 900; echo set; read _", **way))
    await trio.lowlevel.wait_readable(process.stdout)
    assert soft_file_limit(process.pid) == 900
    await end(process_table, process)


async def test_a_process_has_three_descriptors_only(process_table: ProcessTable, way: Mapping[str, Any]) -> None:
    """Also where the supervisor inherited others from the shell that ran `up`, such as that of a lock file."""
    leaked = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leaked, True)
    try:
        process = await process_table.start(command("sh", "-c", "cd /proc/$$/fd; echo *", **way))
        assert await output(process_table, process) == "0 1 2 3\n", "3 is the directory"
    finally:
        os.close(leaked)


async def test_a_process_leads_a_session_and_has_its_directory_umask_and_user(
    process_table: ProcessTable, tmp_path: Path, way: Mapping[str, Any]
) -> None:
    script = "echo $$; cut -d' ' -f6 /proc/$$/stat; pwd; umask; id -u; id -G"
    process = await process_table.start(command("sh", "-c", script, cwd=tmp_path, umask=0o27, **way))
    pid, session, directory, umask, user, groups = (await output(process_table, process)).splitlines()
    assert pid == session == str(process.pid)
    assert (directory, umask) == (str(tmp_path), "0027")
    credentials = way.get("credentials")
    ids = ("65534", "65534 4242") if credentials else (str(os.getuid()), " ".join(map(str, _own_groups())))
    assert (user, groups) == ids


def _own_groups() -> list[int]:
    return list(dict.fromkeys([os.getgid(), *os.getgroups()]))


async def test_the_umask_and_directory_of_one_process_are_not_those_of_the_next(
    process_table: ProcessTable, tmp_path: Path
) -> None:
    first = await process_table.start(command("sleep", "600", cwd=tmp_path, umask=0o77))
    process = await process_table.start(command("sh", "-c", "umask; ls -d ."))
    mask = os.umask(0)
    os.umask(mask)
    assert await output(process_table, process) == f"{mask:04o}\n.\n"
    await end(process_table, first)


async def test_another_user_may_open_its_standard_streams_by_name(process_table: ProcessTable) -> None:
    process = await process_table.start(command("sh", "-c", "echo to-the-log > /dev/stdout", **WAYS["other user"]))
    assert await output(process_table, process) == "to-the-log\n"


async def test_stdin_is_open_and_silent_and_belongs_to_one_process(
    process_table: ProcessTable, way: Mapping[str, Any]
) -> None:
    """A build that watches ends when its stdin does. Neither the fork server's death nor another process' flag reaches it."""
    process = await process_table.start(command("cat", **way))
    other = await process_table.start(command("cat", **way))
    await kill_fork_servers(process_table)
    stdin = os.open(f"/proc/{process.pid}/fd/0", os.O_RDWR | os.O_NONBLOCK)
    try:
        assert stat.S_ISFIFO(os.fstat(stdin).st_mode)
        assert os.stat(f"/proc/{process.pid}/fd/0").st_ino != os.stat(f"/proc/{other.pid}/fd/0").st_ino
        os.write(stdin, b"still read\n")
    finally:
        os.close(stdin)
    with trio.fail_after(30):
        await trio.lowlevel.wait_readable(process.stdout)
    assert os.read(process.stdout, 99) == b"still read\n"
    assert (process.exit, other.exit) == (None, None)
    await end(process_table, process, other)


async def test_a_process_costs_the_supervisor_two_descriptors(process_table: ProcessTable) -> None:
    first = await process_table.start(command("sleep", "600"))
    before = len(os.listdir("/proc/self/fd"))
    more = [await process_table.start(command("sleep", "600")) for _ in range(10)]
    assert len(os.listdir("/proc/self/fd")) - before == 20
    await end(process_table, first, *more)
    assert len(os.listdir("/proc/self/fd")) == before - 2


async def test_the_last_descriptors_are_kept_for_commands(process_table: ProcessTable) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = len(os.listdir("/proc/self/fd")) + 80
    started: list[Process] = []
    service = command("sleep", "600", may_use_reserve=False)
    try:
        started.append(await process_table.start(service))
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
        refusal = ""
        while not refusal:
            try:
                started.append(await process_table.start(service))
            except ResourceExhausted as error:
                refusal = str(error)
        assert f"no file descriptor is left for it (the limit is {limit}) — raise it with `ulimit -n`" in refusal
        assert len(started) > 3, "some services have to run"
        stop_command = await process_table.start(command("echo", "stopping"))
        assert await output(process_table, stop_command) == "stopping\n"
        await end(process_table, started.pop())
        started.append(await process_table.start(service))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        await end(process_table, *started)


async def test_the_exit_of_each_short_process_is_noticed(process_table: ProcessTable) -> None:
    """A process may have ended before its start is known to have succeeded."""
    codes: list[str] = []

    async def run_once(number: int) -> None:
        process = await process_table.start(command("sh", "-c", f"exit {number}"))
        codes.append(str(await process.wait_exit()))
        process_table.forget(process)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for number in range(60):
                nursery.start_soon(run_once, number)
    assert sorted(codes) == sorted(f"exit {number}" for number in range(60))


async def test_the_exit_of_a_process_whose_start_is_not_known_yet_is_kept(
    subreaper: None, nursery: trio.Nursery
) -> None:
    """Until then the process looks like a dead orphan. Exits of other processes are noticed meanwhile."""

    class LateTable(ProcessTable):
        async def _start(self, command: Command, group: Group | None) -> ProcessStart:
            start = await super()._start(command, group)
            if command.argv[0] != "sleep":
                await soon(lambda: (stat := processes.read_stat(start.pid)) is not None and stat.state == "Z")
                sleeper.send_signal(signal.SIGKILL)
                with trio.fail_after(30):
                    await sleeper.exited.wait()
                self.reap()
            return start

    table = LateTable()
    nursery.start_soon(table.reap_children)
    sleeper = await table.start(command("sleep", "600"))
    process = await table.start(command("sh", "-c", "exit 7"))
    with trio.fail_after(30):
        assert str(await process.wait_exit()) == "exit 7"
    for ended in (sleeper, process):
        table.forget(ended)
    table.close()


async def test_an_environment_of_a_megabyte_reaches_the_process(process_table: ProcessTable) -> None:
    env = {"PATH": os.environ["PATH"], **{f"BIG_{number}": "x" * 100_000 for number in range(10)}}
    process = await process_table.start(Command(("sh", "-c", "env | wc -c"), env, Path("/")))
    assert int(await output(process_table, process)) > 1_000_000


async def test_a_null_byte_is_refused_before_anything_starts(process_table: ProcessTable) -> None:
    with pytest.raises(StartError, match="null byte"):
        await process_table.start(command("echo", "a\0b"))


# ------------------------------------------------------------------ failures


@pytest.fixture
def server(subreaper: None) -> Iterator[ForkServer]:
    started = execute_server(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    yield started
    started.close()


def failure_of(server: ForkServer, wanted: Command) -> tuple[str, int, str]:
    start = server.begin(exec_context(wanted))
    try:
        start.wait()
        assert isinstance(start.failure, ExecFailure), "it was started"
        return start.failure.stage, start.failure.errno, start.failure.path
    finally:
        start.close()


def test_a_failure_tells_the_step_the_error_and_the_file(
    server: ForkServer, tmp_path: Path, way: Mapping[str, Any]
) -> None:
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        parent.chmod(0o755)
        if parent.name.startswith("pytest-of-"):
            break
    script, text, program = tmp_path / "script", tmp_path / "text", tmp_path / "empty"
    script.write_text("#!/no/such/interpreter\n")
    text.write_text("not executable\n")
    program.write_text("no format\n")
    for path in (script, program):
        path.chmod(0o755)
    gone = tmp_path / "gone"
    path_env = {"PATH": f"/nowhere:{tmp_path}"}

    def failure(*argv: str, cwd: Path = tmp_path) -> tuple[str, int, str]:
        return failure_of(server, Command(argv, path_env, cwd, **way))

    assert failure("true", cwd=gone) == ("directory", errno.ENOENT, str(gone))
    assert failure("true", cwd=text) == ("directory", errno.ENOTDIR, str(text))
    assert failure("missing") == ("exec", errno.ENOENT, "")
    assert failure(str(gone)) == ("exec", errno.ENOENT, "")
    assert failure("script") == ("exec", errno.ENOENT, str(script))
    assert failure("text") == ("exec", errno.EACCES, str(text))
    assert failure("empty") == ("exec", errno.ENOEXEC, str(program))
    assert failure(str(tmp_path)) == ("exec", errno.EACCES, str(tmp_path))


def test_a_failure_of_a_limit_and_of_a_user_is_told_as_such(server: ForkServer) -> None:
    limit, user = (
        command("true", rlimits={"nofile": -1}),
        command("true", credentials=Credentials(65534, 65534, (1,) * 70_000)),
    )
    assert failure_of(server, limit) == ("limit", errno.EPERM, "nofile")
    assert failure_of(server, user) == ("user", errno.EINVAL, "")


# ------------------------------------------------------------------ signals and ends


LEADERLESS = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(600,)).start()
print("ready", flush=True)
ctypes.CDLL(None).pthread_exit(None)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_process_whose_first_thread_has_ended_is_alive_and_is_stopped(
    process_table: ProcessTable, number: int
) -> None:
    process = await process_table.start(command(sys.executable, "-c", LEADERLESS, owner="0badcafe"))
    await soon(lambda: (stat := processes.read_stat(process.pid)) is not None and stat.state == "Z")
    assert process_table.members("0badcafe") == [process.pid]
    with trio.fail_after(30):
        assert await process_table.end("0badcafe", number, 10) == []
        await process.wait_exit()
    assert str(process.exit) == f"signal {signal.Signals(number).name.removeprefix('SIG')}"
    process_table.forget(process)


def test_the_environment_of_a_process_whose_first_thread_has_ended_is_read(subreaper: None) -> None:
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", LEADERLESS], {"MARK": "here"})
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        eventually(lambda: (stat := processes.read_stat(pid)) is not None and stat.state == "Z")
        assert processes.environment(pid)["MARK"] == "here"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    dead = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, dead, os.WEXITED | os.WNOWAIT)
    zombie = processes.read_stat(dead)
    assert zombie is not None
    assert not zombie.is_alive
    os.waitpid(dead, 0)


async def test_a_stopped_process_is_continued_so_that_it_obeys_a_stop(process_table: ProcessTable) -> None:
    process = await process_table.start(command("sleep", "600", owner="0badcafe"))
    process.send_signal(signal.SIGSTOP)
    await soon(lambda: (stat := processes.read_stat(process.pid)) is not None and stat.state == "T")
    with trio.fail_after(30):
        assert await process_table.end("0badcafe", signal.SIGTERM, 20) == [], "it had to be killed"
        assert str(await process.wait_exit()) == "signal TERM"
    process_table.forget(process)


async def test_no_signal_is_sent_to_a_process_that_was_reaped(process_table: ProcessTable) -> None:
    process = await process_table.start(command("true"))
    await process.wait_exit()
    sent: list[int] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(processes, "send_signal", lambda pid, number: sent.append(pid))
        assert not process.send_signal(signal.SIGKILL)
    assert sent == []
    process_table.forget(process)
