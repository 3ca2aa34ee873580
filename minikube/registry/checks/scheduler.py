"""Schedule the health checks of this node's share of the instances, and store the states that they find.

A heap of due times, and a task for each check under way. The rules for states and delays are in `minikube/health/state`.
A new state is stored before it counts: while Redis is down no state changes, and the next probe decides again. The
scheduler refuses to mark an instance critical for results from before a pause of this process, and asks for one more
time-out while many instances stop answering together.

An instance can be replaced or removed while its check is under way: after every wait, the result counts only if the very
same `CheckTarget` is still this node's. More than 400 lines in one piece: the heap, the targets and the checks under way change
together.
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
from minikube.health.pause import TICK_S, PauseDetector
from minikube.health.prober import Prober
from minikube.health.rate_limit import ProbeRateLimiter
from minikube.health.refused_addresses import refusal
from minikube.health.state import (
    NEVER,
    Health,
    NextStep,
    Outcome,
    after_critical_report,
    after_expiry,
    after_probe,
    after_renewal,
    initial_health,
    next_step,
    should_report,
)
from minikube.metrics.counters import ProbeCounters
from minikube.model import Change, ChangeKind, CheckState
from minikube.registry.catalog.catalog import ALL_NAMES
from minikube.registry.catalog.records import Record
from minikube.registry.checks.mass_failures import MassFailureMonitor
from minikube.registry.checks.target import CheckTarget
from minikube.registry.checks.transitions import set_output, set_state
from minikube.registry.node import RegistryNode

LOGGER = logging.getLogger("minikube.registry")

STORE_RETRY_S = 0.5
"""How long after a state could not be stored the instance is checked again."""

MAX_PASSING_PROBES = 256
MAX_FIRST_PROBES = 128
MAX_OTHER_PROBES = 64
"""Probes at the same time, each with a file descriptor: of passing instances, of new ones, of all others. Each kind has a
bound of its own, so that a crowd that hangs until its time-out delays neither passing instances nor new ones."""

KEEP_ALIVE_FROM = 512
"""From so many instances on, connections are kept between probes. Below, new ones cost next to nothing, and a kept one
would block a server that serves one connection at a time."""

MIN_COMPACTION = 1_024
"""Plans that the heap may hold beyond two for each target before the outdated ones are dropped."""

MAX_CROSS_CHECKS = 128
"""How many other instances are probed at once when one times out, to find out whether the fault is this node's."""


class CheckScheduler:
    """Runs the checks of all instances that this node owns. For use in the trio thread."""

    def __init__(self, node: RegistryNode) -> None:
        self.mass_failures = MassFailureMonitor()
        self._logs_unknown = False
        """Whether the last probe could not be made: only the first of several is logged."""
        self.probes = ProbeCounters()
        self._node = node
        self._prober = Prober(refusal=refusal)
        self._rate = ProbeRateLimiter()
        self._targets: dict[str, CheckTarget] = {}
        self._heap: list[tuple[float, int, CheckTarget]] = []
        self._numbers = count()  # orders heap items with the same due time: targets cannot be compared
        self._earlier = trio.Event()
        """Set when a target is due earlier than the heap's first one was."""
        self._passing_slots = trio.CapacityLimiter(MAX_PASSING_PROBES)
        self._first_slots = trio.CapacityLimiter(MAX_FIRST_PROBES)
        self._other_slots = trio.CapacityLimiter(MAX_OTHER_PROBES)
        self._pauses = PauseDetector(trio.current_time(), _boottime())
        node.on_shard_change(self._on_shard_change)
        node.on_renewal(self.renew)
        node.catalog.subscribe(ALL_NAMES, self._on_change)

    async def run(self) -> NoReturn:
        """Check every instance when it is due, until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                now = trio.current_time()
                while self._heap and self._heap[0][0] <= now:
                    planned, _, target = heapq.heappop(self._heap)
                    # The heap may hold plans of a target that was replaced, or that has an earlier one.
                    if self._targets.get(target.id) is not target or planned != target.planned:
                        continue
                    target.planned = NEVER
                    if target.busy:
                        continue  # it is scheduled when its check ends
                    if target.due <= now:
                        target.busy = True
                        nursery.start_soon(self._check, target)
                    else:  # it was put off since it was planned
                        self._schedule(target)
                self._earlier = trio.Event()
                with trio.move_on_at(self._heap[0][0] if self._heap else NEVER):
                    await self._earlier.wait()

    async def watch_pauses(self) -> NoReturn:
        """Detect pauses of this process with a tick every `TICK_S`, until cancelled."""
        while True:
            self._tick()
            await trio.sleep(TICK_S)

    async def wait_first_result(self, id_: str, timeout: float) -> None:
        """Wait until the first check of an instance has ended and its state is stored, at most `timeout` seconds."""
        target = self._targets.get(id_)
        with trio.move_on_after(timeout):
            if target is not None:
                await target.first_result.wait()
                return
            # Another node probes it: the result comes with the change log.
            changed = trio.Event()

            def on_change(change: Change) -> None:
                if change.instance.uuid == id_:
                    changed.set()

            unsubscribe = self._node.catalog.subscribe(ALL_NAMES, on_change)
            try:
                record = self._node.catalog.records.get(id_)
                if record is not None and record.instance.state is CheckState.STARTING:
                    await changed.wait()
            finally:
                unsubscribe()

    # ------------------------------------------------------------ `ttl:` instances

    def renew(self, id_: str) -> None:
        """Renew the lease of a `ttl:` instance, if this node checks it."""
        target = self._targets.get(id_)
        record = self._node.catalog.records.get(id_)
        if target is None or record is None or not target.is_ttl:
            return
        self._node.catalog.record_probe(id_, time.time(), "renewed")
        if target.busy:
            target.renewed_at = trio.current_time()
        else:
            self._renew(target, record, trio.current_time())

    def _renew(self, target: CheckTarget, record: Record, now: float) -> None:
        health = after_renewal(target.health, record.settings, now)
        if health.state is target.health.state and record.check_state is health.state:
            target.health = health
            self._schedule(target)
        else:
            target.busy = True
            self._node.nursery.start_soon(self._store_renewal, target, health)

    async def _store_renewal(self, target: CheckTarget, health: Health) -> None:
        await self._store_or_retry(target, health, "renewed")
        self._release(target)

    async def report_state(self, id_: str, is_passing: bool, output: str) -> bool:
        """Store the state that a `ttl:` instance reports for itself, at once; return False if it was removed or replaced.

        Raises Unavailable if the state cannot be stored.
        """
        before = self._node.catalog.records.get(id_)
        while (target := self._targets.get(id_)) is not None and target.busy:
            await target.idle.wait()  # the result that is being stored is older than this report
        record = self._node.catalog.records.get(id_)
        if before is None or record is None or record.instance.incarnation != before.instance.incarnation:
            return False
        self._node.catalog.record_probe(id_, time.time(), output)
        if target is None:
            # Another node checks it. That node learns of a pass by the shared renewal, and of this by the change log.
            if not is_passing:
                change = set_state(CheckState.CRITICAL, output)
                return await self._node.update(id_, record.instance.incarnation, change) is not None
            return True
        decide, now = after_renewal if is_passing else after_critical_report, trio.current_time()
        target.busy = True
        try:
            await self._store(target, decide(target.health, record.settings, now), output)
        finally:
            self._release(target)
        return True

    # ------------------------------------------------------------ which instances

    def _on_shard_change(self) -> None:
        """Start checks of the instances that this node owns now, and stop checks of those that it does not own any more."""
        records = self._node.catalog.records
        for record in list(records.values()):
            self._update_target(record, just_registered=False)
        for id_ in [id_ for id_ in self._targets if id_ not in records]:
            self._drop_target(id_)

    def _on_change(self, change: Change) -> None:
        id_ = change.instance.uuid
        record = self._node.catalog.records.get(id_)
        if change.kind is ChangeKind.GONE or record is None:
            self._drop_target(id_)
        else:
            self._update_target(record, just_registered=change.revision == record.instance.incarnation)

    def _update_target(self, record: Record, *, just_registered: bool) -> None:
        if not self._node.live_nodes.owns(record.id):
            self._drop_target(record.id)
            return
        known = self._targets.get(record.id)
        if known is not None and known.incarnation == record.instance.incarnation:
            return
        self._drop_target(record.id)
        state = record.check_state
        health = initial_health(
            state,
            trio.current_time(),
            record.settings,
            just_registered=just_registered,
            is_ttl=record.is_ttl,
            forget_in=_forget_in(record),
            jitter=random.random(),
        )
        target = self._targets[record.id] = CheckTarget(record, health)
        self._prober.remember(target.url)
        if record.is_ttl and state is not CheckState.STARTING:
            target.first_result.set()
        self._prober.max_idle = MAX_PASSING_PROBES if len(self._targets) >= KEEP_ALIVE_FROM else 0
        self._schedule(target)

    def _drop_target(self, id_: str) -> None:
        target = self._targets.pop(id_, None)
        if target is not None:
            target.first_result.set()
            target.idle.set()  # a report that waits for the end of its check must not wait for ever
            self._prober.forget(target.url)
            self.mass_failures.forget(id_)

    def _schedule(self, target: CheckTarget) -> None:
        """Plan the next look at a target, unless an earlier look is planned: a renewal only puts its target off."""
        due = target.due
        if due >= target.planned:
            return
        # A registration that is replaced leaves a plan behind, until the end of a lease that may be weeks long.
        if len(self._heap) > 2 * len(self._targets) + MIN_COMPACTION:
            self._compact_heap()
        target.planned = due
        heapq.heappush(self._heap, (due, next(self._numbers), target))
        if self._heap[0][2] is target:
            self._earlier.set()

    def _compact_heap(self) -> None:
        """Drop the plans of targets that were replaced, and those that an earlier one has made needless."""
        self._heap = [
            item for item in self._heap if self._targets.get(item[2].id) is item[2] and item[0] == item[2].planned
        ]
        heapq.heapify(self._heap)

    # ------------------------------------------------------------ one check

    async def _check(self, target: CheckTarget) -> None:
        """Do the step that is due for an instance: probe it, expire its lease or remove it; then schedule the next step."""
        record = self._node.catalog.records.get(target.id)
        if record is None:
            return
        settings = record.settings
        step = self._next_step(target, settings.lease)
        if step is NextStep.FORGET:
            if await self._forget(target):
                return
            step = self._next_step(target, settings.lease)  # Redis is down: keep it, and check it meanwhile
        now = trio.current_time()
        match step:
            case NextStep.PROBE:
                async with self._slots(target):
                    await self._probe(target, record)
            case NextStep.START_LEASE:
                await self._store_or_retry(target, after_renewal(target.health, settings, now), "registered")
            case NextStep.EXTEND_LEASE:
                target.health = replace(target.health, due=now + settings.lease)
            case NextStep.EXPIRE_LEASE:
                health = after_expiry(target.health, settings, now)
                await self._store_or_retry(target, health, f"no renewal within {settings.lease:g} s")
        self._release(target)

    def _next_step(self, target: CheckTarget, lease: float) -> NextStep:
        now = trio.current_time()
        # During a pause of this process renewals could not arrive, so the lease of that time does not count.
        was_paused = target.is_ttl and (bool(self._tick()) or self._pauses.overlaps_pause(now - lease))
        return next_step(
            target.health,
            now,
            is_ttl=target.is_ttl,
            has_result=target.first_result.is_set(),
            was_paused=was_paused,
        )

    def _slots(self, target: CheckTarget) -> trio.CapacityLimiter:
        if target.health.state is CheckState.PASSING:
            return self._passing_slots
        return self._other_slots if target.first_result.is_set() else self._first_slots

    def _release(self, target: CheckTarget) -> None:
        """End the check of an instance: mark it as not busy, and schedule its next check if this node still owns it."""
        target.busy = False
        target.idle.set()
        target.idle = trio.Event()
        target.first_result.set()
        record = self._node.catalog.records.get(target.id)
        if self._targets.get(target.id) is not target or record is None:
            return
        renewed_at, target.renewed_at = target.renewed_at, None
        if renewed_at is None:
            self._schedule(target)
        else:
            self._renew(target, record, renewed_at)

    async def _probe(self, target: CheckTarget, record: Record) -> None:
        result = await self._prober.probe(target.url, record.settings.timeout)
        # Replaced, removed or another node's by now: storing the result could make a dead instance discoverable again.
        if self._targets.get(target.id) is not target:
            return
        before, now = target.health, trio.current_time()
        if self._tick() or self._pauses.overlaps_pause(result.started):
            target.health = replace(before, due=now)  # the probe measured the pause of this process: probe again
            return
        self.probes.record(record.instance.name, result.outcome.value, result.seconds)
        if result.outcome is Outcome.UNKNOWN:
            target.health = after_probe(before, result, record.settings, now, jitter=random.random())
            if not self._logs_unknown:
                LOGGER.warning("cannot probe %s: %s — its state stays as it is", record.instance.name, result.output)
            self._logs_unknown = True
            return
        self._logs_unknown = False
        self._node.catalog.record_probe(target.id, time.time(), result.output)
        extra_timeouts = 0
        if before.state is CheckState.PASSING:
            timed_out = result.outcome is Outcome.TIMEOUT
            self.mass_failures.record(target.id, result.started, timed_out=timed_out)
            extra_timeouts = self.mass_failures.extra_timeouts(now, len(self._targets))
            if timed_out and not before.timeouts:
                self._probe_others_now()
        health = after_probe(
            before, result, record.settings, now, jitter=random.random(), extra_timeouts=extra_timeouts
        )
        health = replace(health, due=self._rate.next_probe_at(health, record.settings, now))
        await self._store_or_retry(target, health, result.output)
        if target.health.state is not CheckState.PASSING:
            self.mass_failures.forget(target.id)
            self.mass_failures.extra_timeouts(trio.current_time(), len(self._targets))  # the failure may be over

    async def _store_or_retry(self, target: CheckTarget, health: Health, output: str) -> None:
        """Store the new health; while Redis is down keep the old one, and check again soon."""
        try:
            await self._store(target, health, output)
        except Unavailable:
            target.health = replace(target.health, due=trio.current_time() + STORE_RETRY_S)

    async def _store(self, target: CheckTarget, health: Health, output: str) -> None:
        """Store a new state, then set the target's health. Raises Unavailable; the health is the old one then."""
        record = self._node.catalog.records.get(target.id)
        if record is None or record.instance.incarnation != target.incarnation:
            return
        name = record.instance.name
        if record.check_state is not health.state:
            await self._node.update(target.id, target.incarnation, set_state(health.state, output))
            lines = output.strip().splitlines()
            LOGGER.info("%s %s is %s: %s", name, target.id, health.state, lines[0][:200] if lines else "")
        elif should_report(health, record.instance.output, output):
            with contextlib.suppress(Unavailable):  # the next probe reports it again
                await self._node.update(target.id, target.incarnation, set_output(output))
        target.health = health

    async def _forget(self, target: CheckTarget) -> bool:
        """Remove an instance that has been absent for too long; return whether it is removed."""
        try:
            await self._node.remove(target.id, target.incarnation)
        except Unavailable:
            target.health = replace(target.health, forget_at=trio.current_time() + STORE_RETRY_S)
            return False
        LOGGER.info("%s is removed: it did not pass for too long (ForgetAfter)", target.id)
        return True

    # ------------------------------------------------------------ faults of this node

    def _probe_others_now(self) -> None:
        """Probe other passing instances at once, so that a mass failure is known before the first is marked critical."""
        now = trio.current_time()
        others = [
            target
            for target in self._targets.values()
            if target.health.state is CheckState.PASSING and not target.busy and target.health.due > now + TICK_S
        ]
        for target in random.sample(others, min(len(others), MAX_CROSS_CHECKS)):
            if not target.is_ttl:
                target.health = replace(target.health, due=now)
                self._schedule(target)

    def _tick(self) -> float:
        gap = self._pauses.tick(trio.current_time(), _boottime())
        if gap:
            LOGGER.warning("this registry was paused for %.1f s; results of probes from before are ignored", gap)
        return gap


def _forget_in(record: Record) -> float:
    """Return how many seconds an absent instance has left, by the wall clock."""
    return min(record.settings.forget_after, record.instance.since + record.settings.forget_after - time.time())


def _boottime() -> float:
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
