"""What several end-to-end tests share: images that take a minute to make, and which files count for coverage."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minikube.supervisor.backing.redis_program import bundled_redis
from tests.e2e import debian, engine
from tests.e2e.engine import Base, Built
from tests.e2e.podman import Podman, own_podman
from tests.e2e.setups.running import FILES
from tests.untraced import TRACED

UNMEASURED = (
    "binary",
    "choice",
    "cli_up",
    "container_keys",
    "control",
    "docs",
    "import",
    "install",
    "logs",
    "project_dir",
    "running_manifest",
    "secrets",
    "setups",
    "setups_podman",
    "templates",
)
"""Files whose commands run without coverage, which would make each `minikube up` take twice as long. Other files start, change
and stop projects under coverage, and what the command line prints has its tests in tests/unit and tests/integration."""


@pytest.fixture(scope="module", autouse=True)
def _unmeasured(request: pytest.FixtureRequest) -> Iterator[None]:
    """Start the programs of some files without coverage."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.stem.removeprefix("test_") in UNMEASURED:
            for name in [name for name in os.environ if name.startswith(TRACED)]:
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Base]:
    """Docker's image with a small Debian, made once; no test without an engine."""
    if not engine.answers():
        pytest.skip("no Docker engine answers")
    with engine.base_image(tmp_path_factory.mktemp("base")) as found:
        yield found


@pytest.fixture(scope="session")
def built(base: Base, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """The project's images, made once for all tests."""
    with engine.built_images(base, tmp_path_factory.mktemp("images")) as found:
        yield found


@pytest.fixture(scope="module")
def podman(base: Base, need: Callable[[str], str]) -> Iterator[Podman]:
    """A Podman of the test's own, with the same base."""
    with own_podman(need("podman"), base.archive) as found:
        yield found


@pytest.fixture(scope="session")
def setup_archive(base: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of the base with the programs of the set-ups."""
    target = tmp_path_factory.mktemp("image") / "image.tar"
    programs = {"usr/local/bin/valkey-server": Path(bundled_redis())}
    debian.add_files(base.archive, target, FILES / "image", programs)
    return target
