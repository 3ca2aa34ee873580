"""The reader of pm2's JSON and YAML: `{"apps": [...]}`, a list of apps, or one app.

A JSON file may have comments and commas at ends, as pm2 takes it. Files that are programs are refused before, by `detect`.
"""

import re
from typing import Any

from minikube.importers.detect import Found
from minikube.importers.names import renamed, service_names
from minikube.importers.pm2.app import TOOL, App, canonical, instances
from minikube.importers.result import Imported, Notes, Span
from minikube.importers.source import Destination, place_error, read_source, source_file
from minikube.importers.table_keys import TableKeys
from minikube.importers.yaml_nodes import Items, Node, Table, parse_yaml

LEFT_OUT = {
    "deploy": "copies the project to other machines, which minikube does not do",
    "static": "is a file server of pm2 — write a service, such as `npx serve`",
}

_COMMENT = re.compile(r""""(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|//[^\n]*|/\*.*?(?:\*/|\Z)""", re.DOTALL)


def read(found: Found, destination: Destination) -> Imported:
    """Return the import of a file of apps. Raises UsageError where there is none."""
    text = read_source(found.path)
    name = destination.shown(found.path)
    notes = Notes()
    comments = "#"
    if text.lstrip()[:1] in ("{", "[") or text.lstrip()[:2] in ("//", "/*"):
        comments = "#/"
        text = without_comments(text)
    root = parse_yaml(text, name)
    apps = _apps(root, notes)
    if not apps:
        raise place_error(root.span, "has no apps")
    tables = [TableKeys(canonical(app), notes, f"apps[{index}]", ()) for index, app in enumerate(apps)]
    labels = _labels(tables)
    services: dict[str, dict[str, Any]] = {}
    for keys, label in zip(tables, labels, strict=True):
        below = TableKeys(keys.table, notes, keys.source, ("services", label))
        services |= App(below, destination).services({*labels, *services})
    return Imported(tool=TOOL, sources=(source_file(name, text, comments),), services=services, notes=notes.in_order())


def without_comments(text: str) -> str:
    """Return a JSON text with its comments blanked; lines stay where they are. Comments in strings are none."""

    def blank(match: re.Match[str]) -> str:
        return match[0] if match[0][0] in "\"'" else re.sub(r"[^\n]", " ", match[0])

    return _COMMENT.sub(blank, text)


def _apps(root: Node, notes: Notes) -> list[Table]:
    """Return the tables of all apps."""
    found: Node | None = root
    if isinstance(root, Table) and ("apps" in root.entries or "pm2" in root.entries):
        top = TableKeys(root, notes, "", ())
        entry = top.entry("apps") or top.entry("pm2")
        found = entry.value if entry else None
        top.refuse_all(LEFT_OUT)
        top.finish(TOOL)
    nodes = found.items if isinstance(found, Items) else (found,)
    apps = [node for node in nodes if isinstance(node, Table)]
    for node in nodes:
        if node is not None and not isinstance(node, Table):
            notes.refuse(node.span, "apps", f"expected a table with a script, got {node.kind}")
    return [app for app in apps if app.entries]


def _labels(tables: list[TableKeys]) -> list[str]:
    """Return the name of the service of each app: its name, or that of its script, each once."""
    counted: dict[str, int] = {}
    unique: list[str] = []
    for keys in tables:
        script = (keys.text("script") or "app").split()
        name = keys.text("name") or re.sub(r"\.[A-Za-z]+$", "", (script or ["app"])[0].rpartition("/")[2]) or "app"
        counted[name] = counted.get(name, 0) + 1
        unique.append(name if counted[name] == 1 else f"{name} {counted[name]}")
    counts = {name: instances(keys) for keys, name in zip(tables, unique, strict=True)}
    labels = service_names(unique, counts)
    for keys, name in zip(tables, unique, strict=True):
        written = keys.text("name")
        if written and written != labels[name]:
            span = Span(keys.span("name").file, keys.span("name").line, keys.span("name").line)
            text = f"the name {written} stands twice" if name != written else renamed(name, labels[name])
            keys.notes.inexact(span, keys.name("name"), ("services", labels[name]), text)
    return [labels[name] for name in unique]
