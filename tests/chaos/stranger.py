"""Try as another local user to change a running project, for a while and in every way; see that nothing of it changes.

    python -m tests.chaos.stranger --minutes 60 --seed 1 --registry 127.0.0.1:5555 --control 127.0.0.1:5556 --project DIR

Takes root. A child process becomes the user `--uid` and does what the seed draws; this process observes as the project's user.
With `--project`, the directory of the manifest, it compares the Redis hashes and `ps`, too. Prints a table and one line of JSON;
exits with 1 when something changed, a change was accepted, an output was shown, or a lookup failed.
"""

import argparse
import json
import math
import os
import sys
import time
import traceback
import urllib.request
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import redis
import trio

from minikube.project.redis_socket import find_redis_socket
from tests.chaos.intruder import Address, intrude

LOOKUP_EVERY_S = 0.02
COMPARE_EVERY_S = 0.25
LOOKUP_TIMEOUT_S = 5.0
SETTLE_S = 1.0
"""How long this process goes on observing after the last try: what was sent last takes effect by then."""

MOST_TEXTS = 10
"""Findings of one kind that are printed."""


class Options(NamedTuple):
    """The options of a run."""

    seed: int
    seconds: float
    registry: Address
    control: Address
    uid: int
    slow_ms: float
    project: Path | None


class Findings:
    """What must not happen and did, by kind."""

    KINDS = ("accepted", "shown", "entries", "tokens", "hashes", "processes", "lookups", "slow")

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter(dict.fromkeys(self.KINDS, 0))
        self.texts: dict[str, list[str]] = {}

    def add(self, kind: str, text: str) -> None:
        """Count a finding; keep the first texts of each kind."""
        self.counts[kind] += 1
        texts = self.texts.setdefault(kind, [])
        if len(texts) < MOST_TEXTS and text not in texts:
            texts.append(text)


class Observer:
    """Looks at the project as its own user, and compares with what it was at the start."""

    def __init__(self, options: Options, findings: Findings) -> None:
        self._options = options
        self._findings = findings
        self._names: list[str] = []
        self._ports: dict[str, set[int]] = {}
        self.waits_s: list[float] = []
        self.lookups = 0
        self.comparisons = 0

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Observe until cancelled; started once the project was seen as it is."""
        before = await self._snapshot()
        for id_, entry in before["entries"].items():
            if entry["State"] == "passing":
                self._ports.setdefault(entry["Name"], set()).add(entry["Addr"]["Port"])
            else:
                self._findings.add("entries", f"{entry['Name']} {id_} did not pass at the start: {entry['State']}")
        self._names = sorted(self._ports)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look_up, False)
            nursery.start_soon(self._look_up, True)
            nursery.start_soon(self._compare, before)
            task_status.started()

    async def _look_up(self, is_new: bool) -> None:
        """Look every name up in turn, on one connection or on a new one each time."""
        client: LineClient | None = None
        turn = 0
        while self._names:
            name = self._names[turn % len(self._names)]
            turn += 1
            began = time.perf_counter()
            try:
                with trio.fail_after(LOOKUP_TIMEOUT_S):
                    if client is None:
                        client = LineClient(await trio.open_tcp_stream(*self._options.registry))
                    port = (await client.call("Get", name))["Port"]
                if port not in self._ports[name]:
                    self._findings.add("lookups", f"{name}: port {port}, which it does not have")
            except (OSError, ValueError, RuntimeError, trio.BrokenResourceError, trio.TooSlowError) as error:
                self._findings.add("lookups", f"{name}: {type(error).__name__} {error}")
                is_lost = True
            else:
                is_lost = is_new
            self.waits_s.append(time.perf_counter() - began)
            self.lookups += 1
            if is_lost and client is not None:
                await client.aclose()
                client = None
            await trio.sleep(LOOKUP_EVERY_S * (5 if is_new else 1))

    async def _compare(self, before: dict[str, Any]) -> None:
        while True:
            await trio.sleep(COMPARE_EVERY_S)
            try:
                now = await self._snapshot()
            except (OSError, ValueError, RuntimeError, trio.BrokenResourceError, trio.TooSlowError) as error:
                self._findings.add("lookups", f"the state cannot be read: {type(error).__name__} {error}")
                continue
            self.comparisons += 1
            for kind, was in before.items():
                for key in {*was, *now[kind]}:
                    if was.get(key) != now[kind].get(key):
                        self._findings.add(kind, f"{key}: {was.get(key)} is {now[kind].get(key)}")

    async def _snapshot(self) -> dict[str, Any]:
        """Return what only the project may change: entries, tokens, Redis hashes, processes."""
        with trio.fail_after(LOOKUP_TIMEOUT_S * 2):
            client = LineClient(await trio.open_tcp_stream(*self._options.registry))
            try:
                entries = await client.call("Instances")
                tokens = await client.call("Tokens")
            finally:
                await client.aclose()
        project = self._options.project
        hashes, rows = (
            await trio.to_thread.run_sync(_read_project, project, self._options.control) if project else ({}, {})
        )
        fields = ("Name", "Addr", "HealthCheck", "State", "Tags", "Meta", "Incarnation", "Registered")
        return {
            "entries": {entry["Uuid"]: {field: entry[field] for field in fields} for entry in entries},
            "tokens": {token["Name"]: token["Rights"] for token in tokens},
            "hashes": hashes,
            "processes": rows,
        }


def _read_project(project: Path, control: Address) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the instances' Redis hashes, and of each row of `ps` what only the project changes."""
    with redis.Redis(unix_socket_path=str(find_redis_socket(project / ".minikube")), decode_responses=True) as store:
        hashes = {key: store.hgetall(key) for key in store.scan_iter("*:instance:*", count=1000)}
    token = (project / ".minikube/token").read_text().strip()
    url = f"http://{control.host}:{control.port}/v1/status"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=LOOKUP_TIMEOUT_S) as reply:
        rows = json.load(reply)["instances"]
    return hashes, {row["name"]: {field: row[field] for field in ("pid", "state", "check", "restarts")} for row in rows}


class LineClient:
    """One connection to the registry, one call at a time."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._rest = b""

    async def call(self, method: str, *params: object) -> Any:
        """Return a call's result. Raises RuntimeError for an error, ValueError for a reply that is no JSON."""
        request = {"jsonrpc": "2.0", "method": f"Discovery.{method}", "params": params, "id": 1}
        await self._stream.send_all(json.dumps(request).encode() + b"\n")
        while b"\n" not in self._rest:
            data = await self._stream.receive_some(65_536)
            if not data:
                raise ConnectionResetError("the registry closed the connection")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        reply = json.loads(line)
        if reply.get("error"):
            raise RuntimeError(reply["error"]["message"])
        return reply["result"]

    async def aclose(self) -> None:
        """Close the connection."""
        await trio.aclose_forcefully(self._stream)


# ---------------------------------------------------------------- the other user's process


def start_intruder(options: Options) -> tuple[int, int]:
    """Fork a process of the other user; return its pid, and the pipe from which its report is read."""
    reading, writing = os.pipe()
    "".encode("idna")  # imports what sockets need: the other user may not be able to read this Python's modules
    if pid := os.fork():
        os.close(writing)
        return pid, reading
    code = 1
    try:
        os.close(reading)
        os.setgroups([])
        os.setresgid(options.uid, options.uid, options.uid)
        os.setresuid(options.uid, options.uid, options.uid)
        report = trio.run(intrude, options.seed, options.seconds, options.registry, options.control)
        with os.fdopen(writing, "w") as pipe:
            json.dump(report, pipe)
        code = 0
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(code)


async def observe(options: Options, findings: Findings, pipe: int) -> tuple[Observer, dict[str, Any]]:
    """Observe until the other process has ended and `SETTLE_S` have passed; return the observer and the report."""
    observer = Observer(options, findings)
    async with trio.open_nursery() as nursery:
        await nursery.start(observer.run)
        with os.fdopen(pipe) as file:
            text = await trio.to_thread.run_sync(file.read, abandon_on_cancel=True)
        await trio.sleep(SETTLE_S)
        nursery.cancel_scope.cancel()
    report: dict[str, Any] = json.loads(text) if text else {"operations": {}, "accepted": ["the other process died"]}
    return observer, report


def run(options: Options) -> int:
    """Run, print the table and the JSON line; return the exit code."""
    findings = Findings()
    pid, pipe = start_intruder(options)
    try:
        observer, report = trio.run(observe, options, findings, pipe)
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    for kind in ("accepted", "shown"):
        for text in report.get(kind, ()):
            findings.add(kind, text)
    waits = sorted(observer.waits_s)
    p50, p99, most = (_percentile(waits, share) * 1000 for share in (0.5, 0.99, 1.0))
    if p99 > options.slow_ms:
        findings.add("slow", f"the 99th percentile of lookups is {p99:.0f} ms")
    rows = [*sorted(report["operations"].items()), ("replies that refused", report.get("refused", 0))]
    rows += [("lookups observed", observer.lookups), ("comparisons", observer.comparisons)]
    rows += [("lookup p50 / p99 / most", f"{p50:.1f} / {p99:.1f} / {most:.1f} ms"), *findings.counts.items()]
    width = max(len(name) for name, _ in rows)
    print("\n".join(f"{name:<{width}}  {value}" for name, value in rows))
    for kind, texts in findings.texts.items():
        print("\n".join(f"BROKEN {kind}: {text}" for text in texts))
    passed = not findings.counts.total() and bool(report["operations"])
    print(
        json.dumps(
            {
                "seed": options.seed,
                "seconds": options.seconds,
                "passed": passed,
                "operations": report["operations"],
                "refused": report.get("refused", 0),
                "lookups": observer.lookups,
                "comparisons": observer.comparisons,
                "p50_ms": round(p50, 2),
                "p99_ms": round(p99, 2),
                "most_ms": round(most, 2),
                "findings": findings.counts,
            }
        ),
        flush=True,
    )
    return 0 if passed else 1


def _percentile(values: Sequence[float], share: float) -> float:
    """Return the percentile of sorted values; 0 for none."""
    return values[max(0, math.ceil(len(values) * share) - 1)] if values else 0.0


def parse(arguments: Sequence[str]) -> Options:
    """Return the options. Exits with 2 for wrong ones."""
    parser = argparse.ArgumentParser("python -m tests.chaos.stranger")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long to try [1]")
    parser.add_argument("--seed", type=int, default=1, help="what the tries are drawn from [1]")
    parser.add_argument("--registry", type=Address.parse, default=Address("127.0.0.1", 5555), metavar="HOST:PORT")
    parser.add_argument("--control", type=Address.parse, default=Address("127.0.0.1", 5556), metavar="HOST:PORT")
    parser.add_argument("--project", type=Path, help="the manifest's directory: compare Redis and `ps`, too")
    parser.add_argument(
        "--uid", type=int, default=65_534, help="the other user; no service may run as this one [65534]"
    )
    parser.add_argument("--slow-ms", type=float, default=1_000.0, help="the bound of lookups' 99th percentile [1000]")
    found = parser.parse_args(arguments)
    if os.geteuid() != 0:
        parser.error("it takes root to become another user")
    seconds = found.minutes * 60
    return Options(found.seed, seconds, found.registry, found.control, found.uid, found.slow_ms, found.project)


if __name__ == "__main__":
    sys.exit(run(parse(sys.argv[1:])))
