"""The registry's process (floor 3): `run(config)` serves until TERM or Ctrl-C.

It listens at once, also while Redis is not there yet, and says so in one line on stdout; requests that come before
Redis was read wait for that, within a bound. It refuses to listen beyond loopback without a token and TLS.
"""

import gc
import logging
import resource
import signal
import ssl
import sys

import trio

from minikube.defaults import TOKEN_ENV
from minikube.errors import StartError, UsageError
from minikube.manifest.spec import HostPort
from minikube.manifest.values import is_exposed, is_loopback
from minikube.net.background import open_background_nursery
from minikube.net.listen_errors import listen_error
from minikube.net.rpc.server import serve_rpc
from minikube.registry.checks.scheduler import CheckScheduler
from minikube.registry.config import RegistryConfig
from minikube.registry.node import Node
from minikube.registry.service import DiscoveryService
from minikube.text import mask_url

LOGGER = logging.getLogger("minikube.registry")

FILES = 4_096
"""1,024 connections, as many probes, kept connections of a large share, and some."""


def run(config: RegistryConfig) -> None:
    """Serves until it is told to stop. Raises `UsageError` or `StartError` when it cannot begin."""
    if is_exposed(config.listen, config.token, config.tls):
        raise UsageError(
            f"--listen: {config.listen} is beyond loopback, which needs a token and TLS"
            f" — set {TOKEN_ENV}, --tls-cert and --tls-key, or listen on 127.0.0.1"
        )
    if config.metrics is not None and not is_loopback(config.metrics.host):
        raise UsageError(f"--metrics: {config.metrics} is beyond loopback, where it has no TLS — use 127.0.0.1")
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="registry: %(message)s")
    _allow_files()
    trio.run(_main, config)


def _allow_files() -> None:
    """Connections and probes hold a descriptor each: the usual soft limit of 1,024 is below our own bounds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _main(config: RegistryConfig) -> None:
    tls = _tls(config)
    async with open_background_nursery() as nursery:
        nursery.start_soon(_stop_on_signal, nursery.cancel_scope)
        node = Node(config, nursery)
        judge = CheckScheduler(node)
        discovery = DiscoveryService(node, judge, config)
        try:
            listen = (config.listen.host, config.listen.port)
            addresses = await nursery.start(
                lambda task_status: serve_rpc(discovery, listen, tls=tls, task_status=task_status)
            )
        except OSError as error:
            raise listen_error("registry", config.listen, error, "set registry.listen") from None
        shown = await _open_metrics(discovery, config, nursery)
        # Only now: a process that ends at once must not end while a thread of its own is still importing.
        node.store.start()
        nursery.start_soon(_spare_collector, node)
        nursery.start_soon(judge.beat)
        nursery.start_soon(judge.run)
        print(f"registry: listening on {HostPort(*addresses[0])}", flush=True)
        if shown:
            print(f"registry: metrics on http://{shown}/metrics", flush=True)
        LOGGER.info("store %s, node %s", mask_url(config.redis_url), node.id)
        await trio.sleep_forever()
    node.store.stop()


async def _open_metrics(discovery: DiscoveryService, config: RegistryConfig, nursery: trio.Nursery) -> HostPort | None:
    """Where they are served; None: nowhere."""
    if (where := config.metrics) is None:
        return None
    from minikube.registry.metrics import serve_metrics

    try:
        listeners = await trio.open_tcp_listeners(where.port, host=where.host)
    except OSError as error:
        raise listen_error("registry", where, error, "change --metrics") from None
    host, port = await nursery.start(serve_metrics, discovery.counted, listeners, config.token)
    return HostPort(host, port)


async def _spare_collector(node: Node) -> None:
    """What there is after the first load stays: the garbage collector need not walk it again and again (100 ms each time)."""
    await node.loaded.wait()
    gc.freeze()


async def _stop_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
        async for _ in received:
            scope.cancel()
            return


def _tls(config: RegistryConfig) -> ssl.SSLContext | None:
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
