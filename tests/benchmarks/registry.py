"""A registry of the benchmark's own, with many instances in it, and the few RPC calls that this takes."""

import contextlib
import json
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.benchmarks.tools import cores, pinned, python_path, running
from tests.redis_server import RedisServer

BATCH = 500
LEASE = "1h"


class Rpc:
    """A blocking connection that speaks JSON-RPC 2.0 by hand: the benchmark measures the server, not our client."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=30)
        self.lines = self.socket.makefile("rb")

    def send(self, method: str, *params: Any, id: int = 1) -> None:
        """Send a request; its reply is read later."""
        line = json.dumps({"jsonrpc": "2.0", "id": id, "method": f"Discovery.{method}", "params": params})
        self.socket.sendall(line.encode() + b"\n")

    def receive(self) -> dict[str, Any]:
        """The next line, whatever it is."""
        line = self.lines.readline()
        if not line:
            raise SystemExit("the registry hung up")
        message: dict[str, Any] = json.loads(line)
        return message

    def call(self, method: str, *params: Any) -> Any:
        """Send, and wait for the result."""
        self.send(method, *params)
        return self.result()

    def result(self) -> Any:
        """What the next reply says; an error ends the benchmark."""
        reply = self.receive()
        if "error" in reply:
            raise SystemExit(f"the registry answered {reply['error']}")
        return reply["result"]

    def __enter__(self) -> "Rpc":
        return self

    def __exit__(self, *_: object) -> None:
        self.lines.close()
        self.socket.close()


@contextlib.contextmanager
def open_registry() -> Iterator[tuple[int, str]]:
    """A registry alone on the server's core beside a Redis of its own: its pid and address."""
    with TemporaryDirectory(prefix="mk-bench-") as directory, RedisServer(Path(directory)) as redis:
        argv = pinned(cores()[0], sys.executable, "-m", "minikube", "registry", "--listen", "127.0.0.1:0")
        with running(argv, env={**python_path(), "REDIS_URL": redis.url}, ready="listening on") as (pid, line):
            yield pid, line.split()[-1]


def fill(address: str, names: Sequence[str]) -> None:
    """Register one passing instance under each name. They renew by lease: nothing is probed while we measure."""
    with Rpc(address) as rpc:
        for start in range(0, len(names), BATCH):
            batch = names[start : start + BATCH]
            for place, name in enumerate(batch, start):
                port = 1024 + place % 60_000
                wanted = {"Name": name, "Addr": f"127.0.0.1:{port}", "HealthCheck": "ttl:", "Lease": LEASE}
                rpc.send("Register", wanted, id=place)
            ids = [rpc.result() for _ in batch]
            for place, instance in enumerate(ids):
                rpc.send("Renew", instance, id=place)
            for _ in ids:
                rpc.result()
        rpc.call("Get", names[-1])
