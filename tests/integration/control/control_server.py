"""A control API on a free port, with a real state store and commands that only record their calls."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import trio

from minikube.control.client.endpoint import Endpoint
from minikube.control.client.messages import ApplyReply
from minikube.control.interface import MetricsInput
from minikube.control.server import serve_control
from minikube.control.state_store import StateStore
from minikube.errors import NotFound, UsageError
from minikube.logs.query import LogQuery
from minikube.model import CheckState, Instance, InstanceView, LogLine, ProcessState, ServiceView
from minikube.net.http_messages import HttpLimits

TOKEN = "ab" * 32


class RecordedCommands:
    """Records every call. Commands wait for `gate`; `lines` are the lines of all logs."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.gate = trio.Event()
        self.gate.set()
        self.lines = [LogLine(float(n), "product", "product", "stdout", f"line {n}") for n in range(5)]
        self.more = trio.Event()
        self.followers = 0
        self.searching = trio.Event()
        self.searching.set()
        self.known: list[Instance] = []

    async def _note(self, *call: Any) -> None:
        if call[1] not in ("product", "product-2", "order"):
            raise NotFound(f"{call[1]}: no such service")
        self.calls.append(call)
        await self.gate.wait()

    async def start(self, name: str) -> None:
        await self._note("start", name)

    async def stop(self, name: str) -> None:
        await self._note("stop", name)

    async def restart(self, name: str) -> None:
        await self._note("restart", name)

    async def kill(self, name: str, signal: str = "KILL") -> None:
        await self._note("kill", name, signal)

    async def scale(self, name: str, replicas: int) -> None:
        await self._note("scale", name, replicas)

    async def maintenance(self, name: str, on: bool, reason: str = "") -> None:
        await self._note("maintenance", name, on, reason)

    def has_log(self, name: str) -> bool:
        return name == "product-9"

    async def clear_logs(self, names: Sequence[str]) -> Sequence[str]:
        self.calls.append(("clear_logs", *names))
        return tuple(names) or ("order", "product")

    async def apply(self, dry_run: bool = False) -> ApplyReply:
        raise UsageError("apply is not supported yet")

    def shutdown(self, now: bool = False) -> None:
        self.calls.append(("shutdown", now))

    def settings(self, service: str) -> dict[str, Any]:
        return {"user": "www", "limits": {"memory": 64 << 20}} if service == "product" else {}

    def registered_instances(self) -> Sequence[Instance]:
        return self.known

    async def token_rights(self, token: str) -> Sequence[str]:
        return {"reader": ["read"], "admin": ["admin"]}.get(token, [])

    async def metrics_input(self) -> MetricsInput:
        return MetricsInput()

    @asynccontextmanager
    async def logs(self, names: Sequence[str], query: LogQuery) -> AsyncIterator[AsyncIterator[list[LogLine]]]:
        self.followers += 1
        try:
            async with aclosing(self._lines(query.tail, query.follow)) as lines:
                yield lines
        finally:
            self.followers -= 1

    async def _lines(self, tail: int, follow: bool) -> AsyncGenerator[list[LogLine], None]:
        await self.searching.wait()
        yield self.lines[-tail:] if tail else []
        if follow:
            await self.more.wait()
            yield [LogLine(9.0, "product", "product", "stderr", "afterwards")]
            await trio.sleep_forever()


class ControlServer:
    """A running control API."""

    def __init__(
        self, store: StateStore, commands: RecordedCommands, endpoint: Endpoint, scope: trio.CancelScope
    ) -> None:
        self.store = store
        self.commands = commands
        self.endpoint = endpoint
        self.end = scope.cancel

    async def send(self, raw: bytes) -> bytes:
        """Send bytes on a connection of their own, and return everything that is received until it closes."""
        async with await trio.open_tcp_stream(self.endpoint.host, self.endpoint.port) as stream:
            with suppress(trio.BrokenResourceError):
                await stream.send_all(raw)
            return b"".join([bytes(chunk) async for chunk in stream])

    async def ask(
        self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, bytes, bytes]:
        """Send a request with the token, and return the status, the headers and the body. `headers` replace the usual ones."""
        usual = {"Host": self.endpoint.netloc, "Authorization": f"Bearer {TOKEN}", "Connection": "close"}
        if body:
            usual["Content-Length"] = str(len(body))
        lines = [f"{name}: {value}" for name, value in {**usual, **(headers or {})}.items() if value]
        raw = "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode("latin-1") + body
        head, _, rest = (await self.send(raw)).partition(b"\r\n\r\n")
        return int(head.split()[1]), head, rest


@asynccontextmanager
async def open_control(limits: HttpLimits | None = None) -> AsyncIterator[ControlServer]:
    """Start the API with a product and an order in the store."""
    store = StateStore("shop", version="1", manifest="supervisor.toml", registry="127.0.0.1:5555")
    store.put_services(ServiceView("product"), ServiceView("order", depends_on={"product": "healthy"}))
    store.put_instances(instance("aaaaaaaa", "product"), instance("bbbbbbbb", "order"))
    commands = RecordedCommands()
    scope = trio.CancelScope()
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:

        async def serve(task_status: trio.TaskStatus[tuple[str, int]]) -> None:
            with scope:
                await serve_control(
                    store, commands, host="127.0.0.1", port=0, token=TOKEN, limits=limits, task_status=task_status
                )

        host, port = await nursery.start(serve)
        try:
            yield ControlServer(store, commands, Endpoint(host, port, TOKEN), scope)
        except Exception as error:
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


def instance(id: str, service: str, state: ProcessState = ProcessState.RUNNING, **more: Any) -> InstanceView:
    return InstanceView(id, service, more.pop("name", service), state, CheckState.PASSING, **more)
