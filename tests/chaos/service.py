"""The program of every service in a chaos run: `python service.py KIND`. It listens, registers itself where KIND says so, and
reports its birth.

Each process sends a pidfd of itself to the socket CHAOS_BIRTHS, so that its death is known however it comes, also when its
pid is used again. Every connection is answered with its name, its id and its pid.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

PORT = int(os.environ.get("PORT") or 0)
HOST = os.environ.get("HOST") or "127.0.0.1"
SERVICE = os.environ.get("SERVICE_NAME", "")
INSTANCE = os.environ.get("INSTANCE_ID", "")
LINES_PER_S = 10
RENEW_S = 0.5
LEASE = "3s"


def report_birth(role: str, pid: int) -> None:
    """Send a pidfd of the process and what it is. Ignored where no run listens."""
    message = {"service": SERVICE, "instance": INSTANCE, "pid": pid, "port": PORT, "role": role, "at": time.monotonic()}
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect(os.environ["CHAOS_BIRTHS"])
        descriptor = os.pidfd_open(pid)
        socket.send_fds(sock, [json.dumps(message).encode()], [descriptor])
        os.close(descriptor)


def listen() -> None:
    """Listen on PORT, and answer each connection in a thread of its own."""
    listener = socket.create_server((HOST, PORT), backlog=256)
    body = f"{SERVICE} {INSTANCE} {os.getpid()}\n".encode()
    reply = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    def serve() -> NoReturn:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                time.sleep(0.05)
                continue
            with suppress(OSError), connection:
                connection.settimeout(1)
                if connection.recv(4096):
                    connection.sendall(reply)

    threading.Thread(target=serve, daemon=True).start()


def run_trio() -> None:
    """Register with the trio SDK."""
    import trio

    import minikube

    async def main() -> None:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async with minikube.registered():
                await anext(signals)

    trio.run(main)


def run_asyncio() -> None:
    """Register with the asyncio SDK."""
    import asyncio

    from minikube import aio

    async def main() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        async with aio.registered():
            await stop.wait()

    asyncio.run(main())


def run_blocking() -> None:
    """Register with the blocking SDK."""
    from minikube import blocking

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with blocking.registered():
        idle()


def run_ttl() -> None:
    """Register without the SDK, and renew: what a program in another language does."""
    host, _, port = os.environ["MINIKUBE_REGISTRY"].rpartition(":")
    registration = {"Name": SERVICE, "Addr": f"{HOST}:{PORT}", "HealthCheck": "ttl:", "Lease": LEASE, "Uuid": INSTANCE}
    while True:
        with suppress(OSError, ValueError), socket.create_connection((host, int(port)), 2) as sock:
            sock.settimeout(2)
            with sock.makefile("rb") as replies:
                call(sock, replies, "Discovery.Authenticate", os.environ.get("MINIKUBE_REGISTRY_TOKEN", ""))
                while call(sock, replies, "Discovery.Register", registration)["error"] is None:
                    while call(sock, replies, "Discovery.Renew", INSTANCE, "passing")["error"] is None:
                        time.sleep(RENEW_S)
        time.sleep(0.2)


def call(sock: socket.socket, replies: Any, method: str, *params: object) -> dict[str, Any]:
    """Call the registry and return the reply. Raises ValueError at the end of the connection."""
    sock.sendall(json.dumps({"method": method, "params": params, "id": 1}).encode() + b"\n")
    reply: dict[str, Any] = json.loads(replies.readline())
    return reply


def run_tree() -> NoReturn:
    """Keep a child in a session of its own; start it again when it ends."""
    while True:
        child = subprocess.Popen(["sleep", "100000"], start_new_session=True)
        report_birth("child", child.pid)
        child.wait()


def run_flood() -> NoReturn:
    """Write numbered lines; after SIGUSR1 20,000 as fast as they are taken."""
    flood = threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: flood.set())
    number = 0
    while True:
        for _ in range(20_000 if flood.is_set() else 1):
            number += 1
            print(f"line {number} of {os.getpid()} {'x' * 60}", flush=True)
        flood.clear()
        flood.wait(1 / LINES_PER_S)


def idle() -> NoReturn:
    """Wait for a signal. The first process of a container gets only those that it handles."""
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        signal.pause()


KINDS: dict[str, Callable[[], object]] = {
    "trio": run_trio,
    "asyncio": run_asyncio,
    "blocking": run_blocking,
    "ttl": run_ttl,
    "tree": run_tree,
    "flood": run_flood,
    "idle": idle,
    "task": os.getpid,
}


if __name__ == "__main__":
    if PORT:
        listen()
    report_birth("task" if sys.argv[1] == "task" else "main", os.getpid())
    print("ready to serve", flush=True)
    KINDS[sys.argv[1]]()
