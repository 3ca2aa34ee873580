"""The main screen (floor 4): the table above, a pane with events, logs and details below.

It follows the cursor: the pane is about the row that is selected. Enter gives the pane the whole screen, Escape takes it
back. Data comes from the app, which owns it; acts go to the app. What a key does depends on the tab, the zoom, the focus
and what is narrowed: that is why it stands in one file, longer than others.
"""

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import events as textual_events
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import ContentSwitcher, Input

from minikube.model import LogLine, Snapshot
from tui import format as look
from tui.columns import Cell, why_row
from tui.describe import describe
from tui.log_entry import event_entry, log_entry
from tui.rows import ORDERS, Row, build, outermost
from tui.theme import paint_of
from tui.widgets.header import Header
from tui.widgets.keys import LINE_KEYS, TABLE_KEYS, KeyLine
from tui.widgets.log_view import LEVELS, Entry, Lines
from tui.widgets.page import Page
from tui.widgets.static_text import Still
from tui.widgets.table import ServiceTable
from tui.widgets.tabs import TabLine

if TYPE_CHECKING:
    from tui.app import Dashboard

TABS = ("events", "logs", "details")
WIDE_WIDTH = 130
FOLLOW_DELAY_S = 0.12
"""The cursor has to rest this long on a row before its logs are asked for."""


class Main(Screen[None]):
    """The dashboard itself."""

    app: "Dashboard"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Back", show=False),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("d", "zoom('details')", "Describe"),
        Binding("l", "zoom('logs')", "Logs"),
        Binding("a", "everyone", "All logs", show=False),
        Binding("e", "zoom('events')", "Events"),
        Binding("r", "act('restart')", "Restart"),
        Binding("s", "act('stop')", "Stop"),
        Binding("S", "act('start')", "Start"),
        Binding("K", "act('kill')", "Kill", show=False),
        Binding("c", "copy", "Copy curl", show=False),
        Binding("left_square_bracket", "tab(-1)", "Previous tab", show=False),
        Binding("right_square_bracket", "tab(1)", "Next tab", show=False),
        Binding("ctrl+z", "problems", "Problems", key_display="^z", priority=True),
        Binding("o", "order", "Order", show=False),
        Binding("space", "mark", "Mark", show=False),
        Binding("z", "fold", "Fold", show=False),
        Binding("v", "level", "Level", show=False),
        Binding("w", "wrap", "Wrap", show=False),
        Binding("t", "stamps", "Times", show=False),
        Binding("colon", "app.command_palette", "Palette", show=False),
        Binding("question_mark", "app.help", "Help", key_display="?"),
        Binding("q", "app.leave", "Quit"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.pattern = ""
        self.problems = False
        self.order = ORDERS[0]
        self.folded: set[str] = set()
        self.marked: set[str] = set()
        """Keys of the rows that acts go to; none: the selected one."""
        self.tab = "events"
        self.everyone = False
        self._lower_waits = False
        self._made: tuple[Row, ...] = ()
        self._made_of: tuple[tuple[object, ...], tuple[object, ...]] = ((None, None, None), ())
        self._last_event = 0
        self._events_of: float = -1.0
        self._following: tuple[str, ...] | None = None
        self._ticket = 0
        self._follow_timer: Timer | None = None

    def compose(self) -> ComposeResult:
        yield Header(id="header")
        yield ServiceTable(id="table")
        yield Input(placeholder="words to look for; Enter keeps, Esc clears", id="filter", compact=True)
        yield Still(id="why")
        with Horizontal(id="lower"):
            with Vertical(id="pane"):
                yield TabLine(("Events", "Logs", "Details"), id="tabs")
                with ContentSwitcher(initial="events"):
                    yield Lines("nothing has happened yet", id="events", stamps=True)
                    yield Lines("no output yet", id="logs")
                    yield Page(id="details")
            yield Page(id="side")
        yield KeyLine(id="keys")

    def on_mount(self) -> None:
        """Parts are looked up once: they live as long as the screen."""
        self.header = self.query_one(Header)
        self.table = self.query_one(ServiceTable)
        self.tabs = self.query_one(TabLine)
        self.events = self.query_one("#events", Lines)
        self.logs = self.query_one("#logs", Lines)
        self.details = self.query_one("#details", Page)
        self._side = self.query_one("#side", Page)
        self._side.can_focus = False
        self.input = self.query_one("#filter", Input)
        self.keys = self.query_one(KeyLine)
        self.switcher = self.query_one(ContentSwitcher)
        self._why = self.query_one("#why", Still)
        self.table.focus()
        self.refresh_data()

    @property
    def row(self) -> Row | None:
        """The selected row."""
        return self.table.row

    @property
    def zoomed(self) -> bool:
        """Whether the pane has the whole screen."""
        return self.has_class("-zoomed")

    # ------------------------------------------------------------ showing

    def refresh_data(self) -> None:
        """Show what the app knows now: a new snapshot, another link state, a second later."""
        app = self.app
        self.set_class(app.link == "lost", "-stale")
        notes = [f"“{self.pattern}”"] if self.pattern else []
        notes += ["problems only"] if self.problems else []
        notes += [f"by {self.order}" if self.order != ORDERS[1] else self.order] if self.order else []
        notes += [f"{len(self.marked)} marked"] if self.marked else []
        self.header.snapshot, self.header.note = app.snapshot, ", ".join(notes)
        self.header.link, self.header.detail = app.link, app.link_detail
        self.header.draw()
        if app.snapshot is None:
            waiting = f": {app.link_detail}" if app.link_detail else " …"
            self.table.show((), app.scene, f"waiting for the supervisor{waiting}")
            return
        rows = self._rows(app.snapshot)
        empty = "nothing matches" if self.pattern else "no problems" if self.problems else "no services"
        self.marked.intersection_update(row.key for row in rows)  # nothing is done to what is not seen
        self.table.show(rows, app.scene._replace(marked=self.marked), empty)
        if not self._lower_waits:
            # A cell that changed is on the terminal before the many lines below it are even worked out.
            self._lower_waits = True
            self.call_after_refresh(self._show_lower)

    def _show_lower(self) -> None:
        self._lower_waits = False
        self._show_events()
        self._show_details()
        self._title()

    def _rows(self, snapshot: Snapshot) -> tuple[Row, ...]:
        """The rows of the snapshot; the same ones as long as nothing that they are made of differs."""
        usage = snapshot.usage if self.order in ("CPU", "memory") else ()
        data = snapshot.services, snapshot.instances, usage
        view = self.pattern, self.problems, frozenset(self.folded), self.order
        (data_before, view_before), self._made_of = self._made_of, (data, view)
        if view != view_before or any(now is not before for now, before in zip(data, data_before, strict=True)):
            self._made = build(
                snapshot, pattern=self.pattern, problems=self.problems, folded=self.folded, order=self.order
            )
        return self._made

    def refresh_theme(self) -> None:
        """The theme changed: draw everything anew."""
        self.table.restyle()
        self.events.restyle()
        self.logs.restyle()
        self.refresh_data()

    def _show_events(self) -> None:
        snapshot = self.app.snapshot
        if snapshot is None:
            return
        if snapshot.started != self._events_of:
            again = self._events_of > 0
            self._events_of, self._last_event = snapshot.started, 0
            if again:
                self.events.extend([Entry(snapshot.started, "", "── the supervisor was started anew ──", "muted")])
        if snapshot.events and snapshot.events[-1].number > self._last_event:
            fresh = [event for event in snapshot.events if event.number > self._last_event]
            self._last_event = fresh[-1].number
            self.events.extend([event_entry(event) for event in fresh])

    def _show_details(self) -> None:
        """The selected row in the details tab, beside the pane on a wide terminal, and in one line on a narrow one."""
        row, snapshot = self.row, self.app.snapshot
        if snapshot is None:
            return
        paint = paint_of(self.app)
        beside = self.has_class("-wide") and not self.zoomed and self.tab != "details"
        self.set_class(beside, "-beside")
        if self.tab == "details" or beside:
            page = describe(snapshot, row, self.app.scene, paint) if row else Text(" no row is selected")
            (self._side if beside else self.details).show(page)
        if not self.has_class("-wide"):
            reason = why_row(row, self.app.scene) if row else Cell("")
            line = Text(f" {look.tidy(row.target)}: {reason.text}" if row and reason.text else "", paint[reason.tone])
            line.truncate(self.size.width, overflow="ellipsis")
            self._why.show(line)

    def on_resize(self, event: textual_events.Resize) -> None:
        """A wide terminal has room for the details beside the pane."""
        self.set_class(event.size.width >= WIDE_WIDTH, "-wide")
        self._show_details()

    def _title(self) -> None:
        lines = self._lines()
        flags: list[str] = []
        if lines is not None:
            if lines.pattern:
                flags += [f"/{look.tidy(lines.pattern)} {lines.place}" + ("" if lines.only else " of all lines")]
            flags += [f"≥ {lines.level}"] if lines.level != "all" else []
            flags += ["wrap"] if lines.wrap else []
            flags += ["⇣ following" if lines.following else "⏸ G follows"]
        about = ""
        if self.tab == "logs":
            about = "everyone" if self.everyone else look.tidy(self.row.target) if self.row else ""
        elif self.tab == "details":
            about = look.tidy(self.row.target) if self.row else ""
        self.tabs.draw(TABS.index(self.tab), about, "  ".join(flags))
        self.keys.draw(LINE_KEYS if self.zoomed else TABLE_KEYS)

    def show_logs(self, lines: list[LogLine], restarted: bool, missed: int, ticket: int) -> None:
        """Lines of the followed logs came; those of an earlier question are dropped."""
        if ticket != self._ticket:
            return
        if restarted:
            self.logs.clear("no output yet")
        if missed:
            self.logs.extend(
                [Entry(0, "", f"── {missed} lines left out: they came faster than they can be shown ──", "muted")]
            )
        several = self.everyone or (self.row is not None and len(self.row.members) > 1)
        self.logs.extend([log_entry(line, several) for line in lines])

    def show_log_end(self, detail: str, ticket: int) -> None:
        """The followed logs ended or cannot be had."""
        if ticket == self._ticket:
            self.logs.extend([Entry(0, "", f"── {look.tidy(detail)} ──", "warn")])

    # ------------------------------------------------------------ following the cursor

    @on(ServiceTable.Highlighted)
    def _row_changed(self) -> None:
        self._show_details()
        for page in (self.details, self._side):
            page.scroll_to(y=0, animate=False, force=True)
        self._title()
        if self._follow_timer is not None:
            self._follow_timer.stop()
        self._follow_timer = self.set_timer(FOLLOW_DELAY_S, self._follow)

    def _follow(self) -> None:
        """Ask for the logs of what is selected, where they are seen."""
        wanted: tuple[str, ...] | None = None
        if self.tab == "logs":
            wanted = () if self.everyone else (self.row.target,) if self.row else None
        if wanted != self._following:
            self._following = wanted
            self._ticket += 1
            self.logs.clear("reading …" if wanted is not None else "no output yet")
            self.app.feed.follow(self._ticket, wanted)

    @on(ServiceTable.Opened)
    def _opened(self) -> None:
        self.action_zoom("logs" if self.tab == "events" else self.tab)

    @on(Lines.Moved)
    def _moved(self) -> None:
        self._title()

    @on(TabLine.Chosen)
    def _tab_clicked(self, event: TabLine.Chosen) -> None:
        self._choose(TABS[event.number])

    # ------------------------------------------------------------ moving about

    def _choose(self, tab: str) -> None:
        self.tab = tab
        self.switcher.current = tab
        self._show_details()
        self._follow()
        self._title()
        if self.zoomed or self.focused is not self.table:
            self._content().focus()

    def _content(self) -> Widget:
        return {"events": self.events, "logs": self.logs, "details": self.details}[self.tab]

    def _lines(self) -> Lines | None:
        return {"events": self.events, "logs": self.logs}.get(self.tab)

    def action_opened(self) -> None:
        """What Enter does."""
        self.table.action_open()

    def action_next(self) -> None:
        """To the next match in the lines."""
        lines = self._lines()
        if lines is not None:
            lines.action_match(1)

    def action_only(self) -> None:
        """Only the matching lines, or all."""
        lines = self._lines()
        if lines is not None:
            lines.action_only()

    def action_follow(self) -> None:
        """To the end of the lines, and along."""
        lines = self._lines()
        if lines is not None:
            lines.action_edge(True)

    def action_zoom(self, tab: str) -> None:
        """Give a tab the whole screen."""
        self.everyone = False
        self.add_class("-zoomed")
        self._choose(tab)

    def action_everyone(self) -> None:
        """The logs of all services together."""
        self.everyone = True
        self.add_class("-zoomed")
        self._choose("logs")

    def action_tab(self, by: int) -> None:
        """The next or previous tab."""
        self._choose(TABS[(TABS.index(self.tab) + by) % len(TABS)])

    def action_back(self) -> None:
        """One step out: of the filter being typed, the zoom, the marks, the filter, problems only; never of the program."""
        if self.focused is self.input:
            self.input.value = ""
            self._close_filter()
        elif self.zoomed:
            lines = self._lines()
            if lines is not None and lines.pattern:
                lines.narrow(pattern="")
                return
            self.everyone = False
            self.remove_class("-zoomed")
            self.table.focus()
            self._show_details()
            self._follow()
            self._title()
        elif self.focused is not self.table:
            self.table.focus()
        elif self.marked:
            self.marked.clear()
            self.refresh_data()
        elif self.pattern:
            self.pattern = ""
            self.refresh_data()
        elif self.problems:
            self.action_problems()

    # ------------------------------------------------------------ narrowing

    def action_filter(self) -> None:
        """Type words to look for: in the table, or in the lines where the pane has the focus."""
        self._filtered = self._lines() if self.focused is not self.table else None
        self.input.value = self._filtered.pattern if self._filtered is not None else self.pattern
        self.input.add_class("-open")
        self.input.focus()

    _filtered: Lines | None = None

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        if not self.input.has_class("-open"):
            return
        if self._filtered is not None:
            self._filtered.narrow(pattern=event.value)
        else:
            self.pattern = event.value
            self.refresh_data()

    @on(Input.Submitted)
    def _close_filter(self) -> None:
        target = self._filtered or self.table
        if self._filtered is not None:
            self._filtered.narrow(pattern=self.input.value)
        else:
            self.pattern = self.input.value
        self.input.remove_class("-open")
        target.focus()
        self.refresh_data()

    def action_problems(self) -> None:
        """Only rows that somebody should look at."""
        self.problems = not self.problems
        self.refresh_data()

    def action_order(self) -> None:
        """The services in the next order; the cursor stays on its row."""
        self.order = ORDERS[(ORDERS.index(self.order) + 1) % len(ORDERS)]
        self.refresh_data()

    def action_fold(self) -> None:
        """Hide or show the instances of the selected row's service."""
        row = self.row
        if row is not None and (row.depth or len(row.members) > 1):
            self.folded ^= {row.service.name}
            self.table.select(f"s:{row.service.name}")
            self.refresh_data()

    def action_level(self) -> None:
        """All lines, warnings and errors, errors."""
        lines = self._lines()
        if lines is not None:
            lines.narrow(level=LEVELS[(LEVELS.index(lines.level) + 1) % len(LEVELS)])

    def action_wrap(self) -> None:
        """Wrap or cut long lines."""
        for lines in (self.events, self.logs):
            lines.toggle_wrap()

    def action_stamps(self) -> None:
        """Times before lines of output; in the events tab, before events."""
        lines = self._lines()
        (self.logs if lines is None else lines).toggle_stamps()

    @on(textual_events.TextSelected)
    def _copy_selection(self) -> None:
        """What was selected with the mouse is copied, as terminals do."""
        words = self.get_selected_text()
        if words and words.strip():
            self.app.copy_to_clipboard(words)
            self.notify(f"{len(words.splitlines()) or 1} line(s)", title="copied", timeout=2, markup=False)

    # ------------------------------------------------------------ acting

    def action_mark(self) -> None:
        """Mark the selected row, or unmark it, and go on to the next."""
        if self.row is not None and self.focused is self.table:
            self.marked ^= {self.row.key}
            self.table.action_move(1)
            self.refresh_data()

    def action_act(self, verb: str) -> None:
        """Have something done to the marked rows, or to the selected one."""
        marked = [row for row in self.table.rows if row.key in self.marked]
        if marked or self.row is not None:
            self.app.request(verb, outermost(marked or [self.row]) if self.row else marked)

    def unmark(self) -> None:
        """The act is under way."""
        self.marked.clear()
        self.refresh_data()

    def action_copy(self) -> None:
        """The address of the selected row as a curl line."""
        if self.row is not None:
            self.app.copy_curl(self.row)
