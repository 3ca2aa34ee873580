"""The websocket `/v1/stream`: sends the state store's snapshot and then its updates, one text message each.

Each reader has a task that waits for the store, then for the reader; there is no queue. Readers at the same revision get the same
bytes, encoded once. A message from a reader ends its connection.
"""

import trio

from minikube.control.encoding import EncodeCache, encode
from minikube.control.state_store import StateStore
from minikube.net.http_messages import Reply, Request, Upgrade, error_reply
from minikube.net.websocket import open_frame_socket, reject_handshake, text_frame

MAX_READERS = 256


class Stream:
    """Serves `/v1/stream`. All its connections share one cache of encoded updates."""

    def __init__(self, store: StateStore) -> None:
        self._store = store
        self._encode_frame = EncodeCache(lambda update: text_frame(encode(update)))
        self.readers = 0
        """Number of connected readers."""

    def respond(self, request: Request) -> Reply | Upgrade:
        """Return the upgrade to a websocket, or an error reply: no handshake, or too many readers."""
        rejected = reject_handshake(request)
        if rejected is not None:
            return rejected
        if self.readers >= MAX_READERS:
            return error_reply(503, f"{MAX_READERS} readers follow already — close one")

        async def run(stream: trio.abc.Stream, trailing: bytes) -> None:
            self.readers += 1
            try:
                async with open_frame_socket(stream, request, trailing) as socket:
                    async for update in self._store.subscribe():
                        await socket.send_frame(self._encode_frame(update))
            finally:
                self.readers -= 1

        return Upgrade(run)
