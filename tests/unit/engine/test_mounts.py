"""Sources of volumes: a missing directory is created, a missing source of a read-only volume is an error."""

import os
from pathlib import Path

import pytest

from minikube.engine.mounts import create_sources
from minikube.errors import StartError
from minikube.manifest import VolumeSpec


def test_a_missing_directory_is_created_and_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    names = ("new/deep, and: odd", "file")
    create_sources([VolumeSpec(str(tmp_path / name), "/x") for name in names])
    create_sources([VolumeSpec("cache", "/y"), VolumeSpec("", "/anonymous")])
    assert (tmp_path / "new" / "deep, and: odd").is_dir()
    assert (tmp_path / "file").read_text() == "kept"
    assert not Path("cache").exists()


def test_a_missing_source_of_a_read_only_volume_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "nginx.conf"
    with pytest.raises(StartError, match=rf"volumes: {path} does not exist, and is mounted read-only — create it"):
        create_sources([VolumeSpec(str(path), "/etc/nginx/nginx.conf", read_only=True)])
    assert not path.exists()


def test_a_directory_that_cannot_be_created_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match=f"volumes: cannot create {tmp_path}/file/data: Not a directory"):
        create_sources([VolumeSpec(str(tmp_path / "file" / "data"), "/x")])


def test_a_link_to_nothing_is_an_error_and_no_directory_takes_its_place(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(StartError, match=f"volumes: cannot create {tmp_path}/link: File exists"):
        create_sources([VolumeSpec(str(tmp_path / "link"), "/x")])
    assert os.path.islink(tmp_path / "link")


def test_what_this_user_cannot_see_is_left_to_the_engine(tmp_path: Path, as_nobody: None) -> None:
    """The engine of a user without root may run as root: it sees the directory."""
    # The directories of a test are closed to other users than that of the test run.
    source = str(tmp_path / "there")
    create_sources([VolumeSpec(source, "/x", read_only=True), VolumeSpec(source, "/x")])
