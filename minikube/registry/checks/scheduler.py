"""Probes this node's share of the instances and says what follows (floor 3): the trio shell round `probe.health`.

A heap of due times, and a task for each probe under way. A state is written before it counts: a verdict that cannot
be written (the store is gone) is not acted on, the next probe judges again. It refuses to remove anybody on the word
of a process that was paused, or of one that hears nobody at all.

An instance can be replaced or removed while its probe is under way: after every wait, what was learned counts only
if the very same ward is still ours.
"""

import contextlib
import heapq
import logging
import random
import time
from itertools import count
from typing import NoReturn

import trio
from msgspec.structs import replace

from minikube.errors import Unavailable
from minikube.health.mass_failure import BEAT_S, PauseWatch, SilenceWatch
from minikube.health.prober import Prober
from minikube.health.rate_limit import ProbeRateLimiter
from minikube.health.state import (
    Health,
    Outcome,
    Step,
    after_probe,
    first_health,
    is_news,
    lease_failed,
    lease_lapsed,
    lease_pass,
    next_step,
)
from minikube.metrics.counters import ProbeCounters
from minikube.model import Change, ChangeKind, CheckState
from minikube.registry.catalog.records import Record
from minikube.registry.checks.entry_state import entering, saying, stored_state
from minikube.registry.node import Node

LOGGER = logging.getLogger("minikube.registry")

STORE_RETRY_S = 0.5
PROBES_AT_ONCE = 256
"""Each holds a file descriptor; more wait for their turn."""

FIRST_AT_ONCE = 128
REST_AT_ONCE = 64
"""First probes, and those of instances that do not pass, wait in lines of their own: a crowd that hangs until its
time-out holds up neither the well nor the new."""

KEEP_ALIVE_FROM = 512
"""Instances of one share from which on connections are kept: below it, new ones cost nothing worth mentioning, and
a kept one would block a server that serves one connection at a time."""

SWEEP_AT_ONCE = 128
"""How many others are asked at once when one falls silent, to learn whether it is them or us."""

RECOUNT_S = 0.05
"""A large share is not counted anew at each result."""


class CheckedInstance:
    """One instance in this node's care."""

    __slots__ = ("asking", "first", "free", "health", "id", "incarnation", "leased", "renewed_at", "url")

    def __init__(self, record: Record, health: Health) -> None:
        self.id = record.id
        self.incarnation = record.instance.incarnation
        self.url = record.instance.health_check
        self.leased = self.url == "ttl:"
        """Not probed: it renews its lease."""
        self.health = health
        self.asking = False
        self.free = trio.Event()
        """Set, and replaced, when it is not `asking` any more."""
        self.renewed_at: float | None = None
        """When it renewed while another verdict was on its way: that one is older."""
        self.first = trio.Event()


class CheckScheduler:
    """Belongs to the trio thread. `doubt` says, where there is any, why this registry doubts itself."""

    def __init__(self, node: Node) -> None:
        self.doubt = ""
        self.last_doubt = (0.0, "")
        """When (Unix seconds) and why it last began to doubt itself: a doubt may be over before anybody looks."""
        self.tally = ProbeCounters()
        self._node = node
        self._prober = Prober()
        self._pace = ProbeRateLimiter()
        self._wards: dict[str, CheckedInstance] = {}
        self._heap: list[tuple[float, int, CheckedInstance]] = []
        self._numbers = count()
        self._sooner = trio.Event()
        self._well, self._first, self._rest = map(trio.CapacityLimiter, (PROBES_AT_ONCE, FIRST_AT_ONCE, REST_AT_ONCE))
        self._silence = SilenceWatch()
        self._doubted_at = 0.0
        self._pause = PauseWatch(trio.current_time(), _boottime())
        node.reshared = self.share
        node.leased = self.renewed
        node.catalog.subscribe("*", self._changed)

    async def beat(self) -> NoReturn:
        """Finds the pauses of this process, for ever."""
        while True:
            self._beat()
            await trio.sleep(BEAT_S)

    async def run(self) -> NoReturn:
        """Probes whatever is due, for ever."""
        async with trio.open_nursery() as nursery:
            while True:
                now = trio.current_time()
                while self._heap and self._heap[0][0] <= now:
                    _, _, ward = heapq.heappop(self._heap)
                    if self._wards.get(ward.id) is ward and not ward.asking and _next(ward.health) <= now:
                        ward.asking = True
                        nursery.start_soon(self._attend, ward)
                self._sooner = trio.Event()
                with trio.move_on_at(self._heap[0][0] if self._heap else float("inf")):
                    await self._sooner.wait()

    async def wait_first(self, id_: str, seconds: float) -> None:
        """Until the entry's first probe was made and its verdict stored, at most `seconds`."""
        ward = self._wards.get(id_)
        with trio.move_on_after(seconds):
            if ward is not None:
                await ward.first.wait()
                return
            seen = trio.Event()  # another registry's to probe: its verdict comes by the log

            def look(change: Change) -> None:
                if change.instance.uuid == id_:
                    seen.set()

            unsubscribe = self._node.catalog.subscribe("*", look)
            try:
                record = self._node.catalog.records.get(id_)
                if record is not None and record.instance.state is CheckState.STARTING:
                    await seen.wait()
            finally:
                unsubscribe()

    def renewed(self, id_: str) -> None:
        """A `ttl:` instance spoke up."""
        ward = self._wards.get(id_)
        record = self._node.catalog.records.get(id_)
        if ward is None or record is None or not ward.leased:
            return
        self._node.catalog.observe(id_, time.time(), "renewed")
        if ward.asking:
            ward.renewed_at = trio.current_time()
        else:
            self._renew(ward, record, trio.current_time())

    def _renew(self, ward: CheckedInstance, record: Record, at: float) -> None:
        health = lease_pass(record.settings, ward.health, at)
        if health.state is ward.health.state and stored_state(record) is health.state:
            ward.health = health
            self._plan(ward)
        else:
            ward.asking = True
            self._node.nursery.start_soon(self._settle_and_plan, ward, health, "renewed")

    async def reported(self, id_: str, passing: bool, output: str) -> None:
        """A `ttl:` instance says how it is, and is believed at once. Raises `Unavailable` where that cannot be stored."""
        ward, record = self._wards.get(id_), self._node.catalog.records.get(id_)
        if record is None:
            return
        self._node.catalog.observe(id_, time.time(), output)
        if ward is None:
            if not passing:  # another registry's ward: that one hears of passes by the lease, and of this by the log
                await self._node.update(id_, record.instance.incarnation, entering(CheckState.CRITICAL, output))
            return
        judge, at = lease_pass if passing else lease_failed, trio.current_time()
        while ward.asking:  # what is on its way is older than this word
            await ward.free.wait()
        ward.asking = True
        try:
            await self._write(ward, judge(record.settings, ward.health, at), output)
        finally:
            self._finish(ward)

    def share(self) -> None:
        """Takes up what is ours to probe and drops what is not."""
        records = self._node.catalog.records
        for record in list(records.values()):
            self._take(record, fresh=False)
        for id_ in [id_ for id_ in self._wards if id_ not in records]:
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
        known = self._wards.get(record.id)
        if known is not None and known.incarnation == record.instance.incarnation:
            return
        self._drop(record.id)
        state, leased = stored_state(record), record.instance.health_check == "ttl:"
        now, left, jitter = trio.current_time(), _left(record), random.random()
        health = first_health(state, now, record.settings, fresh=fresh, leased=leased, left=left, jitter=jitter)
        ward = self._wards[record.id] = CheckedInstance(record, health)
        if leased and state is not CheckState.STARTING:
            ward.first.set()
        self._prober.keep = PROBES_AT_ONCE if len(self._wards) >= KEEP_ALIVE_FROM else 0
        self._plan(ward)

    def _drop(self, id_: str) -> None:
        ward = self._wards.pop(id_, None)
        if ward is not None:
            ward.first.set()
            self._prober.forget(ward.url)
            self._silence.forget(id_)

    def _plan(self, ward: CheckedInstance) -> None:
        due = _next(ward.health)
        if due < float("inf"):
            heapq.heappush(self._heap, (due, next(self._numbers), ward))
            if self._heap[0][2] is ward:
                self._sooner.set()

    # ------------------------------------------------------------ one ward, due

    async def _attend(self, ward: CheckedInstance) -> None:
        """Forget it, let its lease lapse, or ask it; then plan what comes next."""
        record = self._node.catalog.records.get(ward.id)
        if record is None:
            return
        settings = record.settings
        step = self._step(ward, settings.lease)
        if step is Step.FORGET:
            if await self._forget(ward):
                return
            step = self._step(ward, settings.lease)
        now = trio.current_time()
        match step:
            case Step.PROBE:
                async with self._line(ward):
                    await self._ask(ward, record)
            case Step.ADMIT:
                await self._settle(ward, lease_pass(settings, ward.health, now), "registered")
            case Step.EXCUSE:
                ward.health = replace(ward.health, due=now + settings.lease)
            case Step.LAPSE:
                health = lease_lapsed(settings, ward.health, now)
                await self._settle(ward, health, f"no renewal within {settings.lease:g} s")
        self._finish(ward)

    def _step(self, ward: CheckedInstance, lease: float) -> Step:
        now = trio.current_time()
        deaf = ward.leased and (bool(self._beat()) or self._pause.spoiled(now - lease))
        return next_step(ward.health, now, leased=ward.leased, admitted=ward.first.is_set(), deaf=deaf)

    def _line(self, ward: CheckedInstance) -> trio.CapacityLimiter:
        if ward.health.state is CheckState.PASSING:
            return self._well
        return self._rest if ward.first.is_set() else self._first

    async def _settle_and_plan(self, ward: CheckedInstance, health: Health, output: str) -> None:
        await self._settle(ward, health, output)
        self._finish(ward)

    def _finish(self, ward: CheckedInstance) -> None:
        ward.asking = False
        ward.free.set()
        ward.free = trio.Event()
        ward.first.set()
        record = self._node.catalog.records.get(ward.id)
        if self._wards.get(ward.id) is not ward or record is None:
            return
        at, ward.renewed_at = ward.renewed_at, None
        if at is None:
            self._plan(ward)
        else:
            self._renew(ward, record, at)

    async def _ask(self, ward: CheckedInstance, record: Record) -> None:
        result = await self._prober.probe(ward.url, record.settings.timeout)
        if self._wards.get(ward.id) is not ward:
            return
        before, now = ward.health, trio.current_time()
        if self._beat() or self._pause.spoiled(result.began):
            ward.health = replace(before, due=now)  # measured across a pause of our own: says nothing
            return
        self.tally.record(record.instance.name, result.outcome.value, result.ended - result.began)
        self._node.catalog.observe(ward.id, time.time(), result.output)
        extra = 0
        if before.state is CheckState.PASSING:
            silent = result.outcome is Outcome.TIMEOUT
            self._silence.note(ward.id, result.began, silent=silent)
            extra = self._doubts()
            if silent and not before.timeouts:
                self._sweep()
        health = after_probe(before, result, record.settings, now, jitter=random.random(), extra=extra)
        health = replace(health, due=self._pace.due(health, record.settings, now))
        await self._settle(ward, health, result.output)
        if ward.health.state is not CheckState.PASSING:
            self._silence.forget(ward.id)
            self._doubts()

    async def _settle(self, ward: CheckedInstance, health: Health, output: str) -> None:
        """Writes a new state before it counts; again soon, where the store is away."""
        try:
            await self._write(ward, health, output)
        except Unavailable:
            ward.health = replace(ward.health, due=trio.current_time() + STORE_RETRY_S)

    async def _write(self, ward: CheckedInstance, health: Health, output: str) -> None:
        """Writes a new state before it counts. Raises `Unavailable`; then all is as it was."""
        stored = self._node.catalog.records.get(ward.id)
        if stored is None or stored.instance.incarnation != ward.incarnation:
            return
        if stored_state(stored) is not health.state:
            await self._node.update(ward.id, ward.incarnation, entering(health.state, output))
            words = output.strip().splitlines()
            LOGGER.info("%s %s is %s: %s", stored.instance.name, ward.id, health.state, words[0][:200] if words else "")
        elif is_news(health, stored.instance.output, output):
            with contextlib.suppress(Unavailable):  # the next probe says it again
                await self._node.update(ward.id, ward.incarnation, saying(output))
        ward.health = health

    async def _forget(self, ward: CheckedInstance) -> bool:
        """Its time as an absent one is over. True when it is gone."""
        try:
            await self._node.remove(ward.id, ward.incarnation)
        except Unavailable:
            ward.health = replace(ward.health, forget_at=trio.current_time() + STORE_RETRY_S)
            return False
        LOGGER.info("%s is forgotten: it did not pass for too long", ward.id)
        return True

    # ------------------------------------------------------------ doubt

    def _sweep(self) -> None:
        """One fell silent: ask the others now, so that silence of all is known before the first is removed."""
        now = trio.current_time()
        others = [
            ward
            for ward in self._wards.values()
            if ward.health.state is CheckState.PASSING and not ward.asking and ward.health.due > now + BEAT_S
        ]
        for ward in random.sample(others, min(len(others), SWEEP_AT_ONCE)):
            if not ward.leased:
                ward.health = replace(ward.health, due=now)
                self._plan(ward)

    def _doubts(self) -> int:
        """How many time-outs more than usual are needed, while many fall silent together."""
        now = trio.current_time()
        if len(self._wards) > KEEP_ALIVE_FROM and now - self._doubted_at < RECOUNT_S:
            return 1 if self.doubt else 0
        self._doubted_at = now
        doubt = self._silence.doubt()
        text = str(doubt) if doubt else ""
        if bool(text) != bool(self.doubt):
            LOGGER.warning("%s", text or "the general silence is over")
            if text:
                self.last_doubt = (time.time(), text)
        self.doubt = text
        return 1 if doubt else 0

    def _beat(self) -> float:
        gap = self._pause.beat(trio.current_time(), _boottime())
        if gap:
            LOGGER.warning("this registry was paused for %.1f s; probes from before count for nothing", gap)
        return gap


def _next(health: Health) -> float:
    return min(health.due, health.forget_at)


def _left(record: Record) -> float:
    """How much of its time as an absent one is left, by the wall clock (which may have been moved: `GRACE_S`)."""
    return min(record.settings.forget_after, record.instance.since + record.settings.forget_after - time.time())


def _boottime() -> float:
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
