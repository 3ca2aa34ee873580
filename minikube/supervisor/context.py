"""The context of one run of a project: its directory, options, state store, process table, logs and addresses.

It holds nothing about services. `reconcile` and `backing` use it.
"""

import os
from pathlib import Path

from minikube.control.state_store import StateStore
from minikube.engine.leftovers import EngineLeftovers
from minikube.logs.collector import LogCollector
from minikube.project.ids import project_key
from minikube.project_dir import log_dir
from minikube.supervisor.cancel_event import CancelEvent
from minikube.supervisor.launch_options import LaunchOptions
from minikube.supervisor.relocation import Relocation
from minikube.supervisor.runtime.process.process_table import ProcessTable


class RunContext:
    """Holds what all parts of the supervisor share during one run of a project. Belongs to the trio thread."""

    def __init__(
        self,
        directory: Path,
        options: LaunchOptions,
        store: StateStore,
        process_table: ProcessTable,
        registry_address: str,
    ) -> None:
        self.directory = directory
        """The project's `.minikube` directory."""
        self.project_key = project_key(os.uname().nodename, directory.parent)
        """What the ids of the project's instances are derived from."""
        self.options = options
        self.store = store
        self.process_table = process_table
        self.logs = LogCollector(log_dir(directory), self._on_log_notice)
        self.registry_address = registry_address
        """Where the registry listens. With `listen = "auto"` it is known once the registry is ready."""
        self.relayed_registry = registry_address
        """Where the registry listens for the relays of container networks. It tells their clients from this user there."""
        self.redis_url = ""
        self.registry_secret = ""
        """What the registry tokens of instances are derived from."""
        self.stop_requested = CancelEvent()
        """Set when the whole project is to stop."""
        self.immediate_stop_requested = CancelEvent()
        """Set when no time is left for graceful stops: what still runs is killed."""
        self.relocated = CancelEvent()
        """Set, and replaced, when the project directory was moved."""
        self.engine_leftovers: EngineLeftovers | None = None
        """Containers and networks that the engine still has at the end."""

        self.exit_code = 0
        """The exit code of a service that has ended the project."""

    def shutdown(self, now: bool = False) -> None:
        """Request that the whole project stops; with `now`, kill everything without graceful stops. Return immediately."""
        if now:
            self.immediate_stop_requested.set()
        self.stop_requested.set()

    def relocate(self, relocation: Relocation) -> None:
        """Use the new place of the project directory, which was moved."""
        self.process_table.relocate(relocation)
        self.directory = relocation.path(self.directory)
        self.redis_url = relocation.text(self.redis_url)
        self.logs.move(log_dir(self.directory))
        # Replaced before it is set: a task that wakes up waits for the next move.
        relocated, self.relocated = self.relocated, CancelEvent()
        relocated.set()

    def _on_log_notice(self, event: str, text: str, service: str, instance: str) -> None:
        self.store.event(event, text, "warning", service=service, instance=instance)
