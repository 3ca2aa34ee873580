"""All processes of the supervisor: which instance each belongs to, ending a whole process tree, reaping orphans.

A process tree is a command and all its descendants, also orphans that have left its session. Where control groups are
available, each tree has one. The supervisor is a child subreaper, so orphans become its children; their owner is found from
earlier scans of `/proc`, from their session, and from INSTANCE_ID in their environment. It refuses to restart processes and
to read output.
"""

import contextlib
import errno
import logging
import os
import resource
import signal
import subprocess
from collections.abc import Mapping

import trio

from minikube.errors import StartError
from minikube.linux import processes
from minikube.linux.cgroup import Group, ProjectGroups
from minikube.linux.rlimits import Rlimit, describe_excess, to_rlimits
from minikube.supervisor.runtime.exit_status import Exit
from minikube.supervisor.runtime.failures import classify
from minikube.supervisor.runtime.process.fork_exec import Command, spawn, start_error
from minikube.supervisor.runtime.process.process import Process

logger = logging.getLogger(__name__)

RECHECK_DELAY_S = 0.02
"""How soon a tree is walked again when a member cannot be watched through a pidfd."""

KILL_TIMEOUT_S = 5.0
"""How long KILL is repeated. What survives it is in uninterruptible sleep, or is another user's process."""

HELPER_ENV = "MINIKUBE_HELPER"
"""In the environment of a helper command (a hook, a check): the owner of its tree. INSTANCE_ID there names the instance."""


class ProcessTable:
    """Tracks all processes that descend from the supervisor, and the owner of each. Belongs to the trio thread.

    An owner is the id of an instance, the name of a backing service, or the name of a helper command.
    """

    def __init__(self, groups: ProjectGroups | None = None) -> None:
        self._groups = groups
        self._stale_groups: list[Group] = []
        """Groups that could not be removed yet, because their last processes are still dying."""
        self._processes: dict[int, Process] = {}
        self._seen: dict[int, tuple[int, str]] = {}
        """Pid → start time and owner of tree members found earlier: an orphan may have left its session since."""
        self._external: dict[int, str] = {}
        """Pid → owner of processes that are no children of the supervisor: the first process of each container."""
        self._starting = 0
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._file_limits = (soft, hard)
        """The limits on open files with which the supervisor was started; its children get them too."""

    def raise_file_limit(self) -> None:
        """Raise the supervisor's own limit on open files to the hard limit."""
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (self._file_limits[1], self._file_limits[1]))

    async def start(self, command: Command) -> Process:
        """Start a command and return its process. The caller has to wait for its exit, `end` its tree and `forget` it.

        Raises `ResourceExhausted` when the machine lacks memory, processes, descriptors or disk space, and another
        `StartError` when the command cannot be executed. When cancelled, complete the start and return the process.
        """
        # A child that is not in `_processes` yet must not be taken for a dead orphan: reap() does nothing meanwhile.
        self._starting += 1
        group: Group | None = None
        limits: list[Rlimit] = []
        try:
            limits = self._child_rlimits(command)
            group = self._groups.create(command.owner, command.group_limits) if self._groups else None
            with trio.CancelScope(shield=True):
                popen = await trio.to_thread.run_sync(spawn, command, limits, group)
            process = self.adopt(popen, command.owner, group)
            group = None
            self._restore_file_limit(process, command)
            logger.debug("%s: started pid %d (%s)", command.owner, process.pid, command.argv[0])
            return process
        except OSError as error:
            raise start_error(command, error) from error
        except (subprocess.SubprocessError, KeyError, ValueError) as error:
            raise StartError(describe_excess(limits) or f"cannot start {command.argv[0]}: {error}") from error
        except (RuntimeError, MemoryError) as error:  # trio could not start the thread
            if (shortage := classify(error)) is error:
                raise
            raise shortage from error
        finally:
            self._starting -= 1
            self._remove_group(group)
            self.reap()  # the SIGCHLD of orphans that died meanwhile has come already

    def adopt(self, popen: "subprocess.Popen[bytes]", owner: str, group: Group | None = None) -> Process:
        """Add the child `popen`, which was started without this table, and return its process. Its output must be pipes.

        Raises OSError after killing the child, where no pidfd can be opened.
        """
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

    def _child_rlimits(self, command: Command) -> list[Rlimit]:
        """Return the resource limits that the child has to set for itself before exec."""
        limits = to_rlimits(command.rlimits)
        # The supervisor cannot change the limits of another user's process afterwards (`_restore_file_limit`).
        if command.credentials.user is not None and "nofile" not in command.rlimits:
            limits.append(("nofile", resource.RLIMIT_NOFILE, self._file_limits))
        return limits

    def _restore_file_limit(self, process: Process, command: Command) -> None:
        """Set the limit on open files of a new child to the one that the supervisor was started with.

        Set by the supervisor, because a limit that the child sets for itself makes its start slower: see `spawn`.
        """
        if "nofile" not in command.rlimits:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                resource.prlimit(process.pid, resource.RLIMIT_NOFILE, self._file_limits)

    def forget(self, process: Process) -> None:
        """Remove an exited process whose tree has been ended; close its descriptors and remove its control group."""
        self._processes.pop(process.pid, None)
        process.close()
        self._remove_group(process.group)

    def _remove_group(self, group: Group | None) -> None:
        candidates = [*self._stale_groups, *([group] if group else [])]
        self._stale_groups = [candidate for candidate in candidates if not candidate.remove()]

    def add_external(self, pid: int, owner: str) -> None:
        """Add the first process of a container: it belongs to an instance, but is no child of the supervisor."""
        self._external[pid] = owner

    def remove_external(self, pid: int) -> None:
        """Remove a process that `add_external` added. Does nothing for an unknown pid."""
        self._external.pop(pid, None)

    def members(self, owner: str) -> list[int]:
        """Return the pids of all living processes of an owner: its commands and their descendants, orphans included."""
        roots = [pid for pid, process in self._processes.items() if process.owner == owner]
        grouped = [pid for group in self._groups_of(owner) for pid in group.members()]
        sessions = set(roots)
        orphans = []
        for pid in processes.adopted_children(os.getpid()):
            if pid not in self._processes and self._is_owned_orphan(pid, owner, sessions):
                orphans.append(pid)
        found = [*roots, *orphans, *grouped, *processes.descendants([*roots, *orphans])]
        return [pid for pid in dict.fromkeys(found) if self._note_if_alive(pid, owner)]

    def _groups_of(self, owner: str) -> list[Group]:
        return [process.group for process in self._processes.values() if process.owner == owner and process.group]

    def reap(self) -> None:
        """Reap all dead orphans, which are children of the supervisor. Called for every SIGCHLD."""
        if self._starting:
            return
        for pid in processes.adopted_children(os.getpid()):
            if pid not in self._processes:
                processes.reap(pid)
                self._seen.pop(pid, None)

    async def end(self, owner: str, number: int, timeout: float) -> list[str]:
        """Send signal `number` to all processes of an owner, wait for their exit, and kill the rest after `timeout` seconds.

        Return a text for each killed process. When cancelled, kill immediately; wait for the deaths in any case, but
        for `KILL_TIMEOUT_S` at most.
        """
        killed: dict[int, str] = {}
        all_ended = False
        try:
            with trio.move_on_after(timeout):
                signalled: set[int] = set()
                # Again after each round: a member may have forked before the signal reached it.
                while members := self.members(owner):
                    for pid in members:
                        if pid not in signalled:
                            _try_send_signal(pid, number)
                            logger.debug("%s: sent %s to pid %d", owner, Exit(-number), pid)
                            _try_send_signal(pid, signal.SIGCONT)  # a stopped process handles no signal but KILL
                    signalled.update(members)
                    await _wait_dead(members)
                all_ended = True
        finally:
            with trio.move_on_after(KILL_TIMEOUT_S, shield=True):
                while not all_ended and (members := self.members(owner)):
                    killed.update((pid, processes.describe(pid)) for pid in members if pid not in killed)
                    for group in self._groups_of(owner):
                        group.kill()
                    processes.kill_all(members)
                    await _wait_dead(members)
        if killed:
            logger.debug("%s: killed after %g s: %s", owner, timeout, ", ".join(killed.values()))
        return list(killed.values())

    def note_owners(self, owners: Mapping[int, str]) -> None:
        """Remember the owner of each process (pid → owner) that a scan of `/proc` has found, and forget dead processes."""
        for pid, owner in owners.items():
            self._note_if_alive(pid, owner)
        self._seen = {
            pid: seen for pid, seen in self._seen.items() if pid in owners or processes.start_time(pid) == seen[0]
        }

    @property
    def seen(self) -> dict[int, tuple[int, str]]:
        """All processes whose owner was found so far: pid → start time and owner."""
        return dict(self._seen)

    @property
    def roots(self) -> dict[int, str]:
        """The roots of the process trees, which are started commands and first processes of containers: pid → owner."""
        return {pid: process.owner for pid, process in self._processes.items()} | self._external

    @property
    def identities(self) -> list[tuple[int, int]]:
        """The pid and start time of each process in `roots`."""
        own = [(pid, process.start_time) for pid, process in self._processes.items()]
        return own + [(pid, processes.start_time(pid)) for pid in self._external]

    def _note_if_alive(self, pid: int, owner: str) -> bool:
        stat = processes.read_stat(pid)
        if stat is None or not stat.is_alive:
            return False
        self._seen[pid] = (stat.start_time, owner)
        return True

    def _is_owned_orphan(self, pid: int, owner: str, sessions: set[int]) -> bool:
        stat = processes.read_stat(pid)
        if stat is None or not stat.is_alive:
            return False
        seen = self._seen.get(pid)
        if seen is not None and seen[0] == stat.start_time:
            return seen[1] == owner
        if stat.session in sessions:
            return True
        env = processes.environment(pid)
        return (env.get(HELPER_ENV) or env.get("INSTANCE_ID")) == owner


async def _wait_dead(pids: list[int]) -> None:
    """Wait until all these processes are dead. For a process that cannot be watched, wait `RECHECK_DELAY_S` instead."""
    for pid in pids:
        try:
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            if error.errno != errno.ESRCH:
                await trio.sleep(RECHECK_DELAY_S)
            continue
        try:
            await trio.lowlevel.wait_readable(pidfd)
        finally:
            trio.lowlevel.notify_closing(pidfd)
            os.close(pidfd)
    # A dead command stays among the members until the task in Process.wait_exit has reaped it.
    await trio.lowlevel.checkpoint()


def _try_send_signal(pid: int, number: int) -> None:
    with contextlib.suppress(PermissionError):
        processes.send_signal(pid, number)
