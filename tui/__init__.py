"""The dashboard (floor 4): a terminal UI on the supervisor's stream. It shows and asks; the supervisor decides and does.

Imports of the project: `minikube.model`, `minikube.errors`, `minikube.text` and `minikube.client`, nothing else.
Start reading at `tui/app.py`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minikube.control.client.blocking import Endpoint

__all__ = ["run_dashboard"]


def run_dashboard(endpoint: "Endpoint", *, owner: bool) -> str:
    """Show the project behind `endpoint` until the user leaves; blocks, on the main thread.

    `quit`: leave. `stop`: stop everything (`owner` only). `detach`: leave it running (`owner` only).
    With `owner`, Ctrl-C, TERM, HUP and a dashboard that failed mean `stop`. Signal handlers are as before afterwards.
    """
    from tui.run import run

    return run(endpoint, owner=owner)
