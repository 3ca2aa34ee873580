"""Lookups: ours with 10 and with 10,000 instances, Go's net/rpc/jsonrpc over a map, and GET of a Redis server."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from tests.benchmarks.registry import fill, open_registry
from tests.benchmarks.tools import (
    PARALLEL,
    PIPELINED,
    SEQUENTIAL,
    Row,
    Trial,
    cores,
    go_program,
    pinned,
    running,
)
from tests.ports import free_port
from tests.redis_server import RedisServer

LOADS = (SEQUENTIAL, PARALLEL, PIPELINED)
GOALS = {SEQUENTIAL: "1 x", PIPELINED: "6 x"}
SOUGHT = 10
"""Names looked up in turn."""


def names(count: int) -> list[str]:
    """So many service names."""
    return [f"service-{number}" for number in range(count)]


@contextlib.contextmanager
def open_redis() -> Iterator[tuple[int, str]]:
    """A Redis server with the names as keys, pinned like the others: its pid and address."""
    port = free_port()
    with TemporaryDirectory(prefix="mk-bench-") as directory, RedisServer(Path(directory), port=port) as server:
        assert server.process is not None
        psutil.Process(server.process.pid).cpu_affinity([cores()[0]])
        with server.client() as client:
            for name in names(SOUGHT):
                client.set(name, '{"IP":"127.0.0.1","Port":7070,"Zone":""}')
        yield server.process.pid, f"127.0.0.1:{port}"


def run(*, seconds: float, rounds: int, many: int) -> list[Row]:
    """Every server answers every load in each round, one after another; medians over the rounds."""
    sought, spread = names(SOUGHT), names(many)[:: max(1, many // 1000)]
    with contextlib.ExitStack() as stack:
        go = stack.enter_context(running(pinned(cores()[0], go_program("peer"), *sought)))
        redis = stack.enter_context(open_redis())
        few = stack.enter_context(open_registry())
        fill(few[1], names(10))
        crowded = stack.enter_context(open_registry())
        fill(crowded[1], names(many))
        servers = {
            "few": ("jsonrpc", *few, sought),
            "many": ("jsonrpc", *crowded, spread),
            "go": ("jsonrpc", *go, sought),
            "redis": ("redis", *redis, sought),
        }
        trial = Trial()
        for _ in range(rounds):
            for shape in LOADS:
                for server, (protocol, pid, address, asked) in servers.items():
                    trial.run(server, pid, shape, protocol, address, asked, seconds)
        memory = [psutil.Process(pid).memory_info().rss / 1e6 for pid in (few[0], crowded[0])]
    rows = []
    for shape in LOADS:
        for server, count in (("few", 10), ("many", many)):
            what = f"lookups, {shape.name}, {count:,} instances"
            rows += trial.rows(what, shape, server, "go", "Go net/rpc/jsonrpc", GOALS.get(shape, ""))
        rows += trial.rows(f"lookups, {shape.name}", shape, "few", "redis", "redis GET")
    rows.append(Row("registry, resident, 10 instances", memory[0], "MB"))
    rows.append(Row(f"registry, resident, {many:,} instances", memory[1], "MB"))
    return rows
