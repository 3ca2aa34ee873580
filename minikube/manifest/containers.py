"""The keys of a service that runs in a container (floor 0): what it is made from, where it stands, what it sees.

`reader` puts these shapes into the tree of all keys. What an engine makes of them is `supervisor/container.py`'s.
"""

import re
from pathlib import Path
from typing import Any

from minikube.manifest import spec as structs
from minikube.manifest.diagnostics import KeyPath
from minikube.manifest.schema import Choice, Keys, Many, Number, OneOf, Parsed, Shape, Table, Text, Then, Truth

ENGINES = ("docker", "podman", "nerdctl")
NETWORKS = ("host", "project")
PULLS = ("missing", "always", "never")
RUNTIMES = ("process", "container")

CONTAINER_KEYS = ("build", "container_port", "image", "init", "network", "pull", "volumes")
"""What only a container can have."""

VOLUME_FORM = "source:/target or source:/target:ro, where source is a path (./data) or a volume's name"
_VOLUME = re.compile(r"(?P<source>[^:\0]+):(?P<target>/[^:\0]*)(?::(?P<mode>ro|rw))?")
_VOLUME_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def parse_volume(text: str) -> structs.VolumeSpec:
    """`./data:/srv/data:ro`, `/etc/ssl:/etc/ssl`, `cache:/var/cache`. Raises ValueError."""
    match = _VOLUME.fullmatch(text)
    if match is None:
        raise ValueError(f"expected {VOLUME_FORM}")
    source = match["source"]
    if not source.startswith(("/", ".", "~")) and not _VOLUME_NAME.fullmatch(source):
        raise ValueError("expected a path that starts with / or ./, or a volume's name (a-z, 0-9, _, . and -)")
    return structs.VolumeSpec(source, match["target"], match["mode"] == "ro")


def _placed(volume: structs.VolumeSpec, place: KeyPath) -> structs.VolumeSpec:
    if not volume.is_path:
        return volume
    source = (place.reading.directory / Path(volume.source).expanduser()).resolve()
    return structs.VolumeSpec(str(source), volume.target, volume.read_only)


def build_shape(directory: Shape[Path], value: Shape[str]) -> Shape[structs.BuildSpec]:
    """`build = "dir"`, or a table."""
    word = Text("a non-empty string", r"^(?s:.+)$")
    keys: dict[str, Shape[Any]] = {
        "context": directory,
        "dockerfile": word,
        "target": Text(),
        "args": Table(value, "strings", r"^[^=\s]+$", "a name"),
    }
    return OneOf(
        {
            str: Then(directory, lambda context, _: structs.BuildSpec(context)),
            dict: Then(
                Keys(keys, required=("context",)),
                lambda found, _: structs.BuildSpec(**found) if "context" in found else None,
            ),
        },
        "a directory, or a table with context",
    )


SHAPES: dict[str, Shape[Any]] = {
    "runtime": Choice(RUNTIMES),
    "network": Choice(NETWORKS),
    "container_port": Number(int, 1, 65535),
    "volumes": Many(Then(Parsed(parse_volume, VOLUME_FORM, r"^[^:]+:/[^:]*(:(ro|rw))?$"), _placed), "strings"),
    "init": Truth(),
    "pull": Choice(PULLS),
}
"""Keys of a service beside `image` and `build`."""

CONTAINERS: Shape[structs.ContainerSettings] = Then(
    Keys({"engine": Choice(ENGINES)}), lambda keys, _: structs.ContainerSettings(**keys)
)
"""`[containers]`."""
