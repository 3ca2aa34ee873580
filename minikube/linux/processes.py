"""Processes and their trees, as `/proc` shows them, and signals to them.

A process is identified by its pid, its start time (in clock ticks since the boot) and the boot id: a pid alone is reused.
Standard library only, because the guardian imports it. It refuses to wait, and to remember anything.
"""

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
STAT_BYTES = 4_096
"""More than `/proc/PID/stat` ever holds: 52 numbers and a name of 64 bytes at most."""


class ProcessStat:
    """One process as `/proc/PID/stat` shows it (proc(5))."""

    __slots__ = ("parent", "pid", "resident", "session", "start_time", "state", "threads", "ticks")

    def __init__(self, pid: int, text: str) -> None:
        # The name is in parentheses and may itself hold spaces and parentheses: only the last one closes it.
        fields = text[text.rindex(")") + 2 :].split()
        self.pid = pid
        self.state = fields[0]
        self.parent = int(fields[1])
        self.session = int(fields[3])
        self.ticks = int(fields[11]) + int(fields[12])
        self.threads = int(fields[17])
        self.start_time = int(fields[19])
        self.resident = int(fields[21]) * PAGE_BYTES

    @property
    def is_alive(self) -> bool:
        """Return whether one of its threads runs.

        A process whose first thread has ended (pthread_exit) looks like a zombie, but has other threads.
        """
        return self.state not in "ZX" or self.threads > 1

    @property
    def is_stopped(self) -> bool:
        """Return whether a signal (STOP, TSTP) or a debugger has suspended it."""
        return self.state in "Tt"


def become_subreaper() -> None:
    """Make orphaned descendants children of this process from now on, also those that called setsid (prctl(2))."""
    import ctypes  # late: the import takes 10 ms, which `up` would wait for

    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def exit_with_parent(parent: int, number: signal.Signals) -> None:
    """Ask the kernel to send this process the signal `number` when the thread that forked it ends.

    Where that thread's process `parent` has ended already, the signal is sent at once.
    """
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def boot_id() -> str:
    """Return an id that is new after every boot; empty where it cannot be read."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def read_stat(pid: int) -> ProcessStat | None:
    """Return the state of a process; None where there is no such process, not even a zombie."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:  # not open(): it makes four system calls more, and `usage` reads every process each two seconds
        return ProcessStat(pid, os.read(descriptor, STAT_BYTES).decode("utf-8", "replace"))
    except (OSError, ValueError):
        return None
    finally:
        os.close(descriptor)


def scan_processes() -> Iterator[ProcessStat]:
    """Yield the state of every process of this machine. Takes about 8 µs for each."""
    for name in os.listdir("/proc"):
        if name.isdecimal() and (found := read_stat(int(name))) is not None:
            yield found


def is_alive(pid: int) -> bool:
    """Return whether the process `pid` exists and is no zombie."""
    found = read_stat(pid) if pid > 0 else None
    return found is not None and found.is_alive


def start_time(pid: int) -> int:
    """Return the start time in clock ticks since the boot; 0 where there is no such process."""
    found = read_stat(pid)
    return found.start_time if found is not None else 0


def children(pid: int) -> list[int]:
    """Return the pids of all direct children, zombies included.

    The kernel may leave out a child while another one exits, so a caller that must not miss any has to ask again.
    """
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += map(int, file.read().split())
    return found


def adopted_children(pid: int) -> list[int]:
    """Return the children of a process' first thread: the orphans that a subreaper inherits, and what that thread started.

    One read, however many threads there are. The kernel gives orphans to the first thread (exit.c, find_new_reaper).
    """
    with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
        return [int(word) for word in file.read().split()]
    return []


def descendants(roots: Iterable[int]) -> list[int]:
    """Return the pids of all descendants of `roots`, without the roots themselves."""
    found: dict[int, None] = {}
    frontier = [child for root in roots for child in children(root)]
    while frontier:
        pid = frontier.pop()
        if pid not in found:
            found[pid] = None
            frontier += children(pid)
    return list(found)


def environment(pid: int) -> dict[str, str]:
    """Return the environment that a process was executed with; empty where it may not be read."""
    data = _read_bytes(f"/proc/{pid}/environ")
    if not data:  # a first thread that has ended has none, but the other threads have it
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task")[1:]:
                data = data or _read_bytes(f"/proc/{pid}/task/{task}/environ")
    items = data.decode("utf-8", "surrogateescape").split("\0")
    return dict(item.split("=", 1) for item in items if "=" in item)


def _read_bytes(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def cgroup_paths(pid: int) -> str:
    """Return the text of `/proc/PID/cgroup`, the control groups of a process (cgroups(7)); empty where it has ended."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def handles_signal(pid: int, number: int) -> bool:
    """Return whether a process catches, blocks or ignores a signal. True where that may not be read.

    The first process of a pid namespace gets only such signals: the kernel drops the others there, also those whose
    default action would end it (pid_namespaces(7)).
    """
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            lines = dict(line.split(":", 1) for line in file if line.startswith("Sig"))
        masks = [int(lines[name], 16) for name in ("SigCgt", "SigBlk", "SigIgn")]
    except (OSError, ValueError, KeyError):
        return True
    return any(mask >> (number - 1) & 1 for mask in masks)


def command_name(pid: int) -> str:
    """Return the name of a process' program; empty where it has ended."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def working_directory(pid: int) -> str:
    """Return the working directory of a process; empty where it may not be read."""
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


def describe(pid: int) -> str:
    """Return `pid 123 (python)` for messages; also that a process is in uninterruptible sleep, where KILL has no effect."""
    found = read_stat(pid)
    stuck = ", in uninterruptible sleep" if found is not None and found.state == "D" else ""
    return f"pid {pid} ({command_name(pid) or 'ended'}{stuck})"


def send_signal(pid: int, number: int) -> bool:
    """Send a signal. False where there is no such process. Raises PermissionError for another user's process."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def kill_all(pids: Iterable[int]) -> list[int]:
    """Send KILL to each process; return those that may not be signalled, because they are another user's."""
    refused = []
    for pid in pids:
        try:
            send_signal(pid, signal.SIGKILL)
        except PermissionError:
            refused.append(pid)
    return refused


def find_dead_child() -> int:
    """Return the pid of a child that has exited and is not reaped; 0 where there is none."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return 0
    return found.si_pid if found is not None else 0


def reap(pid: int) -> int | None:
    """Reap a dead child and return its wait status; None where it is alive or no child of this process."""
    # Never waitpid(-1): it would take the exits of children that `subprocess` waits for.
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return status if found else None


def signal_number(name: str) -> int:
    """Return the number of a signal: `TERM` or `SIGTERM` → 15. Raises ValueError for an unknown name."""
    try:
        return signal.Signals[f"SIG{name.upper().removeprefix('SIG')}"].value
    except KeyError:
        raise ValueError(f"{name} is not a signal") from None
