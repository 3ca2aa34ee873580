"""The volumes of a service as options of an engine's `create`, and the directories of this machine that they need.

A missing directory of a volume that can be written is created, as Compose does, by the supervisor's user. A missing source of a
read-only volume is an error: an empty directory in the place of a file with settings would only be found later.
"""

import os
from collections.abc import Iterable

from minikube.engine.command import Engine, container_name
from minikube.errors import StartError
from minikube.manifest import VolumeSpec

RELABEL_OPTIONS = ("z", "Z")
"""Options that `--mount` does not have. The others (`cached` …) do nothing on Linux, and are not passed."""


def mount_words(volume: VolumeSpec, project: str, engine: Engine) -> tuple[str, str]:
    """Return the option of `create` and its value for a volume. Raises `StartError`."""
    source = volume.source if volume.is_path or not volume.source else volume_name(project, engine, volume)
    relabel = [option for option in volume.options if option in RELABEL_OPTIONS]
    if relabel and source:  # an anonymous volume has the container's own label
        if ":" in source:
            raise StartError(f"volumes: {source} contains a colon — move it, or leave out {relabel[0]}")
        options = ",".join((*(("ro",) if volume.read_only else ()), *relabel))
        return "--volume", f"{source}:{volume.target}:{options}"
    # `--mount` by choice: `--volume` has no way to write a colon, and creates what is missing as root.
    fields = [f"type={'bind' if volume.is_path else 'volume'}"]
    fields += [f"source={source}"] if source else []  # none: an anonymous volume, removed together with the container
    fields += [f"target={volume.target}"]
    fields += ["readonly"] if volume.read_only else []
    # The value is a line of CSV: a path may contain a comma or a quote.
    quoted = ('"' + field.replace('"', '""') + '"' if set(field) & set(',"') else field for field in fields)
    return "--mount", ",".join(quoted)


def volume_name(project: str, engine: Engine, volume: VolumeSpec) -> str:
    """Return the name of a named volume at the engine. It belongs to the project, and stays when the project ends."""
    return container_name(project, engine.mark, volume.source)


def create_sources(volumes: Iterable[VolumeSpec]) -> None:
    """Create the missing directories of volumes. Raises `StartError` for those that are read-only or cannot be created."""
    for volume in volumes:
        if not volume.is_path or not _is_missing(volume.source):
            continue
        if volume.read_only:
            raise StartError(f"volumes: {volume.source} does not exist, and is mounted read-only — create it")
        try:
            os.makedirs(volume.source, exist_ok=True)
        except OSError as error:
            raise StartError(f"volumes: cannot create {volume.source}: {error.strerror}") from None


def _is_missing(path: str) -> bool:
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # the engine may have rights that this user lacks: it decides
        return False
    return False
