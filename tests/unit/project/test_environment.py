"""The PATH of a service: which `python` comes first."""

import os
import sys
from pathlib import Path

import pytest

from minikube.project.environment import service_path

OWN = str(Path(sys.executable).parent)


def test_an_installed_minikube_puts_its_own_python_first() -> None:
    assert service_path({"PATH": "/usr/bin"}).split(os.pathsep) == [OWN, "/usr/bin"]


def test_the_single_binary_puts_its_own_python_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "minikube.bundle").touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert service_path({"PATH": "/usr/bin"}).split(os.pathsep) == ["/usr/bin", OWN]
