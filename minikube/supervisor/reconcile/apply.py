"""Carries out an edited manifest (floor 3): `change` says what has to be done, this does it in order.

First ends what has to go (removed services, and whoever sits on a port that another one gets), dependents before what they
need. Then adjusts what goes on, restarts what changed, each after what it depends on, and starts what is new. One at a time: an
apply waits for the one before. It is carried out to its end whoever asked for it goes away.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import trio
from msgspec import structs

from minikube.control.client.messages import ApplyReply
from minikube.errors import MinikubeError, UsageError
from minikube.manifest import Manifest, ServiceSpec, load_manifest
from minikube.model import ProcessState
from minikube.supervisor.instance.controller import InstanceController
from minikube.supervisor.instance.desired_state import DesiredState
from minikube.supervisor.reconcile.commands import CommandHandler
from minikube.supervisor.reconcile.diff import ApplyPlan, overdue, plan
from minikube.supervisor.reconcile.ordering import in_order
from minikube.supervisor.reconcile.reconciler import Reconciler


class ManifestReconciler:
    """Belongs to the trio thread. `nursery` is where the supervisor's services are."""

    def __init__(self, core: Reconciler, hands: CommandHandler, nursery: trio.Nursery) -> None:
        self._core = core
        self._hands = hands
        self._nursery = nursery
        self._lock = trio.Lock()

    async def apply(self, dry_run: bool = False, *, refuse_empty: bool = False) -> ApplyReply:
        """Reads the manifest and does what it asks for; returns when all of that is under way, not when it is well.

        Raises `ManifestError` for a manifest that is wrong and `UsageError` for what cannot change; nothing is changed then.
        With `refuse_empty`, one that has lost all its services is wrong: it is half written.
        """
        result: list[ApplyReply | Exception] = []
        done = trio.Event()

        async def run() -> None:
            try:
                async with self._lock:
                    result.append(await self._apply(dry_run, refuse_empty))
            except Exception as error:  # a defect of ours is told to who asked, and ends nothing that runs
                result.append(error)
            done.set()

        self._nursery.start_soon(run)
        await done.wait()
        if isinstance(result[0], Exception):
            raise result[0]
        return result[0]

    async def _apply(self, dry_run: bool, refuse_empty: bool) -> ApplyReply:
        core = self._core
        new = await trio.to_thread.run_sync(load_manifest, core.manifest.path)
        if refuse_empty and core.manifest.services and not new.services:
            raise UsageError(f"{new.path.name}: has no services any more — `minikube apply` if that is meant")
        found = overdue(plan(core.manifest, new), new.services, self._outdated())
        if dry_run:
            return structs.replace(found.reply, dry_run=True)
        if core.asked_to_stop.is_set():
            raise UsageError("the project is stopping; nothing was changed")
        what = summary(found.reply)
        if found.reply.changes:
            core.board.event("apply.begun", f"applying the manifest: {what}")
        troubles = await self._carry_out(new, found)
        if troubles:
            core.board.event("apply.failed", f"the manifest was not applied whole: {'; '.join(troubles)}", "error")
        elif found.reply.changes:
            core.board.event("apply.done", f"manifest applied: {what}")
        return structs.replace(found.reply, troubles=tuple(troubles))

    async def _carry_out(self, new: Manifest, found: ApplyPlan) -> list[str]:
        """What did not come out right: told, and no reason to leave the rest undone."""
        core = self._core
        before = {name: tuple(spec.depends_on) for name, spec in core.manifest.services.items()}
        chosen = core.adopt(new)
        after = {name: tuple(spec.depends_on) for name, spec in new.services.items()}
        going = {name: _dependents(before, name) for name in (*found.removed, *found.vacate)}
        vacated = {name: {one: one.wish for one in core.roster.of(name)} for name in found.vacate}

        troubles: list[str] = []

        async def attempt(act: Callable[..., Awaitable[None]], *arguments: Any) -> None:
            try:
                await act(*arguments)
            except MinikubeError as error:
                troubles.append(str(error))

        async def go(name: str) -> None:
            await attempt(core.forget_service if name in found.removed else core.stop_service, name)

        await in_order(going, go)
        for name in (*found.adjusted, *found.replaced, *found.follows):
            core.adjust_service(name)
        for name in found.added:
            core.open_service(core.specs[name])

        async def again(name: str) -> None:
            if name in found.scaled:  # first: nobody is restarted who is to go, and who comes is new anyway
                await attempt(self._hands.scale, name, found.scaled[name])
            if name in vacated:
                _back(vacated[name])
            else:
                await attempt(self._again, name)

        await in_order({name: after[name] for name in (*found.replaced, *found.follows)}, again)
        for name, replicas in found.scaled.items():
            if name not in found.replaced:
                await attempt(self._hands.scale, name, replicas)
        for name in chosen:
            await attempt(self._hands.start, name)
        return troubles

    def _outdated(self) -> dict[str, ServiceSpec]:
        """Services that an earlier apply could not renew whole, and what runs of them; what is rolled out just now becomes new."""
        runners = (one for one in self._core.roster if one.wish.runs and one.outdated)
        return {one.spec.name: one.launched for one in runners if one.spec.name not in self._hands.rollouts}

    async def _again(self, name: str) -> None:
        """New processes for a service: of what runs by a restart, of what has ended by a start, of what was stopped none."""
        runners = self._core.roster.of(name)
        wanted = [runner for runner in runners if runner.wish.runs]
        if self._core.asked_to_stop.is_set():
            return
        if all(runner.life.state.has_ended or runner.life.state is ProcessState.STOPPED for runner in runners):
            for runner in wanted:
                runner.start()
            await trio.lowlevel.checkpoint()
        else:
            # What has no process may be just starting as it was before.
            stale = [runner for runner in wanted if runner.outdated or runner.process is None]
            await self._hands.renew(stale or wanted)


def _back(before: Mapping[InstanceController, DesiredState]) -> None:
    """What was stopped to make room is wanted as it was; new processes are new anyway."""
    for runner, wish in before.items():
        if wish.runs:
            runner.start()
        else:
            runner.rest_as(wish)


def _dependents(dependencies: Mapping[str, Iterable[str]], name: str) -> tuple[str, ...]:
    return tuple(other for other, needs in dependencies.items() if name in needs)


def summary(reply: ApplyReply) -> str:
    """`web added, product replaced (env.MODE), order adjusted (restart.policy)`."""
    words = []
    for change in reply.changes:
        keys = ", ".join(key.key for key in change.keys[:3]) + (", …" if len(change.keys) > 3 else "")
        words.append(f"{change.service} {change.change}" + (f" ({keys})" if keys else ""))
    return ", ".join(words) or "nothing differs"
