"""The status of an instance for users: its row in the state store, and the text of the event when it ends. Pure."""

from msgspec import Struct
from msgspec.structs import replace

from minikube.model import Address, CheckState, Instance, InstanceView, ProcessState
from minikube.supervisor.instance.lifecycle import InstanceState
from minikube.supervisor.readiness.check_state import CheckSummary
from minikube.supervisor.readiness.registration import InstanceDescription
from minikube.text import mask_url

OUTDATED = "runs as the manifest was before — `minikube apply` restarts it"


class RunningProcess(Struct, frozen=True):
    """The running process or container of an instance, for `instance_view`. `pid` is 0 where it is not known."""

    pid: int
    started: float
    """Seconds of `minikube.clock.steady_time`."""
    outdated: bool
    """The manifest has changed since the start in a way that takes a restart."""


def instance_view(
    instance: InstanceDescription,
    state: InstanceState,
    check: CheckSummary,
    reason: str,
    process: RunningProcess | None,
    *,
    since: float,
    last_lines: tuple[str, ...],
    next_run: float,
    now: float,
    monotonic: float,
) -> InstanceView:
    """Return the row of an instance for the state store.

    `check` is the state of its check, `reason` says why it is not ready, and `last_lines` are the last lines of its
    output. `since` is when its process state was entered, `next_run` when its schedule is due (0 for never). `now` is the
    present time by `minikube.clock.steady_time`, as all points in time of the row but `next_run` are; `monotonic` by trio's.
    """
    view = InstanceView(
        id=instance.id,
        service=instance.spec.name,
        name=instance.name,
        state=state.process_state,
        check=check.state,
        output=check.output,
        check_since=check.since,
        checked=check.checked,
        address=check.address or (str(Address(instance.host, instance.port)) if instance.port else ""),
        published=instance.published,
        ports=dict(instance.ports.named),
        health=instance.check_text,
        pid=process.pid if process else 0,
        restarts=state.restarts,
        failed_starts=state.failed_starts,
        started=process.started if process else 0.0,
        since=since,
        exit=str(state.exit or ""),
        reason=reason or (OUTDATED if process and process.outdated else ""),
        next_run=next_run,
    )
    if not state.process_state.has_ended:  # the last lines are shown only for an end without a stop command
        return view
    wait = state.next_start - monotonic if state.process_state is ProcessState.BACKOFF else 0.0
    return replace(view, last_lines=last_lines, next_try=now + wait if wait > 0 else 0.0)


def describe_end(state: InstanceState, last_lines: tuple[str, ...], now: float) -> tuple[str, str]:
    """Return the text and the level of the event for an instance that has ended or could not be started."""
    wait = state.next_start - now if state.process_state is ProcessState.BACKOFF else 0.0
    text = f"{state.process_state}: {state.reason or state.exit}" + (f", next try in {wait:.1f} s" if wait > 0 else "")
    if state.process_state is not ProcessState.FATAL:
        return text, "info" if state.completed else "warning"
    # Most programs print their reason last.
    last = next((line.strip() for line in reversed(last_lines) if line.strip()), "") if state.exit else ""
    return text + (f" — last line: {last}" if last else ""), "error"


def external_instance_view(entry: Instance, lookup_problem: str = "") -> InstanceView:
    """Return the row of an instance that is in the registry but is not run by this supervisor.

    `lookup_problem` says why lookups do not find it although it passes; empty where they do.
    """
    if lookup_problem and entry.state is CheckState.PASSING:
        entry = replace(entry, state=CheckState.CRITICAL, output=lookup_problem)
    return InstanceView(
        id=entry.uuid,
        service=entry.name,
        name=f"{entry.name}-{entry.uuid}",
        state=ProcessState.RUNNING,
        check=entry.state,
        output=entry.output,
        check_since=entry.since,
        checked=entry.checked,
        address=str(entry.addr),
        health=mask_url(entry.health_check),
        started=entry.registered,
        since=entry.registered,
    )
