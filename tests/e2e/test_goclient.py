"""A client on Go's `net/rpc/jsonrpc`, standard library only, works unchanged."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.golang import build
from tests.e2e.real_registry import registry_process, web_server
from tests.redis_server import RedisServer

SOURCE = Path(__file__).parent / "goclient"


@pytest.mark.timeout(180)  # a first build on a cold cache
def test_gos_standard_client_registers_looks_up_and_deregisters(
    need: Callable[[str], str], redis_server: RedisServer, tmp_path: Path
) -> None:
    program = tmp_path / "goclient"
    build(need("go"), SOURCE, program)
    with web_server() as port, registry_process(redis_server.url) as address:
        done = subprocess.run([program, address, "gopher", str(port)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": ok\n") == 28
