"""The engine's command on a machine that is short of something: what is asked is answered, not thrown."""

import os
from pathlib import Path
from typing import Any

import pytest
import trio

from minikube.errors import StartError
from minikube.manifest import ServiceSpec
from minikube.supervisor.client import Client
from minikube.supervisor.container import Container
from minikube.supervisor.engine import Engine
from minikube.supervisor.process import Starved
from minikube.supervisor.runtime import Launch


class Household:
    """Starts nothing; remembers lodgers."""

    def __init__(self, error: StartError) -> None:
        self.error = error
        self.lodgers: dict[int, str] = {}

    async def start(self, command: object) -> Any:
        await trio.lowlevel.checkpoint()
        raise self.error

    def moved_out(self, pid: int) -> None:
        self.lodgers.pop(pid, None)


def client_of(household: Household) -> Client:
    return Client(household, Engine("docker", "/bin/docker", "mark"), Path("/"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "kind"),
    [(Starved("cannot start docker: Too many open files"), Starved), (StartError("gone"), StartError)],
)
async def test_a_client_that_cannot_be_started_is_an_answer(error: StartError, kind: type[StartError]) -> None:
    client = client_of(Household(error))
    answer = await client.ask("ps")
    assert not answer.good
    failure = client.failure("cannot see", answer)
    assert (type(failure), str(failure)) == (kind, f"cannot see: {error}")
    with pytest.raises(kind, match="cannot see"):
        await client.need("cannot see", "ps")


async def test_a_container_whose_start_is_undone_gives_back_what_it_held() -> None:
    household = Household(Starved("no process left"))
    launch = Launch(ServiceSpec("x", Path("/"), ("run",)), "0badcafe", "x")
    container = Container(client_of(household), launch, "x", {}, 0, set())
    held = os.pidfd_open(os.getpid())
    container.pid, container._pidfd = 4711, held
    household.lodgers[4711] = "0badcafe"
    await container.undo()
    assert household.lodgers == {}
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(held)
