"""The check scheduler in virtual time: when instances are probed, which states are stored, and what removes an instance."""

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
from minikube.registry.catalog.catalog import Catalog
from minikube.registry.catalog.records import Entry, Epoch, Record, StoreSnapshot
from minikube.registry.checks import scheduler as module
from minikube.registry.checks.scheduler import CheckScheduler
from minikube.registry.node import RegistryNode

PASS, FAIL, TIMEOUT, UNKNOWN = Outcome
DEFAULT = ProbeSettings()


class OwnsAll:
    """A `LiveNodes` in which this node owns every instance."""

    def owns(self, id_: str) -> bool:
        return True


class MemoryNode:
    """A node with this object as its store: it writes after `write_s` seconds, unless `is_down`."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.catalog = Catalog()
        self.catalog.apply_snapshot(StoreSnapshot(Epoch(1, "first", 0), 0, "", (), (), 0))
        self.live_nodes = OwnsAll()
        self.is_down = False
        self.write_s = 0.0

    def on_shard_change(self, callback: Callable[[], None]) -> None:
        pass

    def on_renewal(self, callback: Callable[[str], None]) -> None:
        pass

    def register(self, id_: str, settings: ProbeSettings = DEFAULT, check: str = "http://127.0.0.1/") -> None:
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
        self.catalog.apply(Entry(revision, ChangeKind.PUT, replace(record, instance=stamped)))

    async def update(self, id_: str, incarnation: int, change: Callable[[Record], Record | None]) -> Record | None:
        await trio.sleep(self.write_s)
        old = self.catalog.records.get(id_)
        if self.is_down:
            raise Unavailable("store unavailable")
        if old is None or old.instance.incarnation != incarnation:
            return None
        if (new := change(old)) is not None:
            self._put(new)
        return self.catalog.records[id_]

    async def remove(self, id_: str, incarnation: int | None = None) -> bool:
        await trio.sleep(self.write_s)
        record = self.catalog.records[id_]
        self.catalog.apply(Entry(self.catalog.revision + 1, ChangeKind.GONE, record))
        return True

    def state(self, id_: str) -> str:
        record = self.catalog.records.get(id_)
        return str(record.instance.state) if record else "unknown"


class Story:
    """Instances with the outcomes of their probes, the times at which they were probed, and a scheduler."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.node = MemoryNode(nursery)
        self.scheduler = CheckScheduler(cast(RegistryNode, self.node))
        self.outcomes: dict[str, Outcome] = {}
        self.probed: dict[str, list[float]] = {}
        self.scheduler._prober = cast(Any, self)
        self.max_idle = 0

    async def probe(self, url: str, timeout: float) -> ProbeResult:
        id_ = url.rpartition("/")[2]
        started = trio.current_time()
        self.probed.setdefault(id_, []).append(started)
        outcome = self.outcomes.get(id_, PASS)
        await trio.sleep(timeout if outcome is TIMEOUT else 0.001)
        return ProbeResult(outcome, str(outcome), started, trio.current_time())

    def remember(self, url: str) -> None:
        pass

    def forget(self, url: str) -> None:
        pass

    def register(self, *ids: str, settings: ProbeSettings = DEFAULT) -> None:
        for id_ in ids:
            self.node.register(id_, settings)

    def states(self, *ids: str) -> set[str]:
        return {self.node.state(id_) for id_ in ids}


@pytest.fixture
def clock(autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch) -> trio.testing.MockClock:
    """Virtual time, also for the pause detector: real time must not look like a pause."""
    monkeypatch.setattr(module, "_boottime", trio.current_time)
    return autojump_clock


@asynccontextmanager
async def scheduling() -> AsyncIterator[Story]:
    async with trio.open_nursery() as nursery:
        story = Story(nursery)
        nursery.start_soon(story.scheduler.watch_pauses)
        nursery.start_soon(story.scheduler.run)
        yield story
        nursery.cancel_scope.cancel()


async def test_probes_that_cannot_be_made_change_nothing_and_are_tried_again_soon(
    clock: trio.testing.MockClock,
) -> None:
    """A registry without a free descriptor removes no instance."""
    async with scheduling() as story:
        story.register("a-1", "a-2", "a-3")
        await trio.sleep(1)
        story.outcomes = dict.fromkeys(("a-1", "a-2", "a-3"), UNKNOWN)
        await trio.sleep(60)
        assert story.states("a-1", "a-2", "a-3") == {"passing"}
        assert not story.scheduler.mass_failures.current
        assert {record.instance.output for record in story.node.catalog.records.values()} == {"pass"}
        assert len(story.probed["a-1"]) > 40
        story.outcomes = {"a-1": FAIL}
        await trio.sleep(6)
        assert [story.node.state(name) for name in ("a-1", "a-2", "a-3")] == ["critical", "passing", "passing"]


async def test_probes_come_every_five_seconds_give_or_take_ten_percent(clock: trio.testing.MockClock) -> None:
    async with scheduling() as story:
        story.register(*[f"web-{number}" for number in range(50)])
        await trio.sleep(60)
        gaps = [b - a for times in story.probed.values() for a, b in itertools.pairwise(times)]
        assert 4.5 <= min(gaps) < 4.7
        assert 5.3 < max(gaps) <= 5.51
        assert story.states(*story.probed) == {"passing"}


async def test_probes_come_sooner_until_the_first_pass(clock: trio.testing.MockClock) -> None:
    async with scheduling() as story:
        story.outcomes["web-1"] = FAIL
        story.register("web-1")
        await trio.sleep(4)
        assert story.states("web-1") == {"starting"}
        times = story.probed["web-1"]
        assert [round(b - a, 2) for a, b in itertools.pairwise(times)] == [0.25, 1.0, 1.0, 1.0]


async def test_a_failure_counts_at_once_and_a_timeout_is_probed_again(clock: trio.testing.MockClock) -> None:
    async with scheduling() as story:
        story.register("bad-1", "slow-1")
        await trio.sleep(1)
        story.outcomes |= {"bad-1": FAIL, "slow-1": TIMEOUT}
        probes = len(story.probed["slow-1"])
        await trio.sleep(5.6)
        assert story.states("bad-1") == {"critical"}
        await trio.sleep(2 * DEFAULT.timeout + 1 - 0.6)
        assert story.states("slow-1") == {"critical"}, "within 5 s, two time-outs and 1 s"
        assert len(story.probed["slow-1"]) - probes >= 2
        story.outcomes.clear()
        await trio.sleep(1.1 + DEFAULT.timeout)
        assert story.states("bad-1", "slow-1") == {"passing"}


async def test_the_thresholds_of_a_registration_are_kept(clock: trio.testing.MockClock) -> None:
    async with scheduling() as story:
        story.register("web-1", settings=ProbeSettings(failures=3, successes=3, interval=1.0))
        await trio.sleep(0.5)
        story.outcomes["web-1"] = FAIL
        before = len(story.probed["web-1"])
        while story.states("web-1") == {"passing"}:
            await trio.sleep(0.05)
        assert len(story.probed["web-1"]) - before == 3
        story.outcomes.clear()
        before = len(story.probed["web-1"])
        while story.states("web-1") == {"critical"}:
            await trio.sleep(0.05)
        assert len(story.probed["web-1"]) - before == 3


async def test_an_instance_that_stays_absent_is_removed_after_ten_minutes(clock: trio.testing.MockClock) -> None:
    async with scheduling() as story:
        story.register("web-1")
        await trio.sleep(1)
        story.outcomes["web-1"] = FAIL
        await trio.sleep(600)
        assert story.states("web-1") == {"critical"}
        await trio.sleep(7)
        assert story.states("web-1") == {"unknown"}
        probes = len(story.probed["web-1"])
        await trio.sleep(30)
        assert len(story.probed["web-1"]) == probes, "and is not probed any more"


async def test_in_a_mass_failure_one_more_answer_keeps_every_instance_passing(clock: trio.testing.MockClock) -> None:
    ids = [f"web-{number}" for number in range(6)]
    async with scheduling() as story:
        story.register(*ids)
        await trio.sleep(10)
        story.outcomes |= dict.fromkeys(ids[:3], TIMEOUT)
        while not story.scheduler.mass_failures.current:
            await trio.sleep(0.05)
        assert "3 of 6" in story.scheduler.mass_failures.current
        assert story.states(*ids) == {"passing"}, "the mass failure is known before an instance is critical"
        story.outcomes.clear()
        await trio.sleep(15)
        assert story.states(*ids) == {"passing"}
        assert story.scheduler.mass_failures.current == ""


async def test_a_mass_failure_that_the_extra_probe_confirms_makes_instances_critical(
    clock: trio.testing.MockClock,
) -> None:
    ids = [f"web-{number}" for number in range(4)]
    async with scheduling() as story:
        story.register(*ids)
        await trio.sleep(10)
        probes = {id_: len(story.probed[id_]) for id_ in ids}
        story.outcomes |= dict.fromkeys(ids, TIMEOUT)
        await trio.sleep(20)
        assert story.states(*ids) == {"critical"}
        for id_ in ids:
            timeouts = [time for time in story.probed[id_][probes[id_] :] if time < story.probed[id_][probes[id_]] + 10]
            assert len(timeouts) >= DEFAULT.timeouts + 1, "one probe more than its time-outs"


@pytest.mark.parametrize(("silent", "of"), [(2, 2), (3, 7)])
async def test_timeouts_of_few_instances_are_no_mass_failure(
    clock: trio.testing.MockClock, silent: int, of: int
) -> None:
    ids = [f"web-{number}" for number in range(of)]
    async with scheduling() as story:
        story.register(*ids)
        await trio.sleep(10)
        story.outcomes |= dict.fromkeys(ids[:silent], TIMEOUT)
        for _ in range(400):
            assert not story.scheduler.mass_failures.current
            await trio.sleep(0.05)
        assert story.states(*ids[:silent]) == {"critical"}


async def test_failures_are_no_mass_failure(clock: trio.testing.MockClock) -> None:
    ids = [f"web-{number}" for number in range(8)]
    async with scheduling() as story:
        story.register(*ids)
        await trio.sleep(10)
        story.outcomes |= dict.fromkeys(ids, FAIL)
        await trio.sleep(6)
        assert story.states(*ids) == {"critical"}
        assert story.scheduler.mass_failures.current == ""


@pytest.mark.parametrize("pause", [1.5, 8.0, 3600.0])
async def test_a_pause_of_the_registry_makes_no_instance_critical(clock: trio.testing.MockClock, pause: float) -> None:
    """This holds also for an instance with `timeouts` 1, and for a lease that ended during the pause."""
    async with scheduling() as story:
        story.register("web-1", "web-2", settings=ProbeSettings(timeouts=1, interval=0.5))
        story.node.register("lease-1", ProbeSettings(lease=3.0), "ttl:")
        await trio.sleep(2)
        story.scheduler.renew("lease-1")
        revision = story.node.catalog.revision
        for _ in range(20):
            story.outcomes |= {"web-1": TIMEOUT, "web-2": TIMEOUT}  # these probes are under way when the pause begins
            await trio.sleep(0.7)
            story.outcomes.clear()
            clock.jump(pause)
            await trio.sleep(0.8)
            story.scheduler.renew("lease-1")
            await trio.sleep(0.3)
        assert story.node.catalog.revision == revision


async def test_a_flood_of_probes_has_a_bound_and_delays_no_other_instance(clock: trio.testing.MockClock) -> None:
    async with scheduling() as story:
        evil = [f"evil-{number}" for number in range(300)]
        story.outcomes |= dict.fromkeys(evil, FAIL)
        story.register("web-1")
        story.register(*evil, settings=ProbeSettings(interval=0.05))
        await trio.sleep(5.6)
        assert 1 < len(story.probed["web-1"]) <= 3
        made = sum(len(story.probed[id_]) for id_ in evil)
        assert PROBES_PER_S < made < PROBES_PER_S * 5.6 + len(evil), "6,000 a second were asked for"


async def test_a_renewal_while_its_expiry_is_stored_counts(clock: trio.testing.MockClock) -> None:
    async with scheduling() as story:
        story.node.register("lease-1", ProbeSettings(lease=3.0), "ttl:")
        await trio.sleep(0.5)
        story.node.write_s = 0.5
        await trio.sleep(2.7)
        story.scheduler.renew("lease-1")  # at 3.2: the expiry of 3.0 is stored at 3.5
        await trio.sleep(0.4)
        assert story.node.state("lease-1") == "critical"
        await trio.sleep(0.5)
        assert story.node.state("lease-1") == "passing"
        await trio.sleep(2.0)
        assert story.node.state("lease-1") == "passing", "until three seconds after the renewal"
        await trio.sleep(1.0)
        assert story.node.state("lease-1") == "critical"


@pytest.mark.parametrize("passing", [True, False])
async def test_the_last_report_counts_whatever_is_stored_meanwhile(
    clock: trio.testing.MockClock, passing: bool
) -> None:
    async with scheduling() as story:
        story.node.register("lease-1", ProbeSettings(lease=3.0), "ttl:")
        await trio.sleep(0.5)
        story.node.write_s = 0.5
        if passing:
            await trio.sleep(2.7)  # its expiry is being stored
        else:
            await story.scheduler.report_state("lease-1", False, "no room")
            story.scheduler.renew("lease-1")  # its pass is being stored
            await trio.sleep(0.1)
        await story.scheduler.report_state("lease-1", passing, "reported")
        await trio.sleep(1.5)
        assert story.node.state("lease-1") == ("passing" if passing else "critical")


@pytest.mark.parametrize("passing", [True, False])
async def test_a_report_that_cannot_be_stored_raises_and_changes_nothing(
    clock: trio.testing.MockClock, passing: bool
) -> None:
    async with scheduling() as story:
        story.node.register("lease-1", ProbeSettings(lease=30.0), "ttl:")
        await trio.sleep(0.5)
        await story.scheduler.report_state("lease-1", not passing, "before")
        before = story.node.state("lease-1")
        story.node.is_down = True
        with pytest.raises(Unavailable):
            await story.scheduler.report_state("lease-1", passing, "not stored")
        story.node.is_down = False
        await trio.sleep(5)
        assert story.node.state("lease-1") == before, "a refused report changes nothing"
        await story.scheduler.report_state("lease-1", passing, "stored")
        assert story.node.state("lease-1") == ("passing" if passing else "critical")


async def test_a_state_that_cannot_be_stored_does_not_count(clock: trio.testing.MockClock) -> None:
    async with scheduling() as story:
        story.register("web-1")
        await trio.sleep(1)
        story.node.is_down = True
        story.outcomes["web-1"] = FAIL
        await trio.sleep(30)
        assert story.states("web-1") == {"passing"}
        story.outcomes.clear()
        await trio.sleep(2)
        story.node.is_down = False
        await trio.sleep(30)
        assert story.states("web-1") == {"passing"}, "results from while the store was down do not count later"


async def test_hanging_instances_delay_neither_passing_nor_new_ones(clock: trio.testing.MockClock) -> None:
    async with scheduling() as story:
        story.register("web-1")
        await trio.sleep(1)
        crowd = [f"crowd-{number}" for number in range(600)]
        story.outcomes |= dict.fromkeys(crowd, TIMEOUT)
        story.register(*crowd, settings=ProbeSettings(timeout=20.0))
        await trio.sleep(200)
        times = story.probed["web-1"]
        assert max(b - a for a, b in itertools.pairwise(times)) < 5.6
        story.register("new-1")
        await trio.sleep(0.1)
        assert story.states("new-1") == {"passing"}


async def test_a_report_while_its_instance_is_being_forgotten_is_answered(clock: trio.testing.MockClock) -> None:
    async with scheduling() as story:
        story.node.register("lease-1", ProbeSettings(lease=1.0, forget_after=2.0), "ttl:")
        await trio.sleep(0.1)
        assert await story.scheduler.report_state("lease-1", False, "no room")
        story.node.write_s = 0.5
        await trio.sleep(2.1)
        assert story.node.state("lease-1") == "critical", "its removal is under way"
        with trio.fail_after(1):
            assert not await story.scheduler.report_state("lease-1", True, "too late")
        assert story.node.state("lease-1") == "unknown"
        assert not await story.scheduler.report_state("lease-1", True, "too late")


async def test_a_report_for_an_instance_that_is_replaced_meanwhile_is_answered(clock: trio.testing.MockClock) -> None:
    async with scheduling() as story:
        settings = ProbeSettings(lease=60.0)
        story.node.register("lease-1", settings, "ttl:")
        await trio.sleep(0.1)
        story.node.write_s = 1.0
        reports: list[bool] = []

        async def report(is_passing: bool) -> None:
            reports.append(await story.scheduler.report_state("lease-1", is_passing, "reported"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(report, False)
            await trio.sleep(0.1)
            nursery.start_soon(report, True)
            await trio.sleep(0.1)
            story.node.register("lease-1", settings, "ttl:")
        assert reports == [False, True] or reports == [True, False]


async def test_renewals_and_registrations_do_not_fill_the_memory(clock: trio.testing.MockClock) -> None:
    async with scheduling() as story:
        settings = ProbeSettings(lease=600.0)
        for number in range(3):
            story.node.register(f"lease-{number}", settings, "ttl:")
        await trio.sleep(0.1)
        for _ in range(3_000):
            story.scheduler.renew("lease-0")
            story.scheduler.renew("lease-1")
            story.node.register("lease-2", settings, "ttl:")
        assert len(story.scheduler._heap) < 2 * module.MIN_COMPACTION
        await trio.sleep(600 - 1)
        assert story.states("lease-0", "lease-1", "lease-2") == {"passing"}
        await trio.sleep(2)
        assert story.states("lease-0", "lease-1", "lease-2") == {"critical"}, "each lease still ends in time"


async def test_a_registry_probes_no_link_local_address() -> None:
    async with trio.open_nursery() as nursery:
        scheduler = CheckScheduler(cast(RegistryNode, MemoryNode(nursery)))
        result = await scheduler._prober.probe("http://2852039166/", 5)
    assert (result.outcome, result.output) == (FAIL, "not probed: 2852039166 is 169.254.169.254, a link-local address")
