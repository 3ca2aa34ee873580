"""Run the dashboard on this terminal, restore signal handlers afterwards, and report a crash."""

import signal

from minikube.control.client.endpoint import Endpoint
from tui import DashboardError
from tui.app import SIGNALS, Dashboard
from tui.connection.trio_connection import TrioConnection
from tui.terminal_driver import TerminalDriver


def run(endpoint: Endpoint, *, owner: bool) -> str:
    """Run the dashboard until the user quits; return, or raise, what `tui.run_dashboard` describes."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    app = Dashboard(TrioConnection(endpoint), owner=owner, signals=True, driver_class=TerminalDriver)
    try:
        result = app.run()
    finally:
        # Also after a failure inside Textual, which may leave its key-reading thread running; the process could not exit.
        driver = app._driver
        if isinstance(driver, TerminalDriver):
            driver.stop_reading_keys()
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if app.failure is not None:
        raise DashboardError(*app.failure)
    return result or "quit"
