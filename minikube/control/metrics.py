"""`GET /metrics` (floor 3, pure): the board as Prometheus text. It shows the snapshot and counts nothing itself."""

from collections.abc import Iterable

from minikube.model import CheckState, ProcessState, Snapshot

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def metrics(snapshot: Snapshot, stream_readers: int) -> bytes:
    """One line a sample, in Prometheus' text format 0.0.4."""
    instances = snapshot.instances
    labels = {view.id: _labels(service=view.service, instance=view.name) for view in instances}
    families: list[tuple[str, str, str, Iterable[tuple[str, float]]]] = [
        ("revision", "counter", "Revision of the status board.", [("", snapshot.revision)]),
        ("start_time_seconds", "gauge", "When the supervisor started, Unix time.", [("", snapshot.started)]),
        ("stream_readers", "gauge", "Open websockets.", [("", stream_readers)]),
        (
            "instance_up",
            "gauge",
            "1 while the instance runs.",
            ((labels[view.id], float(view.state is ProcessState.RUNNING)) for view in instances),
        ),
        (
            "instance_passing",
            "gauge",
            "1 while the instance passes its check.",
            ((labels[v.id], float(v.check is CheckState.PASSING)) for v in instances if v.check is not None),
        ),
        (
            "instance_restarts_total",
            "counter",
            "Restarts of the instance.",
            ((labels[view.id], view.restarts) for view in instances),
        ),
        (
            "instance_cpu_percent",
            "gauge",
            "Use of one core by the instance's process tree.",
            ((labels[usage.id], usage.cpu) for usage in snapshot.usage if usage.id in labels),
        ),
        (
            "instance_memory_bytes",
            "gauge",
            "Resident memory of the instance's process tree.",
            ((labels[usage.id], usage.memory) for usage in snapshot.usage if usage.id in labels),
        ),
        (
            "part_up",
            "gauge",
            "1 while the supervisor's own part runs.",
            ((_labels(part=part.name), float(part.state is ProcessState.RUNNING)) for part in snapshot.parts),
        ),
    ]
    lines: list[str] = []
    for name, kind, text, samples in families:
        lines += (f"# HELP minikube_{name} {text}", f"# TYPE minikube_{name} {kind}")
        lines += (f"minikube_{name}{label} {value:.15g}" for label, value in samples)
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def _labels(**labels: str) -> str:
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items()) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
