"""The checks of `minikube doctor`: one finding for each requirement of `minikube up` on this machine.

Each check takes a few seconds at most and changes nothing. Every finding that is not `ok` says what to do.
"""

import os
import platform
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct

from minikube.doctor.finding import Finding, ok
from minikube.doctor.running import QUESTION_TIMEOUT_S, check_external_redis, check_supervisor, read_snapshot
from minikube.engine.command import Engine, client_environment, find_engine, is_unreachable
from minikube.engine.networks import IN_REACH, OUT_OF_REACH, is_on_this_machine
from minikube.errors import ManifestError, MinikubeError
from minikube.linux import cgroup, processes
from minikube.linux.commands import run_command
from minikube.linux.inotify import Inotify, describe_start_error, instance_limit, watch_limit
from minikube.linux.ports import find_obstacle, port_owner
from minikube.manifest import HostPort, Manifest
from minikube.manifest.load import read_manifest
from minikube.manifest.spec import Protocol
from minikube.model import InstanceView, Snapshot
from minikube.project import orphans
from minikube.project.instance_ports import listeners
from minikube.project.machine_check import find_missing
from minikube.project.run_lookup import find_run
from minikube.project_dir import REDIS_DATA_DIR, SUPERVISOR_FILE, ManifestFiles, project_dir
from minikube.supervisor.backing.redis_program import find_redis, read_writer

REDIS_ADVICE = "install valkey or redis, or set redis.url"
MIN_FILES = 4_096
MIN_WATCHES = 8_192
MIN_SPACE_BYTES = 200 * 1024 * 1024
MIN_PYTHON = (3, 11)


def run_checks(files: ManifestFiles) -> Iterator[Finding]:
    """Run all checks and yield their findings. The manifest in `files` may be missing or invalid."""
    manifest: Manifest | None = None
    path = files.first
    yield _python()
    try:
        manifest, reading = read_manifest(files)
        count = len(manifest.services)
        yield ok("manifest", f"{files}: good, {count} service{'' if count == 1 else 's'}")
        for missing in find_missing(reading, manifest.services.values()):
            yield Finding("manifest", "warn", str(missing), "make it, or correct the key")
    except ManifestError as error:
        count = len(str(error).splitlines())
        yield Finding(
            "manifest",
            "fail",
            str(error).splitlines()[0],
            f"{count} problem{'' if count == 1 else 's'}: minikube validate",
        )
    directory = project_dir(path)
    yield _redis(manifest, directory / REDIS_DATA_DIR)
    own_pids = _own_pids(directory)
    snapshot = read_snapshot(path)
    yield from check_supervisor(snapshot)
    if manifest is not None:
        instances = snapshot.instances if isinstance(snapshot, Snapshot) else ()
        yield from _ports(manifest, _port_holders(manifest, own_pids, instances))
    yield _project_dir(directory, own_pids)
    yield _space(directory)
    yield _groups(manifest)
    yield _engine(manifest, directory)
    yield _files()
    yield _watches(manifest)
    yield _terminal()


def _python() -> Finding:
    found = f"Python {platform.python_version()} on {platform.system()} {platform.release()}"
    if sys.version_info < MIN_PYTHON or not hasattr(os, "pidfd_open"):
        return Finding("python", "fail", found, "Linux and Python 3.11 or newer are needed")
    return ok("python", found)


def _redis(manifest: Manifest | None, data: Path) -> Finding:
    """Check the Redis that a project uses; the data of the embedded one are in the directory `data`."""
    if manifest is not None and manifest.redis.url:
        return check_external_redis(manifest.redis.url)
    try:
        program = find_redis(os.environ, manifest.redis.server if manifest else "", data)
    except MinikubeError as error:
        return Finding("redis", "fail", str(error), REDIS_ADVICE)
    result = run_command([program, "--version"], timeout=QUESTION_TIMEOUT_S)
    if result.status != 0:
        reason = result.error or f"`--version` ended with exit code {result.status}"
        return Finding("redis", "fail", f"{program}: {reason}", REDIS_ADVICE)
    version = next((word for word in result.stdout.split() if word.startswith("v=")), "v=?").removeprefix("v=")
    found = f"{program} {version}, for a private Redis of this project"
    writer = read_writer(data)
    if writer is not None and (writer.program != program or not writer.version.endswith(f" {version}")):
        found += f"; its data were written by {writer.version} ({writer.program})"
        if writer.program != program:
            return Finding(
                "redis", "warn", found, "where it cannot read them, install that one, or remove redis.server"
            )
    return ok("redis", found)


def _own_pids(directory: Path) -> set[int]:
    """Return the pids of the project's supervisor, its guardian and their descendants; empty if it does not run."""
    run = find_run(directory)
    return {*run.pids, *processes.descendants(run.pids)} if run is not None else set()


class _PortHolders(Struct, frozen=True):
    """The processes of the project and the ports of its containers: these ports are not conflicts."""

    pids: set[int] = set()
    """Pids of the project's processes and of the processes in its containers."""
    published: set[int] = set()
    """Ports on which the container engine listens for running containers of the project."""
    shared: set[int] = set()
    """Ports of the project's running containers on this machine's network, whose owner `/proc` may not show."""

    def have(self, port: int, owner: tuple[int, str] | None) -> bool:
        """Return whether the project itself listens on `port`.

        `owner` is the pid and name of the listening process, None if it is not known.
        """
        return port in self.published or (owner[0] in self.pids if owner else port in self.shared)


def _port_holders(manifest: Manifest, pids: set[int], instances: tuple[InstanceView, ...]) -> _PortHolders:
    """Return the holders; `pids` are those of `_own_pids`, `instances` the project's, as its supervisor reports them."""
    containers = [
        instance
        for instance in (instances if pids else ())
        if instance.pid
        and instance.service in manifest.services
        and manifest.services[instance.service].runtime == "container"
    ]
    roots = [instance.pid for instance in containers]
    ports: dict[bool, set[int]] = {True: set(), False: set()}
    for instance in containers:
        is_published = manifest.services[instance.service].is_on_project_network
        port = (instance.published or instance.address).rpartition(":")[2]
        own = {int(port)} if port.isdecimal() else set()
        ports[is_published] |= own | set(instance.ports.values())
    return _PortHolders({*pids, *roots, *processes.descendants(roots)}, ports[True], ports[False])


def _ports(manifest: Manifest, holders: _PortHolders) -> Iterator[Finding]:
    wanted: list[tuple[str, HostPort, bool, Protocol]] = [
        ("registry.listen", manifest.registry.listen, manifest.registry.chosen, "tcp"),
        ("control.listen", manifest.control.listen, manifest.control.chosen, "tcp"),
    ]
    for spec in manifest.services.values():
        for key, _, port in listeners(spec):
            if port.port:
                wanted.append((key, HostPort(spec.host, port.port), True, port.protocol))
    for key, address, is_set, protocol in wanted:
        if not address.port:
            yield ok("port", f"{key}: any free one")
            continue
        obstacle = find_obstacle(address.host, address.port, protocol=protocol)
        if obstacle is None:
            yield ok("port", f"{key}: {address} is free")
        elif obstacle.part == "host":
            yield Finding("port", "fail", f"{key}: {obstacle.text}", f"set {key.partition('.port')[0]}.host")
        elif obstacle.lacks_right:
            yield Finding("port", "warn", f"{key}: {obstacle.text}", f"set {key}{obstacle.remedy}")
        # The owner is None for another user's process, unless root asks.
        elif holders.have(address.port, port_owner(address.port, protocol)):
            yield ok("port", f"{key}: {address} is this project's")
        elif not is_set and holders.pids:
            yield ok("port", f"{key}: {address} is another program's, and this project uses a free one")
        else:
            advice = "a free one will be used" if not is_set else f"stop it, or set {key}"
            found = obstacle.text.replace(f"port {address.port}", str(address))
            yield Finding("port", "fail" if is_set else "warn", f"{key}: {found}", advice)


def _project_dir(directory: Path, own_pids: set[int]) -> Finding:
    if not os.path.exists(directory):
        is_writable = os.access(directory.parent, os.W_OK)
        found = f"{directory} does not exist yet"
        return (
            ok("state", found) if is_writable else Finding("state", "fail", found, f"make {directory.parent} writable")
        )
    if not os.access(directory, os.W_OK):
        return Finding("state", "fail", f"{directory} is not writable", f"chown -R {os.geteuid()} {directory}")
    if (directory / SUPERVISOR_FILE).exists() and not own_pids:
        return Finding(
            "state", "warn", f"{directory}: its supervisor was killed", "the next `minikube up` repairs that"
        )
    if not own_pids and (left := orphans.find_orphans(directory)):
        pids = ", ".join(map(str, left[:5]))
        return Finding(
            "state",
            "warn",
            f"{directory}: processes of an earlier run are alive (pid {pids})",
            "`minikube up` kills them",
        )
    return ok("state", f"{directory}: {'its supervisor runs' if own_pids else 'nothing runs'}")


def _space(directory: Path) -> Finding:
    existing = directory if os.path.exists(directory) else directory.parent
    try:
        free = shutil.disk_usage(existing).free
    except OSError as error:
        return Finding("disk", "fail", f"{existing}: {(error.strerror or str(error)).lower()}", "make it accessible")
    found = f"{free // 2**20} MB free for logs and data in {existing}"
    return ok("disk", found) if free >= MIN_SPACE_BYTES else Finding("disk", "warn", found, "make room")


def _groups(manifest: Manifest | None) -> Finding:
    limits = {limit for spec in manifest.services.values() for limit in spec.limits} if manifest else set()
    wanted = sorted(limits & set(cgroup.CONTROLLERS))
    unified, _ = cgroup.find_hierarchies()
    if unified is not None and os.access(unified, os.W_OK) and _has_kill(unified):
        return ok("cgroup", f"{unified}: every instance gets a group of its own")
    advice = "process trees are ended by a walk through /proc; start as root, or with `systemd-run --user --scope -p Delegate=yes`"
    if wanted:
        advice = f"limits {', '.join(wanted)} may not be enforced: start as root, or with `systemd-run --user --scope`"
    return Finding("cgroup", "warn", "no cgroup v2 group in which this user may make groups", advice)


def _has_kill(unified: Path) -> bool:
    """Return whether cgroups below the directory `unified` have the file `cgroup.kill` (Linux 5.14)."""
    # The root cgroup itself never has the file, so the kernel's version decides there.
    version = tuple(int(part) for part in platform.release().split(".")[:2] if part.isdigit())
    return (unified / "cgroup.kill").exists() or version >= (5, 14)


def _engine(manifest: Manifest | None, directory: Path) -> Finding:
    needed = [spec.name for spec in manifest.services.values() if spec.runtime == "container"] if manifest else []
    wanted = manifest.containers.engine if manifest else ""
    try:
        engine = find_engine(wanted, directory, os.environ.get("PATH"))
        command = [engine.program, "version", "--format", "{{.Server.Version}}"]
        result = run_command(command, timeout=QUESTION_TIMEOUT_S, env=client_environment(os.environ))
        if result.status == 0 and result.stdout.strip():
            found = f"{engine.program} {result.stdout.strip()}"
            if (
                manifest
                and any(manifest.services[name].is_on_project_network for name in needed)
                and not _has_networks(engine)
            ):
                return Finding("containers", "warn", f"{found} {OUT_OF_REACH}", IN_REACH)
            return ok("containers", found)
        found = f"{engine.program} is there, but its engine does not answer"
        reason = result.error or result.stderr.strip().partition("\n")[0]
        advice = f"start {engine.kind}" if is_unreachable(result.stderr) else reason
    except MinikubeError as error:
        found, _, advice = str(error).partition(" — ")
    if not needed:
        return ok("containers", f"{found}; no service needs one")
    return Finding("containers", "fail", f"{found}, for {', '.join(needed)}", advice or "start it")


def _has_networks(engine: Engine) -> bool:
    """Return whether this machine reaches the engine's networks, as far as the engine itself says so."""
    command = [engine.program, "info", "--format", "{{json .}}"]
    result = run_command(command, timeout=QUESTION_TIMEOUT_S, env=client_environment(os.environ))
    return result.status != 0 or is_on_this_machine(result.stdout)


def _files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{soft} open files, up to {hard if hard != resource.RLIM_INFINITY else 'any number'}"
    if hard != resource.RLIM_INFINITY and hard < MIN_FILES:
        return Finding("files", "warn", found, f"raise it for many services: ulimit -Hn {MIN_FILES}")
    return ok("files", found)


def _watches(manifest: Manifest | None) -> Finding:
    """Check both limits of inotify that hold for this user, and that an inotify instance can be opened now."""
    watches, instances = watch_limit(), instance_limit()
    if watches is None or instances is None:
        return ok("watch", "inotify is not available: files are looked at every second")
    found = f"{watches.value} directories may be watched, by {instances.value} programs"
    if not (manifest and any(spec.watch for spec in manifest.services.values())):
        return ok("watch", found)
    if watches.value < MIN_WATCHES:
        return Finding("watch", "warn", found, f"sysctl {watches.name}={MIN_WATCHES * 8}")
    try:
        Inotify().close()
    except OSError as error:
        return Finding("watch", "warn", found, describe_start_error(error))
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
