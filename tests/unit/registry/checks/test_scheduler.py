"""The judge in virtual time: who is asked when, what is written, whom silence removes, whom nothing does."""

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from minikube.errors import Unavailable
from minikube.health.rate_limit import PROBES_PER_S
from minikube.health.state import Outcome, ProbeResult, ProbeSettings
from minikube.model import Address, ChangeKind, CheckState, Instance
from minikube.registry.catalog.catalog import Catalog, Snapshot
from minikube.registry.catalog.records import Entry, Epoch, Record
from minikube.registry.checks import scheduler as module
from minikube.registry.checks.scheduler import CheckScheduler
from minikube.registry.node import Node

PASS, FAIL, TIMEOUT = Outcome
USUAL = ProbeSettings()


class Everything:
    """All instances are this node's."""

    def mine(self, id_: str) -> bool:
        return True


class MemoryNode:
    """A node whose store is this object: it writes at once, unless `away`."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.catalog = Catalog()
        self.catalog.adopt(Snapshot(Epoch(1, "first", 0), 0, "", (), (), 0))
        self.nodes = Everything()
        self.reshared: Callable[[], None] = lambda: None
        self.leased: Callable[[str], None] = lambda _: None
        self.away = False
        self.write_s = 0.0

    def register(self, id_: str, settings: ProbeSettings = USUAL, check: str = "http://127.0.0.1/") -> None:
        instance = Instance(
            id_,
            id_.partition("-")[0],
            Address("127.0.0.1", 80),
            f"{check}{id_}" if check != "ttl:" else check,
            CheckState.STARTING,
        )
        self._put(Record(instance, settings), new=True)

    def _put(self, record: Record, *, new: bool = False) -> None:
        revision = self.catalog.revision + 1
        incarnation = revision if new else record.instance.incarnation
        stamped = replace(record.instance, revision=revision, incarnation=incarnation)
        self.catalog.offer(Entry(revision, ChangeKind.PUT, replace(record, instance=stamped)))

    async def update(self, id_: str, incarnation: int, change: Callable[[Record], Record | None]) -> Record | None:
        await trio.sleep(self.write_s)
        old = self.catalog.records.get(id_)
        if self.away:
            raise Unavailable("store unavailable")
        if old is None or old.instance.incarnation != incarnation:
            return None
        if (new := change(old)) is not None:
            self._put(new)
        return self.catalog.records[id_]

    async def remove(self, id_: str, incarnation: int | None = None) -> bool:
        await trio.lowlevel.checkpoint()
        record = self.catalog.records[id_]
        self.catalog.offer(Entry(self.catalog.revision + 1, ChangeKind.GONE, record))
        return True

    def state(self, id_: str) -> str:
        record = self.catalog.records.get(id_)
        return str(record.instance.state) if record else "unknown"


class Story:
    """What the instances answer, when they were asked, and what the judge made of it."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.node = MemoryNode(nursery)
        self.judge = CheckScheduler(cast(Node, self.node))
        self.answers: dict[str, Outcome] = {}
        self.asked: dict[str, list[float]] = {}
        self.judge._prober = cast(Any, self)
        self.keep = 0

    async def probe(self, url: str, timeout: float) -> ProbeResult:
        id_ = url.rpartition("/")[2]
        began = trio.current_time()
        self.asked.setdefault(id_, []).append(began)
        outcome = self.answers.get(id_, PASS)
        await trio.sleep(timeout if outcome is TIMEOUT else 0.001)
        return ProbeResult(outcome, str(outcome), began, trio.current_time())

    def forget(self, url: str) -> None:
        pass

    def register(self, *ids: str, settings: ProbeSettings = USUAL) -> None:
        for id_ in ids:
            self.node.register(id_, settings)

    def states(self, *ids: str) -> set[str]:
        return {self.node.state(id_) for id_ in ids}


@pytest.fixture
def clock(autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch) -> trio.testing.MockClock:
    """Virtual time, the machine's own included: real time must not look like a pause."""
    monkeypatch.setattr(module, "_boottime", trio.current_time)
    return autojump_clock


@asynccontextmanager
async def judging() -> AsyncIterator[Story]:
    async with trio.open_nursery() as nursery:
        story = Story(nursery)
        nursery.start_soon(story.judge.beat)
        nursery.start_soon(story.judge.run)
        yield story
        nursery.cancel_scope.cancel()


async def test_probes_come_every_five_seconds_give_or_take_ten_percent(clock: trio.testing.MockClock) -> None:
    async with judging() as story:
        story.register(*[f"web-{number}" for number in range(50)])
        await trio.sleep(60)
        gaps = [b - a for times in story.asked.values() for a, b in itertools.pairwise(times)]
        assert 4.5 <= min(gaps) < 4.7
        assert 5.3 < max(gaps) <= 5.51
        assert story.states(*story.asked) == {"passing"}


async def test_sooner_until_the_first_pass_and_after_a_failure(clock: trio.testing.MockClock) -> None:
    async with judging() as story:
        story.answers["web-1"] = FAIL
        story.register("web-1")
        await trio.sleep(4)
        assert story.states("web-1") == {"starting"}
        times = story.asked["web-1"]
        assert [round(b - a, 2) for a, b in itertools.pairwise(times)] == [0.25, 1.0, 1.0, 1.0]


async def test_the_services_own_word_counts_at_once_and_doubt_is_asked_once_more(clock: trio.testing.MockClock) -> None:
    async with judging() as story:
        story.register("bad-1", "slow-1")
        await trio.sleep(1)
        story.answers |= {"bad-1": FAIL, "slow-1": TIMEOUT}
        asked = len(story.asked["slow-1"])
        await trio.sleep(5.6)
        assert story.states("bad-1") == {"critical"}
        await trio.sleep(2 * USUAL.timeout + 1 - 0.6)
        assert story.states("slow-1") == {"critical"}, "within 5 s, two time-outs and 1 s"
        assert len(story.asked["slow-1"]) - asked >= 2
        story.answers.clear()
        await trio.sleep(1.1 + USUAL.timeout)
        assert story.states("bad-1", "slow-1") == {"passing"}


async def test_successes_and_failures_are_counted_as_asked_for(clock: trio.testing.MockClock) -> None:
    async with judging() as story:
        story.register("web-1", settings=ProbeSettings(failures=3, successes=3, interval=1.0))
        await trio.sleep(0.5)
        story.answers["web-1"] = FAIL
        before = len(story.asked["web-1"])
        while story.states("web-1") == {"passing"}:
            await trio.sleep(0.05)
        assert len(story.asked["web-1"]) - before == 3
        story.answers.clear()
        before = len(story.asked["web-1"])
        while story.states("web-1") == {"critical"}:
            await trio.sleep(0.05)
        assert len(story.asked["web-1"]) - before == 3


async def test_who_stays_away_is_forgotten_after_ten_minutes(clock: trio.testing.MockClock) -> None:
    async with judging() as story:
        story.register("web-1")
        await trio.sleep(1)
        story.answers["web-1"] = FAIL
        await trio.sleep(600)
        assert story.states("web-1") == {"critical"}
        await trio.sleep(7)
        assert story.states("web-1") == {"unknown"}
        asked = len(story.asked["web-1"])
        await trio.sleep(30)
        assert len(story.asked["web-1"]) == asked, "and not asked any more"


async def test_general_silence_is_doubted_and_one_more_answer_saves_everyone(clock: trio.testing.MockClock) -> None:
    ids = [f"web-{number}" for number in range(6)]
    async with judging() as story:
        story.register(*ids)
        await trio.sleep(10)
        story.answers |= dict.fromkeys(ids[:3], TIMEOUT)
        while not story.judge.doubt:
            await trio.sleep(0.05)
        assert "3 of 6" in story.judge.doubt
        assert story.states(*ids) == {"passing"}, "doubted before anyone is removed"
        story.answers.clear()
        await trio.sleep(15)
        assert story.states(*ids) == {"passing"}
        assert story.judge.doubt == ""


async def test_general_silence_that_is_confirmed_removes(clock: trio.testing.MockClock) -> None:
    ids = [f"web-{number}" for number in range(4)]
    async with judging() as story:
        story.register(*ids)
        await trio.sleep(10)
        asked = {id_: len(story.asked[id_]) for id_ in ids}
        story.answers |= dict.fromkeys(ids, TIMEOUT)
        await trio.sleep(20)
        assert story.states(*ids) == {"critical"}
        for id_ in ids:
            falls = [time for time in story.asked[id_][asked[id_] :] if time < story.asked[id_][asked[id_]] + 10]
            assert len(falls) >= USUAL.timeouts + 1, "once more than its time-outs"


@pytest.mark.parametrize(("silent", "of"), [(2, 2), (3, 7)])
async def test_the_silence_of_few_is_their_own(clock: trio.testing.MockClock, silent: int, of: int) -> None:
    ids = [f"web-{number}" for number in range(of)]
    async with judging() as story:
        story.register(*ids)
        await trio.sleep(10)
        story.answers |= dict.fromkeys(ids[:silent], TIMEOUT)
        for _ in range(400):
            assert not story.judge.doubt
            await trio.sleep(0.05)
        assert story.states(*ids[:silent]) == {"critical"}


async def test_refusals_are_never_doubted(clock: trio.testing.MockClock) -> None:
    ids = [f"web-{number}" for number in range(8)]
    async with judging() as story:
        story.register(*ids)
        await trio.sleep(10)
        story.answers |= dict.fromkeys(ids, FAIL)
        await trio.sleep(6)
        assert story.states(*ids) == {"critical"}
        assert story.judge.doubt == ""


@pytest.mark.parametrize("pause", [1.5, 8.0, 3600.0])
async def test_a_pause_of_our_own_removes_nobody(clock: trio.testing.MockClock, pause: float) -> None:
    """Not even those whom a single time-out would remove, or whose lease ran out meanwhile."""
    async with judging() as story:
        story.register("web-1", "web-2", settings=ProbeSettings(timeouts=1, interval=0.5))
        story.node.register("lease-1", ProbeSettings(lease=3.0), "ttl:")
        await trio.sleep(2)
        story.judge.renewed("lease-1")
        revision = story.node.catalog.revision
        for _ in range(20):
            story.answers |= {"web-1": TIMEOUT, "web-2": TIMEOUT}  # what is asked now is under way when we stop
            await trio.sleep(0.7)
            story.answers.clear()
            clock.jump(pause)
            await trio.sleep(0.8)
            story.judge.renewed("lease-1")
            await trio.sleep(0.3)
        assert story.node.catalog.revision == revision


async def test_a_flood_of_probes_has_a_bound_and_holds_nobody_up(clock: trio.testing.MockClock) -> None:
    async with judging() as story:
        evil = [f"evil-{number}" for number in range(300)]
        story.answers |= dict.fromkeys(evil, FAIL)
        story.register("web-1")
        story.register(*evil, settings=ProbeSettings(interval=0.05))
        await trio.sleep(5.6)
        assert 1 < len(story.asked["web-1"]) <= 3
        made = sum(len(story.asked[id_]) for id_ in evil)
        assert PROBES_PER_S < made < PROBES_PER_S * 5.6 + len(evil), "6,000 a second were asked for"


async def test_a_renewal_while_its_lapse_is_written_counts(clock: trio.testing.MockClock) -> None:
    async with judging() as story:
        story.node.register("lease-1", ProbeSettings(lease=3.0), "ttl:")
        await trio.sleep(0.5)
        story.node.write_s = 0.5
        await trio.sleep(2.7)
        story.judge.renewed("lease-1")  # at 3.2: the lapse of 3.0 is told at 3.5
        await trio.sleep(0.4)
        assert story.node.state("lease-1") == "critical"
        await trio.sleep(0.5)
        assert story.node.state("lease-1") == "passing"
        await trio.sleep(2.0)
        assert story.node.state("lease-1") == "passing", "until three seconds after the renewal"
        await trio.sleep(1.0)
        assert story.node.state("lease-1") == "critical"


@pytest.mark.parametrize("passing", [True, False])
async def test_the_last_word_counts_whatever_is_written_meanwhile(clock: trio.testing.MockClock, passing: bool) -> None:
    async with judging() as story:
        story.node.register("lease-1", ProbeSettings(lease=3.0), "ttl:")
        await trio.sleep(0.5)
        story.node.write_s = 0.5
        if passing:
            await trio.sleep(2.7)  # its lapse is being written
        else:
            await story.judge.reported("lease-1", False, "no room")
            story.judge.renewed("lease-1")  # its pass is being written
            await trio.sleep(0.1)
        await story.judge.reported("lease-1", passing, "so it is")
        await trio.sleep(1.5)
        assert story.node.state("lease-1") == ("passing" if passing else "critical")


@pytest.mark.parametrize("passing", [True, False])
async def test_who_says_how_it_is_hears_that_it_was_not_stored(clock: trio.testing.MockClock, passing: bool) -> None:
    async with judging() as story:
        story.node.register("lease-1", ProbeSettings(lease=30.0), "ttl:")
        await trio.sleep(0.5)
        await story.judge.reported("lease-1", not passing, "before")
        before = story.node.state("lease-1")
        story.node.away = True
        with pytest.raises(Unavailable):
            await story.judge.reported("lease-1", passing, "not stored")
        story.node.away = False
        await trio.sleep(5)
        assert story.node.state("lease-1") == before, "nothing is made of a word that was refused"
        await story.judge.reported("lease-1", passing, "stored")
        assert story.node.state("lease-1") == ("passing" if passing else "critical")


async def test_a_verdict_that_cannot_be_written_is_not_acted_on(clock: trio.testing.MockClock) -> None:
    async with judging() as story:
        story.register("web-1")
        await trio.sleep(1)
        story.node.away = True
        story.answers["web-1"] = FAIL
        await trio.sleep(30)
        assert story.states("web-1") == {"passing"}
        story.answers.clear()
        await trio.sleep(2)
        story.node.away = False
        await trio.sleep(30)
        assert story.states("web-1") == {"passing"}, "what was judged meanwhile is past"


async def test_who_hangs_holds_up_neither_the_well_nor_the_new(clock: trio.testing.MockClock) -> None:
    async with judging() as story:
        story.register("web-1")
        await trio.sleep(1)
        crowd = [f"crowd-{number}" for number in range(600)]
        story.answers |= dict.fromkeys(crowd, TIMEOUT)
        story.register(*crowd, settings=ProbeSettings(timeout=20.0))
        await trio.sleep(200)
        times = story.asked["web-1"]
        assert max(b - a for a, b in itertools.pairwise(times)) < 5.6
        story.register("new-1")
        await trio.sleep(0.1)
        assert story.states("new-1") == {"passing"}
