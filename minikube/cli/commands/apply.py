"""`minikube apply` (floor 4): has the supervisor read its manifest again, and shows the difference, a line each."""

import sys
from collections.abc import Iterator

import click

from minikube.cli.common import connect, json_option, manifest_argument, note, print_json
from minikube.cli.render.colors import GREEN, RED, YELLOW, has_colour, paint
from minikube.control.client.messages import ApplyReply, KeyChange
from minikube.text import printable

SIGNS = {
    "added": ("+", GREEN, "is started"),
    "removed": ("-", RED, "is stopped and forgotten"),
    "replaced": ("~", YELLOW, "is restarted"),
    "follows": ("~", YELLOW, "is restarted after what it needs completed"),
    "adjusted": ("=", None, "goes on, with"),
    "scaled": ("=", None, "is scaled"),
}
"""For each kind of change: its mark, its colour, and what happens."""

SECRET = "(secret)"


@click.command()
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@manifest_argument
@json_option
def apply_command(manifest: str | None, dry_run: bool, as_json: bool) -> int:
    """Read the manifest again and change only what differs; unchanged services keep their processes.

    A wrong manifest changes nothing, and neither does one that changes what the project rests on (name, registry,
    control, redis). Exit code 1 when what was restarted did not come back. Variables are those that `up` was started
    with, and those of .env as it is now.
    """
    with connect(manifest) as client:
        done = client.apply(dry_run=dry_run)
    if as_json:
        print_json(done)
        return 1 if done.troubles else 0
    for warning in done.warnings:
        note(f"warning: {warning}")
    for line in difference_lines(done, has_colour(sys.stdout)):
        click.echo(line)
    for trouble in done.troubles:
        note(trouble)
    return 1 if done.troubles else 0


def difference_lines(done: ApplyReply, colour: bool = False) -> Iterator[str]:
    """What was or would be done: a line for each service, with its keys below it."""
    for change in done.changes:
        sign, shade, words = SIGNS[change.change]
        yield paint(f"{sign} {printable(change.service)} {words}", shade, colour)
        if change.change != "added":
            yield from (f"    {printable(_told(key))}" for key in change.keys)
    count = len(done.unchanged)
    rest = f"{count} service{'' if count == 1 else 's'} unchanged"
    if not done.changes:
        yield f"nothing differs: {rest}"
    elif count or done.dry_run:
        yield rest + (" — nothing was done yet" if done.dry_run else "")


def _told(key: KeyChange) -> str:
    if key.before == key.after == SECRET:
        return f"{key.key}: changed (not shown)"
    return f"{key.key}: {key.before or '(none)'} → {key.after or '(none)'}"
