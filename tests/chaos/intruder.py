"""What another local user tries against a project's registry and control API: every way to change something, drawn from a seed.

Each try is short, and remembers what the servers answered. A change that is accepted, and an output of a check that is shown, are
findings. It sends no more than loopback takes, and only to the two ports that it is given.
"""

import contextlib
import json
import random
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import trio

WORKERS = 6
TRY_S = 3.0
MOST_REPLY_BYTES = 4_000_000
MOST_FINDINGS = 100
PLAIN = frozenset({"/health"})
"""Paths of the control API that need no token."""

WORDS = ("product", "order", "registry", "shop", "evil", "supervisor", "*", "", "-bad-", "a" * 64, "ünï", "x" * 2_000)


class Address(NamedTuple):
    """A host and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Return the address of `HOST:PORT`. Raises ValueError."""
        host, _, port = text.rpartition(":")
        return cls(host, int(port))


async def intrude(seed: int, seconds: float, registry: Address, control: Address) -> dict[str, Any]:
    """Try for so many seconds; return the number of tries by name, and what should not have happened."""
    intruder = Intruder(registry, control)
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for number in range(WORKERS):
                nursery.start_soon(intruder.work, random.Random(f"{seed}-{number}"))
    return {
        "operations": dict(intruder.counts),
        "refused": intruder.refused,
        "accepted": intruder.accepted[:MOST_FINDINGS],
        "shown": intruder.shown[:MOST_FINDINGS],
    }


class Intruder:
    """The tries of one run, and what came of them."""

    def __init__(self, registry: Address, control: Address) -> None:
        self.counts: Counter[str] = Counter()
        self.refused = 0
        self.accepted: list[str] = []
        self.shown: list[str] = []
        self._registry = registry
        self._control = control
        self._entries: list[dict[str, Any]] = []
        self._tries: dict[str, tuple[int, Callable[[random.Random], Awaitable[None]]]] = {
            "calls that change": (8, self._change),
            "changes in a batch": (2, self._batch),
            "changes, closed at once": (4, self._close_at_once),
            "token guesses": (3, self._guess_tokens),
            "half lines": (2, self._half_line),
            "giant lines": (2, self._giant_line),
            "bytes at random": (2, self._noise),
            "HTTP to the registry": (3, self._http_to_registry),
            "websocket to the registry": (1, self._websocket_to_registry),
            "TLS hello": (1, self._tls_hello),
            "watch flood": (1, self._watch_flood),
            "lookup flood": (1, self._lookup_flood),
            "many connections": (1, self._many_connections),
            "HTTP to the control API": (6, self._http_to_control),
            "websocket to the control API": (2, self._websocket_to_control),
            "slow HTTP": (1, self._slow_http),
        }

    async def work(self, rng: random.Random) -> None:
        """Try one thing after the other until cancelled."""
        names = list(self._tries)
        weights = [weight for weight, _ in self._tries.values()]
        while True:
            (name,) = rng.choices(names, weights)
            with trio.move_on_after(TRY_S), contextlib.suppress(OSError, trio.BrokenResourceError, ssl.SSLError):
                if not self._entries or rng.random() < 0.02:
                    await self._read_entries()
                await self._tries[name][1](rng)
            self.counts[name] += 1
            await trio.lowlevel.checkpoint()

    # ------------------------------------------------------------ the registry

    async def _read_entries(self) -> None:
        """Look up what there is, as every local user may."""
        reply = await self._talk(self._registry, _line(_request("Instances", (), 1)))
        for line in reply.splitlines()[:1]:
            self._entries = json.loads(line).get("result") or []
        self.shown += [f"{entry['Name']}: {entry['Output'][:80]}" for entry in self._entries if entry.get("Output")]

    async def _change(self, rng: random.Random) -> None:
        calls = [self._changing_call(rng) for _ in range(rng.choice((1, 1, 2, 20)))]
        lines = b"".join(_line(_request(*call, number, rng.choice((1, 2)))) for number, call in enumerate(calls))
        await self._send_changes(lines, calls)

    async def _batch(self, rng: random.Random) -> None:
        calls = [self._changing_call(rng) for _ in range(rng.randint(1, 30))]
        await self._send_changes(_line([_request(*call, number) for number, call in enumerate(calls)]), calls)

    async def _close_at_once(self, rng: random.Random) -> None:
        """Send changes and close or reset: the kernel may not know the user of the socket any more."""
        async with await trio.open_tcp_stream(*self._registry) as stream:
            for number in range(rng.choice((1, 5))):
                call = self._changing_call(rng)
                if rng.random() < 0.5:  # the only thing that the registry's own user may do without a token
                    call = "Register", ({"Name": "evil", "Addr": "127.0.0.1:6666", "HealthCheck": "ttl:"},)
                await stream.send_all(_line(_request(*call, number, rng.choice((1, 2)))))
            if rng.random() < 0.5:
                stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def _guess_tokens(self, rng: random.Random) -> None:
        id_ = rng.choice(self._entries)["Uuid"] if self._entries else "x"
        guesses = (
            rng.randbytes(32).hex(),
            f"product:{id_}:{rng.randbytes(32).hex()}",
            f"{rng.choice(('minikube', 'supervisor', 'command', 'admin'))}:{id_}:{'0' * 64}",
            "",
            "token",
            "0" * 64,
            "\u0000",
        )
        token: Any = rng.choice((*guesses, None, 1, [], {}))
        calls: list[tuple[str, tuple[Any, ...]]] = [("Authenticate", (token,)), self._changing_call(rng)]
        lines = b"".join(_line(_request(*call, number)) for number, call in enumerate(calls))
        await self._send_changes(lines, calls)

    async def _send_changes(self, data: bytes, calls: Sequence[tuple[str, tuple[Any, ...]]]) -> None:
        """Send changes, and note those that the registry accepts."""
        for line in (await self._talk(self._registry, data)).splitlines():
            with contextlib.suppress(ValueError):
                message = json.loads(line)
                for reply in message if isinstance(message, list) else [message]:
                    if reply.get("error") or not reply.get("result"):
                        self.refused += 1
                    elif isinstance(reply.get("id"), int):
                        method, params = calls[reply["id"]]
                        self.accepted.append(f"{method}{params!r:.200}: {reply['result']!r:.100}")

    def _changing_call(self, rng: random.Random) -> tuple[str, tuple[Any, ...]]:
        """Return a call that would change something if it were allowed."""
        unknown: dict[str, Any] = {"Name": "product", "Uuid": "x", "Addr": {"Port": 7070}}
        entry = rng.choice(self._entries or [unknown])
        id_, name, port = entry["Uuid"], entry["Name"], entry["Addr"]["Port"]
        incarnation = entry.get("Incarnation", 0)
        address = rng.choice((f"127.0.0.1:{port}", "127.0.0.1:6666", {"IP": "127.0.0.1", "Port": port}, "[::1]:80"))
        new = {
            "Name": rng.choice((name, name, rng.choice(WORDS))),
            "Addr": address,
            "HealthCheck": rng.choice(
                ("ttl:", f"tcp://127.0.0.1:{port}", "http://127.0.0.1:1/nope", "http://169.254.169.254/")
            ),
            **rng.choice(({}, {"Uuid": id_}, {"Uuid": "evil"}, {"Uuid": id_, "Lease": 86_400}, {"Weight": 1_000})),
        }
        calls: list[tuple[str, tuple[Any, ...]]] = [
            ("Register", (new,)),
            ("Register", (new,)),
            ("Deregister", (id_,)),
            ("Deregister", (id_, incarnation)),
            ("Deregister", ({"Id": id_},)),
            ("Maintenance", (id_, True, "evil")),
            ("Maintenance", ({"Id": id_, "On": True},)),
            ("Renew", (id_,)),
            ("Renew", (id_, "critical", "evil", incarnation)),
            ("Renew", ({"Id": id_, "State": "critical"},)),
            ("Reserve", ({}, True, True)),
            ("CreateToken", (["admin"], "evil")),
            ("RevokeToken", ("ci",)),
            ("Tokens", ()),
            ("TokenRights", ("0" * 64,)),
        ]
        return rng.choice(calls)

    async def _half_line(self, rng: random.Random) -> None:
        line = _line(_request(*self._changing_call(rng), 1))
        async with await trio.open_tcp_stream(*self._registry) as stream:
            await stream.send_all(line[: rng.randrange(1, len(line) - 1)])
            await trio.sleep(rng.choice((0.0, 0.2, 1.0)))

    async def _giant_line(self, rng: random.Random) -> None:
        size = rng.choice((65_537, 200_000, 2_000_000))
        deep = b'{"method":"Discovery.Get","params":' + b"[" * size + b"\n"
        long = b'{"method":"Discovery.Register","params":["' + b"x" * size + b'"],"id":1}\n'
        await self._talk(self._registry, rng.choice((deep, long, b"\n" * size, b'{"id":1}\n' * (size // 10))))

    async def _noise(self, rng: random.Random) -> None:
        target = rng.choice((self._registry, self._control))
        await self._talk(target, rng.randbytes(rng.choice((1, 100, 70_000))))

    async def _http_to_registry(self, rng: random.Random) -> None:
        calls = [self._changing_call(rng)]
        body = b"\n" + _line(_request(*calls[0], 0, 1))
        head = (
            f"{rng.choice(('POST', 'PUT', 'GET'))} / HTTP/1.1\r\nHost: {rng.choice(('evil.example', '127.0.0.1'))}\r\n"
        )
        more = f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
        await self._send_changes((head + more).encode() + body, calls)

    async def _websocket_to_registry(self, rng: random.Random) -> None:
        await self._talk(self._registry, _handshake("/", rng) + b"\x81\x02{}" + rng.randbytes(50))

    async def _tls_hello(self, rng: random.Random) -> None:
        stream = await trio.open_tcp_stream(*rng.choice((self._registry, self._control)))
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        async with trio.SSLStream(stream, context, https_compatible=True) as tls:
            await tls.do_handshake()

    async def _watch_flood(self, rng: random.Random) -> None:
        names = [entry["Name"] for entry in self._entries] + ["*", "nothing"]
        async with await trio.open_tcp_stream(*self._registry) as stream:
            for number in range(100):
                await stream.send_all(_line(_request("Watch", (rng.choice(names),), number)))
            await trio.sleep(rng.random())  # without reading

    async def _lookup_flood(self, rng: random.Random) -> None:
        names = [entry["Name"] for entry in self._entries] + ["nothing"]
        lines = b"".join(_line(_request("Get", (rng.choice(names),), number, 1)) for number in range(2_000))
        await self._talk(self._registry, lines)

    async def _many_connections(self, rng: random.Random) -> None:
        target = rng.choice((self._registry, self._control))
        streams: list[trio.SocketStream] = []
        try:
            for _ in range(rng.choice((50, 300))):
                streams.append(await trio.open_tcp_stream(*target))
                if rng.random() < 0.5:
                    await streams[-1].send_all(b'{"method":"Discovery.Get","params":["product"],"id":1}\n')
            await trio.sleep(rng.random())
        finally:
            for stream in streams:
                stream.socket.close()

    # ------------------------------------------------------------ the control API

    async def _http_to_control(self, rng: random.Random) -> None:
        name = rng.choice([*(entry["Name"] for entry in self._entries), *WORDS[:4]])
        acts = ("start", "stop", "restart", "scale", "kill", "maintenance")
        method, path = rng.choice(
            (
                *(("POST", f"/v1/services/{name}/{act}") for act in acts),
                *(("POST", path) for path in ("/v1/shutdown", "/v1/apply")),
                *(("GET", path) for path in ("/v1/status", "/v1/events", "/v1/logs", "/v1/sd", "/metrics", "/health")),
                ("GET", f"/v1/services/{name}/logs?tail=10"),
                (rng.choice(("PUT", "DELETE", "OPTIONS", "HEAD", "TRACE")), "/v1/status"),
            )
        )
        token = rng.choice(("", f"Authorization: Bearer {rng.randbytes(32).hex()}\r\n", "Authorization: Bearer \r\n"))
        host = rng.choice((f"127.0.0.1:{self._control.port}", "evil.example", "localhost"))
        origin = rng.choice(("", "Origin: null\r\n", "Origin: https://evil.example\r\n"))
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{token}{origin}Content-Length: 2\r\nConnection: close\r\n\r\n"
        )
        await self._ask_control(path, head.encode("latin-1", "replace") + b"{}")

    async def _websocket_to_control(self, rng: random.Random) -> None:
        path = rng.choice(("/v1/stream", f"/v1/stream?token={rng.randbytes(32).hex()}", "/v1/terminal"))
        await self._ask_control(path, _handshake(path, rng))

    async def _ask_control(self, path: str, request: bytes) -> None:
        """Send a request to the control API; a success that needs a token is a finding."""
        status = (await self._talk(self._control, request)).partition(b"\r\n")[0].split(b" ")[1:2]
        if status and path not in PLAIN and (status[0].startswith(b"2") or status[0] == b"101"):
            self.accepted.append(f"{request.partition(b'Host')[0]!r}: {status[0]!r}")
        self.refused += bool(status)

    async def _slow_http(self, rng: random.Random) -> None:
        async with await trio.open_tcp_stream(*self._control) as stream:
            for byte in b"POST /v1/shutdown HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n":
                await stream.send_all(bytes([byte]))
                await trio.sleep(0.05 * rng.random())

    async def _talk(self, target: Address, data: bytes) -> bytes:
        """Send the bytes on a connection of their own, end it, and return what comes back."""
        found = b""
        async with await trio.open_tcp_stream(*target) as stream, trio.open_nursery() as nursery:
            nursery.start_soon(_send, stream, data)
            with contextlib.suppress(trio.BrokenResourceError):
                while len(found) < MOST_REPLY_BYTES and (part := await stream.receive_some(65_536)):
                    found += part
            nursery.cancel_scope.cancel()
        return found


async def _send(stream: trio.SocketStream, data: bytes) -> None:
    with contextlib.suppress(trio.BrokenResourceError):
        await stream.send_all(data)
        await stream.send_eof()


def _request(method: str, params: Sequence[Any], number: int, dialect: int = 2) -> dict[str, Any]:
    version = {"jsonrpc": "2.0"} if dialect == 2 else {}
    return {**version, "method": f"Discovery.{method}", "params": list(params), "id": number}


def _line(message: object) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _handshake(path: str, rng: random.Random) -> bytes:
    origin = rng.choice(("", "Origin: null\r\n", "Origin: http://127.0.0.1\r\n"))
    lines = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{origin}"
    return (lines + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").encode()
