"""The address of a project's supervisor and the token for its control API, read from `.minikube/`.

It refuses to write, and to use a token file that another user owns or can read.
"""

# Standard library only: every short-lived command of the command line imports this module.

import os
import re
import stat
import time
from dataclasses import dataclass, field
from pathlib import Path

from minikube.addresses import join_host_port, split_host_port
from minikube.errors import MinikubeError, NothingRunning
from minikube.project_dir import TOKEN_FILE, project_dir, read_run_end, read_supervisor_record

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

    @property
    def netloc(self) -> str:
        """The address as in a Host header: `127.0.0.1:5556` or `[::1]:5556`."""
        return join_host_port(self.host, self.port)

    @property
    def url(self) -> str:
        """The URL of the control API."""
        return f"http://{self.netloc}"


def find_supervisor(manifest: Path) -> Endpoint:
    """Return the endpoint of the supervisor that runs this manifest, without connecting. Raise `NothingRunning` if none does."""
    directory = project_dir(manifest)
    record = read_supervisor_record(directory)
    if record is None or not _is_alive(record.pid):
        raise _nothing_running(manifest, directory)
    try:
        host, port = _split(record.control)
    except ValueError:
        raise _nothing_running(manifest, directory) from None
    return Endpoint(host, port, read_token(directory), record.pid)


def _nothing_running(manifest: Path, directory: Path) -> NothingRunning:
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


def endpoint_at(manifest: Path, control: str) -> Endpoint:
    """Return the endpoint at `control` (`HOST:PORT`) with the token of this manifest's project, without any check."""
    return Endpoint(*_split(control), read_token(project_dir(manifest)))


def read_token(directory: Path) -> str:
    """Return the token in a project directory. Raise `NothingRunning` if there is none, `MinikubeError` if it is unsafe."""
    path = directory / TOKEN_FILE
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise NothingRunning(f"{path}: there is no token — start with `minikube up`") from None
    except OSError as error:
        raise MinikubeError(f"{path}: cannot read the token: {error.strerror}") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise MinikubeError(f"{path}: not a private file of this user — remove it and start again")
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


def _is_alive(pid: int) -> bool:
    """Return whether the process is alive. A zombie is not."""
    if pid <= 0:
        return False
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    except OSError:
        return True
    return text.rpartition(")")[2].split()[:1] not in (["Z"], ["X"])
