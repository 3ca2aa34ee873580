"""A token that the registry could not ask its store for is presented again, on the same connection.

The registry is a script here: a real one gives its own user and root every right without a token, and tests run as that user.
"""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from minikube.defaults import TOKEN_ENV
from minikube.jsonrpc.messages import STORE_UNAVAILABLE, UNAUTHORIZED
from tests.eventually import eventually
from tests.integration.sdk.test_refusals import every_server

AWAY = {"code": STORE_UNAVAILABLE, "message": "the store is unavailable"}
REFUSED = {"code": UNAUTHORIZED, "message": "no right"}


class ScriptedRegistry:
    """Answers the calls of one connection after the other; knows the token from `back` on."""

    def __init__(self) -> None:
        self.back = threading.Event()
        self.calls: list[tuple[int, str, bool]] = []
        """Number of the connection, method, and whether it was let in."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def serve(self) -> None:
        connections = 0
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            connections += 1
            threading.Thread(target=self._answer, args=(sock, connections), daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _answer(self, sock: socket.socket, connection: int) -> None:
        is_known = False
        with sock, sock.makefile("rb") as lines:
            for line in lines:
                call = json.loads(line)
                method = call["method"].removeprefix("Discovery.")
                reply: dict[str, Any] = {"result": True}
                if method == "Authenticate":
                    is_known = self.back.is_set()
                    reply = reply if is_known else {"error": AWAY}
                elif method == "Status":
                    reply = {"result": {}}
                elif method == "Instances":
                    reply = {"result": []}
                elif not is_known:
                    reply = {"error": REFUSED}
                elif method == "Register":
                    reply = {"result": "one"}
                self.calls.append((connection, method, is_known))
                sock.sendall(json.dumps({"id": call["id"], **reply}).encode() + b"\n")


@contextmanager
def scripted_registry() -> Iterator[ScriptedRegistry]:
    registry = ScriptedRegistry()
    thread = threading.Thread(target=registry.serve)
    thread.start()
    try:
        yield registry
    finally:
        registry.close()
        thread.join()


@every_server
def test_a_service_is_registered_with_its_token_once_the_store_is_back(
    serves: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that needs the token is sent without it: its refusal would end the block."""
    monkeypatch.setenv(TOKEN_ENV, "f" * 64)
    with scripted_registry() as registry:
        options = {"address": registry.address, "health": "ttl", "instance_id": "one"}
        service = threading.Thread(target=serves, args=(1.0, "web", 8080), kwargs=options)
        service.start()
        eventually(lambda: len([call for call in registry.calls if call[1] == "Authenticate"]) >= 3)
        assert {method for _, method, _ in registry.calls} == {"Authenticate", "Status"}
        registry.back.set()
        eventually(lambda: (1, "Register", True) in registry.calls)
        service.join()
    assert not [call for call in registry.calls if call[1] == "Register" and not call[2]]
