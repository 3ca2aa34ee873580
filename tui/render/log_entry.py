"""Entries of the log view, made from events and from log lines."""

from typing import NamedTuple

from minikube.model import Event, LogLine
from tui.render.format import EVENT_LEVEL_BADGES

SUPERVISOR_STREAM = "minikube"
"""The stream of lines that the supervisor writes into an instance's log, beside `stdout` and `stderr`."""

_LEVELS = {"warning": "warning", "error": "error", "critical": "error"}
"""The view's level for each level of a log line; other levels count as `info`."""

_STYLES = {"warning": "warn", "error": "bad"}


class LogEntry(NamedTuple):
    """One entry of the log view."""

    time: float
    """Seconds since the epoch; 0 shows no time."""
    label: str
    """The instance or service that the entry is about; may be empty."""
    text: str
    style: str = "plain"
    level: str = "info"
    """`info`, `warning` or `error`."""
    source: str = ""
    """Where a log line comes from: its instance and stream."""
    partial: bool = False
    """Whether the line waits for its newline: the next entry of the same source takes its place."""


def event_entry(event: Event) -> LogEntry:
    """Return the entry for an event."""
    badge = EVENT_LEVEL_BADGES.get(event.level, EVENT_LEVEL_BADGES["info"])
    level = event.level if event.level in EVENT_LEVEL_BADGES else "info"
    style = "plain" if level == "info" else badge.style
    label = event.instance or event.service
    # The label stands before the text: the name need not be there twice.
    text = event.message.removeprefix(f"{label} ") if label else event.message
    return LogEntry(event.time, label, text, style, level)


def log_entry(line: LogLine, several: bool) -> LogEntry:
    """Return the entry for a log line; with `several` instances in one view it is labelled with the instance's name."""
    level = _LEVELS.get(line.level, "info")
    style = "info" if line.stream == SUPERVISOR_STREAM else _STYLES.get(level, "plain")
    # A progress bar writes its states with carriage returns: a terminal would show the last one.
    text = line.line.rstrip("\r").rpartition("\r")[2]
    source = f"{line.instance} {line.stream}"
    return LogEntry(line.time, line.instance if several else "", text, style, level, source, bool(line.partial))
