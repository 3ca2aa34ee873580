"""Readiness of one running instance: its entry in the registry and the results of the supervisor's own probes, combined.

`checks` probes, `thresholds` counts, `check_state` merges both results. This module stores the results, reports them to the
registry, and calls the controller when the instance is healthy or hangs. It starts, stops and restarts nothing.
"""

from collections.abc import Callable

import trio
from msgspec import Struct
from msgspec.structs import replace

from minikube.clock import steady_time, to_steady
from minikube.health.prober import Prober
from minikube.health.state import ProbeResult
from minikube.logs.instance_log import InstanceLog
from minikube.manifest import ServiceSpec
from minikube.model import CheckState, Instance, ProcessState
from minikube.supervisor.cancel_event import CancelEvent
from minikube.supervisor.readiness.check_state import CheckFacts, CheckSummary, first_line
from minikube.supervisor.readiness.checks import InstanceChecks
from minikube.supervisor.readiness.registration import InstanceDescription
from minikube.supervisor.readiness.registry_sync import RegistrySync
from minikube.supervisor.readiness.thresholds import ProbeStatus, is_hung, new_probe_status
from minikube.supervisor.runtime.interface import Running


class ReadinessCallbacks(Struct, frozen=True):
    """The functions of an instance's controller that `Readiness` calls."""

    on_healthy: Callable[[], object]
    """Called when a check passed, or when an instance without a check has run for long enough."""
    on_hung: Callable[[str], object]
    """Called with the reason when the instance is to be restarted."""
    on_probe: Callable[[str, float], object]
    """Called after each probe with its outcome and the seconds it took."""
    on_change: Callable[[], object]
    """Called when `Readiness.summary` has changed."""
    event: Callable[[str, str, str], object]
    """Called to record an event: kind, text, level."""


class Readiness:
    """Observes whether one process of an instance is ready, from its probes and its registry entry.

    Each process gets a new object. Belongs to the trio thread.
    """

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
        self._entry_since = 0.0
        """When the registry's entry last changed its state, by this process' steady clock; the same for `_entry_checked`."""
        self._entry_checked = 0.0
        self._hung = False
        self._check_replaced = CancelEvent()
        """Set when an edited manifest has another check for the instance."""
        self._running_checks = trio.CancelScope()

    def register(self) -> None:
        """Register the instance, unless it registers itself, is not to be registered, or has a reported (`ttl:`) check.

        An instance with a reported check is registered when that check first passes.
        """
        registration = self._instance.registration
        if registration is not None and not self._instance.is_reported:
            self._registry_sync.register(self._instance.id, registration)

    def adjust(self, spec: ServiceSpec) -> None:
        """Use `spec`, from an edited manifest, without a restart: a new check replaces the old one."""
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
        """Whether the instance passes in the registry, if it has to be registered, and by the supervisor's probes, if any."""
        return self._facts.is_passing

    @property
    def summary(self) -> CheckSummary:
        """The state and output of the check, as users see it."""
        entry, own, facts = self.entry, self.probe_status, self._facts
        since = self._entry_since if entry else self._since if own else 0.0
        if self._registry_sync.lookup_problem and facts.state is CheckState.CRITICAL:
            since = max(since, self._registry_sync.lookup_problem_since)
        registers_itself = self._instance.spec.register == "self"
        return CheckSummary(
            state=facts.state,
            output=facts.output,
            since=since,
            checked=max(self._entry_checked if entry else 0.0, self._checked if own else 0.0),
            address=str(entry.addr) if entry and registers_itself else "",
        )

    def not_ready_reason(self, process: ProcessState, reason: str) -> str:
        """Return a line of text that says why the instance is not ready; empty while it is ready.

        `process` and `reason` are from the lifecycle state of the instance.
        """
        return self._facts.not_ready_reason(process, reason)

    @property
    def _facts(self) -> CheckFacts:
        entry, own, instance = self.entry, self.probe_status, self._instance
        problem = self._registry_sync.lookup_problem
        if not problem and entry is not None and not instance.owns(entry):
            problem = f"another client registered {entry.name} at {entry.addr} in its place"
        return CheckFacts(
            own=own.state if own else None,
            own_output=own.output if own else "",
            registry=entry.state if entry else None,
            registry_output=entry.output if entry else "",
            is_registered=instance.is_registered,
            has_check=instance.spec.health is not None or instance.spec.register == "supervisor",
            lookup_problem=problem,
        )

    # ------------------------------------------------------------ results of checks

    def on_registry_update(self, entry: Instance | None) -> None:
        """Use `entry` as the registry's entry of this process; None: the registry has none."""
        before, self.entry = self.entry, entry
        if entry is not None:
            # At once: the registry's times are by the wall clock, which may be set later.
            if before is None or before.since != entry.since:
                self._entry_since = to_steady(entry.since)
            if entry.checked and (before is None or before.checked != entry.checked):
                self._entry_checked = to_steady(entry.checked)
        # A reported check has made the instance healthy before the registry repeats it.
        if entry is not None and entry.state is CheckState.PASSING and not self._instance.is_reported:
            self._callbacks.on_healthy()

    async def run_checks(self, running: Running, log: InstanceLog) -> None:
        """Probe the instance until `stop_checks` is called. When `adjust` brings another check, probe with that one."""
        with self._running_checks:
            while True:
                checks = InstanceChecks(self._instance, running, log, self._prober, self._on_probe, self._on_alive)
                self.probe_status, self._check_replaced = None, CancelEvent()
                if checks.probed is not None:
                    self.probe_status = new_probe_status(checks.probed, trio.current_time())
                    self._since = steady_time()
                with self._check_replaced.cancels():
                    await checks.run()
                # The checks are done, a log line for example: wait for others.
                await self._check_replaced.wait()

    def stop_checks(self) -> None:
        """End the probes and ignore their results from now on. Call it when the process has ended or is about to be stopped."""
        self._running_checks.cancel()

    def _on_alive(self) -> None:
        """Report an instance without a check as healthy: it has run for `HEALTHY_AFTER_S`."""
        if self._running_checks.cancel_called:
            return
        self._callbacks.on_healthy()
        self._callbacks.on_change()

    def _on_probe(self, status: ProbeStatus, result: ProbeResult) -> None:
        """Store the result of a probe and call the callbacks that follow from it. `status` is the status after the probe."""
        # A task that was already scheduled is not stopped by a cancel any more: without this, the result of a probe of a
        # dead process would register the instance again.
        if self._running_checks.cancel_called:
            return
        health, before = self._instance.spec.health, self.probe_status
        if health is None or self._check_replaced.is_set() or self._hung:
            return  # a late result of a check that does not count any more
        self._callbacks.on_probe(result.outcome.value, result.seconds)
        self.probe_status, self._checked = status, steady_time()
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
