"""Take the data directory of Redis away while it runs, make it unwritable, and the directory of the logs, too."""

import shutil
import signal
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from tests.chaos.lifecycle import wait_registry
from tests.chaos.model import Allowance, Kind
from tests.chaos.operations.files import AGAIN_S, wait_writing
from tests.chaos.operations.store import on_redis, wait_restored
from tests.chaos.operations.table import choose, choose_process, operation, sleep_held, wait_part
from tests.chaos.processes import send_signal
from tests.chaos.project import WRITER
from tests.chaos.run_context import RunContext, until
from tests.chaos.script import Step

WAYS = ("removed", "moved", "emptied", "replaced by a file")
KEY = "chaos:kept"
"""What a service keeps in Redis: no registry writes it again."""


def _take_away(data: Path, way: str) -> None:
    moved = data.with_name(f"{data.name}.moved")
    shutil.rmtree(moved, ignore_errors=True)
    data.rename(moved)
    if way == "emptied":
        data.mkdir(mode=0o700)
    elif way == "replaced by a file":
        data.write_text("no directory")
    if way != "moved":
        shutil.rmtree(moved)


@contextmanager
def _unwritable(top: Path) -> Iterator[None]:
    """Let nothing be written in a directory by a process without privileges for the time of the block."""
    paths = [top, *top.rglob("*")]
    _set_modes(reversed(paths), 0o500, 0o400)
    try:
        yield
    finally:
        _set_modes(paths, 0o700, 0o600)


def _set_modes(paths: Iterable[Path], directory: int, file: int) -> None:
    for path in paths:
        with suppress(FileNotFoundError):  # the project goes on, and rotates its logs
            path.chmod(directory if path.is_dir() else file)


@asynccontextmanager
async def _kept(run: RunContext, step: Step) -> AsyncIterator[None]:
    """Note when Redis lacks after the block what was written to it before, or an entry of the registry."""
    value = f"{step.choice} {run.now()}"
    await on_redis(run, lambda client: client.set(KEY, value))
    with run.allow("*", Allowance.STALE), run.allow("redis", Allowance.END):
        yield
        await wait_registry(run, writes=True)
    found: list[object] = []
    await on_redis(run, lambda client: found.append(client.get(KEY)))
    if found != [value]:
        run.find(Kind.LOST, f"{step.op}: Redis has {found} where {value!r} was written")
    await wait_restored(run)


@operation("remove.redis-data")
async def remove_redis_data(run: RunContext, step: Step) -> str:
    """Remove, move, empty or replace the data directory of Redis: all data is written again, and nothing else ends."""
    data, way = run.project.state / "redis", choose(step, WAYS)
    await wait_part(run, "redis")

    def is_written() -> bool:
        redis = run.part("redis")
        return redis is not None and data.is_dir() and Path(f"/proc/{redis.pid}/cwd").resolve() == data.resolve()

    async with _kept(run, step):
        _take_away(data, way)
        if not await until(is_written, AGAIN_S * run.bounds.patience):
            run.find(Kind.FAILED, f"the data directory of Redis was {way}, and Redis has none again")
    return way


@operation("unwritable.redis-data")
async def unwritable_redis_data(run: RunContext, step: Step) -> str:
    """Kill Redis while its data cannot be written: lookups go on, and writes do when they can be made again."""
    process = await wait_part(run, "redis")
    async with _kept(run, step):
        with _unwritable(run.project.state / "redis"):
            send_signal(run, process, signal.SIGKILL)
            await sleep_held(step, 0.5, 8)
    return str(process.pid)


@operation("unwritable.logs")
async def unwritable_logs(run: RunContext, step: Step) -> str:
    """Let a service write more than a log file holds while no other can be made: lines that are lost are counted in it."""
    process = await choose_process(run, step, "main", services=(WRITER,))
    with _unwritable(run.own_log_dir):
        send_signal(run, process, signal.SIGUSR1)
        await sleep_held(step, 0.5, 6)
    await wait_writing(run)
    return f"{process.service} {process.pid}"
