"""End a long wait for the supervisor's reply when the supervisor does not answer any more. Standard library only.

A command may take minutes and a followed log may be silent for days, so that their connections cannot have a time-out. A
supervisor that is suspended or hangs keeps them open. The watchdog is a thread that asks for `/health` meanwhile.
"""

import contextlib
import http.client
import socket
import threading

CHECK_INTERVAL_S = 2.0


class Watchdog:
    """Shuts the connection `sock` down when the supervisor at `host` and `port` hangs, until `stop`.

    It counts as hung when it accepts a connection and does not answer `/health` within `timeout` seconds.
    """

    def __init__(self, sock: socket.socket, host: str, port: int, timeout: float) -> None:
        self.has_fired = False
        """Whether the supervisor hangs, and the connection was shut down for that."""
        self._sock = sock
        self._address = host, port
        self._timeout = timeout
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """End the watch. Return immediately: a request that is under way ends by itself, or with the program."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(CHECK_INTERVAL_S):
            if self._is_hung() and not self._ended.is_set():
                self.has_fired = True
                with contextlib.suppress(OSError):  # the connection is closed already
                    self._sock.shutdown(socket.SHUT_RDWR)
                return

    def _is_hung(self) -> bool:
        host, port = self._address
        connection = http.client.HTTPConnection(host, port, timeout=self._timeout)
        try:
            connection.request("GET", "/health")
            connection.getresponse().read()
        except TimeoutError:
            return True
        except (OSError, http.client.HTTPException):
            return False  # it has ended: the watched connection ends as well
        finally:
            connection.close()
        return False
