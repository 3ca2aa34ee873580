"""The address of a project's supervisor and the token for its control API, from the supervisor or from `.minikube/`.

It refuses to write, to use a token file that another user owns or can read, and to act on another user's project, unless
root asks.
"""

# Standard library only: every short-lived command of the command line imports this module.

import os
import re
import stat
import time
from dataclasses import dataclass, field
from pathlib import Path

from minikube import __version__
from minikube.addresses import join_host_port, split_host_port
from minikube.errors import MinikubeError, NothingRunning, Unresponsive
from minikube.project.run_lookup import ANSWER_TIMEOUT_S, Run, find_run, user_name
from minikube.project_dir import RECORD_FORMAT, TOKEN_FILE, project_dir, read_run_end

TOKEN_PATTERN = re.compile(r"[0-9a-f]{64}")
"""256 bits in hex: safe in a header, a file and a shell."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a control API and its token."""

    host: str
    port: int
    token: str = field(repr=False)
    pid: int = 0
    """Pid of the supervisor, for messages; 0 if it is not known."""
    manifest: str = ""
    """Path of the manifest that the supervisor runs; empty if it is not known."""
    version: str = ""
    """Version of the supervisor; empty if it is not known."""

    @property
    def netloc(self) -> str:
        """The address as in a Host header: `127.0.0.1:5556` or `[::1]:5556`."""
        return join_host_port(self.host, self.port)

    @property
    def url(self) -> str:
        """The URL of the control API."""
        return f"http://{self.netloc}"


def find_supervisor(manifest: Path, timeout: float = ANSWER_TIMEOUT_S) -> Endpoint:
    """Return the endpoint of the supervisor that runs the project of this manifest.

    Raises `NothingRunning` if none does, `Unresponsive` if one does not answer, and `MinikubeError` if another user's does, or
    one of a version that this one does not understand. Waits up to `timeout` seconds for the supervisor's answer.
    """
    directory = project_dir(manifest)
    run = find_run(directory, timeout)
    if run is None:
        raise nothing_running(manifest, directory)
    return endpoint_of(run, directory)


def endpoint_of(run: Run, directory: Path) -> Endpoint:
    """Return the endpoint of a run of the project whose `.minikube` is `directory`. Raises as `find_supervisor` does."""
    check_owner(run, directory)
    record = run.record
    if record is None:
        raise Unresponsive(
            f"{directory.parent}: the supervisor (pid {run.pid}) does not answer — `minikube down --now` ends it"
        )
    if record.format > RECORD_FORMAT:
        raise MinikubeError(
            f"{directory.parent}: is run by minikube {record.version}, which this one ({__version__}) is too old for"
            f" — use minikube {record.version}, or end it: kill {run.pid}"
        )
    try:
        host, port = _split(record.control)
    except ValueError:
        what = "ending: its services have stopped" if record.ending else "still starting"
        raise NothingRunning(
            f"{directory.parent}: the supervisor (pid {run.pid}) is {what} — try again in a moment"
        ) from None
    token = run.token or read_token(directory, run.uid)
    return Endpoint(host, port, token, run.pid, record.manifest, record.version)


def make_endpoint(control: str, token: str, pid: int) -> Endpoint:
    """Return the endpoint at `control` (`HOST:PORT`). Raises ValueError for another text."""
    return Endpoint(*_split(control), token, pid)


def check_owner(run: Run, directory: Path) -> None:
    """Raise `MinikubeError` where the run is another user's and this process is not root's."""
    if run.uid != os.geteuid() and os.geteuid() != 0:
        user = user_name(run.uid)
        advice = f"use it as that user: sudo -u {user} minikube …"
        raise MinikubeError(f"{directory.parent}: a project of user {user} runs here (pid {run.pid}) — {advice}")


def nothing_running(manifest: Path, directory: Path) -> NothingRunning:
    """Return the error for a project that does not run; it says when and why the last run ended, unless a user stopped it."""
    if not manifest.exists() and not directory.exists():
        return NothingRunning(
            f"{manifest}: nothing is running, and there is no such file — go to a project's directory, or name its manifest"
        )
    return NothingRunning(
        f"{manifest}: nothing is running{_last_end(directory)} — start it with `minikube up {manifest}`"
    )


def _last_end(directory: Path) -> str:
    """Return a text in brackets: when and why the last run ended. Empty if a user stopped it."""
    end = read_run_end(directory)
    if end is None:
        return ""
    try:
        moment = time.localtime(end.time)
    except (OverflowError, ValueError, OSError):
        return ""
    day = "" if moment[:3] == time.localtime()[:3] else "%Y-%m-%d "
    return f" (the last run ended at {time.strftime(f'{day}%H:%M:%S', moment)}: {end.why})"


def read_token(directory: Path, owner: int | None = None) -> str:
    """Return the token in a project directory. Raise `NothingRunning` if there is none, `MinikubeError` if it is unsafe.

    `owner` is the user of the supervisor, None for this process' user; the file has to be theirs.
    """
    path = directory / TOKEN_FILE
    owner = os.geteuid() if owner is None else owner
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise NothingRunning(f"{path}: there is no token — start with `minikube up`") from None
    except OSError as error:
        raise MinikubeError(f"{path}: cannot read the token: {error.strerror}") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != owner or stat.S_IMODE(found.st_mode) & 0o077:
            raise MinikubeError(f"{path}: not a private file of user {user_name(owner)} — remove it and start again")
        text = os.read(descriptor, 256).decode("ascii", "replace").strip()
    finally:
        os.close(descriptor)
    if not TOKEN_PATTERN.fullmatch(text):
        raise MinikubeError(f"{path}: not a token — remove it and start again")
    return text


def _split(address: str) -> tuple[str, int]:
    """Return the host and the port to connect to; a wildcard address is replaced by the loopback address."""
    host, port = split_host_port(address)
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port
