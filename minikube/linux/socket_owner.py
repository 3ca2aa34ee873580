"""The user at the other end of a TCP connection on loopback, as the kernel knows it.

The kernel is asked for the client's socket by its exact addresses (`sock_diag`, 30 µs), or where that is not
available in the tables `/proc/net/tcp` and `tcp6` (12 ms).

It refuses to guess: a client on another machine, a client that has closed its socket, and a kernel that does not tell are
all "unknown". What a user may do is decided elsewhere.
"""

import errno
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

_ESTABLISHED: Final = 1
_FIN_WAIT1: Final = 4
_FIN_WAIT2: Final = 5
_CLOSE_WAIT: Final = 8
CONNECTED_STATES: Final = frozenset({_ESTABLISHED, _FIN_WAIT1, _FIN_WAIT2, _CLOSE_WAIT})
"""States of a TCP socket that is connected, half closed or not (`include/net/tcp_states.h`)."""

PROC_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))

# linux/sock_diag.h, linux/inet_diag.h, linux/netlink.h
_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST: Final = 1
_NLMSG_ERROR: Final = 2
_ALL_STATES: Final = 0xFFFF_FFFF
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBxI")
_SOCKET_ID = struct.Struct("!HH16s16s")
_NO_COOKIE: Final = b"\0" * 4 + b"\xff" * 8
"""The interface (any), and a cookie that means "none"."""
_REPLY = struct.Struct("=BBBB")
_REPLY_OWNER = struct.Struct("=IIIII")


class ConnectedSocket(Protocol):
    """A socket of the standard library or of trio."""

    @property
    def family(self) -> int: ...
    def getsockname(self) -> Any: ...
    def getpeername(self) -> Any: ...
    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes: ...


class Ends(NamedTuple):
    """The two ends of a TCP socket: packed addresses (IPv4-mapped ones as IPv4) and ports."""

    host: bytes
    port: int
    peer_host: bytes
    peer_port: int

    def reversed(self) -> "Ends":
        """Return the ends as the peer's socket has them."""
        return Ends(self.peer_host, self.peer_port, self.host, self.port)


class Owner(NamedTuple):
    """What the kernel tells about one socket. `inode` is 0 if no process has the socket open any more."""

    state: int
    uid: int
    inode: int


class Unavailable(Exception):
    """The kernel does not answer `sock_diag` here."""


def peer_uid(sock: ConnectedSocket) -> int | None:
    """Return the user id of the process that connected to `sock`, an accepted TCP socket; None if it is unknown.

    Known are only clients on loopback that have their socket open; it may be half closed. Never waits.
    """
    ends = _ends_of(sock)
    # The kernel forgets a socket that was reset: the search for it would end in the slow tables.
    if ends is None or not is_loopback(ends.peer_host) or _state(sock) not in CONNECTED_STATES:
        return None
    owner = _find(ends.reversed())
    # The order matters: while our socket is connected after the lookup, no other socket can have been connected with these
    # addresses. Without this check, the data of a connection that was reset could be taken for that of the user who got
    # the same port next.
    if owner is None or _state(sock) not in CONNECTED_STATES:
        return None
    # A socket without an inode has no process: the kernel then gives user 0, which must not be taken for root. One that
    # listens, or is still connecting, has the client's port but is not the client's socket.
    return owner.uid if owner.inode and owner.state in CONNECTED_STATES else None


def is_loopback(host: bytes) -> bool:
    """Return whether the packed address is a loopback address."""
    return host[:1] == b"\x7f" if len(host) == 4 else host == b"\0" * 15 + b"\x01"


def _ends_of(sock: ConnectedSocket) -> Ends | None:
    """Return the ends of a TCP socket; None if it is not connected, or not TCP over IP."""
    try:
        local, peer = sock.getsockname(), sock.getpeername()
    except OSError:
        return None
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    return Ends(_pack(local[0]), local[1], _pack(peer[0]), peer[1])


def _pack(host: str) -> bytes:
    """Return the address in network order; an IPv4-mapped one as IPv4."""
    address = host.partition("%")[0]  # without the zone
    return _unmap(socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address))


def _unmap(host: bytes) -> bytes:
    return host[12:] if host.startswith(b"\0" * 10 + b"\xff\xff") and len(host) == 16 else host


def _state(sock: ConnectedSocket) -> int:
    """Return the TCP state of a socket of this process."""
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    except OSError:
        return 0


def _find(ends: Ends) -> Owner | None:
    """Return the owner of the socket with these ends; None if there is no such socket."""
    try:
        return ask_kernel(ends)
    except Unavailable:
        return search_tables(ends)


# ---------------------------------------------------------------- sock_diag


def ask_kernel(ends: Ends) -> Owner | None:
    """Return the owner of the socket with these ends, asked of `sock_diag`; None if there is no such socket.

    Raise `Unavailable` if the kernel does not answer, or does not know the other end of the connection either.
    """
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
            netlink.setblocking(False)  # the kernel answers before `send` returns
            owner = _exchange(netlink, ends)
            # A kernel without the module tcp_diag answers "no such socket", too. Ours does exist.
            if owner is None and _exchange(netlink, ends.reversed()) is None:
                raise Unavailable
            return owner
    except OSError as error:
        raise Unavailable from error


def _exchange(netlink: socket.socket, ends: Ends) -> Owner | None:
    """Send one question and return the answer."""
    is_ipv4 = len(ends.host) == 4
    family = socket.AF_INET if is_ipv4 else socket.AF_INET6
    socket_id = _SOCKET_ID.pack(ends.port, ends.peer_port, ends.host, ends.peer_host) + _NO_COOKIE
    body = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, _ALL_STATES) + socket_id
    netlink.send(_HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 0, 0) + body)
    reply = netlink.recv(4_096)
    _, kind, _, _, _ = _HEADER.unpack_from(reply)
    offset = _HEADER.size
    if kind == _NLMSG_ERROR:
        (code,) = struct.unpack_from("=i", reply, offset)
        if code != -errno.ENOENT:
            raise OSError(-code, "sock_diag")
        return None
    family, state, _, _ = _REPLY.unpack_from(reply, offset)
    offset += _REPLY.size
    size = 4 if family == socket.AF_INET else 16
    port, peer_port, host, peer_host = _SOCKET_ID.unpack_from(reply, offset)
    found = Ends(_unmap(host[:size]), port, _unmap(peer_host[:size]), peer_port)
    if found != ends:
        return None  # a socket that listens on the client's port: the kernel falls back to it
    _, _, _, uid, inode = _REPLY_OWNER.unpack_from(reply, offset + _SOCKET_ID.size + len(_NO_COOKIE))
    return Owner(state, uid, inode)


# ---------------------------------------------------------------- /proc


def search_tables(ends: Ends) -> Owner | None:
    """Return the owner of the socket with these ends from the tables in `/proc/net`; None if it is not there."""
    is_ipv4 = len(ends.host) == 4
    # A client's socket of IPv6 may be connected to an IPv4 address; then it is in the table of IPv6.
    wanted = {_format_ends(ends, is_mapped=is_mapped) for is_mapped in ((False, True) if is_ipv4 else (False,))}
    for line in _table_lines(PROC_TABLES if is_ipv4 else PROC_TABLES[1:]):
        fields = line.split(maxsplit=10)
        if len(fields) > 9 and (fields[1], fields[2]) in wanted:
            return Owner(int(fields[3], 16), int(fields[7]), int(fields[9]))
    return None


def _table_lines(tables: tuple[Path, ...]) -> Iterator[str]:
    for table in tables:
        try:
            lines = table.read_text().splitlines()
        except OSError:
            continue  # a machine without IPv6 has no tcp6
        yield from lines[1:]


def _format_ends(ends: Ends, *, is_mapped: bool) -> tuple[str, str]:
    """Return the two ends as the tables show them."""

    def format_end(host: bytes, port: int) -> str:
        packed = b"\0" * 10 + b"\xff\xff" + host if is_mapped else host
        # Words of 32 bits, each printed as a number of this machine.
        words = struct.unpack(f"={len(packed) // 4}I", packed)
        return f"{''.join(f'{word:08X}' for word in words)}:{port:04X}"

    return format_end(ends.host, ends.port), format_end(ends.peer_host, ends.peer_port)
