"""`graph`: draw the dependencies of services; with the services' states while the project is running."""

import click

from minikube.cli.common import print_json, running_files
from minikube.cli.options import manifest_argument
from minikube.cli.render.graph_drawing import GraphNode, Readiness, mermaid_lines, tree_lines
from minikube.errors import MinikubeError
from minikube.model import InstanceView, Snapshot, is_completed


@click.command()
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["text", "mermaid", "json"]),
    default="text",
    show_default=True,
    help="A tree, a Mermaid flowchart, or JSON.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@manifest_argument
def graph_command(manifest: tuple[str, ...], output_format: str, as_json: bool) -> None:
    """Draw which service depends on which; while the project is running, also the state of each service."""
    nodes = read_nodes(manifest)
    if as_json or output_format == "json":
        print_json({"services": nodes})
        return
    for line in mermaid_lines(nodes) if output_format == "mermaid" else tree_lines(nodes):
        click.echo(line)


def read_nodes(manifest: tuple[str, ...]) -> list[GraphNode]:
    """Return the services with their states while the project is running, else the services of the manifest."""
    from minikube.control.client.blocking import ControlClient, find_supervisor

    files = running_files(manifest)
    try:
        with ControlClient(find_supervisor(files.first)) as client:
            return nodes_of(client.status())
    except MinikubeError:
        from minikube.manifest import load_manifest

        return [
            GraphNode(name, dict(spec.depends_on), optional_dependencies=spec.optional_dependencies)
            for name, spec in load_manifest(files).services.items()
        ]


def nodes_of(snapshot: Snapshot) -> list[GraphNode]:
    """Return the services of a snapshot, without those that other programs registered."""
    return [
        GraphNode(service.name, service.depends_on, *_summarize(snapshot, service.name), service.optional_dependencies)
        for service in snapshot.services
        if service.kind != "external"
    ]


def _summarize(snapshot: Snapshot, service: str) -> tuple[str, Readiness]:
    """Return the states of a service's instances as text, and the worst readiness among them."""
    instances = [view for view in snapshot.instances if view.service == service]
    if not instances:
        return "no instance", "idle"
    counts: dict[str, int] = {}
    found = set()
    for view in instances:
        state = f"{view.state}, {view.check}" if view.check and view.state == "running" else str(view.state)
        counts[state] = counts.get(state, 0) + 1
        found.add(_readiness(view))
    states = [state if len(instances) == 1 else f"{count} {state}" for state, count in counts.items()]
    worst_first: tuple[Readiness, ...] = ("bad", "waiting", "ready")
    return "; ".join(states), next((readiness for readiness in worst_first if readiness in found), "idle")


def _readiness(instance: InstanceView) -> Readiness:
    """Return the readiness of an instance, from which its service gets its colour."""
    if instance.state == "exited":
        return "ready" if is_completed(instance) else "bad"
    if instance.state.has_failed or instance.check == "critical":
        return "bad"
    if instance.state == "running":
        return "ready" if instance.check in (None, "passing", "maintenance") else "waiting"
    return "idle" if instance.state == "stopped" else "waiting"
