"""A registry on IPv6 loopback tells the relay of a container network from the supervisor's user. A real registry and Redis."""

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import trio

from minikube.addresses import split_host_port
from minikube.control.state_store import StateStore
from minikube.defaults import RELAY_SOURCE
from minikube.manifest import HostPort, load_manifest
from minikube.supervisor.backing.registry import registry_spec
from minikube.supervisor.backing.startup import registry_service
from minikube.supervisor.context import RunContext
from minikube.supervisor.launch_options import LaunchOptions
from minikube.supervisor.runtime.process.process_table import ProcessTable
from tests.redis_server import RedisServer
from tests.untraced import untraced


def register(address: str, source: str = "") -> Any:
    """Register an instance with a call that has no token; return the error, None for none."""
    entry = {"Name": "web", "Addr": "127.0.0.1:9", "HealthCheck": "ttl:", "Lease": 60}
    with socket.create_connection(split_host_port(address), 30, (source, 0) if source else None) as sock:
        sock.sendall(json.dumps({"method": "Discovery.Register", "params": [entry], "id": 1}).encode() + b"\n")
        return json.loads(sock.makefile("rb").readline())["error"]


async def test_what_comes_through_a_relay_is_not_this_users(
    redis_server: RedisServer, tmp_path: Path, process_table: ProcessTable
) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    (tmp_path / "supervisor.toml").write_text('[services.x]\ncommand = "x"\n')
    manifest = load_manifest(tmp_path / "supervisor.toml")
    spec = registry_spec(manifest, HostPort("::1", 0), redis_server.url, "", {**os.environ, **untraced()})
    context = RunContext(tmp_path, LaunchOptions(), StateStore("test"), process_table, spec.address)
    service = registry_service(spec, context)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(service.run, None)
        with trio.fail_after(60):
            await service.ready.wait()
        refused = await trio.to_thread.run_sync(register, context.relayed_registry, RELAY_SOURCE)
        own = await trio.to_thread.run_sync(register, context.registry_address)
        await service.stop()
    assert refused.startswith("unauthorized"), refused
    assert own is None
    context.logs.writer.close(5.0)
