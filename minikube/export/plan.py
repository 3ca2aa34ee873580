"""What a manifest becomes elsewhere, whatever the tool (floor 2, pure).

There each service is a container with an address of its own: it listens on all addresses, at one port, and finds the
registry and Redis by name. A registry beyond loopback wants a token and TLS (docs/security.md), so both are part of it.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct, field

from minikube.errors import UsageError
from minikube.manifest import Manifest, ServiceSpec, fill_instance_variables, is_loopback
from minikube.text import looks_secret, mask_url

REDIS_PORT = 6379
REGISTRY_PORT = 5555
AUTO_PORT = 8080
"""Where `port = "auto"` listens in a container, which has all ports to itself."""

REDIS_IMAGE = "redis:7"
REGISTRY_IMAGE = "minikube"

OWN_ID = "\0id\0"
"""Stands for the instance's id in filled strings: only the tool knows it, or nobody."""

Kind = Literal["service", "task", "schedule"]


class Note(Struct, frozen=True):
    """What is not carried over, or not as it was: the key, and what to do."""

    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


class Choices(Struct, frozen=True):
    """What the caller decides. `images`: by service, or `redis` and `registry`. `beside`: where the file will stand."""

    images: Mapping[str, str] = field(default_factory=dict)
    profiles: frozenset[str] = frozenset()
    with_secrets: bool = False
    beside: Path | None = None


class Workload(Struct, frozen=True):
    """One service."""

    spec: ServiceSpec
    kind: Kind
    image: str
    command: tuple[str, ...]
    port: int
    """0: it listens nowhere."""
    env: dict[str, str]
    """What the manifest says and may be read by anybody."""
    secrets: dict[str, str]


class ExportPlan(Struct, frozen=True):
    """The whole project."""

    manifest: Manifest
    choices: Choices
    redis: str
    """The name of its own Redis; empty: an outer one is used."""
    redis_url: str
    registry: str
    redis_image: str
    registry_image: str
    workloads: dict[str, Workload]
    notes: list[Note]

    @property
    def registry_address(self) -> str:
        return f"{self.registry}:{REGISTRY_PORT}"

    @property
    def redis_url_is_secret(self) -> bool:
        return mask_url(self.redis_url) != self.redis_url


def make_plan(manifest: Manifest, choices: Choices) -> ExportPlan:
    """Raises `UsageError` for an image of a service that is not there."""
    notes: list[Note] = []
    redis, registry = (_free_name(name, manifest) for name in ("redis", "registry"))
    for name in choices.images:
        if name not in manifest.services and name not in (redis, registry):
            raise UsageError(
                f"--image: no service {name} — there are {', '.join([*manifest.services, redis, registry])}"
            )
    url = _outer_redis(manifest, notes)
    plan = ExportPlan(
        manifest,
        choices,
        redis="" if url else redis,
        redis_url=url or f"redis://{redis}:{REDIS_PORT}/0",
        registry=registry,
        redis_image=choices.images.get(redis, REDIS_IMAGE),
        registry_image=choices.images.get(registry, REGISTRY_IMAGE),
        workloads={},
        notes=notes,
    )
    if registry not in choices.images:
        notes.append(
            Note(
                "registry",
                f"its image is {REGISTRY_IMAGE}, a target of this project's Dockerfile — or --image {registry}=REF",
            )
        )
    for name, spec in manifest.services.items():
        plan.workloads[name] = _workload(plan, spec)
    return plan


def _free_name(name: str, manifest: Manifest) -> str:
    return f"minikube-{name}" if name in manifest.services else name


def _outer_redis(manifest: Manifest, notes: list[Note]) -> str:
    """`redis.url`, where others can reach it; empty: a Redis of the export's own."""
    url = manifest.redis.url
    if not url:
        return ""
    host = urlsplit(url).hostname or ""
    if url.startswith("unix:") or is_loopback(host):
        notes.append(Note("redis.url", "is of this machine — a Redis of its own takes its place, empty at first"))
        return ""
    return url


def _workload(plan: ExportPlan, spec: ServiceSpec) -> Workload:
    port = spec.container_port or spec.port or (AUTO_PORT if spec.auto_port else 0)
    known = {
        "HOST": "0.0.0.0",
        "PORT": str(port) if port else "",
        "SERVICE_NAME": spec.name,
        "INSTANCE_ID": OWN_ID,
        "MINIKUBE_REGISTRY": plan.registry_address,
        "REDIS_URL": plan.redis_url,
    }
    given = {name: fill_instance_variables(value, known) for name, value in spec.env.items()}
    secrets = {name: value for name, value in given.items() if looks_secret(name) or mask_url(value) != value} | {
        name: value for name, value in spec.file_env.items() if name not in given
    }
    workload = Workload(
        spec,
        kind=_kind(plan.manifest, spec),
        image=_image(plan, spec),
        command=tuple(fill_instance_variables(word, known) for word in spec.command),
        port=port,
        env={name: value for name, value in given.items() if name not in secrets},
        secrets=secrets,
    )
    _tell(plan, workload)
    return workload


def filled(workload: Workload, text: str, plan: ExportPlan) -> str:
    """Another string of the service (a check's URL, a stop's command), with what is known there."""
    known = {"HOST": "127.0.0.1", "PORT": str(workload.port), "SERVICE_NAME": workload.spec.name, "INSTANCE_ID": OWN_ID}
    return fill_instance_variables(
        text, known | {"MINIKUBE_REGISTRY": plan.registry_address, "REDIS_URL": plan.redis_url}
    )


def _kind(manifest: Manifest, spec: ServiceSpec) -> Kind:
    """A task is what is meant to end: it is not started again, and serves nobody or is waited for."""
    if spec.schedule:
        return "schedule"
    waited = any(other.depends_on.get(spec.name) == "completed" for other in manifest.services.values())
    serves = bool(spec.port or spec.auto_port or spec.container_port or spec.health)
    return "task" if waited or (spec.restart.policy != "always" and not serves) else "service"


def _image(plan: ExportPlan, spec: ServiceSpec) -> str:
    if given := plan.choices.images.get(spec.name) or spec.image:
        return given
    if not spec.build:
        plan.notes.append(
            Note(
                f"services.{spec.name}.command",
                f"is a process here; elsewhere it needs an image that holds it — say which: --image {spec.name}=REF"
                f" (now {spec.name})",
            )
        )
    return spec.name


def _tell(plan: ExportPlan, workload: Workload) -> None:
    """What neither tool has."""
    spec = workload.spec
    key = f"services.{spec.name}"
    if spec.register == "supervisor" and workload.port:
        where = f"{spec.name}:{workload.port}"
        plan.notes.append(
            Note(
                f"{key}.register",
                f"the supervisor registered it; there nobody does — others find it at {where}, or it registers itself",
            )
        )
    if spec.runtime == "process" and spec.cwd != plan.manifest.directory:
        plan.notes.append(Note(f"{key}.cwd", "is a directory of this machine — the image's WORKDIR is used"))
    if spec.umask >= 0:
        plan.notes.append(Note(f"{key}.umask", "has no counterpart — set it in the image's command"))
    if spec.health and spec.health.kind == "log":
        plan.notes.append(
            Note(f"{key}.health.log", "nobody reads the output there — give it health.http, tcp or command")
        )


def uses_own_id(workload: Workload) -> bool:
    """Whether something of it holds `${INSTANCE_ID}`."""
    return any(OWN_ID in text for text in (*workload.command, *workload.env.values(), *workload.secrets.values()))


def variable_name(*words: str) -> str:
    """`product`, `API_KEY` → `PRODUCT_API_KEY`."""
    return re.sub(r"[^A-Z0-9]+", "_", "_".join(words).upper())
