"""The control API's server: HTTP and the websocket on one port."""

import socket
from typing import NoReturn

import trio

from minikube.control.api import Api
from minikube.control.interface import ProjectCommands
from minikube.control.state_store import StateStore
from minikube.manifest.spec import HostPort
from minikube.net.auth import allowed_hosts
from minikube.net.http_messages import HttpLimits
from minikube.net.http_server import serve_http
from minikube.net.listen_errors import listen_error


async def serve_control(
    store: StateStore,
    commands: ProjectCommands,
    *,
    host: str,
    port: int,
    token: str,
    limits: HttpLimits | None = None,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve the control API until cancelled. Report the (host, port) that it listens on.

    Raise `StartError` if it cannot listen. On cancel, the stream's clients get a close frame, within 0.25 s, and every
    connection is closed.
    """
    api = Api(store, commands, token=token, hosts=allowed_hosts(host, socket.gethostname()))
    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        raise listen_error("control", HostPort(host, port), error, "set control.listen") from None
    await serve_http(api.handle, listeners, on_error=api.on_error, limits=limits, task_status=task_status)
