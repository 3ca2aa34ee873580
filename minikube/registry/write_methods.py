"""The RPC methods that change instances: Register, Deregister, Renew and Maintenance.

Each checks the caller's rights, before the write and again at the record that it is about to replace or remove. It refuses to
probe (`checks`) and to know Redis (`node`).
"""

import secrets
import time
from typing import Any

from msgspec.structs import replace

from minikube.jsonrpc.messages import NOT_FOUND, Request, RpcError
from minikube.net.rpc.interface import RpcConnection
from minikube.registry.access.access_control import AccessControl
from minikube.registry.call_order import CallOrder
from minikube.registry.catalog.records import Record
from minikube.registry.checks.scheduler import CheckScheduler
from minikube.registry.checks.transitions import MAX_OUTPUT, end_maintenance, start_maintenance
from minikube.registry.node import RegistryNode
from minikube.registry.validation import arguments, as_incarnation, as_record, as_type, invalid

FIRST_RESULT_TIMEOUT_S = 1.0
"""How long `Discovery.Register` waits for the first check, so that most instances are discoverable when it returns."""


class WriteMethods:
    """The methods of one registry that change instances."""

    def __init__(
        self,
        node: RegistryNode,
        checks: CheckScheduler,
        access: AccessControl,
        order: CallOrder,
        allow_checks: tuple[str, ...],
    ) -> None:
        self._node = node
        self._checks = checks
        self._access = access
        self._order = order
        self._allow_checks = allow_checks

    async def register(self, request: Request, connection: RpcConnection) -> Any:
        """Register an instance and return its id, after its first check or `FIRST_RESULT_TIMEOUT_S`. Raises RpcError."""
        new_id = secrets.token_hex(4)
        record = as_record(request.params, self._allow_checks, lambda: new_id, time.time())
        caller = self._access.caller(connection)
        await self._access.wait_reserved(caller)
        record = replace(record, owner=self._access.check_registration(caller, record))
        if record.id == new_id:  # the caller named none
            record = self._with_instance_id(record, self._access.own_instance_id(caller, record))
        is_own = self._access.is_own_instance(record)
        stored = await self._node.register(
            record,
            lambda old: self._access.check_replace(caller, record, old),
            # The supervisor knows its instances by their ids.
            keeps_id=lambda holder: is_own or self._access.outranks(record, holder),
            may_use_reserve=caller.credential.is_supervisor or is_own,
        )
        self._order.end(request, connection)  # it has taken effect: later calls need not wait for its first check
        await self._checks.wait_first_result(stored.id, FIRST_RESULT_TIMEOUT_S)
        return stored.id

    def _with_instance_id(self, record: Record, id_: str) -> Record:
        """Return the record under an instance's id, unless the id is empty or has an entry at another address: a second port."""
        known = self._node.catalog.records.get(id_)
        if not id_ or (known is not None and known.address_key != record.address_key):
            return record
        return replace(record, instance=replace(record.instance, uuid=id_))

    async def deregister(self, request: Request, connection: RpcConnection) -> Any:
        """Remove an instance; return whether there was one. Raises RpcError if the caller may not."""
        id_argument, incarnation = arguments(request.params, "Id", "Incarnation", required=1)
        id_, number = as_type(id_argument, str, "Id"), as_incarnation(incarnation)
        if await self._find_record(id_) is None:  # another registry may have accepted it a moment ago
            return False
        caller = self._access.caller(connection)
        await self._access.wait_reserved(caller)
        return await self._node.remove(id_, number, lambda record: self._access.check_change(caller, record))

    def try_renew(self, request: Request, connection: RpcConnection) -> bool | None:
        """Renew a lease if that needs no waiting, and return True; return None if `renew` must do it. Raises RpcError."""
        # Nearly all renewals are like this. In a task of its own each would cost five times as much.
        node, (id_, state, _, incarnation) = self._node, _renewal(request)
        record, caller = node.catalog.records.get(id_), self._access.caller(connection)
        if state or record is None or not self._access.is_ready(caller) or self._order.has_calls(id_, connection):
            return None
        if record.is_ttl and node.store.shares_renewals:
            return None
        _check_incarnation(record, incarnation)
        self._access.check_change(caller, record)
        self._checks.renew(id_)
        return True

    async def renew(self, request: Request, connection: RpcConnection) -> Any:
        """Renew the lease of an instance, or report its state, and return True. Raises RpcError."""
        id_, state, output, incarnation = _renewal(request)
        record = await self._find_record(id_)
        if record is None:
            raise RpcError(NOT_FOUND, f"{id_[:80]}: no such instance — register again")
        _check_incarnation(record, incarnation)
        await self._check_change(connection, record)
        if not state:
            self._checks.renew(id_)
        elif not record.is_ttl:
            raise invalid(f'State: {id_} is checked by the registry; only a "ttl:" HealthCheck reports its own state')
        else:
            if not await self._checks.report_state(id_, state == "passing", output[:MAX_OUTPUT]):
                raise RpcError(NOT_FOUND, f"{id_[:80]}: it was removed or replaced meanwhile — register again")
        # A report of `critical` is not shared: the node that checks the instance would take the renewal for a pass.
        if record.is_ttl and state != "critical":
            await self._node.share_renewal(id_)
        return True

    async def maintenance(self, request: Request, connection: RpcConnection) -> Any:
        """Begin or end the maintenance of an instance and return True. Raises RpcError."""
        id_argument, on, reason_argument = arguments(request.params, "Id", "On", "Reason", required=2)
        id_, is_on = as_type(id_argument, str, "Id"), as_type(on, bool, "On")
        reason = as_type(reason_argument or "", str, "Reason")
        record = await self._find_record(id_)
        if record is None:
            raise RpcError(NOT_FOUND, f"{id_[:80]}: no such instance")
        await self._check_change(connection, record)
        change = start_maintenance(reason) if is_on else end_maintenance()
        if await self._node.update(id_, record.instance.incarnation, change) is None:
            raise RpcError(NOT_FOUND, f"{id_}: it was replaced or removed meanwhile")
        return True

    async def _find_record(self, id_: str) -> Record | None:
        """Return the record of an id, also one that another registry acknowledged just now; None if there is none."""
        if id_ not in self._node.catalog.records:
            await self._node.catch_up()
        return self._node.catalog.records.get(id_)

    async def _check_change(self, connection: RpcConnection, record: Record) -> None:
        """Raise RpcError -32009 if the caller may not change the record."""
        caller = self._access.caller(connection)
        await self._access.wait_reserved(caller)
        # It may have been replaced during the wait.
        self._access.check_change(caller, self._node.catalog.records.get(record.id, record))


def _renewal(request: Request) -> tuple[str, str, str, int | None]:
    """Return the id, state, output and incarnation of a `Discovery.Renew` call. Raises RpcError."""
    params = request.params
    if type(params) is list and len(params) == 1 and type(params[0]) is str:
        return params[0], "", "", None
    id_, state, output, incarnation = arguments(params, "Id", "State", "Output", "Incarnation", required=1)
    if state not in (None, "", "passing", "critical"):
        raise invalid(f'State: expected "passing" or "critical", got {str(state)[:80]!r}')
    text = as_type(output or "", str, "Output") if state else ""
    return as_type(id_, str, "Id"), state or "", text, as_incarnation(incarnation)


def _check_incarnation(record: Record, incarnation: int | None) -> None:
    """Raise RpcError -32004 if the record is another incarnation than the one that the caller names."""
    if incarnation and record.instance.incarnation != incarnation:
        raise RpcError(
            NOT_FOUND,
            f"{record.id[:80]}: it was replaced: the incarnation is {record.instance.incarnation}, not {incarnation}"
            " — register again",
        )
