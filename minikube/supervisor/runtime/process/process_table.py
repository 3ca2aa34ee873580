"""All processes of the supervisor: which instance each belongs to, ending a whole process tree, reaping orphans.

A process tree is a command and all its descendants, also orphans that have left its session. Where control groups are
available, each tree has one. The supervisor is a child subreaper, so orphans become its children; their owner is found from
earlier scans of `/proc`, from their session, and from INSTANCE_ID in their environment. It refuses to restart processes and
to read output. More than 400 lines, because all that starts, ends or reaps a process uses the same table.
"""

import contextlib
import errno
import logging
import os
import resource
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

import trio
from msgspec import structs

from minikube.errors import ResourceExhausted, StartError
from minikube.linux import processes
from minikube.linux.cgroup import Group, ProjectGroups
from minikube.linux.exec_context import ExecFailure
from minikube.linux.rlimits import grow_descriptor_table
from minikube.supervisor.relocation import Relocation
from minikube.supervisor.runtime.exit_status import Exit
from minikube.supervisor.runtime.failures import classify
from minikube.supervisor.runtime.process.fork_client import (
    ANSWER_TIMEOUT_S,
    MOST_REQUESTS,
    ForkServer,
    ForkServerGone,
    ProcessStart,
    execute_server,
)
from minikube.supervisor.runtime.process.fork_exec import Command, exec_context, start_error
from minikube.supervisor.runtime.process.process import Process

logger = logging.getLogger(__name__)

RECHECK_DELAY_S = 0.02
"""How soon a tree is walked again when a member cannot be watched through a pidfd."""

KILL_TIMEOUT_S = 5.0
"""How long KILL is repeated. What survives it is in uninterruptible sleep, or is another user's process."""

REQUEST_TRIES = 3
"""A start whose fork server was killed is requested again: of the standby, and of a new fork server."""

IDLE_DELAY_S = 0.1
"""How long nothing was started when the fork server joins the group of the next start: that takes it up to 15 ms."""

KILL_RECHECK_S = 0.002

HELPER_ENV = "MINIKUBE_HELPER"
"""In the environment of a helper command (a hook, a check): the owner of its tree. INSTANCE_ID there names the instance."""


class ProcessTable:
    """Tracks all processes that descend from the supervisor, and the owner of each. Belongs to the trio thread.

    An owner is the id of an instance, the name of a backing service, or the name of a helper command.
    """

    def __init__(self, groups: ProjectGroups | None = None, fork_server: ForkServer | None = None) -> None:
        """`fork_server` creates the processes; None: one is started when it is needed, as after its death."""
        self._groups = groups
        self._stale_groups: list[Group] = []
        """Groups of ended processes, which are removed after the next start, or when their last processes have died."""
        self._processes: dict[int, Process] = {}
        self._seen: dict[int, tuple[int, str]] = {}
        """Pid → start time and owner of tree members found earlier: an orphan may have left its session since."""
        self._external: dict[int, str] = {}
        """Pid → owner of processes that are no children of the supervisor: the first process of each container."""
        self.relocations: list[Relocation] = []
        """The moves of the project since the start: see `relocate`."""
        self._starting = 0
        self._start_count = 0
        self._has_started = trio.Event()
        """Set, and replaced by a new event, at each start."""
        self._next_group: Group | None = None
        """The group that the fork server has joined for the next start without limits of its own."""
        self._fork_server = fork_server
        self._unanswered = trio.CapacityLimiter(MOST_REQUESTS)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._file_limits = (soft, hard)
        """The limits on open files with which the supervisor was started; its children get them too."""

    def raise_file_limit(self) -> None:
        """Raise the supervisor's own limit on open files to the hard limit. Its children do not get it."""
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (self._file_limits[1], self._file_limits[1]))
        grow_descriptor_table()

    def close(self) -> None:
        """End the fork server. No process can be started any more."""
        if self._fork_server is not None:
            self._fork_server.close()

    async def start(self, command: Command) -> Process:
        """Start a command and return its process. The caller has to wait for its exit, `end` its tree and `forget` it.

        Raises `ResourceExhausted` when the machine lacks memory, processes, descriptors or disk space, and another
        `StartError` when the command cannot be executed. When cancelled, complete the start and return the process.
        """
        # A child that is not in `_processes` yet must not be taken for a dead orphan: reap() leaves it.
        self._starting += 1
        command = self._relocate(command)
        group: Group | None = None
        try:
            group = self._take_group(command)
            with trio.CancelScope(shield=True):
                start = await self._start(command, group)
            process = self._add(start, command.owner, group)
            if group is not None and command.group_limits:
                group.add(process.pid)  # it is there already, or else there is a warning
            group = None
            self._reap_command(process)  # the SIGCHLD of its exit may have come already
            logger.debug("%s: started pid %d (%s)", command.owner, process.pid, command.argv[0])
            return process
        except ExecFailure as failure:
            raise start_error(command, failure) from None
        except OSError as error:
            raise start_error(command, ExecFailure("descriptors", error.errno or errno.EIO)) from error
        except ValueError as error:
            raise StartError(f"cannot start {command.argv[0]}: {error}") from error
        except MemoryError as error:
            raise classify(error) from error
        finally:
            self._starting -= 1
            self._start_count += 1
            self._has_started.set()
            self._has_started = trio.Event()
            self._remove_group(group)
            if not self._starting:
                self.reap()  # orphans that died meanwhile; the SIGCHLD has come already

    def relocate(self, relocation: Relocation) -> None:
        """Start commands from now on as if they had been written after this move of the project; record groups there."""
        self.relocations.append(relocation)
        if self._groups is not None:
            self._groups.project_dir = relocation.path(self._groups.project_dir)

    def current_path(self, path: Path) -> Path:
        """Return where a path leads after all moves of the project."""
        for relocation in self.relocations:
            path = relocation.path(path)
        return path

    def _relocate(self, command: Command) -> Command:
        for relocation in self.relocations:
            command = structs.replace(
                command,
                argv=tuple(map(relocation.text, command.argv)),
                env={name: relocation.text(value) for name, value in command.env.items()},
                cwd=relocation.path(command.cwd),
            )
        return command

    def _take_group(self, command: Command) -> Group | None:
        if self._next_group is not None and not command.group_limits:
            group, self._next_group = self._next_group, None
            return group
        return self._groups.create(command.owner, command.group_limits) if self._groups else None

    async def _prepare_starts(self) -> NoReturn:
        """Have the fork server join a group for the next start, whenever nothing was started for `IDLE_DELAY_S`."""
        try:
            while True:
                await self._has_started.wait()
                count = -1
                while self._starting or count != self._start_count:
                    count = self._start_count
                    await trio.sleep(IDLE_DELAY_S)
                self._prepare_start()
        finally:
            group, self._next_group = self._next_group, None
            if group is not None:
                group.kill()  # the fork server, of which the standby is left
                with trio.move_on_after(KILL_TIMEOUT_S, shield=True):
                    while not group.remove():
                        await trio.sleep(KILL_RECHECK_S)

    def _prepare_start(self) -> None:
        server = self._fork_server
        if self._next_group is None and self._groups is not None and server is not None and not server.is_gone:
            group = None
            # An OSError: the fork server has ended, or has other requests to serve, or no group can be made.
            with contextlib.suppress(OSError):
                group = self._groups.create("next", {})
                if group is not None and group.unified is not None:
                    server.join_group(os.fsencode(group.unified))
                    self._next_group, group = group, None
            self._remove_group(group)

    async def _start(self, command: Command, group: Group | None) -> ProcessStart:
        """Request the process and wait until it has executed its program. Raises OSError, ValueError and `ExecFailure`."""
        context = exec_context(command, group)
        for _ in range(REQUEST_TRIES):
            start = None
            try:
                async with self._unanswered:
                    server = self._open_fork_server()
                    start = await server.request(context, command.may_use_reserve)
                    with trio.move_on_after(ANSWER_TIMEOUT_S):
                        await _read_until(start, lambda start: start.pid > 0)
                if start.status >= 0 and not start.pid:
                    server.kill()  # not the one that another start may have opened since, which works
                    raise ForkServerGone
                if start.is_lost:
                    raise ForkServerGone
                with trio.move_on_after(ANSWER_TIMEOUT_S):
                    await _read_until(start, lambda _: False)
                if start.failure is not None:
                    raise start.failure
                if start.status < 0:
                    return start
                processes.send_signal(start.pid, signal.SIGKILL)
                raise ResourceExhausted(
                    f"cannot start {command.argv[0]}: its file system, or that of {command.cwd}, does not answer"
                    " — trying again"
                )
            except ForkServerGone:
                # It was killed. It may have started the process without saying so.
                if group is not None:
                    group.kill()
                await self.end(command.owner, signal.SIGKILL, 0.0)
                context = context._replace(is_isolated=True)  # this directory or program may be what it hangs at
            except BaseException:
                if start is not None:
                    start.close()
                raise
            if start is not None:
                start.close()
        raise ResourceExhausted(f"cannot start {command.argv[0]}: the fork server does not answer — trying again")

    def _open_fork_server(self) -> ForkServer:
        """Return the fork server; start a new one where it has ended. Raises OSError."""
        if self._fork_server is None or self._fork_server.is_gone:
            if self._fork_server is not None:
                logger.warning("the fork server has ended: starting another one")
            self._fork_server = execute_server(self._file_limits[0])
        return self._fork_server

    async def adopt(self, start: ProcessStart, command: Command) -> Process:
        """Add a process that was requested without this table; return it once it has executed its program.

        Raises `StartError`. Call it before the first `reap`.
        """
        await _read_until(start, lambda _: False)
        if start.failure is not None:
            start.close()
            raise start_error(command, start.failure)
        return self._add(start, command.owner)

    def _add(self, start: ProcessStart, owner: str, group: Group | None = None) -> Process:
        process = Process(start.pid, start.stdout, start.stderr, owner, group)
        self._processes[process.pid] = process
        return process

    def forget(self, process: Process) -> None:
        """Remove an exited process whose tree has been ended; close its descriptors."""
        self._processes.pop(process.pid, None)
        process.close()
        if process.group is not None:
            # Removed after the next start: that takes the kernel some milliseconds, and a restart mostly follows.
            self._stale_groups.append(process.group)

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
        """Reap all dead children: set the exits of started commands, and forget orphans. Called for every SIGCHLD."""
        while pid := processes.find_dead_child():
            process = self._processes.get(pid)
            if process is None and self._starting:
                # It may be the process of a start that is under way, whose exit must not be lost. `start` reaps again.
                for process in list(self._processes.values()):
                    self._reap_command(process)
                return
            if process is not None:
                self._reap_command(process)
            else:
                processes.reap(pid)
                self._seen.pop(pid, None)

    def _reap_command(self, process: Process) -> None:
        if process.exit is None and (status := processes.reap(process.pid)) is not None:
            process.set_exit(status)

    async def reap_children(self) -> NoReturn:
        """Call `reap` for every SIGCHLD, and prepare the next start, until cancelled."""
        with trio.open_signal_receiver(signal.SIGCHLD) as received:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._prepare_starts)
                self.reap()  # what died before the handler was set
                async for _ in received:
                    self.reap()
        raise AssertionError

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


async def _read_until(start: ProcessStart, is_enough: Callable[[ProcessStart], bool]) -> None:
    """Read the status pipe until it has told enough, or to its end: the program was executed, or the start failed."""
    while start.status >= 0 and not is_enough(start):
        await trio.lowlevel.wait_readable(start.status)
        start.read()


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
