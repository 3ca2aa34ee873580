"""Is the instance well? (floor 3): the supervisor's own probes of one running instance, for one life of it.

The registry checks what is registered by address; this is for what it cannot see (`register = "none"`, no port), for what
it must not do (run a command, read output), and for `restart_after`. It tells what it finds and decides nothing about the
process: thresholds are `verdict`'s.
"""

import random
from collections.abc import Callable

import trio

from minikube.errors import StartError
from minikube.health.prober import Prober
from minikube.health.state import NEXT_RETRY_S, Outcome, ProbeResult
from minikube.logs.instance_log import InstanceLog
from minikube.manifest import HealthSpec, ServiceSpec
from minikube.supervisor.instance.lifecycle import WELL_AFTER_S
from minikube.supervisor.readiness.registration import health_url, is_ours_alone, is_registered
from minikube.supervisor.readiness.thresholds import ProbeStatus, new_probe_status, update_probe_status
from minikube.supervisor.runtime.interface import Running

Found = Callable[[ProbeStatus, ProbeResult], object]
"""Hears of each probe, and the verdict after it."""


class InstanceChecks:
    """The probes of one life. Make it before the first output is read: a `log` check misses nothing then.

    `lived` is called where there is no check, and it has lived long enough to be well.
    """

    def __init__(
        self,
        spec: ServiceSpec,
        running: Running,
        output: InstanceLog,
        prober: Prober,
        found: Found,
        lived: Callable[[], object],
    ) -> None:
        self._spec = spec
        self._running = running
        self._prober = prober
        self._found = found
        self._lived = lived
        self._seen = trio.Event()
        self._started = trio.current_time()
        health = spec.health
        ours = not is_registered(spec, running.port) or is_ours_alone(health)
        self.probed = health if health is not None and (ours or health.restart_after) else None
        """What is probed here; None where somebody else does it, or nobody."""
        self._well_by_age = health is None and (ours or spec.register == "self")
        if health is not None and health.kind == "log":
            output.expect(health.log, self._seen.set)

    async def run(self) -> None:
        """Probes for as long as it has to; cancel it when the instance ends or is to."""
        if self._well_by_age:
            await trio.sleep(WELL_AFTER_S)
            self._lived()
        if self.probed is None:
            return
        verdict = new_probe_status(self.probed, trio.current_time())
        while verdict.due < float("inf"):
            result = await self._probe(self.probed, verdict.due)
            now, jitter = trio.current_time(), random.random()
            verdict = update_probe_status(verdict, result, self.probed, started=self._started, now=now, jitter=jitter)
            self._found(verdict, result)
            if self.probed.kind == "log" and result.outcome is Outcome.PASS:
                return  # what was said once stays said

    async def _probe(self, health: HealthSpec, due: float) -> ProbeResult:
        if health.kind == "log":
            return await self._look(health, due)
        await trio.sleep_until(due)
        if health.kind == "command":
            return await self._command(health)
        url = health_url(self._spec, self._running.host, self._running.port)
        return await self._prober.probe(url, health.timeout)

    async def _look(self, health: HealthSpec, due: float) -> ProbeResult:
        """Passes the moment the line is there."""
        began = trio.current_time()
        # The first look is not made before anything could have been printed.
        with trio.move_on_at(due if due > began else began + min(NEXT_RETRY_S, health.interval)):
            await self._seen.wait()
        now = trio.current_time()
        if self._seen.is_set():
            return ProbeResult(Outcome.PASS, "the line was printed", began, now)
        return ProbeResult(Outcome.FAIL, f"no line of output matches {health.log!r} yet", began, now)

    async def _command(self, health: HealthSpec) -> ProbeResult:
        began = trio.current_time()
        try:
            ran = await self._running.run(health.command, health.timeout)
        except StartError as error:
            return ProbeResult(Outcome.FAIL, f"check command: {error}", began, trio.current_time())
        said = ran.output.strip()
        if ran.exit is None:
            outcome, output = Outcome.TIMEOUT, f"check command: no end within {health.timeout:g} s"
        elif ran.exit.clean:
            return ProbeResult(Outcome.PASS, said, began, trio.current_time())
        else:
            outcome, output = Outcome.FAIL, f"check command: {ran.exit}"
        return ProbeResult(outcome, f"{output}: {said}" if said else output, began, trio.current_time())
