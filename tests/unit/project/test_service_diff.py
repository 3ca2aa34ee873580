"""An edit of any key of a container makes a new container, because the engine changes nothing of one that runs."""

from typing import Any

import pytest

from minikube.project.service_diff import diff
from tests.unit.manifest.test_parser import build

BASE: dict[str, Any] = {"image": "i", "volumes": ["a:/a"], "port": "auto", "container_port": 80}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image", "j"),
        ("command", ["run"]),
        ("args", ["-v"]),
        ("shell", "run"),
        ("entrypoint", []),
        ("entrypoint", ["e"]),
        ("volumes", ["a:/a:ro"]),
        ("volumes", ["a:/a:Z"]),
        ("volumes", ["/a"]),
        ("extra_hosts", {"db": "10.0.0.1"}),
        ("engine_args", ["--privileged"]),
        ("init", True),
        ("user", "1000"),
        ("cwd", "/srv"),
        ("container_port", 81),
        ("limits", {"memory": "64M"}),
        ("ports", {"web": {"port": "auto", "container_port": 81}}),
    ],
)
def test_an_edited_key_of_a_container_replaces_it(key: str, value: object) -> None:
    old, _ = build({"services": {"x": BASE}})
    new, problems = build({"services": {"x": {**BASE, key: value}}})
    assert problems == []
    assert diff(old.services, new.services).replaced == ("x",)
