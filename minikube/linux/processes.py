"""Process trees as the kernel tells them (floor 3, standard library only: the guardian uses it too).

A process is named by its *identity*: pid, start time in clock ticks since boot, boot id. Only that survives the reuse of
pids. Everything here reads `/proc` or sends a signal, at once; it refuses to wait, and to remember anything.
"""

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
STAT_BYTES = 4_096
"""More than `/proc/PID/stat` ever has: 52 numbers and a name of 64 bytes at most."""


class Stat:
    """What is needed of `/proc/PID/stat` (proc(5)): field numbers there start at 1, after the name they are fixed."""

    __slots__ = ("parent", "pid", "resident", "session", "started", "state", "ticks")

    def __init__(self, pid: int, text: str) -> None:
        # The name is in parentheses and may itself hold spaces and parentheses: only the last one closes it.
        fields = text[text.rindex(")") + 2 :].split()
        self.pid = pid
        self.state = fields[0]
        self.parent = int(fields[1])
        self.session = int(fields[3])
        self.ticks = int(fields[11]) + int(fields[12])
        self.started = int(fields[19])
        self.resident = int(fields[21]) * PAGE_BYTES

    @property
    def alive(self) -> bool:
        return self.state not in "ZX"


def become_subreaper() -> None:
    """From now on orphaned descendants become children of this process, also those that called setsid (prctl(2))."""
    import ctypes  # only where it is needed: it costs the guardian's parent 10 ms

    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def stat(pid: int) -> Stat | None:
    """None once it is gone and reaped."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:  # `open` would make four system calls more, and the sampler reads all of them every other second
        return Stat(pid, os.read(descriptor, STAT_BYTES).decode("utf-8", "replace"))
    except (OSError, ValueError):
        return None
    finally:
        os.close(descriptor)


def scan() -> Iterator[Stat]:
    """Every process there is. About 8 µs each."""
    for name in os.listdir("/proc"):
        if name.isdecimal() and (found := stat(int(name))) is not None:
            yield found


def start_time(pid: int) -> int:
    """0 when there is no such process."""
    found = stat(pid)
    return found.started if found is not None else 0


def children(pid: int) -> list[int]:
    """Direct children, dead ones that nobody reaped included. The kernel may miss some while others exit: look again."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += map(int, file.read().split())
    return found


def adopted(pid: int) -> list[int]:
    """Children of its first thread: where the kernel puts orphans that a subreaper inherits (exit.c, find_new_reaper).

    One read, however many threads there are; may hold children that it started itself.
    """
    with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
        return [int(word) for word in file.read().split()]
    return []


def descendants(roots: Iterable[int]) -> list[int]:
    """Everything below `roots`, not they themselves."""
    found: dict[int, None] = {}
    edge = [child for root in roots for child in children(root)]
    while edge:
        pid = edge.pop()
        if pid not in found:
            found[pid] = None
            edge += children(pid)
    return list(found)


def environment(pid: int) -> dict[str, str]:
    """What it was started with; empty where we may not look."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            items = file.read().decode("utf-8", "surrogateescape").split("\0")
    except OSError:
        return {}
    return dict(item.split("=", 1) for item in items if "=" in item)


def cgroup(pid: int) -> str:
    """Its control groups as `/proc/PID/cgroup` tells them (cgroups(7)); empty once it is gone."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def hears(pid: int, number: int) -> bool:
    """Whether a signal means anything to a namespace's first process: the kernel drops what such a one has neither
    caught, blocked nor ignored on purpose, instead of ending it (pid_namespaces(7)). True where we may not look."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            lines = dict(line.split(":", 1) for line in file if line.startswith("Sig"))
        masks = [int(lines[name], 16) for name in ("SigCgt", "SigBlk", "SigIgn")]
    except (OSError, ValueError, KeyError):
        return True
    return any(mask >> (number - 1) & 1 for mask in masks)


def name_of(pid: int) -> str:
    """The command's name, for messages; empty once it is gone."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def directory(pid: int) -> str:
    """Where it runs; empty where we may not look."""
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


def called(pid: int) -> str:
    """`pid 123 (python)`, for messages; a process that nothing can end says why."""
    found = stat(pid)
    stuck = ", in uninterruptible sleep" if found is not None and found.state == "D" else ""
    return f"pid {pid} ({name_of(pid) or 'gone'}{stuck})"


def send(pid: int, number: int) -> bool:
    """False: there is no such process any more. Raises PermissionError for one that is not ours to signal."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def kill_all(pids: Iterable[int]) -> list[int]:
    """KILL to each. Those that may not be signalled (another user's) are returned."""
    refused = []
    for pid in pids:
        try:
            send(pid, signal.SIGKILL)
        except PermissionError:
            refused.append(pid)
    return refused


def reap(pid: int) -> int | None:
    """The wait status of a dead child, or None: alive, or not (any more) a child of ours. Never `waitpid(-1)`."""
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return status if found else None


def port_owner(port: int) -> tuple[int, str] | None:
    """Pid and name of who listens on a TCP port of this machine, as far as `/proc` lets us see."""
    inodes = set(_listening(port))
    if not inodes:
        return None
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            for descriptor in os.listdir(f"/proc/{name}/fd"):
                with contextlib.suppress(OSError):
                    if os.readlink(f"/proc/{name}/fd/{descriptor}") in inodes:
                        return int(name), name_of(int(name))
    return None


def _listening(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(table, encoding="ascii") as file:
            next(file, "")
            for line in file:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    yield f"socket:[{fields[9]}]"
