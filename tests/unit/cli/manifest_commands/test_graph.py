"""`minikube graph`: the tree, the flowchart and the JSON; with states while the project is running."""

import json
from pathlib import Path

import pytest

from minikube.cli.app import run
from minikube.cli.manifest_commands.graph import nodes_of
from minikube.cli.render.graph_drawing import GraphNode, mermaid_lines, tree_lines
from minikube.model import CheckState, InstanceView, ProcessState, ServiceView, Snapshot

MANIFEST = """
[services.web]
command = "run"
depends_on = { api = "healthy", cache = "started" }
[services.api]
command = "run"
port = 80
depends_on = { db = "started", migrate = "completed" }
[services.migrate]
command = "run"
restart = "never"
depends_on = { db = "started" }
[services.db]
command = "run"
[services.cache]
command = "run"
[services.lone]
command = "run"
"""


@pytest.fixture
def drawn(project: Path) -> None:
    (project / "supervisor.toml").write_text(MANIFEST)


@pytest.mark.usefixtures("drawn")
def test_the_tree_shows_what_each_service_depends_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["graph"]) == 0
    assert capsys.readouterr().out == (
        "web\n"
        "├─ api (healthy)\n"
        "│  ├─ db (started)\n"
        "│  └─ migrate (completed)\n"
        "│     └─ db (started)\n"
        "└─ cache (started)\n"
        "lone\n"
    )


def test_optional_dependencies_are_marked() -> None:
    nodes = [GraphNode("web", {"cache": "healthy"}, optional_dependencies=("cache",)), GraphNode("cache", {})]
    assert list(tree_lines(nodes)) == ["web", "└─ cache (healthy, optional)"]
    assert "    s-web -.->|healthy| s-cache" in mermaid_lines(nodes)


@pytest.mark.usefixtures("drawn")
def test_the_flowchart_and_the_json_have_the_same_dependencies(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["graph", "--format", "mermaid"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "flowchart LR"
    assert "    s-api -->|completed| s-migrate" in lines
    assert sum("-->" in line for line in lines) == 5
    assert run(["graph", "--json"]) == 0
    nodes = {node["name"]: node for node in json.loads(capsys.readouterr().out)["services"]}
    assert list(nodes) == ["web", "api", "migrate", "db", "cache", "lone"]
    assert nodes["api"]["depends_on"] == {"db": "started", "migrate": "completed"}


def test_the_dependencies_of_a_service_are_drawn_once() -> None:
    both = [
        GraphNode("a", {"c": "healthy"}),
        GraphNode("b", {"c": "healthy"}),
        GraphNode("c", {"d": "healthy"}),
        GraphNode("d", {}),
    ]
    assert list(tree_lines(both)) == ["a", "└─ c (healthy)", "   └─ d (healthy)", "b", "└─ c (healthy) …"]


def test_states_are_shown_while_the_project_is_running() -> None:
    rows = [
        ("web", "web-1", ProcessState.RUNNING, CheckState.PASSING),
        ("web", "web-2", ProcessState.BACKOFF, None),
        ("db", "db", ProcessState.RUNNING, None),
        ("off", "off", ProcessState.STOPPED, None),
        ("other", "other-1", ProcessState.RUNNING, CheckState.PASSING),
    ]
    snapshot = Snapshot(
        "shop",
        1,
        0.0,
        0.0,
        "",
        1,
        services=(
            ServiceView("web", depends_on={"db": "started"}),
            ServiceView("db"),
            ServiceView("off"),
            ServiceView("none"),
            ServiceView("other", "external"),
        ),
        instances=tuple(InstanceView(name, service, name, state, check) for service, name, state, check in rows),
    )
    nodes = nodes_of(snapshot)
    assert list(tree_lines(nodes)) == [
        "web  1 running, passing; 1 backoff",
        "└─ db (started)  running",
        "off  stopped",
        "none  no instance",
    ]
    chart = "\n".join(mermaid_lines(nodes))
    assert 's-web["web<br/>1 running, passing, 1 backoff"]:::bad' in chart
    assert "classDef bad" in chart
    assert "classDef waiting" not in chart


@pytest.mark.parametrize(
    ("exit", "reason", "readiness"), [("exit 0", "", "ready"), ("exit 3", "", "ready"), ("exit 3", "exit 3", "bad")]
)
def test_a_task_that_ended_with_success_is_ready(exit: str, reason: str, readiness: str) -> None:
    """The supervisor gives no reason to an exit code that the manifest calls a success."""
    task = InstanceView("1", "task", "task", ProcessState.EXITED, exit=exit, reason=reason)
    snapshot = Snapshot("shop", 1, 0.0, 0.0, "", 1, services=(ServiceView("task"),), instances=(task,))
    assert [node.readiness for node in nodes_of(snapshot)] == [readiness]
