"""The reader of each format, imported when it is needed."""

import importlib
from collections.abc import Callable
from pathlib import Path

from minikube.importers.detect import Format, Found, find_source
from minikube.importers.result import Imported
from minikube.importers.source import Destination, SourceError

Reader = Callable[[Found, Destination], Imported]

MODULES: dict[Format, str] = {
    "compose": "minikube.importers.compose",
    "procfile": "minikube.importers.procfile",
    "process_compose": "minikube.importers.process_compose.project",
    "supervisord": "minikube.importers.supervisord.config",
    "pm2": "minikube.importers.pm2.ecosystem",
}
"""By format the module whose `read` is the reader."""


def import_source(path: Path, output_dir: Path | None) -> Imported:
    """Return the import of a file, or of the file in a directory, for a manifest in `output_dir` (None: beside the source).

    Raises UsageError where there is no such file, its format is not known, or it cannot be read.
    """
    found = find_source(path)
    source_dir = found.path.absolute().parent.resolve()
    destination = Destination(source_dir, output_dir.resolve() if output_dir else source_dir)
    read: Reader = importlib.import_module(MODULES[found.format]).read
    try:
        return read(found, destination)
    except SourceError as error:
        raise error.seen_from(found.path.parent) from None
