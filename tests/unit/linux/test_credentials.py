"""The user and groups of an instance: names become ids, and errors name the remedy."""

import os
import pwd

import pytest

from minikube.errors import StartError
from minikube.linux.credentials import Credentials, find_credentials, login_environment

NOBODY = pwd.getpwnam("nobody")


def as_root(monkeypatch: pytest.MonkeyPatch, uid: int = 0) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(os, "getegid", lambda: uid)


def test_without_user_and_group_the_ids_stay_the_same() -> None:
    assert find_credentials("x", "", "") == Credentials()


@pytest.mark.parametrize("user", ["nobody", str(NOBODY.pw_uid)])
def test_a_user_gets_its_groups(monkeypatch: pytest.MonkeyPatch, user: str) -> None:
    as_root(monkeypatch)
    found = find_credentials("x", user, "")
    assert (found.user, found.group) == (NOBODY.pw_uid, NOBODY.pw_gid)
    assert found.groups is not None
    assert NOBODY.pw_gid in found.groups


def test_a_given_group_replaces_the_users_primary_group(monkeypatch: pytest.MonkeyPatch) -> None:
    as_root(monkeypatch)
    assert find_credentials("x", "nobody", "0").group == 0
    assert find_credentials("x", "nobody:0", "").group == 0
    assert find_credentials("x", "", "5") == Credentials(None, 5, None)
    assert find_credentials("x", "12345", "6") == Credentials(12345, 6, ())


@pytest.mark.parametrize(
    ("user", "group", "message"),
    [
        ("nobdy", "", r"x: there is no user nobdy here \(did you mean nobody\?\) — set services.x.user"),
        ("", "rooot", r"x: there is no group rooot here \(did you mean root\?\) — set services.x.group"),
        ("12345", "", "x: user 12345 is not known here and has no group — set services.x.group"),
    ],
)
def test_an_unknown_name_is_an_error_with_a_suggestion(
    monkeypatch: pytest.MonkeyPatch, user: str, group: str, message: str
) -> None:
    as_root(monkeypatch)
    with pytest.raises(StartError, match=message):
        find_credentials("x", user, group)


def test_without_root_another_user_is_an_error_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    as_root(monkeypatch, NOBODY.pw_uid)
    with pytest.raises(StartError, match=r"x: only root may run it as user root, this is user nobody — start .*sudo"):
        find_credentials("x", "root", "")
    with pytest.raises(StartError, match=r"x: only root may run it as group root, this is group"):
        find_credentials("x", "nobody", "root")
    assert find_credentials("x", "nobody", "") == Credentials()


def test_a_user_gets_its_home_and_shell() -> None:
    login = {"HOME": NOBODY.pw_dir, "USER": "nobody", "LOGNAME": "nobody", "SHELL": NOBODY.pw_shell}
    assert login_environment("nobody") == login_environment(f"{NOBODY.pw_uid}:0") == login
    assert login_environment("") == login_environment("nobdy") == login_environment("4000000000") == {}
