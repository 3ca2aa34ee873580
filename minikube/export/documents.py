"""Trees of plain values to YAML (floor 2, pure). PyYAML is imported here only."""

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from minikube.export.plan import Note
from minikube.text import printable

Tree = dict[str, Any]


class Document(Struct, frozen=True):
    """One YAML document, and the file it belongs into where several are written."""

    file: str
    tree: Tree


def as_text(documents: Iterable[Document], notes: Iterable[Note], head: str) -> str:
    """A stream of documents; `head` and the notes are comments on top."""
    import yaml

    lines = [f"# {head}"]
    lines += [f"# {line}" for note in notes for line in printable(str(note)).splitlines()]
    texts = [
        yaml.safe_dump(document.tree, sort_keys=False, allow_unicode=True, width=120, default_flow_style=False)
        for document in documents
    ]
    return "\n".join(lines) + "\n" + "---\n".join(texts)
