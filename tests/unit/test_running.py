"""What the supervisor's run comes to when it fails: one error in plain words."""

import socket
from typing import Any, cast

import pytest
import trio

from minikube.errors import MinikubeError, StartError
from minikube.supervisor import running


@pytest.mark.parametrize(
    ("error", "kind"), [(StartError("redis: does not answer"), MinikubeError), (KeyError("x"), ExceptionGroup)]
)
def test_only_what_fails_on_purpose_comes_out_of_the_nurseries(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception]
) -> None:
    async def fail(*_: object) -> int:
        async with trio.open_nursery() as outer:
            outer.start_soon(trio.sleep_forever)
            async with trio.open_nursery():
                raise error

    monkeypatch.setattr(running, "_main", fail)
    with pytest.raises(kind) as caught:
        running.run(cast(Any, None), [], cast(socket.socket, None), 0)
    if kind is MinikubeError:
        assert str(caught.value) == "redis: does not answer"
