"""Typical Compose set-ups, imported and run: every name is found from both sides, each does its work, `down` leaves nothing."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.engine import Base, docker
from tests.e2e.setups.cases import CASES, ENTRY, check, start
from tests.e2e.setups.running import Setup

pytestmark = pytest.mark.timeout(300)

AHEAD = 3
"""How many set-ups are started at the same time, while others are tested."""


@pytest.fixture(scope="module")
def docker_images(base: Base, setup_archive: Path) -> Iterator[dict[str, str]]:
    """Docker's images of the set-ups, by their variables."""
    name = base.name.partition(":")[0]
    images = {"APP": f"{name}:app", "ENTRY": f"{name}:entry"}
    docker("import", str(setup_archive), images["APP"])
    docker("import", *ENTRY, str(setup_archive), images["ENTRY"])
    yield images
    docker("image", "rm", "--force", *images.values())


@pytest.fixture(scope="module")
def setups(
    request: pytest.FixtureRequest, docker_images: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Setup]]]:
    """The set-ups in Docker that are to be tested, each started while the ones before are tested."""
    directory = tmp_path_factory.mktemp("setups")
    selected = {item.name for item in request.session.items}
    wanted = [name for name in CASES if f"{test_a_compose_project_runs.__name__}[{name}]" in selected]
    made = [Setup(name, directory, "docker", docker_images, CASES[name].override) for name in wanted]
    with ThreadPoolExecutor(AHEAD) as pool:
        yield {setup.name: pool.submit(start, setup) for setup in made}
        pool.shutdown(cancel_futures=True)
    for setup in made:
        setup.end()


@pytest.mark.parametrize("name", CASES)
def test_a_compose_project_runs(name: str, setups: dict[str, Future[Setup]]) -> None:
    check(setups[name].result(timeout=200))
