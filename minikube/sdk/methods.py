"""The methods of the three `Registry` classes, defined once for `trio`, `asyncio` and `blocking`.

Each attribute below turns a function of `requests` into a method with the same parameters and docstring: awaitable in
`AsyncMethods`, blocking in `BlockingMethods`. A new RPC method is a function in `requests` and a line in both tables.
"""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from minikube.sdk import requests
from minikube.sdk.requests import Call
from minikube.sdk.session import CALL_TIMEOUT_S

P = ParamSpec("P")
T = TypeVar("T")


def _awaitable(request: Callable[P, Call[T]]) -> "Callable[Concatenate[AsyncMethods, P], Awaitable[T]]":
    """Make a method of `AsyncMethods` from a function of `requests`: it sends the call and returns an awaitable of the result."""

    @wraps(request)
    async def method(self: "AsyncMethods", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.send(request(*args, **kwargs))

    return method


def _blocking(request: Callable[P, Call[T]]) -> "Callable[Concatenate[BlockingMethods, P], T]":
    """Make a method of `BlockingMethods` from a function of `requests`: it sends the call, blocks, and returns the result."""

    @wraps(request)
    def method(self: "BlockingMethods", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.send(request(*args, **kwargs))

    return method


class AsyncMethods:
    """The methods of a registry for trio and asyncio; a subclass implements `send`.

    Every method raises `NotFound`, `RemoteError`, `UsageError` when it is too long to send, or `Unavailable` after its
    time-out.
    """

    async def send(self, call: Call[T], timeout: float = CALL_TIMEOUT_S) -> T:
        """Send a call and return its result; `timeout` is in seconds."""
        raise NotImplementedError

    register = _awaitable(requests.register)
    get = _awaitable(requests.get)
    deregister = _awaitable(requests.deregister)
    renew = _awaitable(requests.renew)
    instances = _awaitable(requests.instances)
    services = _awaitable(requests.services)
    wait = _awaitable(requests.wait)
    maintenance = _awaitable(requests.maintenance)
    status = _awaitable(requests.status)

    async def call(self, method: str, params: tuple[Any, ...] = (), timeout: float = CALL_TIMEOUT_S) -> Any:
        """Call a method by its name on the wire and return the decoded JSON result."""
        return await self.send(requests.other(method, params), timeout)


class BlockingMethods:
    """The methods of a registry for blocking programs; a subclass implements `send`.

    Every method raises `NotFound`, `RemoteError`, `UsageError` when it is too long to send, or `Unavailable` after its
    time-out.
    """

    def send(self, call: Call[T], timeout: float = CALL_TIMEOUT_S) -> T:
        """Send a call and return its result; `timeout` is in seconds."""
        raise NotImplementedError

    register = _blocking(requests.register)
    get = _blocking(requests.get)
    deregister = _blocking(requests.deregister)
    renew = _blocking(requests.renew)
    instances = _blocking(requests.instances)
    services = _blocking(requests.services)
    wait = _blocking(requests.wait)
    maintenance = _blocking(requests.maintenance)
    status = _blocking(requests.status)

    def call(self, method: str, params: tuple[Any, ...] = (), timeout: float = CALL_TIMEOUT_S) -> Any:
        """Call a method by its name on the wire and return the decoded JSON result."""
        return self.send(requests.other(method, params), timeout)
