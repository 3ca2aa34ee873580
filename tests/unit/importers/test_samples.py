"""Procfiles and files of process-compose, supervisord and pm2 as teams have them, each with the `supervisor.toml` that it becomes.

The whole text is compared, comments included. Where a change of the program changes them on purpose: run
`minikube import tests/unit/importers/samples/TOOL/NAME -o -` and read the difference before it replaces the file.
tests/e2e/test_import.py runs them.
"""

import os
import shutil
from pathlib import Path

import pytest

from minikube.importers import import_source, write_manifest
from minikube.importers.result import Counts
from minikube.manifest import load_manifest
from tests.imports import SAMPLES, source_of

COUNTS = {
    "pm2/basic": (9, 2, 3),
    "pm2/comments": (7, 0, 0),
    "pm2/instances": (2, 3, 0),
    "pm2/interpreters": (7, 2, 1),
    "pm2/list": (4, 1, 0),
    "pm2/restarts": (3, 3, 1),
    "pm2/settings": (5, 3, 4),
    "pm2/yaml": (13, 0, 0),
    "process_compose/basic": (18, 0, 2),
    "process_compose/conditions": (21, 2, 0),
    "process_compose/extends": (22, 2, 0),
    "process_compose/left_out": (19, 1, 25),
    "process_compose/probes": (25, 6, 5),
    "process_compose/replicas": (13, 1, 0),
    "process_compose/restarts": (26, 0, 0),
    "process_compose/templates": (13, 0, 4),
    "process_compose/variables": (17, 0, 0),
    "procfile/assignments": (1, 2, 0),
    "procfile/basic": (1, 1, 0),
    "procfile/ends": (1, 1, 0),
    "procfile/mistakes": (0, 1, 4),
    "procfile/names": (1, 3, 0),
    "procfile/ports": (0, 4, 0),
    "procfile/release": (1, 2, 0),
    "procfile/shell": (4, 1, 0),
    "procfile/watchers": (1, 1, 0),
    "supervisord/basic": (15, 0, 11),
    "supervisord/environment": (9, 0, 1),
    "supervisord/includes": (11, 0, 1),
    "supervisord/left_out": (4, 0, 21),
    "supervisord/numbers": (12, 2, 0),
    "supervisord/order": (13, 1, 1),
    "supervisord/restarts": (17, 1, 0),
    "supervisord/stopping": (14, 1, 1),
    "supervisord/syntax": (7, 2, 0),
}
"""By directory: how many lines were taken as they are, with a comment, or left out."""

DIRECTORY = "/srv/shop"
"""What stands for the project's directory in the expected texts."""

MISSING = {"pm2/yaml": ""}


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_a_file_becomes_a_manifest_that_validates(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    project = tmp_path / "shop"
    shutil.copytree(SAMPLES[name], project, ignore=shutil.ignore_patterns("supervisor.toml"))
    imported = import_source(source_of(project), project)
    text = write_manifest(imported)
    expected = (SAMPLES[name] / "supervisor.toml").read_text()
    assert text.replace(str(project), DIRECTORY) == expected
    assert imported.count_lines() == Counts(*COUNTS[name])
    manifest = project / "supervisor.toml"
    manifest.write_text(text)
    loaded = load_manifest(manifest, {"HOME": "/home/me", "PATH": "/bin", "GREETING": "hello"})
    assert list(loaded.services) == list(imported.services)
    assert loaded.warnings == ()
