"""Keeping the registry's entries in step, in virtual time, against a registry in memory that goes away at any time."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import pytest
import trio
import trio.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from minikube.errors import MinikubeError, NotFound, RemoteError, Unavailable, UsageError
from minikube.model import Address, Change, ChangeKind, CheckState, Instance, Registration
from minikube.sdk.requests import WatchSnapshot
from minikube.sdk.trio import Registry
from minikube.supervisor.readiness.registry_sync import RENEW_S, RegistrySync
from minikube.supervisor.readiness.start_time import StartTime

ID = "0badcafe"


def registration(check: str = "ttl:") -> Registration:
    return Registration("x", Address("127.0.0.1", 80), check, ID)


class FakeRegistry:
    """The part of the SDK's `Registry` that `RegistrySync` uses. `away`: every call fails, and nothing is pushed."""

    def __init__(self) -> None:
        self.away = False
        self.rejection = ""
        self.error_type: Callable[[str], MinikubeError] = partial(RemoteError, -32602)
        self.rejected = 0
        self.held: dict[str, Instance] = {}
        self.calls: list[str] = []
        self.revision = 0
        self.clock = 0.0
        self._watchers: list[trio.MemorySendChannel[WatchSnapshot | Change]] = []

    async def _reply(self, call: str) -> None:
        await trio.sleep(0.001)
        if self.away:
            raise Unavailable("away")
        if self.rejection:
            self.rejected += 1
            raise self.error_type(self.rejection)
        self.calls.append(call)

    def put(self, instance: Instance, kind: ChangeKind = ChangeKind.PUT) -> None:
        self.revision += 1
        if kind is ChangeKind.PUT:
            self.held[instance.uuid] = instance
        else:
            self.held.pop(instance.uuid)
        for watcher in self._watchers:
            watcher.send_nowait(Change(self.revision, kind, instance))

    def replace(self, **fields: Any) -> None:
        """Another client registers the instance's id."""
        self.put(replace(self.held[ID], **{"incarnation": self.revision + 1, **fields}))

    def lose_all(self) -> None:
        """It was killed, and its store emptied."""
        self.held.clear()
        for watcher in self._watchers:
            watcher.send_nowait(WatchSnapshot(self.revision))

    async def register(self, registration: Registration) -> str:
        await self._reply("register")
        assert isinstance(registration.addr, Address)
        self.put(
            Instance(
                registration.uuid,
                registration.name,
                registration.addr,
                registration.health_check,
                CheckState.PASSING,
                incarnation=self.revision + 1,
                registered=self.clock,
            )
        )
        return registration.uuid

    async def deregister(self, id_: str, incarnation: int | None = None) -> bool:
        await self._reply("deregister")
        known = self.held.get(id_)
        if known is None or known.incarnation != incarnation:
            return False
        self.put(known, ChangeKind.GONE)
        return True

    async def renew(self, id_: str, state: str = "", output: str = "", incarnation: int | None = None) -> bool:
        await self._reply(f"renew {state} {output}".strip())
        known = self.held.get(id_)
        if known is None or known.incarnation != incarnation:
            raise NotFound("register again")
        if known.state != state:
            self.put(Instance(id_, known.name, known.addr, "ttl:", CheckState(state), incarnation=known.incarnation))
        return True

    async def instances(self) -> list[Instance]:
        await trio.sleep(0.001)
        if self.away:
            raise Unavailable("away")
        return list(self.held.values())

    @asynccontextmanager
    async def watch(self, name: str) -> AsyncIterator[Any]:
        send, receive = trio.open_memory_channel[WatchSnapshot | Change](1000)
        send.send_nowait(WatchSnapshot(self.revision, tuple(self.held.values())))
        self._watchers.append(send)
        yield receive


class Story:
    """`async with Story() as story`: a `RegistrySync` at work."""

    def __init__(self, is_orphan: Callable[[Instance], bool] = lambda entry: False) -> None:
        self.is_orphan = is_orphan
        self.registry = FakeRegistry()
        self.updates: list[tuple[str, Instance | None]] = []
        self.rejections: list[str] = []
        self.replaced: list[str] = []

    async def __aenter__(self) -> "Story":
        self._manager = trio.open_nursery()
        self.nursery = await self._manager.__aenter__()
        registry, on_entry = cast(Registry, self.registry), lambda *update: self.updates.append(update)
        self.sync = RegistrySync(
            registry, self.nursery, on_entry, self.rejections.append, self.is_orphan, self.replaced.append
        )
        self.nursery.start_soon(self.sync.run)
        await trio.testing.wait_all_tasks_blocked()
        return self

    async def __aexit__(self, *error: Any) -> None:
        self.nursery.cancel_scope.cancel()
        await self._manager.__aexit__(*error)

    def state(self) -> CheckState | None:
        known = self.registry.held.get(ID)
        return known.state if known else None


async def test_a_reported_check_registers_at_its_first_pass_and_is_reported_at_once(autojump_clock: object) -> None:
    async with Story() as story:
        story.sync.report(ID, registration(), False, "not yet")
        await trio.sleep(20)
        assert story.registry.calls == []
        story.sync.report(ID, registration(), True, "fine")
        await trio.sleep(0.1)
        assert story.registry.calls == ["register", "renew passing fine"]
        story.sync.report(ID, registration(), False, "exit 3")
        await trio.sleep(0.1)
        assert (story.state(), story.registry.calls[-1]) == (CheckState.CRITICAL, "renew critical exit 3")
        await trio.sleep(2.5 * RENEW_S)
        assert story.registry.calls[3:] == ["renew critical exit 3"] * 2, "and renewed"


async def test_an_exited_instance_is_deregistered_once_an_absent_registry_is_back(autojump_clock: object) -> None:
    async with Story() as story:
        story.sync.register(ID, registration("tcp://127.0.0.1:80"))
        await trio.sleep(0.1)
        assert story.state() is CheckState.PASSING
        story.registry.away = True
        began = trio.current_time()
        assert await story.sync.deregister(ID), "it was there"
        assert trio.current_time() - began <= 1.1, "a stop does not wait for a registry that is away"
        story.registry.away = False
        await trio.sleep(1)
        assert story.state() is None
        assert not await story.sync.deregister(ID)


async def test_an_entry_of_an_earlier_run_is_removed_and_a_new_entry_is_kept(autojump_clock: object) -> None:
    async with Story() as story:
        story.sync.on_created(ID)
        story.registry.put(Instance(ID, "x", Address("127.0.0.1", 80), "ttl:", CheckState.PASSING, incarnation=1))
        await trio.sleep(0.1)
        assert story.state() is None
        story.sync.on_start(ID, StartTime(-1.0, trio.current_time()))
        story.registry.put(Instance(ID, "x", Address("127.0.0.1", 80), "ttl:", CheckState.PASSING, incarnation=2))
        await trio.sleep(0.1)
        assert story.state() is CheckState.PASSING, "it registered itself"


async def test_an_entry_of_an_earlier_process_is_replaced_however_late_it_is_seen(autojump_clock: object) -> None:
    """The registry answers only after the new process was started: the entry that it still holds has another port."""
    async with Story() as story:
        story.registry.away = True
        story.sync.on_start(ID, StartTime(100.0, trio.current_time()))
        story.sync.register(ID, registration("tcp://127.0.0.1:80"))
        await trio.sleep(1)
        story.registry.away = False
        story.registry.put(Instance(ID, "x", Address("127.0.0.1", 79), "tcp:", CheckState.PASSING, registered=99.0))
        story.registry.clock = 101.0
        await trio.sleep(1)
        assert story.registry.held[ID].addr == Address("127.0.0.1", 80)
        assert story.registry.calls == ["deregister", "register"]
        assert story.replaced == [], "it was the instance's own"


async def test_an_entry_of_an_earlier_process_is_removed_though_the_running_one_is_not_registered(
    autojump_clock: object,
) -> None:
    """The running process has not registered itself yet: lookups must not lead to where the dead one listened."""
    async with Story() as story:
        story.registry.away = True
        story.sync.on_start(ID, StartTime(100.0, trio.current_time()))
        story.registry.away = False
        story.registry.put(Instance(ID, "x", Address("127.0.0.1", 80), "tcp:", CheckState.PASSING, registered=99.0))
        await trio.sleep(1)
        assert story.registry.held == {}


async def test_entries_that_another_run_of_the_project_left_are_removed_and_not_shown(autojump_clock: object) -> None:
    """Also those of replicas that this run does not have."""
    async with Story(is_orphan=lambda entry: entry.uuid == ID) as story:
        story.registry.put(Instance(ID, "x", Address("127.0.0.1", 80), "ttl:", CheckState.PASSING, incarnation=1))
        story.registry.put(Instance("2", "db", Address("127.0.0.1", 81), "ttl:", CheckState.PASSING, incarnation=2))
        await trio.sleep(0.1)
        assert [*story.registry.held] == ["2"]
        assert [id for id, entry in story.updates if entry is not None] == ["2"]


async def test_every_entry_is_shown_again_when_lookups_begin_or_end_to_fail(autojump_clock: object) -> None:
    async with Story() as story:
        for id_ in (ID, "2"):
            story.registry.put(Instance(id_, "x", Address("127.0.0.1", 80), "ttl:", CheckState.PASSING, incarnation=1))
        await trio.sleep(0.1)
        for problem in ("the registry does not answer", "the registry does not answer", ""):
            story.sync.set_lookup_problem(problem)
            assert story.sync.lookup_problem == problem
        assert [id for id, _ in story.updates] == [ID, "2"] * 3


async def test_an_instance_that_registered_itself_during_its_start_stays_registered(autojump_clock: object) -> None:
    async with Story() as story:
        story.sync.on_created(ID)
        story.sync.on_start(ID, StartTime(100.0, trio.current_time()))
        story.registry.put(Instance(ID, "x", Address("127.0.0.1", 80), "tcp:", CheckState.PASSING, registered=100.1))
        await trio.sleep(1)
        assert ID in story.registry.held
        assert story.registry.calls == []


async def test_a_registry_that_lost_its_entries_gets_them_again(autojump_clock: object) -> None:
    async with Story() as story:
        story.sync.register(ID, registration("tcp://127.0.0.1:80"))
        await trio.sleep(0.1)
        story.registry.lose_all()
        await trio.sleep(0.2)
        assert story.state() is CheckState.PASSING
        assert story.updates[-2:][0][1] is None


@pytest.mark.parametrize(
    "fields",
    [
        {"addr": Address("127.0.0.1", 6666), "health_check": "ttl:"},
        {"health_check": "http://127.0.0.1/nope"},
        {"name": "y"},
        {},  # other thresholds, which an entry does not show
    ],
)
@pytest.mark.parametrize("check", ["ttl:", "tcp://127.0.0.1:80"])
async def test_an_entry_that_another_client_replaced_is_registered_again_at_once(
    check: str, fields: dict[str, Any], autojump_clock: object
) -> None:
    async with Story() as story:
        if check == "ttl:":
            story.sync.report(ID, registration(check), True, "fine")
        else:
            story.sync.register(ID, registration(check))
        await trio.sleep(0.1)
        incarnation = story.registry.held[ID].incarnation
        story.registry.replace(**fields)
        await trio.sleep(0.1)
        entry = story.registry.held[ID]
        assert (entry.name, entry.addr, entry.health_check) == ("x", Address("127.0.0.1", 80), check)
        assert entry.incarnation > incarnation + 1
        assert story.registry.calls.count("register") == 2
        assert len(story.replaced) == 1
        assert "another client replaced the registration of 0badcafe" in story.replaced[0]
        await trio.sleep(3 * RENEW_S)
        assert story.registry.calls.count("register") == 2, "its own entry is left alone"


async def test_two_clients_that_replace_each_others_entry_do_so_once_a_renewal(autojump_clock: object) -> None:
    async with Story() as story:
        story.sync.register(ID, registration("tcp://127.0.0.1:80"))
        for _ in range(600):
            await trio.sleep(0.1)
            story.registry.replace(addr=Address("127.0.0.1", 6666))
        assert 60 / RENEW_S <= story.registry.calls.count("register") <= 60 / RENEW_S + 2
        await trio.sleep(2 * RENEW_S)
        assert story.registry.held[ID].addr == Address("127.0.0.1", 80), "the owner has the last word"


async def test_a_lost_push_is_found_at_the_next_renewal(autojump_clock: object) -> None:
    """The registry's answer to a renewal says that the entry was replaced, also where the watch did not."""
    async with Story() as story:
        story.sync.report(ID, registration(), True, "fine")
        await trio.sleep(0.1)
        story.registry.held[ID] = replace(story.registry.held[ID], incarnation=77, addr=Address("127.0.0.1", 6666))
        await trio.sleep(RENEW_S + 0.5)
        assert story.registry.held[ID].addr == Address("127.0.0.1", 80)


async def test_a_rejection_is_reported_once_and_retried_with_growing_pauses(autojump_clock: object) -> None:
    async with Story() as story:
        story.registry.rejection = "not like this"
        story.sync.register(ID, registration())
        await trio.sleep(300)
        assert story.rejections == [f"registry rejected {ID}: not like this"]
        assert 8 <= story.registry.rejected <= 16
        story.registry.rejection = "nor like that"
        await trio.sleep(60)
        assert story.rejections[1:] == [f"registry rejected {ID}: nor like that"]


async def test_a_request_that_is_too_long_is_reported_as_a_rejection(autojump_clock: object) -> None:
    async with Story() as story:
        story.registry.rejection, story.registry.error_type = "too long", UsageError
        story.sync.register(ID, registration())
        await trio.sleep(300)
        assert story.rejections == [f"registry rejected {ID}: too long"]
        assert story.registry.rejected <= 16


async def test_a_new_request_does_not_wait_out_the_pause_after_a_rejection(autojump_clock: object) -> None:
    async with Story() as story:
        story.registry.rejection = "not like this"
        story.sync.register(ID, registration())
        await trio.sleep(100)
        story.registry.rejection = ""
        story.sync.register(ID, registration("tcp://127.0.0.1:80"))
        await trio.sleep(0.1)
        assert story.state() is CheckState.PASSING


ACTS = st.sampled_from(["register", "pass", "fail", "exit", "away", "back", "lose", "replaced"])


@settings(max_examples=40, deadline=None)
@example([("pass", 0.05), ("fail", 0.0), ("register", 0.0)])
@example([("pass", 0.0), ("fail", 0.05), ("away", 0.0), ("register", 0.0015)])
@example([("pass", 0.0), ("fail", 0.0015), ("replaced", 0.0)])
@given(st.lists(st.tuples(ACTS, st.sampled_from([0.0, 0.0005, 0.0015, 0.05, 6.0])), max_size=25))
def test_for_any_events_the_registry_ends_up_with_the_right_entry(acts: list[tuple[str, float]]) -> None:
    async def run_story() -> None:
        async with Story() as story:
            wanted: CheckState | None = None
            for act, seconds in acts:
                match act:
                    case "register":
                        story.sync.deregister_soon(ID)
                        story.sync.register(ID, registration("tcp://127.0.0.1:80"))
                        wanted = CheckState.PASSING
                    case "pass" | "fail":
                        if (
                            wanted is CheckState.PASSING
                            and ID in story.sync._registrations
                            and ID not in story.sync._reports
                        ):
                            continue  # the registry makes this check: there are no reports
                        story.sync.report(ID, registration(), act == "pass", act)
                        wanted = CheckState.PASSING if act == "pass" else CheckState.CRITICAL
                    case "exit":
                        story.sync.deregister_soon(ID)
                        wanted = None
                    case "away" | "back":
                        story.registry.away = act == "away"
                    case "lose":
                        story.registry.lose_all()
                    case "replaced" if ID in story.registry.held:
                        old = story.registry.held[ID]
                        story.registry.put(
                            Instance(ID, "x", old.addr, "ttl:", old.state, incarnation=old.incarnation + 100)
                        )
                await trio.sleep(seconds)
            story.registry.away = False
            await trio.sleep(20)
            found = story.state()
            if wanted is CheckState.CRITICAL:
                assert found in (None, CheckState.CRITICAL), "never passing; registered at its next pass"
            else:
                assert found is wanted
            calls = len(story.registry.calls)
            await trio.sleep(RENEW_S * 0.9)
            assert len(story.registry.calls) - calls <= 1, "no request is repeated"

    trio.run(run_story, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_a_clock_that_is_set_back_between_two_checks_breaks_nothing(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entry is stale when it is decided to act, and not stale any more when the act begins."""
    async with Story() as story:
        story.sync.register(ID, registration())
        await trio.sleep(0.1)
        results = iter([True, True])
        monkeypatch.setattr(story.sync, "_is_stale", lambda _: next(results, False))
        story.sync._request(ID)
        await trio.sleep(0.1)
        assert next(results, None) is None
        assert story.registry.calls == ["register"]
