"""Writes the pids of running processes to the project directory, for the next `up` to find after a crash."""

from collections.abc import Callable

import trio

DELAY_S = 0.05
"""All starts and exits within this time are written down together: one record for each of a hundred starts took longer than
the starts, as the replacement of a file takes 4 ms. A process that is missing in the record is found by the project's directory
in its environment."""


class ProcessRecord:
    """Writes the record of running processes soon after a change. `write` writes it, from a task in `nursery`."""

    def __init__(self, write: Callable[[], object], nursery: trio.Nursery) -> None:
        self._write = write
        self._nursery = nursery
        self._scheduled = False

    def write_soon(self) -> None:
        """Have the record written within `DELAY_S`. Return immediately."""
        if not self._scheduled:
            self._scheduled = True
            self._nursery.start_soon(self._write_later)

    async def _write_later(self) -> None:
        await trio.sleep(DELAY_S)
        self._scheduled = False
        self._write()
