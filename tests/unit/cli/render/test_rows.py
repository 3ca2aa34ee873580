"""What the commands print: columns that fit, reasons, prefixes, nothing a terminal obeys."""

import io
import re

import pytest

from minikube.cli.render.colors import INSTANCE_COLOURS, has_colour, instance_colour, paint
from minikube.cli.render.log_printer import LogPrinter, format_time
from minikube.cli.render.rows import describe_lines, ordered, ps_lines, ps_rows, status_lines, why_not_ready
from minikube.cli.render.table import age, columns, shorten
from minikube.control.client.messages import ServiceReply
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
    check_since=NOW - 59,
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
    snapshot = board(PRODUCT, ORDER, parts=parts, services=services, usage=(Usage(PRODUCT.id, 12.34, 32_505_856),))
    assert list(ps_lines(snapshot, NOW, 80)) == [
        "NAME     STATUS   HEALTH       PID      RESTARTS  UPTIME  ADDRESS",
        "product  running  passing 59s  4194304  3         1h02m   127.0.0.1:7070",
        "order    backoff  -            -        0         -       -",
        "  order: exit 1 after 0.2s, next try in 4s",
        "  registry: backoff: signal KILL",
    ]
    assert list(ps_lines(snapshot, NOW, 130)) == [
        "NAME     STATUS   HEALTH       PID      RESTARTS  UPTIME  CPU    MEM  ADDRESS         WHY",
        "product  running  passing 59s  4194304  3         1h02m   12.3%  31M  127.0.0.1:7070",
        "order    backoff  -            -        0         -       -      -    -               "
        "exit 1 after 0.2s, next try in 4s",
        "  registry: backoff: signal KILL",
    ]


@pytest.mark.parametrize("width", range(50, 140, 7))
def test_ps_fits_any_width_and_tells_every_reason(width: int) -> None:
    services = (ServiceView("product"), ServiceView("order"))
    lines = list(ps_lines(board(PRODUCT, ORDER, services=services), NOW, width))
    assert max(map(len, lines)) <= width
    assert any("exit 1 after 0.2s" in line for line in lines)
    assert lines[0].startswith("NAME     STATUS   HEALTH")


def test_ps_colours_states_without_moving_a_column() -> None:
    plain = list(ps_lines(board(PRODUCT, ORDER), NOW, 80))
    coloured = list(ps_lines(board(PRODUCT, ORDER), NOW, 80, colour=True))
    assert "\x1b[32mpassing 59s\x1b[0m  4194304" in "".join(coloured)
    assert [re.sub(r"\x1b\[[0-9]*m", "", line) for line in coloured] == plain


def test_ps_json_is_the_row_and_what_its_line_tells_besides() -> None:
    order, product = ps_rows(board(PRODUCT, ORDER, usage=(Usage(PRODUCT.id, 1.5, 4096),)), NOW)
    assert (product.name, product.ready, product.why, product.cpu, product.memory) == ("product", True, "", 1.5, 4096)
    assert (order.ready, order.why, order.cpu) == (False, "exit 1 after 0.2s, next try in 4s", None)


def test_status_tells_how_many_are_ready_and_who_is_not() -> None:
    parts = (PartView("registry", ProcessState.RUNNING, "127.0.0.1:1", restarts=2, since=NOW - 5),)
    lines = list(status_lines(board(PRODUCT, ORDER, parts=parts, phase="running"), "http://c", NOW))
    assert "  phase:         running for 1m00s, pid 1" in lines
    assert "  registry:      running for 5s at 127.0.0.1:1, 2 restarts" in lines
    assert "  instances:     1 of 2 ready (1 backoff, 1 running)" in lines
    assert lines[-1] == "  order is backoff: exit 1 after 0.2s, next try in 4s"


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
    assert wide[1].endswith(" " + "r" * 200)


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
        {
            "user": "www",
            "health": {"http": "/health", "interval": "5s", "failures": 1, "restart_after": 0},
            "restart": {"policy": "always", "success": [0, 3]},
            "limits": {"memory": 67_108_864, "cpus": 0.5, "nofile": "unlimited"},
        },
    )
    text = "\n".join(describe_lines(reply, NOW))
    for told in (
        "command:       run \\x1b]0;x\\x07",
        "depends on:    product (healthy)",
        "needed by:     web",
        "tags:          a, b",
        "user:          www",
        "health:        http /health, interval 5s, failures 1",
        "restart:       policy always, success 0 3",
        "limits:        memory 64M, cpus 0.5, nofile unlimited",
        "why:           exit 1 after 0.2s, next try in 4s",
        "uses:          1.2% of a core, 31M",
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
    assert "check:         passing for 1m00s (http://h/)" in text
    assert "last check:    2s ago: ok" in text
    assert "state:         running for 1m01s" in text


def test_columns_without_rows_are_the_head() -> None:
    assert columns(("A", "B"), []) == ["A  B"]
    assert shorten("abcdef", 4) == "abc…"
    assert age(0, NOW) == "-"
    assert age(NOW + 5, NOW) == "0ms"


def test_log_lines_have_aligned_prefixes_and_visible_escapes() -> None:
    out = io.StringIO()
    printer = LogPrinter(out, ["product", "order"])
    printer.line(LogLine(NOW, "order", "order", "stdout", "\x1b[32mready\x1b[0m\ton \x1b[2J"))
    printer.line(LogLine(NOW, "product", "product-12", "stderr", "x"))
    printer.event(Event(1, NOW, "check.passing", "order passes\n"))
    printer.note("stopped")
    assert out.getvalue() == (
        "order    | ready\ton \\x1b[2J\nproduct-12 | x\nminikube   | order passes\\x0a\nminikube   | stopped\n"
    )


def test_log_lines_with_times_and_without_names() -> None:
    out = io.StringIO()
    printer = LogPrinter(out, [], timestamps=True, prefix=False)
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
    LogPrinter(terminal, []).line(LogLine(NOW, "a", "a", "stdout", "x"))
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
