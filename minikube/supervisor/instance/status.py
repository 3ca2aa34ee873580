"""An instance's row on the board (floor 3, pure): everything that is shown of it, in one frozen struct."""

from typing import Protocol

from msgspec.structs import replace

from minikube.manifest import ServiceSpec
from minikube.model import Address, CheckState, InstanceView, ProcessState
from minikube.supervisor.instance.lifecycle import InstanceState
from minikube.supervisor.readiness.generation import Generation
from minikube.supervisor.readiness.registration import check_text

OUTDATED = "runs as the manifest was before — `minikube apply` restarts it"


class Alive(Protocol):
    """What is needed of a process or a container."""

    pid: int


class Health(Protocol):
    """How it is: see `wellbeing.Wellbeing`."""

    @property
    def state(self) -> CheckState | None: ...
    @property
    def output(self) -> str: ...
    @property
    def since(self) -> float: ...
    @property
    def checked(self) -> float: ...
    def why(self, life: InstanceState) -> str: ...


class Subject(Protocol):
    """What is needed of the instance's runner."""

    id: str
    name: str
    spec: ServiceSpec
    host: str
    port: int
    life: InstanceState
    begun: Generation
    since: float
    """When `life.state` was entered (Unix seconds)."""
    last_lines: tuple[str, ...]

    @property
    def process(self) -> Alive | None: ...
    @property
    def wellbeing(self) -> Health: ...
    @property
    def outdated(self) -> bool:
        """Whether what runs is not what the manifest says now."""


def instance_view(one: Subject, next_run: float, wall: float, clock: float) -> InstanceView:
    """`next_run` is when its schedule is due (Unix seconds, 0: never); `wall` and `clock` are the time now."""
    life, well = one.life, one.wellbeing
    shown = InstanceView(
        id=one.id,
        service=one.spec.name,
        name=one.name,
        state=life.state,
        check=well.state,
        output=well.output,
        check_since=well.since,
        checked=well.checked,
        address=str(Address(one.host, one.port)) if one.port else "",
        health=check_text(one.spec, one.host, one.port),
        pid=one.process.pid if one.process else 0,
        restarts=life.restarts,
        failed_starts=life.failed_starts,
        started=one.begun.wall if one.process else 0.0,
        since=one.since,
        exit=str(life.exit or ""),
        reason=well.why(life) or (OUTDATED if one.outdated else ""),
        next_run=next_run,
    )
    if not life.state.has_ended:  # an end that nobody asked for is shown with its last lines
        return shown
    wait = life.next_try - clock if life.state is ProcessState.BACKOFF else 0.0
    return replace(shown, last_lines=one.last_lines, next_try=wall + wait if wait > 0 else 0.0)
