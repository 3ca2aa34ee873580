"""Which log lines a query selects: time, level and pattern. Pure.

Patterns are RE2's (`minikube.patterns`), whose time is linear, so that no query can hold up the supervisor. `selects` decides
on one parsed line; `candidates` searches thousands of raw lines at once, so that the others are never parsed.
"""

import math
import re
from itertools import chain
from typing import Any

from minikube.errors import UsageError
from minikube.logs import levels
from minikube.logs.query import LogQuery
from minikube.logs.writing.masking import searched_forms
from minikube.model import LogLine
from minikube.patterns import compile_pattern
from minikube.text import printable

PATTERN_LIMIT = 1_000

_WHOLE_TEXT = re.compile(r"\\[AzQ]|\(\?[imsU]*-")
"""Anchors of the whole text, and flags: a pattern with one of them cannot be searched in many lines at once."""


class LogFilter:
    """Decides which log lines a `LogQuery` selects. Raises `UsageError` for an unknown level or a malformed pattern."""

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
        self._search = self._search_pattern(query.grep)
        self.reads = self._pattern is not None or bool(query.since or query.until)
        """Whether `selects_text` may reject a line."""
        self.levels = bool(self._level)
        """Whether the level of a line matters."""
        self.narrows = self._search is not None
        """Whether `candidates` may leave out a line."""
        self.anywhere = bool(query.grep) and self._search is not None and "^" not in query.grep
        """Whether `is_in` may search a block with its times and streams: the pattern has no anchor of a line."""

    def _search_pattern(self, grep: str) -> Any:
        """Return a compiled pattern that matches in every line that may be selected, for a search in many lines at once.

        Return None if no pattern can do that.
        """
        if grep:
            return None if _WHOLE_TEXT.search(grep) else compile_pattern(f"(?m){grep}")
        search = levels.search_pattern(self._level) if self._level else ""
        # An indented line has the level of the line that it continues.
        return compile_pattern(rf"(?im)^[ \t]|{search}") if search else None

    def is_in(self, data: bytes) -> bool:
        """Return whether a line of `data` may be selected; escaped characters in JSON messages are not considered."""
        return any(self._search.search(form) for form in searched_forms(data))

    def candidates(self, texts: bytes) -> list[int]:
        """Return the indexes, in order, of the lines in `texts` that `selects` may select. `texts` must be UTF-8."""
        found = self._matching_lines(texts)
        if self._pattern is None or not (texts.startswith(b"{") or b"\n{" in texts):
            return found
        return sorted({*found, *self._candidates_in_messages(texts)})

    def _candidates_in_messages(self, texts: bytes) -> list[int]:
        lines = texts.split(b"\n")
        numbers = [number for number, text in enumerate(lines) if text[:1] == b"{"]
        messages = levels.messages_of([lines[number] for number in numbers])
        joined = "\n".join(messages).encode("utf-8", "replace")
        if joined.count(b"\n") >= len(numbers):
            return numbers  # a message has several lines
        return [numbers[found] for found in self._matching_lines(joined)]

    def _matching_lines(self, texts: bytes) -> list[int]:
        """Return the indexes of the lines that may match, as they are or without their escape sequences."""
        first, *more = (_matching_lines(self._search, form) for form in searched_forms(texts))
        return sorted({*first, *chain(*more)}) if more else first

    def selects(self, line: LogLine) -> bool:
        """Return whether the query selects the line.

        The pattern is searched in the line and, if it is JSON, in its message; in both also without escape sequences.
        """
        if self._level and not levels.at_least(line.level, self._level):
            return False
        return self.selects_text(line)

    def selects_text(self, line: LogLine) -> bool:
        """Return whether the query selects the line by time and pattern, whatever its level."""
        if not self._since <= line.time < self._until:
            return False
        return self._pattern is None or self._is_found(line.line)

    def _is_found(self, text: str) -> bool:
        if self._matches(text):
            return True
        message = levels.message_of(text)
        return message is not text and self._matches(message)

    def _matches(self, text: str) -> bool:
        assert self._pattern is not None
        return any(self._pattern.search(form) for form in searched_forms(text.encode("utf-8", "replace")))


def _matching_lines(pattern: Any, texts: bytes) -> list[int]:
    """Return the indexes of all lines with a part of a match. Every line that matches on its own is among them."""
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
        raise UsageError(f"grep: {printable(pattern)} is not a valid pattern: {error}") from None
