"""The end of a service that ends the project: `on_exit`, `up --abort-on-failure`, and the exit codes of `up`."""

import signal
from pathlib import Path

from tests.e2e.pty_screen import Screen
from tests.e2e.small import READY, SLEEP, Small

TASK = 'restart = "never"\non_exit = "stop-all-on-failure"\n'


def test_the_end_of_a_service_stops_everything_in_order_and_up_exits_with_its_code(tmp_path: Path) -> None:
    """A user's stop of it does not; a success does not with stop-all-on-failure."""
    services = (
        f"[services.db]\n{READY}"
        f'[services.web]\n{SLEEP}depends_on = ["db"]\n{TASK}'
        f'[services.good]\ncommand = "true"\n{TASK}'
        f'[services.job]\nshell = "exec sleep 1000"\n{TASK}profiles = ["job"]\n'
    )
    with Small(tmp_path, services) as small:
        small.up()
        small.until("good", "exited")
        for act in ("stop", "start"):
            small.run(act, "web")
        pid = small.pid("web")
        small.run("kill", "web", "--signal", "INT")
        small.run("wait", "--for", "gone", "web")
        text = small.run("ps", code=3)
        assert 'web ended: signal INT (on_exit = "stop-all-on-failure")' in text
        assert not Path(f"/proc/{pid}").exists()

        small.edit("exec sleep 1000", "sleep 0.2; kill -9 $$$$")
        text = small.run("up", "--plain", "--wait", "--profile", "job", code=128 + signal.SIGKILL)
        assert 'job ended: signal KILL (on_exit = "stop-all-on-failure") — this ends the project' in text
        assert text.index("web stopped") < text.index("db stopped")
        assert text.endswith('stopped, as job ended: signal KILL (on_exit = "stop-all-on-failure")\n')

        small.edit("sleep 0.2; kill -9 $$$$", "exit 7")
        assert "stopped, as job ended: exit 7" in small.run("up", "-d", "--wait", "--profile", "job", code=7)


def test_abort_on_failure_holds_for_every_service_and_a_missing_command_is_exit_code_1(tmp_path: Path) -> None:
    once = '[services.once]\ncommand = "true"\nrestart = "never"\n'
    services = f'[services.web]\n{READY}{once}[services.bad]\ncommand = "/no/such"\n'
    with Small(tmp_path, services) as small:
        text = small.run("up", "--abort-on-failure", code=1)
        assert "stopped, as bad ended: command not found: /no/such" in text
        assert text.endswith("(--abort-on-failure)\n")


def test_the_dashboard_of_up_ends_with_the_project_and_up_with_the_exit_code(tmp_path: Path) -> None:
    """Also where the project ends so fast that the dashboard does not see it stop."""
    with Small(tmp_path, '[services.job]\nshell = "sleep 0.3; exit 7"\nrestart = "never"\non_exit = "stop-all"\n'):
        screen = Screen(["up"], tmp_path)
        try:
            assert screen.wait_exit() == 7
            assert b'stopped, as job ended: exit 7 (on_exit = "stop-all")' in screen.output
        finally:
            screen.close()
