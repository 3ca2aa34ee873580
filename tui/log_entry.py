"""Events and lines of output as entries of a run of lines (floor 4). Pure."""

from minikube.model import Event, LogLine
from tui import format as look
from tui.widgets.log_view import Entry

OURS = "minikube"
_LEVELS = {"warning": "warning", "error": "error", "critical": "error"}
"""The levels that lines are told apart by; everything milder is `info`."""

_TONES = {"warning": "warn", "error": "bad"}


def event_entry(event: Event) -> Entry:
    """An event, with whom it is about."""
    mark = look.LEVEL_MARKS.get(event.level, look.LEVEL_MARKS["info"])
    level = event.level if event.level in look.LEVEL_MARKS else "info"
    tone = "plain" if level == "info" else mark.tone
    return Entry(event.time, event.instance or event.service, event.message, tone, level)


def log_entry(line: LogLine, several: bool) -> Entry:
    """A line of output; with its instance's name where there are `several`."""
    level = _LEVELS.get(line.level, "info")
    tone = "info" if line.stream == OURS else _TONES.get(level, "plain")
    text = line.line.rstrip("\r").rpartition("\r")[2]  # of a progress bar, what a terminal would leave standing
    return Entry(line.time, line.instance if several else "", text, tone, level)
