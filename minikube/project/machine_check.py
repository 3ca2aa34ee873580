"""What a manifest names and this machine does not have: users, groups, directories, Dockerfiles, sources of read-only volumes.

They are warnings: what is missing may be there on another machine, or be made before the start.
"""

import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from minikube.errors import Problem, StartError
from minikube.linux.credentials import find_credentials
from minikube.manifest import ServiceSpec
from minikube.manifest.diagnostics import ManifestReading
from minikube.manifest.tree.paths import append_index
from minikube.manifest.validate import service_path

DOCKERFILES = ("Dockerfile", "dockerfile", "Containerfile")
"""File names that engines look for where `build` names none."""


def find_missing(reading: ManifestReading, services: Iterable[ServiceSpec]) -> list[Problem]:
    """Return a warning for each user, group, directory and file of the services that does not exist on this machine."""
    found: dict[Problem, None] = {}
    for spec in services:
        checks = (
            _missing_files(spec) if spec.runtime == "container" else (*_missing_ids(spec), *_missing_directory(spec))
        )
        for path, text in checks:
            found[reading.make_value_problem(path, text)] = None
    return list(found)


def find_missing_files(reading: ManifestReading, services: Iterable[ServiceSpec]) -> list[Problem]:
    """Return a warning for each file and directory that the containers of the services lack on this machine."""
    return find_missing(reading, (spec for spec in services if spec.runtime == "container"))


def _missing_ids(spec: ServiceSpec) -> Iterator[tuple[str, str]]:
    user, _, after = spec.user.partition(":")
    group = spec.group or after
    is_group_missing = False
    try:
        find_credentials(spec.name, "", group)
    except StartError as error:
        is_group_missing = True
        yield service_path(spec.name, "group" if spec.group else "user"), str(error).removeprefix(f"{spec.name}: ")
    try:
        find_credentials(spec.name, user, "" if is_group_missing else group)
    except StartError as error:
        # A group that is missing is told above, and a number without an entry needs one.
        if not (is_group_missing and user.isdecimal()) and (user or not is_group_missing):
            yield service_path(spec.name, "user"), str(error).removeprefix(f"{spec.name}: ")


def _missing_directory(spec: ServiceSpec) -> Iterator[tuple[str, str]]:
    if reason := _why_no_directory(spec.cwd):
        yield service_path(spec.name, "cwd"), f"its working directory {spec.cwd}: {reason}"


def _missing_files(spec: ServiceSpec) -> Iterator[tuple[str, str]]:
    if spec.build is not None:
        context, path = spec.build.context, service_path(spec.name, "build")
        names = DOCKERFILES if spec.build.dockerfile in DOCKERFILES else (spec.build.dockerfile,)
        if reason := _why_no_directory(context):
            yield f"{path}.context", f"its build context {context}: {reason}"
        elif all(_is_missing(context / name) for name in names):
            yield f"{path}.dockerfile", f"{context / spec.build.dockerfile}: no such file"
    for index, volume in enumerate(spec.volumes):
        if volume.is_path and volume.read_only and _is_missing(Path(volume.source)):
            text = f"{volume.source}: no such file or directory, and it is mounted read-only"
            yield append_index(service_path(spec.name, "volumes"), index), text


def _why_no_directory(path: Path) -> str:
    """Return why a path is no directory; empty for one that is, or that this user may not look at."""
    if _is_missing(path):
        return "no such file or directory"
    try:
        return "" if stat.S_ISDIR(path.stat().st_mode) else "not a directory"
    except OSError:
        return ""


def _is_missing(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # the engine, or the service's user, may have rights that this user lacks
        return False
    return False
