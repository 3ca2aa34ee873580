"""Starts scheduled services when they are due: one task for each.

A period goes by a clock that is never set, cron fields by the wall clock: when that is set back, the next run is computed
again. Where an instance still runs when its next run is due, that run is skipped, with an event. Runs that were missed while the
machine was suspended, or when the clock was set, are made up for by one run. A service that a user stopped is not started
until a user starts it, which also runs it immediately.
"""

from datetime import tzinfo
from time import time as wall_time

import trio

from minikube.clock import clock_shift, steady_time
from minikube.supervisor.reconcile.reconciler import Reconciler
from minikube.supervisor.reconcile.schedule.cron import local_zone, next_run

MAX_SLEEP_S = 5.0
"""How long to sleep at most: meanwhile the wall clock may be set, or the machine be suspended."""

REPEATED_S = 60.0
"""A clock that is set back by at most so much (by NTP) does not bring a run of cron a second time."""


class TaskScheduler:
    """Starts scheduled services when they are due. Belongs to the trio thread.

    `zone` is used instead of the machine's time zone.
    """

    def __init__(self, reconciler: Reconciler, zone: tzinfo | None = None) -> None:
        self._reconciler = reconciler
        self._zone = zone
        self._due: dict[str, tuple[str, float]] = {}
        """Service → its schedule and when it is due next, by the clock of the schedule: an edited manifest does not begin a
        period anew."""

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
        is_period = schedule.startswith("every ")
        clock = steady_time if is_period else wall_time
        now = clock()
        _, due = self._due.get(name) or (schedule, next_run(schedule, now, zone))
        last = 0.0
        while True:
            self._due[name] = (schedule, due)
            self._reconciler.set_next_run(name, due + (clock_shift() if is_period else 0.0))
            before = now
            while (wait := due - (now := clock())) > 0:
                if now < before:  # the wall clock was set back
                    break
                before = now
                await trio.sleep(min(wait, MAX_SLEEP_S))
            if now < before:
                due = next_run(schedule, max(now, last) if last - now <= REPEATED_S else now, zone)
                continue
            # A period is counted from when its run was due, so that it does not drift; missed runs are left out.
            last, due = due, next_run(schedule, due, zone)
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
