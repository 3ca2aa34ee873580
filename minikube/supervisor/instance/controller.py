"""The controller of one instance, from its creation to its removal.

`InstanceController.run` is one task: wait for dependencies, start, watch, end the process tree, back off, start again.
Requests change the desired state and wake the task. Decisions without I/O are made in `desired_state`, `lifecycle`,
`start_errors` and `readiness`; `runtime` starts the process or container, and `termination` stops it. The file is past 400
lines because the requests and the task share every field.
"""

import logging
import random
import signal
import time
from collections.abc import Mapping
from functools import partial

import trio
from msgspec.structs import replace

from minikube.clock import steady_time
from minikube.logs.instance_log import InstanceLog
from minikube.manifest import ServiceSpec, template_text
from minikube.model import Instance, ProcessState
from minikube.project import service_diff
from minikube.project.instance_ports import InstancePorts, UsedPorts, fixed_ports, ports_after_edit
from minikube.supervisor.cancel_event import CancelEvent
from minikube.supervisor.instance import desired_state, lifecycle, start_errors
from minikube.supervisor.instance.collaborators import Collaborators
from minikube.supervisor.instance.dependencies import DependencyStatus
from minikube.supervisor.instance.desired_state import DesiredState
from minikube.supervisor.instance.lifecycle import InstanceState
from minikube.supervisor.instance.status import RunningProcess, describe_end, instance_view
from minikube.supervisor.instance.termination import stop_process
from minikube.supervisor.readiness.check_state import CheckSummary
from minikube.supervisor.readiness.readiness import Readiness, ReadinessCallbacks
from minikube.supervisor.readiness.registration import InstanceDescription
from minikube.supervisor.readiness.start_time import StartTime
from minikube.supervisor.runtime import failures
from minikube.supervisor.runtime.exit_status import Exit
from minikube.supervisor.runtime.interface import Launch, Running
from minikube.text import secrets_in

logger = logging.getLogger(__name__)

OUTPUT_DRAIN_S = 1.0
"""How long the output of a dead process is still read: a pipe holds a megabyte, and a surviving child may keep it open."""


class InstanceController:
    """Keeps one replica of a service in its desired state. Requests change that state and return immediately.

    Belongs to the trio thread.
    """

    def __init__(
        self, collaborators: Collaborators, spec: ServiceSpec, index: int, id: str, desired: DesiredState
    ) -> None:
        """`index` is the number of the replica, from 1 up; `desired` is its first desired state."""
        self.spec = spec
        self.id = id
        self.index = index
        self.name = spec.name if spec.replicas == 1 and index == 1 else f"{spec.name}-{index}"
        self.host = spec.host
        self.ports = fixed_ports(spec)
        """The ports of this machine that the instance has, without those that have not been chosen yet."""
        self._reached_ports: InstancePorts | None = None
        self.desired = desired
        self.state = InstanceState()
        self.state_since = steady_time()
        """When `state.process_state` was entered (Unix seconds)."""
        self.process: Running | None = None
        self.launched_spec = spec
        """The spec that the running process was started with."""
        self.start_time = StartTime(0.0, 0.0)
        self.readiness: Readiness | None = None
        """The readiness of the running process; None without a process."""
        self.last_lines: tuple[str, ...] = ()
        """The last lines of output of the last process."""
        self.finished = trio.Event()
        """Set once the instance was removed and its task has ended."""
        self._collaborators = collaborators
        self._store = collaborators.store
        self._registry_sync = collaborators.registry_sync
        self._wakeup = CancelEvent()
        """Set, and replaced by a new event, whenever a request changes the desired state."""
        self._start_under_way = False
        self._skipped: tuple[str, ...] = ()
        """The failed optional dependencies at the last start, as texts."""
        self._log: InstanceLog | None = None
        self._output_drained = trio.Event()
        """Set once the output of the last process has been read."""
        self._output_drained.set()

    # ------------------------------------------------------------ requests

    def start(self) -> None:
        """Request that the instance runs. A backoff or a final state (`exited`, `fatal`) ends: it starts immediately."""
        if self._collaborators.stop_requested.is_set():
            return  # a roll-out or an apply may still be under way: nothing is started any more
        state = lifecycle.reset_failures(self.state, self.desired)
        if (
            self._start_under_way
            and not self.desired.running
            and not service_diff.can_adjust_in_place(self.launched_spec, self.spec)
        ):
            # A stop came too late to interrupt the start that is under way, and the manifest has been edited since then.
            # The process that this start makes is an old one: it is to be replaced.
            self._set_desired(desired_state.restart(self.desired))
        else:
            self._set_desired(desired_state.start(self.desired))
        if state != self.state:
            self._set_state(state)
            self.wake()

    def stop(self) -> None:
        """Request that the instance stops, and that its schedule does not start it either."""
        self._set_desired(desired_state.stop(self.desired))

    def restart(self) -> None:
        """Request that the process of the instance is replaced by a new one."""
        if not self._collaborators.stop_requested.is_set():
            self._set_desired(desired_state.restart(self.desired))

    def remove(self) -> None:
        """Request that the instance stops and that its task (`run`) returns. It cannot be started again."""
        self._set_desired(desired_state.remove(self.desired))

    def queue_restart(self) -> None:
        """Mark the instance as waiting for a roll-out to restart it. The running process is not touched."""
        self.desired = desired_state.queue_restart(self.desired)

    def unqueue_restart(self) -> None:
        """Remove the mark of `queue_restart`: the roll-out has ended without restarting the instance."""
        self.desired = desired_state.unqueue_restart(self.desired)

    def resume_schedule(self, before: DesiredState) -> None:
        """Let the schedule start the instance again, unless the schedule was suspended in the desired state `before`.

        Used after a stop that only made room for another service.
        """
        self.desired = desired_state.resume_schedule(self.desired, before)

    def adjust(self, spec: ServiceSpec) -> None:
        """Use `spec`, from an edited manifest, from now on.

        The running process gets the settings that need no restart; the others hold from the next start.
        """
        self.spec = spec
        if self._log is not None:
            self._log.spec = spec.logs
        if self.process is None:
            self.host, self.ports = spec.host, ports_after_edit(spec, self.ports)
            self._reached_ports = None
        elif self.readiness is not None:
            self.readiness.adjust(spec)
            if self._log is not None:  # a variable that came from elsewhere before may be from a file now
                self._log.mask(self._secrets(self.process.env))
        self.wake()  # it may be waiting for a dependency that it does not have any more
        self.publish()

    def wake(self) -> None:
        """Wake the task in `run`, so that it compares the desired state with the actual state again."""
        # Replaced before it is set: what wakes up now waits for the next request.
        wakeup, self._wakeup = self._wakeup, CancelEvent()
        wakeup.set()

    def on_registry_update(self, entry: Instance | None) -> None:
        """Use `entry` as the registry's entry of the instance; None: the registry has none.

        An entry that an earlier process of the instance made is ignored.
        """
        if entry is not None and self.start_time.is_after(entry, time.time(), trio.current_time()):
            entry = None
        if self.readiness is not None:
            self.readiness.on_registry_update(entry)
        self.publish()

    def _set_desired(self, desired: DesiredState) -> None:
        if desired != self.desired:  # a repeated request does not interrupt a start that is under way
            self.desired = desired
            self.wake()

    # ------------------------------------------------------------ queries

    @property
    def used_ports(self) -> UsedPorts:
        """The ports of the instance, whether it listens on them yet or not."""
        return self.ports.used(self.spec if self.process is None else self.launched_spec)

    @property
    def _description(self) -> InstanceDescription:
        return InstanceDescription(
            self.id, self.name, self.spec, self.host, self.ports, self.index, self._reached_ports
        )

    @property
    def registry_entry(self) -> Instance | None:
        """The registry's entry of the running process; None where the registry has none or no process runs."""
        return self.readiness.entry if self.readiness else None

    @property
    def is_ready(self) -> bool:
        """Whether the instance is running, passes its check and, if it has to be registered, passes in the registry."""
        running = self.state.process_state is ProcessState.RUNNING
        return running and self.readiness is not None and self.readiness.is_passing

    @property
    def is_outdated(self) -> bool:
        """Whether the running process was started with settings that differ from the manifest's and need a restart."""
        return self.process is not None and not service_diff.can_adjust_in_place(self.launched_spec, self.spec)

    @property
    def is_down(self) -> bool:
        """Whether no process of the instance is alive or about to be started."""
        state = self.state.process_state
        return self.process is None and not (state.has_process or state is ProcessState.PENDING)

    @property
    def not_ready_reason(self) -> str:
        """The reason why the instance is not ready, as one line of text; empty while it is ready."""
        if self.readiness is None:
            return self.state.reason
        return self.readiness.not_ready_reason(self.state.process_state, self.state.reason)

    @property
    def dependency_status(self) -> DependencyStatus:
        """The status of the instance for services that depend on it."""
        state, scheduled = self.state, bool(self.spec.schedule)
        reason = self.not_ready_reason or (str(state.exit or "") if state.process_state.has_ended else "")
        return DependencyStatus(
            self.name,
            state.process_state,
            self.is_ready,
            completed=state.completed or (scheduled and state.has_completed),
            exited=state.process_state.is_final or (scheduled and state.has_ended),
            may_come=lifecycle.will_start(state, self.desired, scheduled),
            reason=reason,
        )

    async def wait_down(self) -> None:
        """Wait until the instance is down and its output has been read, or until a request starts it again."""
        await self._store.wait_until(lambda: self.is_down or self.desired.running)
        # The project may end right after the last instance: its last lines must have been logged by then.
        await self._output_drained.wait()

    # ------------------------------------------------------------ the task

    async def run(self) -> None:
        """Keep the instance in its desired state. Return once `remove` was called and no process of the instance is alive."""
        try:
            while True:
                # One wake-up event for the whole round: a request from here on is seen at every wait of the round.
                wakeup = self._wakeup
                self._set_state(lifecycle.follow_desired(self.state, self.desired))
                self.desired = desired_state.on_restart(self.desired)
                if self.desired.removed:
                    return
                due = lifecycle.next_start(self.state, self.desired)
                if due > trio.current_time():
                    with trio.move_on_at(due):
                        await wakeup.wait()
                elif await self._wait_dependencies(wakeup) and await self._prepare(wakeup):
                    await self._run_process(wakeup)
        finally:
            self.finished.set()

    async def _wait_dependencies(self, wakeup: CancelEvent) -> bool:
        """Wait until all dependencies of the service are met at the same time. Return False when `wakeup` is set first."""
        while reason := self._collaborators.unmet_dependency(self.spec):
            self._set_state(lifecycle.on_waiting(self.state, reason))
            revision = self._store.revision
            with wakeup.cancels():
                await self._store.wait_past(revision)
            if wakeup.is_set():
                return False
        skipped, self._skipped = self._skipped, self._collaborators.skipped_dependencies(self.spec)
        for text in self._skipped:
            if text not in skipped:  # not again at each restart
                self.event("instance.dependency_skipped", f"starts without {text}", "warning")
        # PENDING from here on: a stop waits until the start that begins now has been undone.
        self._set_state(lifecycle.on_waiting(self.state, ""))
        await trio.lowlevel.checkpoint()
        return not wakeup.is_set()

    async def _prepare(self, wakeup: CancelEvent) -> bool:
        """Prepare the runtime for the start (pull an image). Return False when `wakeup` is set first, or after a failure."""
        spec, log = self.spec, self._open_log()
        try:
            with wakeup.cancels():
                await self._collaborators.select_runtime(spec).prepare(spec, log, self._set_waiting)
        except Exception as error:
            self.last_lines = log.last_lines
            self._on_start_error(error, wakeup)
            return False
        return not wakeup.is_set()

    async def _run_process(self, wakeup: CancelEvent) -> None:
        """Start a process and watch it until it has ended. `wakeup` interrupts the start, and only the start."""
        process = None
        self._start_under_way = True
        try:
            # A start that completes although it is cancelled returns a process: it is watched, and stopped, like any other.
            with wakeup.cancels():
                process = await self._start_process()
        except Exception as error:
            self._registry_sync.deregister_soon(self.id)
            self._on_start_error(error, wakeup)
            return
        finally:
            self._start_under_way = False
        if process is None:
            # The start was undone; the process may have registered itself before that.
            self._registry_sync.deregister_soon(self.id)
            return
        self.process = process
        try:
            self._on_started(process)
            await self._watch(process)
        except Exception as error:
            await self._on_watch_error(process, error)
        finally:
            self.process = None
            process.close()
            self._collaborators.record_processes()

    async def _start_process(self) -> Running:
        """Start a process and return it. When cancelled, undo the start, or return the process if the start cannot be undone."""
        spec, log = self.spec, self._open_log()
        self.desired = desired_state.on_start(self.desired)
        # A log check must not see a line of the process before.
        log.clear()
        taken_ports = partial(self._collaborators.taken_ports, self.id)
        launch = Launch(spec, self.id, self.name, self.index, self.ports, taken_ports, self._on_death)
        # Before the start: the process may register itself before its runtime returns.
        entry = self._registry_sync.entry(self.id)
        self.start_time = StartTime(time.time(), trio.current_time(), steady_time(), entry.incarnation if entry else 0)
        self._registry_sync.on_start(self.id, self.start_time)
        self.launched_spec = spec
        return await self._collaborators.select_runtime(spec).start(launch)

    def _on_started(self, process: Running) -> None:
        """Record the address of the started process, begin to observe its readiness, and register it."""
        assert self._log is not None
        self.host, self.ports, self._reached_ports = process.host, process.ports, process.reached_ports
        self.readiness = Readiness(
            self._description, self._registry_sync, self._collaborators.prober, self._readiness_callbacks()
        )
        # Only now the whole environment is known, with what the project adds.
        self._log.mask(self._secrets(process.env))
        self._set_state(lifecycle.on_started(self.state, trio.current_time()))
        self.event("instance.started", f"started, pid {process.pid}" if process.pid else "started")
        self._collaborators.record_processes()
        self.readiness.register()
        if entry := self._registry_sync.entry(self.id):
            self.on_registry_update(entry)

    def _on_death(self) -> None:
        """Stop the checks and deregister the instance: its process is dead, although its exit code may not be known yet.

        A container's process is seen to die before the engine reports the exit code.
        """
        if self.readiness is not None:
            self.readiness.stop_checks()
        self._registry_sync.deregister_soon(self.id)
        if self.state.process_state is ProcessState.STOPPING:
            self._set_stopping("it has ended; its engine has not reported the exit code, or removed it, yet")

    async def _watch(self, process: Running) -> None:
        """Read output and run checks until the process exits or is to be stopped; then stop it and kill its descendants."""
        log, readers_done = self._log, trio.Event()
        assert log is not None
        assert self.readiness is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_read_output, process, log, readers_done)
            nursery.start_soon(process.wait_exit)
            nursery.start_soon(self.readiness.run_checks, process, log)
            while not self.desired.ends_process and process.exit is None:
                with self._wakeup.cancels():
                    await process.exited.wait()
            # Before the stop: a probe of a process that is shutting down would fail, and make an event.
            self.readiness.stop_checks()
            by_supervisor = process.exit is None
            if by_supervisor:
                await self._stop_process(process)
                await process.exited.wait()
            assert process.exit is not None
            self._output_drained = trio.Event()
            try:
                self._on_exit(process.exit, by_supervisor)
                state = self.state
                # Children that outlive the command must not hold the port or the log of the next process.
                await process.end(signal.SIGKILL, 0.0)
                with trio.move_on_after(OUTPUT_DRAIN_S):
                    await readers_done.wait()
            finally:
                self._output_drained.set()
            nursery.cancel_scope.cancel()
        self.last_lines = log.last_lines
        self.publish()
        if state.process_state is ProcessState.FATAL:  # only now its last line is known
            self._report_failure(state)

    async def _stop_process(self, process: Running) -> None:
        """Deregister the instance, wait `stop.drain` seconds for requests in progress, then stop the process."""
        immediate, shutdown = self._collaborators.immediate_stop_requested, self._collaborators.stop_requested
        self._set_stopping("it leaves discovery")
        was_registered, drain = False, self.spec.stop.drain
        with immediate.cancels():
            was_registered = await self._registry_sync.deregister(self.id)
        # Without a drain: no request comes to an instance that was not registered, or they fail anyway while it is unhealthy.
        # Nothing waits for requests once the whole project stops.
        if was_registered and drain and not shutdown.is_set() and not self.desired.unhealthy:
            self._set_stopping(f"it finishes what it was asked, for {drain:g} s")
            with trio.move_on_after(drain), immediate.cancels():
                await shutdown.wait()
        assert self._log is not None
        await stop_process(process, self.spec.stop, immediate, self._set_stopping, self.event, self._log.insert)

    def _on_exit(self, exit: Exit, by_supervisor: bool) -> None:
        """Set the state that follows from the exit of the process, and record an event.

        `by_supervisor`: the supervisor has stopped the process; otherwise it exited by itself.
        """
        # First, before the clean-up: lookups must not find the instance any more.
        self._registry_sync.deregister_soon(self.id)
        self.readiness = None
        self.process = None
        if self._log is not None:
            self.last_lines = self._log.last_lines
        desired, self.desired = self.desired, desired_state.on_exit(self.desired)
        policy, now, jitter = self.spec.restart, trio.current_time(), random.uniform(-1, 1)
        if by_supervisor:
            self._set_state(lifecycle.on_terminated(self.state, desired, policy, exit, now, jitter))
        else:
            self._set_state(lifecycle.on_exit(self.state, policy, exit, now, jitter))
        if by_supervisor and not desired.ends_as_failure:
            self.event("instance.stopped", f"stopped: {exit}")
        elif self.state.process_state is not ProcessState.FATAL:
            self._report_failure(self.state)

    # ------------------------------------------------------------ errors

    def _on_start_error(self, error: Exception, wakeup: CancelEvent | None = None) -> None:
        """Set the state that follows from a failed start, and record an event.

        Changes nothing where `wakeup` is set: a request interrupted the start, so the failure does not count.
        """
        error = failures.classify(error)
        if failures.is_defect(error):
            logger.error("%s: an error of the supervisor itself", self.name, exc_info=error)
        if wakeup is not None and wakeup.is_set():
            return
        now, jitter = trio.current_time(), random.uniform(-1, 1)
        self._set_state(start_errors.state_after(error, self.state, self.spec.restart, now, jitter))
        self._report_failure(self.state)

    async def _on_watch_error(self, process: Running, error: Exception) -> None:
        """Kill a process that `_watch` failed to handle because of an error of the supervisor. Counts as a failed start.

        Where the process had exited before the error, its exit counts instead.
        """
        # Where it had ended already, and only the cleaning up after it failed, its exit counts as it is.
        has_exited = self.process is None
        if self.readiness is not None:
            self.readiness.stop_checks()
            self.readiness = None
        self._registry_sync.deregister_soon(self.id)
        self.desired = desired_state.on_exit(self.desired)
        with trio.CancelScope(shield=True):
            try:
                await process.end(signal.SIGKILL, 0.0)
                with trio.move_on_after(OUTPUT_DRAIN_S):
                    await process.wait_exit()
            except Exception:
                logger.exception("%s: cannot end the process", self.name)
        if not has_exited:
            self._on_start_error(error)
            return
        logger.error("%s: cannot clean up after the exit", self.name, exc_info=error)
        if self.state.process_state is ProcessState.FATAL:
            self._report_failure(self.state)

    # ------------------------------------------------------------ readiness

    def _readiness_callbacks(self) -> ReadinessCallbacks:
        def on_healthy() -> None:
            self.state = lifecycle.on_healthy(self.state)

        def on_hung(reason: str) -> None:
            self.event("instance.unhealthy", f"is restarted: {reason}", "warning")
            self._set_desired(desired_state.mark_unhealthy(self.desired, reason))

        def on_probe(outcome: str, seconds: float) -> None:
            self._store.counters.probes.record(self.spec.name, outcome, seconds)

        return ReadinessCallbacks(on_healthy, on_hung, on_probe, self.publish, self.event)

    # ------------------------------------------------------------ logs, events, the state store

    def _open_log(self) -> InstanceLog:
        """Open the log of the instance and return it. The secrets of the manifest are masked in its lines."""
        env = {name: template_text(value) for name, value in self.spec.env.items()}
        self._log = self._collaborators.open_log(self.spec, self.name, self._secrets(env))
        return self._log

    def _secrets(self, env: Mapping[str, str]) -> tuple[str, ...]:
        """Return the secrets in the environment `env`: values of secret variables, of `env_file`, and passwords in URLs."""
        return (*secrets_in(env), *self.spec.file_env.values())

    def _report_failure(self, state: InstanceState) -> None:
        """Record an event that says why the instance is in `state` (ended, or could not be started), and what follows."""
        text, level = describe_end(state, self.last_lines, trio.current_time())
        self.event(f"instance.{state.process_state}", text, level)

    def event(self, kind: str, text: str, level: str = "info") -> None:
        """Record an event of the instance; `text` follows the name of the instance."""
        text = f"{self.name} {self._hide_secrets(text)}"
        self._store.event(kind, text, level, service=self.spec.name, instance=self.name)

    def _hide_secrets(self, text: str) -> str:
        """Return a text for users with the secrets of the instance masked: outputs of checks and reasons may have some."""
        return self._log.hide_secrets(text) if self._log is not None else text

    def _set_waiting(self, reason: str) -> None:
        self._set_state(lifecycle.on_waiting(self.state, reason))

    def _set_stopping(self, progress: str) -> None:
        self._set_state(lifecycle.on_stopping(self.state, progress))

    def _set_state(self, state: InstanceState) -> None:
        if state.process_state is not self.state.process_state:
            self.state_since = steady_time()
        has_ended = state.process_state.is_final and not self.state.process_state.is_final
        self.state = state
        if has_ended and not self.desired.expects_end:
            self._collaborators.on_end(self.spec, self.name, state)
        self.publish()

    def publish(self) -> None:
        """Write the present status of the instance into the state store."""
        # The row was dropped when the instance finished: a late call must not bring it back.
        if self.desired.removed and self.finished.is_set():
            return
        process: RunningProcess | None = None
        if self.process is not None:
            process = RunningProcess(self.process.pid, self.start_time.steady, self.is_outdated)
        scheduled = bool(self.spec.schedule) and not self.desired.suspended
        check = self.readiness.summary if self.readiness else CheckSummary()
        self._store.put_instances(
            instance_view(
                self._description,
                self.state,
                replace(check, output=self._hide_secrets(check.output)) if check.output else check,
                self._hide_secrets(self.not_ready_reason),
                process,
                since=self.state_since,
                last_lines=self.last_lines,
                next_run=self._collaborators.next_run(self.spec.name) if scheduled else 0.0,
                now=steady_time(),
                monotonic=trio.current_time(),
            )
        )


async def _read_output(process: Running, log: InstanceLog, done: trio.Event) -> None:
    """Copy stdout and stderr of a process into its log; set `done` when both are closed."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.read, process.stdout, "stdout")
        nursery.start_soon(log.read, process.stderr, "stderr")
    done.set()
