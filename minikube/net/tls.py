"""TLS on memory buffers (floor 2): ciphertext in, plaintext out, and back. Refuses to touch a socket or wait.

Server side only. A peer that breaks the protocol makes `receive` raise ssl.SSLError; the alert for it is in
the next `send`.
"""

import ssl
from typing import Final

READ_BYTES: Final = 65_536


class TlsFilter:
    """One connection's TLS. `ended` is True once the peer has closed its side properly."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._shaken = False
        self.ended = False

    def receive(self, ciphertext: bytes) -> bytes:
        """Take what came off the wire; return what it says."""
        self._incoming.write(ciphertext)
        plaintext: list[bytes] = []
        try:
            if not self._shaken:
                self._tls.do_handshake()
                self._shaken = True
            while data := self._tls.read(READ_BYTES):
                plaintext.append(data)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        return b"".join(plaintext)

    def send(self, plaintext: bytes) -> bytes:
        """Return what to put on the wire. Before the handshake is done nobody can be told: plaintext is dropped."""
        if plaintext and self._shaken:
            self._tls.write(plaintext)
        return self._outgoing.read()
