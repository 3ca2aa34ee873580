"""The arguments of an engine's `create` and `build` for a service of the manifest. Pure.

They contain no values of variables, because every user can read a command line: they name variables whose values travel
in the client's environment or in a file. It refuses to run anything.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, unquote

from msgspec import Struct, field

from minikube.defaults import CA_ENV, CONTAINER_LABEL, REDIS_ENV, TOKEN_ENV
from minikube.engine.command import Engine, container_name
from minikube.engine.mounts import mount_words
from minikube.errors import StartError
from minikube.manifest import HOST_GATEWAY, BuildSpec, Manifest, ServiceSpec, VolumeSpec

CGROUP_LIMITS = {"memory": "--memory", "cpus": "--cpus", "pids": "--pids-limit"}
"""The engine's options for limits of the whole container; other limits are `--ulimit`."""

CONTAINER_PYTHON = "python3"
"""MINIKUBE_PYTHON in a container, which does not have this machine's interpreter."""

MOUNT_DIR = "/run/minikube"
"""The directory in a container with the embedded Redis' socket and the registry's certificate."""


class ContainerNetworking(Struct, frozen=True):
    """The network settings of a container."""

    network: str = "host"
    """The name of an engine's network, or `host`: the container uses this machine's network."""
    published: tuple[str, ...] = ()
    """The published ports, each as `publish_argument` returns it."""
    aliases: tuple[str, ...] = ()
    """The host names under which other containers of the network find it."""
    hosts: Mapping[str, str] = field(default_factory=dict)
    """The names of services without a container, each with the address at which they are reached."""
    machine: str = ""
    """This machine's address as the container sees it; empty: the engine knows it."""


class ContainerIdentity(Struct, frozen=True):
    """The project, service and instance of a container: they become its name and labels."""

    project: str
    service: str
    id: str
    name: str


class ContainerProgram(Struct, frozen=True):
    """What a container runs: its image, and what replaces ENTRYPOINT and CMD, as in `ServiceSpec.container_command`."""

    image: str
    entrypoint: Sequence[str] | None
    command: Sequence[str]


def image_name(engine: Engine, project: str, spec: ServiceSpec) -> str:
    """Return the name of the service's image: the manifest's reference, or the project's own name for a built image."""
    return spec.image or container_name(project, engine.mark, spec.name)


def backing_environment(
    manifest: Manifest, registry: str, redis_url: str
) -> tuple[dict[str, str], tuple[VolumeSpec, ...]]:
    """Return the variables with the addresses of registry and Redis for a container, and the mounts that these need."""
    env = {"MINIKUBE_REGISTRY": manifest.registry.advertise or registry}
    mounts = []
    if redis_url.startswith("unix://"):
        # The directory, not the socket: a restarted Redis creates a new socket.
        path, separator, query = redis_url.removeprefix("unix://").partition("?")
        real = Path(unquote(path)).resolve()
        mounts.append(VolumeSpec(str(real.parent), f"{MOUNT_DIR}/redis"))
        redis_url = f"unix://{MOUNT_DIR}/redis/{quote(real.name)}{separator}{query}"
    env |= {"REDIS_URL": redis_url, REDIS_ENV: redis_url, "MINIKUBE_PYTHON": CONTAINER_PYTHON}
    if manifest.registry.token:
        env[TOKEN_ENV] = manifest.registry.token
    if manifest.registry.tls:
        authority = manifest.registry.tls.ca or manifest.registry.tls.cert
        mounts.append(VolumeSpec(str(authority), f"{MOUNT_DIR}/ca.pem", read_only=True))
        env[CA_ENV] = f"{MOUNT_DIR}/ca.pem"
    return env, tuple(mounts)


def create_arguments(
    engine: Engine,
    spec: ServiceSpec,
    identity: ContainerIdentity,
    networking: ContainerNetworking,
    program: ContainerProgram,
    *,
    variables: Iterable[str],
    env_file: Path | None,
    mounts: Iterable[VolumeSpec] = (),
) -> tuple[str, ...]:
    """Return the arguments of `create` for an instance's container.

    `variables` are passed from the client's environment by name, those in `env_file` by file. Raises `StartError`
    for a volume that the engine cannot mount.
    """
    # Interactive: stdin is open and silent, as for a process, so that builds that watch go on.
    words = ["create", "--interactive", "--name", container_name(identity.project, engine.mark, identity.name)]
    words += ["--network", networking.network]
    labels = {
        "mark": engine.mark,
        "project": identity.project,
        "service": identity.service,
        "instance": identity.id,
    }
    for name, value in labels.items():
        words += ["--label", f"{CONTAINER_LABEL}.{name}={value}"]
    if engine.kind != "nerdctl":
        # `images` has pulled the image, the registry makes the checks, and `minikube.logs` keeps the output.
        words += ["--pull", "never", "--no-healthcheck", "--log-driver", "none"]
    for alias in networking.aliases:
        words += ["--network-alias", alias]
    for published in networking.published:
        words += ["--publish", published]
    for name, address in networking.hosts.items():
        words += ["--add-host", f"{name}:{address}"]
    for name in variables:
        words += ["--env", name]
    if env_file is not None:
        words += ["--env-file", str(env_file)]
    for volume in (*spec.volumes, *mounts):
        words += mount_words(volume, identity.project, engine)
    for name, address in spec.extra_hosts.items():
        # The word itself only where there is no other way: Podman before 4.7 does not know it.
        known = networking.machine if address == HOST_GATEWAY else ""
        words += ["--add-host", f"{name}:{known or address}"]
    words += ["--init"] if spec.init else []
    if spec.user or spec.group:
        words += ["--user", f"{spec.user or 0}:{spec.group}" if spec.group else spec.user]
    words += ["--workdir", spec.workdir] if spec.workdir else []
    words += _limits(spec.limits)
    first, *rest = program.entrypoint or ("",)
    if program.entrypoint is not None:
        words += ["--entrypoint", first]  # one word; the rest goes before the command
    # The dashes end the options: otherwise the image would be the value of a last option that lacks one.
    words += [*spec.engine_args, "--"] if spec.engine_args else []
    return (*words, program.image, *rest, *program.command)


def _limits(limits: Mapping[str, int | float]) -> list[str]:
    """Return the options for the manifest's `limits`."""
    words = []
    for name, value in limits.items():
        if option := CGROUP_LIMITS.get(name):
            words += [option, f"{value:g}" if name == "cpus" else str(value)] if value >= 0 else []
        else:
            words += ["--ulimit", f"{name}={int(value)}"]
    return words


def publish_argument(host: str, port: int | str, container_port: int, protocol: str = "tcp") -> str:
    """Return the value of `--publish`, which is an item of `ports` in Compose, too. `port` may be a range, as text."""
    # Engines take an address there, no host name; of IPv6 in brackets.
    address = "127.0.0.1" if host == "localhost" else f"[{host}]" if ":" in host else host
    return f"{address}:{port}:{container_port}/{protocol}"


def build_arguments(
    engine: Engine, build: BuildSpec, tag: str, environ: Mapping[str, str], *, no_cache: bool = False
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the arguments of `build`, and the variables that its client needs: the values of the build's arguments."""
    words = ["build", "--tag", tag]
    words += ["--force-rm"] if engine.kind != "nerdctl" else []  # otherwise a failed step leaves its container
    words += ["--no-cache"] if no_cache else []
    words += ["--file", str(build.context / build.dockerfile)]
    words += ["--target", build.target] if build.target else []
    env = {}
    for name, value in build.args.items():
        if name in environ and environ[name] != value:
            words += ["--build-arg", f"{name}={value}"]  # on the command line: the client itself may read this variable
        else:
            words += ["--build-arg", name]
            env[name] = value
    return (*words, str(build.context)), env


CLIENT_VARIABLES = (
    "DOCKER_",
    "BUILDKIT_",
    "BUILDX_",
    "BUILDAH_",
    "CONTAINER",
    "PODMAN_",
    "NERDCTL_",
    "REGISTRY_",
    "LD_",
    "GO",
)
"""Prefixes of variables that an engine's client, its linker or its Go runtime read themselves."""


def split_environment(env: Mapping[str, str], environ: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Split a container's variables into those for the client's own environment and those for a file.

    The first are passed as `--env NAME`. The second would change the client itself, so they go into an `--env-file`. Raises
    `StartError` for a value with a line break, which such a file cannot hold.
    """
    plain = {
        name: value for name, value in env.items() if name not in environ and not name.startswith(CLIENT_VARIABLES)
    }
    filed = {name: value for name, value in env.items() if name not in plain}
    for name, value in filed.items():
        if "\n" in value or "\r" in value:
            raise StartError(f"env.{name}: a line break cannot be handed to a container in this variable — rename it")
    return plain, filed
