"""The checks of what runs: whether the project's supervisor, Redis and registry answer, and an external Redis.

A process that lives, or a port that listens, is no answer: each is asked.
"""

import contextlib
from pathlib import Path

from minikube.control.client.blocking import ControlClient, find_supervisor
from minikube.doctor.finding import Finding, ok
from minikube.errors import MinikubeError, NothingRunning
from minikube.model import PartView, Snapshot
from minikube.text import mask_url, printable

QUESTION_TIMEOUT_S = 3.0
"""The time to wait for Redis, an engine or the supervisor."""

START_ADVICE = "start it, or remove redis.url to have one started"


def read_snapshot(path: Path) -> Snapshot | MinikubeError | None:
    """Return the snapshot of the supervisor that runs a manifest; None where none runs, the error where it does not answer."""
    try:
        with ControlClient(find_supervisor(path), timeout=QUESTION_TIMEOUT_S) as client:
            return client.status()
    except NothingRunning:
        return None
    except MinikubeError as error:
        return error


def check_supervisor(snapshot: Snapshot | MinikubeError | None) -> list[Finding]:
    """Return a finding for the supervisor and one for each of its backing services; an empty list where no supervisor runs."""
    if snapshot is None:
        return []
    if isinstance(snapshot, MinikubeError):
        found, _, advice = str(snapshot).partition(" — ")
        return [Finding("supervisor", "fail", found, advice or "minikube down --now ends it")]
    parts = [_check_part(part) for part in snapshot.parts]
    return [ok("supervisor", f"pid {snapshot.pid} answers, phase {snapshot.phase}"), *parts]


def _check_part(part: PartView) -> Finding:
    if part.is_well:
        return ok(part.name, f"pid {part.pid} runs and works, at {part.address}")
    state = part.check if part.pid and part.check else part.state
    found, _, advice = f"is {state}: {part.detail or 'no reason is known'}".partition(" — ")
    return Finding(part.name, "fail", printable(found), printable(advice) or f"see minikube logs {part.name}")


def check_external_redis(url: str) -> Finding:
    """Return a finding: whether the Redis of `redis.url`, or the master that its sentinels name, answers PING."""
    # Late: redis-py takes 0.15 s to import.
    from redis.exceptions import NoPermissionError, RedisError

    from minikube.registry.redis.connect import RedisConnector

    shown = mask_url(url)
    try:
        connection = RedisConnector(url).open(QUESTION_TIMEOUT_S)
        try:
            connection.send_packed_command(connection.pack_commands([("PING",)]))
            with contextlib.suppress(NoPermissionError):  # it has answered
                connection.read_response()
        finally:
            connection.disconnect()
    except (RedisError, OSError, ValueError, MinikubeError) as error:
        return Finding("redis", "fail", printable(f"{shown}: {error or type(error).__name__}"), START_ADVICE)
    return ok("redis", f"{shown} answers")
