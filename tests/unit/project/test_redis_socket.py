"""The place of the embedded Redis' socket: the same for each command of the project, and never one of another project."""

import os
import shutil
from pathlib import Path

import pytest

from minikube.errors import StartError
from minikube.project.redis_socket import find_redis_socket, new_redis_socket, remove_redis_socket
from minikube.supervisor.backing.redis import prepare_redis_files


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory for temporary files."""
    (place := tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    return place


@pytest.fixture
def state(any_length: Path) -> Path:
    """The `.minikube` of a project whose Redis has a socket."""
    (state := any_length / "project" / ".minikube").mkdir(mode=0o700, parents=True)
    serve(state)
    return state


def serve(state: Path) -> Path:
    """Make the files of a Redis that runs; return the path of its socket."""
    socket = new_redis_socket(state)
    prepare_redis_files(state, socket)
    socket.touch()
    return socket


def test_the_link_leads_to_the_socket_that_is_found_and_removed(state: Path, temporary: Path) -> None:
    socket = find_redis_socket(state)
    assert (state / "redis.sock").samefile(socket)
    assert socket.parent.stat().st_mode & 0o777 == 0o755, "a container's user may enter"
    assert (socket.parent.parent.stat().st_mode & 0o777) == 0o700
    assert (len(os.fsencode(socket)) <= 100) or temporary in socket.parents
    remove_redis_socket(state)
    assert [path.name for path in state.iterdir()] == ["redis"]
    assert list(temporary.iterdir()) == []
    remove_redis_socket(state)


def test_a_copy_has_another_socket_and_leaves_the_originals(state: Path) -> None:
    socket = find_redis_socket(state)
    copy = shutil.copytree(state.parent, state.parent.with_name("copy"), symlinks=True) / ".minikube"
    assert not find_redis_socket(copy).exists() or state not in find_redis_socket(copy).parents
    remove_redis_socket(copy)
    assert socket.exists()
    assert not (copy / "redis.sock").is_symlink()
    assert serve(copy) != socket
    remove_redis_socket(copy)
    assert socket.exists()


def test_a_moved_project_has_its_socket_and_a_new_one_at_its_path_has_another(state: Path) -> None:
    identity = find_redis_socket(state).stat().st_ino
    moved = state.parent.rename(state.parent.with_name("moved")) / ".minikube"
    assert find_redis_socket(moved).stat().st_ino == identity
    assert (moved / "redis.sock").stat().st_ino == identity, "people find it as well"
    state.mkdir(mode=0o700, parents=True)
    assert serve(state) != find_redis_socket(moved)
    remove_redis_socket(state)
    assert find_redis_socket(moved).stat().st_ino == identity


def test_each_path_and_each_setting_of_the_temporary_directory_lead_to_the_same_socket(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = find_redis_socket(state)
    (other := tmp_path / "o").symlink_to(state.parent)
    assert new_redis_socket(other / ".minikube") == socket
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    assert find_redis_socket(state) == find_redis_socket(other / ".minikube") == socket


def test_a_link_to_anything_else_is_not_believed(state: Path, temporary: Path) -> None:
    """The name alone is not enough: other users may enter the directory."""
    private = Path(f"minikube-{os.geteuid()}-{state.parent.stat().st_dev}-{state.parent.stat().st_ino}")
    for place, mode in ((temporary / "else" / private, 0o755), (temporary / "minikube-0-0-0", 0o700)):
        (place / "run").mkdir(parents=True)
        place.chmod(mode)
        (foreign := place / "run" / "redis.sock").touch()
        serve(state)
        (state / "redis.sock").unlink()
        (state / "redis.sock").symlink_to(foreign)
        assert find_redis_socket(state) == new_redis_socket(state) != foreign
        remove_redis_socket(state)
        assert foreign.exists()
        assert not new_redis_socket(state).exists()


def test_a_link_in_place_of_the_sockets_directory_is_removed_and_not_followed(state: Path, tmp_path: Path) -> None:
    (foreign := tmp_path / "foreign").mkdir(mode=0o700)
    (foreign / "redis.sock").touch()
    place = find_redis_socket(state).parent

    def replace() -> None:
        shutil.rmtree(place, ignore_errors=True)
        place.symlink_to(foreign)

    replace()
    remove_redis_socket(state)
    assert not place.is_symlink()
    serve(state)
    replace()
    serve(state)
    assert not place.is_symlink()
    assert list(foreign.iterdir()) == [foreign / "redis.sock"]
    assert foreign.stat().st_mode & 0o777 == 0o700


def test_a_place_that_other_users_can_enter_is_refused(state: Path, temporary: Path) -> None:
    socket = new_redis_socket(state)
    if temporary in socket.parents:
        socket.parent.parent.chmod(0o711)
        with pytest.raises(StartError, match="not a private directory of this user — remove it"):
            prepare_redis_files(state, socket)


def test_the_socket_of_a_project_whose_path_is_no_utf8_has_a_path_that_a_url_can_hold(
    tmp_path: Path, temporary: Path
) -> None:
    (state := tmp_path / os.fsdecode(b"\xff") / ".minikube").mkdir(mode=0o700, parents=True)
    assert temporary in serve(state).parents
    assert temporary in find_redis_socket(state).parents
