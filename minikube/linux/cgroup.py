"""Control groups: end a whole process tree with one write, and limit what a tree uses.

Where the kernel permits it (cgroup v2 with `cgroup.kill`, Linux 5.14; root, or a subtree that systemd delegated), every start
gets a group `minikube-HASH/OWNER.N` of its own. All that it starts stays in the group, whatever session or parent it takes.
`limits.memory`, `cpus` and `pids` go to v2 controllers where they are enabled, else to v1 controllers where those are
writable. A limit that cannot be enforced is a warning, and never keeps an instance from starting.

The paths of all groups are recorded in `.minikube/cgroups`, so that the guardian or the next `up` removes what is left.
Standard library only, because the guardian imports it. It refuses to wait.
"""

import contextlib
import os
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

from minikube.linux import processes
from minikube.project_dir import CGROUPS_FILE, directory_id

CPU_PERIOD_US = 100_000
CONTROLLERS = {"memory": "memory", "cpus": "cpu", "pids": "pids"}
"""The limits of the manifest, each with the controller that enforces it."""


class Group:
    """The control groups of one process tree: one in v2 (`unified`), and one for each v1 controller that a limit needs."""

    def __init__(
        self, unified: Path | None, legacy: Iterable[Path], warnings: tuple[str, ...], *, limited: bool = False
    ) -> None:
        self.unified = unified
        """The directory of the group in v2, which a process can be created in; None without cgroup v2."""
        self.legacy = tuple(legacy)
        """The directories of the v1 groups, which a process joins before exec."""
        self._limited = limited
        self._paths = [*([unified] if unified else []), *self.legacy]
        self.warnings = warnings
        """The limits that are not enforced, each with the reason."""

    def add(self, pid: int) -> None:
        """Move a process into the group, and the children that it has started meanwhile."""
        for path in self._paths:
            try:
                _write(path / "cgroup.procs", str(pid))
            except ProcessLookupError:
                return  # it has ended
            except OSError as error:
                # The tree is still found by a walk through /proc; only a limit is lost.
                if self._limited:
                    self.warnings = (f"limits are not enforced: {path}: {error.strerror}",)
                continue
            for child in processes.descendants([pid]):
                with contextlib.suppress(OSError):
                    _write(path / "cgroup.procs", str(child))

    def members(self) -> list[int]:
        """Return the pids of all processes in the group and in groups below it; empty without cgroup v2."""
        return _members(self.unified) if self.unified else []

    def kill(self) -> None:
        """Send KILL to all processes of the group at once, also to forks that are under way. Nothing without cgroup v2."""
        if self.unified:
            with contextlib.suppress(OSError):
                _write(self.unified / "cgroup.kill", "1")

    def had_oom_kill(self) -> bool:
        """Return whether the kernel has killed a process of the group for its memory limit."""
        return any(
            line.split()[0] == "oom_kill" and line.split()[1] != "0"
            for path in self._paths
            for name in ("memory.events", "memory.oom_control")
            for line in _lines(path / name)
        )

    def remove(self) -> bool:
        """Remove the groups. False where one still has a process."""
        self._paths = [path for path in self._paths if not _remove(path)]
        return not self._paths


class ProjectGroups:
    """The control groups of one project, one for each started tree.

    `limits` are the limits that any service of the manifest uses: the project's group is made where these can be enforced.
    """

    def __init__(self, project_dir: Path, limits: Iterable[str] = ()) -> None:
        self.project_dir = project_dir
        """Where the groups are recorded: the project's `.minikube`, which may be moved. Their name stays."""
        self._name = group_name(project_dir)
        self._unified: Path | None = None
        self._controllers: frozenset[str] = frozenset()
        """The v2 controllers that groups made here can use."""
        self._recorded: list[Path] = []
        self._count = 0
        unified, legacy = find_hierarchies()
        self._legacy = {controller: path / self._name for controller, path in legacy.items()}
        if unified is not None:
            self._open(unified, frozenset(CONTROLLERS[limit] for limit in limits))

    def create(self, owner: str, limits: Mapping[str, int | float]) -> Group | None:
        """Return a new group for one tree; None where no group can be made and no limit asks for one."""
        # A new name for each start: the group of an earlier tree may still have dying processes, and keeps its count of
        # OOM kills.
        self._count += 1
        name = f"{owner}.{self._count}"
        warnings = []
        unified = self._unified / name if self._unified and self._mkdir(self._unified / name) else None
        legacy: list[Path] = []
        for limit, value in limits.items():
            controller = CONTROLLERS[limit]
            try:
                if unified is not None and controller in self._controllers:
                    _limit_v2(unified, limit, value)
                elif controller in self._legacy:
                    path = self._legacy[controller]
                    if not self._mkdir(path, path / name):
                        raise PermissionError(f"no group can be made in {path.parent}")
                    legacy.append(path / name)
                    _limit_v1(path / name, limit, value)
                else:
                    raise FileNotFoundError(f"the {controller} controller is not there, or not delegated to this user")
            except OSError as error:
                reason = error.strerror or str(error)
                warnings.append(f"limits.{limit} is not enforced: {reason}")
        return Group(unified, legacy, tuple(warnings), limited=bool(limits)) if unified or limits else None

    def _open(self, own: Path, wanted: frozenset[str]) -> None:
        """Make the project's group in `own`, the supervisor's, or in the nearest group above with the wanted controllers.

        A group that has processes cannot give controllers to groups below it (the "no internal processes" rule of
        cgroup v2), and the supervisor's own group has the supervisor.
        """
        candidates = [own, *(path for path in own.parents if (path / "cgroup.procs").exists())]
        parent = own
        if wanted:
            able = [path for path in candidates if wanted <= _words(path / "cgroup.subtree_control")]
            parent = next((path for path in able if os.access(path, os.W_OK)), own)
        base = parent / self._name
        if not self._mkdir(base) or not (base / "cgroup.kill").exists():
            _remove(base)
            return
        self._unified = base
        for controller in wanted:
            with contextlib.suppress(OSError):
                _write(base / "cgroup.subtree_control", f"+{controller}")
        self._controllers = frozenset(_words(base / "cgroup.subtree_control"))

    def _mkdir(self, *paths: Path) -> bool:
        """Make directories and record those that are the project's own; return whether all are there."""
        for path in paths:
            try:
                path.mkdir(exist_ok=True)
            except OSError:
                return False
            if path.name == self._name and path not in self._recorded:
                self._recorded.append(path)
                with contextlib.suppress(OSError):
                    (self.project_dir / CGROUPS_FILE).write_text("".join(f"{made}\n" for made in self._recorded))
        return True


def find_hierarchies() -> tuple[Path | None, dict[str, Path]]:
    """Return this process' group in cgroup v2, and its group of each v1 controller; None or left out where not mounted."""
    mounts: dict[str, tuple[str, str]] = {}
    with contextlib.suppress(OSError), open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            # proc(5): `… ROOT MOUNTPOINT OPTIONS … - TYPE SOURCE SUPEROPTIONS`; v1 has its controllers in the last field.
            fields, _, tail = line.partition(" - ")
            kind, _, options = [*tail.split(), "", "", ""][:3]
            root, mounted = fields.split()[3:5]
            if kind == "cgroup2":
                mounts[""] = (root, mounted)
            elif kind == "cgroup":
                mounts.update(dict.fromkeys(options.split(","), (root, mounted)))
    found: dict[str, Path] = {}
    with contextlib.suppress(OSError), open("/proc/self/cgroup", encoding="utf-8", errors="replace") as file:
        for line in file:
            # cgroups(7): `ID:CONTROLLERS:PATH`; v2 has no controllers here.
            _, controllers, path = line.rstrip("\n").split(":", 2)
            for controller in controllers.split(","):
                if controller in mounts:
                    root, mounted = mounts[controller]
                    # In a container the mount shows a part of the tree only, and paths begin with its root.
                    below = path.removeprefix(root.rstrip("/")) if path.startswith(root) else path
                    found[controller] = Path(mounted + "/" + below.lstrip("/"))
    unified = found.pop("", None)
    return unified, {name: found[name] for name in CONTROLLERS.values() if name in found}


def remove_all(project_dir: Path, name: str = "") -> bool:
    """Kill the processes of the project's groups and remove the groups. False: some still die, and their groups stay.

    It removes the recorded groups, and groups called `name` beside this process' own. `name` (`group_name`) is needed only
    where the project directory may have been deleted.
    """
    name = name or group_name(project_dir)
    removed = True
    for path in {*_recorded_groups(project_dir, name), *_nearby_groups(name)}:
        with contextlib.suppress(OSError):
            _write(path / "cgroup.kill", "1")
        removed &= _remove(path)
    if removed:
        with contextlib.suppress(OSError):
            (project_dir / CGROUPS_FILE).unlink()
    return removed


def _recorded_groups(project_dir: Path, name: str) -> list[Path]:
    """Return the recorded paths. Only those called `name`: a damaged file must not lead to the removal of other groups."""
    return [path for line in _lines(project_dir / CGROUPS_FILE) if (path := Path(line)).name == name]


def _nearby_groups(name: str) -> list[Path]:
    """Return the groups called `name` in this process' group and in the groups above it."""
    unified, legacy = find_hierarchies()
    parents = [*([unified, *unified.parents] if unified else []), *legacy.values()]
    return [path / name for path in parents if (path / name / "cgroup.procs").exists()]


def group_name(project_dir: Path) -> str:
    """Return the name of the project's group: the same for every `up` of one directory, unique on this machine.

    It is that of the directory beside the manifest, so that it stays the same where `.minikube` is deleted or moved.
    """
    return f"minikube-{sha256(directory_id(project_dir.parent).encode()).hexdigest()[:12]}"


def _members(path: Path) -> list[int]:
    found: list[int] = []
    for directory in _below(path):
        with contextlib.suppress(OSError), open(f"{directory}/cgroup.procs", encoding="ascii") as file:
            found += map(int, file.read().split())
    return found


def _below(path: Path) -> list[str]:
    """Return the group and the groups that a service has made in it, the deepest last."""
    with contextlib.suppress(OSError):
        if os.stat(path).st_nlink == 2:  # no group below it, as nearly always: no walk is needed
            return [str(path)]
    return [directory for directory, _, _ in os.walk(path)]


def _remove(path: Path) -> bool:
    """Remove a group and the groups below it. False where a process is in one of them."""
    for directory in reversed(_below(path)):
        with contextlib.suppress(FileNotFoundError):
            try:
                os.rmdir(directory)
            except OSError:
                return False
    return True


def _limit_v2(path: Path, limit: str, value: float) -> None:
    if limit == "cpus":
        _write(path / "cpu.max", f"{int(value * CPU_PERIOD_US)} {CPU_PERIOD_US}")
    else:
        _write(path / f"{CONTROLLERS[limit]}.max", "max" if value < 0 else str(int(value)))


def _limit_v1(path: Path, limit: str, value: float) -> None:
    if limit == "cpus":
        _write(path / "cpu.cfs_period_us", str(CPU_PERIOD_US))
        _write(path / "cpu.cfs_quota_us", str(int(value * CPU_PERIOD_US)))
    elif limit == "memory":
        _write(path / "memory.limit_in_bytes", str(int(value)))
    else:
        _write(path / "pids.max", "max" if value < 0 else str(int(value)))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _words(path: Path) -> set[str]:
    return {word for line in _lines(path) for word in line.split()}


def _write(path: Path, text: str) -> None:
    """Write to a file of the kernel, which takes a value in one write(2) only."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
