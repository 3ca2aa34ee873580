"""The control API's listener (floor 3): HTTP and the websocket on one port, for one board and one set of controls.

`board.py` is what is shown, `controls.py` what can be done, `api.py` what requests mean, `guard.py` who may ask,
`stream.py` the websocket, `lines.py` endless answers, `encode.py` the JSON, `token.py` the secret.
"""

import socket
from typing import NoReturn

import trio

from minikube.control.api import Api
from minikube.control.interface import ProjectCommands
from minikube.control.state_store import StateStore
from minikube.manifest.spec import HostPort
from minikube.net.auth import allowed_hosts
from minikube.net.http_server import HttpLimits, serve_http
from minikube.net.listen_errors import listen_error

__all__ = ["ProjectCommands", "serve_control"]


async def serve_control(
    board: StateStore,
    controls: ProjectCommands,
    *,
    host: str,
    port: int,
    token: str,
    limits: HttpLimits | None = None,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serves until cancelled; started with the (host, port) it listens on. Raises `StartError` when it cannot.

    When cancelled, readers of the stream are told within 0.25 s and every connection is closed.
    """
    api = Api(board, controls, token=token, hosts=allowed_hosts(host, socket.gethostname()))
    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        raise listen_error("control", HostPort(host, port), error, "set control.listen") from None
    await serve_http(api.handle, listeners, on_error=api.on_error, limits=limits, task_status=task_status)
