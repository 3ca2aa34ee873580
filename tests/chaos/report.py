"""The report of a run: a table for readers, one JSON line for programs."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.chaos.model import Allowance, Finding, History, Kind, percentile
from tests.chaos.project import FAKETIME
from tests.chaos.run_context import Change, RunContext

MIB = 1024 * 1024
GROWTH_MIB = 64.0
GROWTH_DESCRIPTORS = 32
WARM_UP_S = 10.0


@dataclass(frozen=True)
class Growth:
    """How much a part's process has grown after its first seconds, at most."""

    part: str
    mib: float
    descriptors: int


@dataclass(frozen=True)
class Result:
    """What a run did and found."""

    operations: dict[str, int]
    findings: Sequence[Finding] = ()
    acknowledged: int = 0
    lookups: int = 0
    repeated_lines: int = 0
    engine: str = ""
    """The version of the container engine; empty where none is installed."""
    redis_clock: bool = True
    """Whether the clock of Redis was moved, too."""
    pushed_s: Sequence[float] = ()
    """From the death of an instance until the registry pushed it."""
    back_s: Sequence[float] = ()
    """From the death of an instance until it was found again."""
    growth: Sequence[Growth] = field(default=())

    @property
    def counts(self) -> dict[str, int]:
        """The number of findings of each kind, those that are zero, too."""
        return {kind.value: sum(finding.kind is kind for finding in self.findings) for kind in Kind}

    @property
    def passed(self) -> bool:
        """Whether no promise was broken."""
        return not self.findings


def summarize(run: RunContext) -> Result:
    """Return the result of a run that has ended."""
    growth = list(measure_growth(run.usage))
    for one in growth:
        if one.mib > GROWTH_MIB or one.descriptors > GROWTH_DESCRIPTORS:
            run.find(Kind.GROWTH, f"{one.part} grew by {one.mib:.0f} MiB and {one.descriptors} descriptors")
    pushed, back = push_times(run.history, run.changes)
    if (median := percentile(pushed, 0.5)) > run.bounds["push"]:
        run.find(Kind.SLOW, f"half of the {len(pushed)} ends were pushed only after {median:.2f} s or more")
    return Result(
        run.operations,
        run.findings,
        run.acknowledged,
        run.lookups,
        run.repeated_lines,
        run.engine.version if run.engine is not None else "",
        bool(FAKETIME),
        pushed,
        back,
        growth,
    )


def push_times(history: History, changes: Iterable[Change]) -> tuple[list[float], list[float]]:
    """Return how long it took from the kill of an instance until its end was pushed, and until it passed again; of each
    instance that passed when it was killed, while nothing else was disturbed."""
    by_instance: dict[str, list[Change]] = {}
    for change in changes:
        by_instance.setdefault(change.instance, []).append(change)
    pushed, back = [], []
    for process in history.processes:
        killed = history.kills.get(id(process))
        if killed is None or process.role != "main" or not process.port:
            continue
        own = by_instance.get(process.instance, [])
        before = [change for change in own if change.at < killed]
        gone = next((one.at for one in own if one.at >= killed and not one.passes), math.inf)
        again = next((one.at for one in own if one.at > gone and one.passes), math.inf)
        if not before or not before[-1].passes:
            continue
        if gone < math.inf and not _is_disturbed(history, process.service, killed, gone):
            pushed.append(gone - killed)
        if again < math.inf and not _is_disturbed(history, process.service, killed, again):
            back.append(again - killed)
    return pushed, back


def _is_disturbed(history: History, service: str, start: float, end: float) -> bool:
    return any(
        history.is_excused(what, service, start, end, with_grace=False)
        for what in (Allowance.STALE, Allowance.REMOVAL, Allowance.END)
    )


def measure_growth(usage: dict[tuple[str, int], list[tuple[float, int, int]]]) -> Iterable[Growth]:
    """Yield the growth of each part: the most of all its processes, from the end of their first seconds to their last value."""
    worst: dict[str, Growth] = {}
    for (part, _), rows in usage.items():
        warm = [row for row in rows if row[0] >= rows[0][0] + WARM_UP_S]
        if not warm:
            continue
        mib, descriptors = (warm[-1][1] - warm[0][1]) / MIB, warm[-1][2] - warm[0][2]
        known = worst.get(part, Growth(part, 0.0, 0))
        worst[part] = Growth(part, round(max(known.mib, mib), 1), max(known.descriptors, descriptors))
    return worst.values()


def table(result: Result) -> str:
    """Return the table that a run prints."""
    rows = [(name, str(count)) for name, count in sorted(result.operations.items())]
    rows += [("acknowledged registrations", str(result.acknowledged)), ("lookups", str(result.lookups))]
    rows += [("repeated log lines", str(result.repeated_lines))]
    rows += [("container engine", result.engine or "not installed: no service in a container")]
    rows += [("clock of Redis", "moved" if result.redis_clock else "not moved: libfaketime is not installed")]
    rows += [(kind, str(count)) for kind, count in result.counts.items()]
    for name, values in (("death to push", result.pushed_s), ("death to back again", result.back_s)):
        if values:
            figures = f"{_ms(values, 0.5)} / {_ms(values, 0.99)} ms ({len(values)})"
            rows.append((f"{name}, p50 / p99", figures))
    rows += [(f"growth of {one.part}", f"{one.mib} MiB, {one.descriptors} descriptors") for one in result.growth]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {value}" for name, value in rows]
    lines += [f"BROKEN {finding.kind}: {finding.text}" for finding in result.findings]
    return "\n".join(lines)


def _ms(values: Sequence[float], share: float) -> str:
    return f"{percentile(values, share) * 1000:.0f}"


def json_line(result: Result, **extra: Any) -> str:
    """Return the result as one line of JSON."""
    figures = {
        name: {"n": len(values), **{f"p{p}": round(percentile(values, p / 100), 4) for p in (50, 99) if values}}
        for name, values in (("death_to_push_s", result.pushed_s), ("death_to_back_s", result.back_s))
    }
    return json.dumps(
        {
            **extra,
            "passed": result.passed,
            "operations": result.operations,
            "acknowledged": result.acknowledged,
            "lookups": result.lookups,
            "repeated_lines": result.repeated_lines,
            "engine": result.engine,
            "redis_clock": result.redis_clock,
            **result.counts,
            **figures,
            "growth": [asdict(one) for one in result.growth],
            "findings": [asdict(finding) for finding in result.findings],
        }
    )
