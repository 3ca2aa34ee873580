"""A run of `up`: what a signal requests, how waiting ends, and what the end of the supervisor means."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec import structs

from minikube.cli.lifecycle.dashboard_process import DashboardProcess
from minikube.cli.lifecycle.up_session import UpSession
from minikube.control.client.blocking import ControlClient, Endpoint
from minikube.engine.command import Engine
from minikube.engine.leftovers import EngineLeftovers, record_engine
from minikube.errors import MinikubeError, NothingRunning, Unavailable
from minikube.model import InstanceView, ProcessState, Snapshot
from minikube.project_dir import ManifestFiles
from minikube.supervisor.daemon.ipc import SupervisorHandle


class FakeHandle:
    """A supervisor with given answers; each wait for the exit takes the next of `exits`."""

    def __init__(self, ready: dict[str, Any], exits: list[int | None]) -> None:
        self.ready = ready
        self.exits = exits
        self.sent: list[str] = []
        self.ended: dict[str, Any] | None = None

    def wait_ready(self, timeout: float) -> dict[str, Any]:
        return self.ready

    def wait_exit(self, timeout: float) -> int | None:
        return self.exits.pop(0) if self.exits else 0

    def stop(self) -> None:
        self.sent.append("stop")

    def stop_now(self) -> None:
        self.sent.append("now")

    def detach(self) -> None:
        self.sent.append("detach")

    def close_in_child(self) -> None:
        """Do nothing: no child is forked."""


def make_session(handle: FakeHandle, path: Path = Path("/p/supervisor.toml")) -> UpSession:
    return UpSession(cast("SupervisorHandle", handle), ManifestFiles(path))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_requests_a_stop_and_later_ones_a_stop_at_once(number: signal.Signals) -> None:
    handle = FakeHandle({}, [])
    before = signal.getsignal(number)
    with make_session(handle).stop_on_signals():
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
    assert handle.sent == ["stop", "now", "now"]
    assert signal.getsignal(number) is before


def test_an_error_of_the_supervisor_is_raised_with_its_exit_code() -> None:
    with pytest.raises(MinikubeError, match="port 5555 is taken") as caught:
        make_session(FakeHandle({"error": "port 5555 is taken", "exit_code": 2}, [0])).wait_started()
    assert caught.value.exit_code == 2


def test_a_signal_before_the_supervisor_has_started_is_a_stop_and_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    handle = FakeHandle({"error": "the supervisor ended"}, [None, 0])
    session = make_session(handle)
    session.stop()
    assert not session.wait_started()
    assert session.wait_stopped() == 0
    assert capsys.readouterr().err == "minikube: stopped\n"


@pytest.mark.parametrize(("code", "text"), [(-9, "signal KILL"), (3, "exit 3")])
def test_an_end_without_a_request_is_an_error_that_names_the_log(code: int, text: str) -> None:
    with pytest.raises(MinikubeError, match=rf"ended \({text}\) — see /p/.minikube/logs/minikube.supervisor.log"):
        make_session(FakeHandle({}, [None, code])).wait_stopped()


def test_a_supervisor_that_was_killed_is_never_said_to_have_stopped() -> None:
    session = make_session(FakeHandle({}, [-9]))
    session.stop(signal.SIGINT)
    with pytest.raises(MinikubeError, match=r"the supervisor ended \(signal KILL\)"):
        session.wait_stopped()


@pytest.mark.parametrize("ended", [None, {"why": "tests ended: exit 0", "code": 0}])
def test_a_supervisor_that_was_killed_is_a_failure_also_where_its_engine_still_has_containers(
    ended: dict[str, Any] | None, tmp_path: Path
) -> None:
    (tmp_path / ".minikube").mkdir()
    engine, leftovers = Engine("docker", "/bin/docker", "mark"), EngineLeftovers("docker", ("web-1",), given_up=True)
    record_engine(tmp_path / ".minikube", engine, leftovers)
    handle = FakeHandle({}, [-9])
    handle.ended = ended
    session = make_session(handle, tmp_path / "supervisor.toml")
    session.stop()
    with pytest.raises(
        MinikubeError, match=r"ended \(signal KILL\); docker did not answer and still has web-1 .* see "
    ):
        session.wait_stopped()


@pytest.mark.parametrize("answer", ["stop", "detach", "quit"])
def test_the_dashboards_end_after_the_supervisors_is_that_failure(
    answer: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No answer of the dashboard says that anything is left running, or has stopped as it should."""
    monkeypatch.setattr(DashboardProcess, "run", lambda _: answer)
    handle = FakeHandle({}, [-9])
    session = make_session(handle)
    ended = subprocess.Popen(["true"])
    ended.wait()
    session._endpoint = Endpoint("127.0.0.1", 1, "", pid=ended.pid)
    with pytest.raises(MinikubeError, match=r"the supervisor ended \(signal KILL\)"):
        session.show_dashboard()
    assert "detach" not in handle.sent
    assert "left running" not in capsys.readouterr().err


def test_a_stop_that_failed_is_a_failure() -> None:
    session = make_session(FakeHandle({}, [1]))
    session.stop()
    assert session.wait_stopped() == 1


def test_a_timeout_is_reported_although_the_supervisor_ends_meanwhile(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = [Snapshot("shop", 1, 10.0, 0.0, "", 1)]

    def status(_: ControlClient, **__: object) -> Snapshot:
        if not answers:
            raise NothingRunning("it has ended")
        return answers.pop()

    monkeypatch.setattr(ControlClient, "status", status)
    session = make_session(FakeHandle({}, [0]))
    session._endpoint = Endpoint("127.0.0.1", 1, "")
    assert session.wait_ready(("web",), 0.0) == 124
    assert "waited 0s: web has no instance" in capsys.readouterr().err


def session_with_answers(monkeypatch: pytest.MonkeyPatch, *answers: Snapshot | Exception) -> UpSession:
    """A session whose supervisor gives these answers, the last one again and again."""
    remaining = list(answers)

    def status(_: ControlClient, **__: object) -> Snapshot:
        answer = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(ControlClient, "status", status)
    monkeypatch.setattr("minikube.cli.lifecycle.goal_wait.RETRY_INTERVAL_S", 0.0)
    session = make_session(FakeHandle({}, [0]))
    session._endpoint = Endpoint("127.0.0.1", 1, "")
    return session


READY = Snapshot("shop", 2, 10.0, 0.0, "", 1, instances=(InstanceView("1", "web", "web", ProcessState.RUNNING),))
NOT_YET = Snapshot("shop", 1, 10.0, 0.0, "", 1)


@pytest.mark.parametrize("answers", [[Unavailable("slow"), READY], [NOT_YET, Unavailable("slow"), READY]])
def test_one_request_without_an_answer_does_not_end_the_wait(
    answers: list[Snapshot | Exception], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert session_with_answers(monkeypatch, *answers).wait_ready(("web",), 30.0) == 0
    assert "ready after" in capsys.readouterr().err


def test_a_supervisor_that_does_not_answer_is_a_failure_and_one_that_has_ended_is_left_to_wait_stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert session_with_answers(monkeypatch, NOT_YET, Unavailable("it does not answer")).wait_ready(("web",), 30.0) == 1
    assert "it does not answer" in capsys.readouterr().err
    assert (
        session_with_answers(monkeypatch, NOT_YET, Unavailable("reset"), NothingRunning("ended")).wait_ready(
            ("web",), 30.0
        )
        == 0
    )
    assert capsys.readouterr().err == ""


def test_a_stop_while_waiting_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A service that is being stopped looks fatal; a second stop request would kill everything."""
    failed = InstanceView("1", "web", "web", ProcessState.FATAL, reason="TERM")
    session = session_with_answers(monkeypatch, structs.replace(READY, instances=(failed,)))
    session.stop()
    assert session.wait_ready(("web",), 30.0) == 0
    assert session._stop_requests == 1
    assert capsys.readouterr().err == ""


def test_the_exit_code_is_that_of_the_service_of_exit_with(capsys: pytest.CaptureFixture[str]) -> None:
    handle = FakeHandle({}, [3])
    handle.ended = {"why": "tests ended: exit 3", "code": 3}
    assert make_session(handle).wait_stopped() == 3
    assert capsys.readouterr().err == "minikube: stopped, as tests ended: exit 3\n"
    session = UpSession(
        cast("SupervisorHandle", FakeHandle({}, [0])), ManifestFiles(Path("/p/supervisor.toml")), "tests"
    )
    session.stop()
    assert session.wait_stopped() == 130


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0), (signal.SIGHUP, 0)])
def test_the_first_signal_decides_the_exit_code(number: signal.Signals, code: int) -> None:
    session = make_session(FakeHandle({}, [0]))
    with session.stop_on_signals():
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGTERM)
    assert session.wait_stopped() == code
