"""Podman without root, as the engine of a user that exists for the time of a test. Its image mounts this machine's `/usr`."""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.chaos.engine import image

IMAGE = "localhost/minikube-test-rootless"
TUN = "mount -t tmpfs -o mode=755 tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200"
"""In a mount namespace: the device of slirp4netns, which some machines keep for root."""


@contextlib.contextmanager
def rootless_podman(need: Callable[[str], str]) -> Iterator[Path]:
    """Make `podman` on the PATH that of a new user; yield a directory that this user may read.

    Skips the test where such a Podman runs no container on a network. The supervisor of a project may be root all the same.
    """
    programs = {name: need(name) for name in ("podman", "newuidmap", "slirp4netns", "useradd", "userdel", "setpriv")}
    user = f"mk-{uuid4().hex[:8]}"
    directory = Path(tempfile.mkdtemp(prefix=f"{user}-", dir="/tmp"))
    directory.chmod(0o755)
    home = directory / "home"
    subprocess.run([programs["useradd"], "--create-home", "--home-dir", str(home), user], check=True)
    uid = home.stat().st_uid
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", f"{_wrapper(directory, user, programs)}:{os.environ['PATH']}")
            imported = subprocess.run(["podman", "import", "-", IMAGE], input=image(), capture_output=True)
            words = ("run", "--rm", "--volume", "/usr:/usr:ro", "--log-driver", "none", IMAGE, "true")
            made = subprocess.run(["podman", "network", "create", "probe"], capture_output=True)
            probe = subprocess.run(["podman", words[0], "--network", "probe", *words[1:]], capture_output=True)
            if imported.returncode or made.returncode or probe.returncode:
                error = (imported.stderr + made.stderr + probe.stderr).decode("utf-8", "replace").strip()
                pytest.skip(f"podman runs no container without root here: {error[-400:]}")
            subprocess.run(["podman", "network", "rm", "probe"], capture_output=True)
            yield directory
            subprocess.run(["podman", "system", "reset", "--force"], capture_output=True)
    finally:
        _end_processes(uid)
        subprocess.run([programs["userdel"], user], check=True, capture_output=True)
        shutil.rmtree(directory, ignore_errors=True)


def _wrapper(directory: Path, user: str, programs: dict[str, str]) -> Path:
    """Make a directory with a `podman` that runs as the user, and return it."""
    (run := directory / "run").mkdir(mode=0o700)
    shutil.chown(run, user)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    settings = directory / "containers.conf"
    limits = f'[containers]\ndefault_ulimits = ["nofile={most}:{most}", "nproc=4096:4096"]\n'
    settings.write_text(limits + ('[engine]\nruntime = "runc"\n' if shutil.which("runc") else ""))
    (directory / "bin").mkdir()
    wrapper = directory / "bin" / "podman"
    own = f"HOME={directory}/home USER={user} XDG_RUNTIME_DIR={run} TMPDIR={run} CONTAINERS_CONF={settings}"
    as_user = f"{programs['setpriv']} --reuid={user} --regid={user} --init-groups env {own}"
    command = f'{TUN}; exec {as_user} {programs["podman"]} --log-level error "$@"'
    wrapper.write_text(f"#!/bin/sh\ncd {directory}\nexec unshare --mount sh -c '{command}' sh \"$@\"\n")
    wrapper.chmod(0o755)
    return wrapper.parent


def _end_processes(uid: int) -> None:
    """Kill what runs as a user, such as the process that holds Podman's namespaces, and wait for its end."""
    deadline = time.monotonic() + 30
    while found := [int(path.name) for path in Path("/proc").glob("[0-9]*") if _owner(path) == uid]:
        assert time.monotonic() < deadline, f"processes of user {uid} do not end: {found}"
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _owner(path: Path) -> int:
    try:
        return path.stat().st_uid
    except OSError:
        return -1
