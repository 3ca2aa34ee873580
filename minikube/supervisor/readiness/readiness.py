"""How one instance is (floor 3): what the registry says of it and what our own probes say, in one.

`InstanceChecks` probes, `verdict` counts, `view` puts into words; this remembers, tells the registry what only we can know, and
tells the instance's runner when it is well and when it is hung. It refuses to start, stop or restart anything.
"""

import time
from collections.abc import Callable
from typing import Protocol

import trio

from minikube.control.state_store import StateStore
from minikube.health.prober import Prober
from minikube.health.state import ProbeResult
from minikube.logs.instance_log import InstanceLog
from minikube.manifest import ServiceSpec
from minikube.model import CheckState, Instance, Registration
from minikube.supervisor.cancel_event import CancelEvent
from minikube.supervisor.instance import summary as view
from minikube.supervisor.instance.lifecycle import InstanceState
from minikube.supervisor.readiness import thresholds as verdict
from minikube.supervisor.readiness.checks import Found, InstanceChecks
from minikube.supervisor.readiness.generation import Generation
from minikube.supervisor.readiness.registration import is_registered, is_reported, registration
from minikube.supervisor.readiness.thresholds import ProbeStatus
from minikube.supervisor.runtime.interface import Running


class RegistrySyncPort(Protocol):
    """What is needed of the line to the registry: see `link.Link`."""

    def begun(self, id: str, since: Generation) -> None: ...
    def known(self, id: str) -> Instance | None: ...
    def want(self, id: str, registration: Registration | None) -> None: ...
    def report(self, id: str, registration: Registration, passing: bool, output: str) -> None: ...
    def gone(self, id: str) -> None: ...
    async def left(self, id: str) -> bool: ...


class Home(Protocol):
    """What is needed of the supervisor's core."""

    board: StateStore
    prober: Prober

    @property
    def link(self) -> RegistrySyncPort: ...


class Subject(Protocol):
    """What is needed of the instance's runner."""

    id: str
    spec: ServiceSpec
    host: str
    port: int
    process: Running | None

    def passed(self) -> None:
        """It is well."""

    def hung(self, reason: str) -> None:
        """It is to be ended and started again."""

    def event(self, kind: str, text: str, level: str = "info") -> None: ...
    def publish(self) -> None: ...


class Readiness:
    """One instance's, over all its lives. Belongs to the trio thread."""

    def __init__(self, home: Home, subject: Subject) -> None:
        self.registry: Instance | None = None
        """What the registry says; None: it does not know this life of it."""
        self.own: ProbeStatus | None = None
        self._home = home
        self._subject = subject
        self._since = 0.0
        self._checked = 0.0
        self._hung = False
        self._adjusted = CancelEvent()
        """Set when its check has become another one."""

    def begin(self) -> None:
        """A new life: nothing is known of it."""
        self.registry, self.own, self._hung = None, None, False

    def register(self) -> None:
        """The registry is to know it, as far as that is our part; where only we can check, from the first pass on."""
        one = self._subject
        if not self.is_reported:
            self._home.link.want(one.id, registration(one.spec, one.id, one.host, one.port))

    def adjust(self, before: ServiceSpec) -> None:
        """The manifest says something else of a running instance."""
        one = self._subject
        if before.health != one.spec.health:
            self._adjusted.set()
        old, new = (registration(spec, one.id, one.host, one.port) for spec in (before, one.spec))
        if new == old:
            return
        if self.is_reported and not is_reported(before, one.port):
            self._home.link.gone(one.id)  # until our own check passes for the first time
        else:
            self.register()

    # ------------------------------------------------------------ what it comes to

    @property
    def is_registered(self) -> bool:
        return is_registered(self._subject.spec, self._subject.port)

    @property
    def is_reported(self) -> bool:
        return is_reported(self._subject.spec, self._subject.port)

    @property
    def found(self) -> bool:
        """Whether all observers say that it passes: it is found where it is to be found."""
        if self.is_registered and (self.registry is None or self.registry.state is not CheckState.PASSING):
            return False
        return self.own is None or self.own.state is CheckState.PASSING

    @property
    def state(self) -> CheckState | None:
        spec = self._subject.spec
        if self._subject.process is None:
            return None
        registry = self.registry.state if self.registry else None
        if registry is None and self.is_registered and (spec.health or spec.register == "supervisor"):
            registry = CheckState.STARTING
        return view.check_state(registry, self.own.state if self.own else None, reported=self.is_reported)

    @property
    def output(self) -> str:
        """The check's last words."""
        known, own = self.registry, self.own
        if known and (known.state is CheckState.MAINTENANCE or own is None or not own.output):
            return known.output
        return own.output if own else ""

    @property
    def since(self) -> float:
        """When `state` was entered (Unix seconds)."""
        return self.registry.since if self.registry else self._since if self.own else 0.0

    @property
    def checked(self) -> float:
        """When the last probe was made (Unix seconds)."""
        return max(self.registry.checked if self.registry else 0.0, self._checked if self.own else 0.0)

    def why(self, life: InstanceState) -> str:
        """Why it is not ready, in one line."""
        known = self.registry is not None
        return view.why_not_ready(life, self.state, self.output, registered=self.is_registered, known=known)

    # ------------------------------------------------------------ what is heard

    def heard(self, found: Instance | None) -> None:
        """From the registry."""
        self.registry = found
        if found is not None and found.state is CheckState.PASSING and not self.is_reported:
            self._subject.passed()

    async def check_up(self, process: Running, output: InstanceLog, scope: trio.CancelScope) -> None:
        """Probes for this life, until `scope` is cancelled; begins anew when the manifest says something else about the check.

        What a probe finds once the scope is cancelled is told to nobody: a task that was about to go on is not stopped any
        more by a cancel, and its word would bring a dead one back into discovery.
        """

        def lived() -> None:
            if not scope.cancel_called:
                self._lived()

        def probed(found: ProbeStatus, result: ProbeResult) -> None:
            if not scope.cancel_called:
                self._probed(found, result)

        with scope:
            await self._check_up(process, output, probed, lived)

    async def _check_up(self, process: Running, output: InstanceLog, probed: Found, lived: Callable[[], None]) -> None:
        while True:
            checkup = InstanceChecks(self._subject.spec, process, output, self._home.prober, probed, lived)
            self.own, self._adjusted = None, CancelEvent()
            if checkup.probed is not None:
                self.own = verdict.new_probe_status(checkup.probed, trio.current_time())
                self._since = time.time()
            with self._adjusted.cancels():
                await checkup.run()
            await self._adjusted.wait()

    def _lived(self) -> None:
        """There is no check, and it is well."""
        self._subject.passed()
        self._subject.publish()

    def _probed(self, found: ProbeStatus, result: ProbeResult) -> None:
        health, before = self._subject.spec.health, self.own
        if health is None or self._adjusted.is_set() or self._hung:
            return  # the last word of a check that is none any more
        self._home.board.counters.probes.record(self._subject.spec.name, result.outcome.value, result.seconds)
        self.own, self._checked = found, time.time()
        if found.state is CheckState.PASSING:
            self._subject.passed()
        if before is None or before.state is not found.state:
            self._since = self._checked
            self._tell(found)
        if verdict.is_hung(found, health):
            self._hung = True
            self._subject.hung(f"check failed {found.misses} times in a row: {view.first_line(found.output)}")
        self._subject.publish()

    def _tell(self, found: ProbeStatus) -> None:
        """At once, to the registry or, where that does not know it, to who watches."""
        one, passing = self._subject, found.state is CheckState.PASSING
        if found.state is CheckState.STARTING:
            return
        if self.is_reported:
            wanted = registration(one.spec, one.id, one.host, one.port)
            assert wanted is not None
            self._home.link.report(one.id, wanted, passing, found.output)
        elif not self.is_registered:
            said = "" if passing else f": {view.first_line(found.output)}"
            one.event(f"check.{found.state}", f"is {found.state}{said}", "info" if passing else "warning")
