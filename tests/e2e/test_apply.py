"""An edited manifest, applied by hand or on save, and edited sources: what restarts, what keeps running, the messages."""

import json
import threading
from pathlib import Path

from tests.e2e.small import READY, Small
from tests.eventually import eventually
from tests.ports import free_ports

SERVICES = f"""
[services.db]
{READY}
[services.migrate]
command = ["sh", "-c", "echo one"]
restart = "never"
depends_on = {{ db = "started" }}
[services.api]
{READY}
depends_on = {{ migrate = "completed" }}
env = {{ MODE = "a", API_TOKEN = "hunter2" }}
[services.old]
{READY}
"""
WEB = """
[services.web]
command = ["${MINIKUBE_PYTHON}", "-S", "-m", "http.server", "${PORT}", "--bind", "${HOST}"]
port = "auto"
health = { http = "/", interval = "1s" }
tags = ["blue"]
"""


def test_only_what_changed_and_what_must_follow_is_restarted(tmp_path: Path) -> None:
    with Small(tmp_path, SERVICES) as small:
        small.up("--wait")
        assert small.run("apply") == "no changes: 4 services unchanged\n"
        db, api = small.pid("db"), small.pid("api")
        small.edit("echo one", "echo two")
        small.edit("services.old", "services.new")
        output = small.run("apply", "--dry-run")
        assert "- old is stopped and removed\n~ migrate is restarted\n" in output
        assert "~ api is restarted after a task that it depends on\n+ new is added and started\n" in output
        assert output.endswith("1 service unchanged — nothing was done yet\n")
        assert (small.pid("api"), small.lines("migrate")) == (api, ["one"])
        assert small.run("apply").endswith("1 service unchanged\n")
        eventually(lambda: small.lines("migrate") == ["one", "two"], what="the second migration")
        assert small.pid("db") == db
        assert small.pid("api") != api
        assert small.pid("new")
        assert small.instance("old") is None
        small.edit('"hunter2"', '"hunter3"')
        output = small.run("apply")
        assert "~ api is restarted\n    env.API_TOKEN: changed (not shown)" in output
        done = json.loads(small.run("apply", "--json"))
        assert (done["changes"], done["unchanged"]) == ([], ["db", "migrate", "api", "new"])


LINGERING = (
    """command = ["sh", "-c", "trap 'sleep 1; touch $$0.done; exit' TERM; while :; do sleep 0.02; done", "NAME"]\n"""
)


def test_a_stop_meanwhile_waits_for_those_that_leave_and_starts_nothing(tmp_path: Path) -> None:
    old, many = LINGERING.replace("NAME", "old"), LINGERING.replace("NAME", "many")
    with Small(tmp_path, f"[services.old]\n{old}[services.many]\n{many}") as small:
        small.up("--wait")
        small.write(f"[services.new]\n{READY}[services.many]\n{many}")
        asked = [threading.Thread(target=small.command, args=args) for args in (("apply",), ("scale", "many=0"))]
        for one in asked:
            one.start()
        eventually(lambda: set(small.states().values()) == {"stopping"}, what="both are leaving")
        small.run("down")
        for one in asked:
            one.join()
        assert {path.name for path in tmp_path.glob("*.done")} == {"old.done", "many.done"}
        assert "Traceback" not in (tmp_path / ".minikube" / "logs" / "minikube.supervisor.log").read_text()


def test_a_bad_edit_changes_nothing_and_reports_every_problem(tmp_path: Path) -> None:
    with Small(tmp_path, SERVICES) as small:
        small.up("--wait", "db", "old")
        pids = small.pid("db"), small.pid("old")
        good = small.path.read_text()
        for bad, problems in (
            (
                good.replace("command", "comand", 1) + "[services.x]\nport = 0\n",
                ("services.db.comand", "services.x.port"),
            ),
            (good + "[services.hal", ("not TOML",)),
            (f'name = "other"\n{good}', ("name cannot change while it runs",)),
        ):
            small.path.write_text(bad)
            text = small.run("apply", code=2)
            assert all(part in text for part in problems)
        assert (small.pid("db"), small.pid("old")) == pids


def test_what_a_process_can_follow_it_follows_and_is_found_all_the_time(tmp_path: Path) -> None:
    with Small(tmp_path, WEB) as small:
        small.up("--wait")
        pid = small.pid("web")
        failures: list[str] = []
        over = threading.Event()

        def ask() -> None:
            from minikube import blocking

            with blocking.open_registry(small.status().registry) as registry:
                while not over.wait(0.002):
                    try:
                        registry.get("web")
                    except Exception as error:
                        failures.append(str(error))

        asking = threading.Thread(target=ask)
        asking.start()
        small.edit('"blue"', '"green"')
        small.edit('"1s"', '"200ms"')
        assert "= web keeps running, with\n    tags:" in small.run("apply")
        row = eventually(lambda: json.loads(small.run("instances", "--json"))[0]["Tags"] == ["green"], what="green")
        assert row
        over.set()
        asking.join()
        assert failures == []
        small.edit('tags = ["green"]', 'tags = ["green"]\nreplicas = 3')
        assert "= web is scaled\n    replicas: 1 → 3" in small.run("apply")
        eventually(lambda: small.instance("web-3"), what="web-3")
        assert small.pid("web") == pid
        small.edit("replicas = 3", "replicas = 1")
        small.run("apply")
        assert [row.name for row in small.status().instances] == ["web"]


def test_two_services_may_swap_their_ports(tmp_path: Path) -> None:
    one, two = free_ports(2)
    server = 'command = ["${MINIKUBE_PYTHON}", "-S", "-m", "http.server", "${PORT}", "--bind", "${HOST}"]\n'
    with Small(tmp_path, f"[services.a]\n{server}port = {one}\n[services.b]\n{server}port = {two}\n") as small:
        small.up("--wait")
        small.write(f"[services.a]\n{server}port = {two}\n[services.b]\n{server}port = {one}\n")
        small.run("apply")
        small.run("wait")
        rows = {row.name: row for row in small.status().instances}
        assert (rows["a"].address, rows["b"].address) == (f"127.0.0.1:{two}", f"127.0.0.1:{one}")
        assert not [message for message in small.events("instance.") if "taken" in message]


def test_saving_applies_and_a_bad_save_is_an_error_event(tmp_path: Path) -> None:
    with Small(tmp_path, f'[services.a]\n{READY}env = {{ MODE = "${{MODE:-one}}" }}\n[services.b]\n{READY}') as small:
        small.up("--wait", "--watch")
        a, b = small.pid("a"), small.pid("b")
        small.edit("services.b", "services.c")
        eventually(lambda: small.instance("c") and not small.instance("b"), what="c instead of b")
        assert small.pid("a") == a
        (tmp_path / ".env").write_text("MODE=two\n")
        eventually(lambda: "a replaced (env.MODE)" in str(small.events("apply.done")), what="the new .env")
        a = small.pid("a")
        good = small.path.read_text()
        small.path.write_text(good + "[services.hal")
        eventually(lambda: "not TOML" in str(small.events("apply.failed")), what="an error event")
        small.path.write_text("")
        eventually(lambda: "has no services any more" in str(small.events("apply.failed")), what="another one")
        assert (small.pid("a"), small.status().phase) == (a, "running")
        small.path.write_text(good.replace('"sleep"', '"sleep", "1"'))
        eventually(lambda: small.events("apply.done")[-1].count("replaced") == 2, what="back to work")
        assert b != small.pid("c")


def save(path: Path, text: str) -> None:
    """Write a file as editors do, in one step. Two steps may be two changes on a busy machine: made, then written."""
    unsaved = path.with_name(f".{path.name}.swp")  # no service's sources, whatever its patterns
    unsaved.write_text(text)
    unsaved.replace(path)


def test_changed_sources_restart_a_service_and_ignored_ones_do_not(tmp_path: Path) -> None:
    src = tmp_path / "src"
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("*.log\n")
    (src / "gen").mkdir(parents=True)
    (src / "main.py").write_text("1")
    services = f'[services.a]\n{READY}watch = ["src", "!src/gen"]\n[services.b]\n{READY}[services.last]\n{READY}'
    with Small(tmp_path, services + 'watch = ["last"]\n') as small:

        def restarts(service: str) -> list[str]:
            return [event for event in small.events("sources.changed") if event.startswith(f"{service} is restarted")]

        def all_is_noticed() -> None:
            """Changes are noticed in their order: once `last` restarts, none before it is still to come."""
            before = len(restarts("last"))
            save(tmp_path / "last", str(before))
            eventually(lambda: len(restarts("last")) > before, what="the last change")

        small.up("--wait")
        a, b = small.pid("a"), small.pid("b")
        save(src / "a.log", "x")
        save(src / "gen" / "x.py", "x")
        save(src / "main.py", "2")
        eventually(lambda: small.pid("a") != a, what="another a")
        all_is_noticed()
        events = ["a is restarted: src/main.py changed"]
        assert restarts("a") == events
        new = src / "new" / "deep"
        new.mkdir(parents=True)
        (new / "more.py").write_text("1")
        events.append("a is restarted: src/new/deep/more.py changed")
        eventually(lambda: restarts("a")[-1] == events[-1], what="a file in a new directory")
        small.run("stop", "a")
        save(src / "main.py", "3")
        save(src / "gen" / "y.py", "x")
        all_is_noticed()
        small.edit(', "!src/gen"', "")
        small.run("apply")
        small.run("start", "a")
        save(src / "gen" / "y.py", "y")
        events.append("a is restarted: src/gen/y.py changed")
        eventually(lambda: restarts("a")[-1] == events[-1], what="the new pattern")
        all_is_noticed()
        # The file in the new directory is found by a look into it, and may be reported by the kernel as well.
        assert [event for event in restarts("a") if event != events[1]] == [events[0], events[2]]
        assert small.pid("b") == b


def test_what_was_stopped_by_hand_stays_so_though_another_takes_its_port(tmp_path: Path) -> None:
    one, two = free_ports(2)
    server = 'command = ["${MINIKUBE_PYTHON}", "-S", "-m", "http.server", "${PORT}", "--bind", "${HOST}"]\n'
    with Small(tmp_path, f"[services.a]\n{server}port = {one}\n[services.b]\n{server}port = {two}\n") as small:
        small.up("--wait")
        small.run("stop", "b")
        small.write(f"[services.a]\n{server}port = {two}\n[services.b]\n{server}port = {one}\n")
        small.run("apply")
        eventually(lambda: small.until("a", "running").address.endswith(str(two)), what="a on the port that b had")
        assert small.until("b", "stopped").restarts == 0


def test_an_apply_during_a_rolling_restart_reaches_every_replica(tmp_path: Path) -> None:
    slow = (
        'command = ["sh", "-c", "touch ready-$$MODE-$$$$; exec sleep 1000"]\nhealth = { command = ["sleep", "0.5"] }\n'
    )
    with Small(tmp_path, f'[services.many]\n{slow}replicas = 3\nenv = {{ MODE = "old" }}\n') as small:
        small.up("--wait")
        rolling = threading.Thread(target=small.command, args=("restart", "many"))
        rolling.start()
        eventually(lambda: len(list(tmp_path.glob("ready-old-*"))) == 4, what="the first one rolls")
        small.edit('"old"', '"new"')
        output = small.run("apply")
        rolling.join()
        assert "being restarted already" not in output
        pids = {row.pid for row in small.status().instances}
        modes = {Path(f"/proc/{pid}/environ").read_bytes().split(b"\0MODE=")[1][:3] for pid in pids}
        assert modes == {b"new"}
