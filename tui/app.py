"""The dashboard (floor 4): owns what is known, and passes acts to the feed.

Structure: `feed` and `stream` (thread, trio) bring messages up; `rows`, `columns`, `describe` and `look` turn a snapshot
into what is shown, purely; `screens` and `widgets` show it. Nothing here is kept that the supervisor does not say,
except what usage was (for the sparkline) and which acts are in flight.
"""

import asyncio
import shlex
import signal
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual import on, work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.driver import Driver
from textual.filter import NoColor
from textual.screen import Screen

from minikube.control.client.snapshot import dependents
from minikube.model import CheckState, InstanceView, Snapshot, Usage
from tui import format as look
from tui.columns import Scene
from tui.feed import Act, ActDone, Feed, Link, Linked, LogBatch, LogEnded, Updated
from tui.rows import Row
from tui.screens.ask import Ask, Choice
from tui.screens.help import Help
from tui.screens.main import Main
from tui.theme import THEME

TICK_S = 1.0
"""Ages and uptimes are drawn again this often."""

SAMPLES_KEPT = 32

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""They end the dashboard as Ctrl-C does."""

NAMED = 8
"""Of more than these a question gives the number."""

DESTRUCTIVE = {"stop", "restart", "kill"}
DONE = {"start": "started", "stop": "stopped", "restart": "restarted", "kill": "killed"}
DOING = {"start": "starting", "stop": "stopping", "restart": "restarting", "kill": "killing"}


class Dashboard(App[str]):
    """`run` gives back `quit`, `stop` or `detach`. `owner`: it was opened by the command that runs the project."""

    TITLE = "minikube"
    CSS_PATH = "dashboard.tcss"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "interrupt", show=False, priority=True),
        Binding("ctrl+q", "leave", show=False, priority=True),
    ]

    def __init__(
        self, feed: Feed, *, owner: bool = False, signals: bool = False, driver_class: type[Driver] | None = None
    ) -> None:
        super().__init__(driver_class=driver_class)
        self._signals = signals
        self.feed = feed
        self.owner = owner
        self.snapshot: Snapshot | None = None
        self.link: Link = "connecting"
        self.link_detail = ""
        self.busy: dict[str, int] = {}
        self._usage: dict[str, Usage] = {}
        self._history: dict[str, deque[float]] = {}
        self._main = Main()
        if self.no_color:
            # Textual turns colours to greys; https://no-color.org asks for none at all.
            self._filters.append(NoColor())

    @property
    def scene(self) -> Scene:
        """What rows are drawn with now. Time stands still while the supervisor is away: so does what is known."""
        now = time.time()
        if self.link != "live" and self.snapshot is not None:
            now = self.snapshot.time
        return Scene(now, self._usage, self._history, self.busy)

    def on_mount(self) -> None:
        """Open the screen, then the feed."""
        self.register_theme(THEME)
        self.theme = THEME.name
        self.theme_changed_signal.subscribe(self, lambda _: self._main.refresh_theme())
        self.push_screen(self._main)
        self.set_interval(TICK_S, self._tick)
        if self._signals:
            loop = asyncio.get_running_loop()
            for number in SIGNALS:
                loop.add_signal_handler(number, self.action_interrupt)
        self._run_feed()

    def on_unmount(self) -> None:
        """The thread ends with the app."""
        self.feed.stop()

    @work(thread=True, exclusive=True, exit_on_error=False)
    def _run_feed(self) -> None:
        self.feed.run(self.post_message)

    # ------------------------------------------------------------ what the feed brings

    @on(Linked)
    def _linked(self, event: Linked) -> None:
        before, self.link, self.link_detail = self.link, event.link, look.tidy(event.detail)
        if event.link == "lost" and self.owner and self.snapshot is not None and self.snapshot.phase == "stopping":
            self.exit("stop")
            return
        if before == "lost" and event.link == "live":
            self.notify("the supervisor is back", timeout=3, markup=False)
        self._tick()

    @on(Updated)
    def _updated(self, event: Updated) -> None:
        self.snapshot = event.snapshot
        usage = {one.id: one for one in event.snapshot.usage}
        for key, one in usage.items():
            if one is not self._usage.get(key):
                self._history.setdefault(key, deque(maxlen=SAMPLES_KEPT)).append(one.cpu)
        for key in self._history.keys() - usage.keys():
            del self._history[key]
        self._usage = usage
        self._tick()

    @on(LogBatch)
    def _log_batch(self, event: LogBatch) -> None:
        if self._main.is_mounted:
            self._main.show_logs(list(event.lines), event.restarted, event.missed, event.ticket)

    @on(LogEnded)
    def _log_ended(self, event: LogEnded) -> None:
        if self._main.is_mounted:
            self._main.show_log_end(event.detail, event.ticket)

    @on(ActDone)
    def _act_done(self, event: ActDone) -> None:
        verb, target = event.act
        left = self.busy.get(target, 0) - 1
        if left > 0:
            self.busy[target] = left
        else:
            self.busy.pop(target, None)
        name = look.tidy(target)
        if event.error:
            title = f"{verb} {name} failed"
            self.notify(look.tidy(event.error, 2000), title=title, severity="error", timeout=12, markup=False)
        else:
            self.notify(f"{name} {DONE[verb]}", timeout=3, markup=False)
        self._tick()

    def _tick(self) -> None:
        if self._main.is_mounted:
            self._main.refresh_data()

    # ------------------------------------------------------------ acts

    def request(self, verb: str, rows: Sequence[Row]) -> None:
        """Have `verb` done to the rows' services or instances, after a question where it could hurt."""
        if self.link != "live":
            self.notify("the supervisor is away: nothing can be done now", severity="warning", markup=False)
            return
        ours = [row for row in rows if row.service.kind != "external"]
        if not ours:
            names = ", ".join(look.tidy(row.target) for row in rows)
            self.notify(f"{names} is not run by this project", severity="warning", markup=False)
            return
        if verb not in DESTRUCTIVE:
            self._perform_all(verb, ours)
            return
        names = ", ".join(row.target for row in ours)
        title = f"{verb.capitalize()} {names if len(ours) < 4 else f'these {len(ours)}'}?"
        self.push_screen(
            Ask(title, self._consequences(ours), [Choice("yes", verb.capitalize(), "y")]),
            lambda answer: self._perform_all(verb, ours) if answer == "yes" else None,
        )

    def _consequences(self, rows: Sequence[Row]) -> list[str]:
        """How much would be hit, and who depends on it."""
        lines = [_extent(rows[0])] if len(rows) == 1 else [f"{look.tidy(row.target)}: {_extent(row)}" for row in rows]
        if len(lines) > NAMED:
            lines = [*lines[:NAMED], f"and {len(lines) - NAMED} more"]
        hit = {row.service.name for row in rows}
        services = self.snapshot.services if self.snapshot else ()
        needed = sorted({name for one in hit for name in dependents(services, one)} - hit)
        return [*lines, f"needed by: {', '.join(needed)}" if needed else "no other service depends on it"]

    def _perform_all(self, verb: str, rows: Sequence[Row]) -> None:
        for row in rows:
            self.perform(verb, row.target)
        self._main.unmark()

    def perform(self, verb: str, target: str) -> None:
        """Hand the act to the feed and show that it is in flight."""
        self.busy[target] = self.busy.get(target, 0) + 1
        self.notify(f"{DOING[verb]} {look.tidy(target)} …", timeout=2, markup=False)
        self.feed.act(Act(verb, target))
        self._tick()

    def copy_curl(self, row: Row) -> None:
        """Put `curl -i http://…` on the clipboard: the row's address, or of its first instance that has one."""
        candidates = [row.instance] if row.instance else list(row.members)
        found = next((one for one in sorted(candidates, key=_readiness) if one.address), None)
        if found is None:
            self.notify(f"{look.tidy(row.target)} has no address", severity="warning", markup=False)
            return
        line = f"curl -i {shlex.quote(f'http://{look.tidy(found.address)}/')}"
        self.copy_to_clipboard(line)
        self.notify(line, title="copied", timeout=4, markup=False)

    # ------------------------------------------------------------ the whole

    def action_help(self) -> None:
        """The page of keys."""
        self.push_screen(Help())

    def action_leave(self) -> None:
        """Quit; who runs the project is asked what becomes of it."""
        if not self.owner:
            self.exit("quit")
            return
        if isinstance(self.screen, Ask):
            return
        name = self.snapshot.project if self.snapshot else "the project"
        running = sum(one.pid > 0 for one in self.snapshot.instances) if self.snapshot else 0
        lines = [f"{running} instance{'' if running == 1 else 's'} running"]
        lines.append("“Leave running” detaches: `minikube dashboard` comes back, `minikube down` stops.")
        choices = [Choice("stop", "Stop everything", "s"), Choice("detach", "Leave running", "d")]
        self.push_screen(Ask(f"Quit {name}?", lines, choices), lambda answer: self.exit(answer) if answer else None)

    def action_interrupt(self) -> None:
        """Ctrl-C: what it means on any terminal, without a question."""
        self.exit("stop" if self.owner else "quit")

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The palette: every act on every service, the views, and Textual's themes."""
        main = self._main
        yield SystemCommand("Help", "every key", self.action_help)
        yield SystemCommand("Logs of everyone", "all services together", main.action_everyone)
        yield SystemCommand("Events", "as they happen", lambda: main.action_zoom("events"))
        yield SystemCommand("Problems only", "on or off", main.action_problems)
        yield SystemCommand("Theme", "choose the colours", self.action_change_theme)
        yield SystemCommand("Quit", "leave the dashboard", self.action_leave)
        for row in main.table.rows[:500]:
            name = look.tidy(row.target)
            yield SystemCommand(f"Go to {name}", "select it", lambda key=row.key: self._go(key))
            for verb in ("restart", "stop", "start", "kill"):
                words = f"{verb.capitalize()} {name}"
                yield SystemCommand(words, row.service.kind, lambda verb=verb, row=row: self.request(verb, [row]))

    def _go(self, key: str) -> None:
        self._main.table.select(key)


def _extent(row: Row) -> str:
    running = [member for member in row.members if member.pid]
    if row.depth and row.instance:
        return f"one instance of {row.service.name}, pid {row.instance.pid}" if row.instance.pid else "not running now"
    if not running:
        return "no instance of it is running now"
    if len(running) == 1:
        return f"1 running instance, pid {running[0].pid}"
    return f"all {len(running)} running instances"


def _readiness(one: InstanceView) -> bool:
    return one.check not in (CheckState.PASSING, None)
