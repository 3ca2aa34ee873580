"""The main screen: the table, and below it a pane with events, logs and details.

The pane shows the row that is selected in the table. Enter gives the pane the whole screen, Escape gives it back. Commands
are posted to the app as messages. The file has more than 400 lines because Textual finds the actions of all keys, and the
handlers of all messages, in the screen's own class.
"""

# Longer than other files: what a key does depends on the tab, the focus, the filter and whether the pane has the whole
# screen, so all key handling reads the same attributes.

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual import events as textual_events
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.screen import Screen
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import ContentSwitcher, Input

from minikube.model import LogLine, Snapshot
from tui.connection.interface import SupervisorConnection
from tui.render.columns import Cell, row_reason
from tui.render.describe import describe_row
from tui.render.format import single_line
from tui.render.log_entry import LogEntry, event_entry, log_entry
from tui.render.rows import SORT_ORDERS, Row, build_rows, without_covered_instances
from tui.render.theme import styles_for
from tui.state import DashboardState
from tui.widgets.header import Header
from tui.widgets.key_footer import LOG_KEYS, TABLE_KEYS, KeyFooter
from tui.widgets.log_view import LEVELS, LogView
from tui.widgets.service_table import ServiceTable
from tui.widgets.static_text import StaticText
from tui.widgets.tab_bar import TabBar
from tui.widgets.text_view import TextView

TABS = ("events", "logs", "details")
WIDE_COLUMNS = 130
"""From this terminal width on, the details are shown beside the pane."""

SHORT_LINES = 12
"""Below this terminal height, the table and the pane are shown one at a time."""

TINY_LINES = 7
"""Below this terminal height, the lines at the top and bottom are not shown."""

FOLLOW_DELAY_S = 0.12
"""Seconds between selecting a row and opening its logs: moving the cursor through the table must not open each log."""


class MainScreen(Screen[None]):
    """The main screen: the header, the table of services, the pane with events, logs and details, and their keys."""

    class CommandRequested(Message):
        """The user asked for `start`, `stop`, `restart` or `kill` of these rows."""

        def __init__(self, verb: str, rows: Sequence[Row]) -> None:
            super().__init__()
            self.verb = verb
            self.rows = rows

    class CopyAddressRequested(Message):
        """The user asked for the row's address on the clipboard."""

        def __init__(self, row: Row) -> None:
            super().__init__()
            self.row = row

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Back", show=False),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("d", "zoom('details')", "Describe"),
        Binding("l", "zoom('logs')", "Logs"),
        Binding("a", "all_logs", "All logs", show=False),
        Binding("e", "zoom('events')", "Events"),
        Binding("r", "command('restart')", "Restart"),
        Binding("s", "command('stop')", "Stop"),
        Binding("S", "command('start')", "Start"),
        Binding("K", "command('kill')", "Kill", show=False),
        Binding("c", "copy_address", "Copy curl", show=False),
        Binding("left_square_bracket", "tab(-1)", "Previous tab", show=False),
        Binding("right_square_bracket", "tab(1)", "Next tab", show=False),
        Binding("ctrl+z", "problems", "Problems", key_display="^z", priority=True),
        Binding("o", "order", "Order", show=False),
        Binding("space", "mark", "Mark", show=False),
        Binding("z", "fold", "Fold", show=False),
        Binding("v", "level", "Level", show=False),
        Binding("w", "wrap", "Wrap", show=False),
        Binding("t", "timestamps", "Times", show=False),
        Binding("colon", "app.command_palette", "Palette", show=False),
        Binding("question_mark", "app.help", "Help", key_display="?"),
        Binding("q", "app.leave", "Quit"),
    ]

    def __init__(self, state: DashboardState, connection: SupervisorConnection) -> None:
        super().__init__()
        self._state = state
        self._connection = connection
        self.pattern = ""
        """The table's filter."""
        self.problems_only = False
        self.order = SORT_ORDERS[0]
        self.folded: set[str] = set()
        """Names of the services with hidden instances."""
        self.marked: set[str] = set()
        """Keys of the rows that the next command is for; empty: the selected row."""
        self.tab = "events"
        self.all_logs = False
        """Whether the logs tab shows all services instead of the selected row."""
        self._pane_update_scheduled = False
        self._rows: tuple[Row, ...] = ()
        self._rows_made_from: tuple[object, ...] = (None, None, None)
        """Three parts of the snapshot, the filters and the order, and the selected row that `_rows` was made from."""
        self._settings: tuple[object, ...] = ()
        """The filters and the order of the shown rows."""
        self._supervisor_pid = -1
        """The pid of the supervisor that reported the shown events."""
        self._last_event = 0
        """The number of the newest event that is shown."""
        self._followed: tuple[str, ...] | None = None
        """The services or instances with followed logs; empty: all services, None: none."""
        self._log_request = 0
        """The number of the latest `follow_logs` call: lines for an earlier one are ignored."""
        self._follow_timer: Timer | None = None
        self._filtered_view: LogView | None = None
        """The log view that the filter input is for; None: the table."""

    def compose(self) -> ComposeResult:
        """Lay out the widgets."""
        yield Header(id="header")
        yield ServiceTable(id="table")
        yield Input(placeholder="words to search for; Enter keeps them, Esc clears them", id="filter", compact=True)
        yield StaticText(id="reason")
        with Horizontal(id="lower"):
            with Vertical(id="pane"):
                yield TabBar(("Events", "Logs", "Details"), id="tabs")
                with ContentSwitcher(initial="events"):
                    yield LogView("no events yet", id="events", timestamps=True)
                    yield LogView("no output yet", id="logs")
                    yield TextView(id="details")
            yield TextView(id="side")
        yield KeyFooter(id="keys")

    def on_mount(self) -> None:
        """Store the widgets in attributes, and prepare them."""
        self.header = self.query_one(Header)
        self.table = self.query_one(ServiceTable)
        self.tabs = self.query_one(TabBar)
        self.events = self.query_one("#events", LogView)
        self.logs = self.query_one("#logs", LogView)
        self.details = self.query_one("#details", TextView)
        self._side = self.query_one("#side", TextView)
        self._side.can_focus = False
        self.input = self.query_one("#filter", Input)
        self.footer = self.query_one(KeyFooter)
        self.switcher = self.query_one(ContentSwitcher)
        self._reason = self.query_one("#reason", StaticText)
        self.table.focus()
        self.refresh_data()

    @property
    def row(self) -> Row | None:
        """The row that is selected in the table, or None."""
        return self.table.row

    @property
    def zoomed(self) -> bool:
        """Whether the pane fills the whole screen."""
        return self.has_class("-zoomed")

    # ------------------------------------------------------------ showing data

    def refresh_data(self) -> None:
        """Show the current state. Called after a snapshot, a change of the connection, a command, and every second."""
        state = self._state
        self.set_class(state.connection in ("silent", "lost"), "-stale")
        notes = [f"“{self.pattern}”"] if self.pattern else []
        notes += ["problems only"] if self.problems_only else []
        notes += [f"by {self.order}" if self.order != "problems first" else self.order] if self.order else []
        notes += [f"{len(self.marked)} marked"] if self.marked else []
        self.header.snapshot, self.header.note = state.snapshot, ", ".join(notes)
        self.header.connection, self.header.connection_detail = state.connection, state.connection_detail
        self.header.heard = state.heard
        self.header.draw()
        if state.snapshot is None:
            detail = f": {state.connection_detail}" if state.connection_detail else " …"
            self.table.show((), state.render_context, f"waiting for the supervisor{detail}")
            return
        rows, reselect = self._build_rows(state.snapshot)
        empty_text = "nothing matches" if self.pattern else "no problems" if self.problems_only else "no services"
        # A row that the filter hides loses its mark: no command may hit what is not visible.
        self.marked.intersection_update(row.key for row in rows)
        self.table.show(rows, state.render_context._replace(marked=self.marked), empty_text, reselect=reselect)
        if not self._pane_update_scheduled:
            # The table's changes are on the terminal before the pane's many lines are computed.
            self._pane_update_scheduled = True
            self.call_after_refresh(self._show_pane)

    def _show_pane(self) -> None:
        """Update the pane: events, details and the tab bar."""
        self._pane_update_scheduled = False
        self._show_events()
        self._show_details()
        self._show_tab_bar()

    def _build_rows(self, snapshot: Snapshot) -> tuple[tuple[Row, ...], bool]:
        """Return the table's rows, and whether the user has chosen other filters or another order since the last call.

        The rows are the same object as before while nothing has changed.
        """
        usage = snapshot.usage if self.order in ("CPU", "memory") else ()
        data = snapshot.services, snapshot.instances, usage
        settings = self.pattern, self.problems_only, frozenset(self.folded), self.order
        # The selected row stays while the user looks at it, also when it is no problem any more: with another row in its
        # place, the next key would hit that one.
        selected = self.table.row
        keep = selected.key if selected is not None and settings == self._settings else ""
        reselect, self._settings = settings != self._settings, settings
        made_from_before, self._rows_made_from = self._rows_made_from, (*data, settings, keep)
        # Compared by identity: a snapshot shares the tuples that did not change with the one before.
        if any(new is not old for new, old in zip(self._rows_made_from[:3], made_from_before[:3], strict=True)) or (
            self._rows_made_from[3:] != made_from_before[3:]
        ):
            self._rows = build_rows(
                snapshot,
                pattern=self.pattern,
                problems_only=self.problems_only,
                folded=self.folded,
                order=self.order,
                keep=keep,
            )
        return self._rows, reselect

    def refresh_theme(self) -> None:
        """Draw everything again, because the theme changed."""
        self.table.restyle()
        self.events.restyle()
        self.logs.restyle()
        self.refresh_data()

    def _show_events(self) -> None:
        """Add the events that are new since the last call."""
        snapshot = self._state.snapshot
        if snapshot is None:
            return
        if snapshot.pid != self._supervisor_pid:
            # Another supervisor: its events are numbered from 1 again. Its start is not compared: the clock may be set.
            restarted = self._supervisor_pid >= 0
            self._supervisor_pid, self._last_event = snapshot.pid, 0
            if restarted:
                self.events.extend([LogEntry(snapshot.started, "", "── the supervisor was restarted ──", "muted")])
        if snapshot.events and snapshot.events[-1].number > self._last_event:
            new = [event for event in snapshot.events if event.number > self._last_event]
            self._last_event = new[-1].number
            self.events.extend([event_entry(event) for event in new])

    def _show_details(self) -> None:
        """Show the details of the selected row in their tab, or beside the pane on a wide terminal.

        On a narrow terminal, which has no column for it, also show the reason of the row's state.
        """
        snapshot, row = self._state.snapshot, self.row
        if snapshot is None:
            return
        styles, context = styles_for(self.app), self._state.render_context
        wide = self.has_class("-wide")
        beside = wide and not self.zoomed and self.tab != "details"
        self.set_class(beside, "-beside")
        if self.tab == "details" or beside:
            details = describe_row(snapshot, row, context, styles) if row else Text(" no row is selected")
            (self._side if beside else self.details).show(details)
        if not wide:
            reason = row_reason(row, context) if row else Cell("")
            text = f" {single_line(row.target)}: {reason.text}" if row and reason.text else ""
            line = Text(text, styles[reason.style])
            line.truncate(self.size.width, overflow="ellipsis")
            self._reason.show(line)

    def on_resize(self, event: textual_events.Resize) -> None:
        """Show the details beside the pane when the terminal is wide enough, and only the most important on a small one."""
        self.set_class(event.size.width >= WIDE_COLUMNS, "-wide")
        self.set_class(event.size.height < SHORT_LINES, "-short")
        self.set_class(event.size.height < TINY_LINES, "-tiny")
        self._show_details()

    def _show_tab_bar(self) -> None:
        """Show the active tab with its row and flags in the tab bar, and the keys that can be used now in the footer."""
        view = self._log_view()
        flags: list[str] = []
        if view is not None:
            if view.pattern:
                suffix = "" if view.only_matches else " of all lines"
                flags += [f"/{single_line(view.pattern)} {view.match_position}{suffix}"]
            flags += [f"≥ {view.level}"] if view.level != "all" else []
            flags += ["wrap"] if view.wrap else []
            flags += ["⇣ following" if view.following else "⏸ G follows"]
        subject = ""
        if self.tab == "logs" and self.all_logs:
            subject = "all services"
        elif self.tab in ("logs", "details") and self.row:
            subject = single_line(self.row.target)
        self.tabs.draw(TABS.index(self.tab), subject, "  ".join(flags))
        self.footer.draw(LOG_KEYS if self.zoomed else TABLE_KEYS)

    def show_logs(self, lines: list[LogLine], restarted: bool, missed: int, request: int) -> None:
        """Add received log lines. See `LogLinesReceived`."""
        if request != self._log_request:
            return
        if restarted:
            self.logs.clear("no output yet")
        if missed:
            note = f"── {missed} lines left out: they came faster than they can be shown ──"
            self.logs.extend([LogEntry(0, "", note, "muted")])
        several = self.all_logs or (self.row is not None and len(self.row.instances) > 1)
        self.logs.extend([log_entry(line, several) for line in lines])

    def show_logs_end(self, reason: str, request: int) -> None:
        """Show why the followed logs ended, or could not be opened."""
        if request == self._log_request:
            self.logs.extend([LogEntry(0, "", f"── {single_line(reason)} ──", "warn")])

    # ------------------------------------------------------------ following the selected row

    @on(ServiceTable.Highlighted)
    def _row_selected(self) -> None:
        """Show the details of the selected row. Follow its logs when the cursor has stayed on it for a moment."""
        self._show_details()
        for view in (self.details, self._side):
            view.scroll_to(y=0, animate=False, force=True)
        self._show_tab_bar()
        if self._follow_timer is not None:
            self._follow_timer.stop()
        self._follow_timer = self.set_timer(FOLLOW_DELAY_S, self._follow_logs)

    def _follow_logs(self) -> None:
        """Follow the logs of the selected row, or of all services, while the logs tab is active."""
        names: tuple[str, ...] | None = None
        if self.tab == "logs":
            names = () if self.all_logs else (self.row.target,) if self.row else None
        if names != self._followed:
            self._followed = names
            self._log_request += 1
            self.logs.clear("reading …" if names is not None else "no output yet")
            self._connection.follow_logs(self._log_request, names)

    @on(ServiceTable.Opened)
    def _row_opened(self) -> None:
        """Show the opened row's logs, or its details, on the whole screen."""
        self.action_zoom("logs" if self.tab == "events" else self.tab)

    @on(LogView.StatusChanged)
    def _log_view_changed(self) -> None:
        """Show the flags of the log view in the tab bar."""
        self._show_tab_bar()

    @on(TabBar.Selected)
    def _tab_clicked(self, event: TabBar.Selected) -> None:
        """Activate the clicked tab."""
        self._select_tab(TABS[event.number])

    # ------------------------------------------------------------ tabs and zoom

    def _select_tab(self, tab: str) -> None:
        """Activate a tab, and show its view."""
        self.tab = tab
        self.switcher.current = tab
        self._show_details()
        self._follow_logs()
        self._show_tab_bar()
        if self.zoomed or self.focused is not self.table:
            self._active_view().focus()

    def _active_view(self) -> Widget:
        """Return the widget of the active tab."""
        return {"events": self.events, "logs": self.logs, "details": self.details}[self.tab]

    def _log_view(self) -> LogView | None:
        """Return the widget of the active tab, if it is a log view."""
        return {"events": self.events, "logs": self.logs}.get(self.tab)

    def action_open_row(self) -> None:
        """Show the selected row's logs, or its details, on the whole screen."""
        self.table.action_open()

    def action_next_match(self) -> None:
        """Select the next match in the active log view."""
        view = self._log_view()
        if view is not None:
            view.action_next_match(1)

    def action_only_matches(self) -> None:
        """Switch the active log view between only matches and all lines."""
        view = self._log_view()
        if view is not None:
            view.action_only_matches()

    def action_follow(self) -> None:
        """Scroll the active log view to its end, and follow."""
        view = self._log_view()
        if view is not None:
            view.action_edge(True)

    def action_zoom(self, tab: str) -> None:
        """Show the pane with this tab on the whole screen."""
        self.all_logs = False
        self.add_class("-zoomed")
        self._select_tab(tab)

    def action_all_logs(self) -> None:
        """Show the logs of all services together, on the whole screen."""
        self.all_logs = True
        self.add_class("-zoomed")
        self._select_tab("logs")

    def action_tab(self, by: int) -> None:
        """Activate the next tab (`by` 1) or the previous one (-1)."""
        self._select_tab(TABS[(TABS.index(self.tab) + by) % len(TABS)])

    def action_back(self) -> None:
        """Undo the first of these that applies; it never quits.

        The filter being typed, the search or the zoom of the pane, the focus on the pane, the marks, the table's filter, problems
        only.
        """
        if self.focused is self.input:
            self.input.value = ""
            self._close_filter()
        elif self.zoomed:
            view = self._log_view()
            if view is not None and view.pattern:
                view.filter(pattern="")
                return
            self.all_logs = False
            self.remove_class("-zoomed")
            self.table.focus()
            self._show_details()
            self._follow_logs()
            self._show_tab_bar()
        elif self.focused is not self.table:
            self.table.focus()
        elif self.marked:
            self.marked.clear()
            self.refresh_data()
        elif self.pattern:
            self.pattern = ""
            self.refresh_data()
        elif self.problems_only:
            self.action_problems()

    # ------------------------------------------------------------ filtering and sorting

    def action_filter(self) -> None:
        """Open the filter input: for the table, or for the log view when the pane has the focus."""
        self._filtered_view = self._log_view() if self.focused is not self.table else None
        self.input.value = self._filtered_view.pattern if self._filtered_view is not None else self.pattern
        self.input.add_class("-open")
        self.input.focus()

    @on(Input.Changed)
    def _filter_typed(self, event: Input.Changed) -> None:
        """Apply the filter that the user is typing."""
        if not self.input.has_class("-open"):
            return
        if self._filtered_view is not None:
            self._filtered_view.filter(pattern=event.value)
        else:
            self.pattern = event.value
            self.refresh_data()

    @on(Input.Submitted)
    def _close_filter(self) -> None:
        """Keep the typed filter, and close the input."""
        target = self._filtered_view or self.table
        if self._filtered_view is not None:
            self._filtered_view.filter(pattern=self.input.value)
        else:
            self.pattern = self.input.value
        self.input.remove_class("-open")
        target.focus()
        self.refresh_data()

    def action_problems(self) -> None:
        """Switch between all rows and rows with a problem."""
        self.problems_only = not self.problems_only
        self.refresh_data()

    def action_order(self) -> None:
        """Sort the services by the next of `SORT_ORDERS`; the cursor stays on its row."""
        self.order = SORT_ORDERS[(SORT_ORDERS.index(self.order) + 1) % len(SORT_ORDERS)]
        self.refresh_data()

    def action_fold(self) -> None:
        """Hide or show the instances of the selected row's service."""
        row = self.row
        if row is not None and (row.depth or len(row.instances) > 1):
            self.folded ^= {row.service.name}
            self.table.select(f"s:{row.service.name}")
            self.refresh_data()

    def action_level(self) -> None:
        """Show only log lines of the next level: all lines, warnings and errors, errors."""
        view = self._log_view()
        if view is not None:
            view.filter(level=LEVELS[(LEVELS.index(view.level) + 1) % len(LEVELS)])

    def action_wrap(self) -> None:
        """Switch between wrapping and cutting long lines, in events and logs."""
        for view in (self.events, self.logs):
            view.toggle_wrap()

    def action_timestamps(self) -> None:
        """Show or hide times: of events in the events tab, else of log lines."""
        view = self._log_view()
        (self.logs if view is None else view).toggle_timestamps()

    # ------------------------------------------------------------ commands and the clipboard

    def action_mark(self) -> None:
        """Mark the selected row, or remove its mark, and select the next row."""
        if self.row is not None and self.focused is self.table:
            self.marked ^= {self.row.key}
            self.table.action_move(1)
            self.refresh_data()

    def action_command(self, verb: str) -> None:
        """Post `CommandRequested` for the marked rows, or for the selected one."""
        rows = [row for row in self.table.rows if row.key in self.marked]
        if not rows and self.row is not None:
            rows = [self.row]
        if rows:
            self.post_message(self.CommandRequested(verb, without_covered_instances(rows)))

    def clear_marks(self) -> None:
        """Remove all marks, after a command was sent."""
        self.marked.clear()
        self.refresh_data()

    def action_copy_address(self) -> None:
        """Post `CopyAddressRequested` for the selected row."""
        if self.row is not None:
            self.post_message(self.CopyAddressRequested(self.row))

    @on(textual_events.TextSelected)
    def _copy_selection(self) -> None:
        """Copy text that was selected with the mouse, as terminals do."""
        text = self.get_selected_text()
        if text and text.strip():
            self.app.copy_to_clipboard(text)
            self.notify(f"{len(text.splitlines()) or 1} line(s)", title="copied", timeout=2, markup=False)
