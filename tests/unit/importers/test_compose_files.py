"""Compose files as teams have them: each directory has the files and the `supervisor.toml` that they become.

The whole text is compared, comments included. Where a change of the program changes them on purpose: run
`minikube import tests/unit/importers/compose_files/NAME -o -` and read the difference before it replaces the file.
"""

import shutil
from pathlib import Path

import pytest
import tomli_w

from minikube.importers import import_source, write_manifest
from minikube.importers.result import Counts
from minikube.manifest import load_manifest
from minikube.manifest.dump import dump_manifest

FILES = Path(__file__).parent / "compose_files"

COUNTS = {
    "anchors": (18, 0, 0),
    "build_targets": (14, 2, 4),
    "commands": (29, 1, 1),
    "engine_options": (24, 0, 5),
    "env_files": (9, 3, 0),
    "extends": (28, 0, 0),
    "health_conditions": (43, 4, 0),
    "include": (18, 1, 2),
    "include_list": (12, 1, 0),
    "listed_files": (9, 0, 0),
    "merged_extends": (59, 3, 0),
    "merged_override": (29, 1, 1),
    "names": (15, 6, 0),
    "old_version": (15, 0, 2),
    "one_network": (12, 0, 4),
    "override_file": (34, 2, 0),
    "ports": (28, 12, 1),
    "profiles": (7, 0, 0),
    "resources": (30, 3, 6),
    "reverse_proxy": (15, 2, 0),
    "search_cluster": (38, 1, 0),
    "search_and_queue": (36, 2, 0),
    "secrets_and_configs": (9, 0, 7),
    "several_networks": (20, 2, 8),
    "stops_and_logs": (16, 0, 11),
    "variables": (15, 5, 1),
    "volumes": (38, 4, 6),
    "watched": (11, 0, 3),
    "web_and_database": (23, 2, 0),
    "workflow_stack": (98, 3, 0),
    "yaml_words": (12, 5, 0),
}
"""By directory: how many lines were taken as they are, with a comment, or left out."""


@pytest.mark.parametrize("name", sorted(path.name for path in FILES.iterdir()))
def test_a_compose_file_becomes_a_manifest_that_validates(name: str, tmp_path: Path) -> None:
    project = tmp_path / name
    shutil.copytree(FILES / name, project, ignore=shutil.ignore_patterns("supervisor.toml"))
    imported = import_source(project, None)
    text = write_manifest(imported)
    assert text == (FILES / name / "supervisor.toml").read_text()
    assert imported.count_lines() == Counts(*COUNTS[name])
    manifest = project / "supervisor.toml"
    manifest.write_text(text)
    loaded = load_manifest(manifest, {"VERSION": "1", "SEARCH_PASSWORD": "x"})
    assert loaded.services.keys() == imported.services.keys()
    shown = project / "shown.toml"
    shown.write_text(tomli_w.dumps(dump_manifest(loaded)))
    assert load_manifest(shown, {}).services.keys() == loaded.services.keys()
