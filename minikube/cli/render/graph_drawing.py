"""Services and their dependencies as a tree, and as a Mermaid flowchart. Pure."""

from collections.abc import Iterator, Mapping
from typing import Literal

from msgspec import Struct

from minikube.text import printable

Readiness = Literal["ready", "waiting", "bad", "idle"]

MERMAID_CLASSES = {"ready": "fill:#dfd,stroke:#080", "bad": "fill:#fdd,stroke:#c00", "waiting": "fill:#ffd,stroke:#a80"}


class GraphNode(Struct, frozen=True):
    """One service in the drawing: its dependencies and, while the project is running, the states of its instances."""

    name: str
    depends_on: dict[str, str]
    """By service: the condition that it has to meet, such as `healthy`."""
    state: str = ""
    """In words; empty while nothing runs."""
    readiness: Readiness = "idle"
    """The worst of its instances; `idle` where none is to run."""
    optional_dependencies: tuple[str, ...] = ()
    """The names in `depends_on` that are waited for only where they run."""


def tree_lines(nodes: list[GraphNode]) -> Iterator[str]:
    """Yield a tree for each service that no other depends on, with its dependencies as branches.

    The dependencies of a service are drawn once; where the service is drawn again, it has a `…` instead.
    """
    by_name = {node.name: node for node in nodes}
    dependencies = {name for node in nodes for name in node.depends_on}
    drawn: set[str] = set()
    for node in nodes:
        if node.name not in dependencies:
            yield _line("", node.name, "", node)
            yield from _dependency_lines(node, by_name, drawn, "")


def _dependency_lines(node: GraphNode, by_name: Mapping[str, GraphNode], drawn: set[str], indent: str) -> Iterator[str]:
    """Yield the lines below `node`: its dependencies, each followed by the lines below it, all behind `indent`.

    `drawn` are the names already drawn; names are added to it.
    """
    if node.name in drawn:
        return
    drawn.add(node.name)
    last = len(node.depends_on) - 1
    for index, (name, condition) in enumerate(node.depends_on.items()):
        dependency = by_name.get(name, GraphNode(name, {}))
        is_drawn = dependency.depends_on and name in drawn
        branch, deeper = ("└─ ", "   ") if index == last else ("├─ ", "│  ")
        optional = ", optional" if name in node.optional_dependencies else ""
        yield _line(indent + branch, name, f" ({condition}{optional})" + (" …" if is_drawn else ""), dependency)
        yield from _dependency_lines(dependency, by_name, drawn, indent + deeper)


def _line(branch: str, name: str, suffix: str, node: GraphNode) -> str:
    return f"{branch}{printable(name)}{suffix}" + (f"  {printable(node.state)}" if node.state else "")


def mermaid_lines(nodes: list[GraphNode]) -> Iterator[str]:
    """Yield a Mermaid flowchart, with an arrow from each service to each of its dependencies: dotted to optional ones."""
    yield "flowchart LR"
    # Ids begin with `s-`, because a service may be called `end`, which is a keyword of Mermaid.
    for node in nodes:
        state = f"<br/>{printable(node.state).replace(';', ',')}" if node.state else ""
        yield f'    s-{node.name}["{node.name}{state}"]' + (f":::{node.readiness}" if node.readiness != "idle" else "")
    for node in nodes:
        for name, condition in node.depends_on.items():
            arrow = "-.->" if name in node.optional_dependencies else "-->"
            yield f"    s-{node.name} {arrow}|{condition}| s-{name}"
    for readiness, style in MERMAID_CLASSES.items():
        if any(node.readiness == readiness for node in nodes):
            yield f"    classDef {readiness} {style}"
