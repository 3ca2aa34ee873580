"""What several end-to-end tests share: images that take a minute to make."""

from collections.abc import Iterator

import pytest

from tests.e2e import engine
from tests.e2e.engine import Built


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """The project's images, made once for all tests; no test without an engine."""
    if not engine.answers():
        pytest.skip("no Docker engine answers")
    with engine.built_images(tmp_path_factory.mktemp("images")) as found:
        yield found
