"""`minikube graph` (floor 4): who depends on whom, as a tree, for Mermaid or as JSON; with states while it runs.

Drawing is pure. The graph is the manifest's, or that of what runs, where something runs.
"""

from collections.abc import Iterator, Mapping

import click
from msgspec import Struct

from minikube.cli.commands.wait import is_completed
from minikube.cli.common import manifest_argument, manifest_path, print_json
from minikube.errors import MinikubeError
from minikube.model import InstanceView, Snapshot
from minikube.text import printable

MERMAID_CLASSES = {"ready": "fill:#dfd,stroke:#080", "bad": "fill:#fdd,stroke:#c00", "waiting": "fill:#ffd,stroke:#a80"}


class Node(Struct, frozen=True):
    """One service. `state` is empty where nothing runs; `mood` is `ready`, `waiting`, `bad` or `idle`."""

    name: str
    depends_on: dict[str, str]
    state: str = ""
    mood: str = "idle"


@click.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "mermaid", "json"]),
    default="text",
    show_default=True,
    help="A tree, a Mermaid flowchart, or data.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@manifest_argument
def graph_command(manifest: str | None, form: str, as_json: bool) -> None:
    """Draw which service depends on which, and how each of them is while they run."""
    nodes = read_nodes(manifest)
    if as_json or form == "json":
        print_json({"services": nodes})
        return
    for line in mermaid_lines(nodes) if form == "mermaid" else tree_lines(nodes):
        click.echo(line)


def read_nodes(manifest: str | None) -> list[Node]:
    """Of what runs, else of the manifest."""
    from minikube.control.client.blocking import ControlClient, find_supervisor

    path = manifest_path(manifest)
    try:
        with ControlClient(find_supervisor(path)) as client:
            return nodes_of(client.status())
    except MinikubeError:
        from minikube.manifest import load_manifest

        return [Node(name, dict(spec.depends_on)) for name, spec in load_manifest(path).services.items()]


def nodes_of(snapshot: Snapshot) -> list[Node]:
    """The board's services but for those that someone else registered."""
    return [
        Node(service.name, service.depends_on, *_state(snapshot, service.name))
        for service in snapshot.services
        if service.kind != "external"
    ]


def _state(snapshot: Snapshot, name: str) -> tuple[str, str]:
    instances = [instance for instance in snapshot.instances if instance.service == name]
    if not instances:
        return "no instance", "idle"
    counts: dict[str, int] = {}
    moods = set()
    for one in instances:
        word = f"{one.state}, {one.check}" if one.check and one.state == "running" else str(one.state)
        counts[word] = counts.get(word, 0) + 1
        moods.add(_mood(one))
    whole = [word if len(instances) == 1 else f"{count} {word}" for word, count in counts.items()]
    mood = next((mood for mood in ("bad", "waiting", "ready") if mood in moods), "idle")
    return "; ".join(whole), mood


def _mood(one: InstanceView) -> str:
    if one.state == "exited":
        return "ready" if is_completed(one) else "bad"
    if one.state.has_failed or one.check == "critical":
        return "bad"
    if one.state == "running":
        return "ready" if one.check in (None, "passing", "maintenance") else "waiting"
    return "idle" if one.state == "stopped" else "waiting"


def tree_lines(nodes: list[Node]) -> Iterator[str]:
    """A tree for each service that nothing depends on, what it needs below it; what was drawn already is named only."""
    known = {node.name: node for node in nodes}
    needed = {name for node in nodes for name in node.depends_on}
    drawn: set[str] = set()
    for node in nodes:
        if node.name not in needed:
            yield _line("", node.name, "", node)
            yield from _below(node, known, drawn, "")


def _below(node: Node, known: Mapping[str, Node], drawn: set[str], indent: str) -> Iterator[str]:
    if node.name in drawn:
        return
    drawn.add(node.name)
    last = len(node.depends_on) - 1
    for place, (name, condition) in enumerate(node.depends_on.items()):
        other = known.get(name, Node(name, {}))
        again = other.depends_on and name in drawn
        branch, more = ("└─ ", "   ") if place == last else ("├─ ", "│  ")
        yield _line(indent + branch, name, f" ({condition})" + (" …" if again else ""), other)
        yield from _below(other, known, drawn, indent + more)


def _line(branch: str, name: str, words: str, node: Node) -> str:
    return f"{branch}{printable(name)}{words}" + (f"  {printable(node.state)}" if node.state else "")


def mermaid_lines(nodes: list[Node]) -> Iterator[str]:
    """A flowchart: an arrow from each service to what it needs. Names are DNS labels, but `end` is a word of Mermaid's."""
    yield "flowchart LR"
    for node in nodes:
        state = f"<br/>{printable(node.state).replace(';', ',')}" if node.state else ""
        yield f'    s-{node.name}["{node.name}{state}"]' + (f":::{node.mood}" if node.mood != "idle" else "")
    for node in nodes:
        for name, condition in node.depends_on.items():
            yield f"    s-{node.name} -->|{condition}| s-{name}"
    for mood, style in MERMAID_CLASSES.items():
        if any(node.mood == mood for node in nodes):
            yield f"    classDef {mood} {style}"
