"""A manifest as workloads in containers: what the exports for Compose and for Kubernetes have in common.

In an export each service is a container with an address of its own: it listens on all addresses, and finds
the registry and Redis by name. A registry that listens beyond loopback requires a token and TLS, so exports contain both.
"""

import re
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Literal

from msgspec import Struct, field

from minikube.defaults import REDIS_ENV
from minikube.engine.arguments import CONTAINER_PYTHON
from minikube.errors import UsageError
from minikube.manifest import Manifest, ServiceSpec, fill_instance_variables, is_loopback
from minikube.project.instance_ports import InstancePorts, has_ports
from minikube.redis_url import parse_redis_url
from minikube.text import looks_secret, mask_url

REDIS_PORT = 6379
REGISTRY_PORT = 5555
AUTO_PORT = 8080
"""The port of a service with `port = "auto"`: in its own container every port is free."""

REDIS_IMAGE = "redis:7"
REGISTRY_IMAGE = "minikube"

INSTANCE_ID_MARKER = "\0id\0"
"""Takes the place of `${INSTANCE_ID}` in expanded strings. The id is not known before an instance runs, so each export
replaces the marker by what its tool offers."""

Kind = Literal["service", "task", "schedule"]
"""A `service` runs until it is stopped, a `task` runs once, `schedule` runs at the times of its schedule."""


class Note(Struct, frozen=True):
    """A note for the user: a part of the manifest that the export loses or changes, and the remedy."""

    key: str
    """The manifest's key, such as `services.x.umask`."""
    text: str

    def __str__(self) -> str:
        return f"{self.key}: {self.text}"


class ExportOptions(Struct, frozen=True):
    """The options of an export."""

    images: Mapping[str, str] = field(default_factory=dict)
    """Image references by service; also for `redis` and `registry`."""
    profiles: frozenset[str] = frozenset()
    """Kubernetes: services in these profiles are included."""
    with_secrets: bool = False
    """Whether the values of secrets are written instead of placeholders."""
    output_dir: Path | None = None
    """The directory that the files will be in; paths inside the project are written relative to it."""


class Workload(Struct, frozen=True):
    """One service of the manifest as a container, with expanded command and environment."""

    spec: ServiceSpec
    kind: Kind
    image: str
    entrypoint: tuple[str, ...] | None
    """What replaces the image's ENTRYPOINT; empty: none at all; None: nothing does."""
    command: tuple[str, ...]
    """What replaces the image's CMD; empty: nothing does."""
    ports: InstancePorts
    """The ports it listens on."""
    env: dict[str, str]
    """Variables from the manifest that are not secret."""
    secrets: dict[str, str]
    """Variables with names or values that look secret, and all variables from `env_file`."""

    @property
    def port(self) -> int:
        """The port of the key `port`; 0: none."""
        return self.ports.main


class ExportPlan(Struct, frozen=True):
    """The input of both exports: all workloads, the registry, Redis, secrets and the notes so far."""

    manifest: Manifest
    options: ExportOptions
    redis: str
    """The name of the Redis that is part of the export; empty: `redis.url` names another one."""
    redis_url: str
    registry: str
    redis_image: str
    registry_image: str
    workloads: dict[str, Workload]
    """By the name of the service."""
    notes: list[Note]
    """The notes for the user so far; each export adds its own."""

    @property
    def registry_address(self) -> str:
        """The registry's `host:port`, as the exported services connect to it."""
        return f"{self.registry}:{REGISTRY_PORT}"

    def add_note(self, key: str, text: str) -> None:
        """Add a note about a key of the manifest."""
        self.notes.append(Note(key, text))

    @property
    def redis_url_is_secret(self) -> bool:
        """Whether the URL of Redis contains a password."""
        return mask_url(self.redis_url) != self.redis_url


def plan_export(manifest: Manifest, options: ExportOptions) -> ExportPlan:
    """Return the plan of an export. Raise `UsageError` when `options.images` names a service that does not exist."""
    notes: list[Note] = []
    redis, registry = (_unused_name(name, manifest) for name in ("redis", "registry"))
    for name in options.images:
        if name not in manifest.services and name not in (redis, registry):
            raise UsageError(
                f"--image: no service {name} — there are {', '.join([*manifest.services, redis, registry])}"
            )
    url = _external_redis_url(manifest, notes)
    plan = ExportPlan(
        manifest,
        options,
        redis="" if url else redis,
        redis_url=url or f"redis://{redis}:{REDIS_PORT}/0",
        registry=registry,
        redis_image=options.images.get(redis, REDIS_IMAGE),
        registry_image=options.images.get(registry, REGISTRY_IMAGE),
        workloads={},
        notes=notes,
    )
    if registry not in options.images:
        notes.append(
            Note(
                "registry",
                f"its image is {REGISTRY_IMAGE}, a target of this project's Dockerfile — or --image {registry}=REF",
            )
        )
    for name, spec in manifest.services.items():
        plan.workloads[name] = _workload(plan, spec)
    return plan


def _unused_name(name: str, manifest: Manifest) -> str:
    """Return a name for Redis or the registry that no service has."""
    return f"minikube-{name}" if name in manifest.services else name


def _external_redis_url(manifest: Manifest, notes: list[Note]) -> str:
    """Return `redis.url` if other machines can reach it, else "": the export then includes a Redis server."""
    url = manifest.redis.url
    if not url:
        return ""
    if all(is_loopback(host) for host, _ in parse_redis_url(url).hosts):  # none: a socket
        notes.append(
            Note(
                "redis.url",
                "names a Redis on this machine — the export has a Redis of its own instead, which is empty at first",
            )
        )
        return ""
    return url


def _workload(plan: ExportPlan, spec: ServiceSpec) -> Workload:
    """Return a service as a workload, with its command and environment expanded for a container."""
    ports = _listening_ports(spec)
    variables = {
        "HOST": "0.0.0.0",
        "PORT": "",
        **ports.variables,
        "SERVICE_NAME": spec.name,
        "INSTANCE_ID": INSTANCE_ID_MARKER,
        **_shared_variables(plan),
    }
    env = {name: fill_instance_variables(value, variables) for name, value in spec.env.items()}
    secrets = {name: value for name, value in env.items() if looks_secret(name) or mask_url(value) != value} | {
        name: value for name, value in spec.file_env.items() if name not in env
    }
    entrypoint, command = spec.container_command
    workload = Workload(
        spec,
        kind=_kind(plan.manifest, spec),
        image=_image(plan, spec),
        entrypoint=None if entrypoint is None else _expand_words(entrypoint, variables),
        command=_expand_words(command, variables),
        ports=ports,
        env={name: value for name, value in env.items() if name not in secrets},
        secrets=secrets,
    )
    _note_unsupported(plan, workload)
    return workload


def _listening_ports(spec: ServiceSpec) -> InstancePorts:
    """Return the ports on which a container of the service listens: a free one is chosen here, once for all replicas."""
    main = spec.container_port or spec.port or (AUTO_PORT if spec.auto_port else 0)
    found = {name: port.container_port or port.port for name, port in spec.ports.items()}
    free = (number for number in count(AUTO_PORT) if number not in {main, *found.values()})
    return InstancePorts(main, {name: number or next(free) for name, number in found.items()})


def _expand_words(words: tuple[str, ...], variables: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(fill_instance_variables(word, variables) for word in words)


def group_labels(spec: ServiceSpec, prefix: str) -> dict[str, str]:
    """Return labels by which the tool selects the services of a group."""
    return {f"{prefix}{group}": "true" for group in spec.groups}


def expand(workload: Workload, text: str, plan: ExportPlan) -> str:
    """Return a string of the service's configuration, such as a check's URL, with its variables expanded."""
    # A check or a stop command runs inside the container: it reaches the service on loopback.
    variables = {
        "HOST": "127.0.0.1",
        "PORT": "0",
        **workload.ports.variables,
        "SERVICE_NAME": workload.spec.name,
        "INSTANCE_ID": INSTANCE_ID_MARKER,
    }
    return fill_instance_variables(text, variables | _shared_variables(plan))


def _shared_variables(plan: ExportPlan) -> dict[str, str]:
    """Return the variables that all exported services have in common, for their strings."""
    return {
        "MINIKUBE_REGISTRY": plan.registry_address,
        "REDIS_URL": plan.redis_url,
        REDIS_ENV: plan.redis_url,
        "MINIKUBE_PYTHON": CONTAINER_PYTHON,
        "REPLICA": "1",
    }


def _kind(manifest: Manifest, spec: ServiceSpec) -> Kind:
    """Return the kind of a service's workload: `schedule` if it has a schedule.

    It is a `task` if other services wait for its end, or if it is not always restarted and has neither a port nor a check.
    Else it is a `service`.
    """
    if spec.schedule:
        return "schedule"
    awaited = any(other.depends_on.get(spec.name) in ("completed", "exited") for other in manifest.services.values())
    serves = has_ports(spec) or spec.health is not None
    return "task" if awaited or (spec.restart.policy != "always" and not serves) else "service"


def _image(plan: ExportPlan, spec: ServiceSpec) -> str:
    """Return the image of a service: from the options, from the manifest, or else the service's name."""
    if image := plan.options.images.get(spec.name) or spec.image:
        return image
    if not spec.build:
        plan.add_note(
            f"services.{spec.name}.command",
            f"needs an image that contains the program — name it: --image {spec.name}=REF (now {spec.name})",
        )
    return spec.name


def _note_unsupported(plan: ExportPlan, workload: Workload) -> None:
    """Add notes for keys that neither Compose nor Kubernetes has."""
    spec = workload.spec
    key = f"services.{spec.name}"
    if spec.register == "supervisor" and workload.port:
        address = f"{spec.name}:{workload.port}"
        plan.add_note(
            f"{key}.register",
            f"the supervisor registers the service; after the export nothing does — use {address}, or let it register itself",
        )
    if spec.runtime == "process" and spec.cwd != plan.manifest.directory:
        plan.add_note(f"{key}.cwd", "is a directory of this machine — the image's WORKDIR is used instead")
    if spec.replicas > 1 and any("${REPLICA" in text for text in (*spec.argv, *spec.env.values())):
        plan.add_note(key, "uses ${REPLICA}, which neither tool has — it is 1 for each replica there")
    if spec.engine_args:
        plan.add_note(
            f"{key}.engine_args", "are words of an engine's command — set what they mean in the exported file"
        )
    if spec.umask >= 0:
        plan.add_note(f"{key}.umask", "has no counterpart — set it in the image's command")
    if spec.health and spec.health.kind == "log":
        plan.add_note(f"{key}.health.log", "neither tool reads the output — use health.http, tcp or command")


def uses_instance_id(workload: Workload) -> bool:
    """Return whether the command or a variable contains `${INSTANCE_ID}`."""
    return any(
        INSTANCE_ID_MARKER in text
        for text in (
            *(workload.entrypoint or ()),
            *workload.command,
            *workload.env.values(),
            *workload.secrets.values(),
        )
    )


def variable_name(*words: str) -> str:
    """Join words to the name of an environment variable: `product` and `API_KEY` become `PRODUCT_API_KEY`."""
    return re.sub(r"[^A-Z0-9]+", "_", "_".join(words).upper())
