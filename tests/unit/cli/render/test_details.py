"""`describe` and `status`: the facts they print."""

from msgspec import structs

from minikube.cli.render.details import describe_lines, status_lines
from minikube.control.client.messages import ServiceReply
from minikube.model import CheckState, Event, InstanceView, PartView, ProcessState, ServiceView, Usage
from tests.unit.cli.render.samples import NOW, ORDER, PRODUCT, snapshot_of


def test_status_counts_ready_instances_and_explains_why_others_are_not() -> None:
    parts = (PartView("registry", ProcessState.RUNNING, "127.0.0.1:1", restarts=2, since=NOW - 5),)
    lines = list(status_lines(snapshot_of(PRODUCT, ORDER, parts=parts, phase="running"), "http://c", NOW))
    assert "  phase:         running for 1m00s, pid 1" in lines
    assert "  registry:      running for 5s at 127.0.0.1:1, 2 restarts" in lines
    assert "  instances:     1 of 2 ready (1 backoff, 1 running)" in lines
    assert lines[-1] == "  order is backoff: exit 1 after 0.2s, next try in 4s"


def test_status_counts_a_task_that_ended_with_success_as_ready() -> None:
    task = InstanceView(id="1", service="s", name="s", state=ProcessState.EXITED, exit="exit 0")
    parts = (PartView("redis", ProcessState.RUNNING, restarts=1),)
    lines = list(status_lines(snapshot_of(PRODUCT, task, parts=parts), "http://c", NOW))
    assert "  redis:         running, 1 restart" in lines
    assert lines[-1] == "  instances:     2 of 2 ready (1 running, 1 exited)"


def test_describe_prints_all_facts_and_no_terminal_escapes() -> None:
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
    for fact in (
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
        assert fact in text
    assert "\x1b" not in text


def test_describe_prints_the_check_of_an_instance() -> None:
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


def test_status_says_how_long_a_part_that_runs_has_not_worked() -> None:
    hung = PartView("redis", ProcessState.RUNNING, since=NOW - 60, detail="does not answer")
    hung = structs.replace(hung, check=CheckState.CRITICAL, check_since=NOW - 5)
    lines = list(status_lines(snapshot_of(parts=(hung,)), "http://c", NOW))
    assert "  redis:         running for 1m00s, critical for 5s: does not answer" in lines
