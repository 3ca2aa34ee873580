"""What the commands print: columns that fit, reasons, prefixes, nothing a terminal obeys."""

import io

import pytest

from minikube.cli.look import INSTANCE_COLOURS, has_colour, instance_colour, paint
from minikube.cli.plain import Printer, format_time
from minikube.cli.rows import describe_lines, ordered, ps_lines, why_not_ready
from minikube.cli.table import age, columns, shorten
from minikube.client.messages import ServiceReply
from minikube.model import (
    CheckState,
    Event,
    InstanceView,
    LogLine,
    PartView,
    ProcessState,
    ServiceView,
    Snapshot,
    Usage,
)

NOW = 1_000_000.0

PRODUCT = InstanceView(
    id="0a1b2c3d",
    service="product",
    name="product",
    state=ProcessState.RUNNING,
    check=CheckState.PASSING,
    address="127.0.0.1:7070",
    pid=4194304,
    restarts=3,
    started=NOW - 3725,
)
ORDER = InstanceView(
    id="11111111",
    service="order",
    name="order",
    state=ProcessState.BACKOFF,
    exit="exit 1",
    reason="exit 1 after 0.2s",
    next_try=NOW + 4,
    started=NOW - 9,
    last_lines=("Traceback\x1b[31m",),
)


def board(*instances: InstanceView, **more: object) -> Snapshot:
    return Snapshot("shop", 1, NOW, NOW - 60, "0.1.0", 1, instances=instances, **more)  # type: ignore[arg-type]


def test_ps_fits_80_columns_and_tells_why() -> None:
    parts = (
        PartView("redis", ProcessState.RUNNING, detail="fine"),
        PartView("registry", ProcessState.BACKOFF, detail="signal KILL"),
    )
    services = (ServiceView("product"), ServiceView("order"))
    lines = list(ps_lines(board(PRODUCT, ORDER, parts=parts, services=services), NOW, 80))
    assert lines == [
        "NAME     STATE    CHECK    PID      ADDRESS         RESTARTS  UPTIME",
        "product  running  passing  4194304  127.0.0.1:7070  3         1h02m",
        "order    backoff  -        -        -               0         -",
        "  order: exit 1 after 0.2s, next try in 4s",
        "  registry: backoff: signal KILL",
    ]
    assert max(map(len, lines)) <= 80


def test_ps_lists_replicas_by_number_in_the_manifests_order() -> None:
    names = ["web-10", "api", "web-2", "stranger", "web-1"]
    instances = [InstanceView(name, name.partition("-")[0], name, ProcessState.RUNNING) for name in names]
    shown = ordered(board(*instances, services=(ServiceView("web"), ServiceView("api"))))
    assert [one.name for one in shown] == ["web-1", "web-2", "web-10", "api", "stranger"]


def test_ps_shortens_names_and_reasons_on_a_terminal_only() -> None:
    long = InstanceView(id="1", service="s", name="n" * 63, state=ProcessState.FATAL, reason="r" * 200)
    narrow = list(ps_lines(board(long), NOW, 80))
    assert all(len(line) <= 80 for line in narrow)
    assert narrow[2].endswith("…")
    wide = list(ps_lines(board(long), NOW))
    assert wide[1].startswith("n" * 63 + "  fatal")
    assert wide[2] == f"  {'n' * 63}: {'r' * 200}"


@pytest.mark.parametrize(
    ("instance", "why"),
    [
        (PRODUCT, ""),
        (InstanceView(id="1", service="s", name="s", state=ProcessState.STOPPED), ""),
        (InstanceView(id="1", service="s", name="s", state=ProcessState.FATAL, exit="exit 127"), "exit 127"),
        (
            InstanceView(
                id="1",
                service="s",
                name="s",
                state=ProcessState.RUNNING,
                check=CheckState.CRITICAL,
                output="refused\nx",
            ),
            "refused",
        ),
        (
            InstanceView(id="1", service="s", name="s", state=ProcessState.PENDING, reason="waits for product"),
            "waits for product",
        ),
    ],
)
def test_why_an_instance_is_not_ready(instance: InstanceView, why: str) -> None:
    assert why_not_ready(instance, NOW) == why


def test_describe_tells_everything_and_obeys_nothing() -> None:
    reply = ServiceReply(
        1,
        ServiceView("order", command="run \x1b]0;x\x07", depends_on={"product": "healthy"}, tags=("a", "b")),
        (ORDER,),
        (Usage("11111111", 1.25, 32_505_856),),
        (Event(1, NOW - 5, "instance.exited", "order ended: exit 1"),),
        ("web",),
    )
    text = "\n".join(describe_lines(reply, NOW))
    for told in (
        "command:     run \\x1b]0;x\\x07",
        "depends on:  product (healthy)",
        "needed by:   web",
        "tags:        a, b",
        "why:         exit 1 after 0.2s, next try in 4s",
        "uses:        1.2% of a core, 31M",
        "    | Traceback",
        "      5s ago  order ended: exit 1",
    ):
        assert told in text
    assert "\x1b" not in text


def test_describe_of_a_checked_instance() -> None:
    view = InstanceView(
        id="1",
        service="s",
        name="s",
        state=ProcessState.RUNNING,
        check=CheckState.PASSING,
        health="http://h/",
        output="ok\n",
        checked=NOW - 2,
        check_since=NOW - 60,
        since=NOW - 61,
    )
    text = "\n".join(describe_lines(ServiceReply(1, None, (view,)), NOW))
    assert "check:       passing for 1m00s (http://h/)" in text
    assert "last check:  2s ago: ok" in text
    assert "state:       running for 1m01s" in text


def test_columns_without_rows_are_the_head() -> None:
    assert columns(("A", "B"), []) == ["A  B"]
    assert shorten("abcdef", 4) == "abc…"
    assert age(0, NOW) == "-"
    assert age(NOW + 5, NOW) == "0ms"


def test_log_lines_have_aligned_prefixes_and_visible_escapes() -> None:
    out = io.StringIO()
    printer = Printer(out, ["product", "order"])
    printer.line(LogLine(NOW, "order", "order", "stdout", "\x1b[32mready\x1b[0m\ton \x1b[2J"))
    printer.line(LogLine(NOW, "product", "product-12", "stderr", "x"))
    printer.event(Event(1, NOW, "check.passing", "order passes\n"))
    printer.note("stopped")
    assert out.getvalue() == (
        "order    | ready\ton \\x1b[2J\nproduct-12 | x\nminikube   | order passes\\x0a\nminikube   | stopped\n"
    )


def test_log_lines_with_times_and_without_names() -> None:
    out = io.StringIO()
    printer = Printer(out, [], timestamps=True, prefix=False)
    printer.line(LogLine(1.25, "a", "a", "stdout", "x"))
    printer.event(Event(1, 1.25, "k", "m"))
    assert out.getvalue() == f"{format_time(1.25)} x\n{format_time(1.25)} m\n"
    assert format_time(1.25).endswith(":01.250")


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert has_colour(Terminal())
    assert not has_colour(io.StringIO())
    terminal = Terminal()
    Printer(terminal, []).line(LogLine(NOW, "a", "a", "stdout", "x"))
    assert f"\x1b[{instance_colour('a')}m" in terminal.getvalue()
    monkeypatch.setenv("TERM", "dumb")
    assert not has_colour(Terminal())
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert has_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not has_colour(Terminal())


def test_an_instance_has_the_same_colour_everywhere() -> None:
    assert instance_colour("product") == instance_colour("product")
    assert {instance_colour(f"x-{number}") for number in range(100)} == set(INSTANCE_COLOURS)
    assert paint("x", 31, False) == "x"
    assert paint("x", None, True) == "x"
