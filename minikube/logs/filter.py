"""Which lines of the logs are wanted (floor 3): time, level and pattern of a query. Pure.

Patterns are RE2's (`minikube.patterns`), so that nobody's can hold up the supervisor. `takes` decides; `suspects` looks at
thousands of lines at once and names those that are worth a decision, so that the others are never taken apart.
"""

import math
import re
from typing import Any

from minikube.errors import UsageError
from minikube.logs import levels
from minikube.logs.query import LogQuery
from minikube.model import LogLine
from minikube.patterns import compile_pattern
from minikube.text import printable

PATTERN_LIMIT = 1_000

_WHOLE_TEXT = re.compile(r"\\[AzQ]|\(\?[imsU]*-")
"""What may mean the end or the beginning of all that is searched: such a pattern is tried on one line at a time."""


class LogFilter:
    """Raises `UsageError` for a level or a pattern that is none."""

    def __init__(self, query: LogQuery) -> None:
        self._since = query.since
        self._until = query.until or math.inf
        self._level = ""
        if query.level:
            try:
                self._level = levels.parse_level(query.level)
            except ValueError as error:
                raise UsageError(f"level: {error}, not {printable(query.level[:80])}") from None
        self._pattern = _compiled(query.grep) if query.grep else None
        self._signs = self._signs_to_look_for(query.grep)
        self.reads = self._pattern is not None or bool(query.since or query.until)
        """Whether `takes_text` leaves lines out."""
        self.levels = bool(self._level)
        """Whether a line's level matters."""
        self.narrows = self._signs is not None
        """Whether `suspects` leaves lines out."""
        self.anywhere = bool(query.grep) and self._signs is not None and "^" not in query.grep
        """Whether `is_in` may be asked before the lines are told from what stands before them."""

    def _signs_to_look_for(self, grep: str) -> Any:
        """Found in many lines together wherever it would be found in one of them; None: there is no such thing."""
        if grep:
            return None if _WHOLE_TEXT.search(grep) else compile_pattern(f"(?m){grep}")
        signs = levels.signs_of(self._level) if self._level else ""
        # What goes on is as bad as what it belongs to.
        return compile_pattern(rf"(?im)^[ \t]|{signs}") if signs else None

    def is_in(self, data: bytes) -> bool:
        """Whether there may be something in `data`; JSON's messages apart."""
        return bool(self._signs.search(data))

    def suspects(self, texts: bytes) -> list[int]:
        """The numbers of those among lines of text (UTF-8, none with an end of line in it) that `takes` may want, in
        order."""
        found = _touched(self._signs, texts)
        if self._pattern is None or not (texts.startswith(b"{") or b"\n{" in texts):
            return found
        return sorted({*found, *self._suspects_in_messages(texts)})

    def _suspects_in_messages(self, texts: bytes) -> list[int]:
        lines = texts.split(b"\n")
        numbers = [number for number, text in enumerate(lines) if text[:1] == b"{"]
        messages = levels.messages_of([lines[number] for number in numbers])
        joined = "\n".join(messages).encode("utf-8", "replace")
        if joined.count(b"\n") >= len(numbers):
            return numbers  # one has several lines
        return [numbers[found] for found in _touched(self._signs, joined)]

    def takes(self, line: LogLine) -> bool:
        """Whether the line is wanted. A pattern is looked for in the line as printed and, of JSON, in its message."""
        if self._level and not levels.at_least(line.level, self._level):
            return False
        return self.takes_text(line)

    def takes_text(self, line: LogLine) -> bool:
        """As `takes`, whatever the line's level is."""
        if not self._since <= line.time < self._until:
            return False
        return self._pattern is None or self._is_found(line.line)

    def _is_found(self, text: str) -> bool:
        assert self._pattern is not None
        if self._pattern.search(text.encode("utf-8", "replace")):
            return True
        message = levels.message_of(text)
        return message is not text and bool(self._pattern.search(message.encode("utf-8", "replace")))


def _touched(pattern: Any, texts: bytes) -> list[int]:
    """The numbers of the lines that matches begin in, go through or end in: one that matches on its own is among them."""
    found: list[int] = []
    at = number = 0
    while match := pattern.search(texts, at):
        begin, end = match.span()
        number += texts.count(b"\n", at, begin)
        last = number + texts.count(b"\n", begin, end)
        found.extend(range(number, last + 1))
        at = texts.find(b"\n", end) + 1
        if not at:
            break
        number = last + 1
    return found


def _compiled(pattern: str) -> Any:
    if len(pattern) > PATTERN_LIMIT:
        raise UsageError(f"grep: the pattern is longer than {PATTERN_LIMIT} characters")
    try:
        return compile_pattern(pattern)
    except ValueError as error:
        raise UsageError(f"grep: {printable(pattern)} is no pattern: {error}") from None
