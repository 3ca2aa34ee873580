"""Import of other tools' files as a `supervisor.toml`.

    result       what a reader returns: services in the manifest's own shape, and notes on what is not exact
    source       files as text, and paths from the directory of the manifest
    yaml_nodes   YAML by the rules of version 1.2, with the lines of each value
    detect       which format a file has, or which file of a directory is meant
    readers      the reader of each format
    compose/     the reader of Compose files
    procfile     the reader of Procfiles
    process_compose/, supervisord/, pm2/: the readers of these tools' files
    table_keys   the keys of a YAML table, each taken once
    names        names of a source as names of services
    shell_lines  a line for a shell as `command` or `shell`
    manifest_text: strings in the manifest's form
    writer       the result as the text of a `supervisor.toml`, with comments

A reader is a function `read(found: Found, destination: Destination) -> Imported`. For each key of its source it either writes
the manifest's key, or adds a note. A default of its tool that differs from the manifest's is written out.

It refuses to run anything, also a file that is a program, to write files, and to look up variables: `${VAR}` stays in place.
"""

from minikube.importers.readers import import_source
from minikube.importers.result import Counts, Imported, Note, Notes, SourceFile, Span
from minikube.importers.source import Destination
from minikube.importers.writer import write_manifest

__all__ = [
    "Counts",
    "Destination",
    "Imported",
    "Note",
    "Notes",
    "SourceFile",
    "Span",
    "import_source",
    "write_manifest",
]
