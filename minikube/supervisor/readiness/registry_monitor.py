"""Asks the registry for its status, and finds out whether it works: whether it answers, and whether it can use its store.

It makes events of that, of mass failures of checks, and of what the registry refused. It refuses to restart the registry, and to
show anything: `run` hands `RegistryHealth` to the parts that show it, and a registry that hangs to the service that restarts it.
"""

import logging
from collections.abc import Callable
from typing import Any, NoReturn

import msgspec
import trio
from msgspec import Struct

from minikube.errors import MinikubeError
from minikube.model import STORE_CONNECTING
from minikube.sdk.trio import Registry

logger = logging.getLogger(__name__)

STATUS_INTERVAL_S = 1.0
"""The interval of the requests for the registry's status, and their time-out."""

UNRESPONSIVE_S = 4.0
"""How long the registry may leave its status unanswered before it counts as hung: a restart takes less."""

HUNG_S = 10.0
"""After so many further seconds a registry that never answered counts as hung for good, and is to be restarted."""

HUNG_POLLS = 5
"""So many requests must have failed, too: a supervisor that was suspended itself has asked none."""

OnEvent = Callable[[str, str, str], object]
"""Called with the kind, text and level of an event."""


class RegistryHealth(Struct, frozen=True):
    """What is wrong with the registry, each in one line; empty where nothing is."""

    problem: str = ""
    """Why it does not work, or not in full."""
    store: str = ""
    """Why it cannot use its store (Redis)."""
    lookups: str = ""
    """Why lookups find no instance. Without its store, the registry answers lookups from memory."""


class StoreStatus(Struct, frozen=True, rename="pascal"):
    """The state of the registry's store (Redis), from the registry's status reply."""

    state: str
    detail: str
    loaded: bool = True
    """Whether the registry has read the store since its own start."""

    @property
    def is_connecting(self) -> bool:
        """Whether the registry's first attempt to connect has not ended yet."""
        return self.state != "ok" and self.detail == STORE_CONNECTING

    @property
    def problem(self) -> str:
        """Why the store cannot be used; empty while it can."""
        return "" if self.state == "ok" else self.detail or "Redis does not answer"


class MassFailureStatus(Struct, frozen=True, rename="pascal"):
    """The registry's last mass failure: so many checks failed at once that it suspected its own network."""

    since: float
    detail: str


class Refusal(Struct, frozen=True, rename="pascal"):
    """A call that the registry refused; `number` counts all of them."""

    number: int
    time: float
    text: str


class RegistryMonitor:
    """Polls the registry's status. Belongs to the trio thread.

    `event` is called when the registry or its store fails or recovers, after a mass failure of checks, and for each refusal.
    `on_health` is called with each `RegistryHealth` that differs from the one before; the first is that of a registry that is well.
    """

    def __init__(
        self,
        registry: Registry,
        event: OnEvent,
        on_health: Callable[[RegistryHealth], object],
        on_hung: Callable[[str], object] = lambda reason: None,
    ) -> None:
        """`on_hung` gets the reason for a restart of the registry, again after each `HUNG_S` without an answer."""
        self._on_hung = on_hung
        self._registry = registry
        self._event = event
        self._on_health = on_health
        self._health = RegistryHealth()
        self._is_unresponsive = False
        self._last_failure = 0.0
        self._last_refusal = 0

    async def run(self) -> NoReturn:
        """Poll the status until cancelled."""
        answered = asked = trio.current_time()
        failures = 0
        while True:
            await trio.sleep(STATUS_INTERVAL_S)
            try:
                status = await self._registry.call("Discovery.Status", (), STATUS_INTERVAL_S)
            except MinikubeError as error:
                # A process that ended is an event of its own, and is running again before this one.
                if trio.current_time() - answered >= UNRESPONSIVE_S:
                    self._on_silence(error)
                failures += 1
                if failures >= HUNG_POLLS and trio.current_time() - asked >= UNRESPONSIVE_S + HUNG_S:
                    self._on_hung(f"does not answer for {trio.current_time() - answered:.0f} s")
                    asked, failures = trio.current_time() - UNRESPONSIVE_S, 0
                continue
            answered = asked = trio.current_time()
            failures = 0
            try:
                self._on_status(status)
            except (msgspec.ValidationError, KeyError, TypeError, ValueError):
                logger.debug("the registry has another version: its status is %r", status)

    def _on_silence(self, error: MinikubeError) -> None:
        if self._is_unresponsive:
            return
        self._is_unresponsive = True
        self._event("registry.unresponsive", f"the registry does not answer: {error}", "error")
        silence = f"does not answer: {error}"
        self._set_health(RegistryHealth(silence, self._health.store, "the registry does not answer"))

    def _on_status(self, status: Any) -> None:
        if self._is_unresponsive:
            self._is_unresponsive = False
            self._event("registry.responsive", "the registry answers again", "info")
        store = msgspec.convert(status["Store"], StoreStatus)
        failure = msgspec.convert(status["LastDoubt"], MassFailureStatus)
        refusals = msgspec.convert(status.get("Refusals", ()), tuple[Refusal, ...])
        refused = int(status.get("Refused", 0))
        self._on_store(store)
        if failure.since > self._last_failure:
            self._last_failure = failure.since
            self._event("registry.mass_failure", f"registry: {failure.detail}", "warning")
        if refused < self._last_refusal:
            self._last_refusal = 0  # the registry was restarted and counts anew
        for refusal in refusals:
            if refusal.number > self._last_refusal:
                self._event("registry.refused_access", f"registry: {refusal.text}", "warning")
        self._last_refusal = refused

    def _on_store(self, store: StoreStatus) -> None:
        if store.is_connecting:
            return  # after a start of the registry, nothing is known yet
        before, problem = self._health.store, store.problem
        effect = "lookups go on from memory" if store.loaded else "lookups fail until it was read"
        if problem and not before:
            self._event("registry.store_changed", f"the registry's store is away: {problem} — {effect}", "error")
        elif before and not problem:
            self._event("registry.store_changed", "the registry's store is back", "info")
        lookups = "" if store.loaded or not problem else f"the registry has not read its store: {problem}"
        if before and lookups and not self._health.lookups:  # it was restarted meanwhile
            self._event("registry.store_changed", f"the registry's store is still away: {problem} — {effect}", "error")
        self._set_health(
            RegistryHealth(f"its store is away: {problem} — {effect}" if problem else "", problem, lookups)
        )

    def _set_health(self, health: RegistryHealth) -> None:
        if health != self._health:
            self._health = health
            self._on_health(health)
