"""Tasks: those that run once, those with a schedule, and commands run by hand as a service would be."""

import os
import pwd
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.small import MINIKUBE, SLEEP, Small
from tests.eventually import eventually


def test_a_task_runs_once_and_its_dependents_start_after_it(tmp_path: Path) -> None:
    services = f"""
[services.migrate]
command = ["sh", "-c", "echo migrated"]
restart = "never"
[services.flaky]
command = ["sh", "-c", "test -e done || {{ touch done; exit 1; }}"]
restart = {{ policy = "on-failure", delay = "10ms" }}
[services.api]
{SLEEP}
depends_on = {{ migrate = "completed", flaky = "completed" }}
"""
    with Small(tmp_path, services) as small:
        small.up("--wait")
        assert small.states() == {"migrate": "exited", "flaky": "exited", "api": "running"}
        assert re.search(r"^migrate +exited .* -$", small.run("ps"), re.MULTILINE)
        small.run("restart", "migrate")
        eventually(lambda: small.lines("migrate") == ["migrated"] * 2, what="another run")


def test_a_schedule_runs_it_again_and_again_and_never_twice_at_a_time(tmp_path: Path) -> None:
    services = f"""
[services.tick]
command = ["sh", "-c", "echo tick"]
schedule = "every 1s"
[services.slow]
{SLEEP}
schedule = "every 1s"
[services.nightly]
command = ["sh", "-c", "echo by hand"]
schedule = "@daily"
"""
    with Small(tmp_path, services) as small:
        small.up("--wait")
        row = small.instance("nightly")
        assert row is not None
        assert (row.state, 0 < row.next_run - small.status().time <= 25 * 3600) == ("stopped", True)
        assert re.search(r"^nightly +stopped .* next run in \d", small.run("ps"), re.MULTILINE)
        eventually(lambda: small.lines("tick").count("tick") >= 2, what="two ticks")
        slow = small.pid("slow")
        eventually(lambda: "slow is still running, so this run is skipped" in small.events("schedule"), what="a skip")
        assert small.pid("slow") == slow
        small.run("stop", "tick")
        count = len(small.lines("tick"))
        assert small.run("start", "nightly") == "nightly started\n"
        eventually(lambda: small.lines("nightly") == ["by hand"], what="a run by hand")
        row = small.until("nightly", "exited")
        assert row.next_run
        skips = len(small.events("schedule"))
        eventually(lambda: len(small.events("schedule")) >= skips + 2, what="two more periods")
        assert len(small.lines("tick")) == count
        small.edit("@daily", "@yearly")
        small.run("apply")
        changed = small.instance("nightly")
        assert changed is not None
        assert changed.next_run != row.next_run


RIGHTS = """
[services.a]
command = ["sh", "-c", "ulimit -n; ulimit -c; umask; id -u; id -g; pwd; echo $PORT $GREETING; sleep 1000"]
port = "auto"
register = "none"
cwd = "/"
umask = "027"
limits = { nofile = 99, core = 0 }
env = { GREETING = "port ${PORT}" }
"""


def test_limits_umask_and_directory_hold_from_the_first_instruction(tmp_path: Path) -> None:
    with Small(tmp_path, RIGHTS) as small:
        small.up("--wait")
        row = small.until("a", "running")
        port = row.address.rpartition(":")[2]
        me = [str(os.getuid()), str(os.getgid())]
        eventually(lambda: len(small.lines("a")) == 7, what="all lines")
        assert small.lines("a") == ["99", "0", "0027", *me, "/", f"{port} port {port}"]


@pytest.mark.usefixtures("as_root")
def test_a_service_runs_as_its_user_and_group(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    with Small(tmp_path, f'{RIGHTS}user = "nobody"\n[services.b]\n{SLEEP}user = "nobdy"\n') as small:
        small.up()
        eventually(lambda: len(small.lines("a")) == 7, what="all lines")
        assert small.lines("a")[:5] == ["99", "0", "0027", str(nobody.pw_uid), str(nobody.pw_gid)]
        done = small.command("run", "a", "--", "sh", "-c", "echo $HOME $USER")
        assert done.stdout == f"{nobody.pw_dir} nobody\n"
        row = small.until("b", "fatal")
        assert row.reason == "there is no user nobdy here (did you mean nobody?) — set services.b.user"


def test_a_command_by_hand_sees_what_the_service_would(tmp_path: Path) -> None:
    with Small(tmp_path, RIGHTS + '[services.c]\nimage = "x"\n') as small:
        script = "ulimit -n; umask; pwd; echo $SERVICE_NAME $GREETING $MORE; exit 7"
        done = small.command("run", "-e", "MORE=more", "a", "--", "sh", "-c", script)
        assert done.returncode == 7
        assert re.fullmatch(r"99\n0027\n/\na port \d+ more\n", done.stdout)
        assert "command not found: nope" in small.run("run", "a", "nope", code=127)
        assert "permission denied" in small.run("run", "a", "--", "/etc/passwd", code=126)
        assert "b: no such service in supervisor.toml" in small.run("run", "b", code=4)
        assert "runs in a container" in small.run("run", "c", code=2)
        assert "nothing is running" in small.run("exec", "a", code=3)
        assert not (tmp_path / ".minikube").exists()
        small.up("--wait", "a")
        row = small.until("a", "running")
        port = row.address.rpartition(":")[2]
        output = small.run("exec", "a", "--", "sh", "-c", "echo $PORT $INSTANCE_ID $MINIKUBE_REGISTRY")
        assert output.split() == [port, row.id, small.status().registry]
        shell = small.command("shell", "a", env={"SHELL": sys.executable})
        assert (shell.returncode, shell.stdout, shell.stderr) == (0, "", "")
        small.run("stop", "a")
        assert "a: no instance is running" in small.run("exec", "a", code=1)
        assert "no such service or instance" in small.run("exec", "nope", code=4)


def test_down_ends_what_run_has_started_but_not_the_shell_that_it_is_typed_in(tmp_path: Path) -> None:
    with Small(tmp_path, f"[services.a]\n{SLEEP}") as small:
        words = [*MINIKUBE, "run", "a", "--", "sh", "-c", "echo begun; sleep 1000 & wait"]
        with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as one_off:
            assert one_off.stdout is not None
            assert one_off.stdout.readline() == "begun\n"
            within = small.run("run", "a", "--", *MINIKUBE, "down")
            assert "ended commands of `minikube run`: pid" in within
            assert within.startswith("stopped\n")
            assert one_off.wait(10) == -signal.SIGTERM
            assert one_off.stdout.read() == "", "what it had started has ended, too"
        small.run("down", code=3)
