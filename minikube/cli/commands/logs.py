"""`logs`: the output of services, from the supervisor while it runs, otherwise from the log files."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from minikube.cli.common import print_json_lines, print_message, running_files
from minikube.cli.options import json_option, manifest_option, names_argument, optional, parse_time_option, pass_options
from minikube.cli.render.colors import has_colour
from minikube.cli.stdout_watch import exit_with_reader
from minikube.control.client.names import expand_groups
from minikube.errors import NothingRunning, UsageError
from minikube.project_dir import ManifestFiles

if TYPE_CHECKING:
    from minikube.logs.query import LogQuery
    from minikube.model import LogLine


@dataclass(frozen=True)
class LogsOptions:
    """The arguments and options of `logs`."""

    names: tuple[str, ...]
    """Empty: all services."""
    clear: bool
    follow: bool
    tail: str | None
    """A number, `all`, or None for the default, which depends on the other options."""
    since: float | None
    """Unix seconds; None: no limit. The same for `until`."""
    until: float | None
    grep: str
    level: str
    timestamps: bool
    no_prefix: bool
    manifest: tuple[str, ...]
    as_json: bool

    def prints(self) -> bool:
        """Return whether an option says which lines to print, or how."""
        shows = self.timestamps or self.no_prefix or self.as_json
        return self.follow or self.tail is not None or self.selects_lines() or shows

    def selects_lines(self) -> bool:
        """Return whether options select lines by time or content: then the default is to print all of them, not the last 100."""
        return bool(self.since or self.until) or (bool(self.grep or self.level) and not self.follow)


class LogBatches(NamedTuple):
    """Log lines in batches, and the names of the instances they may come from, which determine the width of prefixes."""

    instances: list[str]
    batches: Iterable[list[LogLine]]


@click.command()
@names_argument(required=False)
@click.option("-f", "--follow", is_flag=True, help="Keep printing new lines.")
@click.option(
    "-n",
    "--tail",
    metavar="N",
    help="Print the last N lines, or `all`.  [default: 100; all with --since, --until, --grep or --level]",
)
@click.option(
    "--since",
    metavar="WHEN",
    callback=optional(parse_time_option),
    help='Print lines from this time on: "5m" (ago), "14:30" or "2026-11-24T14:30:00Z".',
)
@click.option("--until", metavar="WHEN", callback=optional(parse_time_option), help="Print lines up to this time.")
@click.option(
    "-g", "--grep", metavar="REGEX", default="", help="Print lines that match this pattern; (?i) ignores case."
)
@click.option(
    "-l",
    "--level",
    metavar="LEVEL",
    default="",
    help="Print lines of this level or worse: debug, info, warning, error or critical.",
)
@click.option("-t", "--timestamps", is_flag=True, help="Print the time of each line.")
@click.option("--no-prefix", is_flag=True, help="Leave out the names of instances.")
@click.option("--clear", is_flag=True, help="Remove the lines that are kept instead of printing them.")
@manifest_option
@json_option
@pass_options(LogsOptions)
def logs_command(options: LogsOptions) -> None:
    """Print the output of services, also when they are not running any more.

    NAMES are services, instances, `redis` or `registry`; without NAMES, the output of all services is printed. The level is
    read from the line itself: JSON, logfmt, [error], WARNING: and similar forms. A line without a level counts as info.
    """
    from minikube.cli.kept_logs import clear_logs
    from minikube.logs.query import TAIL_DEFAULT, LogQuery

    if options.clear:
        if options.prints():
            raise UsageError("--clear: removes lines instead of printing them — it takes names only")
        clear_logs(running_files(options.manifest), options.names)
        return
    if options.follow:
        exit_with_reader()
    query = LogQuery(
        tail=_parse_tail(options),
        follow=options.follow,
        since=options.since or 0.0,
        until=options.until or 0.0,
        grep=options.grep,
        level=options.level,
    )
    files = running_files(options.manifest)
    shows_default = options.tail is None and not options.selects_lines() and not options.follow
    # At a terminal a message says that there are older lines. To know it, read one more line than is printed.
    reports_older = shows_default and not options.as_json and sys.stderr.isatty()
    if reports_older:
        query = LogQuery(tail=TAIL_DEFAULT + 1)
    end = "the supervisor has ended"
    try:
        try:
            printed = _print_batches(_read_from_supervisor(files.first, options.names, query), options, reports_older)
        except NothingRunning as nothing_running:
            end = "nothing is running: these lines are from the log files"
            printed = _print_batches(_read_from_files(files, options, query, nothing_running), options, reports_older)
    except UsageError as error:
        if str(error).startswith(("grep: ", "level: ")):  # the API's names of the options
            raise UsageError(f"--{error}") from None
        raise
    if not printed and options.selects_lines() and not options.follow:
        print_message("no line matches" if options.grep or options.level else "no lines in this range of time")
    if options.follow and not 0 < query.until <= time.time():
        print_message(end)


def _parse_tail(options: LogsOptions) -> int:
    """Return the most lines to print, `ALL_LINES` for all. Raises click's usage error for a wrong `--tail`."""
    from minikube.logs.query import ALL_LINES, TAIL_DEFAULT, TAIL_MAX

    text = options.tail
    if text == "all" or (text is None and options.selects_lines()):
        return ALL_LINES
    if text is None:
        return TAIL_DEFAULT
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) > TAIL_MAX:
        raise click.BadParameter(f"expected a number of lines up to {TAIL_MAX:,}, or `all`", param_hint="--tail")
    return int(text)


def _print_batches(log_batches: LogBatches, options: LogsOptions, reports_older: bool) -> bool:
    """Print log lines as text, or as JSON with `--json`; return whether there were any.

    With `reports_older`, print only the last `TAIL_DEFAULT` lines, after a message where there are older ones.
    """
    from minikube.cli.render.log_printer import LogPrinter

    printer = LogPrinter(sys.stdout, log_batches.instances, timestamps=options.timestamps, prefix=not options.no_prefix)
    printed = False
    for batch in _keep_last(log_batches.batches) if reports_older else log_batches.batches:
        printed = printed or bool(batch)
        if options.as_json:
            print_json_lines(batch)
        else:
            printer.lines(batch)
    printer.end_line()
    return printed


def _keep_last(batches: Iterable[list[LogLine]]) -> Iterator[list[LogLine]]:
    """Yield the last `TAIL_DEFAULT` lines as one batch; print a message where there are older ones."""
    from minikube.logs.query import TAIL_DEFAULT

    lines = [line for batch in batches for line in batch]
    if len(lines) > TAIL_DEFAULT:
        print_message(f"the last {TAIL_DEFAULT} lines — `--tail all` prints the older ones too")
    yield lines[-TAIL_DEFAULT:]


def _read_from_supervisor(path: Path, names: tuple[str, ...], query: LogQuery) -> LogBatches:
    """Return the log lines that `query` selects, as the supervisor sends them. Raises NothingRunning where none runs.

    It is raised here, not while the batches are read.
    """
    from minikube.control.client.blocking import ControlClient, find_supervisor

    endpoint = find_supervisor(path)
    with ControlClient(endpoint) as client:
        snapshot = client.status()
    names = expand_groups(snapshot, names)
    instances = [
        view.name for view in snapshot.instances if not names or {view.name, view.service, view.id} & set(names)
    ]
    return LogBatches(instances, ControlClient(endpoint).log_batches(names, query))


def _read_from_files(
    files: ManifestFiles, options: LogsOptions, query: LogQuery, nothing_running: NothingRunning
) -> LogBatches:
    """Return the lines that `query` selects from the project's log files.

    Raises the given `nothing_running` where there are no files, and NotFound for a name without service and log file.
    """
    from minikube.cli.kept_logs import find_kept_logs
    from minikube.logs.filter import LogFilter
    from minikube.logs.merged import read_backlog
    from minikube.logs.partial_line import read_partial
    from minikube.logs.reader import LogReader

    log_filter = LogFilter(query)
    selected = find_kept_logs(files, options.names, nothing_running)
    # Levels take longer to find than everything else, so they are found only where they are shown.
    with_levels = options.as_json or has_colour(sys.stdout)
    readers = [LogReader(source, with_levels=with_levels) for source in selected]
    partial = [line for source in selected for line in read_partial(source) if log_filter.selects(line)]
    batches = chain(read_backlog(readers, query, log_filter), [partial] if partial and query.tail else [])
    return LogBatches([source.instance for source in selected], batches)
