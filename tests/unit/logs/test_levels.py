"""The level of a line of output, in the shapes that services use."""

import pytest

from minikube.logs.levels import LEVELS, at_least, is_continuation, level_of, message_of, messages_of, parse_level


@pytest.mark.parametrize(
    ("level", "line"),
    [
        ("error", "2026-11-24 00:16:00,123 ERROR root: no answer"),
        ("info", 'INFO:     127.0.0.1:5 - "GET / HTTP/1.1" 200'),
        ("error", "[error] no answer"),
        ("warning", "2026/11/24 10:00:00 [warn] 12#0: conflicting server name"),
        ("info", "[2026-11-24 10:00:00 +0000] [7] [INFO] Booting worker"),
        ("warning", "10:00:00 | WARNING  | app:main - slow"),
        ("warning", "  WARN 123 --- [main] c.e.App : slow"),
        ("warning", "WARNING:root:slow"),
        ("warning", "warn: Microsoft.Hosting[0]"),
        ("error", "fail: App[0]"),
        ("error", "error[E0308]: mismatched types"),
        ("error", "Error: listen EADDRINUSE"),
        ("warning", 'ts=1 level=warn msg="slow"'),
        ("info", 'time="10:00" level=info msg=ready'),
        ("error", '{"level":"error","msg":"x"}'),
        ("error", '{"level":50,"msg":"x"}'),
        ("debug", '{"level":10,"msg":"x"}'),
        ("warning", '{"severity":"WARNING","message":"m"}'),
        ("critical", '{"levelname":"CRITICAL","event":"m"}'),
        ("", '{"level":true}'),
        ("", '{"level":7}'),
        ("", '{"level":"loud"}'),
        ("", '{"level":"error"'),
        ("", '{"msg":"x"}'),
        ("error", "E1124 10:00:00.123456  7 main.go:3] no answer"),
        ("info", "I1124 10:00:00.123456  7 main.go:3] ready"),
        ("error", "<3>no answer"),
        ("debug", "<7>detail"),
        ("warning", "12:M 24 Nov 2026 10:00:00.123 # memory overcommit"),
        ("info", "12:M 24 Nov 2026 10:00:00.123 * Ready to accept connections"),
        ("error", "Traceback (most recent call last):"),
        ("error", "redis.exceptions.ConnectionError: refused"),
        ("error", "KeyboardInterrupt"),
        ("error", 'Exception in thread "main" java.lang.IllegalStateException'),
        ("critical", "panic: runtime error: index out of range"),
        ("debug", "DEBUG"),
        ("", "0 errors found"),
        ("", "no error here, all is well"),
        ("", "GET /ERROR 404"),
        ("", "the information desk"),
        ("", "x" * 200 + " ERROR"),
        ("", ""),
        ("", "\ud800 {"),
        ("", '{"level":"\ud800"}'),
    ],
)
def test_the_level_is_read_from_the_line(level: str, line: str) -> None:
    assert level_of(line) == level


def test_a_json_line_s_message_is_found_by_the_names_in_use() -> None:
    assert message_of('{"msg":"a"}') == message_of('{"message":"a"}') == message_of('{"event":"a"}') == "a"
    assert message_of('{"other":"a"}') == '{"other":"a"}'
    assert message_of("plain") == "plain"


def test_levels_are_ordered_and_a_line_without_one_counts_as_info() -> None:
    assert [parse_level(name) for name in ("trace", "INFO", "warn", "err", "fatal")] == list(LEVELS)
    assert at_least("error", "warning")
    assert not at_least("info", "warning")
    assert at_least("", "info")
    assert not at_least("", "warning")
    with pytest.raises(ValueError, match="one of debug, info, warning, error, critical"):
        parse_level("loud")


def test_the_lines_of_a_stack_trace_go_on() -> None:
    assert is_continuation('  File "x.py", line 3')
    assert is_continuation("\tat Main.java:3")
    assert not is_continuation("next")
    assert not is_continuation("   ")
    assert not is_continuation("")


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [b'{"msg":"a"}', b'{"event":"b"}', b'{"other":1}'],
        [b'{"msg":"a"}', b"{no json}"],
        [b'{"msg":"a"}{"msg":"b"}'],
        [b'{"a":', b'{"msg":"a"}{"msg":"b"}'],
        [b'{"msg":"a"} ', "{é".encode()],
    ],
)
def test_the_messages_of_many_lines_are_those_of_each(lines: list[bytes]) -> None:
    assert messages_of(lines) == [message_of(line.decode()) for line in lines]
