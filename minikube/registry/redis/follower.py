"""The follower thread: read the change log as it grows, and hand its entries to the catalog.

It sees the changes of all registries. It reports no state: when its connection is lost, it asks the writer to look.
"""

import logging
import time
from functools import partial

from redis.exceptions import RedisError

from minikube.registry.catalog.records import Entry
from minikube.registry.redis.bridge import RETRY_S, ThreadBridge
from minikube.registry.redis.codec import Keys, decode_entry
from minikube.registry.redis.commands import RedisCommands
from minikube.registry.redis.connect import RedisConnector

LOGGER = logging.getLogger("minikube.registry")

BLOCK_MS = 1_000
"""How long one read waits for new entries; the thread notices within it that it is to stop."""

READ_TIMEOUT_S = 3.0

OWN_WRITE_S = 0.003
"""How long the thread gives this node's own writes to be applied by their replies, which come at the same time."""


def follow(bridge: ThreadBridge) -> None:
    """Read the change log until the gateway stops; connect again whenever the connection is lost."""
    connector, keys = RedisConnector(bridge.url), Keys(bridge.prefix)
    attempts = 0
    while not bridge.stopping:
        try:
            commands = RedisCommands(connector.open(READ_TIMEOUT_S), keys)
        except (RedisError, OSError):
            time.sleep(RETRY_S[min(attempts, len(RETRY_S) - 1)])
            attempts += 1
            continue
        try:
            _read_changes(bridge, commands)
            attempts = 0
        except (RedisError, OSError):
            bridge.request_heartbeat()
            attempts += 1
            time.sleep(RETRY_S[min(attempts, len(RETRY_S) - 1)])
        finally:
            commands.close()


def _read_changes(bridge: ThreadBridge, commands: RedisCommands) -> None:
    last = 0
    while not bridge.stopping:
        last = max(last, bridge.applied_revision)
        changes = commands.read_changes(last, BLOCK_MS)
        if any(revision > bridge.applied_revision and _is_own(bridge, fields) for revision, fields in changes):
            # Most will be applied then. Decoded and handed over each at once, they would cost a quarter of a registration.
            # They are not skipped by their nonce: the reply may have been lost with its connection.
            time.sleep(OWN_WRITE_S)
        entries: list[Entry] = []
        for revision, fields in changes:
            last = revision
            if revision <= bridge.applied_revision:
                continue  # this node's own write, applied already
            try:
                entry = decode_entry(revision, fields)
            except (ValueError, KeyError) as error:
                LOGGER.warning("store: change %d cannot be read (%s); reading everything again", revision, error)
                entry = None
            if entry is None:
                bridge.request_resync()
            else:
                entries.append(entry)
        if entries:
            bridge.call(partial(bridge.listener.on_entries, entries))


def _is_own(bridge: ThreadBridge, fields: dict[bytes, bytes]) -> bool:
    return fields.get(b"nonce", b"").startswith(bridge.nonce_prefix.encode())
