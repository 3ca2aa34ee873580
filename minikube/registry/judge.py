"""Probes this node's share of the instances and says what follows (floor 3): the trio shell round `probe.health`.

One task an instance: wait until it is due, ask, judge, and write when its state changes. A verdict that cannot be written
(the store is gone) is not acted on; the next probe judges again. It refuses to remove anybody on the word of a paused process.
"""

import logging
import random
import time

import trio
from msgspec.structs import replace

from minikube.errors import Unavailable
from minikube.model import Change, ChangeKind, CheckState
from minikube.probe.doubt import BEAT_S, PauseWatch, SilenceWatch
from minikube.probe.health import (
    Health,
    Outcome,
    after_probe,
    lease_lapsed,
    lease_pass,
    new_health,
    resumed_health,
)
from minikube.probe.prober import Prober
from minikube.registry.node import Node, entered
from minikube.registry.records import Record

LOGGER = logging.getLogger("minikube.registry")

STORE_RETRY_S = 0.5
IDLE_CONNECTIONS = 0


class Judge:
    """Belongs to the trio thread."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._prober = Prober(IDLE_CONNECTIONS)
        self._scopes: dict[str, tuple[int, trio.CancelScope]] = {}
        self._healths: dict[str, Health] = {}
        self._first: dict[str, trio.Event] = {}
        self._renewed: dict[str, trio.Event] = {}
        self._silence = SilenceWatch()
        self._pause = PauseWatch(trio.current_time(), _boottime())
        self.doubt = ""
        node.reshared = self.share
        node.leased = self.renewed
        node.catalog.subscribe("*", self._changed)

    async def beat(self) -> None:
        """Finds the pauses of this process, for ever."""
        while True:
            self._beat()
            await trio.sleep(BEAT_S)

    async def wait_first(self, id_: str, seconds: float) -> None:
        """Until the first probe of the entry was made and its verdict stored, at most `seconds`."""
        if (event := self._first.get(id_)) is not None:
            with trio.move_on_after(seconds):
                await event.wait()

    def renewed(self, id_: str) -> None:
        """A `ttl:` instance spoke up."""
        if (event := self._renewed.get(id_)) is not None:
            event.set()

    def share(self) -> None:
        """Takes up what is ours to probe and drops what is not."""
        for record in list(self._node.catalog.records.values()):
            self._take(record, fresh=False)
        for id_ in [id_ for id_ in self._scopes if id_ not in self._node.catalog.records]:
            self._drop(id_)

    def _changed(self, change: Change) -> None:
        id_ = change.instance.uuid
        record = self._node.catalog.records.get(id_)
        if change.kind is ChangeKind.GONE or record is None:
            self._drop(id_)
        else:
            self._take(record, fresh=change.revision == record.instance.incarnation)

    def _take(self, record: Record, *, fresh: bool) -> None:
        if not self._node.nodes.mine(record.id):
            self._drop(record.id)
            return
        known = self._scopes.get(record.id)
        if known is not None and known[0] == record.instance.incarnation:
            return
        self._drop(record.id)
        now = trio.current_time()
        settings = record.settings
        state = record.resumed if record.instance.state is CheckState.MAINTENANCE else record.instance.state
        if fresh:
            health = new_health(now, settings)
        else:
            health = resumed_health(state, now, settings, jitter=random.random(), grace=settings.forget_after)
        scope = trio.CancelScope()
        self._scopes[record.id] = (record.instance.incarnation, scope)
        self._healths[record.id] = health
        self._first[record.id] = trio.Event()
        self._node.nursery.start_soon(self._follow, record, scope)

    def _drop(self, id_: str) -> None:
        known = self._scopes.pop(id_, None)
        if known is not None:
            known[1].cancel()
        for table in (self._healths, self._first, self._renewed):
            table.pop(id_, None)
        self._silence.forget(id_)

    async def _follow(self, record: Record, scope: trio.CancelScope) -> None:
        id_, incarnation = record.id, record.instance.incarnation
        with scope:
            if record.instance.health_check.startswith("ttl:"):
                await self._lease(id_, incarnation)
            while True:
                health = self._healths[id_]
                await trio.sleep_until(min(health.due, health.forget_at))
                if await self._forget(id_, incarnation):
                    continue
                await self._ask(id_, incarnation)

    async def _ask(self, id_: str, incarnation: int) -> None:
        record = self._node.catalog.records[id_]
        before = self._healths[id_]
        result = await self._prober.probe(record.instance.health_check, record.settings.timeout)
        now = trio.current_time()
        if self._beat() or self._pause.spoiled(result.began):
            self._healths[id_] = replace(before, due=now)  # measured across a pause of our own: says nothing
            return
        extra = 0
        if before.state is CheckState.PASSING:
            self._silence.note(id_, result.began, silent=result.outcome is Outcome.TIMEOUT)
            extra = self._doubts()
        health = after_probe(before, result, record.settings, now, jitter=random.random(), extra=extra)
        if health.state is not CheckState.PASSING:
            self._silence.forget(id_)
            self._doubts()
        self._node.catalog.observe(id_, time.time(), result.output)
        await self._settle(id_, incarnation, before, health, result.output)
        if (event := self._first.get(id_)) is not None:
            event.set()

    async def _settle(self, id_: str, incarnation: int, before: Health, health: Health, output: str) -> None:
        """Writes a new state before it counts."""

        def change(record: Record) -> Record | None:
            if record.instance.state is CheckState.MAINTENANCE:
                return None if record.resumed is health.state else replace(record, resumed=health.state)
            if record.instance.state is health.state:
                return None
            return entered(record, health.state, output, time.time())

        self._healths[id_] = health
        stored = self._node.catalog.records[id_]
        shown = stored.resumed if stored.instance.state is CheckState.MAINTENANCE else stored.instance.state
        if shown is health.state:
            return
        try:
            await self._node.update(id_, incarnation, change)
        except Unavailable:
            retry = trio.current_time() + STORE_RETRY_S
            if id_ in self._healths:
                self._healths[id_] = replace(before, due=retry)
            return
        words = output.strip().splitlines()
        LOGGER.info("%s %s is %s: %s", stored.instance.name, id_, health.state, words[0][:200] if words else "")

    async def _forget(self, id_: str, incarnation: int) -> bool:
        """True when its time as an absent one was over."""
        if trio.current_time() < self._healths[id_].forget_at:
            return False
        try:
            await self._node.remove(id_, incarnation)
        except Unavailable:
            self._healths[id_] = replace(self._healths[id_], forget_at=trio.current_time() + STORE_RETRY_S)
        return True

    async def _lease(self, id_: str, incarnation: int) -> None:
        """A `ttl:` instance: its registration and each renewal is a pass; a lease without one is a lapse."""
        before = self._healths[id_]
        settings = self._node.catalog.records[id_].settings
        if before.state is not CheckState.CRITICAL:
            health = lease_pass(settings, before, trio.current_time())
            await self._settle(id_, incarnation, before, health, "registered")
        if (event := self._first.get(id_)) is not None:
            event.set()
        while True:
            event = self._renewed[id_] = trio.Event()
            health = self._healths[id_]
            with trio.move_on_at(min(health.due, health.forget_at)):
                await event.wait()
            now = trio.current_time()
            if event.is_set():
                after = lease_pass(settings, health, now)
                self._node.catalog.observe(id_, time.time(), "renewed")
                await self._settle(id_, incarnation, health, after, "renewed")
            elif self._beat() or self._pause.spoiled(now - settings.lease):
                self._healths[id_] = replace(health, due=now + settings.lease)
            elif not await self._forget(id_, incarnation):
                text = f"no renewal within {settings.lease:g} s"
                await self._settle(id_, incarnation, health, lease_lapsed(settings, health, now), text)

    def _doubts(self) -> int:
        """How many time-outs more than usual are needed, while many fall silent together."""
        doubt = self._silence.doubt()
        text = str(doubt) if doubt else ""
        if text != self.doubt:
            if bool(text) != bool(self.doubt):
                LOGGER.warning("%s", text or "the general silence is over")
            self.doubt = text
        return 1 if doubt else 0

    def _beat(self) -> float:
        gap = self._pause.beat(trio.current_time(), _boottime())
        if gap:
            LOGGER.warning("this registry was paused for %.1f s; probes from before count for nothing", gap)
        return gap


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
