"""Podman instead of Docker: the three networks, a kill, a hang, no container left. Skipped where Podman cannot run."""

import json
import os
import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.engine import Built
from tests.e2e.running import Project
from tests.eventually import eventually

pytestmark = pytest.mark.timeout(600)

IMAGE = "localhost/minikube-test-podman"
SERVE = 'command = ["python3", "-m", "http.server", "8000"]\nruntime = "container"\nhealth = "/"\n'
MANIFEST = f"""
[containers]
engine = "podman"

[services.shared]
image = "{IMAGE}"
command = ["python3", "-m", "http.server", "${{PORT}}", "--bind", "${{HOST}}"]
runtime = "container"
port = "auto"
health = "/"

[services.published]
image = "{IMAGE}"
port = "auto"
container_port = 8000
{SERVE}
[services.own]
image = "{IMAGE}"
port = 8000
network = "project"
{SERVE}
[services.missing]
image = "localhost/no-such-image"
pull = "never"
"""


class Podman:
    """Podman with a storage of its own, and with settings under which it runs inside a container or VM."""

    def __init__(self, directory: Path, program: str) -> None:
        self.directory = directory
        self.bin = directory / "bin"
        self.settings = directory / "containers.conf"
        self.bin.mkdir()
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        # The limits that Podman asks for by default may be more than we have; crun refuses hybrid control groups.
        limits = f'[containers]\ndefault_ulimits = ["nofile={most}:{most}", "nproc=4096:4096"]\n'
        self.settings.write_text(limits + ('[engine]\nruntime = "runc"\n' if shutil.which("runc") else ""))
        options = f"--log-level error --root {directory}/root --runroot {directory}/run"
        wrapper = self.bin / "podman"
        wrapper.write_text(f'#!/bin/sh\nTMPDIR={directory} exec {program} {options} "$@"\n')
        wrapper.chmod(0o755)

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [str(self.bin / "podman"), *arguments]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)

    def names(self, what: str) -> list[str]:
        arguments = ("ps", "--all") if what == "containers" else ("network", "ls")
        form = "{{.Names}}" if what == "containers" else "{{.Name}}"
        found = self.run(*arguments, "--filter", "label=mini-kube-discovery.mark", "--format", form)
        assert found.returncode == 0, found.stderr
        return found.stdout.split()


@pytest.fixture
def podman(built: Built, need: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Podman]:
    program = need("podman")
    directory = Path(tempfile.mkdtemp(prefix="podman-"))  # Podman takes no run directory of more than 50 characters
    engine = Podman(directory, program)
    monkeypatch.setenv("PATH", f"{engine.bin}:{os.environ['PATH']}")
    monkeypatch.setenv("CONTAINERS_CONF", str(engine.settings))
    try:
        imported = engine.run("import", str(built.archive), IMAGE)
        probe = engine.run("run", "--rm", "--network", "host", "--log-driver", "none", IMAGE, "true")
        if imported.returncode or probe.returncode:
            pytest.skip(f"podman runs no container here: {(imported.stderr + probe.stderr).strip()[-400:]}")
        yield engine
    finally:
        engine.run("rm", "--all", "--force", "--time", "0")
        engine.run("system", "reset", "--force")
        shutil.rmtree(directory, ignore_errors=True)


def test_podman_runs_the_same_manifest_and_keeps_the_same_promises(tmp_path: Path, podman: Podman) -> None:
    project = Project(tmp_path)
    text = "".join(f'[{name}]\nlisten = "127.0.0.1:{project.ports[name]}"\n' for name in ("registry", "control"))
    project.manifest.write_text(text + MANIFEST)
    names = ("shared", "published", "own")
    try:
        project.start()
        project.wait_passing(*names)
        assert len(podman.names("containers")) == 3
        assert not project.instance("own")["address"].startswith("127.")
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
