"""Rules between several keys of a manifest: exclusive keys, dependencies, ports, addresses beyond loopback.

Problems are recorded in the `ManifestReading`. It reads no file and opens no socket.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from minikube.addresses import WILDCARD_HOSTS
from minikube.defaults import CERT_ENV, KEY_ENV
from minikube.errors import UsageError
from minikube.manifest.diagnostics import KeyPath, ManifestReading, did_you_mean, join_words
from minikube.manifest.keys.containers import CONTAINER_KEYS
from minikube.manifest.layers.merge import RUN_KEYS
from minikube.manifest.spec import ControlSettings, HostPort, RegistrySettings, ServiceSpec
from minikube.manifest.tree.paths import append_key, join_path, split_path
from minikube.manifest.values import is_exposed, is_loopback

MAX_REPLICAS = 1_000

Services = Mapping[str, ServiceSpec]
Settings = TypeVar("Settings", RegistrySettings, ControlSettings)


def check(reading: ManifestReading, raw_services: Mapping[str, object], services: Services) -> None:
    """Check every rule about services, and record problems in `reading`.

    `services` are the valid ones. `raw_services` are all, because a reference to an invalid service is no problem itself.
    """
    for name, raw in raw_services.items():
        if isinstance(raw, dict):
            _check_runtime(reading, KeyPath(reading, "services").key(name).path, raw)
    for service in services.values():
        _check_service(reading, service)
        _check_schedule(reading, service)
        _check_dependencies(reading, service, raw_services, services)
    _check_ports_of_checks(reading, services)
    _check_instance_names(reading, services)
    for cycle in find_cycles({name: tuple(service.depends_on) for name, service in services.items()}):
        circle = " → ".join((*cycle, cycle[0]))
        path = service_path(cycle[0], "depends_on")
        at = append_key(path, cycle[1] if len(cycle) > 1 else cycle[0])
        reading.fail(path, f"expected no cycle, got {circle} — remove one of them", at=at)


def check_listeners(
    reading: ManifestReading, registry: RegistrySettings, control: ControlSettings, services: Services
) -> None:
    """Record addresses beyond loopback without a token and TLS, and ports that two listeners would use."""
    if is_exposed(registry.listen, registry.token, registry.tls):
        missing = [f"registry.{key}" for key in ("token", "tls") if not getattr(registry, key)]
        missing = [path for path in missing if not reading.failed(path)]
        if missing:
            reading.fail(
                "registry.listen",
                f"{registry.listen} is beyond loopback without {join_words(missing, 'and')}"
                ' — set registry.token and registry.tls = { cert = "…", key = "…" }, or listen on 127.0.0.1',
            )
    if not is_loopback(control.listen.host):
        reading.fail(
            "control.listen",
            f"{control.listen} is beyond loopback: the control API has no TLS, and its clients can stop and restart services"
            f" — listen on 127.0.0.1 and reach it through ssh -L {control.listen.port}:127.0.0.1:{control.listen.port}",
        )
    _check_self_registration(reading, registry, services)
    taken: list[_Listener] = []
    for listener in _listeners(registry, control, services):
        for other in taken:
            together = (
                listener.protocol == other.protocol
                and _same_host(listener.host, other.host)
                and _run_together(listener.service, other.service)
            )
            if together and listener.first <= other.last and other.first <= listener.last:
                first = max(listener.first, other.first)
                text = f'expected a port of its own or "auto", got {first}, which {other.path} has'
                reading.fail(listener.path, text)
                break
        taken.append(listener)


def free_default_ports(
    reading: ManifestReading, registry: RegistrySettings, control: ControlSettings, services: Services
) -> tuple[RegistrySettings, ControlSettings]:
    """Return both settings; a default port that the manifest gives to something else is replaced by any free one.

    A warning says so. An address that the manifest sets is never replaced.
    """
    chosen = [*_service_listeners(services)]
    for path, settings in (("registry.listen", registry), ("control.listen", control)):
        if settings.chosen:
            chosen.append(_Listener(path, settings.listen.host, settings.listen.port, settings.listen.port))
    return (
        _free_default_port(reading, "registry", registry, chosen),
        _free_default_port(reading, "control", control, chosen),
    )


def _free_default_port(
    reading: ManifestReading, key: str, settings: Settings, chosen: "Iterable[_Listener]"
) -> Settings:
    host, port = settings.listen.host, settings.listen.port
    for listener in () if settings.chosen else chosen:
        if listener.protocol == "tcp" and listener.first <= port <= listener.last and _same_host(listener.host, host):
            text = f"{listener.path} has its port {port}, so a free one is used — set {key}.listen to choose one"
            reading.warn(f"{key}.listen", text)
            return replace(settings, listen=HostPort(host, 0))
    return settings


def _check_self_registration(reading: ManifestReading, registry: RegistrySettings, services: Services) -> None:
    """Warn about containers that cannot register themselves: the registry asks for a client certificate, or has one for another
    address than that at which containers of the project's network reach it.
    """
    is_relayed = registry.tls is not None and is_loopback(registry.listen.host) and not registry.advertise
    for service in services.values():
        if is_relayed and service.is_on_project_network and service.register == "self":
            reading.warn(
                f"services.{service.name}.register",
                "a container reaches the registry at the gateway of the project's network, which the certificate in"
                ' registry.tls hardly names — set network = "host", or register = "supervisor"',
            )
        own = service.env.keys() | service.file_env.keys()
        asks = registry.tls is not None and registry.tls.ca is not None
        if asks and service.runtime == "container" and service.register == "self" and not own >= {CERT_ENV, KEY_ENV}:
            reading.warn(
                service_path(service.name, "register"),
                "the registry wants a certificate of its clients (registry.tls.ca), and a container is not given our key"
                f' — mount one and set env.{CERT_ENV} and env.{KEY_ENV}, or set register = "supervisor"',
            )


def find_cycles(edges: Mapping[str, tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return one cycle for each group of names that depend on each other. `edges` maps each name to its dependencies."""
    cycles: list[tuple[str, ...]] = []
    done: set[str] = set()
    for start in edges:
        path: list[str] = []
        walks: list[Iterator[str]] = [iter((start,))]
        while walks:
            following = next(walks[-1], None)
            if following is None:
                walks.pop()
                if path:
                    done.add(path.pop())
            elif following in path:
                cycle = path[path.index(following) :]
                if not any(set(cycle) & set(known) for known in cycles):
                    cycles.append(tuple(cycle))
            elif following in edges and following not in done:
                path.append(following)
                walks.append(iter(edges[following]))
    return cycles


def _check_runtime(reading: ManifestReading, path: str, raw: Mapping[str, object]) -> None:
    made = [key for key in ("image", "build") if key in raw]
    commands = [key for key in ("command", "shell") if key in raw]
    if not commands and not made:
        if reading.failed(f"{path}.extends"):
            return  # the command was to be that of the extended service
        if any(reading.failed(f"{path}.{key}") and did_you_mean(key, RUN_KEYS) for key in raw):
            return  # a mistyped key: reported already
        text = "expected command or shell (a process) or image/build (a container), got none of them"
        reading.fail(path, text + _describe_lone_override(reading, path))
    elif len(commands) == 2:
        reading.fail(path, "expected either command or shell, got both")
    if "shell" in raw and raw.get("entrypoint"):
        reading.fail(f"{path}.entrypoint", "expected no entrypoint beside shell, whose lines `/bin/sh -ec` runs")
    if "shell" in raw and raw.get("args"):
        reading.fail(f"{path}.args", "expected no args beside shell — write them into its lines")
    for key in () if made else CONTAINER_KEYS:
        if key in raw:
            hint = " (did you mean command?)" if key == "entrypoint" else ""
            reading.fail(f"{path}.{key}", f"expected image or build beside it, a process has no such thing{hint}")


def service_path(name: str, *keys: str) -> str:
    """Return the path of a service, or of one of its keys."""
    return join_path(("services", name, *keys))


def _describe_lone_override(reading: ManifestReading, path: str) -> str:
    """Return a text for a service that a later file has and no earlier one; empty for others."""
    service = reading.tree.find(split_path(path))[0]
    if not service.source.index:
        return ""
    services = reading.tree.child("services")
    earlier = (
        [name for name, node in services.value.items() if node.source.index < service.source.index] if services else []
    )
    return f": no file before this one has the service {service.name}{did_you_mean(str(service.name), earlier)}"


def _check_container(reading: ManifestReading, path: str, service: ServiceSpec) -> None:
    if not service.image and not service.build and not reading.failed(path):
        reading.fail(f"{path}.runtime", 'expected image or build for runtime = "container"')
    if service.workdir and not service.workdir.startswith("/"):
        reading.fail(f"{path}.cwd", f'expected an absolute path inside the container, got "{service.workdir}"')
    if service.container_port and service.network == "host":
        reading.fail(
            f"{path}.container_port",
            'expected no container_port with network = "host", where the program is reached without it'
            " — set port to what it listens on",
        )
    if service.container_port and not (service.port or service.auto_port or reading.failed(f"{path}.port")):
        reading.fail(f"{path}.container_port", f'expected {path}.port to be set (or "auto"), where others reach it')


def _check_service(reading: ManifestReading, service: ServiceSpec) -> None:
    path = service_path(service.name)
    health = service.health
    if service.runtime == "container":
        _check_container(reading, path, service)
    elif not service.argv and not reading.failed(path):
        reading.fail(f"{path}.runtime", 'expected command or shell for runtime = "process"')
    if service.port and service.replicas > 1:
        reading.fail(
            f"{path}.port",
            f'expected "auto" or a range with replicas = {service.replicas}, got {service.port},'
            " on which only one replica can listen",
        )
    first, last = service.port_range
    if first and service.replicas > last - first + 1:
        reading.fail(
            f"{path}.port",
            f"expected a port for each of {service.replicas} replicas, got {first}-{last}, which are {last - first + 1}",
        )
    _check_named_ports(reading, path, service)
    if health and health.restart_after and service.restart.policy == "never":
        reading.warn(f"{path}.health.restart_after", 'it ends the instance, and restart = "never" leaves it at that')


def _check_ports_of_checks(reading: ManifestReading, services: Services) -> None:
    """Record each check that needs the port of a service that has none: once for all services that inherit it."""
    lacking: dict[tuple[int, int], list[ServiceSpec]] = {}
    for service in services.values():
        health, path = service.health, service_path(service.name)
        has_port = service.port or service.auto_port or reading.failed(f"{path}.port")
        if health and not has_port and (health.kind == "tcp" or health.http.startswith("/")):
            lacking.setdefault(reading.find_place(f"{path}.health"), []).append(service)
    for found in lacking.values():
        ports = join_words([f"services.{service.name}.port" for service in found], "and")
        kind = found[0].health.kind if found[0].health else ""
        text = f'expected {ports} to be set (or "auto") for a check by {kind}'
        for service in found:  # the first of them records it, the others are marked
            reading.fail_value(service_path(service.name, "health"), text, is_key=False)


def _check_named_ports(reading: ManifestReading, path: str, service: ServiceSpec) -> None:
    for name, port in service.ports.items():
        if port.container_port and service.runtime == "process" and not reading.failed(path):
            reading.fail(
                f"{path}.ports.{name}.container_port", "expected image or build, a process listens on the port"
            )
        if port.container_port and service.network == "host":
            reading.fail(f"{path}.ports.{name}.container_port", 'expected none with network = "host"')
        first, last = port.bounds
        if first and service.replicas > last - first + 1:
            reading.fail(
                f"{path}.ports.{name}",
                f'expected "auto" or a range of at least {service.replicas} ports, one for each replica,'
                f" got {first if first == last else f'{first}-{last}'}",
            )


def _check_schedule(reading: ManifestReading, service: ServiceSpec) -> None:
    path = service_path(service.name)
    if service.schedule and service.restart.policy == "always":
        reading.fail(
            f"{path}.restart",
            'expected "never" or "on-failure" with a schedule, which decides when it runs, got "always"',
        )
    if service.schedule and service.watch:
        reading.fail(f"{path}.watch", "expected either watch or schedule, got both")


def _check_dependencies(
    reading: ManifestReading, service: ServiceSpec, names: Mapping[str, object], services: Services
) -> None:
    for needed, condition in service.depends_on.items():
        path = service_path(service.name, "depends_on", needed)
        if needed in reading.bases:
            reading.fail(
                path,
                "expected a service of this manifest, got one that is only extended"
                f" — give {needed} a command, or depend on a service that extends it",
            )
            continue
        if needed not in names:
            reading.fail(
                path,
                f"expected a service of this manifest{did_you_mean(needed, names)}"
                f" — add [services.{needed}] or remove the dependency",
            )
            continue
        other = services.get(needed)
        if other is None:
            continue
        if other.schedule and condition not in ("completed", "exited"):
            reading.fail(
                path,
                f'expected the condition "completed", {needed} runs on a schedule: its first good run is waited for',
            )
        elif condition == "healthy" and not _can_be_healthy(reading, other):
            reading.fail(path, f'expected services.{needed}.health to be set, or the condition "started"')
        if condition in ("completed", "exited") and other.restart.policy == "always" and needed != service.name:
            reading.warn(path, f'{needed} is restarted whenever it ends — set services.{needed}.restart = "on-failure"')


def _can_be_healthy(reading: ManifestReading, service: ServiceSpec) -> bool:
    """Return whether the service can become healthy: it has a check, registers itself, or is registered with its port."""
    if service.health or service.register == "self" or reading.failed(service_path(service.name)):
        return True
    return service.register == "supervisor" and bool(service.port or service.auto_port)


def _check_instance_names(reading: ManifestReading, services: Services) -> None:
    for service in services.values():
        for number in range(1, service.replicas + 1 if service.replicas > 1 else 1):
            if (taken := f"{service.name}-{number}") in services:
                reading.fail(
                    service_path(taken), f"expected another name, replica {number} of {service.name} is called {taken}"
                )


def check_replicas(spec: ServiceSpec, replicas: int, names: Container[str]) -> None:
    """Raise `UsageError` if the service cannot have `replicas` replicas. `names` are the manifest's services."""
    key = f"services.{spec.name}.port"
    if not 0 <= replicas <= MAX_REPLICAS:
        raise UsageError(f"replicas: expected 0 to {MAX_REPLICAS}, got {replicas}")
    if replicas > 1 and spec.port and not spec.auto_port:
        first, last = spec.port, spec.port + 9
        raise UsageError(
            f'{spec.name}: all replicas would listen on port {spec.port} — set {key} = "{first}-{last}" or "auto"'
        )
    first, last = spec.port_range
    if first and replicas > last - first + 1:
        raise UsageError(f"{spec.name}: {replicas} replicas, but only {last - first + 1} ports — widen {key}")
    for name, port in spec.ports.items():
        first, last = port.bounds
        if first and replicas > last - first + 1:
            key = f"services.{spec.name}.ports.{name}"
            raise UsageError(
                f'{spec.name}: {replicas} replicas, but only {last - first + 1} ports — set {key} = "auto"'
            )
    taken = [name for index in range(1, replicas + 1) if (name := f"{spec.name}-{index}") in names]
    if taken and replicas > 1:
        raise UsageError(f"{spec.name}: a replica would be called {taken[0]}, as another service is — rename that")


class _Listener(Struct, frozen=True):
    """An address to listen on in the manifest: its key path, its host, and its first and last port."""

    path: str
    host: str
    first: int
    last: int
    service: ServiceSpec | None = None
    protocol: str = "tcp"


def _listeners(registry: RegistrySettings, control: ControlSettings, services: Services) -> Iterator[_Listener]:
    for path, listen in (("registry.listen", registry.listen), ("control.listen", control.listen)):
        if listen.port:
            yield _Listener(path, listen.host, listen.port, listen.port)
    yield from _service_listeners(services)


def _service_listeners(services: Services) -> Iterator[_Listener]:
    for service in services.values():
        first, last = (service.port, service.port) if service.port else service.port_range
        if first:
            yield _Listener(service_path(service.name, "port"), service.host, first, last, service)
        for name, port in service.ports.items():
            first, last = port.bounds
            if first:
                path = service_path(service.name, "ports", name)
                yield _Listener(path, service.host, first, last, service, port.protocol)


def _same_host(first: str, second: str) -> bool:
    """Return whether two listeners on these hosts cannot use the same port."""
    return first == second or first in WILDCARD_HOSTS or second in WILDCARD_HOSTS or (first, second) in _LOOPBACK_PAIRS


_LOOPBACK_PAIRS = (("127.0.0.1", "localhost"), ("localhost", "127.0.0.1"), ("::1", "localhost"), ("localhost", "::1"))


def _run_together(first: ServiceSpec | None, second: ServiceSpec | None) -> bool:
    """Return whether two listeners can run at the same time; None is the registry or the control API.

    Services without a common profile may be alternatives.
    """
    if first is None or second is None or not first.profiles or not second.profiles:
        return True
    return bool(set(first.profiles) & set(second.profiles))
