"""What `minikube logs -f` prints of a service that numbers its lines: none comes twice, none is missing unless a notice says so."""

import re
import subprocess
import sys
from contextlib import suppress
from itertools import groupby

import trio

from tests.chaos.model import Allowance, Kind
from tests.chaos.project import WRITER
from tests.chaos.run_context import RunContext

NUMBERED = re.compile(rb"line (\d+) of (\d+)")
LATE_S = 5.0
"""A line that comes later than its successors by more than this is lost."""
RETRY_S = 0.3
RECEIVE_BYTES = 65_536


class LineCounter:
    """Finds the numbers that are missing among a writer's lines, which begin with 1, and counts those that come
    twice. A follower begins anywhere; lines may come a little late."""

    def __init__(self) -> None:
        self.repeated = 0
        self._last: dict[bytes, int] = {}
        self._missing: dict[tuple[bytes, int], float] = {}
        """Since when a line of a writer is missing."""
        self._gap_allowed = True
        self._is_first = True

    def restart(self) -> None:
        """The follower begins again: the next line may have any number, also one that came before."""
        self._gap_allowed = self._is_first = True

    def feed(self, line: bytes, now: float) -> None:
        """Take a line. One without a number is a notice, which allows a gap."""
        found = NUMBERED.search(line)
        if found is None:
            self._gap_allowed = True
            return
        number, writer = int(found[1]), found[2]
        last = self._last.get(writer, 0)
        if number <= last:
            self.repeated += self._missing.pop((writer, number), None) is None and not self._is_first
            self._is_first = False
            return
        if not self._gap_allowed:
            self._missing |= {(writer, missed): now for missed in range(last + 1, number)}
        self._last[writer], self._gap_allowed, self._is_first = number, False, False

    def lost(self, now: float) -> list[tuple[str, float]]:
        """Return, once, which lines have not come in time, and since when."""
        due = sorted(key for key, since in self._missing.items() if now - since > LATE_S)
        ranges = []
        for (writer, _, since), keys in groupby(
            enumerate(due), lambda item: (item[1][0], item[1][1] - item[0], self._missing[item[1]])
        ):
            numbers = [number for _, (_, number) in keys]
            ranges.append((f"lines {numbers[0]} to {numbers[-1]} of pid {writer.decode()}", since))
        for key in due:
            del self._missing[key]
        return ranges


async def follow_log(run: RunContext) -> None:
    """Follow the writer's log for ever, and note each gap."""
    counter = LineCounter()
    while True:
        counter.restart()
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "minikube", "logs", "-f", "--tail", "1", WRITER],
            cwd=run.project.directory,
            env=run.project.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert process.stdout is not None
            await _read(run, process.stdout, counter)
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
        await trio.sleep(RETRY_S)


async def _read(run: RunContext, stdout: trio.abc.ReceiveStream, counter: LineCounter) -> None:
    rest = b""
    with suppress(trio.BrokenResourceError):
        while data := await stdout.receive_some(RECEIVE_BYTES):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                counter.feed(line, run.now())
            if counter.repeated > run.repeated_lines:
                again, run.repeated_lines = counter.repeated - run.repeated_lines, counter.repeated
                run.find(Kind.REPEATED_OUTPUT, f"`logs -f` printed {again} lines twice")
            for missing, since in counter.lost(run.now()):
                if not run.history.is_excused(Allowance.LOST_LINES, WRITER, since, since):
                    run.find(Kind.LOST_OUTPUT, f"`logs -f` lacks {missing}", since)
