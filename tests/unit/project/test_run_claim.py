"""The run of a project directory: its name in the kernel, the claim on it, and how a command finds its supervisor."""

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from minikube.errors import StartError
from minikube.linux import processes
from minikube.project import run_lookup
from minikube.project.run_claim import RunClaim
from minikube.project.run_lookup import Run, find_run
from minikube.project.run_name import connect, listed_names, run_name
from minikube.project_dir import LOCK_FILE, SupervisorRecord, directory_id, write_supervisor_record


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The `.minikube` of a project."""
    directory = tmp_path / "project" / ".minikube"
    directory.mkdir(parents=True)
    return directory


@pytest.fixture
def claim(state: Path) -> Iterator[RunClaim]:
    claim = RunClaim(state)
    claim.take()
    yield claim
    claim.close()


def record_of(state: Path) -> SupervisorRecord:
    """Return the record of a supervisor that is this process."""
    pid, root = os.getpid(), state.parent
    return SupervisorRecord(
        pid,
        os.getppid(),
        processes.start_time(pid),
        processes.boot_id(),
        "127.0.0.1:1",
        "127.0.0.1:2",
        str(root / "supervisor.toml"),
        str(root),
        directory_id(root),
    )


def answer(claim: RunClaim, record: SupervisorRecord) -> threading.Thread:
    """Answer one command as a supervisor does."""

    def serve() -> None:
        sock, _ = claim.socket.accept()
        with sock:
            sock.sendall(json.dumps({"record": asdict(record), "token": "secret"}).encode() + b"\n")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


def test_the_kernel_names_the_supervisor_whatever_becomes_of_its_files(state: Path, claim: RunClaim) -> None:
    shutil.rmtree(state)
    answer(claim, record_of(state))
    run = find_run(state, timeout=5)
    assert run is not None
    assert (run.pid, run.uid, run.token) == (os.getpid(), os.geteuid(), "secret")
    assert run.pids == [os.getpid(), os.getppid()]


def test_the_pids_of_a_record_from_another_pid_namespace_are_not_used(state: Path, claim: RunClaim) -> None:
    """They are those of other processes here, which a command would wait for or kill."""
    answer(claim, replace(record_of(state), pid=2, guardian_pid=1))
    run = find_run(state, timeout=5)
    assert run is not None
    assert run.pids == [os.getpid()]
    assert Run(0, run.uid, run.record).pids == []


def test_a_supervisor_is_found_by_a_program_with_many_descriptors(state: Path, claim: RunClaim) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limits[0], 2_048), limits[1]))
    answer(claim, record_of(state))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1_100)]
    try:
        run = find_run(state, timeout=5)
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert run is not None
    assert run.record == record_of(state)


def test_a_directory_that_was_moved_keeps_its_supervisor_and_a_copy_has_none(state: Path, claim: RunClaim) -> None:
    write_supervisor_record(state, record_of(state))
    copy = shutil.copytree(state.parent, state.parent.with_name("copy"))
    moved = state.parent.rename(state.parent.with_name("moved"))
    answer(claim, record_of(state))
    assert find_run(moved / ".minikube", timeout=5) is not None
    # The original is at another place by now, but it is alive: its name is the kernel's word for it.
    write_supervisor_record(copy / ".minikube", replace(record_of(moved / ".minikube")))
    assert find_run(copy / ".minikube", timeout=0) is None


def test_a_supervisor_that_does_not_answer_is_found_by_its_record(state: Path, claim: RunClaim) -> None:
    write_supervisor_record(state, record_of(state))
    run = find_run(state, timeout=0)
    assert run is not None
    assert run.record == record_of(state)
    assert run.token == ""


def test_a_record_of_another_process_is_not_taken_for_the_supervisors(state: Path, claim: RunClaim) -> None:
    write_supervisor_record(state, replace(record_of(state), pid=os.getppid()))
    run = find_run(state, timeout=0)
    assert run is not None
    assert (run.pid, run.record) == (os.getpid(), None)


def test_without_a_listener_a_record_is_believed_while_its_process_lives(state: Path) -> None:
    """So a supervisor of an older version is found, and one in another network namespace."""
    record = record_of(state)
    write_supervisor_record(state, record)
    assert (run := find_run(state)) is not None
    assert run.pid == os.getpid()
    for wrong in (
        replace(record, start_time=1),
        replace(record, boot_id="of another boot"),
        replace(record, pid=2**22 + 1),
        replace(record, directory_id="1:1"),
    ):
        write_supervisor_record(state, wrong)
        assert find_run(state) is None, wrong


def test_an_older_versions_record_is_believed_unless_its_manifest_is_elsewhere(state: Path, tmp_path: Path) -> None:
    old = {"pid": os.getpid(), "control": "127.0.0.1:1", "manifest": str(state.parent / "supervisor.toml")}
    (state / "supervisor.json").write_text(json.dumps(old))
    assert find_run(state) is not None
    copy = shutil.copytree(state.parent, tmp_path / "copy")
    assert find_run(copy / ".minikube") is None


def test_an_older_versions_record_may_name_a_directory_that_may_not_be_entered(
    state: Path, tmp_path: Path, as_nobody: None
) -> None:
    record = replace(record_of(state), manifest=str(tmp_path / "x" / "supervisor.toml"), directory="", directory_id="")
    assert run_lookup._is_of(record, Path("/"))


def test_a_record_whose_directory_is_gone_was_moved_to_another_disk(state: Path) -> None:
    write_supervisor_record(state, replace(record_of(state), directory="/no/such/place", directory_id="1:1"))
    assert find_run(state) is not None


def test_one_run_has_a_project_at_a_time(state: Path, claim: RunClaim) -> None:
    second = RunClaim(state)
    with pytest.raises(StartError, match=rf"is running already \(pid {os.getpid()}\)"):
        second.take()
    assert not second.is_taken
    second.close()


def test_the_name_keeps_a_second_run_out_where_the_lock_was_removed(state: Path, claim: RunClaim) -> None:
    shutil.rmtree(state)
    state.mkdir()
    second = RunClaim(state)
    assert not second.try_take()
    second.close()


def test_the_lock_keeps_a_second_run_out_where_the_name_does_not_reach(state: Path, claim: RunClaim) -> None:
    """In another network namespace, and for supervisors of older versions."""
    code = (
        "import sys; from pathlib import Path; from minikube.project.run_claim import RunClaim;"
        "sys.exit(RunClaim(Path(sys.argv[1])).try_take())"
    )
    done = subprocess.run(["unshare", "-n", sys.executable, "-c", code, str(state)], capture_output=True, text=True)
    if "unshare" in done.stderr:
        pytest.skip(done.stderr)
    assert (done.returncode, done.stderr) == (0, "")
    claim.close()
    done = subprocess.run(["unshare", "-n", sys.executable, "-c", code, str(state)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_run_that_is_ending_is_waited_for(state: Path) -> None:
    first, second = RunClaim(state), RunClaim(state)
    first.take()
    first.stop_listening()
    assert find_run(state) is None, "commands find no supervisor any more"
    ending = threading.Timer(0.05, first.close)
    ending.start()
    second.take(timeout=10)
    assert second.is_taken
    second.close()


def test_a_run_that_does_not_end_is_named_after_the_time_out(state: Path) -> None:
    first, second = RunClaim(state), RunClaim(state)
    first.take()
    first.socket.close()  # only the lock is left, with the pid in it
    with pytest.raises(StartError, match=rf"is running already \(pid {os.getpid()}\)"):
        second.take(timeout=0.02)
    first.close()
    second.close()


def test_a_guardian_that_kills_what_its_supervisor_left_has_no_supervisor(state: Path) -> None:
    """The socket is open in the guardian, but the process that listened is dead."""
    claim = RunClaim(state)
    child = os.fork()
    if child == 0:
        claim.take()
        os._exit(0)
    os.waitpid(child, 0)
    assert claim.is_taken, "what the supervisor took is the guardian's, too"
    listener = connect(run_name(state.parent))
    assert listener is not None
    listener.sock.close()
    assert find_run(state, timeout=0) is None
    claim.close()


def test_a_lock_file_that_was_removed_or_replaced_is_locked_again(state: Path, claim: RunClaim) -> None:
    assert not claim.renew()
    for replace_lock in (Path.unlink, lambda path: path.unlink() or path.symlink_to("/dev/null")):
        replace_lock(state / LOCK_FILE)
        assert claim.renew()
        assert not claim.renew()
        assert (state / LOCK_FILE).read_text() == f"{os.getpid()}\n"
        other = RunClaim(state)
        claim.socket.close()
        assert not other.try_take(), "the new file is locked"
        other.close()


@contextmanager
def listener_of_nobody(name: str) -> Iterator[int]:
    """Let a process of the user `nobody` listen at a name; yield its pid."""
    code = (
        "import os, socket, sys; os.setuid(65534); sock = socket.socket(socket.AF_UNIX);"
        "sock.bind('\\0' + sys.argv[1]); sock.listen(); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as popen:
        assert popen.stdin is not None
        assert popen.stdout is not None
        popen.stdout.readline()
        yield popen.pid
        popen.stdin.close()


def test_a_user_that_must_not_run_the_project_cannot_keep_it_from_running(state: Path, as_root: None) -> None:
    """Any user can take the project's name, and listen there: such a listener is passed over."""
    with listener_of_nobody(run_name(state.parent)):
        assert find_run(state, timeout=0) is None
        claim, second = RunClaim(state), RunClaim(state)
        assert claim.try_take(), "at once, not after a time-out"
        claim.take()
        assert (run := find_run(state, timeout=0)) is not None
        assert run.pid == os.getpid()
        with pytest.raises(StartError, match="is running already"):
            second.take()
        second.close()
        claim.close()


@pytest.mark.parametrize("owned", ["project", "project/.minikube"])
def test_the_owners_of_the_directory_may_be_its_supervisors_user(
    state: Path, tmp_path: Path, as_root: None, owned: str
) -> None:
    os.chown(tmp_path / owned, 65534, 65534)
    with listener_of_nobody(run_name(state.parent)) as pid:
        run = find_run(state, timeout=0)
        assert run is not None
        assert (run.pid, run.uid, run.record) == (pid, 65534, None)


def test_a_directory_that_takes_the_projects_place_gets_its_name_and_one_that_is_gone_none(
    tmp_path: Path, claim: RunClaim
) -> None:
    assert claim.add_name(tmp_path / "gone") is None
    added = claim.add_name(tmp_path)
    assert added is not None
    with added:
        assert run_name(tmp_path) in listed_names()
        assert claim.add_name(tmp_path) is None


def test_the_names_of_running_projects_are_listed(state: Path, claim: RunClaim) -> None:
    assert run_name(state.parent) in listed_names()
    claim.close()
    assert run_name(state.parent) not in listed_names()


def test_a_directory_that_is_not_there_has_no_name_and_no_run(tmp_path: Path) -> None:
    assert run_name(tmp_path / "nowhere") == ""
    assert find_run(tmp_path / "nowhere" / ".minikube") is None


@pytest.mark.parametrize("sent", [b" ", b"x\n", b"[]\n", b'{"record": {"pid": 0}}\n', b'{"record": 3}\n'])
def test_an_answer_that_is_no_record_is_no_record(state: Path, claim: RunClaim, sent: bytes) -> None:
    def serve() -> None:
        sock, _ = claim.socket.accept()
        with sock:
            sock.sendall(sent)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    run = find_run(state, timeout=5)
    thread.join(5)
    assert run is not None
    assert (run.pid, run.record) == (os.getpid(), None)


def test_a_user_without_a_name_is_named_by_number() -> None:
    assert run_lookup.user_name(0) == "root"
    assert run_lookup.user_name(4_000_000_001) == "4000000001"


def test_a_run_whose_services_have_stopped_is_waited_for(state: Path, claim: RunClaim) -> None:
    ending = replace(record_of(state), control="", ending=True)

    def serve() -> None:
        for _ in range(3):
            sock, _ = claim.socket.accept()
            with sock, suppress(OSError):
                # NOSIGNAL: a command line that ran in this process may have left the default action of PIPE.
                sock.sendall(json.dumps({"record": asdict(ending)}).encode() + b"\n", socket.MSG_NOSIGNAL)
        claim.close()

    second = RunClaim(state)
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    second.take(timeout=10)
    thread.join(10)
    assert second.is_taken
    second.close()
