"""HTTP: product's /health and a product from the stock, beside uvicorn with h11 that answers as much from memory."""

import contextlib
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.tools import (
    HERE,
    PARALLEL,
    SEQUENTIAL,
    Row,
    cores,
    free_port,
    load,
    median,
    pinned,
    python_path,
    running,
)
from tests.redis_server import RedisServer

APP = """
BODY = b'{"id":"aaa","name":"apple","quantity":10}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"41")]
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})
"""


def install_uvicorn(directory: Path) -> None:
    """The peer, for this run only."""
    argv = [sys.executable, "-m", "pip", "install", "-q", "--no-warn-conflicts", "--target", str(directory)]
    subprocess.run([*argv, "--require-hashes", "-r", str(HERE / "requirements.lock")], check=True)
    (directory / "answer.py").write_text(APP)


def run(*, seconds: float, rounds: int) -> list[Row]:
    """Both servers answer every load in each round; medians over the rounds."""
    core = cores()[0]
    with contextlib.ExitStack() as stack:
        peer = Path(stack.enter_context(TemporaryDirectory(prefix="mk-bench-")))
        install_uvicorn(peer)
        argv = pinned(core, sys.executable, "-m", "uvicorn", "--port", "0", "--http", "h11", "--loop", "asyncio")
        env = {**python_path(), "PYTHONPATH": str(peer)}
        _, line = stack.enter_context(running([*argv, "--no-access-log", "answer:app"], env=env, ready="running on"))
        uvicorn = line.split("http://")[1].split()[0]
        redis = stack.enter_context(RedisServer(Path(stack.enter_context(TemporaryDirectory(prefix="mk-bench-")))))
        env = {**python_path(), "PORT": "0", "REDIS_URL": redis.url, "MINIKUBE_REGISTRY": f"127.0.0.1:{free_port()}"}
        argv = pinned(core, sys.executable, "-m", "services.product")
        _, line = stack.enter_context(running(argv, env=env, ready="listening on"))
        product = line.split()[-1]
        servers = {
            "health": (product, "/health"),
            "stock": (product, "/product/aaa"),
            "uvicorn": (uvicorn, "/"),
        }
        figures: dict[tuple[str, str], list[float]] = {}
        for _ in range(rounds):
            for shape in (SEQUENTIAL, PARALLEL):
                for server, (address, path) in servers.items():
                    done = load(shape, "http", address, [path], seconds)
                    figures.setdefault((shape.name, server), []).append(done["per_second"])
    middle = {key: median(values) for key, values in figures.items()}
    return [
        Row(
            f"HTTP, {what}, {shape.name}",
            middle[shape.name, server],
            "/s",
            "uvicorn h11",
            middle[shape.name, "uvicorn"],
        )
        for shape in (SEQUENTIAL, PARALLEL)
        for server, what in (("health", "GET /health"), ("stock", "GET /product/aaa (Redis)"))
    ]
