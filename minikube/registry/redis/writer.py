"""The writer thread (floor 3): connect, agree with the store, then batches and heartbeats. It blocks; trio does not.

Agreeing (`_agree`) is the heart of surviving Redis: the store's line of history (its epoch) and ours are compared.

- the store's is newer: another registry began it; we become what it says, and write again what only we knew
- it is ours and has all that we have: we take what is new in it
- it is older, empty, or ours but set back: we begin a new epoch with everything we remember
"""

import contextlib
import logging
import os
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from minikube.model import ChangeKind
from minikube.registry.catalog.catalog import Snapshot
from minikube.registry.catalog.records import Epoch, Keys, Record
from minikube.registry.redis.commands import RedisCommands
from minikube.registry.redis.connect import RedisConnector
from minikube.registry.redis.gateway import (
    ANSWER_TIMEOUT_S,
    MAX_BATCH,
    RETRY_S,
    TICK_S,
    CatalogDump,
    Pending,
    RedisGateway,
)
from minikube.registry.redis.replies import judge_answers, judge_confirmed, tell
from minikube.registry.redis.types import Heartbeat, Write
from minikube.text import mask_url

LOGGER = logging.getLogger("minikube.registry")

MAX_ATTEMPTS = 4
CONFIRM_MARGIN_S = 0.3
"""WAIT answers so much before the connection's own time-out."""
LOST = (RedisConnectionError, RedisTimeoutError, OSError)


class Writer:
    """One thread's state; nothing of it is seen by another."""

    def __init__(self, store: RedisGateway) -> None:
        self._store = store
        self._keys = Keys(store.prefix)
        self._dialer = RedisConnector(store.url)
        self._speaker: RedisCommands | None = None
        self._next_tick = 0.0
        self._clock = (0.0, 0.0)
        """Redis's clock and our monotonic one, at the last heartbeat."""
        self._behind = False
        self._tries = 0
        self._misplaced = False
        """One of our keys is of another type: until it is gone there is no store, whatever else works."""
        self._replicas = 0
        """How many must confirm a write before it is answered."""

    def run(self) -> None:
        """Until the store is stopped."""
        store = self._store
        while not store.stopping:
            if self._speaker is None and not self._connect():
                self._wait(RETRY_S[min(self._tries, len(RETRY_S) - 1)])
                self._tries += 1
                self._drop_late()
                continue
            if not (store.queue or store.sync_wanted or store.beat_wanted):
                self._wait(self._next_tick - time.monotonic())
            self._step()
        if self._speaker is not None:
            with contextlib.suppress(RedisError, OSError):
                self._speaker.forget_nodes([store.node])
            self._speaker.close()

    def _step(self) -> None:
        """Whatever is due, and what every failure of it means."""
        store = self._store
        batch = [store.queue.popleft() for _ in range(min(len(store.queue), MAX_BATCH))]
        try:
            if store.sync_wanted:
                store.sync_wanted = False
                self._agree()
            if batch:
                self._write(batch)
            if store.beat_wanted or time.monotonic() >= self._next_tick:
                store.beat_wanted = False
                self._beat()
        except LOST as error:
            self._lost(error)
        except RedisError as error:
            # Redis is there and refuses: no disk, no memory, read-only, no permission. The heartbeat, a write,
            # tells when it is over.
            store.say("down", self._explain(error))
            if isinstance(error, ReadOnlyError):
                self._drop()
            self._next_tick = time.monotonic() + RETRY_S[-1]
        finally:
            self._settle(batch)

    def _settle(self, batch: Sequence[Pending]) -> None:
        """Every write of a batch is answered, or waits again while it has time."""
        now = time.monotonic()
        again = [one for one in batch if not one.answer[0] and not one.failure]
        for one in reversed(again):
            one.attempts += 1
            if one.deadline > now and one.attempts < MAX_ATTEMPTS:
                self._store.queue.appendleft(one)
            else:
                one.failure = self._store.unavailable()
        self._store.finish([one for one in batch if one.answer[0] or one.failure])

    # ------------------------------------------------------------ connecting

    def _connect(self) -> bool:
        store = self._store
        try:
            speaker = RedisCommands(self._dialer.open(ANSWER_TIMEOUT_S), self._keys)
            self._speaker = speaker
            speaker.load_scripts()
            self._replicas = speaker.confirmations()
            self._agree()
            self._beat()
        except LOST as error:
            self._lost(error)
            return False
        except RedisError as error:
            store.say("down", self._explain(error))
            self._drop()
            return False
        self._tries = 0
        return True

    def _explain(self, error: RedisError) -> str:
        """What Redis refuses, in one line; a wrong type names the key that has it."""
        told = ""
        if isinstance(error, ResponseError) and self._speaker is not None:
            with contextlib.suppress(*LOST, RedisError):
                told = self._speaker.misplaced()
        self._misplaced = bool(told)
        return told or tell(error)

    def _lost(self, error: Exception) -> None:
        detail = tell(error)
        if isinstance(error, RedisTimeoutError | TimeoutError):
            detail = f"Redis did not answer within {ANSWER_TIMEOUT_S:g} s"
        self._store.say("down", f"{detail} ({mask_url(self._store.url)})")
        self._drop()

    def _drop(self) -> None:
        if self._speaker is not None:
            self._speaker.close()
            self._speaker = None

    def _wait(self, seconds: float) -> None:
        store = self._store
        with store.wake:
            if not store.stopping and (
                self._speaker is None or not (store.queue or store.sync_wanted or store.beat_wanted)
            ):
                store.wake.wait(max(0.001, seconds))

    def _drop_late(self) -> None:
        """Not connected: answer those whose time is over."""
        now = time.monotonic()
        late: list[Pending] = []
        waiting: list[Pending] = []
        while self._store.queue:
            one = self._store.queue.popleft()
            (late if one.deadline <= now else waiting).append(one)
        self._store.queue.extendleft(reversed(waiting))
        for one in late:
            one.failure = self._store.unavailable()
        self._store.finish(late)

    # ------------------------------------------------------------ agreeing

    def _agree(self) -> None:
        speaker, store = self._speaker, self._store
        assert speaker is not None
        for _ in range(8):
            broken: list[str] = []
            snapshot = speaker.load(broken)
            for line in broken:
                LOGGER.warning("store: unreadable and left out: %s", line)
            memory: CatalogDump = store.ask(store.owner.memory)
            if snapshot.epoch > memory.mark.epoch or (snapshot.epoch and _has_all(snapshot, memory)):
                lost = _only_ours(snapshot, memory)
                store.ask(partial(store.owner.adopt, snapshot, lost))
                store.cursor = max(store.cursor, snapshot.revision)
                store.loaded.set()
                self._behind = False
                return
            new = Epoch(max(snapshot.epoch.n, memory.mark.epoch.n) + 1, os.urandom(8).hex(), memory.mark.revision)
            if speaker.restore(snapshot.epoch, new, memory.records, memory.tombs) and memory.mark.epoch:
                LOGGER.warning("store: Redis had lost its data; %d registrations are put back", len(memory.records))
        raise RedisConnectionError("several registries restore the store at once")

    # ------------------------------------------------------------ heartbeat

    def _beat(self) -> None:
        speaker, store = self._speaker, self._store
        assert speaker is not None
        self._next_tick = time.monotonic() + TICK_S
        if self._misplaced and speaker.misplaced():
            return
        self._misplaced = False
        if self._dialer.moved():
            raise RedisConnectionError("the sentinels name another master")
        mark = store.ask(store.owner.mark)
        before = time.monotonic()
        tick = speaker.tick(store.node, mark.revision, leases=store.share_leases)
        self._clock = (tick.clock, (before + time.monotonic()) / 2)
        if _differs(tick, mark) or (mark.behind and self._behind):
            self._agree()
        self._behind = mark.behind
        store.say("ok")
        lost = store.ask(partial(store.owner.ticked, tick))
        if lost:
            speaker.forget_nodes(lost)

    # ------------------------------------------------------------ writing

    def _write(self, batch: Sequence[Pending]) -> None:
        speaker, store = self._speaker, self._store
        assert speaker is not None
        now = time.monotonic()
        for one in batch:
            if one.deadline <= now:
                one.failure = store.unavailable()
        live = [one for one in batch if not one.failure]
        mark = store.ask(store.owner.mark)
        commands = [self._command(speaker, one, mark.epoch.id, mark.revision) for one in live]
        verdict = None
        if live and self._replicas:
            *answers, confirmed = speaker.ask([*commands, self._wait_command(live)])
            verdict = judge_confirmed(len(live), confirmed, self._replicas)
        else:
            answers = speaker.ask(commands)
        verdict = verdict or judge_answers(answers)
        for one, outcome in zip(live, verdict.outcomes, strict=True):
            one.answer, one.failure = outcome.answer, outcome.failure
        if verdict.forgotten:
            speaker.load_scripts()
        if verdict.refused is not None:
            raise verdict.refused
        if verdict.diverged:
            self._agree()
        elif verdict.late:
            self._beat()

    def _wait_command(self, live: Sequence[Pending]) -> Any:
        left = min(max(one.deadline for one in live) - time.monotonic(), ANSWER_TIMEOUT_S - CONFIRM_MARGIN_S)
        return ("WAIT", self._replicas, max(1, int(left * 1000)))

    def _command(self, speaker: RedisCommands, one: Pending, epoch: str, known: int) -> Any:
        if isinstance(one.op, str):
            return speaker.renewed(one.op) if one.op else speaker.revision_command()
        theirs, ours = self._clock
        return speaker.commit_command(one.op, epoch, known, theirs + (one.deadline - ours), one.nonce)


def _differs(tick: Heartbeat, mark: Any) -> bool:
    """Whether the store is not (or no longer) the history that the catalog follows."""
    if tick.epoch != mark.epoch.id or tick.revision < mark.revision:
        return True
    if mark.nonce and tick.nonce != mark.nonce:
        return True
    return bool(tick.revision == mark.revision and tick.registrations != mark.registrations)


def _has_all(snapshot: Snapshot, memory: CatalogDump) -> bool:
    """Whether the snapshot, of our own epoch, contains everything up to our revision."""
    mark = memory.mark
    if snapshot.epoch != mark.epoch or snapshot.revision < mark.revision:
        return False
    if snapshot.revision == mark.revision:
        stored = {record.id for record in snapshot.records}
        known = {record.id for record in memory.records}
        return stored == known and not (mark.nonce and snapshot.nonce and snapshot.nonce != mark.nonce)
    if mark.nonce and mark.revision > snapshot.floor:
        return any(entry.revision == mark.revision and entry.nonce == mark.nonce for entry in snapshot.log)
    return True


def _only_ours(snapshot: Snapshot, memory: CatalogDump) -> list[Write]:
    """What we knew and the one who began the next epoch did not: to be written again."""
    if not memory.mark.epoch or snapshot.epoch.n != memory.mark.epoch.n + 1:
        return []
    stored = {record.id: record for record in snapshot.records}
    last: dict[str, tuple[ChangeKind, Record]] = {}
    for entry in memory.log:
        if entry.revision > snapshot.epoch.floor:
            last[entry.record.id] = (entry.kind, entry.record)
    ops = []
    for id_, (kind, record) in last.items():
        there = stored.get(id_)
        if kind is ChangeKind.PUT and (there is None or there.revision < record.revision):
            ops.append(Write(kind, record, there.revision if there else 0, there))
        elif kind is ChangeKind.GONE and there is not None and there.revision <= snapshot.epoch.floor:
            ops.append(Write(kind, there, there.revision, there))
    return ops
