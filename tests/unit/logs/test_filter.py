"""Looking through bytes first finds what taking every line apart finds."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from minikube.logs import blocks, levels
from minikube.logs import reader as reader_module
from minikube.logs.blocks import blocks_backwards
from minikube.logs.file_format import Source, encode_lines, parse_line, rotated
from minikube.logs.filter import LogFilter
from minikube.logs.levels import LEVELS, at_least, level_of, parse_level, search_pattern
from minikube.logs.merged import read_backlog
from minikube.logs.query import ALL_LINES, LogQuery
from minikube.logs.reader import LogReader
from minikube.model import LogLine
from minikube.patterns import compile_pattern

PIECES = st.sampled_from(
    [
        "a",
        "ab",
        "b",
        "x{",
        "{",
        "}",
        " ",
        '"',
        "\\",
        "2026",
        "stdout",
        "minikube",
        "line",
        "$",
        "^",
        "ERROR:",
        "error",
        "[warn]",
        "INFO",
        "WARN ",
        "panic: ",
        "level=err",
        "ValueError: ",
        "Traceback (most recent",
        "<3>",
        "<6>",
        "E1124 10:00:00",
        "7:M 24 Nov 2026 10:00:00.1 # ",
        "Caused by: ",
        "SystemExit",
        "\t",
        "é",
        "\u2028",
        "K",
        "İ",
    ]
)
TEXTS = st.one_of(
    st.lists(PIECES, max_size=4).map("".join).map(str.encode),
    st.binary(max_size=6).map(lambda data: data.replace(b"\n", b"")),
    st.sampled_from(
        [
            b'{"level":"error","msg":"a b"}',
            b'{"msg":"ab\\na","level":30}',
            b'{"level": 5e1}',
            b'{"severity":\t60.5,"message":"a\\u0062"}',
            b'{"l\\u0065vel":"\\u0065rror"}',
            b'{"level":"\\u2003err\\u2003"}',
            b'{"message":"\\"q\\" a","lvl":"warn"}',
            b'{"event":"^a"}',
            b'{"msg":"\\ud800 a"}',
            b"\x1b[1ma\x1b[0mb",
            b'{"msg":"\\u001b[31ma\\u001b[m b"}',
            b"  going on",
            b"\tat x.y",
            b"  ERROR: indented",
        ]
    ),
)
PATTERNS = st.sampled_from(
    [
        r"a",
        r"ab$",
        r"^a",
        r"b$",
        r"^$",
        r"a b",
        r"(?i)A",
        r"\ba",
        r"a\z",
        r"\Aa",
        r"[^b]",
        r"\s",
        r"\s*a",
        r"",
        r"a*",
        r"(?s)a.",
        r"2026",
        r"stdout",
        r"minikube",
        r"\\",
        r'"',
        r'"q"',
        r"^{",
        r"é",
        r".",
        r"\x{FFFD}",
        r"b|^a",
        r"(?-s)a.",
        r"(?m)^a$",
        r"\Qa",
        r"a|b",
        r"\W$",
        r"x{1,3}",
        r"^ ",
    ]
)


STACK = [
    ("stderr", b'{"level":"error","msg":"a b"}'),
    ("stdout", b'{"level":"error","msg":"a b"}'),
    ("stderr", b"  goes on"),
]

OLD_STACK = [*[("stdout", b"error: a")] * 3, ("stderr", b"error: b"), ("stdout", b"\tgoes on")]


# The line that goes on stands behind the place where reading begins, what it goes on from before.
@example(texts=STACK, style="plain", cuts=set(), grep="", level="warning", since=0, until=0, size=64)
# What it goes on from was written before `since`.
@example(texts=OLD_STACK, style="plain", cuts=set(), grep="", level="warning", since=3, until=0, size=64)
@settings(max_examples=250, deadline=None)
@given(
    texts=st.lists(st.tuples(st.sampled_from(["stdout", "stderr", "minikube"]), TEXTS), min_size=1, max_size=30),
    style=st.sampled_from(["plain", "json", "mixed"]),
    cuts=st.sets(st.integers(1, 29), max_size=3),
    grep=st.one_of(st.just(""), PATTERNS),
    level=st.sampled_from(["", *LEVELS]),
    since=st.sampled_from([0, 0, 3, 17]),
    until=st.sampled_from([0, 0, 9]),
    size=st.sampled_from([64, 300, 65_536]),
)
def test_what_is_found_is_what_a_look_at_every_line_finds(
    texts: list[tuple[str, bytes]],
    style: str,
    cuts: set[int],
    grep: str,
    level: str,
    since: int,
    until: int,
    size: int,
) -> None:
    """Over formats, files, sizes of a block, and lines that go on; with each line's level."""
    query = LogQuery(ALL_LINES, False, START + since if since else 0.0, START + until if until else 0.0, grep, level)
    with TemporaryDirectory() as place, patch.object(blocks, "BLOCK", size), patch.object(reader_module, "BLOCK", size):
        source = Source("s", "s", Path(place) / "s.log", 9)
        raw = write(source, texts, style, sorted(cuts))
        expected = list(found_slowly(raw, query))
        assert found(source, query) == expected
        for tail in (1, 3):
            some = found(source, replace(query, tail=tail))
            if level or not grep:
                assert [line.line for line in some] == [line.line for line in expected][len(expected) - len(some) :]
            else:
                assert [line.line for line in some] == [line.line for line in expected][-tail:]


START = 1_795_500_000.0


def write(source: Source, texts: list[tuple[str, bytes]], style: str, cuts: list[int]) -> list[bytes]:
    """A line each second, the files cut before these lines; all lines as they stand there."""
    raw = []
    for number, (stream, text) in enumerate(texts):
        form = style if style != "mixed" else ("json" if number % 5 == 4 else "plain")
        with patch("time.time", lambda now=START + number: now):
            raw.append(encode_lines(stream, text + b"\n", form).removesuffix(b"\n"))
    begins = [0, *(cut for cut in cuts if cut < len(raw)), len(raw)]
    parts = [raw[begin:end] for begin, end in pairwise(begins)]
    for number, part in enumerate(reversed(parts)):
        rotated(source.path, number).write_bytes(b"".join(line + b"\n" for line in part))
    return raw


def found(source: Source, query: LogQuery) -> list[LogLine]:
    one = LogReader(source)
    lines = [line for batch in read_backlog([one], query, LogFilter(query)) for line in batch]
    one.close()
    return lines


def found_slowly(raw: list[bytes], query: LogQuery) -> Iterator[LogLine]:
    """Line by line, as docs/cli.md describes it."""
    last: dict[str, str] = {}
    pattern = compile_pattern(query.grep)
    for one in raw:
        line = parse_line(one, "s", "s")
        if line is None or line.time < query.since:
            continue
        level = level_of(line.line)
        if line.stream == "minikube":
            level = "warning"
        elif not level and levels.is_continuation(line.line):
            level = last.get(line.stream, "")
        else:
            last[line.stream] = level
        texts = {line.line, levels.message_of(line.line)}
        texts |= {re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]", "", text) for text in texts}
        if (
            not (query.until and line.time >= query.until)
            and (not query.level or at_least(level, parse_level(query.level)))
            and any(pattern.search(text.encode("utf-8", "replace")) for text in texts)
        ):
            yield replace(line, level=level)


@settings(max_examples=300, deadline=None)
@given(TEXTS.map(lambda text: text.decode("utf-8", "replace")), st.sampled_from(LEVELS))
@example('{"level":"FATAL "}', "critical")
@example("[Severe] x", "error")
def test_signs_miss_no_line_that_is_bad_enough(text: str, least: str) -> None:
    signs = search_pattern(least)
    if signs and at_least(level_of(text), least):
        assert compile_pattern(f"(?im){signs}").search(f"before\n{text}\nafter".encode("utf-8", "replace"))


@pytest.mark.parametrize("data", [b"", b"\n", b"a", b"a\n", b"\n\na\n", b"ab\ncdefgh\n\ni\nrest", b"abcdefghij\n" * 3])
@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_blocks_backwards_are_all_the_whole_lines(tmp_path: Path, data: bytes, size: int) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    with path.open("rb") as file, patch.object(blocks, "BLOCK", size):
        parts = list(blocks_backwards(file.fileno(), len(data)))
    assert b"".join(part + b"\n" for _, part in reversed(parts)) == data[: data.rfind(b"\n") + 1]
    assert all(data[offset:].startswith(part + b"\n") for offset, part in parts)
