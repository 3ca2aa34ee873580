"""Whose rights an instance has: names to ids, and what to do where that cannot be."""

import os
import pwd

import pytest

from minikube.errors import StartError
from minikube.linux.credentials import Rights, login_environment, rights_of

NOBODY = pwd.getpwnam("nobody")


def as_root(monkeypatch: pytest.MonkeyPatch, uid: int = 0) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(os, "getegid", lambda: uid)


def test_nobody_changes_without_user_and_group() -> None:
    assert rights_of("x", "", "") == Rights()


@pytest.mark.parametrize("user", ["nobody", str(NOBODY.pw_uid)])
def test_a_user_brings_its_groups(monkeypatch: pytest.MonkeyPatch, user: str) -> None:
    as_root(monkeypatch)
    found = rights_of("x", user, "")
    assert (found.user, found.group) == (NOBODY.pw_uid, NOBODY.pw_gid)
    assert found.groups is not None
    assert NOBODY.pw_gid in found.groups


def test_a_group_of_its_own_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    as_root(monkeypatch)
    assert rights_of("x", "nobody", "0").group == 0
    assert rights_of("x", "nobody:0", "").group == 0
    assert rights_of("x", "", "5") == Rights(None, 5, None)
    assert rights_of("x", "12345", "6") == Rights(12345, 6, ())


@pytest.mark.parametrize(
    ("user", "group", "told"),
    [
        ("nobdy", "", r"x: there is no user nobdy here \(did you mean nobody\?\) — set services.x.user"),
        ("", "rooot", r"x: there is no group rooot here \(did you mean root\?\) — set services.x.group"),
        ("12345", "", "x: user 12345 is not known here and has no group — set services.x.group"),
    ],
)
def test_a_name_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch, user: str, group: str, told: str) -> None:
    as_root(monkeypatch)
    with pytest.raises(StartError, match=told):
        rights_of("x", user, group)


def test_without_root_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    as_root(monkeypatch, NOBODY.pw_uid)
    with pytest.raises(StartError, match=r"x: only root may run it as user root, this is user nobody — start .*sudo"):
        rights_of("x", "root", "")
    with pytest.raises(StartError, match=r"x: only root may run it as group root, this is group"):
        rights_of("x", "nobody", "root")
    assert rights_of("x", "nobody", "") == Rights()


def test_a_user_brings_its_home_and_shell() -> None:
    login = {"HOME": NOBODY.pw_dir, "USER": "nobody", "LOGNAME": "nobody", "SHELL": NOBODY.pw_shell}
    assert login_environment("nobody") == login_environment(f"{NOBODY.pw_uid}:0") == login
    assert login_environment("") == login_environment("nobdy") == login_environment("4000000000") == {}
