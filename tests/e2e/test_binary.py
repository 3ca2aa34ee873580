"""The single binary, built as in docs/operations.md, works on a Debian without Python like the installed form."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.documents import find
from tests.e2e.bare import BareDebian
from tests.e2e.running import ROOT
from tests.eventually import eventually

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("as_root"),
]

WEB = """\
name = "web"

[services.page]
command = ["busybox", "httpd", "-f", "-p", "${HOST}:${PORT}"]
port = "auto"
health = "/index.html"

[services.tick]
command = ["perl", "-e", "$$| = 1; while (1) { print qq(tick\\\\n); sleep 1 }"]
depends_on = ["page"]
"""


@pytest.fixture(scope="module")
def bare(as_root: None, need: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[BareDebian]:
    """A Debian with the binary at /srv/minikube, a project without Python in /srv/web, and the shop in /srv/shop."""
    for program in ("dpkg-query", "busybox", "nsenter", "unshare", "ip"):
        need(program)
    debian = BareDebian(tmp_path_factory.mktemp("bare") / "root")
    (line,) = [line for block in find("sh", "build") for line in block.text.splitlines() if "binary.py" in line]
    binary = tmp_path_factory.mktemp("dist") / "minikube"
    build = line.replace(".venv/bin/python", sys.executable).split()
    subprocess.run([*build, str(binary)], cwd=ROOT, check=True)
    with debian:
        srv = debian.root / "srv"
        shutil.copy(binary, srv)
        (srv / "web").mkdir()
        (srv / "web" / "supervisor.toml").write_text(WEB)
        (srv / "web" / "index.html").write_text("hello\n")
        (srv / "shop").mkdir()
        shutil.copytree(ROOT / "services", srv / "shop" / "services", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "supervisor.toml", srv / "shop")
        yield debian


def test_the_debian_has_no_python(bare: BareDebian) -> None:
    found = [*bare.root.glob("usr/bin/py*"), *bare.root.glob("usr/lib/**/libpython*"), *bare.root.glob("usr/lib/py*")]
    assert found == []


def test_a_project_without_python_runs_and_leaves_no_process(bare: BareDebian) -> None:
    """`up`, `ps`, a lookup, a kill that is followed by a restart, `down`."""

    def minikube(*arguments: str, code: int = 0) -> str:
        return bare.run("../minikube", *arguments, cwd="/srv/web", code=code)

    minikube("up", "-d")
    minikube("wait")
    first = minikube("get", "page").strip()
    assert bare.run("busybox", "wget", "-qO-", f"http://{first}/") == "hello\n"
    minikube("kill", "page")
    minikube("wait", "page")
    assert "tick" in minikube("logs", "tick", "--tail", "1")
    assert '"restarts": 1' in minikube("ps", "--json")
    minikube("down")
    assert bare.processes() == []
    minikube("ps", code=3)


def test_the_dashboard_opens(bare: BareDebian) -> None:
    """It shows the services on a terminal; q ends it."""
    bare.run("../minikube", "up", "-d", cwd="/srv/web")
    bare.run("../minikube", "wait", cwd="/srv/web")
    ours, theirs = pty.openpty()
    shown = b""

    def drawn() -> bool:
        nonlocal shown
        if select.select([ours], [], [], 0.1)[0]:
            shown += os.read(ours, 65536)
        return b"page" in shown and b"passing" in shown

    command = bare.command("env", "COLUMNS=100", "LINES=30", "../minikube", "dashboard", cwd="/srv/web")
    dashboard = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    try:
        eventually(drawn, 20, "the page passing on the dashboard")
        os.write(ours, b"q")
        eventually(lambda: drawn() and dashboard.poll() is not None, 10, "the dashboard's end")
        assert dashboard.returncode == 0, shown
    finally:
        dashboard.kill()
        dashboard.wait()
        os.close(ours)
        os.close(theirs)
    bare.run("../minikube", "down", cwd="/srv/web")
    assert bare.processes() == []


def test_services_in_python_run_on_the_binarys_own_interpreter(bare: BareDebian) -> None:
    """The shop of the checkout runs with its SDK and its private Redis; kill -9 of the supervisor leaves no process."""
    bare.run("../minikube", "up", "-d", cwd="/srv/shop")
    bare.run("../minikube", "wait", cwd="/srv/shop")
    bought = bare.run("busybox", "wget", "-qO-", "http://127.0.0.1:6060/purchase/aaa")
    assert '"remaining":9' in bought
    status = bare.run("sh", "-c", "cat .minikube/supervisor.json", cwd="/srv/shop")
    found = re.search(r'"pid": ?(\d+)', status)
    assert found, status
    bare.run("sh", "-c", f"kill -9 {found[1]}")
    eventually(lambda: not bare.processes(), 5, "nothing alive")
    bare.run("../minikube", "ps", cwd="/srv/shop", code=3)


def test_init_writes_a_project_that_runs(bare: BareDebian) -> None:
    """Its two services are in Python, which the machine does not have: they run on the binary's interpreter."""
    bare.run("./minikube", "init", "first", cwd="/srv")
    bare.run("../minikube", "up", "-d", cwd="/srv/first")
    bare.run("../minikube", "wait", cwd="/srv/first")
    eventually(
        lambda: "answers 200" in bare.run("../minikube", "logs", "clock", cwd="/srv/first"), 10, "clock finds web"
    )
    bare.run("../minikube", "down", cwd="/srv/first")
