"""The Textual app: receives the connection's messages, updates the state, and handles commands and quitting."""

import asyncio
import io
import shlex
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, TypeVar

from rich.console import Console
from textual import on, work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.css.query import NoMatches
from textual.driver import Driver
from textual.filter import LineFilter, NoColor
from textual.screen import ModalScreen, Screen
from textual.theme import ThemeProvider
from textual.worker import WorkerFailed

from minikube.control.client.names import expand_groups, group_names, own_services
from minikube.control.client.snapshot import dependents
from minikube.model import CheckState, InstanceView
from tui.connection.interface import Command, SupervisorConnection
from tui.connection.messages import (
    CommandFinished,
    ConnectionChanged,
    LogLinesReceived,
    LogsEnded,
    SnapshotReceived,
)
from tui.render.format import format_duration, single_line
from tui.render.rows import Row, build_rows
from tui.render.theme import THEME
from tui.screens.confirm import Choice, ConfirmScreen
from tui.screens.help import HelpScreen
from tui.screens.main import MainScreen
from tui.screens.palette import Palette
from tui.state import DashboardState
from tui.terminal_driver import InputEnded

REFRESH_INTERVAL_S = 1.0
"""Seconds between updates of ages and uptimes."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end the dashboard without a question."""

MAX_LISTED_ROWS = 8
"""The most rows that a dialog lists; the number of further rows follows."""

MAX_PALETTE_ROWS = 500
"""The most rows for which the command palette has entries."""

DESTRUCTIVE = {"stop", "restart", "kill"}
"""Commands that are confirmed first."""

PARTICIPLES = {"start": "starting", "stop": "stopping", "restart": "restarting", "kill": "killing"}
PAST_PARTICIPLES = {"start": "started", "stop": "stopped", "restart": "restarted", "kill": "killed"}

ResultType = TypeVar("ResultType")


class Dashboard(App[str]):
    """The Textual app of the dashboard. `run` returns `quit`, `interrupt`, `stop` or `detach`, or None after a failure."""

    TITLE = "minikube"
    CSS_PATH = "dashboard.tcss"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "interrupt", show=False, priority=True),
        Binding("ctrl+q", "leave", show=False, priority=True),
    ]

    def __init__(
        self,
        connection: SupervisorConnection,
        *,
        owner: bool = False,
        signals: bool = False,
        driver_class: type[Driver] | None = None,
    ) -> None:
        """Create the app. `owner`: the calling command started the project; quitting may stop it. `signals`: handle `SIGNALS`."""
        super().__init__(driver_class=driver_class)
        self.error_console = Console(file=io.StringIO())  # the reason of a crash is in `failure`
        self.failure: tuple[str, str] | None = None
        """Why the dashboard crashed, and the traceback or an empty text; None: it did not."""
        self.state = DashboardState()
        self.owner = owner
        self._connection = connection
        self._signals = signals
        self._main = MainScreen(self.state, connection)
        self._no_color_filter = NoColor()

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Return Textual's filters for drawn lines, and one that removes colours where NO_COLOR is set."""
        # Textual itself only turns colours into greys; https://no-color.org asks for none at all.
        filters = super().get_line_filters()
        return [*filters, self._no_color_filter] if self.no_color else filters

    def on_mount(self) -> None:
        """Show the main screen, install signal handlers, and start the connection."""
        self.register_theme(THEME)
        self.theme = THEME.name
        self.theme_changed_signal.subscribe(self, lambda _: self._main.refresh_theme())
        self.push_screen(self._main)
        self.set_interval(REFRESH_INTERVAL_S, self._refresh)
        if self._signals:
            loop = asyncio.get_running_loop()
            for number in SIGNALS:
                loop.add_signal_handler(number, self._signal_received, number)
        self._run_connection()

    def on_unmount(self) -> None:
        """Stop the connection's thread."""
        self._connection.stop()

    @work(thread=True, exclusive=True)
    def _run_connection(self) -> None:
        """Run the connection in a thread of its own. An error that it raises ends the dashboard."""
        self._connection.run(self.post_message)

    # ------------------------------------------------------------ messages of the connection

    @on(ConnectionChanged)
    def _connection_changed(self, event: ConnectionChanged) -> None:
        """Record the state of the connection and show it."""
        state = self.state
        before = state.connection
        state.set_connection(event.state, single_line(event.detail))
        # The project that this command started has stopped, for instance by `minikube down` in another terminal.
        if event.state == "lost" and self.owner and state.snapshot is not None and state.snapshot.phase == "stopping":
            self.exit("stop")
            return
        if before == "lost" and event.state == "live":
            self.notify("connected to the supervisor again", timeout=3, markup=False)
        self._refresh()

    @on(SnapshotReceived)
    def _snapshot_received(self, event: SnapshotReceived) -> None:
        """Record the snapshot and show it."""
        self.state.set_snapshot(event.snapshot)
        self._refresh()

    @on(LogLinesReceived)
    def _log_lines_received(self, event: LogLinesReceived) -> None:
        """Pass log lines to the main screen."""
        if self._main.is_mounted:
            self._main.show_logs(list(event.lines), event.restarted, event.missed, event.request)

    @on(LogsEnded)
    def _logs_ended(self, event: LogsEnded) -> None:
        """Pass the end of the followed logs to the main screen."""
        if self._main.is_mounted:
            self._main.show_logs_end(event.reason, event.request)

    @on(CommandFinished)
    def _command_finished(self, event: CommandFinished) -> None:
        """Show the result of a command as a notification."""
        verb, target = event.command
        self.state.command_finished(target)
        name = single_line(target)
        if event.error:
            title = f"{verb} {name} failed"
            self.notify(single_line(event.error, 2000), title=title, severity="error", timeout=12, markup=False)
        else:
            self.notify(f"{name} {PAST_PARTICIPLES[verb]}", timeout=3, markup=False)
        self._refresh()

    def _refresh(self) -> None:
        """Show the current state on the main screen."""
        if self._main.is_mounted:
            self._main.refresh_data()

    # ------------------------------------------------------------ commands

    @on(MainScreen.CommandRequested)
    def _command_requested(self, event: MainScreen.CommandRequested) -> None:
        """Handle a `CommandRequested` of the main screen."""
        self._request_command(event.verb, event.rows)

    def _request_command(self, verb: str, rows: Sequence[Row]) -> None:
        """Send the command `verb` for each row; for `stop`, `restart` and `kill` ask the user first."""
        if self.state.connection != "live":
            silent = self.state.connection == "silent"
            trouble = "the supervisor does not answer" if silent else "not connected to the supervisor"
            self.notify(f"{trouble}: nothing was done", severity="warning", markup=False)
            return
        own = [row for row in rows if row.service.kind != "external"]
        if not own:
            names = ", ".join(single_line(row.target) for row in rows)
            self.notify(f"{names} is not run by this project", severity="warning", markup=False)
            return
        if verb not in DESTRUCTIVE:
            self._send_commands(verb, own)
            return
        names = ", ".join(row.target for row in own)
        title = f"{verb.capitalize()} {names if len(own) < 4 else f'these {len(own)}'}?"
        self._open(
            ConfirmScreen(title, self._consequences(own), [Choice("yes", verb.capitalize(), "y")]),
            lambda result: self._send_commands(verb, own) if result == "yes" else None,
        )

    def _consequences(self, rows: Sequence[Row]) -> list[str]:
        """Return lines for the confirmation: the processes that a command affects, and the services that depend on them."""
        lines = [_affected_processes(row) for row in rows]
        if len(rows) > 1:
            lines = [f"{single_line(row.target)}: {line}" for row, line in zip(rows, lines, strict=True)]
        if len(lines) > MAX_LISTED_ROWS:
            lines = [*lines[:MAX_LISTED_ROWS], f"and {len(lines) - MAX_LISTED_ROWS} more"]
        affected = {row.service.name for row in rows}
        services = self.state.snapshot.services if self.state.snapshot else ()
        needed_by = sorted({other for name in affected for other in dependents(services, name)} - affected)
        return [*lines, f"needed by: {', '.join(needed_by)}" if needed_by else "no other service depends on it"]

    def _send_commands(self, verb: str, rows: Sequence[Row]) -> None:
        """Send a command for each row, and remove the marks."""
        for row in rows:
            self.state.command_sent(row.target)
            self.notify(f"{PARTICIPLES[verb]} {single_line(row.target)} …", timeout=2, markup=False)
            self._connection.send_command(Command(verb, row.target))
        self._main.clear_marks()

    @on(MainScreen.CopyAddressRequested)
    def _copy_address(self, event: MainScreen.CopyAddressRequested) -> None:
        """Copy `curl -i http://…` with the address of an instance of the row, preferably a passing one."""
        row = event.row
        candidates = [row.instance] if row.instance else list(row.instances)
        instance = next((view for view in sorted(candidates, key=_is_not_passing) if view.local_address), None)
        if instance is None:
            self.notify(f"{single_line(row.target)} has no address", severity="warning", markup=False)
            return
        line = f"curl -i {shlex.quote(f'http://{single_line(instance.local_address)}/')}"
        self.copy_to_clipboard(line)
        self.notify(line, title="copied", timeout=4, markup=False)

    # ------------------------------------------------------------ help, quitting, the command palette

    def action_help(self) -> None:
        """Show the help page."""
        self._open(HelpScreen())

    def action_leave(self) -> None:
        """Quit. The dashboard that `minikube up` opened asks first whether to stop the project."""
        if not self.owner:
            self.exit("quit")
            return
        # Ctrl-Q works in dialogs as well: it closes any but a question, and asks its own.
        if isinstance(self.screen, ModalScreen) and not isinstance(self.screen, ConfirmScreen):
            self.screen.dismiss()
        snapshot = self.state.snapshot
        name = snapshot.project if snapshot else "the project"
        running = sum(instance.pid > 0 for instance in snapshot.instances) if snapshot else 0
        count = f"{running} instance{'' if running == 1 else 's'} running"
        lines = [count, "“Leave running” detaches: `minikube dashboard` comes back, `minikube down` stops."]
        if self.state.connection in ("silent", "lost"):
            age = format_duration(time.time() - self.state.heard)
            detail = f": {self.state.connection_detail}" if self.state.connection_detail else ""
            trouble = "does not answer" if self.state.connection == "silent" else "cannot be reached"
            lines = [
                f"The supervisor {trouble}{detail}",
                f"{count} {age} ago",
                "If the supervisor has ended, so have they.",
            ]
        choices = [Choice("stop", "Stop everything", "s"), Choice("detach", "Leave running", "d")]
        dialog = ConfirmScreen(f"Quit {name}?", lines, choices)
        self._open(dialog, lambda result: self.exit(result) if result else None)

    def action_interrupt(self) -> None:
        """Quit without a question, as Ctrl-C does in any terminal program; after `minikube up`, stop the project, too."""
        self.exit("interrupt")

    def _signal_received(self, number: int) -> None:
        """Quit without a question."""
        self.exit("interrupt" if number == signal.SIGINT else "stop" if self.owner else "quit")

    # ------------------------------------------------------------ crashes

    def fail(self, reason: str, report: str = "") -> None:
        """Exit because of a failure. The first failure is in `failure`."""
        self.failure = self.failure or (reason, report)
        self.exit()

    @on(InputEnded)
    def _input_ended(self, event: InputEnded) -> None:
        """Exit when the terminal was closed."""
        self.fail(event.reason)

    def _handle_exception(self, error: Exception) -> None:
        """Record an error that no code handles, then exit as Textual does."""
        # A private name of Textual's, whose own report has the values of variables: the token would be among them.
        if isinstance(error, WorkerFailed) and isinstance(error.error, NoMatches):
            return  # the search of a command palette that was closed before it began
        if self.failure is None:
            self.failure = f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error))
        super()._handle_exception(error)

    def action_suspend_process(self) -> None:
        """Do nothing: Ctrl-Z, to which Textual binds this action, is a key of the main screen, and means nothing in dialogs."""

    def action_command_palette(self) -> None:
        """Show the command palette."""
        self._open(Palette())

    def search_themes(self) -> None:
        """Show the command palette with the themes."""
        self._open(Palette(providers=[ThemeProvider], placeholder="a theme …"))

    def _open(
        self, dialog: ModalScreen[ResultType], callback: Callable[[ResultType | None], None] | None = None
    ) -> None:
        """Show a dialog above the main screen, unless there is one already; `callback` gets its result."""
        if self.screen is self._main:
            self.push_screen(dialog, callback)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Return the command palette's entries: views, the theme, and every command for every row."""
        main = self._main
        yield SystemCommand("Help", "all keys", self.action_help)
        yield SystemCommand("Logs of all services", "all services together", main.action_all_logs)
        yield SystemCommand("Events", "as they happen", lambda: main.action_zoom("events"))
        yield SystemCommand("Problems only", "on or off", main.action_problems)
        yield SystemCommand("Theme", "choose the colours", self.action_change_theme)
        yield SystemCommand("Quit", "leave the dashboard", self.action_leave)
        for row in main.table.rows[:MAX_PALETTE_ROWS]:
            name = single_line(row.target)
            yield SystemCommand(f"Go to {name}", "select it", lambda key=row.key: self._select(key))
            for verb in ("restart", "stop", "start", "kill"):
                yield SystemCommand(
                    f"{verb.capitalize()} {name}",
                    row.service.kind,
                    lambda verb=verb, row=row: self._request_command(verb, [row]),
                )

        yield from self._group_commands()

    def _group_commands(self) -> Iterable[SystemCommand]:
        """Return the command palette's entries for the groups and tags of services."""
        snapshot = self.state.snapshot
        if snapshot is None:
            return
        services = own_services(snapshot)
        rows = {row.service.name: row for row in build_rows(snapshot) if not row.depth}
        for group in group_names(services):
            names = expand_groups(snapshot, [group])
            for verb in ("restart", "stop", "start", "kill"):
                yield SystemCommand(
                    f"{verb.capitalize()} {single_line(group)}",
                    ", ".join(map(single_line, names)),
                    lambda verb=verb, names=names: self._request_command(verb, [rows[name] for name in names]),
                )

    def _select(self, key: str) -> None:
        """Select the row with this key in the table."""
        self._main.table.select(key)


def _affected_processes(row: Row) -> str:
    """Return the processes that a command for this row affects, in words."""
    if row.depth and row.instance:
        return f"one instance of {row.service.name}, pid {row.instance.pid}" if row.instance.pid else "not running now"
    running = [instance for instance in row.instances if instance.pid]
    if not running:
        return "no instance of it is running now"
    if len(running) == 1:
        return f"1 running instance, pid {running[0].pid}"
    return f"all {len(running)} running instances"


def _is_not_passing(instance: InstanceView) -> bool:
    """Return False for passing and unchecked instances: a sort key that puts them first."""
    return instance.check not in (CheckState.PASSING, None)
