"""The supervisor's line to the registry in virtual time, against a registry of memory that goes away as it likes."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minikube.errors import MinikubeError, NotFound, RemoteError, Unavailable, UsageError
from minikube.model import Address, Change, ChangeKind, CheckState, Instance, Registration
from minikube.sdk.requests import WatchSnapshot
from minikube.supervisor.readiness.generation import Generation
from minikube.supervisor.readiness.registry_sync import RENEW_S, RegistrySync

ID = "0badcafe"


def registration(check: str = "ttl:") -> Registration:
    return Registration("x", Address("127.0.0.1", 80), check, ID)


class Registry:
    """What `RegistrySync` needs of `client.registry.Registry`. `away`: every call fails, and nothing is pushed."""

    def __init__(self) -> None:
        self.away = False
        self.refuses = ""
        self.refusal: Callable[[str], MinikubeError] = partial(RemoteError, -32602)
        self.refused = 0
        self.held: dict[str, Instance] = {}
        self.calls: list[str] = []
        self.revision = 0
        self.clock = 0.0
        self._watchers: list[trio.MemorySendChannel[WatchSnapshot | Change]] = []

    async def _answer(self, call: str) -> None:
        await trio.sleep(0.001)
        if self.away:
            raise Unavailable("away")
        if self.refuses:
            self.refused += 1
            raise self.refusal(self.refuses)
        self.calls.append(call)

    def put(self, instance: Instance, kind: ChangeKind = ChangeKind.PUT) -> None:
        self.revision += 1
        if kind is ChangeKind.PUT:
            self.held[instance.uuid] = instance
        else:
            self.held.pop(instance.uuid)
        for watcher in self._watchers:
            watcher.send_nowait(Change(self.revision, kind, instance))

    def lose_all(self) -> None:
        """It was killed, and its store emptied."""
        self.held.clear()
        for watcher in self._watchers:
            watcher.send_nowait(WatchSnapshot(self.revision))

    async def register(self, asked: Registration) -> str:
        await self._answer("register")
        assert isinstance(asked.addr, Address)
        self.put(
            Instance(
                asked.uuid,
                asked.name,
                asked.addr,
                asked.health_check,
                CheckState.PASSING,
                incarnation=self.revision + 1,
                registered=self.clock,
            )
        )
        return asked.uuid

    async def deregister(self, id_: str, incarnation: int | None = None) -> bool:
        await self._answer("deregister")
        known = self.held.get(id_)
        if known is None or known.incarnation != incarnation:
            return False
        self.put(known, ChangeKind.GONE)
        return True

    async def renew(self, id_: str, state: str = "", output: str = "") -> bool:
        await self._answer(f"renew {state} {output}".strip())
        known = self.held.get(id_)
        if known is None:
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


class Line:
    """`async with Line() as line`: a link at work."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.heard: list[tuple[str, Instance | None]] = []
        self.said: list[str] = []

    async def __aenter__(self) -> "Line":
        self._manager = trio.open_nursery()
        self.nursery = await self._manager.__aenter__()
        self.link = RegistrySync(self.registry, self.nursery, lambda *what: self.heard.append(what), self.said.append)  # type: ignore[arg-type]
        self.nursery.start_soon(self.link.run)
        await trio.testing.wait_all_tasks_blocked()
        return self

    async def __aexit__(self, *error: Any) -> None:
        self.nursery.cancel_scope.cancel()
        await self._manager.__aexit__(*error)

    def state(self) -> CheckState | None:
        known = self.registry.held.get(ID)
        return known.state if known else None


async def test_a_verdict_is_registered_from_its_first_pass_on_and_told_at_once(autojump_clock: object) -> None:
    async with Line() as line:
        line.link.report(ID, registration(), False, "not yet")
        await trio.sleep(20)
        assert line.registry.calls == []
        line.link.report(ID, registration(), True, "fine")
        await trio.sleep(0.1)
        assert line.registry.calls == ["register", "renew passing fine"]
        line.link.report(ID, registration(), False, "exit 3")
        await trio.sleep(0.1)
        assert (line.state(), line.registry.calls[-1]) == (CheckState.CRITICAL, "renew critical exit 3")
        await trio.sleep(2.5 * RENEW_S)
        assert line.registry.calls[3:] == ["renew critical exit 3"] * 2, "and kept up"


async def test_what_ended_is_deregistered_even_while_the_registry_is_away(autojump_clock: object) -> None:
    async with Line() as line:
        line.link.want(ID, registration("tcp://127.0.0.1:80"))
        await trio.sleep(0.1)
        assert line.state() is CheckState.PASSING
        line.registry.away = True
        began = trio.current_time()
        assert await line.link.left(ID), "it was there"
        assert trio.current_time() - began <= 1.1, "a stop does not wait for a registry that is away"
        line.registry.away = False
        await trio.sleep(1)
        assert line.state() is None
        assert not await line.link.left(ID)


async def test_one_of_an_earlier_run_is_removed_and_a_new_one_is_not(autojump_clock: object) -> None:
    async with Line() as line:
        line.link.absent(ID)
        line.registry.put(Instance(ID, "x", Address("127.0.0.1", 80), "ttl:", CheckState.PASSING, incarnation=1))
        await trio.sleep(0.1)
        assert line.state() is None
        line.link.want(ID, None)
        line.registry.put(Instance(ID, "x", Address("127.0.0.1", 80), "ttl:", CheckState.PASSING, incarnation=2))
        await trio.sleep(0.1)
        assert line.state() is CheckState.PASSING, "it registered itself"


async def test_an_entry_of_an_earlier_life_is_replaced_however_late_it_is_heard_of(autojump_clock: object) -> None:
    """The registry answers only after the new life has begun: what it still holds has another port."""
    async with Line() as line:
        line.registry.away = True
        line.link.begun(ID, Generation(100.0, trio.current_time()))
        line.link.want(ID, registration("tcp://127.0.0.1:80"))
        await trio.sleep(1)
        line.registry.away = False
        line.registry.put(Instance(ID, "x", Address("127.0.0.1", 79), "tcp:", CheckState.PASSING, registered=99.0))
        line.registry.clock = 101.0
        await trio.sleep(1)
        assert line.registry.held[ID].addr == Address("127.0.0.1", 80)
        assert line.registry.calls.count("register") == 1


async def test_one_that_registered_itself_before_we_knew_that_it_runs_stays(autojump_clock: object) -> None:
    async with Line() as line:
        line.link.absent(ID)
        line.link.begun(ID, Generation(100.0, trio.current_time()))
        line.registry.put(Instance(ID, "x", Address("127.0.0.1", 80), "tcp:", CheckState.PASSING, registered=100.1))
        line.link.want(ID, None)
        await trio.sleep(1)
        assert ID in line.registry.held
        assert line.registry.calls == []


async def test_a_registry_that_forgot_everything_is_told_again(autojump_clock: object) -> None:
    async with Line() as line:
        line.link.want(ID, registration("tcp://127.0.0.1:80"))
        await trio.sleep(0.1)
        line.registry.lose_all()
        await trio.sleep(0.2)
        assert line.state() is CheckState.PASSING
        assert line.heard[-2:][0][1] is None


async def test_a_refusal_is_said_once_and_tried_again_less_and_less_often(autojump_clock: object) -> None:
    async with Line() as line:
        line.registry.refuses = "not like this"
        line.link.want(ID, registration())
        await trio.sleep(300)
        assert line.said == [f"registry refused {ID}: not like this"]
        assert 8 <= line.registry.refused <= 16
        line.registry.refuses = "nor like that"
        await trio.sleep(60)
        assert line.said[1:] == [f"registry refused {ID}: nor like that"]


async def test_what_is_too_long_to_be_asked_for_is_said_too(autojump_clock: object) -> None:
    async with Line() as line:
        line.registry.refuses, line.registry.refusal = "too long", UsageError
        line.link.want(ID, registration())
        await trio.sleep(300)
        assert line.said == [f"registry refused {ID}: too long"]
        assert line.registry.refused <= 16


async def test_what_is_asked_for_instead_of_what_was_refused_does_not_wait(autojump_clock: object) -> None:
    async with Line() as line:
        line.registry.refuses = "not like this"
        line.link.want(ID, registration())
        await trio.sleep(100)
        line.registry.refuses = ""
        line.link.want(ID, registration("tcp://127.0.0.1:80"))
        await trio.sleep(0.1)
        assert line.state() is CheckState.PASSING


ACTS = st.sampled_from(["want", "pass", "fail", "gone", "away", "back", "lose", "foreign"])


@settings(max_examples=40, deadline=None)
@example([("pass", 0.05), ("fail", 0.0), ("want", 0.0)])
@example([("pass", 0.0), ("fail", 0.05), ("away", 0.0), ("want", 0.0015)])
@given(st.lists(st.tuples(ACTS, st.sampled_from([0.0, 0.0005, 0.0015, 0.05, 6.0])), max_size=25))
def test_whatever_happens_the_registry_ends_up_with_what_is_so(acts: list[tuple[str, float]]) -> None:
    async def story() -> None:
        async with Line() as line:
            wanted: CheckState | None = None
            for act, seconds in acts:
                match act:
                    case "want":
                        line.link.gone(ID)
                        line.link.want(ID, registration("tcp://127.0.0.1:80"))
                        wanted = CheckState.PASSING
                    case "pass" | "fail":
                        if wanted is CheckState.PASSING and ID in line.link._wanted and ID not in line.link._reports:
                            continue  # checked by the registry: nobody reports
                        line.link.report(ID, registration(), act == "pass", act)
                        wanted = CheckState.PASSING if act == "pass" else CheckState.CRITICAL
                    case "gone":
                        line.link.gone(ID)
                        wanted = None
                    case "away" | "back":
                        line.registry.away = act == "away"
                    case "lose":
                        line.registry.lose_all()
                    case "foreign" if ID in line.registry.held:
                        old = line.registry.held[ID]
                        line.registry.put(
                            Instance(ID, "x", old.addr, "ttl:", old.state, incarnation=old.incarnation + 100)
                        )
                await trio.sleep(seconds)
            line.registry.away = False
            await trio.sleep(20)
            found = line.state()
            if wanted is CheckState.CRITICAL:
                assert found in (None, CheckState.CRITICAL), "never passing; registered at its next pass"
            else:
                assert found is wanted
            told = len(line.registry.calls)
            await trio.sleep(RENEW_S * 0.9)
            assert len(line.registry.calls) - told <= 1, "at rest"

    trio.run(story, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_a_clock_that_steps_back_between_two_looks_ends_nothing(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it was looked whether to act the entry was of an earlier life, when it was acted it was not."""
    async with Line() as line:
        line.link.want(ID, registration())
        await trio.sleep(0.1)
        looks = iter([True, True])
        monkeypatch.setattr(line.link, "_is_stale", lambda _: next(looks, False))
        line.link._ask(ID)
        await trio.sleep(0.1)
        assert next(looks, None) is None
        assert line.registry.calls == ["register"]
