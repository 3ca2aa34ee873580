"""`GET /metrics` of a registry that runs alone: its calls and probes, for Prometheus on this machine.

`main` serves it on loopback only. With a registry token, requests need that token. It refuses requests of web pages:
foreign `Host` names and any `Origin`.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NoReturn

import trio

from minikube.metrics.counters import RegistryStatus
from minikube.metrics.exposition import probe_families, registry_families, render
from minikube.net.auth import allowed_hosts, reject_web_page, require_bearer_token
from minikube.net.http_messages import Reply, Request, Response, error_reply
from minikube.net.http_server import serve_http

if TYPE_CHECKING:  # prometheus_client takes 30 ms to import: the first scrape does it
    from prometheus_client.metrics_core import Metric

HOSTS = allowed_hosts("127.0.0.1", "localhost")


class Collector:
    """Implements the collector protocol of prometheus_client over one status."""

    def __init__(self, status: RegistryStatus) -> None:
        self._status = status

    def collect(self) -> "Iterator[Metric]":
        """Return the metrics of the status."""
        yield from registry_families(self._status)
        yield from probe_families({"registry": self._status.counters.probes})


async def serve_metrics(
    status: Callable[[], RegistryStatus],
    listeners: list[trio.SocketListener],
    token: str,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve until cancelled; started with the (host, port) of the listener."""
    # One scrape at a time: rendering takes a thread and milliseconds of the lookups' core.
    scrapes = trio.CapacityLimiter(1)

    async def handle(request: Request) -> Response:
        refusal = refuse(request, token)
        if refusal is not None:
            return refusal
        accept = request.header("accept")
        body, content_type = await trio.to_thread.run_sync(render, Collector(status()), accept, limiter=scrapes)
        return Reply(200, body, content_type)

    await serve_http(handle, listeners, task_status=task_status)


def refuse(request: Request, token: str) -> Reply | None:
    """Return the error reply for a request that is not allowed or not for `/metrics`; None for a good one."""
    refusal = reject_web_page(request, HOSTS)
    if refusal is None and token:
        refusal = require_bearer_token(request, token, "the registry's token is needed: Authorization: Bearer TOKEN")
    if refusal is not None:
        return refusal
    if request.path != "/metrics":
        return error_reply(404, "not found: this server has /metrics only")
    if request.method not in ("GET", "HEAD"):
        return error_reply(405, "/metrics takes GET, HEAD", (("Allow", "GET, HEAD"),))
    return None
