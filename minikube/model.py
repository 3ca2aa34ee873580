"""The structs that registry, supervisor, command line and dashboard exchange.

The registry's RPC uses Go's PascalCase (`{"IP", "Port", "Zone"}`), which clients with Go's `net/rpc/jsonrpc` decode
unchanged. The supervisor's API and stream use snake_case. Points in time are Unix seconds, durations are seconds.
"""

import re
from enum import StrEnum
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType, field

from minikube.addresses import join_host_port

NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
"""A DNS label (RFC 1123), lower case."""

MAX_NAME_LENGTH = 63


def to_dns_label(text: str) -> str:
    """Return a text as a DNS label: `Web_Server` is `web-server`. One without a letter or digit of ASCII is empty."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:MAX_NAME_LENGTH].strip("-")


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


def normalize_host(host: str) -> str:
    """Return the canonical form of a host: the shortest form of an IP address, 127.0.0.1 for localhost, a name in lower case.

    An IPv4-mapped IPv6 address becomes the IPv4 address, which is the same endpoint. The registry stores hosts in this form.
    """
    import ipaddress  # late: a program that only looks services up does not need it

    if host.lower() in ("localhost", "localhost."):
        return "127.0.0.1"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower()
    return str(getattr(address, "ipv4_mapped", None) or address)


class Address(Struct, frozen=True):
    """A TCP endpoint in the RPC. `Zone` is the IPv6 zone, empty for all other addresses."""

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
    """One registered instance, as `Discovery.Instances`, `Wait` and `Watch` return it.

    `incarnation` grows with every registration of the same id: a deregistration that names an older one has no effect.
    `since` is when `state` was entered, `checked` when the last probe ended (Unix seconds, 0 for never).
    `output` is the output of the last probe, at most 4 KiB.
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
    """The kind of a change: `put` (registered or changed) or `gone` (deregistered or forgotten)."""

    PUT = "put"
    GONE = "gone"


class Change(Struct, frozen=True, rename="pascal"):
    """One change of an instance in the registry, with its revision. `instance` is the state after it; for `gone`, before it."""

    revision: int
    kind: ChangeKind
    instance: Instance


STORE_CONNECTING = "connecting"
"""The reason that a registry's status gives for a store that is down while the first attempt to connect has not ended."""

# ---------------------------------------------------------------- supervisor's state (snake_case)


class InstanceView(Struct, frozen=True):
    """One instance in a snapshot: its process as the supervisor sees it, and the state of its health check.

    `check` is None without a health check. `exit` says how the last process ended ("exit 1", "signal KILL"), `reason` why
    the instance is not ready, in one line. `next_try` and the other points in time are Unix seconds, 0 for none.
    """

    id: str
    service: str
    name: str
    """The name in `ps` and logs: `product` for a single replica, `product-2` for one of several."""
    state: ProcessState
    check: CheckState | None = None
    output: str = ""
    check_since: float = 0.0
    checked: float = 0.0
    address: str = ""
    """The address that is registered. A container's is that of the project's network, where one is."""
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
    """When the schedule starts the instance next; 0 without a schedule, and after `minikube stop`."""
    published: str = ""
    """The address of this machine at which a container's port is published; empty where `address` is of this machine."""
    ports: dict[str, int] = field(default_factory=dict)
    """Further ports of this machine by name: the key `ports`. That of the key `port` is in `address`."""
    last_lines: tuple[str, ...] = ()
    """The last lines of output before the last process ended; only in the states `backoff`, `exited` and `fatal`."""

    @property
    def local_address(self) -> str:
        """The address at which a program of this machine's user reaches the instance: the published one, where there is one."""
        return self.published or self.address


class ServiceView(Struct, frozen=True):
    """One service in a snapshot. `kind` is `process`, `container` or `external` (not started by the supervisor)."""

    name: str
    kind: str = "process"
    command: str = ""
    replicas: int = 1
    register: str = "supervisor"
    depends_on: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    schedule: str = ""
    chosen: bool = True
    """Whether `up` starts the service: it has no profile or an active one, or `up` named it."""
    optional_dependencies: tuple[str, ...] = ()
    """The names in `depends_on` that are waited for only where they run."""
    groups: tuple[str, ...] = ()
    on_exit: str = "keep"
    """What the end of an instance that is not restarted does: `keep`, `stop-all` or `stop-all-on-failure`."""


def is_ready(instance: InstanceView) -> bool:
    """Return whether an instance runs and passes its check, if it has one. Services that depend on it being healthy may start."""
    return instance.state is ProcessState.RUNNING and instance.check in (None, CheckState.PASSING)


def is_completed(instance: InstanceView) -> bool:
    """Return whether an instance has exited with success: with code 0, or with a code of `restart.success`."""
    # The supervisor gives no reason to an exit code that `restart.success` lists.
    return instance.state is ProcessState.EXITED and (instance.exit == "exit 0" or not instance.reason)


class Usage(Struct, frozen=True):
    """Resource usage of an instance's process tree: per cent of one core, resident bytes; 0 bytes where no process is alive."""

    id: str
    cpu: float
    memory: int


class Event(Struct, frozen=True):
    """One event of the project. `number` only grows; `level` is `info`, `warning` or `error`."""

    number: int
    time: float
    kind: str
    """A stable name for programs: `instance.exited`, `check.critical`, `registry.down`, …"""
    message: str
    level: str = "info"
    service: str = ""
    instance: str = ""


PARTS = ("redis", "registry")
"""The names of the processes that a supervisor runs for itself. They have logs as services have."""


class PartView(Struct, frozen=True):
    """A backing service in a snapshot: `redis` or `registry`, which the supervisor starts itself.

    `state` is its process's. `check` says whether it works: a process that is running may hang, or refuse what it is asked;
    None without a process. `detail` is the reason for a state or check that is not well, in one line.
    """

    name: str
    state: ProcessState
    address: str = ""
    pid: int = 0
    restarts: int = 0
    since: float = 0.0
    detail: str = ""
    check: CheckState | None = None
    check_since: float = 0.0

    @property
    def is_well(self) -> bool:
        """Whether the process runs, and the service works as far as is known."""
        # None: the supervisor is of a version that does not check.
        return self.state is ProcessState.RUNNING and self.check in (None, CheckState.PASSING)


class Snapshot(Struct, frozen=True, tag="snapshot"):
    """The state of a project at one revision: the reply of `/v1/status` and the first message of the stream."""

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
    """The changes of a snapshot after revision `since` up to `revision`, as rows that replace those with the same name or id."""

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
    """One line of output. `stream` is `stdout`, `stderr` or `minikube` (notices of the supervisor, such as dropped lines).

    `level` is the level that the line itself states, such as `error`; empty where it states none.
    """

    time: float
    service: str
    instance: str
    stream: str
    line: str
    level: str = ""
    partial: bool | UnsetType = UNSET
    """Whether the line still waits for its newline. The next line of the same instance and stream takes its place."""
