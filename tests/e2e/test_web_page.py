"""A web page in a real browser changes nothing in the registry, in whatever way it sends to the registry's port."""

import json
import queue
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode

import msgspec
import pytest

from minikube import blocking
from minikube.model import Instance, Registration
from tests.e2e.real_registry import registry_process, web_server
from tests.redis_server import RedisServer

PAGE = Path(__file__).parent / "webpage" / "attack.html"
BROWSER = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
BROWSER_S = 120.0
"""Time for the browser to start and to try everything."""


class _Page(BaseHTTPRequestHandler):
    """Serves the page, and takes its report."""

    reports: "queue.Queue[list[str]]"

    def do_GET(self) -> None:
        body = PAGE.read_bytes() if self.path.startswith("/?") else b""
        self._reply(200 if body else 404, body)

    def do_POST(self) -> None:
        self.reports.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._reply(200, b"")

    def _reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Recorder(socketserver.BaseRequestHandler):
    """Records what a port is sent that answers nothing."""

    received: list[bytes]

    def handle(self) -> None:
        data = b""
        self.request.settimeout(0.5)
        try:
            while piece := self.request.recv(65_536):
                data += piece
        except TimeoutError:
            pass
        self.received.append(data)


@contextmanager
def serving(server: socketserver.TCPServer) -> Iterator[str]:
    """Serve in a thread; the address."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def browser(program: str, profile: Path, url: str) -> Iterator[None]:
    """Show a page in a headless browser with an empty profile."""
    command = [program, *BROWSER, f"--user-data-dir={profile}", url]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def unprobed(instances: list[Instance]) -> list[Instance]:
    """Return the instances without the time of the last probe, which changes by itself."""
    return [msgspec.structs.replace(instance, checked=0.0) for instance in instances]


@pytest.mark.timeout(240)
def test_a_page_changes_nothing_in_the_registry(
    need: Callable[[str], str], redis_server: RedisServer, tmp_path: Path
) -> None:
    program = need("chromium")
    reports: queue.Queue[list[str]] = queue.Queue()
    received: list[bytes] = []
    page = type("Page", (_Page,), {"reports": reports})
    recorder = type("Recorder", (_Recorder,), {"received": received})
    with (
        web_server() as port,
        registry_process(redis_server.url) as registry,
        serving(ThreadingHTTPServer(("127.0.0.1", 0), page)) as page_address,
        serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), recorder)) as recorder_address,
        blocking.open_registry(registry) as client,
    ):
        own = client.register(Registration("product", f"127.0.0.1:{port}", f"http://127.0.0.1:{port}/"))
        before = unprobed(client.instances())
        query = urlencode({"instance": own, "target": [registry, recorder_address]}, doseq=True)
        with browser(program, tmp_path / "profile", f"http://{page_address}/?{query}"):
            tried = reports.get(timeout=BROWSER_S)
        assert unprobed(client.instances()) == before
        assert str(client.get("product")) == f"127.0.0.1:{port}"
    # The browser did send what would have been executed: the other port has got it.
    arrived = b"\n".join(received)
    bodies = ("fetch-no-cors", "fetch-cors", "fetch-blob", "beacon", "xhr", "form-text", "form-multipart")
    for way in bodies:
        assert b'"Uuid":"evil-%b"' % way.encode() in arrived, way
    assert len(tried) == 14
    assert arrived.count(b"Upgrade: websocket") == 1
