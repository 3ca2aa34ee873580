"""The level of a line of output, read from the common forms in which programs write it. Pure.

JSON (`"level":"error"`, pino's and bunyan's numbers, `severity`), logfmt (`level=warn`), `[error]`, `ERROR:`,
klog's `E1124 10:00:00`, systemd's `<3>`, Redis' `* - # .`, and tracebacks of Python, Node, Go and Java. It refuses to guess
from words inside a sentence: "0 errors" has no level.
"""

import re

import msgspec

LEVELS = ("debug", "info", "warning", "error", "critical")
"""In rising order. A line without a level counts as `info`."""

UNKNOWN = ""
_RANKS = {name: number for number, name in enumerate(LEVELS)} | {UNKNOWN: 1}

_NAMES = {
    "trace": "debug",
    "debug": "debug",
    "dbug": "debug",
    "verbose": "debug",
    "info": "info",
    "information": "info",
    "notice": "info",
    "warn": "warning",
    "warning": "warning",
    "error": "error",
    "err": "error",
    "eror": "error",
    "severe": "error",
    "fail": "error",
    "critical": "critical",
    "crit": "critical",
    "fatal": "critical",
    "panic": "critical",
    "alert": "critical",
    "emerg": "critical",
    "emergency": "critical",
}
_SYSLOG = ("critical", "critical", "critical", "error", "warning", "info", "info", "debug")
_SIGNS = {
    "syslog": {str(number): name for number, name in enumerate(_SYSLOG)},
    "klog": {"I": "info", "W": "warning", "E": "error", "F": "critical"},
    "redis": {".": "debug", "-": "debug", "*": "info", "#": "warning"},
}
_MACHINE_STARTS = frozenset("<IWEF0123456789")

HEAD = 160
"""How many characters of a line are examined."""

NEAR = 64
"""A bare or bracketed word counts within so many characters: further on it belongs to a sentence."""

_WORDS = "|".join(sorted(_NAMES, key=len, reverse=True))
_MACHINES = re.compile(
    r"""
      <(?P<syslog>[0-7])>
    | (?P<klog>[IWEF])[0-9]{4}[ ][0-9]{2}:
    | [0-9]+:[A-Z][ ][0-9]{2}[ ]\w{3}[ ][0-9]{4}[ ][0-9:.]+[ ](?P<redis>[-.*\#])[ ]
    """,
    re.VERBOSE | re.ASCII,
)
_LOGFMT = re.compile(r"""(?:^|[\s,{.])(?:level|lvl|severity)=["']?(\w+)""", re.ASCII)
_UPPER = re.compile(rf"(?:^|[\s|:\[(<])({_WORDS.upper()})(?=[\s:|\])>,]|$)", re.ASCII)
_BRACKET = re.compile(rf"[\[<(|]\s*({_WORDS})\s*[\]>)|]", re.ASCII | re.IGNORECASE)
_START = re.compile(rf"({_WORDS})\s*(?:\[[\w.-]*\]\s*)?(?::|\[)", re.ASCII | re.IGNORECASE)
_TROUBLE = re.compile(
    r"Traceback \(most recent|Exception in thread|Caused by:|fatal error:"
    r"|(?:[A-Za-z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception|Interrupt|Exit)(?::|$)",
    re.ASCII,
)


class _Record(msgspec.Struct):
    """The fields of a JSON log line that hold its level and its message."""

    level: str | float | None = None
    severity: str | float | None = None
    levelname: str | None = None
    lvl: str | float | None = None
    message: str | None = None
    msg: str | None = None
    event: str | None = None


_RECORD = msgspec.json.Decoder(_Record)


def level_of(line: str) -> str:
    """Return the level that a line of output states: one of `LEVELS`, or `UNKNOWN`."""
    if line.startswith("{"):
        record = _read(line)
        if record is not None:
            found = (record.level, record.severity, record.levelname, record.lvl)
            return _named(next((value for value in found if value is not None), None))
    if line[:1] in _MACHINE_STARTS and (match := _MACHINES.match(line)):
        kind = match.lastgroup or ""
        return _SIGNS[kind][match[kind]]
    head = line[:HEAD]
    lowered = head.lower()
    if not _has_clue(lowered):
        return UNKNOWN
    match = (
        ((":" in head or "[" in head) and _START.match(head))
        or ("=" in head and _LOGFMT.search(head))
        or _UPPER.search(head, 0, NEAR)
        or _BRACKET.search(head, 0, NEAR)
        or None
    )
    if match:
        return _NAMES.get(match[1].lower(), UNKNOWN)
    return "error" if _TROUBLE.match(head) else UNKNOWN


def search_pattern(least: str) -> str:
    """Return an RE2 pattern that matches in every line of level `least` or higher, and in few other lines.

    It is empty if lines without a level count as `least`. With `(?im)` it can be searched in many lines at once.
    """
    if at_least(UNKNOWN, least):
        return ""
    names = "|".join(name for name, level in _NAMES.items() if at_least(level, least))
    tracebacks = "|exception|traceback|caused by|interrupt|exit" if at_least("error", least) else ""
    number = r'"(?:level|severity|lvl)"\s*:\s*-?(?:[4-6][0-9]|[0-9]+[.e])'
    escaped = r"\\u00"  # JSON may escape any letter
    return rf"{names}{tracebacks}|{number}|{escaped}|^<[0-4]>|^[WEF][0-9]{{4}} [0-9]{{2}}:|^[0-9]+:[A-Z] .* # "


def message_of(line: str) -> str:
    """Return the message of a JSON log line; return any other line unchanged."""
    record = _read(line) if line.startswith("{") else None
    return line if record is None else _message(record, line)


def messages_of(lines: list[bytes]) -> list[str]:
    """Return the messages of JSON log lines, each as `message_of` does. The lines must begin with a brace and be UTF-8."""
    if all(line.endswith(b"}") for line in lines):  # then no value spans two lines
        try:
            records = _RECORD.decode_lines(b"\n".join(lines))
        except (msgspec.DecodeError, RecursionError):
            records = []
        if len(records) == len(lines):
            return [_message(record, line) for record, line in zip(records, lines, strict=True)]
    return [message_of(line.decode()) for line in lines]


def parse_level(text: str) -> str:
    """Return the level for its name or a synonym: `warn` → `warning`. Raises ValueError for another word."""
    level = _NAMES.get(text.lower())
    if level is None:
        raise ValueError(f"expected a level, one of {', '.join(LEVELS)}")
    return level


def at_least(level: str, least: str) -> bool:
    """Return whether `level`, which may be `UNKNOWN`, is as severe as `least` or more."""
    return _RANKS[level] >= _RANKS[least]


def is_continuation(line: str) -> bool:
    """Return whether a line is indented, so that it continues the line before it, as in a stack trace."""
    return line[:1] in (" ", "\t") and not line.isspace()


def _has_clue(text: str) -> bool:
    """Return whether a line may state a level: a fast check that most lines fail."""
    # Written out: a loop over the words takes three times as long, and this runs for every line.
    return (
        "info" in text
        or "err" in text
        or "warn" in text
        or "debug" in text
        or "level" in text
        or "notic" in text
        or "crit" in text
        or "fatal" in text
        or "fail" in text
        or "exce" in text
        or "trac" in text
        or "panic" in text
        or "sever" in text
        or "lvl" in text
        or "verb" in text
        or "dbug" in text
        or "eror" in text
        or "aler" in text
        or "emer" in text
        or "caused" in text
        or "inter" in text
        or "exit" in text
    )


def _message(record: _Record, line: str | bytes) -> str:
    for text in (record.message, record.msg, record.event):
        if text is not None:
            return text
    return line if isinstance(line, str) else line.decode()


def _read(line: str) -> _Record | None:
    try:
        return _RECORD.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return None


def _named(value: str | float | None) -> str:
    """Return the level for the value of a JSON field: a name, or a number as in pino and bunyan (10 trace, 20 debug … 60 fatal)."""
    if isinstance(value, str):
        return _NAMES.get(value.strip().lower(), UNKNOWN)
    if value is None or not 10 <= value < 70:
        return UNKNOWN
    return ("debug", "debug", "info", "warning", "error", "critical")[int(value // 10) - 1]
