"""The keys of a service that runs in a container: `image`, `build`, `volumes`, `network` and the rest, and `[containers]`."""

import ipaddress
from pathlib import Path
from typing import Any

from msgspec import structs

from minikube.manifest import spec
from minikube.manifest.diagnostics import KeyPath
from minikube.manifest.keys.engine_args import find_problems
from minikube.manifest.keys.volumes import VOLUME_FORM, parse_volume
from minikube.manifest.shapes import (
    Boolean,
    Choice,
    Converted,
    KnownKeys,
    ListOf,
    Number,
    OneOf,
    Parsed,
    Shape,
    TableOf,
    Text,
)

ENGINES = ("docker", "podman", "nerdctl")
NETWORKS = ("host", "project")
PULLS = ("missing", "always", "never")
RUNTIMES = ("process", "container")

CONTAINER_KEYS = (
    *("build", "container_port", "engine_args", "entrypoint", "extra_hosts"),
    *("image", "init", "network", "pull", "volumes"),
)
"""Keys that a process must not have."""

HOST_ADDRESS_FORM = f'an IP address, or "{spec.HOST_GATEWAY}" for this machine'


def _absolute(volume: spec.VolumeSpec, key: KeyPath) -> spec.VolumeSpec | None:
    if not volume.is_path:
        return volume
    try:
        path = key.reading.directory / Path(volume.source).expanduser()
    except RuntimeError:
        return key.fail(f'expected a path, got "{volume.source}", and there is no such user')
    try:
        source = path.resolve()
    except RuntimeError:
        return key.fail(f'expected a path, got "{volume.source}", whose links lead in a circle')
    return structs.replace(volume, source=str(source))


def parse_host_address(text: str) -> str:
    """Return the address of a host name of `extra_hosts`, or `host-gateway`. Raises ValueError."""
    try:
        return text if text == spec.HOST_GATEWAY else str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f"expected {HOST_ADDRESS_FORM}") from None


def build_shape(directory_shape: Shape[Path], argument_shape: Shape[str]) -> Shape[spec.BuildSpec]:
    """Return the `Shape` that reads the key `build`: a directory, or a table with `context`.

    The arguments are the shapes of a directory and of the value of a build argument.
    """
    word = Text("a non-empty string", r"^(?s:.+)$")
    keys: dict[str, Shape[Any]] = {
        "context": directory_shape,
        "dockerfile": word,
        "target": Text(),
        "args": TableOf(argument_shape, "strings", r"^[^=\s]+$", "a name"),
    }
    return OneOf(
        {
            str: Converted(directory_shape, lambda context, _: spec.BuildSpec(context)),
            dict: Converted(
                KnownKeys(keys, required=("context",)),
                lambda found, _: spec.BuildSpec(**found) if "context" in found else None,
            ),
        },
        "a directory, or a table with context",
    )


def _engine_args(words: tuple[str, ...], key: KeyPath) -> tuple[str, ...] | None:
    problems = find_problems(words)
    for index, text in problems:
        key.item(index).fail(text)
    return None if problems else words


SHAPES: dict[str, Shape[Any]] = {
    "runtime": Choice(RUNTIMES),
    "network": Choice(NETWORKS),
    "container_port": Number(int, 1, 65535),
    "volumes": ListOf(
        Converted(Parsed(parse_volume, VOLUME_FORM, r"^([^:]+(:[^/:][^:]*)*:)?/[^:]*(:[A-Za-z,]+)?$"), _absolute),
        "strings",
    ),
    "init": Boolean(),
    "extra_hosts": TableOf(
        Parsed(parse_host_address, HOST_ADDRESS_FORM), "host names and addresses", r"^[A-Za-z0-9._-]+$", "a host name"
    ),
    "engine_args": Converted(ListOf(Text(), "strings"), _engine_args),
    "pull": Choice(PULLS),
}
"""The shapes of the container keys, except `image` and `build`: those need shapes of `parser`."""

CONTAINERS: Shape[spec.ContainerSettings] = Converted(
    KnownKeys({"engine": Choice(ENGINES)}), lambda keys, _: spec.ContainerSettings(**keys)
)
"""The shape of `[containers]`."""
