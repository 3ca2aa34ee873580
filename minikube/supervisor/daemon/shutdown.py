"""Who may ask for the end of everything (floor 3): signals, the front, the guardian's death. Each is one task, for ever."""

import signal
import socket
import sys

import trio

from minikube.project_dir import record_run_end
from minikube.supervisor.context import RunContext


async def obey_signals(site: RunContext) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
        async for _ in received:
            site.shutdown(now=site.stop_requested.is_set())


async def obey_lifeline(site: RunContext, sock: socket.socket) -> None:
    """Obeys the front. Its end without a `detach` means that it was killed: nobody watches, so everything ends at once."""
    sock.setblocking(False)
    buffer, detached = b"", False
    while True:
        await trio.lowlevel.wait_readable(sock)
        try:
            data = sock.recv(4096)
        except BlockingIOError:
            continue
        except OSError:
            data = b""
        if not data:
            if not detached:
                site.shutdown(now=True)
            return
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            if line == b"detach":
                detached = True
            elif line in (b"stop", b"now"):
                site.shutdown(now=line == b"now")


async def watch_guardian(site: RunContext, alive: int) -> None:
    """The guardian's death: what we start would have no heir any more, so everything is stopped, and why is kept."""
    await trio.lowlevel.wait_readable(alive)
    text = "the guardian was killed: nothing would end what runs if the supervisor were killed as well — stopping everything"
    print(f"minikube: {text}", file=sys.stderr, flush=True)
    site.store.event("guardian.gone", text, "error")
    record_run_end(site.directory, "the guardian was killed")
    site.shutdown()
