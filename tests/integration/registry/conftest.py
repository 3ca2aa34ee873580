"""A service for the registry's probes."""

from collections.abc import Iterator

import pytest

from tests.integration.registry.registry_process import Service, services


@pytest.fixture
def service() -> Iterator[Service]:
    """A service that answers the probes of a registry, and is stopped at the end."""
    with services(1) as (started,):
        yield started
