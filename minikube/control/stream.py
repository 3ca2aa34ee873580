"""The websocket `/v1/stream` (floor 3): the board's snapshot, then its updates, one text message each.

Each reader has a task that waits for the board, then for the reader, and nothing else: no queue. Readers at the same
revision get the same bytes, encoded and framed once. It refuses to hear anything from a reader.
"""

import trio

from minikube.control.encoding import EncodeCache, encode
from minikube.control.state_store import StateStore
from minikube.net.http_server import Reply, Request, Upgrade, error_reply
from minikube.net.websocket import open_frame_socket, reject_handshake, text_frame

READERS = 256


class Stream:
    """Everything that the readers of one board share."""

    def __init__(self, board: StateStore) -> None:
        self._board = board
        self._frame = EncodeCache(lambda update: text_frame(encode(update)))
        self.readers = 0

    def answer(self, request: Request) -> Reply | Upgrade:
        """Takes the connection over, or says why not."""
        refusal = reject_handshake(request)
        if refusal is not None:
            return refusal
        if self.readers >= READERS:
            return error_reply(503, f"{READERS} readers follow already — close one")

        async def run(stream: trio.abc.Stream, trailing: bytes) -> None:
            self.readers += 1
            try:
                async with open_frame_socket(stream, request, trailing) as socket:
                    async for update in self._board.subscribe():
                        await socket.send_frame(self._frame(update))
            finally:
                self.readers -= 1

        return Upgrade(run)
