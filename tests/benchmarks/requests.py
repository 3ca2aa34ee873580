"""HTTP: product's /health and a product from the stock, beside uvicorn with h11.

Two peers, because they answer two questions: one that answers as many bytes from memory (what does the server cost?),
and one that asks the same Redis for the same product through redis-py's asyncio client (what does a service cost?).
"""

import contextlib
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.tools import (
    HERE,
    PARALLEL,
    SEQUENTIAL,
    Row,
    Trial,
    cores,
    install,
    pinned,
    python_path,
    running,
)
from tests.ports import free_port
from tests.redis_server import RedisServer

MEMORY = """
BODY = b'{"id":"aaa","name":"apple","quantity":10}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"41")]
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})
"""

STOCK = """
import json, os
import redis.asyncio
STOCK = redis.asyncio.Redis.from_url(os.environ["REDIS_URL"])
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await receive()
    name, quantity = await STOCK.hmget("{shop}:product:aaa", "name", "quantity")
    body = json.dumps({"id": "aaa", "name": name.decode(), "quantity": int(quantity)}, separators=(",", ":")).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""


def install_uvicorn(directory: Path) -> None:
    """The peers, for this run only."""
    install(directory, HERE / "requirements.lock")
    (directory / "memory.py").write_text(MEMORY)
    (directory / "stock.py").write_text(STOCK)


def run(*, seconds: float, rounds: int, peers: bool = True) -> list[Row]:
    """Every server answers every load in each round; medians over the rounds. Without `peers` nothing is installed."""
    core = cores()[0]
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="mk-bench-")))
        if peers:
            install_uvicorn(directory)
        redis = stack.enter_context(RedisServer(Path(stack.enter_context(TemporaryDirectory(prefix="mk-bench-")))))
        env = {**python_path(), "PORT": "0", "REDIS_URL": redis.url, "MINIKUBE_REGISTRY": f"127.0.0.1:{free_port()}"}

        def uvicorn(app: str) -> tuple[int, str]:
            argv = [sys.executable, "-m", "uvicorn", "--port", "0", "--http", "h11", "--loop", "asyncio"]
            argv = pinned(core, *argv, "--no-access-log", f"{app}:app")
            own = {**env, "PYTHONPATH": str(directory)}
            pid, line = stack.enter_context(running(argv, env=own, ready="running on"))
            return pid, line.split("http://")[1].split()[0]

        argv = pinned(core, sys.executable, "-m", "services.product")
        pid, line = stack.enter_context(running(argv, env=env, ready="listening on"))
        product = pid, line.split()[-1]
        servers = {
            "health": (*product, "/health"),
            "stock": (*product, "/product/aaa"),
        }
        if peers:
            servers |= {"memory": (*uvicorn("memory"), "/"), "same": (*uvicorn("stock"), "/")}
        trial = Trial()
        for _ in range(rounds):
            for shape in (SEQUENTIAL, PARALLEL):
                for server, (pid, address, path) in servers.items():
                    trial.run(server, pid, shape, "http", address, [path], seconds)
    rows = []
    for shape in (SEQUENTIAL, PARALLEL):
        for server, what, other, peer in (
            ("health", "GET /health", "memory", "uvicorn h11, from memory"),
            ("stock", "GET /product/aaa (Redis)", "memory", "uvicorn h11, from memory"),
            ("stock", "GET /product/aaa (Redis)", "same", "uvicorn h11, redis-py asyncio"),
        ):
            other = other if peers else server  # beside itself
            rows += trial.rows(f"HTTP, {what}, {shape.name}", shape, server, other, peer)
    return rows
