"""What was written with the old path of a project that was moved, as it is now."""

from pathlib import Path

import pytest

from minikube.supervisor.relocation import Relocation

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
