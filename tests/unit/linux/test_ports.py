"""Which port an instance gets, and which errors mean that a port is taken."""

import errno
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from minikube.errors import PortTaken
from minikube.linux.ports import choose_port, find_obstacle, is_free
from minikube.manifest import ServiceSpec

SPEC = ServiceSpec("x", Path("/"), ("run",), host="127.0.0.1")


def test_the_process_that_has_the_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"port {port} is taken by pid {os.getpid()} \("):
            choose_port(replace(SPEC, port=port), 0, frozenset())


@pytest.mark.parametrize(
    ("number", "free"),
    [(errno.EADDRINUSE, False), (errno.EADDRNOTAVAIL, False), (errno.EACCES, False), (errno.EMFILE, None)],
)
def test_a_shortage_of_descriptors_is_not_taken_for_a_taken_port(
    monkeypatch: pytest.MonkeyPatch, number: int, free: bool | None
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket, "socket", refuse)
    if free is None:
        with pytest.raises(OSError, match="Too many open files"):
            is_free("127.0.0.1", 80)
    else:
        assert is_free("127.0.0.1", 80) is free


def test_a_port_of_an_unknown_host_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert not is_free("nowhere.invalid", 80)


@pytest.mark.parametrize("last", [0, 8001], ids=["first start", "second start"])
@pytest.mark.parametrize(
    "port",
    [{"auto_port": True}, {"auto_port": True, "port_range": (8000, 8002)}, {"port": 8080}],
    ids=["auto", "range", "fixed"],
)
@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("192.0.2.7", "192.0.2.7 is no address of this machine"),
        ("2001:db8::7", "2001:db8::7 is no address of this machine"),
        ("nowhere.invalid", "host nowhere.invalid cannot be resolved"),
        ("a" * 70, "cannot be resolved"),
    ],
)
def test_a_host_that_is_not_this_machine_is_said_to_be_so(
    host: str, words: str, port: dict[str, Any], last: int
) -> None:
    """And not that the port is taken."""
    with pytest.raises(PortTaken, match=rf"{words}.* — set services\.x\.host"):
        choose_port(replace(SPEC, host=host, **port), last, frozenset())


def test_a_port_that_only_a_privileged_program_may_listen_on_does_not_keep_it_from_its_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The program may have the right, by file capabilities or setuid."""

    class Socket(socket.socket):
        def bind(self, address: object, /) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "socket", Socket)
    assert choose_port(replace(SPEC, port=80), 0, frozenset()) == 80
    obstacle = find_obstacle("127.0.0.1", 80)
    assert obstacle is not None
    assert "cap_net_bind_service may listen on port 80" in obstacle.text
