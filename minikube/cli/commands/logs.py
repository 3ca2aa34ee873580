"""`minikube logs` (floor 4): from the supervisor while it runs, from the files it kept when it does not."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from minikube.cli.common import (
    json_option,
    manifest_option,
    manifest_path,
    moment,
    names_argument,
    note,
    print_json_lines,
)
from minikube.cli.render.colors import has_colour
from minikube.errors import MinikubeError, NotFound, NothingRunning, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from minikube.logs.query import LogQuery
    from minikube.model import LogLine


@click.command()
@names_argument(required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is printed from now on.")
@click.option(
    "-n", "--tail", metavar="N", help="How many last lines, or `all`.  [default: 100; all with --since, --grep, …]"
)
@click.option("--since", metavar="WHEN", help='Not before: "5m" (ago), "14:30", "2026-11-24T14:30:00Z".')
@click.option("--until", metavar="WHEN", help="Before that moment only.")
@click.option("-g", "--grep", metavar="REGEX", default="", help="Only lines in which this is found; (?i) for any case.")
@click.option(
    "-l",
    "--level",
    metavar="LEVEL",
    default="",
    help="Only lines of this level or worse: debug, info, warning, error, …",
)
@click.option("-t", "--timestamps", is_flag=True, help="Show when each line was printed.")
@click.option("--no-prefix", is_flag=True, help="Show the lines without the instances' names.")
@manifest_option
@json_option
def logs_command(
    names: tuple[str, ...],
    follow: bool,
    tail: str | None,
    since: str | None,
    until: str | None,
    grep: str,
    level: str,
    timestamps: bool,
    no_prefix: bool,
    manifest: str | None,
    as_json: bool,
) -> None:
    """Show what services print; NAMES are services or instances, `redis`, `registry`, none for all services.

    A line's level is what it says itself: JSON, logfmt, [error], WARNING: and the like. One without counts as info.
    What is kept is shown when nothing runs, too.
    """
    from minikube.logs.query import TAIL_DEFAULT, LogQuery

    narrowed = bool(since or until) or (bool(grep or level) and not follow)
    query = LogQuery(
        tail=_tail(tail, narrowed),
        follow=follow,
        since=moment("--since", since) if since else 0.0,
        until=moment("--until", until) if until else 0.0,
        grep=grep,
        level=level,
    )
    path = manifest_path(manifest)
    cut = tail is None and not narrowed and not follow and not as_json and sys.stderr.isatty()
    if cut:
        query = LogQuery(tail=TAIL_DEFAULT + 1)
    nobody = "the supervisor has ended"
    try:
        try:
            known, batches = _from_supervisor(path, names, query)
            _print(_cut(batches) if cut else batches, as_json, known, timestamps, not no_prefix)
        except NothingRunning as nothing:
            nobody = "nothing is running: these are the lines that were kept"
            leveled = as_json or has_colour(sys.stdout)
            known, batches = _from_files(path, names, query, nothing, leveled)
            _print(_cut(batches) if cut else batches, as_json, known, timestamps, not no_prefix)
    except UsageError as error:
        if str(error).startswith(("grep: ", "level: ")):  # the API's names, which are not ours
            raise UsageError(f"--{error}") from None
        raise
    if follow:
        note(nobody)


def _cut(batches: Iterable[list[LogLine]]) -> Iterator[list[LogLine]]:
    """The last `TAIL_DEFAULT` lines of one more; tells where there is one more."""
    from minikube.logs.query import TAIL_DEFAULT

    lines = [line for batch in batches for line in batch]
    if len(lines) > TAIL_DEFAULT:
        note(f"the last {TAIL_DEFAULT} lines; older ones are kept: --tail all shows them")
    yield lines[-TAIL_DEFAULT:]


def _print(batches: Iterable[list[LogLine]], as_json: bool, names: list[str], timestamps: bool, prefix: bool) -> None:
    from minikube.cli.render.log_printer import LogPrinter

    printer = LogPrinter(sys.stdout, names, timestamps=timestamps, prefix=prefix)
    for batch in batches:
        if as_json:
            print_json_lines(batch)
        else:
            printer.lines(batch)


def _from_supervisor(path: Path, names: tuple[str, ...], query: LogQuery) -> tuple[list[str], Iterator[list[LogLine]]]:
    """Names for the prefix, and the lines as they come. Raises NothingRunning before the first line, or not at all."""
    from minikube.control.client.blocking import ControlClient, find_supervisor

    client = ControlClient(find_supervisor(path))
    snapshot = client.status()
    chosen = [one.name for one in snapshot.instances if not names or {one.name, one.service, one.id} & set(names)]
    return chosen, client.log_batches(names, query)


def _from_files(
    path: Path, names: tuple[str, ...], query: LogQuery, nothing: NothingRunning, leveled: bool
) -> tuple[list[str], Iterator[list[LogLine]]]:
    from minikube.logs.file_format import kept_sources
    from minikube.logs.filter import LogFilter
    from minikube.logs.reader import LogReader, read_backlog
    from minikube.project_dir import project_dir

    parts = ("redis", "registry")
    sieve = LogFilter(query)
    services = _services(path)
    kept = kept_sources(project_dir(path) / "logs", services)
    if not kept:
        raise nothing
    for name in names:
        if name not in services and not any(name in (one.instance, one.service) for one in kept):
            raise NotFound(f"{name}: no such service, and no lines of it were kept — {path} names the services")
    wanted = [one for one in kept if ({one.instance, one.service} & set(names) if names else one.instance not in parts)]
    return [one.instance for one in wanted], read_backlog(
        [LogReader(one, with_levels=leveled) for one in wanted], query, sieve
    )


def _services(path: Path) -> list[str]:
    """Those of the manifest; none where it cannot be read: the files have names of their own."""
    from minikube.manifest import load_manifest

    try:
        return list(load_manifest(path).services)
    except (MinikubeError, OSError):
        return []


def _tail(text: str | None, narrowed: bool) -> int:
    from minikube.logs.query import ALL_LINES, TAIL_DEFAULT, TAIL_MAX

    if text == "all" or (text is None and narrowed):
        return ALL_LINES
    if text is None:
        return TAIL_DEFAULT
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) > TAIL_MAX:
        raise click.BadParameter(f"expected a number of lines up to {TAIL_MAX:,}, or `all`", param_hint="--tail")
    return int(text)
