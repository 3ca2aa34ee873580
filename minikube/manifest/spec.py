"""The content of a manifest as frozen structs, with every default.

Durations are seconds, sizes are bytes, paths are absolute, strings are interpolated. `parser` builds these structs and
`validate` refuses combinations of values; nothing here checks.
"""

from pathlib import Path
from typing import Literal

from msgspec import Struct, field

from minikube.addresses import join_host_port
from minikube.project_dir import ManifestFiles

SHELL_COMMAND = ("/bin/sh", "-ec")
"""The program that runs the lines of a key `shell`."""

HOST_GATEWAY = "host-gateway"
"""This machine, as an address in `extra_hosts`."""

MIB = 1024 * 1024

Register = Literal["supervisor", "self", "none"]
Condition = Literal["started", "healthy", "completed", "exited"]
OnExit = Literal["keep", "stop-all", "stop-all-on-failure"]
Protocol = Literal["tcp", "udp"]
HealthKind = Literal["http", "tcp", "command", "log"]
RestartPolicy = Literal["always", "on-failure", "never"]
LogFormat = Literal["plain", "json"]
RuntimeKind = Literal["process", "container"]
NetworkKind = Literal["project", "host"]
PullPolicy = Literal["missing", "always", "never"]


class HostPort(Struct, frozen=True):
    """An address to listen on. `str()` returns `host:port`, an IPv6 host in brackets; port 0 means any free port."""

    host: str
    port: int

    def __str__(self) -> str:
        return join_host_port(self.host, self.port)


class TlsSettings(Struct, frozen=True):
    """The PEM files in `tls = {cert, key, ca}`. With `ca`, clients must present a certificate signed by it."""

    cert: Path
    key: Path
    ca: Path | None = None


class RegistrySettings(Struct, frozen=True):
    """The settings in `[registry]`."""

    listen: HostPort = HostPort("127.0.0.1", 5555)
    chosen: bool = False
    """Whether the manifest sets `listen`: where it does not, a port that is taken is replaced by a free one."""
    token: str = ""
    """The token that clients must present first; empty: none, which is allowed on loopback addresses only."""
    tls: TlsSettings | None = None
    allow_checks: tuple[str, ...] = ()
    """Hosts and networks (`10.0.0.0/8`) that a health check may point at besides the registered host; `("*",)`: any."""
    advertise: str = ""
    """The `host:port` that instances get as MINIKUBE_REGISTRY; empty: the address that the registry listens on."""


class ControlSettings(Struct, frozen=True):
    """The settings in `[control]`. `chosen` is as in `RegistrySettings`."""

    listen: HostPort = HostPort("127.0.0.1", 5556)
    chosen: bool = False


class RedisSettings(Struct, frozen=True):
    """The settings in `[redis]`. An empty `url` means the embedded server."""

    url: str = ""
    server: str = ""
    """The program of the embedded server: a path, or a name on the PATH. Empty: see `supervisor.backing.redis_program`."""
    prefix: str = "{minikube}"


class ContainerSettings(Struct, frozen=True):
    """The settings in `[containers]`. An empty `engine` means the first on the PATH of docker, podman and nerdctl."""

    engine: str = ""


class VolumeSpec(Struct, frozen=True):
    """A mounted volume: `source:target[:options]`, or a target alone for an anonymous volume.

    `source` is an absolute path of this machine, or a named volume of the engine; empty: an anonymous volume.
    """

    source: str
    target: str
    read_only: bool = False
    options: tuple[str, ...] = ()
    """Of `z`, `Z` (SELinux labels), `cached`, `delegated` and `consistent` (which do nothing on Linux), as they are written."""

    @property
    def is_path(self) -> bool:
        """Whether `source` is a path of this machine."""
        return self.source.startswith(("/", ".", "~"))


class EnvFile(Struct, frozen=True):
    """A file of `NAME=value` lines: an item of `env_file`. Without `required`, the file may be missing."""

    path: Path
    required: bool = True


class PortSpec(Struct, frozen=True):
    """A port of `ports`: an instance gets it as `PORT_NAME`. The port that is registered is `ServiceSpec.port`."""

    port: int = 0
    """0: a free port for each instance, with `port_range` one of that range."""
    port_range: tuple[int, int] = (0, 0)
    container_port: int = 0
    """The port that the program in the container listens on; 0: the same as the published one."""
    protocol: Protocol = "tcp"

    @property
    def bounds(self) -> tuple[int, int]:
        """The first and the last port that an instance may get; (0, 0): any."""
        return (self.port, self.port) if self.port else self.port_range


class BuildSpec(Struct, frozen=True):
    """The source of a container's image: the key `build`, a directory or a table."""

    context: Path
    dockerfile: str = "Dockerfile"
    target: str = ""
    args: dict[str, str] = field(default_factory=dict)


class HealthSpec(Struct, frozen=True):
    """The health check in `[services.x.health]`. Of the fields for the kinds of check, only that of `kind` is set."""

    kind: HealthKind
    http: str = ""
    """A path on the instance's own host and port (`/health`), or an `http(s)://` URL."""
    command: tuple[str, ...] = ()
    shell: str = ""
    """In place of `command`, lines for a shell; `kind` is `command` then, too."""
    log: str = ""
    """A regular expression: the first line of output that matches makes the instance healthy."""
    interval: float = 5.0
    timeout: float = 2.0
    failures: int = 1
    timeouts: int = 2
    successes: int = 1
    start_period: float = 30.0
    restart_after: int = 0

    @property
    def argv(self) -> tuple[str, ...]:
        """The command that makes the check; empty for the other kinds."""
        return (*SHELL_COMMAND, self.shell) if self.shell else self.command


class RestartSpec(Struct, frozen=True):
    """The restart policy in `[services.x.restart]`."""

    policy: RestartPolicy = "always"
    delay: float = 0.5
    max_delay: float = 30.0
    limit: int = 5
    """The number of failed starts in a row that makes an instance `fatal`."""
    reset_after: float = 60.0
    """A run of at least so many seconds resets the backoff."""
    max_restarts: int = 0
    """The most automatic restarts within `window` seconds before an instance becomes `fatal`; 0: no limit."""
    window: float = 600.0
    success: tuple[int, ...] = (0,)
    """The exit codes of success; a process killed by signal N counts as 128 + N, as in a shell."""
    max_unavailable: int = 1
    """How many replicas a rolling restart may stop at the same time."""


class StopSpec(Struct, frozen=True):
    """The stop settings in `[services.x.stop]`. `signal` is a name without SIG; `command` runs first, inside the time-out."""

    signal: str = "TERM"
    timeout: float = 10.0
    command: tuple[str, ...] = ()
    shell: str = ""
    """In place of `command`, lines for a shell."""
    drain: float = 0.2
    """Seconds between deregistration and the signal, for requests in flight; skipped when the whole project stops."""

    @property
    def argv(self) -> tuple[str, ...]:
        """The command that runs before the signal; empty for none."""
        return (*SHELL_COMMAND, self.shell) if self.shell else self.command


class LogSpec(Struct, frozen=True):
    """The log settings in `[services.x.logs]`. A file is rotated at `max_size`, or when it spans its share of `max_age`.

    The `keep` latest rotated files are kept, unless they are older than `max_age`.
    """

    max_size: int = 10 * MIB
    keep: int = 5
    format: LogFormat = "plain"
    max_age: float = 7 * 86400.0
    """Seconds; 0: no limit."""


class ServiceSpec(Struct, frozen=True):
    """One service: `[services.x]`. `runtime` says whether `argv` runs as a process, or `image` or `build` as a container.

    Strings of `command` (which ends with `args`), `shell`, `env`, `health.command`, `health.shell`, `health.http`,
    `stop.command` and `stop.shell` are templates, which `interpolate.fill_instance_variables` fills at an instance's start.
    """

    name: str
    cwd: Path
    command: tuple[str, ...] = ()
    """The command of a process; for a container, the replacement of the image's CMD, which may be empty."""
    shell: str = ""
    """In place of `command`, lines for a shell."""
    runtime: RuntimeKind = "process"
    image: str = ""
    """An image reference; with `build`, the name of the image that is built."""
    entrypoint: tuple[str, ...] | None = None
    """The replacement of the image's ENTRYPOINT; empty: none at all; None: the image's own."""
    build: BuildSpec | None = None
    workdir: str = ""
    """The `cwd` of a container as the manifest has it; empty: the image's own."""
    network: NetworkKind = "project"
    """The network of a container: the project's own, with its ports published on `host`, or this machine's."""
    container_port: int = 0
    """The port that the program in the container listens on; 0: it listens on PORT."""
    volumes: tuple[VolumeSpec, ...] = ()
    init: bool = False
    """Whether the engine's init program is the container's first process: it reaps orphans and forwards signals."""
    pull: PullPolicy = "missing"
    extra_hosts: dict[str, str] = field(default_factory=dict)
    """Host names in the container, each with its address, or `host-gateway` for this machine."""
    engine_args: tuple[str, ...] = ()
    """Further words for the engine's `create`, before the image."""
    port: int = 0
    """0: no port, or with `auto_port` a free port for each instance."""
    auto_port: bool = False
    port_range: tuple[int, int] = (0, 0)
    """With `auto_port`: the first and the last port to choose from; (0, 0): any."""
    ports: dict[str, PortSpec] = field(default_factory=dict)
    """Further ports, by name."""
    host: str = "127.0.0.1"
    env: dict[str, str] = field(default_factory=dict)
    env_file: tuple[EnvFile, ...] = ()
    """The manifest's files first, then the service's own."""
    file_env: dict[str, str] = field(default_factory=dict)
    """The content of the `env_file`s. `env` overrides it, and each of its values is masked as a secret."""
    user: str = ""
    """A name or a number; empty: the user of the supervisor. An empty `group` means the user's own."""
    group: str = ""
    umask: int = -1
    """-1: the umask of the supervisor."""
    replicas: int = 1
    profiles: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    meta: dict[str, str] = field(default_factory=dict)
    watch: tuple[str, ...] = ()
    register: Register = "supervisor"
    depends_on: dict[str, Condition] = field(default_factory=dict)
    optional_dependencies: tuple[str, ...] = ()
    """The names in `depends_on` with `required = false`: waited for only where they run, and their failure is no obstacle."""
    health: HealthSpec | None = None
    restart: RestartSpec = RestartSpec()
    """With a `schedule` the default policy is `never`."""
    schedule: str = ""
    """Five cron fields or `every 30s`, as `values.parse_schedule` returns it; empty: started with the project."""
    stop: StopSpec = StopSpec()
    limits: dict[str, int | float] = field(default_factory=dict)
    """`memory` (bytes), `cpus` (float), `pids`, and rlimits by their lower-case name; -1: unlimited."""
    logs: LogSpec = LogSpec()
    on_exit: OnExit = "keep"
    """Whether the end of an instance that is not restarted stops the whole project."""

    @property
    def argv(self) -> tuple[str, ...]:
        """The command to execute: `command`, or the shell that runs the lines of `shell`."""
        return (*SHELL_COMMAND, self.shell) if self.shell else self.command

    @property
    def container_command(self) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
        """What replaces the image's ENTRYPOINT (empty: none at all; None: its own) and its CMD (empty: as the engine has it).

        The lines of `shell` replace both: they run in a shell whatever the image's ENTRYPOINT is.
        """
        return (SHELL_COMMAND, (self.shell,)) if self.shell else (self.entrypoint, self.command)

    @property
    def required_dependencies(self) -> tuple[str, ...]:
        """The names in `depends_on` without which the service does not start."""
        return tuple(name for name in self.depends_on if name not in self.optional_dependencies)

    @property
    def is_on_project_network(self) -> bool:
        """Whether the instances are containers on the project's network. All others listen on this machine's network."""
        return self.runtime == "container" and self.network == "project"


class Manifest(Struct, frozen=True):
    """The content of a `supervisor.toml`, and of the files that were merged into it."""

    name: str
    path: Path
    directory: Path
    overrides: tuple[Path, ...] = ()
    finds_override: bool = False
    """Whether `supervisor.override.toml` is looked for: see `ManifestFiles`."""
    registry: RegistrySettings = RegistrySettings()
    control: ControlSettings = ControlSettings()
    redis: RedisSettings = RedisSettings()
    containers: ContainerSettings = ContainerSettings()
    services: dict[str, ServiceSpec] = field(default_factory=dict)
    """In the order of the file."""
    warnings: tuple[str, ...] = ()
    """One line for each thing that is allowed but probably a mistake, such as a variable that is not set."""

    @property
    def files(self) -> ManifestFiles:
        """The files that the manifest was read from."""
        return ManifestFiles(self.path, self.overrides, self.finds_override)
