"""The command that draws the dependency graph: arrows between packages, with the number of imports."""

import pytest

from tests.graph import count_imports, main


def test_an_arrow_goes_from_the_importer_to_what_it_imports() -> None:
    counts = count_imports("minikube.supervisor")
    assert counts["daemon", "reconcile"] > 0
    assert counts["reconcile", "daemon"] == 0
    assert not [edge for edge in counts if edge[0] == edge[1]]


def test_the_output_is_a_mermaid_flowchart(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["minikube.linux"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "flowchart TD"
    assert "    cgroup_[cgroup]" in lines
    assert "    cgroup_ -->|1| processes_" in lines


def test_an_unknown_package_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["minikube.nothing"]) == 2
    assert capsys.readouterr().err == "tests.graph: minikube.nothing: no such package of minikube, services, tui\n"
