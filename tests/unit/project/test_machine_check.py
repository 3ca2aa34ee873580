"""What this machine lacks; `validate`'s tests have the texts."""

import os
from pathlib import Path

from minikube.manifest.load import read_manifest
from minikube.project.machine_check import find_missing
from minikube.project_dir import ManifestFiles


def test_what_this_user_may_not_look_at_is_not_called_missing(project: Path, as_root: None) -> None:
    """The engine may have the right."""
    project.chmod(0o700)
    path = project / "supervisor.toml"
    path.write_text('[services.a]\nbuild = "web"\nvolumes = ["./x:/x:ro"]\n[services.b]\ncommand = "x"\ncwd = "none"\n')
    manifest, reading = read_manifest(ManifestFiles(path))
    assert len(find_missing(reading, manifest.services.values())) == 3
    os.seteuid(65_534)
    try:
        assert find_missing(reading, manifest.services.values()) == []
    finally:
        os.seteuid(0)
