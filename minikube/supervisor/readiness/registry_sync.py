"""Keeps the registry's entries of the project's instances as they should be, and follows the entries of all services.

It registers `register = "supervisor"` instances, reports the results of checks that only the supervisor can make (`ttl:`),
deregisters each instance whose process has ended, and corrects what differs after every reconnect, when another client has
replaced an entry, and at every renewal. It tells the registry which names the manifest reserves. It starts and stops nothing. The
file is past 400 lines because every request and every push of the watch reads and changes the same tables of one class.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NoReturn

import msgspec
import trio
from msgspec import Struct

from minikube.clock import steady_time
from minikube.errors import MinikubeError, NotFound, RemoteError, UsageError
from minikube.metrics.counters import RegistryStatus
from minikube.model import Address, Change, ChangeKind, CheckState, Instance, Registration, normalize_host
from minikube.sdk.requests import WatchSnapshot
from minikube.sdk.trio import Registry
from minikube.supervisor.readiness.reservations import Reservations, split_reservations
from minikube.supervisor.readiness.start_time import StartTime

logger = logging.getLogger(__name__)

RETRY_S = 0.1
REJECTED_RETRY_S = 1.0
REJECTED_RETRY_MAX_S = 30.0
"""Repetition rarely helps a rejected request: the pause doubles up to this."""

RENEW_S = 5.0
"""A third of `registration.LEASE_S`: two renewals may be lost. Also the shortest time between two corrections of an entry
that another client keeps replacing."""

DEREGISTER_TIMEOUT_S = 1.0
"""How long a stop waits for the deregistration. Where the registry does not answer, the request is repeated later."""

REFRESH_S = 3.0
"""How often the time and output of checks that go on passing are fetched: a watch does not push them."""

RESERVE_S = 2.0
"""How often the registry is told the reserved names although nothing has changed."""

OnEntry = Callable[[str, Instance | None], object]
"""Called with an instance's id and the registry's entry of it; None: the entry is gone."""


class _Report(Struct, frozen=True):
    """A result of a check that the supervisor makes, to be sent to the registry. Compared by identity."""

    passing: bool
    output: str


class RegistrySync:
    """Keeps the registry's entries of the project's instances up to date. Belongs to the trio thread.

    `register`, `report` and `deregister_soon` return immediately; their requests are sent again until the registry has
    accepted them.
    """

    def __init__(
        self,
        registry: Registry,
        nursery: trio.Nursery,
        on_entry: OnEntry,
        on_rejected: Callable[[str], object],
        is_orphan: Callable[[Instance], bool] = lambda entry: False,
        on_replaced: Callable[[str], object] = logger.warning,
        reservations: Callable[[], Reservations] | None = None,
    ) -> None:
        """Tasks run in `nursery`. `on_entry` is called with the id and the new entry (None: removed) after each change.

        `on_rejected` is called with a text when the registry rejects an instance. `is_orphan` returns whether an entry
        is an instance of this project that an earlier run has left: such entries are removed. `on_replaced` is called with
        a text when another client has replaced an entry. `reservations` returns what the manifest reserves now; None: the
        registry is not told.
        """
        self._reservations = reservations
        self._reservations_changed = trio.Event()
        self._registry = registry
        self._nursery = nursery
        self._on_entry = on_entry
        self._on_rejected = on_rejected
        self._is_orphan = is_orphan
        self._on_replaced = on_replaced
        self._entries: dict[str, Instance] = {}
        """The registry's entries by id, as last received."""
        self._registrations: dict[str, Registration] = {}
        """The registrations that the registry should have, by id."""
        self._reports: dict[str, _Report] = {}
        self._sent_reports: dict[str, _Report] = {}
        self._exited: set[str] = set()
        """Instances without a process: to be deregistered wherever the registry still has them."""
        self._start_times: dict[str, StartTime] = {}
        """When the running process of an instance was started: an entry from before is stale."""
        self._incarnations: dict[str, int] = {}
        """The incarnation of the supervisor's own registration; an entry of another one was made by another client."""
        self._corrected: dict[str, float] = {}
        """When the supervisor last corrected an entry that another client had replaced (monotonic seconds)."""
        self._changed: set[str] = set()
        """Instances whose registration differs from the one that the registry has."""
        self._reconciling: dict[str, trio.Event] = {}
        """Instances that a task reconciles, with the event that wakes it for a new request."""
        self._entries_changed = trio.Event()
        self.lookup_problem = ""
        """Why lookups at the registry find no instance now, whatever its entries say; empty while they do."""
        self.lookup_problem_since = 0.0
        """When that began (Unix seconds)."""

    # ------------------------------------------------------------ requests

    def entry(self, id: str) -> Instance | None:
        """Return the registry's entry of an instance, as last received; None where the registry has none."""
        return self._entries.get(id)

    @property
    def entries(self) -> Sequence[Instance]:
        """All entries of the registry, as last received."""
        return tuple(self._entries.values())

    def on_created(self, id: str) -> None:
        """Remove any entry with this id: the instance has just been created, so an entry is from an earlier run."""
        self._exited.add(id)
        self.reserve_soon()

    def reserve_soon(self) -> None:
        """Tell the registry soon which names are reserved: the manifest or its instances have changed."""
        self._reservations_changed.set()

    def on_start(self, id: str, start_time: StartTime) -> None:
        """Record when a process of the instance is started: an entry that was registered before then is removed.

        Call it before the start, because the process may register itself.
        """
        self._exited.discard(id)
        self._start_times[id] = start_time
        self._reconcile_soon(id)

    def register(self, id: str, registration: Registration) -> None:
        """Register the instance, or replace its registration, and register it again whenever the registry loses it."""
        # It was to be deregistered and has not been yet: the entry, and its check state, are the earlier process'.
        leaving = id in self._exited and id in self._entries
        self._exited.discard(id)
        if leaving or self._registrations.get(id, registration) != registration:
            self._changed.add(id)
            self._reports.pop(id, None)
        self._registrations[id] = registration
        self._request(id)

    def report(self, id: str, registration: Registration, passing: bool, output: str) -> None:
        """Send a check result (`passing`, and the probe's output) of an instance with a `ttl:` check to the registry.

        The first passing result registers the instance with `registration`.
        """
        self._exited.discard(id)
        self._registrations[id] = registration
        self._reports[id] = _Report(passing, output)
        self._sent_reports.pop(id, None)  # an equal report is sent again, too: it renews the lease
        self._request(id)

    def deregister_soon(self, id: str) -> None:
        """Deregister the instance, whose process has ended or is about to be stopped. Return immediately."""
        self._changed.discard(id)
        self._incarnations.pop(id, None)
        self._corrected.pop(id, None)
        self._start_times.pop(id, None)
        self._registrations.pop(id, None)
        self._reports.pop(id, None)
        self._sent_reports.pop(id, None)
        self._exited.add(id)
        if id in self._entries:
            self._request(id)

    async def deregister(self, id: str) -> bool:
        """Deregister the instance and wait until the registry has done so, for `DEREGISTER_TIMEOUT_S` at most.

        Return whether the registry had an entry of the instance.
        """
        had_entry = id in self._entries
        self.deregister_soon(id)
        with trio.move_on_after(DEREGISTER_TIMEOUT_S):
            while id in self._entries:
                await self._entries_changed.wait()
        return had_entry

    def set_lookup_problem(self, problem: str) -> None:
        """Record why lookups at the registry find no instance, or that they do (empty); notify of each entry."""
        if problem != self.lookup_problem:
            if not self.lookup_problem:
                self.lookup_problem_since = steady_time()
            self.lookup_problem = problem
            for id, entry in list(self._entries.items()):
                self._notify(id, entry)

    async def set_maintenance(self, id: str, on: bool, reason: str) -> None:
        """Hide the registered instance from lookups (`on`) or show it again. Raises `NotFound` where it is not registered."""
        await self._registry.maintenance(id, on, reason)

    async def status(self, timeout: float) -> RegistryStatus | None:
        """Return the registry's status and counters; None when it does not answer within `timeout` seconds."""
        try:
            return msgspec.convert(await self._registry.call("Discovery.Status", (True,), timeout), RegistryStatus)
        except (MinikubeError, msgspec.ValidationError):
            return None

    async def token_rights(self, token: str, timeout: float) -> Sequence[str]:
        """Return the rights of a token that the registry has made; none for others, or without an answer in `timeout` seconds."""
        try:
            return msgspec.convert(
                await self._registry.call("Discovery.TokenRights", (token,), timeout), tuple[str, ...]
            )
        except (MinikubeError, msgspec.ValidationError):
            return ()

    # ------------------------------------------------------------ tasks

    async def run(self) -> NoReturn:
        """Receive the registry's entries, correct those that differ, and renew leases, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._renew_reports)
            nursery.start_soon(self._refresh_checks)
            nursery.start_soon(self._keep_reserved)
            async with self._registry.watch("*") as updates:
                async for update in updates:
                    if isinstance(update, WatchSnapshot):
                        self._replace_entries({entry.uuid: entry for entry in update.instances})
                    else:
                        self._apply_change(update)
        raise AssertionError("a watch never ends")

    async def _keep_reserved(self) -> None:
        """Tell the registry which names are reserved: at once, after each change, and again after each lost connection."""
        if self._reservations is None:
            return
        while True:
            self._reservations_changed = trio.Event()
            parts = list(split_reservations(self._reservations()))
            try:
                for number, part in enumerate(parts, 1):
                    await self._registry.call("Discovery.Reserve", (part, number == 1, number == len(parts)))
            except MinikubeError as error:
                logger.debug("the registry does not take the reserved names: %s", error)
                await trio.sleep(RETRY_S)
                continue
            # A registry that was restarted knows nothing. The loss of a connection may go unnoticed between two calls, so
            # what is reserved is sent again from time to time.
            with trio.move_on_after(RESERVE_S):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_then_cancel, self._registry.wait_lost, nursery.cancel_scope)
                    nursery.start_soon(_then_cancel, self._reservations_changed.wait, nursery.cancel_scope)

    async def _renew_reports(self) -> NoReturn:
        """Send the last check result of each `ttl:` instance to the registry every `RENEW_S`, until cancelled.

        The registry drops a result whose lease (`LEASE_S`) has run out.
        """
        while True:
            await trio.sleep(RENEW_S)
            # Renew all reports: the registry keeps a report for its lease only.
            self._sent_reports.clear()
            for id in list(self._registrations):
                self._reconcile_soon(id)

    async def _refresh_checks(self) -> NoReturn:
        """Fetch the time and output of the last probe of each entry every `REFRESH_S`, until cancelled.

        The watch pushes no change for a check that keeps passing.
        """
        while True:
            await trio.sleep(REFRESH_S)
            try:
                found = await self._registry.instances()
            except MinikubeError:
                continue
            for entry in found:
                known = self._entries.get(entry.uuid)
                # What the watch pushed meanwhile, and an exit that is known here, are newer than this reply.
                if known is None or entry.uuid in self._exited or known.revision != entry.revision:
                    continue
                if known.incarnation == entry.incarnation and known.checked < entry.checked:
                    self._entries[entry.uuid] = entry
                    self._on_entry(entry.uuid, entry)

    # ------------------------------------------------------------ what the registry has

    def _replace_entries(self, entries: dict[str, Instance]) -> None:
        """Replace all known entries, after a connect or a reconnect of the watch, and correct those that differ."""
        logger.debug("connected to the registry, which has %d instances", len(entries))
        lost = [id for id in self._entries if id not in entries]
        self._entries = entries
        # After a reconnect any entry may differ: notify of each, then compare all wanted entries.
        for id in lost:
            self._notify(id, None)
        for id, entry in entries.items():
            self._notify(id, entry)
        for id in {**self._registrations, **self._start_times, **dict.fromkeys(self._exited)}:
            self._reconcile_soon(id)

    def _apply_change(self, change: Change) -> None:
        """Store one changed or removed entry that the watch has pushed, and correct it where it differs."""
        id = change.instance.uuid
        if change.kind is ChangeKind.GONE:
            self._entries.pop(id, None)
            self._notify(id, None)
        else:
            self._entries[id] = change.instance
            self._notify(id, change.instance)
        self._reconcile_soon(id)

    def _notify(self, id: str, entry: Instance | None) -> None:
        """Call `on_entry`, unless the entry is an orphan, and wake the tasks that wait for changed entries."""
        if entry is not None and self._is_orphan(entry):
            self._exited.add(id)
        else:
            self._on_entry(id, entry)
        self._entries_changed.set()
        self._entries_changed = trio.Event()  # each event wakes its waiters once

    # ------------------------------------------------------------ reconciling one instance

    def _reconcile_soon(self, id: str) -> None:
        """Start a task that corrects the registry's entry of the instance, if it differs and no such task runs yet."""
        if id not in self._reconciling and self._differs(id):
            self._reconciling[id] = trio.Event()
            self._nursery.start_soon(self._reconcile, id)

    def _request(self, id: str) -> None:
        """Correct the registry's entry of the instance now, without waiting for the retry delay after a rejection."""
        if id in self._reconciling:
            self._reconciling[id].set()
        self._reconcile_soon(id)

    def _differs(self, id: str) -> bool:
        """Return whether the registry's entry of the instance differs from the wanted one: missing, surplus, old or stale."""
        if id not in self._registrations:
            return id in self._entries and (id in self._exited or self._is_stale(id))
        if id in self._changed or self._is_stale(id) or self._is_replaced(id):
            return True
        report = self._reports.get(id)
        if id not in self._entries:
            return report is None or report.passing  # a reported check registers with its first pass
        return report is not None and self._sent_reports.get(id) is not report

    def _is_stale(self, id: str) -> bool:
        """Return whether the registry's entry of the instance was made by an earlier process of it."""
        entry = self._entries.get(id)
        start_time = self._start_times.get(id)
        if entry is None or start_time is None:
            return False
        return start_time.is_after(entry, time.time(), trio.current_time())

    def _is_replaced(self, id: str) -> bool:
        """Return whether another client has replaced the entry, and it is time to correct it."""
        entry, registration = self._entries.get(id), self._registrations.get(id)
        if entry is None or registration is None:
            return False
        if self._incarnations.get(id) == entry.incarnation:
            return False
        if id not in self._incarnations and _is_registered_as(entry, registration):
            return False
        # Two clients that replace each other's entry must not do so at the speed of the network.
        return trio.current_time() >= self._corrected.get(id, -RENEW_S) + RENEW_S

    async def _reconcile(self, id: str) -> None:
        """Send requests to the registry until its entry of the instance is as wanted; wait between failed tries."""
        rejection, pause = "", REJECTED_RETRY_S
        try:
            while self._differs(id):
                requested = self._reconciling[id] = trio.Event()
                try:
                    await self._reconcile_once(id)
                    rejection, pause = "", REJECTED_RETRY_S
                    # What differs after this came meanwhile, for example a new report.
                    await trio.lowlevel.checkpoint()
                except (RemoteError, UsageError) as error:
                    if str(error) != rejection:
                        rejection, pause = str(error), REJECTED_RETRY_S
                        self._on_rejected(f"registry rejected {id}: {error}")
                    with trio.move_on_after(pause):
                        await requested.wait()
                    pause = REJECTED_RETRY_S if requested.is_set() else min(2 * pause, REJECTED_RETRY_MAX_S)
                except MinikubeError as error:  # the registry is away
                    logger.debug("%s: the registry does not answer: %s", id, error)
                    await trio.sleep(RETRY_S)
        finally:
            del self._reconciling[id]

    async def _reconcile_once(self, id: str) -> None:
        """Send one request to the registry: deregister, register or report, whichever the instance needs first."""
        registration = self._registrations.get(id)
        if registration is None or self._is_stale(id):
            await self._deregister(id)
        elif id not in self._entries or id in self._changed or self._is_replaced(id):
            if self._is_replaced(id) and id not in self._changed:
                self._corrected[id] = trio.current_time()
                entry, report = self._entries[id], self._reports.get(id)
                is_failing = report is not None and not report.passing
                self._on_replaced(
                    f"another client replaced the registration of {id} with {entry.name} at {entry.addr},"
                    f" check {entry.health_check} — it is {'removed' if is_failing else 'registered again as it was'}"
                )
                if is_failing:  # a registration would make it discoverable: it is registered with its next pass
                    await self._deregister(id)
                    return
            self._changed.discard(id)
            try:
                await self._register(id, registration)
            except MinikubeError:
                if id in self._registrations:  # it still differs from what the registry has
                    self._changed.add(id)
                raise
        elif (report := self._reports.get(id)) is not None:
            # There is no report where the entry was stale when `_differs` looked, and is not any more by now.
            await self._send_report(id, report)

    async def _register(self, id: str, registration: Registration) -> None:
        """Register the instance, then wait up to a second until the watch has pushed its entry."""
        before = self._entries.get(id)
        self._incarnations.pop(id, None)
        registered = await self._registry.register(registration)
        if registered != id:
            # Another entry has the address, and the registry keeps an entry's id: remove it, and register again.
            await self._registry.deregister(registered)
            return
        # The watch may be about to push the entry: to register again meanwhile would make a new incarnation.
        with trio.move_on_after(1.0):
            while id in self._registrations:
                entry = self._entries.get(id)
                if entry is not None and (before is None or entry.incarnation != before.incarnation):
                    if _is_registered_as(entry, registration):
                        self._incarnations[id] = entry.incarnation
                    return
                await self._entries_changed.wait()

    async def _send_report(self, id: str, report: _Report) -> None:
        """Send a check result to the registry and mark it as sent.

        Where the registry has no entry of the instance any more, forget the entry: the next passing result registers it
        again.
        """
        entry = self._entries[id]
        try:
            state = CheckState.PASSING if report.passing else CheckState.CRITICAL
            await self._registry.renew(id, state, report.output, entry.incarnation)
        except NotFound:
            # The registry forgot it, or another client has replaced it. The watch may have pushed the other client's entry
            # meanwhile: that one is to be corrected.
            if self._entries.get(id) is entry:
                del self._entries[id]
            return
        if self._reports.get(id) is report:
            self._sent_reports[id] = report

    async def _deregister(self, id: str) -> None:
        """Remove the known entry of the instance from the registry; an entry that was made later stays."""
        entry = self._entries.get(id)
        if entry is None:
            return
        # With the incarnation: a late deregistration never removes a newer entry.
        await self._registry.deregister(id, entry.incarnation)
        # At once, without waiting for the watch: unless it has pushed a newer entry meanwhile.
        if self._entries.get(id) is entry:
            del self._entries[id]
            self._notify(id, None)


def _is_registered_as(entry: Instance, registration: Registration) -> bool:
    """Return whether the entry has the registration's name, address and check."""
    addr = registration.addr
    if isinstance(addr, Address):
        addr = Address(normalize_host(addr.IP), addr.Port, addr.Zone)
    return (entry.name, str(entry.addr), entry.health_check) == (
        registration.name,
        str(addr),
        registration.health_check,
    )


async def _then_cancel(wait: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
    """Wait for something, then cancel the scope."""
    await wait()
    scope.cancel()
