"""Where a project's supervisor listens and how to prove who asks (floor 2): reads `.minikube/`, nothing else.

Standard library only: every short-lived command of the CLI comes through here. It refuses to write, and to trust a
token file that others can read or own.
"""

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
"""256 bits, in hex: safe in a header, a file and a shell."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A control API and the token that opens it. The token never shows in `repr`."""

    host: str
    port: int
    token: str = field(repr=False)
    pid: int = 0
    """Whose it is, for messages; 0: not known."""

    @property
    def netloc(self) -> str:
        """`127.0.0.1:5556` or `[::1]:5556`: for the Host header and messages."""
        return join_host_port(self.host, self.port)

    @property
    def url(self) -> str:
        return f"http://{self.netloc}"


def find_supervisor(manifest: Path) -> Endpoint:
    """The endpoint of the supervisor that runs this manifest. Raises `NothingRunning`; does not connect."""
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
    what = f"nothing is running{_last_end(directory)}"
    return NothingRunning(f"{manifest}: {what} — start it with `minikube up {manifest}`")


def _last_end(directory: Path) -> str:
    """In brackets, when and why the last run ended, if nobody had asked for that."""
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
    """The endpoint of this manifest's supervisor that listens at `HOST:PORT`, whether it still does or not."""
    return Endpoint(*_split(control), read_token(project_dir(manifest)))


def read_token(directory: Path) -> str:
    """The token in a state directory. Raises `NothingRunning` without one, `MinikubeError` when it is not safe."""
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
    host, port = split_host_port(address)
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port


def _is_alive(pid: int) -> bool:
    """Whether it runs: one that is dead and that nobody reaps does not."""
    if pid <= 0:
        return False
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    except OSError:
        return True
    return text.rpartition(")")[2].split()[:1] not in (["Z"], ["X"])
