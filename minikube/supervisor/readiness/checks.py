"""The supervisor's own probes of one running instance.

The registry probes registered instances over the network. The supervisor probes instances that are not registered, makes
the checks that the registry must not make (run a command, read output), and every check with `restart_after`.
`thresholds` counts the results; the controller decides what they mean for the process.
"""

import random
from collections.abc import Callable

import trio
from msgspec.structs import replace

from minikube.errors import ResourceExhausted, StartError
from minikube.health.prober import Prober
from minikube.health.state import NEXT_RETRY_S, Outcome, ProbeResult
from minikube.logs.instance_log import InstanceLog
from minikube.manifest import HealthSpec
from minikube.supervisor.readiness.registration import InstanceDescription, is_local_check
from minikube.supervisor.readiness.thresholds import ProbeStatus, new_probe_status, update_probe_status
from minikube.supervisor.runtime.interface import OUTPUT_LIMIT, Running

HEALTHY_AFTER_S = 1.0
"""How long an instance without a check must live before it counts as healthy."""

OnProbe = Callable[[ProbeStatus, ProbeResult], object]
"""Called after each probe with the new status and the probe's result."""


class InstanceChecks:
    """Makes the supervisor's probes of one running instance, by the `health` table of the manifest.

    `on_probe` is called after each probe; `on_healthy` once an instance without a check has run for `HEALTHY_AFTER_S`.
    """

    def __init__(
        self,
        instance: InstanceDescription,
        running: Running,
        log: InstanceLog,
        prober: Prober,
        on_probe: OnProbe,
        on_healthy: Callable[[], object],
    ) -> None:
        self._instance = instance
        self._running = running
        self._log = log
        self._prober = prober
        self._on_probe = on_probe
        self._on_healthy = on_healthy
        self._line_printed = trio.Event()
        self._started = trio.current_time()
        health = instance.spec.health
        local = not instance.is_registered or is_local_check(health)
        self.probed = health if health is not None and (local or health.restart_after) else None
        """The check that is made here; None where the registry makes it, or where there is none."""
        self._healthy_by_age = health is None and (local or instance.spec.register == "self")
        if health is not None and health.kind == "log":
            # Here, before the first output is read: a line that is printed immediately must not be missed.
            log.expect(health.log, self._line_printed.set)

    async def run(self) -> None:
        """Probe at the check's interval until cancelled. Return when no more probes are needed: a log line was found.

        Cancel it when the process exits or is to be stopped.
        """
        # Without any check, an exit within the first second is the only sign of a failed start.
        if self._healthy_by_age:
            await trio.sleep(HEALTHY_AFTER_S)
            self._on_healthy()
        if self.probed is None:
            return
        status = new_probe_status(self.probed, trio.current_time())
        while status.due < float("inf"):
            result = await self._probe(self.probed, status.due)
            result = replace(result, output=self._log.hide_secrets(result.output))
            now, jitter = trio.current_time(), random.random()
            status = update_probe_status(status, result, self.probed, started=self._started, now=now, jitter=jitter)
            self._on_probe(status, result)
            if self.probed.kind == "log" and result.outcome is Outcome.PASS:
                return  # a line that was printed stays printed

    async def _probe(self, health: HealthSpec, due: float) -> ProbeResult:
        """Wait until `due` (trio's clock), probe once, and return the result. A failed probe is a result, not an exception."""
        if health.kind == "log":
            return await self._wait_line(health, due)
        await trio.sleep_until(due)
        if health.kind == "command":
            return await self._run_command(health)
        return await self._prober.probe(self._instance.check_url, health.timeout)

    async def _wait_line(self, health: HealthSpec, due: float) -> ProbeResult:
        """Return a pass as soon as a line of output matches the log check, or a failure when none has by `due`."""
        began = trio.current_time()
        # The first probe is due immediately: give the process a moment to print a line.
        with trio.move_on_at(due if due > began else began + min(NEXT_RETRY_S, health.interval)):
            await self._line_printed.wait()
        now = trio.current_time()
        if self._line_printed.is_set():
            return ProbeResult(Outcome.PASS, "the log has the line", began, now)
        return ProbeResult(Outcome.FAIL, f"no line of output matches {health.log!r} yet", began, now)

    async def _run_command(self, health: HealthSpec) -> ProbeResult:
        """Run the check command; return a pass for exit code 0, else a failure or a time-out with the command's output."""
        began = trio.current_time()
        try:
            result = await self._running.run(health.argv, health.timeout)
        except ResourceExhausted as error:
            return ProbeResult(Outcome.UNKNOWN, f"check command: {error}", began, trio.current_time())
        except StartError as error:
            return ProbeResult(Outcome.FAIL, f"check command: {error}", began, trio.current_time())
        printed = self._log.hide_secrets(result.output, limit=OUTPUT_LIMIT).strip()
        if result.exit is None:
            outcome, text = Outcome.TIMEOUT, f"check command: no end within {health.timeout:g} s"
        elif result.exit.clean:
            return ProbeResult(Outcome.PASS, printed, began, trio.current_time())
        else:
            outcome, text = Outcome.FAIL, f"check command: {result.exit}"
        return ProbeResult(outcome, f"{text}: {printed}" if printed else text, began, trio.current_time())
