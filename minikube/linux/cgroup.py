"""Control groups (floor 3, standard library only: the guardian uses it too): whole trees by name, and limits on them.

Where the kernel lets us (cgroup v2 with `cgroup.kill`, Linux 5.14; root, or a subtree that systemd delegated), every
start gets a group `minikube-HASH/OWNER.N` of its own: what it starts stays in it, whatever session or parent it takes, and one
write kills it all. `limits.memory`, `cpus` and `pids` go to v2 controllers where they are enabled, else to v1 controllers
where those are writable; what cannot be enforced is told and never keeps anything from starting. It refuses to wait.

Where groups were made stands in `.minikube/cgroups`, so that the guardian, or the next `up`, removes what is left.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path

from minikube.linux import processes as tree
from minikube.project_dir import CGROUPS_FILE

CPU_PERIOD_US = 100_000
CONTROLLERS = {"memory": "memory", "cpus": "cpu", "pids": "pids"}
"""Which controller enforces which limit."""


class Group:
    """The groups of one tree: one in v2 (`unified`), and one for each v1 controller that a limit needs."""

    def __init__(
        self, unified: Path | None, legacy: Iterable[Path], troubles: tuple[str, ...], *, limited: bool = False
    ) -> None:
        self._unified = unified
        self._limited = limited
        self._places = [*([unified] if unified else []), *legacy]
        self.troubles = troubles
        """What is not enforced, and why: a line for each limit."""

    def add(self, pid: int) -> None:
        """Takes a process in, and what it has started meanwhile; from then on its children are born in it."""
        for place in self._places:
            try:
                _write(place / "cgroup.procs", str(pid))
            except ProcessLookupError:
                return  # dead already
            except OSError as error:
                # The walk through /proc still finds the tree; a limit is lost.
                if self._limited:
                    self.troubles = (f"limits are not enforced: {place}: {error.strerror}",)
                continue
            for child in tree.descendants([pid]):
                with contextlib.suppress(OSError):
                    _write(place / "cgroup.procs", str(child))

    @contextlib.contextmanager
    def doors(self) -> Iterator[tuple[int, ...]]:
        """Descriptors by which a child enters before it executes anything (`enter`), whatever user it is by then: the
        kernel asks for the rights of who opened them. What cannot be opened is `add`'s to tell."""
        found: list[int] = []
        try:
            for place in self._places:
                with contextlib.suppress(OSError):
                    found.append(os.open(place / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC))
            yield tuple(found)
        finally:
            for descriptor in found:
                os.close(descriptor)

    def members(self) -> list[int]:
        """Everybody in it, groups below included."""
        return _members(self._unified) if self._unified else []

    def kill(self) -> None:
        """KILL to all of it at once, forks under way included."""
        if self._unified:
            with contextlib.suppress(OSError):
                _write(self._unified / "cgroup.kill", "1")

    def starved(self) -> bool:
        """Whether the kernel has killed somebody in it for its memory."""
        return any(
            line.split()[0] == "oom_kill" and line.split()[1] != "0"
            for place in self._places
            for name in ("memory.events", "memory.oom_control")
            for line in _lines(place / name)
        )

    def remove(self) -> bool:
        """False: somebody is still in it."""
        self._places = [place for place in self._places if not _remove(place)]
        return not self._places


class Groups:
    """One project's groups. `wanted` are limits that the manifest uses somewhere: they decide where groups are made."""

    def __init__(self, state: Path, wanted: Iterable[str] = ()) -> None:
        self._state = state
        self._name = group_name(state)
        self._unified: Path | None = None
        self._controllers: frozenset[str] = frozenset()
        """Of v2, those that groups made here can use."""
        self._legacy: dict[str, Path] = {}
        self._made: list[Path] = []
        self._count = 0
        unified, legacy = find_hierarchies()
        self._legacy = {controller: place / self._name for controller, place in legacy.items()}
        if unified is not None:
            self._open(unified, frozenset(CONTROLLERS[limit] for limit in wanted))

    @property
    def can_kill(self) -> bool:
        """Whether a tree can be ended by its group."""
        return self._unified is not None

    def make(self, owner: str, limits: Mapping[str, int | float]) -> Group | None:
        """A group for one tree; None where there can be none and no limit asks for it.

        Its name is `owner` and a number that is new each time: the group of an earlier tree may still hold somebody who
        is dying, and remembers who was killed in it.
        """
        self._count += 1
        name = f"{owner}.{self._count}"
        troubles = []
        unified = self._unified / name if self._unified and self._mkdir(self._unified / name) else None
        legacy: list[Path] = []
        for limit, value in limits.items():
            controller = CONTROLLERS[limit]
            try:
                if unified is not None and controller in self._controllers:
                    _limit_v2(unified, limit, value)
                elif controller in self._legacy:
                    place = self._legacy[controller]
                    if not self._mkdir(place, place / name):
                        raise PermissionError(f"no group can be made in {place.parent}")
                    legacy.append(place / name)
                    _limit_v1(place / name, limit, value)
                else:
                    raise FileNotFoundError(f"the {controller} controller is not there, or not delegated to us")
            except OSError as error:
                why = error.strerror or str(error)
                troubles.append(f"limits.{limit} is not enforced: {why}")
        return Group(unified, legacy, tuple(troubles), limited=bool(limits)) if unified or limits else None

    def close(self) -> None:
        """Removes what is empty."""
        remove_all(self._state)

    def _open(self, own: Path, wanted: frozenset[str]) -> None:
        """In our own group, or the nearest one above it whose children have the controllers that are wanted."""
        above = [own, *(place for place in own.parents if (place / "cgroup.procs").exists())]
        chosen = own
        if wanted:
            able = [place for place in above if wanted <= _words(place / "cgroup.subtree_control")]
            chosen = next((place for place in able if os.access(place, os.W_OK)), own)
        base = chosen / self._name
        if not self._mkdir(base) or not (base / "cgroup.kill").exists():
            _remove(base)
            return
        self._unified = base
        for controller in wanted:
            with contextlib.suppress(OSError):
                _write(base / "cgroup.subtree_control", f"+{controller}")
        self._controllers = frozenset(_words(base / "cgroup.subtree_control"))

    def _mkdir(self, *places: Path) -> bool:
        for place in places:
            try:
                place.mkdir(exist_ok=True)
            except OSError:
                return False
            if place.name == self._name and place not in self._made:
                self._made.append(place)
                with contextlib.suppress(OSError):
                    (self._state / CGROUPS_FILE).write_text("".join(f"{one}\n" for one in self._made))
        return True


def enter(doors: Iterable[int]) -> None:
    """In the child, between fork and exec. Never fails: `add` takes in who could not enter, and tells why not."""
    for door in doors:
        with contextlib.suppress(OSError):
            os.write(door, b"0")


def find_hierarchies() -> tuple[Path | None, dict[str, Path]]:
    """Our own group in cgroup v2, and in each v1 controller; what is not mounted (cgroups(7)) is not there."""
    mounts: dict[str, tuple[str, str]] = {}
    with contextlib.suppress(OSError), open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
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
            _, controllers, path = line.rstrip("\n").split(":", 2)
            for controller in controllers.split(","):
                if controller in mounts:
                    root, mounted = mounts[controller]
                    below = path.removeprefix(root.rstrip("/")) if path.startswith(root) else path
                    found[controller] = Path(mounted + "/" + below.lstrip("/"))
    unified = found.pop("", None)
    return unified, {name: found[name] for name in CONTROLLERS.values() if name in found}


def remove_all(state: Path, name: str = "") -> bool:
    """Kills and removes every group of the project. False: some are still dying, and stay recorded.

    Those are the recorded ones and, should the directory itself be gone, those called `name` (`group_name`) where we are.
    """
    name = name or group_name(state)
    gone = True
    for place in {*_recorded(state, name), *_here(name)}:
        with contextlib.suppress(OSError):
            _write(place / "cgroup.kill", "1")
        gone &= _remove(place)
    if gone:
        with contextlib.suppress(OSError):
            (state / CGROUPS_FILE).unlink()
    return gone


def _recorded(state: Path, name: str) -> list[Path]:
    """Nothing but groups of ours, whatever stands in the file."""
    return [place for line in _lines(state / CGROUPS_FILE) if (place := Path(line)).name == name]


def _here(name: str) -> list[Path]:
    unified, legacy = find_hierarchies()
    ours = [*([unified, *unified.parents] if unified else []), *legacy.values()]
    return [place / name for place in ours if (place / name / "cgroup.procs").exists()]


def group_name(state: Path) -> str:
    """The same for every `up` of one directory, and of no other one on this machine. Raises OSError without it."""
    found = state.stat()
    return f"minikube-{sha256(f'{state}:{found.st_dev}:{found.st_ino}'.encode()).hexdigest()[:12]}"


def _members(place: Path) -> list[int]:
    found: list[int] = []
    for directory in _below(place):
        with contextlib.suppress(OSError), open(f"{directory}/cgroup.procs", encoding="ascii") as file:
            found += map(int, file.read().split())
    return found


def _below(place: Path) -> list[str]:
    """The group and all that a service has made in it, those furthest down last."""
    with contextlib.suppress(OSError):
        if os.stat(place).st_nlink == 2:  # as nearly always: no directory in it
            return [str(place)]
    return [directory for directory, _, _ in os.walk(place)]


def _remove(place: Path) -> bool:
    for directory in reversed(_below(place)):
        with contextlib.suppress(FileNotFoundError):
            try:
                os.rmdir(directory)
            except OSError:
                return False
    return True


def _limit_v2(place: Path, limit: str, value: float) -> None:
    if limit == "cpus":
        _write(place / "cpu.max", f"{int(value * CPU_PERIOD_US)} {CPU_PERIOD_US}")
    else:
        _write(place / f"{CONTROLLERS[limit]}.max", "max" if value < 0 else str(int(value)))


def _limit_v1(place: Path, limit: str, value: float) -> None:
    if limit == "cpus":
        _write(place / "cpu.cfs_period_us", str(CPU_PERIOD_US))
        _write(place / "cpu.cfs_quota_us", str(int(value * CPU_PERIOD_US)))
    elif limit == "memory":
        _write(place / "memory.limit_in_bytes", str(int(value)))
    else:
        _write(place / "pids.max", "max" if value < 0 else str(int(value)))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _words(path: Path) -> set[str]:
    return {word for line in _lines(path) for word in line.split()}


def _write(path: Path, text: str) -> None:
    """In one write(2), as the kernel wants it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
