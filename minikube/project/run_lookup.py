"""Which supervisor runs a project directory: asked of the kernel, then of the supervisor itself, and of files only at last.

    1. the listener at the directory's name (`run_name`) is the supervisor; it sends its record and, to its own user and
       root, its token; so the state of `.minikube` does not matter
    2. a supervisor that does not answer in time is found by the record in `.minikube`, where that names the same process
    3. without a listener, by the record alone: a supervisor of an older version, or one in another network namespace

A record is believed where its process is alive and it is about this directory: a copied `.minikube` names the supervisor of the
original. Standard library only, because every short command imports it. It refuses to stop anything.
"""

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from minikube.linux import processes
from minikube.project.run_name import (
    Listener,
    connect,
    is_of_other_directory,
    is_trusted,
    listed_names,
    listener_pids,
    run_name,
)
from minikube.project_dir import (
    PROJECT_DIR,
    SupervisorRecord,
    directory_id,
    parse_supervisor_record,
    read_supervisor_record,
)

ANSWER_TIMEOUT_S = 0.5
"""For the supervisor's answer at its name, which it gives from memory; one that starts or hangs takes longer."""

ANSWER_LIMIT = 65_536
CLOSED_TRIES = 5
"""How often a listener is asked that closes the connection without an answer."""


@dataclass(frozen=True, slots=True)
class Run:
    """A supervisor that is alive and runs the project directory in question."""

    pid: int
    """0: the supervisor is in a pid namespace that this process cannot see."""
    uid: int
    record: SupervisorRecord | None
    """None: it is starting, or it neither answers nor has a record in the project directory."""
    token: str = field(default="", repr=False)
    """The token of the control API, where the supervisor has sent it."""

    @property
    def pids(self) -> list[int]:
        """The pids of the supervisor and, where it is known, of its guardian, in the order in which they end.

        Empty for a supervisor in a pid namespace that this process cannot see.
        """
        # A record that names another pid was written in another pid namespace: its pids are other processes' here.
        guardian = self.record.guardian_pid if self.record is not None and self.record.pid == self.pid else 0
        return [pid for pid in (self.pid, guardian) if pid > 0]


def find_named_run(directory: Path, timeout: float = ANSWER_TIMEOUT_S) -> Run | None:
    """Return the run that the name or the record of a project directory leads to; None where there is none.

    Unlike `find_run` it passes over a supervisor whose directory was deleted and made again, and one whose name another user has.
    """
    name = run_name(directory.parent)
    return (_ask_name(name, directory, timeout) or _recorded_run(directory)) if name else None


def find_run(directory: Path, timeout: float = ANSWER_TIMEOUT_S) -> Run | None:
    """Return the run of a project whose `.minikube` is `directory`; None where there is none, or it has ended already.

    Waits up to `timeout` seconds for the supervisor's answer.
    """
    run = find_named_run(directory, timeout)
    name = run_name(directory.parent)
    if run is not None or not name:
        return run
    end = time.monotonic() + timeout
    if any(_is_run_of_path(other, directory.parent, end - time.monotonic()) for other in listed_names()):
        # The directory was deleted and made again, and so has another name. Its supervisor has taken that name now.
        return _ask_name(name, directory, timeout)
    for other in listed_names(f"{name}/"):  # a user that must not run the project has its own name
        if (run := _ask_name(other, directory, timeout)) is not None:
            return run
    return None


def processes_of_other_runs(directory: Path) -> list[int]:
    """Return the pids of the living supervisors of all other projects, of their guardians, and of all their descendants."""
    own = run_name(directory.parent)
    others = [name for name in listed_names() if name != own]
    roots = {pid for pid in listener_pids(others) if pid}  # not asked: a supervisor that hangs has processes, too
    for pid in list(roots):
        stat = processes.read_stat(pid)
        if stat is not None and stat.parent == stat.session:  # its guardian; a dead guardian's child has another parent
            roots.add(stat.parent)
    return [*roots, *processes.descendants(roots)]


def user_name(uid: int) -> str:
    """Return the name of a user for messages; the number where it has none."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _ask_name(name: str, directory: Path, timeout: float, tries: int = CLOSED_TRIES) -> Run | None:
    """Return the run whose supervisor listens at `name`; None where none does, or the listener is no supervisor of it."""
    listener = connect(name)
    if listener is None:
        return None
    is_dead = listener.pid and not processes.is_alive(listener.pid)  # its guardian has the socket, too
    if is_dead or not is_trusted(listener.uid, directory.parent):
        listener.sock.close()
        return None
    record, token = None, ""
    try:
        record, token = _receive(listener, timeout)
    except ConnectionError:
        if tries > 1:  # it may have ended meanwhile
            return _ask_name(name, directory, timeout, tries - 1)
    if record is None:
        found = read_supervisor_record(directory)
        record = found if found is not None and found.pid == listener.pid else None
    return Run(listener.pid, listener.uid, record, token)


def _is_run_of_path(name: str, root: Path, timeout: float) -> bool:
    """Return whether the supervisor at `name` says within `timeout` seconds that it runs the project directory `root`."""
    listener = connect(name) if timeout > 0 else None
    if listener is None:
        return False
    if not is_trusted(listener.uid, root):
        listener.sock.close()
        return False
    with contextlib.suppress(ConnectionError):
        record, _ = _receive(listener, timeout)
        return record is not None and Path(record.directory) == root
    return False


def _receive(listener: Listener, timeout: float) -> tuple[SupervisorRecord | None, str]:
    """Return the record and the token that a listener sends, and close the connection; (None, "") without an answer in time.

    Raises ConnectionError where the listener closes the connection without an answer.
    """
    end = time.monotonic() + timeout
    data = b""
    with listener.sock as sock:
        while len(data) < ANSWER_LIMIT and not data.endswith(b"\n"):
            # Not `select`, which takes no descriptor above 1023.
            sock.settimeout(max(end - time.monotonic(), 0.001))
            try:
                more = sock.recv(ANSWER_LIMIT)
            except TimeoutError:
                return None, ""
            if not more:
                break
            data += more
    if not data:
        raise ConnectionResetError
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
        found = json.loads(data)
        return parse_supervisor_record(found["record"]), str(found.get("token", ""))
    return None, ""


def _recorded_run(directory: Path) -> Run | None:
    """Return the run that the record in a project directory names, if its process is alive and it is about this directory."""
    record = read_supervisor_record(directory)
    if record is None or not processes.is_alive(record.pid) or not _is_of(record, directory.parent):
        return None
    if record.start_time is not None and record.start_time != processes.start_time(record.pid):
        return None  # the pid is another process' by now
    if record.boot_id not in ("", processes.boot_id()):
        return None
    with contextlib.suppress(OSError):
        return Run(record.pid, os.stat(f"/proc/{record.pid}").st_uid, record)
    return None


def _is_of(record: SupervisorRecord, root: Path) -> bool:
    """Return whether a record that lies in the project directory `root` is about it, and was not copied there."""
    if record.directory_id:
        return not is_of_other_directory(asdict(record), root / PROJECT_DIR)
    # Written by an older version, which names only the manifest.
    original = Path(record.manifest).parent if record.manifest else root
    return not os.path.exists(original) or directory_id(original) == directory_id(root)
