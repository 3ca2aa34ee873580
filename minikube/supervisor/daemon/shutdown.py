"""The sources of a request to stop the project: signals, messages from `up`, and the guardian's death; a task for each."""

import logging
import signal
import socket

import trio

from minikube.project_dir import record_run_end
from minikube.supervisor.context import RunContext

logger = logging.getLogger(__name__)


async def obey_signals(context: RunContext) -> None:
    """Request a graceful stop of the project at the first TERM or INT, an immediate stop at the second."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
        async for number in received:
            logger.info("stopping: received %s", signal.Signals(number).name)
            context.shutdown(now=context.stop_requested.is_set())


async def obey_up(context: RunContext, sock: socket.socket) -> None:
    """Carry out the requests of `up` that arrive on `sock`, until the connection closes.

    A connection that closes without a `detach` means that `up` was killed: its terminal is gone, so stop immediately.
    """
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
                logger.info("stopping: the process of `up` has ended")
                context.shutdown(now=True)
            return
        # The last element is an incomplete line, usually empty.
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            logger.debug("`up` requests: %s", line.decode("utf-8", "replace"))
            if line == b"detach":
                detached = True
            elif line in (b"stop", b"now"):
                context.shutdown(now=line == b"now")


async def watch_guardian(context: RunContext, guardian_pipe: int) -> None:
    """Stop the project when the guardian dies, and record the reason for the next command.

    The guardian's death closes the other end of `guardian_pipe`.
    """
    await trio.lowlevel.wait_readable(guardian_pipe)
    # From now on, killing the supervisor would leave its processes alive: only the guardian ends them then.
    text = "the guardian was killed: a killed supervisor would leave processes alive now — stopping everything"
    logger.error(text)
    context.store.event("guardian.died", text, "error")
    record_run_end(context.directory, "the guardian was killed")
    context.shutdown()
