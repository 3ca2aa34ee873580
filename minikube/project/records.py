"""Small files under `.minikube/` (floor 3, standard library only): written whole or not at all."""

import contextlib
import json
import os
import time
from pathlib import Path

from minikube.control.client.endpoint import ENDED_FILE


def write_record(path: Path, value: object) -> None:
    """As JSON, in place of what was there. Raises OSError."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(json.dumps(value))
    os.replace(fresh, path)


def record_end(state: Path, why: str) -> None:
    """For those who ask later, why nothing runs: the next run forgets it."""
    with contextlib.suppress(OSError):
        write_record(state / ENDED_FILE, {"time": time.time(), "why": why})
