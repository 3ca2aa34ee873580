"""`/metrics` follows Prometheus' rules and can be read by its own parser."""

from typing import Any

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from minikube.control.interface import LogCount, MetricsInput
from minikube.control.metrics import Scrape, render_metrics
from minikube.control.state_store import StateStore
from minikube.metrics.counters import CallCount, Histogram, ProbeCount, RegistryCounters, RegistryStatus
from minikube.metrics.exposition import registry_families
from minikube.model import CheckState, InstanceView, PartView, ProcessState, ServiceView, Usage


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def row(state: ProcessState, check: CheckState | None = None, **more: Any) -> InstanceView:
    return InstanceView("aaaaaaaa", "product", "product", state, check, **more)


def scrape(store: StateStore, metrics_input: MetricsInput | None = None) -> Scrape:
    return Scrape(store.snapshot, store.counters.view, store.counters.probes.view, metrics_input or MetricsInput(), 2)


def families(text: bytes) -> dict[str, Metric]:
    return {family.name: family for family in text_families(text.decode())}


def samples(store: StateStore, metrics_input: MetricsInput | None = None) -> dict[tuple[str, ...], float]:
    """Return all samples by name and label values, in the order of the labels' names."""
    body, _ = render_metrics(scrape(store, metrics_input), "")
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_families(body.decode())
        for sample in family.samples
    }


def seconds(*values: float) -> Any:
    histogram = Histogram((0.1, 1.0))
    for value in values:
        histogram.observe(value)
    return histogram.view


@pytest.fixture
def store() -> StateStore:
    store = StateStore("shop", version="1.2", clock=Clock())
    store.put_services(ServiceView("product", replicas=2))
    return store


@pytest.fixture
def full(store: StateStore) -> tuple[StateStore, MetricsInput]:
    """Return a store and an input that give every metric a value."""
    store.put_parts(PartView("redis", ProcessState.RUNNING), PartView("registry", ProcessState.BACKOFF, restarts=3))
    store.put_instances(row(ProcessState.STARTING, started=998.0))
    store.put_instances(row(ProcessState.BACKOFF, exit="exit 1"))
    store.put_instances(row(ProcessState.RUNNING, CheckState.PASSING, started=999.0, restarts=4, pid=7))
    store.put_usage([Usage("aaaaaaaa", 50.0, 4096)])
    store.event("x.y", "z")
    store.counters.probes.record("product", "timeout", 2.0)
    calls = (CallCount("Discovery.Get", {"ok": 5, "not_found": 1}, seconds(0.01, 0.5, 2.0)),)
    probes = (ProbeCount("product", {"pass": 2}, seconds(0.05, 0.05)),)
    status = RegistryStatus(9.5, 1, 7, 3, True, RegistryCounters(calls, probes))
    return store, MetricsInput(status, (LogCount("product", "product", 100, 1, 2), LogCount("product", "", 60, 4)))


def test_every_value_has_its_metric(full: tuple[StateStore, MetricsInput]) -> None:
    found = samples(*full)
    expected = {
        ("minikube_build_info", "shop", "1.2"): 1,
        ("minikube_start_time_seconds",): 1_000,
        ("minikube_state_revision",): full[0].revision,
        ("minikube_stream_clients",): 2,
        ("minikube_events_total",): 1,
        ("minikube_part_up", "redis"): 1,
        ("minikube_part_up", "registry"): 0,
        ("minikube_part_restarts_total", "registry"): 3,
        ("minikube_service_replicas", "product"): 2,
        ("minikube_service_instances", "product", "running"): 1,
        ("minikube_service_instances", "product", "fatal"): 0,
        ("minikube_service_checks", "passing", "product"): 1,
        ("minikube_service_checks", "critical", "product"): 0,
        ("minikube_start_duration_seconds_count", "product"): 1,
        ("minikube_start_duration_seconds_sum", "product"): 1,
        ("minikube_instance_up", "product", "product"): 1,
        ("minikube_instance_passing", "product", "product"): 1,
        ("minikube_instance_start_time_seconds", "product", "product"): 999,
        ("minikube_instance_restarts_total", "product", "product"): 4,
        ("minikube_instance_cpu_ratio", "product", "product"): 0.5,
        ("minikube_instance_memory_bytes", "product", "product"): 4096,
        ("minikube_probes_total", "registry", "pass", "product"): 2,
        ("minikube_probes_total", "supervisor", "timeout", "product"): 1,
        ("minikube_probe_duration_seconds_sum", "supervisor", "product"): 2,
        ("minikube_registry_up",): 1,
        ("minikube_registry_uptime_seconds",): 9.5,
        ("minikube_registry_clients",): 3,
        ("minikube_registry_instances",): 1,
        ("minikube_registry_revision",): 7,
        ("minikube_registry_stale",): 1,
        ("minikube_registry_calls_total", "Discovery.Get", "ok"): 5,
        ("minikube_registry_calls_total", "Discovery.Get", "not_found"): 1,
        ("minikube_registry_call_duration_seconds_bucket", "0.1", "Discovery.Get"): 1,
        ("minikube_registry_call_duration_seconds_bucket", "1", "Discovery.Get"): 2,
        ("minikube_registry_call_duration_seconds_bucket", "+Inf", "Discovery.Get"): 3,
        ("minikube_log_lines_total", "product", "product"): 100,
        ("minikube_log_dropped_lines_total", "product", "product"): 1,
        ("minikube_log_dropped_lines_total", "", "product"): 4,
        ("minikube_log_file_changes_total", "product", "product"): 2,
    }
    assert {key: found.get(key) for key in expected} == expected


def test_names_and_help_follow_prometheus_conventions(full: tuple[StateStore, MetricsInput]) -> None:
    body, content_type = render_metrics(scrape(*full), "")
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    known = families(body)
    assert {"minikube_build_info", "process_resident_memory_bytes"} <= known.keys()
    for name, family in known.items():
        assert name.startswith(("minikube_", "process_"))
        assert family.documentation
        assert family.samples, f"{name} has nothing to show"
        if name.startswith("minikube_") and family.type == "histogram":
            assert name.endswith("_seconds")
        assert not name.endswith(("_count", "_sum", "_bucket", "_ms", "_percent"))
    keys = [(sample.name, *sorted(sample.labels.items())) for family in known.values() for sample in family.samples]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("accept", ["application/openmetrics-text; version=1.0.0", "application/openmetrics-text"])
def test_openmetrics_is_sent_when_the_accept_header_asks_for_it(
    full: tuple[StateStore, MetricsInput], accept: str
) -> None:
    body, content_type = render_metrics(scrape(*full), accept)
    assert content_type.startswith("application/openmetrics-text")
    found = openmetrics_families(body.decode())  # type: ignore[no-untyped-call]
    assert "minikube_instance_restarts" in {family.name for family in found}


def test_a_malformed_accept_header_gets_the_text_format(store: StateStore) -> None:
    assert "version=0.0.4" in render_metrics(scrape(store), "text/plain;version=x.y, */*;q=\x01")[1]


def test_a_registry_that_does_not_answer_is_shown_as_down_and_has_no_other_metrics(store: StateStore) -> None:
    found = samples(store)
    assert found["minikube_registry_up",] == 0
    assert not any(key[0].startswith("minikube_registry_c") for key in found)


def test_names_cannot_break_the_format(store: StateStore) -> None:
    store.put_parts(PartView('a"b\\c\nd', ProcessState.RUNNING))
    assert samples(store)["minikube_part_up", 'a"b\\c\nd'] == 1


def test_exits_are_counted_by_kind(store: StateStore) -> None:
    running = row(ProcessState.RUNNING, started=1_000.0)
    ends = [
        row(ProcessState.BACKOFF, exit="exit 1"),
        row(ProcessState.BACKOFF, exit="signal KILL"),
        row(ProcessState.FATAL, exit="exit 1"),
        row(ProcessState.EXITED, exit="exit 0"),
        row(ProcessState.STOPPED, exit="signal TERM"),
        row(ProcessState.STOPPING, exit="exit 1"),
    ]
    for end in ends:
        store.put_instances(running)
        store.put_instances(end)
    found = {key[1:]: value for key, value in samples(store).items() if key[0] == "minikube_instance_exits_total"}
    assert found == {
        ("failure", "product", "product"): 2,
        ("signal", "product", "product"): 1,
        ("success", "product", "product"): 1,
        ("stopped", "product", "product"): 2,
    }
    store.drop_instances("aaaaaaaa")
    assert store.counters.view.exits == ()


def test_each_start_is_timed_once_and_external_instances_never() -> None:
    clock = Clock()
    store = StateStore("shop", clock=clock)
    store.put_services(ServiceView("product"), ServiceView("other", "external"))
    store.put_instances(row(ProcessState.STARTING, CheckState.STARTING, started=1_000.0))
    clock.now = 1_003.0
    for check in (CheckState.PASSING, CheckState.CRITICAL, CheckState.PASSING):
        store.put_instances(row(ProcessState.RUNNING, check, started=1_000.0))
    store.put_instances(InstanceView("x", "other", "other-x", ProcessState.RUNNING, CheckState.PASSING, started=1.0))
    starts = store.counters.view.starts
    assert {name: (sum(view.counts), view.sum) for name, view in starts.items()} == {"product": (1, 3.0)}


def test_a_registry_that_counts_no_clients_shows_none() -> None:
    names = {family.name for family in registry_families(RegistryStatus(9.5, 1, 7, None, False, RegistryCounters()))}
    assert "minikube_registry_clients" not in names
    assert "minikube_registry_instances" in names


def test_a_part_is_up_only_while_it_works(store: StateStore) -> None:
    store.put_parts(
        PartView("redis", ProcessState.RUNNING, check=CheckState.CRITICAL),
        PartView("registry", ProcessState.RUNNING, check=CheckState.PASSING),
    )
    found = samples(store)
    assert [found["minikube_part_up", name] for name in ("redis", "registry")] == [0, 1]
