"""`ps`: columns that fit, the order of instances, and why an instance is not ready."""

import re

import pytest
from msgspec.structs import replace

from minikube.cli.render.ps_table import in_manifest_order, instance_rows, ps_lines, why_not_ready
from minikube.model import CheckState, InstanceView, PartView, ProcessState, ServiceView, Usage
from tests.unit.cli.render.samples import NOW, ORDER, PRODUCT, snapshot_of

COMPLETED = InstanceView(id="1", service="s", name="s", state=ProcessState.EXITED, exit="exit 0")


def test_the_table_fits_80_columns_and_explains_why_instances_are_not_ready() -> None:
    parts = (
        PartView("redis", ProcessState.RUNNING, detail="fine"),
        PartView("registry", ProcessState.BACKOFF, detail="signal KILL"),
    )
    services = (ServiceView("product"), ServiceView("order"))
    snapshot = snapshot_of(
        PRODUCT, ORDER, parts=parts, services=services, usage=(Usage(PRODUCT.id, 12.34, 32_505_856),)
    )
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
def test_the_table_fits_any_width_and_has_every_reason(width: int) -> None:
    services = (ServiceView("product"), ServiceView("order"))
    lines = list(ps_lines(snapshot_of(PRODUCT, ORDER, services=services), NOW, width))
    assert max(map(len, lines)) <= width
    assert any("exit 1 after 0.2s" in line for line in lines)
    assert lines[0].startswith("NAME     STATUS   HEALTH")


def test_a_container_is_shown_where_it_is_published_and_the_json_has_both_addresses() -> None:
    web = replace(PRODUCT, address="172.18.0.2:80", published="127.0.0.1:8080")
    (line,) = [line for line in ps_lines(snapshot_of(web), NOW, 200) if line.startswith("product")]
    assert line.split()[-1] == "127.0.0.1:8080"
    (row,) = instance_rows(snapshot_of(web), NOW)
    assert (row.address, row.published) == (web.address, web.published)


def test_colours_do_not_move_columns() -> None:
    plain = list(ps_lines(snapshot_of(PRODUCT, ORDER), NOW, 80))
    coloured = list(ps_lines(snapshot_of(PRODUCT, ORDER), NOW, 80, colour=True))
    assert "\x1b[32mpassing 59s\x1b[0m  4194304" in "".join(coloured)
    assert [re.sub(r"\x1b\[[0-9]*m", "", line) for line in coloured] == plain


def test_the_json_has_the_instance_its_usage_and_why_it_is_not_ready() -> None:
    order, product = instance_rows(snapshot_of(PRODUCT, ORDER, usage=(Usage(PRODUCT.id, 1.5, 4096),)), NOW)
    assert (product.name, product.ready, product.why, product.cpu, product.memory) == ("product", True, "", 1.5, 4096)
    assert (order.ready, order.why, order.cpu) == (False, "exit 1 after 0.2s, next try in 4s", None)


def test_a_task_that_ended_with_success_is_ready_and_one_that_failed_is_not() -> None:
    failed = replace(COMPLETED, exit="exit 3", reason="exit 3")
    assert [row.ready for row in instance_rows(snapshot_of(COMPLETED, failed), NOW)] == [True, False]


def test_instances_are_in_the_manifests_order_and_replicas_by_number() -> None:
    names = ["web-10", "api", "web-2", "stranger", "web-1"]
    instances = [InstanceView(name, name.partition("-")[0], name, ProcessState.RUNNING) for name in names]
    shown = in_manifest_order(snapshot_of(*instances, services=(ServiceView("web"), ServiceView("api"))))
    assert [view.name for view in shown] == ["web-1", "web-2", "web-10", "api", "stranger"]


def test_names_and_reasons_are_shortened_on_a_terminal_only() -> None:
    long = InstanceView(id="1", service="s", name="n" * 63, state=ProcessState.FATAL, reason="r" * 200)
    narrow = list(ps_lines(snapshot_of(long), NOW, 80))
    assert all(len(line) <= 80 for line in narrow)
    assert narrow[2].endswith("…")
    wide = list(ps_lines(snapshot_of(long), NOW))
    assert wide[1].startswith("n" * 63 + "  fatal")
    assert wide[1].endswith(" " + "r" * 200)


@pytest.mark.parametrize(
    ("instance", "why"),
    [
        (PRODUCT, ""),
        (InstanceView(id="1", service="s", name="s", state=ProcessState.STOPPED), ""),
        (InstanceView(id="1", service="s", name="s", state=ProcessState.FATAL, exit="exit 127"), "exit 127"),
        (COMPLETED, ""),
        (replace(COMPLETED, next_run=NOW + 9), "next run in 9s"),
        (replace(COMPLETED, exit="exit 3", reason="exit 3"), "exit 3"),
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


def test_a_part_that_runs_and_does_not_work_is_named_below_the_table() -> None:
    part = PartView("redis", ProcessState.RUNNING, detail="does not answer", check=CheckState.CRITICAL)
    assert (
        list(ps_lines(snapshot_of(PRODUCT, parts=(part,)), NOW, 80))[-1]
        == "  redis: running, critical: does not answer"
    )


def test_an_instance_that_another_program_runs_is_external_and_its_failing_check_is_the_reason() -> None:
    entry = replace(PRODUCT, service="db", name="db-1", pid=0, check=CheckState.CRITICAL, output="refused\n", reason="")
    snapshot = snapshot_of(entry, services=(ServiceView("db", "external"),))
    assert list(ps_lines(snapshot, NOW, 0)) == [
        "NAME  STATUS    HEALTH        PID  RESTARTS  UPTIME  CPU  MEM  ADDRESS         WHY",
        "db-1  external  critical 59s  -    3         -       -    -    127.0.0.1:7070  refused",
    ]
    assert [row.ready for row in instance_rows(snapshot, NOW)] == [False]


def test_a_stopped_instance_shows_no_memory_of_its_last_process() -> None:
    stopped = replace(PRODUCT, state=ProcessState.STOPPED, pid=0, check=None)
    usage = (Usage(stopped.id, 0.0, 0),)  # as the supervisor sends it after an exit
    (row,) = instance_rows(snapshot_of(stopped, usage=usage), NOW)
    assert (row.cpu, row.memory) == (None, None)
