"""The keys of a service that runs in a container: `image`, `build`, `volumes`, `network` and the rest, and `[containers]`."""

import ipaddress
import re
from pathlib import Path
from typing import Any

from msgspec import structs

from minikube.manifest import spec
from minikube.manifest.diagnostics import KeyPath
from minikube.manifest.keys.engine_args import find_problem
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

VOLUME_OPTIONS = ("ro", "rw", "z", "Z", "cached", "delegated", "consistent")
VOLUME_FORM = (
    "source:/target, source:/target:ro or /target, where source is a path (./data) or a volume's name,"
    f" and further options are {', '.join(VOLUME_OPTIONS)}"
)
# A colon within the source has no slash behind it: `/a:/b:/c` would have two meanings.
_VOLUME = re.compile(r"(?:(?P<source>[^:\0]+(?::[^/:\0][^:\0]*)*):)?(?P<target>/[^:\0]*)(?::(?P<options>[A-Za-z,]+))?")
_VOLUME_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

HOST_ADDRESS_FORM = f'an IP address, or "{spec.HOST_GATEWAY}" for this machine'


def parse_volume(text: str) -> spec.VolumeSpec:
    """Parse a volume: `./data:/srv/data:ro,Z`, `/etc/ssl:/etc/ssl`, `cache:/var/cache`, `/anonymous`. Raises ValueError."""
    match = _VOLUME.fullmatch(text)
    options = (match["options"] or "").split(",") if match else []
    if match is None or not {"", *VOLUME_OPTIONS}.issuperset(options):
        raise ValueError(f"expected {VOLUME_FORM}")
    source = match["source"] or ""
    if source and not source.startswith(("/", ".", "~")) and not _VOLUME_NAME.fullmatch(source):
        raise ValueError("expected a path that starts with / or ./, or a volume's name (a-z, 0-9, _, . and -)")
    others = tuple(option for option in options if option not in ("", "ro", "rw"))
    return spec.VolumeSpec(source, match["target"], "ro" in options, others)


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
    if (found := find_problem(words)) is None:
        return words
    index, text = found
    return key.item(index).fail(text)


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
