"""What `service` asks about callers: their users and rights, which names are reserved, what was refused. For the trio thread.

The user at the other end of a connection is asked of the kernel only for calls that need it: lookups never ask.
"""

import contextlib
import logging
import os
import time
from collections import deque
from typing import NoReturn
from weakref import WeakKeyDictionary

import trio
from msgspec import Struct

from minikube.defaults import RELAY_SOURCE
from minikube.errors import Unavailable
from minikube.jsonrpc.messages import CONFLICT, UNAUTHORIZED, RpcError
from minikube.linux.processes import read_stat
from minikube.net.auth import is_token
from minikube.net.rpc.interface import RpcConnection
from minikube.project.registry_tokens import command_token, verify_instance_token
from minikube.registry.access.policy import (
    Caller,
    Credential,
    ServiceReservation,
    is_instance_owner,
    owner_of,
    refuse_change,
    refuse_registration,
)
from minikube.registry.access.rights import Rights
from minikube.registry.access.tokens import REFRESH_S, StoredToken, TokenTable
from minikube.registry.catalog.records import Record
from minikube.registry.config import RegistryConfig

LOGGER = logging.getLogger("minikube.registry")

RESERVE_TIMEOUT_S = 5.0
"""How long a registration waits for the supervisor to say which names are reserved, after a restart of the registry."""

NEW_INSTANCE_TIMEOUT_S = 1.0
"""How long an instance's call waits for the supervisor to say that the instance is its own: it may just have been made."""

REFUSAL_INTERVAL_S = 10.0
"""The same refusal is reported once in this time."""

MAX_REFUSALS = 20
"""Refusals that are kept for the supervisor: at most so many become events in one interval of its status requests."""


class Refusal(Struct, frozen=True, rename="pascal"):
    """A call that was refused, for an event. `number` counts all refusals; it grows by more than 1 where some are left out."""

    number: int
    time: float
    text: str


class AccessControl:
    """The callers of one registry. Belongs to the trio thread."""

    def __init__(self, config: RegistryConfig, tokens: TokenTable) -> None:
        self.tokens = tokens
        self.refusals: deque[Refusal] = deque(maxlen=MAX_REFUSALS)
        self.refusal_count = 0
        self._config = config
        self._operators = frozenset({0, os.geteuid()})
        self._credentials: WeakKeyDictionary[RpcConnection, tuple[Credential, str]] = WeakKeyDictionary()
        """What connections have presented, and the hash of the stored token."""
        self._reservations: dict[str, ServiceReservation] = {}
        self._next_reservations: dict[str, ServiceReservation] = {}
        self._is_reserved = not config.supervisor_token
        self._reserved = trio.Event()
        self._reported: dict[str, float] = {}

    # ------------------------------------------------------------ callers

    def caller(self, connection: RpcConnection) -> Caller:
        """Return the caller: its user and its credential. Asks the kernel for the user, once for each connection."""
        # Kept with the connection until its credential changes: made anew it would cost a renewal a third of its time.
        caller = connection.session
        if caller is None:
            peer = connection.peer
            user = None if peer.host == RELAY_SOURCE else peer.uid
            caller = connection.session = Caller(user, user in self._operators, self._credential(connection))
        assert isinstance(caller, Caller)
        return caller

    def may_read_output(self, connection: RpcConnection) -> bool:
        """Return whether the output of checks is shown on this connection."""
        return self._credential(connection).rights.may_read_output or self.caller(connection).may_read_output

    def authenticate_known(self, connection: RpcConnection, token: object) -> bool:
        """Accept a token that is known without asking Redis; return whether it is one."""
        if not isinstance(token, str):
            return False
        config, secret = self._config, self._config.supervisor_token
        hash = ""
        if is_token(token, config.token):
            credential = Credential(Rights(admin=True), is_registry_token=True)
        elif is_token(token, secret):
            credential = Credential(Rights(admin=True), is_supervisor=True)
        elif secret and is_token(token, command_token(secret)):
            credential = Credential(Rights(admin=True))
        elif instance := verify_instance_token(secret, token):
            credential = Credential(instance=instance)
        elif stored := self.tokens.find(token):
            credential, hash = Credential(stored.rights, stored.name), stored.hash
        else:
            return False
        self._credentials[connection] = (credential, hash)
        connection.session = None
        connection.authenticated = True
        # The supervisor and the project's own services always have room for a connection.
        connection.is_protected = credential.is_supervisor or credential.instance is not None
        return True

    async def authenticate(self, connection: RpcConnection, token: object) -> bool:
        """Accept a token, also one that another registry made a moment ago; return whether it is valid.

        Raises Unavailable where Redis cannot be asked for it: a valid token must not be called wrong.
        """
        if self.authenticate_known(connection, token):
            await trio.lowlevel.checkpoint()
            return True
        await self.tokens.refresh()
        return self.authenticate_known(connection, token)

    async def find_token(self, token: str) -> StoredToken | None:
        """Return a stored token, also one that another registry made a moment ago; None for an unknown one."""
        found = self.tokens.find(token)
        if found is None:
            with contextlib.suppress(Unavailable):
                await self.tokens.refresh()
            found = self.tokens.find(token)
        return found

    def drop_revoked(self) -> None:
        """Take the rights of revoked tokens from the connections that presented them."""
        for connection, (_, hash) in list(self._credentials.items()):
            if hash and not self.tokens.is_valid(hash):
                del self._credentials[connection]
                connection.session = None
                connection.authenticated = False

    async def refresh_tokens(self) -> NoReturn:
        """Read the stored tokens every `REFRESH_S`, for ever."""
        reported = ""
        while True:
            try:
                await self.tokens.refresh()
                self.drop_revoked()
                reported = ""
            except Unavailable as error:
                if str(error) != reported:
                    LOGGER.warning("the tokens cannot be read, those of the last reading go on: %s", error)
                reported = str(error)
            await trio.sleep(REFRESH_S)

    def _credential(self, connection: RpcConnection) -> Credential:
        found = self._credentials.get(connection)
        return found[0] if found else Credential()

    # ------------------------------------------------------------ reserved names

    def reserve(self, services: dict[str, ServiceReservation], *, is_first: bool, is_last: bool) -> None:
        """Take a part of the manifest's services; the last part makes all of them count."""
        if is_first:
            self._next_reservations = {}
        self._next_reservations.update(services)
        if is_last:
            self._reservations, self._next_reservations = self._next_reservations, {}
            self._is_reserved = True
            self._reserved.set()
            self._reserved = trio.Event()

    def is_own_instance(self, record: Record) -> bool:
        """Return whether the record is one of an instance that the supervisor has."""
        reservation = self._reservations.get(record.instance.name)
        return reservation is not None and record.id in reservation.instances

    def own_instance_id(self, caller: Caller, record: Record) -> str:
        """Return the id of the supervisor's instance that registers `record` with its token; empty for other callers."""
        instance, reservation = caller.credential.instance, self._reservations.get(record.instance.name)
        if instance is None or reservation is None or instance.service != record.instance.name:
            return ""
        return instance.id if instance.id in reservation.instances else ""

    def is_ready(self, caller: Caller) -> bool:
        """Return whether `wait_reserved` would return at once for this caller."""
        return caller.credential.is_supervisor or (self._is_reserved and self._is_known(caller))

    async def wait_reserved(self, caller: Caller) -> None:
        """Wait until it is known which names are reserved, and a new instance of the supervisor too. Raises Unavailable."""
        if caller.credential.is_supervisor:
            return
        if not self._is_reserved:
            with trio.move_on_after(RESERVE_TIMEOUT_S):
                await self._reserved.wait()
            if not self._is_reserved:
                raise Unavailable("the supervisor has not told the registry the names of its services yet; try again")
        if not self._is_known(caller):
            with trio.move_on_after(NEW_INSTANCE_TIMEOUT_S):
                while not self._is_known(caller):
                    await self._reserved.wait()

    def _is_known(self, caller: Caller) -> bool:
        """Return whether the caller's token is of no instance, of one that the supervisor has, or of a `run` that goes on."""
        instance = caller.credential.instance
        if instance is None:
            return True
        reservation = self._reservations.get(instance.service)
        if reservation is None or not instance.is_run:
            return reservation is not None and instance.id in reservation.instances
        pid, start_time = instance.run_process
        found = read_stat(pid) if pid else None
        return found is not None and found.is_alive and found.start_time == start_time

    # ------------------------------------------------------------ decisions

    def check_registration(self, caller: Caller, record: Record) -> str:
        """Return the owner of the entry that the caller registers. Raises RpcError -32001 if it may not."""
        caller = self._without_stale_token(caller)
        if reason := refuse_registration(caller, record, self._reservations):
            self._refuse(UNAUTHORIZED, reason)
        return owner_of(caller, record)

    def check_change(self, caller: Caller, record: Record, *, replaces: bool = False) -> None:
        """Raise RpcError -32009 if the caller may not change the entry."""
        if reason := refuse_change(self._without_stale_token(caller), record, replaces=replaces):
            self._refuse(CONFLICT, reason)

    def outranks(self, record: Record, stray: Record) -> bool:
        """Return whether `record`, which an instance of the supervisor owns, takes its address from `stray`, which none owns."""
        return is_instance_owner(record.owner) and not is_instance_owner(stray.owner)

    def check_replace(self, caller: Caller, record: Record, old: Record) -> None:
        """Raise RpcError -32009 if the caller may not register `record` in place of `old`."""
        is_same_name = record.instance.name == old.instance.name
        if not (is_same_name and self.outranks(record, old)):
            self.check_change(caller, old, replaces=True)

    def check_admin(self, connection: RpcConnection) -> None:
        """Raise RpcError -32001 unless the caller may manage tokens: the registry's user, root, or an admin token."""
        caller = self.caller(connection)
        if not (caller.is_admin or caller.is_operator):
            self._refuse(UNAUTHORIZED, f"{caller} may not manage tokens — use a token with the right admin")

    def check_supervisor(self, connection: RpcConnection) -> None:
        """Raise RpcError -32001 unless the caller is the supervisor."""
        if not self._credential(connection).is_supervisor:
            self._refuse(UNAUTHORIZED, "only the supervisor may call this")

    def refuse_token(self, connection: RpcConnection) -> NoReturn:
        """Raise RpcError -32001 for a wrong token."""
        caller = self.caller(connection)
        self._refuse(UNAUTHORIZED, "the token is wrong", f"{caller} sent a token that is wrong or revoked")

    def _without_stale_token(self, caller: Caller) -> Caller:
        """Return the caller without the token of an instance that the supervisor does not have."""
        return caller if self._is_known(caller) else Caller(caller.user, caller.is_operator)

    def _refuse(self, code: int, text: str, report: str = "") -> NoReturn:
        self.refusal_count += 1
        now, report = time.time(), report or text
        if now - self._reported.get(report, 0.0) >= REFUSAL_INTERVAL_S:
            self._reported = {old: at for old, at in self._reported.items() if now - at < REFUSAL_INTERVAL_S}
            if len(self._reported) < MAX_REFUSALS:
                self._reported[report] = now
                self.refusals.append(Refusal(self.refusal_count, now, report))
        raise RpcError(code, f"{'conflict' if code == CONFLICT else 'unauthorized'}: {text}")
