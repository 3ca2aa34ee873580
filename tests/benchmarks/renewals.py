"""Renewals of leases: their rate, and how much memory the registry has gained after them."""

import time
from pathlib import Path

from tests.benchmarks.registry import Rpc, open_registry
from tests.benchmarks.tools import Row, cpu_seconds

LEASES = 500
LEASE = "30d"
WINDOW = 200
"""Calls in flight."""


def run(count: int) -> list[Row]:
    """Renew long leases `count` times on one connection."""
    with open_registry() as (pid, address), Rpc(address) as rpc:
        ids = []
        for number in range(LEASES):
            job = {"Name": "job", "Addr": f"127.0.0.1:{7000 + number}", "HealthCheck": "ttl:", "Lease": LEASE}
            ids.append(rpc.call("Register", job))
        _renew(rpc, ids, count // 10)  # what is cached is there before the first figure
        before, began, used = resident_mib(pid), time.perf_counter(), cpu_seconds(pid)
        _renew(rpc, ids, count)
        seconds, after, used = time.perf_counter() - began, resident_mib(pid), cpu_seconds(pid) - used
    return [
        Row("renewals", count / seconds, "/s"),
        Row("the registry's CPU for a renewal", used / count * 1e6, "us"),
        Row(f"memory before {count:,} renewals", before, "MiB"),
        Row(f"memory after {count:,} renewals", after, "MiB", "before", before),
    ]


def _renew(rpc: Rpc, ids: list[str], count: int) -> None:
    for start in range(0, count, WINDOW):
        window = range(start, min(start + WINDOW, count))
        for number in window:
            rpc.send("Renew", ids[number % LEASES], id=number)
        for _ in window:
            rpc.result()


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024
