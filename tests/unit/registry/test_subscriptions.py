"""The watches of connections: what is kept of them, and for how long."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import trio

from minikube.jsonrpc.messages import Request, RpcError
from minikube.net.rpc.interface import RpcConnection
from minikube.registry.catalog.catalog import Catalog
from minikube.registry.subscriptions import MAX_WATCHES_OF_NAME, Subscriptions


class Connection:
    """A connection that counts the tasks that were started for it."""

    loopback_host = ""

    def __init__(self) -> None:
        self.closed = trio.Event()
        self.tasks: list[tuple[Callable[..., Awaitable[None]], tuple[Any, ...]]] = []

    def start_soon(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        self.tasks.append((function, args))

    def notify(self, method: str, params: Any) -> None:
        pass


def watch(subscriptions: Subscriptions, connection: Connection) -> int:
    request = Request("Discovery.Watch", ["job"], 1, "2.0")
    return int(subscriptions.start(request, cast(RpcConnection, connection), with_output=True)["Watch"])


async def test_watches_that_end_leave_nothing_and_all_end_with_their_connection() -> None:
    catalog, connection = Catalog(), Connection()
    subscriptions = Subscriptions(catalog)
    for _ in range(100):
        assert subscriptions.stop(cast(RpcConnection, connection), watch(subscriptions, connection))
    assert not catalog._subscribers
    assert len(connection.tasks) == 1, "one task for each connection, however many watches it starts and ends"
    watch(subscriptions, connection)
    assert catalog._subscribers
    connection.closed.set()
    for function, args in connection.tasks:
        await function(*args)
    assert not catalog._subscribers
    assert not subscriptions._watches


def test_the_bounds_of_a_connection() -> None:
    connection = Connection()
    subscriptions = Subscriptions(Catalog())
    for _ in range(MAX_WATCHES_OF_NAME):
        watch(subscriptions, connection)
    with pytest.raises(RpcError, match=r"are the most; Discovery.Unwatch ends one"):
        watch(subscriptions, connection)
