"""The supervisor's line to the registry (floor 3): speaks for its instances, and hears what the registry finds of all.

It registers `register = "supervisor"` instances, deregisters each instance whose process ended (by id and incarnation, so that
a late one never removes a newer entry), watches everything, and after every reconnect puts right what differs. It refuses
to start or stop anything.
"""

from collections.abc import Callable, Sequence

import msgspec
import trio

from minikube.client.registry import Registry
from minikube.client.verbs import WatchSnapshot
from minikube.counters import RegistryStatus
from minikube.errors import MinikubeError, RemoteError
from minikube.model import Change, ChangeKind, Instance, Registration

RETRY_S = 0.1
CALL_TIMEOUT_S = 2.0

Heard = Callable[[str, Instance | None], None]
"""An instance's id and what the registry now says of it; None: it is not registered any more."""


class Link:
    """Belongs to the trio thread. `want` and `gone` return at once; what they ask for is repeated until it is so."""

    def __init__(self, registry: Registry, nursery: trio.Nursery, heard: Heard, said: Callable[[str], None]) -> None:
        self._registry = registry
        self._nursery = nursery
        self._heard = heard
        self._said = said
        self._known: dict[str, Instance] = {}
        self._wanted: dict[str, Registration] = {}
        self._ended: set[str] = set()
        """Whose process is dead: to be deregistered wherever the registry still knows them."""
        self._busy: set[str] = set()

    @property
    def instances(self) -> Sequence[Instance]:
        """Everything that the registry is known to have."""
        return tuple(self._known.values())

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

    def want(self, id: str, registration: Registration | None) -> None:
        """The instance's process has been started; with a registration, we speak for it."""
        self._ended.discard(id)
        if registration is not None:
            self._wanted[id] = registration
            self._act(id)

    def gone(self, id: str) -> None:
        """The instance's process has ended: out of discovery, now."""
        self._wanted.pop(id, None)
        self._ended.add(id)
        if id in self._known:
            self._act(id)

    async def run(self) -> None:
        """Follows the registry for ever."""
        async with self._registry.watch("*") as updates:
            async for update in updates:
                if isinstance(update, WatchSnapshot):
                    self._replace({one.uuid: one for one in update.instances})
                else:
                    self._change(update)

    def _replace(self, found: dict[str, Instance]) -> None:
        lost = [id for id in self._known if id not in found]
        self._known = found
        for id in lost:
            self._heard(id, None)
        for id, one in found.items():
            self._heard(id, one)
        for id in [*self._wanted, *self._ended]:
            self._act(id)

    def _change(self, change: Change) -> None:
        id = change.instance.uuid
        if change.kind is ChangeKind.GONE:
            self._known.pop(id, None)
            self._heard(id, None)
        else:
            self._known[id] = change.instance
            self._heard(id, change.instance)
        self._act(id)

    def _act(self, id: str) -> None:
        if id not in self._busy and self._differs(id):
            self._busy.add(id)
            self._nursery.start_soon(self._settle, id)

    def _differs(self, id: str) -> bool:
        if id in self._wanted:
            return id not in self._known
        return id in self._ended and id in self._known

    async def _settle(self, id: str) -> None:
        """Asks until the registry says what is so; the watch tells when it does."""
        try:
            while self._differs(id):
                try:
                    if registration := self._wanted.get(id):
                        await self._register(id, registration)
                    else:
                        await self._deregister(id)
                except RemoteError as error:
                    self._said(f"registry refused {id}: {error}")
                    await trio.sleep(1.0)
                except MinikubeError:
                    pass  # not there at the moment: again
                if self._differs(id):
                    await trio.sleep(RETRY_S)
        finally:
            self._busy.discard(id)

    async def _register(self, id: str, registration: Registration) -> None:
        await self._registry.register(registration)
        if id in self._wanted and id not in self._known:
            # Its change may be on its way to us; a registration repeated meanwhile would be a new incarnation.
            with trio.move_on_after(1.0):
                while id not in self._known:
                    await trio.sleep(0.02)

    async def _deregister(self, id: str) -> None:
        known = self._known.get(id)
        if known is None:
            return
        await self._registry.deregister(id, known.incarnation)
        if self._known.get(id) is known:
            del self._known[id]
            self._heard(id, None)
