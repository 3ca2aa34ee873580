"""Some of the set-ups of test_setups.py with Podman."""

from pathlib import Path

import pytest

from tests.e2e.podman import IMAGE, Podman
from tests.e2e.setups.cases import CASES, ENTRY, check, start
from tests.e2e.setups.running import Setup

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def podman_images(podman: Podman, setup_archive: Path) -> dict[str, str]:
    """Podman's images of the set-ups, by their variables."""
    images = {"APP": f"{IMAGE}:app", "ENTRY": f"{IMAGE}:entry"}
    for name, changes in (("APP", ()), ("ENTRY", ENTRY)):
        done = podman.run("import", *changes, str(setup_archive), images[name])
        assert done.returncode == 0, done.stderr
    return images


@pytest.mark.parametrize("name", ["web-db-cache", "udp", "mixed-db"])
def test_a_compose_project_runs_with_podman(name: str, podman_images: dict[str, str], tmp_path: Path) -> None:
    setup = Setup(name, tmp_path, "podman", podman_images, CASES[name].override)
    try:
        check(start(setup))
    finally:
        setup.end()
