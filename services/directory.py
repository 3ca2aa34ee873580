"""Where one service is now: its passing instances, kept current by the registry's pushes.

A push comes within milliseconds of a change, so nothing is asked per request; and while the registry itself is
away, the last that it said is still good to try.
"""

import sys
from typing import Any, NoReturn

import trio

import minikube
from services.http_client import Place

AGAIN_S = 0.5
FIRST_WORD_S = 1.0


class Directory:
    """The passing instances of `service`, taken in turn."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.known = False
        """Whether the registry has said anything yet."""
        self._instances: dict[str, Any] = {}
        self._passing: tuple[Place, ...] = ()
        self._next = 0
        self._changed = trio.Event()

    def pick(self, avoid: set[Place]) -> Place | None:
        """The next passing instance, one outside `avoid` if there is any; None when none passes."""
        count = len(self._passing)
        if not count:
            return None
        self._next += 1
        turns = [self._passing[(self._next + i) % count] for i in range(count)]
        return next((place for place in turns if place not in avoid), turns[0])

    def passes(self, place: Place) -> bool:
        return place in self._passing

    async def wait_change(self) -> None:
        """Until something changes; bounded by the caller."""
        await self._changed.wait()

    async def wait_known(self) -> None:
        """Until the registry has spoken for the first time, at most `FIRST_WORD_S`."""
        with trio.move_on_after(FIRST_WORD_S):
            while not self.known:
                await self._changed.wait()

    def apply(self, update: Any) -> None:
        """A `WatchSnapshot` replaces everything; a `Change` one instance."""
        if isinstance(update, minikube.Change):
            if update.kind == "gone":
                self._instances.pop(update.instance.uuid, None)
            else:
                self._instances[update.instance.uuid] = update.instance
        else:
            self._instances = {instance.uuid: instance for instance in update.instances}
        passing = [instance.addr for instance in self._instances.values() if instance.state == "passing"]
        self._passing = tuple((_host(addr), addr.Port) for addr in passing)
        self.known = True
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    async def run(self, *, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Follow the registry until cancelled; it may be away at any time, which the watch sees to. What it refuses (a wrong
        token) is said once, as long as it is the same, and asked again: it may be mended there."""
        told = ""
        task_status.started()
        async with minikube.open_registry() as registry:
            while True:
                try:
                    async with registry.watch(self.service) as updates:
                        async for update in updates:
                            self.apply(update)
                            told = ""
                except minikube.MinikubeError as error:
                    if str(error) != told:
                        told = str(error)
                        line = f"{self.service}: the registry does not tell where it is: {told}; asking again"
                        print(line, file=sys.stderr, flush=True)
                await trio.sleep(AGAIN_S)


def _host(addr: Any) -> str:
    return f"{addr.IP}%{addr.Zone}" if addr.Zone else str(addr.IP)
