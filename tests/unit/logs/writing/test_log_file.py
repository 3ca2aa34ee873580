"""Log files that other programs and disks disturb: what is written goes on at the right path, and what is lost is counted."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from minikube.logs.file_format import rotated
from minikube.logs.filter import LogFilter
from minikube.logs.instance_log import InstanceLog
from minikube.logs.merged import read_backlog, read_new
from minikube.logs.query import ALL_LINES, LogQuery
from minikube.logs.writing.writer import LogWriter
from minikube.manifest import LogSpec
from tests.eventually import eventually
from tests.unit.logs.log_of import capture_in, read, reader_of
from tests.untraced import untraced

ALL = LogQuery(tail=ALL_LINES)


def remove(path: Path) -> None:
    path.unlink()


def move(path: Path) -> None:
    path.rename(path.with_name("saved"))


def rotate_as_logrotate(path: Path) -> None:
    path.rename(rotated(path, 1))
    path.touch(0o600)


def replace_by_file(path: Path) -> None:
    other = path.with_name("other")
    other.write_text("2026-11-24T00:16:00.123456Z stdout not ours\n")
    other.rename(path)


def replace_by_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/null")


def replace_by_link_to_file(path: Path) -> None:
    """Nothing may be written into another program's file."""
    path.unlink()
    target = path.with_name("precious")
    target.touch(0o400)
    path.symlink_to(target)


def replace_by_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "something").touch()


def replace_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def remove_directory(path: Path) -> None:
    shutil.rmtree(path.parent)


def remove_project_directory(path: Path) -> None:
    shutil.rmtree(path.parent.parent)


def move_directory(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))


CHANGES = [
    remove,
    move,
    rotate_as_logrotate,
    replace_by_file,
    replace_by_link,
    replace_by_link_to_file,
    replace_by_loop,
    replace_by_directory,
    replace_by_fifo,
    remove_directory,
    remove_project_directory,
    move_directory,
]


@pytest.mark.parametrize("live", [True, False], ids=["own reader", "reader of another process"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_log_that_is_taken_away_goes_on_at_its_path_and_followers_go_on_with_it(
    tmp_path: Path, change: Callable[[Path], None], live: bool
) -> None:
    """Said once, and counted: the first line after the change is the first line of the new file."""
    notices: list[tuple[str, str]] = []
    directory = tmp_path / ".minikube" / "logs"
    directory.mkdir(parents=True, mode=0o700)
    log = capture_in(directory, notice=lambda _, event, text: notices.append((event, text)))
    log.feed("stdout", b"before\n")
    reader, log_filter = reader_of(log, live=live), LogFilter(LogQuery())
    assert [line.line for batch in read_backlog([reader], ALL, log_filter) for line in batch] == ["before"]
    reader.follow()
    change(log.path)
    seen = [line.line for line in read_new([reader], log_filter) or ()]
    assert not seen or change is replace_by_file
    log.feed("stdout", b"after\n")
    log.feed("stdout", b"and on\n")
    while lines := read_new([reader], log_filter):
        seen += [line.line for line in lines if line.stream == "stdout"]
    reader.close()
    assert seen[-2:] == ["after", "and on"]
    assert log.path.is_file()
    assert not log.path.is_symlink()
    assert read([reader_of(log)], ALL)[-2:] == ["after", "and on"]
    assert log.path.stat().st_mode & 0o077 == log.path.parent.stat().st_mode & 0o077 == 0
    assert (log.dropped, log.file_changes, log.file.written) == (0, 1, 3)
    assert all(file.stat().st_size == 0 for file in log.path.parent.glob("precious"))
    [(event, text)] = notices
    assert event == "logs.file_changed"
    assert text.startswith("a: a.log was re")
    assert text.endswith(f"output goes on in a new file ({log.path})")


def move_back(path: Path) -> None:
    """The files that were moved come back in place of the new ones."""
    moved = path.parent.with_name("moved")
    shutil.rmtree(path.parent)
    moved.rename(path.parent)


@pytest.mark.parametrize("live", [True, False], ids=["own reader", "reader of another process"])
@pytest.mark.parametrize(
    "changes", [[remove], [move], [replace_by_fifo], [remove_directory], [move_directory], [move_directory, move_back]]
)
def test_a_follower_of_rotated_files_gets_each_line_once_although_the_newest_is_taken_away(
    tmp_path: Path, changes: list[Callable[[Path], None]], live: bool
) -> None:
    """The files before it hold lines that the follower has had. A reader of another process may get those twice that come back."""
    directory = tmp_path / ".minikube" / "logs"
    directory.mkdir(parents=True)
    log = capture_in(directory, spec=LogSpec(400, 5))
    reader, log_filter = reader_of(log, live=live), LogFilter(LogQuery())
    reader.open()
    reader.follow()
    seen: list[str] = []
    expected: list[str] = []

    def write_and_read(name: str) -> None:
        for number in range(25):
            expected.append(f"{name} {number}")
            log.feed("stdout", f"{name} {number}\n".encode())
            while lines := read_new([reader], log_filter):
                seen.extend(line.line for line in lines if line.stream == "stdout")

    write_and_read("before")
    assert rotated(log.path, 2).exists()
    for number, change in enumerate(changes):
        change(log.path)
        write_and_read(f"after {number}")
    reader.close()
    assert seen == expected or (move_back in changes and not live and seen[-25:] == expected[-25:])


def test_a_follower_skips_what_another_program_puts_into_the_new_file(tmp_path: Path) -> None:
    """An editor writes a copy of the log in its place: its lines are not new."""
    log = capture_in(tmp_path)
    reader, log_filter = reader_of(log), LogFilter(LogQuery())
    reader.open()
    reader.follow()
    log.feed("stdout", b"one\ntwo\n")
    assert [line.line for line in read_new([reader], log_filter) or ()] == ["one", "two"]
    copy = tmp_path / "copy"
    copy.write_bytes(log.path.read_bytes())
    copy.rename(log.path)
    log.feed("stdout", b"three\n")
    assert [line.line for line in read_new([reader], log_filter) or ()] == ["three"]
    reader.close()


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("read_early", [True, False])
@pytest.mark.parametrize("live", [True, False], ids=["own reader", "reader of another process"])
def test_a_follower_gets_lines_once_that_were_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int, read_early: bool, live: bool
) -> None:
    """The follower reads them in the removed file, before or after they are in the new one; that is opened before they are."""
    log = capture_in(tmp_path)
    reader, log_filter = reader_of(log, live=live), LogFilter(LogQuery())
    reader.open()
    reader.follow()
    seen: list[str] = []

    def look() -> None:
        log.file.write_count += 1  # the reader looks whenever it wants
        while lines := read_new([reader], log_filter):
            seen.extend(line.line for line in lines)

    log.feed("stdout", b"before\n")
    look()
    write, left = os.write, [times]

    def remove_and_write(file: int, data: bytes) -> int:
        if left[0]:
            left[0] -= 1
            log.path.unlink()
        elif read_early:
            look()  # the new file is there, and empty
        done = write(file, data)
        if read_early:
            look()
        return done

    monkeypatch.setattr(os, "write", remove_and_write)
    log.feed("stdout", b"meanwhile 1\nmeanwhile 2\n")
    monkeypatch.undo()
    log.feed("stdout", b"after\n")
    look()
    reader.close()
    assert seen == ["before", "meanwhile 1", "meanwhile 2", "after"]


def test_a_follower_reads_a_file_to_its_end_although_it_is_rotated_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines come, and a rotation, after the follower found nothing more in the file."""
    log = capture_in(tmp_path, spec=LogSpec(200, 5))
    reader, log_filter = reader_of(log), LogFilter(LogQuery())
    reader.open()
    reader.follow()
    log.feed("stdout", b"one\n")
    assert [line.line for line in read_new([reader], log_filter) or ()] == ["one"]
    pread = os.pread

    def read_and_write(file: int, size: int, offset: int) -> bytes:
        if not (data := pread(file, size, offset)):
            monkeypatch.undo()
            for number in range(7):
                log.feed("stdout", b"%d\n" % number)
        return data

    monkeypatch.setattr(os, "pread", read_and_write)
    log.file.write_count += 1
    seen: list[str] = []
    while lines := read_new([reader], log_filter):
        seen += [line.line for line in lines]
    reader.close()
    assert rotated(log.path, 1).exists()
    assert seen == [str(number) for number in range(7)]


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("size", [0, 7, 40])
def test_a_log_that_is_truncated_is_followed_from_its_new_beginning(tmp_path: Path, size: int, live: bool) -> None:
    """Whether the reader looks before the log is longer than it was: a reader of another process has to."""
    log = capture_in(tmp_path)
    log.feed("stdout", b"before\n" * 9)
    reader, log_filter = reader_of(log, live=live), LogFilter(LogQuery())
    list(read_backlog([reader], ALL, log_filter))
    reader.follow()
    os.truncate(log.path, size)
    log.feed("stdout", b"after\n" * (100 if live else 1))
    log.feed("stdout", b"last\n")
    seen: list[str] = []
    while lines := read_new([reader], log_filter):
        seen += [line.line for line in lines]
    reader.close()
    assert seen[0] == "a.log was truncated, lines may be missing here"
    assert seen[-1] == "last"
    assert seen.count("after") >= (99 if live else 0)
    assert log.file_changes == 1


def test_lines_that_were_on_their_way_into_a_removed_file_are_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is removed between the write and the look at its path: these lines would be in no file."""
    log = capture_in(tmp_path)
    log.feed("stdout", b"before\n")
    write = os.write

    def remove_and_write(file: int, data: bytes) -> int:
        monkeypatch.undo()
        log.path.unlink()
        return write(file, data)

    monkeypatch.setattr(os, "write", remove_and_write)
    log.feed("stdout", b"meanwhile\n")
    assert read([reader_of(log)], ALL) == ["meanwhile"]
    assert log.file.written == 2


def test_a_file_that_is_removed_all_the_time_costs_no_line_that_is_written_after_it(tmp_path: Path) -> None:
    """A thread removes the log as fast as it can. Each line is in some file when it is written; one event a while says so."""
    notices: list[str] = []
    log = capture_in(tmp_path, notice=lambda _, event, text: notices.append(text))
    over = threading.Event()

    def remove_again_and_again() -> None:
        while not over.is_set():
            log.path.unlink(missing_ok=True)
            time.sleep(0)

    thread = threading.Thread(target=remove_again_and_again)
    thread.start()
    fed = 1
    while log.file_changes < 20:
        log.feed("stdout", b"%d\n" % fed)
        fed += 1
    over.set()
    thread.join()
    log.feed("stdout", b"last\n")
    assert (log.file.written, log.dropped) == (fed, 0)
    assert read([reader_of(log)], ALL)[-1] == "last"
    assert len(notices) == 1


def test_a_log_that_may_not_be_written_is_kept_beside_a_new_one(as_root: None) -> None:
    """As another user: root may write everything."""
    code = """
import os, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
log = capture_in(place)
log.feed("stdout", b"after\\n")
print(read([reader_of(log)], LogQuery(tail=-1)), log.dropped)
os.chmod(place / "a.log", 0)
print(read([reader_of(log)], LogQuery(tail=-1)))
"""
    with TemporaryDirectory() as name:  # pytest's own directories may not be entered
        place = Path(name)
        place.chmod(0o777)
        (place / "a.log").write_text("2026-11-24T00:16:00.123456Z stdout of root\n")
        (place / "a.log").chmod(0o444)
        assert _run(LIMITED + code, place).splitlines() == [
            "['of root', 'after'] 0",
            "['a.log cannot be read: Permission denied', 'of root']",
        ]


def test_a_directory_that_may_not_be_written_is_the_reason_for_dropped_lines(as_root: None) -> None:
    """And not that there is no such file."""
    code = """
import os, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
log = capture_in(place)
log.feed("stdout", b"lost\\n")
print(log.dropped, log.write_error)
"""
    with TemporaryDirectory() as name:  # pytest's own directories may not be entered
        place = Path(name)
        place.chmod(0o755)
        assert _run(LIMITED + code, place) == "1 Permission denied\n"


LIMITED = """
import resource, sys
from pathlib import Path
from minikube.logs.query import LogQuery
from tests.unit.logs.log_of import capture_in, read, reader_of
place = Path(sys.argv[1])
"""


def _run(code: str, place: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run([sys.executable, "-c", code, str(place)], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_largest_file_that_the_system_allows_is_rotated(tmp_path: Path) -> None:
    """RLIMIT_FSIZE is below `max_size`: no line is lost or cut, and a line that fits into no file is counted."""
    code = """
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
log = capture_in(place)
for number in range(60):
    log.feed("stdout", b"%d " % number * 300 + b"\\n")
whole = [line.split()[0] for line in read([reader_of(log)], LogQuery(tail=-1)) if line.count(" ") == 300]
print(whole == [str(number) for number in range(60)][-len(whole):], len(whole) > 30, log.dropped, log.file.written)
log.feed("stdout", b"x" * 20_000 + b"\\n")
print(log.dropped, log.write_error)
"""
    # The limit holds for the file with the process' coverage as well, which would be cut.
    assert _run(LIMITED + code, tmp_path, untraced()) == "True True 0 60\n1 File too large\n"


def test_without_descriptors_lines_are_counted_and_writing_goes_on_later(tmp_path: Path) -> None:
    code = """
from minikube.logs import instance_log
instance_log.DISK_RETRY_S = 0.0
resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
held = []
try:
    while True: held.append(open("/dev/null"))
except OSError: pass
log = capture_in(place, notice=lambda log, event, text: print(text.partition(" (")[0]))
log.feed("stdout", b"lost\\nlost\\n")
held.clear()
log.feed("stdout", b"kept\\n")
print(read([reader_of(log)], LogQuery(tail=-1)), log.dropped)
"""
    assert _run(LIMITED + code, tmp_path).splitlines() == [
        "a: output is not kept: Too many open files",
        "a: output is kept again; 2 lines dropped: Too many open files",
        "['2 lines dropped: Too many open files', 'kept'] 2",
    ]


@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_lines_of_a_failed_write_are_counted_exactly(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """A disk that gets full in the middle of a write keeps some of its lines; those that are not there are dropped."""
    monkeypatch.setattr("minikube.logs.instance_log.DISK_RETRY_S", 0.0)
    notices: list[str] = []
    log = capture_in(small_disk, spec=LogSpec(1 << 30), notice=lambda _, event, text: notices.append(text))
    log.feed("stdout", b"first\n")
    if fault == "full":
        log.feed("stdout", b"".join(b"%d %s\n" % (n, b"x" * 1000) for n in range(3_000)))
        on_disk = log.path.read_bytes().count(b"\n") - 1
        assert 0 < on_disk < 3_000
        assert (log.dropped, log.file.written) == (3_000 - on_disk, on_disk + 1)
        log.feed("stdout", b"x" * 10_000 + b"\n")
        rotated(log.path, 1).unlink(missing_ok=True)
        os.truncate(log.path, 100_000)
    else:
        log.file.close()
        subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
        log.feed("stdout", b"lost\n" * 7)
        subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    dropped = log.dropped
    log.feed("stdout", b"again\n")
    assert log.dropped == dropped
    error = "No space left on device" if fault == "full" else "Read-only file system"
    assert read([reader_of(log)], ALL)[-2:] == [f"{dropped} lines dropped: {error}", "again"]
    assert notices == [
        f"a: output is not kept: {error} ({log.path})",
        f"a: output is kept again; {dropped} lines dropped: {error}",
    ]


def test_lines_between_two_tries_of_a_failed_disk_are_counted(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    log = capture_in(tmp_path / "logs")
    log.feed("stdout", b"lost\n" * 3)
    log.feed("stdout", b"lost\n" * 4)
    assert (log.dropped, log.write_error) == (7, "Not a directory")


def test_an_error_that_no_code_expects_ends_neither_the_writing_thread_nor_other_logs(tmp_path: Path) -> None:
    class Broken(InstanceLog):
        def write(self, data: bytes) -> None:
            raise ValueError("not an error of a disk")

    rounds: list[int] = []
    writer = LogWriter(lambda: rounds.append(1))
    broken = Broken("b", "b", tmp_path / "b.log", writer, LogSpec())
    log = InstanceLog("a", "a", tmp_path / "a.log", writer, LogSpec())
    broken.feed("stdout", b"lost\n")
    eventually(lambda: rounds)
    log.feed("stdout", b"kept\n")
    writer.close(10.0)
    assert read([reader_of(log)], ALL) == ["kept"]
    assert broken.pending == writer.pending == 0


@pytest.mark.parametrize("another", [False, True], ids=["", "another project at its path"])
def test_a_log_whose_project_was_moved_goes_on_in_the_same_file(another: bool, tmp_path: Path) -> None:
    """No line is lost, and nothing is written into another project at the old path."""
    logs = tmp_path / "before" / ".minikube" / "logs"
    logs.mkdir(parents=True)
    log = capture_in(logs)
    log.feed("stdout", b"first\n")
    (tmp_path / "before").rename(tmp_path / "after")
    if another:
        logs.mkdir(parents=True)
        (logs / log.path.name).write_text("another's\n")
    log.feed("stdout", b"second\n")
    assert log.path.is_relative_to(tmp_path / "after")
    assert read([reader_of(log)], ALL) == ["first", "second"]
    assert (log.file_changes, log.dropped) == (0, 0)
    assert not another or [path.read_text() for path in logs.iterdir()] == ["another's\n"]


def test_a_log_whose_state_directory_was_moved_begins_anew_in_its_place(tmp_path: Path) -> None:
    logs = tmp_path / "project" / ".minikube" / "logs"
    logs.mkdir(parents=True)
    log = capture_in(logs)
    log.feed("stdout", b"first\n")
    (tmp_path / "trash").mkdir()
    (tmp_path / "project" / ".minikube").rename(tmp_path / "trash" / ".minikube")
    log.feed("stdout", b"second\n")
    assert log.path.is_relative_to(logs)
    assert log.path.exists()


# ---------------------------------------------------------------- clearing


def test_a_cleared_log_is_empty_and_a_follower_goes_on_without_a_gap(tmp_path: Path) -> None:
    """All files go, also those above `keep`; what a reader has not read yet of the last one, it still reads."""
    log = capture_in(tmp_path, spec=LogSpec(200, 3))
    for number in range(13):
        log.feed("stdout", b"line %d\n" % number)
    rotated(log.path, 9).touch()
    other = tmp_path / "a-2.log"
    other.touch()
    reader, log_filter = reader_of(log), LogFilter(LogQuery())
    list(read_backlog([reader], LogQuery(tail=1), log_filter))
    reader.follow()
    log.feed("stdout", b"unread\n")
    log.file.clear()
    assert read([reader_of(log)], ALL) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-2.log", "a.log"]
    log.feed("stdout", b"after\n")
    seen: list[str] = []
    while lines := read_new([reader], log_filter):
        seen += [line.line for line in lines]
    reader.close()
    assert seen == ["unread", "after"]
    assert (log.file_changes, log.dropped) == (0, 0)
