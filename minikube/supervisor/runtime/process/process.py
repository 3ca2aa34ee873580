"""The process runtime (floor 3): starts a command in a session of its own, tells its exit at once, ends its whole tree.

    Household   all processes of this supervisor: who started which, who belongs to whom, dead orphans reaped
    Process     one running command: pid, exit, signals, output pipes

An exit is noticed through a pidfd, never by polling. A tree is everything that descends from the command, orphans
that left the session included. Where control groups can be made, the tree is a group (`cgroup`). Everywhere, as a child
subreaper, the supervisor inherits the orphans, and tells whose they are by what it saw before, by their session, and by
INSTANCE_ID in their environment. It refuses to restart anything and to read output.
"""

import contextlib
import errno
import functools
import os
import resource
import signal
import subprocess
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import trio
from msgspec import Struct

from minikube.errors import ResourceExhausted, StartError
from minikube.linux import processes as tree
from minikube.linux.cgroup import Group, Groups, enter
from minikube.linux.credentials import Rights
from minikube.linux.rlimits import Rlimit, limit_self, rlimits, too_high
from minikube.supervisor.runtime.exit_status import Exit
from minikube.supervisor.runtime.failures import SHORTAGES, classify

REAP_AGAIN_S = 0.02
"""How soon a tree whose last known member just died is looked at again: a fork may have been under way."""

KILL_PATIENCE_S = 5.0
"""How long KILL is repeated before we say who cannot be killed (uninterruptible sleep, another user's process)."""

HELPER = "MINIKUBE_HELPER"
"""In the environment of a helper command: whose tree it is, where INSTANCE_ID is that of the instance beside it."""


class Command(Struct, frozen=True):
    """What to execute. `limits` are rlimits by name (`nofile`), -1 for unlimited; a `umask` of -1 is ours."""

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: Path
    owner: str = ""
    """The instance's id: whose tree this is."""
    rights: Rights = Rights()
    umask: int = -1
    limits: Mapping[str, int | float] = {}
    shares: Mapping[str, int | float] = {}
    """`memory` (bytes), `cpus` and `pids` of the whole tree."""


class Process:
    """A started command. `exited` is set within about a millisecond of its death; then `exit` tells how."""

    def __init__(self, popen: "subprocess.Popen[bytes]", pidfd: int, owner: str, group: Group | None = None) -> None:
        assert popen.stdout is not None
        assert popen.stderr is not None
        self.group = group
        self.pid = popen.pid
        self.owner = owner
        self.started = tree.start_time(popen.pid)
        self.stdout = popen.stdout.fileno()
        self.stderr = popen.stderr.fileno()
        os.set_blocking(self.stdout, False)
        os.set_blocking(self.stderr, False)
        self.exited = trio.Event()
        self.exit: Exit | None = None
        self._popen = popen
        self._pidfd = pidfd

    async def watch(self) -> Exit:
        """Returns when it is dead, and reaps it. One task at a time may call this."""
        while self.exit is None:
            await trio.lowlevel.wait_readable(self._pidfd)
            status = self._popen.poll()
            if status is not None:
                starved = status == -signal.SIGKILL and self.group is not None and self.group.starved()
                self.exit = Exit(status, "out of memory, limits.memory" if starved else "")
                self.exited.set()
        return self.exit

    def send(self, number: int) -> bool:
        """Signals the command itself. False when it is already dead."""
        return self.exit is None and tree.send(self.pid, number)

    def close(self) -> None:
        """Gives back the descriptors, its output's ends included."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        for pipe in (self._popen.stdout, self._popen.stderr):
            assert pipe is not None
            pipe.close()


class ProcessTable:
    """Every process that descends from this one. Belongs to the trio thread."""

    def __init__(self, groups: Groups | None = None) -> None:
        self._groups = groups
        self._stale: list[Group] = []
        """Groups whose last members are still dying."""
        self._processes: dict[int, Process] = {}
        self._seen: dict[int, tuple[int, str]] = {}
        """Members seen in walks: start time and owner, for orphans that hide where they came from."""
        self._lodgers: dict[int, str] = {}
        self._starting = 0
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._files = (soft, hard)

    def raise_file_limit(self) -> None:
        """As many descriptors as allowed for us; what we start keeps the limit we were started with."""
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (self._files[1], self._files[1]))

    async def start(self, command: Command) -> Process:
        """Executes `command`. Raises `ResourceExhausted` when the machine is short of something, else `StartError` when the command
        cannot be executed. When cancelled, the start is completed and its process returned: it is the caller's to end."""
        # A child that is not in `_processes` yet must not be taken for a dead orphan: reap() waits for this count.
        self._starting += 1
        group: Group | None = None
        limits: list[Rlimit] = []
        try:
            limits = self._limits(command)
            group = self._groups.make(command.owner, command.shares) if self._groups else None
            with trio.CancelScope(shield=True):
                popen = await trio.to_thread.run_sync(_spawn, command, limits, group)
            process = self.adopt(popen, command.owner, group)
            group = None
            self._give_back_files(process, command)
            return process
        except OSError as error:
            raise _explained(command, error) from error
        except (subprocess.SubprocessError, KeyError, ValueError) as error:
            raise StartError(too_high(limits) or f"cannot start {command.argv[0]}: {error}") from error
        except (RuntimeError, MemoryError) as error:  # a start takes a thread
            if (shortage := classify(error)) is error:
                raise
            raise shortage from error
        finally:
            self._starting -= 1
            self._tidy(group)
            self.reap()  # what died meanwhile has had its SIGCHLD

    def adopt(self, popen: "subprocess.Popen[bytes]", owner: str, group: Group | None = None) -> Process:
        """Takes over a child with piped output that was started by other means."""
        try:
            pidfd = os.pidfd_open(popen.pid)
        except OSError:
            popen.kill()
            popen.wait()
            for pipe in (popen.stdout, popen.stderr):
                if pipe is not None:
                    pipe.close()
            raise
        process = Process(popen, pidfd, owner, group)
        self._processes[process.pid] = process
        return process

    def _limits(self, command: Command) -> list[Rlimit]:
        """What the child sets. Of another user's process we could not give the number of files back afterwards."""
        found = rlimits(command.limits)
        if command.rights.user is not None and "nofile" not in command.limits:
            found.append(("nofile", resource.RLIMIT_NOFILE, self._files))
        return found

    def _give_back_files(self, process: Process, command: Command) -> None:
        """The number of files that we were started with, not what we have raised ours to."""
        if "nofile" not in command.limits:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                resource.prlimit(process.pid, resource.RLIMIT_NOFILE, self._files)

    def forget(self, process: Process) -> None:
        """It is dead and its tree has been ended."""
        self._processes.pop(process.pid, None)
        process.close()
        self._tidy(process.group)

    def _tidy(self, group: Group | None) -> None:
        self._stale = [one for one in [*self._stale, *([group] if group else [])] if not one.remove()]

    def lodge(self, pid: int, owner: str) -> None:
        """A process that is not our child but belongs to an instance: a container's first one."""
        self._lodgers[pid] = owner

    def moved_out(self, pid: int) -> None:
        self._lodgers.pop(pid, None)

    def members(self, owner: str) -> list[int]:
        """Living processes of one instance, the command itself included."""
        roots = [pid for pid, process in self._processes.items() if process.owner == owner]
        grouped = [pid for group in self._groups_of(owner) for pid in group.members()]
        sessions = set(roots)
        orphans = []
        for pid in tree.adopted(os.getpid()):
            if pid not in self._processes and self._owner_of(pid, owner, sessions):
                orphans.append(pid)
        found = [*roots, *orphans, *grouped, *tree.descendants([*roots, *orphans])]
        return [pid for pid in dict.fromkeys(found) if self._note(pid, owner)]

    def _groups_of(self, owner: str) -> list[Group]:
        return [one.group for one in self._processes.values() if one.owner == owner and one.group]

    def reap(self) -> None:
        """Collects dead orphans. For every SIGCHLD."""
        if self._starting:
            return
        for pid in tree.adopted(os.getpid()):
            if pid not in self._processes:
                tree.reap(pid)
                self._seen.pop(pid, None)

    async def end(self, owner: str, number: int, timeout: float) -> list[str]:
        """Signals a whole tree, waits for it, kills what is left after `timeout` seconds.

        Returns who had to be killed, for messages. When cancelled it kills at once, and still waits until all are dead,
        for at most `KILL_PATIENCE_S`.
        """
        killed: dict[int, str] = {}
        gone = False
        try:
            with trio.move_on_after(timeout):
                signalled: set[int] = set()
                while members := self.members(owner):
                    for pid in members:
                        if pid not in signalled:
                            _try_send(pid, number)
                            _try_send(pid, signal.SIGCONT)  # a stopped process hears nothing but KILL
                    signalled.update(members)
                    await _wait_gone(members)
                gone = True
        finally:
            with trio.move_on_after(KILL_PATIENCE_S, shield=True):
                while not gone and (members := self.members(owner)):
                    killed.update((pid, tree.called(pid)) for pid in members if pid not in killed)
                    for group in self._groups_of(owner):
                        group.kill()
                    tree.kill_all(members)
                    await _wait_gone(members)
        return list(killed.values())

    def usage(self, owners: Mapping[int, str]) -> None:
        """Remembers whose the processes of a walk are: `pid` → owner, as the sampler saw them. Forgets who has gone."""
        for pid, owner in owners.items():
            self._note(pid, owner)
        self._seen = {pid: seen for pid, seen in self._seen.items() if pid in owners or tree.start_time(pid) == seen[0]}

    @property
    def seen(self) -> dict[int, tuple[int, str]]:
        """Who was seen to belong to whom: pid → start time and owner."""
        return dict(self._seen)

    @property
    def roots(self) -> dict[int, str]:
        """The commands that were started, and the lodgers: pid → owner."""
        return {pid: process.owner for pid, process in self._processes.items()} | self._lodgers

    @property
    def identities(self) -> list[tuple[int, int]]:
        """The same, as pid and start time."""
        known = [(pid, process.started) for pid, process in self._processes.items()]
        return known + [(pid, tree.start_time(pid)) for pid in self._lodgers]

    def _note(self, pid: int, owner: str) -> bool:
        found = tree.stat(pid)
        if found is None or not found.alive:
            return False
        self._seen[pid] = (found.started, owner)
        return True

    def _owner_of(self, pid: int, owner: str, sessions: set[int]) -> bool:
        found = tree.stat(pid)
        if found is None or not found.alive:
            return False
        seen = self._seen.get(pid)
        if seen is not None and seen[0] == found.started:
            return seen[1] == owner
        if found.session in sessions:
            return True
        env = tree.environment(pid)
        return (env.get(HELPER) or env.get("INSTANCE_ID")) == owner


async def _wait_gone(pids: list[int]) -> None:
    """Returns when one after the other has died, or after a moment for those that cannot be watched."""
    for pid in pids:
        try:
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            if error.errno != errno.ESRCH:
                await trio.sleep(REAP_AGAIN_S)
            continue
        try:
            await trio.lowlevel.wait_readable(pidfd)
        finally:
            trio.lowlevel.notify_closing(pidfd)
            os.close(pidfd)
    # A dead command stays in the list until its watcher has reaped it.
    await trio.lowlevel.checkpoint()


def _try_send(pid: int, number: int) -> None:
    with contextlib.suppress(PermissionError):
        tree.send(pid, number)


def _spawn(command: Command, limits: list[Rlimit], place: Group | None) -> "subprocess.Popen[bytes]":
    who = command.rights
    with place.doors() if place and command.shares else nullcontext(()) as doors:
        popen = subprocess.Popen(
            command.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=command.cwd,
            env=command.env,
            start_new_session=True,
            restore_signals=True,
            user=who.user,
            group=who.group,
            extra_groups=who.groups,
            umask=command.umask,
            # Only with limits: it makes the start a plain fork, and Python code runs in the child.
            preexec_fn=functools.partial(_prepare, limits, doors) if limits or doors else None,
        )
    if place is not None:
        place.add(popen.pid)
    return popen


def _prepare(limits: list[Rlimit], doors: tuple[int, ...]) -> None:
    """In the child. Its limits hold from its first instruction on: who leaves at once takes them along."""
    enter(doors)
    limit_self(limits)


def _explained(command: Command, error: OSError) -> StartError:
    program = command.argv[0]
    if error.errno in SHORTAGES:
        return ResourceExhausted(f"cannot start {program}: {error.strerror} — trying again")
    if error.filename is not None and str(error.filename) == str(command.cwd):
        return StartError(f"cannot start {program}: its directory {command.cwd}: {error.strerror} — set cwd")
    if error.errno == errno.ENOENT:
        return StartError(f"command not found: {program} — install it or set command")
    if error.errno == errno.ENOEXEC:
        return StartError(f"{program} is neither a program nor a script with a #! line")
    return StartError(f"cannot execute {program}: {error.strerror}")


def signal_number(name: str) -> int:
    """`TERM` or `SIGTERM` → 15. Raises ValueError for what is no signal."""
    try:
        return signal.Signals[f"SIG{name.upper().removeprefix('SIG')}"].value
    except KeyError:
        raise ValueError(f"{name} is not a signal") from None
