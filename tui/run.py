"""Runs the dashboard on this terminal (floor 4): signals in, an answer out."""

import signal

from minikube.control.client.blocking import Endpoint
from tui.app import SIGNALS, Dashboard
from tui.driver import TerminalDriver
from tui.stream import StreamFeed


def run(endpoint: Endpoint, *, owner: bool) -> str:
    """See `tui.run_dashboard`."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    app = Dashboard(StreamFeed(endpoint), owner=owner, signals=True, driver_class=TerminalDriver)
    try:
        answer = app.run()
    finally:
        driver = app._driver
        if isinstance(driver, TerminalDriver):
            driver.let_go()
        for number, handler in before.items():
            signal.signal(number, handler)
    return answer or ("stop" if owner else "quit")
