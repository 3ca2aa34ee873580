"""What this machine can do for a project (floor 3): one finding for each thing that `up` builds on.

Each check looks, bounded by a second or two, and changes nothing. `fail` keeps something in the manifest from running, `warn` makes
it run worse or says what is odd; every finding that is not `ok` comes with what to do.
"""

import os
import platform
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct

from minikube.control.client.blocking import ControlClient, find_supervisor
from minikube.doctor.finding import Finding, ok
from minikube.engine.command import find_engine, is_unreachable
from minikube.errors import ManifestError, MinikubeError
from minikube.linux import cgroup, processes
from minikube.linux.ports import is_free, port_owner
from minikube.manifest import HostPort, Manifest, load_manifest
from minikube.model import InstanceView
from minikube.project import orphans
from minikube.project_dir import SUPERVISOR_FILE, project_dir, read_supervisor_record
from minikube.supervisor.backing.redis import find_redis
from minikube.text import mask_url

ASK_S = 3.0
LEAST_FILES = 4_096
LEAST_WATCHES = 8_192
LEAST_SPACE_B = 200 * 1024 * 1024
OLDEST_PYTHON = (3, 11)


def examine(path: Path) -> Iterator[Finding]:
    """Everything about this machine and the project of the manifest in `path`, which need not be there or be right."""
    manifest: Manifest | None = None
    yield _python()
    try:
        manifest = load_manifest(path)
        count = len(manifest.services)
        yield ok("manifest", f"{path}: good, {count} service{'' if count == 1 else 's'}")
    except ManifestError as error:
        count = len(str(error).splitlines())
        yield Finding("manifest", "fail", str(error).splitlines()[0], f"{count} problems: minikube validate")
    state = project_dir(path)
    yield _redis(manifest)
    if manifest is not None:
        yield from _ports(manifest, _ours(manifest, state))
    yield _state(state)
    yield _space(state)
    yield _groups(manifest)
    yield _engine(manifest, state)
    yield _files()
    yield _watches(manifest)
    yield _terminal()


def _python() -> Finding:
    found = f"Python {platform.python_version()} on {platform.system()} {platform.release()}"
    if sys.version_info < OLDEST_PYTHON or not hasattr(os, "pidfd_open"):
        return Finding("python", "fail", found, "Linux and Python 3.11 or newer are needed")
    return ok("python", found)


def _redis(manifest: Manifest | None) -> Finding:
    if manifest is not None and manifest.redis.url:
        return _other_redis(manifest.redis.url)
    try:
        program = find_redis(os.environ)
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=ASK_S).stdout
    except (MinikubeError, OSError, subprocess.TimeoutExpired) as error:
        return Finding("redis", "fail", str(error), "install valkey or redis, or set redis.url")
    version = next((word for word in said.split() if word.startswith("v=")), "v=?").removeprefix("v=")
    return ok("redis", f"{program} {version}, to be started for this project alone")


def _other_redis(url: str) -> Finding:
    from urllib.parse import urlsplit

    shown, parts = mask_url(url), urlsplit(url)
    if "sentinel" in parts.scheme:
        return ok("redis", f"{shown} (Sentinel: not asked)")
    try:
        if parts.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(ASK_S)
                sock.connect(parts.path)
        else:
            socket.create_connection((parts.hostname or "localhost", parts.port or 6379), ASK_S).close()
    except (OSError, ValueError) as error:
        return Finding("redis", "fail", f"{shown}: {error}", "start it, or remove redis.url to have one started")
    return ok("redis", f"{shown} listens")


def _recorded(state: Path) -> set[int]:
    """Who of this project runs: its own ports are no trouble."""
    record = read_supervisor_record(state)
    if record is None:
        return set()
    pid = record.pid
    alive = processes.start_time(pid) == record.start_time and processes.boot_id() == record.boot_id
    return {pid, *processes.descendants([pid])} if alive else set()


class _Ours(Struct, frozen=True):
    """Who of this project holds ports: its processes and containers' (pids), and ports that only an engine can name."""

    pids: set[int] = set()
    published: set[int] = set()
    """Held by the engine for a container of ours that runs."""
    reached: set[int] = set()
    """Of other containers that run: ours, where `/proc` does not let us see whose."""

    def has(self, port: int, owner: tuple[int, str] | None) -> bool:
        return port in self.published or (owner[0] in self.pids if owner else port in self.reached)


def _ours(manifest: Manifest, state: Path) -> _Ours:
    pids = _recorded(state)
    boxes = [
        one
        for one in (_instances(manifest.path) if pids else ())
        if one.pid and one.service in manifest.services and manifest.services[one.service].runtime == "container"
    ]
    roots = [one.pid for one in boxes]
    ports: dict[bool, set[int]] = {True: set(), False: set()}
    for one in boxes:
        port = one.address.rpartition(":")[2]
        if port.isdecimal():
            ports[bool(manifest.services[one.service].container_port)].add(int(port))
    return _Ours({*pids, *roots, *processes.descendants(roots)}, ports[True], ports[False])


def _instances(path: Path) -> tuple[InstanceView, ...]:
    """The project's, as its supervisor tells them; none where it does not answer."""
    try:
        with ControlClient(find_supervisor(path), timeout=ASK_S) as client:
            return client.status().instances
    except MinikubeError:
        return ()


def _ports(manifest: Manifest, ours: _Ours) -> Iterator[Finding]:
    listeners: list[tuple[str, HostPort, bool]] = [
        ("registry.listen", manifest.registry.listen, manifest.registry.chosen),
        ("control.listen", manifest.control.listen, manifest.control.chosen),
    ]
    for spec in manifest.services.values():
        if spec.port and not spec.auto_port and not spec.has_own_address:
            listeners.append((f"services.{spec.name}.port", HostPort(spec.host, spec.port), True))
    for key, where, chosen in listeners:
        if not where.port:
            yield ok("port", f"{key}: any free one")
        elif is_free(where.host, where.port):
            yield ok("port", f"{key}: {where} is free")
        else:
            owner = port_owner(where.port)
            if ours.has(where.port, owner):
                yield ok("port", f"{key}: {where} is this project's")
                continue
            who = f"{where} is taken by pid {owner[0]} ({owner[1]})" if owner else f"{where} is not to be had"
            free = "a free one will be used" if not chosen else f"stop it, or set {key}"
            yield Finding("port", "fail" if chosen else "warn", f"{key}: {who}", free)


def _state(state: Path) -> Finding:
    if not state.exists():
        can = os.access(state.parent, os.W_OK)
        found = f"{state} does not exist yet"
        return ok("state", found) if can else Finding("state", "fail", found, f"make {state.parent} writable")
    if not os.access(state, os.W_OK):
        return Finding("state", "fail", f"{state} is not writable", f"chown -R {os.geteuid()} {state}")
    if (state / SUPERVISOR_FILE).exists() and not _recorded(state):
        return Finding("state", "warn", f"{state}: its supervisor was killed", "the next `minikube up` puts that right")
    if not _recorded(state) and (left := orphans.find_orphans(state)):
        pids = ", ".join(map(str, left[:5]))
        return Finding("state", "warn", f"{state}: processes are left of it (pid {pids})", "`minikube up` ends them")
    return ok("state", f"{state}: {'its supervisor runs' if _recorded(state) else 'nothing runs'}")


def _space(state: Path) -> Finding:
    there = state if state.exists() else state.parent
    free = shutil.disk_usage(there).free
    found = f"{free // 2**20} MB free for logs and data in {there}"
    return ok("disk", found) if free >= LEAST_SPACE_B else Finding("disk", "warn", found, "make room")


def _groups(manifest: Manifest | None) -> Finding:
    limits = {limit for spec in manifest.services.values() for limit in spec.limits} if manifest else set()
    wanted = sorted(limits & set(cgroup.CONTROLLERS))
    unified, _ = cgroup.find_hierarchies()
    if unified is not None and os.access(unified, os.W_OK) and _can_kill(unified):
        return ok("cgroup", f"{unified}: every instance gets a group of its own")
    advice = "trees are ended by a walk through /proc; as root, or under `systemd-run --user --scope -p Delegate=yes`, in groups"
    if wanted:
        advice = f"limits {', '.join(wanted)} may not be enforced: start as root, or with `systemd-run --user --scope`"
    return Finding("cgroup", "warn", "no control group of v2 that we may divide", advice)


def _can_kill(unified: Path) -> bool:
    """`cgroup.kill` is in every group but the root."""
    version = tuple(int(part) for part in platform.release().split(".")[:2] if part.isdigit())
    return (unified / "cgroup.kill").exists() or version >= (5, 14)


def _engine(manifest: Manifest | None, state: Path) -> Finding:
    needed = [spec.name for spec in manifest.services.values() if spec.runtime == "container"] if manifest else []
    wanted = manifest.containers.engine if manifest else ""
    try:
        engine = find_engine(wanted, state, os.environ.get("PATH"))
        asked = [engine.program, "version", "--format", "{{.Server.Version}}"]
        said = subprocess.run(asked, capture_output=True, text=True, timeout=ASK_S)
        if not said.returncode and said.stdout.strip():
            return ok("containers", f"{engine.program} {said.stdout.strip()}")
        found = f"{engine.program} is there, but its engine does not answer"
        advice = f"start {engine.kind}" if is_unreachable(said.stderr) else said.stderr.strip().partition("\n")[0]
    except (MinikubeError, OSError, subprocess.TimeoutExpired) as error:
        found, _, advice = str(error).partition(" — ")
    if not needed:
        return ok("containers", f"{found}; no service needs one")
    return Finding("containers", "fail", f"{found}, for {', '.join(needed)}", advice or "start it")


def _files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{soft} open files, up to {hard if hard != resource.RLIM_INFINITY else 'any number'}"
    if hard != resource.RLIM_INFINITY and hard < LEAST_FILES:
        return Finding("files", "warn", found, f"raise it for many services: ulimit -Hn {LEAST_FILES}")
    return ok("files", found)


def _watches(manifest: Manifest | None) -> Finding:
    try:
        count = int(Path("/proc/sys/fs/inotify/max_user_watches").read_text())
    except (OSError, ValueError):
        return Finding(
            "watch", "warn", "inotify is not there", "WATCHFILES_FORCE_POLLING=1 makes `watch` look by itself"
        )
    found = f"{count} directories may be watched"
    if count < LEAST_WATCHES and manifest and any(spec.watch for spec in manifest.services.values()):
        return Finding("watch", "warn", found, f"sysctl fs.inotify.max_user_watches={LEAST_WATCHES * 8}")
    return ok("watch", found)


def _terminal() -> Finding:
    if not sys.stdout.isatty():
        return ok("terminal", "none: log lines instead of the dashboard")
    size, term = shutil.get_terminal_size(), os.environ.get("TERM", "")
    found = f"{term or 'no TERM'}, {size.columns}x{size.lines}, {sys.stdout.encoding}"
    checks: list[tuple[Callable[[], bool], str]] = [
        (lambda: term in ("", "dumb"), "set TERM, such as xterm-256color, or use `up --plain`"),
        (lambda: (sys.stdout.encoding or "").lower().replace("-", "") != "utf8", "set LANG to a UTF-8 locale"),
        (lambda: size.columns < 80 or size.lines < 24, "the dashboard wants 80x24"),
    ]
    advice = next((advice for is_bad, advice in checks if is_bad()), "")
    return Finding("terminal", "warn", found, advice) if advice else ok("terminal", found)
