"""What a manifest says, once it is read (floor 0): frozen structs, every default in one place.

Durations are seconds, sizes are bytes, paths are absolute, strings are interpolated. Nothing here reads,
checks or acts: `reader` builds these, `rules` refuses the combinations that make no sense.
"""

from pathlib import Path
from typing import Literal

from msgspec import Struct, field

from minikube.addresses import join_host_port

MIB = 1024 * 1024

Register = Literal["supervisor", "self", "none"]
Condition = Literal["started", "healthy", "completed"]
HealthKind = Literal["http", "tcp", "command", "log"]
RestartPolicy = Literal["always", "on-failure", "never"]
LogFormat = Literal["plain", "json"]
RuntimeKind = Literal["process", "container"]
NetworkKind = Literal["", "host", "project"]
PullPolicy = Literal["missing", "always", "never"]


class HostPort(Struct, frozen=True):
    """Where something listens. `str()` gives it back as `host:port`, IPv6 in brackets; port 0 means any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return join_host_port(self.host, self.port)


class TlsSettings(Struct, frozen=True):
    """`tls = {cert, key, ca}`: PEM files. With `ca`, clients must show a certificate it signed."""

    cert: Path
    key: Path
    ca: Path | None = None


class RegistrySettings(Struct, frozen=True):
    """`[registry]`."""

    listen: HostPort = HostPort("127.0.0.1", 5555)
    chosen: bool = False
    """Whether the manifest says where: otherwise a port that is taken is replaced by a free one."""
    token: str = ""
    """What clients must say first; empty: none is asked for, which only a loopback address may do."""
    tls: TlsSettings | None = None
    allow_checks: tuple[str, ...] = ()
    """Hosts and networks (`10.0.0.0/8`) that a check may point at beside the registered one; `("*",)`: any."""
    advertise: str = ""
    """`host:port` that instances are told as MINIKUBE_REGISTRY; empty: where it listens."""


class ControlSettings(Struct, frozen=True):
    """`[control]`. `chosen` is as the registry's."""

    listen: HostPort = HostPort("127.0.0.1", 5556)
    chosen: bool = False


class RedisSettings(Struct, frozen=True):
    """`[redis]`. An empty `url` asks for the embedded one."""

    url: str = ""
    prefix: str = "{minikube}"


class ContainerSettings(Struct, frozen=True):
    """`[containers]`. An empty `engine` asks for the first one on the PATH: docker, podman, nerdctl."""

    engine: str = ""


class VolumeSpec(Struct, frozen=True):
    """`source:target[:ro]`: a path of this machine (absolute here), or a named volume that the engine keeps."""

    source: str
    target: str
    read_only: bool = False

    @property
    def is_path(self) -> bool:
        return self.source.startswith(("/", ".", "~"))


class BuildSpec(Struct, frozen=True):
    """`build = "dir"` or a table: what the container's image is built from."""

    context: Path
    dockerfile: str = "Dockerfile"
    target: str = ""
    args: dict[str, str] = field(default_factory=dict)


class HealthSpec(Struct, frozen=True):
    """`[services.x.health]`. Exactly one of the four kinds; the other kinds' fields stay empty."""

    kind: HealthKind
    http: str = ""
    """A path (`/health`, on the instance's own host and port) or a whole `http(s)://` URL."""
    command: tuple[str, ...] = ()
    log: str = ""
    """A regular expression; the first line of output that it is found in makes the instance healthy."""
    interval: float = 5.0
    timeout: float = 2.0
    failures: int = 1
    timeouts: int = 2
    successes: int = 1
    start_period: float = 30.0
    restart_after: int = 0


class RestartSpec(Struct, frozen=True):
    """`[services.x.restart]`."""

    policy: RestartPolicy = "always"
    delay: float = 0.5
    max_delay: float = 30.0
    limit: int = 5
    """Failed starts in a row that make it `fatal`."""
    reset_after: float = 60.0
    """A life at least this long forgives the ones before it."""
    max_restarts: int = 0
    """By itself, within `window` seconds, until it is `fatal`; 0: never given up for having been well."""
    window: float = 600.0
    success: tuple[int, ...] = (0,)
    """Exit codes that are no failure; death by a signal counts as 128 and its number, as in a shell."""
    max_unavailable: int = 1
    """How many replicas a rolling restart may take away at a time."""


class StopSpec(Struct, frozen=True):
    """`[services.x.stop]`. `signal` is a name without SIG; `command` runs first, inside the time-out."""

    signal: str = "TERM"
    timeout: float = 10.0
    command: tuple[str, ...] = ()
    drain: float = 0.2
    """Between leaving discovery and the signal: for requests that are on their way. Not when everything stops."""


class LogSpec(Struct, frozen=True):
    """`[services.x.logs]`. A file is followed by the next at `max_size`, or once it spans its share of `max_age`; files that
    were last written before `max_age` are removed, and those beyond the `keep` latest."""

    max_size: int = 10 * MIB
    keep: int = 5
    format: LogFormat = "plain"
    max_age: float = 7 * 86400.0
    """Seconds; 0: nothing is too old."""


class ServiceSpec(Struct, frozen=True):
    """`[services.x]`. `runtime` tells whether `command` is run, or a container of `image` or `build`.

    Strings of `command` (which ends with `args`), `env`, `health.command`, `health.http` and `stop.command` may still
    hold `${PORT}` and the other names that only an instance knows: `interpolate.fill` puts them in at its start.
    """

    name: str
    cwd: Path
    command: tuple[str, ...] = ()
    """A process's command; a container's replaces the image's CMD, and may be empty."""
    runtime: RuntimeKind = "process"
    image: str = ""
    """A reference, or with `build` the name that what is built gets."""
    build: BuildSpec | None = None
    workdir: str = ""
    """`cwd` of a container, as it was written; empty: the image's own."""
    network: NetworkKind = ""
    """Empty: `host`, or with a `container_port` a port published on `host`."""
    container_port: int = 0
    """What the program in the container listens on, whatever PORT says; 0: it listens on PORT."""
    volumes: tuple[VolumeSpec, ...] = ()
    init: bool = False
    """Whether the engine's own init is the container's first process: it reaps orphans and passes signals on."""
    pull: PullPolicy = "missing"
    port: int = 0
    """0: none, or with `auto_port` a free one for each instance."""
    auto_port: bool = False
    port_range: tuple[int, int] = (0, 0)
    """With `auto_port`: only these, first and last; (0, 0): any."""
    host: str = "127.0.0.1"
    env: dict[str, str] = field(default_factory=dict)
    env_file: tuple[Path, ...] = ()
    file_env: dict[str, str] = field(default_factory=dict)
    """What the `env_file`s hold, already read; `env` wins over it, and every value of it is a secret."""
    user: str = ""
    """A name or a number, empty: as we are. So is `group`; without one it is the user's own."""
    group: str = ""
    umask: int = -1
    """-1: as we were started."""
    replicas: int = 1
    profiles: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    meta: dict[str, str] = field(default_factory=dict)
    watch: tuple[str, ...] = ()
    register: Register = "supervisor"
    depends_on: dict[str, Condition] = field(default_factory=dict)
    health: HealthSpec | None = None
    restart: RestartSpec = RestartSpec()
    """With a `schedule` and nothing said, the policy is `never`."""
    schedule: str = ""
    """When it is run: five cron fields or `every 30s`, as `values.parse_schedule` gives it back. Empty: from the start on."""
    stop: StopSpec = StopSpec()
    limits: dict[str, int | float] = field(default_factory=dict)
    """`memory` (bytes), `cpus` (float), `pids`, and rlimits by their lower-case name; -1: unlimited."""
    logs: LogSpec = LogSpec()

    @property
    def has_own_address(self) -> bool:
        """Whether every instance has an address of its own, and so all ports to itself."""
        return self.runtime == "container" and self.network == "project"


class Manifest(Struct, frozen=True):
    """A whole `supervisor.toml`."""

    name: str
    path: Path
    directory: Path
    registry: RegistrySettings = RegistrySettings()
    control: ControlSettings = ControlSettings()
    redis: RedisSettings = RedisSettings()
    containers: ContainerSettings = ContainerSettings()
    services: dict[str, ServiceSpec] = field(default_factory=dict)
    """In the file's order."""
    warnings: tuple[str, ...] = ()
    """What is allowed but probably not meant, a line each: variables that are not set, for one."""
