"""The dashboard: a terminal user interface (Textual) for a running project.

    run             open the dashboard on this terminal: signal handlers, the result
    app             the Textual app: handles messages, asks before destructive commands, decides what quitting means
    state           the newest snapshot, the connection's state, the usage history and the commands in flight
    connection/     snapshots and logs from the supervisor, commands to it
    render/         pure functions: a snapshot becomes rows, cells, details and log entries
    screens/        the main screen, the confirmation dialog and the help page
    widgets/        the table, the log view and the lines at the top and bottom
    terminal_driver the terminal, and what happens when it is closed
    screenshot      `python -m tui.screenshot`: an SVG of the dashboard for the documentation
    dashboard.tcss  the style sheet

It shows what the supervisor reports and sends commands to it. It refuses to decide anything about services. From
`minikube` it imports the model, the errors, text helpers and the control API's client, nothing else.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minikube.control.client.endpoint import Endpoint

__all__ = ["DashboardError", "run_dashboard"]


class DashboardError(Exception):
    """The dashboard crashed, and has restored the terminal. The text is the reason in a line."""

    def __init__(self, reason: str, report: str) -> None:
        """`report` is the traceback, or empty."""
        super().__init__(reason)
        self.report = report


def run_dashboard(endpoint: "Endpoint", *, owner: bool) -> str:
    """Run the dashboard for the project of the control API at `endpoint` until the user quits. Call it on the main thread.

    Return `quit`, `interrupt` (Ctrl-C), `stop` (the caller must stop the project) or `detach` (the project must keep
    running). `owner` says that the calling command started the project: only then are `stop` and `detach` possible, and
    TERM and HUP return `stop`, and `interrupt` asks for a stop, too. Raises DashboardError after a crash, with the terminal
    restored. Signal handlers are restored before it returns.
    """
    # Textual is imported here: it takes longer to import than most commands of the CLI take to run.
    from tui.run import run

    return run(endpoint, owner=owner)
