"""Changes the running services to an edited manifest, by the plan that `diff` has made.

1. Stop removed services, and services with a port that another service gets; dependents before their dependencies.
2. Adjust, restart and start services; dependencies before their dependents.

One apply runs at a time. Each runs to its end, also when its caller is cancelled.
"""

import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import trio
from msgspec import structs

from minikube.control.client.messages import ApplyReply
from minikube.errors import MinikubeError, UsageError
from minikube.manifest import Manifest, ServiceSpec, load_manifest
from minikube.manifest.load import default_name
from minikube.model import ProcessState
from minikube.project.selection.profiles import check_dependencies
from minikube.project_dir import ManifestFiles
from minikube.supervisor.instance.controller import InstanceController
from minikube.supervisor.instance.desired_state import DesiredState
from minikube.supervisor.reconcile.actions import ServiceActions
from minikube.supervisor.reconcile.apply.diff import ApplyPlan, add_outdated, plan
from minikube.supervisor.reconcile.dependency_order import act_in_order
from minikube.supervisor.reconcile.reconciler import Reconciler
from minikube.supervisor.reconcile.rollout.rollout import Rollouts

logger = logging.getLogger(__name__)


class ManifestReconciler:
    """Changes the running services to what an edited manifest says. Belongs to the trio thread.

    Each apply runs as a task in `nursery`, one at a time.
    """

    def __init__(
        self, reconciler: Reconciler, actions: ServiceActions, rollouts: Rollouts, nursery: trio.Nursery
    ) -> None:
        self._reconciler = reconciler
        self._actions = actions
        self._rollouts = rollouts
        self._nursery = nursery
        self._lock = trio.Lock()

    async def apply(self, dry_run: bool = False, *, refuse_empty: bool = False) -> ApplyReply:
        """Read the manifest and change the services to it; return what was changed, when every change is under way.

        With `dry_run` nothing is changed. Raises `ManifestError` for a wrong manifest and `UsageError` for a setting
        that cannot change; then nothing was changed. With `refuse_empty`, a manifest that has lost all its services is
        refused too: an editor may have written only half of it.
        """
        result: list[ApplyReply | Exception] = []
        done = trio.Event()

        async def run() -> None:
            try:
                async with self._lock:
                    result.append(await self._apply(dry_run, refuse_empty))
            except Exception as error:  # a defect is passed to the caller, and ends nothing that runs
                result.append(error)
            done.set()

        # A task of its own: half an apply is worse than one whose caller does not see the reply.
        self._nursery.start_soon(run)
        await done.wait()
        # Raised here, in the caller's task: in the nursery it would end every service.
        if isinstance(result[0], Exception):
            raise result[0]
        return result[0]

    async def _apply(self, dry_run: bool, refuse_empty: bool) -> ApplyReply:
        """Read the manifest and change the services to it, in the task that `apply` has started."""
        reconciler = self._reconciler
        if not reconciler.started:
            raise UsageError("the project is starting; nothing was changed")
        process_table = reconciler.context.process_table
        files = reconciler.manifest.files.map(process_table.current_path)
        if refuse_empty:
            await trio.to_thread.run_sync(_refuse_empty_file, files)
        new = await trio.to_thread.run_sync(load_manifest, files)
        if process_table.relocations and new.name == default_name(files.first.parent):
            # The name is that of the directory, which was moved.
            new = structs.replace(new, name=reconciler.manifest.name)
        if refuse_empty and reconciler.manifest.services and not new.services:
            raise UsageError(f"{new.path.name}: has no services any more — `minikube apply` if that is meant")
        options = reconciler.context.options
        check_dependencies(new.services, options.services, options.profiles)
        apply_plan = add_outdated(
            plan(reconciler.manifest, new, self._idle_services()), new.services, self._outdated_services()
        )
        if dry_run:
            return structs.replace(apply_plan.reply, dry_run=True)
        if reconciler.stop_requested.is_set():
            raise UsageError("the project is stopping; nothing was changed")
        changes = summarize(apply_plan.reply)
        logger.debug("apply of %s: %s", new.path, changes or "no changes")
        if apply_plan.reply.changes:
            reconciler.store.event("apply.started", f"applying the manifest: {changes}")
        errors = await self._carry_out(new, apply_plan)
        if errors:
            text = f"the manifest was not applied whole: {'; '.join(errors)}"
            reconciler.store.event("apply.failed", text, "error")
        elif apply_plan.reply.changes:
            reconciler.store.event("apply.done", f"manifest applied: {changes}")
        return structs.replace(apply_plan.reply, troubles=tuple(errors))

    async def _carry_out(self, new: Manifest, apply_plan: ApplyPlan) -> list[str]:
        """Change the running services to the manifest `new` by the steps of `apply_plan`.

        Return the messages of failed steps; a failed step does not prevent the next ones.
        """
        reconciler = self._reconciler
        before = {name: tuple(spec.depends_on) for name, spec in reconciler.manifest.services.items()}
        newly_selected = reconciler.adopt(new)
        after = {name: tuple(spec.depends_on) for name, spec in new.services.items()}
        stopped_after = {name: _dependents(before, name) for name in (*apply_plan.removed, *apply_plan.vacate)}
        vacated = {
            name: {controller: controller.desired for controller in reconciler.replicas.of(name)}
            for name in apply_plan.vacate
        }
        errors: list[str] = []

        async def attempt(act: Callable[..., Awaitable[None]], *arguments: Any) -> None:
            try:
                await act(*arguments)
            except MinikubeError as error:
                errors.append(str(error))

        async def stop(name: str) -> None:
            await attempt(reconciler.remove_service if name in apply_plan.removed else reconciler.stop_service, name)

        # By the old dependencies: the new manifest may not have these services any more.
        await act_in_order(stopped_after, stop)
        for name in (*apply_plan.adjusted, *apply_plan.replaced, *apply_plan.follows):
            reconciler.adjust_service(name)
        for name in apply_plan.added:
            reconciler.create_service(reconciler.specs[name])

        async def replace(name: str) -> None:
            # Scale first: a surplus instance need not be restarted, and a new one is up to date.
            if name in apply_plan.scaled:
                await attempt(self._actions.scale, name, apply_plan.scaled[name])
            if name in vacated:
                _restore(vacated[name])
            else:
                await attempt(self._replace_instances, name)

        await act_in_order({name: after[name] for name in (*apply_plan.replaced, *apply_plan.follows)}, replace)
        for name, replicas in apply_plan.scaled.items():
            if name not in apply_plan.replaced:
                await attempt(self._actions.scale, name, replicas)
        for name in newly_selected:
            await attempt(self._actions.start, name)
        return errors

    def _idle_services(self) -> frozenset[str]:
        """Return the services of which no instance is to run."""
        running = {controller.spec.name for controller in self._reconciler.replicas if controller.desired.running}
        return frozenset(self._reconciler.manifest.services) - running

    def _outdated_services(self) -> dict[str, ServiceSpec]:
        """Return the services whose processes an earlier apply failed to replace, with the specs of these processes.

        Services with a roll-out under way are left out: it replaces their processes.
        """
        return {
            controller.spec.name: controller.launched_spec
            for controller in self._reconciler.replicas
            if controller.desired.running and controller.is_outdated and controller.spec.name not in self._rollouts
        }

    async def _replace_instances(self, name: str) -> None:
        """Start new processes of a service: restart running instances, start ended ones; stopped ones stay stopped."""
        controllers = self._reconciler.replicas.of(name)
        running = [controller for controller in controllers if controller.desired.running]
        if self._reconciler.stop_requested.is_set():
            return
        if all(_has_no_process(controller) for controller in controllers):
            for controller in running:
                controller.start()
            await trio.lowlevel.checkpoint()
        else:
            # An instance without a process may be just starting with the spec of before.
            stale = [controller for controller in running if controller.is_outdated or controller.process is None]
            await self._actions.replace(stale or running)


def _refuse_empty_file(files: ManifestFiles) -> None:
    """Raise UsageError where one of several files is empty: an editor may have written nothing of it yet."""
    for path in files.existing()[1:]:
        with contextlib.suppress(OSError):  # `load_manifest` reports it
            if not path.read_bytes().strip():
                raise UsageError(f"{path.name}: is empty — `minikube apply` if that is meant")


def _has_no_process(controller: InstanceController) -> bool:
    state = controller.state.process_state
    return state.has_ended or state is ProcessState.STOPPED


def _restore(before: Mapping[InstanceController, DesiredState]) -> None:
    """Start the instances of a service that was stopped to free its port, as far as they were running before.

    `before` are their desired states before that stop.
    """
    for controller, desired in before.items():
        if desired.running:
            controller.start()
        else:
            controller.resume_schedule(desired)


def _dependents(dependencies: Mapping[str, Iterable[str]], name: str) -> tuple[str, ...]:
    """Return the names of the services that depend on `name` directly. `dependencies` is service → its dependencies."""
    return tuple(other for other, needs in dependencies.items() if name in needs)


def summarize(reply: ApplyReply) -> str:
    """Return the changes as a line of text: `web added, product replaced (env.MODE), order adjusted (restart.policy)`."""
    words = []
    for change in reply.changes:
        keys = ", ".join(key.key for key in change.keys[:3]) + (", …" if len(change.keys) > 3 else "")
        words.append(f"{change.service} {change.change}" + (f" ({keys})" if keys else ""))
    return ", ".join(words) or "no changes"
