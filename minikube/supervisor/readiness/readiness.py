"""Readiness of one running instance: what the registry says of it and what the supervisor's own probes say, combined.

`checks` probes, `thresholds` counts, `check_state` merges and words. This module remembers the results, reports them to the
registry, and tells the controller when the instance is healthy and when it hangs. It starts, stops and restarts nothing.
"""

import time
from collections.abc import Callable

import trio
from msgspec import Struct
from msgspec.structs import replace

from minikube.health.prober import Prober
from minikube.health.state import ProbeResult
from minikube.logs.instance_log import InstanceLog
from minikube.manifest import ServiceSpec
from minikube.model import CheckState, Instance, ProcessState
from minikube.supervisor.cancel_event import CancelEvent
from minikube.supervisor.readiness.check_state import CheckSummary, first_line, merge_states, not_ready_reason
from minikube.supervisor.readiness.checks import InstanceChecks
from minikube.supervisor.readiness.registration import InstanceDescription
from minikube.supervisor.readiness.registry_sync import RegistrySync
from minikube.supervisor.readiness.thresholds import ProbeStatus, is_hung, new_probe_status
from minikube.supervisor.runtime.interface import Running


class ReadinessCallbacks(Struct, frozen=True):
    """What `Readiness` calls in the controller of its instance."""

    on_healthy: Callable[[], object]
    """A check passed, or the instance has no check and lives."""
    on_hung: Callable[[str], object]
    """The instance is to be restarted, for the given reason."""
    on_probe: Callable[[str, float], object]
    """A probe was made: its outcome and how many seconds it took."""
    on_change: Callable[[], object]
    """What is shown of the check has changed."""
    event: Callable[[str, str, str], object]
    """Something worth an event: kind, text, level."""


class Readiness:
    """Readiness of one process of an instance; make a new one for each start. Belongs to the trio thread."""

    def __init__(
        self, instance: InstanceDescription, registry_sync: RegistrySync, prober: Prober, callbacks: ReadinessCallbacks
    ) -> None:
        self.entry: Instance | None = None
        """The registry's entry of this process; None while the registry has none."""
        self.probe_status: ProbeStatus | None = None
        """The result of the supervisor's own probes; None where it makes none."""
        self._instance = instance
        self._registry_sync = registry_sync
        self._prober = prober
        self._callbacks = callbacks
        self._since = 0.0
        self._checked = 0.0
        self._hung = False
        self._check_replaced = CancelEvent()
        """Set when an edited manifest has another check for the instance."""
        self._running_checks = trio.CancelScope()

    def register(self) -> None:
        """Register the instance, where that is the supervisor's part. A reported check registers it at its first pass."""
        registration = self._instance.registration
        if registration is not None and not self._instance.is_reported:
            self._registry_sync.register(self._instance.id, registration)

    def adjust(self, spec: ServiceSpec) -> None:
        """Follow an edited manifest without a restart: `spec` holds from now on."""
        before, self._instance = self._instance, replace(self._instance, spec=spec)
        if before.spec.health != spec.health:
            self._check_replaced.set()
        if before.registration == self._instance.registration:
            return
        if self._instance.is_reported and not before.is_reported:
            self._registry_sync.deregister_soon(self._instance.id)  # until the new check passes for the first time
        else:
            self.register()

    # ------------------------------------------------------------ the result

    @property
    def is_passing(self) -> bool:
        """Whether every observer of the instance says that it passes; True where nothing observes it."""
        if self._instance.is_registered and (self.entry is None or self.entry.state is not CheckState.PASSING):
            return False
        return self.probe_status is None or self.probe_status.state is CheckState.PASSING

    @property
    def summary(self) -> CheckSummary:
        """What is shown of the check."""
        entry, own = self.entry, self.probe_status
        return CheckSummary(
            state=self._state,
            output=self._output,
            since=entry.since if entry else self._since if own else 0.0,
            checked=max(entry.checked if entry else 0.0, self._checked if own else 0.0),
        )

    def not_ready_reason(self, process: ProcessState, reason: str) -> str:
        """Return in one line why the instance is not ready; `process` and `reason` are what its lifecycle says."""
        return not_ready_reason(
            process,
            reason,
            self._state,
            self._output,
            registered=self._instance.is_registered,
            has_entry=self.entry is not None,
        )

    @property
    def _state(self) -> CheckState | None:
        instance = self._instance
        registry = self.entry.state if self.entry else None
        # A registered instance without an entry counts as starting, where something checks it.
        has_check = instance.spec.health is not None or instance.spec.register == "supervisor"
        if registry is None and instance.is_registered and has_check:
            registry = CheckState.STARTING
        own = self.probe_status.state if self.probe_status else None
        return merge_states(registry, own, reported=instance.is_reported)

    @property
    def _output(self) -> str:
        entry, own = self.entry, self.probe_status
        if entry and (entry.state is CheckState.MAINTENANCE or own is None or not own.output):
            return entry.output
        return own.output if own else ""

    # ------------------------------------------------------------ what the observers say

    def on_registry_update(self, entry: Instance | None) -> None:
        """Take over what the registry says of this process; None: it has no entry of it."""
        self.entry = entry
        # A reported check has made the instance healthy before the registry repeats it.
        if entry is not None and entry.state is CheckState.PASSING and not self._instance.is_reported:
            self._callbacks.on_healthy()

    async def run_checks(self, running: Running, log: InstanceLog) -> None:
        """Probe the instance until `stop_checks`; begin anew when `adjust` brings another check."""
        with self._running_checks:
            while True:
                checks = InstanceChecks(self._instance, running, log, self._prober, self._on_probe, self._on_alive)
                self.probe_status, self._check_replaced = None, CancelEvent()
                if checks.probed is not None:
                    self.probe_status = new_probe_status(checks.probed, trio.current_time())
                    self._since = time.time()
                with self._check_replaced.cancels():
                    await checks.run()
                # The checks are done, a log line for example: wait for others.
                await self._check_replaced.wait()

    def stop_checks(self) -> None:
        """End the probes and ignore their results from now on: the process has ended, or is about to be stopped."""
        self._running_checks.cancel()

    def _on_alive(self) -> None:
        """Take over that an instance without a check has lived long enough."""
        if self._running_checks.cancel_called:
            return
        self._callbacks.on_healthy()
        self._callbacks.on_change()

    def _on_probe(self, status: ProbeStatus, result: ProbeResult) -> None:
        """Take over the result of a probe."""
        # A task that was already scheduled is not stopped by a cancel any more: without this, the result of a probe of a
        # dead process would register the instance again.
        if self._running_checks.cancel_called:
            return
        health, before = self._instance.spec.health, self.probe_status
        if health is None or self._check_replaced.is_set() or self._hung:
            return  # a late result of a check that does not count any more
        self._callbacks.on_probe(result.outcome.value, result.seconds)
        self.probe_status, self._checked = status, time.time()
        if status.state is CheckState.PASSING:
            self._callbacks.on_healthy()
        if before is None or before.state is not status.state:
            self._since = self._checked
            self._announce(status)
        if is_hung(status, health):
            self._hung = True
            self._callbacks.on_hung(f"check failed {status.misses} times in a row: {first_line(status.output)}")
        self._callbacks.on_change()

    def _announce(self, status: ProbeStatus) -> None:
        """Report a changed state to the registry or, for an instance that is not registered, as an event."""
        instance, passing = self._instance, status.state is CheckState.PASSING
        if status.state is CheckState.STARTING:
            return  # failures before the first pass are expected
        if instance.is_reported:
            registration = instance.registration
            assert registration is not None
            self._registry_sync.report(instance.id, registration, passing, status.output)
        elif not instance.is_registered:
            reason = "" if passing else f": {first_line(status.output)}"
            level = "info" if passing else "warning"
            self._callbacks.event(f"check.{status.state}", f"is {status.state}{reason}", level)
