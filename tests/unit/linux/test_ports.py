"""Which errors mean that a port is taken, and which process has it."""

import errno
import os
import socket

import pytest

from minikube.linux.ports import SOCKET_TYPES, find_obstacle, free_port, is_free
from minikube.manifest.spec import Protocol
from tests.ports import refuse_ports


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_the_process_that_has_the_port_is_named(protocol: Protocol) -> None:
    with socket.socket(type=SOCKET_TYPES[protocol]) as server:
        server.bind(("127.0.0.1", 0))
        if protocol == "tcp":
            server.listen()
        port = server.getsockname()[1]
        obstacle = find_obstacle("127.0.0.1", port, protocol=protocol)
        assert obstacle is not None
        assert obstacle.text.startswith(f"port {port} is taken by pid {os.getpid()} (")


def test_a_udp_port_that_may_be_shared_is_not_free() -> None:
    """Its socket has SO_REUSEADDR: another one with the option could be bound, and would take its packets."""
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        assert not is_free("127.0.0.1", port, "udp")
        assert free_port("127.0.0.1", frozenset(), "udp") != port


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


def test_a_port_that_only_a_privileged_program_may_listen_on_is_said_to_be_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refuse_ports(monkeypatch)
    obstacle = find_obstacle("127.0.0.1", 80)
    assert obstacle is not None
    assert "cap_net_bind_service may listen on port 80" in obstacle.text
    assert obstacle.lacks_right
