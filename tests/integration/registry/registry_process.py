"""Helpers for the registry's tests: a registry process, a plain line client, and small services to probe."""

import http.server
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.eventually import eventually
from tests.untraced import untraced


class RpcFailed(Exception):
    """The error of a call's answer."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Client:
    """A JSON-RPC 2.0 client, one call at a time; notifications that arrive meanwhile are kept in `notices`."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.lines = self.sock.makefile("rb")
        self.notices: list[dict[str, Any]] = []
        self.number = 0

    def call(self, method: str, *params: Any) -> Any:
        self.number += 1
        request = {"jsonrpc": "2.0", "method": f"Discovery.{method}", "params": list(params), "id": self.number}
        self.sock.sendall(json.dumps(request).encode() + b"\n")
        while True:
            answer = self.read()
            if answer.get("id") == self.number:
                break
            self.notices.append(answer["params"])
        if "error" in answer:
            raise RpcFailed(answer["error"]["code"], answer["error"]["message"])
        return answer["result"]

    def read(self) -> dict[str, Any]:
        line = self.lines.readline()
        assert line, "the registry closed the connection"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def notice(self) -> dict[str, Any]:
        """Wait for the next notification and return it."""
        return self.notices.pop(0) if self.notices else self.read()["params"]

    def get(self, name: str) -> int:
        """Return the port of a passing instance, 0 if there is none."""
        try:
            return int(self.call("Get", name)["Port"])
        except RpcFailed as error:
            if error.code != -32004:
                raise
            return 0

    def state(self, id_: str) -> str:
        """Return an instance's state, empty if it is unknown."""
        return next((str(one["State"]) for one in self.call("Instances") if one["Uuid"] == id_), "")

    def close(self) -> None:
        self.lines.close()
        self.sock.close()


class Registry:
    """`minikube registry` on a free port (later always the same one) that can be killed and started again.

    Coverage is not measured: the process ends by SIGKILL, which leaves no time to save it. `env`: more variables for it.
    """

    def __init__(self, redis_url: str, *, port: int = 0, **env: str) -> None:
        self.redis_url = redis_url
        self.env = {**untraced(), **env}
        self.port = port
        self.process: subprocess.Popen[str] | None = None
        self.clients: list[Client] = []

    def start(self) -> "Registry":
        self.process = subprocess.Popen(
            [sys.executable, "-m", "minikube", "registry", "--listen", f"127.0.0.1:{self.port}"],
            env={**self.env, "REDIS_URL": self.redis_url},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.fullmatch(r"registry: listening on 127\.0\.0\.1:([0-9]+)\n", line)
        assert found, f"the registry did not start: {line!r}"
        self.port = int(found[1])
        return self

    def ready(self) -> Client:
        """Return a client once Redis was read: on a busy machine that may take longer than a request waits."""
        client = self.client()
        eventually(lambda: not client.call("Status")["Stale"], what="Redis was read")
        return client

    def client(self) -> Client:
        client = Client(self.port)
        self.clients.append(client)
        return client

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.kill()


@contextmanager
def running(url: str, *, ready: bool = True) -> Iterator[tuple[Registry, Client]]:
    """Yield a registry that was started on the Redis at `url`, and a client: one that has waited for the store with `ready`."""
    registry = Registry(url)
    try:
        registry.start()
        yield registry, registry.ready() if ready else registry.client()
    finally:
        registry.close()


def store_detail(client: Client) -> str:
    """Return why Redis cannot be used; empty while it can."""
    store = client.call("Status")["Store"]
    return "" if store["State"] == "ok" else str(store["Detail"])


class Service:
    """An HTTP server in a thread: `status` is its response, `hang` makes it answer nothing until `release`."""

    def __init__(self) -> None:
        self.status = 200
        self.requests = 0
        self.awake = threading.Event()
        self.awake.set()
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.requests += 1
                service.awake.wait(20)
                self.send_response(service.status)
                self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(b"as you see")

            def log_message(self, *args: Any) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *args: Any) -> None:
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = int(self.server.server_address[1])
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def registration(self, name: str, **more: Any) -> dict[str, Any]:
        return {
            "Name": name,
            "Addr": f"127.0.0.1:{self.port}",
            "HealthCheck": f"http://127.0.0.1:{self.port}/health",
            **more,
        }

    def hang(self) -> None:
        self.awake.clear()

    def release(self) -> None:
        self.awake.set()

    def stop(self) -> None:
        self.awake.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@contextmanager
def services(count: int) -> Iterator[list[Service]]:
    """Start `count` services; stop them at the end."""
    made = [Service() for _ in range(count)]
    try:
        yield made
    finally:
        for one in made:
            one.stop()
