"""Waiting until everything is well after faults, and reading what Redis and the logs hold."""

from contextlib import suppress
from pathlib import Path

import msgspec
import redis
import trio

from minikube.model import Instance
from minikube.project.redis_socket import find_redis_socket
from tests.chaos import views
from tests.chaos.model import Kind
from tests.chaos.registry_client import Refused, call_once
from tests.chaos.run_context import RunContext

TRACEBACK = "Traceback (most recent call last)"
LOGS = ("minikube.*.log*",)
RETRY_S = 0.2


def redis_client(run: RunContext) -> "redis.Redis":
    """Return a client of the project's private Redis."""
    return redis.Redis(
        unix_socket_path=str(find_redis_socket(run.project.state)), decode_responses=True, socket_timeout=3
    )


def read_hashes(run: RunContext) -> dict[str, dict[str, str]]:
    """Return all hashes of discoverable instances. Blocks; raises `redis.RedisError`."""
    with redis_client(run) as client:
        keys = sorted(client.scan_iter("{minikube}:instance:*"))
        found = {key: client.hgetall(key) if client.type(key) == "hash" else {} for key in keys}
        return {key: {str(name): str(value) for name, value in fields.items()} for key, fields in found.items()}


async def look(run: RunContext) -> list[str]:
    """Return what is not well at this moment."""
    try:
        hashes = await trio.to_thread.run_sync(read_hashes, run, abandon_on_cancel=True)
        instances = msgspec.convert(await call_once("Instances"), list[Instance])
    except (redis.RedisError, OSError, trio.TooSlowError, Refused, ValueError) as error:
        return [f"registry or Redis cannot be read: {error!r}"]
    if run.snapshot is None:
        return ["the control API does not answer"]
    return views.differences(
        views.Views(
            replicas=run.project.replicas,
            rows=run.snapshot.instances,
            parts=run.snapshot.parts,
            registered=instances,
            watched={key: entry.instance for key, entry in run.entries.items()},
            hashes=hashes,
            processes=run.history.alive("main"),
            guests=run.guests.values(),
        )
    )


async def settle(run: RunContext) -> bool:
    """Wait until everything is well, and return true; note what is not well in time as a finding."""
    deadline = run.now() + run.bounds["settle"]
    while wrong := await look(run):
        if run.now() > deadline:
            lost = any("is not registered" in text for text in wrong)
            run.find(Kind.LOST if lost else Kind.DISAGREEMENT, f"not well in time: {'; '.join(wrong[:6])}")
            return False
        await trio.sleep(RETRY_S)
    scan_logs(run)
    return True


def scan_logs(run: RunContext) -> None:
    """Note each traceback in the logs of supervisor, registry and Redis."""
    for pattern in LOGS:
        for path in run.own_log_dir.glob(pattern):
            with suppress(OSError):
                _scan(run, path)


def _scan(run: RunContext, path: Path) -> None:
    lines = path.read_text("utf-8", "replace").splitlines()
    for number, line in enumerate(lines):
        if TRACEBACK in line:
            rest = lines[number + 1 : number + 60]
            error = next((one for one in rest if one[:1] not in (" ", "", "+", "|")), "")
            if f"{line} {error}" not in run.kept_logs:
                run.kept_logs.add(f"{line} {error}")
                run.find(Kind.TRACEBACK, f"{path.name}: {lines[number - 1][-150:] if number else ''} … {error[:200]}")
