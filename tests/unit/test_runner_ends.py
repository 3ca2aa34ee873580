"""How an instance's life ends when something comes in between, in virtual time: late words, defects, other wishes."""

from collections.abc import Callable

import pytest
import trio
from msgspec.structs import replace

from minikube.manifest import HealthSpec, RestartSpec, ServiceSpec
from tests.unit.test_runner import SPEC, Home, Output, Story


class Talking(Output):
    """Prints the line that a `log` check waits for after a second."""

    def expect(self, pattern: str, found: object) -> None:
        assert callable(found)
        self._found: Callable[[], object] = found

    async def read(self, descriptor: int, stream: str) -> None:
        if stream == "stdout":
            await trio.sleep(1)
            self._found()


class Telling(Home):
    """Writes down who is out of discovery, too."""

    def capture(self, spec: ServiceSpec, name: str, secrets: tuple[str, ...]) -> Output:
        return Talking(spec)

    def gone(self, id: str) -> None:
        self.note("gone")


@pytest.mark.parametrize("attempt", range(12), ids=str)
async def test_what_a_check_finds_of_a_dead_one_is_told_to_nobody(autojump_clock: object, attempt: int) -> None:
    """It dies right after the line: in which order its tasks go on is chance."""
    health = HealthSpec("log", log="ready")
    spec = replace(SPEC, register="supervisor", port=8080, health=health, restart=RestartSpec(policy="never"))
    story = Story(spec, Telling())
    story.home.lives, story.home.port = 1.0, 8080
    async with story:
        await story.wait(5)
        told = [kind for _, kind, *_ in story.home.happened if kind in ("reported", "gone")]
        assert told in (["gone"], ["reported", "gone"])
