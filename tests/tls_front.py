"""TLS in front of a server that has none: what a `rediss://` URL needs, without a Redis that was built with it."""

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.certificates import Certificates

CHUNK = 65_536


@contextmanager
def tls_front(target: Path, files: Certificates) -> Iterator[int]:
    """The port where TLS is spoken for the server on the unix socket `target`; threads that end with the block."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        acceptor = threading.Thread(target=_accept, args=(listener, context, target), daemon=True)
        acceptor.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        acceptor.join()


def _accept(listener: socket.socket, context: ssl.SSLContext, target: Path) -> None:
    while True:
        try:
            plain, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_carry, args=(plain, context, target), daemon=True).start()


def _carry(plain: socket.socket, context: ssl.SSLContext, target: Path) -> None:
    with (
        contextlib.suppress(OSError),
        plain,
        socket.socket(socket.AF_UNIX) as server,
        context.wrap_socket(plain, server_side=True) as client,
    ):
        server.connect(str(target))
        ends: dict[socket.socket, socket.socket] = {client: server, server: client}
        while True:
            for one in select.select([*ends], [], [])[0]:
                data = one.recv(CHUNK)
                while data and isinstance(one, ssl.SSLSocket) and one.pending():
                    data += one.recv(CHUNK)
                if not data:
                    return
                ends[one].sendall(data)
