"""TLS of a server's connection on memory buffers: ciphertext in, plaintext out, and back. It has no socket and never waits."""

import ssl
from typing import Final

READ_BYTES: Final = 65_536


class TlsFilter:
    """The TLS state of one server connection: converts between ciphertext and plaintext without a socket."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._is_handshake_done = False
        self.ended = False
        """Whether the client has closed its side properly."""

    def receive(self, ciphertext: bytes) -> bytes:
        """Take ciphertext from the socket and return its plaintext, empty during the handshake.

        Raise `ssl.SSLError` if the client breaks the protocol; the next `send` then returns the TLS alert for the client.
        """
        self._incoming.write(ciphertext)
        plaintext: list[bytes] = []
        try:
            if not self._is_handshake_done:
                self._tls.do_handshake()
                self._is_handshake_done = True
            while data := self._tls.read(READ_BYTES):
                plaintext.append(data)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        return b"".join(plaintext)

    def send(self, plaintext: bytes) -> bytes:
        """Return the ciphertext to put on the socket. Plaintext is dropped before the handshake is done."""
        if plaintext and self._is_handshake_done:
            self._tls.write(plaintext)
        return self._outgoing.read()
