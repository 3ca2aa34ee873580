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
    Load,
    Row,
    cores,
    free_port,
    go_program,
    load,
    median,
    pinned,
    running,
)
from tests.redis_server import RedisServer

LOADS = (SEQUENTIAL, PARALLEL, PIPELINED)
GOALS = {SEQUENTIAL: "1 x", PIPELINED: "6 x"}
SOUGHT = 10
"""Names looked up in turn."""


def names(count: int) -> list[str]:
    """So many service names."""
    return [f"service-{number}" for number in range(count)]


@contextlib.contextmanager
def open_redis() -> Iterator[str]:
    """A Redis server with the names as keys, pinned like the others."""
    port = free_port()
    with TemporaryDirectory(prefix="mk-bench-") as directory, RedisServer(Path(directory), port=port) as server:
        assert server.process is not None
        psutil.Process(server.process.pid).cpu_affinity([cores()[0]])
        with server.client() as client:
            for name in names(SOUGHT):
                client.set(name, '{"IP":"127.0.0.1","Port":7070,"Zone":""}')
        yield f"127.0.0.1:{port}"


def cpu_seconds(pid: int | None) -> float:
    """What a process has used so far: tells more than a rate while other programs use the machine."""
    if pid is None:
        return 0.0
    used = psutil.Process(pid).cpu_times()
    return float(used.user + used.system)


def run(*, seconds: float, rounds: int, many: int) -> list[Row]:
    """Every server answers every load in each round, one after another; medians over the rounds."""
    with contextlib.ExitStack() as stack:
        go_pid, go = stack.enter_context(running(pinned(cores()[0], go_program("peer"), *names(SOUGHT))))
        redis = stack.enter_context(open_redis())
        few_pid, few = stack.enter_context(open_registry())
        fill(few, names(10))
        many_pid, crowded = stack.enter_context(open_registry())
        fill(crowded, names(many))
        sought = names(SOUGHT)
        servers = {
            "few": ("jsonrpc", few, sought),
            "many": ("jsonrpc", crowded, names(many)[:: max(1, many // 1000)]),
            "go": ("jsonrpc", go, sought),
            "redis": ("redis", redis, sought),
        }
        pids = {"few": few_pid, "many": many_pid, "go": go_pid}
        figures: dict[tuple[Load, str], list[float]] = {}
        by_cpu: dict[tuple[Load, str], list[float]] = {}
        for _ in range(rounds):
            for shape in LOADS:
                for server, (protocol, address, sought) in servers.items():
                    before = cpu_seconds(pids.get(server))
                    done = load(shape, protocol, address, sought, seconds)
                    figures.setdefault((shape, server), []).append(done["per_second"])
                    if server in pids:
                        used = max(0.01, cpu_seconds(pids[server]) - before)
                        by_cpu.setdefault((shape, server), []).append(done["requests"] / used)
        middle = {key: median(values) for key, values in figures.items()}
        cpu = {key: median(values) for key, values in by_cpu.items()}
        memory = [psutil.Process(pid).memory_info().rss / 1e6 for pid in (few_pid, many_pid)]
    rows = []
    for shape in LOADS:
        for server, count in (("few", 10), ("many", many)):
            what = f"lookups, {shape.name}, {count:,} instances"
            ours = middle[shape, server]
            rows.append(Row(what, ours, "/s", "Go net/rpc/jsonrpc", middle[shape, "go"], GOALS.get(shape, "")))
        what = f"the same for a second of the server's CPU, {shape.name}"
        rows.append(Row(what, cpu[shape, "few"], "/s", "Go net/rpc/jsonrpc", cpu[shape, "go"]))
        rows.append(Row(f"lookups, {shape.name}", middle[shape, "few"], "/s", "redis GET", middle[shape, "redis"]))
    rows.append(Row("registry, resident, 10 instances", memory[0], "MB"))
    rows.append(Row(f"registry, resident, {many:,} instances", memory[1], "MB"))
    return rows
