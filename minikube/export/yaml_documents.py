"""YAML documents of an export."""

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from minikube.export.workloads import Note
from minikube.text import printable

Tree = dict[str, Any]
"""A mapping of plain values: strings, numbers, lists, mappings."""


class Document(Struct, frozen=True):
    """One YAML document."""

    file: str
    """The file's name, for an export into a directory."""
    tree: Tree


def to_yaml(documents: Iterable[Document], notes: Iterable[Note], head: str) -> str:
    """Return the documents as one YAML text, with `head` and the notes as comments on top."""
    # Imported late: every start of the CLI would pay for it.
    import yaml

    lines = [f"# {head}"]
    lines += [f"# {line}" for note in notes for line in printable(str(note)).splitlines()]
    texts = [
        yaml.safe_dump(document.tree, sort_keys=False, allow_unicode=True, width=120, default_flow_style=False)
        for document in documents
    ]
    return "\n".join(lines) + "\n" + "---\n".join(texts)
