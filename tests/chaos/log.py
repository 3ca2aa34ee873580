"""The log of a run: one JSON object a line, from which a run is replayed.

The first line is the header (seed, minutes, weights), the last one the result; between them are the steps with their targets,
the faults' pids and times, and the findings.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.chaos.script import Step


class RunLog:
    """Writes the log; every line is in the file when `write` returns. `started` is the monotonic time of second 0."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        self.started = time.monotonic()
        self._file = path.open("w", encoding="utf-8")
        self.write("header", **header)

    def write(self, record: str, /, **values: Any) -> None:
        """Append a record with the time since the start."""
        line = {"record": record, "time": round(time.monotonic() - self.started, 3), **values}
        self._file.write(json.dumps(line, default=str) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_steps(path: Path) -> tuple[dict[str, Any], list[Step]]:
    """Return the header of a log and the steps that were begun. Raises ValueError for a file that is no log."""
    header: dict[str, Any] = {}
    steps = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            record = json.loads(line)
            if record["record"] == "header":
                header = record
            elif record["record"] == "step":
                steps.append(Step(**record["step"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}:{number}: not a line of a chaos log: {error!r}") from None
    if not header:
        raise ValueError(f"{path}: not the log of a chaos run: it has no header")
    return header, steps


def step_record(step: Step) -> dict[str, Any]:
    """Return a step as it stands in the log."""
    return asdict(step)


def read_findings(path: Path) -> set[str]:
    """Return the kinds of findings in a log."""
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {record["kind"] for record in records if record["record"] == "finding"}
