"""Starts scheduled services when their time has come (floor 3): one task for each of them.

A run that is still going on when the next is due goes on, and that one is skipped and said to be: never two at a time. After
a suspend or a clock that was set, what was missed is run once. A service that was stopped by hand is left alone until
it is started by hand, which also runs it.
"""

import time
from datetime import tzinfo

import trio

from minikube.supervisor.reconcile.reconciler import Reconciler
from minikube.supervisor.reconcile.schedule import local_zone, next_run

LOOK_AGAIN_S = 30.0
"""How long we sleep at most: the wall clock may be set, or the machine be suspended, meanwhile."""


class TaskScheduler:
    """Belongs to the trio thread."""

    def __init__(self, core: Reconciler, zone: tzinfo | None = None) -> None:
        self._core = core
        self._zone = zone
        self._due: dict[str, tuple[str, float]] = {}
        """Service → its schedule, and when it runs next by that: another manifest does not begin a period anew."""

    async def run(self) -> None:
        """For ever; follows the manifest."""
        while True:
            adopted = self._core.adopted
            scheduled = {name: spec.schedule for name, spec in self._core.specs.items() if spec.schedule}
            self._due = {name: due for name, due in self._due.items() if scheduled.get(name) == due[0]}
            with adopted.cancels():
                async with trio.open_nursery() as nursery:
                    for name, schedule in scheduled.items():
                        nursery.start_soon(self._keep, name, schedule)
            await adopted.wait()

    async def _keep(self, name: str, schedule: str) -> None:
        zone = self._zone = self._zone or local_zone()
        _, at = self._due.get(name) or (schedule, next_run(schedule, time.time(), zone))
        while True:
            self._due[name] = (schedule, at)
            self._core.expect(name, at)
            while (wait := at - time.time()) > 0:
                await trio.sleep(min(wait, LOOK_AGAIN_S))
            late = time.time()
            # A period is counted from when its run was due, so that it does not drift; what was missed is not made up for.
            at = next_run(schedule, at, zone)
            if at <= late:
                at = next_run(schedule, late, zone)
            self._run(name)

    def _run(self, name: str) -> None:
        core = self._core
        for runner in core.roster.of(name):
            if runner.wish.rests or core.asked_to_stop.is_set():
                continue
            if runner.life.state.is_active or runner.process is not None:
                text = f"{runner.name} is still running, so this run is skipped"
                core.board.event("schedule.skipped", text, "warning", service=name, instance=runner.name)
            else:
                runner.start()
