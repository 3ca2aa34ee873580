"""The guardian's work after the end of its supervisor."""

from pathlib import Path

from minikube.supervisor.daemon import guardian


def test_a_project_directory_that_may_not_be_entered_any_more_does_not_end_the_guardian(
    tmp_path: Path, as_nobody: None
) -> None:
    guardian._remove_containers(tmp_path / ".minikube", -9)
    guardian._remove_groups(tmp_path / ".minikube", "minikube-none")
