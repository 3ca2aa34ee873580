"""Starting a whole project (floor 4): `up` in its three forms.

The supervisor is forked off before anything else of weight is imported; this process is only the front: a dashboard or
a log printer at one end of a lifeline. It refuses to leave anything running that it was not told to leave.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minikube.cli.app import INTERRUPTED
from minikube.cli.commands.down import STEP_S, TELL_EVERY_S, holders
from minikube.cli.common import duration, manifest_option, manifest_path, note
from minikube.cli.completion import complete_services
from minikube.errors import MinikubeError, NothingRunning, Unavailable, UsageError
from minikube.supervisor.daemon.guardian import launch
from minikube.supervisor.launch_options import LaunchOptions

if TYPE_CHECKING:
    from minikube.cli.render.console_logs import ConsoleLogs
    from minikube.cli.render.log_printer import LogPrinter
    from minikube.control.client.blocking import Endpoint
    from minikube.manifest import Manifest
    from minikube.supervisor.daemon.ipc import SupervisorHandle

READY_TIMEOUT_S = 60.0
"""For Redis, the registry and the control API, not for the services."""

LAST_LINES_S = 10.0
"""For showing what was written before the end and is not shown yet: a million lines take 3 s."""

LAST_EVENTS_S = 1.0
"""For events that were told just before the end."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command()
@click.argument("words", nargs=-1, metavar="[MANIFEST] [SERVICE]...", shell_complete=complete_services)
@manifest_option
@click.option("-d", "--detach", is_flag=True, help="Return once it runs, and leave it running.")
@click.option("--wait", is_flag=True, help="Until every started service is ready; what cannot get ready is a failure.")
@click.option("--timeout", metavar="DURATION", default="60s", show_default=True, help="For --wait.")
@click.option("--plain", is_flag=True, help="Print prefixed log lines instead of the dashboard.")
@click.option("-t", "--timestamps", is_flag=True, help="With --plain: show when each line was printed.")
@click.option("--build", is_flag=True, help="Build images first, those that are there already too.")
@click.option("--profile", "profiles", multiple=True, metavar="NAME", help="Start these services too (* for all).")
@click.option(
    "--only", multiple=True, metavar="SERVICE", help="The same as naming it.", shell_complete=complete_services
)
@click.option("--watch", is_flag=True, help="Apply the manifest whenever it, .env or an env_file is saved.")
@click.option("--exit-with", metavar="SERVICE", default="", help="Stop all when SERVICE ends; its exit code is ours.")
def up_command(
    words: tuple[str, ...],
    manifest: str | None,
    detach: bool,
    wait: bool,
    timeout: str,
    plain: bool,
    timestamps: bool,
    profiles: tuple[str, ...],
    only: tuple[str, ...],
    watch: bool,
    exit_with: str,
    build: bool,
) -> int:
    """Start what is in MANIFEST (supervisor.toml), or the named services and what they need.

    On a terminal the dashboard opens; without one, or with --plain, log lines are printed. The first Ctrl-C or TERM
    stops everything in reverse order, the second at once.
    """
    from minikube.manifest import load_manifest

    patience = duration("--timeout", timeout)
    if detach and exit_with:
        raise UsageError("--exit-with: needs somebody who waits for the end — leave out --detach")
    path, names = split_words(words, manifest)
    loaded = load_manifest(path)
    options = LaunchOptions(
        detach, (*names, *only), profiles or _profiles_of(os.environ.get("MINIKUBE_PROFILES", "")), watch, exit_with
    )
    started = services_to_start(loaded, options)
    _refuse_second(loaded.path)
    for warning in loaded.warnings:
        note(f"warning: {warning}")
    if build and (images := tuple(name for name in started if loaded.services[name].runtime == "container")):
        from minikube.cli.manifest_commands.build import build_images

        unbuilt = tuple(name for name, failure in build_images(loaded, images).items() if failure)
        if unbuilt:
            note("going on with what could be built — `minikube ps` tells why the rest does not start")
            options = replace(options, unbuilt=unbuilt)

    front = UpSession(launch(loaded.path, options), loaded.path, exit_with)
    with front.signals():
        dashboard = not (detach or plain or exit_with) and sys.stdout.isatty() and sys.stdin.isatty()
        _import_ahead(dashboard)
        if not front.wait_ready():
            return front.wait_stopped()
        wanted = started if wait else ()
        if detach:
            return front.detach(str(path), wanted, patience)
        if not dashboard:
            return front.print_lines(wanted, patience, timestamps)
        return front.await_all(wanted, patience) or front.dashboard()


def split_words(words: tuple[str, ...], manifest: str | None) -> tuple[Path, tuple[str, ...]]:
    """The manifest's path and the services meant: the first word is a manifest where it looks like a path."""
    looks = words[:1] and ("/" in words[0] or words[0] == "." or words[0].endswith(".toml"))
    if words and not manifest and not looks and os.path.isdir(words[0]):
        from minikube.manifest import load_manifest

        usual = manifest_path(None)
        looks = not usual.is_file() or words[0] not in load_manifest(usual).services
    if not looks:
        return manifest_path(manifest), words
    if manifest:
        raise UsageError(f"{words[0]}: --manifest is given already, expected services")
    return manifest_path(words[0]), words[1:]


def _profiles_of(text: str) -> tuple[str, ...]:
    return tuple(name for part in text.split(",") if (name := part.strip()))


def services_to_start(manifest: Manifest, options: LaunchOptions) -> tuple[str, ...]:
    """In the manifest's order. Raises UsageError for names and profiles that it does not have."""
    from minikube.project.selection import check_selection, select_services

    check_selection(manifest.services, options.only, options.profiles)
    names = select_services(manifest.services, options.only, options.profiles)
    if options.exit_with:
        check_selection(manifest.services, (options.exit_with,), ())
        if options.exit_with not in names or not manifest.services[options.exit_with].replicas:
            raise UsageError(f"--exit-with {options.exit_with}: this service is not started — name it, or its profile")
    return tuple(name for name, spec in manifest.services.items() if name in names and spec.replicas)


def _import_ahead(dashboard: bool) -> None:
    """What comes next is imported while the supervisor starts: on a second core that costs nothing."""
    if dashboard:
        import tui.run  # noqa: F401


def _refuse_second(path: Path) -> None:
    from minikube.control.client.endpoint import find_supervisor

    try:
        endpoint = find_supervisor(path)
        from minikube.control.client.blocking import ControlClient

        with ControlClient(endpoint) as client:
            pid = client.status().pid
    except (NothingRunning, Unavailable):
        return
    raise MinikubeError(
        f"{path}: is running already (pid {pid}) — `minikube dashboard` opens it, `minikube down` ends it"
    )


class UpSession:
    """This process's end of the lifeline, from the launch to the last word."""

    def __init__(self, lifeline: SupervisorHandle, path: Path, exit_with: str = "") -> None:
        self._lifeline = lifeline
        self._path = path
        self._exit_with = exit_with
        self._asked = 0
        self._endpoint: Endpoint | None = None
        self._printer: LogPrinter | None = None
        self._events: threading.Thread | None = None
        self._lines: ConsoleLogs | None = None
        self._begun = time.time()

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Ctrl-C, TERM and HUP mean: stop; a second one: at once."""
        before = {number: signal.signal(number, lambda *_: self.stop()) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop(self) -> None:
        """Asks for a stop, the second time for one at once. Safe in a signal handler."""
        self._asked += 1
        if self._asked == 1:
            self._lifeline.stop()
        else:
            self._lifeline.stop_now()

    def wait_ready(self) -> bool:
        """True once it runs; False when a signal came first. Raises what the supervisor says is wrong."""
        reply: dict[str, Any] = self._lifeline.wait_ready(READY_TIMEOUT_S)
        if self._asked:
            return False
        if "error" in reply:
            self._lifeline.wait_exit(LAST_EVENTS_S)
            failure = MinikubeError(str(reply["error"]))
            failure.exit_code = int(reply.get("exit_code", 1))
            raise failure
        from minikube.control.client.endpoint import endpoint_at

        self._endpoint = endpoint_at(self._path, reply["ready"]["control"])
        return True

    def detach(self, shown: str, wanted: tuple[str, ...], patience: float) -> int:
        """With `wanted`, waits for them; what does not get ready is left running, to be looked at."""
        from minikube.cli.commands.wait import wait_for

        self._lifeline.detach()
        assert self._endpoint is not None
        rest = "" if shown == "supervisor.toml" else f" {shown}"
        click.echo(
            f"running: control API {self._endpoint.url} — `minikube ps{rest}` shows it, `minikube down{rest}` ends it"
        )
        return wait_for(wanted, "ready", patience, str(self._path)) if wanted else 0

    def await_all(self, wanted: tuple[str, ...], patience: float) -> int:
        """0 when all are ready (or a stop was asked for); otherwise everything has been stopped."""
        from minikube.cli.commands.wait import TIMED_OUT, wait_until
        from minikube.control.client.blocking import ControlClient

        assert self._endpoint is not None
        if not wanted:
            return 0
        begun = time.monotonic()
        code = 0
        try:
            with ControlClient(self._endpoint) as client:
                missing = wait_until(
                    client, wanted, "ready", begun + patience, poll_s=STEP_S, going=lambda: not self._asked
                )
                if missing and not self._asked:
                    self._tell(f"waited {patience:g}s: {'; '.join(missing)}")
                    code = TIMED_OUT
        except NothingRunning:
            return 0  # it has ended: wait_stopped tells how
        except MinikubeError as error:
            if self._asked:
                return 0  # what stops does not get ready
            self._tell(str(error))
            code = error.exit_code
        if code:
            self.stop()
            self.wait_stopped()
        elif not self._asked:
            self._tell(f"ready after {time.monotonic() - begun:.1f} s")
        return code

    def dashboard(self) -> int:
        from tui import run_dashboard

        assert self._endpoint is not None
        try:
            answer = run_dashboard(self._endpoint, owner=True)
        except Exception:
            self.stop()  # nobody looks any more
            self.wait_stopped()
            raise
        if answer == "detach":
            self._lifeline.detach()
            note("left running — `minikube dashboard` opens it again, `minikube down` ends it")
            return 0
        if not self._asked:
            self.stop()
        return self.wait_stopped()

    def print_lines(self, wanted: tuple[str, ...], patience: float, timestamps: bool) -> int:
        from minikube.cli.render.console_logs import ConsoleLogs
        from minikube.cli.render.log_printer import LogPrinter
        from minikube.manifest import load_manifest

        assert self._endpoint is not None
        self._printer = LogPrinter(sys.stdout, list(load_manifest(self._path).services), timestamps=timestamps)
        self._events = threading.Thread(target=self._follow_events, daemon=True)
        self._lines = ConsoleLogs(log_file(self._path).parent, self._begun, self._printer, self._nobody_reads)
        self._printer.note(f"control API {self._endpoint.url} — Ctrl-C stops everything")
        self._events.start()
        self._lines.start()
        return self.await_all(wanted, patience) or self.wait_stopped()

    def _follow_events(self) -> None:
        """A thread."""
        from minikube.control.client.blocking import ControlClient

        assert self._endpoint is not None
        assert self._printer is not None
        try:
            with ControlClient(self._endpoint) as client:
                for event in client.follow_events(0):
                    self._printer.event(event)
        except MinikubeError:
            return  # it has ended: the main thread says so
        except OSError:
            self._nobody_reads()

    def _nobody_reads(self) -> None:
        """What is printed has no reader any more: that is a stop."""
        if not self._asked:
            self.stop()

    def _show_rest(self) -> None:
        """What is in the files and was not shown yet; another Ctrl-C leaves it there."""
        if self._lines is None:
            return
        asked = self._asked
        if self._events is not None:
            self._events.join(LAST_EVENTS_S)
        left = self._lines.finish(LAST_LINES_S, lambda: self._asked > asked)
        if left:
            self._tell(f"{left} lines not shown — `minikube logs` has them")

    def wait_stopped(self) -> int:
        """Waits for the supervisor's end; while it stops, tells who holds it."""
        told = time.monotonic()
        while (code := self._lifeline.wait_exit(STEP_S)) is None:
            if self._asked and self._endpoint and time.monotonic() - told >= TELL_EVERY_S:
                told = time.monotonic()
                for line in holders(self._endpoint):
                    self._tell(line)
        from minikube.engine.leftovers import read_engine_record
        from minikube.project_dir import project_dir

        self._show_rest()
        found = read_engine_record(project_dir(self._path))
        left = found[1] if found and found[1].given_up else None
        if ended := self._lifeline.ended:
            self._tell(f"stopped, as {ended['service']} ended: {ended['how']}" + (f"; {left}" if left else ""))
            return int(ended["code"]) or code
        if left is not None:
            self._tell(f"stopped, but {left}")
            return code
        if code and not self._asked:
            raise MinikubeError(f"the supervisor ended ({_ending(code)}) — see {log_file(self._path)}")
        self._tell("stopped")
        return code if code > 0 else INTERRUPTED if self._exit_with else 0

    def _tell(self, text: str) -> None:
        with suppress(OSError):  # a closed terminal or pipe is no reason to leave a stop
            if self._printer:
                self._printer.note(text)
            else:
                note(text)


def _ending(code: int) -> str:
    return f"exit {code}" if code > 0 else f"signal {signal.Signals(-code).name.removeprefix('SIG')}"


def log_file(path: Path) -> Path:
    from minikube.project_dir import project_dir

    return project_dir(path) / "logs" / "supervisor.log"
