"""A registry for any test of this folder."""

from collections.abc import Iterator

import pytest

from tests.integration.registry.registry_process import Registry
from tests.redis_server import RedisServer


@pytest.fixture
def registry(redis_server: RedisServer) -> Iterator[Registry]:
    """A registry that was started on a Redis of its own; its `ready` returns a client."""
    made = Registry(redis_server.url)
    try:
        yield made.start()
    finally:
        made.close()
