"""What every process of the project shares (floor 0): frozen structs, and nothing that acts.

Two wire forms meet here. The registry's RPC speaks Go's PascalCase (`{"IP", "Port", "Zone"}`), because
clients on Go's `net/rpc/jsonrpc` decode it unchanged. The supervisor's API and stream speak snake_case.
Times are seconds: wall-clock stamps are Unix time, durations are plain seconds.
"""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct, field

from minikube.addresses import join_host_port

NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
"""A DNS label (RFC 1123), lower case."""

Port = Annotated[int, Meta(ge=1, le=65535)]


class CheckState(StrEnum):
    """Consul's check states, plus `starting`: registered, no passing probe yet."""

    PASSING = "passing"
    CRITICAL = "critical"
    STARTING = "starting"
    MAINTENANCE = "maintenance"


class ProcessState(StrEnum):
    """supervisord's process states, plus `pending`: waiting for a dependency."""

    STOPPED = "stopped"
    PENDING = "pending"
    STARTING = "starting"
    RUNNING = "running"
    BACKOFF = "backoff"
    STOPPING = "stopping"
    EXITED = "exited"
    FATAL = "fatal"

    @property
    def is_active(self) -> bool:
        """Whether an instance in this state has a process that is meant to run: `starting`, `running`."""
        return self in (ProcessState.STARTING, ProcessState.RUNNING)

    @property
    def has_process(self) -> bool:
        """Whether an instance in this state may have a process: the active states and `stopping`."""
        return self.is_active or self is ProcessState.STOPPING

    @property
    def has_failed(self) -> bool:
        """Whether the instance needs attention: `backoff`, `fatal`."""
        return self in (ProcessState.BACKOFF, ProcessState.FATAL)

    @property
    def is_final(self) -> bool:
        """Whether the instance has ended by itself and is not restarted by itself: `exited`, `fatal`."""
        return self in (ProcessState.EXITED, ProcessState.FATAL)

    @property
    def has_ended(self) -> bool:
        """Whether the last process ended without a stop command: `backoff`, `exited`, `fatal`."""
        return self.is_final or self is ProcessState.BACKOFF


# ---------------------------------------------------------------- registry RPC (PascalCase)


def spell_host(host: str) -> str:
    """The one spelling of a host: an IP address in its shortest form, `localhost` as the address it means, a name in lower
    case. What is registered comes back spelled like this."""
    import ipaddress  # late: who only looks a name up needs none of it

    if host.lower() in ("localhost", "localhost."):
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.lower()


class Address(Struct, frozen=True):
    """A TCP endpoint as the RPC shows it. `Zone` is the IPv6 zone, else empty."""

    IP: str
    Port: int
    Zone: str = ""

    def __str__(self) -> str:
        host = f"{self.IP}%{self.Zone}" if self.Zone else self.IP
        return join_host_port(host, self.Port)


class Registration(Struct, frozen=True, rename="pascal", omit_defaults=True, forbid_unknown_fields=True):
    """The params of `Discovery.Register`. Durations are seconds or manifest strings such as `"5s"`."""

    name: str
    addr: Address | str
    health_check: str
    uuid: str = ""
    tags: tuple[str, ...] = ()
    meta: dict[str, str] = field(default_factory=dict)
    interval: float | str | None = None
    timeout: float | str | None = None
    failures: int | None = None
    timeouts: int | None = None
    successes: int | None = None
    forget_after: float | str | None = None
    lease: float | str | None = None


class Instance(Struct, frozen=True, rename="pascal"):
    """One registered instance as `Discovery.Instances`, `Wait` and `Watch` show it.

    `incarnation` grows with every registration of the same id: a deletion that names an older one is void.
    `since` is when `state` was entered, `checked` when the last probe ended (Unix seconds, 0 for never).
    `output` is the last probe's own words, at most 4 KiB.
    """

    uuid: str
    name: str
    addr: Address
    health_check: str
    state: CheckState
    tags: tuple[str, ...] = ()
    meta: dict[str, str] = field(default_factory=dict)
    output: str = ""
    since: float = 0.0
    checked: float = 0.0
    registered: float = 0.0
    revision: int = 0
    incarnation: int = 0


class ChangeKind(StrEnum):
    """What happened to an instance: `put` (registered or changed) or `gone` (deregistered or forgotten)."""

    PUT = "put"
    GONE = "gone"


class Change(Struct, frozen=True, rename="pascal"):
    """One entry of the change log; revisions only grow. `instance` is as it stands after (or stood before `gone`)."""

    revision: int
    kind: ChangeKind
    instance: Instance


# ---------------------------------------------------------------- supervisor's board (snake_case)


class InstanceView(Struct, frozen=True):
    """One instance on the board: its process as the supervisor sees it, its check as the registry says it.

    `check` is None where nothing is probed. `exit` tells the last end ("exit 1", "signal KILL"), `reason` answers
    "why is it not ready?" in one line. `next_try` and the other stamps are Unix seconds, 0 for none.
    """

    id: str
    service: str
    name: str
    """`product` for a single replica, else `product-2`: what `ps`, logs and prefixes show."""
    state: ProcessState
    check: CheckState | None = None
    output: str = ""
    check_since: float = 0.0
    checked: float = 0.0
    address: str = ""
    health: str = ""
    pid: int = 0
    restarts: int = 0
    failed_starts: int = 0
    started: float = 0.0
    since: float = 0.0
    """When `state` was entered."""
    exit: str = ""
    reason: str = ""
    next_try: float = 0.0
    next_run: float = 0.0
    """When its schedule starts it next; 0 without one, and while it is stopped by hand."""
    last_lines: tuple[str, ...] = ()
    """The last lines of output before the last end, for `backoff`, `exited` and `fatal`."""


class ServiceView(Struct, frozen=True):
    """One service on the board. `kind` is `process`, `container` or `external` (registered by someone else)."""

    name: str
    kind: str = "process"
    command: str = ""
    replicas: int = 1
    register: str = "supervisor"
    depends_on: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    schedule: str = ""
    chosen: bool = True
    """Whether `up` starts it: it has no profile, an active one, or it was named."""


def is_ready(instance: InstanceView) -> bool:
    """Whether it runs and passes its check, where it has one: those that need it healthy may start."""
    return instance.state is ProcessState.RUNNING and instance.check in (None, CheckState.PASSING)


class Usage(Struct, frozen=True):
    """What an instance's whole process tree uses now: per cent of one core, resident bytes. No memory: nothing is alive."""

    id: str
    cpu: float
    memory: int


class Event(Struct, frozen=True):
    """Something worth telling. `number` only grows; `level` is `info`, `warning` or `error`."""

    number: int
    time: float
    kind: str
    """Dotted, stable, for machines: `instance.exited`, `check.critical`, `registry.down`, …"""
    message: str
    level: str = "info"
    service: str = ""
    instance: str = ""


class PartView(Struct, frozen=True):
    """The supervisor's own parts: `redis` and `registry`. `state` is a ProcessState, `detail` one line."""

    name: str
    state: ProcessState
    address: str = ""
    pid: int = 0
    restarts: int = 0
    since: float = 0.0
    detail: str = ""


class Snapshot(Struct, frozen=True, tag="snapshot"):
    """Everything shown, at one revision. `/v1/status` and the stream's first message."""

    project: str
    revision: int
    time: float
    started: float
    version: str
    pid: int
    phase: str = "running"
    """`starting`, `running` or `stopping`."""
    parts: tuple[PartView, ...] = ()
    services: tuple[ServiceView, ...] = ()
    instances: tuple[InstanceView, ...] = ()
    usage: tuple[Usage, ...] = ()
    events: tuple[Event, ...] = ()
    """The latest 200, oldest first."""
    manifest: str = ""
    registry: str = ""
    """host:port of the registry."""


class Delta(Struct, frozen=True, tag="delta", omit_defaults=True):
    """What changed after revision `since`, up to `revision`. Whole rows: replace by name or id."""

    revision: int
    since: int
    time: float
    phase: str = ""
    parts: tuple[PartView, ...] = ()
    services: tuple[ServiceView, ...] = ()
    instances: tuple[InstanceView, ...] = ()
    usage: tuple[Usage, ...] = ()
    events: tuple[Event, ...] = ()
    gone_services: tuple[str, ...] = ()
    gone_instances: tuple[str, ...] = ()


class LogLine(Struct, frozen=True):
    """One line of output. `stream` is `stdout`, `stderr` or `minikube` (our own notices, such as dropped lines).

    `level` is what the line itself says (`minikube.logs.levels`), empty where it says nothing.
    """

    time: float
    service: str
    instance: str
    stream: str
    line: str
    level: str = ""
