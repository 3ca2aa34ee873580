"""The dashboard's connection posts whether the supervisor answers."""

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from minikube.control.client.endpoint import Endpoint
from minikube.model import Snapshot
from tui.connection import trio_connection
from tui.connection.messages import ConnectionChanged
from tui.connection.trio_connection import TrioConnection


def test_a_supervisor_that_stops_and_begins_to_answer_is_posted(monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def open_stream(
        endpoint: Endpoint, on_silence: Callable[[bool], object]
    ) -> AsyncIterator[AsyncIterator[Snapshot]]:
        async def updates() -> AsyncIterator[Snapshot]:
            yield Snapshot("shop", 1, 1.0, 1.0, "1", 7)
            on_silence(True)
            on_silence(False)
            done.set()
            await trio.sleep_forever()

        yield updates()

    monkeypatch.setattr(trio_connection, "open_stream", open_stream)
    done, posted = threading.Event(), list[Any]()
    connection = TrioConnection(Endpoint("127.0.0.1", 1, ""))
    thread = threading.Thread(target=connection.run, args=(posted.append,), daemon=True)
    thread.start()
    assert done.wait(30)
    connection.stop()
    thread.join(30)
    states = [message.state for message in posted if isinstance(message, ConnectionChanged)]
    assert states[:3] == ["live", "silent", "live"]
