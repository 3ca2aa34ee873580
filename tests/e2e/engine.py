"""Docker's engine for tests: a base image made from this machine (none can be pulled), the project's images, networks.

Uses the `docker` command with the classic builder, which Debian's `docker.io` and newer clients both have.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from tests.e2e import debian

ROOT = Path(__file__).resolve().parent.parent.parent
LABEL = "mini-kube-discovery.test"
TARGETS = ("minikube", "product", "order")
CONTEXT = ("Dockerfile", ".dockerignore", "LICENSE", "README.md", "pyproject.toml", "requirements.lock")
TREES = ("minikube", "services", "tui")
WAIT_S = 60.0


def docker(*arguments: str, env: Mapping[str, str] | None = None, timeout: float = 300) -> str:
    """Run one `docker` command and return its output. Raises AssertionError with the output when it fails."""
    environment = {**os.environ, "DOCKER_BUILDKIT": "0", **(env or {})}
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, env=environment, timeout=timeout)
    if done.returncode:
        raise AssertionError(f"docker {arguments[0]}: {(done.stdout + done.stderr).strip()[-4000:]}")
    return done.stdout.strip()


def answers() -> bool:
    """Return whether an engine answers."""
    try:
        return subprocess.run(["docker", "info"], capture_output=True, timeout=30).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


BASE = ("python3-venv", "libstdc++6", "busybox")
"""The Debian packages that the Dockerfile's BASE has to have, and small servers for other tests."""


def make_context(directory: Path) -> Path:
    """Make a build context: the sources, and the wheels of the lock file, because a build reaches no package index."""
    context = directory / "context"
    context.mkdir()
    for name in CONTEXT:
        shutil.copy(ROOT / name, context / name)
    for name in TREES:
        shutil.copytree(ROOT / name, context / name, ignore=shutil.ignore_patterns("__pycache__"))
    # Without markers: the base's Python may need packages that this one does not.
    pins = directory / "pins.txt"
    pins.write_text(re.sub(r" ; .* \\$", r" \\", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE))
    command = [sys.executable, "-m", "pip", "download", "-q", "--require-hashes", "--only-binary=:all:"]
    subprocess.run([*command, "-r", str(pins), "-d", str(context / "wheels")], check=True)
    return context


class Base(NamedTuple):
    """The image that others are built on, and its archive."""

    name: str
    archive: Path


class Built(NamedTuple):
    """The base image, the targets' images by name, and the build context."""

    base: str
    tags: dict[str, str]
    context: Path


@contextlib.contextmanager
def base_image(directory: Path) -> Iterator[Base]:
    """Make the base image, and remove it at the end."""
    name = f"minikube-test-{uuid4().hex[:8]}:base"
    archive = directory / "base.tar"
    debian.archive(archive, *BASE)
    docker("import", str(archive), name)
    try:
        yield Base(name, archive)
    finally:
        with contextlib.suppress(AssertionError):
            docker("image", "rm", "--force", name)


@contextlib.contextmanager
def built_images(base: Base, directory: Path) -> Iterator[Built]:
    """Build all targets; remove them and the intermediate images at the end."""
    name = base.name.partition(":")[0]
    tags = {target: f"{name}:{target}" for target in TARGETS}
    try:
        context = make_context(directory)
        for target, tag in tags.items():
            arguments = (
                *("--build-arg", f"BASE={base.name}", "--build-arg", "PIP_NO_INDEX=1"),
                *("--label", f"{LABEL}={name}"),
            )
            docker("build", *arguments, "--target", target, "--tag", tag, str(context))
        yield Built(base.name, tags, context)
    finally:
        with contextlib.suppress(AssertionError):
            docker("image", "rm", "--force", *tags.values())
        with contextlib.suppress(AssertionError):
            docker("image", "prune", "--force", "--filter", f"label={LABEL}={name}")


class Network:
    """A network; a context manager that removes it and its containers."""

    def __init__(self) -> None:
        self.name = f"minikube-test-{uuid4().hex[:8]}"

    def __enter__(self) -> "Network":
        docker("network", "create", self.name)
        return self

    def __exit__(self, *_: object) -> None:
        containers = docker("ps", "--all", "--quiet", "--filter", f"network={self.name}").split()
        if containers:
            docker("rm", "--force", "--volumes", *containers)
        docker("network", "rm", self.name)


def health(container: str) -> str:
    """Return the result of the image's HEALTHCHECK, `starting`, `healthy` or `unhealthy`; `exited` where it does not run."""
    state = "{{if .State.Running}}{{.State.Health.Status}}{{else}}exited{{end}}"
    return docker("inspect", "--format", state, container)


def wait_healthy(container: str) -> None:
    """Wait until the container's own health check passes."""
    wait_until(lambda: health(container) == "healthy", "healthy", container)


def logs(container: str) -> str:
    """Return the container's output."""
    done = subprocess.run(["docker", "logs", container], capture_output=True, text=True)
    return done.stdout + done.stderr


def wait_until(condition: Callable[[], bool], what: str, container: str) -> None:
    """Wait until the condition holds. Raises AssertionError with the container's output after `WAIT_S`."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not after {WAIT_S:g} s\n{container} printed:\n{logs(container)}")
        time.sleep(0.05)
