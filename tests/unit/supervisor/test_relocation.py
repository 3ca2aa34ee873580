"""What was written with the old path of a project that was moved, as it is now."""

from pathlib import Path

import pytest

from minikube.control.state_store import StateStore
from minikube.engine.leftovers import read_engine_record
from minikube.linux.cgroup import ProjectGroups
from minikube.manifest import load_manifest
from minikube.project_dir import CGROUPS_FILE
from minikube.supervisor.relocation import Relocation
from minikube.supervisor.runtime.container.host_relays import HostServices
from minikube.supervisor.runtime.container.runtime import ContainerRuntime
from minikube.supervisor.runtime.port_allocator import PortAllocator
from minikube.supervisor.runtime.process.process_table import ProcessTable

MOVE = Relocation(Path("/srv/my shop"), Path("/home/a"))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("/srv/my shop", "/home/a"),
        ("/srv/my shop/bin:/usr/bin:/srv/my shop", "/home/a/bin:/usr/bin:/home/a"),
        ("--dir=/srv/my shop/data", "--dir=/home/a/data"),
        ("unix:///srv/my%20shop/run/redis.sock", "unix:///home/a/run/redis.sock"),
        ("inf /srv/my shop", "inf /home/a"),
        ("/mnt/srv/my shop/x", "/mnt/srv/my shop/x"),
        ("/srv/my shop2 /srv/my shop-copy", "/srv/my shop2 /srv/my shop-copy"),
        ("src/srv/my shop", "src/srv/my shop"),
        ("", ""),
    ],
)
def test_only_the_path_itself_and_what_is_in_it_moves(before: str, after: str) -> None:
    assert MOVE.text(before) == after


def test_a_path_in_the_project_moves_and_no_other() -> None:
    assert MOVE.path(Path("/srv/my shop/src")) == Path("/home/a/src")
    assert MOVE.path(Path("/srv/my shop")) == Path("/home/a")
    assert MOVE.path(Path("/srv/my shop2")) == Path("/srv/my shop2")


def test_a_backslash_in_the_new_path_stays_itself() -> None:
    assert Relocation(Path("/a"), Path(r"/b\1")).text("/a/x") == r"/b\1/x"


def test_a_path_that_is_no_utf8_is_no_error() -> None:
    """The supervisor would end, with all services, where the project was moved to such a path."""
    move = Relocation(Path("/a"), Path("/b\udcff"))
    assert move.text("/a/x") == "/b\udcff/x"
    assert move.text("unix:///a/x") == "unix:///b%FF/x"


def test_records_are_written_where_the_project_is_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the container engine and that of control groups, without which a killed supervisor's would be left."""
    before, after = tmp_path / "before", tmp_path / "after"
    (before / ".minikube").mkdir(parents=True)
    (before / "supervisor.toml").write_text('[services.a]\ncommand = "a"\n')
    (tmp_path / "docker").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    groups = ProjectGroups(before / ".minikube")
    table = ProcessTable(groups)
    containers = ContainerRuntime(
        table,
        load_manifest(before / "supervisor.toml"),
        before / ".minikube",
        lambda: ("", "", ""),
        lambda text, level: None,
        PortAllocator(),
        lambda spec, id: "",
        HostServices(frozenset, frozenset, StateStore("shop")),
    )
    before.rename(after)
    table.relocate(Relocation(before, after))
    containers._open_client()
    groups._mkdir(after / groups._name)
    assert read_engine_record(after / ".minikube") is not None
    assert (after / ".minikube" / CGROUPS_FILE).read_text().endswith(f"{after / groups._name}\n")
    assert not before.exists()
