"""The follower thread (floor 3): reads the change log as it grows and hands it over. It blocks; trio does not."""

import logging
import time
from functools import partial

from redis.exceptions import RedisError

from minikube.registry.catalog.records import Entry, Keys, load_entry
from minikube.registry.redis.commands import RedisCommands
from minikube.registry.redis.connect import RedisConnector
from minikube.registry.redis.gateway import RETRY_S, RedisGateway

LOGGER = logging.getLogger("minikube.registry")

BLOCK_MS = 1_000
READ_TIMEOUT_S = 3.0


def follow(store: RedisGateway) -> None:
    """Until the store is stopped. A lost connection is the writer's to tell; here it is opened anew."""
    dialer, keys = RedisConnector(store.url), Keys(store.prefix)
    tries = 0
    while not store.stopping:
        try:
            speaker = RedisCommands(dialer.open(READ_TIMEOUT_S), keys)
        except (RedisError, OSError):
            time.sleep(RETRY_S[min(tries, len(RETRY_S) - 1)])
            tries += 1
            continue
        try:
            _read(store, speaker)
            tries = 0
        except (RedisError, OSError):
            store.beat_soon()
            tries += 1
            time.sleep(RETRY_S[min(tries, len(RETRY_S) - 1)])
        finally:
            speaker.close()


def _read(store: RedisGateway, speaker: RedisCommands) -> None:
    last = 0
    while not store.stopping:
        last = max(last, store.cursor)
        entries: list[Entry] = []
        for revision, fields in speaker.follow(last, BLOCK_MS):
            last = revision
            if revision <= store.cursor:
                continue  # our own, applied already
            try:
                entry = load_entry(revision, fields)
            except (ValueError, KeyError) as error:
                LOGGER.warning("store: change %d cannot be read (%s); reading everything again", revision, error)
                entry = None
            if entry is None:
                with store.wake:
                    store.sync_wanted = True
                    store.wake.notify_all()
            else:
                entries.append(entry)
        if entries:
            store.ask(partial(store.owner.arrived, entries))
