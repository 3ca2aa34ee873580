"""Log files: their names and the form of a line. No trio, no threads.

`NAME.log` is the file that is written, `NAME.log.1` the file before it, the highest number the oldest. A line is
`2026-11-24T00:16:00.123456Z stdout text`, or with `format = "json"` an object with `time`, `stream` and `line`. Lines of the
supervisor's own have the stream `minikube`. A file holds whole lines, except where a full disk cut one.
"""

import contextlib
import os
import re
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from minikube.model import LogLine
from minikube.project_dir import own_log

OWN_STREAM = "minikube"
"""The stream of notices of the supervisor."""
STAMP_LENGTH = len("2026-11-24T00:16:00.123456Z")
NOT_CAPTURED = frozenset({own_log("supervisor"), own_log("dashboard")})
"""Log files that hold no instance's output."""

_NUMBERED = re.compile(r"(?P<name>.+)\.log(?:\.(?P<number>[0-9]{1,4}))?")
_ENCODER = msgspec.json.Encoder()


class _Record(Struct):
    line: str


_RECORDS = msgspec.json.Decoder(_Record)


class Source(Struct, frozen=True):
    """The log files of one instance."""

    service: str
    instance: str
    path: Path
    keep: int
    """The highest number that a file may have."""


class FileOrigin(NamedTuple):
    """The place of a log file in the output of a run: its inode, and the number (from the run's first line) of the line at
    `offset`.
    """

    inode: int
    first: int
    offset: int
    """0, except in a file that an earlier run began."""


def rotated(path: Path, number: int) -> Path:
    """Return the path of file `number` of a log: `x.log`, `x.log.1`, …; 0 is the newest, the highest the oldest."""
    return path.with_name(f"{path.name}.{number}") if number else path


def file_numbers(path: Path, keep: int) -> Iterator[int]:
    """Yield the numbers of the existing files of a log, from 0 up to at most `keep`."""
    # One number may be missing: a rotation is in progress.
    missing = 0
    for number in range(keep + 1):
        if os.path.lexists(rotated(path, number)):
            missing = 0
            yield number
        elif number:
            missing += 1
            if missing == 2:
                return


def split_name(file: str) -> tuple[str, int] | None:
    """Split the name of a log file into instance and number: `product-2.log.1` → (`product-2`, 1). None for other names."""
    match = _NUMBERED.fullmatch(file)
    return (match["name"], int(match["number"] or 0)) if match else None


def kept_sources(directory: Path, services: Iterable[str]) -> list[Source]:
    """Return the logs in a folder, sorted by instance name.

    `services` are the names of the manifest's services. They tell replica 2 of `a` from a service named `a-2`.
    """
    highest: dict[str, int] = {}
    with contextlib.suppress(OSError):
        for path in directory.iterdir():
            found = split_name(path.name)
            if found is not None and found[0] not in NOT_CAPTURED:
                highest[found[0]] = max(highest.get(found[0], 0), found[1])
    known = frozenset(services)
    return [
        Source(service_of(name, known), name, directory / f"{name}.log", number)
        for name, number in sorted(highest.items())
    ]


def service_of(instance: str, services: frozenset[str]) -> str:
    """Return the service of an instance: `a` for `a-2`, where `a` is a service and `a-2` is not."""
    head, _, number = instance.rpartition("-")
    return head if instance not in services and number.isdecimal() and head in services else instance


def encode_lines(stream: str, whole: bytes, style: str, now: float = 0.0) -> bytes:
    """Return complete lines of output in the format of the log file. `style` is `plain` or `json`.

    Their time is `now` (Unix seconds; 0: the current time).
    """
    now = now or time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e6):06d}Z"
    if style == "json":
        record = {"time": stamp, "stream": stream, "line": ""}
        lines = whole.decode("utf-8", "replace").split("\n")[:-1]
        return b"".join(_ENCODER.encode({**record, "line": line}) + b"\n" for line in lines)
    prefix = f"{stamp} {stream} ".encode()
    return prefix + whole[:-1].replace(b"\n", b"\n" + prefix) + b"\n"


def parse_line(raw: bytes, service: str, instance: str) -> LogLine | None:
    """Parse a line of a log file. Return None for a malformed line, such as one that a full disk cut."""
    global _prefix
    prefix, moment, source = _prefix
    if raw.startswith(prefix):  # lines of one read have the same prefix
        return LogLine(moment, service, instance, source, raw[len(prefix) :].decode("utf-8", "replace"))
    text = raw.decode("utf-8", "replace")
    if text.startswith("{"):
        try:
            record = msgspec.json.decode(raw, type=dict[str, str])
            return LogLine(_seconds(record["time"]), service, instance, record["stream"], record["line"])
        except (msgspec.DecodeError, KeyError, ValueError, UnicodeDecodeError):
            return None
    stamp, _, rest = text.partition(" ")
    stream, separator, line = rest.partition(" ")
    if len(stamp) != STAMP_LENGTH or not separator:
        return None
    try:
        moment = _seconds(stamp)
    except ValueError:
        return None
    if text.isascii():
        _prefix = (f"{stamp} {stream} ".encode(), moment, stream)
    return LogLine(moment, service, instance, stream, line)


def texts_of(lines: list[bytes]) -> bytes | None:
    """Return the text of each log file line without time and stream, joined by newlines; None if a line has another format.

    The text is for searching only: a malformed line may stay undetected, which `parse_line` rejects.
    """
    if not lines[0].startswith(b"{"):
        if any(line.startswith(b"{") for line in lines):
            return None  # the manifest's log format was changed
        return b"\n".join([line.split(b" ", 2)[-1] for line in lines])
    try:
        texts = "\n".join([record.line for record in _RECORDS.decode_lines(b"\n".join(lines))])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return texts.encode("utf-8", "replace") if texts.count("\n") == len(lines) - 1 else None


def written_at(raw: bytes) -> float:
    """Return the time (Unix seconds) of the log file line that begins with `raw`; 0 if it has none."""
    text = raw[:64].decode("ascii", "replace")
    stamp = text.removeprefix('{"time":"')[:STAMP_LENGTH]
    with contextlib.suppress(ValueError):
        return _seconds(stamp) if len(stamp) == STAMP_LENGTH else 0.0  # a block may end inside a time
    return 0.0


_prefix: tuple[bytes, float, str] = (b"\n", 0.0, "")
_minute: tuple[str, float] = ("", 0.0)
_moment: tuple[str, float] = ("", 0.0)


def _seconds(stamp: str) -> float:
    global _minute, _moment
    last, moment = _moment
    if last == stamp:  # lines of one read have the same time
        return moment
    head, minute = _minute
    if head != stamp[:17]:  # to parse it for each line would cost more than all other parsing
        # Not strptime, which imports a module at its first use: without descriptors that fails.
        if stamp[16:17] != ":":
            raise ValueError(stamp)
        head, minute = stamp[:17], datetime.fromisoformat(stamp[:16]).replace(tzinfo=UTC).timestamp()
        _minute = (head, minute)
    moment = minute + float(stamp[17:-1])
    _moment = (stamp, moment)
    return moment
