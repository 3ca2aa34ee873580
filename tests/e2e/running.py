"""A project that the real command runs: a directory and ports of its own, services from the checkout."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import psutil
import redis

from minikube import WatchSnapshot, blocking
from minikube.model import Change, ChangeKind
from minikube.project.redis_socket import find_redis_socket
from tests.eventually import eventually
from tests.ports import free_ports
from tests.untraced import UNTRACED, untraced

ROOT = Path(__file__).parents[2]
MINIKUBE = str(Path(sys.executable).parent / "minikube")
PORTS = {"registry": 5555, "control": 5556, "product": 7070, "order": 6060}
"""The ports that the sample manifest names."""


class Answer(NamedTuple):
    """The reply of a service: status, headers (lower case), JSON body."""

    status: int
    headers: dict[str, str]
    body: Any


class Project:
    """The sample manifest (and what a test adds to it) in `directory`, and the `minikube up` that runs it."""

    def __init__(self, directory: Path, extra: str = "") -> None:
        self.directory = directory
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        text = self.translate((ROOT / "supervisor.toml").read_text())
        toml = ", ".join(f'{name} = "{value}"' for name, value in UNTRACED.items())
        text = re.sub(r"(?m)^(command = .*)$", rf'\1\ncwd = "{ROOT}"\nenv = {{ {toml} }}', text)
        self.manifest = directory / "supervisor.toml"
        self.manifest.write_text(text + extra)
        self.up: subprocess.Popen[bytes] | None = None
        self.output = directory / "up.log"

    def translate(self, text: str) -> str:
        """Return `text` with this project's ports in place of the sample's."""
        return re.sub("|".join(map(str, PORTS.values())), lambda found: str(self._port(int(found[0]))), text)

    def _port(self, sample: int) -> int:
        return next(self.ports[name] for name, port in PORTS.items() if port == sample)

    def start(self) -> None:
        """Start `minikube up` without a terminal, and do not wait for it."""
        with self.output.open("ab") as log:
            self.up = subprocess.Popen(
                [MINIKUBE, "up", "supervisor.toml"],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def stop(self) -> int:
        """Send TERM to `minikube up`, and return its exit code."""
        assert self.up is not None
        up, self.up = self.up, None
        up.terminate()
        return up.wait(timeout=60)

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run a command of `minikube`, which has to exit with `code`; return its standard output."""
        done = subprocess.run(
            [MINIKUBE, *arguments], cwd=self.directory, env=untraced(), capture_output=True, text=True, timeout=120
        )
        assert done.returncode == code, f"{arguments} exited with {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def status(self) -> dict[str, Any]:
        """Return the reply to `/v1/status`."""
        token = (self.directory / ".minikube" / "token").read_text().strip()
        address = f"http://127.0.0.1:{self.ports['control']}/v1/status"
        request = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=30) as reply:
            status: dict[str, Any] = json.load(reply)
        return status

    def instance(self, service: str) -> dict[str, Any]:
        """Return the row of the service's first instance; empty when there is none (yet)."""
        try:
            rows = self.status()["instances"]
        except (OSError, ValueError):
            return {}
        return next((row for row in rows if row["service"] == service), {})

    def passes(self, *services: str) -> bool:
        return all(self.instance(service).get("check") == "passing" for service in services)

    def wait_passing(self, *services: str, within: float = 60.0) -> None:
        try:
            eventually(lambda: self.passes(*services), within, f"{services} passing")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output.read_text()}") from None

    def rpc(self, method: str, *params: object) -> Any:
        """Call the registry once over a plain socket, and return the whole reply."""
        line = json.dumps({"method": method, "params": list(params), "id": 1}) + "\n"
        with socket.create_connection(("127.0.0.1", self.ports["registry"]), 30) as sock, sock.makefile("rb") as file:
            sock.sendall(line.encode())
            return json.loads(file.readline())

    def kill_and_watch(self, service: str) -> Change:
        """Kill the service's first instance; return the first change that watchers get: its removal, or its next registration.

        A result of a probe of the killed process may come before, and is ignored."""
        with blocking.watch(service, address=f"127.0.0.1:{self.ports['registry']}") as updates:
            first = next(updates)
            assert isinstance(first, WatchSnapshot)
            lives = {instance.incarnation for instance in first.instances}
            os.kill(self.instance(service)["pid"], signal.SIGKILL)
            for change in updates:
                if isinstance(change, Change) and (
                    change.kind is ChangeKind.GONE or change.instance.incarnation not in lives
                ):
                    return change
        raise AssertionError("the watch ended")

    def found(self, name: str) -> bool:
        return self.rpc("Discovery.Get", name)["error"] is None

    def http(self, service: str, path: str, method: str = "GET", body: bytes | None = None, *, key: str = "") -> Answer:
        return http(self.ports[service], path, method, body, key)

    def buy(self, product: str) -> Answer:
        """Purchase one item as the documentation of the shop says; return the answer that is neither 503 nor 504.

        After a 503 nothing was done, so the purchase is repeated. After a 504 the outcome is not known: the purchase is
        repeated with the key that the answer names, which takes nothing twice.
        """
        key = ""
        while (answer := self.http("order", f"/purchase/{product}", "POST", key=key)).status in (503, 504):
            if answer.status == 504:
                named = re.search(r"Idempotency-Key: (\S+)$", answer.body["error"])
                assert named, answer
                assert key in ("", named[1]), answer
                key = named[1]
            time.sleep(0.05)
        return answer

    def assert_sold(self, product: str, quantity: int, answers: list[Answer]) -> None:
        """Assert that `answers` sold this quantity, each item by an order of its own, and that the rest are 409."""
        sold = {answer.body["order_id"] for answer in answers if answer.status == 200}
        statuses = Counter(answer.status for answer in answers)
        assert statuses == {200: quantity, 409: len(answers) - quantity}, statuses
        assert len(sold) == quantity, "two purchases got the same order"
        assert self.http("product", f"/product/{product}").body["quantity"] == 0
        orders = self.http("order", "/orders").body
        assert sold == {order["order_id"] for order in orders if order["product_id"] == product}, "the orders written"

    def redis(self) -> "redis.Redis":
        return redis.Redis(unix_socket_path=str(find_redis_socket(self.directory / ".minikube")), decode_responses=True)

    def processes(self) -> list[psutil.Process]:
        """Everything that this project's supervisor started, itself included: what carries the project's mark, and what
        runs in its directory."""
        state = str(self.directory / ".minikube")
        own = []
        for process in psutil.process_iter():
            try:
                place, mark = Path(process.cwd()), process.environ().get("MINIKUBE_STATE", "")
            except psutil.Error:
                continue
            if process.pid != os.getpid() and (mark == state or place.is_relative_to(self.directory)):
                own.append(process)
        return own


def http(port: int, path: str, method: str = "GET", body: bytes | None = None, key: str = "") -> Answer:
    """Send one request on a connection of its own, and return the reply, also that of an HTTP error.

    `key` is an `Idempotency-Key`, if any.
    """
    headers = {"Idempotency-Key": key} if key else {}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers, method=method)
    try:
        reply = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        reply = error
    with reply:
        headers = {name.lower(): value for name, value in reply.headers.items()}
        return Answer(reply.status, headers, json.loads(reply.read() or b"null"))


class running(Project):
    """`with running(tmp_path) as project`: up, both services passing; at the end nothing is left."""

    def __enter__(self) -> "running":
        self.start()
        try:
            self.wait_passing("product", "order")
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        if self.up is not None and self.up.poll() is None:
            self.up.send_signal(signal.SIGTERM)
            try:
                self.up.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.up.kill()
                self.up.wait()
        for process in self.processes():
            process.kill()


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Pause the process inside the `with` block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
