"""The registry's process: `run(config)` serves until TERM or Ctrl-C.

The supervisor starts it with `python -m minikube.registry.main`: without the modules of the command line it listens a sixth
sooner than `minikube registry`.

It listens at once, also while Redis is down, and prints its address in one line on stdout; requests that arrive before Redis
was read wait for that, up to a bound. It refuses to listen beyond loopback without a token and TLS.
"""

import gc

if __name__ == "__main__":
    gc.disable()  # until all modules are imported: a collection meanwhile takes time and finds nothing

import json
import logging
import os
import resource
import signal
import ssl
import sys

import trio
from msgspec import convert
from msgspec.structs import replace

from minikube.defaults import REDIS_ENV, TOKEN_ENV
from minikube.errors import MinikubeError, StartError, UsageError
from minikube.linux.rlimits import grow_descriptor_table
from minikube.manifest.spec import HostPort
from minikube.manifest.values import is_exposed, is_loopback, parse_host_port
from minikube.net.background import open_background_nursery
from minikube.net.listen_errors import listen_error
from minikube.net.rpc.server import serve_rpc
from minikube.registry.access.access_control import AccessControl
from minikube.registry.access.tokens import TokenTable
from minikube.registry.catalog.earlier_run import EarlierRun
from minikube.registry.checks.scheduler import CheckScheduler
from minikube.registry.config import RegistryConfig, with_environment
from minikube.registry.node import RegistryNode
from minikube.registry.redis.gateway import RedisGateway
from minikube.registry.service import DiscoveryService
from minikube.text import mask_url

LOGGER = logging.getLogger("minikube.registry")

MAX_FILES = 4_096
"""1,024 connections of clients, as many probes, the connections kept between probes, and some to spare."""


def run(config: RegistryConfig) -> bool:
    """Serve until a signal stops it; return whether that was Ctrl-C. Raises UsageError or StartError when it cannot start."""
    if is_exposed(config.listen, config.token, config.tls):
        raise UsageError(
            f"--listen: {config.listen} is beyond loopback, which needs a token and TLS"
            f" — set {TOKEN_ENV}, --tls-cert and --tls-key, or listen on 127.0.0.1"
        )
    if config.metrics is not None and not is_loopback(config.metrics.host):
        raise UsageError(f"--metrics: {config.metrics} is beyond loopback, where it has no TLS — use 127.0.0.1")
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="registry: %(message)s")
    _raise_file_limit()
    return trio.run(_main, config)


def _raise_file_limit() -> None:
    """Raise the soft limit of file descriptors: the usual 1,024 is below the registry's own bounds for connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(MAX_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    grow_descriptor_table()


async def _main(config: RegistryConfig) -> bool:
    """Run the registry until a signal ends it; return whether that was Ctrl-C."""
    tls = _server_tls(config)
    received: list[int] = []
    async with open_background_nursery() as nursery:
        nursery.start_soon(_stop_on_signal, nursery.cancel_scope, received)
        node_id = config.node or os.urandom(4).hex()
        store = RedisGateway(config.redis_url, config.prefix, node_id)
        earlier_run = EarlierRun.parse(config.run, os.uname().nodename)
        node = RegistryNode(node_id, store, nursery, earlier_run)
        checks = CheckScheduler(node)
        access = AccessControl(config, TokenTable(config.redis_url, config.prefix))
        service = DiscoveryService(node, checks, config, access)
        address = await _start_serving(service, config.listen, tls, nursery)
        if config.relay:
            relay = await _start_serving(service, HostPort("127.0.0.1", 0), tls, nursery)
            # Before the other line: the supervisor reads both once that one is there.
            print(f"registry: relays at {relay}", flush=True)
        metrics_address = await _start_metrics(service, config, nursery)
        # Only after the ports are taken: a process that exits at once must not exit while a thread is still importing.
        store.start(node)
        nursery.start_soon(_freeze_after_load, node)
        nursery.start_soon(checks.watch_pauses)
        nursery.start_soon(checks.run)
        nursery.start_soon(access.refresh_tokens)
        print(f"registry: listening on {address}", flush=True)
        if metrics_address:
            print(f"registry: metrics on http://{metrics_address}/metrics", flush=True)
        LOGGER.info("store %s, node %s", mask_url(config.redis_url), node.id)
        await trio.sleep_forever()
    store.stop()
    return received == [signal.SIGINT]


async def _start_serving(
    service: DiscoveryService, listen: HostPort, tls: ssl.SSLContext | None, nursery: trio.Nursery
) -> HostPort:
    """Start to serve the RPC on `listen`; return the address, with the port that was chosen for port 0. Raises StartError."""
    target = listen.host, listen.port
    try:
        addresses = await nursery.start(
            lambda task_status: serve_rpc(service, target, tls=tls, task_status=task_status)
        )
    except OSError as error:
        raise listen_error("registry", listen, error, "set --listen, or registry.listen in a manifest") from None
    return HostPort(*addresses[0])


async def _start_metrics(service: DiscoveryService, config: RegistryConfig, nursery: trio.Nursery) -> HostPort | None:
    """Start to serve `/metrics` if the settings ask for it; return the address, else None."""
    if (address := config.metrics) is None:
        return None
    from minikube.registry.metrics import serve_metrics  # late: only for `--metrics`; it imports h11

    try:
        listeners = await trio.open_tcp_listeners(address.port, host=address.host)
    except OSError as error:
        raise listen_error("registry", address, error, "change --metrics") from None
    host, port = await nursery.start(serve_metrics, service.metrics, listeners, config.token)
    return HostPort(host, port)


async def _freeze_after_load(node: RegistryNode) -> None:
    """Wait until the catalog was loaded from Redis, then exempt its objects from garbage collection.

    Each collection that walks them takes 100 ms.
    """
    await node.loaded.wait()
    gc.freeze()


async def _stop_on_signal(scope: trio.CancelScope, received: list[int]) -> None:
    """Cancel `scope` at the first signal, which is appended to `received`."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            received.append(number)
            scope.cancel()
            return


def _server_tls(config: RegistryConfig) -> ssl.SSLContext | None:
    if config.tls is None:
        return None
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(config.tls.cert, config.tls.key)
        if config.tls.ca:
            context.load_verify_locations(config.tls.ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise StartError(f"registry: tls: {error} — check cert, key and ca") from None
    return context


def main(listen: str, settings: str) -> int:
    """Serve on the address `listen` until a signal stops it; return the exit code.

    `settings` is a `RegistryConfig` in JSON, without the address and what is taken from the environment.
    """
    # Not msgspec's decoder: a path may be no UTF-8, and stands in the JSON as lone surrogates.
    given = convert(json.loads(settings), RegistryConfig, dec_hook=lambda kind, value: kind(value))
    config = replace(given, listen=parse_host_port(listen), redis_url=os.environ[REDIS_ENV])
    try:
        run(with_environment(config, os.environ))
    except MinikubeError as error:
        print(f"minikube: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    gc.freeze()
    gc.enable()
    sys.exit(main(*sys.argv[1:]))
