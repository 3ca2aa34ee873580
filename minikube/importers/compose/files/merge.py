"""The rules by which Compose merges two files, or a service with the one that it extends. Pure.

Tables merge; a later string replaces; lists are appended to, but for commands, which replace, and for mounts, which replace
one with the same target. `!reset` removes a key and `!override` replaces it as a whole. Before that, each key of a service has
one form: `environment` a table, `depends_on` a table, `build` a table.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from minikube.importers.compose.variables import split_outside
from minikube.importers.yaml_nodes import Entry, Items, Node, Scalar, Table, is_nothing

PAIRS = frozenset({"environment", "labels", "annotations", "sysctls", "extra_hosts", "args", "additional_contexts"})
"""Keys with `NAME=value` lists that mean a table. `extra_hosts` also has `NAME:value`."""

NAMES = frozenset({"depends_on", "networks"})
"""Keys with lists of names that mean a table."""

LISTS = frozenset({"env_file", "dns", "dns_search", "dns_opt", "tmpfs", "label_file", "profiles", "expose"})
"""Keys with a lone value that means a list."""

REPLACED = frozenset({"command", "entrypoint", "test"})


def normalize_service(service: Table) -> Table:
    """Return a service with one form for each key."""
    entries = {key: replace(entry, value=_normalized(key, entry.value)) for key, entry in service.entries.items()}
    return replace(service, entries=entries)


def _normalized(key: str, node: Node) -> Node:
    if key in PAIRS and isinstance(node, Items):
        return _pairs(node, "=:" if key == "extra_hosts" else "=")
    if key in NAMES and isinstance(node, Items):
        entries = {item.text: Entry(item.span, _nothing(item)) for item in node.items if isinstance(item, Scalar)}
        return Table(node.span, node.tag, entries)
    if key in LISTS and isinstance(node, (Scalar, Table)) and not is_nothing(node):
        return Items(node.span, node.tag, (node,))
    if key == "build" and isinstance(node, Scalar) and not is_nothing(node):
        return Table(node.span, node.tag, {"context": Entry(node.span, node)})
    if key in ("build", "deploy") and isinstance(node, Table):
        inner = {name: replace(entry, value=_normalized(name, entry.value)) for name, entry in node.entries.items()}
        return replace(node, entries=inner)
    return node


def _nothing(node: Node) -> Scalar:
    return Scalar(node.span, "", "", True)


def _pairs(items: Items, separators: str) -> Node:
    """Return `[NAME=value, NAME]` as a table; unchanged where an item is no string."""
    entries: dict[str, Entry] = {}
    for item in items.items:
        if not isinstance(item, Scalar):
            return items
        at = min((index for separator in separators if (index := item.text.find(separator)) >= 0), default=-1)
        name = item.text if at < 0 else item.text[:at]
        value = _nothing(item) if at < 0 else Scalar(item.span, "", item.text[at + 1 :], False)
        entries.pop(name, None)
        entries[name] = Entry(item.span, value)
    return Table(items.span, items.tag, entries)


def merge_tables(base: Mapping[str, Entry], over: Mapping[str, Entry]) -> dict[str, Entry]:
    """Return the entries of two normalized tables as one; `over` wins."""
    merged = {key: entry for key, entry in base.items() if entry.value.tag != "!reset"}
    for key, entry in over.items():
        if entry.value.tag == "!reset":
            merged.pop(key, None)
        elif key in merged and entry.value.tag != "!override":
            merged[key] = replace(entry, value=_merged(key, merged[key].value, entry.value))
        else:
            merged[key] = entry
    return merged


def _merged(key: str, base: Node, over: Node) -> Node:
    match base, over:
        case Table(), Table():
            return replace(over, entries=merge_tables(base.entries, over.entries))
        case Items(), Items() if key not in REPLACED:
            return replace(over, items=_appended(key, base, over))
    return over


def _appended(key: str, base: Items, over: Items) -> tuple[Node, ...]:
    """Return the items of two lists: a mount of the second takes the place of one with the same target, a text stands once."""
    identity = _mount_target if key in ("volumes", "devices") else _text
    merged: dict[object, Node] = {}
    for item in (*base.items, *over.items):
        merged[identity(item) or id(item)] = item
    return tuple(merged.values())


def _text(node: Node) -> str:
    return node.text if isinstance(node, Scalar) else ""


def _mount_target(node: Node) -> str:
    """Return the path in the container of a mount; empty where it cannot be told."""
    if isinstance(node, Table):
        target = node.get("target")
        return target.text.rstrip("/") if isinstance(target, Scalar) else ""
    parts = split_outside(_text(node), ":")
    return (parts[1] if len(parts) > 1 else parts[0]).rstrip("/")
