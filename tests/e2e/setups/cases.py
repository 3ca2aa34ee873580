"""What each set-up does once it runs: every name is found from both sides, each service does its work."""

import json
from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.e2e.setups.running import PART, Setup
from tests.eventually import eventually

ENTRY = ("--change", 'ENTRYPOINT ["entry"]', "--change", 'CMD ["part", "web"]')
"""What the image `entry` has besides the files."""


class Case(NamedTuple):
    """What is known of a set-up that its file does not say."""

    check: Callable[[Setup], None] = lambda setup: None
    inside: tuple[str, ...] = ()
    """Further names and ports that every container reaches."""
    up: tuple[str, ...] = ()
    override: str = ""


def check_web_db_cache(setup: Setup) -> None:
    assert setup.page("web", "/redis?cache:6379 SET key kept") == "+OK"
    assert setup.page("web", "/get?http://db:5432/set?a=1") == "ok"
    assert setup.page("db", "/get?a", "DB_PORT") == "1", "the published port, from this machine"
    setup.run("restart", "db")
    setup.run("wait", "db")
    assert setup.page("db", "/get?a", "DB_PORT") == "1", "the volume is the same"
    assert setup.page("web", "/redis?cache:6379 GET key") == "kept", "the cache was not restarted"


def check_three_workers(setup: Setup) -> None:
    for number in range(30):
        setup.page("web", f"/redis?queue:6379 LPUSH jobs job-{number}")

    def workers() -> set[str]:
        lines = setup.page("web", "/get?http://db:5432/all").splitlines()
        return {line.partition("=")[2] for line in lines} if len(lines) == 30 else set()

    assert len(eventually(workers, what="all jobs are done")) == 3, "each worker did some"
    assert [row.name for row in setup.status().instances if row.service == "worker"] == [
        f"worker-{n}" for n in (1, 2, 3)
    ]
    setup.run("scale", "worker=1")
    eventually(lambda: len(setup.containers()) == 4)


def check_migrations(setup: Setup) -> None:
    assert setup.states() == {"db": "running", "migrate": "exited", "seed": "exited", "web": "running"}
    assert setup.page("web", "/get?http://db:5432/all").splitlines() == ["schema=7", "seeded=yes"]


def check_build_targets(setup: Setup) -> None:
    assert setup.page("app", "/env?VERSION", "APP_PORT") == "1.2"
    assert setup.page("app", "/file?src/main.txt") == "source"
    setup.page("app", "/write?src/cache/made=1")
    assert not list((setup.directory / "src" / "cache").iterdir()), "an anonymous volume hides the directory"
    assert "How it works" in setup.page("docs", "/", "DOCS_PORT")


def check_override(setup: Setup) -> None:
    assert setup.page("web", "/env?MODE", "WEB_PORT") == "development"
    assert setup.page("web", "/env?LOG_LEVEL") == "info"
    assert "services:" in setup.page("web", "/file?/app/compose.yaml")
    assert setup.page("db", "/health", "DB_PORT") == "ok"


def check_profiles(setup: Setup) -> None:
    assert setup.states() == {"web": "running", "admin": "running", "test": "stopped"}
    assert setup.page("admin", "/reach?web:8000", "ADMIN_PORT") == "ok"


def check_proxy(setup: Setup) -> None:
    assert setup.page("proxy", "/index.html", "PROXY_PORT") == "front page"
    assert setup.page("proxy", "/api/", "PROXY_PORT") == "welcome from api"
    hosts = {setup.page("proxy", "/api/hostname", "PROXY_PORT") for _ in range(40)}
    assert len(hosts) == 2, "the name of a service stands for all its replicas"


def check_entrypoint(setup: Setup) -> None:
    assert setup.page("own", "/env?PREPARED", "OWN_PORT") == "yes"
    pages = {name: f"/get?http://{name}:{port}" for name, port in (("command", 8001), ("other", 8002), ("text", 8003))}
    assert setup.page("own", f"{pages['command']}/env?PREPARED") == "yes"
    assert setup.page("own", f"{pages['other']}/env?FROM") == "other-host"
    assert setup.page("own", f"{pages['text']}/hostname"), "without the ENTRYPOINT of the image"
    assert setup.page("own", "/reach?bare:8004") == "ok"
    assert setup.run("logs", "--no-prefix", "interactive", "own").splitlines()[0] == "prepared by entry"
    assert setup.states()["interactive"] == "running", "stdin is open"


def check_env_files(setup: Setup) -> None:
    values = {"API_URL": "http://api.example", "LEVEL": "debug", "FROM_DOTENV": "blue", "PRICE": "5$", "EMPTY": ""}
    values |= {"QUOTED": "two words", "PORT": "8000", "HOST": "0.0.0.0", "REDIS_URL": "redis://application:6379/3"}
    assert {name: setup.page("web", f"/env?{name}", "WEB_PORT") for name in values} == values
    assert json.loads(setup.run("config", "--json"))["name"] == "variables"


def check_volumes(setup: Setup) -> None:
    setup.page("writer", "/write?/shared/a=1", "WRITER_PORT")
    assert setup.page("reader", "/file?/shared/a", "READER_PORT") == "1"
    for path in ("/uploads/photo", "/scratch/x", "/memory/x"):
        setup.page("writer", f"/write?{path}=kept")
    assert (setup.directory / "new" / "uploads" / "photo").read_text() == "kept"
    with pytest.raises(AssertionError, match="Read-only file system"):
        setup.page("writer", "/write?/etc/settings.ini=x")
    with pytest.raises(AssertionError, match=r"Read-only file system|Permission denied"):
        setup.page("reader", "/write?/shared/b=1")
    setup.down()
    setup.run("up", "-d", "--wait")
    eventually(lambda: setup.row("reader").check == "passing" and setup.row("writer").check == "passing")
    assert setup.page("reader", "/file?/shared/a", "READER_PORT") == "1", "the named volume outlives the project"
    with pytest.raises(AssertionError, match="No such file"):
        setup.page("writer", "/file?/scratch/x")


def check_several_ports(setup: Setup) -> None:
    assert {setup.page("app", "/hostname", port) for port in ("API_PORT", "ADMIN_PORT", "DEBUG_PORT")} == {
        setup.page("client", "/get?http://app:9101/hostname")
    }
    assert len(setup.row("app").ports) == 4


def check_udp(setup: Setup) -> None:
    before = int(setup.page("statsd", "/", "PAGE_PORT"))
    assert setup.page("app", "/reach?statsd:8125/udp") == "ok"
    assert int(setup.page("statsd", "/", "PAGE_PORT")) == before + 1


def check_mail(setup: Setup) -> None:
    assert setup.page("mail", "/", "MAIL_PAGE_PORT") == "From the app"


def check_extra_hosts(setup: Setup) -> None:
    assert setup.page("app", "/host?ldap.internal") == "192.0.2.17"
    assert "2001:db8::5" in setup.page("app", "/file?/etc/hosts")
    assert setup.page("app", "/host?host.docker.internal")
    names = ("database", "legacy_db", "postgres", "db.internal")
    assert {setup.page("app", f"/get?http://{name}:5432/health") for name in names} == {"ok"}


def check_restart_policies(setup: Setup) -> None:
    assert setup.row("flaky").restarts == 2
    assert setup.states() == {"flaky": "running", "once": "exited", "always": "running"}
    setup.run("kill", "always")
    eventually(lambda: setup.row("always").restarts == 1 and setup.row("always").state == "running")


def check_monitoring(setup: Setup) -> None:
    lines = setup.run("logs", "--no-prefix", "collector").splitlines()
    assert lines[:3] == ["up node-exporter:9100", "up app_metrics:9101", "up cache:6379"]
    assert setup.page("collector", "/get?http://node-exporter:9100/file?/host/proc/uptime", "COLLECTOR_PORT")


def check_networks(setup: Setup) -> None:
    for name in ("app", "application"):
        assert setup.page("gateway", f"/get?http://{name}:8001/", "GATEWAY_PORT") == "hello from app"
    assert setup.page("gateway", "/get?http://app:8001/get?http://primary:5432/health") == "ok"


def check_limits(setup: Setup) -> None:
    def ask(path: str) -> str:
        return setup.page("search", path, "SEARCH_PORT")

    assert ask("/file?/proc/self/limits").split("Max open files")[1].split()[:2] == ["1024", "1024"]
    assert ask("/env?discovery.type") == "single-node"
    assert "Uid:\t1234" in ask("/file?/proc/self/status")
    assert ask("/file?/proc/sys/net/core/somaxconn") == "256"
    assert ask("/file?/proc/1/comm") != "sh", "an init"
    ask("/write?/cache/x=1")
    with pytest.raises(AssertionError, match="Read-only file system"):
        ask("/write?/srv/x=1")


def check_old_version(setup: Setup) -> None:
    names = ("db", "database", "old_db")
    assert {setup.page("web", f"/get?http://{name}:5432/health", "WEB_PORT") for name in names} == {"ok"}


def check_extends(setup: Setup) -> None:
    assert setup.page("web", "/env?TEAM", "WEB_PORT") == "blue"
    assert setup.page("web", "/env?ROLE") == "web"


def check_mixed_web(setup: Setup) -> None:
    """The process reaches the database at its published port, the other container reaches the process by its name."""
    assert {row.name: row.kind for row in setup.status().services} == {
        "web": "process",
        "db": "container",
        "cron": "container",
    }
    database = f"http://localhost:{setup.ports['DB_PORT']}"
    assert setup.page("web", f"/get?{database}/set?a=1", "WEB_PORT") == "ok"
    assert setup.page("cron", "/get?http://db:5432/get?a", "CRON_PORT") == "1"
    assert setup.page("cron", f"/get?http://web:{setup.ports['WEB_PORT']}/env?DATABASE_URL") == database


def check_mixed_db(setup: Setup) -> None:
    setup.page("web", "/redis?queue:6379 LPUSH jobs job-1", "WEB_PORT")
    database = f"http://db:{setup.ports['DB_PORT']}"
    eventually(lambda: "job-1=" in setup.page("web", f"/get?{database}/all"))
    assert setup.page("db", "/all") == setup.page("web", f"/get?{database}/all")


WEB_PROCESS = f"""
[services.web]
command = ["${{MINIKUBE_PYTHON}}", "{PART}", "web"]
env = {{ DATABASE_URL = "http://localhost:${{DB_PORT}}" }}
"""
DB_PROCESS = f"""
[services.db]
command = ["${{MINIKUBE_PYTHON}}", "{PART}", "db", "${{PORT}}"]
env = {{ DB_FILE = "db.sqlite" }}
port = "${{DB_PORT}}"
"""

QUEUE = ("queue:6379",)
CASES = {
    "web-db-cache": Case(check_web_db_cache, ("cache:6379",)),
    "three-workers": Case(check_three_workers, (*QUEUE, "db:5432")),
    "migrations": Case(check_migrations, ("db:5432",)),
    "build-targets": Case(check_build_targets),
    "override": Case(check_override),
    "profiles": Case(check_profiles, ("admin:8080",), up=("--profile", "tools")),
    "proxy": Case(check_proxy, ("frontend:3000", "api:8000")),
    "entrypoint": Case(check_entrypoint, ("command:8001", "other:8002", "text:8003", "bare:8004")),
    "env-files": Case(check_env_files),
    "volumes": Case(check_volumes),
    "several-ports": Case(check_several_ports),
    "udp": Case(check_udp),
    "mail": Case(check_mail, ("app:8000",)),
    "extra-hosts": Case(check_extra_hosts, ("database:5432", "postgres:5432", "legacy_db:5432")),
    "restart-policies": Case(check_restart_policies, ("flaky:8000",)),
    "monitoring": Case(check_monitoring, ("node-exporter:9100", "app-metrics:9101", "app_metrics:9101", "cache:6379")),
    "networks": Case(check_networks, ("app:8001", "db:5432", "primary:5432")),
    "limits": Case(check_limits),
    "old-version": Case(check_old_version, ("db:5432", "database:5432")),
    "extends": Case(check_extends, QUEUE),
    "mixed-web": Case(check_mixed_web, override=WEB_PROCESS),
    "mixed-db": Case(check_mixed_db, QUEUE, override=DB_PROCESS),
}


def start(setup: Setup) -> Setup:
    setup.run("up", "-d", "--wait", "--timeout", "90s", *CASES[setup.name].up)
    return setup


def check(setup: Setup) -> None:
    """Check a set-up that runs, and stop it."""
    case = CASES[setup.name]
    try:
        setup.check_names(case.inside)
        case.check(setup)
        setup.down()
    finally:
        setup.end()
