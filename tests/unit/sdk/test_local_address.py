"""The address to register for a service on a wildcard address: of the connection, in the family on which it listens."""

import socket
from typing import Any

import pytest

from minikube.errors import Unavailable
from minikube.sdk import local_address
from minikube.sdk.local_address import is_wildcard, local_host

V4, V6 = "0.0.0.0", "::"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "0:0:0:0:0:0:0:0", "::0"])
def test_every_spelling_of_a_wildcard_is_one(host: str) -> None:
    assert is_wildcard(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "", "10.0.0.0"])
def test_other_hosts_are_none(host: str) -> None:
    assert not is_wildcard(host)


@pytest.mark.parametrize(
    ("wildcard", "name", "host"),
    [
        (V4, ("10.1.2.3", 5), "10.1.2.3"),
        (V6, ("2001:db8::5", 5, 0, 0), "2001:db8::5"),
        (V6, ("127.0.0.1", 5), "::1"),
        (V4, ("::1", 5, 0, 0), "127.0.0.1"),
        (V4, ("::ffff:10.1.2.3", 5, 0, 0), "10.1.2.3"),
        (V6, ("::ffff:127.0.0.1", 5, 0, 0), "::1"),
        ("0:0:0:0:0:0:0:0", ("::1", 5, 0, 0), "::1"),
    ],
)
def test_the_address_is_of_the_family_of_the_wildcard(wildcard: str, name: tuple[Any, ...], host: str) -> None:
    assert local_host(wildcard, name) == host


def test_the_zone_of_a_link_local_address_is_kept() -> None:
    (number, name), *_ = socket.if_nameindex()
    assert local_host(V6, ("fe80::1", 5, 0, number)) == f"fe80::1%{name}"
    assert local_host(V6, ("fe80::1", 5, 0, 99_999)) == "fe80::1%99999"


def test_another_family_takes_the_address_of_the_default_route(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(local_address._UNROUTED, socket.AF_INET, "127.0.0.9")
    assert local_host(V4, ("2001:db8::5", 5, 0, 0)) == "127.0.0.1"


def test_a_machine_without_such_an_address_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", fail)
    with pytest.raises(Unavailable, match=r"listens on ::, and this machine has no such address .* — set HOST"):
        local_host(V6, ("10.0.0.5", 5))
