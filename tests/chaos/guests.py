"""Services that the project does not run: this program listens for them, registers them, and remembers what was acknowledged."""

from contextlib import suppress

import trio

from tests.chaos.model import Allowance, Excuse, Process
from tests.chaos.registry_client import Refused, call_once
from tests.chaos.run_context import RunContext

COUNT = 4
FIRST_PORT = 9_100
CHURN_S = 0.7
RETRY_S = 0.1
REPLY = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


async def serve(stream: trio.SocketStream) -> None:
    """Answer one health check."""
    with trio.move_on_after(2), suppress(trio.BrokenResourceError):
        await stream.receive_some(4096)
        await stream.send_all(REPLY)


async def run_guests(run: RunContext) -> None:
    """Register all guests, then deregister and register one after another for ever; each port listens all the time."""
    async with trio.open_nursery() as nursery:
        for number in range(COUNT):
            await nursery.start(trio.serve_tcp, serve, FIRST_PORT + number)
        for number in range(COUNT):
            await register(run, number)
        while True:
            for number in range(COUNT):
                await trio.sleep(CHURN_S)
                await deregister(run, number)
                await register(run, number)


async def register(run: RunContext, number: int) -> None:
    """Register a guest until the registry acknowledges it."""
    name, port = f"guest-{number}", FIRST_PORT + number
    check = f"http://127.0.0.1:{port}/"
    while True:
        with suppress(OSError, trio.TooSlowError, ValueError, Refused):
            instance = await call_once("Register", {"Name": name, "Addr": f"127.0.0.1:{port}", "HealthCheck": check})
            guest = Process(name, instance, 0, port, run.now(), "guest")
            run.history.processes.append(guest)
            run.guests[instance] = guest
            run.acknowledged += 1
            return
        await trio.sleep(RETRY_S)


async def deregister(run: RunContext, number: int) -> None:
    """Deregister a guest until the registry says that it is gone. From the first try on it may be gone."""
    name = f"guest-{number}"
    instance = next(key for key, guest in run.guests.items() if guest.service == name)
    guest = run.guests.pop(instance)
    guest.died = run.now()
    excuses: list[Excuse] = run.excuse(name, Allowance.STALE)
    while True:
        with suppress(OSError, trio.TooSlowError, ValueError, Refused):
            await call_once("Deregister", instance)
            run.end(excuses)
            return
        await trio.sleep(RETRY_S)
