"""The supervisor's line to the registry (floor 3): speaks for its instances, and hears what the registry finds of all.

It registers `register = "supervisor"` instances, reports the verdicts that only the supervisor can reach (`ttl:` checks),
deregisters each instance whose process ended (by id and incarnation, so that a late one never removes a newer entry), watches
everything, and after every reconnect puts right what differs. It refuses to start or stop anything.
"""

import time
from collections.abc import Callable, Sequence
from typing import NoReturn

import msgspec
import trio
from msgspec import Struct

from minikube.errors import MinikubeError, NotFound, RemoteError, UsageError
from minikube.metrics.counters import RegistryStatus
from minikube.model import Change, ChangeKind, CheckState, Instance, Registration
from minikube.sdk.requests import WatchSnapshot
from minikube.sdk.trio import Registry
from minikube.supervisor.readiness.generation import Generation

RETRY_S = 0.1
REFUSED_RETRY_S = 1.0
REFUSED_RETRY_MOST_S = 30.0
"""A refusal is rarely mended by repetition: each next try comes after twice the time."""

RENEW_S = 5.0
"""A third of `registering.LEASE_S`: two may be lost."""

LEAVE_S = 1.0
"""How long a stop waits for an instance to be out of discovery; a registry that is away finds out when it is back."""

OVERSEE_S = 1.0
"""How often the registry is asked how it is itself."""

LOOK_AGAIN_S = 3.0
"""A check that goes on passing changes nothing that a watch tells; when it was and what it said is asked for this often."""

Heard = Callable[[str, Instance | None], None]
"""An instance's id and what the registry now says of it; None: it is not registered any more."""


class _Report(Struct, frozen=True):
    """A verdict of ours. Told again until the registry has taken this very one, and then in intervals."""

    passing: bool
    output: str


class StoreView(Struct, frozen=True, rename="pascal"):
    """How the registry says its store is."""

    state: str
    detail: str


class DoubtView(Struct, frozen=True, rename="pascal"):
    """When and why the registry last doubted itself."""

    since: float
    detail: str


class RegistrySync:
    """Belongs to the trio thread. `want`, `report` and `gone` return at once; what they ask for is repeated until it is so."""

    def __init__(
        self,
        registry: Registry,
        nursery: trio.Nursery,
        heard: Heard,
        said: Callable[[str], None],
        is_left: Callable[[Instance], bool] = lambda one: False,
    ) -> None:
        """`is_left`: whether an instance is of an earlier run of ours, and nobody's now."""
        self._registry = registry
        self._is_left = is_left
        self._nursery = nursery
        self._heard = heard
        self._said = said
        self._known: dict[str, Instance] = {}
        self._wanted: dict[str, Registration] = {}
        self._reports: dict[str, _Report] = {}
        self._told: dict[str, _Report] = {}
        self._ended: set[str] = set()
        """Whose process is dead: to be deregistered wherever the registry still knows them."""
        self._since: dict[str, Generation] = {}
        """When the present life of an instance began: what was registered before is of an earlier one."""
        self._changed: set[str] = set()
        """Whose registration is another one than the registry knows."""
        self._busy: dict[str, trio.Event] = {}
        """What is being settled, and the event that something else is asked for."""
        self._moved = trio.Event()

    @property
    def instances(self) -> Sequence[Instance]:
        """Everything that the registry is known to have."""
        return tuple(self._known.values())

    async def oversee(self, event: Callable[[str, str, str], object]) -> NoReturn:
        """Makes events of what the registry says of itself: that its store is away, that it doubts itself. For ever."""
        stale, doubted = False, 0.0
        while True:
            await trio.sleep(OVERSEE_S)
            try:
                told = await self._registry.call("Discovery.Status", (), OVERSEE_S)
                store, doubt = msgspec.convert(told["Store"], StoreView), msgspec.convert(told["LastDoubt"], DoubtView)
            except (MinikubeError, msgspec.ValidationError, KeyError, TypeError):
                continue  # its process' end is an event of its own
            if (store.state != "ok") is not stale:
                stale = not stale
                away = f"the registry's store is away: {store.detail} — lookups go on from memory"
                event("registry.store", away if stale else "the registry's store is back", "error" if stale else "info")
            if doubt.since > doubted:
                doubted = doubt.since
                event("registry.doubt", f"registry: {doubt.detail}", "warning")

    async def status(self, timeout: float) -> RegistryStatus | None:
        """What the registry says of itself and has counted; None when it does not within `timeout` seconds."""
        try:
            told = await self._registry.call("Discovery.Status", (True,), timeout)
            return msgspec.convert(told, RegistryStatus)
        except (MinikubeError, msgspec.ValidationError):
            return None

    def absent(self, id: str) -> None:
        """An instance of ours that has no process yet: what the registry knows of it is of an earlier run."""
        self._ended.add(id)

    def known(self, id: str) -> Instance | None:
        return self._known.get(id)

    def begun(self, id: str, since: Generation) -> None:
        """A life of the instance begins; it may register itself before we know that it runs."""
        self._ended.discard(id)
        self._since[id] = since
        self._act(id)

    def want(self, id: str, registration: Registration | None) -> None:
        """With a registration, we speak for it. Another one replaces the first."""
        # It was to leave and has not yet: what the registry holds is of the life before, its verdict too.
        leaving = id in self._ended and id in self._known
        self._ended.discard(id)
        if registration is not None:
            if leaving or self._wanted.get(id, registration) != registration:
                self._changed.add(id)
                self._reports.pop(id, None)
            self._wanted[id] = registration
            self._ask(id)

    def report(self, id: str, registration: Registration, passing: bool, output: str) -> None:
        """Our verdict of an instance with a `ttl:` check. It is registered from its first pass on: registering is one."""
        self._ended.discard(id)
        self._wanted[id] = registration
        self._reports[id] = _Report(passing, output)
        self._told.pop(id, None)
        self._ask(id)

    def gone(self, id: str) -> None:
        """The instance's process has ended or is about to: out of discovery, now."""
        self._changed.discard(id)
        self._since.pop(id, None)
        self._wanted.pop(id, None)
        self._reports.pop(id, None)
        self._told.pop(id, None)
        self._ended.add(id)
        if id in self._known:
            self._ask(id)

    async def left(self, id: str) -> bool:
        """`gone`, and waits until it is so, for at most `LEAVE_S`. False: it was not there anyway."""
        was_known = id in self._known
        self.gone(id)
        with trio.move_on_after(LEAVE_S):
            while id in self._known:
                await self._moved.wait()
        return was_known

    async def maintain(self, id: str, on: bool, reason: str) -> None:
        """Takes an instance out of `Get`, or back in. Raises `NotFound` when the registry does not know it."""
        await self._registry.maintenance(id, on, reason)

    async def run(self) -> NoReturn:
        """Follows the registry for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._renew)
            nursery.start_soon(self._look_again)
            async with self._registry.watch("*") as updates:
                async for update in updates:
                    if isinstance(update, WatchSnapshot):
                        self._replace({one.uuid: one for one in update.instances})
                    else:
                        self._change(update)
        raise AssertionError("a watch never ends")

    async def _renew(self) -> NoReturn:
        while True:
            await trio.sleep(RENEW_S)
            self._told.clear()
            for id in list(self._reports):
                self._act(id)

    async def _look_again(self) -> NoReturn:
        while True:
            await trio.sleep(LOOK_AGAIN_S)
            try:
                found = await self._registry.instances()
            except MinikubeError:
                continue
            for one in found:
                known = self._known.get(one.uuid)
                # What the watch said meanwhile, and an exit that we know of, are newer whatever this says.
                if known is None or one.uuid in self._ended or known.revision != one.revision:
                    continue
                if known.incarnation == one.incarnation and known.checked < one.checked:
                    self._known[one.uuid] = one
                    self._heard(one.uuid, one)

    def _replace(self, found: dict[str, Instance]) -> None:
        lost = [id for id in self._known if id not in found]
        self._known = found
        for id in lost:
            self._hear(id, None)
        for id, one in found.items():
            self._hear(id, one)
        for id in {**self._wanted, **self._since, **dict.fromkeys(self._ended)}:
            self._act(id)

    def _change(self, change: Change) -> None:
        id = change.instance.uuid
        if change.kind is ChangeKind.GONE:
            self._known.pop(id, None)
            self._hear(id, None)
        else:
            self._known[id] = change.instance
            self._hear(id, change.instance)
        self._act(id)

    def _hear(self, id: str, found: Instance | None) -> None:
        if found is not None and self._is_left(found):
            self._ended.add(id)
        else:
            self._heard(id, found)
        self._moved.set()
        self._moved = trio.Event()

    def _act(self, id: str) -> None:
        if id not in self._busy and self._differs(id):
            self._busy[id] = trio.Event()
            self._nursery.start_soon(self._settle, id)

    def _ask(self, id: str) -> None:
        """Something new is asked for: not what was refused, so it does not wait for that."""
        if id in self._busy:
            self._busy[id].set()
        self._act(id)

    def _differs(self, id: str) -> bool:
        if id not in self._wanted:
            return id in self._known and (id in self._ended or self._is_stale(id))
        if id in self._changed or self._is_stale(id):
            return True
        report = self._reports.get(id)
        if id not in self._known:
            return report is None or report.passing
        return report is not None and self._told.get(id) is not report

    def _is_stale(self, id: str) -> bool:
        known = self._known.get(id)
        since = self._since.get(id)
        return known is not None and since is not None and since.is_after(known, time.time(), trio.current_time())

    async def _settle(self, id: str) -> None:
        """Asks until the registry says what is so; the watch tells when it does."""
        refused, patience = "", REFUSED_RETRY_S
        try:
            while self._differs(id):
                asked = self._busy[id] = trio.Event()
                try:
                    await self._once(id)
                    refused, patience = "", REFUSED_RETRY_S
                    await trio.lowlevel.checkpoint()  # what differs now is new: a verdict that came meanwhile
                except (RemoteError, UsageError) as error:
                    if str(error) != refused:
                        refused, patience = str(error), REFUSED_RETRY_S
                        self._said(f"registry refused {id}: {error}")
                    with trio.move_on_after(patience):
                        await asked.wait()
                    patience = REFUSED_RETRY_S if asked.is_set() else min(2 * patience, REFUSED_RETRY_MOST_S)
                except MinikubeError:
                    await trio.sleep(RETRY_S)  # not there at the moment: again
        finally:
            del self._busy[id]

    async def _once(self, id: str) -> None:
        registration = self._wanted.get(id)
        if registration is None or self._is_stale(id):
            await self._deregister(id)
        elif id not in self._known or id in self._changed:
            self._changed.discard(id)
            try:
                await self._register(id, registration)
            except MinikubeError:
                if id in self._wanted:  # it still differs from what the registry knows
                    self._changed.add(id)
                raise
        elif (report := self._reports.get(id)) is not None:
            # There is none where it was stale when `_differs` looked, and by the next tick of the clock is not.
            await self._tell(id, report)

    async def _register(self, id: str, registration: Registration) -> None:
        await self._registry.register(registration)
        if id in self._wanted and id not in self._known:
            # Its change may be on its way to us; a registration repeated meanwhile would be a new incarnation.
            with trio.move_on_after(1.0):
                while id not in self._known:
                    await self._moved.wait()

    async def _tell(self, id: str, report: _Report) -> None:
        try:
            state = CheckState.PASSING if report.passing else CheckState.CRITICAL
            await self._registry.renew(id, state, report.output)
        except NotFound:
            self._known.pop(id, None)  # forgotten, or replaced on another registry: registered again if it passes
            return
        if self._reports.get(id) is report:
            self._told[id] = report

    async def _deregister(self, id: str) -> None:
        known = self._known.get(id)
        if known is None:
            return
        await self._registry.deregister(id, known.incarnation)
        if self._known.get(id) is known:
            del self._known[id]
            self._hear(id, None)
