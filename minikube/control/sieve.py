"""Which lines of the logs are wanted (floor 3): time, level and pattern of a query. Pure.

Patterns are RE2's (`minikube.pattern`), so that nobody's can hold up the supervisor.
"""

import math
from typing import Any

from minikube import levels
from minikube.client.messages import LogQuery
from minikube.errors import UsageError
from minikube.model import LogLine
from minikube.pattern import compile_pattern
from minikube.text import printable

PATTERN_LIMIT = 1_000


class Sieve:
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

    def takes(self, line: LogLine) -> bool:
        """Whether the line is wanted. A pattern is looked for in the line as printed and, of JSON, in its message."""
        if not self._since <= line.time < self._until:
            return False
        if self._level and not levels.at_least(line.level, self._level):
            return False
        return self._pattern is None or self._is_found(line.line)

    def _is_found(self, text: str) -> bool:
        assert self._pattern is not None
        if self._pattern.search(text.encode("utf-8", "replace")):
            return True
        message = levels.message_of(text)
        return message is not text and bool(self._pattern.search(message.encode("utf-8", "replace")))


def _compiled(pattern: str) -> Any:
    if len(pattern) > PATTERN_LIMIT:
        raise UsageError(f"grep: the pattern is longer than {PATTERN_LIMIT} characters")
    try:
        return compile_pattern(pattern)
    except ValueError as error:
        raise UsageError(f"grep: {printable(pattern)} is no pattern: {error}") from None
