"""What is there before the first service and after the last (floor 3): and the wish that everything ends.

It refuses to know of any service.
"""

import os
from pathlib import Path

from minikube.control.state_store import Board
from minikube.engine.engine import Left
from minikube.logs.follow import LogBook
from minikube.project.ids import project_key
from minikube.supervisor.cancel_event import Interrupt
from minikube.supervisor.daemon.ipc import LaunchOptions
from minikube.supervisor.runtime.process.process import Household


class Site:
    """One run of one project. Belongs to the trio thread."""

    def __init__(self, state: Path, options: LaunchOptions, board: Board, household: Household, registry: str) -> None:
        self.state = state
        self.project = project_key(os.uname().nodename, state.parent)
        self.options = options
        self.board = board
        self.household = household
        self.logbook = LogBook(state / "logs")
        self.logbook.notice = self._notice
        self.registry = registry
        """Where it listens; known for sure once it does."""
        self.redis_url = ""
        self.asked_to_stop = Interrupt()
        self.at_once = Interrupt()
        """Nobody has time for a graceful stop any more."""
        self.left: Left | None = None
        """What an engine still has at the end."""

    def shutdown(self, now: bool = False) -> None:
        """Begins to end everything. Returns immediately."""
        if now:
            self.at_once.set()
        self.asked_to_stop.set()

    def _notice(self, service: str, instance: str, text: str) -> None:
        self.board.event("logs.dropped", text, "warning", service=service, instance=instance)
