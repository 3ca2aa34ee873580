"""Answers of the supervisor at the name of its project (`project.run_name`): how commands find it, whatever its files are like.

Each connection gets one line of JSON, the record and, for the supervisor's user and root, the token; then it is closed. It
refuses to read anything from a connection.
"""

import errno
import json
import socket

import trio

from minikube.project.run_name import peer_credentials
from minikube.supervisor.daemon.project_files import ProjectFiles

CHECK_INTERVAL_S = 1.0
RETRY_S = 0.05
"""After a connection that could not be accepted, because no descriptor is free."""


async def keep_project_files(files: ProjectFiles, listener: socket.socket) -> None:
    """Answer at `listener`, and check the project's files before each answer and once a second, until cancelled."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_answer, files, listener, nursery)
        while True:
            await trio.sleep(CHECK_INTERVAL_S)
            _check(files, nursery)


def _check(files: ProjectFiles, nursery: trio.Nursery) -> None:
    """Check the files; answer also at names that the project directory has got since."""
    files.check()
    while files.new_names:
        nursery.start_soon(_answer_and_close, files, files.new_names.pop(), nursery)


async def _answer_and_close(files: ProjectFiles, listener: socket.socket, nursery: trio.Nursery) -> None:
    with listener:
        await _answer(files, listener, nursery)


async def _answer(files: ProjectFiles, listener: socket.socket, nursery: trio.Nursery) -> None:
    listener.setblocking(False)
    while True:
        await trio.lowlevel.wait_readable(listener)
        try:
            sock, _ = listener.accept()
        except OSError as error:
            if error.errno == errno.EINVAL:
                return  # the run has ended: see `RunClaim.stop_listening`
            await trio.sleep(RETRY_S)
            continue
        with sock:
            _check(files, nursery)
            try:
                sock.setblocking(False)
                _, uid = peer_credentials(sock)
                # The whole answer fits into the socket's buffer, so it is sent although the reader may be slow.
                sock.send(json.dumps(files.answer(uid)).encode() + b"\n")
            except OSError:
                continue  # the command has ended
