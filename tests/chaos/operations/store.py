"""Damage what Redis holds, and take its memory and its disk."""

import errno
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import redis
import trio

from tests.chaos.lifecycle import wait_registry
from tests.chaos.model import Allowance, Kind
from tests.chaos.operations.table import NoTarget, choose, operation, sleep_held
from tests.chaos.run_context import RunContext
from tests.chaos.script import Step
from tests.chaos.settling import read_hashes, redis_client

RESTORED_S = 5.0
RETRY_S = 0.1
FILL_BYTES = 1 << 20


async def on_redis(run: RunContext, act: Callable[["redis.Redis"], object]) -> None:
    """Do something with a client of the project's Redis. Raises `NoTarget` where Redis does not answer."""

    def in_thread() -> None:
        with redis_client(run) as client:
            act(client)

    try:
        await trio.to_thread.run_sync(in_thread, abandon_on_cancel=True)
    except redis.RedisError as error:
        raise NoTarget(f"redis: {error}") from None


async def _stored(run: RunContext) -> dict[str, dict[str, str]]:
    """Return the hashes of all instances; empty where Redis cannot be read."""
    with suppress(redis.RedisError, OSError):
        return await trio.to_thread.run_sync(read_hashes, run, abandon_on_cancel=True)
    return {}


async def _choose_hash(run: RunContext, step: Step) -> str:
    """Return the key of one hash; the order is that of the services' names."""
    return choose(step, sorted(await _stored(run)))


async def wait_restored(run: RunContext) -> None:
    """Wait until Redis has a right hash for each entry that passes; note those that it has not in time."""
    deadline = run.now() + RESTORED_S * run.bounds.patience
    while True:
        hashes = {fields.get("uuid"): fields.get("addr") for fields in (await _stored(run)).values()}
        passing = {key: str(entry.instance.addr) for key, entry in run.entries.items() if entry.passing_since}
        wrong = [key for key, address in passing.items() if hashes.get(key) != address]
        if not wrong:
            return
        if run.now() > deadline:
            names = [run.entries[key].instance.name for key in wrong if key in run.entries]
            run.find(Kind.LOST, f"Redis has not again what was registered: {', '.join(names)}")
            return
        await trio.sleep(RETRY_S)


@operation("redis.flushall", weight=2)
async def flush_all(run: RunContext, step: Step) -> str:
    """Empty Redis: everything is there again in time, and nothing is removed."""
    count = len(await _stored(run))
    await on_redis(run, lambda client: client.flushall())
    await wait_restored(run)
    return f"{count} hashes"


@operation("redis.delete-hash")
async def delete_hash(run: RunContext, step: Step) -> str:
    """Delete one instance's hash."""
    key = await _choose_hash(run, step)
    await on_redis(run, lambda client: client.delete(key))
    await wait_restored(run)
    return key


@operation("redis.overwrite-hash")
async def overwrite_hash(run: RunContext, step: Step) -> str:
    """Write another address into one instance's hash."""
    key = await _choose_hash(run, step)
    await on_redis(run, lambda client: client.hset(key, "addr", "127.0.0.1:9"))
    await wait_restored(run)
    return key


@operation("redis.wrong-type")
async def wrong_type(run: RunContext, step: Step) -> str:
    """Replace one instance's hash by a string."""
    key = await _choose_hash(run, step)
    await on_redis(run, lambda client: client.set(key, "not a hash"))
    await wait_restored(run)
    return key


@operation("redis.delete-keys")
async def delete_keys(run: RunContext, step: Step) -> str:
    """Delete one of the keys beside the hashes: registrations, addresses, change log, revision."""
    names = ("{minikube}:registrations", "{minikube}:addresses", "{minikube}:changes", "{minikube}:revision")
    key = choose(step, names)
    await on_redis(run, lambda client: client.delete(key))
    await wait_restored(run)
    return key


@operation("redis.no-memory")
async def no_memory(run: RunContext, step: Step) -> str:
    """Let Redis refuse all writes for want of memory, for a while: lookups go on."""
    with run.allow("*", Allowance.STALE):
        await on_redis(run, lambda client: client.config_set("maxmemory", "1"))
        await sleep_held(step, 0.5, 6)
        await on_redis(run, lambda client: client.config_set("maxmemory", "0"))
        await wait_registry(run, writes=True)
    return "maxmemory 1"


@operation("disk.full")
async def full_disk(run: RunContext, step: Step) -> str:
    """Fill the project's disk for a while: lookups go on, nothing ends."""
    filler = run.project.directory / "filler"
    with run.allow("*", Allowance.STALE, Allowance.LOST_LINES):
        try:
            await trio.to_thread.run_sync(_fill, filler)
            await sleep_held(step, 0.5, 6)
        finally:
            filler.unlink(missing_ok=True)
        await wait_registry(run, writes=True)
    return str(filler)


def _fill(path: Path) -> None:
    """Write to the file until no byte more goes in."""
    with path.open("wb", buffering=0) as file:
        size = FILL_BYTES
        while size:
            try:
                file.write(bytes(size))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                size //= 2
