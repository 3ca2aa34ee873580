"""The log files of a project that `logs` reads and `logs --clear` removes: by the supervisor while it runs, else directly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikube.cli.common import count_of, print_message
from minikube.control.client.names import expand_groups
from minikube.errors import MinikubeError, NotFound, NothingRunning
from minikube.model import PARTS
from minikube.project.selection.groups import expand_names, is_group
from minikube.project_dir import is_own_log, log_dir, project_dir

if TYPE_CHECKING:
    from minikube.logs.file_format import Source
    from minikube.manifest import ServiceSpec
    from minikube.project_dir import ManifestFiles


def clear_logs(files: ManifestFiles, names: tuple[str, ...]) -> None:
    """Remove the log lines of the named services or instances, and print how many logs these were.

    Without names, the logs of all services are cleared, but not those of Redis and the registry. Raises NotFound for a name
    without service and log, NothingRunning where nothing runs and there are no log files.
    """
    from minikube.control.client.blocking import ControlClient, find_supervisor
    from minikube.logs.writing.log_file import remove_files

    try:
        with ControlClient(find_supervisor(files.first)) as client:
            cleared = client.clear_logs(expand_groups(client.status(), names) if any(map(is_group, names)) else names)
    except NothingRunning as nothing_running:
        sources = find_kept_logs(files, names, nothing_running)
        for source in sources:
            remove_files(source.path)
        cleared = tuple(source.instance for source in sources)
    print_message(f"cleared {count_of(len(cleared), 'log')}{': ' if cleared else ''}{', '.join(cleared)}")


def find_kept_logs(files: ManifestFiles, names: tuple[str, ...], nothing_running: NothingRunning) -> list[Source]:
    """Return the log files on disk of the named services or instances; without names, of all services.

    Raises the given `nothing_running` where there are no files, and NotFound for a name without service and log file.
    """
    from minikube.logs.file_format import kept_sources
    from minikube.logs.query import asked_log

    services = _manifest_services(files)
    sources = [
        source
        for source in kept_sources(log_dir(project_dir(files.first)), services)
        # An older version named the logs of Redis and the registry as services are.
        if not services or source.instance in services or source.instance not in PARTS
    ]
    if not sources:
        raise nothing_running
    names = tuple(asked_log(name, list(services)) for name in expand_names(tuple(services.values()), names))
    for name in names:
        if name not in services and not any(name in (source.instance, source.service) for source in sources):
            raise NotFound(f"{name}: no such service in {files}, and no log file of it")
    return [
        source
        for source in sources
        if ({source.instance, source.service} & set(names) if names else not is_own_log(source.instance))
    ]


def _manifest_services(files: ManifestFiles) -> dict[str, ServiceSpec]:
    """Return the manifest's services by name; empty when it cannot be read, as names of log files do instead."""
    from minikube.manifest import load_manifest

    try:
        return load_manifest(files).services
    except (MinikubeError, OSError):
        return {}
