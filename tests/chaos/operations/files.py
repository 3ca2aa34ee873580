"""Remove what is under `.minikube/` while the project runs: it is made again, or `down` and `up` work all the same."""

import shutil
from contextlib import suppress
from pathlib import Path

import trio

from tests.chaos.lifecycle import wait_registry
from tests.chaos.model import Allowance, Kind
from tests.chaos.operations.store import wait_restored
from tests.chaos.operations.table import NoTarget, operation
from tests.chaos.project import WRITER, CommandFailed
from tests.chaos.run_context import RunContext
from tests.chaos.script import Step
from tests.chaos.settling import scan_logs

AGAIN_S = 10.0
"""A removed file is noticed in that time."""
RETRY_S = 0.2


async def wait_writing(run: RunContext) -> None:
    """Wait until lines that the writer writes now are in its log file."""
    path = run.own_log_dir / f"{WRITER}.log"
    deadline = run.now() + AGAIN_S * run.bounds.patience
    first = _size(path)
    while (size := _size(path)) in (first, 0):
        if run.now() > deadline:
            run.find(Kind.FAILED, f"what {WRITER} writes is not in {path.name}")
            return
        first = min(first, size)
        await trio.sleep(RETRY_S)


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0


async def wait_commands(run: RunContext, what: str) -> None:
    """Wait until commands find the project again."""
    deadline = run.now() + AGAIN_S * run.bounds.patience
    while True:
        try:
            await run.project.run("ps", "--json")
            return
        except CommandFailed as error:
            if run.now() > deadline:
                run.find(Kind.FAILED, f"{what} was removed: {error}")
                return
        await trio.sleep(RETRY_S)


@operation("remove.log")
async def remove_log(run: RunContext, step: Step) -> str:
    """Remove one log file: what is written from then on is in a new one."""
    (run.own_log_dir / f"{WRITER}.log").unlink()
    await wait_writing(run)
    return WRITER


@operation("remove.logs")
async def remove_logs(run: RunContext, step: Step) -> str:
    """Remove the directory of the logs."""
    scan_logs(run)
    shutil.rmtree(run.own_log_dir)
    await wait_writing(run)
    return "logs"


@operation("remove.token")
async def remove_token(run: RunContext, step: Step) -> str:
    """Remove the token: commands and instances that start later work."""
    return await _remove_file(run, "token")


@operation("remove.record")
async def remove_record(run: RunContext, step: Step) -> str:
    """Remove the record by which commands find the supervisor."""
    return await _remove_file(run, "supervisor.json")


async def _remove_file(run: RunContext, name: str) -> str:
    """Remove a file of the project directory, wait until commands work, and return its name."""
    with run.allow("*", Allowance.NO_CONTROL):
        (run.project.state / name).unlink()
        await wait_commands(run, name)
    return name


@operation("remove.redis-socket")
async def remove_redis_socket(run: RunContext, step: Step) -> str:
    """Remove the socket of Redis: it is there again, if need be with a new process."""
    path = (run.project.state / "redis.sock").resolve()
    if not path.is_socket():
        raise NoTarget(str(path))
    with run.allow("*", Allowance.STALE), run.allow("redis", Allowance.END):
        path.unlink()
        deadline = run.now() + AGAIN_S * run.bounds.patience
        while not path.is_socket():
            if run.now() > deadline:
                run.find(Kind.FAILED, "the socket of Redis was removed, and is not there again")
                break
            await trio.sleep(RETRY_S)
        await wait_registry(run, writes=True)
    return str(path)


@operation("remove.project-dir")
async def remove_project_dir(run: RunContext, step: Step) -> str:
    """Remove the whole of `.minikube/`: it is made again, and nothing ends."""
    scan_logs(run)
    with run.allow("*", Allowance.STALE, Allowance.NO_CONTROL), run.allow("redis", Allowance.END):
        shutil.rmtree(run.project.state)
        await wait_commands(run, ".minikube")
        await wait_registry(run, writes=True)
    await wait_restored(run)
    await wait_writing(run)
    return ".minikube"
