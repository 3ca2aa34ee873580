"""Podman instead of Docker: both networks, a kill, a hang, no container left. Skipped where Podman cannot run."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.e2e.podman import IMAGE, Podman
from tests.e2e.running import Project
from tests.eventually import eventually

pytestmark = pytest.mark.timeout(600)

SERVE = 'command = ["python3", "-m", "http.server", "8000"]\nruntime = "container"\nhealth = "/"\n'
MANIFEST = f"""
[containers]
engine = "podman"

[services.shared]
image = "{IMAGE}"
command = ["python3", "-m", "http.server", "${{PORT}}", "--bind", "${{HOST}}"]
network = "host"
port = "auto"
health = "/"

[services.published]
image = "{IMAGE}"
port = "auto"
container_port = 8000
{SERVE}
[services.missing]
image = "localhost/no-such-image"
pull = "never"
"""


def test_podman_runs_the_same_manifest_and_keeps_the_same_promises(tmp_path: Path, podman: Podman) -> None:
    project = Project(tmp_path)
    text = "".join(f'[{name}]\nlisten = "127.0.0.1:{project.ports[name]}"\n' for name in ("registry", "control"))
    project.manifest.write_text(text + MANIFEST)
    names = ("shared", "published")
    try:
        project.start()
        project.wait_passing(*names)
        assert len(podman.names("containers")) == 2
        assert project.instance("shared")["address"].startswith("127.")
        assert not project.instance("published")["address"].startswith("127.")
        eventually(lambda: project.instance("missing").get("state") == "fatal")
        assert "no image localhost/no-such-image here" in project.instance("missing")["reason"]

        os.kill(project.instance("published")["pid"], signal.SIGKILL)
        eventually(lambda: project.instance("published")["restarts"] == 1)
        (shared,) = (name for name in podman.names("containers") if name.endswith("-shared"))
        assert podman.run("pause", shared).returncode == 0
        eventually(lambda: not project.found("shared"))
        assert podman.run("unpause", shared).returncode == 0
        eventually(lambda: project.found("shared"))
        project.wait_passing(*names)

        os.kill(json.loads((tmp_path / ".minikube" / "supervisor.json").read_text())["pid"], signal.SIGKILL)
        eventually(lambda: podman.names("containers") == [], what="no container")
        assert project.up is not None
        project.up.wait(timeout=90)
        assert podman.names("networks") == []
        project.start()
        project.wait_passing(*names)
        assert project.stop() == 0
        assert podman.names("containers") == podman.names("networks") == []
    except AssertionError as error:
        raise AssertionError(f"{error}\n{project.output.read_text()}") from None
    finally:
        if project.up is not None and project.up.poll() is None:
            project.up.terminate()
            project.up.wait(timeout=90)
