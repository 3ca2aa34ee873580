"""A real registry process beside a real Redis, on a port of its own, with a web server whose health it can check."""

import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

START_S = 60.0


class _Healthy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def web_server() -> Iterator[int]:
    """A server that answers every GET with 200; its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Healthy) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def registry_process(redis_url: str, **environ: str) -> Iterator[str]:
    """`minikube registry`; its address."""
    command = [sys.executable, "-m", "minikube", "registry", "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "REDIS_URL": redis_url, **environ},
    )
    try:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], START_S)[0], "the registry said nothing"
        line = process.stdout.readline()
        assert "listening on" in line, line
        yield line.split()[-1]
    finally:
        process.terminate()
        process.communicate(timeout=30)
