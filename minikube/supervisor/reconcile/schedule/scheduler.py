"""Starts scheduled services when they are due: one task for each.

Where an instance still runs when its next run is due, that run is skipped, with an event. Runs that were missed while the
machine was suspended, or when the clock was set, are made up for by one run. A service that a user stopped is not started
until a user starts it, which also runs it immediately.
"""

import time
from datetime import tzinfo

import trio

from minikube.supervisor.reconcile.reconciler import Reconciler
from minikube.supervisor.reconcile.schedule.cron import local_zone, next_run

MAX_SLEEP_S = 30.0
"""How long to sleep at most: meanwhile the wall clock may be set, or the machine be suspended."""


class TaskScheduler:
    """Starts scheduled services when they are due. Belongs to the trio thread.

    `zone` is used instead of the machine's time zone.
    """

    def __init__(self, reconciler: Reconciler, zone: tzinfo | None = None) -> None:
        self._reconciler = reconciler
        self._zone = zone
        self._due: dict[str, tuple[str, float]] = {}
        """Service → its schedule and when it is due next: an edited manifest does not begin a period anew."""

    async def run(self) -> None:
        """Start each scheduled service whenever its schedule is due, until cancelled.

        When an edited manifest has been applied, its schedules count from then on.
        """
        while True:
            adopted = self._reconciler.manifest_adopted
            schedules = {name: spec.schedule for name, spec in self._reconciler.specs.items() if spec.schedule}
            self._due = {name: due for name, due in self._due.items() if schedules.get(name) == due[0]}
            with adopted.cancels():
                async with trio.open_nursery() as nursery:
                    for name, schedule in schedules.items():
                        nursery.start_soon(self._follow_schedule, name, schedule)
            await adopted.wait()

    async def _follow_schedule(self, name: str, schedule: str) -> None:
        """Start the service `name` whenever `schedule` is due, until cancelled."""
        zone = self._zone = self._zone or local_zone()
        _, due = self._due.get(name) or (schedule, next_run(schedule, time.time(), zone))
        while True:
            self._due[name] = (schedule, due)
            self._reconciler.set_next_run(name, due)
            while (wait := due - time.time()) > 0:
                await trio.sleep(min(wait, MAX_SLEEP_S))
            now = time.time()
            # A period is counted from when its run was due, so that it does not drift; missed runs are left out.
            due = next_run(schedule, due, zone)
            if due <= now:
                due = next_run(schedule, now, zone)
            self._start(name)

    def _start(self, name: str) -> None:
        """Start the instances of a service, except those that a user stopped and those that still run."""
        reconciler = self._reconciler
        for controller in reconciler.replicas.of(name):
            if controller.desired.suspended or reconciler.stop_requested.is_set():
                continue
            if controller.state.process_state.is_active or controller.process is not None:
                text = f"{controller.name} is still running, so this run is skipped"
                reconciler.store.event("schedule.skipped", text, "warning", service=name, instance=controller.name)
            else:
                controller.start()
