"""Imported projects run as the source's tool would run them: their programs, variables, order, restarts and ends.

Each sample of tests/unit/importers/samples is imported into a directory of its own and started by the real command. Several run
at a time, because most of their time is spent waiting.
"""

import os
import shutil
import subprocess
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import pytest

from minikube.importers import import_source, write_manifest
from tests.e2e.small import AUTO, MINIKUBE, PATIENCE_S, Small
from tests.eventually import eventually
from tests.imports import SAMPLES, source_of
from tests.ports import free_ports
from tests.untraced import untraced

PORTS = ("38471", "38472", "38491", "38481")
"""Ports that samples name; free ones take their place. The port after the last one is free, too."""

AT_ONCE = 4
CHOOSING = Lock()
"""Held while a project chooses free ports."""


class Moved(Small):
    """A project that was moved in: a copy of a sample, with the manifest that its import made."""

    def __init__(self, directory: Path, name: str) -> None:
        shutil.copytree(SAMPLES[name], directory, ignore=shutil.ignore_patterns("supervisor.toml"))
        self.ports = dict(zip(PORTS, map(str, (*free_ports(len(PORTS) - 1), _free_pair())), strict=True))
        for path in directory.rglob("*"):
            if path.suffix in (".json", ".yaml") or path.name == "Procfile":
                text = path.read_text()
                for port, free in self.ports.items():
                    text = text.replace(port, free)
                path.write_text(text)
        self.directory = directory
        self.path = directory / "supervisor.toml"
        manifest = write_manifest(import_source(source_of(directory), directory))
        self.path.write_text(f"{manifest}\n{AUTO}")  # several at a time

    def says(self, file: str, text: str) -> None:
        """Wait until a file of the project has this text, without the space around it."""
        path = self.directory / file
        eventually(lambda: path.exists() and path.read_text().strip() == text, what=f"{self.directory}: {file}: {text}")

    def runs(self, *names: str) -> None:
        """Wait until these instances or services have a process: those that do not listen on their port stay `starting`."""
        for name in names:
            self.pid_of(name)

    def pid_of(self, name: str) -> int:
        found = eventually(lambda: (row := self.instance(name)) and row.pid, what=f"{self.directory}: {name} runs")
        assert isinstance(found, int)
        return found

    def answers(self, service: str, path: str = "/") -> None:
        """Wait until the service answers with 200 on the port that it is registered with."""
        row = self.until(service, "running")
        port = int(row.address.rpartition(":")[2])

        def fetch() -> bool:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as reply:
                    return bool(reply.status == 200)
            except OSError:
                return False

        eventually(fetch, what=f"{service} on {port}")

    def lines_of(self, file: str, count: int) -> None:
        """Wait until a file has so many lines: one for each start of its program."""
        path = self.directory / file
        eventually(
            lambda: path.exists() and len(path.read_text().splitlines()) == count, what=f"{file}: {count} starts"
        )


def _free_pair() -> int:
    """Return a free port before another free one."""
    while True:
        ports = free_ports(20)
        for port in ports:
            if port + 1 in ports:
                return port


def procfile_basic(moved: Moved) -> None:
    """Variables of `.env` reach the programs, and a web process listens on the PORT that it is given."""
    moved.answers("web")
    moved.says("worked", "hello you from high and low")


def procfile_release(moved: Moved) -> None:
    """The others wait for `release`."""
    moved.says("seen", "migrated")
    moved.says("ticked", "migrated")
    moved.until("release", "exited")


def procfile_assignments(moved: Moved) -> None:
    moved.says("out-web", "production/a b")
    moved.says("out-api", "/")
    moved.says("front/built", "--watch")


def procfile_shell(moved: Moved) -> None:
    moved.says("counted", "3")
    moved.says("sorted", "a\nb")
    moved.says("went-on", "goes_on.1 default")
    moved.says("quoted", "it's quoted")
    moved.says("pid", str(moved.pid("pid")))


def procfile_watchers(moved: Moved) -> None:
    """stdin stays open: a build that watches goes on."""
    moved.says("debug", "1")
    moved.runs("css")
    assert (moved.directory / "ended").read_text() == ""


def procfile_ports(moved: Moved) -> None:
    for service in ("web", "api", "admin-console", "fixed"):
        moved.answers(service)


def process_compose_basic(moved: Moved) -> None:
    moved.says("worked", "hello you, a=b")
    moved.runs("web")


def process_compose_conditions(moved: Moved) -> None:
    """A process waits for success, any end, a check, a line of output and a start."""
    moved.says("last", "done\nfailed")
    moved.until("fails", "exited")


def process_compose_probes(moved: Moved) -> None:
    moved.answers("web", "/ready?x=1")
    eventually(lambda: (row := moved.instance("web")) and row.check == "passing")
    eventually(lambda: (row := moved.instance("listed")) and row.check == "passing")
    assert moved.states()["elsewhere"] == "stopped"


def process_compose_restarts(moved: Moved) -> None:
    """`always` restarts what ends well, `on_failure` what fails, so often as `max_restarts` says; `no` nothing."""
    moved.lines_of("always", 3)
    moved.runs("always", "check")
    moved.lines_of("thrice", 3)
    moved.until("thrice", "fatal")
    for name in ("clean", "allowed", "once"):
        moved.until(name, "exited")
        moved.lines_of(name, 1)


def process_compose_replicas(moved: Moved) -> None:
    """Replicas count from 0 in PC_REPLICA_NUM."""
    for number in (0, 1):
        moved.says(f"worker-{number}", str(number))
        moved.says(f"quiet-{number + 1}", str(number))
    moved.runs("follower")


def process_compose_extends(moved: Moved) -> None:
    moved.says("derived", "3 2 dev")
    moved.says("from-base", "over 1")
    assert moved.states()["base"] == "stopped"


def process_compose_templates(moved: Moved) -> None:
    moved.says("templated", "shop 8080 0")
    moved.says("verbatim", "{{.NAME}}")


def process_compose_variables(moved: Moved) -> None:
    """What is filled in at once, what the shell sees, and which processes get `.env`."""
    moved.says("shell", "hello default in ner in ner run")
    moved.says("file", "hello mine")
    moved.says("without", "[]")
    moved.says("entry", "a b ${X}")
    moved.says("bash", "1 2 3")


def process_compose_left_out(moved: Moved) -> None:
    moved.runs("top", "watched", "typo")
    moved.run("stop", "top")
    moved.says("bye", "bye")


def supervisord_basic(moved: Moved) -> None:
    moved.says("worked", "hello, you: high low")
    moved.runs("web")


def supervisord_numbers(moved: Moved) -> None:
    """Processes have the numbers that supervisord gives them."""
    moved.says("web-8000", "00")
    moved.says("web-8001", "01")
    moved.says("one-1", "")
    moved.says("one-2", "")
    moved.runs("plain-1", "plain-2")
    moved.run("restart", "web-0")


def supervisord_includes(moved: Moved) -> None:
    """`%(here)s` is the directory of the file that has it."""
    moved.says("run/from", "conf.d")
    moved.says("conf.d/where", str(moved.directory / "conf.d"))


def supervisord_order(moved: Moved) -> None:
    """Smaller priorities start first, and what is not started by itself starts by hand."""
    moved.runs("late")
    moved.says("late", (moved.directory / "first").read_text().strip())
    assert moved.states()["two"] == "stopped"
    moved.run("start", "two")
    moved.runs("two")


def supervisord_environment(moved: Moved) -> None:
    moved.says("out", f"own|two, three|web is 'hello'|plain/path:1|{os.environ['HOME']}")


def supervisord_restarts(moved: Moved) -> None:
    moved.until("unexpected", "fatal")
    moved.lines_of("unexpected", 2)
    moved.until("expected", "exited")
    moved.lines_of("expected", 1)
    moved.runs("always", "slow")
    moved.lines_of("always", 2)
    moved.until("task", "exited")
    moved.lines_of("task", 1)


def supervisord_stopping(moved: Moved) -> None:
    moved.says("mask", "0027")
    moved.runs("graceful")
    moved.run("stop", "graceful")
    moved.says("quit", "quit")


def supervisord_syntax(moved: Moved) -> None:
    """Comments end where they do there, and no shell reads a command."""
    moved.says("one", "a;b#c")
    moved.says("two", "two")
    moved.says("args", "a && echo $HOME | cat > file")


def pm2_basic(moved: Moved) -> None:
    moved.says("served", "--greet hello you development")
    moved.answers("api-server")
    moved.says("worked", "worked")


def pm2_yaml(moved: Moved) -> None:
    moved.says("app/said", "it's $HOME ${X}")
    moved.says("named", "a b")


def pm2_list(moved: Moved) -> None:
    for name in ("ran-run-", "ran-run-2-two", "ran-run-3-three"):
        moved.says(name, "")


def pm2_instances(moved: Moved) -> None:
    """Each replica has a port of its own, from the one that the cluster shared on."""
    first = int(moved.ports["38481"])
    moved.runs("cluster-1", "cluster-2")
    files = [moved.directory / f"serve-cluster-{number}" for number in (1, 2)]
    eventually(lambda: all(file.exists() and file.read_text().endswith("\n") for file in files), what="both ports")
    ports, numbers = zip(*(file.read_text().split() for file in files), strict=True)
    assert sorted(map(int, ports)) == [first, first + 1]
    assert numbers == ("1", "2")
    moved.runs("free-1", "free-2")
    assert moved.states()["all-1"] == "stopped"


def pm2_interpreters(moved: Moved) -> None:
    for file in ("a", "b-ran", "c-ran", "e"):
        moved.says(file, "")
    moved.runs("path")


def pm2_settings(moved: Moved) -> None:
    """A service is restarted at its times by a command of its own."""
    before = moved.pid("web")
    moved.run("start", "web-restart")
    eventually(lambda: moved.pid("web") != before, what="web restarted")
    moved.runs("paths", "seconds")


def pm2_restarts(moved: Moved) -> None:
    """Every end restarts an app, unless its code is one that stops it."""
    for name in ("always", "delay"):
        moved.lines_of(name, 3)
        moved.runs(name)
    for name in ("codes", "once"):
        moved.until(name, "exited")
        moved.lines_of(name, 1)


CHECKS: dict[str, Callable[[Moved], None]] = {
    name: found for name in sorted(SAMPLES) if (found := globals().get(name.replace("/", "_")))
}
"""By sample what is looked at while it runs. The others differ in their texts only, which tests/unit/importers compares."""

ROOTS = ("pm2/settings",)
"""Samples with a user, which only root can choose."""


def _try(name: str, directory: Path) -> str:
    """Run one sample; return what was wrong."""
    with CHOOSING:
        project = Moved(directory / name.replace("/", "-"), name)
    with project as moved:
        started = moved.command("up", "-d")
        if started.returncode:
            return f"{name}: {started.stdout}{started.stderr}"
        try:
            CHECKS[name](moved)
        except Exception as error:
            return f"{name}: {type(error).__name__}: {error}\n{moved.command('logs').stdout}\n{moved.path.read_text()}"
    return ""


@pytest.mark.parametrize("tool", ["procfile", "process_compose", "supervisord", "pm2"])
def test_imported_projects_run_as_their_tool_ran_them(
    tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if tool == "pm2" and shutil.which("node") is None:
        pytest.skip("node is not installed")
    if tool == "supervisord":
        monkeypatch.setenv("GREETING", "hello")  # a variable of the shell in which `up` runs
    names = [name for name in CHECKS if name.startswith(f"{tool}/") and (os.geteuid() == 0 or name not in ROOTS)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        wrong = [text for text in pool.map(lambda name: _try(name, tmp_path), names) if text]
    assert not wrong, "\n\n".join(wrong)


def test_the_end_of_one_process_of_a_procfile_stops_all_with_its_code(tmp_path: Path) -> None:
    with Moved(tmp_path / "shop", "procfile/ends") as moved:
        up = subprocess.Popen(
            [*MINIKUBE, "up", "--plain"],
            cwd=moved.directory,
            env=untraced(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        try:
            moved.runs("web")
            (moved.directory / "go").touch()
            assert up.wait(PATIENCE_S) == 3
        finally:
            up.kill()
            up.wait()
