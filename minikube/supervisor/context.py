"""What is there before the first service and after the last (floor 3): and the wish that everything ends.

It refuses to know of any service.
"""

import os
from pathlib import Path

from minikube.control.state_store import StateStore
from minikube.engine.engine import EngineLeftovers
from minikube.logs.collector import LogCollector
from minikube.project.ids import project_key
from minikube.project_dir import log_dir
from minikube.supervisor.cancel_event import CancelEvent
from minikube.supervisor.daemon.ipc import LaunchOptions
from minikube.supervisor.runtime.process.process import ProcessTable


class RunContext:
    """One run of one project. Belongs to the trio thread."""

    def __init__(
        self, state: Path, options: LaunchOptions, board: StateStore, household: ProcessTable, registry: str
    ) -> None:
        self.state = state
        self.project = project_key(os.uname().nodename, state.parent)
        self.options = options
        self.board = board
        self.household = household
        self.logbook = LogCollector(log_dir(state), self._notice)
        self.registry = registry
        """Where it listens; known for sure once it does."""
        self.redis_url = ""
        self.asked_to_stop = CancelEvent()
        self.at_once = CancelEvent()
        """Nobody has time for a graceful stop any more."""
        self.left: EngineLeftovers | None = None
        """What an engine still has at the end."""

    def shutdown(self, now: bool = False) -> None:
        """Begins to end everything. Returns immediately."""
        if now:
            self.at_once.set()
        self.asked_to_stop.set()

    def _notice(self, service: str, instance: str, text: str) -> None:
        self.board.event("logs.dropped", text, "warning", service=service, instance=instance)
