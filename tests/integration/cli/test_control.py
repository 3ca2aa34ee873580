"""The commands with a real control API, whose supervisor only records the requests."""

import json
import os
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from minikube.cli.app import run
from minikube.cli.commands import ps
from minikube.control.client import watchdog
from minikube.control.client.blocking import ControlClient, find_supervisor
from minikube.control.client.messages import ApplyReply, KeyChange, ServiceChange
from minikube.control.interface import MetricsInput
from minikube.control.server import serve_control
from minikube.control.state_store import StateStore
from minikube.errors import NotFound, RemoteError, Unresponsive
from minikube.logs.query import LogQuery
from minikube.model import CheckState, Instance, InstanceView, LogLine, ProcessState, ServiceView
from minikube.supervisor.daemon.token_file import ensure_token
from tests.conforming import conforming
from tests.eventually import eventually

Run = Callable[..., tuple[int, str, str]]


class FakeSupervisor:
    """A supervisor that only records requests; `held` refuses them all."""

    def __init__(self, store: StateStore) -> None:
        self.store = store
        self.requests: list[tuple[Any, ...]] = []
        self.end: Callable[[], None] = lambda: None
        self.call: Callable[..., None] = lambda *_: None

    def _record(self, *request: Any) -> None:
        if request[1] == "held":
            raise RemoteError(409, "held is stopping")
        self.requests.append(request)

    async def start(self, name: str) -> None:
        self._record("start", name)

    async def stop(self, name: str) -> None:
        self._record("stop", name)

    async def restart(self, name: str) -> None:
        self._record("restart", name)

    async def kill(self, name: str, signal: str = "KILL") -> None:
        self._record("kill", name, signal)

    async def scale(self, name: str, replicas: int) -> None:
        self._record("scale", name, replicas)

    async def maintenance(self, name: str, on: bool, reason: str = "") -> None:
        self._record("maintenance", name, on, reason)

    async def apply(self, dry_run: bool = False) -> ApplyReply:
        self._record("apply", dry_run)
        keys = (KeyChange("env.MODE", "", "fast"),)
        return ApplyReply((ServiceChange("order", "replaced", keys),), ("product",), dry_run=dry_run)

    def shutdown(self, now: bool = False) -> None:
        self._record("shutdown", now)
        self.store.put_instances(InstanceView("2", "order", "order", ProcessState.STOPPING, pid=7, reason="TERM sent"))

    def settings(self, service: str) -> dict[str, Any]:
        return {"user": "www", "limits": {"memory": 64 << 20}} if service == "product" else {}

    def registered_instances(self) -> Sequence[Instance]:
        return ()

    async def token_rights(self, token: str) -> Sequence[str]:
        return {"reader": ["read"], "admin": ["admin"]}.get(token, [])

    async def metrics_input(self) -> MetricsInput:
        return MetricsInput()

    def has_log(self, name: str) -> bool:
        return False

    async def clear_logs(self, names: Sequence[str]) -> Sequence[str]:
        self._record("clear_logs", *names)
        return tuple(names)

    @asynccontextmanager
    async def logs(self, names: Sequence[str], query: LogQuery) -> AsyncIterator[AsyncIterator[list[LogLine]]]:
        if "nope" in names:
            raise NotFound("nope: no such service or instance")

        async def lines() -> AsyncIterator[list[LogLine]]:
            for name in names or ("product", "order"):
                text = f"{name} \x1b[31mtail\x1b[0m {query.tail} {query.follow} \x1b]0;x\x07"
                yield [LogLine(1.0, name, name, "stdout", text)]

        yield lines()


@pytest.fixture
def supervisor(project: Path) -> Iterator[FakeSupervisor]:
    """A control API on a free port, that commands find by the record in `.minikube/`."""
    (project / "supervisor.toml").write_text('[services.product]\ncommand = "run"\n')
    state = project / ".minikube"
    state.mkdir(mode=0o700)
    store = StateStore("shop")
    supervisor = FakeSupervisor(store)
    store.put_services(
        ServiceView("product"), ServiceView("order", depends_on={"product": "healthy"}), ServiceView("held")
    )
    store.put_instances(
        InstanceView("1", "product", "product", ProcessState.RUNNING, CheckState.PASSING, pid=5, address="127.0.0.1:1"),
        InstanceView("2", "order", "order", ProcessState.PENDING, reason="waits for product"),
        InstanceView("3", "held", "held", ProcessState.STOPPING, pid=6),
    )
    store.event("instance.started", "product started", service="product", instance="1")
    ready = threading.Event()
    stops: list[Callable[[], None]] = []

    async def serve() -> None:
        async with trio.open_nursery() as nursery:
            token = ensure_token(state)
            host, port = await nursery.start(
                lambda task_status: serve_control(
                    store, supervisor, host="127.0.0.1", port=0, token=token, task_status=task_status
                )
            )
            (state / "supervisor.json").write_text(json.dumps({"pid": os.getpid(), "control": f"{host}:{port}"}))
            trio_token = trio.lowlevel.current_trio_token()
            supervisor.end = nursery.cancel_scope.cancel
            supervisor.call = trio_token.run_sync_soon
            stops.append(lambda: trio_token.run_sync_soon(nursery.cancel_scope.cancel))
            ready.set()

    thread = threading.Thread(target=trio.run, args=(serve,), daemon=True)
    thread.start()
    assert ready.wait(5)
    yield supervisor
    with suppress(trio.RunFinishedError):
        stops[0]()
    thread.join(5)


@pytest.fixture
def minikube(supervisor: FakeSupervisor, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(list(arguments))
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_ps_lists_instances_and_why(minikube: Run) -> None:
    code, out, _ = minikube("ps")
    assert code == 0
    assert out.splitlines()[1].split() == ["product", "running", "passing", "5", "0", "-", "-", "-", "127.0.0.1:1"]
    assert out.splitlines()[2].endswith("  waits for product")
    code, out, _ = minikube("ps", "--json", "supervisor.toml")
    assert [one["name"] for one in json.loads(out)] == ["product", "order", "held"]


def test_log_lines_have_prefixes_and_no_terminal_escapes(minikube: Run) -> None:
    assert minikube("logs") == (
        0,
        "product  | product tail 100 False \\x1b]0;x\\x07\norder    | order tail 100 False \\x1b]0;x\\x07\n",
        "",
    )
    assert minikube("logs", "-f", "--tail", "all", "--no-prefix", "order")[1].startswith("order tail -1 True")
    _code, out, _ = minikube("logs", "--json", "order")
    assert json.loads(out)["instance"] == "order"


def test_unknown_names_exit_with_4_and_change_nothing(minikube: Run, supervisor: FakeSupervisor) -> None:
    for command in (["logs", "nope"], ["stop", "order", "nope"], ["describe", "nope"], ["wait", "nope"]):
        code, out, err = minikube(*command)
        assert (code, out) == (4, "")
        assert err.startswith("minikube: ")
        assert "nope" in err
    assert supervisor.requests == []


@pytest.fixture
def grouped(supervisor: FakeSupervisor) -> FakeSupervisor:
    """Order, which depends on product, and product are the group backend; held has a tag."""
    order, product = ServiceView("order", depends_on={"product": "healthy"}), ServiceView("product")
    for service in (order, product):
        supervisor.store.put_services(replace(service, groups=("backend",)))
    supervisor.store.put_services(ServiceView("held", tags=("slow",)))
    return supervisor


@pytest.mark.parametrize(
    ("arguments", "requests"),
    [
        (["start", "@backend"], [("start", "product"), ("start", "order")]),
        (["stop", "@backend"], [("stop", "order"), ("stop", "product")]),
        (["restart", "order", "@backend"], [("restart", "order"), ("restart", "product")]),
        (["scale", "@backend=2"], [("scale", "product", 2), ("scale", "order", 2)]),
        (["kill", "@backend"], [("kill", "product", "KILL"), ("kill", "order", "KILL")]),
        (["maintenance", "@backend"], [("maintenance", "product", True, ""), ("maintenance", "order", True, "")]),
        (["logs", "--clear", "@backend"], [("clear_logs", "product", "order")]),
    ],
)
def test_a_group_stands_for_its_services_in_the_order_of_their_dependencies(
    minikube: Run, grouped: FakeSupervisor, arguments: list[str], requests: list[Any]
) -> None:
    """The other way round where they are stopped."""
    assert minikube(*arguments)[0] == 0
    assert grouped.requests == requests


def test_a_group_selects_what_is_shown(minikube: Run, grouped: FakeSupervisor) -> None:
    assert [line.split()[0] for line in minikube("ps", "@backend")[1].splitlines()] == ["NAME", "product", "order"]
    assert [row["name"] for row in json.loads(minikube("ps", "--json", "held", "1")[1])] == ["product", "held"]
    assert [one["service"]["name"] for one in json.loads(minikube("describe", "--json", "@backend")[1])] == [
        "product",
        "order",
    ]
    assert minikube("logs", "--no-prefix", "@tag:slow")[1].startswith("held tail")
    assert minikube("events", "@backend")[1].count("product started") == 1
    assert minikube("events", "@tag:slow")[1] == ""
    assert "order is pending" in minikube("wait", "--timeout", "10ms", "@backend")[2]
    assert minikube("wait", "--for", "gone", "@nothing")[0] == 0


@pytest.mark.parametrize("command", ["ps", "start", "logs", "describe", "events", "wait", "exec"])
def test_an_unknown_group_exits_with_4_and_the_nearest_one(
    minikube: Run, grouped: FakeSupervisor, command: str
) -> None:
    code, out, err = minikube(command, "@backnd")
    assert (code, out, err) == (4, "", "minikube: @backnd: no such group (did you mean @backend?)\n")
    assert grouped.requests == []


def test_where_one_service_is_wanted_a_group_of_several_is_a_usage_error(
    minikube: Run, grouped: FakeSupervisor
) -> None:
    code, _, err = minikube("exec", "@backend", "--", "true")
    assert (code, err) == (2, "minikube: @backend: expected one service, got product and order — name one of them\n")


@pytest.mark.parametrize(
    ("arguments", "requests", "output"),
    [
        (["start", "product"], [("start", "product")], "product running already\n"),
        (["stop", "product", "2"], [("stop", "product"), ("stop", "2")], "product stopped\n2 stopped\n"),
        (["restart", "order"], [("restart", "order")], "order pending: waits for product\n"),
        (["kill", "order"], [("kill", "order", "KILL")], "order was sent signal KILL\n"),
        (["kill", "-s", "sighup", "order"], [("kill", "order", "HUP")], "order was sent signal HUP\n"),
        (
            ["scale", "product=3", "order=0"],
            [("scale", "product", 3), ("scale", "order", 0)],
            "product scaled\norder scaled\n",
        ),
        (["scale", "product", "2"], [("scale", "product", 2)], "product scaled\n"),
        (["maintenance", "1", "--reason", "x"], [("maintenance", "1", True, "x")], "1 in maintenance\n"),
        (["maintenance", "1", "--off"], [("maintenance", "1", False, "")], "1 out of maintenance\n"),
        (
            ["apply"],
            [("apply", False)],
            "~ order is restarted\n    env.MODE: (none) → fast\n1 service unchanged\n",
        ),
    ],
)
def test_a_command_sends_its_request_to_the_supervisor(
    arguments: list[str], requests: list[Any], output: str, minikube: Run, supervisor: FakeSupervisor
) -> None:
    assert minikube(*arguments) == (0, output, "")
    assert supervisor.requests == requests


def test_a_failed_request_does_not_stop_the_next_ones(minikube: Run, supervisor: FakeSupervisor) -> None:
    assert minikube("stop", "held") == (1, "", "minikube: held is stopping\n")
    assert minikube("stop", "held", "order") == (1, "order stopped\n", "minikube: held is stopping\n")


def test_events_in_text_and_json(minikube: Run) -> None:
    code, out, _ = minikube("events")
    assert code == 0
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} product started\n", out)
    assert json.loads(minikube("events", "--json")[1])[0]["kind"] == "instance.started"
    assert minikube("events", "--since", "1")[1] == ""
    assert minikube("events", "--since", "soon")[0] == 2


def test_events_are_selected_by_name_and_by_time(minikube: Run, supervisor: FakeSupervisor) -> None:
    def shown(*options: str) -> list[str]:
        return [event["message"] for event in conforming("events", minikube("events", "--json", *options)[1])]

    def more() -> None:
        for number in range(2_500):
            supervisor.store.event("x.y", f"event {number}", service="order", instance="order")

    supervisor.call(more)
    eventually(lambda: len(shown("order")) == 2_500, what="all events")
    assert shown("order")[-1] == "event 2499"
    assert shown("product") == shown("1") == ["product started"]
    assert len(shown()) == 2_501
    assert len(shown("--since", "2000", "order")) == 501
    assert len(shown("--since", "1h")) == 2_501
    assert shown("--since", "2020-01-01 00:00")[:1] == ["product started"]
    assert shown("--since", f"{time.time() + 5:.0f}") == []
    assert minikube("events", "nope")[0] == 4


def test_describe(minikube: Run) -> None:
    code, out, _ = minikube("describe", "product")
    assert code == 0
    assert "needed by:     order" in out
    assert "product started" in out
    assert json.loads(minikube("describe", "product", "--json")[1])[0]["service"]["name"] == "product"


def test_wait_ends_when_instances_are_ready_or_time_is_over(minikube: Run, supervisor: FakeSupervisor) -> None:
    assert minikube("wait", "product")[0] == 0
    assert minikube("wait", "order", "--for", "stopped", "--timeout", "50ms")[0] == 124
    code, _, err = minikube("wait", "--timeout", "50ms")
    assert code == 124
    assert err == "minikube: waited 0.05s: order is pending (waits for product); held is stopping\n"


def test_wait_ends_when_the_last_one_changes(minikube: Run, supervisor: FakeSupervisor) -> None:
    """The supervisor answers the long poll; `wait` does not have to ask again."""
    passing = InstanceView("2", "order", "order", ProcessState.RUNNING, CheckState.PASSING)
    threading.Timer(0.2, lambda: supervisor.call(supervisor.store.put_instances, passing)).start()
    begin = time.monotonic()
    assert minikube("wait", "product", "order", "--for", "healthy", "--timeout", "30s") == (0, "", "")
    assert time.monotonic() - begin < 15


def test_wait_for_an_unknown_name_exits_with_4_but_gone_is_reached(minikube: Run, supervisor: FakeSupervisor) -> None:
    assert minikube("wait", "nope", "--for", "stopped")[0] == 4
    assert minikube("wait", "nope", "--for", "gone") == (0, "", "")
    assert minikube("wait", "held", "--for", "gone", "--timeout", "0s") == (
        124,
        "",
        "minikube: waited 0s: held is stopping\n",
    )


def test_wait_exits_with_3_when_the_supervisor_ends_but_gone_is_reached(
    minikube: Run, supervisor: FakeSupervisor
) -> None:
    threading.Timer(0.3, lambda: supervisor.call(supervisor.end)).start()
    assert minikube("wait", "held", "--for", "gone") == (0, "", "")
    assert minikube("wait", "held", "--for", "stopped")[0] == 3


def test_wait_fails_at_once_for_a_fatal_instance(minikube: Run, supervisor: FakeSupervisor) -> None:
    supervisor.store.put_instances(InstanceView("2", "order", "order", ProcessState.FATAL, reason="no such file"))
    begin = time.monotonic()
    assert minikube("wait", "order") == (1, "", "minikube: order is fatal: no such file\n")
    assert time.monotonic() - begin < 15


def test_down_requests_a_shutdown_and_reports_its_timeout(minikube: Run, supervisor: FakeSupervisor) -> None:
    """The recorded supervisor is the process of this test, which does not end."""
    code, _, err = minikube("down", "--timeout", "100ms")
    assert (code, err) == (124, "minikube: still stopping after 0.1s — `minikube down --now` kills what is left\n")
    assert supervisor.requests == [("shutdown", False)]


def test_up_refuses_a_second_supervisor(minikube: Run) -> None:
    code, _, err = minikube("up", "-d")
    assert code == 1
    assert "is running already (pid" in err


@pytest.mark.parametrize(
    "words",
    [
        *("ps", "status", "describe product order", "events", "logs product", "graph", "config", "apply", "validate"),
        *("start product", "stop product", "restart product", "kill product", "scale product=1", "maintenance product"),
        "wait product",
    ],
)
def test_json_conforms_to_the_schema_of_the_command(words: str, minikube: Run) -> None:
    code, out, err = minikube(*words.split(), "--json")
    assert (code, err) == (0, "")
    assert conforming(words.split()[0], out)


def test_an_error_with_json_is_a_line_on_stderr_too(minikube: Run) -> None:
    code, out, err = minikube("describe", "nope", "--json")
    assert (code, out, err) == (4, "", "minikube: nope: no such service or instance — `minikube ps` lists them\n")


def test_json_contains_no_terminal_escapes(minikube: Run, supervisor: FakeSupervisor) -> None:
    reason = "\x9b31m \u202e \x1b[2J"
    supervisor.store.put_instances(InstanceView("2", "order", "order", ProcessState.FATAL, reason=reason))
    for command in ("ps", "status", "describe order"):
        out = minikube(*command.split(), "--json")[1]
        assert out.replace("\n", "").isprintable()
        assert r"\u202e" in out
    assert conforming("ps", minikube("ps", "--json")[1])[1]["reason"] == reason


def test_ps_watch_prints_each_change_as_a_line(minikube: Run, supervisor: FakeSupervisor) -> None:
    def change() -> None:
        supervisor.store.put_instances(
            InstanceView("2", "order", "order", ProcessState.RUNNING, CheckState.PASSING, pid=9)
        )

    threading.Timer(0.3, lambda: supervisor.call(change)).start()
    threading.Timer(0.9, lambda: supervisor.call(supervisor.end)).start()
    code, out, _ = minikube("ps", "--watch", "--json")
    rows = conforming("ps", out, live=True)
    assert code == 0
    assert [(row["name"], row["state"]) for row in rows] == [
        ("product", "running"),
        ("order", "pending"),
        ("held", "stopping"),
        ("order", "running"),
    ]
    assert minikube("ps", "-w")[0] == 2


@contextmanager
def hung(supervisor: FakeSupervisor) -> Iterator[None]:
    """Block the supervisor's only thread: its connections stay open, and nothing is answered."""
    release, blocked = threading.Event(), threading.Event()

    def block() -> None:
        blocked.set()
        release.wait(30)

    supervisor.call(block)
    assert blocked.wait(5)
    try:
        yield
    finally:
        release.set()


@pytest.mark.parametrize(
    "wait",
    [
        lambda client: client.restart("held"),
        lambda client: list(client.follow_events()),
        lambda client: list(client.log_batches((), LogQuery(follow=True))),
    ],
    ids=("a command", "events -f", "logs -f"),
)
def test_a_wait_without_end_ends_when_the_supervisor_hangs(
    supervisor: FakeSupervisor, monkeypatch: pytest.MonkeyPatch, wait: Callable[[ControlClient], object]
) -> None:
    """These connections have no time-out of their own, as a command may take minutes."""
    monkeypatch.setattr(watchdog, "CHECK_INTERVAL_S", 0.02)
    monkeypatch.setattr(ControlClient, "_check_answers", lambda _: None)  # it hangs only after that
    client = ControlClient(find_supervisor(Path("supervisor.toml")), timeout=0.5)
    with client, hung(supervisor), pytest.raises(Unresponsive, match=r"the supervisor \(pid \d+\) does not answer"):
        wait(client)


def test_a_command_to_a_supervisor_that_hangs_is_not_executed_later(supervisor: FakeSupervisor) -> None:
    with ControlClient(find_supervisor(Path("supervisor.toml")), timeout=0.3) as client:
        with hung(supervisor):
            for act in (lambda: client.stop("product"), client.apply, lambda: client.scale("product", 0)):
                with pytest.raises(Unresponsive):
                    act()
        client.start("order")
    assert supervisor.requests == [("start", "order")]


def test_a_follower_of_a_supervisor_that_answers_goes_on(
    supervisor: FakeSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watchdog asks many times meanwhile; it ends the wait neither then nor after a normal end."""
    monkeypatch.setattr(watchdog, "CHECK_INTERVAL_S", 0.001)
    with ControlClient(find_supervisor(Path("supervisor.toml")), timeout=5.0) as client:
        events = client.follow_events()
        assert next(events).kind == "instance.started"
        for number in range(20):
            supervisor.call(lambda number=number: supervisor.store.event("x", str(number)))
            assert next(events).message == str(number)


def test_ps_watch_says_that_the_supervisor_hangs(
    minikube: Run, supervisor: FakeSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ps, "REDRAW_INTERVAL_S", 0.01)
    defaults = ControlClient.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "timeout", 0.3)
    with hung(supervisor):
        code, _, err = minikube("ps", "-w", "--json")
    assert code == 1
    assert "does not answer — `minikube down --now` ends it" in err
