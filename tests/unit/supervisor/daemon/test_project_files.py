"""The supervisor's files in `.minikube`: each kind of damage while the project runs, what is made again, and what is said."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from minikube.control.client.endpoint import read_token
from minikube.project.run_claim import RunClaim
from minikube.project.run_lookup import find_run
from minikube.project.run_name import run_name
from minikube.project_dir import SupervisorRecord, directory_id, read_supervisor_record
from minikube.supervisor.daemon import run_server
from minikube.supervisor.daemon.project_files import ProjectFiles
from minikube.supervisor.daemon.run_server import keep_project_files
from minikube.supervisor.daemon.token_file import ensure_token

RECORD = SupervisorRecord(os.getpid(), os.getppid(), None, "", "127.0.0.1:1", "127.0.0.1:2", "")
FILES = ("supervisor.json", "token", "lock", "logs/minikube.supervisor.log")


class Kept:
    """A project that this process runs, as far as its files are concerned."""

    def __init__(self, root: Path) -> None:
        self.directory = root / ".minikube"
        (self.directory / "logs").mkdir(parents=True, mode=0o700)
        (self.directory / "processes.json").write_text('{"boot": ""}')
        self.events: list[tuple[str, str, str]] = []
        self.token = ensure_token(self.directory)
        log = self.directory / "logs" / "minikube.supervisor.log"
        self.log = os.open(log, os.O_WRONLY | os.O_CREAT, 0o600)
        self.claim = RunClaim(self.directory)
        self.claim.take()
        self.moves: list[tuple[Path, Path]] = []
        overrides = (str(root / "dev" / "dev.toml"), "/elsewhere.toml")
        record = replace(RECORD, directory=str(root), manifest=str(root / "supervisor.toml"), overrides=overrides)
        self.files = ProjectFiles(
            self.directory,
            self.claim,
            self.token,
            record,
            lambda *event: self.events.append(event),
            (self.log,),
            on_move=lambda *paths: self.moves.append(paths),
        )
        self.files.write_record(record)

    def close(self) -> None:
        self.claim.close()
        os.close(self.log)
        for sock in self.files.new_names:
            sock.close()

    def texts(self) -> list[str]:
        return [text for _, text, _ in self.events]

    def is_whole(self) -> bool:
        """Return whether all files are there, with the content that is this run's."""
        os.write(self.log, b"line\n")
        return (
            read_supervisor_record(self.directory) == self.files.record
            and read_token(self.directory) == self.token
            and (self.directory / "lock").read_text() == f"{os.getpid()}\n"
            and (self.directory / "logs" / "minikube.supervisor.log").read_text().endswith("line\n")
            and (self.directory / "processes.json").read_text() == '{"boot": ""}'
        )


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    found = Kept(tmp_path / "project")
    yield found
    found.close()


def test_a_project_that_is_whole_is_left_alone(kept: Kept) -> None:
    kept.files.check()
    assert kept.is_whole()
    assert kept.events == []


def replaced_by_a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def replaced_by_anothers(path: Path) -> None:
    path.unlink()
    path.write_text(json.dumps({"pid": 1}))


@pytest.mark.parametrize("damage", [Path.unlink, replaced_by_a_link, replaced_by_anothers])
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_removed_or_replaced_is_made_again(
    kept: Kept, name: str, damage: Callable[[Path], None]
) -> None:
    damage(kept.directory / name)
    kept.files.check()
    assert kept.is_whole()
    kept.files.check()
    assert kept.texts() == [f".minikube/{name}: removed or replaced, and made again"]


def removed(directory: Path) -> None:
    shutil.rmtree(directory)


def moved(directory: Path) -> None:
    directory.rename(directory.with_name("old"))


def replaced_by_a_copy(directory: Path) -> None:
    """What another checkout's `.minikube` is, too."""
    shutil.copytree(directory, directory.with_name("copy"))
    shutil.rmtree(directory)
    directory.with_name("copy").rename(directory)
    (directory / "supervisor.json").write_text(json.dumps({"pid": 1, "control": "127.0.0.1:9"}))
    (directory / "token").write_text("0" * 64)


@pytest.mark.parametrize("damage", [removed, moved])
def test_a_directory_that_is_removed_or_moved_is_made_again_with_all_records(
    kept: Kept, damage: Callable[[Path], None]
) -> None:
    kept.files.check()
    damage(kept.directory)
    kept.files.check()
    assert kept.is_whole()
    assert kept.directory.stat().st_mode & 0o777 == 0o700
    assert kept.texts() == [".minikube: removed or replaced, and made again"]


def test_a_directory_that_was_copied_from_elsewhere_is_this_runs_again(kept: Kept) -> None:
    kept.files.check()
    replaced_by_a_copy(kept.directory)
    kept.files.check()
    assert kept.is_whole()
    assert kept.texts() == [".minikube: removed or replaced, and made again"]


def test_a_record_that_another_module_has_removed_stays_away(kept: Kept) -> None:
    kept.files.check()
    (kept.directory / "processes.json").unlink()
    kept.files.check()
    shutil.rmtree(kept.directory)
    kept.files.check()
    assert not (kept.directory / "processes.json").exists()


def test_a_file_in_the_directorys_place_is_kept_said_once_and_survived(kept: Kept) -> None:
    kept.files.check()
    shutil.rmtree(kept.directory)
    kept.directory.write_text("the user's")
    kept.files.check()
    kept.files.check()
    assert kept.events == [
        (
            "project.unwritable",
            f"{kept.directory}: cannot be made again: what is there is no directory"
            " — commands find the project all the same",
            "error",
        )
    ]
    assert kept.directory.read_text() == "the user's"
    kept.directory.unlink()
    kept.files.check()
    assert kept.is_whole()
    assert [kind for kind, _, _ in kept.events[1:]] == ["project.writable", "project.restored"]


def test_a_full_disk_is_said_and_the_files_are_written_once_there_is_room(small_disk: Path) -> None:
    kept = Kept(small_disk / "project")
    kept.files.check()
    (kept.directory / "supervisor.json").unlink()
    with open(small_disk / "ballast", "wb", buffering=0) as ballast:
        while True:
            try:
                ballast.write(b"x" * 65_536)
            except OSError:
                break
    kept.files.check()
    kept.files.check()
    assert kept.texts() == [
        f"{kept.directory}: cannot be made again: No space left on device — commands find the project all the same"
    ]
    (small_disk / "ballast").unlink()
    kept.files.check()
    assert kept.is_whole()
    kept.close()


def test_a_read_only_file_system_is_said(small_disk: Path) -> None:
    kept = Kept(small_disk / "project")
    kept.files.check()
    (kept.directory / "token").unlink()
    # A bind mount, because a file system with a file that is open for writing cannot become read-only itself.
    subprocess.run(["mount", "--bind", small_disk, small_disk], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", small_disk], check=True)
    try:
        kept.files.check()
        assert "cannot be made again: Read-only file system" in kept.texts()[0]
    finally:
        subprocess.run(["umount", small_disk], check=True)
        kept.close()


def test_another_users_directory_gets_no_token(kept: Kept, as_root: None) -> None:
    kept.files.check()
    shutil.rmtree(kept.directory)
    (kept.directory / "logs").mkdir(parents=True)
    os.chown(kept.directory, 65534, 65534)
    kept.files.check()
    assert not (kept.directory / "token").exists()
    assert "belongs to user nobody" in kept.texts()[0]


def test_a_project_directory_that_may_not_be_entered_any_more_is_said(kept: Kept, as_nobody: None) -> None:
    kept.files.check()
    kept.files.check()
    assert kept.texts() == [
        f"{kept.directory.parent}: cannot be made again: Permission denied — commands find the project all the same"
    ]


def test_a_project_directory_that_is_moved_is_followed(kept: Kept, tmp_path: Path) -> None:
    kept.directory.parent.rename(tmp_path / "elsewhere")
    kept.files.check()
    kept.files.check()
    assert not kept.directory.parent.exists(), "nothing is made at the old place"
    kept.directory = tmp_path / "elsewhere" / ".minikube"
    assert kept.is_whole()
    assert kept.files.record.manifest == str(tmp_path / "elsewhere" / "supervisor.toml")
    assert kept.files.record.overrides == (str(tmp_path / "elsewhere" / "dev" / "dev.toml"), "/elsewhere.toml")
    assert kept.files.record.directory == str(tmp_path / "elsewhere")
    (text,) = kept.texts()
    assert f"moved to {tmp_path}/elsewhere" in text
    assert kept.moves == [(tmp_path / "project", tmp_path / "elsewhere")]


@pytest.mark.parametrize("is_followed", [False, True], ids=["the link is stale", "the link leads to the new place"])
def test_a_project_that_was_started_by_a_link_is_followed_from_both_of_its_paths(
    tmp_path: Path, is_followed: bool
) -> None:
    """Its manifest names the link, its working directories and the socket of Redis have the path without links."""
    real, link, after = tmp_path / "real", tmp_path / "link", tmp_path / "after"
    real.mkdir()
    link.symlink_to(real)
    kept = Kept(link)
    real.rename(after)
    link.unlink()
    if is_followed:
        link.symlink_to(after)
    kept.files.check()
    kept.files.check()
    assert kept.moves == [*([] if is_followed else [(link, after)]), (real, after)]
    assert kept.files.directory == (link if is_followed else after) / ".minikube"
    (text,) = kept.texts()
    assert f"moved to {after}:" in text
    kept.close()


def test_a_project_directory_that_is_deleted_and_made_again_is_taken_over(kept: Kept) -> None:
    """A new clone in the same place: its directory has another inode, and so another name."""
    root = kept.directory.parent
    shutil.rmtree(root)
    kept.files.check()
    assert "the project directory was deleted — make it again, then `minikube down` there" in kept.texts()[0]
    (root.with_name("between")).mkdir()  # takes the inode, which would be given out again
    root.mkdir()
    kept.files.check()
    assert kept.files.record.directory_id == directory_id(root)
    assert (run := find_run(kept.directory, timeout=0)) is not None
    assert run.pid == os.getpid()
    assert read_token(kept.directory) == kept.token


def test_the_token_is_told_to_the_projects_user_and_root_only(kept: Kept) -> None:
    for uid in (0, os.geteuid()):
        assert kept.files.answer(uid)["token"] == kept.token
    assert "token" not in kept.files.answer(65534)


def test_after_the_end_nothing_is_made_again(kept: Kept) -> None:
    kept.files.remove_record()
    shutil.rmtree(kept.directory)
    kept.files.check()
    assert not kept.directory.exists()


async def test_a_command_finds_the_supervisor_and_its_files_right_after_their_removal(kept: Kept) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_project_files, kept.files, kept.claim.socket)
        shutil.rmtree(kept.directory)
        with trio.fail_after(10):
            run = await trio.to_thread.run_sync(find_run, kept.directory, 10.0)
        assert run is not None
        assert run.record == kept.files.record
        assert run.token == kept.token
        assert read_supervisor_record(kept.directory) == run.record
        kept.files.remove_record()
        kept.claim.stop_listening()
        assert await trio.to_thread.run_sync(find_run, kept.directory) is None
        nursery.cancel_scope.cancel()


async def test_a_command_finds_the_supervisor_of_a_directory_that_was_made_again(kept: Kept) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_project_files, kept.files, kept.claim.socket)
        root = kept.directory.parent
        shutil.rmtree(root)
        root.with_name("between").mkdir()
        root.mkdir()
        with trio.fail_after(10):
            run = await trio.to_thread.run_sync(find_run, kept.directory, 5.0)
            assert run is not None
            assert run.record == kept.files.record
        nursery.cancel_scope.cancel()


async def test_files_are_checked_when_no_command_asks(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_server, "CHECK_INTERVAL_S", 0.01)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_project_files, kept.files, kept.claim.socket)
        shutil.rmtree(kept.directory)
        with trio.fail_after(10):
            while not kept.events:
                await trio.sleep(0.01)
        assert read_token(kept.directory) == kept.token
        nursery.cancel_scope.cancel()


def test_a_name_that_another_process_has_is_not_taken_twice(kept: Kept, tmp_path: Path) -> None:
    other = RunClaim(kept.directory)
    assert other.add_name(kept.directory.parent) is None
    assert run_name(kept.directory.parent)
    other.close()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["processes.json", "logs/minikube.supervisor.log"])
def test_a_pipe_in_the_place_of_a_file_blocks_nothing(kept: Kept, name: str) -> None:
    path = kept.directory / name
    path.unlink()
    os.mkfifo(path)
    kept.files.check()
    assert os.write(kept.log, b"line\n")
    assert name != "logs/minikube.supervisor.log" or path.read_text() == "line\n"
