"""The user at the other end of a TCP connection, on real sockets."""

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from minikube.linux import socket_owner
from minikube.linux.socket_owner import Owner, ask_kernel, peer_uid, search_tables
from tests.eventually import eventually

CONNECT = """
import encodings.idna, os, socket, sys
os.setuid(int(sys.argv[1]))
sock = socket.create_connection((sys.argv[2], int(sys.argv[3])))
sys.stdin.read()
"""


class Pair:
    """A connection: the client's socket and the accepted one."""

    def __init__(self, server: socket.socket, client: socket.socket) -> None:
        host = "127.0.0.1" if client.family == socket.AF_INET else "::1"
        client.connect((host, server.getsockname()[1]))
        self.client = client
        self.accepted = server.accept()[0]

    def close(self) -> None:
        self.client.close()
        self.accepted.close()


@pytest.fixture(params=["127.0.0.1", "::1", "::"])
def server(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.create_server((request.param, 0), family=family, dualstack_ipv6=request.param == "::") as server:
        yield server


@pytest.fixture
def pair(server: socket.socket) -> Iterator[Pair]:
    pair = Pair(server, socket.socket(socket.AF_INET6 if server.getsockname()[0] == "::1" else socket.AF_INET))
    yield pair
    pair.close()


@pytest.fixture(params=["sock_diag", "/proc"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask only in this way."""

    def unavailable(*_: object) -> None:
        if request.param == "/proc":
            raise socket_owner.Unavailable
        raise AssertionError("the tables are slow")

    monkeypatch.setattr(socket_owner, "ask_kernel" if request.param == "/proc" else "search_tables", unavailable)


@pytest.mark.usefixtures("way")
def test_the_user_of_an_open_socket_is_known(pair: Pair) -> None:
    assert peer_uid(pair.accepted) == os.getuid()
    pair.client.shutdown(socket.SHUT_WR)
    assert peer_uid(pair.accepted) == os.getuid()


@pytest.mark.usefixtures("way")
def test_the_user_is_known_after_the_server_has_closed_its_side(pair: Pair) -> None:
    pair.accepted.shutdown(socket.SHUT_WR)
    assert peer_uid(pair.accepted) == os.getuid()


@pytest.mark.usefixtures("way", "as_root")
def test_the_user_of_another_process_is_known(server: socket.socket) -> None:
    host = "::1" if server.getsockname()[0] == "::1" else "127.0.0.1"
    command = [sys.executable, "-c", CONNECT, "65534", host, str(server.getsockname()[1])]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        accepted = server.accept()[0]
        assert peer_uid(accepted) == 65_534
        process.communicate()
    # The kernel gives user 0, root, for a socket that no process has open.
    assert peer_uid(accepted) is None
    accepted.close()


@pytest.mark.usefixtures("way")
def test_the_user_of_a_closed_socket_is_unknown(pair: Pair) -> None:
    pair.client.close()
    assert peer_uid(pair.accepted) is None


@pytest.mark.usefixtures("way")
def test_the_user_of_a_reset_connection_is_unknown(pair: Pair) -> None:
    pair.client.sendall(b"act")
    pair.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    pair.client.close()
    assert peer_uid(pair.accepted) is None


def test_an_ipv4_client_of_an_ipv6_socket_is_found() -> None:
    with (
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server,
        socket.socket(socket.AF_INET6) as client,
    ):
        client.connect(("::ffff:127.0.0.1", server.getsockname()[1]))
        with server.accept()[0] as accepted:
            ends = socket_owner._ends_of(accepted)
            assert ends is not None
            expected = Owner(1, os.getuid(), os.fstat(client.fileno()).st_ino)
            assert ask_kernel(ends.reversed()) == expected
            assert search_tables(ends.reversed()) == expected
            assert peer_uid(accepted) == os.getuid()


@pytest.mark.usefixtures("way")
def test_a_socket_that_listens_on_the_clients_port_is_not_the_client() -> None:
    """The kernel falls back to it once the client's socket is gone, which the server does not learn."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind(("127.0.0.1", 0))
        port = client.getsockname()[1]
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_LINGER2, 1)
        pair = Pair(server, client)
        client.close()
        ends = socket_owner._ends_of(pair.accepted)
        assert ends is not None
        entry = f"0100007F:{port:04X} 0100007F:{ends.port:04X} "
        eventually(lambda: entry not in Path("/proc/net/tcp").read_text())
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            listener.listen()
            assert socket_owner._find(ends.reversed()) is None
            assert peer_uid(pair.accepted) is None
        pair.close()


@pytest.mark.parametrize("state", [2, 7, 10])
def test_a_socket_in_another_state_is_not_the_client(
    state: int, server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In turn: connecting, closed, listening."""
    pair = Pair(server, socket.socket(socket.AF_INET6 if server.getsockname()[0] == "::1" else socket.AF_INET))
    monkeypatch.setattr(socket_owner, "_find", lambda ends: Owner(state, 0, 99))
    assert peer_uid(pair.accepted) is None
    pair.close()


def test_the_client_is_unknown_if_the_connection_ends_during_the_lookup(
    server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may get its port, and be found instead."""
    pair = Pair(server, socket.socket(socket.AF_INET6 if server.getsockname()[0] == "::1" else socket.AF_INET))

    def reset(ends: object) -> Owner:
        pair.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        pair.client.close()
        return Owner(1, 0, 99)

    monkeypatch.setattr(socket_owner, "_find", reset)
    assert peer_uid(pair.accepted) is None
    pair.close()


def test_a_client_on_another_machine_is_unknown(monkeypatch: pytest.MonkeyPatch, pair: Pair) -> None:
    monkeypatch.setattr(socket_owner, "_ends_of", lambda _: socket_owner.Ends(b"\xc0\0\2\1", 1, b"\xc0\0\2\2", 2))
    monkeypatch.setattr(socket_owner, "_find", lambda ends: Owner(1, 0, 99))
    assert peer_uid(pair.accepted) is None


def test_a_socket_that_is_not_connected_has_no_client() -> None:
    with socket.socket() as sock:
        assert peer_uid(sock) is None
    one, other = socket.socketpair()
    with one, other:
        assert peer_uid(one) is None
