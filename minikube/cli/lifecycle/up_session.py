"""One run of `up`, from the launch of the supervisor to its end: wait, print logs or show the dashboard, stop.

This process is connected to the supervisor by a socket pair; the supervisor stops when this end closes. It refuses to leave
anything running unless `detach` was called.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import click

from minikube.cli.common import print_message
from minikube.cli.exit_codes import INTERRUPTED, OUTPUT_CLOSED, TIMED_OUT
from minikube.cli.lifecycle.process_exit import describe_exit
from minikube.cli.lifecycle.stop_progress import POLL_S, REPORT_INTERVAL_S, read_stop_progress
from minikube.cli.stdout_watch import call_without_reader
from minikube.defaults import DEFAULT_FILE
from minikube.errors import MinikubeError, NothingRunning
from minikube.linux import processes
from minikube.project_dir import ManifestFiles, log_dir, project_dir, supervisor_log

if TYPE_CHECKING:
    from minikube.cli.lifecycle.console_logs import ConsoleLogs
    from minikube.cli.lifecycle.dashboard_process import DashboardProcess
    from minikube.cli.render.log_printer import LogPrinter
    from minikube.control.client.blocking import Endpoint
    from minikube.supervisor.daemon.ipc import SupervisorHandle

START_TIMEOUT_S = 60.0
"""For Redis, the registry and the control API; services may take longer."""

LAST_LINES_TIMEOUT_S = 10.0
"""For printing the lines that were written before the end; a million lines take 3 s."""

LAST_EVENTS_TIMEOUT_S = 1.0
"""For the events that were sent just before the end."""

END_NOTICE_TIMEOUT_S = 0.3
"""How long the message of a supervisor may take that a service ends the project, once its failure is seen."""

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class UpSession:
    """One run of `up`, from the launch of the supervisor to its end. Methods that return an int return an exit code."""

    def __init__(self, handle: SupervisorHandle, files: ManifestFiles, exit_with: str = "") -> None:
        """`handle` is the connection to the supervisor. `exit_with` is the service whose end stops the project; empty: none."""
        self._handle = handle
        self._files = files
        self._manifest = files.first
        self._exit_with = exit_with
        self._stop_requests = 0
        self._interrupted = False
        """Whether the first stop request was Ctrl-C."""
        self._is_output_closed = False
        """Whether a stop was requested because stdout has no reader any more."""
        self._dashboard: DashboardProcess | None = None
        self._endpoint: Endpoint | None = None
        self._warnings: tuple[str, ...] = ()
        """What the supervisor found at its start: a port that another process has."""
        self._printer: LogPrinter | None = None
        self._event_thread: threading.Thread | None = None
        self._console_logs: ConsoleLogs | None = None
        self._started = time.time()

    @contextmanager
    def stop_on_signals(self) -> Iterator[None]:
        """Call `stop` for each INT, TERM and HUP until the `with` block ends, but for those that are ignored."""
        # What is ignored when `up` starts stays so: HUP with `nohup`, INT where a script starts `up` in the background.
        obeyed = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        previous = {number: signal.signal(number, lambda number, _: self.stop(number)) for number in obeyed}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def stop(self, number: int | None = None) -> None:
        """Request a graceful stop of the project at the first call, an immediate one at later calls.

        `number` is the signal that requests it. May be called in a signal handler.
        """
        self._stop_requests += 1
        if self._stop_requests == 1:
            self._interrupted = number == signal.SIGINT
            self._handle.stop()
        else:
            self._handle.stop_now()
        if self._dashboard is not None:
            self._dashboard.end()

    def wait_started(self) -> bool:
        """Wait until the supervisor's control API listens; return False when `stop` was called first.

        Raises MinikubeError, with the supervisor's message and exit code, when the supervisor could not start.
        """
        reply: dict[str, Any] = self._handle.wait_ready(START_TIMEOUT_S)
        if self._stop_requests:
            return False
        if "error" in reply:
            self._handle.wait_exit(LAST_EVENTS_TIMEOUT_S)
            failure = MinikubeError(str(reply["error"]))
            failure.exit_code = int(reply.get("exit_code", 1))
            raise failure
        from minikube.control.client.endpoint import make_endpoint

        ready = reply["ready"]
        self._endpoint = make_endpoint(ready["control"], ready["token"], ready["pid"])
        self._warnings = tuple(map(str, ready.get("warnings", ())))
        return True

    def detach(self, given_manifest: str, services: tuple[str, ...], timeout: float) -> int:
        """Let the supervisor run on, then wait until `services` are ready, for `timeout` seconds; return the exit code.

        `given_manifest` is the manifest's path as the user wrote it, for the commands in the message.
        """
        from minikube.cli.lifecycle.goal_wait import wait_for_goal

        self._handle.detach()
        assert self._endpoint is not None
        if self._warnings:  # without -d, they are printed as events
            self._print_message("; ".join(self._warnings))
        argument = "" if given_manifest == DEFAULT_FILE else f" {given_manifest}"
        click.echo(
            f"running: control API {self._endpoint.url}"
            f" — `minikube ps{argument}` shows it, `minikube down{argument}` ends it"
        )
        if not services:
            return 0
        try:
            return wait_for_goal(services, "ready", timeout, (str(self._manifest),))
        except MinikubeError:
            # A service that failed may end the project: then its exit code counts.
            self._handle.wait_exit(END_NOTICE_TIMEOUT_S)
            if self._handle.ended is None:
                raise
            return self.wait_stopped()

    def wait_ready(self, services: tuple[str, ...], timeout: float) -> int:
        """Wait until `services` are ready or a stop is requested, and return 0.

        When an instance fails or `timeout` seconds have passed, stop the project and return the exit code.
        """
        from minikube.cli.goals import summarize_missing
        from minikube.cli.lifecycle.goal_wait import wait_until
        from minikube.control.client.blocking import ControlClient

        assert self._endpoint is not None
        if not services:
            return 0
        begin = time.monotonic()
        code = 0
        try:
            with ControlClient(self._endpoint) as client:
                missing = wait_until(
                    client,
                    services,
                    "ready",
                    begin + timeout,
                    poll_s=POLL_S,
                    keep_waiting=lambda: not self._stop_requests,
                )
                if missing and not self._stop_requests:
                    self._print_message(f"waited {timeout:g}s: {summarize_missing(missing, 'ready')}")
                    code = TIMED_OUT
        except NothingRunning:
            return 0  # the supervisor has ended: wait_stopped reports how
        except MinikubeError as error:
            if self._stop_requests:
                return 0  # services that are being stopped cannot get ready: that is no failure
            self._print_message(str(error))
            code = error.exit_code
        if code:
            self.stop()
            stopped = self.wait_stopped()
            return stopped if self._handle.ended else code
        if not self._stop_requests:
            self._print_message(f"ready after {time.monotonic() - begin:.1f} s")
        return code

    def show_dashboard(self) -> int:
        """Show the dashboard until it is closed; then stop the project, unless the user chose to leave it running.

        After a crash of the dashboard go on with log lines. Return the exit code.
        """
        from minikube.cli.lifecycle.dashboard_process import DashboardCrashed, DashboardProcess

        assert self._endpoint is not None
        self._dashboard = DashboardProcess(self._endpoint, self._manifest, supervisor=self._handle)
        try:
            # A signal that came before this method had no dashboard to end.
            answer = "stop" if self._stop_requests else self._dashboard.run()
        except DashboardCrashed as error:
            self._print_message(f"{error}; the project runs on")
            self._started = time.time()
            return self.print_logs((), 0.0, False, since_event=self._newest_event())
        # The dashboard may not have seen yet that the supervisor was killed.
        if answer == "detach" and processes.is_alive(self._endpoint.pid):
            self._handle.detach()
            print_message("left running — `minikube dashboard` opens it again, `minikube down` ends it")
            return 0
        if not self._stop_requests:
            self.stop(signal.SIGINT if answer == "interrupt" else None)
        return self.wait_stopped()

    def _newest_event(self) -> int:
        """Return the number of the newest event; 0 where the supervisor does not answer."""
        from minikube.control.client.blocking import ControlClient

        assert self._endpoint is not None
        try:
            with ControlClient(self._endpoint) as client:
                return max((event.number for event in client.status().events), default=0)
        except MinikubeError:
            return 0

    def print_logs(self, services: tuple[str, ...], timeout: float, timestamps: bool, since_event: int = 0) -> int:
        """Print log lines and events until the supervisor has ended; return the exit code.

        `services` and `timeout` are as for `wait_ready`. Events up to the number `since_event` are left out.
        """
        from minikube.cli.lifecycle.console_logs import ConsoleLogs
        from minikube.cli.render.log_printer import LogPrinter
        from minikube.manifest import load_manifest

        assert self._endpoint is not None
        self._printer = LogPrinter(sys.stdout, list(load_manifest(self._files).services), timestamps=timestamps)
        self._event_thread = threading.Thread(target=self._print_events, args=(since_event,), daemon=True)
        logs = log_dir(project_dir(self._manifest))
        self._console_logs = ConsoleLogs(logs, self._started, self._printer, self._on_output_closed)
        self._printer.message(f"control API {self._endpoint.url} — Ctrl-C stops everything")
        call_without_reader(self._on_output_closed)
        self._event_thread.start()
        self._console_logs.start()
        return self.wait_ready(services, timeout) or self.wait_stopped()

    def wait_stopped(self) -> int:
        """Wait until the supervisor has ended, and return the exit code; meanwhile print what the stop waits for.

        Raises MinikubeError when the supervisor failed and no stop was requested, and when it was killed.
        """
        reported = time.monotonic()
        while (code := self._handle.wait_exit(POLL_S)) is None:
            if self._stop_requests and self._endpoint and time.monotonic() - reported >= REPORT_INTERVAL_S:
                reported = time.monotonic()
                for line in read_stop_progress(self._endpoint):
                    self._print_message(line)
        # Imported late: the supervisor starts meanwhile, and only the end needs it.
        from minikube.engine.leftovers import read_engine_record

        self._print_remaining_logs()
        found = read_engine_record(project_dir(self._manifest))
        leftovers = found[1] if found and found[1].given_up else None
        more = f"; {leftovers}" if leftovers else ""
        log = supervisor_log(project_dir(self._manifest))
        # A stop never ends the supervisor by a signal: it was killed, before or after the request.
        if code < 0:
            raise MinikubeError(f"the supervisor ended ({describe_exit(code)}){more} — see {log}")
        if ended := self._handle.ended:
            self._print_message(f"stopped, as {ended['why']}{more}")
            return int(ended["code"]) or code
        if leftovers is not None:
            self._print_message(f"stopped, but {leftovers}")
            return code or self._stop_code()
        if code and not self._stop_requests:
            raise MinikubeError(f"the supervisor ended ({describe_exit(code)}) — see {log}")
        self._print_message("stopped")
        return code or self._stop_code()

    def _stop_code(self) -> int:
        """Return the exit code of a stop that a signal or the end of the output's reader requested."""
        if self._is_output_closed:
            return OUTPUT_CLOSED
        # With --exit-with, a stop by anything but that service's end is no success.
        return INTERRUPTED if self._interrupted or self._exit_with else 0

    def _print_events(self, since: int) -> None:
        """Print the events after number `since` until the supervisor ends. Runs in a thread."""
        from minikube.control.client.blocking import ControlClient

        assert self._endpoint is not None
        assert self._printer is not None
        try:
            with ControlClient(self._endpoint) as client:
                for event in client.follow_events(since):
                    self._printer.event(event)
        except MinikubeError:
            return  # the supervisor has ended: the main thread reports it
        except OSError:
            self._on_output_closed()

    def _on_output_closed(self) -> None:
        """Request a stop: the reader of stdout has closed it, so the user sees no output."""
        if not self._stop_requests:
            self._is_output_closed = True
            self.stop()

    def _print_remaining_logs(self) -> None:
        """Print the log lines that were not printed yet. Another Ctrl-C skips them."""
        if self._console_logs is None:
            return
        requests = self._stop_requests
        if self._event_thread is not None:
            self._event_thread.join(LAST_EVENTS_TIMEOUT_S)
        unprinted = self._console_logs.finish(LAST_LINES_TIMEOUT_S, skip=lambda: self._stop_requests > requests)
        if unprinted:
            self._print_message(f"{unprinted} lines were not printed — `minikube logs` shows them")

    def _print_message(self, text: str) -> None:
        """Print a message as a log line while log lines are printed, else to stderr."""
        with suppress(OSError):  # a closed terminal or pipe must not keep this process from waiting for the stop
            if self._printer:
                self._printer.message(text)
            else:
                print_message(text)
