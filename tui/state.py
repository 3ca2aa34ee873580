"""The state of the dashboard: the newest snapshot, the connection's state, recent CPU usage and the commands in flight."""

import time
from collections import deque

from minikube.control.client.trio import SILENT_S
from minikube.model import Snapshot, Usage
from tui.connection.messages import ConnectionState
from tui.render.columns import RenderContext

CPU_SAMPLES = 32
"""CPU samples kept for each instance, for the sparkline."""


class DashboardState:
    """The state that the app updates and the screens read: the newest snapshot, the state of the connection, the history of
    CPU usage, and the commands in flight.
    """

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        """The newest snapshot; None until the first one was received."""
        self.connection: ConnectionState = "connecting"
        self.connection_detail = ""
        """The reason for a lost connection."""
        self.heard = time.time()
        """When the supervisor was last known to answer, while the connection is not live (Unix seconds)."""
        self.in_flight: dict[str, int] = {}
        """How many unanswered commands there are for each target."""
        self._usage: dict[str, Usage] = {}
        self._cpu_history: dict[str, deque[float]] = {}

    @property
    def render_context(self) -> RenderContext:
        """The `RenderContext` for the current state."""
        # While the supervisor does not answer, ages stand still: nothing newer is known.
        now = self.heard if self.connection in ("silent", "lost") else time.time()
        return RenderContext(now, self._usage, self._cpu_history, self.in_flight)

    def set_connection(self, connection: ConnectionState, detail: str = "") -> None:
        """Change the state of the connection; `detail` is the reason for a lost one."""
        if self.connection == "live" and connection != "live":
            self.heard = time.time() - (SILENT_S if connection == "silent" else 0.0)
        self.connection, self.connection_detail = connection, detail

    def set_snapshot(self, snapshot: Snapshot) -> None:
        """Replace the snapshot and add its CPU usage to the history."""
        self.snapshot = snapshot
        usage = {sample.id: sample for sample in snapshot.usage}
        for key, sample in usage.items():
            # A snapshot without new usage has the usage of the snapshot before: the same objects.
            if sample is not self._usage.get(key):
                self._cpu_history.setdefault(key, deque(maxlen=CPU_SAMPLES)).append(sample.cpu)
        for key in self._cpu_history.keys() - usage.keys():
            del self._cpu_history[key]
        self._usage = usage

    def command_sent(self, target: str) -> None:
        """Count a command for `target` as in flight."""
        self.in_flight[target] = self.in_flight.get(target, 0) + 1

    def command_finished(self, target: str) -> None:
        """Count a command for `target` as answered."""
        remaining = self.in_flight.get(target, 0) - 1
        if remaining > 0:
            self.in_flight[target] = remaining
        else:
            self.in_flight.pop(target, None)
