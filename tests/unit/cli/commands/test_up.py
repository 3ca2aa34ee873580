"""The front of `up`: what a signal asks, what an end means, who holds a stop."""

import os
import signal
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec import structs

from minikube.cli.app import run
from minikube.cli.commands import up
from minikube.cli.commands.down import ProcessExitWait, held_by, recorded_pids
from minikube.control.client.blocking import ControlClient, Endpoint
from minikube.errors import MinikubeError, NothingRunning, Unavailable, UsageError
from minikube.model import InstanceView, ProcessState, Snapshot
from minikube.supervisor.daemon.ipc import SupervisorHandle


class Line:
    """A lifeline that answers as told; its script of exits is read one wait at a time."""

    def __init__(self, ready: dict[str, Any], exits: list[int | None]) -> None:
        self.ready = ready
        self.exits = exits
        self.said: list[str] = []
        self.ended: dict[str, Any] | None = None

    def wait_ready(self, timeout: float) -> dict[str, Any]:
        return self.ready

    def wait_exit(self, timeout: float) -> int | None:
        return self.exits.pop(0) if self.exits else 0

    def stop(self) -> None:
        self.said.append("stop")

    def stop_now(self) -> None:
        self.said.append("now")

    def detach(self) -> None:
        self.said.append("detach")


def front(line: Line, path: Path = Path("/p/supervisor.toml")) -> up.UpSession:
    return up.UpSession(cast("SupervisorHandle", line), path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_stops_the_second_stops_at_once(number: signal.Signals) -> None:
    line = Line({}, [])
    before = signal.getsignal(number)
    with front(line).signals():
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
    assert line.said == ["stop", "now", "now"]
    assert signal.getsignal(number) is before


def test_what_the_supervisor_says_is_wrong_is_raised_with_its_exit_code() -> None:
    with pytest.raises(MinikubeError, match="port 5555 is taken") as caught:
        front(Line({"error": "port 5555 is taken", "exit_code": 2}, [0])).wait_ready()
    assert caught.value.exit_code == 2


def test_a_signal_before_it_is_ready_is_a_stop_and_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    line = Line({"error": "the supervisor ended"}, [None, 0])
    one = front(line)
    one.stop()
    assert not one.wait_ready()
    assert one.wait_stopped() == 0
    assert capsys.readouterr().err == "minikube: stopped\n"


@pytest.mark.parametrize(("code", "told"), [(-9, "signal KILL"), (3, "exit 3")])
def test_an_end_that_nobody_asked_for_is_an_error_that_says_where_to_look(code: int, told: str) -> None:
    with pytest.raises(MinikubeError, match=rf"ended \({told}\) — see /p/.minikube/logs/supervisor.log"):
        front(Line({}, [None, code])).wait_stopped()


def test_a_stop_that_failed_is_a_failure() -> None:
    one = front(Line({}, [1]))
    one.stop()
    assert one.wait_stopped() == 1


def test_patience_that_is_over_is_told_though_the_supervisor_ends_meanwhile(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = [Snapshot("shop", 1, 10.0, 0.0, "", 1)]

    def status(_: ControlClient, **__: object) -> Snapshot:
        if not answers:
            raise NothingRunning("it has ended")
        return answers.pop()

    monkeypatch.setattr(ControlClient, "status", status)
    one = front(Line({}, [0]))
    one._endpoint = Endpoint("127.0.0.1", 1, "")
    assert one.await_all(("web",), 0.0) == 124
    assert "waited 0s: web has no instance" in capsys.readouterr().err


def waiting(monkeypatch: pytest.MonkeyPatch, *answers: Snapshot | Exception) -> up.UpSession:
    """A front whose supervisor gives these answers, the last one again and again."""
    left = list(answers)

    def status(_: ControlClient, **__: object) -> Snapshot:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(ControlClient, "status", status)
    monkeypatch.setattr("minikube.cli.commands.wait.ENDING_STEP_S", 0.0, raising=False)
    one = front(Line({}, [0]))
    one._endpoint = Endpoint("127.0.0.1", 1, "")
    return one


READY = Snapshot("shop", 2, 10.0, 0.0, "", 1, instances=(InstanceView("1", "web", "web", ProcessState.RUNNING),))
NOT_YET = Snapshot("shop", 1, 10.0, 0.0, "", 1)


@pytest.mark.parametrize("answers", [[Unavailable("slow"), READY], [NOT_YET, Unavailable("slow"), READY]])
def test_one_slow_answer_is_not_the_end_of_waiting(
    answers: list[Snapshot | Exception], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert waiting(monkeypatch, *answers).await_all(("web",), 30.0) == 0
    assert "ready after" in capsys.readouterr().err


def test_a_supervisor_that_never_answers_is_a_failure_and_one_that_ended_is_for_its_exit_to_tell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert waiting(monkeypatch, NOT_YET, Unavailable("it does not answer")).await_all(("web",), 30.0) == 1
    assert "it does not answer" in capsys.readouterr().err
    assert waiting(monkeypatch, NOT_YET, Unavailable("reset"), NothingRunning("ended")).await_all(("web",), 30.0) == 0
    assert capsys.readouterr().err == ""


def test_a_stop_while_waiting_is_not_taken_for_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is being stopped would look hopeless, and to ask once more would stop it at once."""
    failed = InstanceView("1", "web", "web", ProcessState.FATAL, reason="TERM")
    one = waiting(monkeypatch, structs.replace(READY, instances=(failed,)))
    one.stop()
    assert one.await_all(("web",), 30.0) == 0
    assert one._asked == 1
    assert capsys.readouterr().err == ""


def test_who_holds_a_stop() -> None:
    board = Snapshot(
        "shop",
        1,
        10.0,
        0.0,
        "",
        1,
        phase="stopping",
        instances=(
            InstanceView("1", "a", "a", ProcessState.STOPPING, pid=5, since=7.0, reason="TERM sent"),
            InstanceView("2", "b", "b", ProcessState.RUNNING, pid=6),
            InstanceView("3", "c", "c", ProcessState.STOPPED),
        ),
    )
    assert list(held_by(board, 10.0)) == ["waiting for a (pid 5, stopping for 3s): TERM sent"]
    left = structs.replace(board, instances=board.instances[1:])
    assert list(held_by(left, 10.0)) == ["waiting for b (pid 6, running)"], "nobody else holds it up"


def test_the_end_of_a_process_is_seen_without_being_its_parent() -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    with ProcessExitWait(child) as departure:
        assert not departure.wait(0)
        os.close(write)
        assert departure.wait(5)
        os.waitpid(child, 0)
    with ProcessExitWait(child) as gone:
        assert gone.wait(0)


@pytest.mark.parametrize(
    ("text", "pids"),
    [('{"pid": 5, "guardian_pid": 6}', [5, 6]), ('{"pid": 5}', [5]), ('{"pid": "x"}', []), ("[]", []), ("x", [])],
)
def test_whose_end_down_waits_for(text: str, pids: list[int], tmp_path: Path) -> None:
    (tmp_path / ".minikube").mkdir()
    (tmp_path / ".minikube" / "supervisor.json").write_text(text)
    assert recorded_pids(tmp_path / "supervisor.toml") == pids


def test_up_refuses_a_wrong_manifest_before_anything_starts(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "supervisor.toml").write_text("[services.x]\nport = 0\n")
    assert run(["up", "-d"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert not (project / ".minikube").exists()


@pytest.mark.parametrize(
    ("words", "manifest", "path", "names"),
    [
        ((), None, "supervisor.toml", ()),
        (("supervisor.toml",), None, "supervisor.toml", ()),
        ((".",), None, "supervisor.toml", ()),
        (("./one", "two"), None, "one/supervisor.toml", ("two",)),
        (("one", "two"), None, "supervisor.toml", ("one", "two")),
        (("other", "one"), None, "other/supervisor.toml", ("one",)),
        (("nope",), None, "supervisor.toml", ("nope",)),
        (("x.toml", "one"), None, "x.toml", ("one",)),
        (("one",), "x.toml", "x.toml", ("one",)),
    ],
)
def test_the_first_word_is_a_manifest_where_it_looks_like_one(
    project: Path, words: tuple[str, ...], manifest: str | None, path: str, names: tuple[str, ...]
) -> None:
    """`one` is a service and a directory: the service is meant."""
    (project / "supervisor.toml").write_text('[services.one]\ncommand = "x"\n[services.two]\ncommand = "x"\n')
    for directory in ("one", "other"):
        (project / directory).mkdir()
    assert up.split_words(words, manifest) == (Path(path), names)
    with pytest.raises(UsageError, match="given already"):
        up.split_words(("a.toml",), "b.toml")


def test_the_front_passes_on_how_the_awaited_service_ended(capsys: pytest.CaptureFixture[str]) -> None:
    line = Line({}, [3])
    line.ended = {"service": "tests", "how": "exit 3", "code": 3}
    assert front(line).wait_stopped() == 3
    assert capsys.readouterr().err == "minikube: stopped, as tests ended: exit 3\n"
    one = up.UpSession(cast("SupervisorHandle", Line({}, [0])), Path("/p/supervisor.toml"), "tests")
    one.stop()
    assert one.wait_stopped() == 130
