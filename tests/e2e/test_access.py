"""A project whose registry is called by other users: instances with a token, a service with `user`, and strangers."""

import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from tests.e2e.running import ROOT, Project, running
from tests.eventually import eventually

NOBODY = 65534

EXTRA = r"""
[services.mine]
command = ["sh", "-c", '''
printf '{"method":"Discovery.Register","id":1,"params":[{"Name":"mine","Addr":"127.0.0.1:%s",' $PORT > /tmp/$INSTANCE_ID
printf '"HealthCheck":"ttl:","Uuid":"%s"}]}\n' $INSTANCE_ID >> /tmp/$INSTANCE_ID
nc -N 127.0.0.1 $(echo $MINIKUBE_REGISTRY | cut -d: -f2) < /tmp/$INSTANCE_ID
rm /tmp/$INSTANCE_ID
exec sleep 600''']
cwd = "/"
user = "nobody"
port = "auto"
register = "self"
depends_on = { product = "healthy" }

[services.talkative]
command = ["sh", "-c", "env; echo told; exec sleep 600"]
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, need: Callable[[str], str], as_root: None) -> Iterator[Project]:
    need("nc")
    with running(tmp_path_factory.mktemp("project"), EXTRA) as made:
        made.wait_passing("product", "order")
        yield made


def call_as_nobody(project: Project, method: str, *params: Any) -> Any:
    """Return the whole reply to a call that nc sends as another user."""
    done = subprocess.run(
        ["nc", "-N", "127.0.0.1", str(project.ports["registry"])],
        input=json.dumps({"method": f"Discovery.{method}", "params": params, "id": 1}) + "\n",
        capture_output=True,
        text=True,
        timeout=30,
        user=NOBODY,
        check=True,
    )
    return json.loads(done.stdout)


def entries(project: Project, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = project.rpc("Discovery.Instances", name)["result"]
    return found


def owned(project: Project) -> dict[str, Any]:
    """Return the address of each entry of the project."""
    return {entry["Uuid"]: entry["Addr"]["Port"] for entry in entries(project, "product") + entries(project, "order")}


def registry(project: Project) -> psutil.Process:
    (found,) = (process for process in project.processes() if is_registry(process))
    return found


def is_registry(process: psutil.Process) -> bool:
    try:
        return "minikube.registry.main" in process.cmdline()
    except psutil.NoSuchProcess:  # it has ended since it was listed
        return False


def steal(project: Project) -> None:
    """Try to change the project's entries in every way, as another user and as root; nothing of it may work."""
    before = owned(project)
    (product,) = entries(project, "product")
    evil = {"Name": "product", "Addr": "127.0.0.1:6666", "HealthCheck": "ttl:"}
    mask = {**evil, "Addr": f"127.0.0.1:{project.ports['product']}"}
    for registration in (evil, {**evil, "Uuid": product["Uuid"]}, mask, {**evil, "Name": "new"}):
        assert call_as_nobody(project, "Register", registration)["error"]
    for method, params in {"Deregister": (), "Renew": (), "Maintenance": (True,)}.items():
        assert "conflict" in call_as_nobody(project, method, product["Uuid"], *params)["error"]
    for registration in ({**evil, "Uuid": product["Uuid"]}, mask):
        assert "conflict" in project.rpc("Discovery.Register", registration)["error"]
    assert owned(project) == before


def test_nobody_changes_what_is_the_projects_and_each_try_is_an_event(project: Project) -> None:
    steal(project)

    def reported() -> bool:
        return "registry: user 65534 may not register new" in project.run("events")

    eventually(reported, what="the refusals are events")
    kinds = [event["kind"] for event in json.loads(project.run("events", "--json"))]
    assert "registry.refused_access" in kinds


def test_a_stranger_who_tries_everything_changes_nothing(project: Project) -> None:
    eventually(lambda: entries(project, "mine"), what="mine is registered")
    ports = [f"--{name}=127.0.0.1:{project.ports[name]}" for name in ("registry", "control")]
    # Not as `nobody`: as the user of `mine` that one may change its entry.
    options = [*ports, "--project", str(project.directory), "--uid=65533", "--minutes=0.04", "--slow-ms=5000"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.stranger", *options], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["passed"]
    assert result["refused"] > 20
    assert result["comparisons"] > 2


def test_a_program_without_a_token_registers_as_its_services_user(project: Project) -> None:
    (entry,) = eventually(lambda: entries(project, "mine"), what="mine is registered")
    assert entry["State"] == "passing"
    assert call_as_nobody(project, "Renew", entry["Uuid"])["result"] is True


def test_a_restarted_registry_knows_the_reserved_names_and_the_tokens(project: Project) -> None:
    before, old = owned(project), registry(project).pid
    registry(project).send_signal(signal.SIGKILL)

    def is_back() -> bool:
        try:
            return registry(project).pid != old and owned(project) == before and project.passes("product", "order")
        except (OSError, ValueError):
            return False

    eventually(is_back, what="the registry is back with everything")
    steal(project)
    product = project.instance("product")["pid"]
    psutil.Process(product).kill()
    eventually(lambda: project.instance("product").get("pid") not in (0, None, product), what="product is restarted")
    project.wait_passing("product")


def test_the_tokens_of_instances_are_in_no_command_line_log_or_listing(project: Project) -> None:
    eventually(lambda: "told" in project.run("logs", "talkative"))
    processes = [process for name in ("product", "order", "talkative") for process in [project.instance(name)["pid"]]]
    tokens = {psutil.Process(pid).environ()["MINIKUBE_REGISTRY_TOKEN"] for pid in processes}
    assert len(tokens) == 3
    assert all(re.fullmatch(r"[a-z]+:[0-9a-f]{8}:[0-9a-f]{64}", token) for token in tokens)
    secret = registry(project).environ()["MINIKUBE_SUPERVISOR_TOKEN"]
    shown = [project.run(*words.split()) for words in ("describe talkative", "ps --json", "events", "config")]
    shown += [path.read_text() for path in (project.directory / ".minikube/logs").glob("*.log")]
    shown += [" ".join(process.cmdline()) for process in project.processes()]
    for text in shown:
        assert secret not in text
        assert not any(token in text for token in tokens)


def test_run_and_exec_give_a_command_a_token_of_its_own(project: Project) -> None:
    show = ("--", "sh", "-c", "echo $MINIKUBE_REGISTRY_TOKEN")
    pid = project.instance("product")["pid"]
    own = psutil.Process(pid).environ()["MINIKUBE_REGISTRY_TOKEN"]
    assert project.run("exec", "product", *show).strip() == own
    token = project.run("run", "product", *show).strip()
    assert token != own
    for one in (own, token):
        assert call_as_nobody(project, "Authenticate", one)["result"] is True


def test_the_command_line_makes_lists_and_revokes_tokens(project: Project) -> None:
    token = project.run("registry", "token", "create", "--right", "register ci-*", "--name", "ci").strip()
    assert re.fullmatch("[0-9a-f]{64}", token)
    assert "register ci-*" in project.run("registry", "token", "list")
    assert call_as_nobody(project, "Authenticate", token)["result"] is True
    assert project.run("registry", "token", "revoke", "ci") == "ci revoked\n"
    assert "token is wrong" in call_as_nobody(project, "Authenticate", token)["error"]
    project.run("registry", "token", "revoke", "ci", code=4)
    project.run("registry", "token", "create", "--right", "write", code=2)


def test_the_control_api_takes_the_registrys_tokens(project: Project) -> None:
    def status(token: str, method: str, path: str) -> int:
        url = f"http://127.0.0.1:{project.ports['control']}{path}"
        request = urllib.request.Request(url, method=method, headers={"Authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return int(reply.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def made(*rights: str) -> str:
        return project.run("registry", "token", "create", *(f"--right={right}" for right in rights)).strip()

    reader, registrar, admin = made("read"), made("register *"), made("admin")
    restart = "/v1/services/talkative/restart"
    assert [status(token, "GET", "/v1/status") for token in (reader, registrar, admin, "0" * 64)] == [
        200,
        401,
        200,
        401,
    ]
    assert [status(token, "POST", restart) for token in (reader, registrar, admin)] == [401, 401, 200]


def test_minikubes_own_commands_may_remove_every_entry(project: Project) -> None:
    made = project.run("register", "external", "127.0.0.1:9", "--check", "ttl:").strip()
    assert project.run("deregister", made) == f"{made} deregistered\n"
    before, id = owned(project), project.instance("product")["id"]
    project.run("register", "product", "127.0.0.1:6666", "--id", id, code=1)
    assert owned(project) == before
