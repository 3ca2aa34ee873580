"""How one instance is stopped (floor 3, trio): stop command, signal, patience, KILL; and who holds it up, said aloud."""

import signal
from collections.abc import Callable

import trio

from minikube.errors import StartError
from minikube.linux.processes import signal_number
from minikube.manifest import StopSpec
from minikube.supervisor.cancel_event import CancelEvent
from minikube.supervisor.readiness.registry_sync import LEAVE_S
from minikube.supervisor.runtime.interface import Running
from minikube.supervisor.runtime.process.process_table import KILL_TIMEOUT_S

SAY_AFTER_S = 2.0
"""A stop that takes longer says whom it waits for, and again in intervals that double."""

MARGIN_S = 20.0
"""What a stop may take longer than its own times allow: a start that has to be undone first, an engine that is slow."""

MARGIN_AT_THE_END_S = 1.0
"""The same where everything ends: each one in a chain has it, and KILL's patience comes once, after the last."""

NAMES_SHOWN = 4

Say = Callable[[str, str, str], object]
"""Hears an event: kind, text, level."""

Show = Callable[[str], object]
"""Hears lines for the instance's log."""


def stop_patience(spec: StopSpec, ending: bool = False) -> float:
    """Seconds that a stop may take: leaving discovery, the drain, its own time-out, KILL's way. `ending`: everything is being
    stopped, and nobody drains."""
    if ending:
        return LEAVE_S + spec.timeout + MARGIN_AT_THE_END_S
    return LEAVE_S + spec.drain + spec.timeout + KILL_TIMEOUT_S + MARGIN_S


async def end_instance(
    running: Running, spec: StopSpec, hurry: CancelEvent, told: Callable[[str], object], say: Say, show: Show
) -> None:
    """Ends the whole tree within `spec.timeout` (and KILL's patience); `hurry` makes it at once.

    `told` hears, whenever it changes, how far it is; `show` what its stop command prints. When cancelled, it kills.
    """
    began = trio.current_time()
    end = began + spec.timeout
    killed: list[str] = []
    with hurry.cancels():
        async with trio.open_nursery() as nursery:
            await trio.lowlevel.checkpoint()
            if spec.command:
                told("its stop command runs")
                await _stop_command(running, spec, end, say, show)
            told(f"{spec.signal} was sent, KILL follows after {spec.timeout:g} s")
            nursery.start_soon(_say_who_holds, running, spec, end, say)
            killed = await running.end(signal_number(spec.signal), max(end - trio.current_time(), 0.0))
            nursery.cancel_scope.cancel()
    if running.exit is None:
        told("KILL was sent")
        await running.end(signal.SIGKILL, 0.0)
    if left := running.describe_alive():
        told(f"KILL was sent, and {some(left)} is still there")
        say("instance.stuck", f"survives KILL: {some(left)} — only the kernel can end it, or a reboot", "error")
    if killed and not hurry.is_set():
        say("instance.killed", f"had to be killed {spec.timeout:g} s after {spec.signal}: {some(killed)}", "warning")


async def _stop_command(running: Running, spec: StopSpec, end: float, say: Say, show: Show) -> None:
    try:
        ran = await running.run(spec.command, max(end - trio.current_time(), 0.0))
    except StartError as error:
        say("instance.stop_command", f"stop command: {error}", "warning")
        return
    said = ran.output.strip().splitlines()
    if said:
        show("\n".join(f"stop command: {line}" for line in said))
    if ran.exit is None or not ran.exit.clean:
        how = str(ran.exit) if ran.exit else f"no end within {spec.timeout:g} s"
        say("instance.stop_command", f"stop command: {how}" + (f": {said[-1]}" if said else ""), "warning")


async def _say_who_holds(running: Running, spec: StopSpec, end: float, say: Say) -> None:
    sent, wait = trio.current_time(), SAY_AFTER_S
    while True:
        await trio.sleep(wait)
        wait *= 2
        who = some(running.describe_alive())
        now = trio.current_time()
        if who and now < end:
            text = f"is not down {now - sent:.0f} s after {spec.signal}: {who}; KILL in {end - now:.0f} s"
            say("instance.slow_stop", text, "warning")


def some(people: list[str]) -> str:
    """The first few, and how many more."""
    more = len(people) - NAMES_SHOWN
    return ", ".join(people[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
