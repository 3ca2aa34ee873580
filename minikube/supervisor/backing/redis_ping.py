"""Ask the embedded Redis whether it works, by a new connection to its socket: a removed socket is noticed, too.

It refuses to wait for a Redis that starts (`embedded_redis.wait_redis`), and to restart one (`service`).
"""

import contextlib
import os
import socket
import struct

import trio

from minikube.linux.processes import read_stat
from minikube.supervisor.backing.program import RestartNeeded
from minikube.text import printable

PING_TIMEOUT_S = 3.0
REPLY_BYTES = 512
"""An error of Redis is one line; more of it is not shown."""

UCRED = "3i"
"""`struct ucred` of SO_PEERCRED: pid, uid, gid (unix(7))."""


async def ping_redis(path: str, pid: int) -> str:
    """Return why the Redis process `pid`, which listens on the socket `path`, does not work; empty: it answers PING.

    Raises `RestartNeeded` where the socket was removed or replaced: Redis cannot make it again while it runs.
    """
    try:
        with trio.fail_after(PING_TIMEOUT_S):
            async with await trio.open_unix_socket(path) as stream:
                if not _is_listener(stream.socket, pid):
                    raise RestartNeeded(f"cannot be reached: another process listens on its socket {path}")
                # With too many clients Redis says so, and closes before it reads anything.
                with contextlib.suppress(trio.BrokenResourceError):
                    await stream.send_all(b"PING\r\n")
                reply = await stream.receive_some(REPLY_BYTES)
    except trio.TooSlowError:
        return _describe_silence(pid)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        raise RestartNeeded(f"cannot be reached: its socket {path} was removed") from None
    except (OSError, trio.BrokenResourceError) as error:
        return f"cannot be asked: {error}"
    if reply.startswith(b"+PONG"):
        return ""
    # For example -MISCONF while the disk is full: writes are refused, and so is PING.
    return f"answers: {printable(reply.decode('utf-8', 'replace').strip().removeprefix('-')) or 'nothing'}"


def _is_listener(sock: trio.socket.SocketType, pid: int) -> bool:
    """Return whether the process at the other end is `pid` or of its session, which is its own."""
    found = struct.unpack(UCRED, sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(UCRED)))[0]
    try:
        # A script that starts Redis has it as a child. Pid 0: a process of another pid namespace.
        return found in (0, pid) or os.getsid(found) == pid
    except ProcessLookupError:
        return False  # the process that made this socket is dead


def _describe_silence(pid: int) -> str:
    stat = read_stat(pid)
    if stat is not None and stat.is_stopped:
        return f"does not answer: its process is suspended — resume it with `kill -CONT {pid}`"
    return f"does not answer within {PING_TIMEOUT_S:g} s — if it stays so, `kill -9 {pid}`: it is started again with its data"
