"""The files of a Compose project, read and merged into one model.

    project   all files as one: COMPOSE_FILE, overrides, `include`, `extends`
    merge     the rules by which Compose merges two files or services

It refuses to know what a key means: `compose.reader` has the table of all keys.
"""

from minikube.importers.compose.files.project import ComposeModel, ComposeProject

__all__ = ["ComposeModel", "ComposeProject"]
