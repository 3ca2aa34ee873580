"""The files of a manifest; the directory `.minikube/` beside it: its file names, and the small JSON records that processes leave.

Standard library only, because the guardian and every short-lived command import it. It refuses to start, stop or
connect to anything.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from minikube.defaults import DEFAULT_FILE, OVERRIDE_FILE

PROJECT_DIR = ".minikube"
TOKEN_FILE = "token"
"""The bearer token of the control API."""
LOCK_FILE = "lock"
"""Locked by the supervisor and its guardian while one of them lives; holds the supervisor's pid: see `project.run_claim`."""
SUPERVISOR_FILE = "supervisor.json"
"""A `SupervisorRecord`."""
RUN_END_FILE = "ended.json"
"""A `RunEnd`; the next run removes it."""
PROCESSES_FILE = "processes.json"
"""Pid and start time of every process that is alive: see `project.orphans`."""
CONTAINERS_FILE = "containers.json"
"""The container engine that holds containers of this project: see `engine.leftovers`."""
CGROUPS_FILE = "cgroups"
"""The control groups that were made: see `linux.cgroup`."""
LOG_DIR = "logs"
"""The log files of the instances, of Redis, of the registry and of the supervisor."""
OWN_LOG_PREFIX = "minikube."
"""Begins the name of each log that is no instance's: a service may be named `redis`, but no service has a dot in its name."""
SUPERVISOR_LOG = f"{OWN_LOG_PREFIX}supervisor.log"
SUPERVISOR_LOG_NAME = f"{PROJECT_DIR}/{LOG_DIR}/{SUPERVISOR_LOG}"
"""The supervisor's own log as messages name it: relative to the project's directory."""
DASHBOARD_LOG = f"{OWN_LOG_PREFIX}dashboard.log"
"""Reports of crashes of the dashboard, in `LOG_DIR`."""
REDIS_SOCKET = "redis.sock"
"""A link to the private Redis' socket, for people: see `project.redis_socket`."""
REDIS_SOCKET_DIR = "run"
"""The directory of that socket, which containers get; elsewhere where the path would be too long for a socket."""
REDIS_DATA_DIR = "redis"
"""The append-only file of the private Redis."""

RECORD_FORMAT = 1
"""Raised when older versions of the program would misunderstand a `SupervisorRecord`."""

RECORD_LIMIT = 65_536
"""How many bytes of a record are read: a foreign file of any size may have its name."""


@dataclass(frozen=True, slots=True)
class ManifestFiles:
    """The files of one manifest. The directory of the first one is the project's; later files win."""

    first: Path
    overrides: tuple[Path, ...] = ()
    finds_override: bool = False
    """Whether `supervisor.override.toml` beside the first file is the last one wherever it exists."""

    @property
    def override(self) -> Path:
        """The path of `supervisor.override.toml` beside the first file."""
        return self.first.parent / OVERRIDE_FILE

    def existing(self) -> tuple[Path, ...]:
        """Return all files; `supervisor.override.toml`, where it is looked for, only while it exists."""
        found = (self.override,) if self.finds_override and os.path.lexists(self.override) else ()
        return (self.first, *self.overrides, *found)

    def possible(self) -> tuple[Path, ...]:
        """Return all files, and `supervisor.override.toml` also while it does not exist, where it is looked for."""
        return (self.first, *self.overrides, *((self.override,) if self.finds_override else ()))

    def map(self, change: Callable[[Path], Path]) -> "ManifestFiles":
        """Return the files with each path changed by `change`."""
        return ManifestFiles(change(self.first), tuple(map(change, self.overrides)), self.finds_override)

    def __str__(self) -> str:
        return " + ".join(map(str, self.existing()))


def files_at(path: Path) -> ManifestFiles:
    """Return the files that a path alone names: a file is the only one; a directory has the default ones."""
    if os.path.isdir(path):  # Path.is_dir raises PermissionError
        return ManifestFiles(path / DEFAULT_FILE, finds_override=True)
    return ManifestFiles(path)


def project_dir(manifest: Path) -> Path:
    """Return the absolute path of `.minikube` beside the manifest, whether it exists or not."""
    return manifest.absolute().parent / PROJECT_DIR


def directory_id(directory: Path) -> str:
    """Return the device and inode of a directory as text; empty where there is none."""
    try:
        found = directory.stat()
    except OSError:
        return ""
    return f"{found.st_dev}:{found.st_ino}"


def origin(directory: Path) -> dict[str, Any]:
    """Return the keys of a record that name the project directory it was written for: `is_copied` compares them."""
    return {"directory": str(directory.parent), "directory_id": directory_id(directory.parent)}


def is_copied(found: Mapping[str, object], directory: Path) -> bool:
    """Return whether a record in a project directory was copied there: its `origin` is another directory that still exists.

    A record without an origin was written by an older version, and counts as not copied.
    """
    if not found.get("directory_id") or found["directory_id"] == directory_id(directory.parent):
        return False
    # A directory that was moved to another file system has another inode, and its old path is gone.
    return os.path.lexists(str(found.get("directory", "")))


def log_dir(directory: Path) -> Path:
    """Return the folder of the log files in a project directory."""
    return directory / LOG_DIR


def own_log(name: str) -> str:
    """Return the name of the log of one of the program's own processes, such as `minikube.redis` for `redis`."""
    return OWN_LOG_PREFIX + name


def is_own_log(name: str) -> bool:
    """Return whether a log is one of the program's own processes and not of an instance."""
    return name.startswith(OWN_LOG_PREFIX)


def log_name(name: str) -> str:
    """Return the path of a log file as messages name it, relative to the project's directory: `.minikube/logs/NAME.log`."""
    return f"{PROJECT_DIR}/{LOG_DIR}/{name}.log"


def supervisor_log(directory: Path) -> Path:
    """Return the path of the supervisor's own log in a project directory."""
    return directory / LOG_DIR / SUPERVISOR_LOG


def dashboard_log(directory: Path) -> Path:
    """Return the path of the reports of crashes of the dashboard in a project directory."""
    return directory / LOG_DIR / DASHBOARD_LOG


@dataclass(frozen=True, slots=True)
class SupervisorRecord:
    """How other processes find a running supervisor. `start_time` and `boot_id` show whether the pid was reused since."""

    pid: int
    guardian_pid: int
    start_time: int | None
    """In clock ticks since the boot, as in `/proc/PID/stat`."""
    boot_id: str
    control: str
    """`host:port` of the control API."""
    registry: str
    """`host:port` of the registry."""
    manifest: str
    directory: str = ""
    """The project directory, the parent of `.minikube`."""
    directory_id: str = ""
    """Its device and inode: see `origin`."""
    version: str = ""
    """The version of the program that wrote the record."""
    format: int = RECORD_FORMAT
    """Higher where older versions cannot use the record."""
    overrides: tuple[str, ...] = ()
    """The further files of the manifest: see `ManifestFiles`."""
    finds_override: bool = False
    ending: bool = False
    """Whether all services have stopped and the control API is closed: only told at the name of the run, never written."""

    @property
    def manifest_files(self) -> ManifestFiles:
        """The files of the manifest that runs."""
        return ManifestFiles(Path(self.manifest), tuple(map(Path, self.overrides)), self.finds_override)


def read_supervisor_record(directory: Path) -> SupervisorRecord | None:
    """Return the record of a project directory; None where there is none or it is damaged."""
    try:
        return parse_supervisor_record(read_json(directory / SUPERVISOR_FILE))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def parse_supervisor_record(found: Any) -> SupervisorRecord | None:
    """Return the record in parsed JSON; None for an impossible pid. Raises KeyError, TypeError, ValueError, AttributeError."""
    pid = int(found["pid"])
    if pid <= 0:
        return None  # never a supervisor's; kill(2) takes 0 and negative numbers for groups of processes
    return SupervisorRecord(
        pid,
        int(found.get("guardian_pid", 0)),
        found.get("start_time"),
        str(found.get("boot_id", "")),
        str(found.get("control", "")),
        str(found.get("registry", "")),
        str(found.get("manifest", "")),
        str(found.get("directory", "")),
        str(found.get("directory_id", "")),
        str(found.get("version", "")),
        int(found.get("format", 1)),
        tuple(map(str, found.get("overrides", ()))),
        bool(found.get("finds_override", False)),
        bool(found.get("ending", False)),
    )


def write_supervisor_record(directory: Path, record: SupervisorRecord) -> None:
    """Replace the supervisor's record. Raises OSError."""
    write_json(directory / SUPERVISOR_FILE, asdict(record))


@dataclass(frozen=True, slots=True)
class RunEnd:
    """When (Unix seconds) and why a run ended that no user had asked to end."""

    time: float
    why: str


def record_run_end(directory: Path, why: str) -> None:
    """Write down why the run ends now. A full disk is ignored: the record only explains."""
    with contextlib.suppress(OSError):
        write_json(directory / RUN_END_FILE, {"time": time.time(), "why": why})


def read_run_end(directory: Path) -> RunEnd | None:
    """Return why the last run ended; None where a user had asked for it or the record is damaged."""
    try:
        found = read_json(directory / RUN_END_FILE)
        return RunEnd(float(found["time"]), str(found["why"]))
    except (OSError, ValueError, OverflowError, KeyError, TypeError, RecursionError):
        return None


def read_json(path: Path) -> Any:
    """Return the JSON value in a file of `RECORD_LIMIT` bytes at most. Raises OSError, ValueError, RecursionError."""
    # NONBLOCK: a pipe in place of the file must not block the command.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return json.loads(os.read(descriptor, RECORD_LIMIT))
    finally:
        os.close(descriptor)


def write_json(path: Path, value: object) -> None:
    """Replace a file by a value's JSON in one step, so that no reader sees half of it. Raises OSError."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(json.dumps(value))
    os.replace(fresh, path)
