"""Which `python` a service finds."""

import os
import sys
from pathlib import Path

import pytest

from minikube.project.environment import service_path

OWN = str(Path(sys.executable).parent)


def test_installed_it_is_the_one_that_runs_us() -> None:
    assert service_path({"PATH": "/usr/bin"}).split(os.pathsep) == [OWN, "/usr/bin"]


def test_from_the_single_binary_it_is_the_machines_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "minikube.bundle").touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert service_path({"PATH": "/usr/bin"}).split(os.pathsep) == ["/usr/bin", OWN]
