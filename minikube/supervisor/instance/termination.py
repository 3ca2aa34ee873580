"""Stop the process of an instance: stop command, signal, time-out, KILL; record events about processes that delay it."""

import signal
from collections.abc import Callable

import trio

from minikube.errors import StartError
from minikube.linux.processes import signal_number
from minikube.manifest import StopSpec
from minikube.supervisor.cancel_event import CancelEvent
from minikube.supervisor.readiness.registry_sync import DEREGISTER_TIMEOUT_S
from minikube.supervisor.runtime.interface import Running
from minikube.supervisor.runtime.process.process_table import KILL_TIMEOUT_S

SLOW_STOP_S = 2.0
"""For a stop that takes longer, an event names the processes still alive; the intervals to the next events double."""

MARGIN_S = 20.0
"""Added to the time of a stop: a start may have to be undone first, or the engine be slow."""

SHUTDOWN_MARGIN_S = 1.0
"""The same when the whole project stops. Short, because it is added for each service in a chain of dependencies."""

NAMES_SHOWN = 4

Event = Callable[[str, str, str], object]
"""Records an event: kind, text, level."""


def stop_timeout(spec: StopSpec, shutdown: bool = False) -> float:
    """Return the most seconds that the stop of an instance may take: deregistration, drain, `spec.timeout`, KILL.

    With `shutdown` (the whole project is being stopped) there is no drain, and KILL is not counted.
    """
    if shutdown:
        return DEREGISTER_TIMEOUT_S + spec.timeout + SHUTDOWN_MARGIN_S
    return DEREGISTER_TIMEOUT_S + spec.drain + spec.timeout + KILL_TIMEOUT_S + MARGIN_S


async def stop_process(
    running: Running,
    spec: StopSpec,
    immediate: CancelEvent,
    on_progress: Callable[[str], object],
    event: Event,
    log: Callable[[str], object],
) -> None:
    """Stop the whole process tree of an instance: stop command, signal, and KILL after `spec.timeout` seconds.

    When `immediate` is set or the caller is cancelled, send KILL without waiting. `on_progress` is called with a text
    whenever the stop waits for another step, `event` to record an event, `log` with the output of the stop command.
    """
    deadline = trio.current_time() + spec.timeout
    killed: list[str] = []
    with immediate.cancels():
        async with trio.open_nursery() as nursery:
            await trio.lowlevel.checkpoint()  # an immediate stop that was asked for before needs no stop command
            if spec.argv:
                on_progress("its stop command runs")
                await _run_stop_command(running, spec, deadline, event, log)
            on_progress(f"{spec.signal} was sent, KILL follows after {spec.timeout:g} s")
            nursery.start_soon(_report_slow_stop, running, spec, deadline, event)
            killed = await running.end(signal_number(spec.signal), max(deadline - trio.current_time(), 0.0))
            nursery.cancel_scope.cancel()
    # The block above was cancelled by an immediate stop, or something survives: once more, with KILL for all.
    if running.exit is None:
        on_progress("KILL was sent")
        await running.end(signal.SIGKILL, 0.0)
    if left := running.describe_alive():
        on_progress(f"KILL was sent, and {shorten(left)} is still there")
        event("instance.stuck", f"survives KILL: {shorten(left)} — only the kernel can end it, or a reboot", "error")
    if killed and not immediate.is_set():
        text = f"had to be killed {spec.timeout:g} s after {spec.signal}: {shorten(killed)}"
        event("instance.killed", text, "warning")


async def _run_stop_command(
    running: Running, spec: StopSpec, deadline: float, event: Event, log: Callable[[str], object]
) -> None:
    """Run the stop command until it exits or `deadline` (trio's clock) is reached. A failure is recorded as an event."""
    try:
        result = await running.run(spec.argv, max(deadline - trio.current_time(), 0.0))
    except StartError as error:
        event("instance.stop_command", f"stop command: {error}", "warning")
        return
    lines = result.output.strip().splitlines()
    if lines:
        log("\n".join(f"stop command: {line}" for line in lines))
    if result.exit is None or not result.exit.clean:
        outcome = str(result.exit) if result.exit else f"no end within {spec.timeout:g} s"
        text = f"stop command: {outcome}" + (f": {lines[-1]}" if lines else "")
        event("instance.stop_command", text, "warning")


async def _report_slow_stop(running: Running, spec: StopSpec, deadline: float, event: Event) -> None:
    """Record an event that names the processes which the stop still waits for, at doubling intervals, until cancelled.

    After `deadline`, which KILL follows, no event is recorded.
    """
    sent, interval = trio.current_time(), SLOW_STOP_S
    while True:
        await trio.sleep(interval)
        interval *= 2
        holders = shorten(running.describe_alive())
        now = trio.current_time()
        if holders and now < deadline:  # after the deadline, `instance.killed` is the event
            text = f"is not down {now - sent:.0f} s after {spec.signal}: {holders}; KILL in {deadline - now:.0f} s"
            event("instance.slow_stop", text, "warning")


def shorten(names: list[str]) -> str:
    """Return the first `NAMES_SHOWN` names as one text, and how many more there are."""
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
