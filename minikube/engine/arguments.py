"""What an engine is asked for (floor 3, pure): a service of the manifest in, the arguments of `create` and `build` out.

No value of a variable is among them: they name variables, whose values travel by environment or file. It refuses to run
anything and to look at what the engine has.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote, unquote

from msgspec import Struct

from minikube.addresses import join_host_port
from minikube.defaults import CA_ENV, TOKEN_ENV
from minikube.engine.engine import LABEL, Engine, container_name
from minikube.manifest import BuildSpec, Manifest, ServiceSpec, VolumeSpec

CGROUP_LIMITS = {"memory": "--memory", "cpus": "--cpus", "pids": "--pids-limit"}

INSIDE = "/run/minikube"
"""Where a container finds what of ours it needs: the private Redis' socket, the registry's certificate."""


class ContainerSetting(Struct, frozen=True):
    """Where a container stands. `network` is an engine's network, where others find it as `alias`; `published`:
    `host:port:container port`."""

    network: str = "host"
    published: str = ""
    alias: str = ""


class Identity(Struct, frozen=True):
    """Whose container it is."""

    project: str
    service: str
    id: str
    name: str


def image_name(engine: Engine, project: str, spec: ServiceSpec) -> str:
    """What the service's image is called: the manifest's reference, or a name of ours for what is built."""
    return spec.image or container_name(project, engine.mark, spec.name)


def surroundings(manifest: Manifest, registry: str, redis_url: str) -> tuple[dict[str, str], tuple[VolumeSpec, ...]]:
    """What every container is told of registry and Redis, and the mounts that make it so."""
    env = {"MINIKUBE_REGISTRY": manifest.registry.advertise or registry, "REDIS_URL": redis_url}
    mounts = []
    if redis_url.startswith("unix://"):
        # The directory, not the socket: a Redis that is started again makes a new one.
        path, separator, query = redis_url.removeprefix("unix://").partition("?")
        real = Path(unquote(path)).resolve()
        mounts.append(VolumeSpec(str(real.parent), f"{INSIDE}/redis"))
        env["REDIS_URL"] = f"unix://{INSIDE}/redis/{quote(real.name)}{separator}{query}"
    if manifest.registry.token:
        env[TOKEN_ENV] = manifest.registry.token
    if manifest.registry.tls:
        authority = manifest.registry.tls.ca or manifest.registry.tls.cert
        mounts.append(VolumeSpec(str(authority), f"{INSIDE}/ca.pem", read_only=True))
        env[CA_ENV] = f"{INSIDE}/ca.pem"
    return env, tuple(mounts)


def create_arguments(
    engine: Engine,
    spec: ServiceSpec,
    who: Identity,
    place: ContainerSetting,
    *,
    image: str,
    command: Iterable[str],
    variables: Iterable[str],
    env_file: Path | None,
    mounts: Iterable[VolumeSpec] = (),
) -> tuple[str, ...]:
    """`create …`: a container that is not started yet, attached by nobody, known by name and label."""
    words = ["create", "--name", container_name(who.project, engine.mark, who.name), "--network", place.network]
    labels = {"mark": engine.mark, "project": who.project, "service": who.service, "instance": who.id}
    for name, value in labels.items():
        words += ["--label", f"{LABEL}.{name}={value}"]
    if engine.kind != "nerdctl":
        # The image is here already, its checks are ours to make, and its output is ours to keep.
        words += ["--pull", "never", "--no-healthcheck", "--log-driver", "none"]
    if place.alias:
        words += ["--network-alias", place.alias]
    if place.published:
        words += ["--publish", place.published]
    for name in variables:
        words += ["--env", name]
    if env_file is not None:
        words += ["--env-file", str(env_file)]
    for volume in (*spec.volumes, *mounts):
        words += ["--mount", _mount(volume, who.project, engine)]
    words += ["--init"] if spec.init else []
    if spec.user or spec.group:
        words += ["--user", f"{spec.user or 0}:{spec.group}" if spec.group else spec.user]
    words += ["--workdir", spec.workdir] if spec.workdir else []
    words += _limits(spec.limits)
    return (*words, image, *command)


def _limits(limits: Mapping[str, int | float]) -> list[str]:
    words = []
    for name, value in limits.items():
        if option := CGROUP_LIMITS.get(name):
            words += [option, f"{value:g}" if name == "cpus" else str(value)] if value >= 0 else []
        else:
            words += ["--ulimit", f"{name}={int(value)}"]
    return words


def _mount(volume: VolumeSpec, project: str, engine: Engine) -> str:
    """One field of CSV each: a path may hold a comma."""
    source = volume.source if volume.is_path else volume_name(project, engine, volume)
    fields = [f"type={'bind' if volume.is_path else 'volume'}", f"source={source}", f"target={volume.target}"]
    fields += ["readonly"] if volume.read_only else []
    return ",".join('"' + field.replace('"', '""') + '"' if set(field) & set(',"') else field for field in fields)


def published(host: str, port: int, inside: int) -> str:
    """What `--publish` takes; an IPv6 address in brackets."""
    return f"{join_host_port(host, port)}:{inside}"


def volume_name(project: str, engine: Engine, volume: VolumeSpec) -> str:
    """A named volume belongs to the project; it stays when the project ends."""
    return container_name(project, engine.mark, volume.source)


def build_arguments(
    engine: Engine, build: BuildSpec, tag: str, environ: Mapping[str, str], *, no_cache: bool = False
) -> tuple[tuple[str, ...], dict[str, str]]:
    """`build …`, and the variables that its client needs: arguments of the build are named, their values go by environment."""
    words = ["build", "--tag", tag]
    words += ["--force-rm"] if engine.kind != "nerdctl" else []  # a failed step leaves its container otherwise
    words += ["--no-cache"] if no_cache else []
    words += ["--file", str(build.context / build.dockerfile)]
    words += ["--target", build.target] if build.target else []
    env = {}
    for name, value in build.args.items():
        if name in environ and environ[name] != value:
            words += ["--build-arg", f"{name}={value}"]  # the client itself may read this variable
        else:
            words += ["--build-arg", name]
            env[name] = value
    return (*words, str(build.context)), env
