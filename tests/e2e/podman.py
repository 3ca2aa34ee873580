"""Podman for tests, with a storage of its own and one image, the same base as that of Docker's tests."""

import contextlib
import os
import resource
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

IMAGE = "localhost/minikube-test-podman"


class Podman:
    """Podman with a storage of its own, and with settings under which it runs inside a container or VM."""

    def __init__(self, directory: Path, program: str) -> None:
        self.directory = directory
        self.bin = directory / "bin"
        self.settings = directory / "containers.conf"
        self.bin.mkdir()
        self.settings.write_text(settings(directory))
        options = f"--log-level error --root {directory}/root --runroot {directory}/run --tmpdir {directory}/tmp"
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


def settings(directory: Path) -> str:
    """Return a `containers.conf` under which several Podmans run side by side: nothing of one is another's, not even a subnet."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    number = 100 + zlib.crc32(bytes(directory)) % 150
    # The limits that Podman asks for by default may be more than we have; crun refuses hybrid control groups.
    return f"""
[containers]
default_ulimits = ["nofile={most}:{most}", "nproc=4096:4096"]
[engine]
lock_type = "file"
{'runtime = "runc"' if shutil.which("runc") else ""}
[network]
network_config_dir = "{directory}/networks"
default_subnet_pools = [{{ base = "10.{number}.0.0/16", size = 24 }}]
"""


@contextlib.contextmanager
def own_podman(program: str, archive: Path) -> Iterator[Podman]:
    """Make `podman` on the PATH a Podman of the test's own with the image; skip the test where it runs no container."""
    directory = Path(tempfile.mkdtemp(prefix="podman-"))  # Podman takes no run directory of more than 50 characters
    engine = Podman(directory, program)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{engine.bin}:{os.environ['PATH']}")
        patch.setenv("CONTAINERS_CONF", str(engine.settings))
        try:
            imported = engine.run("import", str(archive), IMAGE)
            probe = engine.run("run", "--rm", "--network", "host", "--log-driver", "none", IMAGE, "true")
            if imported.returncode or probe.returncode:
                pytest.skip(f"podman runs no container here: {(imported.stderr + probe.stderr).strip()[-400:]}")
            yield engine
        finally:
            # Not `system reset`, which also removes what other Podmans of this machine have in /run and /etc.
            engine.run("rm", "--all", "--force", "--time", "0")
            shutil.rmtree(directory, ignore_errors=True)
