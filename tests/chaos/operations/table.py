"""The table of operations, and what they need to pick a target."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TypeVar

import trio

from tests.chaos.model import Process
from tests.chaos.project import BY_NAME
from tests.chaos.run_context import RunContext, until
from tests.chaos.script import Step

T = TypeVar("T")
Operation = Callable[[RunContext, Step], Awaitable[str]]
"""Does the operation to a target, and returns the target's name."""
OPERATIONS: dict[str, Operation] = {}
WEIGHTS: dict[str, int] = {}
TARGET_S = 20.0


class NoTarget(Exception):
    """There is nothing of the kind that the operation needs."""


def operation(name: str, weight: int = 1) -> Callable[[Operation], Operation]:
    """Add a function to the table; `weight` is how often it is done where a run does not say so."""

    def add(function: Operation) -> Operation:
        OPERATIONS[name] = function
        WEIGHTS[name] = weight
        return function

    return add


def choose(step: Step, candidates: Sequence[T]) -> T:
    """Return the candidate that the step's number picks. Raises `NoTarget`."""
    if not candidates:
        raise NoTarget(step.op)
    return candidates[step.choice % len(candidates)]


async def choose_process(run: RunContext, step: Step, *roles: str, services: Collection[str] = BY_NAME) -> Process:
    """Wait for a live process of these roles and services, and return the one that the step picks. Raises `NoTarget`."""

    def find() -> list[Process]:
        found = [process for process in run.history.alive(*roles) if process.service in services]
        return sorted(found, key=lambda process: (process.service, process.instance))

    await until(find, TARGET_S)
    return choose(step, find())


async def wait_part(run: RunContext, name: str) -> Process:
    """Wait until the part has a live process, and return it. Raises `NoTarget`."""
    await until(lambda: run.part(name), TARGET_S)
    process = run.part(name)
    if process is None:
        raise NoTarget(name)
    return process


def held(step: Step, shortest: float, longest: float) -> float:
    """Return how many seconds a fault of this step lasts."""
    return shortest + step.hold * (longest - shortest)


async def sleep_held(step: Step, shortest: float, longest: float) -> None:
    """Wait for as long as the fault lasts."""
    await trio.sleep(held(step, shortest, longest))
